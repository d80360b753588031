/* How connections with TLS end, and what peers do that they should not. */
#include "tls/tls_test.h"

#include <netinet/in.h>

#include "test_support.h"

static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
#define FOR_BOTH_VERSIONS(version)                                                                 \
	for (size_t version##_index = 0; version##_index < ARRAY_SIZE(versions);                   \
	     version##_index++)                                                                    \
		for (int version = versions[version##_index], *once = &version; once; once = NULL)

/* ---- ends ---- */

static void test_a_close_notify_is_the_end_and_a_bare_end_is_a_cut(void **state)
{
	struct loop *loop = test_loop(state);

	FOR_BOTH_VERSIONS(version)
	{
		for (int notified = 0; notified < 2; notified++) {
			struct tls_peer server;
			struct tls_client client;

			secure(loop, &server, &client, version);
			client_write(&client, "last words", 10);
			if (notified)
				assert_int_equal(SSL_shutdown(client.ssl), 0);
			tls_client_carry(&client);
			assert_int_equal(shutdown(client.fd, SHUT_WR), 0);
			run_until(loop, server.peer.ends == 1);
			assert_int_equal(server.peer.received_len, 10);
			assert_int_equal(server.peer.end_result, notified ? 0 : STREAM_CUT);
			/* It can still be answered. */
			peer_send(&server.peer, "answer", 6);
			run_until(loop, server.peer.sent_calls == 1);
			assert_int_equal(server.peer.sent_result, 6);
			finish(loop, &server, &client);
		}
	}
}

static void test_what_follows_a_close_notify_is_not_told(void **state)
{
	struct loop *loop = test_loop(state);
	struct tls_peer server;
	struct tls_client client;

	secure(loop, &server, &client, TLS1_3_VERSION);
	assert_int_equal(SSL_shutdown(client.ssl), 0);
	tls_client_carry(&client);
	assert_int_equal(send(client.fd, "noise", 5, MSG_NOSIGNAL), 5);
	run_until(loop, server.peer.ends == 1);
	assert_int_equal(server.peer.end_result, 0);
	assert_int_equal(server.peer.received_len, 0);
	finish(loop, &server, &client);
}

/* The client's view of how the server ended: 1 close_notify, 0 a bare end. */
static int client_end(struct loop *loop, struct tls_client *client)
{
	char room[100];
	size_t got;
	int ret;

	carry_until(loop, client, client->ended);
	do
		ret = SSL_read_ex(client->ssl, room, sizeof(room), &got);
	while (ret == 1);
	return SSL_get_error(client->ssl, ret) == SSL_ERROR_ZERO_RETURN;
}

static void test_closing_says_so_and_aborting_does_not(void **state)
{
	struct loop *loop = test_loop(state);

	FOR_BOTH_VERSIONS(version)
	{
		struct tls_peer server;
		struct tls_client client;

		secure(loop, &server, &client, version);
		stream_close(&server.peer.stream);
		assert_int_equal(client_end(loop, &client), 1);
		run_until(loop, server.peer.closed_calls == 1);
		finish(loop, &server, &client);

		secure(loop, &server, &client, version);
		stream_shutdown_send(&server.peer.stream);
		assert_int_equal(client_end(loop, &client), 1);
		client_write(&client, "still here", 10);
		carry_until(loop, &client, server.peer.received_len == 10);
		finish(loop, &server, &client);

		secure(loop, &server, &client, version);
		stream_abort(&server.peer.stream);
		run_until(loop, server.peer.closed_calls == 1);
		finish(loop, &server, &client);
	}
}

static void test_a_close_in_the_handshake_is_told(void **state)
{
	struct loop *loop = test_loop(state);
	struct tls_peer server;
	struct tls_client client;

	begin(loop, &server, &client, TLS1_3_VERSION);
	assert_int_equal(SSL_do_handshake(client.ssl), -1);
	client.piece_bytes = 100;
	tls_client_carry(&client);
	assert_int_equal(shutdown(client.fd, SHUT_RDWR), 0);
	run_until(loop, server.secured_calls == 1);
	assert_int_equal(server.secured_result, STREAM_CUT);
	assert_int_equal(tls_stream_failure(&server.peer.stream), TLS_FAILURE_CLOSED);
	finish(loop, &server, &client);
}

/* ---- peers that do not keep to it ---- */

static void test_what_is_no_handshake_is_refused_by_reason(void **state)
{
	static const struct {
		const char *name, *bytes;
		size_t len;
		enum tls_failure failure;
		const char *answer; /* how it begins */
	} rows[] = {
		{"HTTP", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27, TLS_FAILURE_PLAIN,
		 "HTTP/1.1 400"},
		{"HTTP POST", "POST / HTTP/1.1\r\n\r\n", 19, TLS_FAILURE_PLAIN, "HTTP/1.1 400"},
		{"CONNECT", "CONNECT a:443 HTTP/1.1\r\n\r\n", 26, TLS_FAILURE_PLAIN,
		 "HTTP/1.1 400"},
		{"SSH", "SSH-2.0-OpenSSH_9.2\r\n\r\n\r\n\r\n", 27, TLS_FAILURE_GARBAGE, ""},
		{"zeros", "\0\0\0\0\0\0\0\0\0\0\0\0", 12, TLS_FAILURE_GARBAGE, ""},
		{"application data", "\x17\x03\x03\0\x05hello", 10, TLS_FAILURE_GARBAGE,
		 "\x15\x03"},
		{"a record too long", "\x16\x03\x01\xff\xff\x01\0\0\0\0", 10, TLS_FAILURE_GARBAGE,
		 "\x15\x03"},
		{"an empty hello", "\x16\x03\x01\0\x04\x01\0\0\0", 9, TLS_FAILURE_OTHER,
		 "\x15\x03"},
		{"an alert", "\x15\x03\x01\0\x02\x02\x28", 7, TLS_FAILURE_GARBAGE, "\x15\x03"},
	};
	struct loop *loop = test_loop(state);

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct tls_peer server;
		char answer[200] = "";
		int fds[2];
		ssize_t got;

		make_pair(PAIR_TCP, fds);
		tls_peer_adopt(loop, tls_test.worker, &server, fds[0], tls_test.server_context);
		assert_int_equal(send(fds[1], rows[i].bytes, rows[i].len, 0), rows[i].len);
		run_until(loop, server.secured_calls == 1);
		assert_row(rows[i].name, server.secured_result == -EPROTO);
		if (tls_stream_failure(&server.peer.stream) != rows[i].failure)
			print_error("%s: %s\n",
				    tls_failure_name(tls_stream_failure(&server.peer.stream)),
				    stream_error_text(&server.peer.stream));
		assert_row(rows[i].name,
			   tls_stream_failure(&server.peer.stream) == rows[i].failure);
		assert_row(rows[i].name, stream_error_text(&server.peer.stream));
		peer_finish(loop, &server.peer);
		got = recv(fds[1], answer, sizeof(answer) - 1, 0);
		assert_row(rows[i].name, got >= (ssize_t)strlen(rows[i].answer));
		assert_row(rows[i].name, !strncmp(answer, rows[i].answer, strlen(rows[i].answer)));
		(void)close(fds[1]);
	}
}

static void test_no_version_and_no_cipher_in_common_are_told_apart(void **state)
{
	struct loop *loop = test_loop(state);
	struct tls_peer server;
	struct tls_client client;

	begin(loop, &server, &client, TLS1_2_VERSION);
	SSL_set_security_level(client.ssl, 0);
	assert_int_equal(SSL_set_min_proto_version(client.ssl, TLS1_1_VERSION), 1);
	assert_int_equal(SSL_set_max_proto_version(client.ssl, TLS1_1_VERSION), 1);
	assert_int_equal(SSL_set_cipher_list(client.ssl, "ALL:@SECLEVEL=0"), 1);
	assert_int_equal(SSL_do_handshake(client.ssl), -1);
	carry_until(loop, &client, server.secured_calls == 1);
	assert_int_equal(tls_stream_failure(&server.peer.stream), TLS_FAILURE_VERSION);
	finish(loop, &server, &client);

	begin(loop, &server, &client, TLS1_2_VERSION);
	assert_int_equal(SSL_set_cipher_list(client.ssl, "ECDHE-RSA-AES128-GCM-SHA256"), 1);
	assert_int_equal(SSL_do_handshake(client.ssl), -1);
	carry_until(loop, &client, server.secured_calls == 1);
	assert_int_equal(tls_stream_failure(&server.peer.stream), TLS_FAILURE_CIPHER);
	finish(loop, &server, &client);
}

static void test_a_damaged_record_ends_it_with_an_alert(void **state)
{
	struct loop *loop = test_loop(state);

	FOR_BOTH_VERSIONS(version)
	{
		struct tls_peer server;
		struct tls_client client;
		char record[1000];
		int len;

		secure(loop, &server, &client, version);
		client_write(&client, "whole", 5);
		carry_until(loop, &client, server.peer.received_len == 5);
		client_write(&client, "damaged", 7);
		len = BIO_read(client.from_ssl, record, sizeof(record));
		record[len - 3] ^= 1;
		assert_int_equal(send(client.fd, record, (size_t)len, 0), len);
		run_until(loop, server.peer.ends == 1);
		assert_int_equal(server.peer.end_result, -EPROTO);
		assert_int_equal(server.peer.received_len, 5);
		assert_non_null(stream_error_text(&server.peer.stream));
		stream_close(&server.peer.stream);
		assert_int_equal(client_end(loop, &client), 0);
		assert_int_equal(ERR_GET_REASON(ERR_peek_error()),
				 SSL_R_SSLV3_ALERT_BAD_RECORD_MAC);
		ERR_clear_error();
		finish(loop, &server, &client);
	}
}

static void test_renegotiation_is_refused(void **state)
{
	struct loop *loop = test_loop(state);
	struct tls_peer server;
	struct tls_client client;
	char got[6];

	secure(loop, &server, &client, TLS1_2_VERSION);
	assert_int_equal(SSL_renegotiate(client.ssl), 1);
	(void)SSL_do_handshake(client.ssl);
	tls_client_carry(&client);
	for (int turn = 0; turn < 10; turn++) {
		assert_int_equal(loop_run_once(loop, 1), 0);
		tls_client_carry(&client);
	}
	(void)SSL_read(client.ssl, got, sizeof(got));
	assert_int_equal(ERR_GET_REASON(ERR_peek_error()), SSL_R_NO_RENEGOTIATION);
	ERR_clear_error();
	assert_int_equal(server.secured_calls, 1);
	finish(loop, &server, &client);
}

static void test_some_key_updates_are_answered_and_a_flood_ends_it(void **state)
{
	struct loop *loop = test_loop(state);
	struct tls_peer server;
	struct tls_client client;
	char got[6];

	secure(loop, &server, &client, TLS1_3_VERSION);
	if (tls_stream_ktls(&server.peer.stream) == TLS_KTLS_SENDS) {
		finish(loop, &server, &client); /* test_tls_ktls.c has what happens then */
		skip();
	}
	for (int i = 0; i < 10; i++) {
		assert_int_equal(SSL_key_update(client.ssl, SSL_KEY_UPDATE_REQUESTED), 1);
		client_write(&client, "x", 1);
		carry_until(loop, &client, server.peer.received_len == (size_t)i + 1);
	}
	peer_send(&server.peer, "answer", 6);
	client_read(loop, &client, got, 6);
	assert_memory_equal(got, "answer", 6);
	for (int i = 0; i < 2 * TLS_BARREN_MAX; i++) {
		assert_int_equal(SSL_key_update(client.ssl, SSL_KEY_UPDATE_REQUESTED), 1);
		assert_int_equal(SSL_do_handshake(client.ssl), 1);
	}
	carry_until(loop, &client, server.peer.ends == 1);
	assert_int_equal(server.peer.end_result, -EPROTO);
	assert_string_equal(stream_error_text(&server.peer.stream),
			    "too many records without data");
	finish(loop, &server, &client);
}

/* ---- closing from callbacks ---- */

static void close_at_once(struct tls_peer *server)
{
	stream_close(&server->peer.stream);
}

static void close_on_data(struct peer *peer, struct recv_buf *buf, int result)
{
	recv_buf_unref(buf);
	stream_close(&peer->stream);
}

static void close_when_sent(struct peer *peer)
{
	stream_close(&peer->stream);
}

static void test_an_owner_may_close_in_every_callback(void **state)
{
	struct loop *loop = test_loop(state);
	struct tls_peer server;
	struct tls_client client;

	begin(loop, &server, &client, TLS1_3_VERSION);
	server.then_secured = close_at_once;
	tls_test_handshake(loop, &server, &client);
	assert_int_equal(client_end(loop, &client), 1);
	assert_int_equal(server.peer.closed_calls, 1);
	finish(loop, &server, &client);

	secure(loop, &server, &client, TLS1_3_VERSION);
	server.peer.then_recv = close_on_data;
	for (int i = 0; i < 3; i++)
		client_write(&client, pattern(1, 0), 16384);
	tls_client_carry(&client);
	run_until(loop, server.peer.closed_calls == 1);
	assert_int_equal(server.peer.recv_calls, 1);
	finish(loop, &server, &client);

	secure(loop, &server, &client, TLS1_3_VERSION);
	server.peer.then_sent = close_when_sent;
	peer_send(&server.peer, "bye", 3);
	assert_int_equal(client_end(loop, &client), 1);
	assert_int_equal(server.peer.closed_calls, 1);
	finish(loop, &server, &client);
}

static void test_a_reset_in_a_send_is_told(void **state)
{
	enum { LEN = 20000000 };
	struct loop *loop = test_loop(state);
	struct tls_peer server;
	struct tls_client client;
	char *data = calloc(1, LEN);

	assert_non_null(data);
	secure(loop, &server, &client, TLS1_3_VERSION);
	peer_send(&server.peer, data, LEN);
	for (int turn = 0; turn < 5; turn++)
		assert_int_equal(loop_run_once(loop, 1), 0);
	assert_int_equal(server.peer.sent_calls, 0);
	socket_reset_on_close(client.fd);
	(void)close(client.fd);
	client.fd = -1;
	run_until(loop, server.peer.sent_calls == 1);
	assert_true(server.peer.sent_result < 0);
	run_until(loop, server.peer.ends == 1);
	assert_true(server.peer.end_result < 0);
	free(data);
	finish(loop, &server, &client);
}

#define TEST(name) BOTH_ENGINES(name)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_a_close_notify_is_the_end_and_a_bare_end_is_a_cut),
		TEST(test_what_follows_a_close_notify_is_not_told),
		TEST(test_closing_says_so_and_aborting_does_not),
		TEST(test_a_close_in_the_handshake_is_told),
		TEST(test_what_is_no_handshake_is_refused_by_reason),
		TEST(test_no_version_and_no_cipher_in_common_are_told_apart),
		TEST(test_a_damaged_record_ends_it_with_an_alert),
		TEST(test_renegotiation_is_refused),
		TEST(test_some_key_updates_are_answered_and_a_flood_ends_it),
		TEST(test_an_owner_may_close_in_every_callback),
		TEST(test_a_reset_in_a_send_is_told),
	};

	return cmocka_run_group_tests(tests, tls_test_setup, tls_test_teardown);
}

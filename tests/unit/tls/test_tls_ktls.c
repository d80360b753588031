/* Records made by the kernel where it can (tests/vm runs this there), and what happens where not.
 */
#include "tls/tls_test.h"

#include <linux/tls.h>
#include <sys/mman.h>

#include "io/splice_pipe.h"
#include "test_support.h"

static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
#define FOR_BOTH_VERSIONS(version)                                                                 \
	for (size_t version##_index = 0; version##_index < ARRAY_SIZE(versions);                   \
	     version##_index++)                                                                    \
		for (int version = versions[version##_index], *once = &version; once; once = NULL)

#define CLOSE_NOTIFY_END (-2) /* what client_drain() says of it */

static unsigned int rekeys;

static unsigned int receives;

static void count_event(void *arg, enum tls_ktls_event event)
{
	assert_ptr_equal(arg, &tls_test);
	if (event == TLS_KTLS_REKEY)
		rekeys++;
	else
		receives++;
}

static void need_kernel(void)
{
	if (!tls_ktls_support()->sends) {
		print_message("no TLS in the kernel: %s\n", tls_ktls_support()->reason);
		skip();
	}
}

static void expect_use(struct tls_peer *server)
{
	enum tls_ktls_use use = tls_stream_ktls(&server->peer.stream);

	assert_int_equal(use, tls_ktls_support()->sends ? TLS_KTLS_SENDS : TLS_KTLS_REFUSED);
	assert_int_equal(stream_can_send_pipe(&server->peer.stream), use == TLS_KTLS_SENDS);
}

/* ---- with and without ---- */

static void test_the_kernel_can_or_it_is_said_why_not(void **state)
{
	const struct tls_ktls_support *support = tls_ktls_support();
	const SSL_CIPHER *cipher =
		sk_SSL_CIPHER_value(SSL_CTX_get_ciphers(tls_test.server_context), 0);

	assert_int_equal(support->sends, !support->reason[0]);
	assert_string_equal(SSL_CIPHER_get_name(cipher), "TLS_AES_256_GCM_SHA384");
	assert_int_equal(tls_ktls_has(support, cipher), support->sends);
	assert_ptr_equal(tls_ktls_support(), support);
}

static void test_a_socket_that_is_not_tcp_is_refused(void **state)
{
	struct tls12_crypto_info_aes_gcm_128 info = {
		.info = {TLS_1_3_VERSION, TLS_CIPHER_AES_GCM_128}};
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	assert_true(tls_ktls_start(fds[0], &info) < 0);
	info.info.cipher_type = 0xffff;
	assert_int_equal(tls_ktls_start(fds[0], &info), -EOPNOTSUPP);
	(void)close(fds[0]);
	(void)close(fds[1]);
}

static void test_bytes_pass_whoever_encrypts_them(void **state)
{
	struct loop *loop = test_loop(state);
	char got[600];

	FOR_BOTH_VERSIONS(version)
	{
		struct tls_peer server;
		struct tls_client client;

		secure(loop, &server, &client, version);
		expect_use(&server);
		for (int i = 0; i < 3; i++) {
			client_write(&client, pattern(1, 0), 600);
			carry_until(loop, &client, server.peer.received_len == 600);
			assert_memory_equal(server.peer.received, pattern(1, 0), 600);
			server.peer.received_len = 0;
			peer_send(&server.peer, pattern(2, 0), 600);
			client_read(loop, &client, got, 600);
			assert_memory_equal(got, pattern(2, 0), 600);
			run_until(loop, server.peer.sent_calls == (unsigned int)i + 1);
			assert_int_equal(server.peer.sent_result, 600);
		}
		finish(loop, &server, &client);
	}
}

/* The order of the first answer and of what OpenSSL says of the handshake, in one turn. */
static void send_at_once(struct tls_peer *server)
{
	peer_send(&server->peer, "welcome", 7);
}

static void test_an_answer_in_the_handshakes_turn_follows_it(void **state)
{
	struct loop *loop = test_loop(state);
	char got[7];

	FOR_BOTH_VERSIONS(version)
	{
		struct tls_peer server;
		struct tls_client client;

		begin(loop, &server, &client, version);
		server.then_secured = send_at_once;
		tls_test_handshake(loop, &server, &client);
		client_read(loop, &client, got, 7);
		assert_memory_equal(got, "welcome", 7);
		expect_use(&server);
		finish(loop, &server, &client);
	}
}

static void test_another_cipher_is_encrypted_here(void **state)
{
	struct loop *loop = test_loop(state);
	struct tls_peer server;
	struct tls_client client;
	char got[6];

	begin(loop, &server, &client, TLS1_2_VERSION);
	assert_int_equal(SSL_set_cipher_list(client.ssl, "ECDHE-ECDSA-AES128-CCM8"), 1);
	assert_int_equal(
		SSL_set_cipher_list(tls_stream_ssl(&server.peer.stream), "ECDHE-ECDSA-AES128-CCM8"),
		1);
	tls_test_handshake(loop, &server, &client);
	assert_int_equal(tls_stream_ktls(&server.peer.stream), TLS_KTLS_NO_CIPHER);
	peer_send(&server.peer, "answer", 6);
	client_read(loop, &client, got, 6);
	assert_memory_equal(got, "answer", 6);
	finish(loop, &server, &client);
}

static void test_where_it_is_not_wanted_it_is_not_tried(void **state)
{
	struct loop *loop = test_loop(state);
	struct tls_peer server;
	struct tls_client client;

	begin(loop, &server, &client, TLS1_3_VERSION);
	(void)SSL_clear_options(tls_stream_ssl(&server.peer.stream), SSL_OP_ENABLE_KTLS);
	tls_test_handshake(loop, &server, &client);
	assert_false(stream_can_send_pipe(&server.peer.stream));
	finish(loop, &server, &client);
}

/* ---- with it ---- */

/* Reads what there is; CLOSE_NOTIFY_END, or the number of bytes so far. */
static int client_drain(struct tls_client *client, size_t *bytes)
{
	char room[16384];
	size_t got;
	int ret;

	while ((ret = SSL_read_ex(client->ssl, room, sizeof(room), &got)) == 1)
		*bytes += got;
	return SSL_get_error(client->ssl, ret) == SSL_ERROR_ZERO_RETURN ? CLOSE_NOTIFY_END
									: (int)*bytes;
}

static void test_files_and_pipes_go_as_they_are(void **state)
{
	enum { LEN = 300000 };
	struct loop *loop = test_loop(state);
	char *content, *got;
	int file;

	need_kernel();
	content = malloc(LEN);
	got = malloc(LEN);
	file = memfd_create("file", MFD_CLOEXEC);
	assert_true(content && got && file >= 0);
	for (size_t i = 0; i < LEN; i++)
		content[i] = (char)(i * 7 + i / 251);
	assert_int_equal(write(file, content, LEN), LEN);
	FOR_BOTH_VERSIONS(version)
	{
		struct iovec head = {.iov_base = content, .iov_len = 1000};
		struct splice_pipe *pipe = splice_pipe_get(loop);
		struct tls_peer server;
		struct tls_client client;
		int64_t sent = 1000;

		secure(loop, &server, &client, version);
		assert_int_equal(
			stream_send_file(&server.peer.stream, &head, 1, file, 1000, LEN - 1000), 0);
		carry_until(loop, &client, server.peer.sent_calls == 1);
		for (sent = server.peer.sent_result; sent < LEN;) {
			unsigned int calls = server.peer.sent_calls;

			assert_int_equal(stream_send_file(&server.peer.stream, NULL, 0, file,
							  (uint64_t)sent, (uint64_t)(LEN - sent)),
					 0);
			carry_until(loop, &client, server.peer.sent_calls == calls + 1);
			assert_true(server.peer.sent_result > 0);
			sent += server.peer.sent_result;
		}
		client_read(loop, &client, got, LEN);
		assert_memory_equal(got, content, LEN);

		assert_non_null(pipe);
		assert_int_equal(write(pipe->in_fd, content, 5000), 5000);
		pipe->bytes = 5000;
		server.peer.sent_calls = 0;
		assert_int_equal(stream_send_pipe(&server.peer.stream, &head, 1, pipe, 5000), 0);
		client_read(loop, &client, got, 6000);
		assert_memory_equal(got, content, 1000);
		assert_memory_equal(got + 1000, content, 5000);
		run_until(loop, server.peer.sent_calls == 1);
		assert_int_equal(server.peer.sent_result, 6000);
		assert_int_equal(pipe->bytes, 0);
		splice_pipe_unref(pipe);
		finish(loop, &server, &client);
	}
	(void)close(file);
	free(content);
	free(got);
}

static void test_the_last_word_waits_for_a_full_socket(void **state)
{
	enum { LEN = 16 << 20 };
	struct loop *loop = test_loop(state);
	char *content;

	need_kernel();
	content = calloc(1, LEN);
	assert_non_null(content);
	FOR_BOTH_VERSIONS(version)
	{
		struct tls_peer server;
		struct tls_client client;
		size_t bytes = 0, left;

		secure(loop, &server, &client, version);
		peer_send(&server.peer, content, LEN);
		/* Until the kernel has all, and the client has to read much of it yet. */
		carry_until(loop, &client,
			    client_drain(&client, &bytes) >= 0 && server.peer.sent_calls == 1);
		stream_shutdown_send(&server.peer.stream);
		for (int turn = 0; turn < 3; turn++)
			assert_int_equal(loop_run_once(loop, 1), 0);
		left = LEN - bytes;
		carry_until(loop, &client, client_drain(&client, &bytes) == CLOSE_NOTIFY_END);
		assert_int_equal(bytes, LEN);
		print_message("%zu bytes were left when it ended\n", left);
		carry_until(loop, &client, client.ended);
		finish(loop, &server, &client);
	}
	free(content);
}

static void test_a_key_update_that_asks_for_an_answer_ends_it_cleanly(void **state)
{
	struct loop *loop = test_loop(state);
	struct iovec iov = {.iov_base = (void *)(uintptr_t) "x", .iov_len = 1};
	struct tls_peer server;
	struct tls_client client;
	size_t bytes = 0;
	char got[6];

	need_kernel();
	rekeys = 0;
	secure(loop, &server, &client, TLS1_3_VERSION);
	/* One that asks for none changes what the client sends, and that is read here. */
	assert_int_equal(SSL_key_update(client.ssl, SSL_KEY_UPDATE_NOT_REQUESTED), 1);
	client_write(&client, "before", 6);
	carry_until(loop, &client, server.peer.received_len == 6);
	peer_send(&server.peer, "answer", 6);
	client_read(loop, &client, got, 6);
	assert_int_equal(rekeys, 0);

	client_write(&client, "last", 4);
	assert_int_equal(SSL_key_update(client.ssl, SSL_KEY_UPDATE_REQUESTED), 1);
	client_write(&client, "never told", 10);
	carry_until(loop, &client, server.peer.ends == 1);
	assert_int_equal(server.peer.received_len, 10);
	assert_int_equal(server.peer.end_result, -EKEYEXPIRED);
	assert_int_equal(rekeys, 1);
	carry_until(loop, &client, client_drain(&client, &bytes) == CLOSE_NOTIFY_END);
	assert_int_equal(bytes, 0);
	/* What the owner sends then is refused. */
	server.peer.sent_calls = 0;
	assert_int_equal(stream_send(&server.peer.stream, &iov, 1), 0);
	run_until(loop, server.peer.sent_calls == 1);
	assert_int_equal(server.peer.sent_result, -EKEYEXPIRED);
	finish(loop, &server, &client);
	assert_int_equal(rekeys, 1);
}

static void test_the_send_under_way_is_whole_before_that_end(void **state)
{
	enum { LEN = 16 << 20 };
	struct loop *loop = test_loop(state);
	struct tls_peer server;
	struct tls_client client;
	size_t bytes = 0;
	char *content;

	need_kernel();
	content = calloc(1, LEN);
	assert_non_null(content);
	secure(loop, &server, &client, TLS1_3_VERSION);
	peer_send(&server.peer, content, LEN);
	for (int turn = 0; turn < 3; turn++)
		assert_int_equal(loop_run_once(loop, 1), 0);
	assert_int_equal(server.peer.sent_calls, 0);
	assert_int_equal(SSL_key_update(client.ssl, SSL_KEY_UPDATE_REQUESTED), 1);
	client_write(&client, "x", 1);
	carry_until(loop, &client, client_drain(&client, &bytes) == CLOSE_NOTIFY_END);
	assert_int_equal(bytes, LEN);
	assert_int_equal(server.peer.sent_result, LEN);
	assert_int_equal(server.peer.end_result, -EKEYEXPIRED);
	finish(loop, &server, &client);
	free(content);
}

/* ---- receiving ---- */

enum { UPLOAD = 2000000 };

/*
 * All of it. The kernel takes over where the rest of a record is in the socket when receiving has
 * stopped: as there is more than a turn takes, unless the client sends in pieces.
 */
static void upload(struct loop *loop, struct tls_peer *server, struct tls_client *client,
		   const char *content, enum recv_mode mode)
{
	uint64_t stop_ms = clock_mono_ms() + DEADLINE_MS;
	unsigned int before = receives;

	client_write(client, content, UPLOAD);
	while (server->peer.received_len < UPLOAD) {
		stream_recv_start(&server->peer.stream, mode);
		for (int i = 0; i < 6; i++)
			tls_client_carry(client);
		assert_int_equal(loop_run_once(loop, 0), 0);
		assert_true(clock_mono_ms() < stop_ms);
	}
	assert_int_equal(server->peer.received_len, UPLOAD);
	assert_memory_equal(server->peer.received, content, UPLOAD);
	assert_true(receives <= before + 1);
	if (!client->piece_bytes)
		assert_int_equal(receives, before + 1);
	stream_recv_start(&server->peer.stream, RECV_MANY);
}

static char *make_content(void)
{
	char *content = malloc(UPLOAD);

	assert_non_null(content);
	for (size_t i = 0; i < UPLOAD; i++)
		content[i] = (char)(i * 7 + i / 251);
	return content;
}

static void test_much_of_tls12_is_decrypted_by_the_kernel(void **state)
{
	static const char *const ciphers[] = {"ECDHE-ECDSA-AES128-GCM-SHA256",
					      "ECDHE-ECDSA-AES256-GCM-SHA384",
					      "ECDHE-ECDSA-CHACHA20-POLY1305"};
	static const size_t pieces[] = {0, 1000, 16413};
	struct loop *loop = test_loop(state);
	char got[6], *content;

	need_kernel();
	content = make_content();
	for (size_t i = 0; i < ARRAY_SIZE(ciphers); i++) {
		struct tls_peer server;
		struct tls_client client;

		begin(loop, &server, &client, TLS1_2_VERSION);
		assert_int_equal(SSL_set_cipher_list(client.ssl, ciphers[i]), 1);
		tls_test_handshake(loop, &server, &client);
		client.piece_bytes = pieces[i];
		upload(loop, &server, &client, content, i == 1 ? RECV_ONE : RECV_MANY);
		peer_send(&server.peer, "answer", 6);
		client_read(loop, &client, got, 6);
		assert_memory_equal(got, "answer", 6);
		server.peer.received_len = 0;
		client_write(&client, "more", 4);
		carry_until(loop, &client, server.peer.received_len == 4);
		finish(loop, &server, &client);
	}
	free(content);
}

static void test_ends_are_told_apart_when_the_kernel_decrypts(void **state)
{
	enum { CUT, NOTIFIED, DAMAGED, REFUSED, KINDS };
	static const int results[KINDS] = {
		[CUT] = STREAM_CUT, [NOTIFIED] = 0, [DAMAGED] = -EBADMSG, [REFUSED] = -EPROTO};
	struct loop *loop = test_loop(state);
	char *content;

	need_kernel();
	content = make_content();
	for (int kind = 0; kind < KINDS; kind++) {
		struct tls_peer server;
		struct tls_client client;

		secure(loop, &server, &client, TLS1_2_VERSION);
		upload(loop, &server, &client, content, RECV_MANY);
		server.peer.received_len = 0;
		client_write(&client, "last words", 10);
		tls_client_carry(&client);
		if (kind == NOTIFIED)
			assert_int_equal(SSL_shutdown(client.ssl), 0);
		else if (kind == REFUSED)
			assert_int_equal(
				SSL_renegotiate(client.ssl) && SSL_do_handshake(client.ssl) < 0, 1);
		else if (kind == DAMAGED)
			assert_int_equal(send(client.fd,
					      "\x17\x03\x03\0\x20"
					      "a record that was not encrypted, so",
					      37, MSG_NOSIGNAL),
					 37);
		tls_client_carry(&client);
		if (kind == CUT)
			assert_int_equal(shutdown(client.fd, SHUT_WR), 0);
		carry_until(loop, &client, server.peer.ends == 1);
		assert_int_equal(server.peer.received_len, 10);
		assert_memory_equal(server.peer.received, "last words", 10);
		assert_int_equal(server.peer.end_result, results[kind]);
		ERR_clear_error();
		finish(loop, &server, &client);
	}
	free(content);
}

static void test_tls13_is_decrypted_here(void **state)
{
	struct loop *loop = test_loop(state);
	struct tls_peer server;
	struct tls_client client;
	unsigned int before = receives;
	char *content = make_content();

	secure(loop, &server, &client, TLS1_3_VERSION);
	client_write(&client, content, UPLOAD);
	carry_until(loop, &client, server.peer.received_len == UPLOAD);
	assert_memory_equal(server.peer.received, content, UPLOAD);
	assert_int_equal(receives, before);
	finish(loop, &server, &client);
	free(content);
}

#define TEST(name) BOTH_ENGINES(name)

static int set_up_group(void **state)
{
	int ret = tls_test_setup(state);

	(void)SSL_CTX_set_options(tls_test.server_context, SSL_OP_ENABLE_KTLS);
	SSL_CTX_set_security_level(tls_test.server_context, 1); /* of CCM8 */
	SSL_CTX_set_security_level(tls_test.client_context, 1);
	tls_worker_set_on_ktls(tls_test.worker, count_event, &tls_test);
	return ret;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_kernel_can_or_it_is_said_why_not),
		cmocka_unit_test(test_a_socket_that_is_not_tcp_is_refused),
		TEST(test_bytes_pass_whoever_encrypts_them),
		TEST(test_an_answer_in_the_handshakes_turn_follows_it),
		TEST(test_another_cipher_is_encrypted_here),
		TEST(test_where_it_is_not_wanted_it_is_not_tried),
		TEST(test_files_and_pipes_go_as_they_are),
		TEST(test_the_last_word_waits_for_a_full_socket),
		TEST(test_a_key_update_that_asks_for_an_answer_ends_it_cleanly),
		TEST(test_the_send_under_way_is_whole_before_that_end),
		TEST(test_much_of_tls12_is_decrypted_by_the_kernel),
		TEST(test_ends_are_told_apart_when_the_kernel_decrypts),
		TEST(test_tls13_is_decrypted_here),
	};

	return cmocka_run_group_tests(tests, set_up_group, tls_test_teardown);
}

#include "tls/tls_test.h"

#include <netinet/in.h>
#include <sys/mman.h>

#include "test_support.h"

static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
#define FOR_BOTH_VERSIONS(version)                                                                 \
	for (size_t version##_index = 0; version##_index < ARRAY_SIZE(versions);                   \
	     version##_index++)                                                                    \
		for (int version = versions[version##_index], *once = &version; once; once = NULL)

/* ---- both ways ---- */

static void test_bytes_pass_both_ways_whatever_pieces_they_come_in(void **state)
{
	static const size_t pieces[] = {1, 2, 5, 6, 100, 4096, 0};
	struct loop *loop = test_loop(state);

	FOR_BOTH_VERSIONS(version)
	{
		for (size_t i = 0; i < ARRAY_SIZE(pieces); i++) {
			struct tls_peer server;
			struct tls_client client;
			char got[600];

			begin(loop, &server, &client, version);
			client.piece_bytes = pieces[i];
			tls_test_handshake(loop, &server, &client);
			assert_int_equal(SSL_version(tls_stream_ssl(&server.peer.stream)), version);
			stream_recv_start(&server.peer.stream, RECV_MANY);
			client_write(&client, pattern(1, 0), 300);
			client_write(&client, pattern(1, 300), 300);
			carry_until(loop, &client, server.peer.received_len == 600);
			assert_memory_equal(server.peer.received, pattern(1, 0), 600);
			peer_send(&server.peer, pattern(2, 0), 600);
			client_read(loop, &client, got, 600);
			assert_memory_equal(got, pattern(2, 0), 600);
			run_until(loop, server.peer.sent_calls == 1);
			assert_int_equal(server.peer.sent_result, 600);
			finish(loop, &server, &client);
		}
	}
}

static void test_long_sends_and_receives_are_whole(void **state)
{
	enum { LEN = 3000000 };
	struct loop *loop = test_loop(state);
	char *got = malloc(LEN);
	char *sent = malloc(LEN);

	assert_true(got && sent);
	for (size_t i = 0; i < LEN; i++)
		sent[i] = (char)(i * 7 + i / 251);
	FOR_BOTH_VERSIONS(version)
	{
		struct tls_peer server;
		struct tls_client client;

		secure(loop, &server, &client, version);
		peer_send(&server.peer, sent, LEN);
		client_read(loop, &client, got, LEN);
		assert_memory_equal(got, sent, LEN);
		run_until(loop, server.peer.sent_calls == 1);
		assert_int_equal(server.peer.sent_result, LEN);
		client_write(&client, sent, LEN);
		carry_until(loop, &client, server.peer.received_len == LEN);
		assert_memory_equal(server.peer.received, sent, LEN);
		finish(loop, &server, &client);
	}
	free(got);
	free(sent);
}

static void test_records_of_one_byte_are_told_together(void **state)
{
	struct loop *loop = test_loop(state);

	FOR_BOTH_VERSIONS(version)
	{
		struct tls_peer server;
		struct tls_client client;
		unsigned int calls;

		secure(loop, &server, &client, version);
		calls = server.peer.recv_calls;
		for (size_t i = 0; i < 200; i++)
			client_write(&client, pattern(3, i), 1);
		carry_until(loop, &client, server.peer.received_len == 200);
		assert_memory_equal(server.peer.received, pattern(3, 0), 200);
		assert_true(server.peer.recv_calls - calls < 10);
		finish(loop, &server, &client);
	}
}

/* Header and body of an answer are one record. */
static void test_a_vector_of_small_pieces_is_one_record(void **state)
{
	struct loop *loop = test_loop(state);
	struct tls_peer server;
	struct tls_client client;
	char got[20000];
	struct iovec iov[3] = {{.iov_base = (void *)(uintptr_t)pattern(4, 0), .iov_len = 10},
			       {.iov_base = NULL, .iov_len = 0},
			       {.iov_base = (void *)(uintptr_t)pattern(4, 10), .iov_len = 390}};

	secure(loop, &server, &client, TLS1_3_VERSION);
	assert_int_equal(stream_send(&server.peer.stream, iov, 3), 0);
	assert_int_equal(stream_send(&server.peer.stream, iov, 3), -EBUSY);
	memset(iov, 0, sizeof(iov));
	run_until(loop, server.peer.sent_calls == 1);
	assert_int_equal(server.peer.sent_result, 400);
	client_read(loop, &client, got, 1);
	assert_int_equal(SSL_pending(client.ssl), 399);
	client_read(loop, &client, got + 1, 399);
	assert_memory_equal(got, pattern(4, 0), 400);
	/* A long one is cut at 16 KiB, with its small beginning in the first record. */
	iov[0] = (struct iovec){(void *)(uintptr_t)pattern(4, 0), 100};
	iov[1] = (struct iovec){(void *)(uintptr_t)pattern(4, 100), 19900};
	assert_int_equal(stream_send(&server.peer.stream, iov, 2), 0);
	client_read(loop, &client, got, 1);
	assert_int_equal(SSL_pending(client.ssl), 16383);
	client_read(loop, &client, got + 1, 19999);
	assert_memory_equal(got, pattern(4, 0), 20000);
	run_until(loop, server.peer.sent_calls == 2);
	finish(loop, &server, &client);
}

/* A body that comes behind its head, before the turn is over, shares its record. */
static void test_pieces_of_a_turn_are_one_record(void **state)
{
	struct loop *loop = test_loop(state);
	struct iovec iov[STREAM_IOV_MAX] = {{(void *)(uintptr_t)pattern(6, 10), 390}};
	struct tls_peer server;
	struct tls_client client;
	char got[400];

	secure(loop, &server, &client, TLS1_3_VERSION);
	assert_int_equal(stream_send_more(&server.peer.stream, iov, 1, false), -EBUSY);
	peer_send(&server.peer, pattern(6, 0), 10);
	assert_int_equal(stream_send_more(&server.peer.stream, iov, 1, false), 0);
	assert_int_equal(stream_send_more(&server.peer.stream, iov, STREAM_IOV_MAX - 1, false),
			 -EINVAL);
	run_until(loop, server.peer.sent_calls == 1);
	assert_int_equal(server.peer.sent_result, 400);
	assert_false(stream_send_is_open(&server.peer.stream));
	client_read(loop, &client, got, 1);
	assert_int_equal(SSL_pending(client.ssl), 399);
	client_read(loop, &client, got + 1, 399);
	assert_memory_equal(got, pattern(6, 0), 400);
	finish(loop, &server, &client);
}

/* Long pieces are encrypted where they lie; the first one lends some of it to the head. */
static void test_long_pieces_are_records_of_their_own(void **state)
{
	static const size_t lens[] = {200, 16184, 16384, 16384, 300};
	const int first = 200 + 384 + 16184 - 12288;
	enum { LEN = 200 + 16184 + 16384 + 16384 + 300 };
	struct loop *loop = test_loop(state);
	struct iovec iov[ARRAY_SIZE(lens)];
	struct tls_peer server;
	struct tls_client client;
	char *sent = malloc(LEN + 384), *got = malloc(LEN + 384);
	size_t at = 0;

	if (getenv("SLUICE_TEST_KTLS") && tls_ktls_support()->sends) {
		free(sent);
		free(got);
		skip(); /* the kernel fills each */
	}
	assert_true(sent && got);
	for (size_t i = 0; i < LEN + 384; i++)
		sent[i] = (char)(i * 11 + i / 253);
	for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
		/* A head with which the first piece does not fit into a record. */
		size_t len = lens[i] + (i ? 0 : 384);

		iov[i] = (struct iovec){sent + at, len};
		at += len;
	}
	secure(loop, &server, &client, TLS1_3_VERSION);
	assert_int_equal(stream_send(&server.peer.stream, iov, ARRAY_SIZE(iov)), 0);
	client_read(loop, &client, got, 1);
	assert_int_equal(SSL_pending(client.ssl) + 1, first);
	client_read(loop, &client, got + 1, (size_t)first - 1);
	client_read(loop, &client, got + first, 1);
	assert_int_equal(SSL_pending(client.ssl) + 1, 12288);
	client_read(loop, &client, got + first + 1, 12287);
	client_read(loop, &client, got + first + 12288, 1);
	assert_int_equal(SSL_pending(client.ssl) + 1, 16384);
	client_read(loop, &client, got + first + 12289, at - (size_t)first - 12289);
	assert_memory_equal(got, sent, at);
	run_until(loop, server.peer.sent_calls == 1);
	assert_int_equal(server.peer.sent_result, at);
	finish(loop, &server, &client);
	free(sent);
	free(got);
}

static void test_a_send_of_nothing_completes(void **state)
{
	struct loop *loop = test_loop(state);
	struct tls_peer server;
	struct tls_client client;

	secure(loop, &server, &client, TLS1_3_VERSION);
	peer_send(&server.peer, "", 0);
	assert_int_equal(server.peer.sent_calls, 0);
	run_until(loop, server.peer.sent_calls == 1);
	assert_int_equal(server.peer.sent_result, 0);
	finish(loop, &server, &client);
}

static void send_again(struct peer *peer)
{
	if (peer->sent_calls < 50)
		peer_send(peer, pattern(5, (peer->sent_calls - 0) * 100), 100);
}

static void test_the_next_send_may_begin_where_the_last_one_ends(void **state)
{
	struct loop *loop = test_loop(state);
	struct tls_peer server;
	struct tls_client client;
	char got[5000];

	secure(loop, &server, &client, TLS1_3_VERSION);
	server.peer.then_sent = send_again;
	peer_send(&server.peer, pattern(5, 0), 100);
	client_read(loop, &client, got, sizeof(got));
	assert_memory_equal(got, pattern(5, 0), sizeof(got));
	assert_int_equal(server.peer.sent_calls, 50);
	finish(loop, &server, &client);
}

static void test_nothing_is_sent_before_the_handshake(void **state)
{
	struct loop *loop = test_loop(state);
	struct iovec iov = {.iov_base = (void *)(uintptr_t) "x", .iov_len = 1};
	struct tls_peer server;
	struct tls_client client;

	begin(loop, &server, &client, TLS1_3_VERSION);
	assert_int_equal(stream_send(&server.peer.stream, &iov, 1), -ENOTCONN);
	assert_int_equal(stream_send_file(&server.peer.stream, &iov, 1, 0, 0, 1), -ENOTCONN);
	tls_test_handshake(loop, &server, &client);
	assert_false(stream_can_splice(&server.peer.stream));
	finish(loop, &server, &client);
}

/* ---- receive modes ---- */

static void test_nothing_is_told_while_receiving_is_stopped(void **state)
{
	struct loop *loop = test_loop(state);
	struct tls_peer server;
	struct tls_client client;

	begin(loop, &server, &client, TLS1_3_VERSION);
	tls_test_handshake(loop, &server, &client);
	settle(loop, &client);
	client_write(&client, "one", 3);
	settle(loop, &client);
	assert_int_equal(server.peer.recv_calls, 0);
	stream_recv_start(&server.peer.stream, RECV_ONE);
	carry_until(loop, &client, server.peer.received_len == 3);
	client_write(&client, "two", 3);
	settle(loop, &client);
	assert_int_equal(server.peer.recv_calls, 1);
	stream_recv_start(&server.peer.stream, RECV_ONE);
	carry_until(loop, &client, server.peer.received_len == 6);
	assert_memory_equal(server.peer.received, "onetwo", 6);
	finish(loop, &server, &client);
}

/* A receive that brought a part of a record only goes on by itself. */
static void test_one_buffer_is_received_however_many_pieces_it_takes(void **state)
{
	struct loop *loop = test_loop(state);
	struct tls_peer server;
	struct tls_client client;

	secure(loop, &server, &client, TLS1_3_VERSION);
	client.piece_bytes = 1000;
	stream_recv_start(&server.peer.stream, RECV_ONE);
	client_write(&client, pattern(6, 0), 16384);
	carry_until(loop, &client, server.peer.received_len == 16384);
	assert_int_equal(server.peer.recv_calls, 1);
	assert_memory_equal(server.peer.received, pattern(6, 0), 16384);
	finish(loop, &server, &client);
}

static struct recv_buf *kept[64];
static unsigned int kept_count;

static void keep(struct peer *peer, struct recv_buf *buf, int result)
{
	if (buf) {
		peer_append(peer, buf->data, buf->len);
		kept[kept_count++] = buf;
	}
}

static int setup_few_buffers(void **state)
{
	return setup_with(state, (struct loop_config){.recv_bufs_ready = 2, .recv_bufs_max = 4});
}

/* Whoever keeps all buffers gets more when they come back, and no byte is lost meanwhile. */
static void test_without_a_free_buffer_plaintext_waits(void **state)
{
	enum { LEN = 200000 };
	struct loop *loop = test_loop(state);
	struct tls_peer server;
	struct tls_client client;
	char *sent = malloc(LEN);

	assert_non_null(sent);
	for (size_t i = 0; i < LEN; i++)
		sent[i] = (char)(i * 13 + i / 255);
	secure(loop, &server, &client, TLS1_3_VERSION);
	server.peer.then_recv = keep;
	client_write(&client, sent, LEN);
	while (server.peer.received_len < LEN) {
		for (int turn = 0; turn < 20; turn++) {
			tls_client_carry(&client);
			assert_int_equal(loop_run_once(loop, 0), 0);
		}
		assert_true(kept_count <= 4);
		while (kept_count)
			recv_buf_unref(kept[--kept_count]);
	}
	assert_memory_equal(server.peer.received, sent, LEN);
	assert_int_equal(server.peer.ends, 0);
	free(sent);
	finish(loop, &server, &client);
}

/* ---- files ---- */

static void test_a_range_of_a_file_follows_its_head(void **state)
{
	enum { LEN = 500000 };
	struct loop *loop = test_loop(state);
	int fd = memfd_create("file", MFD_CLOEXEC);
	char *got = malloc(LEN + 5);
	char *content = malloc(LEN);
	struct iovec iov = {.iov_base = (void *)(uintptr_t) "head:", .iov_len = 5};

	assert_true(fd >= 0 && got && content);
	for (size_t i = 0; i < LEN; i++)
		content[i] = (char)(i * 11 + i / 253);
	assert_int_equal(write(fd, content, LEN), LEN);
	FOR_BOTH_VERSIONS(version)
	{
		struct tls_peer server;
		struct tls_client client;
		uint64_t at = 0;

		secure(loop, &server, &client, version);
		assert_int_equal(stream_send_file(&server.peer.stream, &iov, 1, fd, 0, LEN), 0);
		for (unsigned int calls = 1; at < LEN; calls++) {
			carry_until(loop, &client, server.peer.sent_calls == calls);
			assert_true(server.peer.sent_result > 0);
			at += (uint64_t)server.peer.sent_result - (calls == 1 ? 5 : 0);
			if (at < LEN)
				assert_int_equal(stream_send_file(&server.peer.stream, NULL, 0, fd,
								  at, LEN - at),
						 0);
		}
		client_read(loop, &client, got, LEN + 5);
		assert_memory_equal(got, "head:", 5);
		assert_memory_equal(got + 5, content, LEN);
		finish(loop, &server, &client);
	}
	free(got);
	free(content);
	(void)close(fd);
}

static void test_a_file_that_became_shorter_is_told(void **state)
{
	struct loop *loop = test_loop(state);
	int fd = memfd_create("file", MFD_CLOEXEC);
	struct iovec iov = {.iov_base = (void *)(uintptr_t) "head:", .iov_len = 5};
	struct tls_peer server;
	struct tls_client client;

	assert_int_equal(write(fd, "abc", 3), 3);
	secure(loop, &server, &client, TLS1_3_VERSION);
	assert_int_equal(stream_send_file(&server.peer.stream, &iov, 1, fd, 0, 10), 0);
	run_until(loop, server.peer.sent_calls == 1);
	assert_int_equal(server.peer.sent_result, 8);
	assert_int_equal(stream_send_file(&server.peer.stream, NULL, 0, fd, 3, 7), 0);
	run_until(loop, server.peer.sent_calls == 2);
	assert_int_equal(server.peer.sent_result, -ENODATA);
	assert_int_equal(stream_send_file(&server.peer.stream, NULL, 0, -1, 3, 7), 0);
	run_until(loop, server.peer.sent_calls == 3);
	assert_int_equal(server.peer.sent_result, -ENODATA); /* the first word counts */
	(void)close(fd);
	finish(loop, &server, &client);
}

/* ---- sessions ---- */

static SSL_SESSION *new_session;

static int keep_session(SSL *ssl, SSL_SESSION *session)
{
	SSL_SESSION_free(new_session);
	new_session = session;
	return 1;
}

/* The ticket reaches the client also when it goes with the answer, and works. */
static void test_a_session_is_resumed(void **state)
{
	struct loop *loop = test_loop(state);

	SSL_CTX_set_session_cache_mode(tls_test.client_context, SSL_SESS_CACHE_CLIENT);
	SSL_CTX_sess_set_new_cb(tls_test.client_context, keep_session);
	FOR_BOTH_VERSIONS(version)
	{
		for (int round = 0; round < 3; round++) {
			struct tls_peer server;
			struct tls_client client;
			char got[6];

			begin(loop, &server, &client, version);
			if (round)
				assert_int_equal(SSL_set_session(client.ssl, new_session), 1);
			tls_test_handshake(loop, &server, &client);
			assert_int_equal(SSL_session_reused(client.ssl), round > 0);
			stream_recv_start(&server.peer.stream, RECV_MANY);
			client_write(&client, "ask", 3);
			carry_until(loop, &client, server.peer.received_len == 3);
			peer_send(&server.peer, "answer", 6);
			client_read(loop, &client, got, 6);
			assert_non_null(new_session);
			(void)SSL_shutdown(client.ssl);
			finish(loop, &server, &client);
		}
		SSL_SESSION_free(new_session);
		new_session = NULL;
	}
	SSL_CTX_sess_set_new_cb(tls_test.client_context, NULL);
}

/* ---- the client's side of the layer ---- */

static void test_two_layers_talk_to_each_other(void **state)
{
	struct loop *loop = test_loop(state);
	struct tls_peer server, client;
	int fds[2];
	SSL *ssl = SSL_new(tls_test.client_context);

	make_pair(PAIR_TCP, fds);
	tls_peer_adopt(loop, tls_test.worker, &server, fds[0], tls_test.server_context);
	SSL_set_connect_state(ssl);
	client = server;
	stream_init(&client.peer.stream, server.peer.stream.ops);
	assert_int_equal(stream_adopt(loop, &client.peer.stream, fds[1]), 0);
	assert_int_equal(tls_stream_start(tls_test.worker, &client.peer.stream, ssl), 0);
	run_until(loop, server.secured_calls == 1 && client.secured_calls == 1);
	stream_recv_start(&server.peer.stream, RECV_MANY);
	stream_recv_start(&client.peer.stream, RECV_MANY);
	peer_send(&client.peer, "question", 8);
	run_until(loop, server.peer.received_len == 8);
	peer_send(&server.peer, "answer", 6);
	run_until(loop, client.peer.received_len == 6);
	stream_close(&server.peer.stream);
	run_until(loop, client.peer.ends == 1);
	assert_int_equal(client.peer.end_result, 0);
	peer_finish(loop, &client.peer);
	peer_finish(loop, &server.peer);
}

#define TEST(name) BOTH_ENGINES(name)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_bytes_pass_both_ways_whatever_pieces_they_come_in),
		TEST(test_long_sends_and_receives_are_whole),
		TEST(test_records_of_one_byte_are_told_together),
		TEST(test_a_vector_of_small_pieces_is_one_record),
		TEST(test_pieces_of_a_turn_are_one_record),
		TEST(test_long_pieces_are_records_of_their_own),
		TEST(test_a_send_of_nothing_completes),
		TEST(test_the_next_send_may_begin_where_the_last_one_ends),
		TEST(test_nothing_is_sent_before_the_handshake),
		TEST(test_nothing_is_told_while_receiving_is_stopped),
		TEST(test_one_buffer_is_received_however_many_pieces_it_takes),
		BOTH_ENGINES_WITH(test_without_a_free_buffer_plaintext_waits, setup_few_buffers),
		TEST(test_a_range_of_a_file_follows_its_head),
		TEST(test_a_file_that_became_shorter_is_told),
		TEST(test_a_session_is_resumed),
		TEST(test_two_layers_talk_to_each_other),
	};

	return cmocka_run_group_tests(tests, tls_test_setup, tls_test_teardown);
}

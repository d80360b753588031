#include "io/io_test.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/un.h>

static const enum pair_kind kinds[] = {PAIR_UNIX, PAIR_TCP};

#define FOR_BOTH_KINDS(kind)                                                                       \
	for (size_t kind##_index = 0; kind##_index < ARRAY_SIZE(kinds); kind##_index++)            \
		for (enum pair_kind kind = kinds[kind##_index], *once = &kind; once; once = NULL)

/* ---- echo ---- */

static void echo_back(struct peer *peer, struct recv_buf *buf, int result)
{
	if (!buf)
		return;
	/* Straight from the receive buffer, which is kept until it was sent. */
	peer->arg = buf;
	peer_send(peer, buf->data, buf->len);
}

static void release_and_read_on(struct peer *peer)
{
	recv_buf_unref(peer->arg);
	peer->arg = NULL;
	stream_recv_start(&peer->stream, RECV_ONE);
}

static void test_echo_returns_the_same_bytes(void **state)
{
	struct loop *loop = test_loop(state);

	FOR_BOTH_KINDS(kind)
	{
		struct peer client, server;
		int fds[2];

		make_pair(kind, fds);
		peer_adopt(loop, &client, fds[0]);
		peer_adopt(loop, &server, fds[1]);
		server.then_recv = echo_back;
		server.then_sent = release_and_read_on;
		stream_recv_start(&server.stream, RECV_ONE);
		stream_recv_start(&client.stream, RECV_MANY);
		for (unsigned int round = 1; round <= 20; round++) {
			client.received_len = 0;
			peer_send(&client, "how does it sound", 17);
			assert_true(stream_is_sending(&client.stream));
			run_until(loop, client.sent_calls == round && client.received_len == 17);
			assert_memory_equal(client.received, "how does it sound", 17);
			assert_int_equal(client.sent_result, 17);
		}
		peer_finish(loop, &client);
		run_until(loop, server.ends == 1);
		assert_int_equal(server.end_result, 0);
		peer_finish(loop, &server);
	}
}

static void test_send_gathers_its_vector(void **state)
{
	struct loop *loop = test_loop(state);
	struct iovec iov[STREAM_IOV_MAX + 1];
	char letters[STREAM_IOV_MAX];
	struct peer left, right;
	int fds[2];

	make_pair(PAIR_TCP, fds);
	peer_adopt(loop, &left, fds[0]);
	peer_adopt(loop, &right, fds[1]);
	stream_recv_start(&right.stream, RECV_MANY);
	for (unsigned int i = 0; i < STREAM_IOV_MAX; i++) {
		letters[i] = (char)('a' + i);
		iov[i] = (struct iovec){.iov_base = &letters[i], .iov_len = i == 3 ? 0 : 1};
	}
	assert_int_equal(stream_send(&left.stream, iov, 0), -EINVAL);
	assert_int_equal(stream_send(&left.stream, iov, STREAM_IOV_MAX + 1), -EINVAL);
	assert_int_equal(stream_send(&left.stream, iov, STREAM_IOV_MAX), 0);
	assert_int_equal(stream_send(&left.stream, iov, 1), -EBUSY);
	memset(iov, 0, sizeof(iov)); /* the vector was copied */
	run_until(loop, left.sent_calls == 1 && right.received_len == STREAM_IOV_MAX - 1);
	assert_int_equal(left.sent_result, STREAM_IOV_MAX - 1);
	assert_memory_equal(right.received, "abcefghijklmnop", STREAM_IOV_MAX - 1);
	peer_finish(loop, &left);
	peer_finish(loop, &right);
	assert_int_equal(stream_send(&left.stream, iov, 1), -ENOTCONN);
}

static void test_send_of_nothing_completes(void **state)
{
	struct loop *loop = test_loop(state);

	FOR_BOTH_KINDS(kind)
	{
		struct peer left;
		int fds[2];

		make_pair(kind, fds);
		peer_adopt(loop, &left, fds[0]);
		peer_send(&left, "", 0);
		assert_int_equal(left.sent_calls, 0);
		run_until(loop, left.sent_calls == 1);
		assert_int_equal(left.sent_result, 0);
		peer_finish(loop, &left);
		(void)close(fds[1]);
	}
}

/* ---- receive modes ---- */

static void test_recv_one_delivers_once(void **state)
{
	struct loop *loop = test_loop(state);
	struct peer left;
	int fds[2];

	make_pair(PAIR_TCP, fds);
	peer_adopt(loop, &left, fds[0]);
	stream_recv_start(&left.stream, RECV_ONE);
	assert_int_equal(write(fds[1], "one", 3), 3);
	run_until(loop, left.received_len == 3);
	assert_int_equal(write(fds[1], "two", 3), 3);
	for (int turn = 0; turn < 5; turn++)
		assert_int_equal(loop_run_once(loop, 1), 0);
	assert_int_equal(left.received_len, 3);
	assert_int_equal(left.recv_calls, 1);
	stream_recv_start(&left.stream, RECV_ONE);
	run_until(loop, left.received_len == 6);
	assert_memory_equal(left.received, "onetwo", 6);
	peer_finish(loop, &left);
	(void)close(fds[1]);
}

/* Turns until nothing of the past is left: completions of cancelled operations included. */
static void settle(struct loop *loop)
{
	for (int turn = 0; turn < 5; turn++)
		assert_int_equal(loop_run_once(loop, 1), 0);
}

static void test_a_stopped_stream_delivers_nothing_and_does_not_spin(void **state)
{
	struct loop *loop = test_loop(state);

	FOR_BOTH_KINDS(kind)
	{
		struct loop_stats before, after;
		struct peer left;
		int fds[2];

		make_pair(kind, fds);
		peer_adopt(loop, &left, fds[0]);
		stream_recv_start(&left.stream, RECV_MANY);
		settle(loop);
		stream_recv_stop(&left.stream);
		settle(loop);
		assert_int_equal(write(fds[1], "data", 4), 4);
		(void)close(fds[1]); /* the hang-up must not wake us either */
		settle(loop);
		loop_get_stats(loop, &before);
		for (int turn = 0; turn < 10; turn++)
			assert_int_equal(loop_run_once(loop, 1), 0);
		loop_get_stats(loop, &after);
		assert_int_equal(after.completions, before.completions);
		assert_int_equal(left.recv_calls, 0);
		stream_recv_start(&left.stream, RECV_MANY);
		run_until(loop, left.ends == 1);
		assert_int_equal(left.received_len, 4);
		assert_int_equal(left.end_result, 0);
		peer_finish(loop, &left);
	}
}

static void test_stop_and_start_in_one_turn_keeps_receiving(void **state)
{
	struct loop *loop = test_loop(state);
	struct peer left;
	int fds[2];

	make_pair(PAIR_TCP, fds);
	peer_adopt(loop, &left, fds[0]);
	stream_recv_start(&left.stream, RECV_MANY);
	settle(loop);
	stream_recv_stop(&left.stream);
	stream_recv_start(&left.stream, RECV_MANY);
	stream_recv_start(&left.stream, RECV_MANY);
	assert_int_equal(write(fds[1], "a", 1), 1);
	run_until(loop, left.received_len == 1);
	/* And with a turn between, so that a cancellation is on its way. */
	stream_recv_stop(&left.stream);
	assert_int_equal(loop_run_once(loop, 0), 0);
	stream_recv_start(&left.stream, RECV_MANY);
	assert_int_equal(write(fds[1], "b", 1), 1);
	run_until(loop, left.received_len == 2);
	peer_finish(loop, &left);
	(void)close(fds[1]);
}

static void test_modes_change_while_receiving(void **state)
{
	struct loop *loop = test_loop(state);
	struct peer left;
	int fds[2];

	make_pair(PAIR_TCP, fds);
	peer_adopt(loop, &left, fds[0]);
	stream_recv_start(&left.stream, RECV_ONE);
	settle(loop);
	stream_recv_start(&left.stream, RECV_MANY);
	for (size_t count = 1; count <= 3; count++) {
		assert_int_equal(write(fds[1], "x", 1), 1);
		run_until(loop, left.received_len == count);
	}
	stream_recv_start(&left.stream, RECV_ONE);
	settle(loop);
	assert_int_equal(write(fds[1], "x", 1), 1);
	run_until(loop, left.received_len == 4);
	assert_int_equal(write(fds[1], "x", 1), 1);
	settle(loop);
	assert_int_equal(left.received_len, 4);
	stream_recv_start(&left.stream, RECV_ONE);
	run_until(loop, left.received_len == 5);
	peer_finish(loop, &left);
	(void)close(fds[1]);
}

static void test_the_end_is_delivered_once(void **state)
{
	struct loop *loop = test_loop(state);

	FOR_BOTH_KINDS(kind)
	{
		struct peer left;
		int fds[2];

		make_pair(kind, fds);
		peer_adopt(loop, &left, fds[0]);
		stream_recv_start(&left.stream, RECV_MANY);
		assert_int_equal(write(fds[1], "last words", 10), 10);
		(void)close(fds[1]);
		run_until(loop, left.ends == 1);
		assert_int_equal(left.received_len, 10);
		assert_int_equal(left.end_result, 0);
		stream_recv_start(&left.stream, RECV_MANY);
		settle(loop);
		assert_int_equal(left.ends, 1);
		peer_finish(loop, &left);
	}
}

/* ---- half-close ---- */

static void test_half_close_lets_the_answer_through(void **state)
{
	struct loop *loop = test_loop(state);

	FOR_BOTH_KINDS(kind)
	{
		struct peer client, server;
		int fds[2];

		make_pair(kind, fds);
		peer_adopt(loop, &client, fds[0]);
		peer_adopt(loop, &server, fds[1]);
		stream_recv_start(&client.stream, RECV_MANY);
		stream_recv_start(&server.stream, RECV_ONE);
		peer_send(&client, "request", 7);
		run_until(loop, client.sent_calls == 1 && server.received_len == 7);
		stream_shutdown_send(&client.stream);
		stream_recv_start(&server.stream, RECV_ONE);
		run_until(loop, server.ends == 1);
		assert_int_equal(server.end_result, 0);
		peer_send(&server, "answer", 6);
		run_until(loop, client.received_len == 6);
		assert_int_equal(client.ends, 0);
		peer_finish(loop, &server);
		run_until(loop, client.ends == 1);
		peer_finish(loop, &client);
	}
}

/* ---- closing ---- */

static void close_it(struct peer *peer, struct recv_buf *buf, int result)
{
	recv_buf_unref(buf);
	stream_close(&peer->stream);
	assert_int_equal(peer->closed_calls, 0);
}

static void test_close_inside_on_recv_ends_the_callbacks(void **state)
{
	struct loop *loop = test_loop(state);

	FOR_BOTH_KINDS(kind)
	{
		struct peer left;
		char bytes[1000] = {0};
		int fds[2];

		make_pair(kind, fds);
		peer_adopt(loop, &left, fds[0]);
		left.then_recv = close_it;
		stream_recv_start(&left.stream, RECV_MANY);
		for (int i = 0; i < 50; i++)
			assert_int_equal(write(fds[1], bytes, sizeof(bytes)), sizeof(bytes));
		run_until(loop, left.closed_calls == 1);
		settle(loop);
		assert_int_equal(left.recv_calls, 1);
		assert_int_equal(left.closed_calls, 1);
		(void)close(fds[1]);
	}
}

static void free_it(struct peer *peer)
{
	unsigned int *freed = peer->arg;

	(*freed)++;
	memset(peer, 0xee, sizeof(*peer));
	free(peer);
}

static void test_memory_may_go_in_on_closed(void **state)
{
	struct loop *loop = test_loop(state);
	static char bytes[8 << 20];
	unsigned int freed = 0;

	for (unsigned int round = 1; round <= 20; round++) {
		struct peer *left = malloc(sizeof(*left));
		int fds[2];

		assert_non_null(left);
		make_pair(round % 2 ? PAIR_UNIX : PAIR_TCP, fds);
		peer_adopt(loop, left, fds[0]);
		left->then_closed = free_it;
		left->arg = &freed;
		/* A receive and a send that cannot end are in flight. */
		stream_recv_start(&left->stream, round % 3 ? RECV_MANY : RECV_ONE);
		peer_send(left, bytes, sizeof(bytes));
		if (round % 4)
			assert_int_equal(loop_run_once(loop, 0), 0);
		stream_close(&left->stream);
		stream_close(&left->stream);
		run_until(loop, freed == round);
		(void)close(fds[1]);
	}
}

static void test_close_during_send_makes_no_on_sent(void **state)
{
	struct loop *loop = test_loop(state);
	static char bytes[16 << 20];

	FOR_BOTH_KINDS(kind)
	{
		struct peer left;
		int fds[2];

		make_pair(kind, fds);
		peer_adopt(loop, &left, fds[0]);
		peer_send(&left, bytes, sizeof(bytes));
		settle(loop);
		assert_int_equal(left.sent_calls, 0);
		peer_finish(loop, &left);
		settle(loop);
		assert_int_equal(left.sent_calls, 0);
		/* What was sent before is there, then the end. */
		for (;;) {
			ssize_t got = read(fds[1], bytes, sizeof(bytes));

			assert_true(got >= 0);
			if (got == 0)
				break;
		}
		(void)close(fds[1]);
	}
}

static void test_abort_resets_the_connection(void **state)
{
	struct loop *loop = test_loop(state);
	struct peer left, right;
	int fds[2];

	make_pair(PAIR_TCP, fds);
	peer_adopt(loop, &left, fds[0]);
	peer_adopt(loop, &right, fds[1]);
	stream_recv_start(&left.stream, RECV_MANY);
	stream_recv_start(&right.stream, RECV_MANY);
	settle(loop);
	stream_abort(&left.stream);
	run_until(loop, left.closed_calls == 1 && right.ends == 1);
	assert_int_equal(right.end_result, -ECONNRESET);
	peer_finish(loop, &right);
}

static void test_send_to_a_closed_peer_fails(void **state)
{
	struct loop *loop = test_loop(state);

	FOR_BOTH_KINDS(kind)
	{
		static char bytes[1 << 20];
		struct peer left;
		int fds[2];

		make_pair(kind, fds);
		(void)close(fds[1]);
		peer_adopt(loop, &left, fds[0]);
		/* The first may still be taken by a TCP socket that has not heard the reset. */
		for (unsigned int i = 1; i <= 3 && left.sent_result >= 0; i++) {
			peer_send(&left, bytes, sizeof(bytes));
			run_until(loop, left.sent_calls == i);
		}
		assert_true(left.sent_result == -EPIPE || left.sent_result == -ECONNRESET);
		assert_true(stream_is_open(&left.stream));
		peer_finish(loop, &left);
	}
}

/* ---- connecting ---- */

static void test_connect_then_talk(void **state)
{
	struct loop *loop = test_loop(state);
	struct sockaddr_in in;
	int listen_fd = listen_tcp(&in, 5);
	struct sock_addr addr = test_addr(&in);
	struct peer client;
	int nodelay = 0;
	socklen_t len = sizeof(nodelay);
	char bytes[5];
	int fd;

	peer_init(&client);
	assert_int_equal(stream_connect(loop, &client.stream, &addr), 0);
	assert_int_equal(client.connected_calls, 0);
	assert_true(stream_is_open(&client.stream));
	stream_recv_start(&client.stream, RECV_MANY); /* from the time it is connected on */
	assert_int_equal(stream_send(&client.stream, NULL, 1), -ENOTCONN);
	run_until(loop, client.connected_calls == 1);
	assert_int_equal(client.connected_result, 0);
	assert_int_equal(getsockopt(client.stream.fd, IPPROTO_TCP, TCP_NODELAY, &nodelay, &len), 0);
	assert_int_equal(nodelay, 1);
	fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
	assert_true(fd >= 0);
	peer_send(&client, "hello", 5);
	assert_int_equal(write(fd, "there", 5), 5);
	run_until(loop, client.sent_calls == 1 && client.received_len == 5);
	assert_int_equal(recv(fd, bytes, 5, MSG_WAITALL), 5);
	assert_memory_equal(bytes, "hello", 5);
	peer_finish(loop, &client);
	(void)close(fd);
	(void)close(listen_fd);
}

static void test_adopted_tcp_has_no_delay(void **state)
{
	struct loop *loop = test_loop(state);
	struct peer left;
	int nodelay = 0;
	socklen_t len = sizeof(nodelay);
	int fds[2];

	make_pair(PAIR_TCP, fds);
	peer_adopt(loop, &left, fds[0]);
	assert_int_equal(getsockopt(fds[0], IPPROTO_TCP, TCP_NODELAY, &nodelay, &len), 0);
	assert_int_equal(nodelay, 1);
	peer_finish(loop, &left);
	(void)close(fds[1]);
}

static void test_connect_to_nobody_is_refused(void **state)
{
	struct loop *loop = test_loop(state);
	struct sockaddr_in in;
	struct sock_addr addr;
	struct peer client;

	/* The port was ours a moment ago, so nobody else has it. */
	(void)close(listen_tcp(&in, 1));
	addr = test_addr(&in);
	peer_init(&client);
	assert_int_equal(stream_connect(loop, &client.stream, &addr), 0);
	stream_recv_start(&client.stream, RECV_MANY);
	run_until(loop, client.connected_calls == 1);
	assert_int_equal(client.connected_result, -ECONNREFUSED);
	settle(loop);
	assert_int_equal(client.recv_calls, 0);
	assert_true(stream_is_open(&client.stream));
	peer_finish(loop, &client);
	assert_int_equal(client.connected_calls, 1);
}

/* A listener whose queue is full answers no SYN, so connecting stays pending. */
static int fill_backlog(const struct sockaddr_in *in, int fds[2])
{
	for (int i = 0; i < 2; i++) {
		fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		assert_true(fds[i] >= 0);
		if (connect(fds[i], (const struct sockaddr *)in, sizeof(*in)))
			assert_int_equal(errno, EINPROGRESS);
	}
	return 2;
}

static void test_close_while_connecting(void **state)
{
	struct loop *loop = test_loop(state);
	struct sockaddr_in in;
	int listen_fd = listen_tcp(&in, 0);
	struct sock_addr addr = test_addr(&in);
	int others[2];

	(void)fill_backlog(&in, others);
	for (int turns = 0; turns < 3; turns++) {
		struct peer client;

		peer_init(&client);
		assert_int_equal(stream_connect(loop, &client.stream, &addr), 0);
		for (int turn = 0; turn < turns; turn++)
			assert_int_equal(loop_run_once(loop, 10), 0);
		assert_int_equal(client.connected_calls, 0);
		peer_finish(loop, &client);
		settle(loop);
		assert_int_equal(client.connected_calls, 0);
	}
	(void)close(others[0]);
	(void)close(others[1]);
	(void)close(listen_fd);
}

static void close_on_connected(struct peer *peer)
{
	stream_close(&peer->stream);
}

static void test_unix_connect_works_and_is_refused(void **state)
{
	struct loop *loop = test_loop(state);
	char dir[] = "/tmp/sluice-io-XXXXXX";
	struct sock_addr addr = {.len = sizeof(addr.un)};
	struct peer client;
	int listen_fd;

	assert_non_null(mkdtemp(dir));
	addr.un.sun_family = AF_UNIX;
	(void)snprintf(addr.un.sun_path, sizeof(addr.un.sun_path), "%s/socket", dir);
	peer_init(&client);
	assert_int_equal(stream_connect(loop, &client.stream, &addr), 0);
	assert_int_equal(client.connected_calls, 0); /* known already, but told by the loop */
	run_until(loop, client.connected_calls == 1);
	assert_int_equal(client.connected_result, -ENOENT);
	peer_finish(loop, &client);

	listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(listen_fd, &addr.any, addr.len), 0);
	assert_int_equal(listen(listen_fd, 5), 0);
	peer_init(&client);
	client.then_connected = close_on_connected;
	assert_int_equal(stream_connect(loop, &client.stream, &addr), 0);
	run_until(loop, client.closed_calls == 1);
	assert_int_equal(client.connected_result, 0);

	(void)close(listen_fd);
	peer_init(&client);
	assert_int_equal(stream_connect(loop, &client.stream, &addr), 0);
	run_until(loop, client.connected_calls == 1);
	assert_int_equal(client.connected_result, -ECONNREFUSED);
	peer_finish(loop, &client);
	(void)unlink(addr.un.sun_path);
	(void)rmdir(dir);
}

static void test_connect_without_descriptors_fails_at_once(void **state)
{
	struct loop *loop = test_loop(state);
	struct sockaddr_in in = {.sin_family = AF_INET,
				 .sin_port = htons(9),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sock_addr addr = test_addr(&in);
	struct rlimit old, none;
	struct peer client;
	int result;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	none = (struct rlimit){.rlim_cur = 0, .rlim_max = old.rlim_max};
	peer_init(&client);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	result = stream_connect(loop, &client.stream, &addr);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_int_equal(result, -EMFILE);
	assert_false(stream_is_open(&client.stream));
	settle(loop);
	assert_int_equal(client.connected_calls, 0);
}

static void test_adopting_no_socket_fails_and_leaves_it(void **state)
{
	struct loop *loop = test_loop(state);
	struct peer left;

	peer_init(&left);
	assert_int_equal(stream_adopt(loop, &left.stream, -1), -EBADF);
	assert_false(stream_is_open(&left.stream));
	stream_close(&left.stream); /* harmless */
	settle(loop);
	assert_int_equal(left.closed_calls, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH_ENGINES(test_echo_returns_the_same_bytes),
		BOTH_ENGINES(test_send_gathers_its_vector),
		BOTH_ENGINES(test_send_of_nothing_completes),
		BOTH_ENGINES(test_recv_one_delivers_once),
		BOTH_ENGINES(test_a_stopped_stream_delivers_nothing_and_does_not_spin),
		BOTH_ENGINES(test_stop_and_start_in_one_turn_keeps_receiving),
		BOTH_ENGINES(test_modes_change_while_receiving),
		BOTH_ENGINES(test_the_end_is_delivered_once),
		BOTH_ENGINES(test_half_close_lets_the_answer_through),
		BOTH_ENGINES(test_close_inside_on_recv_ends_the_callbacks),
		BOTH_ENGINES(test_memory_may_go_in_on_closed),
		BOTH_ENGINES(test_close_during_send_makes_no_on_sent),
		BOTH_ENGINES(test_abort_resets_the_connection),
		BOTH_ENGINES(test_send_to_a_closed_peer_fails),
		BOTH_ENGINES(test_connect_then_talk),
		BOTH_ENGINES(test_adopted_tcp_has_no_delay),
		BOTH_ENGINES(test_connect_to_nobody_is_refused),
		BOTH_ENGINES(test_close_while_connecting),
		BOTH_ENGINES(test_unix_connect_works_and_is_refused),
		BOTH_ENGINES(test_connect_without_descriptors_fails_at_once),
		BOTH_ENGINES(test_adopting_no_socket_fails_and_leaves_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "io/stream_progress.h"

#include "io/io_test.h"

static void on_recv(struct stream *stream, struct recv_buf *buf, int result)
{
	recv_buf_unref(buf);
}

static void on_sent(struct stream *stream, int64_t result)
{
}

static unsigned int closed_count;

static void on_closed(struct stream *stream)
{
	closed_count++;
}

static const struct stream_ops ops = {
	.on_recv = on_recv, .on_sent = on_sent, .on_closed = on_closed};

static void test_acknowledged_bytes_are_those_that_the_peer_took(void **state)
{
	static char bytes[200000];
	struct loop *loop = test_loop(state);
	struct iovec iov = {bytes, sizeof(bytes)};
	struct stream_progress progress = {0};
	struct sockaddr_in in;
	int listen_fd = listen_tcp(&in, 1);
	int small = 2048, client = socket(AF_INET, SOCK_STREAM, 0);
	uint64_t before;
	struct stream stream;
	size_t got = 0;

	assert_int_equal(setsockopt(client, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)), 0);
	assert_int_equal(connect(client, (struct sockaddr *)&in, sizeof(in)), 0);
	stream_init(&stream, &ops);
	assert_int_equal(stream_get_progress(&stream, &progress), -ENOTCONN);
	assert_int_equal(stream_adopt(loop, &stream, accept(listen_fd, NULL, NULL)), 0);
	assert_int_equal(stream_get_progress(&stream, &progress), 0);
	assert_false(progress.pending);
	before = progress.acked_bytes;

	assert_int_equal(stream_send(&stream, &iov, 1), 0);
	for (unsigned int i = 0; i < 20; i++)
		assert_int_equal(loop_run_once(loop, 5), 0);
	assert_int_equal(stream_get_progress(&stream, &progress), 0);
	assert_true(progress.pending);
	assert_true(progress.acked_bytes - before < sizeof(bytes) / 2);
	while (got < sizeof(bytes)) {
		ssize_t ret = recv(client, bytes, sizeof(bytes), MSG_DONTWAIT);

		if (ret > 0)
			got += (size_t)ret;
		assert_int_equal(loop_run_once(loop, 1), 0);
	}
	run_until(loop, !stream_get_progress(&stream, &progress) && !progress.pending);
	assert_int_equal(progress.acked_bytes - before, sizeof(bytes));
	closed_count = 0;
	stream_close(&stream);
	run_until(loop, closed_count == 1);
	(void)close(client);
	(void)close(listen_fd);
}

static void test_a_stream_that_is_not_tcp_says_so(void **state)
{
	struct loop *loop = test_loop(state);
	struct stream_progress progress;
	struct stream stream;
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	stream_init(&stream, &ops);
	assert_int_equal(stream_adopt(loop, &stream, fds[0]), 0);
	assert_true(stream_get_progress(&stream, &progress) < 0);
	closed_count = 0;
	stream_close(&stream);
	run_until(loop, closed_count == 1);
	(void)close(fds[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH_ENGINES(test_acknowledged_bytes_are_those_that_the_peer_took),
		BOTH_ENGINES(test_a_stream_that_is_not_tcp_says_so),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

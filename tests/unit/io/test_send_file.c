#include "io/io_test.h"

#include <signal.h>
#include <sys/mman.h>

#include "io/send_queue.h"

static const enum pair_kind kinds[] = {PAIR_UNIX, PAIR_TCP};

/* A file of `len` bytes of the pattern, without a name. */
static int make_file(size_t len)
{
	int fd = memfd_create("file", MFD_CLOEXEC);

	assert_true(fd >= 0);
	for (size_t at = 0; at < len;) {
		size_t piece = MIN(len - at, (size_t)PATTERN_RUN);

		assert_int_equal(write(fd, pattern(5, at), piece), (ssize_t)piece);
		at += piece;
	}
	return fd;
}

/* ---- one send ---- */

static void send_file(struct peer *peer, struct str head, int fd, uint64_t offset, uint64_t len)
{
	struct iovec iov = {.iov_base = (void *)(uintptr_t)head.ptr, .iov_len = head.len};

	assert_int_equal(stream_send_file(&peer->stream, &iov, head.len ? 1 : 0, fd, offset, len),
			 0);
}

static void test_a_head_and_a_range_of_a_file_arrive_in_order(void **state)
{
	struct loop *loop = test_loop(state);
	int file = make_file(10000);

	for (size_t kind = 0; kind < ARRAY_SIZE(kinds); kind++) {
		struct peer left, right;
		int fds[2];

		make_pair(kinds[kind], fds);
		peer_adopt(loop, &left, fds[0]);
		peer_adopt(loop, &right, fds[1]);
		stream_recv_start(&right.stream, RECV_MANY);
		send_file(&left, STR("head:"), file, 123, 5000);
		assert_true(stream_is_sending(&left.stream));
		assert_int_equal(left.sent_calls, 0);
		run_until(loop, left.sent_calls == 1 && right.received_len == 5005);
		assert_int_equal(left.sent_result, 5005);
		assert_memory_equal(right.received, "head:", 5);
		assert_memory_equal(right.received + 5, pattern(5, 123), 5000);
		/* Memory, file and memory again on the same stream, both ways. */
		peer_send(&left, "x", 1);
		run_until(loop, left.sent_calls == 2);
		send_file(&left, STR(""), file, 0, 1);
		run_until(loop, left.sent_calls == 3);
		stream_recv_start(&left.stream, RECV_ONE);
		peer_send(&right, "y", 1);
		run_until(loop, left.received_len == 1 && right.received_len == 5007);
		assert_int_equal(right.received[5005], 'x');
		assert_int_equal(right.received[5006], pattern(5, 0)[0]);
		peer_finish(loop, &left);
		peer_finish(loop, &right);
	}
	(void)close(file);
}

static void test_what_cannot_be_sent_is_refused_at_once(void **state)
{
	struct loop *loop = test_loop(state);
	int file = make_file(10);
	struct iovec iov[STREAM_IOV_MAX + 1] = {{0}};
	struct peer left;
	int fds[2];

	make_pair(PAIR_TCP, fds);
	peer_adopt(loop, &left, fds[0]);
	assert_int_equal(stream_send_file(&left.stream, NULL, 0, file, 0, 0), -EINVAL);
	assert_int_equal(stream_send_file(&left.stream, iov, STREAM_IOV_MAX + 1, file, 0, 1),
			 -EINVAL);
	assert_int_equal(stream_send_file(&left.stream, NULL, 0, file, 1ULL << 63, 1), -EINVAL);
	assert_int_equal(stream_send_file(&left.stream, NULL, 0, file, 1, INT64_MAX), -EINVAL);
	send_file(&left, STR(""), file, 0, 10);
	assert_int_equal(stream_send_file(&left.stream, NULL, 0, file, 0, 10), -EBUSY);
	run_until(loop, left.sent_calls == 1);
	peer_finish(loop, &left);
	assert_int_equal(stream_send_file(&left.stream, NULL, 0, file, 0, 10), -ENOTCONN);
	(void)close(fds[1]);
	(void)close(file);
}

/* ---- ends ---- */

static void test_a_file_that_ends_before_its_range_is_an_error(void **state)
{
	struct loop *loop = test_loop(state);
	int file = make_file(1000);

	for (size_t kind = 0; kind < ARRAY_SIZE(kinds); kind++) {
		struct peer left, right;
		int fds[2];

		make_pair(kinds[kind], fds);
		peer_adopt(loop, &left, fds[0]);
		peer_adopt(loop, &right, fds[1]);
		stream_recv_start(&right.stream, RECV_MANY);
		send_file(&left, STR("head:"), file, 900, 300);
		run_until(loop, left.sent_calls == 1 && right.received_len == 105);
		assert_int_equal(left.sent_result, 105);
		send_file(&left, STR(""), file, 1000, 200);
		run_until(loop, left.sent_calls == 2);
		assert_int_equal(left.sent_result, -ENODATA);
		assert_int_equal(right.received_len, 105);
		peer_finish(loop, &left);
		peer_finish(loop, &right);
	}
	(void)close(file);
}

static void test_a_peer_that_is_gone_is_an_error(void **state)
{
	struct loop *loop = test_loop(state);
	int file = make_file(1000);

	for (size_t kind = 0; kind < ARRAY_SIZE(kinds); kind++) {
		struct peer left;
		int fds[2];

		make_pair(kinds[kind], fds);
		peer_adopt(loop, &left, fds[0]);
		(void)close(fds[1]);
		for (unsigned int call = 1; call <= 3 && left.sent_result >= 0; call++) {
			/* TCP learns of it by the answer to what it sends. */
			send_file(&left, STR(""), file, 0, 1000);
			run_until(loop, left.sent_calls == call);
		}
		assert_true(left.sent_result == -EPIPE || left.sent_result == -ECONNRESET);
		peer_finish(loop, &left);
	}
	(void)close(file);
}

static void test_a_descriptor_that_cannot_be_read_is_an_error(void **state)
{
	struct loop *loop = test_loop(state);
	struct peer left;
	int fds[2], file = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	make_pair(PAIR_TCP, fds);
	peer_adopt(loop, &left, fds[0]);
	send_file(&left, STR(""), file, 0, 1000);
	run_until(loop, left.sent_calls == 1);
	assert_true(left.sent_result == -EINVAL || left.sent_result == -EISDIR);
	peer_finish(loop, &left);
	(void)close(fds[1]);
	(void)close(file);
}

/* ---- a full socket ---- */

#define LARGE (8u << 20)

static void send_rest(struct peer *peer)
{
	uint64_t *at = peer->arg;

	assert_true(peer->sent_result > 0);
	assert_true(peer->sent_result <= STREAM_FILE_AT_ONCE);
	*at += (uint64_t)peer->sent_result;
	assert_true(*at <= LARGE);
}

/* Sends until the socket takes no more: the send stays under way. */
static void fill(struct loop *loop, struct peer *left, int file, uint64_t *at)
{
	unsigned int quiet = 0;

	left->then_sent = send_rest;
	left->arg = at;
	while (quiet < 20) {
		unsigned int calls = left->sent_calls;

		if (!stream_is_sending(&left->stream))
			send_file(left, STR(""), file, *at, LARGE - *at);
		assert_int_equal(loop_run_once(loop, 1), 0);
		quiet = left->sent_calls == calls ? quiet + 1 : 0;
		assert_true(*at < LARGE); /* else the sockets took all */
	}
	assert_true(stream_is_sending(&left->stream));
}

static void test_a_full_socket_waits_without_spinning_and_goes_on(void **state)
{
	struct loop *loop = test_loop(state);
	int file = make_file(LARGE);

	for (size_t kind = 0; kind < ARRAY_SIZE(kinds); kind++) {
		struct loop_stats before, after;
		struct peer left, right;
		uint64_t at = 0;
		int fds[2];

		make_pair(kinds[kind], fds);
		peer_adopt(loop, &left, fds[0]);
		peer_adopt(loop, &right, fds[1]);
		fill(loop, &left, file, &at);
		loop_get_stats(loop, &before);
		assert_int_equal(loop_run_once(loop, 30), 0);
		loop_get_stats(loop, &after);
		assert_int_equal(after.completions, before.completions);
		stream_recv_start(&right.stream, RECV_MANY);
		while (at < LARGE) {
			run_until(loop, !stream_is_sending(&left.stream));
			if (at < LARGE)
				send_file(&left, STR(""), file, at, LARGE - at);
		}
		run_until(loop, right.received_len == LARGE);
		for (uint64_t i = 0; i < LARGE; i += PATTERN_RUN)
			assert_memory_equal(right.received + i, pattern(5, i), PATTERN_RUN);
		peer_finish(loop, &left);
		peer_finish(loop, &right);
	}
	(void)close(file);
}

static void test_closing_while_a_file_waits_ends_it(void **state)
{
	struct loop *loop = test_loop(state);
	int file = make_file(LARGE);

	for (size_t kind = 0; kind < ARRAY_SIZE(kinds); kind++) {
		struct peer left;
		uint64_t at = 0;
		unsigned int calls;
		int fds[2];

		make_pair(kinds[kind], fds);
		peer_adopt(loop, &left, fds[0]);
		fill(loop, &left, file, &at);
		calls = left.sent_calls;
		peer_finish(loop, &left);
		assert_int_equal(left.sent_calls, calls);
		(void)close(fds[1]);

		/* And before the loop has seen it at all. */
		make_pair(kinds[kind], fds);
		peer_adopt(loop, &left, fds[0]);
		send_file(&left, STR(""), file, 0, 1000);
		peer_finish(loop, &left);
		assert_int_equal(left.sent_calls, 0);
		(void)close(fds[1]);
	}
	(void)close(file);
}

static void close_now(struct peer *peer)
{
	stream_close(&peer->stream);
}

static void test_a_stream_may_be_closed_by_its_own_callback(void **state)
{
	struct loop *loop = test_loop(state);
	int file = make_file(1000);
	struct peer left;
	int fds[2];

	make_pair(PAIR_TCP, fds);
	peer_adopt(loop, &left, fds[0]);
	left.then_sent = close_now;
	stream_recv_start(&left.stream, RECV_MANY);
	send_file(&left, STR(""), file, 0, 1000);
	run_until(loop, left.closed_calls == 1);
	assert_int_equal(left.sent_calls, 1);
	(void)close(fds[1]);
	(void)close(file);
}

/* One stream with a reader as fast as it is takes no more than its share of a turn. */
static void test_a_turn_sends_a_bounded_part_of_a_file(void **state)
{
	struct loop *loop = test_loop(state);
	int file = make_file(LARGE), size = 8 << 20;
	struct loop_stats stats;
	struct peer left;
	uint64_t at = 0, first_turn;
	int fds[2];

	make_pair(PAIR_UNIX, fds);
	assert_int_equal(setsockopt(fds[0], SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)), 0);
	peer_adopt(loop, &left, fds[0]);
	left.then_sent = send_rest;
	left.arg = &at;
	loop_get_stats(loop, &stats);
	first_turn = stats.turns;
	while (at < 4 * (uint64_t)STREAM_FILE_AT_ONCE) {
		if (!stream_is_sending(&left.stream))
			send_file(&left, STR(""), file, at, LARGE - at);
		assert_int_equal(loop_run_once(loop, 0), 0);
		loop_get_stats(loop, &stats);
		assert_true(at <= (stats.turns - first_turn + 1) * STREAM_FILE_AT_ONCE);
	}
	peer_finish(loop, &left);
	(void)close(fds[1]);
	(void)close(file);
}

/* ---- the queue ---- */

struct sender {
	struct peer peer; /* first */
	struct send_queue queue;
	uint64_t sent;
	int64_t error;
};

static void queue_sent(struct peer *peer)
{
	struct sender *sender = CONTAINER_OF(peer, struct sender, peer);
	size_t before = sender->queue.bytes;

	send_queue_sent(&sender->queue, peer->sent_result);
	if (peer->sent_result < 0) {
		sender->error = peer->sent_result;
		return;
	}
	assert_int_equal(before - sender->queue.bytes, peer->sent_result);
	sender->sent += (uint64_t)peer->sent_result;
	assert_int_equal(send_queue_flush(&sender->queue, &peer->stream), 0);
}

static void test_memory_and_ranges_leave_in_the_order_of_pushing(void **state)
{
	struct loop *loop = test_loop(state);
	struct send_segment_cache cache = {0};
	struct sender sender = {.sent = 0};
	struct send_file *file;
	struct peer right;
	char *expected = malloc(LARGE);
	size_t len = 0, file_bytes = 3u << 20;
	uint64_t dice = 3;
	int fds[2];

	assert_non_null(expected);
	make_pair(PAIR_TCP, fds);
	peer_adopt(loop, &sender.peer, fds[0]);
	peer_adopt(loop, &right, fds[1]);
	sender.peer.then_sent = queue_sent;
	send_queue_init(&sender.queue, &cache);
	file = send_file_new(&cache, make_file(file_bytes));
	assert_non_null(file);
	while (len < LARGE - (2u << 20)) {
		size_t piece = next_random(&dice) % PATTERN_RUN + 1;
		uint64_t at = next_random(&dice) % file_bytes;

		switch (next_random(&dice) % 4) {
		case 0:
			piece = MIN(piece, (size_t)SEND_INLINE_MAX);
			assert_int_equal(send_queue_push_inline(&sender.queue,
								str_make(pattern(9, at), piece)),
					 0);
			memcpy(expected + len, pattern(9, at), piece);
			break;
		case 1:
			assert_int_equal(send_queue_push(&sender.queue,
							 str_make(pattern(9, at), piece), NULL),
					 0);
			memcpy(expected + len, pattern(9, at), piece);
			break;
		case 2:
			piece = MIN(file_bytes - at, next_random(&dice) % (2u << 20));
			/* fall through */
		default:
			piece = MIN(piece, file_bytes - at);
			assert_int_equal(send_queue_push_file(&sender.queue, file, at, piece), 0);
			for (size_t i = 0; i < piece; i += PATTERN_RUN)
				memcpy(expected + len + i, pattern(5, at + i),
				       MIN(piece - i, (size_t)PATTERN_RUN));
		}
		len += piece;
		assert_int_equal(sender.queue.bytes, len);
	}
	send_file_unref(file);
	assert_int_equal(send_queue_flush(&sender.queue, &sender.peer.stream), 0);
	stream_recv_start(&right.stream, RECV_ONE);
	while (right.received_len < len) {
		size_t before = right.received_len;

		run_until(loop, right.received_len > before);
		stream_recv_start(&right.stream, RECV_ONE);
	}
	run_until(loop, sender.sent == len);
	assert_true(send_queue_is_empty(&sender.queue));
	assert_int_equal(sender.queue.bytes, 0);
	assert_int_equal(right.received_len, len);
	assert_memory_equal(right.received, expected, len);
	free(expected);
	peer_finish(loop, &sender.peer);
	peer_finish(loop, &right);
	send_segment_cache_done(&cache);
}

static void test_a_queue_that_is_cleared_closes_its_files(void **state)
{
	struct loop *loop = test_loop(state);
	struct send_segment_cache cache = {0};
	struct sender sender = {.sent = 0};
	struct send_file *file;
	int fds[2], file_fd = make_file(LARGE);

	make_pair(PAIR_TCP, fds);
	peer_adopt(loop, &sender.peer, fds[0]);
	sender.peer.then_sent = queue_sent;
	send_queue_init(&sender.queue, &cache);
	file = send_file_new(&cache, file_fd);
	assert_int_equal(send_queue_push_file(&sender.queue, file, 0, LARGE), 0);
	assert_int_equal(send_queue_push_file(&sender.queue, file, 0, 0), 0);
	assert_int_equal(send_queue_push_file(&sender.queue, file, 7, 9), 0);
	send_file_unref(file);
	assert_int_equal(send_queue_flush(&sender.queue, &sender.peer.stream), 0);
	run_until(loop, sender.peer.sent_calls > 0);
	peer_finish(loop, &sender.peer);
	assert_true(fcntl(file_fd, F_GETFD) >= 0);
	send_queue_clear(&sender.queue);
	assert_int_equal(fcntl(file_fd, F_GETFD), -1);
	send_segment_cache_done(&cache);
	(void)close(fds[1]);
}

static void test_an_error_in_a_range_comes_after_what_stands_before_it(void **state)
{
	struct loop *loop = test_loop(state);
	struct send_segment_cache cache = {0};
	struct sender sender = {.sent = 0};
	struct send_file *file;
	struct peer right;
	int fds[2];

	make_pair(PAIR_TCP, fds);
	peer_adopt(loop, &sender.peer, fds[0]);
	peer_adopt(loop, &right, fds[1]);
	stream_recv_start(&right.stream, RECV_MANY);
	sender.peer.then_sent = queue_sent;
	send_queue_init(&sender.queue, &cache);
	file = send_file_new(&cache, make_file(10));
	assert_int_equal(send_queue_push(&sender.queue, STR("head:"), NULL), 0);
	assert_int_equal(send_queue_push_file(&sender.queue, file, 5, 100), 0);
	assert_int_equal(send_queue_push(&sender.queue, STR("never"), NULL), 0);
	send_file_unref(file);
	assert_int_equal(send_queue_flush(&sender.queue, &sender.peer.stream), 0);
	run_until(loop, sender.error && right.received_len == 10);
	assert_int_equal(sender.error, -ENODATA);
	assert_memory_equal(right.received, "head:", 5);
	assert_memory_equal(right.received + 5, pattern(5, 5), 5);
	peer_finish(loop, &sender.peer);
	peer_finish(loop, &right);
	send_queue_clear(&sender.queue);
	send_segment_cache_done(&cache);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH_ENGINES(test_a_head_and_a_range_of_a_file_arrive_in_order),
		BOTH_ENGINES(test_what_cannot_be_sent_is_refused_at_once),
		BOTH_ENGINES(test_a_file_that_ends_before_its_range_is_an_error),
		BOTH_ENGINES(test_a_peer_that_is_gone_is_an_error),
		BOTH_ENGINES(test_a_descriptor_that_cannot_be_read_is_an_error),
		BOTH_ENGINES(test_a_full_socket_waits_without_spinning_and_goes_on),
		BOTH_ENGINES(test_closing_while_a_file_waits_ends_it),
		BOTH_ENGINES(test_a_stream_may_be_closed_by_its_own_callback),
		BOTH_ENGINES(test_a_turn_sends_a_bounded_part_of_a_file),
		BOTH_ENGINES(test_memory_and_ranges_leave_in_the_order_of_pushing),
		BOTH_ENGINES(test_a_queue_that_is_cleared_closes_its_files),
		BOTH_ENGINES(test_an_error_in_a_range_comes_after_what_stands_before_it),
	};

	(void)signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

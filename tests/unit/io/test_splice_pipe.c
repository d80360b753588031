#include "io/io_test.h"

#include <signal.h>

#include "io/send_queue.h"

static const enum pair_kind kinds[] = {PAIR_UNIX, PAIR_TCP};

/* Passes what `from` receives on to `to` through one pipe. */
struct relay {
	struct peer from, to;
	struct loop *loop;
	struct splice_pipe *pipe;
	struct send_queue queue;
	size_t left;   /* to be received yet */
	size_t copied; /* came in buffers */
	size_t piped;
	int error;
};

static void relay_receive(struct relay *relay)
{
	if (relay->left && !relay->pipe->bytes)
		stream_recv_pipe(&relay->from.stream, relay->pipe, relay->left);
}

static void relay_piped(struct peer *peer)
{
	struct relay *relay = peer->arg;

	assert_true(peer->piped_bytes <= relay->left);
	assert_int_equal(relay->pipe->bytes, peer->piped_bytes);
	relay->left -= peer->piped_bytes;
	relay->piped += peer->piped_bytes;
	assert_int_equal(send_queue_push_pipe(&relay->queue, relay->pipe, peer->piped_bytes), 0);
	assert_int_equal(send_queue_flush(&relay->queue, &relay->to.stream), 0);
}

/* What was on its way when the pipe was asked for. */
static void relay_copied(struct peer *peer, struct recv_buf *buf, int result)
{
	struct relay *relay = peer->arg;

	if (!buf) {
		relay->error = result;
		return;
	}
	assert_true(buf->len <= relay->left);
	relay->left -= buf->len;
	relay->copied += buf->len;
	assert_int_equal(send_queue_push(&relay->queue, recv_buf_str(buf), buf), 0);
	recv_buf_unref(buf);
	assert_int_equal(send_queue_flush(&relay->queue, &relay->to.stream), 0);
	if (relay->left)
		stream_recv_pipe(&relay->from.stream, relay->pipe, relay->left);
}

static void relay_sent(struct peer *peer)
{
	struct relay *relay = peer->arg;

	send_queue_sent(&relay->queue, peer->sent_result);
	if (peer->sent_result < 0) {
		relay->error = (int)peer->sent_result;
		return;
	}
	assert_int_equal(send_queue_flush(&relay->queue, &peer->stream), 0);
	relay_receive(relay);
}

static void relay_init(struct relay *relay, struct loop *loop, struct send_segment_cache *cache,
		       int from_fd, int to_fd, size_t len)
{
	*relay = (struct relay){.loop = loop, .left = len};
	peer_adopt(loop, &relay->from, from_fd);
	peer_adopt(loop, &relay->to, to_fd);
	relay->from.arg = relay->to.arg = relay;
	relay->from.then_piped = relay_piped;
	relay->from.then_recv = relay_copied;
	relay->to.then_sent = relay_sent;
	send_queue_init(&relay->queue, cache);
	relay->pipe = splice_pipe_get(loop);
	assert_non_null(relay->pipe);
}

static void relay_finish(struct relay *relay)
{
	peer_finish(relay->loop, &relay->from);
	peer_finish(relay->loop, &relay->to);
	send_queue_clear(&relay->queue);
	splice_pipe_unref(relay->pipe);
}

/* Blocking peers on threads would hide who waits for whom: both ends are turned by hand. */
struct ends {
	int source, sink; /* non-blocking */
	uint64_t sent, got;
	uint64_t source_most; /* what is sent at all */
};

static void pump(struct ends *ends, uint64_t len, size_t sink_most)
{
	char room[32768];

	while (ends->sent < MIN(len, ends->source_most)) {
		size_t want = MIN(MIN(len, ends->source_most) - ends->sent, (uint64_t)PATTERN_RUN);
		ssize_t part = send(ends->source, pattern(3, ends->sent), want,
				    MSG_DONTWAIT | MSG_NOSIGNAL);

		if (part < 0)
			break;
		ends->sent += (uint64_t)part;
	}
	for (size_t taken = 0; taken < sink_most;) {
		ssize_t part =
			recv(ends->sink, room, MIN(sizeof(room), sink_most - taken), MSG_DONTWAIT);

		if (part <= 0)
			break;
		assert_memory_equal(room, pattern(3, ends->got), (size_t)part);
		ends->got += (uint64_t)part;
		taken += (size_t)part;
	}
}

static void relay_all(struct relay *relay, struct ends *ends, uint64_t len, size_t sink_most)
{
	uint64_t relay_until_ms = clock_mono_ms() + DEADLINE_MS;

	while (ends->got < len && !relay->error) {
		pump(ends, len, sink_most);
		assert_int_equal(loop_run_once(relay->loop, 1), 0);
		if (clock_mono_ms() > relay_until_ms)
			fail_msg("%llu of %llu bytes came", (unsigned long long)ends->got,
				 (unsigned long long)len);
	}
	assert_int_equal(relay->error, 0);
	run_until(relay->loop, !stream_is_sending(&relay->to.stream));
}

static void make_ends(enum pair_kind kind, struct ends *ends, int fds[2])
{
	int left[2], right[2];

	make_pair(kind, left);
	make_pair(kind, right);
	*ends = (struct ends){.source = left[0], .sink = right[1], .source_most = UINT64_MAX};
	fds[0] = left[1];
	fds[1] = right[0];
}

static void close_ends(const struct ends *ends)
{
	(void)close(ends->source);
	(void)close(ends->sink);
}

static void test_bytes_pass_through_a_pipe_unchanged(void **state)
{
	struct loop *loop = test_loop(state);
	struct send_segment_cache cache = {0};
	const uint64_t len = 5000001;

	for (size_t kind = 0; kind < ARRAY_SIZE(kinds); kind++) {
		struct relay relay;
		struct ends ends;
		int fds[2];

		make_ends(kinds[kind], &ends, fds);
		relay_init(&relay, loop, &cache, fds[0], fds[1], len);
		relay_receive(&relay);
		relay_all(&relay, &ends, len, SIZE_MAX);
		assert_int_equal(relay.piped, len);
		assert_int_equal(relay.copied, 0);
		assert_int_equal(relay.pipe->bytes, 0);
		relay_finish(&relay);
		close_ends(&ends);
	}
	send_segment_cache_done(&cache);
}

static void test_a_slow_reader_gets_every_byte(void **state)
{
	struct loop *loop = test_loop(state);
	struct send_segment_cache cache = {0};
	const uint64_t len = 3000000;

	for (size_t kind = 0; kind < ARRAY_SIZE(kinds); kind++) {
		struct relay relay;
		struct ends ends;
		int fds[2];

		make_ends(kinds[kind], &ends, fds);
		relay_init(&relay, loop, &cache, fds[0], fds[1], len);
		relay_receive(&relay);
		relay_all(&relay, &ends, len, 10007);
		assert_int_equal(relay.piped, len);
		relay_finish(&relay);
		close_ends(&ends);
	}
	send_segment_cache_done(&cache);
}

/* A head was received by a multishot, and the body is to go through the pipe from here on. */
static void test_buffers_on_their_way_come_before_the_pipe(void **state)
{
	struct loop *loop = test_loop(state);
	struct send_segment_cache cache = {0};
	const uint64_t len = 2000000;

	for (size_t kind = 0; kind < ARRAY_SIZE(kinds); kind++) {
		struct relay relay;
		struct ends ends;
		int fds[2];

		make_ends(kinds[kind], &ends, fds);
		relay_init(&relay, loop, &cache, fds[0], fds[1], len);
		stream_recv_start(&relay.from.stream, RECV_MANY);
		relay_all(&relay, &ends, len, SIZE_MAX);
		assert_int_equal(relay.copied + relay.piped, len);
		assert_true(relay.copied > 0);
		assert_true(relay.piped > 0);
		relay_finish(&relay);
		close_ends(&ends);
	}
	send_segment_cache_done(&cache);
}

static void test_no_more_than_was_asked_for_is_taken(void **state)
{
	struct loop *loop = test_loop(state);
	struct send_segment_cache cache = {0};

	for (size_t kind = 0; kind < ARRAY_SIZE(kinds); kind++) {
		struct relay relay;
		struct ends ends;
		int fds[2];

		make_ends(kinds[kind], &ends, fds);
		relay_init(&relay, loop, &cache, fds[0], fds[1], 1000);
		pump(&ends, 1500, 0);
		relay_receive(&relay);
		relay_all(&relay, &ends, 1000, SIZE_MAX);
		assert_int_equal(relay.left, 0);
		/* The rest is still there for whoever receives next. */
		relay.left = 500;
		stream_recv_start(&relay.from.stream, RECV_ONE);
		relay_all(&relay, &ends, 1500, SIZE_MAX);
		assert_int_equal(relay.copied, 500);
		relay_finish(&relay);
		close_ends(&ends);
	}
	send_segment_cache_done(&cache);
}

static void test_the_end_of_a_stream_is_told_while_a_pipe_waits(void **state)
{
	struct loop *loop = test_loop(state);

	for (size_t kind = 0; kind < ARRAY_SIZE(kinds); kind++) {
		struct splice_pipe *pipe = splice_pipe_get(loop);
		struct peer from;
		int fds[2];

		make_pair(kinds[kind], fds);
		peer_adopt(loop, &from, fds[0]);
		stream_recv_pipe(&from.stream, pipe, 1000);
		assert_int_equal(loop_run_once(loop, 0), 0);
		assert_int_equal(from.ends, 0);
		(void)close(fds[1]);
		run_until(loop, from.ends == 1);
		assert_int_equal(from.end_result, 0);
		assert_int_equal(from.piped_calls, 0);
		peer_finish(loop, &from);
		splice_pipe_unref(pipe);
	}
}

static void test_closing_while_a_pipe_waits_tells_nothing_more(void **state)
{
	struct loop *loop = test_loop(state);

	for (size_t kind = 0; kind < ARRAY_SIZE(kinds); kind++) {
		struct splice_pipe *pipe = splice_pipe_get(loop);
		struct peer from;
		int fds[2];

		make_pair(kinds[kind], fds);
		peer_adopt(loop, &from, fds[0]);
		stream_recv_pipe(&from.stream, pipe, 1000);
		assert_int_equal(loop_run_once(loop, 0), 0);
		assert_int_equal(send(fds[1], "late", 4, MSG_NOSIGNAL), 4);
		peer_finish(loop, &from);
		assert_int_equal(from.piped_calls, 0);
		assert_int_equal(from.recv_calls, 0);
		splice_pipe_unref(pipe);
		(void)close(fds[1]);
	}
}

static void test_receiving_into_buffers_may_follow_a_pipe_that_waits(void **state)
{
	struct loop *loop = test_loop(state);

	for (size_t kind = 0; kind < ARRAY_SIZE(kinds); kind++) {
		struct splice_pipe *pipe = splice_pipe_get(loop);
		struct peer from;
		int fds[2];

		make_pair(kinds[kind], fds);
		peer_adopt(loop, &from, fds[0]);
		stream_recv_pipe(&from.stream, pipe, 1000);
		assert_int_equal(loop_run_once(loop, 0), 0);
		stream_recv_start(&from.stream, RECV_MANY);
		assert_int_equal(send(fds[1], "bytes", 5, MSG_NOSIGNAL), 5);
		run_until(loop, from.received_len == 5);
		assert_int_equal(from.piped_calls, 0);
		peer_finish(loop, &from);
		splice_pipe_unref(pipe);
		(void)close(fds[1]);
	}
}

static void test_a_pipe_that_holds_bytes_is_not_used_again(void **state)
{
	struct loop *loop = test_loop(state);
	struct send_segment_cache cache = {0};

	for (size_t kind = 0; kind < ARRAY_SIZE(kinds); kind++) {
		struct splice_pipe *other;
		struct relay relay;
		struct ends ends;
		int fds[2];

		make_ends(kinds[kind], &ends, fds);
		relay_init(&relay, loop, &cache, fds[0], fds[1], 100);
		pump(&ends, 100, 0);
		relay.to.then_sent = NULL;
		stream_close(&relay.to.stream);
		relay.from.then_piped = NULL;
		relay_receive(&relay);
		run_until(loop, relay.from.piped_calls == 1);
		assert_int_equal(relay.pipe->bytes, 100);
		relay_finish(&relay);
		other = splice_pipe_get(loop);
		assert_int_equal(other->bytes, 0);
		splice_pipe_unref(other);
		close_ends(&ends);
	}
	send_segment_cache_done(&cache);
}

static void test_a_peer_that_is_gone_fails_the_send_of_a_pipe(void **state)
{
	struct loop *loop = test_loop(state);
	struct send_segment_cache cache = {0};

	for (size_t kind = 0; kind < ARRAY_SIZE(kinds); kind++) {
		struct relay relay;
		struct ends ends;
		int fds[2];

		make_ends(kinds[kind], &ends, fds);
		relay_init(&relay, loop, &cache, fds[0], fds[1], 10000000);
		(void)close(ends.sink);
		relay_receive(&relay);
		for (uint64_t until_ms = clock_mono_ms() + DEADLINE_MS; !relay.error;) {
			pump(&ends, 10000000, 0);
			assert_int_equal(loop_run_once(loop, 1), 0);
			assert_true(clock_mono_ms() < until_ms);
		}
		assert_true(relay.error == -EPIPE || relay.error == -ECONNRESET);
		relay_finish(&relay);
		(void)close(ends.source);
	}
	send_segment_cache_done(&cache);
}

/* The socket stays as splice(2) needed it, and a send of memory must not take that for an error. */
static void test_memory_behind_a_pipe_waits_for_a_full_socket(void **state)
{
	struct loop *loop = test_loop(state);
	struct send_segment_cache cache = {0};
	const uint64_t len = 100;

	for (size_t kind = 0; kind < ARRAY_SIZE(kinds); kind++) {
		struct str block = str_make(pattern(3, len), PATTERN_RUN);
		uint64_t all = len;
		struct relay relay;
		struct ends ends;
		int fds[2];

		make_ends(kinds[kind], &ends, fds);
		relay_init(&relay, loop, &cache, fds[0], fds[1], len);
		pump(&ends, len, 0);
		ends.source_most = len;
		relay_receive(&relay);
		run_until(loop, relay.piped == len);
		/* More than two sockets hold; the pattern goes on where the pipe's bytes end. */
		for (; all < 12000000; all += block.len) {
			block.ptr = pattern(3, all);
			assert_int_equal(send_queue_push(&relay.queue, block, NULL), 0);
		}
		assert_int_equal(send_queue_flush(&relay.queue, &relay.to.stream), 0);
		for (unsigned int turn = 0; turn < 50; turn++)
			assert_int_equal(loop_run_once(loop, 0), 0);
		assert_int_equal(relay.error, 0);
		assert_true(stream_is_sending(&relay.to.stream));
		relay_all(&relay, &ends, all, SIZE_MAX);
		assert_int_equal(ends.got, all);
		relay_finish(&relay);
		close_ends(&ends);
	}
	send_segment_cache_done(&cache);
}

static void test_a_loop_has_a_bounded_number_of_pipes(void **state)
{
	struct loop *loop = test_loop(state);
	struct splice_pipe *pipes[SPLICE_PIPES_MAX];
	struct splice_pipe *again;

	for (unsigned int i = 0; i < SPLICE_PIPES_MAX; i++) {
		pipes[i] = splice_pipe_get(loop);
		if (!pipes[i]) /* this user may have no more that are of use */
			break;
	}
	assert_non_null(pipes[0]);
	assert_null(splice_pipe_get(loop));
	splice_pipe_unref(pipes[0]);
	again = splice_pipe_get(loop);
	assert_ptr_equal(again, pipes[0]);
	for (unsigned int i = 0; i < SPLICE_PIPES_MAX && pipes[i]; i++)
		splice_pipe_unref(pipes[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH_ENGINES(test_bytes_pass_through_a_pipe_unchanged),
		BOTH_ENGINES(test_a_slow_reader_gets_every_byte),
		BOTH_ENGINES(test_buffers_on_their_way_come_before_the_pipe),
		BOTH_ENGINES(test_no_more_than_was_asked_for_is_taken),
		BOTH_ENGINES(test_the_end_of_a_stream_is_told_while_a_pipe_waits),
		BOTH_ENGINES(test_closing_while_a_pipe_waits_tells_nothing_more),
		BOTH_ENGINES(test_receiving_into_buffers_may_follow_a_pipe_that_waits),
		BOTH_ENGINES(test_a_pipe_that_holds_bytes_is_not_used_again),
		BOTH_ENGINES(test_a_peer_that_is_gone_fails_the_send_of_a_pipe),
		BOTH_ENGINES(test_memory_behind_a_pipe_waits_for_a_full_socket),
		BOTH_ENGINES(test_a_loop_has_a_bounded_number_of_pipes),
	};

	(void)signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

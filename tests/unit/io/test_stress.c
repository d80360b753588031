/*
 * Random operations on many streams with few, small receive buffers, always the same ones (the
 * seeds are fixed). Each direction of a pair carries its own pattern, so every byte that arrives is
 * checked against its place; where a direction ended in order all bytes must have arrived.
 */
#include "io/io_test.h"

enum { PAIRS = 40, OPERATIONS = 30000, HELD_MAX = 6 };

#ifndef SEEDS
#define SEEDS 5
#endif

static int setup_small(void **state)
{
	return setup_with(state, (struct loop_config){.recv_buf_bytes = 2048,
						      .recv_bufs_ready = 8,
						      .recv_bufs_max = 16,
						      .restrict_ops = true,
						      .coalesce = true});
}

struct end {
	struct stream stream;
	struct end *other;
	struct loop *loop;
	uint64_t *dice;
	uint32_t out_seed;
	uint64_t offered; /* handed to stream_send() */
	uint64_t sent;	  /* known to have been sent */
	uint64_t got;
	struct recv_buf *held[HELD_MAX];
	unsigned int held_count;
	bool in_use;
	bool closed;
	bool shut; /* sent its end in order */
	bool ended;
	bool broken; /* closed or aborted before the end: what is under way may be lost */
};

static struct end ends[PAIRS][2];
static uint64_t bytes_checked;
static unsigned int ends_checked;
static bool finishing; /* nobody keeps buffers any more: all need them */

static void release_held(struct end *end)
{
	while (end->held_count)
		recv_buf_unref(end->held[--end->held_count]);
}

static void on_recv(struct stream *stream, struct recv_buf *buf, int result)
{
	struct end *end = CONTAINER_OF(stream, struct end, stream);
	struct end *other = end->other;

	assert_true(end->in_use && !end->closed && !end->ended);
	if (!buf) {
		end->ended = true;
		if (!other->broken && !end->broken) {
			assert_int_equal(result, 0);
			assert_true(other->shut);
			assert_int_equal(end->got, other->sent);
			ends_checked++;
		}
		return;
	}
	assert_true(end->got + buf->len <= other->offered);
	if (memcmp(buf->data, pattern(other->out_seed, end->got), buf->len) != 0)
		fail_msg("bytes differ at %llu", (unsigned long long)end->got);
	end->got += buf->len;
	bytes_checked += buf->len;
	switch (next_random(end->dice) % 16) {
	case 0:
		if (end->held_count < HELD_MAX && !finishing) {
			end->held[end->held_count++] = buf;
			return;
		}
		break;
	case 1:
		stream_recv_stop(stream);
		break;
	case 2:
		stream_recv_start(stream, RECV_ONE);
		break;
	case 3:
		stream_recv_start(stream, RECV_MANY);
		break;
	default:
		break;
	}
	recv_buf_unref(buf);
}

static void on_sent(struct stream *stream, int64_t result)
{
	struct end *end = CONTAINER_OF(stream, struct end, stream);

	assert_true(end->in_use && !end->closed);
	if (result < 0) {
		assert_true(result == -EPIPE || result == -ECONNRESET);
		assert_true(end->other->broken);
		end->broken = true;
		return;
	}
	end->sent += (uint64_t)result;
	assert_int_equal(end->sent, end->offered);
}

static void on_closed(struct stream *stream)
{
	struct end *end = CONTAINER_OF(stream, struct end, stream);

	assert_true(end->in_use && !end->closed);
	end->closed = true;
	release_held(end);
}

static const struct stream_ops end_ops = {
	.on_recv = on_recv, .on_sent = on_sent, .on_closed = on_closed};

static void open_pair(struct loop *loop, struct end pair[2], uint64_t *dice)
{
	int fds[2];

	make_pair(next_random(dice) % 2 ? PAIR_TCP : PAIR_UNIX, fds);
	for (int side = 0; side < 2; side++) {
		/* All else in it must be dead by now: overwrite it. */
		memset(&pair[side], 0xa5, sizeof(pair[side]));
		pair[side] = (struct end){.other = &pair[!side],
					  .loop = loop,
					  .dice = dice,
					  .out_seed = next_random(dice),
					  .in_use = true};
		stream_init(&pair[side].stream, &end_ops);
		assert_int_equal(stream_adopt(loop, &pair[side].stream, fds[side]), 0);
	}
}

static void send_some(struct end *end)
{
	struct iovec iov[STREAM_IOV_MAX];
	unsigned int count = 1 + next_random(end->dice) % STREAM_IOV_MAX;
	uint64_t offset = end->offered;

	if (stream_is_sending(&end->stream) || end->shut || end->broken)
		return;
	for (unsigned int i = 0; i < count; i++) {
		/* Mostly little, sometimes much more than the socket takes. */
		size_t len =
			next_random(end->dice) % (next_random(end->dice) % 20 ? 3000 : PATTERN_RUN);

		iov[i] = (struct iovec){.iov_base =
						(void *)(uintptr_t)pattern(end->out_seed, offset),
					.iov_len = len};
		offset += len;
	}
	assert_int_equal(stream_send(&end->stream, iov, count), 0);
	end->offered = offset;
}

static void close_end(struct end *end, bool abruptly)
{
	if (!end->shut || !end->ended)
		end->broken = true;
	if (abruptly) {
		end->broken = true;
		stream_abort(&end->stream);
	} else {
		stream_close(&end->stream);
	}
}

static void do_something(struct loop *loop, struct end pair[2], uint64_t *dice)
{
	struct end *end = &pair[next_random(dice) % 2];
	uint32_t what = next_random(dice) % 100;

	if (!end->in_use || (pair[0].closed && pair[1].closed)) {
		open_pair(loop, pair, dice);
		return;
	}
	if (!stream_is_open(&end->stream))
		return;
	if (what < 40) {
		send_some(end);
	} else if (what < 55) {
		stream_recv_start(&end->stream, RECV_ONE);
	} else if (what < 75) {
		stream_recv_start(&end->stream, RECV_MANY);
	} else if (what < 82) {
		stream_recv_stop(&end->stream);
	} else if (what < 94) {
		release_held(end);
	} else if (what < 97) {
		if (!stream_is_sending(&end->stream) && !end->shut) {
			stream_shutdown_send(&end->stream);
			end->shut = true;
		}
	} else if (what < 99) {
		close_end(end, false);
	} else {
		close_end(end, true);
	}
}

static bool all_closed(void)
{
	for (int i = 0; i < PAIRS; i++)
		for (int side = 0; side < 2; side++)
			if (ends[i][side].in_use && !ends[i][side].closed)
				return false;
	return true;
}

/* Lets a pair that is still whole come to its end in order. */
static bool pair_is_done(struct end pair[2])
{
	bool done = true;

	for (int side = 0; side < 2; side++) {
		struct end *end = &pair[side];

		if (!end->in_use || end->closed)
			continue;
		release_held(end);
		stream_recv_start(&end->stream, RECV_MANY);
		if (!stream_is_sending(&end->stream) && !end->shut) {
			stream_shutdown_send(&end->stream);
			end->shut = true;
		}
		if (!end->ended || stream_is_sending(&end->stream))
			done = false;
	}
	return done || pair[0].broken || pair[1].broken;
}

static void run_with_seed(struct loop *loop, uint64_t seed)
{
	memset(ends, 0, sizeof(ends));
	bytes_checked = 0;
	ends_checked = 0;
	finishing = false;
	for (int i = 0; i < OPERATIONS; i++) {
		do_something(loop, ends[next_random(&seed) % PAIRS], &seed);
		if (next_random(&seed) % 4 == 0)
			assert_int_equal(loop_run_once(loop, 0), 0);
	}
	finishing = true;
	for (int i = 0; i < PAIRS; i++)
		for (int side = 0; side < 2; side++)
			release_held(&ends[i][side]);
	for (int i = 0; i < PAIRS; i++)
		run_until(loop, pair_is_done(ends[i]));
	for (int i = 0; i < PAIRS; i++)
		for (int side = 0; side < 2; side++)
			if (ends[i][side].in_use)
				stream_close(&ends[i][side].stream);
	run_until(loop, all_closed());
	/* The dice must have led somewhere. */
	assert_true(bytes_checked > 1000000);
	assert_true(ends_checked > 10);
}

static void test_random_operations_keep_every_byte(void **state)
{
	struct loop *loop = test_loop(state);
	struct loop_stats stats;

	for (uint64_t seed = 1; seed <= SEEDS; seed++)
		run_with_seed(loop, seed);
	loop_get_stats(loop, &stats);
	assert_true(stats.recv_starved > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH_ENGINES_WITH(test_random_operations_keep_every_byte, setup_small),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "io/io_test.h"

/* ---- much data, both ways, with readers that pause ---- */

#define TRANSFER_BYTES (64u << 20)
#define PAUSE_EVERY    (3u << 20)

struct mover {
	struct peer peer; /* first, so that a peer is its mover */
	struct timer pause;
	enum recv_mode mode;
	bool pauses;
	uint32_t out_seed;
	uint32_t in_seed;
	uint64_t handed_to_send;
	uint64_t sent;
	uint64_t got;
	uint64_t next_pause;
	struct recv_buf *held; /* while paused */
	uint64_t dice;
};

static struct mover *mover_of(struct peer *peer)
{
	return CONTAINER_OF(peer, struct mover, peer);
}

static void send_more(struct mover *mover)
{
	struct iovec iov[STREAM_IOV_MAX];
	unsigned int count = 1 + next_random(&mover->dice) % STREAM_IOV_MAX;
	unsigned int used = 0;

	while (used < count && mover->handed_to_send < TRANSFER_BYTES) {
		uint64_t left = TRANSFER_BYTES - mover->handed_to_send;
		size_t len = MIN(next_random(&mover->dice) % PATTERN_RUN + 1, left);

		iov[used++] = (struct iovec){.iov_base = (void *)(uintptr_t)pattern(
						     mover->out_seed, mover->handed_to_send),
					     .iov_len = len};
		mover->handed_to_send += len;
	}
	if (used)
		assert_int_equal(stream_send(&mover->peer.stream, iov, used), 0);
	else
		stream_shutdown_send(&mover->peer.stream);
}

static void moved_out(struct peer *peer)
{
	struct mover *mover = mover_of(peer);

	assert_true(peer->sent_result > 0);
	mover->sent += (uint64_t)peer->sent_result;
	assert_int_equal(mover->sent, mover->handed_to_send);
	send_more(mover);
}

static void moved_in(struct peer *peer, struct recv_buf *buf, int result)
{
	struct mover *mover = mover_of(peer);

	if (!buf) {
		assert_int_equal(result, 0);
		return;
	}
	assert_true(buf->len <= PATTERN_RUN);
	if (memcmp(buf->data, pattern(mover->in_seed, mover->got), buf->len) != 0)
		fail_msg("bytes differ at %llu..", (unsigned long long)mover->got);
	mover->got += buf->len;
	if (mover->pauses && mover->got >= mover->next_pause && !mover->held) {
		mover->next_pause = mover->got + PAUSE_EVERY;
		mover->held = buf;
		stream_recv_stop(&peer->stream);
		timer_start(peer->stream.loop, &mover->pause, 10);
		return;
	}
	recv_buf_unref(buf);
	if (!mover->held)
		stream_recv_start(&peer->stream, mover->mode);
}

static void end_pause(struct timer *timer)
{
	struct mover *mover = CONTAINER_OF(timer, struct mover, pause);

	recv_buf_unref(mover->held);
	mover->held = NULL;
	stream_recv_start(&mover->peer.stream, mover->mode);
}

static void mover_start(struct loop *loop, struct mover *mover, int fd, enum recv_mode mode,
			bool pauses, uint32_t out_seed, uint32_t in_seed)
{
	memset(mover, 0, sizeof(*mover));
	peer_adopt(loop, &mover->peer, fd);
	timer_init(&mover->pause, end_pause);
	mover->mode = mode;
	mover->pauses = pauses;
	mover->out_seed = out_seed;
	mover->in_seed = in_seed;
	mover->next_pause = PAUSE_EVERY;
	mover->dice = out_seed;
	mover->peer.then_recv = moved_in;
	mover->peer.then_sent = moved_out;
	stream_recv_start(&mover->peer.stream, mode);
	send_more(mover);
}

static void transfer(struct loop *loop, enum pair_kind kind, enum recv_mode left_mode,
		     enum recv_mode right_mode, bool pauses)
{
	struct mover left, right;
	int fds[2];

	make_pair(kind, fds);
	mover_start(loop, &left, fds[0], left_mode, pauses, 11, 4711);
	mover_start(loop, &right, fds[1], right_mode, pauses, 4711, 11);
	run_until(loop, left.peer.ends == 1 && right.peer.ends == 1);
	assert_int_equal(left.got, TRANSFER_BYTES);
	assert_int_equal(right.got, TRANSFER_BYTES);
	peer_finish(loop, &left.peer);
	peer_finish(loop, &right.peer);
}

static void test_64_mib_each_way_by_recv_one(void **state)
{
	struct loop *loop = test_loop(state);

	transfer(loop, PAIR_TCP, RECV_ONE, RECV_ONE, false);
	transfer(loop, PAIR_UNIX, RECV_ONE, RECV_ONE, false);
}

static void test_64_mib_each_way_by_recv_many(void **state)
{
	struct loop *loop = test_loop(state);

	transfer(loop, PAIR_TCP, RECV_MANY, RECV_MANY, false);
	transfer(loop, PAIR_UNIX, RECV_MANY, RECV_MANY, false);
}

static void test_64_mib_each_way_with_slow_readers(void **state)
{
	struct loop *loop = test_loop(state);

	transfer(loop, PAIR_TCP, RECV_ONE, RECV_MANY, true);
	transfer(loop, PAIR_UNIX, RECV_MANY, RECV_ONE, true);
}

/* ---- receive buffers ---- */

enum { FEW_READY = 4, FEW_MAX = 8, FEW_BYTES = 1024 };

static int setup_few_bufs(void **state)
{
	return setup_with(state, (struct loop_config){.recv_buf_bytes = FEW_BYTES,
						      .recv_bufs_ready = FEW_READY,
						      .recv_bufs_max = FEW_MAX});
}

enum { HOARDERS = 30 };

struct hoard {
	struct recv_buf *bufs[HOARDERS * 4];
	unsigned int count;
	uint64_t bytes;
};

static void keep(struct peer *peer, struct recv_buf *buf, int result)
{
	struct hoard *hoard = peer->arg;

	if (!buf)
		return;
	hoard->bufs[hoard->count++] = buf;
	hoard->bytes += buf->len;
	assert_true(hoard->count <= FEW_MAX);
}

static void starve_and_recover(struct loop *loop, enum recv_mode mode)
{
	static struct peer peers[HOARDERS];
	struct hoard hoard = {.count = 0};
	struct loop_stats before, stats;
	int far_fds[HOARDERS];
	uint64_t total = HOARDERS * 700;

	loop_get_stats(loop, &before);
	for (int i = 0; i < HOARDERS; i++) {
		int fds[2];

		make_pair(i % 2 ? PAIR_TCP : PAIR_UNIX, fds);
		peer_adopt(loop, &peers[i], fds[0]);
		peers[i].then_recv = keep;
		peers[i].arg = &hoard;
		far_fds[i] = fds[1];
		stream_recv_start(&peers[i].stream, mode);
		assert_int_equal(write(far_fds[i], pattern(0, 0), 700), 700);
	}
	run_until(loop, hoard.count == FEW_MAX);
	for (int turn = 0; turn < 10; turn++)
		assert_int_equal(loop_run_once(loop, 1), 0);
	loop_get_stats(loop, &stats);
	assert_int_equal(stats.recv_bufs_held, FEW_MAX);
	assert_int_equal(stats.recv_bufs_held_max, FEW_MAX);
	assert_true(stats.recv_starved > before.recv_starved);
	/* With nothing to give there is nothing to do: no turn may go by without a reason. */
	loop_get_stats(loop, &before);
	assert_int_equal(loop_run_once(loop, 5), 0);
	loop_get_stats(loop, &stats);
	assert_int_equal(stats.completions, before.completions);

	/* One closes while it waits for a buffer, one stops and starts again. */
	for (int i = 0; i < HOARDERS; i++)
		if (peers[i].recv_calls == 0) {
			stream_recv_stop(&peers[i].stream);
			assert_int_equal(loop_run_once(loop, 0), 0);
			stream_recv_start(&peers[i].stream, mode);
			break;
		}
	for (int i = HOARDERS - 1; i >= 0; i--)
		if (peers[i].recv_calls == 0) {
			stream_close(&peers[i].stream);
			total -= 700;
			break;
		}
	/* Buffers come back one at a time; everyone gets theirs. */
	while (hoard.bytes < total) {
		if (hoard.count)
			recv_buf_unref(hoard.bufs[--hoard.count]);
		assert_int_equal(loop_run_once(loop, 5), 0);
	}
	assert_int_equal(hoard.bytes, total);
	while (hoard.count)
		recv_buf_unref(hoard.bufs[--hoard.count]);
	for (int i = 0; i < HOARDERS; i++) {
		if (!peers[i].closed_calls)
			peer_finish(loop, &peers[i]);
		(void)close(far_fds[i]);
	}
}

static void test_starved_receives_recover_when_buffers_return(void **state)
{
	struct loop *loop = test_loop(state);

	starve_and_recover(loop, RECV_MANY);
	starve_and_recover(loop, RECV_ONE);
}

static void test_held_buffers_do_not_starve_others(void **state)
{
	enum { HELD = 600 };
	static struct recv_buf *held[HELD];
	struct loop *loop = test_loop(state);
	struct loop_stats stats;
	struct peer left;
	int fds[2];

	make_pair(PAIR_TCP, fds);
	for (int i = 0; i < HELD; i++) {
		/* More than the kernel's share are held one by one. */
		struct hoard hoard = {.count = 0};

		if (i == 0)
			peer_adopt(loop, &left, fds[0]);
		left.then_recv = keep;
		left.arg = &hoard;
		stream_recv_start(&left.stream, RECV_ONE);
		assert_int_equal(write(fds[1], pattern(1, (uint64_t)i), 1), 1);
		run_until(loop, hoard.count == 1);
		held[i] = hoard.bufs[0];
		assert_int_equal(held[i]->len, 1);
	}
	loop_get_stats(loop, &stats);
	assert_int_equal(stats.recv_bufs_held, HELD);
	assert_int_equal(stats.recv_starved, 0);
	for (int i = 0; i < HELD; i++) {
		assert_int_equal(held[i]->data[0], pattern(1, (uint64_t)i)[0]);
		recv_buf_ref(held[i]);
		recv_buf_unref(held[i]);
		recv_buf_unref(held[i]);
	}
	peer_finish(loop, &left);
	(void)close(fds[1]);
}

/* Tiny buffers make more completions in a turn than the completion queue has places. */
static int setup_tiny_bufs(void **state)
{
	return setup_with(state, (struct loop_config){.recv_buf_bytes = 16,
						      .recv_bufs_ready = 32768,
						      .recv_bufs_max = 65536});
}

static void test_a_flood_of_completions_loses_nothing(void **state)
{
	enum { STREAMS = 40 };
	static struct peer peers[STREAMS];
	struct loop *loop = test_loop(state);
	int far_fds[STREAMS];
	size_t written[STREAMS];

	for (int i = 0; i < STREAMS; i++) {
		int fds[2];

		make_pair(PAIR_TCP, fds);
		peer_adopt(loop, &peers[i], fds[0]);
		far_fds[i] = fds[1];
		stream_recv_start(&peers[i].stream, RECV_MANY);
	}
	assert_int_equal(loop_run_once(loop, 0), 0);
	for (int i = 0; i < STREAMS; i++) {
		ssize_t took = send(far_fds[i], pattern((uint32_t)i, 0), 60000, MSG_DONTWAIT);

		assert_true(took > 0);
		written[i] = (size_t)took;
		(void)close(far_fds[i]);
	}
	for (int i = 0; i < STREAMS; i++) {
		run_until(loop, peers[i].ends == 1);
		assert_int_equal(peers[i].end_result, 0);
		assert_int_equal(peers[i].received_len, written[i]);
		assert_memory_equal(peers[i].received, pattern((uint32_t)i, 0), written[i]);
	}
	for (int i = 0; i < STREAMS; i++)
		peer_finish(loop, &peers[i]);
}

/* ---- many streams ---- */

static void echo_copy(struct peer *peer, struct recv_buf *buf, int result)
{
	if (!buf)
		return;
	assert_int_equal(buf->len, sizeof(uint64_t));
	memcpy(&peer->arg, buf->data, sizeof(peer->arg));
	recv_buf_unref(buf);
	peer_send(peer, &peer->arg, sizeof(peer->arg));
}

static void test_5000_streams(void **state)
{
	enum { PAIRS = 2500 };
	struct loop *loop = test_loop(state);
	struct rlimit old, high;
	struct peer *peers;
	struct loop_stats stats;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	high = (struct rlimit){.rlim_cur = old.rlim_max, .rlim_max = old.rlim_max};
	if (high.rlim_cur < 2 * PAIRS + 100) {
		print_message("only %llu descriptors are allowed here\n",
			      (unsigned long long)high.rlim_cur);
		skip();
	}
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &high), 0);
	peers = calloc(2 * PAIRS, sizeof(*peers));
	assert_non_null(peers);
	for (uint64_t i = 0; i < PAIRS; i++) {
		int fds[2];

		make_pair(PAIR_UNIX, fds);
		peer_adopt(loop, &peers[2 * i], fds[0]);
		peer_adopt(loop, &peers[2 * i + 1], fds[1]);
		peers[2 * i + 1].then_recv = echo_copy;
		stream_recv_start(&peers[2 * i].stream, RECV_MANY);
		stream_recv_start(&peers[2 * i + 1].stream, RECV_MANY);
	}
	loop_get_stats(loop, &stats);
	assert_int_equal(stats.streams_open, 2 * PAIRS);
	for (uint64_t round = 1; round <= 3; round++) {
		uint64_t words[PAIRS];

		for (uint64_t i = 0; i < PAIRS; i++) {
			words[i] = i << 8 | round;
			peer_send(&peers[2 * i], &words[i], sizeof(words[i]));
		}
		for (uint64_t i = 0; i < PAIRS; i++) {
			run_until(loop, peers[2 * i].received_len == round * sizeof(words[i]) &&
						peers[2 * i].sent_calls == round &&
						peers[2 * i + 1].sent_calls == round);
			assert_memory_equal(peers[2 * i].received + (round - 1) * sizeof(words[i]),
					    &words[i], sizeof(words[i]));
		}
	}
	for (uint64_t i = 0; i < 2 * PAIRS; i++)
		stream_close(&peers[i].stream);
	for (uint64_t i = 0; i < 2 * PAIRS; i++) {
		run_until(loop, peers[i].closed_calls == 1);
		free(peers[i].received);
	}
	free(peers);
	assert_int_equal(loop_run_once(loop, 0), 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH_ENGINES(test_64_mib_each_way_by_recv_one),
		BOTH_ENGINES(test_64_mib_each_way_by_recv_many),
		BOTH_ENGINES(test_64_mib_each_way_with_slow_readers),
		BOTH_ENGINES_WITH(test_starved_receives_recover_when_buffers_return,
				  setup_few_bufs),
		BOTH_ENGINES(test_held_buffers_do_not_starve_others),
		BOTH_ENGINES_WITH(test_a_flood_of_completions_loses_nothing, setup_tiny_bufs),
		BOTH_ENGINES(test_5000_streams),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

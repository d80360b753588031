/*
 * Sends that nobody waits for (stream_send_quiet()), and closing in the turn in which it was asked
 * for: what both spare is turns of the loop, so what is shown here is that nothing gets lost by it.
 */
#include "io/io_test.h"

static void send_quietly(struct peer *peer, const void *data, size_t len)
{
	struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};

	assert_int_equal(stream_send_quiet(&peer->stream, &iov, 1), 0);
	assert_true(stream_is_sending(&peer->stream));
}

static void test_its_end_is_told_when_nothing_else_happens(void **state)
{
	struct loop *loop = test_loop(state);
	struct peer left;
	char got[8];
	int fds[2];

	make_pair(PAIR_TCP, fds);
	peer_adopt(loop, &left, fds[0]);
	stream_recv_start(&left.stream, RECV_MANY);
	for (unsigned int round = 1; round <= 5; round++) {
		send_quietly(&left, "quietly", 7);
		assert_int_equal(left.sent_calls, round - 1);
		run_until(loop, left.sent_calls == round);
		assert_int_equal(left.sent_result, 7);
		assert_int_equal(recv(fds[1], got, sizeof(got), MSG_DONTWAIT), 7);
		assert_memory_equal(got, "quietly", 7);
	}
	peer_finish(loop, &left);
	(void)close(fds[1]);
}

/* The socket takes a part at once; the rest follows as with any other send. */
static void test_what_a_full_socket_did_not_take_follows(void **state)
{
	static unsigned char sent[600000], got[sizeof(sent)];
	struct loop *loop = test_loop(state);
	int small = 4096;
	size_t have = 0;
	struct peer left;
	int fds[2];

	for (size_t i = 0; i < sizeof(sent); i++)
		sent[i] = (unsigned char)(i * 7 + i / 251);
	make_pair(PAIR_TCP, fds);
	assert_int_equal(setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
	peer_adopt(loop, &left, fds[0]);
	for (size_t i = 0; i < 2; i++) {
		/* The second one meets a socket that is full from the start. */
		send_quietly(&left, sent + i * sizeof(sent) / 2, sizeof(sent) / 2);
		for (unsigned int turn = 0; turn < 3; turn++)
			assert_int_equal(loop_run_once(loop, 1), 0);
		assert_int_equal(left.sent_calls, i);
		while (left.sent_calls == i) {
			ssize_t ret = recv(fds[1], got + have, MIN(sizeof(got) - have, 20000u),
					   MSG_DONTWAIT);

			if (ret > 0)
				have += (size_t)ret;
			assert_int_equal(loop_run_once(loop, 1), 0);
		}
		assert_int_equal(left.sent_result, sizeof(sent) / 2);
	}
	while (have < sizeof(got)) {
		ssize_t ret = recv(fds[1], got + have, sizeof(got) - have, 0);

		assert_true(ret > 0);
		have += (size_t)ret;
	}
	assert_memory_equal(got, sent, sizeof(sent));
	peer_finish(loop, &left);
	(void)close(fds[1]);
}

static void test_a_peer_that_is_gone_is_told(void **state)
{
	struct loop *loop = test_loop(state);
	struct peer left;
	int fds[2];

	make_pair(PAIR_UNIX, fds);
	peer_adopt(loop, &left, fds[0]);
	(void)close(fds[1]);
	send_quietly(&left, "anybody?", 8);
	run_until(loop, left.sent_calls == 1);
	assert_int_equal(left.sent_result, -EPIPE);
	peer_finish(loop, &left);
}

/* The peer has its end of file after one turn, though a receive was under way. */
static void test_closing_needs_no_second_turn(void **state)
{
	struct loop *loop = test_loop(state);
	struct peer left, next;
	int fds[2], more[2];
	char byte;

	make_pair(PAIR_TCP, fds);
	peer_adopt(loop, &left, fds[0]);
	stream_recv_start(&left.stream, RECV_MANY);
	for (unsigned int turn = 0; turn < 3; turn++)
		assert_int_equal(loop_run_once(loop, 1), 0);
	stream_close(&left.stream);
	assert_int_equal(loop_run_once(loop, 0), 0);
	assert_int_equal(recv(fds[1], &byte, 1, MSG_DONTWAIT), 0);

	/* The number of the descriptor is free, and its next owner is none of the old one's. */
	make_pair(PAIR_TCP, more);
	peer_adopt(loop, &next, more[0]);
	stream_recv_start(&next.stream, RECV_MANY);
	assert_int_equal(write(more[1], "next", 4), 4);
	run_until(loop, left.closed_calls == 1 && next.received_len == 4);
	assert_int_equal(left.received_len, 0);
	assert_int_equal(left.ends, 0);
	free(left.received);
	peer_finish(loop, &next);
	(void)close(fds[1]);
	(void)close(more[1]);
}

static void test_abort_with_a_receive_under_way_resets(void **state)
{
	struct loop *loop = test_loop(state);
	struct peer left;
	int fds[2];
	char byte;

	make_pair(PAIR_TCP, fds);
	peer_adopt(loop, &left, fds[0]);
	stream_recv_start(&left.stream, RECV_MANY);
	for (unsigned int turn = 0; turn < 3; turn++)
		assert_int_equal(loop_run_once(loop, 1), 0);
	stream_abort(&left.stream);
	run_until(loop, left.closed_calls == 1);
	assert_int_equal(recv(fds[1], &byte, 1, MSG_DONTWAIT), -1);
	assert_int_equal(errno, ECONNRESET);
	free(left.received);
	(void)close(fds[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH_ENGINES(test_its_end_is_told_when_nothing_else_happens),
		BOTH_ENGINES(test_what_a_full_socket_did_not_take_follows),
		BOTH_ENGINES(test_a_peer_that_is_gone_is_told),
		BOTH_ENGINES(test_closing_needs_no_second_turn),
		BOTH_ENGINES(test_abort_with_a_receive_under_way_resets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

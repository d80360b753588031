/* stream_send_more(): what a turn brings in pieces leaves as one send, in its order. */
#include "io/io_test.h"

#include <sys/mman.h>

#include "base/util.h"

static int send_more(struct peer *peer, const void *data, size_t len)
{
	struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};

	return stream_send_more(&peer->stream, &iov, 1, false);
}

static void test_pieces_of_a_turn_are_one_send(void **state)
{
	struct loop *loop = test_loop(state);

	for (int kind = PAIR_UNIX; kind <= PAIR_TCP; kind++) {
		struct iovec quiet = {.iov_base = (void *)(uintptr_t) "four", .iov_len = 4};
		struct peer left;
		char got[20];
		int fds[2];

		make_pair((enum pair_kind)kind, fds);
		peer_adopt(loop, &left, fds[0]);
		for (unsigned int round = 1; round <= 3; round++) {
			assert_false(stream_send_is_open(&left.stream));
			assert_int_equal(send_more(&left, "x", 1), -EBUSY);
			peer_send(&left, "one", 3);
			assert_true(stream_send_is_open(&left.stream));
			assert_int_equal(send_more(&left, "two", 3), 0);
			assert_int_equal(send_more(&left, "three", 5), 0);
			assert_int_equal(stream_send_more(&left.stream, &quiet, 1, true), 0);
			assert_int_equal(left.sent_calls, round - 1);
			run_until(loop, left.sent_calls == round);
			assert_int_equal(left.sent_result, 15);
			assert_int_equal(recv(fds[1], got, sizeof(got), MSG_DONTWAIT), 15);
			assert_memory_equal(got, "onetwothreefour", 15);
		}
		peer_finish(loop, &left);
		assert_int_equal(send_more(&left, "x", 1), -ENOTCONN);
		(void)close(fds[1]);
	}
}

static void test_vectors_too_long_together_are_refused(void **state)
{
	struct loop *loop = test_loop(state);
	struct iovec iov[STREAM_IOV_MAX];
	struct peer left;
	char got[40];
	int fds[2];

	for (unsigned int i = 0; i < STREAM_IOV_MAX; i++)
		iov[i] = (struct iovec){.iov_base = (void *)(uintptr_t) "a", .iov_len = 1};
	make_pair(PAIR_TCP, fds);
	peer_adopt(loop, &left, fds[0]);
	peer_send(&left, "b", 1);
	assert_int_equal(stream_send_more(&left.stream, iov, STREAM_IOV_MAX, false), -EINVAL);
	assert_int_equal(stream_send_more(&left.stream, iov, STREAM_IOV_MAX - 1, false), 0);
	assert_int_equal(stream_send_more(&left.stream, iov, 1, false), -EINVAL);
	run_until(loop, left.sent_calls == 1);
	assert_int_equal(left.sent_result, STREAM_IOV_MAX);
	assert_int_equal(recv(fds[1], got, sizeof(got), MSG_DONTWAIT), STREAM_IOV_MAX);
	assert_memory_equal(got, "baaaaaaaaaaaaaaa", STREAM_IOV_MAX);
	peer_finish(loop, &left);
	(void)close(fds[1]);
}

/* One that is being sent takes more only where nothing of the kernel's has its vector. */
static void test_a_send_under_way_stays_whole(void **state)
{
	static unsigned char sent[400000], got[sizeof(sent) + 4];
	struct loop *loop = test_loop(state);
	int small = 4096, result;
	struct peer left;
	size_t have = 0;
	int fds[2];

	for (size_t i = 0; i < sizeof(sent); i++)
		sent[i] = (unsigned char)(i * 7 + i / 251);
	make_pair(PAIR_TCP, fds);
	assert_int_equal(setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
	peer_adopt(loop, &left, fds[0]);
	peer_send(&left, sent, sizeof(sent));
	for (unsigned int turn = 0; turn < 3; turn++)
		assert_int_equal(loop_run_once(loop, 1), 0);
	assert_int_equal(left.sent_calls, 0);
	result = send_more(&left, "tail", 4);
	assert_true(result == 0 || result == -EBUSY);
	while (have < sizeof(sent) || left.sent_calls == 0) {
		ssize_t ret = recv(fds[1], got + have, sizeof(got) - have, MSG_DONTWAIT);

		if (ret > 0)
			have += (size_t)ret;
		assert_int_equal(loop_run_once(loop, 1), 0);
	}
	assert_int_equal(left.sent_result, sizeof(sent) + (result == 0 ? 4 : 0));
	while (result == 0 && have < sizeof(got)) {
		ssize_t ret = recv(fds[1], got + have, sizeof(got) - have, 0);

		assert_true(ret > 0);
		have += (size_t)ret;
	}
	assert_int_equal(have, sizeof(sent) + (result == 0 ? 4 : 0));
	assert_memory_equal(got, sent, sizeof(sent));
	if (result == 0)
		assert_memory_equal(got + sizeof(sent), "tail", 4);
	peer_finish(loop, &left);
	(void)close(fds[1]);
}

/* The file is the end of its send. */
static void test_behind_a_file_comes_nothing(void **state)
{
	struct loop *loop = test_loop(state);
	struct iovec head = {.iov_base = (void *)(uintptr_t) "head", .iov_len = 4};
	int fd = memfd_create("file", MFD_CLOEXEC);
	struct peer left;
	int fds[2];

	assert_int_equal(write(fd, "content", 7), 7);
	make_pair(PAIR_TCP, fds);
	peer_adopt(loop, &left, fds[0]);
	assert_int_equal(stream_send_file(&left.stream, &head, 1, fd, 0, 7), 0);
	assert_false(stream_send_is_open(&left.stream));
	assert_int_equal(send_more(&left, "x", 1), -EBUSY);
	run_until(loop, left.sent_calls == 1);
	assert_int_equal(left.sent_result, 11);
	peer_finish(loop, &left);
	(void)close(fds[1]);
	(void)close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH_ENGINES(test_pieces_of_a_turn_are_one_send),
		BOTH_ENGINES(test_vectors_too_long_together_are_refused),
		BOTH_ENGINES(test_a_send_under_way_stays_whole),
		BOTH_ENGINES(test_behind_a_file_comes_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

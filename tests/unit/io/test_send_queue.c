#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/recv_pool.h"
#include "io/send_queue.h"
#include "test_support.h"

/* A stream whose sends go to one end of a socket pair; the test reads the other. */
struct sender {
	struct stream stream;
	struct send_queue queue;
	struct loop *loop;
	int peer;
	bool closed;
	unsigned int sends;
};

static void on_recv(struct stream *stream, struct recv_buf *buf, int result)
{
	recv_buf_unref(buf);
}

static void on_sent(struct stream *stream, int64_t result)
{
	struct sender *sender = CONTAINER_OF(stream, struct sender, stream);

	assert_true(result >= 0);
	sender->sends++;
	send_queue_sent(&sender->queue, result);
	assert_int_equal(send_queue_flush(&sender->queue, stream), 0);
}

static void on_closed(struct stream *stream)
{
	CONTAINER_OF(stream, struct sender, stream)->closed = true;
}

static const struct stream_ops ops = {
	.on_recv = on_recv,
	.on_sent = on_sent,
	.on_closed = on_closed,
};

static void sender_open(struct sender *sender, struct send_segment_cache *cache,
			enum io_engine engine)
{
	struct loop_config config = {.engine = engine};
	int fds[2];

	*sender = (struct sender){.peer = -1};
	assert_int_equal(loop_new(&config, &sender->loop, NULL), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	stream_init(&sender->stream, &ops);
	send_queue_init(&sender->queue, cache);
	assert_int_equal(stream_adopt(sender->loop, &sender->stream, fds[0]), 0);
	sender->peer = fds[1];
}

static void sender_close(struct sender *sender)
{
	stream_close(&sender->stream);
	while (!sender->closed)
		assert_int_equal(loop_run_once(sender->loop, 1000), 0);
	send_queue_clear(&sender->queue);
	loop_free(sender->loop);
	(void)close(sender->peer);
}

static void check_order_and_bound(enum io_engine engine)
{
	static char text[1 << 20], got[1 << 20], rooms[1 << 20];
	struct send_segment_cache cache = {0};
	struct sender sender;
	size_t len = 0, got_len = 0, rooms_len = 0;
	char number[16];

	sender_open(&sender, &cache, engine);
	srand(7);
	while (len < 400000) {
		int kind = rand() % 4;
		size_t piece;

		if (kind == 3 && rooms_len + 2000 < sizeof(rooms)) {
			piece = 100;
			memset(rooms + rooms_len, 'r', piece);
			memset(text + len, 'r', piece);
			assert_int_equal(send_queue_push_room(&sender.queue,
							      str_make(rooms + rooms_len, piece),
							      1900),
					 0);
			rooms_len += 2000;
		} else if (kind % 2) {
			piece = (size_t)snprintf(number, sizeof(number), "%zu,", len);
			memcpy(text + len, number, piece);
			assert_int_equal(
				send_queue_push_inline(&sender.queue, str_make(number, piece)), 0);
		} else {
			piece = (size_t)rand() % 20000 + 1;
			for (size_t i = 0; i < piece; i++)
				text[len + i] = (char)rand();
			assert_int_equal(
				send_queue_push(&sender.queue, str_make(text + len, piece), NULL),
				0);
		}
		len += piece;
	}
	assert_int_equal(sender.queue.bytes, len);
	assert_int_equal(send_queue_flush(&sender.queue, &sender.stream), 0);
	while (got_len < len) {
		ssize_t ret;

		assert_int_equal(loop_run_once(sender.loop, 0), 0);
		ret = recv(sender.peer, got + got_len, len - got_len, MSG_DONTWAIT);
		if (ret > 0)
			got_len += (size_t)ret;
	}
	while (!send_queue_is_empty(&sender.queue))
		assert_int_equal(loop_run_once(sender.loop, 1000), 0);
	assert_memory_equal(got, text, len);
	assert_int_equal(sender.queue.bytes, 0);
	/* One send takes at most 64 KiB and what the last segment goes beyond that. */
	assert_true(sender.sends >= len / (SEND_AT_ONCE_BYTES + 20000));
	sender_close(&sender);
	send_segment_cache_done(&cache);
}

static void test_segments_leave_in_order_and_in_bounded_sends_epoll(void **state)
{
	check_order_and_bound(IO_ENGINE_EPOLL);
}

static void test_segments_leave_in_order_and_in_bounded_sends_io_uring(void **state)
{
	struct error err = {0};

	if (!io_uring_is_usable(&err)) {
		print_message("no io_uring here: %s\n", err.text);
		skip();
	}
	check_order_and_bound(IO_ENGINE_IO_URING);
}

/* What comes while a send only waits for the turn's end goes with it, up to the bound. */
static void check_one_send_for_a_turn(enum io_engine engine)
{
	static char text[3 * SEND_AT_ONCE_BYTES], got[sizeof(text)];
	const size_t piece = SEND_AT_ONCE_BYTES / 4;
	struct send_segment_cache cache = {0};
	struct sender sender;
	size_t have = 0;

	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (char)(i * 7 + i / 251);
	sender_open(&sender, &cache, engine);
	for (size_t at = 0; at < 3; at++) {
		assert_int_equal(send_queue_push_inline(&sender.queue, str_make(text + at, 1)), 0);
		assert_int_equal(send_queue_flush(&sender.queue, &sender.stream), 0);
		assert_int_equal(sender.queue.in_flight, at + 1);
	}
	while (!send_queue_is_empty(&sender.queue))
		assert_int_equal(loop_run_once(sender.loop, 1000), 0);
	assert_int_equal(sender.sends, 1);
	assert_int_equal(recv(sender.peer, got, sizeof(got), MSG_DONTWAIT), 3);
	/* No two pieces lie behind each other: each stays a segment. */
	for (size_t i = 0; i < sizeof(text) / piece; i += 2) {
		assert_int_equal(
			send_queue_push(&sender.queue, str_make(text + i * piece, piece), NULL), 0);
		assert_int_equal(send_queue_flush(&sender.queue, &sender.stream), 0);
	}
	assert_int_equal(sender.queue.in_flight, 4);
	while (!send_queue_is_empty(&sender.queue)) {
		ssize_t ret = recv(sender.peer, got + have, sizeof(got) - have, MSG_DONTWAIT);

		if (ret > 0)
			have += (size_t)ret;
		assert_int_equal(loop_run_once(sender.loop, 1), 0);
	}
	assert_int_equal(sender.sends, 3);
	while (have < sizeof(text) / 2) {
		ssize_t ret = recv(sender.peer, got + have, sizeof(got) - have, 0);

		assert_true(ret > 0);
		have += (size_t)ret;
	}
	for (size_t i = 0; i < sizeof(text) / piece / 2; i++)
		assert_memory_equal(got + i * piece, text + 2 * i * piece, piece);
	sender_close(&sender);
	send_segment_cache_done(&cache);
}

static void test_what_a_turn_pushes_is_one_send_epoll(void **state)
{
	check_one_send_for_a_turn(IO_ENGINE_EPOLL);
}

static void test_what_a_turn_pushes_is_one_send_io_uring(void **state)
{
	struct error err = {0};

	if (!io_uring_is_usable(&err)) {
		print_message("no io_uring here: %s\n", err.text);
		skip();
	}
	check_one_send_for_a_turn(IO_ENGINE_IO_URING);
}

static void test_what_fits_behind_a_head_is_joined_to_it(void **state)
{
	struct send_segment_cache cache = {0};
	struct send_queue queue;
	char head[10] = "head", more[] = "tail..";

	send_queue_init(&queue, &cache);
	assert_int_equal(send_queue_push_room(&queue, str_make(head, 4), 6), 0);
	assert_int_equal(send_queue_push(&queue, str_make(more, 4), NULL), 0);
	assert_int_equal(send_queue_push_inline(&queue, str_make("ab", 2)), 0);
	assert_memory_equal(head, "headtailab", 10);
	assert_ptr_equal(queue.first, queue.last);
	/* No room is left: a segment of its own. */
	assert_int_equal(send_queue_push(&queue, str_make(more, 1), NULL), 0);
	assert_ptr_not_equal(queue.first, queue.last);
	assert_int_equal(queue.bytes, 11);
	assert_int_equal(queue.weight_bytes, 11);
	send_queue_clear(&queue);

	/* What is under way stays as it is. */
	memcpy(head, "head......", 10);
	assert_int_equal(send_queue_push_room(&queue, str_make(head, 4), 6), 0);
	queue.in_flight = 1;
	assert_int_equal(send_queue_push(&queue, str_make(more, 4), NULL), 0);
	assert_memory_equal(head, "head......", 10);
	assert_ptr_not_equal(queue.first, queue.last);
	send_queue_clear(&queue);
	send_segment_cache_done(&cache);
}

static void test_small_pieces_weigh_as_much_as_they_hold(void **state)
{
	struct send_segment_cache cache = {0};
	struct send_queue queue;
	struct recv_pool *pool;
	struct recv_buf *buf;

	assert_int_equal(recv_pool_new(16384, 4, 4, &pool), 0);
	buf = recv_pool_take(pool);
	assert_non_null(buf);
	recv_pool_hand_out(buf, 8000);
	send_queue_init(&queue, &cache);
	assert_int_equal(send_queue_push(&queue, STR("head"), NULL), 0);
	assert_int_equal(queue.weight_bytes, 4);
	assert_int_equal(send_queue_push(&queue, str_make(buf->data, 10), buf), 0);
	assert_int_equal(queue.weight_bytes, 4 + SEND_BUF_WEIGHT);
	assert_int_equal(send_queue_push(&queue, str_make(buf->data, 8000), buf), 0);
	assert_int_equal(queue.weight_bytes, 4 + SEND_BUF_WEIGHT + 8000);
	assert_int_equal(queue.bytes, 4 + 10 + 8000);
	assert_true(cache.bytes > 0);
	assert_int_equal(recv_pool_bytes(pool), 16384);
	send_queue_clear(&queue);
	assert_int_equal(queue.weight_bytes, 0);
	assert_int_equal(queue.bytes, 0);
	recv_buf_unref(buf);
	assert_int_equal(recv_pool_bytes(pool), 0);
	assert_true(cache.bytes > 0); /* kept for the next ones */
	send_segment_cache_trim(&cache);
	assert_int_equal(cache.bytes, 0);
	assert_int_equal(cache.free_count, 0);
	send_segment_cache_done(&cache);
	recv_pool_free(pool);
}

static void test_inline_bytes_beyond_the_room_are_refused(void **state)
{
	struct send_segment_cache cache = {0};
	struct send_queue queue;
	char bytes[SEND_INLINE_MAX + 1] = {0};

	send_queue_init(&queue, &cache);
	assert_int_equal(send_queue_push_inline(&queue, str_make(bytes, sizeof(bytes))), -EINVAL);
	assert_true(send_queue_is_empty(&queue));
}

static void test_a_push_without_memory_says_so_and_sticks(void **state)
{
	struct send_segment_cache cache = {0};
	struct send_queue queue;

	send_queue_init(&queue, &cache);
	alloc_fail_arm(0);
	assert_int_equal(send_queue_push(&queue, STR("x"), NULL), -ENOMEM);
	assert_true(alloc_fail_disarm());
	assert_true(queue.failed);
	assert_true(send_queue_is_empty(&queue));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_segments_leave_in_order_and_in_bounded_sends_epoll),
		cmocka_unit_test(test_segments_leave_in_order_and_in_bounded_sends_io_uring),
		cmocka_unit_test(test_what_a_turn_pushes_is_one_send_epoll),
		cmocka_unit_test(test_what_a_turn_pushes_is_one_send_io_uring),
		cmocka_unit_test(test_what_fits_behind_a_head_is_joined_to_it),
		cmocka_unit_test(test_small_pieces_weigh_as_much_as_they_hold),
		cmocka_unit_test(test_inline_bytes_beyond_the_room_are_refused),
		cmocka_unit_test(test_a_push_without_memory_says_so_and_sticks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

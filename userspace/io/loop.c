#include "io/loop.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "io/engine.h"
#include "io/stream_layer.h"

#define RECV_BUF_BYTES	(16u << 10)
#define RECV_BUFS_READY 256u
#define RECV_BUFS_MAX	32768u

/*
 * How often the work list is gone through at a time. An answer that is written in the turn in which
 * its request came saves a system call; the bound leaves time for new events.
 */
#define WORK_ROUNDS 8

#define TRIM_INTERVAL_MS 10000

const char *io_engine_name(enum io_engine engine)
{
	switch (engine) {
	case IO_ENGINE_IO_URING:
		return "io_uring";
	case IO_ENGINE_EPOLL:
		return "epoll";
	case IO_ENGINE_AUTO:
		break;
	}
	return "auto";
}

static int choose_engine(enum io_engine wanted, const struct engine_ops **ret_engine,
			 struct error *err)
{
	struct error reason = {0};

	*ret_engine = &engine_epoll_ops;
	if (wanted == IO_ENGINE_EPOLL)
		return 0;
	if (io_uring_is_usable(&reason)) {
		*ret_engine = &engine_uring_ops;
		return 0;
	}
	return wanted == IO_ENGINE_AUTO ? 0 : error_set(err, reason.code, "%s", reason.text);
}

int loop_new(const struct loop_config *config, struct loop **ret_loop, struct error *err)
{
	_cleanup_(loop_freep)
	struct loop *loop = NULL;
	const struct engine_ops *engine;
	int result = choose_engine(config->engine, &engine, err);

	if (result < 0)
		return result;
	loop = calloc(1, engine->loop_bytes);
	if (!loop)
		return error_set(err, -ENOMEM, "event loop: out of memory");
	loop->engine = engine;
	loop->wake_fd = -1;
	list_init(&loop->stream_work);
	list_init(&loop->acceptor_work);
	list_init(&loop->watch_work);
	list_init(&loop->starved);
	loop_read_clock(loop);
	loop->trim_ms = loop->now_ms;
	timer_wheel_init(&loop->wheel, loop->now_ms);
	result = recv_pool_new(config->recv_buf_bytes ? config->recv_buf_bytes : RECV_BUF_BYTES,
			       config->recv_bufs_ready ? config->recv_bufs_ready : RECV_BUFS_READY,
			       config->recv_bufs_max ? config->recv_bufs_max : RECV_BUFS_MAX,
			       &loop->pool);
	if (result < 0)
		return error_set_errno(err, result, "event loop: receive buffers");
	/* Blocking: io_uring waits for it, and epoll reads only when it is ready. */
	loop->wake_fd = eventfd(0, EFD_CLOEXEC);
	if (loop->wake_fd < 0)
		return error_set_errno(err, -errno, "event loop: eventfd");
	result = engine->open(loop, config, err);
	if (result < 0)
		return result;
	loop->engine_is_open = true;
	*ret_loop = TAKE_PTR(loop);
	return 0;
}

void loop_free(struct loop *loop)
{
	if (!loop)
		return;
	if (loop->engine_is_open)
		loop->engine->close(loop);
	if (loop->wake_fd >= 0)
		(void)close(loop->wake_fd);
	splice_pipe_cache_done(&loop->pipes);
	recv_pool_free(loop->pool);
	free(loop);
}

enum io_engine loop_engine(const struct loop *loop)
{
	return loop->engine->id;
}

void loop_busy(struct loop *loop, int change)
{
	loop->busy += (unsigned int)change;
}

uint64_t loop_now_ms(const struct loop *loop)
{
	return loop->now_ms;
}

uint64_t loop_now_ns(const struct loop *loop)
{
	return loop->now_ns;
}

void loop_get_stats(const struct loop *loop, struct loop_stats *ret_stats)
{
	*ret_stats = loop->stats;
	ret_stats->recv_bufs_held = recv_pool_held(loop->pool);
	ret_stats->recv_bufs_held_max = recv_pool_held_max(loop->pool);
}

uint64_t loop_recv_bytes(const struct loop *loop)
{
	return recv_pool_bytes(loop->pool);
}

void loop_recv_usage(const struct loop *loop, uint64_t *ret_held, uint64_t *ret_max)
{
	*ret_held = recv_pool_held(loop->pool);
	*ret_max = recv_pool_max(loop->pool) - recv_pool_ready(loop->pool);
}

struct recv_buf *loop_take_buf(struct loop *loop)
{
	struct recv_buf *buf = recv_pool_take(loop->pool);

	if (buf)
		recv_pool_hand_out(buf, 0);
	return buf;
}

void loop_trim(struct loop *loop)
{
	/* Twice: what was unused for two intervals goes. */
	recv_pool_trim(loop->pool);
	recv_pool_trim(loop->pool);
}

/* ---- other threads ---- */

static void wake(struct loop *loop)
{
	uint64_t one = 1;
	ssize_t written;

	do
		written = write(loop->wake_fd, &one, sizeof(one));
	while (written < 0 && errno == EINTR);
}

void loop_stop(struct loop *loop)
{
	int saved_errno = errno; /* we may be in a signal handler */

	atomic_store(&loop->stop, true);
	wake(loop);
	errno = saved_errno;
}

void loop_post(struct loop *loop, struct loop_task *task)
{
	struct loop_task *first = atomic_load_explicit(&loop->tasks, memory_order_relaxed);

	do
		task->next = first;
	while (!atomic_compare_exchange_weak_explicit(&loop->tasks, &first, task,
						      memory_order_release, memory_order_relaxed));
	/* Whoever found the list empty wakes the loop; it takes all that is there by then. */
	if (!first)
		wake(loop);
}

void loop_defer(struct loop *loop, struct loop_task *task)
{
	task->next = loop->deferred;
	loop->deferred = task;
}

static void run_list(struct loop_task *newest_first)
{
	struct loop_task *in_order = NULL;

	while (newest_first) {
		struct loop_task *task = newest_first;

		newest_first = task->next;
		task->next = in_order;
		in_order = task;
	}
	while (in_order) {
		struct loop_task *task = in_order;

		in_order = task->next; /* once it runs the task may be posted again */
		task->run(task);
	}
}

static void run_tasks(struct loop *loop)
{
	struct loop_task *deferred;

	if (atomic_load_explicit(&loop->tasks, memory_order_relaxed))
		run_list(atomic_exchange_explicit(&loop->tasks, NULL, memory_order_acquire));
	deferred = loop->deferred;
	loop->deferred = NULL;
	run_list(deferred);
}

/* ---- the turn ---- */

/* Puts `from` in front of `to` and empties it. */
static void splice_front(struct list *from, struct list *to)
{
	if (list_is_empty(from))
		return;
	from->prev->next = to->next;
	to->next->prev = from->prev;
	from->next->prev = to;
	to->next = from->next;
	list_init(from);
}

static void take_all(struct list *from, struct list *ret_taken)
{
	list_init(ret_taken);
	splice_front(from, ret_taken);
}

static int work_on_streams(struct loop *loop)
{
	struct list taken;
	int result = 0;

	take_all(&loop->stream_work, &taken);
	while (result == 0 && !list_is_empty(&taken)) {
		struct stream *stream = list_first(&taken, struct stream, work_link);

		list_remove(&stream->work_link);
		if (UNLIKELY(stream->layer) && stream_is_open(stream))
			stream->layer->ops->work(stream);
		result = loop->engine->stream_work(stream);
		if (result < 0) {
			list_remove(&stream->work_link); /* its layer may have asked for more */
			list_push_front(&taken, &stream->work_link);
		}
	}
	splice_front(&taken, &loop->stream_work);
	return result;
}

static int work_on_acceptors(struct loop *loop)
{
	struct list taken;
	int result = 0;

	take_all(&loop->acceptor_work, &taken);
	while (result == 0 && !list_is_empty(&taken)) {
		struct acceptor *acceptor = list_first(&taken, struct acceptor, link);

		list_remove(&acceptor->link);
		result = loop->engine->acceptor_work(acceptor);
		if (result < 0)
			list_push_front(&taken, &acceptor->link);
	}
	splice_front(&taken, &loop->acceptor_work);
	return result;
}

static int work_on_watches(struct loop *loop)
{
	struct list taken;
	int result = 0;

	take_all(&loop->watch_work, &taken);
	while (result == 0 && !list_is_empty(&taken)) {
		struct watch *watch = list_first(&taken, struct watch, link);

		list_remove(&watch->link);
		result = loop->engine->watch_work(watch);
		if (result < 0)
			list_push_front(&taken, &watch->link);
	}
	splice_front(&taken, &loop->watch_work);
	return result;
}

static bool has_work(const struct loop *loop)
{
	return !list_is_empty(&loop->stream_work) || !list_is_empty(&loop->acceptor_work) ||
	       !list_is_empty(&loop->watch_work);
}

/* As many starved streams as there are buffers may try again, the longest waiting first. */
static void feed_starved(struct loop *loop)
{
	uint32_t bufs;

	if (list_is_empty(&loop->starved))
		return;
	bufs = recv_pool_spare(loop->pool) + recv_pool_ready(loop->pool);
	for (; bufs > 0 && !list_is_empty(&loop->starved); bufs--) {
		struct stream *stream = list_first(&loop->starved, struct stream, starved_link);

		list_remove(&stream->starved_link);
		stream->flags &= ~(uint32_t)STREAM_STARVED;
		stream_queue_work(stream);
	}
}

static void do_work(struct loop *loop)
{
	feed_starved(loop);
	for (int round = 0; round < WORK_ROUNDS && has_work(loop); round++) {
		/* A full submission queue stops all of them: only waiting helps. */
		if (work_on_streams(loop) < 0 || work_on_acceptors(loop) < 0 ||
		    work_on_watches(loop) < 0)
			return;
	}
}

static int64_t wait_ms(const struct loop *loop, int timeout_ms)
{
	uint64_t due_ms = timer_wheel_next_ms(&loop->wheel);
	uint64_t now_ms;

	if (timeout_ms == 0 || has_work(loop) || atomic_load(&loop->stop) ||
	    atomic_load_explicit(&loop->tasks, memory_order_relaxed) || loop->deferred ||
	    (!list_is_empty(&loop->starved) &&
	     recv_pool_spare(loop->pool) + recv_pool_ready(loop->pool) > 0))
		return 0;
	if (due_ms == TIMER_NEVER)
		return timeout_ms;
	/* Fresh: callbacks of this turn may have taken long. */
	now_ms = clock_mono_ms();
	if (due_ms <= now_ms)
		return 0;
	if (timeout_ms < 0)
		return (int64_t)(due_ms - now_ms);
	return (int64_t)MIN(due_ms - now_ms, (uint64_t)timeout_ms);
}

static int turn(struct loop *loop, int timeout_ms)
{
	int result;

	loop->in_turn = true;
	result = loop->engine->wait(loop, wait_ms(loop, timeout_ms));
	if (result < 0) {
		loop->in_turn = false;
		return result;
	}
	loop->stats.turns++;
	do_work(loop);
	timer_wheel_advance(&loop->wheel, loop->now_ms);
	run_tasks(loop);
	if (loop->now_ms - loop->trim_ms >= TRIM_INTERVAL_MS) {
		loop->trim_ms = loop->now_ms;
		recv_pool_trim(loop->pool);
	}
	loop->in_turn = false;
	return 0;
}

int loop_run_once(struct loop *loop, int timeout_ms)
{
	uint64_t told = loop->told;

	do_work(loop);
	/* Something has happened if that told somebody something. */
	return turn(loop, loop->told == told ? timeout_ms : 0);
}

int loop_run(struct loop *loop)
{
	int result = 0;

	while (result == 0 && !atomic_load(&loop->stop)) {
		do_work(loop);
		result = turn(loop, -1);
	}
	atomic_store(&loop->stop, false);
	return result;
}

/* ---- watches ---- */

int watch_start(struct loop *loop, struct watch *watch, int fd, uint32_t poll_events)
{
	int result;

	if (watch->state)
		return -EBUSY;
	watch->loop = loop;
	watch->fd = fd;
	watch->poll_events = poll_events & (POLLIN | POLLOUT);
	watch->ready_events = 0;
	list_init(&watch->link);
	watch->state = SOURCE_ON;
	result = loop->engine->watch_open(watch);
	if (result < 0) {
		watch->state = 0;
		return result;
	}
	watch_queue_work(watch);
	return 0;
}

void watch_stop(struct watch *watch)
{
	if (!(watch->state & SOURCE_ON) || watch->state & SOURCE_STOPPING)
		return;
	watch->state |= SOURCE_STOPPING;
	watch->loop->engine->watch_close(watch);
	watch_queue_work(watch);
}

void watch_deliver_ready(struct watch *watch, uint32_t poll_events)
{
	loop_tell(watch->loop);
	watch->on_ready(watch, poll_events);
}

void watch_deliver_stopped(struct watch *watch)
{
	list_remove(&watch->link);
	watch->state = 0;
	loop_tell(watch->loop);
	if (watch->on_stopped)
		watch->on_stopped(watch);
}

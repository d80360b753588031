/*
 * loop: one thread's event loop. Completion style, two engines behind it.
 *
 *   submit what was asked for + wait ──► completions ──► callbacks ──► timers ──► posted tasks ─┐
 *        ▲────────────────────────────────────────────────────────────────────────────────────┘
 *
 * io_uring (multishot accept and receive, provided buffer ring, single issuer, deferred task run;
 * Linux 6.1) and epoll (everything else) behave the same seen from here: an operation is started,
 * its callback comes later, always from the loop and never from inside the call that started it.
 * So a callback may start, stop and close anything, its own object included.
 *
 * Objects (stream, acceptor, timer, watch, task) are embedded in their owner's struct; the loop
 * links to them and allocates nothing per operation. Thread rule: everything belongs to the loop's
 * thread except loop_post() and loop_stop().
 */
#ifndef SLUICE_IO_LOOP_H
#define SLUICE_IO_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/list.h"

struct loop;
struct recv_buf;

enum io_engine { IO_ENGINE_AUTO, IO_ENGINE_IO_URING, IO_ENGINE_EPOLL };

struct loop_config {
	enum io_engine engine;
	uint32_t recv_buf_bytes;  /* size of one receive buffer; 0: 16 KiB */
	uint32_t recv_bufs_ready; /* those the kernel may fill; 0: 256; a power of two */
	uint32_t recv_bufs_max;	  /* most that exist at once, held ones included; 0: 32768 */
	bool restrict_ops;	  /* io_uring: register the operations we use and refuse others */
	bool coalesce;		  /* io_uring: io/coalesce.h */
};

/*
 * To be called on the thread that will run it. AUTO takes io_uring when a functional try works,
 * else epoll; IO_URING fails with the reason instead (-ENOSYS, -EPERM, ...).
 */
int loop_new(const struct loop_config *config, struct loop **ret_loop, struct error *err);
/* Everything must have been closed and stopped. */
void loop_free(struct loop *loop);
enum io_engine loop_engine(const struct loop *loop); /* never AUTO */
const char *io_engine_name(enum io_engine engine);   /* "io_uring", "epoll" */
/* False, with the reason, when loop_new() would refuse io_uring here. */
bool io_uring_is_usable(struct error *err);

/* Runs until loop_stop(). Returns 0 or a negative errno when the engine itself failed. */
int loop_run(struct loop *loop);
/* One turn; waits at most timeout_ms (-1: until something happens). For tests and shutdown. */
int loop_run_once(struct loop *loop, int timeout_ms);
/* Any thread, async-signal-safe. */
void loop_stop(struct loop *loop);

/*
 * How many requests more (or less) are under way than before: with many, a loop may wait some
 * microseconds for several of their events (io/coalesce.h).
 */
void loop_busy(struct loop *loop, int change);

/* Monotonic, read once a turn, and again after many callbacks. */
uint64_t loop_now_ms(const struct loop *loop);
uint64_t loop_now_ns(const struct loop *loop);

struct loop_stats {
	uint64_t turns;
	uint64_t completions;
	uint64_t recv_bufs_held;     /* given to owners and not released */
	uint64_t recv_bufs_held_max; /* its high-water mark */
	uint64_t recv_starved;	     /* times a receive waited for a free buffer */
	uint64_t streams_open;
};
void loop_get_stats(const struct loop *loop, struct loop_stats *ret_stats);
/* Bytes of receive buffers that owners hold or the kernel may fill. */
uint64_t loop_recv_bytes(const struct loop *loop);
/* Buffers that owners hold, and how many they may. */
void loop_recv_usage(const struct loop *loop, uint64_t *ret_held, uint64_t *ret_max);
/*
 * A receive buffer to be filled by its owner, who has the one reference: bytes that were made here
 * are sent like those that came. NULL: all are in use.
 */
struct recv_buf *loop_take_buf(struct loop *loop);
/* Gives the pages of free receive buffers back to the system. */
void loop_trim(struct loop *loop);

/* ---- tasks: work handed over from another thread, run once, in order of posting ---- */

struct loop_task {
	struct loop_task *next; /* engine's */
	void (*run)(struct loop_task *task);
};

/* Any thread. The task must stay valid until it ran, and may be posted again from then on. */
void loop_post(struct loop *loop, struct loop_task *task);

/*
 * The same from the loop's thread, and without waking anybody: runs at the end of this turn, after
 * all callbacks (from outside a turn: of the next). For what gathers the work of a whole turn.
 */
void loop_defer(struct loop *loop, struct loop_task *task);

/* ---- timers: coarse (one tick = 10 ms), made for being restarted on every request ---- */

struct timer {
	struct list link; /* engine's, like the next four */
	uint64_t due_ms;
	uint64_t linked_tick; /* when the wheel looks at it next */
	uint32_t slot;
	struct loop *loop;
	void (*on_fire)(struct timer *timer);
};

void timer_init(struct timer *timer, void (*on_fire)(struct timer *timer));
/*
 * Starts or moves it. Fires early at most by the time that the LOOP_CLOCK_EVENTS callbacks before
 * it took: within a turn no clock is read for it. O(1).
 */
void timer_start(struct loop *loop, struct timer *timer, uint64_t delay_ms);
void timer_stop(struct timer *timer);
bool timer_is_running(const struct timer *timer);
/* Of a running one: the time at which it fires, in the terms of loop_now_ms(). */
uint64_t timer_due_ms(const struct timer *timer);

/* ---- watches: readiness of a descriptor that is no stream (signalfd, netlink, inotify) ---- */

struct watch {
	struct list link; /* engine's, like the next five */
	struct loop *loop;
	int fd;
	uint32_t state;
	uint32_t poll_events;
	uint32_t ready_events;
	void (*on_ready)(struct watch *watch, uint32_t poll_events); /* level-triggered */
	void (*on_stopped)(struct watch *watch);		     /* NULL allowed */
};

/* events: POLLIN and/or POLLOUT. */
int watch_start(struct loop *loop, struct watch *watch, int fd, uint32_t poll_events);
/* on_stopped comes later; the struct must live until then. The descriptor stays open. */
void watch_stop(struct watch *watch);

#endif

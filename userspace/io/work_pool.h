/*
 * work_pool: a few threads for what would hold up an event loop (passwords), shared by the node.
 *
 *   loop ── work_pool_submit() ──► bounded queue ──► thread: run() ──► loop: done()
 *                 └ full: -EBUSY                        └ abandoned meanwhile: release()
 *
 * Each work ends in exactly one of done(), on the loop it came from, and release(), on any thread,
 * after work_abandon(). Owner: embeds the struct; it must stay until then. run() sees nothing of
 * the loop's. Thread rule: submit and abandon on the work's loop; new and free by the control
 * thread; when the pool is freed nothing may be waiting for done() any more.
 */
#ifndef SLUICE_IO_WORK_POOL_H
#define SLUICE_IO_WORK_POOL_H

#include "io/loop.h"

#define WORK_POOL_THREADS_MAX 8

struct work_pool;

struct work {
	struct list link; /* the pool's, like the next five */
	struct work_pool *pool;
	struct loop *loop;
	struct loop_task task;
	int state;
	bool abandoned;
	void (*run)(struct work *work);
	void (*done)(struct work *work);
	void (*release)(struct work *work);
};

/* prepare (NULL: nothing) runs first on each thread. */
int work_pool_new(unsigned int threads, unsigned int queue_max, void (*prepare)(void),
		  struct work_pool **ret_pool, struct error *err);
/* Waits for what is being run; what is queued is released. NULL allowed. */
void work_pool_free(struct work_pool *pool);

/* -EBUSY: the queue is full, and the work still the caller's. */
int work_pool_submit(struct work_pool *pool, struct loop *loop, struct work *work);
/* Its release() comes in the place of done(), perhaps at once. */
void work_abandon(struct work *work);

#endif

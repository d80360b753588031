/*
 * worker_thread: one pinned thread with its own loop, its acceptors and its http_worker.
 *
 *   control ── worker_change_post() ──► loop task on the worker: new snapshot, sockets to open and
 *      ▲                                to close
 *      └────────── on_exit ◄─────────── last thing the thread does after worker_stop()
 *
 * The worker owns its listening descriptors and closes them after its acceptor has stopped; before
 * that it takes what still waits in the accept queue, so that nobody who was let in is reset.
 * Thread rule: everything here is called on the control thread.
 */
#ifndef SLUICE_CONTROL_WORKER_THREAD_H
#define SLUICE_CONTROL_WORKER_THREAD_H

#include "http/http_worker.h"
#include "http/snapshot.h"
#include "io/loop.h"

struct worker;
struct worker_change;

/* A listening socket. Ids are the control thread's; the same id stands for one address. */
struct worker_socket {
	uint32_t id;
	int fd;
};

struct worker_config {
	unsigned int index;
	int cpu; /* to be pinned to; -1: anywhere */
	struct loop_config loop;
	struct snapshot *snapshot;
	struct http_node *node; /* outlives the worker */
	bool drop_capabilities;
	struct loop *control; /* where on_exit runs */
	void (*on_exit)(struct worker *worker, void *arg);
	void *arg;
};

/* Returns when the worker serves (without sockets yet) or with the reason why it cannot. */
int worker_start(const struct worker_config *config, struct worker **ret_worker, struct error *err);

/*
 * A change is made complete before it is posted, so that posting cannot fail: allocate one per
 * worker, and only when all are there post them. It takes its own reference on the snapshot and,
 * once posted, the descriptors.
 */
int worker_change_new(struct worker *worker, struct snapshot *snapshot,
		      const struct worker_socket *open, unsigned int open_count,
		      const uint32_t *close_ids, unsigned int close_count,
		      struct worker_change **ret_change);
/* Not posted after all: the descriptors stay the caller's. NULL allowed. */
void worker_change_free(struct worker_change *change);
void worker_change_post(struct worker_change *change);

/* Stops accepting and drains. on_exit comes when the thread is through. Once. */
void worker_stop(struct worker *worker, uint64_t drain_ms);
/* After worker_stop(): does not wait for anybody any longer. Once. */
void worker_abort(struct worker *worker);
/* Waits for the thread, which on_exit announced, and frees it. The loop's result. */
int worker_join(struct worker *worker);

unsigned int worker_index(const struct worker *worker);
int worker_cpu(const struct worker *worker); /* -1: not pinned */
enum io_engine worker_engine(const struct worker *worker);
/* All zero once the thread has left. */
void worker_get_stats(struct worker *worker, struct http_worker_stats *ret_stats);

#endif

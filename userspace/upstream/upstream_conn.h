/*
 * upstream_conn: one connection to an endpoint, and the worker's pool that keeps it between calls.
 * Private to upstream/: owners see upstream_call only.
 *
 *   connect ──► ACTIVE (one call) ──► IDLE (in its endpoint's stack) ──► ACTIVE ... ──► CLOSING
 *
 * A kept connection goes on listening (multishot), so that its end is noticed at once and a byte
 * nobody asked for closes it. The connection owns every byte it sends but the body's receive
 * buffers, which it references: a call may end while the kernel still reads them.
 */
#ifndef SLUICE_UPSTREAM_UPSTREAM_CONN_H
#define SLUICE_UPSTREAM_UPSTREAM_CONN_H

#include "base/list.h"
#include "upstream/upstream_call.h"

#define UPSTREAM_IDLE_MAX 256 /* kept connections per endpoint and worker */

enum upstream_conn_state {
	UPSTREAM_CONN_CONNECTING,
	UPSTREAM_CONN_ACTIVE,
	UPSTREAM_CONN_IDLE,
	UPSTREAM_CONN_CLOSING,
};

struct upstream_conn {
	struct stream stream;
	struct upstream_pools *pools;
	struct endpoint *endpoint; /* one reference */
	struct upstream_call *call;
	struct list link; /* in the endpoint's idle stack, or in the cache of free structs */
	enum upstream_conn_state state;
	bool keep_alive; /* the response lets the connection live on */
	bool recv_one;	 /* receiving buffer by buffer: a large body */
	bool send_failed;
	bool used; /* has carried a call before */
	struct timer timer;
	struct send_queue queue;
	struct buf request; /* request head of the call under way */
	struct buf tail;    /* its trailers */
	struct buf partial; /* response head that is not complete yet */
	size_t scan;	    /* of http1_find_head_end in partial */
	struct http1_body body;
	struct splice_pipe *pipe; /* one reference, while a body goes through it */
	bool expects_large;	  /* the last body was: the next head is received alone */
	uint64_t idle_timeout_ms;
};

struct upstream_slot {
	struct list idle; /* most recently used first */
	unsigned int idle_count;
};

struct upstream_pools {
	struct loop *loop;
	unsigned int worker_index;
	struct send_segment_cache *segments;
	struct upstream_slot **slots; /* by endpoint->slot; NULL where none was needed yet */
	unsigned int slot_count;
	uint32_t *positions; /* of round-robin, by upstream_conf->index */
	unsigned int position_count;
	struct list free_conns;
	unsigned int free_count;
	atomic_uint conn_count; /* open ones, closing included; written by the worker only */
	atomic_uint_fast64_t retries;
	uint64_t generation;
	bool draining;
	struct timer drained_timer;
	void (*on_empty)(void *arg);
	void *on_empty_arg;
};

/* A kept connection, or NULL. Taken out of the stack, still IDLE. */
struct upstream_conn *upstream_pools_take_idle(struct upstream_pools *pools,
					       struct endpoint *endpoint);
/* False when it may not be kept: then the caller closes it. */
bool upstream_pools_keep_idle(struct upstream_conn *conn);
void upstream_pools_remove_idle(struct upstream_conn *conn);
/* Which endpoint of the upstream is next. NULL: out of memory. */
const struct endpoint_conf *upstream_pools_pick(struct upstream_pools *pools,
						const struct upstream_conf *upstream);

/* A struct with its buffers, not connected. NULL: out of memory. */
struct upstream_conn *upstream_conn_get(struct upstream_pools *pools, struct endpoint *endpoint,
					const struct stream_ops *ops,
					void (*on_timer)(struct timer *timer));
/* After on_closed(), or when it never connected. */
void upstream_conn_put(struct upstream_conn *conn);
/* Detaches it from call and pool and closes the stream. */
void upstream_conn_close(struct upstream_conn *conn);

#endif

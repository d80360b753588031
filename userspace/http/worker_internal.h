/*
 * worker_internal: what the files of http/ share of a worker. See http_worker.h for its life.
 * Thread rule: the worker's thread; counters are read by others, relaxed.
 */
#ifndef SLUICE_HTTP_WORKER_INTERNAL_H
#define SLUICE_HTTP_WORKER_INTERNAL_H

#include "base/random.h"
#include "http/access_log.h"
#include "http/exchange.h"
#include "http/http_worker.h"
#include "http/worker_memory.h"
#include "proto/coding/coding.h"

struct downstream;
struct http2_chunk;
struct tls_worker;

struct http_worker {
	struct loop *loop;
	unsigned int index;
	struct worker_snapshot *config; /* the current one */
	struct upstream_pools *pools;
	struct send_segment_cache segments;
	struct coder_cache coders;
	struct worker_memory memory;
	struct work_pool *work;	    /* the node's; NULL: there is none (tests) */
	uint64_t refused_logged_ms; /* when a refusal by source was last logged */
	struct tls_worker *tls;	    /* made for the first connection that needs it */
	uint64_t tls_logged_ms;	    /* when a handshake that failed was last logged */

	struct list connections; /* downstream */
	struct exchange *free_exchanges;
	unsigned int free_exchange_count;
	struct downstream *free_downstreams; /* http/downstream.c */
	unsigned int free_downstream_count;

	struct http2_chunk *free_http2_chunks; /* http/downstream_http2_response.c */
	unsigned int free_http2_chunk_count;
	uint64_t calmed_logged_ms; /* when a connection that asked too much was last logged */

	uint64_t drain_ms; /* how long draining may take */
	bool draining;
	bool pools_draining, pools_empty;
	struct timer drain_timer;
	void (*on_drained)(void *arg);
	void *on_drained_arg;

	struct random_state random;
	struct access_log access_log;
	struct route_row unrouted; /* exchanges that no route was found for */

	uint64_t date_made_ms;
	char date[32]; /* "Sun, 06 Nov 1994 08:49:37 GMT" */

	atomic_uint_fast64_t counters[HTTP_COUNTER_COUNT];
	atomic_uint_fast64_t connections_open;
	atomic_uint_fast64_t exchanges_open;
	atomic_uint_fast64_t tunnels_open;
};

static inline void worker_add(atomic_uint_fast64_t *cell, int64_t change)
{
	/* Single writer: no locked instruction is needed. */
	atomic_store_explicit(cell,
			      atomic_load_explicit(cell, memory_order_relaxed) + (uint64_t)change,
			      memory_order_relaxed);
}

static inline void worker_count(struct http_worker *worker, enum http_counter counter)
{
	worker_add(&worker->counters[counter], 1);
}

/* The value of a Date field that is sent at this moment. */
struct str worker_date(struct http_worker *worker);

void worker_snapshot_ref(struct worker_snapshot *config);
void worker_snapshot_unref(struct worker_snapshot *config);

/* A connection of the worker is gone: perhaps the drain is over. */
void worker_connection_gone(struct http_worker *worker);

/* Exchanges, connections and segments that are kept for the next one. */
void worker_free_caches(struct http_worker *worker);

#endif

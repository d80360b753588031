/*
 * upstream_state: what outlives snapshots of an upstream and its endpoints, in the registry (kinds
 * "upstream" and "endpoint").
 *
 *   upstream_state, by name ◄── endpoint, by (upstream's name, address)
 *     row per worker              row per worker
 *     + what holds for the node   + what holds for the node
 *
 * Rows are written by their worker only, relaxed and without locked instructions, and summed by
 * readers. What must hold for the node (open connections under a limit, queue lengths, the retry
 * budget, ejection, requests under way where the balance asks for them) are shared atomics, which
 * a request that goes well does not write. Thread rule: as said; made on the control thread.
 */
#ifndef SLUICE_UPSTREAM_UPSTREAM_STATE_H
#define SLUICE_UPSTREAM_UPSTREAM_STATE_H

#include <stdatomic.h>

#include "base/addr.h"
#include "base/registry.h"
#include "base/str.h"

#define CACHE_LINE_BYTES 64

/* symbol, JSON name, help */
#define ENDPOINT_COUNTERS(X)                                                                       \
	X(REQUESTS, "requests", "requests sent to the endpoint")                                   \
	X(RESPONSES_2XX, "responses_2xx", "answers with a 1xx-2xx status")                         \
	X(RESPONSES_3XX, "responses_3xx", "answers with a 3xx status")                             \
	X(RESPONSES_4XX, "responses_4xx", "answers with a 4xx status")                             \
	X(RESPONSES_5XX, "responses_5xx", "answers with a 5xx status")                             \
	X(CONNECTS, "connects", "connections opened")                                              \
	X(CONNECT_FAILURES, "connect_failures", "connections refused or timed out")                \
	X(REUSES, "reuses", "requests sent on a kept connection")                                  \
	X(RESETS, "resets", "connections lost before the answer was complete")                     \
	X(PROTOCOL_ERRORS, "protocol_errors", "answers that break HTTP framing")                   \
	X(TIMEOUTS, "timeouts", "no answer in time")                                               \
	X(EJECTIONS, "ejections", "times it was ejected for failing")

enum endpoint_counter {
#define X(symbol, name, help) ENDPOINT_COUNTER_##symbol,
	ENDPOINT_COUNTERS(X)
#undef X
		ENDPOINT_COUNTER_COUNT
};

/* symbol, JSON name, help */
#define UPSTREAM_COUNTERS(X)                                                                       \
	X(CALLS, "calls", "requests for the upstream, each counted once")                          \
	X(RETRIES, "retries", "requests sent again after a failure")                               \
	X(RETRIES_OVER_BUDGET, "retries_over_budget", "retries not made: the budget was spent")    \
	X(QUEUED, "queued", "requests that waited for a connection")                               \
	X(QUEUE_OVERFLOWS, "queue_overflows", "requests refused: too many waited")                 \
	X(QUEUE_TIMEOUTS, "queue_timeouts", "requests refused: no connection was free in time")

enum upstream_counter {
#define X(symbol, name, help) UPSTREAM_COUNTER_##symbol,
	UPSTREAM_COUNTERS(X)
#undef X
		UPSTREAM_COUNTER_COUNT
};

struct upstream_row {
	_Alignas(CACHE_LINE_BYTES) atomic_uint_fast64_t counters[UPSTREAM_COUNTER_COUNT];
	/* The worker's queue, for others to be fair to it. */
	atomic_uint_fast64_t waiting_since_ms; /* the oldest call's; 0: none waits */
	/* Kept connections that others would like this worker to close. Any worker adds. */
	atomic_uint wanted;
};

struct upstream_state {
	struct registry_entry entry;
	unsigned int slot; /* small and unique: index into the workers' arrays */
	unsigned int row_count;
	struct upstream_row *rows;
	bool established; /* its first configuration is in force; the control thread's */

	char apart[CACHE_LINE_BYTES]; /* from what every request reads */
	atomic_uint connections;      /* of all workers and endpoints, closing ones included */
	atomic_uint connections_max;  /* of the configuration in force; 0: any number */
	atomic_uint waiting;	      /* calls in the workers' queues */
	atomic_bool ejecting;	      /* somebody weighs whether an endpoint may be ejected */
	/* The retry budget, see retry.h. */
	atomic_int_fast64_t budget_tokens; /* thousandths of a retry */
	atomic_uint_fast64_t budget_updated_ms;
	atomic_uint_fast64_t budget_seen_calls;
};

struct endpoint_row {
	_Alignas(CACHE_LINE_BYTES) atomic_uint_fast64_t counters[ENDPOINT_COUNTER_COUNT];
	atomic_int connections_open;
	atomic_int connections_idle;
	atomic_int active; /* requests under way */
};

struct endpoint {
	struct registry_entry entry;
	struct sock_addr addr;
	struct upstream_state *upstream; /* one reference */
	/* Of the newest snapshot that names it; pools drop connections to those left behind. */
	atomic_uint_fast64_t generation;
	unsigned int slot; /* as the upstream's */
	unsigned int row_count;
	struct endpoint_row *rows; /* one per worker */

	/* Ejection and slow start, see ejection.h. Times are monotonic. */
	atomic_uint_fast64_t ejected_until_ms; /* 0: it is not ejected */
	atomic_uint_fast64_t returned_ms;      /* the end of its last ejection; 0: none has ended */
	atomic_uint_fast64_t ramp_from_ms;     /* 0: its weight counts in full */
	atomic_uint failures;		       /* in a row */
	atomic_uint ejections_in_row;

	char apart[CACHE_LINE_BYTES]; /* from what every request reads */
	atomic_uint active;	      /* on the node; only of calls whose balance asks for it */
};

/* Takes a reference; -ENOMEM. The retry budget of a new one begins at now_ms. */
int upstream_state_acquire(struct registry *registry, struct str name, unsigned int worker_count,
			   uint64_t now_ms, struct upstream_state **ret_state);
void upstream_state_unref(struct upstream_state *state);
/* The same; an endpoint that joins an established upstream starts slowly from `now_ms` on. */
int endpoint_acquire(struct registry *registry, struct upstream_state *upstream,
		     const struct sock_addr *addr, uint64_t now_ms, struct endpoint **ret_endpoint);
void endpoint_unref(struct endpoint *endpoint);

uint64_t endpoint_counter_sum(const struct endpoint *endpoint, enum endpoint_counter counter);
int endpoint_connections_open(const struct endpoint *endpoint);
int endpoint_connections_idle(const struct endpoint *endpoint);
int endpoint_active(const struct endpoint *endpoint);
const char *endpoint_counter_name(enum endpoint_counter counter);
uint64_t upstream_counter_sum(const struct upstream_state *state, enum upstream_counter counter);
const char *upstream_counter_name(enum upstream_counter counter);

/* Single writer: no locked instruction is needed. */
static inline void row_count(atomic_uint_fast64_t *cell)
{
	atomic_store_explicit(cell, atomic_load_explicit(cell, memory_order_relaxed) + 1,
			      memory_order_relaxed);
}

static inline void row_add(atomic_int *cell, int change)
{
	atomic_store_explicit(cell, atomic_load_explicit(cell, memory_order_relaxed) + change,
			      memory_order_relaxed);
}

static inline void endpoint_count(struct endpoint *endpoint, unsigned int worker,
				  enum endpoint_counter counter)
{
	row_count(&endpoint->rows[worker].counters[counter]);
}

static inline void upstream_count(struct upstream_state *state, unsigned int worker,
				  enum upstream_counter counter)
{
	row_count(&state->rows[worker].counters[counter]);
}

#endif

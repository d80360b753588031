/*
 * upstream: named groups of endpoints: the configuration of a group (in the snapshot) and the
 * runtime objects that outlive snapshots (in the registry, kind "upstream" and "endpoint").
 *
 *   snapshot ──► upstream_conf ──► upstream (counters)           registry, by name
 *                    └► endpoint_conf[] ──► endpoint (counters)  registry, by (upstream, address)
 *                                              └► per worker: upstream_pool of idle connections
 *
 * The configuration is immutable once its snapshot is published. Runtime counters are rows per
 * worker, written by that worker only and summed by readers. Thread rule: confs are read by any
 * thread; rows are written by their worker.
 */
#ifndef SLUICE_UPSTREAM_UPSTREAM_H
#define SLUICE_UPSTREAM_UPSTREAM_H

#include <stdatomic.h>

#include "base/addr.h"
#include "base/arena.h"
#include "base/registry.h"
#include "base/str.h"

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
	X(TIMEOUTS, "timeouts", "no answer in time")

enum endpoint_counter {
#define X(symbol, name, help) ENDPOINT_COUNTER_##symbol,
	ENDPOINT_COUNTERS(X)
#undef X
		ENDPOINT_COUNTER_COUNT
};

struct endpoint_row {
	_Alignas(64) atomic_uint_fast64_t counters[ENDPOINT_COUNTER_COUNT];
	atomic_int connections_open;
	atomic_int connections_idle;
};

/* Runtime: registry kind "endpoint", name = upstream's name, address = text of the address. */
struct endpoint {
	struct registry_entry entry;
	struct sock_addr addr;
	/* Of the newest snapshot that names it; pools drop connections to those left behind. */
	atomic_uint_fast64_t generation;
	unsigned int slot; /* small and unique: index into the workers' pools */
	unsigned int row_count;
	struct endpoint_row *rows; /* one per worker */
};

/* Takes a reference; -ENOMEM. */
int endpoint_acquire(struct registry *registry, struct str upstream_name,
		     const struct sock_addr *addr, unsigned int worker_count,
		     struct endpoint **ret_endpoint);
void endpoint_unref(struct endpoint *endpoint);
uint64_t endpoint_counter_sum(const struct endpoint *endpoint, enum endpoint_counter counter);
int endpoint_connections_open(const struct endpoint *endpoint);
int endpoint_connections_idle(const struct endpoint *endpoint);
const char *endpoint_counter_name(enum endpoint_counter counter);

static inline void endpoint_count(struct endpoint *endpoint, unsigned int worker,
				  enum endpoint_counter counter)
{
	atomic_uint_fast64_t *cell = &endpoint->rows[worker].counters[counter];

	/* Single writer: no locked instruction is needed. */
	atomic_store_explicit(cell, atomic_load_explicit(cell, memory_order_relaxed) + 1,
			      memory_order_relaxed);
}

enum upstream_balance { UPSTREAM_ROUND_ROBIN };

/* Configuration, in the snapshot's arena. Written by config/, read by the workers. */
struct endpoint_conf {
	struct sock_addr addr;
	struct str address;	   /* as written */
	uint32_t weight;	   /* 1..65535 */
	struct endpoint *endpoint; /* one reference */
};

struct upstream_conf {
	struct str name;
	uint32_t line, column; /* where it is defined */
	struct endpoint_conf *endpoints;
	unsigned int endpoint_count; /* >= 1 */
	int balance;		     /* enum upstream_balance */
	uint64_t connect_timeout_ms;
	uint64_t response_timeout_ms; /* from the request's last byte to the answer's head */
	uint64_t idle_timeout_ms;     /* kept connections; also between two reads of a body */
	unsigned int index;	      /* in the snapshot: the workers' balancer position */

	/* Order in which weighted round-robin visits `endpoints`; made by
	 * upstream_schedule_build(). */
	uint16_t *schedule;
	unsigned int schedule_len; /* >= 1 */
};

#define UPSTREAM_ENDPOINTS_MAX 4096

/*
 * Smooth weighted round-robin, worked out once at load: an endpoint of weight 2 comes twice a
 * cycle, and not twice in a row where others can come between. Weights are reduced by their common
 * divisor, and scaled so that a cycle is at most 16,384 steps. -ENOMEM.
 */
int upstream_schedule_build(struct upstream_conf *upstream, struct arena *arena);

#endif

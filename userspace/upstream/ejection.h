/*
 * ejection: passive health. An endpoint that fails several times in a row gets no requests for a
 * while, on all workers of the node; the state is in struct endpoint and so survives a reload.
 *
 *   in use ── N failures in a row ──► ejected ── its time is over ──► in use, one failure away
 *      ▲                                                                  │          │
 *      └───────────────── one success: the row begins anew ◄─────────────┘   failure: ejected
 * again, for longer
 *
 * The time is base × how often it was ejected lately, at most 10 × base; each base of good time
 * since takes one ejection off. No more than max_share of an upstream's endpoints are ejected at
 * once, but of two or more always one may be. Where all are ejected, the balancers use all.
 *
 * Time comes from the caller, so that tests have their own. Thread rule: any thread.
 */
#ifndef SLUICE_UPSTREAM_EJECTION_H
#define SLUICE_UPSTREAM_EJECTION_H

#include "upstream/upstream.h"

#define EJECTION_TIMES_MAX 10

/* An answer came that is no failure. */
static inline void ejection_success(struct endpoint *endpoint)
{
	/* The line is shared by the workers: written only where that changes something. */
	if (atomic_load_explicit(&endpoint->failures, memory_order_relaxed))
		atomic_store_explicit(&endpoint->failures, 0, memory_order_relaxed);
}

/* A failure that is the endpoint's. True: it was ejected for it. */
bool ejection_failure(const struct upstream_conf *upstream, const struct endpoint_conf *conf,
		      uint64_t now_ms);

/* Its time is over: made good, once, for all. */
void ejection_return(struct endpoint *endpoint, uint64_t until_ms);

static inline bool endpoint_is_ejected(struct endpoint *endpoint, uint64_t now_ms)
{
	uint64_t until_ms = atomic_load_explicit(&endpoint->ejected_until_ms, memory_order_relaxed);

	if (LIKELY(!until_ms))
		return false;
	if (until_ms > now_ms)
		return true;
	ejection_return(endpoint, until_ms);
	return false;
}

/* For people: milliseconds until it comes back; 0: it is in use. Changes nothing. */
uint64_t endpoint_ejected_ms(const struct endpoint *endpoint, uint64_t now_ms);

/*
 * How much of its weight an endpoint has while it starts slowly, in parts of 256: grows from a
 * tenth to all of it.
 */
unsigned int endpoint_ramp(const struct upstream_conf *upstream, const struct endpoint *endpoint,
			   uint64_t now_ms);

#endif

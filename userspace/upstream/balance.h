/*
 * balance: which endpoint of an upstream gets a request. Private to upstream/.
 *
 *   round-robin     the next step of a schedule worked out at load, smooth and by weight, a
 *                   position per worker
 *   least-requests  fewest (requests under way on the node + 1) / weight; the search begins at
 *                   another place each time, so that ties spread
 *   random-two      two different ones drawn by weight; of these the one with fewer under way
 *   maglev          by the hash of a part of the request, see maglev.h; without that part in the
 *                   request it is round-robin
 *
 * Endpoints that are ejected or were tried for this request are passed over. Where all are ejected
 * all are used. An endpoint that starts slowly is taken less often. Thread rule: the worker's
 * thread; what the workers share is read relaxed.
 */
#ifndef SLUICE_UPSTREAM_BALANCE_H
#define SLUICE_UPSTREAM_BALANCE_H

#include "base/arena.h"
#include "upstream/ejection.h"

/* One worker's, for one upstream. */
struct balance_seat {
	uint32_t position; /* in the schedule */
	uint32_t start;	   /* of the next search */
	uint64_t random;   /* state of the generator, not 0 */
};

struct balance_ask {
	const struct upstream_conf *upstream;
	struct balance_seat *seat;
	uint64_t now_ms;
	uint64_t key; /* hash of the request's part */
	bool has_key;
	bool again; /* one that was tried will do where there is no other */
	const uint16_t *tried;
	unsigned int tried_count;
};

/*
 * At load, in the snapshot's arena. Schedule: an endpoint of weight 2 comes twice a cycle, and not
 * twice in a row where others can come between. Weights are reduced by their common divisor, and
 * scaled so that a cycle is at most 16,384 steps. -ENOMEM.
 */
int balance_build(struct upstream_conf *upstream, struct arena *arena);

void balance_seat_init(struct balance_seat *seat, unsigned int worker, uint64_t seed);

/* NULL: none is left but those that were tried. */
const struct endpoint_conf *balance_pick(const struct balance_ask *ask);

/* Does the balance need endpoint->active? */
static inline bool balance_counts_active(const struct upstream_conf *upstream)
{
	return upstream->balance == UPSTREAM_LEAST_REQUESTS ||
	       upstream->balance == UPSTREAM_RANDOM_TWO;
}

/* ---- between the files ---- */

#define BALANCE_TRIED	1u /* those tried will do */
#define BALANCE_EJECTED 2u /* those ejected will do */

static inline bool balance_is_usable(const struct balance_ask *ask, unsigned int index,
				     unsigned int allow)
{
	if (!(allow & BALANCE_EJECTED) &&
	    endpoint_is_ejected(ask->upstream->endpoints[index].endpoint, ask->now_ms))
		return false;
	if (UNLIKELY(ask->tried_count) && !(allow & BALANCE_TRIED))
		for (unsigned int i = 0; i < ask->tried_count; i++)
			if (ask->tried[i] == index)
				return false;
	return true;
}

/* Below `bound`, which is not 0. */
uint32_t balance_random(struct balance_seat *seat, uint32_t bound);

/* Index of an endpoint, or -1. */
int balance_round_robin(const struct balance_ask *ask, unsigned int allow);
int balance_least_requests(const struct balance_ask *ask, unsigned int allow);
int balance_random_two(const struct balance_ask *ask, unsigned int allow);

#endif

#include "upstream/balance.h"

#include <errno.h>

#include "base/util.h"
#include "upstream/maglev.h"

#define SCHEDULE_MAX 16384

static uint32_t common_divisor(uint32_t left, uint32_t right)
{
	while (right) {
		uint32_t rest = left % right;

		left = right;
		right = rest;
	}
	return left;
}

static int build_schedule(struct upstream_conf *upstream, struct arena *arena)
{
	unsigned int count = upstream->endpoint_count;
	int64_t *credit = arena_new_array(arena, int64_t, count);
	uint32_t *weights = arena_new_array(arena, uint32_t, count);
	uint32_t divisor = 0;
	uint64_t total = 0, steps = 0;

	if (!credit || !weights)
		return -ENOMEM;
	for (unsigned int i = 0; i < count; i++) {
		divisor = common_divisor(upstream->endpoints[i].weight, divisor);
		total += upstream->endpoints[i].weight;
	}
	for (unsigned int i = 0; i < count; i++) {
		uint64_t weight = upstream->endpoints[i].weight;

		weights[i] = (uint32_t)(total / divisor <= SCHEDULE_MAX
						? weight / divisor
						: MAX(weight * SCHEDULE_MAX / 2 / total, 1u));
		steps += weights[i];
	}

	upstream->schedule = arena_new_array(arena, uint16_t, steps);
	if (!upstream->schedule)
		return -ENOMEM;
	upstream->schedule_len = (unsigned int)steps;
	for (uint64_t step = 0; step < steps; step++) {
		unsigned int best = 0;

		for (unsigned int i = 0; i < count; i++) {
			credit[i] += weights[i];
			if (credit[i] > credit[best])
				best = i;
		}
		credit[best] -= (int64_t)steps;
		upstream->schedule[step] = (uint16_t)best;
	}
	return 0;
}

static int build_weight_sums(struct upstream_conf *upstream, struct arena *arena)
{
	bool equal = true;
	uint32_t sum = 0;

	for (unsigned int i = 1; i < upstream->endpoint_count; i++)
		if (upstream->endpoints[i].weight != upstream->endpoints[0].weight)
			equal = false;
	upstream->weight_sums = NULL;
	if (equal || upstream->balance != UPSTREAM_RANDOM_TWO)
		return 0;
	upstream->weight_sums = arena_new_array(arena, uint32_t, upstream->endpoint_count);
	if (!upstream->weight_sums)
		return -ENOMEM;
	for (unsigned int i = 0; i < upstream->endpoint_count; i++)
		upstream->weight_sums[i] = sum += upstream->endpoints[i].weight;
	return 0;
}

int balance_build(struct upstream_conf *upstream, struct arena *arena)
{
	int ret = build_schedule(upstream, arena);

	return ret ? ret : build_weight_sums(upstream, arena);
}

void balance_seat_init(struct balance_seat *seat, unsigned int worker, uint64_t seed)
{
	/* Workers start at different places, so that the first requests spread, too. */
	seat->position = seat->start = worker;
	seat->random = (seed ^ ((worker + 1) * 0x9e3779b97f4a7c15ull)) | 1;
}

uint32_t balance_random(struct balance_seat *seat, uint32_t bound)
{
	uint64_t state = seat->random;

	/* xorshift64*: quick, and nobody gains by guessing it. */
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	seat->random = state;
	return (uint32_t)(((state * 0x2545f4914f6cdd1dull >> 32) * bound) >> 32);
}

/* While an endpoint starts slowly it lets turns pass. */
static bool takes_its_turn(const struct balance_ask *ask, unsigned int index)
{
	unsigned int ramp;

	if (LIKELY(!ask->upstream->slow_start_ms))
		return true;
	ramp = endpoint_ramp(ask->upstream, ask->upstream->endpoints[index].endpoint, ask->now_ms);
	return ramp == 256 || balance_random(ask->seat, 256) < ramp;
}

int balance_round_robin(const struct balance_ask *ask, unsigned int allow)
{
	const struct upstream_conf *upstream = ask->upstream;
	struct balance_seat *seat = ask->seat;
	int passed_over = -1;

	/* Steps that find no taker are used up, so that a neighbour does not get them all. */
	for (unsigned int step = 0; step < upstream->schedule_len; step++) {
		unsigned int index;

		if (seat->position >= upstream->schedule_len)
			seat->position %= upstream->schedule_len;
		index = upstream->schedule[seat->position++];
		if (!balance_is_usable(ask, index, allow))
			continue;
		if (takes_its_turn(ask, index))
			return (int)index;
		passed_over = (int)index;
	}
	return passed_over;
}

static int pick(const struct balance_ask *ask, unsigned int allow)
{
	switch (ask->upstream->balance) {
	case UPSTREAM_LEAST_REQUESTS:
		return balance_least_requests(ask, allow);
	case UPSTREAM_RANDOM_TWO:
		return balance_random_two(ask, allow);
	case UPSTREAM_MAGLEV:
		if (ask->has_key)
			return maglev_pick(ask, allow);
		break;
	default:
		break;
	}
	return balance_round_robin(ask, allow);
}

static bool all_are_ejected(const struct balance_ask *ask)
{
	for (unsigned int i = 0; i < ask->upstream->endpoint_count; i++)
		if (!endpoint_is_ejected(ask->upstream->endpoints[i].endpoint, ask->now_ms))
			return false;
	return true;
}

const struct endpoint_conf *balance_pick(const struct balance_ask *ask)
{
	unsigned int again = ask->again ? BALANCE_TRIED : 0, allow = 0;
	int index = pick(ask, 0);

	if (UNLIKELY(index < 0)) {
		if (all_are_ejected(ask))
			allow = BALANCE_EJECTED;
		if (allow)
			index = pick(ask, allow);
		if (index < 0 && again)
			index = pick(ask, allow | again);
		/* Another worker ejects while we look. */
		if (index < 0 && again)
			index = pick(ask, BALANCE_EJECTED | BALANCE_TRIED);
	}
	return index < 0 ? NULL : &ask->upstream->endpoints[index];
}

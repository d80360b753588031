/* The balancers that look at how busy endpoints are. */
#include "base/util.h"
#include "upstream/balance.h"

/* Draws that may fall on endpoints which are out, before all are looked at. */
#define DRAWS_MAX 8

struct load {
	uint64_t requests; /* under way, and this one */
	uint64_t weight;   /* in parts of 256 */
};

static struct load load_of(const struct balance_ask *ask, unsigned int index)
{
	const struct endpoint_conf *conf = &ask->upstream->endpoints[index];
	unsigned int ramp = 256;

	if (UNLIKELY(ask->upstream->slow_start_ms))
		ramp = endpoint_ramp(ask->upstream, conf->endpoint, ask->now_ms);
	return (struct load){
		.requests =
			atomic_load_explicit(&conf->endpoint->active, memory_order_relaxed) + 1ull,
		.weight = (uint64_t)conf->weight * ramp,
	};
}

static bool is_less(struct load left, struct load right)
{
	return left.requests * right.weight < right.requests * left.weight;
}

int balance_least_requests(const struct balance_ask *ask, unsigned int allow)
{
	unsigned int count = ask->upstream->endpoint_count, index;
	struct load least = {0};
	int best = -1;

	index = ask->seat->start++ % count;
	for (unsigned int i = 0; i < count; i++) {
		if (balance_is_usable(ask, index, allow)) {
			struct load load = load_of(ask, index);

			if (best < 0 || is_less(load, least)) {
				best = (int)index;
				least = load;
			}
		}
		index = index + 1 == count ? 0 : index + 1;
	}
	return best;
}

static unsigned int draw(const struct balance_ask *ask)
{
	const struct upstream_conf *upstream = ask->upstream;
	unsigned int low = 0, high = upstream->endpoint_count - 1;
	uint32_t mark;

	if (!upstream->weight_sums)
		return balance_random(ask->seat, upstream->endpoint_count);
	mark = balance_random(ask->seat, upstream->weight_sums[high]);
	while (low < high) {
		unsigned int middle = (low + high) / 2;

		if (mark < upstream->weight_sums[middle])
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

/* A usable one that is not `other`; -1: there is none. */
static int draw_usable(const struct balance_ask *ask, int other, unsigned int allow)
{
	unsigned int count = ask->upstream->endpoint_count, index;

	for (unsigned int i = 0; i < DRAWS_MAX; i++) {
		index = draw(ask);
		if ((int)index != other && balance_is_usable(ask, index, allow))
			return (int)index;
	}
	index = balance_random(ask->seat, count);
	for (unsigned int i = 0; i < count; i++) {
		if ((int)index != other && balance_is_usable(ask, index, allow))
			return (int)index;
		index = index + 1 == count ? 0 : index + 1;
	}
	return -1;
}

int balance_random_two(const struct balance_ask *ask, unsigned int allow)
{
	int first = draw_usable(ask, -1, allow), second;

	if (first < 0)
		return -1;
	second = draw_usable(ask, first, allow);
	if (second >= 0 &&
	    is_less(load_of(ask, (unsigned int)second), load_of(ask, (unsigned int)first)))
		return second;
	return first;
}

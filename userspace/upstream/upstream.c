#include "upstream/upstream.h"

#include <errno.h>
#include <stdlib.h>

#include "base/util.h"

#define SCHEDULE_MAX	   16384
#define ENDPOINT_SLOTS_MAX 65536

/*
 * Slots are small numbers that workers index arrays with. A slot is taken on the control thread and
 * given back where the last reference goes, so the bitmap is atomic.
 */
static atomic_uint_fast64_t slot_bitmap[ENDPOINT_SLOTS_MAX / 64];

static int slot_take(unsigned int *ret_slot)
{
	for (unsigned int word = 0; word < ARRAY_SIZE(slot_bitmap); word++) {
		uint_fast64_t taken = atomic_load(&slot_bitmap[word]);

		while (taken != UINT64_MAX) {
			unsigned int bit = (unsigned int)__builtin_ctzll(~taken);

			if (atomic_compare_exchange_weak(&slot_bitmap[word], &taken,
							 taken | (1ULL << bit))) {
				*ret_slot = word * 64 + bit;
				return 0;
			}
		}
	}
	return -ENOSPC;
}

static void slot_release(unsigned int slot)
{
	atomic_fetch_and(&slot_bitmap[slot / 64], ~(1ULL << (slot % 64)));
}

struct endpoint_make {
	const struct sock_addr *addr;
	unsigned int worker_count;
};

static int endpoint_init(struct registry_entry *entry, void *arg)
{
	struct endpoint *endpoint = CONTAINER_OF(entry, struct endpoint, entry);
	const struct endpoint_make *make = arg;
	size_t bytes = sizeof(*endpoint->rows) * make->worker_count;
	int ret;

	endpoint->rows = aligned_alloc(_Alignof(struct endpoint_row), bytes);
	if (!endpoint->rows)
		return -ENOMEM;
	memset(endpoint->rows, 0, bytes);
	ret = slot_take(&endpoint->slot);
	if (ret < 0) {
		free(endpoint->rows);
		return ret;
	}
	endpoint->addr = *make->addr;
	endpoint->row_count = make->worker_count;
	return 0;
}

static void endpoint_release(struct registry_entry *entry)
{
	struct endpoint *endpoint = CONTAINER_OF(entry, struct endpoint, entry);

	slot_release(endpoint->slot);
	free(endpoint->rows);
}

int endpoint_acquire(struct registry *registry, struct str upstream_name,
		     const struct sock_addr *addr, unsigned int worker_count,
		     struct endpoint **ret_endpoint)
{
	struct endpoint_make make = {.addr = addr, .worker_count = worker_count};
	char text[ADDR_TEXT_MAX];
	struct registry_entry *entry;

	entry = registry_acquire(registry, "endpoint", upstream_name,
				 str_from_cstr(sock_addr_format(addr, text, sizeof(text))),
				 sizeof(struct endpoint), endpoint_init, &make, endpoint_release);
	if (!entry)
		return -ENOMEM;
	*ret_endpoint = CONTAINER_OF(entry, struct endpoint, entry);
	return 0;
}

void endpoint_unref(struct endpoint *endpoint)
{
	if (endpoint)
		registry_unref(&endpoint->entry);
}

uint64_t endpoint_counter_sum(const struct endpoint *endpoint, enum endpoint_counter counter)
{
	uint64_t sum = 0;

	for (unsigned int row = 0; row < endpoint->row_count; row++)
		sum += atomic_load_explicit(&endpoint->rows[row].counters[counter],
					    memory_order_relaxed);
	return sum;
}

int endpoint_connections_open(const struct endpoint *endpoint)
{
	int sum = 0;

	for (unsigned int row = 0; row < endpoint->row_count; row++)
		sum += atomic_load_explicit(&endpoint->rows[row].connections_open,
					    memory_order_relaxed);
	return sum;
}

int endpoint_connections_idle(const struct endpoint *endpoint)
{
	int sum = 0;

	for (unsigned int row = 0; row < endpoint->row_count; row++)
		sum += atomic_load_explicit(&endpoint->rows[row].connections_idle,
					    memory_order_relaxed);
	return sum;
}

const char *endpoint_counter_name(enum endpoint_counter counter)
{
	static const char *const names[] = {
#define X(symbol, name, help) [ENDPOINT_COUNTER_##symbol] = name,
		ENDPOINT_COUNTERS(X)
#undef X
	};

	return names[counter];
}

static uint32_t common_divisor(uint32_t left, uint32_t right)
{
	while (right) {
		uint32_t rest = left % right;

		left = right;
		right = rest;
	}
	return left;
}

int upstream_schedule_build(struct upstream_conf *upstream, struct arena *arena)
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

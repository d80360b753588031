#include "upstream/upstream_state.h"

#include <errno.h>
#include <stdlib.h>

#include "base/util.h"
#include "upstream/retry.h"

#define SLOTS_MAX 65536

/*
 * Slots are small numbers that workers index arrays with. A slot is taken on the control thread and
 * given back where the last reference goes, so the bitmap is atomic.
 */
struct slot_map {
	atomic_uint_fast64_t words[SLOTS_MAX / 64];
};

static struct slot_map upstream_slots, endpoint_slots;

static int slot_take(struct slot_map *map, unsigned int *ret_slot)
{
	for (unsigned int word = 0; word < ARRAY_SIZE(map->words); word++) {
		uint_fast64_t taken = atomic_load(&map->words[word]);

		while (taken != UINT64_MAX) {
			unsigned int bit = (unsigned int)__builtin_ctzll(~taken);

			if (atomic_compare_exchange_weak(&map->words[word], &taken,
							 taken | (1ULL << bit))) {
				*ret_slot = word * 64 + bit;
				return 0;
			}
		}
	}
	return -ENOSPC;
}

static void slot_release(struct slot_map *map, unsigned int slot)
{
	atomic_fetch_and(&map->words[slot / 64], ~(1ULL << (slot % 64)));
}

static void *rows_new(size_t row_bytes, unsigned int count)
{
	size_t bytes = row_bytes * count;
	void *rows = aligned_alloc(CACHE_LINE_BYTES, bytes);

	return rows ? memset(rows, 0, bytes) : NULL;
}

/* ---- upstreams ---- */

struct state_make {
	unsigned int worker_count;
	uint64_t now_ms;
};

static int state_init(struct registry_entry *entry, void *arg)
{
	struct upstream_state *state = CONTAINER_OF(entry, struct upstream_state, entry);
	const struct state_make *make = arg;
	int ret;

	state->rows = rows_new(sizeof(*state->rows), make->worker_count);
	if (!state->rows)
		return -ENOMEM;
	ret = slot_take(&upstream_slots, &state->slot);
	if (ret < 0) {
		free(state->rows);
		return ret;
	}
	state->row_count = make->worker_count;
	retry_budget_init(state, make->now_ms);
	return 0;
}

static void state_release(struct registry_entry *entry)
{
	struct upstream_state *state = CONTAINER_OF(entry, struct upstream_state, entry);

	slot_release(&upstream_slots, state->slot);
	free(state->rows);
}

int upstream_state_acquire(struct registry *registry, struct str name, unsigned int worker_count,
			   uint64_t now_ms, struct upstream_state **ret_state)
{
	struct state_make make = {.worker_count = worker_count, .now_ms = now_ms};
	struct registry_entry *entry =
		registry_acquire(registry, "upstream", name, STR(""), sizeof(struct upstream_state),
				 state_init, &make, state_release);

	if (!entry)
		return -ENOMEM;
	*ret_state = CONTAINER_OF(entry, struct upstream_state, entry);
	return 0;
}

void upstream_state_unref(struct upstream_state *state)
{
	if (state)
		registry_unref(&state->entry);
}

uint64_t upstream_counter_sum(const struct upstream_state *state, enum upstream_counter counter)
{
	uint64_t sum = 0;

	for (unsigned int row = 0; row < state->row_count; row++)
		sum += atomic_load_explicit(&state->rows[row].counters[counter],
					    memory_order_relaxed);
	return sum;
}

const char *upstream_counter_name(enum upstream_counter counter)
{
	static const char *const names[] = {
#define X(symbol, name, help) [UPSTREAM_COUNTER_##symbol] = name,
		UPSTREAM_COUNTERS(X)
#undef X
	};

	return names[counter];
}

/* ---- endpoints ---- */

struct endpoint_make {
	struct upstream_state *upstream;
	const struct sock_addr *addr;
	uint64_t now_ms;
};

static int endpoint_init(struct registry_entry *entry, void *arg)
{
	struct endpoint *endpoint = CONTAINER_OF(entry, struct endpoint, entry);
	const struct endpoint_make *make = arg;
	int ret;

	endpoint->row_count = make->upstream->row_count;
	endpoint->rows = rows_new(sizeof(*endpoint->rows), endpoint->row_count);
	if (!endpoint->rows)
		return -ENOMEM;
	ret = slot_take(&endpoint_slots, &endpoint->slot);
	if (ret < 0) {
		free(endpoint->rows);
		return ret;
	}
	endpoint->addr = *make->addr;
	endpoint->upstream = make->upstream;
	registry_ref(&endpoint->upstream->entry);
	if (endpoint->upstream->established)
		atomic_init(&endpoint->ramp_from_ms, make->now_ms);
	return 0;
}

static void endpoint_release(struct registry_entry *entry)
{
	struct endpoint *endpoint = CONTAINER_OF(entry, struct endpoint, entry);

	slot_release(&endpoint_slots, endpoint->slot);
	upstream_state_unref(endpoint->upstream);
	free(endpoint->rows);
}

int endpoint_acquire(struct registry *registry, struct upstream_state *upstream,
		     const struct sock_addr *addr, uint64_t now_ms, struct endpoint **ret_endpoint)
{
	struct endpoint_make make = {.upstream = upstream, .addr = addr, .now_ms = now_ms};
	char text[ADDR_TEXT_MAX];
	struct registry_entry *entry;

	entry = registry_acquire(registry, "endpoint", str_from_cstr(upstream->entry.name),
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

static int load(const atomic_int *cell)
{
	return atomic_load_explicit(cell, memory_order_relaxed);
}

int endpoint_connections_open(const struct endpoint *endpoint)
{
	int sum = 0;

	for (unsigned int row = 0; row < endpoint->row_count; row++)
		sum += load(&endpoint->rows[row].connections_open);
	return sum;
}

int endpoint_connections_idle(const struct endpoint *endpoint)
{
	int sum = 0;

	for (unsigned int row = 0; row < endpoint->row_count; row++)
		sum += load(&endpoint->rows[row].connections_idle);
	return sum;
}

int endpoint_active(const struct endpoint *endpoint)
{
	int sum = 0;

	for (unsigned int row = 0; row < endpoint->row_count; row++)
		sum += load(&endpoint->rows[row].active);
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

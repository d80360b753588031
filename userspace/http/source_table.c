#include "http/source_table.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

/* The library is linked; inlining it costs nothing more and saves a call. */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/util.h"

#define CELLS	   8u /* one cache line */
#define COUNT_BITS 20
#define COUNT_MASK (((uint64_t)1 << COUNT_BITS) - 1)
#define KEY_BYTES  256

_Static_assert(SOURCE_LIMIT_MAX < COUNT_MASK, "a count must fit its bits");

struct bucket {
	_Alignas(64) atomic_uint_fast64_t cells[CELLS];
};

struct source_table {
	uint8_t secret[XXH3_SECRET_SIZE_MIN];
	atomic_uint_fast64_t shared[SOURCE_SHARED_ROWS];
	unsigned int bucket_mask;
	struct bucket buckets[];
};

struct source_table *source_table_new(unsigned int buckets)
{
	size_t bytes = sizeof(struct source_table) + buckets * sizeof(struct bucket);
	struct source_table *table = aligned_alloc(_Alignof(struct bucket), bytes);

	if (!table)
		return NULL;
	memset(table, 0, bytes);
	table->bucket_mask = buckets - 1;
	if (getrandom(table->secret, sizeof(table->secret), 0) != (ssize_t)sizeof(table->secret)) {
		free(table);
		return NULL;
	}
	return table;
}

void source_table_free(struct source_table *table)
{
	free(table);
}

static XXH128_hash_t hash(const struct source_table *table, struct str listener,
			  const struct ip_addr *addr)
{
	size_t addr_bytes = addr->family == AF_INET ? 4 : 8;
	uint8_t key[KEY_BYTES];
	size_t len = MIN(listener.len, sizeof(key) - 9);

	key[0] = addr->family;
	memcpy(key + 1, addr->bytes, addr_bytes);
	memcpy(key + 1 + addr_bytes, listener.ptr, len);
	return XXH3_128bits_withSecret(key, 1 + addr_bytes + len, table->secret,
				       sizeof(table->secret));
}

static bool swap(atomic_uint_fast64_t *cell, uint_fast64_t from, uint_fast64_t to)
{
	return atomic_compare_exchange_strong_explicit(cell, &from, to, memory_order_relaxed,
						       memory_order_relaxed);
}

static int take_shared(struct source_table *table, uint64_t row, uint32_t limit,
		       struct source_lease *ret_lease)
{
	atomic_uint_fast64_t *cell = &table->shared[row % SOURCE_SHARED_ROWS];
	uint_fast64_t count;

	do {
		count = atomic_load_explicit(cell, memory_order_relaxed);
		if (count >= limit)
			return -EUSERS;
	} while (!swap(cell, count, count + 1));
	*ret_lease = (struct source_lease){.cell = cell, .shared = true};
	return 0;
}

struct look {
	atomic_uint_fast64_t *mine, *free;
	uint_fast64_t mine_value;
	uint64_t total;
};

static void look_at(struct bucket *bucket, uint64_t tag, struct look *look)
{
	for (unsigned int i = 0; i < CELLS; i++) {
		uint_fast64_t value = atomic_load_explicit(&bucket->cells[i], memory_order_relaxed);

		if (!(value & COUNT_MASK)) {
			if (!look->free)
				look->free = &bucket->cells[i];
		} else if (value >> COUNT_BITS == tag) {
			look->total += value & COUNT_MASK;
			if (!look->mine) {
				look->mine = &bucket->cells[i];
				look->mine_value = value;
			}
		}
	}
}

int source_table_take(struct source_table *table, struct str listener, const struct ip_addr *addr,
		      uint32_t limit, struct source_lease *ret_lease)
{
	XXH128_hash_t where = hash(table, listener, addr);
	uint64_t tag = where.high64 >> COUNT_BITS;
	struct bucket *first = &table->buckets[where.low64 & table->bucket_mask];
	struct bucket *second = &table->buckets[(where.low64 >> 32) & table->bucket_mask];

	for (;;) {
		struct look look = {0};

		look_at(first, tag, &look);
		if (second != first)
			look_at(second, tag, &look);
		if (look.total >= limit)
			return -EUSERS;
		if (look.mine ? swap(look.mine, look.mine_value, look.mine_value + 1)
			      : look.free && swap(look.free, 0, tag << COUNT_BITS | 1)) {
			*ret_lease =
				(struct source_lease){.cell = look.mine ? look.mine : look.free};
			return 0;
		}
		if (!look.mine && !look.free)
			return take_shared(table, where.high64, limit, ret_lease);
	}
}

void source_lease_give_back(struct source_lease *lease)
{
	atomic_uint_fast64_t *cell = lease->cell;
	uint_fast64_t value;

	if (!cell)
		return;
	do
		value = atomic_load_explicit(cell, memory_order_relaxed);
	while (!swap(cell, value, (value & COUNT_MASK) == 1 ? 0 : value - 1));
	*lease = (struct source_lease){0};
}

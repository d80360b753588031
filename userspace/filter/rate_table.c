#include "filter/rate_table.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/util.h"

#define CELLS	   7u	      /* with the latch two cache lines; mostly the first is enough */
#define TAKEN	   UINT64_MAX /* as a time: the tag is being written */
#define WAIT_TURNS 2000u

struct cell {
	atomic_uint_fast64_t time_ns; /* read first: it vouches for the tag */
	atomic_uint_fast64_t tag;
};

struct bucket {
	_Alignas(64) struct cell cells[CELLS];
	atomic_uint latch; /* 1: somebody makes a cell his key's */
};

struct rate_table {
	uint8_t secret[LIMIT_SECRET_BYTES];
	size_t mask, keys;
	_Alignas(64) atomic_uint_fast64_t evictions;
	struct bucket buckets[];
};

struct rate_table *rate_table_new(size_t keys)
{
	struct rate_table *table;
	size_t count = 1, bytes;

	/* Half full: buckets are seldom too small then. */
	while (count * CELLS < keys * 2)
		count *= 2;
	bytes = sizeof(*table) + count * sizeof(struct bucket);
	table = aligned_alloc(_Alignof(struct bucket), bytes);
	if (!table)
		return NULL;
	memset(table, 0, bytes);
	table->mask = count - 1;
	table->keys = keys;
	if (getrandom(table->secret, sizeof(table->secret), 0) != (ssize_t)sizeof(table->secret)) {
		free(table);
		return NULL;
	}
	return table;
}

void rate_table_free(struct rate_table *table)
{
	free(table);
}

size_t rate_table_keys(const struct rate_table *table)
{
	return table->keys;
}

uint64_t rate_table_evictions(const struct rate_table *table)
{
	return atomic_load_explicit(&table->evictions, memory_order_relaxed);
}

const uint8_t *rate_table_secret(const struct rate_table *table)
{
	return table->secret;
}

/* ---- one cell ---- */

static inline void pause_cpu(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#else
	atomic_signal_fence(memory_order_seq_cst);
#endif
}

static uint64_t cell_time(const struct cell *cell)
{
	return atomic_load_explicit(&cell->time_ns, memory_order_acquire);
}

static uint64_t cell_tag(const struct cell *cell)
{
	return atomic_load_explicit(&cell->tag, memory_order_relaxed);
}

static bool cell_swap(struct cell *cell, uint64_t from, uint64_t to)
{
	uint_fast64_t expected = from;

	return atomic_compare_exchange_strong_explicit(&cell->time_ns, &expected, to,
						       memory_order_acq_rel, memory_order_relaxed);
}

/* What comes of a key that owes nothing from `time_ns` on. The new time, or the same: refused. */
static uint64_t judge(const struct rate *rate, uint64_t time_ns, uint64_t now_ns,
		      struct rate_verdict *verdict)
{
	uint64_t owed = time_ns > now_ns ? time_ns - now_ns : 0, more = owed + rate->interval_ns;
	uint64_t most = rate->interval_ns * rate->burst;
	bool passes = more <= most;

	*verdict = (struct rate_verdict){.reset_ns = passes ? more : owed,
					 .retry_ns = passes ? 0 : more - most};
	if (verdict->reset_ns < most)
		verdict->remaining = (most - verdict->reset_ns) / rate->interval_ns;
	return passes ? now_ns + more : time_ns;
}

/* False: it is another key's, or will be. */
static bool cell_take(struct cell *cell, uint64_t tag, const struct rate *rate, uint64_t now_ns,
		      struct rate_verdict *verdict)
{
	uint64_t time_ns, next_ns;

	/* A swap from a time to itself shows that the tag that was read belongs to it. */
	do {
		time_ns = cell_time(cell);
		if (time_ns == TAKEN || cell_tag(cell) != tag)
			return false;
		next_ns = judge(rate, time_ns, now_ns, verdict);
	} while (!cell_swap(cell, time_ns, next_ns));
	return true;
}

/* ---- a bucket ---- */

/* False: the key has no cell. */
static bool bucket_take(struct bucket *bucket, uint64_t tag, const struct rate *rate,
			uint64_t now_ns, struct rate_verdict *verdict)
{
	for (unsigned int i = 0; i < CELLS; i++)
		if (cell_tag(&bucket->cells[i]) == tag &&
		    cell_take(&bucket->cells[i], tag, rate, now_ns, verdict))
			return true;
	return false;
}

static bool bucket_latch(struct bucket *bucket)
{
	for (unsigned int turn = 0; turn < WAIT_TURNS; turn++) {
		if (!atomic_load_explicit(&bucket->latch, memory_order_relaxed) &&
		    !atomic_exchange_explicit(&bucket->latch, 1, memory_order_acquire))
			return true;
		pause_cpu();
	}
	return false;
}

/* A free one, else the one that will be free first. */
static struct cell *find_room(struct bucket *bucket, uint64_t now_ns, uint64_t *ret_time_ns)
{
	struct cell *found = &bucket->cells[0];

	*ret_time_ns = cell_time(found);
	for (unsigned int i = 1; i<CELLS && * ret_time_ns> now_ns; i++) {
		uint64_t time_ns = cell_time(&bucket->cells[i]);

		if (time_ns < *ret_time_ns) {
			found = &bucket->cells[i];
			*ret_time_ns = time_ns;
		}
	}
	return found;
}

/* With the latch. */
static void bucket_add(struct rate_table *table, struct bucket *bucket, uint64_t tag,
		       const struct rate *rate, uint64_t now_ns, struct rate_verdict *verdict)
{
	uint64_t time_ns, next_ns = judge(rate, 0, now_ns, verdict);
	struct cell *cell;

	/* Whoever has the key of that cell may be quicker, and then keeps it. */
	do
		cell = find_room(bucket, now_ns, &time_ns);
	while (!cell_swap(cell, time_ns, TAKEN));
	if (time_ns > now_ns)
		atomic_fetch_add_explicit(&table->evictions, 1, memory_order_relaxed);
	atomic_store_explicit(&cell->tag, tag, memory_order_relaxed);
	atomic_store_explicit(&cell->time_ns, next_ns, memory_order_release);
}

void rate_table_take(struct rate_table *table, struct limit_hash key, const struct rate *rate,
		     uint64_t now_ns, struct rate_verdict *ret_verdict)
{
	struct bucket *bucket = &table->buckets[key.low & table->mask];
	uint64_t tag = key.high ? key.high : 1; /* 0 is of cells that nobody had */

	if (bucket_take(bucket, tag, rate, now_ns, ret_verdict))
		return;
	if (!bucket_latch(bucket)) {
		(void)judge(rate, 0, now_ns, ret_verdict);
		return;
	}
	if (!bucket_take(bucket, tag, rate, now_ns, ret_verdict))
		bucket_add(table, bucket, tag, rate, now_ns, ret_verdict);
	atomic_store_explicit(&bucket->latch, 0, memory_order_release);
}

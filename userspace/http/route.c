#include "http/route.h"

#include <errno.h>
#include <stdlib.h>

#include "base/util.h"

static int route_stats_init(struct registry_entry *entry, void *arg)
{
	struct route_stats *stats = CONTAINER_OF(entry, struct route_stats, entry);
	unsigned int worker_count = *(const unsigned int *)arg;
	size_t bytes = sizeof(*stats->rows) * worker_count;

	stats->rows = aligned_alloc(_Alignof(struct route_row), bytes);
	if (!stats->rows)
		return -ENOMEM;
	memset(stats->rows, 0, bytes);
	stats->row_count = worker_count;
	return 0;
}

static void route_stats_release(struct registry_entry *entry)
{
	free(CONTAINER_OF(entry, struct route_stats, entry)->rows);
}

int route_stats_acquire(struct registry *registry, struct str name, unsigned int worker_count,
			struct route_stats **ret_stats)
{
	struct registry_entry *entry;

	entry = registry_acquire(registry, "route", name, STR(""), sizeof(struct route_stats),
				 route_stats_init, &worker_count, route_stats_release);
	if (!entry)
		return -ENOMEM;
	*ret_stats = CONTAINER_OF(entry, struct route_stats, entry);
	return 0;
}

void route_stats_unref(struct route_stats *stats)
{
	if (stats)
		registry_unref(&stats->entry);
}

static uint64_t load(const atomic_uint_fast64_t *cell)
{
	return atomic_load_explicit(cell, memory_order_relaxed);
}

struct route_row route_stats_sum(const struct route_stats *stats)
{
	struct route_row sum = {0};

	for (unsigned int i = 0; i < stats->row_count; i++) {
		const struct route_row *row = &stats->rows[i];

		sum.requests += load(&row->requests);
		sum.bytes_in += load(&row->bytes_in);
		sum.bytes_out += load(&row->bytes_out);
		for (unsigned int digit = 0; digit < ARRAY_SIZE(sum.responses); digit++)
			sum.responses[digit] += load(&row->responses[digit]);
	}
	return sum;
}

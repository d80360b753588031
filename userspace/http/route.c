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

const uint64_t route_durations_us[ROUTE_DURATION_BOUNDS] = {
	250,   500,    1000,   2500,   5000,	10000,	 25000,
	50000, 100000, 250000, 500000, 1000000, 2500000, 10000000,
};

static uint64_t load(const atomic_uint_fast64_t *cell)
{
	return atomic_load_explicit(cell, memory_order_relaxed);
}

/* Single writer: no locked instruction is needed. */
static void add(atomic_uint_fast64_t *cell, uint64_t count)
{
	atomic_store_explicit(cell, load(cell) + count, memory_order_relaxed);
}

void route_row_count(struct route_row *row, uint16_t status, uint64_t bytes_in, uint64_t bytes_out,
		     uint64_t duration_us)
{
	unsigned int bucket = 0;

	/* Most end in the first few. */
	while (bucket < ROUTE_DURATION_BOUNDS && duration_us > route_durations_us[bucket])
		bucket++;
	add(&row->responses[status < 600 ? status / 100 : 0], 1);
	if (bytes_in)
		add(&row->bytes_in, bytes_in);
	add(&row->bytes_out, bytes_out);
	add(&row->durations[bucket], 1);
	add(&row->duration_sum_us, duration_us);
}

void route_row_add(struct route_row *sum, const struct route_row *row)
{
	sum->bytes_in += load(&row->bytes_in);
	sum->bytes_out += load(&row->bytes_out);
	sum->duration_sum_us += load(&row->duration_sum_us);
	for (unsigned int digit = 0; digit < ARRAY_SIZE(sum->responses); digit++)
		sum->responses[digit] += load(&row->responses[digit]);
	for (unsigned int bucket = 0; bucket < ARRAY_SIZE(sum->durations); bucket++)
		sum->durations[bucket] += load(&row->durations[bucket]);
}

uint64_t route_row_requests(const struct route_row *sum)
{
	uint64_t requests = 0;

	for (unsigned int digit = 0; digit < ARRAY_SIZE(sum->responses); digit++)
		requests += load(&sum->responses[digit]);
	return requests;
}

struct route_row route_stats_sum(const struct route_stats *stats)
{
	struct route_row sum = {0};

	for (unsigned int i = 0; i < stats->row_count; i++)
		route_row_add(&sum, &stats->rows[i]);
	return sum;
}

bool route_is_served(const struct route *route, struct str listener)
{
	for (unsigned int i = 0; i < route->listener_count; i++)
		if (str_eq(route->listeners[i], listener))
			return true;
	return !route->listener_count;
}

const char *route_path_kind_name(enum route_path_kind kind)
{
	static const char *const names[] = {
		[ROUTE_PATH_EXACT] = "exact",
		[ROUTE_PATH_TEMPLATE] = "template",
		[ROUTE_PATH_PREFIX] = "prefix",
		[ROUTE_PATH_REGEX] = "regex",
	};

	return names[kind];
}

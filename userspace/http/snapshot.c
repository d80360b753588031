#include "http/snapshot.h"

#include <stdlib.h>

#include "base/util.h"
#include "http/files_root.h"
#include "http/split.h"

/* A configuration of 10,000 routes takes some 10 MiB; the cap is there to end a mistake. */
#define SNAPSHOT_CHUNK_BYTES (64u * 1024)
#define SNAPSHOT_CAP_BYTES   ((size_t)1 << 30)

struct snapshot *snapshot_new(void)
{
	struct snapshot *snapshot = calloc(1, sizeof(*snapshot));

	if (!snapshot)
		return NULL;
	atomic_init(&snapshot->refs, 1);
	arena_init(&snapshot->arena, SNAPSHOT_CHUNK_BYTES, SNAPSHOT_CAP_BYTES);
	return snapshot;
}

struct snapshot *snapshot_ref(struct snapshot *snapshot)
{
	atomic_fetch_add_explicit(&snapshot->refs, 1, memory_order_relaxed);
	return snapshot;
}

static void route_release(const struct route *route)
{
	const struct split *split = route->proxy.split;

	route_stats_unref(route->stats);
	files_root_unref(route->files.directory);
	for (unsigned int i = 0; split && i < split->count; i++)
		variant_stats_unref(split->variants[i].stats);
}

void snapshot_unref(struct snapshot *snapshot)
{
	if (!snapshot || atomic_fetch_sub_explicit(&snapshot->refs, 1, memory_order_acq_rel) != 1)
		return;
	for (unsigned int i = 0; i < snapshot->route_count; i++)
		route_release(&snapshot->routes[i]);
	for (unsigned int i = 0; i < snapshot->upstream_count; i++)
		upstream_release(&snapshot->upstreams[i]);
	policies_release(snapshot->policies, snapshot->policy_count);
	access_log_file_unref(snapshot->access_log_file);
	arena_done(&snapshot->arena);
	free(snapshot);
}

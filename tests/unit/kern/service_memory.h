/*
 * service_memory: the maps of services in plain memory, for tests without a kernel. The counts are
 * the caller's; what counts packets is missing.
 */
#ifndef SLUICE_TESTS_SERVICE_MEMORY_H
#define SLUICE_TESTS_SERVICE_MEMORY_H

#include <stdlib.h>

#include "kern/service.h"

/* Zeroed arrays for the *_count members that are set. */
static inline void service_memory_init(struct service_maps *maps)
{
	maps->keys = calloc(maps->key_count, sizeof(*maps->keys));
	maps->ranges = calloc(maps->range_count, sizeof(*maps->ranges));
	maps->state = calloc(1, sizeof(*maps->state));
	maps->services = calloc(maps->service_count, sizeof(*maps->services));
	maps->backends = calloc(maps->backend_count, sizeof(*maps->backends));
	maps->slots = calloc(maps->slot_count, sizeof(*maps->slots));
	maps->flows = calloc(maps->line_count + 1, sizeof(*maps->flows));
	maps->phases = calloc(maps->service_count, sizeof(*maps->phases));
	maps->service_info = calloc(maps->service_count, sizeof(*maps->service_info));
	maps->backend_info = calloc(maps->backend_count, sizeof(*maps->backend_info));
	maps->service_counts_fd = maps->service_drops_fd = -1;
	maps->backend_counts_fd = maps->flow_counts_fd = -1;
	assert_true(maps->keys && maps->ranges && maps->state && maps->services && maps->backends &&
		    maps->slots && maps->flows && maps->phases && maps->service_info &&
		    maps->backend_info);
}

static inline void service_memory_done(struct service_maps *maps)
{
	free(maps->keys);
	free(maps->ranges);
	free(maps->state);
	free(maps->services);
	free(maps->backends);
	free(maps->slots);
	free(maps->flows);
	free(maps->phases);
	free(maps->service_info);
	free(maps->backend_info);
}

#endif

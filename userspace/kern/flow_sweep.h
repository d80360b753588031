/*
 * flow_sweep: the sweeper of the flow table (bpf/flow_sweep.bpf.c), and what it finds.
 *
 * It runs in the kernel as long as the maps are pinned; a daemon only starts it, or puts its own
 * program in the place of an older one's. Thread rule: the control thread; flow_sweep_read()
 * anybody.
 */
#ifndef SLUICE_KERN_FLOW_SWEEP_H
#define SLUICE_KERN_FLOW_SWEEP_H

#include "base/json.h"
#include "kern/dataplane.h"

struct flow_table_state {
	uint64_t entries;  /* that the last sweep left */
	uint64_t capacity; /* entries at most */
	uint64_t sweeps, skipped, expired;
	uint64_t looked_boot_ns; /* end of the last sweep or skip; 0: none yet */
};

/* Needs all maps pinned. A negative errno, with its reason in err. */
int flow_sweep_start(struct dataplane *dataplane, struct error *err);
/* From the pinned maps, with a daemon or without. */
int flow_sweep_read(struct dataplane *dataplane, struct flow_table_state *ret_state,
		    struct error *err);
/* "flow_table": {...}, a member of an open object; null when it cannot be read. */
void flow_sweep_write_json(struct dataplane *dataplane, struct json_writer *json);

#endif

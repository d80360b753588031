/*
 * services: the L4 services of the configuration and of people, in force.
 *
 *   snapshot->services ─┐
 *                       ├─► services_apply() ──► kern/service.h ──► maps
 *   overlay (CLI) ──────┘
 *
 * The overlay is kept in STATE_DIR/services.json and laid over the file at each start and reload.
 * Thread rule: the control thread.
 */
#ifndef SLUICE_CONTROL_SERVICES_H
#define SLUICE_CONTROL_SERVICES_H

#include "control/health.h"
#include "control/next_hops.h"
#include "http/snapshot.h"
#include "kern/service.h"
#include "kern/service_overlay.h"

struct services {
	struct service_set set;
	struct service_overlay overlay;
	struct next_hops next_hops;
	struct health health;
	bool open;
	bool is_delete_failing; /* which was said */
};

/* With what is pinned and what people changed before. */
int services_open(struct services *services, struct dataplane *dataplane, struct loop *loop,
		  const char *state_dir, struct error *err);
/* The loop has to go on until services_are_stopped(). */
void services_stop(struct services *services);
bool services_are_stopped(const struct services *services);
void services_close(struct services *services);
/* Brings the maps to the snapshot with the overlay laid over it. */
int services_apply(struct services *services, const struct snapshot *snapshot, struct error *err);
/* Every second. Deletes services whose drain is over. */
void services_tick(struct services *services, const struct snapshot *snapshot);
/*
 * These take a change into the overlay, into force and to the disk. On failure all is as before,
 * unless the reason says so. For backends see service_change_check().
 */
int services_change_backend(struct services *services, const struct snapshot *snapshot,
			    struct service_change *change, struct error *err);
/* -EEXIST: the name, or a port of an address. -EINVAL. */
int services_add(struct services *services, const struct snapshot *snapshot,
		 const struct service_conf *conf, struct error *err);
/*
 * -ENOENT; -EPERM: it is in the configuration. With a drain it takes no new connections, and goes
 * when that is over; -EEXIST: it is about to already.
 */
int services_delete(struct services *services, const struct snapshot *snapshot, const char *name,
		    uint64_t drain_ms, struct error *err);

#endif

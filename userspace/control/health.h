/*
 * health: probes of the backends of L4 services, by the control thread.
 *
 *   timer ──► (waits for a descriptor) ──► connect() ──► answered, refused, too late ──► timer
 *                                              │ `rise` or `fall` in a row
 *                        service_set_note_health() ──► soon, for all that changed: _settle()
 *
 * A probe is a TCP connection to the backend's own address, given up as soon as it stands: by RST,
 * before the program behind it learns of it, and without a TIME_WAIT here. It takes the kernel's
 * routes and none of ours: packets that leave do not pass XDP, answers to this host's own ports are
 * nothing that XDP or sk_lookup looks for, and source ports of forward mode nat are stayed out of.
 *
 * A backend begins with the state that is pinned. At most `limit` probes are under way; others wait
 * their turn. Tables are made anew for many changes at once, and the more seldom the longer that
 * takes. Thread rule: the control thread.
 */
#ifndef SLUICE_CONTROL_HEALTH_H
#define SLUICE_CONTROL_HEALTH_H

#include "base/list.h"
#include "base/random.h"
#include "io/loop.h"
#include "kern/nat_pool.h"
#include "kern/service.h"

#define HEALTH_PROBES_MAX    1024
#define HEALTH_FDS_PART	     4 /* at most this part of the descriptors that the process may have */
#define HEALTH_EVENTS_SECOND 64

struct health {
	struct service_set *set;
	struct loop *loop;
	struct service_probe **probes; /* set->probes; NULL: none was asked for yet */
	uint32_t mark;		       /* of the last health_sync() */
	struct list waiting;	       /* those whose turn it is and who need a descriptor */
	unsigned int limit, under_way, target_count;
	uint64_t delayed; /* probes that had to wait */
	struct nat_source sources[SL_NAT_ADDRESSES_MAX];
	unsigned int source_count;
	uint8_t *due; /* by service: enum health_due of health.c */
	struct timer settle;
	struct random_state random;
	unsigned int tell_left, untold; /* events, this second */
};

void health_init(struct health *health, struct service_set *set, struct loop *loop);
/* After service_set_apply(): probes exactly the backends of these. -ENOMEM: call again. */
int health_sync(struct health *health, const struct service_conf *confs, unsigned int count,
		const struct nat_pool_conf *nat, struct error *err);
/* Every second. */
void health_tick(struct health *health);
void health_stop(struct health *health);
bool health_is_stopped(const struct health *health);
void health_done(struct health *health);

#endif

/*
 * next_hops: neighbours of the backends of L4 services, kept by the control thread.
 *
 * Opened with the first service: a node without any hears nothing of its neighbours. What XDP asks
 * for is answered NEXT_HOPS_ASKS_MAX times a second, so that a flood from made-up addresses of a
 * link costs the control thread little.
 * Thread rule: the control thread.
 */
#ifndef SLUICE_CONTROL_NEXT_HOPS_H
#define SLUICE_CONTROL_NEXT_HOPS_H

#include "io/loop.h"
#include "kern/dataplane.h"
#include "kern/neighbour_asks.h"
#include "kern/service.h"

#define NEXT_HOPS_ASKS_MAX 512

struct next_hops {
	struct service_set *set;
	struct dataplane *dataplane;
	struct loop *loop;
	struct neighbours *neighbours; /* NULL: not open; set->neighbours is the same */
	struct neighbour_asks *asks;
	struct watch changes_watch, asks_watch;
	bool watches_changes, watches_asks; /* until stopped */
	bool has_released, is_ending;
	unsigned int asks_left; /* this second */
	int told;		/* error that was logged last */
};

void next_hops_init(struct next_hops *hops, struct service_set *set, struct dataplane *dataplane,
		    struct loop *loop);
/* Before services get these: their next hops are asked for, and have a moment to answer. */
int next_hops_prepare(struct next_hops *hops, const struct service_conf *confs, unsigned int count,
		      struct error *err);
/* Every second. */
void next_hops_tick(struct next_hops *hops);
void next_hops_stop(struct next_hops *hops);
bool next_hops_are_stopped(const struct next_hops *hops);
/* What the kernel keeps for us stays: packets go on. */
void next_hops_done(struct next_hops *hops);

#endif

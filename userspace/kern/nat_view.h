/*
 * nat_view: the flows of forward mode nat, for people. Read from the tables while packets change
 * them: a flow that changes during the look is left out. Thread rule: none.
 */
#ifndef SLUICE_KERN_NAT_VIEW_H
#define SLUICE_KERN_NAT_VIEW_H

#include "base/addr.h"
#include "kern/service.h"

struct dataplane;

struct nat_flow {
	const char *service; /* name; NULL: its service is gone */
	struct sock_addr client, called, source, backend;
	uint8_t protocol;
	const char *state;
	uint64_t idle_s, left_s; /* silent for; its source port is free in */
	bool has_rst;		 /* seen, not believed */
};

/* "syn", "established", ...; false: there is no such state of a flow. */
bool nat_state_exists(const char *name);
/*
 * Calls visit for each flow whose time is not over, by source port; ends with its first answer
 * other than 0. *ret_expired: entries whose time is over, free to the next flow.
 */
int nat_view_walk(const struct dataplane *dataplane, const struct service_maps *maps,
		  uint64_t now_mono_ns, int (*visit)(const struct nat_flow *flow, void *arg),
		  void *arg, uint64_t *ret_expired);

#endif

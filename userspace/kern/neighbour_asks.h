/*
 * neighbour_asks: the ring sl_neigh_asks, by which XDP names next hops that it found unresolved.
 * Thread rule: the control thread; one reader at a time.
 */
#ifndef SLUICE_KERN_NEIGHBOUR_ASKS_H
#define SLUICE_KERN_NEIGHBOUR_ASKS_H

#include "base/addr.h"
#include "kern/dataplane.h"

struct neighbour_asks;

int neighbour_asks_open(struct dataplane *dataplane,
			void (*on_ask)(uint32_t ifindex, const struct ip_addr *addr, void *arg),
			void *arg, struct neighbour_asks **ret_asks, struct error *err);
void neighbour_asks_close(struct neighbour_asks *asks);
/* Readable: call neighbour_asks_read(). */
int neighbour_asks_fd(const struct neighbour_asks *asks);
/* Calls on_ask for all that wait. How many, or a negative errno. */
int neighbour_asks_read(struct neighbour_asks *asks);

#endif

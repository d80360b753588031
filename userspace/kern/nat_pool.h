/*
 * nat_pool: the source addresses of forward mode nat, in the maps of include/abi/nat.h.
 *
 * An address keeps its index, and so the table of its flows, for as long as slots name it. Slots
 * that get another address remember the one before until every flow in there had time to end;
 * then nat_pool_settle() forgets it, and the addresses that nobody names any more with it.
 * nat_pool_plan() works on plain memory, in an order that packets may look at between any two
 * writes. Thread rule: the control thread.
 */
#ifndef SLUICE_KERN_NAT_POOL_H
#define SLUICE_KERN_NAT_POOL_H

#include <stdint.h>

#include "abi/nat.h"
#include "base/error.h"

struct dataplane;

struct nat_source {
	uint32_t addr_be;
	uint16_t port_first; /* a multiple of four, not 0 */
	uint16_t port_last;  /* one less than a multiple of four */
};

/* How long a flow may be silent before its source port is free. */
struct nat_idle {
	uint64_t tcp_ms;
	uint64_t tcp_opening_ms;
	uint64_t tcp_closing_ms;
	uint64_t udp_ms;
	uint64_t udp_unanswered_ms;
};

struct nat_pool_conf {
	const struct nat_source *sources; /* each address once */
	unsigned int source_count;
	struct nat_idle idle;
};

/* Takes effect at once for new flows; -ENOSPC: too many addresses, old ones included. */
int nat_pool_apply(struct dataplane *dataplane, const struct nat_pool_conf *wanted,
		   struct error *err);
/* Forgets what flows no longer need; call it now and then. */
int nat_pool_settle(struct dataplane *dataplane, struct error *err);

/* Addresses that new flows get now; room for SL_NAT_ADDRESSES_MAX. */
int nat_pool_read(struct dataplane *dataplane, struct nat_source *ret_sources,
		  unsigned int *ret_count, struct error *err);

/* make_table() is called for each index that gets an address, before packets can see it. */
int nat_pool_plan(struct sl_nat_conf *conf, const struct nat_pool_conf *wanted,
		  uint64_t now_boot_ns, int (*make_table)(uint32_t index, void *arg), void *arg);
void nat_pool_forget(struct sl_nat_conf *conf, uint64_t now_boot_ns);

#endif

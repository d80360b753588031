/*
 * source_table: how many connections each client address has open at each listener, for the node.
 *
 *   keyed hash of (listener, address) ──► two buckets of eight cells ──► tag and count in one word
 *
 * A cell is one atomic word: all changes are single compare-and-swaps, a count that returns to 0
 * frees its cell, and whoever took keeps the cell to give back. IPv6 addresses count by /64, which
 * is what one customer has (IPv4 by address).
 *
 * Bounds: workers that bring the first connections of one address at the same moment may count it
 * in two cells; both are summed afterwards, so the limit is passed by at most the number of workers
 * less one. An address that finds its sixteen cells taken by others shares one of
 * SOURCE_SHARED_ROWS rows with whoever else did, and the row has the limit of one address: a full
 * table makes the limit stricter, never void. The hash is keyed at random, so nobody can aim at
 * cells. Tags of 44 bits make two addresses look like one once in 10^12.
 *
 * Thread rule: any thread, no locks.
 */
#ifndef SLUICE_HTTP_SOURCE_TABLE_H
#define SLUICE_HTTP_SOURCE_TABLE_H

#include <stdatomic.h>

#include "base/addr.h"

#define SOURCE_LIMIT_MAX   1000000u
#define SOURCE_SHARED_ROWS 1024u
#define SOURCE_BUCKETS	   16384u /* 1 MiB of cells */

struct source_table;

/* buckets: a power of two. NULL: out of memory. */
struct source_table *source_table_new(unsigned int buckets);
void source_table_free(struct source_table *table);

/* What one connection holds. Zeroed: nothing. */
struct source_lease {
	atomic_uint_fast64_t *cell;
	bool shared; /* the address has no cell of its own */
};

/*
 * One more connection of `addr` to the listener of that name. 0, or -EUSERS: `limit` (at most
 * SOURCE_LIMIT_MAX) is reached.
 */
int source_table_take(struct source_table *table, struct str listener, const struct ip_addr *addr,
		      uint32_t limit, struct source_lease *ret_lease);
/* Leaves it zeroed. */
void source_lease_give_back(struct source_lease *lease);

#endif

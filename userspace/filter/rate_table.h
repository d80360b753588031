/*
 * rate_table: when each key may come again, for the node.
 *
 *   128 bits of hash ──► a bucket of seven cells ──► cell: tag | theoretical arrival time
 *
 * The generic cell rate algorithm (ITU-T I.371, as a leaky bucket): a key owes `interval_ns` for
 * each time it is let through, and may owe `burst` of them at most. The one number that a key needs
 * is the time at which it owes nothing any more; a cell whose time is past is free, and whoever
 * finds none in its bucket takes the one that would be free first (counted: its key is forgiven).
 *
 * Exact over threads: a time changes by compare-and-swap alone, and who makes a cell a key's holds
 * its bucket for those few instructions, so that no key has two. Only a thread that is interrupted
 * right there makes others with new keys of the bucket wait, for a fraction of a millisecond: then
 * they pass, once, uncounted. The hash is keyed, so that nobody can aim at buckets.
 *
 * The table knows neither rate nor burst, so both may change while it lives. Thread rule: any
 * thread; times are those of CLOCK_MONOTONIC.
 */
#ifndef SLUICE_FILTER_RATE_TABLE_H
#define SLUICE_FILTER_RATE_TABLE_H

#include <stddef.h>
#include <stdint.h>

#include "filter/limit_key.h"

struct rate_table;

struct rate {
	uint64_t interval_ns; /* from 1: what one costs */
	uint64_t burst;	      /* from 1 */
};

struct rate_verdict {
	uint64_t remaining; /* that would be let through at once */
	uint64_t reset_ns;  /* until nothing is owed */
	uint64_t retry_ns;  /* 0: let through; else when the next will be */
};

/* For so many keys at a time. NULL: out of memory. */
struct rate_table *rate_table_new(size_t keys);
void rate_table_free(struct rate_table *table);
size_t rate_table_keys(const struct rate_table *table);
/* How often a key had to give way to another while it owed something. */
uint64_t rate_table_evictions(const struct rate_table *table);

/* To hash keys with. */
const uint8_t *rate_table_secret(const struct rate_table *table);

void rate_table_take(struct rate_table *table, struct limit_hash key, const struct rate *rate,
		     uint64_t now_ns, struct rate_verdict *ret_verdict);

#endif

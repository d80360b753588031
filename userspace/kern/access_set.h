/*
 * access_set: one list of one family, as it lies in shared memory (include/abi/access.h).
 *
 * Works on lines that the caller provides and makes no system call: access_map.c gives it those of
 * a kernel map, while packets read them. Nothing that is read there is believed before
 * access_set_check(). A place is the index of an entry; it stays the same until the entry goes.
 * Thread rule: one writer; readers see each entry whole, before or after a change.
 */
#ifndef SLUICE_KERN_ACCESS_SET_H
#define SLUICE_KERN_ACCESS_SET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "abi/access.h"
#include "base/addr.h"

#define ACCESS_SET_CAPACITY_MIN 64

/* Sizes: all are powers of two. */
struct access_shape {
	uint32_t capacity;     /* entries; ACCESS_SET_CAPACITY_MIN to SL_ACCESS_INDEX_MASK + 1 */
	uint32_t bucket_count; /* a quarter of the capacity or more */
	uint32_t reason_room;
	uint32_t stripes;
	bool is_shared; /* more CPUs than stripes */
	bool is_v6;
};

/* For so many entries; cpu_count CPUs count. */
struct access_shape access_shape_for(bool is_v6, uint32_t entries, uint32_t cpu_count);
uint32_t access_shape_lines(const struct access_shape *shape);

struct access_set {
	union sl_access_line *lines;
	uint32_t line_count;
	bool is_v6;
};

struct access_part {
	uint64_t expires_boot_ns; /* SL_ACCESS_NEVER */
	uint64_t expires_wall_ms; /* 0: never */
	const char *reason;	  /* "": none; cut at SL_ACCESS_REASON_MAX - 1 */
};

/* The lines are zero. */
void access_set_format(const struct access_set *set, const struct access_shape *shape,
		       const uint64_t keys[SL_ACCESS_KEYS]);
/* -EPROTO: the lines are not such a set. */
int access_set_check(const struct access_set *set);
struct access_shape access_set_shape(const struct access_set *set);
/* What has room for one more where access_set_put() or access_set_copy() found none. */
struct access_shape access_set_grown_shape(const struct access_set *set, uint32_t cpu_count);
/* What fits the entries that there are. */
struct access_shape access_set_fresh_shape(const struct access_set *set, uint32_t cpu_count);

/* -ENOENT */
int access_set_find(const struct access_set *set, const struct ip_prefix *prefix,
		    uint32_t *ret_place);
/* Before access_set_put() of many: brings the lines that it will look at nearer. */
void access_set_prefetch(const struct access_set *set, const struct ip_prefix *prefix);
/* Makes or replaces a part; the other one stays. -ENOSPC: something is full. */
int access_set_put(const struct access_set *set, const struct ip_prefix *prefix, int part,
		   const struct access_part *value, uint32_t *ret_place);
/* Takes parts (bits by index) from a standing entry; it goes with its last one. */
void access_set_drop(const struct access_set *set, uint32_t place, unsigned int parts);

/* Places that were ever used: what to walk. */
uint32_t access_set_places(const struct access_set *set);
uint32_t access_set_count(const struct access_set *set);
/* Too much of the filter stands for what is gone. */
bool access_set_is_stale(const struct access_set *set);
/* NULL: the place is free. */
const struct sl_access_entry *access_set_entry(const struct access_set *set, uint32_t place);
struct ip_prefix access_set_prefix(const struct access_set *set,
				   const struct sl_access_entry *entry);
void access_set_reason(const struct access_set *set, const struct sl_access_entry *entry, int part,
		       char ret_reason[SL_ACCESS_REASON_MAX]);
struct sl_counter access_set_hits(const struct access_set *set, uint32_t place);

/*
 * Adds all entries of a set to an empty one; those that a dead process left half written are left
 * out. At the same places if the capacity allows. -ENOSPC: one did not fit, and `to` is of no use.
 */
int access_set_copy(const struct access_set *from, const struct access_set *to);
/* Then, when nobody counts in `from` any more: what its entries have counted. */
void access_set_carry_hits(const struct access_set *from, const struct access_set *to);

#endif

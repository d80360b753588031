/*
 * access_entries: many entries of an allow or deny list in little memory, found by their prefix.
 *
 *   records (48 bytes each, in order of arrival)      slots: hash of the prefix ──► record
 *        └──► reasons: each text once
 *
 * About 60 bytes an entry. Made for lists of a million: what a file says before it is applied, and
 * what a list holds while it is shown or saved. Thread rule: one owner.
 */
#ifndef SLUICE_KERN_ACCESS_ENTRIES_H
#define SLUICE_KERN_ACCESS_ENTRIES_H

#include "kern/access_list.h"

struct access_entries;

/* entries_max bounds the memory. NULL: out of memory. */
struct access_entries *access_entries_new(size_t entries_max);
void access_entries_free(struct access_entries *set);

/*
 * Adds an entry, or replaces the one of this prefix in its place: 0 or 1. -ENOSPC: entries_max are
 * in already. -ENOMEM.
 */
int access_entries_put(struct access_entries *set, const struct access_entry *entry);
/* The place stays, empty. -ENOENT. */
int access_entries_remove(struct access_entries *set, const struct ip_prefix *prefix);
bool access_entries_has(const struct access_entries *set, const struct ip_prefix *prefix);
size_t access_entries_count(const struct access_entries *set);
/* Places: index 0 to this; those of removed entries included. */
size_t access_entries_places(const struct access_entries *set);
/* False: that place is empty. */
bool access_entries_get(const struct access_entries *set, size_t index,
			struct access_entry *ret_entry);
/* Before all of them are added to a list, see access_list_reserve(). */
int access_entries_reserve(const struct access_entries *set, struct dataplane *dataplane,
			   enum access_list_kind kind, struct error *err);
/* IPv4 first, then by address and length. Nothing can be found, put or removed afterwards. */
void access_entries_sort(struct access_entries *entries);
/* For access_list_walk(): arg is the set. */
int access_entries_visit(const struct access_entry *entry, void *arg);

static inline void access_entries_freep(struct access_entries **set)
{
	access_entries_free(*set);
}

#endif

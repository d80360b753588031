/*
 * access_map: the sets of the lists in the kernel: made, grown, pinned, found again.
 *
 * A set is an inner map of sl_access_sets, pinned beside the others as sl_allow4, sl_allow6,
 * sl_deny4, sl_deny6: to open an inner map by its id takes more privilege than the daemon keeps.
 * Which one counts is what sl_access_sets says. A set that has become too small or too stale is
 * built anew beside it, pinned as NAME_new, put into sl_access_sets, and its pin renamed; who dies
 * in between leaves nothing that access_maps_adopt() does not bring in order. There is no set until
 * there is an entry.
 * Mappings are kept in struct dataplane. Thread rule: that of kern/access_list.h.
 */
#ifndef SLUICE_KERN_ACCESS_MAP_H
#define SLUICE_KERN_ACCESS_MAP_H

#include "kern/access_list.h"
#include "kern/access_set.h"

/*
 * The set as it stands. Without access_map_put(), reserve() and settle() it stays, if it was opened
 * for a change. -ENOENT: there is none, so no entry. -EPERM: opened to be read.
 */
int access_map_open(struct dataplane *dataplane, enum access_list_kind kind, bool is_v6,
		    bool for_change, struct access_set *ret_set);
/* As access_set_put(), in a set that is made or grows as it needs. -ENOSPC: the list is full. */
int access_map_put(struct dataplane *dataplane, enum access_list_kind kind,
		   const struct ip_prefix *prefix, int part, const struct access_part *value,
		   uint32_t *ret_place);
/* As access_set_prefetch(), where there is a set. */
void access_map_prefetch(const struct dataplane *dataplane, enum access_list_kind kind,
			 const struct ip_prefix *prefix);
/* As access_set_drop(). Afterwards, when all is dropped: access_map_settle(). */
int access_map_drop(struct dataplane *dataplane, enum access_list_kind kind, bool is_v6,
		    uint32_t place, unsigned int parts);
/* Gives back what removed entries took. Places change. */
void access_map_settle(struct dataplane *dataplane, enum access_list_kind kind, bool is_v6);
/* Room for so many entries at once, so that the set does not grow by steps. */
int access_map_reserve(struct dataplane *dataplane, enum access_list_kind kind, bool is_v6,
		       size_t count);

/* For who loads the dataplane: pins and sl_access_conf are made to say what sl_access_sets says. */
int access_maps_adopt(struct dataplane *dataplane, struct error *err);
void access_maps_close(struct dataplane *dataplane);

#endif

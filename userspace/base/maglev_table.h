/*
 * maglev_table: which member each slot belongs to (Eisenbud et al., "Maglev", NSDI 2016).
 *
 * Each member has a permutation of the slots made from its key; members take turns by weight and
 * take the next free slot of theirs. So all who know the same members agree, whatever their order,
 * and when one goes nearly all slots of the others stay. Shared by upstream/ (keys of requests)
 * and kern/ (L4 services). Thread rule: pure.
 */
#ifndef SLUICE_BASE_MAGLEV_TABLE_H
#define SLUICE_BASE_MAGLEV_TABLE_H

#include <stdint.h>

#include "base/str.h"

#define MAGLEV_MEMBERS_MAX 0xffff

struct maglev_member {
	struct str key;
	uint32_t weight; /* 0: it gets no slot */
};

/*
 * slots[n] becomes the member's index. slot_count must be a prime, so that each permutation comes
 * by every slot. -ENOENT: no member has a weight; -ENOMEM.
 */
int maglev_table_fill(const struct maglev_member *members, unsigned int count, uint32_t slot_count,
		      uint16_t *slots);

#endif

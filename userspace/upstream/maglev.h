/*
 * maglev: the table that keeps a key with its endpoint (Eisenbud et al., "Maglev", NSDI 2016).
 * Private to upstream/.
 *
 * 65,537 slots, always: a key's slot is its hash modulo that, so that the place of a key depends on
 * the endpoints alone, never on how many there are. Each endpoint has a permutation of the slots
 * made from its address; they take turns by weight and take the next free slot of theirs. So all
 * nodes with the same endpoints agree, whatever the order in the file, and when one endpoint goes
 * nearly all keys of the others stay. Slots are packed to as many bits as the number of endpoints
 * needs: 8 KiB for two, 16 KiB for up to four, 56 KiB for 100.
 *
 * A table lives in the registry by its contents: a reload that does not change the endpoints keeps
 * it. It is made on the control thread or by the first request that needs it (1 to 10 ms).
 * Where an endpoint is out, its keys go to the endpoints of the slots that follow; the others stay.
 * Thread rule: acquire on the control thread, the rest anywhere.
 */
#ifndef SLUICE_UPSTREAM_MAGLEV_H
#define SLUICE_UPSTREAM_MAGLEV_H

#include "upstream/balance.h"

#define MAGLEV_SLOTS 65537u

struct maglev;

/* The one for these endpoints and weights, with a reference, its table perhaps not made. */
int maglev_acquire(struct registry *registry, struct upstream_conf *upstream,
		   struct maglev **ret_maglev);
void maglev_unref(struct maglev *maglev);
/* Makes the table unless it is there; `upstream` is of the endpoints it was acquired for. */
int maglev_build(struct maglev *maglev, const struct upstream_conf *upstream);
/* Index of the slot's endpoint. Only after maglev_build() returned 0. */
unsigned int maglev_slot(const struct maglev *maglev, uint32_t slot);
/* Memory of the table. */
size_t maglev_bytes(const struct maglev *maglev);

/* For balance_pick(), with a key. */
int maglev_pick(const struct balance_ask *ask, unsigned int allow);

#endif

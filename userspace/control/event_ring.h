/*
 * event_ring: the last events of this daemon, numbered, for the admin API.
 *
 * Sequence numbers begin at 1 and have no gaps; of more than EVENT_RING_MAX events the oldest are
 * gone. A reader asks for what came after the number it saw last, and knows by `instance` whether
 * it still speaks to the same daemon. Thread rule: the control thread.
 */
#ifndef SLUICE_CONTROL_EVENT_RING_H
#define SLUICE_CONTROL_EVENT_RING_H

#include "base/event.h"

#define EVENT_RING_MAX 1024

struct event_ring {
	struct event *items; /* made with the first event */
	uint64_t newest;     /* sequence number; 0: none yet */
	uint64_t lost;	     /* by want of memory */
};

void event_ring_done(struct event_ring *ring);
/* Takes over what threads have published since. */
void event_ring_collect(struct event_ring *ring);
/* Of the newest event; 0: there was none yet. */
uint64_t event_ring_newest(const struct event_ring *ring);
/* Of the oldest one that is still there; newest + 1 when there is none. */
uint64_t event_ring_oldest(const struct event_ring *ring);
/* seq within oldest..newest. */
const struct event *event_ring_get(const struct event_ring *ring, uint64_t seq);

#endif

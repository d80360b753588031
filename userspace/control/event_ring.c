#include "control/event_ring.h"

#include <stdlib.h>

#include "base/util.h"

void event_ring_done(struct event_ring *ring)
{
	free(ring->items);
	ring->items = NULL;
}

void event_ring_collect(struct event_ring *ring)
{
	struct event event;

	while (event_take(&event)) {
		if (!ring->items)
			ring->items = calloc(EVENT_RING_MAX, sizeof(*ring->items));
		if (!ring->items) {
			ring->lost++;
			continue;
		}
		ring->items[ring->newest++ % EVENT_RING_MAX] = event;
	}
}

uint64_t event_ring_newest(const struct event_ring *ring)
{
	return ring->newest;
}

uint64_t event_ring_oldest(const struct event_ring *ring)
{
	return ring->newest > EVENT_RING_MAX ? ring->newest - EVENT_RING_MAX + 1 : 1;
}

const struct event *event_ring_get(const struct event_ring *ring, uint64_t seq)
{
	return &ring->items[(seq - 1) % EVENT_RING_MAX];
}

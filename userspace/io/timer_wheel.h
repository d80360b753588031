/*
 * timer_wheel: the loop's timers, four levels of 64 slots, one tick = 10 ms. Private to io/.
 *
 *   level 0  one tick a slot     fires when the wheel reaches the slot
 *   level 1  64 ticks a slot     is dealt out to level 0 when the wheel reaches the slot
 *   level 2, 3 likewise; what lies beyond 64^4 ticks (46 hours) waits in the last slot and is
 *   looked at again from there.
 *
 * A bitmap per level says which slots are in use, so that the next tick with work is found without
 * walking. A timer that is moved to later stays in its slot and only gets a new due time; the slot
 * puts it where it belongs when its turn comes. Invariant: an entry of level L is due 1 to 64 slots
 * after the wheel's place on that level. Thread rule: the loop's thread.
 */
#ifndef SLUICE_IO_TIMER_WHEEL_H
#define SLUICE_IO_TIMER_WHEEL_H

#include <stdint.h>

#include "base/list.h"

#define TIMER_TICK_MS	10
#define TIMER_LEVELS	4
#define TIMER_SLOTS	64
#define TIMER_SLOT_BITS 6
#define TIMER_NEVER	UINT64_MAX

struct timer_wheel {
	uint64_t start_ms;
	uint64_t now_ms; /* the time that delays count from; its owner keeps it */
	uint64_t tick;	 /* the last one that was dealt with */
	uint64_t in_use[TIMER_LEVELS];
	struct list slots[TIMER_LEVELS * TIMER_SLOTS];
};

struct timer;

void timer_wheel_init(struct timer_wheel *wheel, uint64_t now_ms);
/* What timer_start() does with the loop's wheel. */
void timer_wheel_start(struct timer_wheel *wheel, struct timer *timer, uint64_t delay_ms);
/* Fires what is due. */
void timer_wheel_advance(struct timer_wheel *wheel, uint64_t now_ms);
/* When the wheel wants to be advanced next; TIMER_NEVER: no timer runs. */
uint64_t timer_wheel_next_ms(const struct timer_wheel *wheel);

#endif

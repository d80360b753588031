#include "io/timer_wheel.h"

#include "io/engine.h"

/* Beyond any use, and far from overflowing what is added to it. */
#define DELAY_MAX_MS ((uint64_t)1 << 60)

#define WHEEL_TICKS ((uint64_t)1 << (TIMER_SLOT_BITS * TIMER_LEVELS))

void timer_wheel_init(struct timer_wheel *wheel, uint64_t now_ms)
{
	wheel->start_ms = wheel->now_ms = now_ms;
	wheel->tick = 0;
	for (unsigned int level = 0; level < TIMER_LEVELS; level++)
		wheel->in_use[level] = 0;
	for (unsigned int slot = 0; slot < ARRAY_SIZE(wheel->slots); slot++)
		list_init(&wheel->slots[slot]);
}

/* Rounded up: a timer never fires early. */
static uint64_t tick_of(const struct timer_wheel *wheel, uint64_t due_ms)
{
	if (due_ms <= wheel->start_ms)
		return 0;
	return (due_ms - wheel->start_ms + TIMER_TICK_MS - 1) / TIMER_TICK_MS;
}

static void link_timer(struct timer_wheel *wheel, struct timer *timer, uint64_t tick)
{
	uint64_t ahead = tick - wheel->tick;
	unsigned int level = 0;
	unsigned int index;

	if (ahead >= WHEEL_TICKS) {
		ahead = WHEEL_TICKS - 1;
		tick = wheel->tick + ahead;
	}
	while (ahead >> (TIMER_SLOT_BITS * (level + 1)))
		level++;
	index = (tick >> (TIMER_SLOT_BITS * level)) % TIMER_SLOTS;
	timer->linked_tick = tick;
	timer->slot = level * TIMER_SLOTS + index;
	list_push_back(&wheel->slots[timer->slot], &timer->link);
	wheel->in_use[level] |= (uint64_t)1 << index;
}

static void unlink_timer(struct timer_wheel *wheel, struct timer *timer)
{
	list_remove(&timer->link);
	if (list_is_empty(&wheel->slots[timer->slot]))
		wheel->in_use[timer->slot / TIMER_SLOTS] &=
			~((uint64_t)1 << (timer->slot % TIMER_SLOTS));
}

static uint64_t next_tick(const struct timer_wheel *wheel)
{
	uint64_t next = TIMER_NEVER;

	for (unsigned int level = 0; level < TIMER_LEVELS; level++) {
		unsigned int shift = TIMER_SLOT_BITS * level;
		uint64_t place = wheel->tick >> shift;
		unsigned int rotate = (place + 1) % TIMER_SLOTS;
		uint64_t in_use = wheel->in_use[level];

		if (!in_use)
			continue;
		/* Bit 0 is now the slot after the wheel's place. */
		if (rotate)
			in_use = in_use >> rotate | in_use << (TIMER_SLOTS - rotate);
		next = MIN(next, (place + 1 + (unsigned int)__builtin_ctzll(in_use)) << shift);
	}
	return next;
}

uint64_t timer_wheel_next_ms(const struct timer_wheel *wheel)
{
	uint64_t tick = next_tick(wheel);

	return tick == TIMER_NEVER ? TIMER_NEVER : wheel->start_ms + tick * TIMER_TICK_MS;
}

/* Moves the slot's timers to a list of their own, so that callbacks can use the slot meanwhile. */
static void take_slot(struct timer_wheel *wheel, unsigned int level, unsigned int index,
		      struct list *ret_timers)
{
	struct list *slot = &wheel->slots[level * TIMER_SLOTS + index];

	list_init(ret_timers);
	if (!list_is_empty(slot)) {
		list_insert_between(ret_timers, slot->prev, slot->next);
		list_init(slot);
	}
	wheel->in_use[level] &= ~((uint64_t)1 << index);
}

static void deal_out(struct timer_wheel *wheel, unsigned int level)
{
	struct list timers;

	take_slot(wheel, level, (wheel->tick >> (TIMER_SLOT_BITS * level)) % TIMER_SLOTS, &timers);
	while (!list_is_empty(&timers)) {
		struct timer *timer = list_first(&timers, struct timer, link);

		list_remove(&timer->link);
		link_timer(wheel, timer, MAX(tick_of(wheel, timer->due_ms), wheel->tick));
	}
}

static void fire(struct timer_wheel *wheel)
{
	struct list timers;

	take_slot(wheel, 0, wheel->tick % TIMER_SLOTS, &timers);
	while (!list_is_empty(&timers)) {
		struct timer *timer = list_first(&timers, struct timer, link);
		uint64_t due_tick = tick_of(wheel, timer->due_ms);

		list_remove(&timer->link);
		if (due_tick > wheel->tick)
			link_timer(wheel, timer, due_tick);
		else
			timer->on_fire(timer);
	}
}

void timer_wheel_advance(struct timer_wheel *wheel, uint64_t now_ms)
{
	uint64_t target = (now_ms - wheel->start_ms) / TIMER_TICK_MS;

	wheel->now_ms = now_ms;
	while (wheel->tick < target) {
		uint64_t next = next_tick(wheel);

		if (next > target) {
			wheel->tick = target;
			return;
		}
		wheel->tick = next;
		for (unsigned int level = TIMER_LEVELS - 1; level > 0; level--)
			if (next % ((uint64_t)1 << (TIMER_SLOT_BITS * level)) == 0)
				deal_out(wheel, level);
		fire(wheel);
	}
}

void timer_init(struct timer *timer, void (*on_fire)(struct timer *timer))
{
	*timer = (struct timer){.on_fire = on_fire};
	list_init(&timer->link);
}

bool timer_is_running(const struct timer *timer)
{
	return !list_is_empty(&timer->link);
}

uint64_t timer_due_ms(const struct timer *timer)
{
	return timer->due_ms;
}

void timer_wheel_start(struct timer_wheel *wheel, struct timer *timer, uint64_t delay_ms)
{
	uint64_t tick;

	/* The millisecond more makes up for the part of one cut off. */
	timer->due_ms = wheel->now_ms + 1 + MIN(delay_ms, DELAY_MAX_MS);
	tick = MAX(tick_of(wheel, timer->due_ms), wheel->tick + 1);
	if (timer_is_running(timer)) {
		if (tick >= timer->linked_tick)
			return; /* its slot will move it */
		unlink_timer(wheel, timer);
	}
	link_timer(wheel, timer, tick);
}

void timer_start(struct loop *loop, struct timer *timer, uint64_t delay_ms)
{
	timer->loop = loop;
	if (!loop->in_turn)
		loop_read_clock(loop);
	timer_wheel_start(&loop->wheel, timer, delay_ms);
}

void timer_stop(struct timer *timer)
{
	if (timer_is_running(timer))
		unlink_timer(&timer->loop->wheel, timer);
}

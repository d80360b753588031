#include "base/event.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/util.h"

#define QUEUE_CELLS 256u

/*
 * A cell is free for the n-th round of the queue when its turn is 2n, filled when it is 2n + 1: so
 * memory of zeros is an empty queue, and nothing must be made before the first event.
 */
struct cell {
	atomic_uint_fast64_t turn;
	struct event event;
};

static struct cell cells[QUEUE_CELLS];
static atomic_uint_fast64_t next_ticket;
static atomic_uint_fast64_t lost_count;
static uint64_t next_taken; /* the consumer's */

static const struct {
	const char *name;
	enum log_level level;
} kinds[] = {
#define X(symbol, name, level, meaning) [EVENT_##symbol] = {name, LOG_LEVEL_##level},
	EVENT_KINDS(X)
#undef X
};

const char *event_kind_name(enum event_kind kind)
{
	return kinds[kind].name;
}

enum log_level event_kind_level(enum event_kind kind)
{
	return kinds[kind].level;
}

/* NULL: the queue is full. */
static struct cell *claim(uint64_t *ret_turn)
{
	uint64_t ticket = atomic_load_explicit(&next_ticket, memory_order_relaxed);

	for (;;) {
		struct cell *cell = &cells[ticket % QUEUE_CELLS];
		uint64_t free_turn = ticket / QUEUE_CELLS * 2;
		uint64_t before = ticket;

		if (atomic_load_explicit(&cell->turn, memory_order_acquire) == free_turn) {
			if (atomic_compare_exchange_weak_explicit(&next_ticket, &ticket, ticket + 1,
								  memory_order_relaxed,
								  memory_order_relaxed)) {
				*ret_turn = free_turn;
				return cell;
			}
			continue;
		}
		/* Somebody else may have drawn this ticket; if nobody has, the round is full. */
		ticket = atomic_load_explicit(&next_ticket, memory_order_relaxed);
		if (ticket == before)
			return NULL;
	}
}

void event_publish(enum event_kind kind, struct str object, const char *fmt, ...)
{
	uint64_t turn = 0;
	struct cell *cell = claim(&turn);
	struct event *event;
	size_t object_len;
	va_list args;

	if (!cell) {
		atomic_fetch_add_explicit(&lost_count, 1, memory_order_relaxed);
		return;
	}
	event = &cell->event;
	event->wall_ms = clock_wall_ms();
	event->kind = kind;
	object_len = MIN(object.len, sizeof(event->object) - 1);
	if (object_len)
		memcpy(event->object, object.ptr, object_len);
	event->object[object_len] = '\0';
	va_start(args, fmt);
	(void)vsnprintf(event->text, sizeof(event->text), fmt, args);
	va_end(args);
	atomic_store_explicit(&cell->turn, turn + 1, memory_order_release);
}

bool event_take(struct event *ret_event)
{
	struct cell *cell = &cells[next_taken % QUEUE_CELLS];
	uint64_t full_turn = next_taken / QUEUE_CELLS * 2 + 1;

	if (atomic_load_explicit(&cell->turn, memory_order_acquire) != full_turn)
		return false;
	*ret_event = cell->event;
	atomic_store_explicit(&cell->turn, full_turn + 1, memory_order_release);
	next_taken++;
	return true;
}

uint64_t event_lost(void)
{
	return atomic_load_explicit(&lost_count, memory_order_relaxed);
}

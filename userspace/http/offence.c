#include "http/offence.h"

#include <stdatomic.h>

#include "base/util.h"

#define QUEUE_CELLS 4096u

/* As in base/event.c: free for the n-th round when its turn is 2n, filled when it is 2n + 1. */
struct cell {
	atomic_uint_fast64_t turn;
	struct offence offence;
};

static struct cell cells[QUEUE_CELLS];
static atomic_uint_fast64_t next_ticket;
static atomic_uint_fast64_t lost_count;
static atomic_uint watched;
static uint64_t next_taken; /* the consumer's */

const char *offence_name(enum offence_kind kind)
{
	static const char *const names[] = {
#define X(symbol, name) [OFFENCE_##symbol] = name,
		OFFENCES(X)
#undef X
	};

	return names[kind];
}

void offence_watch(unsigned int kinds)
{
	atomic_store_explicit(&watched, kinds, memory_order_relaxed);
}

/* NULL: the queue is full. */
static struct cell *claim(uint64_t *ret_turn)
{
	uint64_t ticket = atomic_load_explicit(&next_ticket, memory_order_relaxed);

	for (;;) {
		struct cell *cell = &cells[ticket % QUEUE_CELLS];
		uint64_t free_turn = ticket / QUEUE_CELLS * 2, before = ticket;

		if (atomic_load_explicit(&cell->turn, memory_order_acquire) == free_turn) {
			if (atomic_compare_exchange_weak_explicit(&next_ticket, &ticket, ticket + 1,
								  memory_order_relaxed,
								  memory_order_relaxed)) {
				*ret_turn = free_turn;
				return cell;
			}
			continue;
		}
		ticket = atomic_load_explicit(&next_ticket, memory_order_relaxed);
		if (ticket == before)
			return NULL;
	}
}

void offence_report(enum offence_kind kind, const struct ip_addr *peer,
		    const struct ip_addr *sender)
{
	struct cell *cell;
	uint64_t turn = 0;

	if (!(atomic_load_explicit(&watched, memory_order_relaxed) & 1u << kind) || !peer->family ||
	    !ip_addr_equal(peer, sender))
		return;
	cell = claim(&turn);
	if (!cell) {
		atomic_fetch_add_explicit(&lost_count, 1, memory_order_relaxed);
		return;
	}
	cell->offence = (struct offence){kind, *peer};
	atomic_store_explicit(&cell->turn, turn + 1, memory_order_release);
}

bool offence_take(struct offence *ret_offence)
{
	struct cell *cell = &cells[next_taken % QUEUE_CELLS];
	uint64_t full_turn = next_taken / QUEUE_CELLS * 2 + 1;

	if (atomic_load_explicit(&cell->turn, memory_order_acquire) != full_turn)
		return false;
	*ret_offence = cell->offence;
	atomic_store_explicit(&cell->turn, full_turn + 1, memory_order_release);
	next_taken++;
	return true;
}

uint64_t offence_lost(void)
{
	return atomic_load_explicit(&lost_count, memory_order_relaxed);
}

/*
 * slots: at most so many at once, for the node, and a queue of those who wait for their turn.
 *
 *   slots_take() ──► held + 1 where nobody waits and one is free
 *        └──► queue ──► slots_give_back() of whoever is through ──► on_granted() on the loop of the
 *                                                                   one that has waited longest
 *
 * One word holds both numbers, waiting and held, and changes by compare-and-swap. While nobody
 * waits no lock is taken. Whoever joins the queue does it in the same swap that finds no slot free,
 * and whoever gives one back sees in his swap whether somebody waits: so no wake-up is lost.
 * Invariant, outside the lock: where somebody waits, `max` or more are held.
 *
 * A waiter is made and freed here; its owner may forget it at any time (slots_withdraw()). A waiter
 * whose turn has come keeps its slot until its loop has told its owner, or gives it back.
 * Thread rule: any thread, a waiter's owner on its loop. Runtime object: registry kind
 * "concurrency", by the policy's name.
 */
#ifndef SLUICE_FILTER_SLOTS_H
#define SLUICE_FILTER_SLOTS_H

#include "base/registry.h"
#include "io/loop.h"

struct slots;
struct slots_waiter;

enum slots_verdict {
	SLOTS_TAKEN,
	SLOTS_WAITS,	 /* on_granted(owner) comes, from the loop */
	SLOTS_FULL,	 /* of those who wait, too */
	SLOTS_NO_MEMORY, /* for a waiter */
};

/* A waiter's owner: where he waits, and what he hears. */
struct slots_owner {
	struct loop *loop;
	void (*on_granted)(void *arg);
	void *arg;
};

enum slots_verdict slots_take(struct slots *slots, unsigned int queue_max,
			      const struct slots_owner *owner, struct slots_waiter **ret_waiter);
void slots_give_back(struct slots *slots);
/*
 * True: it waits no more, and is gone. False: its turn has come, and on_granted() will tell.
 */
bool slots_withdraw(struct slots *slots, struct slots_waiter *waiter);
/* Behind a false: its owner is not told, and the slot is given back. */
void slots_disown(struct slots_waiter *waiter);

void slots_get_usage(const struct slots *slots, uint64_t *ret_held, uint64_t *ret_waiting);

/*
 * With one reference; whoever has a slot or waits keeps one, too. A smaller `max` comes about as
 * slots are given back.
 */
int slots_acquire(struct registry *registry, struct str name, unsigned int max,
		  struct slots **ret_slots);
void slots_ref(struct slots *slots);
void slots_unref(struct slots *slots); /* NULL allowed */

#endif

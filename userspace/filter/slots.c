#include "filter/slots.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/util.h"

#define WAITING_ONE ((uint64_t)1 << 32)

struct slots {
	struct registry_entry entry;
	atomic_uint_fast64_t word; /* waiting << 32 | held */
	atomic_uint max;
	pthread_mutex_t lock; /* of the lists, and of every change of `waiting` */
	struct list queue;    /* slots_waiter; who has waited longest is first */
	struct list granted;  /* whose loops have not told yet */
};

struct slots_waiter {
	struct list link;
	struct slots *slots;
	struct slots_owner owner; /* on_granted NULL: he has forgotten it */
	bool queued;
	struct loop_task task;
};

static unsigned int held_of(uint64_t word)
{
	return (unsigned int)word;
}

static unsigned int waiting_of(uint64_t word)
{
	return (unsigned int)(word >> 32);
}

static uint64_t get_word(const struct slots *slots)
{
	return atomic_load_explicit(&slots->word, memory_order_relaxed);
}

static bool swap_word(struct slots *slots, uint64_t *word, uint64_t next)
{
	uint_fast64_t expected = *word;
	bool swapped = atomic_compare_exchange_weak_explicit(
		&slots->word, &expected, next, memory_order_acq_rel, memory_order_relaxed);

	*word = expected;
	return swapped;
}

static bool has_room(const struct slots *slots, uint64_t word)
{
	return !waiting_of(word) &&
	       held_of(word) < atomic_load_explicit(&slots->max, memory_order_relaxed);
}

static bool take_free(struct slots *slots)
{
	uint64_t word = get_word(slots);

	while (has_room(slots, word))
		if (swap_word(slots, &word, word + 1))
			return true;
	return false;
}

/* ---- the queue ---- */

static void on_turn(struct loop_task *task)
{
	struct slots_waiter *waiter = CONTAINER_OF(task, struct slots_waiter, task);
	struct slots *slots = waiter->slots;
	const struct slots_owner owner = waiter->owner;

	(void)pthread_mutex_lock(&slots->lock);
	list_remove(&waiter->link);
	(void)pthread_mutex_unlock(&slots->lock);
	free(waiter);
	if (owner.on_granted)
		owner.on_granted(owner.arg);
	else
		slots_give_back(slots);
	slots_unref(slots);
}

/*
 * With the lock, under which alone anything changes while somebody waits. Whoever finds his waiter
 * off the queue finds it posted, too, so that it cannot be posted to a loop that is gone.
 */
static void grant(struct slots *slots)
{
	unsigned int max = atomic_load_explicit(&slots->max, memory_order_relaxed);
	uint64_t word = get_word(slots);

	while (waiting_of(word) && held_of(word) < max) {
		struct slots_waiter *waiter;

		if (!swap_word(slots, &word, word + 1 - WAITING_ONE))
			continue;
		word = get_word(slots);
		waiter = CONTAINER_OF(slots->queue.next, struct slots_waiter, link);
		list_remove(&waiter->link);
		list_push_back(&slots->granted, &waiter->link);
		waiter->queued = false;
		loop_post(waiter->owner.loop, &waiter->task);
	}
}

/* Into the queue, or a slot that has become free. */
static enum slots_verdict join(struct slots *slots, unsigned int queue_max,
			       struct slots_waiter *waiter)
{
	uint64_t word = get_word(slots);

	for (;;) {
		if (has_room(slots, word)) {
			if (swap_word(slots, &word, word + 1))
				return SLOTS_TAKEN;
		} else if (waiting_of(word) >= queue_max) {
			return SLOTS_FULL;
		} else if (swap_word(slots, &word, word + WAITING_ONE)) {
			list_push_back(&slots->queue, &waiter->link);
			waiter->queued = true;
			return SLOTS_WAITS;
		}
	}
}

enum slots_verdict slots_take(struct slots *slots, unsigned int queue_max,
			      const struct slots_owner *owner, struct slots_waiter **ret_waiter)
{
	struct slots_waiter *waiter;
	enum slots_verdict verdict;

	if (take_free(slots))
		return SLOTS_TAKEN;
	/* Whoever is refused under pressure costs neither memory nor the lock. */
	if (waiting_of(get_word(slots)) >= queue_max)
		return SLOTS_FULL;
	waiter = calloc(1, sizeof(*waiter));
	if (!waiter)
		return SLOTS_NO_MEMORY;
	waiter->slots = slots;
	waiter->owner = *owner;
	waiter->task.run = on_turn;
	(void)pthread_mutex_lock(&slots->lock);
	verdict = join(slots, queue_max, waiter);
	if (verdict == SLOTS_WAITS) {
		slots_ref(slots);
		*ret_waiter = waiter;
	}
	(void)pthread_mutex_unlock(&slots->lock);
	if (verdict != SLOTS_WAITS)
		free(waiter);
	return verdict;
}

void slots_give_back(struct slots *slots)
{
	uint64_t word = get_word(slots);

	while (!waiting_of(word))
		if (swap_word(slots, &word, word - 1))
			return;
	(void)pthread_mutex_lock(&slots->lock);
	atomic_fetch_sub_explicit(&slots->word, 1, memory_order_acq_rel);
	grant(slots);
	(void)pthread_mutex_unlock(&slots->lock);
}

bool slots_withdraw(struct slots *slots, struct slots_waiter *waiter)
{
	bool queued;

	(void)pthread_mutex_lock(&slots->lock);
	queued = waiter->queued;
	if (queued) {
		list_remove(&waiter->link);
		atomic_fetch_sub_explicit(&slots->word, WAITING_ONE, memory_order_acq_rel);
	}
	(void)pthread_mutex_unlock(&slots->lock);
	if (!queued)
		return false;
	free(waiter);
	slots_unref(slots);
	return true;
}

void slots_disown(struct slots_waiter *waiter)
{
	waiter->owner.on_granted = NULL;
}

void slots_get_usage(const struct slots *slots, uint64_t *ret_held, uint64_t *ret_waiting)
{
	uint64_t word = get_word(slots);

	*ret_held = held_of(word);
	*ret_waiting = waiting_of(word);
}

/* ---- life ---- */

static int slots_init(struct registry_entry *entry, void *arg)
{
	struct slots *slots = CONTAINER_OF(entry, struct slots, entry);

	list_init(&slots->queue);
	list_init(&slots->granted);
	return -pthread_mutex_init(&slots->lock, NULL);
}

/* At exit, loops may be gone that were to tell of a turn. */
static void slots_free(struct registry_entry *entry)
{
	struct slots *slots = CONTAINER_OF(entry, struct slots, entry);

	while (!list_is_empty(&slots->granted)) {
		struct list *link = slots->granted.next;

		list_remove(link);
		free(CONTAINER_OF(link, struct slots_waiter, link));
	}
	(void)pthread_mutex_destroy(&slots->lock);
}

int slots_acquire(struct registry *registry, struct str name, unsigned int max,
		  struct slots **ret_slots)
{
	struct registry_entry *entry =
		registry_acquire(registry, "concurrency", name, STR(""), sizeof(struct slots),
				 slots_init, NULL, slots_free);
	struct slots *slots;

	if (!entry)
		return -ENOMEM;
	slots = CONTAINER_OF(entry, struct slots, entry);
	(void)pthread_mutex_lock(&slots->lock);
	atomic_store_explicit(&slots->max, max, memory_order_relaxed);
	grant(slots);
	(void)pthread_mutex_unlock(&slots->lock);
	*ret_slots = slots;
	return 0;
}

void slots_ref(struct slots *slots)
{
	registry_ref(&slots->entry);
}

void slots_unref(struct slots *slots)
{
	if (slots)
		registry_unref(&slots->entry);
}

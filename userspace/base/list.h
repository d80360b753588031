/*
 * list: intrusive, circular, doubly linked. The head is an entry that is not an element.
 * An entry that is in no list points to itself after list_init() or list_remove(), so that
 * removing twice is harmless. Thread rule: the list's owner.
 */
#ifndef SLUICE_BASE_LIST_H
#define SLUICE_BASE_LIST_H

#include <stdbool.h>

#include "base/util.h"

struct list {
	struct list *next, *prev;
};

static inline void list_init(struct list *head)
{
	head->next = head->prev = head;
}

static inline bool list_is_empty(const struct list *head)
{
	return head->next == head;
}

static inline void list_insert_between(struct list *entry, struct list *prev, struct list *next)
{
	entry->prev = prev;
	entry->next = next;
	prev->next = next->prev = entry;
}

static inline void list_push_back(struct list *head, struct list *entry)
{
	list_insert_between(entry, head->prev, head);
}

static inline void list_push_front(struct list *head, struct list *entry)
{
	list_insert_between(entry, head, head->next);
}

static inline void list_remove(struct list *entry)
{
	entry->prev->next = entry->next;
	entry->next->prev = entry->prev;
	list_init(entry);
}

#define list_entry(pointer, type, member) CONTAINER_OF(pointer, type, member)
#define list_first(head, type, member)	  list_entry((head)->next, type, member)
#define list_for_each(position, head)                                                              \
	for (struct list *position = (head)->next; position != (head); position = position->next)
/* The current entry may be removed in the body. */
#define list_for_each_safe(position, head)                                                         \
	for (struct list *position = (head)->next, *position##_next = position->next;              \
	     position != (head); position = position##_next, position##_next = position->next)

#endif

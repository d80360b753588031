/*
 * names: lists of named objects (listeners, upstreams, routes): each name defined once, referred to
 * by name, with a suggestion when it is not there.
 *
 * named_list_read() walks a list, gives every element its place in one array and its sentence front
 * ("route 'api'", or "route 3" where the name cannot be read), and calls the reader of the kind.
 * Elements with errors keep their place and name, so that references to them do not become errors,
 * too. Tables live in a scratch arena and go with it. Thread rule: the control thread.
 */
#ifndef SLUICE_CONF_NAMES_H
#define SLUICE_CONF_NAMES_H

#include "conf/field.h"

#define NAME_BYTES_MAX 63

struct name_entry {
	struct str name;
	uint32_t line, column; /* of the name's definition */
	unsigned int index;    /* in the list */
};

struct name_table {
	const char *kind; /* "upstream" */
	struct name_entry *entries;
	const char **texts; /* the names again, for suggestions */
	unsigned int count;
	uint32_t *slots; /* hash: entry number from 1; 0: empty */
	uint32_t slot_mask;
};

/* [a-z0-9][a-z0-9_-]*, at most NAME_BYTES_MAX. */
bool name_is_valid(struct str name);

const struct name_entry *name_table_find(const struct name_table *table, struct str name);
/* "KIND 'x' is not defined; did you mean 'y'?" after `what`, at the node. -EINVAL, or the entry. */
int name_table_refer(const struct name_table *table, const struct field_context *context,
		     const struct conf_node *node, const char *what,
		     const struct name_entry **ret_entry);

struct named_list {
	const char *kind;
	size_t item_bytes;
	/* 0 or -EINVAL with errors reported. The item is zeroed before. */
	int (*read)(const struct field_context *context, const struct conf_node *node,
		    const char *what, unsigned int index, void *item);
};

/*
 * The items are allocated in context->arena, the table in `scratch`. A node that is NULL is an
 * empty list. -EINVAL when any error was reported: the results are set all the same, unless memory
 * ran out (-ENOMEM).
 */
int named_list_read(const struct field_context *context, const struct named_list *list,
		    const struct conf_node *node, struct arena *scratch,
		    struct name_table *ret_names, void **ret_items, unsigned int *ret_count);

/* One text or a list of them, none empty, copied into context->arena. `what` ends in the key. */
int texts_read(const struct field_context *context, const struct conf_node *node, const char *what,
	       struct str **ret_texts, unsigned int *ret_count);
/* The members of a list, with `what` in the error where it is none. A null node is empty. */
int list_check(const struct field_context *context, const struct conf_node *node, const char *what);

#endif

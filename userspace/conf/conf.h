/*
 * conf: a YAML file as a tree of nodes that know their line and column.
 *
 * libyaml's events become nodes in the document's arena; nothing is interpreted here. Anchors,
 * aliases, tags, several documents and duplicate keys are refused, since a configuration must read
 * the same to a person and to us. Every error is collected with its place, none ends the reading of
 * the rest where the rest can still be read. Thread rule: the control thread (or --check).
 */
#ifndef SLUICE_CONF_CONF_H
#define SLUICE_CONF_CONF_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/str.h"

enum conf_type { CONF_SCALAR, CONF_SEQUENCE, CONF_MAPPING };

struct conf_node {
	enum conf_type type;
	bool quoted;	       /* scalar in quotes: never a number, a bool or null */
	bool refused;	       /* reported already (an alias, say): readers stay silent */
	uint32_t line, column; /* from 1 */
	struct str key;	       /* of a mapping's member; ptr NULL otherwise */
	uint32_t key_line, key_column;
	struct str value;	    /* scalars; NUL-terminated in the arena */
	struct conf_node *children; /* sequences and mappings, in order */
	struct conf_node *next;
	unsigned int count; /* children */
};

#define conf_for_each(child, parent)                                                               \
	for (const struct conf_node *child = (parent)->children; child; child = child->next)

/* All errors of one reading, as "FILE:LINE:COLUMN: sentence" lines in the order of their places. */
struct conf_errors;
struct conf_errors *conf_errors_new(const char *file_name);
void conf_errors_free(struct conf_errors *errors);
unsigned int conf_errors_count(const struct conf_errors *errors);
/* node NULL: without a place. Beyond 200 errors only the count goes on. */
void conf_error(struct conf_errors *errors, const struct conf_node *node, const char *fmt, ...)
	PRINTF_LIKE(3, 4);
/* Points at the member's key instead of its value. */
void conf_error_key(struct conf_errors *errors, const struct conf_node *node, const char *fmt, ...)
	PRINTF_LIKE(3, 4);
void conf_error_at(struct conf_errors *errors, uint32_t line, uint32_t column, const char *fmt, ...)
	PRINTF_LIKE(4, 5);
/* In another file that the configuration names (a list of prefixes); those come last. */
void conf_error_in_file(struct conf_errors *errors, const char *file_name, uint32_t line,
			uint32_t column, const char *fmt, ...) PRINTF_LIKE(5, 6);
/* One line each, sorted by place, ending in a newline. */
int conf_errors_print(struct conf_errors *errors, struct buf *out);
/* i-th in that order: the whole line without newline; NULL beyond those kept. */
const char *conf_errors_get(struct conf_errors *errors, unsigned int index);

struct conf_doc {
	struct arena arena; /* owns every node and value */
	struct conf_node *root;
};

/*
 * 0 with a document; errors may have been collected all the same (duplicate keys, anchors), which
 * the caller sees by conf_errors_count(), and goes on to find the others. An empty file is an empty
 * mapping. -EINVAL when the text cannot be read as a tree, or another negative errno: collected,
 * too. Values hold no NUL.
 */
int conf_load_file(const char *path, struct conf_errors *errors, struct conf_doc **ret_doc);
int conf_load_string(struct str text, struct conf_errors *errors, struct conf_doc **ret_doc);
void conf_doc_free(struct conf_doc *doc);

const struct conf_node *conf_get(const struct conf_node *mapping, const char *key);

/* Nothing is written after the key, or "~" or "null" without quotes. */
bool conf_is_null(const struct conf_node *node);
/* "a list", "a mapping", "nothing", "'text'", for "expected ..., got ...". Returns buf. */
const char *conf_describe(const struct conf_node *node, char *buf, size_t buf_len);

/* Nearest of the names, or NULL when none is near enough to be meant. */
const char *conf_suggest(struct str name, const char *const *names, unsigned int count);

#endif

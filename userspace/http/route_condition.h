/*
 * route_condition: what a route (or a share of a split) asks of one field or query parameter.
 *
 * A condition has a name and asks for an exact value, for a value that a regex matches somewhere,
 * or for being there or not. Field names compare without case, values with it; of several fields
 * of one name any may meet the condition. Query names and values are compared decoded (percent
 * escapes, '+' as space; an escape that is none stands for itself), in the order of the URL, any of
 * several, too. Conditions see the request as the client sent it. A list holds when each of its
 * conditions does. Nothing is allocated. Thread rule: immutable once loaded; any thread.
 */
#ifndef SLUICE_HTTP_ROUTE_CONDITION_H
#define SLUICE_HTTP_ROUTE_CONDITION_H

#include "http/route_regex.h"
#include "proto/http_head.h"

#define ROUTE_CONDITIONS_MAX	  16   /* in a list */
#define ROUTE_CONDITION_BYTES_MAX 4096 /* of a decoded query value that a regex can match */

enum route_condition_kind {
	ROUTE_CONDITION_EXACT,
	ROUTE_CONDITION_REGEX,
	ROUTE_CONDITION_PRESENT,
	ROUTE_CONDITION_ABSENT,
};

struct route_condition {
	struct str name;	   /* fields: in lower case; query: decoded */
	enum http_field_id id;	   /* fields: as in http_head */
	struct str value;	   /* EXACT: the value; REGEX: the pattern */
	struct route_regex *regex; /* REGEX */
	enum route_condition_kind kind;
};

struct route_conditions {
	struct route_condition *items;
	unsigned int count;
};

bool route_condition_meets_head(const struct route_condition *condition,
				const struct http_head *head);
/* `query` with or without its '?', or "". */
bool route_condition_meets_query(const struct route_condition *condition, struct str query);

/* NULL: all hold; else the first one that does not. */
const struct route_condition *route_conditions_fail_head(const struct route_conditions *conditions,
							 const struct http_head *head);
const struct route_condition *route_conditions_fail_query(const struct route_conditions *conditions,
							  struct str query);

/* Do they ask for the same, in whatever order? */
bool route_conditions_same(const struct route_conditions *left,
			   const struct route_conditions *right);
/* The same for lists that are the same. */
uint64_t route_conditions_hash(const struct route_conditions *conditions);

#endif

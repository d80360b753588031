/*
 * route_condition_config: reads and writes conditions: a mapping of names to what is asked of them,
 *
 *   headers: { x-canary: "yes", x-version: { regex: "^2\\." }, x-debug: { present: true } }
 *   query: { v: "2" }
 *
 * Regexes are compiled here; one that does not compile is an error with its offset.
 * Thread rule: the control thread.
 */
#ifndef SLUICE_HTTP_ROUTE_CONDITION_CONFIG_H
#define SLUICE_HTTP_ROUTE_CONDITION_CONFIG_H

#include "conf/field.h"
#include "http/route_condition.h"

enum route_condition_subject { ROUTE_CONDITION_HEADER, ROUTE_CONDITION_QUERY };

/* `what` fronts the errors and ends in the key: "route 'a': match: headers". 0 or -EINVAL. */
int route_conditions_read(const struct field_context *context, const struct conf_node *node,
			  const char *what, enum route_condition_subject subject,
			  struct route_conditions *ret_conditions);
/* The whole member, or nothing when there are none. */
void route_conditions_write(struct conf_writer *writer, const char *key,
			    const struct route_conditions *conditions);

/* Compiles `node`'s text and reports what is wrong with it, with the offset. 0 or -EINVAL. */
int route_regex_read(const struct field_context *context, const struct conf_node *node,
		     const char *what, enum route_regex_span span, struct route_regex **ret_regex);

#endif

/*
 * policy_config: the `policies` section: a list of named policies, each of exactly one kind; and
 * the names of policies that a route lists. Thread rule: the control thread.
 */
#ifndef SLUICE_HTTP_POLICY_CONFIG_H
#define SLUICE_HTTP_POLICY_CONFIG_H

#include "conf/names.h"
#include "http/policy.h"
#include "http/route.h"

#define POLICY_TYPES_MAX 32

/* What policies may refer to: context->user of policies_read(). */
struct policy_targets {
	const struct name_table *upstreams;
	const struct upstream_conf *upstream_items;
};

/* For a type's read(): the upstream of that name. 0 or -EINVAL. */
int policy_refer_upstream(const struct field_context *context, const struct conf_node *node,
			  const char *what, const struct upstream_conf **ret_upstream);

/*
 * `types`: every kind there is. `node` NULL: there is no such section. As named_list_read(); a
 * policy with errors has no `type`.
 */
int policies_read(const struct field_context *context, const struct conf_node *node,
		  const struct policy_type *const *types, unsigned int type_count,
		  struct arena *scratch, struct name_table *ret_names, struct policy **ret_policies,
		  unsigned int *ret_count);
/* The list's elements, into an open list. */
void policies_write(struct conf_writer *writer, const struct policy *policies, unsigned int count);

/* A route's list of names. `what`: "route 'a'". 0 or -EINVAL. */
int route_policies_read(const struct field_context *context, const struct conf_node *node,
			const char *what, const struct name_table *names,
			const struct policy *policies, struct route *route);
/* When the action is known: does each of its policies have something to do? */
int route_policies_check(const struct field_context *context, const struct conf_node *node,
			 const char *what, const struct route *route);
void route_policies_write(struct conf_writer *writer, const char *key, const struct route *route);

#endif

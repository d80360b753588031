/*
 * route_config: reads the `routes` section of the configuration into routes and writes it back for
 * the effective configuration. References are resolved here; runtime objects are not touched, so
 * routes come out without their `stats`. Thread rule: the control thread.
 */
#ifndef SLUICE_HTTP_ROUTE_CONFIG_H
#define SLUICE_HTTP_ROUTE_CONFIG_H

#include "conf/names.h"
#include "http/policy.h"
#include "http/route.h"
#include "upstream/upstream.h"

/* What routes may refer to. */
struct route_targets {
	const struct name_table *listeners;
	const struct name_table *upstreams;
	const struct upstream_conf *upstream_items;
	const struct name_table *policies;
	const struct policy *policy_items;
};

/* A mapping of field names to values that Sluice adds to answers; `headers` of several sections. */
int route_headers_read(const struct field_context *context, const struct conf_node *node,
		       struct route_field **ret_fields, unsigned int *ret_count);
void route_headers_write(struct conf_writer *writer, const char *key,
			 const struct route_field *fields, unsigned int count);

/*
 * `node` NULL: there is no such section. As named_list_read(); a route with errors has no `path`.
 * context->user is replaced by `targets` for the readers.
 */
int routes_read(const struct field_context *context, const struct conf_node *node,
		const struct route_targets *targets, struct arena *scratch,
		struct name_table *ret_names, struct route **ret_routes, unsigned int *ret_count);
/* The list's elements, into an open list. */
void routes_write(struct conf_writer *writer, const struct route *routes, unsigned int count);

#endif

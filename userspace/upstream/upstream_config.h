/*
 * upstream_config: reads the `upstreams` section of the configuration into upstream_conf and writes
 * it back for the effective configuration. Runtime objects are not touched: endpoints come out
 * without their `endpoint`. Thread rule: the control thread.
 */
#ifndef SLUICE_UPSTREAM_CONFIG_H
#define SLUICE_UPSTREAM_CONFIG_H

#include "conf/names.h"
#include "upstream/upstream.h"

/* `node` NULL: there is no such section. As named_list_read(). */
int upstreams_read(const struct field_context *context, const struct conf_node *node,
		   struct arena *scratch, struct name_table *ret_names,
		   struct upstream_conf **ret_upstreams, unsigned int *ret_count);
/* The list's elements, into an open list. */
void upstreams_write(struct conf_writer *writer, const struct upstream_conf *upstreams,
		     unsigned int count);

#endif

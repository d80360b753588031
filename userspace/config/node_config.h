/*
 * node_config: the `node` section. Thread rule: the control thread, or --check.
 */
#ifndef SLUICE_CONFIG_NODE_CONFIG_H
#define SLUICE_CONFIG_NODE_CONFIG_H

#include "conf/field.h"
#include "http/snapshot.h"

/* `node` NULL: the defaults. 0 or -EINVAL with errors reported. */
int node_config_read(const struct field_context *context, const struct conf_node *node,
		     struct node_conf *conf);
/* The members, into an open mapping. */
void node_config_write(struct conf_writer *writer, const struct node_conf *conf);

#endif

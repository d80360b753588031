/*
 * dataplane_config: the `dataplane` section. Thread rule: the control thread, or --check.
 */
#ifndef SLUICE_CONFIG_DATAPLANE_CONFIG_H
#define SLUICE_CONFIG_DATAPLANE_CONFIG_H

#include "conf/field.h"
#include "http/snapshot.h"

/* `node` NULL: nothing. 0 or -EINVAL with errors reported. */
int dataplane_config_read(const struct field_context *context, const struct conf_node *node,
			  uint64_t now_wall_ms, struct dataplane_conf *conf);
/* The members, into an open mapping. */
void dataplane_config_write(struct conf_writer *writer, const struct dataplane_conf *conf);

#endif

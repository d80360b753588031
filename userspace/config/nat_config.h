/*
 * nat_config: `dataplane.nat`, the source addresses of services that forward by nat. Thread rule:
 * the control thread, or --check.
 */
#ifndef SLUICE_CONFIG_NAT_CONFIG_H
#define SLUICE_CONFIG_NAT_CONFIG_H

#include "conf/field.h"
#include "kern/nat_pool.h"
#include "kern/service.h"

/* 0 or -EINVAL with errors reported. */
int nat_config_read(const struct field_context *context, const struct conf_node *node,
		    const char *what, struct nat_pool_conf *ret_conf);
/* What services and source addresses must agree on. */
void nat_config_check(const struct field_context *context, const struct nat_pool_conf *conf,
		      const struct service_conf *services, unsigned int service_count);
/* The section; nothing when there are no addresses. */
void nat_config_write(struct conf_writer *writer, const char *key,
		      const struct nat_pool_conf *conf);

#endif

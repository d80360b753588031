/*
 * auto_deny_config: the list `dataplane.auto_deny`. Thread rule: the control thread.
 */
#ifndef SLUICE_CONFIG_AUTO_DENY_CONFIG_H
#define SLUICE_CONFIG_AUTO_DENY_CONFIG_H

#include "conf/field.h"
#include "http/snapshot.h"

/* 0 or -EINVAL. */
int auto_deny_config_read(const struct field_context *context, const struct conf_node *node,
			  struct auto_deny_conf *conf);
void auto_deny_config_write(struct conf_writer *writer, const char *key,
			    const struct auto_deny_conf *conf);

#endif

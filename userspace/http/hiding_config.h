/*
 * hiding_config: which fields of answers a route leaves alone (`expose_upstream`).
 * Thread rule: the control thread.
 */
#ifndef SLUICE_HTTP_HIDING_CONFIG_H
#define SLUICE_HTTP_HIDING_CONFIG_H

#include "conf/field.h"

/* One name or a list. 0 or -EINVAL with errors reported. */
int hiding_config_read(const struct field_context *context, const struct conf_node *node,
		       uint32_t *ret_exposed);
void hiding_config_write(struct conf_writer *writer, const char *key, uint32_t exposed);

#endif

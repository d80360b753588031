/*
 * upstream_policy_config: the keys of an upstream that say how requests are spread and what happens
 * when they fail: hash_on, ejection, limits, retry. Targets are struct upstream_conf.
 * Thread rule: the control thread.
 */
#ifndef SLUICE_UPSTREAM_POLICY_CONFIG_H
#define SLUICE_UPSTREAM_POLICY_CONFIG_H

#include "conf/field.h"
#include "upstream/upstream.h"

#define UPSTREAM_EJECTION_FIELDS 3
#define UPSTREAM_LIMIT_FIELDS	 3
#define UPSTREAM_RETRY_FIELDS	 4

/* Offsets count from the beginning of struct upstream_conf. */
extern const struct field upstream_ejection_fields[UPSTREAM_EJECTION_FIELDS];
extern const struct field upstream_limit_fields[UPSTREAM_LIMIT_FIELDS];
extern const struct field upstream_retry_fields[UPSTREAM_RETRY_FIELDS];

int upstream_hash_on_read(const struct field_context *context, const struct conf_node *node,
			  void *target);
void upstream_hash_on_print(struct conf_writer *writer, const char *key, const void *target);

#endif

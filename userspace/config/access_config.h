/*
 * access_config: the lists `dataplane.allow` and `dataplane.deny`: prefixes in the configuration
 * and files of them. Thread rule: the control thread, or --check.
 */
#ifndef SLUICE_CONFIG_ACCESS_CONFIG_H
#define SLUICE_CONFIG_ACCESS_CONFIG_H

#include "conf/field.h"
#include "http/snapshot.h"

/*
 * Reads one list. Of a prefix that comes twice through files the first is kept; twice in the
 * configuration itself is an error. `now_wall_ms`: where ttl begins.
 */
int access_config_read(const struct field_context *context, const struct conf_node *node,
		       enum access_list_kind kind, uint64_t now_wall_ms,
		       struct access_conf *ret_written, struct access_entry **ret_entries,
		       size_t *ret_count);
/* The list's elements, into an open list. */
void access_config_write(struct conf_writer *writer, const struct access_conf *written);

#endif

/*
 * split_config: `split` and `sticky` of a route's proxy section. Runtime objects are not touched:
 * variants come out without their `stats`. Thread rule: the control thread.
 */
#ifndef SLUICE_HTTP_SPLIT_CONFIG_H
#define SLUICE_HTTP_SPLIT_CONFIG_H

#include "http/route_config.h"
#include "http/split.h"

/*
 * `proxy` is the proxy section with a member `split`; `what` fronts the errors: "route 'a': proxy".
 * 0 or -EINVAL.
 */
int split_read(const struct field_context *context, const struct conf_node *proxy, const char *what,
	       const struct route_targets *targets, struct split **ret_split);
void split_write(struct conf_writer *writer, const char *key, const struct split *split);
void split_write_sticky(struct conf_writer *writer, const char *key, const struct split *split);

#endif

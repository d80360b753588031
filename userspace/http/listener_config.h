/*
 * listener_config: reads the `listeners` section of the configuration into listener_conf and writes
 * it back for the effective configuration. Routers are built by config/ when the routes are known.
 * Thread rule: the control thread.
 */
#ifndef SLUICE_HTTP_LISTENER_CONFIG_H
#define SLUICE_HTTP_LISTENER_CONFIG_H

#include "conf/names.h"
#include "http/listener.h"

#define LISTENER_TUPLE_TEXT_MAX 80 /* NUL included */

/* `node` NULL: there is no such section. As named_list_read(). */
int listeners_read(const struct field_context *context, const struct conf_node *node,
		   struct arena *scratch, struct name_table *ret_names,
		   struct listener_conf **ret_listeners, unsigned int *ret_count);
/* The list's elements, into an open list. */
void listeners_write(struct conf_writer *writer, const struct listener_conf *listeners,
		     unsigned int count);

/*
 * "192.0.2.1:80", "192.0.2.0/24:1000-2000", "[2001:db8::1]:443", "[2001:db8::/64]:443". For
 * "*:PORT" both families: one or two tuples are made.
 */
int listener_parse_tuples(struct str text, struct steer_tuple tuples[2], unsigned int *ret_count,
			  struct error *err);
const char *listener_format_tuple(const struct steer_tuple *tuple, char *buf, size_t buf_len);

#endif

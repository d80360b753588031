/*
 * files_config: reads and writes the `files` section of a route. The directory must be there; it is
 * opened later, with the other runtime objects. Thread rule: the control thread.
 */
#ifndef SLUICE_HTTP_FILES_CONFIG_H
#define SLUICE_HTTP_FILES_CONFIG_H

#include "conf/field.h"
#include "http/route.h"

int files_config_read(const struct field_context *context, const struct conf_node *node,
		      const char *what, struct route_files *files);
/* Members of an open mapping. */
void files_config_write(struct conf_writer *writer, const struct route_files *files);

#endif

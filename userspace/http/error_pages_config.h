/*
 * error_pages_config: reads `errors` of the node and of listeners, a mapping of statuses ("404") or
 * classes ("5xx") to files, and writes it back. Thread rule: the control thread, or --check.
 */
#ifndef SLUICE_HTTP_ERROR_PAGES_CONFIG_H
#define SLUICE_HTTP_ERROR_PAGES_CONFIG_H

#include "conf/field.h"
#include "http/error_pages.h"

#define ERROR_PAGE_BYTES_MAX ((size_t)256 << 10)

/* `what`: the section. 0 or -EINVAL with errors reported. */
int error_pages_read(const struct field_context *context, const struct conf_node *node,
		     const char *what, struct error_pages *ret_pages);
void error_pages_write(struct conf_writer *writer, const char *key,
		       const struct error_pages *pages);

#endif

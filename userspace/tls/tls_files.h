/* Files that `tls` names, for the readers of listeners and upstreams. Private to tls/. */
#ifndef SLUICE_TLS_TLS_FILES_H
#define SLUICE_TLS_TLS_FILES_H

#include "conf/value_file.h"

#define TLS_FILE_BYTES_MAX (1u << 20)

/* What a key of a section names, read; its name becomes absolute. */
int tls_read_file(const struct field_context *context, const struct conf_node *section,
		  const char *key, const char *section_what, size_t bytes_max, struct str *name,
		  struct value_file *file);
/* As value_file_done(), of secrets. */
void tls_key_file_done(struct value_file *file);

#endif

#include "tls/tls_files.h"

#include <errno.h>

#include <openssl/crypto.h>

#define WHAT_MAX 160

int tls_read_file(const struct field_context *context, const struct conf_node *section,
		  const char *key, const char *section_what, size_t bytes_max, struct str *name,
		  struct value_file *file)
{
	const struct conf_node *node = section ? conf_get(section, key) : NULL;
	char what[WHAT_MAX];
	int r;

	(void)snprintf(what, sizeof(what), "%s: %s", section_what, key);
	r = value_file_read(context, node ? node : section, what, *name, bytes_max, file);
	if (!r)
		*name = file->absolute;
	return r;
}

void tls_key_file_done(struct value_file *file)
{
	if (file->content.data)
		OPENSSL_cleanse(file->content.data, file->content.len);
	value_file_done(file);
}

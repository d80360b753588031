/*
 * value_file: reads a file that a value of the configuration names.
 *
 * Names are relative to the configuration's directory, and come back absolute, since the effective
 * configuration may be kept somewhere else. Regular files only: a pipe or device could keep the
 * control thread waiting, or never end. Thread rule: the control thread, or --check.
 */
#ifndef SLUICE_CONF_VALUE_FILE_H
#define SLUICE_CONF_VALUE_FILE_H

#include <limits.h>

#include "base/buf.h"
#include "conf/field.h"

struct value_file {
	char path[PATH_MAX]; /* as opened, for errors about what stands in it */
	struct str absolute; /* in context->arena */
	struct buf content;  /* the caller's to release, whatever the result */
};

/* 0, -ENOMEM or -EINVAL with the error reported after `what`. */
int value_file_read(const struct field_context *context, const struct conf_node *node,
		    const char *what, struct str name, size_t bytes_max, struct value_file *file);
static inline void value_file_done(struct value_file *file)
{
	buf_done(&file->content);
}

#endif

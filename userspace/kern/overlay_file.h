/*
 * overlay_file: a JSON file of node.state_dir that keeps what was changed at run time.
 *
 * It is replaced whole: after a crash there is the old one or the new one. Thread rule: the owner
 * of the directory's lock.
 */
#ifndef SLUICE_KERN_OVERLAY_FILE_H
#define SLUICE_KERN_OVERLAY_FILE_H

#include <jansson.h>

#include "base/error.h"

static inline void json_decrefpp(json_t **json)
{
	json_decref(*json);
}

int overlay_file_write(const char *state_dir, const char *name, const json_t *root,
		       struct error *err);
/*
 * *ret_root is to be released by json_decref(), NULL when there is no file. Errors name the file,
 * and line and column of what is no JSON.
 */
int overlay_file_read(const char *state_dir, const char *name, json_t **ret_root,
		      struct error *err);

#endif

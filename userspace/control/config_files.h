/*
 * config_files: which files a configuration consists of, and who can read them.
 *
 * A reload happens after privileges were dropped, so the configuration, every `{ file: PATH }`
 * and every page of `errors` in it must be readable by node.user (HARDENING 33). `--check` and the
 * start say which are not; Landlock's rules are made from the same list. Thread rule: the control
 * thread, or --check.
 */
#ifndef SLUICE_CONTROL_CONFIG_FILES_H
#define SLUICE_CONTROL_CONFIG_FILES_H

#include <sys/types.h>

#include "base/buf.h"
#include "control/user.h"

/*
 * The configuration itself first, then each file it names, relative names made relative to its
 * directory. A directory whose files are served is visited as "DIR/.": it must be searchable. Stops
 * at the first non-zero of visit and returns it. A file that is no YAML ends the walk with -EINVAL;
 * what is wrong with it is config_load()'s to say.
 */
int config_files_walk(const char *config_path, int (*visit)(const char *path, void *arg),
		      void *arg);

/*
 * Appends "PATH: why" for each that `user` cannot open for reading (or search), one a line, tried
 * in a child process that becomes the user; root only. *ret_count is their number.
 */
int config_files_find_unreadable(const char *config_path, const struct user *user, struct buf *out,
				 unsigned int *ret_count);

#endif

/*
 * files_root: the open directory that a route's files lie in.
 *
 * Workers open files beneath this descriptor, never by an absolute name, so that what the name of
 * the directory stands for is decided at load and stays for the requests of that snapshot. Registry
 * kind "files", by name and by what was found there: a reload after the directory was replaced (or
 * a link to it changed) gets another object, else the same. Thread rule: acquire on the control
 * thread; `dir_fd` is read by any.
 */
#ifndef SLUICE_HTTP_FILES_ROOT_H
#define SLUICE_HTTP_FILES_ROOT_H

#include "base/registry.h"

struct files_root {
	struct registry_entry entry;
	int dir_fd; /* O_PATH */
};

/* 0 or a negative errno, of opening the directory among others. */
int files_root_acquire(struct registry *registry, struct str path, struct files_root **ret_root);
void files_root_unref(struct files_root *root); /* NULL allowed */

#endif

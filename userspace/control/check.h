/*
 * check: `sluiced --check FILE`: the effective configuration, or every error.
 * Changes nothing and needs no privilege; as root it also says which files node.user cannot read.
 * Thread rule: a process of its own.
 */
#ifndef SLUICE_CONTROL_CHECK_H
#define SLUICE_CONTROL_CHECK_H

#include <stdio.h>

/* Returns the exit status: 0 when the daemon would take the file, else 1. */
int check_run(const char *config_file, FILE *out, FILE *errors_out);

#endif

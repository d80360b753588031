/*
 * offline_check: `sluiced --check FILE` as a child, for when no daemon answers.
 *
 * The configuration is understood by the daemon's own code alone, so the CLI runs that: the
 * `sluiced` beside this binary, else the first one in PATH. What it prints is collected, never let
 * through, so that --json stays one document. Thread rule: blocks the caller.
 */
#ifndef SLUICE_TOOLS_OFFLINE_CHECK_H
#define SLUICE_TOOLS_OFFLINE_CHECK_H

#include <jansson.h>

struct cli;

/*
 * 0: the file is valid; a new list of what the check remarked is in *ret_notes. Else reported, with
 * the lines of the check as lines of the error.
 */
int offline_check_run(struct cli *cli, const char *file, json_t **ret_notes);

#endif

/*
 * check: `sluiced --check FILE` as a child, for when no daemon answers.
 *
 * The configuration is understood by the daemon's own code alone, so the CLI runs that: the
 * `sluiced` beside this binary, else the first one in PATH. What it prints is collected, never let
 * through, so that --json stays one document. Thread rule: blocks the caller.
 */
#ifndef SLUICE_TOOLS_CHECK_H
#define SLUICE_TOOLS_CHECK_H

struct cli;

/* 0: the file is valid. Else reported, with the lines of the check as lines of the error. */
int check_run(struct cli *cli, const char *file);

#endif

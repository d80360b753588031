/*
 * counters: what XDP counted, by reason, for the commands that show a part of it.
 * Thread rule: one thread.
 */
#ifndef SLUICE_TOOLS_COUNTERS_H
#define SLUICE_TOOLS_COUNTERS_H

#include "tools/output.h"

/* {"reasons": [...]} from the daemon, else from the pins, which is told; errors are reported. */
int counters_load(struct cli *cli, bool *ret_daemon, json_t **ret_doc);

extern const struct output_view counters_view;

#endif

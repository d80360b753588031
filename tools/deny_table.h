/*
 * deny_table: entries as a table, as JSON or as the text that `load` reads. What is long goes out
 * bit by bit, so that a million entries need little more memory than they are. Thread rule: one
 * thread.
 */
#ifndef SLUICE_TOOLS_DENY_TABLE_H
#define SLUICE_TOOLS_DENY_TABLE_H

#include "kern/access_entries.h"
#include "tools/cli.h"

int deny_print_table(struct cli *cli, const struct access_entries *entries);
/* {"entries": [...], "daemon": BOOL} in the form of the admin API. */
int deny_print_json(struct cli *cli, const struct access_entries *entries, bool daemon);
/* Appends the text to `out`; flush(arg) is called when it has become long, and may empty it. */
int deny_write_text(const struct access_entries *entries, struct buf *out, int (*flush)(void *arg),
		    void *arg);
/* Prints what was appended so far when it has become long. Nothing in a batch. */
int deny_flush(void *cli);

#endif

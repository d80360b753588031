/*
 * deny: what the parts of `sluice deny` and `sluice allow` share: the two lists are one thing but
 * for their names. Thread rule: one thread.
 */
#ifndef SLUICE_TOOLS_DENY_H
#define SLUICE_TOOLS_DENY_H

#include "kern/access_list.h"
#include "tools/cli.h"

struct list_kind {
	const char *name; /* object and last part of the target */
	const char *done; /* "denied" */
	enum access_list_kind kind;
	const char *target;
	const char *empty;
};

/* The values of arguments; errors are reported. */
int deny_read_cidr(struct cli *cli, const char *text, struct ip_prefix *ret_prefix);
int deny_read_reason(struct cli *cli, const char *text);
int deny_read_ttl(struct cli *cli, const char *text, uint64_t *ret_ms);

int list_show(struct cli *cli, struct args *args, const struct list_kind *list);
int list_count(struct cli *cli, struct args *args, const struct list_kind *list);
int list_export(struct cli *cli, struct args *args, const struct list_kind *list);
int list_load(struct cli *cli, struct args *args, const struct list_kind *list);

#endif

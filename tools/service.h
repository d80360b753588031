/*
 * service: L4 services as one document, for `sluice service` and `sluice backend`.
 * Thread rule: one thread.
 */
#ifndef SLUICE_TOOLS_SERVICE_H
#define SLUICE_TOOLS_SERVICE_H

#include <jansson.h>

#include "tools/cli.h"

/* {"services": [...], "daemon": BOOL}, from the daemon, else from the pins. Errors are reported. */
int service_load(struct cli *cli, json_t **ret_doc);
/* {"services": [...]} of the pins, without a word. */
int service_load_pinned(struct cli *cli, json_t **ret_doc);
/* One list of the backends of all services, as doc["backends"]; each bears its service's name. */
int service_flatten(struct cli *cli, json_t *doc);

/* Of a change: -EPROTO, reported, where the daemon does not say what it did. */
int service_check_answer(struct cli *cli, const json_t *answer);
/* In text: that a change was made without a daemon, and where it is. */
void service_print_offline(struct cli *cli, bool daemon);

int service_add(struct cli *cli, struct args *args);
int service_delete(struct cli *cli, struct args *args);
int service_nat(struct cli *cli, struct args *args);

#endif

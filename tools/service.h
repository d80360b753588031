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
/* One list of the backends of all services, as doc["backends"]; each bears its service's name. */
int service_flatten(struct cli *cli, json_t *doc);

#endif

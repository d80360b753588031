/*
 * service_offline: changes of services while no daemon lives: on what is pinned and in the overlay,
 * under the owner lock. Only what needs no phases (kern/service_change.h). Thread rule: one thread.
 */
#ifndef SLUICE_TOOLS_SERVICE_OFFLINE_H
#define SLUICE_TOOLS_SERVICE_OFFLINE_H

#include "kern/service_overlay.h"
#include "tools/cli.h"

/* All report their errors. Call after client_try() said that there is no daemon. */
int service_offline_backend(struct cli *cli, struct service_change *change);
int service_offline_add(struct cli *cli, const struct service_conf *conf);
/* Also when nothing is pinned: a service that keeps a daemon from starting must go. */
int service_offline_delete(struct cli *cli, const char *name);

#endif

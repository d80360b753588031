/*
 * metrics_server: GET /metrics on the TCP address node.metrics, for whoever can reach it.
 * Thread rule: the control thread.
 */
#ifndef SLUICE_CONTROL_METRICS_SERVER_H
#define SLUICE_CONTROL_METRICS_SERVER_H

#include "control/daemon.h"

struct metrics_server;

/* Listens from now on. */
int metrics_server_new(struct daemon *daemon, const struct node_conf *node,
		       struct metrics_server **ret_metrics, struct error *err);
/* As those of admin.h. */
void metrics_server_stop(struct metrics_server *metrics);
bool metrics_server_is_stopped(const struct metrics_server *metrics);
void metrics_server_free(struct metrics_server *metrics);

#endif

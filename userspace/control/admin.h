/*
 * admin: the server of the admin API: HTTP/1.1 and JSON on the Unix socket node.admin.socket.
 *
 *   connection ──► peer's uid ──► head, body (http1 codec) ──► admin_dispatch() ──► answer, close
 *
 * One request a connection. Root and the daemon's own uid may; others get 403 (HARDENING 32). At
 * most 64 connections, a request of at most 1 MiB that is complete within 10 s. Handlers run to
 * completion on the control loop. Thread rule: the control thread.
 */
#ifndef SLUICE_CONTROL_ADMIN_H
#define SLUICE_CONTROL_ADMIN_H

#include <stdbool.h>

#include "control/daemon.h"

struct admin;

/* Listens from now on; owner NULL: the socket stays ours. Mode 0660. */
int admin_new(struct daemon *daemon, struct str socket_path, const struct user *owner,
	      struct admin **ret_admin, struct error *err);
/* Closes everything; the loop has to turn until it is stopped. NULL allowed, and stopped. */
void admin_stop(struct admin *admin);
bool admin_is_stopped(const struct admin *admin);
/* Removes the socket. */
void admin_free(struct admin *admin);

#endif

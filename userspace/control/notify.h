/*
 * notify: tells systemd (sd_notify(3)'s protocol) what the daemon is doing.
 *
 * One datagram of NAME=VALUE lines to the Unix socket that NOTIFY_SOCKET names; without that
 * variable nothing happens. Own code, since libsystemd would be the only use of that library.
 * Thread rule: the control thread.
 */
#ifndef SLUICE_CONTROL_NOTIFY_H
#define SLUICE_CONTROL_NOTIFY_H

#include "base/util.h"

/* "READY=1\nSTATUS=...". 0, also when nobody listens to us; a negative errno when sending failed.
 */
int notify_send(const char *fmt, ...) PRINTF_LIKE(1, 2);

#endif

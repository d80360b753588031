/*
 * owner_lock: one owner of maps, admin socket and overlay at a time: flock on STATE_DIR/lock.
 * The daemon holds it while it lives; the CLI takes it for a moment to change pins when no daemon
 * does. The kernel drops it with the process, so kill -9 leaves nothing behind. Thread rule: none.
 */
#ifndef SLUICE_KERN_OWNER_LOCK_H
#define SLUICE_KERN_OWNER_LOCK_H

#include "base/error.h"

/* Creates state_dir (0750) when it is missing. -EWOULDBLOCK: held, the text names the pid. */
int owner_lock_take(const char *state_dir, int *ret_fd, struct error *err);

#endif

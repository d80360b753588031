/*
 * start: the steps of set-up that need privileges, and their dropping, one function each.
 *
 * daemon.c calls them in this order; each leaves in struct daemon what it made and logs nothing but
 * warnings. Thread rule: the control thread, before there are workers.
 */
#ifndef SLUICE_CONTROL_START_H
#define SLUICE_CONTROL_START_H

#include "control/daemon.h"

/* Descriptor limit to its maximum, locked memory free where that is ours to say. */
void start_raise_limits(void);
/* One daemon per state_dir; node.user; that user can read the configuration. */
int start_claim(struct daemon *daemon, struct error *err);
/* Kernel programs and maps, lists, attachments, replay of what people changed by CLI. */
int start_dataplane(struct daemon *daemon, struct error *err);
/* Directories and pins to node.user, then identity, capabilities, Landlock. */
int start_drop_privileges(struct daemon *daemon, struct error *err);
/* Workers, pinned round the CPUs that this process may use. */
/* Opens it as the user that reloads will be made as. */
int start_access_log(struct daemon *daemon, struct error *err);
int start_workers(struct daemon *daemon, void (*on_exit)(struct worker *worker, void *arg),
		  struct error *err);

#endif

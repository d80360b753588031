/*
 * reload: from a configuration file to the generation in force.
 *
 * What can fail is tried first: loading, sockets, memory for the workers' messages. What changes
 * the kernel (lists, attachments, addresses) is taken back in reverse order when a later step
 * fails. Then the snapshot is posted to the workers, which cannot fail. Exchanges under way keep
 * the snapshot they began with. Thread rule: the control thread.
 */
#ifndef SLUICE_CONTROL_RELOAD_H
#define SLUICE_CONTROL_RELOAD_H

#include "conf/conf.h"
#include "control/daemon.h"

/* The configured file. On failure every error is in `errors` and the old generation runs on. */
int reload_run(struct daemon *daemon, struct conf_errors *errors);

/* First steps of the start, before there are workers: lists and attachments of daemon->snapshot. */
int reload_apply_dataplane(struct daemon *daemon, const struct snapshot *snapshot,
			   struct error *err);

/*
 * Hands the plan's addresses and the snapshot to kernel and workers, as the next generation. On
 * failure nothing has changed; on success the plan is committed.
 */
int reload_publish(struct daemon *daemon, struct snapshot *snapshot, struct steering_plan *plan,
		   struct error *err);

/* Adds "node.x: needs a restart" for each change that a reload cannot make. */
int reload_compare_node(const struct node_conf *before, const struct node_conf *after,
			struct conf_errors *errors);

#endif

/*
 * daemon: the control thread: set-up in order, signals, reload, workers, the graceful end.
 *
 *   configuration ► lock ► dataplane ► lists ► addresses ► admin socket ► privileges ► workers ►
 *   steering ► seccomp ► ready ► ... SIGTERM ► drain ► routes and socket removed ► exit
 *
 * The struct is the control thread's state, read by the admin API on the same thread. Everything in
 * it may be absent while starting and stopping. What is pinned in the kernel outlives it.
 * Thread rule: the control thread.
 */
#ifndef SLUICE_CONTROL_DAEMON_H
#define SLUICE_CONTROL_DAEMON_H

#include "base/registry.h"
#include "conf/conf.h"
#include "control/access_log_writer.h"
#include "control/auto_deny.h"
#include "control/certificates.h"
#include "control/event_ring.h"
#include "control/privileges.h"
#include "control/services.h"
#include "control/steering.h"
#include "control/user.h"
#include "control/worker_thread.h"
#include "http/snapshot.h"
#include "io/loop.h"
#include "kern/dataplane.h"

struct access_loads;
struct admin;
struct metrics_server;

enum daemon_state { DAEMON_STARTING, DAEMON_READY, DAEMON_DRAINING };

struct daemon {
	const char *config_file;
	enum daemon_state state;
	uint64_t started_mono_ms;
	uint64_t started_wall_ms;
	int result; /* of the run, 0 or the error that ended it */

	struct registry *registry;
	struct snapshot *snapshot; /* in force; one reference */
	uint64_t generation;
	char last_error[512]; /* of the last reload; "" when it went well */

	struct dataplane *dataplane; /* NULL: dataplane_reason says why */
	char dataplane_reason[512];
	struct steering steering;
	struct services services;
	struct certificates certificates;
	struct auto_deny auto_deny;
	struct access_loads *access_loads; /* NULL without a dataplane */

	struct loop *loop;
	struct worker **workers; /* NULL where one has left */
	struct http_node *http_node;
	unsigned int worker_count;
	unsigned int workers_running;
	char engine_reason[512]; /* why not io_uring; "" when it is, or when epoll was asked for */
	struct admin *admin;
	struct event_ring events;
	struct access_log_writer access_log;
	struct metrics_server *metrics; /* NULL: none */

	struct user user;
	bool has_user;
	struct privileges_report privileges;

	int lock_fd;
	int signal_fd;
	struct watch signal_watch;
	bool watching_signals;
	unsigned int stop_signals;
	struct timer second;
};

extern const char *const daemon_version;

/* Runs until a signal ends it. 0, or a negative errno after the reason was logged. */
int daemon_run(const char *config_file);

/* As SIGTERM does; ret is what the run will return. */
void daemon_stop(struct daemon *daemon, int result);

#endif

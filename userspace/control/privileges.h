/*
 * privileges: what the daemon gives up once set-up is done (HARDENING 33).
 *
 *   landlock_prepare()     while the paths are still within reach
 *   privileges_drop()      uid, groups, capabilities, no_new_privs: before any thread is made,
 *   landlock_enter()       so that threads inherit them (both are attributes of a thread)
 *        │
 *   workers start, make their rings (io_uring_setup is not in the filter)
 *        └─► privileges_drop_worker()   on each: no capability at all
 *   seccomp_seal()         one filter for all threads at once (TSYNC)
 *
 * The control thread keeps CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN and CAP_NET_RAW, as far as it had
 * them: reloads change maps, attachments and routes. The bounding set is emptied and nothing can be
 * got back: no_new_privs. Without node.user identity and capabilities stay, the rest holds.
 * Thread rule: as drawn.
 */
#ifndef SLUICE_CONTROL_PRIVILEGES_H
#define SLUICE_CONTROL_PRIVILEGES_H

#include <stdbool.h>

#include "base/error.h"
#include "control/user.h"

/* What came of it, for the log and `sluice status`. */
struct privileges_report {
	char user[USER_NAME_MAX]; /* "" : stayed as it was */
	bool no_new_privs;
	bool landlock;
	bool seccomp;
	char landlock_reason[160]; /* why not; "" when it is on */
	char seccomp_reason[160];
};

/* user NULL: only no_new_privs. */
int privileges_drop(const struct user *user, struct privileges_report *report, struct error *err);
/* Whatever capability is left to this thread. */
void privileges_drop_worker(void);
/* Calls visit("CAP_BPF", arg) for each effective capability of this thread. */
void privileges_walk_capabilities(void (*visit)(const char *name, void *arg), void *arg);

struct landlock_path {
	const char *path; /* a directory with all below it, or a file; skipped when it is absent */
	bool writable;
};

/*
 * A ruleset of these paths, for landlock_enter(). A kernel without Landlock is no error: the report
 * says so and the ruleset is -1.
 */
int landlock_prepare(const struct landlock_path *paths, unsigned int count,
		     struct privileges_report *report, int *ret_ruleset, struct error *err);
/* From now on this thread and those it makes reach only the ruleset's paths. -1: nothing is done.
 */
int landlock_enter(int ruleset, struct privileges_report *report, struct error *err);

/*
 * System calls outside the daemon's own list fail with EPERM (and are logged by the kernel's
 * audit); those that would start programs, trace, mount or load modules kill the process. Left out
 * in builds with the address or thread sanitizer, whose runtimes need what it forbids.
 */
int seccomp_seal(struct privileges_report *report, struct error *err);

#endif

/*
 * steering: how connections for the listeners' addresses reach the workers.
 *
 *   SK_LOOKUP  each worker listens on 127.0.0.1 and ::1, port of the kernel's choice; tuples and
 *              local routes say what is steered there (kern/steer.h)
 *   BIND       each worker binds each address itself (SO_REUSEPORT): where the kernel has no
 *              sk_lookup or BPF is out of reach. Single addresses (or "every address") and single
 *              ports only.
 *
 * A change is a plan: everything that can fail is tried by steering_plan_make() and _apply();
 * until _commit() it can be taken back by steering_plan_done(). Thread rule: the control thread.
 */
#ifndef SLUICE_CONTROL_STEERING_H
#define SLUICE_CONTROL_STEERING_H

#include "control/worker_thread.h"
#include "http/snapshot.h"
#include "kern/steer.h"

enum steering_mode { STEERING_SK_LOOKUP, STEERING_BIND };

/* An address that the workers have bound. */
struct steering_bind {
	struct sock_addr addr;
	uint32_t id;
};

struct steering {
	enum steering_mode mode;
	char reason[512]; /* why BIND */
	struct dataplane *dataplane;
	unsigned int worker_count;
	uint32_t last_id;
	bool in_force; /* a plan was committed */

	/* What is in force. */
	struct steer_tuple *tuples; /* SK_LOOKUP */
	unsigned int tuple_count;
	struct ip_prefix *routes;
	unsigned int route_count;
	struct steering_bind *binds; /* BIND */
	unsigned int bind_count;
};

struct steering_plan {
	struct steering *steering;
	struct steer_tuple *tuples;
	unsigned int tuple_count;
	struct ip_prefix *routes;
	unsigned int route_count;
	struct steering_bind *binds;
	unsigned int bind_count;

	/* For the workers: worker w opens sockets[w * open_count ...]. */
	struct worker_socket *sockets;
	unsigned int open_count;
	uint32_t *close_ids;
	unsigned int close_count;

	bool first; /* SK_LOOKUP: the plan brings the workers' own listeners */
	bool applied;
	bool committed;
};

/* dataplane NULL: BIND, `reason` says why. Attaches sk_lookup otherwise. */
int steering_init(struct steering *steering, struct dataplane *dataplane, const char *reason,
		  unsigned int worker_count, struct error *err);
/* Takes our local routes away; what is pinned stays. */
void steering_done(struct steering *steering);

/* Opens what has to be opened. Needs CAP_NET_BIND_SERVICE for low ports in BIND mode. */
int steering_plan_make(struct steering *steering, const struct snapshot *snapshot,
		       struct steering_plan *plan, struct error *err);
static inline const struct worker_socket *steering_plan_sockets(const struct steering_plan *plan,
								unsigned int worker)
{
	return plan->sockets ? plan->sockets + (size_t)worker * plan->open_count : NULL;
}
/* Kernel side: workers' listeners (at first), tuples, routes. On failure all is as before. */
int steering_plan_apply(struct steering_plan *plan, struct error *err);
/* The sockets are the workers' now and the plan is what is in force. */
void steering_plan_commit(struct steering_plan *plan);
/* Without a commit before it, takes everything back. */
void steering_plan_done(struct steering_plan *plan);

/* "192.0.2.1:80", "[2001:db8::]/64:8000-8100" as in the configuration. */
const char *steering_format_tuple(const struct steer_tuple *tuple, char *buf, size_t buf_len);

#endif

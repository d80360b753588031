/*
 * steer: sk_lookup hands connections for the configured tuples to the workers' listening sockets.
 *
 *   SYN to 192.0.2.10:443 ──► tuple known? ──► hash(remote address) ──► slot of 256 ──► worker ──►
 *   sockmap[worker · 2 + family] ──► bpf_sk_assign
 *
 * No bind per address: each worker has one IPv4 and one IPv6 listener on loopback, and prefixes and
 * port ranges cost nothing more. Links and maps are pinned with the dataplane. The sockmap lets go
 * of a socket when it closes; when no live listener is left, SYNs for our tuples are dropped for
 * 10 s (a restart looks like a lost packet to a client) and passed to the stack after that.
 * Thread rule: the control thread.
 */
#ifndef SLUICE_KERN_STEER_H
#define SLUICE_KERN_STEER_H

#include "base/addr.h"
#include "kern/dataplane.h"

#define STEER_SLOTS	  256
#define STEER_WORKERS_MAX 256

struct steer_tuple {
	struct ip_prefix prefix; /* a /0 of a family: every local address */
	uint16_t port_first, port_last;
};

/*
 * Attaches sk_lookup to this thread's network namespace. -EOPNOTSUPP where the kernel has none:
 * the daemon then binds each address.
 */
int steer_attach(struct dataplane *dataplane, struct error *err);
bool steer_is_attached(const struct dataplane *dataplane);

/*
 * Swaps the workers' listeners in and spreads the 256 slots evenly over them. A descriptor of -1
 * leaves that family of the worker without a listener. Sockets must be listening.
 */
int steer_set_workers(struct dataplane *dataplane, const int *fds_v4, const int *fds_v6,
		      unsigned int count, struct error *err);

/* Makes the tuples exactly these; one that stands in both never misses meanwhile. */
int steer_set_tuples(struct dataplane *dataplane, const struct steer_tuple *tuples,
		     unsigned int count, struct error *err);
int steer_walk_tuples(struct dataplane *dataplane,
		      int (*visit)(const struct steer_tuple *tuple, void *arg), void *arg);

/*
 * `local` routes for prefixes wider than one address: without them the stack never hands us the
 * packets. They carry route protocol id STEER_ROUTE_PROTOCOL, so that no one else's are touched.
 * Sync makes them exactly these; an address or prefix that is local already gets none.
 */
#define STEER_ROUTE_PROTOCOL 184
int steer_sync_local_routes(const struct ip_prefix *prefixes, unsigned int count,
			    struct error *err);

#endif

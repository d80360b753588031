/*
 * neighbours: keeps the link addresses known that XDP sends to, which cannot ask for one itself.
 *
 *   backends ──► route ──► next hops ──┐
 *   any address of the internet ───────┼──► managed neighbours of the kernel, which resolves them
 *   what XDP found unresolved ─────────┘    and looks after them by itself, also without a daemon
 *
 * A backend has the next hops of its route, each one where there are several. What XDP asks for
 * (the way back of NAT: gateways, clients on a link) is kept for as long as it answers, at most
 * NEIGHBOURS_ASKED_MAX of them. Routes, rules, links and neighbours are followed by notification:
 * a changed route moves the neighbours, and one that the kernel throws away with its link is made
 * again. Permanent entries are somebody's will: they are used and not touched.
 * The neighbours outlive this object and the process; who opens it next adopts them.
 * Thread rule: the thread that opened it.
 */
#ifndef SLUICE_KERN_NEIGHBOURS_H
#define SLUICE_KERN_NEIGHBOURS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/error.h"

#define NEIGHBOURS_ASKED_MAX 1024

struct neighbours;

/* By how bad it is: of several next hops the worst one counts. */
enum neighbour_state {
	NEIGHBOUR_RESOLVED,
	NEIGHBOUR_INCOMPLETE, /* asked for, no answer yet */
	NEIGHBOUR_FAILED,     /* nobody answers; the kernel goes on asking */
	NEIGHBOUR_NO_ROUTE,
};

struct neighbour_view {
	enum neighbour_state state;
	struct ip_addr next_hop; /* family 0 without a route */
	uint32_t ifindex;
	uint8_t link_addr[6]; /* RESOLVED */
	unsigned int hop_count;
};

/* manages: false only looks, for the CLI. */
int neighbours_open(bool manages, struct neighbours **ret_neighbours, struct error *err);
/* What the kernel has stays. */
void neighbours_close(struct neighbours *neighbours);

/*
 * From now on these are the backends, in any order, some perhaps twice; none: nothing is kept any
 * more. with_default: also the gateway of the default route. The error is that of the kernel or
 * -ENOMEM; what can be kept is kept.
 */
int neighbours_set(struct neighbours *neighbours, const struct ip_addr *backends,
		   unsigned int count, bool with_default, struct error *err);
/* XDP found this next hop unresolved. */
void neighbours_ask(struct neighbours *neighbours, uint32_t ifindex, const struct ip_addr *addr);
/* False: not one of the backends. */
bool neighbours_find(const struct neighbours *neighbours, const struct ip_addr *backend,
		     struct neighbour_view *ret_view);
const char *neighbour_state_name(enum neighbour_state state);

/* A backend can be reached no more, or again: told by neighbours_hear() and neighbours_tick(). */
void neighbours_on_change(struct neighbours *neighbours,
			  void (*on_change)(const struct ip_addr *backend,
					    const struct neighbour_view *view, void *arg),
			  void *arg);

/* Readable: call neighbours_hear(). */
int neighbours_fd(const struct neighbours *neighbours);
void neighbours_hear(struct neighbours *neighbours);
/* Every second. */
void neighbours_tick(struct neighbours *neighbours);
/* Until all have answered or failed, at most so long. */
void neighbours_wait(struct neighbours *neighbours, int timeout_ms);

/* Lets go of all that a daemon left here. */
int neighbours_release(struct error *err);

#endif

/*
 * neighbour_wire: what neighbours.c says to rtnetlink and hears from it.
 *
 * Two sockets: one asks and waits for the answer, the other only hears what changes. Neighbours
 * that we had made carry NDA_PROTOCOL STEER_ROUTE_PROTOCOL and are managed (NTF_EXT_MANAGED, Linux
 * 5.16): the kernel asks for their link addresses again and again, without a packet of its own, and
 * takes them to no garbage collection (NTF_EXT_LEARNED).
 * Thread rule: the thread that opened it.
 */
#ifndef SLUICE_KERN_NEIGHBOUR_WIRE_H
#define SLUICE_KERN_NEIGHBOUR_WIRE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/error.h"

struct neighbour_wire;

/* Who a packet is handed to on a link. */
struct neighbour_hop {
	struct ip_addr addr;
	uint32_t ifindex;
};

/* What the kernel says of one. */
struct neighbour_report {
	struct neighbour_hop hop;
	uint16_t nud;	      /* NUD_* of linux/neighbour.h */
	bool is_gone;	      /* there is no such entry any more */
	bool is_managed;      /* and ours, by its protocol */
	uint8_t link_addr[6]; /* zeros: none, or not of Ethernet */
};

/* listens: also open the socket of neighbour_wire_fd(). */
int neighbour_wire_open(bool listens, struct neighbour_wire **ret_wire, struct error *err);
void neighbour_wire_close(struct neighbour_wire *wire);

/*
 * Next hops of the way to dst, all of them where it has several, at most `room`.
 * -ENETUNREACH: there is no way that XDP could send by (none, local, blackhole).
 */
int neighbour_wire_route(struct neighbour_wire *wire, const struct ip_addr *dst,
			 struct neighbour_hop *hops, unsigned int room, unsigned int *ret_count);
/* -ENOENT */
int neighbour_wire_find(struct neighbour_wire *wire, const struct neighbour_hop *hop,
			struct neighbour_report *ret_report);
/* Has the kernel resolve it now and keep it resolved. */
int neighbour_wire_keep(struct neighbour_wire *wire, const struct neighbour_hop *hop);
/* Makes it an entry like others, which the kernel forgets when it likes; 0 also when it is gone. */
int neighbour_wire_let_go(struct neighbour_wire *wire, const struct neighbour_hop *hop);
/* Calls visit for each neighbour there is; it must not use the wire. */
int neighbour_wire_walk(struct neighbour_wire *wire,
			void (*visit)(const struct neighbour_report *report, void *arg), void *arg);

/* Readable: neighbour_wire_hear(). -1 without. */
int neighbour_wire_fd(const struct neighbour_wire *wire);
/*
 * Reads what has changed, without waiting. on_ways: routes, rules, next hops or links have, once a
 * call. -ENOBUFS: some was lost.
 */
int neighbour_wire_hear(struct neighbour_wire *wire,
			void (*on_report)(const struct neighbour_report *report, void *arg),
			void (*on_ways)(void *arg), void *arg);

#endif

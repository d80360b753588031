#include "kern/neighbour_wire.h"

#include <errno.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "kern/steer.h"

/* Some thousand neighbours may change at the same moment. */
#define HEAR_BYTES (1 << 20)

DEFINE_FREEP(struct neighbour_wire, neighbour_wire_close)
DEFINE_FREEP(struct nl_msg, nlmsg_free)

/* One request and what came of it. */
struct exchange {
	int code; /* of the kernel: 0 or a negative errno */
	bool is_over;
	int (*visit)(struct nlmsghdr *header, void *arg);
	void *arg;
};

struct neighbour_wire {
	struct nl_sock *ask;
	struct nl_sock *hear; /* NULL: none */
};

static const int groups[] = {RTNLGRP_NEIGH,	 RTNLGRP_LINK,	    RTNLGRP_IPV4_ROUTE,
			     RTNLGRP_IPV6_ROUTE, RTNLGRP_IPV4_RULE, RTNLGRP_IPV6_RULE,
			     RTNLGRP_NEXTHOP};

/* ---- sockets ---- */

static int errno_of(int nl_error)
{
	switch (nl_error < 0 ? -nl_error : nl_error) {
	case 0:
		return 0;
	case NLE_PERM:
	case NLE_NOACCESS:
		return -EPERM;
	case NLE_NOMEM: /* also ENOBUFS */
		return -ENOBUFS;
	case NLE_AGAIN:
		return -EAGAIN;
	case NLE_AF_NOSUPPORT:
	case NLE_OPNOTSUPP:
		return -EOPNOTSUPP;
	default:
		return -EIO;
	}
}

static int open_hearing(struct neighbour_wire *wire)
{
	int r;

	wire->hear = nl_socket_alloc();
	if (!wire->hear)
		return -ENOMEM;
	r = errno_of(nl_connect(wire->hear, NETLINK_ROUTE));
	for (size_t i = 0; i < ARRAY_SIZE(groups) && !r; i++)
		r = errno_of(nl_socket_add_membership(wire->hear, groups[i]));
	if (!r)
		r = errno_of(nl_socket_set_nonblocking(wire->hear));
	/* More than the system's limit is cut to it. */
	return r ? r : errno_of(nl_socket_set_buffer_size(wire->hear, HEAR_BYTES, 0));
}

int neighbour_wire_open(bool listens, struct neighbour_wire **ret_wire, struct error *err)
{
	_cleanup_(neighbour_wire_closep)
	struct neighbour_wire *wire = calloc(1, sizeof(*wire));
	int r = 0;

	if (wire)
		wire->ask = nl_socket_alloc();
	if (!wire || !wire->ask)
		return error_set(err, -ENOMEM, "out of memory");
	if (listens)
		r = open_hearing(wire);
	if (!r)
		r = errno_of(nl_connect(wire->ask, NETLINK_ROUTE));
	if (r)
		return error_set_errno(err, r, "cannot open rtnetlink");
	*ret_wire = TAKE_PTR(wire);
	return 0;
}

void neighbour_wire_close(struct neighbour_wire *wire)
{
	if (!wire)
		return;
	nl_socket_free(wire->ask);
	nl_socket_free(wire->hear);
	free(wire);
}

int neighbour_wire_fd(const struct neighbour_wire *wire)
{
	return wire->hear ? nl_socket_get_fd(wire->hear) : -1;
}

/* ---- asking ---- */

static int on_answer(struct nl_msg *msg, void *arg)
{
	struct exchange *exchange = arg;

	if (exchange->visit && !exchange->code)
		exchange->code = exchange->visit(nlmsg_hdr(msg), exchange->arg);
	return NL_OK;
}

static int on_end(struct nl_msg *msg, void *arg)
{
	struct exchange *exchange = arg;

	exchange->is_over = true;
	return NL_STOP;
}

static int on_refusal(struct sockaddr_nl *peer, struct nlmsgerr *refusal, void *arg)
{
	struct exchange *exchange = arg;

	exchange->code = refusal->error;
	exchange->is_over = true;
	return NL_STOP;
}

/* Sends, waits for the end of the answer and calls visit for each message of it. */
static int ask(struct neighbour_wire *wire, struct nl_msg *msg,
	       int (*visit)(struct nlmsghdr *header, void *arg), void *arg)
{
	struct exchange exchange = {.visit = visit, .arg = arg};
	struct nl_cb *cb = nl_cb_alloc(NL_CB_DEFAULT);
	int r;

	if (!cb)
		return -ENOMEM;
	(void)nl_cb_set(cb, NL_CB_VALID, NL_CB_CUSTOM, on_answer, &exchange);
	(void)nl_cb_set(cb, NL_CB_FINISH, NL_CB_CUSTOM, on_end, &exchange);
	(void)nl_cb_set(cb, NL_CB_ACK, NL_CB_CUSTOM, on_end, &exchange);
	(void)nl_cb_err(cb, NL_CB_CUSTOM, on_refusal, &exchange);
	r = nl_send_auto(wire->ask, msg); /* asks for an acknowledgement */
	while (r >= 0 && !exchange.is_over)
		r = nl_recvmsgs(wire->ask, cb);
	nl_cb_put(cb);
	return exchange.is_over ? exchange.code : errno_of(r);
}

static struct nl_msg *message(int type, int flags, void *head, size_t head_len)
{
	struct nl_msg *msg = nlmsg_alloc_simple(type, NLM_F_REQUEST | flags);

	if (msg && nlmsg_append(msg, head, head_len, NLMSG_ALIGNTO)) {
		nlmsg_free(msg);
		return NULL;
	}
	return msg;
}

static int addr_len(const struct ip_addr *addr)
{
	return addr->family == AF_INET6 ? 16 : 4;
}

static bool read_addr(const struct nlattr *attr, uint8_t family, struct ip_addr *ret_addr)
{
	struct ip_addr addr = {.family = family};

	if (!attr || (family != AF_INET && family != AF_INET6) || nla_len(attr) < addr_len(&addr))
		return false;
	memcpy(addr.bytes, nla_data(attr), (size_t)addr_len(&addr));
	*ret_addr = addr;
	return true;
}

/* ---- routes ---- */

struct way {
	const struct ip_addr *dst;
	struct neighbour_hop *hops;
	unsigned int room, count;
	bool is_unicast;
};

static void add_hop(struct way *way, uint32_t ifindex, const struct nlattr *gateway,
		    const struct nlattr *via)
{
	struct neighbour_hop hop = {.addr = *way->dst, .ifindex = ifindex};

	if (!ifindex || way->count == way->room)
		return;
	if (via && nla_len(via) >= (int)sizeof(struct rtvia)) {
		const struct rtvia *its = nla_data(via);
		struct ip_addr addr = {.family = (uint8_t)its->rtvia_family};

		if (nla_len(via) < (int)sizeof(*its) + addr_len(&addr))
			return;
		memcpy(addr.bytes, its->rtvia_addr, (size_t)addr_len(&addr));
		hop.addr = addr;
	} else if (gateway) {
		(void)read_addr(gateway, way->dst->family, &hop.addr);
	}
	way->hops[way->count++] = hop;
}

static void add_hops(struct way *way, const struct nlattr *several)
{
	struct rtnexthop *hop = nla_data(several);
	int left = nla_len(several);

	while (left >= (int)sizeof(*hop) && RTNH_OK(hop, left)) {
		struct nlattr *attrs[RTA_MAX + 1];

		if (nla_parse(attrs, RTA_MAX, (struct nlattr *)(void *)RTNH_DATA(hop),
			      hop->rtnh_len - (int)sizeof(*hop), NULL))
			return;
		add_hop(way, (uint32_t)hop->rtnh_ifindex, attrs[RTA_GATEWAY], attrs[RTA_VIA]);
		left -= (int)RTNH_ALIGN(hop->rtnh_len);
		hop = RTNH_NEXT(hop);
	}
}

static int on_route(struct nlmsghdr *header, void *arg)
{
	struct nlattr *attrs[RTA_MAX + 1];
	const struct rtmsg *route = nlmsg_data(header);
	struct way *way = arg;

	if (header->nlmsg_type != RTM_NEWROUTE ||
	    nlmsg_parse(header, sizeof(*route), attrs, RTA_MAX, NULL))
		return 0;
	way->is_unicast = route->rtm_type == RTN_UNICAST;
	if (!way->is_unicast)
		return 0;
	if (attrs[RTA_MULTIPATH])
		add_hops(way, attrs[RTA_MULTIPATH]);
	else if (attrs[RTA_OIF])
		add_hop(way, nla_get_u32(attrs[RTA_OIF]), attrs[RTA_GATEWAY], attrs[RTA_VIA]);
	return 0;
}

int neighbour_wire_route(struct neighbour_wire *wire, const struct ip_addr *dst,
			 struct neighbour_hop *hops, unsigned int room, unsigned int *ret_count)
{
	struct rtmsg head = {
		.rtm_family = dst->family,
		.rtm_dst_len = (unsigned char)(addr_len(dst) * 8),
		.rtm_flags = RTM_F_FIB_MATCH, /* the route itself, with all its next hops */
	};
	struct way way = {.dst = dst, .hops = hops, .room = room};
	_cleanup_(nlmsg_freep)
	struct nl_msg *msg = message(RTM_GETROUTE, 0, &head, sizeof(head));
	int r;

	if (!msg || nla_put(msg, RTA_DST, addr_len(dst), dst->bytes))
		return -ENOMEM;
	r = ask(wire, msg, on_route, &way);
	if (r == -ENOBUFS || r == -ENOMEM || r == -EIO)
		return r;
	/* The kernel names a blackhole, a prohibition and nothing at all by an errno each. */
	if (r || !way.is_unicast || !way.count)
		return -ENETUNREACH;
	*ret_count = way.count;
	return 0;
}

/* ---- neighbours ---- */

static bool read_report(struct nlmsghdr *header, struct neighbour_report *ret_report)
{
	struct nlattr *attrs[NDA_MAX + 1];
	const struct ndmsg *neighbour = nlmsg_data(header);
	struct neighbour_report report = {0};

	if ((header->nlmsg_type != RTM_NEWNEIGH && header->nlmsg_type != RTM_DELNEIGH) ||
	    nlmsg_parse(header, sizeof(*neighbour), attrs, NDA_MAX, NULL) ||
	    neighbour->ndm_flags & NTF_PROXY ||
	    !read_addr(attrs[NDA_DST], neighbour->ndm_family, &report.hop.addr))
		return false;
	report.hop.ifindex = (uint32_t)neighbour->ndm_ifindex;
	report.nud = neighbour->ndm_state;
	report.is_gone = header->nlmsg_type == RTM_DELNEIGH;
	report.is_managed =
		attrs[NDA_FLAGS_EXT] && nla_get_u32(attrs[NDA_FLAGS_EXT]) & NTF_EXT_MANAGED &&
		attrs[NDA_PROTOCOL] && nla_get_u8(attrs[NDA_PROTOCOL]) == STEER_ROUTE_PROTOCOL;
	if (attrs[NDA_LLADDR] && nla_len(attrs[NDA_LLADDR]) == sizeof(report.link_addr))
		memcpy(report.link_addr, nla_data(attrs[NDA_LLADDR]), sizeof(report.link_addr));
	*ret_report = report;
	return true;
}

static struct nl_msg *neighbour_message(int type, int flags, const struct neighbour_hop *hop,
					uint16_t nud, uint8_t ntf)
{
	struct ndmsg head = {
		.ndm_family = hop->addr.family,
		.ndm_ifindex = (int)hop->ifindex,
		.ndm_state = nud,
		.ndm_flags = ntf,
	};
	struct nl_msg *msg = message(type, flags, &head, sizeof(head));

	if (msg && nla_put(msg, NDA_DST, addr_len(&hop->addr), hop->addr.bytes)) {
		nlmsg_free(msg);
		return NULL;
	}
	return msg;
}

static int on_found(struct nlmsghdr *header, void *arg)
{
	(void)read_report(header, arg);
	return 0;
}

int neighbour_wire_find(struct neighbour_wire *wire, const struct neighbour_hop *hop,
			struct neighbour_report *ret_report)
{
	struct neighbour_report report = {.is_gone = true};
	_cleanup_(nlmsg_freep)
	struct nl_msg *msg = neighbour_message(RTM_GETNEIGH, 0, hop, 0, 0);
	int r = msg ? ask(wire, msg, on_found, &report) : -ENOMEM;

	if (!r && report.is_gone)
		r = -ENOENT;
	if (!r)
		*ret_report = report;
	return r;
}

int neighbour_wire_keep(struct neighbour_wire *wire, const struct neighbour_hop *hop)
{
	_cleanup_(nlmsg_freep)
	struct nl_msg *msg = neighbour_message(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, hop,
					       NUD_NONE, NTF_EXT_LEARNED);

	if (!msg || nla_put_u32(msg, NDA_FLAGS_EXT, NTF_EXT_MANAGED) ||
	    nla_put_u8(msg, NDA_PROTOCOL, STEER_ROUTE_PROTOCOL))
		return -ENOMEM;
	return ask(wire, msg, NULL, NULL);
}

int neighbour_wire_let_go(struct neighbour_wire *wire, const struct neighbour_hop *hop)
{
	_cleanup_(nlmsg_freep)
	struct nl_msg *plain = neighbour_message(RTM_NEWNEIGH, NLM_F_REPLACE, hop, NUD_STALE, 0);
	_cleanup_(nlmsg_freep)
	struct nl_msg *gone = neighbour_message(RTM_DELNEIGH, 0, hop, 0, 0);
	int r;

	if (!plain || !gone)
		return -ENOMEM;
	/* Others may be using it: it keeps the link address that it has. Without one it goes. */
	r = ask(wire, plain, NULL, NULL);
	if (r)
		r = ask(wire, gone, NULL, NULL);
	return r == -ENOENT || r == -ENODEV ? 0 : r;
}

struct neighbour_walk {
	void (*visit)(const struct neighbour_report *report, void *arg);
	void *arg;
};

static int on_walk(struct nlmsghdr *header, void *arg)
{
	const struct neighbour_walk *walk = arg;
	struct neighbour_report report;

	if (read_report(header, &report))
		walk->visit(&report, walk->arg);
	return 0;
}

int neighbour_wire_walk(struct neighbour_wire *wire,
			void (*visit)(const struct neighbour_report *report, void *arg), void *arg)
{
	static const uint8_t families[] = {AF_INET, AF_INET6};
	struct neighbour_walk walk = {.visit = visit, .arg = arg};

	for (size_t i = 0; i < ARRAY_SIZE(families); i++) {
		struct ndmsg head = {.ndm_family = families[i]};
		_cleanup_(nlmsg_freep)
		struct nl_msg *msg = message(RTM_GETNEIGH, NLM_F_DUMP, &head, sizeof(head));
		int r = msg ? ask(wire, msg, on_walk, &walk) : -ENOMEM;

		if (r && r != -EOPNOTSUPP) /* booted without IPv6 */
			return r;
	}
	return 0;
}

/* ---- hearing ---- */

struct hearing {
	void (*on_report)(const struct neighbour_report *report, void *arg);
	void *arg;
	bool ways;
};

/* Copies that the kernel makes for one destination of IPv6, and broadcast addresses, are no ways.
 */
static bool is_way(struct nlmsghdr *header)
{
	const struct rtmsg *route = nlmsg_data(header);

	if (header->nlmsg_type != RTM_NEWROUTE && header->nlmsg_type != RTM_DELROUTE)
		return true;
	return !(route->rtm_flags & RTM_F_CLONED) && route->rtm_type != RTN_BROADCAST &&
	       route->rtm_type != RTN_MULTICAST && route->rtm_type != RTN_ANYCAST;
}

static int on_heard(struct nl_msg *msg, void *arg)
{
	struct nlmsghdr *header = nlmsg_hdr(msg);
	struct hearing *hearing = arg;
	struct neighbour_report report;

	if (header->nlmsg_type != RTM_NEWNEIGH && header->nlmsg_type != RTM_DELNEIGH)
		hearing->ways |= is_way(header);
	else if (read_report(header, &report))
		hearing->on_report(&report, hearing->arg);
	return NL_OK;
}

/* What nobody asked for has no number of ours. */
static int on_number(struct nl_msg *msg, void *arg)
{
	return NL_OK;
}

int neighbour_wire_hear(struct neighbour_wire *wire,
			void (*on_report)(const struct neighbour_report *report, void *arg),
			void (*on_ways)(void *arg), void *arg)
{
	struct hearing hearing = {.on_report = on_report, .arg = arg};
	struct nl_cb *cb = nl_cb_alloc(NL_CB_DEFAULT);
	int r = 0;

	if (!cb)
		return -ENOMEM;
	(void)nl_cb_set(cb, NL_CB_VALID, NL_CB_CUSTOM, on_heard, &hearing);
	(void)nl_cb_set(cb, NL_CB_SEQ_CHECK, NL_CB_CUSTOM, on_number, NULL);
	while (r >= 0)
		r = nl_recvmsgs(wire->hear, cb);
	nl_cb_put(cb);
	if (hearing.ways)
		on_ways(arg);
	r = errno_of(r);
	return r == -EAGAIN ? 0 : r;
}

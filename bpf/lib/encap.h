/*
 * encap: forward mode ipip: 4in4, 6in6, 4in6 (RFC 2003, RFC 2473), and how a frame leaves.
 *
 *  | Ethernet, tags | inner IP ...  ──►  | Ethernet, tags | outer IP | inner IP ...
 *
 * Outer TTL is 64; TOS or traffic class are copied with their ECN bits (RFC 6040); DF is copied,
 * and the identification, which means something only without DF. The outer source is a prefix of
 * flow_conf with bits of the flow's hash, so that receivers spread flows over their queues. The
 * inner packet is not touched: what arrives at the backend is what the client sent.
 * Tags of the frame are kept: next hops are looked for on the interface itself.
 */
#ifndef SLUICE_BPF_LIB_ENCAP_H
#define SLUICE_BPF_LIB_ENCAP_H

#include "lib/flow.h"
#include "lib/parse.h"

#define OUTER_TTL   64
#define AF_INET_V4  2
#define AF_INET_V6  10
#define IP4_DF	    0x4000
#define PROTO_IP4IN 4
#define PROTO_IP6IN 41

const volatile bool feature_service_ipip = true;

/* A stage's answer: reason and verdict; 0: not mine, go on. */
#define STAGE_DONE(reason, verdict) ((int)((reason) << 8 | (verdict)))
#define STAGE_DROP(reason)	    STAGE_DONE(reason, XDP_DROP)
#define STAGE_REASON(done)	    ((__u32)(done) >> 8)
#define STAGE_VERDICT(done)	    ((done)&0xff)

/* Where a packet goes: made by the stage that chose, carried out by a forward mode. */
struct service_plan {
	__u64 hash;
	__u32 service;
	__u32 backend; /* number in sl_backends; 0: none */
	__u32 mtu;     /* out, with SL_REASON_SERVICE_TOO_BIG: the largest packet that would fit */
	__u32 slot;    /* as read from sl_slots: what service_pick() makes the backend from */
	__u32 backend_base;
	__u32 backend_count;
	__u32 key_place; /* in sl_svc_keys, where a key of this very port was found */
	__u8 forward;	 /* enum sl_forward */
	__u8 role;	 /* enum flow_role */
	__u8 reason;	 /* SL_REASON_*: what it counts as when it leaves */
	__u8 zero;	 /* see struct flow_look */
};
_Static_assert(SL_REASON_COUNT <= 256, "make service_plan.reason wider");

struct mac {
	__u8 bytes[6];
};

struct next_hop {
	__u32 ifindex;
	__u32 mtu;
	struct mac to;
	struct mac from;
};

struct outer_source {
	__u32 addr_be[4]; /* IPv4: the first word */
};

/* A header that comes right behind an ethertype. */
struct __attribute__((packed)) wire_typed_ip4 {
	__be16 type_be;
	struct wire_ip4 ip;
};

struct __attribute__((packed)) wire_typed_ip6 {
	__be16 type_be;
	struct wire_ip6 ip;
};

static __always_inline __u16 checksum_fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/* Of a header without options whose checksum field is not read. */
static __always_inline __u16 checksum_ip4(const struct wire_ip4 *ip)
{
	__u32 sum = bpf_htons((__u16)(ip->version_ihl << 8 | ip->tos));

	sum += ip->total_len_be;
	sum += ip->id_be;
	sum += ip->fragment_be;
	sum += bpf_htons((__u16)(ip->ttl << 8 | ip->protocol));
	sum += (ip->src_be & 0xffff) + (ip->src_be >> 16);
	sum += (ip->dst_be & 0xffff) + (ip->dst_be >> 16);
	return checksum_fold(sum);
}

/*
 * Makes `room` bytes between the Ethernet header with its tags and the IP header, and writes the
 * former anew, but for the type. Returns the place of the type with `len` bytes behind it, or NULL
 * when the driver left no headroom.
 */
static __always_inline void *frame_push(struct xdp_md *ctx, const struct packet *packet, int room,
					const struct mac *to, const struct mac *from, __u32 len)
{
	__u32 type_at = (packet->ip_at - 2) & 31;
	void *data, *end, *pos;
	__u64 tags;

	if (bpf_xdp_adjust_head(ctx, -room))
		return NULL;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	if (data + room + 20 > end)
		return NULL;
	__builtin_memcpy(&tags, data + room + 12, sizeof(tags));
	__builtin_memcpy(data, to, sizeof(*to));
	__builtin_memcpy(data + 6, from, sizeof(*from));
	__builtin_memcpy(data + 12, &tags, sizeof(tags));
	pos = data + type_at;
	if (pos + len > end)
		return NULL;
	return pos;
}

/*
 * Asks userspace for the neighbour that bpf_fib_lookup() did not find: what it was given says now
 * which one. Looks first whether enough asks wait already, since writing takes a lock.
 */
static __always_inline void next_hop_ask(const struct bpf_fib_lookup *route)
{
	struct sl_neigh_ask *ask;

	if (bpf_ringbuf_query(&sl_neigh_asks, BPF_RB_AVAIL_DATA) > SL_NEIGH_ASKS_WAITING)
		return;
	ask = bpf_ringbuf_reserve(&sl_neigh_asks, sizeof(*ask), 0);
	if (!ask)
		return;
	__builtin_memset(ask, 0, sizeof(*ask));
	ask->ifindex = route->ifindex;
	if (route->family == AF_INET_V6) {
		ask->family = SL_FAMILY_V6;
		__builtin_memcpy(ask->addr_be, route->ipv6_dst, sizeof(ask->addr_be));
	} else {
		ask->family = SL_FAMILY_V4;
		ask->addr_be[0] = route->ipv4_dst;
	}
	bpf_ringbuf_submit(ask, 0);
}

/*
 * Asks the kernel for the way of a packet. 0 or the reason to drop it for. A global function: what
 * it needs of the stack does not add to what others need.
 */
__noinline int next_hop_find(struct xdp_md *ctx, const struct sl_backend *backend,
			     const struct outer_source *from, __u32 tot_len_and_tos,
			     struct next_hop *hop)
{
	__u32 tot_len = tot_len_and_tos >> 8, tos = tot_len_and_tos & 0xff;
	struct bpf_fib_lookup route = {};
	const __u32 *src_be;
	long ret;

	if (!ctx || !backend || !from || !hop)
		return SL_REASON_SERVICE_NO_ROUTE;
	src_be = from->addr_be;
	route.ifindex = ctx->ingress_ifindex;
	route.tot_len = tot_len;
	if (backend->family == SL_FAMILY_V6) {
		route.family = AF_INET_V6;
		__builtin_memcpy(route.ipv6_src, src_be, sizeof(route.ipv6_src));
		__builtin_memcpy(route.ipv6_dst, backend->addr_be, sizeof(route.ipv6_dst));
	} else {
		route.family = AF_INET_V4;
		route.tos = tos & 0xfc; /* ECN bits choose no route */
		route.ipv4_src = src_be[0];
		route.ipv4_dst = backend->addr_be[0];
	}
	ret = bpf_fib_lookup(ctx, &route, sizeof(route), 0);
	if (ret == BPF_FIB_LKUP_RET_FRAG_NEEDED) {
		hop->mtu = route.mtu_result;
		return SL_REASON_SERVICE_TOO_BIG;
	}
	if (ret == BPF_FIB_LKUP_RET_NO_NEIGH) {
		next_hop_ask(&route);
		return SL_REASON_SERVICE_NO_NEIGH;
	}
	if (ret)
		return SL_REASON_SERVICE_NO_ROUTE;
	hop->ifindex = route.ifindex;
	__builtin_memcpy(&hop->to, route.dmac, sizeof(hop->to));
	__builtin_memcpy(&hop->from, route.smac, sizeof(hop->from));
	return 0;
}

/* The way to a backend as its record has it; false: it has none. */
static __always_inline bool next_hop_of(const struct sl_backend *backend, struct next_hop *hop)
{
	hop->ifindex = *(volatile __u32 *)&backend->ifindex;
	hop->mtu = backend->mtu;
	__builtin_memcpy(&hop->to, backend->next_hop, sizeof(hop->to));
	__builtin_memcpy(&hop->from, backend->from, sizeof(hop->from));
	return hop->ifindex;
}

static __always_inline int next_hop_send(struct xdp_md *ctx, const struct next_hop *hop,
					 __u32 reason)
{
	if (hop->ifindex == ctx->ingress_ifindex)
		return STAGE_DONE(reason, XDP_TX);
	return STAGE_DONE(reason, bpf_redirect(hop->ifindex, 0));
}

static __always_inline int encap_push4(struct xdp_md *ctx, const struct packet *packet,
				       const struct next_hop *hop, __be32 src_be, __be32 dst_be)
{
	struct wire_typed_ip4 *outer = frame_push(ctx, packet, sizeof(struct wire_ip4), &hop->to,
						  &hop->from, sizeof(*outer));
	struct wire_ip4 ip = {
		.version_ihl = 0x45,
		.tos = packet->tos,
		.total_len_be = bpf_htons(packet->ip_len + sizeof(ip)),
		.id_be = packet->ip_id_be,
		.fragment_be = packet->may_fragment ? 0 : bpf_htons(IP4_DF),
		.ttl = OUTER_TTL,
		.protocol = PROTO_IP4IN,
		.src_be = src_be,
		.dst_be = dst_be,
	};

	if (!outer)
		return -1;
	ip.checksum_be = checksum_ip4(&ip);
	outer->type_be = bpf_htons(ETHERTYPE_IP4);
	__builtin_memcpy(&outer->ip, &ip, sizeof(ip));
	return 0;
}

static __always_inline int encap_push6(struct xdp_md *ctx, const struct packet *packet,
				       const struct next_hop *hop, const __u32 *src_be,
				       const __u32 *dst_be, __u32 label)
{
	struct wire_typed_ip6 *outer = frame_push(ctx, packet, sizeof(struct wire_ip6), &hop->to,
						  &hop->from, sizeof(*outer));
	bool is_v6 = packet->family == SL_FAMILY_V6;

	if (!outer)
		return -1;
	outer->type_be = bpf_htons(ETHERTYPE_IP6);
	outer->ip.version_flow_be =
		bpf_htonl(6U << 28 | (__u32)packet->tos << 20 | (label & 0xfffff));
	outer->ip.payload_len_be = bpf_htons(packet->ip_len);
	outer->ip.next_header = is_v6 ? PROTO_IP6IN : PROTO_IP4IN;
	outer->ip.hop_limit = OUTER_TTL;
	__builtin_memcpy(outer->ip.src_be, src_be, sizeof(outer->ip.src_be));
	__builtin_memcpy(outer->ip.dst_be, dst_be, sizeof(outer->ip.dst_be));
	return 0;
}

/* An answer of functions that make or carry out a plan: there is one, and the rest is for others.
 */
#define SERVICE_PLANNED 1

/*
 * Sends the packet to the backend. Nothing is changed where it answers with a drop but for lack of
 * headroom. SERVICE_PLANNED: the kernel must be asked for the way, and `may_ask` is false.
 */
static __always_inline int encap_forward(struct xdp_md *ctx, const struct packet *packet,
					 const struct sl_backend *backend,
					 struct service_plan *plan, bool may_ask)
{
	bool is_outer6 = backend->family == SL_FAMILY_V6;
	__u32 outer_len = is_outer6 ? sizeof(struct wire_ip6) : sizeof(struct wire_ip4);
	struct outer_source from = {};
	__u32 *src_be = from.addr_be, drop;
	struct next_hop hop = {};

	if (!is_outer6 && packet->family == SL_FAMILY_V6)
		return STAGE_DROP(SL_REASON_SERVICE_FAMILY);
	/* The length field of IPv6 does not count its own header. */
	if (!packet->ip_len || packet->ip_len + outer_len > 65535)
		return STAGE_DROP(SL_REASON_SERVICE_TOO_BIG_DROP);
	if (is_outer6) {
		src_be[0] = flow_conf.outer6_be[0];
		src_be[1] = flow_conf.outer6_be[1];
		src_be[2] = flow_conf.outer6_be[2];
		src_be[3] = flow_conf.outer6_be[3] ^ (__u32)plan->hash;
	} else {
		src_be[0] = flow_conf.outer4_be ^ bpf_htonl(plan->hash & 0xffff);
	}
	if (next_hop_of(backend, &hop))
		drop = packet->ip_len + outer_len > hop.mtu ? SL_REASON_SERVICE_TOO_BIG : 0;
	else if (may_ask)
		drop = next_hop_find(ctx, backend, &from,
				     (packet->ip_len + outer_len) << 8 | packet->tos, &hop);
	else
		return SERVICE_PLANNED;
	if (drop) {
		plan->mtu = hop.mtu > outer_len ? hop.mtu - outer_len : 0;
		return STAGE_DROP(drop);
	}
	if (is_outer6 ? encap_push6(ctx, packet, &hop, src_be, backend->addr_be, plan->hash)
		      : encap_push4(ctx, packet, &hop, src_be[0], backend->addr_be[0]))
		return STAGE_DROP(SL_REASON_SERVICE_HEADROOM);
	return next_hop_send(ctx, &hop, plan->reason);
}

#endif

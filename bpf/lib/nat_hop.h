/*
 * nat_hop: sends a translated IPv4 packet to its next hop, as a router does.
 *
 * The route and the neighbour are the kernel's (bpf_fib_lookup): sluice has no addresses of its
 * own. Forwarding must be on for the interface that the packet came in by. What is longer than the
 * MTU of its way gets an answer from the address that it was sent to: the service's for a client,
 * the source address for a backend.
 */
#ifndef SLUICE_BPF_LIB_NAT_HOP_H
#define SLUICE_BPF_LIB_NAT_HOP_H

#include "lib/encap.h"
#include "lib/nat_rewrite.h"

/* The headers that the parser has found, once more for the verifier. */
struct nat_view {
	struct wire_eth *eth;
	struct wire_ip4 *ip;
	void *transport;
	void *end;
};

static __always_inline bool nat_view(struct xdp_md *ctx, const struct packet *packet,
				     struct nat_view *ret_view)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	void *ip = data + (packet->ip_at & 31);

	if (data + sizeof(struct wire_eth) > end || ip + sizeof(struct wire_ip4) > end)
		return false;
	ret_view->eth = data;
	ret_view->ip = ip;
	ret_view->transport = data + (packet->l4_at & 127);
	ret_view->end = end;
	return true;
}

/* A global function: what it needs of the stack does not add to what others need. */
__noinline int nat_hop_ask(struct xdp_md *ctx, const struct packet *packet,
			   const struct nat_tuple *to, struct next_hop *hop)
{
	struct bpf_fib_lookup route = {};

	if (!ctx || !packet || !to || !hop)
		return SL_REASON_NAT_NO_ROUTE;
	route.family = AF_INET_V4;
	route.l4_protocol = packet->protocol;
	route.tot_len = packet->ip_len;
	route.tos = packet->tos & 0xfc; /* ECN bits choose no route */
	route.ifindex = ctx->ingress_ifindex;
	route.ipv4_src = to->src_be;
	route.ipv4_dst = to->dst_be;
	route.sport = to->ports_be;
	route.dport = to->ports_be >> 16;
	switch (bpf_fib_lookup(ctx, &route, sizeof(route), 0)) {
	case BPF_FIB_LKUP_RET_SUCCESS:
		hop->ifindex = route.ifindex;
		__builtin_memcpy(&hop->to, route.dmac, sizeof(hop->to));
		__builtin_memcpy(&hop->from, route.smac, sizeof(hop->from));
		return 0;
	case BPF_FIB_LKUP_RET_NO_NEIGH:
		next_hop_ask(&route);
		return SL_REASON_NAT_NO_NEIGH;
	case BPF_FIB_LKUP_RET_FRAG_NEEDED:
		hop->mtu = route.mtu_result;
		return SL_REASON_SERVICE_TOO_BIG;
	case BPF_FIB_LKUP_RET_FWD_DISABLED:
		return SL_REASON_NAT_NO_FORWARDING;
	default:
		return SL_REASON_NAT_NO_ROUTE;
	}
}

/* 0, or the row of a packet that has no next hop; SERVICE_TOO_BIG: hop->mtu says how much fits. */
static __always_inline __u32 nat_hop_find(struct xdp_md *ctx, const struct packet *packet,
					  const struct nat_view *view, const struct nat_tuple *to,
					  struct next_hop *hop)
{
	return view->ip->ttl <= 1 ? SL_REASON_NAT_TTL : nat_hop_ask(ctx, packet, to, hop);
}

/* The next hop of a backend, which its record may know. */
static __always_inline __u32 nat_hop_get(struct xdp_md *ctx, const struct packet *packet,
					 const struct sl_backend *backend,
					 const struct nat_view *view, const struct nat_tuple *to,
					 struct next_hop *hop)
{
	if (!next_hop_of(backend, hop))
		return nat_hop_find(ctx, packet, view, to, hop);
	if (view->ip->ttl <= 1)
		return SL_REASON_NAT_TTL;
	return packet->ip_len > hop->mtu ? SL_REASON_SERVICE_TOO_BIG : 0;
}

static __always_inline int nat_hop_send(struct xdp_md *ctx, const struct nat_view *view,
					const struct next_hop *hop, __u32 reason)
{
	__builtin_memcpy(view->eth->dst, &hop->to, sizeof(view->eth->dst));
	__builtin_memcpy(view->eth->src, &hop->from, sizeof(view->eth->src));
	return next_hop_send(ctx, hop, reason);
}

#endif

/*
 * nat_icmp: ICMP errors about translated packets (RFC 5508), both directions.
 *
 *   to a source address: the quoted packet is one that we sent to a backend; its source port
 *      names the entry, its destination must be that backend. It goes to the client as an error
 *      of the service's address: names of backends do not reach clients.
 *   to a service: the quoted packet is one that we sent to a client; its tuple, turned round, is
 *      the flow's. It goes to the backend as an error of the source address, so that it passes
 *      filters that know no other way to us.
 *
 * The quoted packet is translated back with its checksums, where it is long enough to have them.
 * An error neither keeps an entry alive nor changes its state.
 */
#ifndef SLUICE_BPF_LIB_NAT_ICMP_H
#define SLUICE_BPF_LIB_NAT_ICMP_H

#include "lib/nat.h"

/* The quoted packet of an ICMP error. */
struct nat_quote {
	struct wire_icmp *icmp;
	struct wire_ip4 *ip;
	__u32 *ports;
	void *transport;
	__u32 transport_bytes; /* that are there, at least eight */
};

/* False: no error, or one that does not quote the ports of a TCP or UDP packet. */
static __always_inline bool nat_quote(const struct packet *packet, const struct nat_view *view,
				      struct nat_quote *ret_quote)
{
	__u32 ip_left = packet->ip_len, quoted_at, header_len;
	struct wire_icmp *icmp = view->transport;
	struct wire_ip4 *ip = (void *)(icmp + 1);

	quoted_at = packet->l4_at - packet->ip_at + sizeof(*icmp);
	if ((void *)(ip + 1) > view->end || packet->is_fragment || !icmp_is_error(packet))
		return false;
	header_len = (ip->version_ihl & 15) * 4;
	if (ip->version_ihl >> 4 != 4 || header_len < sizeof(*ip) ||
	    bpf_ntohs(ip->fragment_be) & 0x1fff || /* the ports are in the first one */
	    (ip->protocol != IPPROTO_TCP && ip->protocol != IPPROTO_UDP) ||
	    quoted_at + header_len + 8 > ip_left)
		return false;
	ret_quote->icmp = icmp;
	ret_quote->ip = ip;
	ret_quote->transport = (void *)ip + header_len;
	ret_quote->transport_bytes = ip_left - quoted_at - header_len;
	ret_quote->ports = ret_quote->transport;
	return ret_quote->transport + 8 <= view->end;
}

/* What the checksum of a quoted TCP or UDP header adds to the sum of the ICMP message. */
static __always_inline __u64 nat_quote_checksum(const struct nat_quote *quote, void *end,
						__u64 delta)
{
	struct wire_udp *udp = quote->transport;
	struct wire_tcp *tcp = quote->transport;
	__u16 old;

	if (quote->ip->protocol == IPPROTO_UDP) {
		if ((void *)(udp + 1) > end)
			return 0;
		old = udp->checksum_be;
		udp->checksum_be = nat_udp_checksum(old, delta);
		return (__u16)~old + (__u64)udp->checksum_be;
	}
	if (quote->transport_bytes < sizeof(*tcp) || (void *)(tcp + 1) > end)
		return 0;
	old = tcp->checksum_be;
	tcp->checksum_be = nat_checksum(old, delta);
	return (__u16)~old + (__u64)tcp->checksum_be;
}

/* Sends the error from and to the addresses of `outer`, about a packet of tuple `inner`. */
static __always_inline int nat_icmp_send(struct xdp_md *ctx, const struct packet *packet,
					 struct nat_view *view, struct nat_quote *quote,
					 const struct nat_tuple *outer,
					 const struct nat_tuple *inner)
{
	struct next_hop hop = {};
	__u32 refusal = nat_hop_find(ctx, packet, view, outer, &hop);
	__u64 delta, icmp_delta;
	__u16 old;

	if (refusal == SL_REASON_SERVICE_TOO_BIG)
		return STAGE_DROP(SL_REASON_SERVICE_TOO_BIG_DROP);
	if (refusal)
		return STAGE_DROP(refusal);
	old = quote->ip->checksum_be;
	delta = nat_rewrite_ip(quote->ip, inner, false);
	icmp_delta = delta + (__u16)~old + quote->ip->checksum_be;
	delta += nat_delta(*quote->ports, inner->ports_be);
	icmp_delta += nat_delta(*quote->ports, inner->ports_be);
	*quote->ports = inner->ports_be;
	icmp_delta += nat_quote_checksum(quote, view->end, delta);
	quote->icmp->checksum_be = nat_checksum(quote->icmp->checksum_be, icmp_delta);
	(void)nat_rewrite_ip(view->ip, outer, true);
	return nat_hop_send(ctx, view, &hop, SL_REASON_NAT_ICMP);
}

/* An ICMP message for the source address of this index; 0 when it is the host's own. */
__noinline int nat_icmp_reverse(struct xdp_md *ctx, const struct packet *packet, __u32 address)
{
	struct nat_tuple client = {}, outer = {}, inner = {};
	struct nat_quote quote = {};
	struct sl_nat_conf *conf;
	__u32 zero = 0, refusal;
	struct nat_view view;
	__u64 key, value;
	__u16 port;

	if (!packet || !nat_view(ctx, packet, &view) || !nat_quote(packet, &view, &quote))
		return 0;
	conf = bpf_map_lookup_elem(&sl_nat_conf, &zero);
	if (!conf || address >= SL_NAT_ADDRESSES_MAX || quote.ip->src_be != packet->dst_be[0])
		return 0;
	port = bpf_ntohs(*quote.ports);
	if (!nat_owns_port(&conf->addresses[address], port))
		return 0;
	if (!nat_read(address << 16 | port, &key, &value))
		return STAGE_DROP(SL_REASON_NAT_FLOW);
	refusal = nat_verify(key, value, quote.ip->protocol, quote.ip->dst_be, *quote.ports >> 16,
			     &client);
	if (refusal)
		return STAGE_DROP(refusal);
	outer.src_be = client.src_be;
	outer.dst_be = client.dst_be;
	inner.src_be = client.dst_be;
	inner.dst_be = client.src_be;
	inner.ports_be = client.ports_be >> 16 | client.ports_be << 16;
	return nat_icmp_send(ctx, packet, &view, &quote, &outer, &inner);
}

/* An ICMP error about a flow of a service of mode nat, whose hash the plan has. */
__noinline int nat_icmp_forward(struct xdp_md *ctx, const struct packet *packet,
				struct service_plan *plan)
{
	struct nat_tuple outer = {}, inner = {};
	struct nat_search search = {};
	struct nat_quote quote = {};
	struct sl_service *service;
	struct sl_backend *backend;
	__u32 zero = 0, seat, number;
	struct sl_nat_conf *conf;
	__u16 called, client_be;
	struct nat_view view;
	__u64 key, value;
	int place;

	if (!plan || !packet || !nat_view(ctx, packet, &view) || !nat_quote(packet, &view, &quote))
		return 0;
	number = plan->service;
	service = bpf_map_lookup_elem(&sl_services, &number);
	conf = bpf_map_lookup_elem(&sl_nat_conf, &zero);
	if (!conf || !conf->is_on || !service)
		return 0;
	called = bpf_ntohs(*quote.ports);
	client_be = *quote.ports >> 16;
	place = nat_place(packet->dst_be[0], called, quote.ip->protocol);
	if (place < 0)
		return 0;
	nat_search_init(&search, nat_hash(service, plan->hash, bpf_ntohs(client_be)),
			nat_key(quote.ip->dst_be, client_be, place), called, quote.ip->protocol);
	seat = nat_seek(conf, &search);
	if (!seat || !nat_read(seat, &key, &value))
		return STAGE_DROP(SL_REASON_NAT_FLOW);
	backend = nat_backend_of(value, service);
	if (!backend)
		return STAGE_DROP(SL_REASON_NAT_FLOW);
	plan->backend = SL_NAT_VALUE_BACKEND(value);
	outer.src_be = nat_source(conf, seat);
	outer.dst_be = backend->addr_be[0];
	inner.src_be = backend->addr_be[0];
	inner.dst_be = outer.src_be;
	inner.ports_be = nat_ports(nat_backend_port(backend, called), bpf_htons(seat));
	return nat_icmp_send(ctx, packet, &view, &quote, &outer, &inner);
}

/* The stage of what comes to a source address, behind that of services. 0: not mine. */
static __always_inline int nat_stage(struct xdp_md *ctx, const struct packet *packet)
{
	struct sl_nat_conf *conf;
	__u32 zero = 0;
	int address;

	if (packet->family != SL_FAMILY_V4)
		return 0;
	conf = bpf_map_lookup_elem(&sl_nat_conf, &zero);
	if (!conf || !conf->is_on)
		return 0;
	address = nat_address(conf, packet->dst_be[0]);
	if (address < 0)
		return 0;
	if (packet->protocol == IPPROTO_ICMP)
		return nat_icmp_reverse(ctx, packet, address);
	if (packet->protocol == IPPROTO_TCP || packet->protocol == IPPROTO_UDP)
		return nat_reverse(ctx, packet, address);
	return 0;
}

#endif

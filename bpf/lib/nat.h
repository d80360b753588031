/*
 * nat: forward mode `nat` of an L4 service, both directions, IPv4.
 *
 *   client:cport ► service:vport   ==forward==►   source:sport ► backend:bport
 *   client:cport ◄ service:vport   ◄==reverse==   source:sport ◄ backend:bport
 *
 * A flow keeps its backend for as long as it has its entry (bpf/lib/nat_table.h), so the rules of
 * slots in change are not needed: only a flow without an entry takes the backend of its slot.
 *
 * What comes to a source address is let through only when the entry of its port names exactly
 * this backend, port and protocol. Ports beyond the range of the address are the host's.
 */
#ifndef SLUICE_BPF_LIB_NAT_H
#define SLUICE_BPF_LIB_NAT_H

#include "lib/nat_hop.h"
#include "lib/nat_table.h"
#include "lib/service_icmp.h"
#include "lib/service_key.h"

static __always_inline int nat_translate(struct xdp_md *ctx, const struct packet *packet,
					 const struct nat_view *view, const struct nat_tuple *to,
					 const struct next_hop *hop, __u32 reason)
{
	bool is_done;

	if (packet->protocol == IPPROTO_TCP)
		is_done = nat_rewrite_tcp(view->ip, view->transport, view->end, to);
	else
		is_done = nat_rewrite_udp(view->ip, view->transport, view->end, to);
	if (!is_done)
		return STAGE_DROP(SL_REASON_IP4_SHORT);
	return nat_hop_send(ctx, view, hop, reason);
}

static __always_inline __u64 nat_slot(const struct sl_nat_slot *slots, __u64 hash)
{
	return *(const volatile __u64 *)&slots[hash >> 10 & (SL_NAT_SLOTS - 1)];
}

/* Where the entry of a flow is: as its slot says now, else as it said before. */
static __always_inline __u32 nat_seek(const struct sl_nat_conf *conf,
				      const struct nat_search *search)
{
	__u32 seat = nat_find_at(search, nat_slot(conf->current, search->hash));

	return seat ? seat : nat_find(search, nat_slot(conf->previous, search->hash));
}

static __always_inline __u32 nat_source(const struct sl_nat_conf *conf, __u32 seat)
{
	return conf->addresses[seat >> 16 & (SL_NAT_ADDRESSES_MAX - 1)].addr_be;
}

/* A SYN for what is over, or a datagram of a flow that has been idle too long. */
static __always_inline bool nat_begins_anew(const struct sl_nat_conf *conf,
					    const struct packet *packet, __u64 value, __u32 now)
{
	if (packet->protocol == IPPROTO_UDP)
		return nat_is_idle(conf->limits, value, now);
	if ((packet->tcp_flags & (TCP_FLAG_BYTE_SYN | TCP_FLAG_BYTE_ACK)) != TCP_FLAG_BYTE_SYN)
		return false;
	/* A client's RST may be forged; then a forged SYN must not move the flow either. */
	return SL_NAT_VALUE_STATE(value) == SL_NAT_CLOSED ||
	       SL_NAT_VALUE_FLAGS(value) & SL_NAT_RST_BACKEND ||
	       nat_is_idle(conf->limits, value, now);
}

static __always_inline __u64 nat_first_value(const struct packet *packet, __u32 backend, __u32 now)
{
	return SL_NAT_VALUE(backend, packet->dst_port, now,
			    packet->protocol == IPPROTO_TCP ? SL_NAT_SYN : SL_NAT_UDP_NEW, 0);
}

static __always_inline __u16 nat_backend_port(const struct sl_backend *backend, __u16 called)
{
	return bpf_htons(backend->port ? backend->port : called);
}

/* A record that packets may be sent to; NULL when it is withdrawn, down or drained. */
static __always_inline struct sl_backend *nat_backend(__u32 number)
{
	struct sl_backend *backend = bpf_map_lookup_elem(&sl_backends, &number);

	if (!backend || backend->family != SL_FAMILY_V4 ||
	    (backend->flags & (SL_BACKEND_LIVE | SL_BACKEND_DEAD)) != SL_BACKEND_LIVE)
		return NULL;
	return backend;
}

/* The backend of an entry. A place may have been another service's: it must be of this pool. */
static __always_inline struct sl_backend *nat_backend_of(__u64 value,
							 const struct sl_service *service)
{
	__u32 number = SL_NAT_VALUE_BACKEND(value);

	return number - service->backend_base < service->backend_count ? nat_backend(number) : NULL;
}

/* The hash of the plan, which leaves the ports out where clients keep their backend. */
static __always_inline __u64 nat_hash(const struct sl_service *service, __u64 hash,
				      __u32 client_port)
{
	if (service->affinity != SL_AFFINITY_SOURCE)
		return hash;
	hash = (hash ^ client_port) * 0xd6e8feb86659fd93ULL;
	return hash ^ hash >> 32;
}

/* A flow that has an entry. 0, or the row that refuses the packet; the plan gets the backend. */
static __always_inline __u32 nat_continue(const struct sl_nat_conf *conf,
					  const struct packet *packet,
					  const struct sl_service *service,
					  struct service_plan *plan,
					  const struct nat_search *search, __u32 seat)
{
	bool is_tcp = packet->protocol == IPPROTO_TCP;
	struct sl_nat_entry *entry;
	__u64 key, seen, value;
	__u32 now = nat_now();

	entry = nat_read(seat, &key, &seen);
	if (!entry || key != search->key || (seen & NAT_PORT_MASK) != search->port)
		return SL_REASON_NAT_FLOW;
	if (!nat_backend_of(seen, service) || nat_begins_anew(conf, packet, seen, now)) {
		if (is_tcp && !(packet->tcp_flags & TCP_FLAG_BYTE_SYN))
			return SL_REASON_NAT_FLOW;
		if (!nat_backend(plan->backend))
			return SL_REASON_SERVICE_NO_BACKEND;
		value = nat_first_value(packet, plan->backend, now);
	} else {
		value = nat_after_client(seen, is_tcp, packet->tcp_flags, now);
		plan->backend = SL_NAT_VALUE_BACKEND(value);
	}
	return nat_update(entry, key, seen, value) ? 0 : SL_REASON_NAT_FLOW;
}

/* Claims a seat for a new flow; 0 and the row when it gets none. */
static __always_inline __u32 nat_begin(const struct sl_nat_conf *conf, const struct packet *packet,
				       const struct service_plan *plan,
				       const struct nat_search *search, __u32 *ret_refusal)
{
	__u64 slot = nat_slot(conf->current, search->hash);
	__u64 value = nat_first_value(packet, plan->backend, nat_now());
	__u32 seat;

	*ret_refusal = SL_REASON_NAT_FLOW;
	if (packet->protocol == IPPROTO_TCP &&
	    (packet->tcp_flags & (TCP_FLAG_BYTE_SYN | TCP_FLAG_BYTE_ACK | TCP_FLAG_BYTE_RST)) !=
		    TCP_FLAG_BYTE_SYN)
		return 0;
	*ret_refusal = SL_REASON_SERVICE_NO_BACKEND;
	if (!nat_backend(plan->backend))
		return 0;
	*ret_refusal = SL_REASON_NAT_FULL;
	seat = nat_claim(search, slot, value, false);
	return seat ? seat : nat_claim(search, slot, value, true);
}

/*
 * The place of the called address in sl_svc_keys: of its port, else of the address, whose ranges
 * have it. -1: the service is going.
 */
static __always_inline int nat_place_at(__u32 addr_be, __u16 port, __u8 protocol)
{
	__u32 key_be[4] = {addr_be}, place = 0;

	if (!service_key_find_at(SL_FAMILY_V4, key_be, port, protocol, &place))
		return -1;
	return place & 0xffff;
}

__noinline int nat_place(__u32 addr_be, __u32 port, __u32 protocol)
{
	int place = nat_place_at(addr_be, port, protocol);

	return place >= 0 ? place : nat_place_at(addr_be, 0, 0);
}

/*
 * A packet of a client for a service of mode nat: `backend` of the plan is the one that its slot
 * has for new flows, and becomes the one that it went to. Returns a STAGE_*(); so does the rest.
 */
__noinline int nat_forward(struct xdp_md *ctx, const struct packet *packet,
			   struct service_plan *plan)
{
	__u32 zero = 0, seat, number, refusal = 0;
	struct nat_search search = {};
	struct sl_service *service;
	struct sl_backend *backend;
	struct sl_nat_conf *conf;
	struct next_hop hop = {};
	struct nat_view view;
	struct nat_tuple to;
	int place;

	if (!packet || !plan)
		return STAGE_DROP(SL_REASON_NAT_FLOW);
	if (packet->family != SL_FAMILY_V4)
		return STAGE_DROP(SL_REASON_SERVICE_FAMILY);
	if (packet->is_fragment)
		return STAGE_DROP(SL_REASON_NAT_FRAGMENT);
	if (!packet->dst_port)
		return STAGE_DROP(SL_REASON_NAT_FLOW);
	number = plan->service;
	service = bpf_map_lookup_elem(&sl_services, &number);
	conf = bpf_map_lookup_elem(&sl_nat_conf, &zero);
	if (!conf || !conf->is_on || !service)
		return STAGE_DROP(SL_REASON_NAT_FULL);
	place = plan->key_place & 0xffff;
	if (plan->key_place == SERVICE_NO_PLACE)
		place = nat_place(packet->dst_be[0], packet->dst_port, packet->protocol);
	if (place < 0)
		return STAGE_DROP(SL_REASON_NAT_FLOW);
	nat_search_init(&search, nat_hash(service, plan->hash, packet->src_port),
			nat_key(packet->src_be[0], bpf_htons(packet->src_port), place),
			packet->dst_port, packet->protocol);
	seat = nat_seek(conf, &search);
	if (seat)
		refusal = nat_continue(conf, packet, service, plan, &search, seat);
	else
		seat = nat_begin(conf, packet, plan, &search, &refusal);
	if (!seat || (refusal && refusal != SL_REASON_NAT_FULL))
		return STAGE_DROP(refusal);
	backend = nat_backend(plan->backend);
	if (!backend)
		return STAGE_DROP(SL_REASON_SERVICE_NO_BACKEND);
	to.src_be = nat_source(conf, seat);
	to.dst_be = backend->addr_be[0];
	to.ports_be = nat_ports(bpf_htons(seat), nat_backend_port(backend, packet->dst_port));
	if (!nat_view(ctx, packet, &view))
		return STAGE_DROP(SL_REASON_IP4_SHORT);
	refusal = nat_hop_get(ctx, packet, backend, &view, &to, &hop);
	plan->mtu = hop.mtu;
	if (refusal)
		return STAGE_DROP(refusal);
	return nat_translate(ctx, packet, &view, &to, &hop, SL_REASON_NAT_FORWARD);
}

/*
 * Is the peer of a source port the backend of its entry? Then 0 and the tuple that the client
 * wants to see, else the row. That a backend is down does not matter: it is what was called.
 */
static __always_inline __u32 nat_verify(__u64 key, __u64 value, __u8 protocol, __u32 peer_be,
					__u16 peer_port_be, struct nat_tuple *ret_tuple)
{
	__u32 place = key >> 48, number = SL_NAT_VALUE_BACKEND(value);
	struct sl_service_key *service = bpf_map_lookup_elem(&sl_svc_keys, &place);
	struct sl_backend *backend = bpf_map_lookup_elem(&sl_backends, &number);
	__u16 called = SL_NAT_VALUE_PORT(value);

	if (!service || service->family != SL_FAMILY_V4 || service->value == SL_SERVICE_KEY_EMPTY ||
	    service->value == SL_SERVICE_KEY_REMOVED)
		return SL_REASON_NAT_FLOW;
	if (!backend || backend->family != SL_FAMILY_V4 || !(backend->flags & SL_BACKEND_LIVE))
		return SL_REASON_NAT_FLOW;
	if (protocol != nat_protocol(value) ||
	    (service->protocol && service->protocol != protocol) ||
	    (service->port && service->port != called) || backend->addr_be[0] != peer_be ||
	    nat_backend_port(backend, called) != peer_port_be)
		return SL_REASON_NAT_REFUSED;
	ret_tuple->src_be = service->addr_be[0];
	ret_tuple->dst_be = key;
	ret_tuple->ports_be = nat_ports(bpf_htons(called), key >> 32);
	return 0;
}

static __always_inline bool nat_owns_port(const struct sl_nat_address *address, __u16 port)
{
	__u32 line = port / SL_NAT_WAYS;

	return line - address->line_first < address->line_count;
}

/* A packet for the source address of this index; 0 when it is the host's own. */
__noinline int nat_reverse(struct xdp_md *ctx, const struct packet *packet, __u32 address)
{
	struct sl_nat_entry *entry;
	struct sl_nat_conf *conf;
	struct nat_tuple to = {};
	struct next_hop hop = {};
	__u32 zero = 0, refusal;
	struct nat_view view;
	__u64 key, value;

	if (!packet || packet->is_later_fragment)
		return 0;
	conf = bpf_map_lookup_elem(&sl_nat_conf, &zero);
	if (!conf || address >= SL_NAT_ADDRESSES_MAX)
		return 0;
	if (!nat_owns_port(&conf->addresses[address], packet->dst_port))
		return 0;
	if (packet->is_fragment)
		return STAGE_DROP(SL_REASON_NAT_FRAGMENT);
	entry = nat_read(address << 16 | packet->dst_port, &key, &value);
	if (!entry)
		return STAGE_DROP(SL_REASON_NAT_FLOW);
	refusal = nat_verify(key, value, packet->protocol, packet->src_be[0],
			     bpf_htons(packet->src_port), &to);
	if (refusal)
		return STAGE_DROP(refusal);
	if (!nat_update(entry, key, value,
			nat_after_backend(value, packet->protocol == IPPROTO_TCP, packet->tcp_flags,
					  nat_now())))
		return STAGE_DROP(SL_REASON_NAT_FLOW);
	if (!nat_view(ctx, packet, &view))
		return STAGE_DROP(SL_REASON_IP4_SHORT);
	refusal = nat_hop_find(ctx, packet, &view, &to, &hop);
	if (refusal == SL_REASON_SERVICE_TOO_BIG)
		return too_big_answer(ctx, packet, hop.mtu);
	if (refusal)
		return STAGE_DROP(refusal);
	return nat_translate(ctx, packet, &view, &to, &hop, SL_REASON_NAT_REVERSE);
}

#endif

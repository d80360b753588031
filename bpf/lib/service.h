/*
 * service: the stage that takes packets to a service address to their backends.
 *
 *   TCP, UDP  ──► (address, port, protocol), else a range of the address ──► flow ──► forward
 *   fragments ──► where their first one went, which remembers it
 *   ICMP      ──► service_icmp.h: ping is answered, an error goes to the backend of the flow that
 *                 it is about
 *   others    ──► pass
 */
#ifndef SLUICE_BPF_LIB_SERVICE_H
#define SLUICE_BPF_LIB_SERVICE_H

#include "lib/encap.h"
#include "lib/flow.h"
#include "lib/maps.h"
#include "lib/nat_icmp.h"
#include "lib/parse.h"
#include "lib/service_icmp.h"
#include "lib/service_key.h"

const volatile bool feature_service = true;
const volatile bool feature_service_fragments = true;
const volatile bool feature_service_icmp = true;
const volatile bool feature_service_nat = true;

static __always_inline enum flow_role flow_role(const struct packet *packet)
{
	if (packet->protocol != IPPROTO_TCP)
		return FLOW_OTHER;
	if ((packet->tcp_flags & (TCP_FLAG_BYTE_SYN | TCP_FLAG_BYTE_ACK)) == TCP_FLAG_BYTE_SYN)
		return FLOW_SYN;
	return packet->tcp_flags & TCP_FLAG_BYTE_FIN ? FLOW_FIN : FLOW_OTHER;
}

static __always_inline void fragment_key(const struct packet *packet, struct sl_fragment_key *key)
{
	__builtin_memset(key, 0, sizeof(*key));
	__builtin_memcpy(key->src_be, packet->src_be, sizeof(key->src_be));
	__builtin_memcpy(key->dst_be, packet->dst_be, sizeof(key->dst_be));
	key->id_be = packet->fragment_id_be;
	key->protocol = packet->family == SL_FAMILY_V4 ? packet->protocol : 0;
	key->family = packet->family;
}

/* Global functions: fragments are rare, and the verifier walks these once. */
__noinline int fragment_remember(const struct packet *packet, __u32 service, __u32 backend)
{
	struct sl_fragment value = {.service = service, .backend = backend};
	struct sl_fragment_key key;

	if (!packet)
		return 0;
	fragment_key(packet, &key);
	return bpf_map_update_elem(&sl_fragments, &key, &value, BPF_ANY);
}

/* Where the first fragment went; false: it was not seen. */
__noinline int fragment_recall(const struct packet *packet, struct sl_fragment *ret_value)
{
	struct sl_fragment_key key;
	struct sl_fragment *value;

	if (!packet || !ret_value)
		return 0;
	fragment_key(packet, &key);
	value = bpf_map_lookup_elem(&sl_fragments, &key);
	if (!value)
		return 0;
	*ret_value = *value;
	return 1;
}

static __always_inline void service_count(__u32 service, __u32 backend, __u32 len_bytes)
{
	struct sl_counter *counter = bpf_map_lookup_elem(&sl_svc_counts, &service);

	if (counter) {
		counter->packets++;
		counter->bytes += len_bytes;
	}
	counter = bpf_map_lookup_elem(&sl_be_counts, &backend);
	if (counter) {
		counter->packets++;
		counter->bytes += len_bytes;
	}
}

/* A global function: what is dropped need not make the way of the others longer. */
__noinline int service_count_drop(__u32 service, __u32 reason)
{
	struct sl_service_drops *drops = bpf_map_lookup_elem(&sl_svc_drops, &service);
	__u32 row = SL_SERVICE_DROP(reason);

	if (!drops)
		return 0;
	if (row >= SL_SERVICE_DROPS)
		row = 0;
	drops->packets[row]++;
	return 0;
}

/* Sends the packet as the plan says; may_ask: see encap_forward(). */
static __always_inline int service_deliver(struct xdp_md *ctx, const struct packet *packet,
					   struct service_plan *plan, bool may_ask)
{
	struct sl_backend *backend;
	__u32 number = plan->backend;
	int done;

	backend = number ? bpf_map_lookup_elem(&sl_backends, &number) : NULL;
	if (!backend || !(backend->flags & SL_BACKEND_LIVE))
		return STAGE_DROP(SL_REASON_SERVICE_NO_BACKEND);
	switch (plan->forward) {
	case SL_FORWARD_IPIP:
		if (!feature_service_ipip)
			return STAGE_DROP(SL_REASON_SERVICE_MODE);
		done = encap_forward(ctx, packet, backend, plan, may_ask);
		break;
	default:
		return STAGE_DROP(SL_REASON_SERVICE_MODE);
	}
	if (done != SERVICE_PLANNED && STAGE_VERDICT(done) != XDP_DROP)
		service_count(plan->service, number, packet->len_bytes);
	return done;
}

/*
 * A global function, as is each that makes a plan: the verifier walks each once, and their stacks
 * do not add up.
 */
__noinline int service_send(struct xdp_md *ctx, const struct packet *packet,
			    struct service_plan *plan)
{
	return ctx && packet && plan ? service_deliver(ctx, packet, plan, true) : 0;
}

/*
 * The backend for a packet of a service, with its ports, or for an ICMP error about one. False:
 * the service is gone.
 */
static __always_inline bool service_plan_for(const struct packet *packet, __u32 number,
					     struct flow_tuple *tuple, enum flow_role role,
					     struct service_plan *plan)
{
	struct sl_service *service = bpf_map_lookup_elem(&sl_services, &number);

	if (!service || !(service->flags & SL_SERVICE_LIVE))
		return false;
	/* All connections of a client stay together, so a SYN opens nothing new. */
	if (service->affinity == SL_AFFINITY_SOURCE) {
		tuple->ports = 0;
		tuple->protocol = 0;
		if (role != FLOW_ABOUT)
			role = FLOW_OTHER;
	}
	plan->hash = flow_hash(packet->family, tuple);
	plan->service = number;
	plan->forward = service->forward;
	plan->role = role;
	plan->slot = flow_slot_read(service, plan->hash);
	plan->backend_base = service->backend_base;
	plan->backend_count = service->backend_count;
	return true;
}

/* Flows of mode nat remember their backend themselves, and what comes without one takes `current`.
 */
static __always_inline bool service_is_in_change(const struct service_plan *plan)
{
	return feature_service_flow && SL_SLOT_PHASE(plan->slot) != SL_PHASE_CLEAN &&
	       plan->forward != SL_FORWARD_NAT;
}

static __always_inline void service_take(struct service_plan *plan, __u32 index)
{
	plan->backend = index ? plan->backend_base + index : 0;
}

static __always_inline void service_look(const struct service_plan *plan, struct flow_look *look)
{
	struct sl_flow_clock clock = flow_clock();

	look->hash = plan->hash;
	look->slot = plan->slot;
	look->backend_base = plan->backend_base;
	look->backend_count = plan->backend_count;
	look->zero = plan->zero;
	look->now = flow_now(&clock, bpf_jiffies64());
	look->is_syn = plan->role == FLOW_SYN;
	look->is_fin = plan->role == FLOW_FIN;
	look->only_asks = plan->role == FLOW_ABOUT;
}

/*
 * The index in the pool for a packet whose slot is in change, or FLOW_UNLISTED. Global functions,
 * as above.
 */
__noinline int service_pick_listed(const struct service_plan *plan)
{
	struct flow_look look = {};

	if (!plan)
		return 0;
	service_look(plan, &look);
	return flow_look_up(&look);
}

/* The same for one that is not listed. */
__noinline int service_pick_unlisted(const struct service_plan *plan)
{
	struct flow_look look = {};

	if (!plan)
		return 0;
	service_look(plan, &look);
	return flow_enlist(&look);
}

/* Both. Called by the stage itself, so that stacks do not add up. */
static __always_inline __u32 service_pick_index(const struct service_plan *plan)
{
	int index = service_pick_listed(plan);

	return index == FLOW_UNLISTED ? service_pick_unlisted(plan) : index;
}

/* From the slot to the backend. */
static __always_inline void service_pick(struct service_plan *plan)
{
	service_take(plan, service_is_in_change(plan) ? service_pick_index(plan)
						      : SL_SLOT_CURRENT(plan->slot));
}

/*
 * The functions that make a plan return SERVICE_PLANNED when there is one, 0 for "not mine" or a
 * STAGE_*().
 *
 * What most packets need is all done here: a call costs as much as half of what is done in it.
 */
__noinline int service_plan_packet(struct xdp_md *ctx, const struct packet *packet,
				   struct service_plan *plan, int has_ranges)
{
	struct flow_tuple tuple;
	__u32 number;

	if (!ctx || !packet || !plan)
		return 0;
	number = service_find(packet->family, packet->dst_be, packet->dst_port, packet->protocol,
			      has_ranges, &plan->key_place);
	if (!number)
		return 0;
	__builtin_memcpy(tuple.src_be, packet->src_be, sizeof(tuple.src_be));
	__builtin_memcpy(tuple.dst_be, packet->dst_be, sizeof(tuple.dst_be));
	tuple.ports = (__u32)packet->src_port << 16 | packet->dst_port;
	tuple.protocol = packet->protocol;
	plan->reason = SL_REASON_SERVICE;
	if (!service_plan_for(packet, number - 1, &tuple, flow_role(packet), plan))
		return 0;
	if (plan->forward == SL_FORWARD_NAT || packet->is_fragment || service_is_in_change(plan))
		return SERVICE_PLANNED;
	service_take(plan, SL_SLOT_CURRENT(plan->slot));
	return service_deliver(ctx, packet, plan, false);
}

__noinline int service_plan_fragment(const struct packet *packet, struct service_plan *plan)
{
	struct sl_fragment went = {};
	struct sl_service *service;

	if (!packet || !plan || !service_address_find(packet->family, packet->dst_be))
		return 0;
	if (!fragment_recall(packet, &went))
		return STAGE_DROP(SL_REASON_SERVICE_FRAGMENT);
	service = bpf_map_lookup_elem(&sl_services, &went.service);
	if (!service || !(service->flags & SL_SERVICE_LIVE))
		return STAGE_DROP(SL_REASON_SERVICE_FRAGMENT);
	plan->hash = packet->fragment_id_be;
	plan->service = went.service;
	plan->backend = went.backend;
	plan->forward = service->forward;
	plan->reason = SL_REASON_SERVICE;
	return SERVICE_PLANNED;
}

__noinline int service_plan_icmp(struct xdp_md *ctx, const struct packet *packet,
				 struct service_plan *plan)
{
	struct flow_tuple tuple = {};
	bool has_ranges = true;
	__u32 number;

	if (!ctx || !packet || !plan || !service_address_find(packet->family, packet->dst_be))
		return 0;
	if (icmp_is_ping(packet))
		return ping_answer(ctx, packet);
	if (!icmp_is_error(packet) || icmp_read_inner(ctx, packet, &tuple))
		return 0;
	number = service_find(packet->family, tuple.dst_be, tuple.ports & 0xffff, tuple.protocol,
			      has_ranges, &plan->key_place);
	if (!number)
		return 0;
	plan->reason = SL_REASON_SERVICE_ICMP;
	if (!service_plan_for(packet, number - 1, &tuple, FLOW_ABOUT, plan))
		return 0;
	return SERVICE_PLANNED;
}

/* Mode nat. The stage calls it, so that stacks do not add up. */
static __always_inline int service_translate(struct xdp_md *ctx, const struct packet *packet,
					     struct service_plan *plan)
{
	int done;

	if (!feature_service_nat)
		return STAGE_DROP(SL_REASON_SERVICE_MODE);
	done = packet->protocol == IPPROTO_ICMP ? nat_icmp_forward(ctx, packet, plan)
						: nat_forward(ctx, packet, plan);
	if (done && STAGE_VERDICT(done) != XDP_DROP)
		service_count(plan->service, plan->backend, packet->len_bytes);
	return done;
}

/* From the slot to the index, without more calls than it takes. */
static __always_inline __u32 service_quick_pick(const struct packet *packet,
						const struct sl_service *service, __u32 number,
						__u64 hash, struct service_plan *plan)
{
	__u32 slot = flow_slot_read(service, hash);

	plan->reason = 0;
	if (!feature_service_flow || SL_SLOT_PHASE(slot) == SL_PHASE_CLEAN)
		return SL_SLOT_CURRENT(slot);
	__builtin_memset(plan, 0, sizeof(*plan));
	plan->hash = hash;
	plan->service = number;
	plan->slot = slot;
	plan->backend_base = service->backend_base;
	plan->backend_count = service->backend_count;
	plan->role = flow_role(packet);
	plan->forward = SL_FORWARD_IPIP;
	plan->reason = SL_REASON_SERVICE;
	return service_pick_index(plan);
}

static __always_inline bool service_is_quick(const struct packet *packet)
{
	return packet->family == SL_FAMILY_V4 && !packet->is_fragment && packet->dst_port &&
	       packet->ip_at == sizeof(struct wire_eth) &&
	       (packet->protocol == IPPROTO_TCP || packet->protocol == IPPROTO_UDP);
}

/*
 * Most packets of most services: IPv4, whole, without tags, to a backend of IPv4 whose next hop is
 * known. All is done here, for a call costs as much as a tenth of it. 0: others must look;
 * SERVICE_PLANNED: the backend is chosen, its flow was looked up, but it needs more than is done
 * here.
 */
static __always_inline int service_quick(struct xdp_md *ctx, const struct packet *packet,
					 struct service_plan *plan)
{
	struct flow_tuple tuple = {
		.src_be = {packet->src_be[0]},
		.dst_be = {packet->dst_be[0]},
		.ports = (__u32)packet->src_port << 16 | packet->dst_port,
		.protocol = packet->protocol,
	};
	struct next_hop hop;
	struct sl_service *service;
	struct sl_service_key *key;
	struct sl_backend *backend;
	__u32 number, index;
	__be32 src_be;
	__u64 hash;

	key = service_key_find(SL_FAMILY_V4, tuple.dst_be, packet->dst_port, packet->protocol);
	if (!key)
		return 0;
	number = key->value - 1;
	service = bpf_map_lookup_elem(&sl_services, &number);
	if (!service || !(service->flags & SL_SERVICE_LIVE) ||
	    service->forward != SL_FORWARD_IPIP || service->affinity != SL_AFFINITY_FIVE_TUPLE)
		return 0;
	hash = flow_hash(SL_FAMILY_V4, &tuple);
	index = service_quick_pick(packet, service, number, hash, plan);
	index += index ? service->backend_base : 0;
	plan->backend = index;
	backend = bpf_map_lookup_elem(&sl_backends, &index);
	if (!backend || !(backend->flags & SL_BACKEND_LIVE) || backend->family != SL_FAMILY_V4 ||
	    !next_hop_of(backend, &hop) || packet->ip_len + sizeof(struct wire_ip4) > hop.mtu)
		return plan->reason ? SERVICE_PLANNED : 0;
	src_be = flow_conf.outer4_be ^ bpf_htonl(hash & 0xffff);
	if (encap_push4(ctx, packet, &hop, src_be, backend->addr_be[0]))
		return plan->reason ? SERVICE_PLANNED : 0;
	service_count(number, index, packet->len_bytes);
	return next_hop_send(ctx, &hop, SL_REASON_SERVICE);
}

static __always_inline int service_stage(struct xdp_md *ctx, const struct packet *packet)
{
	struct sl_service_state *state;
	struct service_plan plan;
	__u32 zero = 0;
	int done = 0;

	state = bpf_map_lookup_elem(&sl_svc_state, &zero);
	if (!state || !state->key_count)
		return 0;
	if (feature_service_ipip && service_is_quick(packet)) {
		done = service_quick(ctx, packet, &plan);
		if (done && done != SERVICE_PLANNED)
			return done;
	}
	if (!done)
		__builtin_memset(&plan, 0, sizeof(plan));
	if (done) {
		/* The quick way has made the plan. */
	} else if (packet->is_later_fragment) {
		if (feature_service_fragments)
			done = service_plan_fragment(packet, &plan);
	} else if (packet->protocol == IPPROTO_TCP || packet->protocol == IPPROTO_UDP) {
		done = service_plan_packet(ctx, packet, &plan, state->range_count);
		if (done == SERVICE_PLANNED) {
			service_pick(&plan);
			if (feature_service_fragments && packet->is_fragment)
				fragment_remember(packet, plan.service, plan.backend);
		}
	} else if (feature_service_icmp && !packet->is_fragment &&
		   (packet->protocol == IPPROTO_ICMP || packet->protocol == PROTO_ICMP6)) {
		done = service_plan_icmp(ctx, packet, &plan);
		if (done == SERVICE_PLANNED)
			service_pick(&plan);
	}
	if (done == SERVICE_PLANNED) {
		if (plan.forward == SL_FORWARD_NAT)
			done = service_translate(ctx, packet, &plan);
		else
			done = service_send(ctx, packet, &plan);
	}
	if (STAGE_REASON(done) == SL_REASON_SERVICE_TOO_BIG)
		done = too_big_answer(ctx, packet, plan.mtu);
	if (plan.reason && done && STAGE_VERDICT(done) == XDP_DROP)
		service_count_drop(plan.service, STAGE_REASON(done));
	return done;
}

#endif

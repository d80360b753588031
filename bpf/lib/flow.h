/*
 * flow: the slot of a flow, and the table of exceptions while the slot is in change.
 *
 * All decisions are in abi/flow_rules.h; here are the maps, the clock and the rodata they need.
 */
#ifndef SLUICE_BPF_LIB_FLOW_H
#define SLUICE_BPF_LIB_FLOW_H

#include "lib/maps.h"

#include "abi/flow_rules.h"

/* A copy of the element of sl_flow_conf, made by the loader: constants cost less than a map. */
const volatile struct sl_flow_conf flow_conf = {.line_count = 1, .key_count = 1};

/* Off: a packet always goes to `current`, as if no slot were ever in change. */
const volatile bool feature_service_flow = true;

static __always_inline __u64 flow_hash(__u8 family, const struct flow_tuple *tuple)
{
	__u64 keys[SL_HASH_KEYS] = {
		flow_conf.hash_keys[0], flow_conf.hash_keys[1], flow_conf.hash_keys[2],
		flow_conf.hash_keys[3], flow_conf.hash_keys[4], flow_conf.hash_keys[5],
	};

	return family == SL_FAMILY_V4 ? flow_hash4(keys, tuple) : flow_hash6(keys, tuple);
}

static __always_inline struct sl_flow_clock flow_clock(void)
{
	return (struct sl_flow_clock){
		.fine_shift = flow_conf.clock.fine_shift,
		.coarse_shift = flow_conf.clock.coarse_shift,
		.probation_fine = flow_conf.clock.probation_fine,
		.idle_coarse = flow_conf.clock.idle_coarse,
		.closing_coarse = flow_conf.clock.closing_coarse,
	};
}

static __always_inline int flow_backend_is_dead(__u32 number)
{
	struct sl_backend *backend = bpf_map_lookup_elem(&sl_backends, &number);

	return !backend ||
	       (backend->flags & (SL_BACKEND_LIVE | SL_BACKEND_DEAD)) != SL_BACKEND_LIVE;
}

static __always_inline struct sl_flow_line *flow_line(__u64 hash, bool is_second)
{
	__u32 at = is_second ? flow_line2(hash, flow_conf.line_count)
			     : flow_line1(hash, flow_conf.line_count);

	return bpf_map_lookup_elem(&sl_flows, &at);
}

/* The index in the pool, or FLOW_UNLISTED. */
static __always_inline int flow_look_up(struct flow_look *look)
{
	struct sl_flow_counts *counts;
	struct sl_flow_line *line1, *line2;
	__u32 zero = 0;

	line1 = flow_line(look->hash, false);
	line2 = flow_line(look->hash, true);
	counts = bpf_map_lookup_elem(&sl_flow_counts, &zero);
	if (!line1 || !line2 || !counts)
		return SL_SLOT_CURRENT(look->slot);
	/* Both are on their way from memory then, before the search of the first is over. */
	(void)*(volatile __u64 *)&line2->entries[0];
	return flow_pick_listed(look, line1, line2, flow_backend_is_dead, counts);
}

static __always_inline int flow_enlist(struct flow_look *look)
{
	struct sl_flow_clock clock = flow_clock();
	struct sl_flow_counts *counts;
	struct sl_flow_line *line1, *line2;
	__u32 zero = 0;

	line1 = flow_line(look->hash, false);
	line2 = flow_line(look->hash, true);
	counts = bpf_map_lookup_elem(&sl_flow_counts, &zero);
	if (!line1 || !line2 || !counts)
		return SL_SLOT_CURRENT(look->slot);
	return flow_pick_unlisted(look, &clock, line1, line2, flow_backend_is_dead, counts);
}

/* What a packet is to its flow. */
enum flow_role { FLOW_OTHER, FLOW_SYN, FLOW_FIN, FLOW_ABOUT /* an ICMP error that names it */ };

/* The slot of a flow as it is now; 0, which names no backend, when there is none. */
static __always_inline __u32 flow_slot_read(const struct sl_service *service, __u64 hash)
{
	__u32 at = service->slot_base + flow_slot(hash, service->slot_count);
	__u32 line_at = at >> SL_SLOT_LINE_BITS;
	struct sl_slot_line *line = bpf_map_lookup_elem(&sl_slots, &line_at);

	return line ? *(volatile __u32 *)&line->slots[at & (SL_SLOT_LINE - 1)] : 0;
}

#endif

/*
 * steer: what sl_steer and sl_main both ask: is this tuple ours, and is a listener alive?
 *
 * "Dead" is noticed by the first connection that finds no listener: from then on connections are
 * dropped for dead_drop_ns and left to the stack after that. sl_steer alone cannot drop in
 * silence: when it says SK_DROP the stack answers with a reset. So sl_main looks at each SYN, too,
 * and drops it before the stack sees it; sl_steer decides for paths without XDP.
 */
#ifndef SLUICE_BPF_LIB_STEER_H
#define SLUICE_BPF_LIB_STEER_H

#include "lib/maps.h"

static __always_inline bool steer_in_ranges(const struct sl_port_ranges *ranges, __u16 port)
{
	if (!ranges)
		return false;
	for (__u32 i = 0; i < SL_STEER_RANGES_MAX && i < ranges->count; i++)
		if (port >= ranges->ranges[i].first && port <= ranges->ranges[i].last)
			return true;
	return false;
}

static __always_inline bool steer_is_ours(bool is_v6, const __u32 *addr_be, __u16 port)
{
	struct sl_tuple_key exact = {
		.port = port,
		.family = is_v6 ? SL_FAMILY_V6 : SL_FAMILY_V4,
	};

	/* All 16 bytes in either family: the callers zero what IPv4 leaves. */
	__builtin_memcpy(exact.addr_be, addr_be, sizeof(exact.addr_be));
	if (bpf_map_lookup_elem(&sl_tuple_exact, &exact))
		return true;
	if (is_v6) {
		struct sl_lpm6_key key = {.prefix_bits = 128};

		__builtin_memcpy(key.addr_be, addr_be, sizeof(key.addr_be));
		return steer_in_ranges(bpf_map_lookup_elem(&sl_tuple_lpm6, &key), port);
	} else {
		struct sl_lpm4_key key = {.prefix_bits = 32};

		__builtin_memcpy(key.addr_be, addr_be, sizeof(key.addr_be));
		return steer_in_ranges(bpf_map_lookup_elem(&sl_tuple_lpm4, &key), port);
	}
}

/* The worker to ask at the n-th try, the one of the slot first. */
static __always_inline __u32 steer_worker(const struct sl_steer_conf *conf, __u32 first, __u32 nth)
{
	return (first + nth) % conf->workers & (SL_STEER_WORKERS - 1);
}

/* A listener was found: whoever comes next after its death begins a new count. */
static __always_inline void steer_note_alive(bool is_v6)
{
	__u32 zero = 0;
	struct sl_steer_state *state = bpf_map_lookup_elem(&sl_steer_state, &zero);

	if (state && state->dead_since_boot_ns[is_v6])
		state->dead_since_boot_ns[is_v6] = 0;
}

/* No listener was found: drop (true) or leave it to the stack (false)? */
static __always_inline bool steer_dead_drops(const struct sl_steer_conf *conf, bool is_v6)
{
	__u32 zero = 0;
	struct sl_steer_state *state = bpf_map_lookup_elem(&sl_steer_state, &zero);
	__u64 now_ns, since_ns;

	if (!state)
		return false;
	now_ns = bpf_ktime_get_boot_ns();
	since_ns = state->dead_since_boot_ns[is_v6];
	if (!since_ns) {
		state->dead_since_boot_ns[is_v6] = now_ns;
		return conf->dead_drop_ns > 0;
	}
	/* Another CPU may have noticed after our clock was read. */
	return now_ns < since_ns || now_ns - since_ns < conf->dead_drop_ns;
}

#endif

/*
 * bench_lpm: the reference access list: one longest-prefix trie per family, counters per CPU.
 */
#include "tests/bench/bpf/bench_wire.h"

#include "tests/bench/xdp/bench_abi.h"

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, BENCH_LPM_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct bench_lpm4_key);
	__type(value, __u32);
} bench_deny4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, BENCH_LPM_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct bench_lpm6_key);
	__type(value, __u32);
} bench_deny6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct bench_counter);
} bench_verdicts SEC(".maps");

SEC("xdp.frags")
int bench_lpm(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct bench_counter *counter;
	__u32 is_denied;

	if (data + sizeof(*eth) > end)
		return XDP_DROP;
	if (eth->h_proto == bpf_htons(TYPE_IP4)) {
		struct bench_lpm4_key key = {.prefix_bits = 32};
		struct iphdr *ip = (void *)(eth + 1);

		if ((void *)(ip + 1) > end)
			return XDP_DROP;
		__builtin_memcpy(key.addr_be, &ip->saddr, sizeof(key.addr_be));
		is_denied = bpf_map_lookup_elem(&bench_deny4, &key) != NULL;
	} else if (eth->h_proto == bpf_htons(TYPE_IP6)) {
		struct bench_lpm6_key key = {.prefix_bits = 128};
		struct ipv6hdr *ip = (void *)(eth + 1);

		if ((void *)(ip + 1) > end)
			return XDP_DROP;
		__builtin_memcpy(key.addr_be, &ip->saddr, sizeof(key.addr_be));
		is_denied = bpf_map_lookup_elem(&bench_deny6, &key) != NULL;
	} else {
		return XDP_PASS;
	}
	counter = bpf_map_lookup_elem(&bench_verdicts, &is_denied);
	if (counter) {
		counter->packets++;
		counter->bytes += bpf_xdp_get_buff_len(ctx);
	}
	return is_denied ? XDP_DROP : XDP_PASS;
}

char _license[] SEC("license") = "GPL";

/*
 * bench_lru: the reference balancer, made of what the kernel offers.
 *
 *   parse ──► service: kernel hash ──► flow: BPF LRU hash ──► miss or SYN: Maglev slot, remembered
 *         ──► backend ──► per-CPU counters of service and backend ──► 4in4 ──► XDP_TX
 *
 * Keys are packed, counters are arrays, the table of flows holds all flows of the bench, a SYN does
 * not look its flow up, and the next hop is a constant: it is as fast as the design allows. It does
 * less than ours: IPv4 without options or fragments, no lists, no ICMP.
 */
#include "tests/bench/bpf/bench_wire.h"

#include "tests/bench/xdp/bench_abi.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct bench_service_key);
	__type(value, __u32);
} bench_services SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, BENCH_LRU_FLOWS);
	__type(key, struct bench_flow_key);
	__type(value, __u32);
} bench_flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, BENCH_SLOTS);
	__type(key, __u32);
	__type(value, __u32);
} bench_slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, BENCH_BACKENDS);
	__type(key, __u32);
	__type(value, __u32);
} bench_backends SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct bench_counter);
} bench_service_counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, BENCH_BACKENDS);
	__type(key, __u32);
	__type(value, struct bench_counter);
} bench_backend_counters SEC(".maps");

static __always_inline void count(void *map, __u32 index, __u32 len_bytes)
{
	struct bench_counter *counter = bpf_map_lookup_elem(map, &index);

	if (counter) {
		counter->packets++;
		counter->bytes += len_bytes;
	}
}

/* Two rounds of multiply and shift: enough to spread, cheaper than jhash. */
static __always_inline __u32 slot_of(const struct bench_flow_key *key)
{
	__u64 addresses = (__u64)key->src_be << 32 | key->dst_be;
	__u64 rest = (__u64)key->src_port_be << 32 | (__u32)key->dst_port_be << 8 | key->protocol;
	__u64 hash = (addresses ^ 0x243f6a8885a308d3) * 0x9e3779b97f4a7c15;

	hash ^= hash >> 32;
	hash = (hash + rest) * 0xd6e8feb86659fd93;
	return (__u32)(((hash >> 32) * BENCH_SLOTS) >> 32);
}

SEC("xdp.frags")
int bench_lru(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct bench_service_key service_key = {};
	struct bench_flow_key flow_key = {};
	struct ethhdr *eth = data;
	struct iphdr *ip = data + sizeof(*eth);
	struct tcphdr *tcp = (void *)(ip + 1);
	__u32 *service, *backend = NULL, *addr, chosen, total_len;
	bool is_syn = false;

	if ((void *)(ip + 1) > end || eth->h_proto != bpf_htons(TYPE_IP4))
		return XDP_PASS;
	if (*(__u8 *)ip != 0x45 || ip->frag_off & bpf_htons(FRAGMENT_BITS))
		return XDP_PASS;
	if (ip->protocol == IPPROTO_TCP) {
		if ((void *)(tcp + 1) > end)
			return XDP_DROP;
		is_syn = tcp->syn;
	} else if (ip->protocol != IPPROTO_UDP || (void *)tcp + sizeof(struct udphdr) > end) {
		return XDP_PASS;
	}
	total_len = bpf_ntohs(ip->tot_len);
	/* Ports are at the same place in both. */
	service_key.addr_be = ip->daddr;
	service_key.port_be = tcp->dest;
	service_key.protocol = ip->protocol;
	service = bpf_map_lookup_elem(&bench_services, &service_key);
	if (!service)
		return XDP_PASS;

	flow_key.src_be = ip->saddr;
	flow_key.dst_be = ip->daddr;
	flow_key.src_port_be = tcp->source;
	flow_key.dst_port_be = tcp->dest;
	flow_key.protocol = ip->protocol;
	if (!is_syn)
		backend = bpf_map_lookup_elem(&bench_flows, &flow_key);
	if (backend) {
		chosen = *backend;
	} else {
		__u32 slot = slot_of(&flow_key);

		backend = bpf_map_lookup_elem(&bench_slots, &slot);
		if (!backend)
			return XDP_DROP;
		chosen = *backend;
		(void)bpf_map_update_elem(&bench_flows, &flow_key, &chosen, BPF_ANY);
	}
	addr = bpf_map_lookup_elem(&bench_backends, &chosen);
	if (!addr)
		return XDP_DROP;
	count(&bench_service_counters, *service, total_len);
	count(&bench_backend_counters, chosen, total_len);
	return encapsulate(ctx, *addr, total_len);
}

char _license[] SEC("license") = "GPL";

/*
 * bench_nat: the reference NAT, made of what the kernel offers: two LRU hashes, one per direction.
 *
 *   to a service:  service ──► flow: LRU hash ──► miss or SYN: Maglev slot, a random source port
 *                  that the other hash does not have yet ──► both hashes ──► rewrite ──► XDP_TX
 *   to a source address: LRU hash of the answers' tuples ──► rewrite ──► XDP_TX
 *
 * Keys are packed, both hashes hold all flows of the bench with room to spare, and next hops are
 * constants: it is as fast as the design allows. It does less than ours: no states of TCP, no
 * routes, no options, fragments or ICMP, no lists.
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
	__type(value, struct bench_flow4);
} bench_forward SEC(".maps");

/* From the backend's and the source's address and port to the addresses that the client knows. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, BENCH_LRU_FLOWS);
	__type(key, struct bench_flow_key);
	__type(value, struct bench_flow4);
} bench_reverse SEC(".maps");

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
	__uint(max_entries, BENCH_BACKENDS);
	__type(key, __u32);
	__type(value, struct bench_counter);
} bench_counters SEC(".maps");

#define SOURCE_TRIES 4

static __always_inline __u32 slot_of(const struct bench_flow_key *key)
{
	__u64 addresses = (__u64)key->src_be << 32 | key->dst_be;
	__u64 rest = (__u64)key->src_port_be << 32 | (__u32)key->dst_port_be << 8 | key->protocol;
	__u64 hash = (addresses ^ 0x243f6a8885a308d3) * 0x9e3779b97f4a7c15;

	hash ^= hash >> 32;
	hash = (hash + rest) * 0xd6e8feb86659fd93;
	return (__u32)(((hash >> 32) * BENCH_SLOTS) >> 32);
}

/* RFC 1624, over words in the order of the packet. */
static __always_inline __u16 update(__u16 checksum, __u64 words)
{
	__u64 sum = (__u16)~checksum + words;

	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

static __always_inline int rewrite(struct xdp_md *ctx, const struct bench_flow4 *to)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = data + sizeof(*eth);
	struct tcphdr *tcp = (void *)(ip + 1);
	__u64 addresses, ports;

	if ((void *)(tcp + 1) > end)
		return XDP_DROP;
	if (ip->ttl <= 1)
		return XDP_DROP;
	addresses = (__u64)(__u32)~ip->saddr + to->src_be + (__u32)~ip->daddr + to->dst_be;
	ports = (__u64)(__u16)~tcp->source + to->src_port_be + (__u16)~tcp->dest + to->dst_port_be;
	/* One hop less, in the upper byte of its word. */
	ip->check = update(ip->check, addresses + (__u16)~bpf_htons(0x0100));
	ip->ttl--;
	ip->saddr = to->src_be;
	ip->daddr = to->dst_be;
	tcp->check = update(tcp->check, addresses + ports);
	tcp->source = to->src_port_be;
	tcp->dest = to->dst_port_be;
	write_hop(eth);
	return XDP_TX;
}

/* Takes a source port that is free towards this backend, and makes both entries. */
static __always_inline bool begin_flow(const struct bench_flow_key *flow,
				       struct bench_flow4 *ret_to)
{
	struct bench_flow4 home = {.src_be = flow->dst_be,
				   .dst_be = flow->src_be,
				   .src_port_be = flow->dst_port_be,
				   .dst_port_be = flow->src_port_be};
	__u32 slot = slot_of(flow), *backend, *addr;

	backend = bpf_map_lookup_elem(&bench_slots, &slot);
	if (!backend)
		return false;
	addr = bpf_map_lookup_elem(&bench_backends, backend);
	if (!addr)
		return false;
	ret_to->dst_be = *addr;
	ret_to->dst_port_be = flow->dst_port_be;
	ret_to->pad = *backend;
	for (int tries = 0; tries < SOURCE_TRIES; tries++) {
		__u32 random = bpf_get_prandom_u32();
		struct bench_flow_key back = {.src_be = *addr,
					      .src_port_be = flow->dst_port_be,
					      .protocol = flow->protocol};

		ret_to->src_be = bpf_htonl(BENCH_SOURCE_FIRST + (random >> 16) % BENCH_SOURCES);
		ret_to->src_port_be = bpf_htons(1024 + (random & 0xffff) % (65536 - 1024));
		back.dst_be = ret_to->src_be;
		back.dst_port_be = ret_to->src_port_be;
		if (bpf_map_update_elem(&bench_reverse, &back, &home, BPF_NOEXIST))
			continue;
		return !bpf_map_update_elem(&bench_forward, flow, ret_to, BPF_ANY);
	}
	return false;
}

SEC("xdp.frags")
int bench_nat(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct bench_service_key service_key = {};
	struct bench_flow_key flow = {};
	struct ethhdr *eth = data;
	struct iphdr *ip = data + sizeof(*eth);
	struct tcphdr *tcp = (void *)(ip + 1);
	struct bench_flow4 *found, to = {};
	struct bench_counter *counter;
	__u32 chosen;

	if ((void *)(tcp + 1) > end || eth->h_proto != bpf_htons(TYPE_IP4))
		return XDP_PASS;
	if (*(__u8 *)ip != 0x45 || ip->frag_off & bpf_htons(FRAGMENT_BITS) ||
	    ip->protocol != IPPROTO_TCP)
		return XDP_PASS;
	flow.src_be = ip->saddr;
	flow.dst_be = ip->daddr;
	flow.src_port_be = tcp->source;
	flow.dst_port_be = tcp->dest;
	flow.protocol = ip->protocol;
	service_key.addr_be = ip->daddr;
	service_key.port_be = tcp->dest;
	service_key.protocol = ip->protocol;
	if (!bpf_map_lookup_elem(&bench_services, &service_key)) {
		found = bpf_map_lookup_elem(&bench_reverse, &flow);
		return found ? rewrite(ctx, found) : XDP_PASS;
	}
	found = bpf_map_lookup_elem(&bench_forward, &flow);
	if (found)
		to = *found;
	else if (!tcp->syn || !begin_flow(&flow, &to))
		return XDP_DROP;
	chosen = to.pad;
	counter = bpf_map_lookup_elem(&bench_counters, &chosen);
	if (counter) {
		counter->packets++;
		counter->bytes += bpf_ntohs(ip->tot_len);
	}
	return rewrite(ctx, &to);
}

char _license[] SEC("license") = "GPL";

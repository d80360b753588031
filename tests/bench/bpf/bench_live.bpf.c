/*
 * bench_live: both ends of a run with live frames (BPF_F_TEST_XDP_LIVE_FRAMES).
 *
 *   bench_gen writes the next flow's header into each frame and sends it from its device
 *   bench_sink counts what arrives and drops it
 *
 * The header is written whole: the kernel does not undo what the receiving side has done to a page
 * that comes round again. All checksums are right, since the stack drops packets with wrong ones.
 */
#include "vmlinux.h"
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "tests/bench/xdp/bench_abi.h"

struct bench_wrap bench_gen_state;

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct bench_counter);
} bench_sunk SEC(".maps");

/* What a frame begins with. */
struct headers {
	struct ethhdr eth;
	struct iphdr ip;
	struct tcphdr tcp;
} __attribute__((packed));

static __always_inline __u16 add_to(__u16 checksum, __u32 words)
{
	__u32 sum = (__u16)~checksum + words;

	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

SEC("xdp")
int bench_gen(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct headers *headers = data;
	__u32 flow, sum;
	__u64 *words = data;
	__be32 addr_be;
	__be16 port_be;

	if (data + BENCH_HEADER4 > end)
		return XDP_ABORTED;
#pragma unroll
	for (int i = 0; i < BENCH_HEADER4 / 8; i++)
		words[i] = bench_gen_state.header[i];
	flow = ((__u32)bench_gen_state.packets++ * bench_gen_state.step) & bench_gen_state.mask;
	addr_be = bpf_htonl(BENCH_FIRST_ADDR + (flow & 0xffffff));
	port_be = bpf_htons(1024 + (flow & 63));
	/* The header that is copied has address 0 and port 0, and checksums that fit that. */
	headers->ip.saddr = addr_be;
	headers->tcp.source = port_be;
	sum = (addr_be & 0xffff) + (addr_be >> 16);
	headers->ip.check = add_to(headers->ip.check, sum);
	headers->tcp.check = add_to(headers->tcp.check, sum + port_be);
	return XDP_TX;
}

SEC("xdp.frags")
int bench_sink(struct xdp_md *ctx)
{
	struct bench_counter *counter;
	__u32 zero = 0;

	counter = bpf_map_lookup_elem(&bench_sunk, &zero);
	if (counter) {
		counter->packets++;
		counter->bytes += ctx->data_end - ctx->data;
	}
	return XDP_DROP;
}

char _license[] SEC("license") = "GPL";

/*
 * bench_wrap: makes BPF_PROG_TEST_RUN with a repeat count see a fresh packet each time.
 *
 *   write the header of the next flow ──► tail call of the program ──► undo what it did
 *
 * The kernel gives the same buffer to each repetition. The header is written anew for each packet,
 * which also undoes rewritten addresses; what a program put in front is taken off again. What this
 * costs is the floor, which the bench measures with an empty program behind the same wrapper.
 *
 * The tail call is made by a function of its own, so that the program's verdict comes back here.
 */
#include "vmlinux.h"
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "tests/bench/xdp/bench_abi.h"

#define HEADER_BYTES_ETH 14

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} bench_program SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct bench_flow4);
} bench_flows4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct bench_flow6);
} bench_flows6 SEC(".maps");

struct bench_wrap bench_wrap;

struct addresses4 {
	__be32 src_be;
	__be32 dst_be;
	__be16 src_port_be;
	__be16 dst_port_be;
};

struct addresses6 {
	__be32 src_be[4];
	__be32 dst_be[4];
	__be16 src_port_be;
	__be16 dst_port_be;
};

__noinline int run_program(struct xdp_md *ctx)
{
	int verdict = XDP_ABORTED;

	bpf_tail_call_static(ctx, &bench_program, 0);
	asm volatile("" : "+r"(verdict)); /* not a constant to the caller */
	return verdict;
}

/* Bytes of the frame, as a number and not as pointers that the verifier would follow. */
static __always_inline __u64 length_of(struct xdp_md *ctx)
{
	__u64 begin = ctx->data, end = ctx->data_end;

	asm volatile("%0 -= %1" : "+r"(end) : "r"(begin));
	return end;
}

static __always_inline __u32 next_flow(void)
{
	return ((__u32)bench_wrap.packets++ * bench_wrap.step) & bench_wrap.mask;
}

/* 24 bits of the number go to the address, the upper 8 and some more of the lower to the port. */
static __always_inline __be16 computed_port(__u32 flow)
{
	return bpf_htons(1024 + ((flow >> 24) << 6) + (flow & 63));
}

static __always_inline __be32 computed_addr(__u32 flow)
{
	return bpf_htonl(BENCH_FIRST_ADDR + (flow & 0xffffff));
}

static __always_inline int finish(struct xdp_md *ctx, int verdict, __u64 len_bytes)
{
	bench_wrap.verdicts[verdict & 7]++;
	if ((verdict == XDP_TX || verdict == XDP_REDIRECT) && !bench_wrap.keeps) {
		__u64 now_bytes = length_of(ctx);

		if (now_bytes != len_bytes)
			(void)bpf_xdp_adjust_head(ctx, (int)(now_bytes - len_bytes));
	}
	return verdict;
}

SEC("xdp.frags")
int bench_wrap4(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u64 len_bytes = length_of(ctx);
	struct addresses4 *addresses = data + HEADER_BYTES_ETH + 12;
	__u64 *words = data;
	__u32 flow;

	if (data + BENCH_HEADER4 > end)
		return XDP_ABORTED;
#pragma unroll
	for (int i = 0; i < BENCH_HEADER4 / 8; i++)
		words[i] = bench_wrap.header[i];
	flow = next_flow();
	if (bench_wrap.from_table) {
		struct bench_flow4 *row = bpf_map_lookup_elem(&bench_flows4, &flow);

		if (!row)
			return XDP_ABORTED;
		addresses->src_be = row->src_be;
		addresses->dst_be = row->dst_be;
		addresses->src_port_be = row->src_port_be;
		addresses->dst_port_be = row->dst_port_be;
	} else {
		addresses->src_be = computed_addr(flow);
		addresses->src_port_be = computed_port(flow);
	}
	return finish(ctx, run_program(ctx), len_bytes);
}

SEC("xdp.frags")
int bench_wrap6(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u64 len_bytes = length_of(ctx);
	struct addresses6 *addresses = data + HEADER_BYTES_ETH + 8;
	__u64 *words = data;
	__u32 flow;

	if (data + BENCH_HEADER6 > end)
		return XDP_ABORTED;
#pragma unroll
	for (int i = 0; i < BENCH_HEADER6 / 8; i++)
		words[i] = bench_wrap.header[i];
	flow = next_flow();
	if (bench_wrap.from_table) {
		struct bench_flow6 *row = bpf_map_lookup_elem(&bench_flows6, &flow);

		if (!row)
			return XDP_ABORTED;
		__builtin_memcpy(addresses->src_be, row->src_be, sizeof(row->src_be));
		addresses->src_port_be = row->src_port_be;
		addresses->dst_port_be = row->dst_port_be;
	} else {
		addresses->src_be[3] = computed_addr(flow);
		addresses->src_port_be = computed_port(flow);
	}
	return finish(ctx, run_program(ctx), len_bytes);
}

char _license[] SEC("license") = "GPL";

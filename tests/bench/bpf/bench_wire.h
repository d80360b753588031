/*
 * bench_wire: headers and steps that the reference programs share.
 *
 * They are written the way a good XDP program is, apart from ours: nothing of bpf/ is included.
 */
#ifndef SLUICE_BENCH_WIRE_H
#define SLUICE_BENCH_WIRE_H

#include "vmlinux.h"
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "tests/bench/xdp/bench_abi.h"

#define TYPE_IP4 0x0800
#define TYPE_IP6 0x86dd

#define OUTER_BYTES   ((int)sizeof(struct iphdr))
#define FRAGMENT_BITS 0x3fff /* offset and more-fragments */

const volatile struct bench_hop bench_next_hop = {
	.dst = {2, 0, 0, 0, 0, 2},
	.src = {2, 0, 0, 0, 0, 1},
	.outer_src_be = bpf_htonl(0xac100001),
};

static __always_inline __u16 fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/*
 * Byte by byte and volatile: for a memcpy() from a constant clang 14 forgets the stores before it
 * (its BPF back end puts the constant in place of the load and of the load's place in the order).
 */
static __always_inline void write_hop(struct ethhdr *eth)
{
	const volatile __u8 *dst = bench_next_hop.dst, *src = bench_next_hop.src;

#pragma unroll
	for (int i = 0; i < 6; i++) {
		eth->h_dest[i] = dst[i];
		eth->h_source[i] = src[i];
	}
}

/* Puts an IPv4 header in front: 4in4. `total_len` is that of the inner packet. */
static __always_inline int encapsulate(struct xdp_md *ctx, __be32 backend_be, __u32 total_len)
{
	void *data, *end;
	struct ethhdr *eth;
	struct iphdr *outer;
	__u16 *halves;
	__u32 sum = 0;

	if (bpf_xdp_adjust_head(ctx, -OUTER_BYTES))
		return XDP_DROP;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	if (data + sizeof(*eth) + sizeof(*outer) > end)
		return XDP_DROP;
	eth = data;
	write_hop(eth);
	eth->h_proto = bpf_htons(TYPE_IP4);
	outer = data + sizeof(*eth);
	*(__u8 *)outer = 0x45;
	outer->tos = 0;
	outer->tot_len = bpf_htons(total_len + OUTER_BYTES);
	outer->id = 0;
	outer->frag_off = 0;
	outer->ttl = 64;
	outer->protocol = IPPROTO_IPIP;
	outer->check = 0;
	outer->saddr = bench_next_hop.outer_src_be;
	outer->daddr = backend_be;
	halves = (__u16 *)outer;
#pragma unroll
	for (int i = 0; i < OUTER_BYTES / 2; i++)
		sum += halves[i];
	outer->check = fold(sum);
	return XDP_TX;
}

#endif

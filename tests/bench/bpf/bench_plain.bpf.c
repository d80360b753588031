/*
 * bench_plain: programs without maps of their own: what the others are measured from.
 */
#include "tests/bench/bpf/bench_wire.h"

SEC("xdp.frags")
int bench_empty(struct xdp_md *ctx)
{
	return XDP_PASS;
}

/* The least that a balancer must do: look that it is IPv4, put a header in front, send. */
SEC("xdp.frags")
int bench_encap(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = data + sizeof(*eth);

	if (data + sizeof(*eth) + sizeof(*ip) > end || eth->h_proto != bpf_htons(TYPE_IP4))
		return XDP_PASS;
	return encapsulate(ctx, bpf_htonl(0x0a000101), bpf_ntohs(ip->tot_len));
}

char _license[] SEC("license") = "GPL";

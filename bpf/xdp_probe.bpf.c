/*
 * xdp_probe: finds out whether this kernel lets a program take the place of a function in an XDP
 * program (freplace), which libxdp's dispatcher is made of. The loader loads sl_probe, then
 * sl_probe_pass as a replacement of sl_probe_slot, and tries to attach it. Never put on a device.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

__noinline int sl_probe_slot(struct xdp_md *ctx)
{
	volatile int verdict = XDP_PASS; /* keeps the call from being folded into its caller */

	return ctx ? verdict : XDP_ABORTED;
}

SEC("xdp")
int sl_probe(struct xdp_md *ctx)
{
	return sl_probe_slot(ctx);
}

SEC("xdp")
int sl_probe_pass(struct xdp_md *ctx)
{
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";

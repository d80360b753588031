/*
 * flow_clock: userspace cannot read jiffies, in which the flow table counts. The loader runs
 * sl_jiffies by BPF_PROG_TEST_RUN to find how many a second has. Never put on a device.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

SEC("xdp")
int sl_jiffies(struct xdp_md *ctx)
{
	return (int)bpf_jiffies64();
}

char _license[] SEC("license") = "GPL";

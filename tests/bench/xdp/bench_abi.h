/*
 * bench_abi: what the programs of tests/bench/bpf share with the program that times them.
 */
#ifndef SLUICE_BENCH_XDP_ABI_H
#define SLUICE_BENCH_XDP_ABI_H

/* vmlinux.h has the same types, under other anonymous structs that clash with the header's. */
#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif

#define BENCH_HEADER4	   56 /* bytes of a frame that are written anew for each packet */
#define BENCH_HEADER6	   80
#define BENCH_SLOTS	   65537 /* of the reference balancer's Maglev table */
#define BENCH_BACKENDS	   128
#define BENCH_LRU_FLOWS	   (1u << 21)
#define BENCH_LPM_MAX	   (1u << 20)
#define BENCH_FLOWS_MAX	   (1u << 20)
#define BENCH_SERVICE_ADDR "192.0.2.1"
#define BENCH_SERVICE_PORT 80
#define BENCH_SOURCE_FIRST 0xc6120000 /* 198.18.0.0 and on: source addresses of NAT */
#define BENCH_SOURCES	   32
#define BENCH_FIRST_ADDR   0x0b000000 /* computed flows come from 11.0.0.0/8 */

/* One packet's addresses: a row of the table that a wrapper walks. */
struct bench_flow4 {
	__u32 src_be;
	__u32 dst_be;
	__u16 src_port_be;
	__u16 dst_port_be;
	__u32 pad;
};
_Static_assert(sizeof(struct bench_flow4) == 16, "struct bench_flow4");

struct bench_flow6 {
	__u32 src_be[4];
	__u16 src_port_be;
	__u16 dst_port_be;
	__u32 pad[3];
};
_Static_assert(sizeof(struct bench_flow6) == 32, "struct bench_flow6");

/* The wrapper's only variable. Number n of the packets takes flow (n · step) & mask. */
struct bench_wrap {
	__u64 header[BENCH_HEADER6 / 8]; /* the frame begins with this, each time */
	__u64 packets;
	__u32 step;
	__u32 mask;
	__u32 from_table; /* else addresses and ports are computed from the flow's number */
	__u32 keeps;	  /* leave the packet as the program made it: to look at it */
	__u64 verdicts[8];
};

/* Where frames go, and from what address the outer header comes. */
struct bench_hop {
	__u8 dst[6];
	__u8 src[6];
	__u32 outer_src_be;
};

struct bench_service_key {
	__u32 addr_be;
	__u16 port_be;
	__u8 protocol;
	__u8 pad;
};
_Static_assert(sizeof(struct bench_service_key) == 8, "struct bench_service_key");

struct bench_flow_key {
	__u32 src_be;
	__u32 dst_be;
	__u16 src_port_be;
	__u16 dst_port_be;
	__u32 protocol;
};
_Static_assert(sizeof(struct bench_flow_key) == 16, "struct bench_flow_key");

struct bench_counter {
	__u64 packets;
	__u64 bytes;
};

struct bench_lpm4_key {
	__u32 prefix_bits;
	__u8 addr_be[4];
};

struct bench_lpm6_key {
	__u32 prefix_bits;
	__u8 addr_be[16];
};

#endif

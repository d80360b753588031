/*
 * dataplane: what every pinned map has in common: version, counters, names and sizes.
 *
 * Shared by bpf/ and userspace/ and compiled by both compilers. Fixed-width types only, byte order
 * in the field name (none: host), explicit padding, sizes asserted. A change of any struct of
 * include/abi/ that a pinned map holds raises SL_ABI_VERSION.
 */
#ifndef SLUICE_ABI_DATAPLANE_H
#define SLUICE_ABI_DATAPLANE_H

/* vmlinux.h has the same types, under other anonymous structs that clash with the header's. */
#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif

#define SL_ABI_VERSION 7
#define SL_META_MAGIC  0x736c7569 /* "slui" */

/* The only element of sl_meta. */
struct sl_meta {
	__u32 magic;
	__u32 abi_version;
};
_Static_assert(sizeof(struct sl_meta) == 8, "struct sl_meta");

/* Element of sl_counters, one per CPU and row of SL_REASON_TABLE. */
struct sl_counter {
	__u64 packets;
	__u64 bytes;
};
_Static_assert(sizeof(struct sl_counter) == 16, "struct sl_counter");

/* Keys of the longest-prefix tries: the kernel wants the length first, then the address. */
struct sl_lpm4_key {
	__u32 prefix_bits;
	__u8 addr_be[4];
};
_Static_assert(sizeof(struct sl_lpm4_key) == 8, "struct sl_lpm4_key");

struct sl_lpm6_key {
	__u32 prefix_bits;
	__u8 addr_be[16];
};
_Static_assert(sizeof(struct sl_lpm6_key) == 20, "struct sl_lpm6_key");

#endif

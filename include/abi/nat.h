/*
 * nat: the flows of services with forward mode `nat`.
 *
 * The source port towards the backend IS the place in the table: each source address has a table
 * of 65,536 entries in lines of four, and the entry of port p is way p % 4 of line p / 4. So there
 * is no allocator and no second table for the way back, and any CPU may see any packet of a flow.
 *
 *   client:cport ─► service        forward: hash ─► slot (address, its lines) ─► two lines
 *   source:sport ─► backend        reverse: sport ─► the one entry, then verified
 *
 * An entry is claimed by compare-and-swap of its value to BUSY, then the key is written, then the
 * value. Who reads takes the key, the value, and the key again. Expiry is lazy: an entry past its
 * idle time is free to the next flow that hashes there. Userspace reads entries, and frees those of
 * a backend that is gone before its number may be another's, by compare-and-swap of the value.
 */
#ifndef SLUICE_ABI_NAT_H
#define SLUICE_ABI_NAT_H

#include "abi/dataplane.h"

#define SL_NAT_ADDRESSES_MAX 64
#define SL_NAT_WAYS	     4
#define SL_NAT_LINES	     (65536 / SL_NAT_WAYS)
#define SL_NAT_SLOTS	     64
#define SL_NAT_PLACES	     256
#define SL_NAT_PROBES	     8
#define SL_NAT_PLACE_REMOVED 0xff

/* Coarse monotonic time in nanoseconds to the unit of entries, 1.07 s; 16 bits wrap in 19.5 h. */
#define SL_NAT_TIME_SHIFT 30
#define SL_NAT_TIME_MASK  0xffff
#define SL_NAT_IDLE_MAX_S (12 * 3600) /* the rest of the wrap tells old from new */

/* Symbol, number, name, meaning. Those of UDP have the bit SL_NAT_UDP_BIT. */
#define SL_NAT_STATE_TABLE(ROW)                                                                    \
	ROW(FREE, 0, "free", "nobody's")                                                           \
	ROW(BUSY, 1, "busy", "being written")                                                      \
	ROW(SYN, 2, "syn", "TCP: the client has sent a SYN")                                       \
	ROW(ANSWERED, 3, "answered", "TCP: the backend has answered it")                           \
	ROW(ESTABLISHED, 4, "established", "TCP: the client has acknowledged that")                \
	ROW(CLOSED, 5, "closed", "TCP: both sides have sent a FIN, or the backend has refused")    \
	ROW(UDP_NEW, 8, "udp_new", "UDP: no answer yet")                                           \
	ROW(UDP, 9, "udp", "UDP: answered")

enum sl_nat_state {
#define SL_NAT_STATE_ENUM(symbol, number, name, meaning) SL_NAT_##symbol = (number),
	SL_NAT_STATE_TABLE(SL_NAT_STATE_ENUM)
#undef SL_NAT_STATE_ENUM
};

#define SL_NAT_UDP_BIT 8

/*
 * Index into the limits of age: the state, and the next bit says that a RST has come by. An entry
 * may be claimed when its age in units is at least the limit less two: one, since a unit that has
 * begun is not over, and one, since another CPU may be in the next unit already. FREE has 0.
 */
#define SL_NAT_LIMITS		     32
#define SL_NAT_LIMIT(state, has_rst) ((state) | (has_rst) << 4)
#define SL_NAT_LIMIT_NEVER	     0xffff
#define SL_NAT_LIMIT_OF(seconds)                                                                   \
	((__u16)(((__u64)(seconds)*1000000000ULL >> SL_NAT_TIME_SHIFT) + 2))

/* Flags of an entry. A RST is not believed: it makes the entry the first to go, see bpf/lib. */
#define SL_NAT_FIN_CLIENT  1
#define SL_NAT_FIN_BACKEND 2
#define SL_NAT_RST_CLIENT  4
#define SL_NAT_RST_BACKEND 8

/*
 * key:   client address (as in the packet):32 | client port (as in the packet):16 | place:16
 *        place: of the called address in sl_svc_keys
 * value: backend:20 | port that the client called:16 | time:16 | state:4 | flags:8
 *        The port is never 0 but in FREE and BUSY.
 */
#define SL_NAT_VALUE_PORT_SHIFT	 20
#define SL_NAT_VALUE_TIME_SHIFT	 36
#define SL_NAT_VALUE_STATE_SHIFT 52
#define SL_NAT_VALUE_FLAGS_SHIFT 56
#define SL_NAT_VALUE_BACKENDS	 (1U << SL_NAT_VALUE_PORT_SHIFT)

#define SL_NAT_VALUE(backend, port, time, state, flags)                                            \
	((__u64)(backend) | (__u64)(port) << SL_NAT_VALUE_PORT_SHIFT |                             \
	 (__u64)(time) << SL_NAT_VALUE_TIME_SHIFT | (__u64)(state) << SL_NAT_VALUE_STATE_SHIFT |   \
	 (__u64)(flags) << SL_NAT_VALUE_FLAGS_SHIFT)
#define SL_NAT_VALUE_BACKEND(value) ((__u32)((value) & (SL_NAT_VALUE_BACKENDS - 1)))
#define SL_NAT_VALUE_PORT(value)    ((__u16)((value) >> SL_NAT_VALUE_PORT_SHIFT))
#define SL_NAT_VALUE_TIME(value)    ((__u16)((value) >> SL_NAT_VALUE_TIME_SHIFT))
#define SL_NAT_VALUE_STATE(value)   ((__u32)((value) >> SL_NAT_VALUE_STATE_SHIFT & 15))
#define SL_NAT_VALUE_FLAGS(value)   ((__u32)((value) >> SL_NAT_VALUE_FLAGS_SHIFT))

struct sl_nat_entry {
	__u64 key;
	__u64 value;
};
_Static_assert(sizeof(struct sl_nat_entry) == 16, "struct sl_nat_entry");

/* Element of a source address's table: one cache line. */
struct sl_nat_line {
	struct sl_nat_entry entries[SL_NAT_WAYS];
};
_Static_assert(sizeof(struct sl_nat_line) == 64, "struct sl_nat_line");

/* Where new flows of one sixty-fourth of the hash get their source port. */
struct sl_nat_slot {
	__u16 address; /* index into addresses_be */
	__u16 line_first;
	__u16 line_count; /* 0: nowhere */
	__u16 pad;
};
_Static_assert(sizeof(struct sl_nat_slot) == 8, "struct sl_nat_slot");

struct sl_nat_address {
	__u32 addr_be; /* 0: not used */
	__u16 line_first;
	__u16 line_count; /* packets to other ports are the host's */
};
_Static_assert(sizeof(struct sl_nat_address) == 8, "struct sl_nat_address");

/*
 * The only element of sl_nat_conf, written in place while packets are looking: an address keeps
 * its index while it has flows, places are added before they are needed and never move, slots are
 * single 8-byte writes. Flows that are not where their slot says now are sought in `previous`.
 * Line 0 is in no range: there is no port 0.
 */
struct sl_nat_conf {
	__u32 is_on; /* 0: there is no source address; nothing else is looked at */
	__u32 pad;
	__u64 moved_boot_ns; /* when `previous` was written; userspace alone */
	struct sl_nat_slot current[SL_NAT_SLOTS];
	struct sl_nat_slot previous[SL_NAT_SLOTS];
	struct sl_nat_address addresses[SL_NAT_ADDRESSES_MAX];
	/*
	 * Open addressing by SL_NAT_PLACE(): index + 1 of the address, REMOVED, or 0: the search
	 * ends here.
	 */
	__u8 places[SL_NAT_PLACES];
	/* By SL_NAT_LIMIT(): when an entry is free, and when it is so where both lines are full. */
	__u16 limits[SL_NAT_LIMITS];
	__u16 limits_pressed[SL_NAT_LIMITS];
};
_Static_assert(sizeof(struct sl_nat_conf) == 16 + 2 * 512 + 512 + 256 + 128, "struct sl_nat_conf");

#define SL_NAT_PLACE(addr_be, probe)                                                               \
	((((__u32)(addr_be)*0x9e3779b1U >> 24) + (probe)) & (SL_NAT_PLACES - 1))

#endif

/*
 * steer: which connections are ours and which worker's listener gets them.
 *
 * Exact (address, port) pairs are in a hash; everything wider is in one longest-prefix trie per
 * family whose element lists the port ranges. The loader copies the ranges of covering prefixes
 * into the longer ones, so that one lookup is enough. 256 slots name workers; a worker has one
 * element of the sockmap per family.
 */
#ifndef SLUICE_ABI_STEER_H
#define SLUICE_ABI_STEER_H

#include "abi/dataplane.h"

#define SL_STEER_SLOTS		     256
#define SL_STEER_WORKERS	     256
#define SL_STEER_TUPLES_MAX	     65536
#define SL_STEER_RANGES_MAX	     32 /* port ranges of one prefix */
#define SL_STEER_TRIES		     16 /* workers asked before a connection counts as homeless */
#define SL_STEER_DEAD_NS	     10000000000ULL
#define SL_STEER_SOCK(worker, is_v6) ((worker)*2 + (is_v6))

#define SL_FAMILY_V4 4
#define SL_FAMILY_V6 6

/* Key of sl_tuple_exact; IPv4 uses the first four bytes, the rest are zero. */
struct sl_tuple_key {
	__u8 addr_be[16];
	__u16 port;
	__u8 family; /* SL_FAMILY_* */
	__u8 pad;
};
_Static_assert(sizeof(struct sl_tuple_key) == 20, "struct sl_tuple_key");

struct sl_port_range {
	__u16 first;
	__u16 last;
};

struct sl_port_ranges {
	__u32 count;
	struct sl_port_range ranges[SL_STEER_RANGES_MAX];
};
_Static_assert(sizeof(struct sl_port_ranges) == 132, "struct sl_port_ranges");

/* Key of sl_tuple_list: the tuples as they were configured, for userspace alone. */
struct sl_tuple {
	__u8 addr_be[16];
	__u16 port_first;
	__u16 port_last;
	__u8 family; /* SL_FAMILY_* */
	__u8 prefix_bits;
	__u8 pad[2];
};
_Static_assert(sizeof(struct sl_tuple) == 24, "struct sl_tuple");

struct sl_steer_conf {
	__u64 hash_keys[4]; /* random, made with the map */
	__u64 dead_drop_ns; /* how long connections are dropped when no listener lives */
	__u32 workers;
	__u32 pad;
};
_Static_assert(sizeof(struct sl_steer_conf) == 48, "struct sl_steer_conf");

struct sl_steer_slots {
	__u16 workers[SL_STEER_SLOTS];
};
_Static_assert(sizeof(struct sl_steer_slots) == 512, "struct sl_steer_slots");

/* When the first homeless connection of a family was seen; 0: all is well. */
struct sl_steer_state {
	__u64 dead_since_boot_ns[2];
};
_Static_assert(sizeof(struct sl_steer_state) == 16, "struct sl_steer_state");

#endif

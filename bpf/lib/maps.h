/*
 * maps: all maps of the kernel part. Each object that includes this has all of them; the loader
 * pins each under its name in node.bpffs and gives every object the same pinned ones.
 *
 *  map             key                value                   writer      reader     size
 *  sl_meta         0                  sl_meta                 loader      loader     1
 *  sl_counters     enum sl_reason     sl_counter, per CPU     BPF         userspace  SL_REASON_MAX
 *  sl_allow4, 6    sl_lpm4_key, 6     sl_access_value         userspace   sl_main    SL_ALLOW_MAX
 *  sl_deny4, 6     sl_lpm4_key, 6     sl_access_value         userspace   sl_main    SL_DENY_MAX
 *  sl_steer_conf   0                  sl_steer_conf           userspace   BPF        1
 *  sl_steer_slots  0                  sl_steer_slots          userspace   sl_steer   1
 *  sl_steer_state  0                  sl_steer_state          BPF, user   BPF        1
 *  sl_steer_socks  SL_STEER_SOCK()    listening socket        userspace   BPF        2 per worker
 *  sl_tuple_exact  sl_tuple_key       1                       userspace   BPF        TUPLES_MAX
 *  sl_tuple_lpm4,6 sl_lpm4_key, 6     sl_port_ranges          userspace   BPF        TUPLES_MAX
 *  sl_tuple_list   sl_tuple           1                       userspace   userspace  TUPLES_MAX
 *
 * All are pinned. Tries and hashes take memory by the element, so a high limit costs nothing.
 * Names are at most 15 bytes: the kernel cuts longer ones.
 */
#ifndef SLUICE_BPF_LIB_MAPS_H
#define SLUICE_BPF_LIB_MAPS_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

#include "abi/access.h"
#include "abi/drop_reasons.h"
#include "abi/steer.h"

#define MAP_ARRAY(map_name, map_type, value_type, max)                                             \
	struct {                                                                                   \
		__uint(type, map_type);                                                            \
		__uint(max_entries, max);                                                          \
		__type(key, __u32);                                                                \
		__type(value, value_type);                                                         \
	} map_name SEC(".maps")

/* Without BPF_F_NO_PREALLOC the kernel refuses tries, and hashes take all their memory at once. */
#define MAP_SPARSE(map_name, map_type, key_type, value_type, max)                                  \
	struct {                                                                                   \
		__uint(type, map_type);                                                            \
		__uint(max_entries, max);                                                          \
		__uint(map_flags, BPF_F_NO_PREALLOC);                                              \
		__type(key, key_type);                                                             \
		__type(value, value_type);                                                         \
	} map_name SEC(".maps")

MAP_ARRAY(sl_meta, BPF_MAP_TYPE_ARRAY, struct sl_meta, 1);
MAP_ARRAY(sl_counters, BPF_MAP_TYPE_PERCPU_ARRAY, struct sl_counter, SL_REASON_MAX);

MAP_SPARSE(sl_allow4, BPF_MAP_TYPE_LPM_TRIE, struct sl_lpm4_key, struct sl_access_value,
	   SL_ALLOW_MAX);
MAP_SPARSE(sl_allow6, BPF_MAP_TYPE_LPM_TRIE, struct sl_lpm6_key, struct sl_access_value,
	   SL_ALLOW_MAX);
MAP_SPARSE(sl_deny4, BPF_MAP_TYPE_LPM_TRIE, struct sl_lpm4_key, struct sl_access_value,
	   SL_DENY_MAX);
MAP_SPARSE(sl_deny6, BPF_MAP_TYPE_LPM_TRIE, struct sl_lpm6_key, struct sl_access_value,
	   SL_DENY_MAX);

MAP_ARRAY(sl_steer_conf, BPF_MAP_TYPE_ARRAY, struct sl_steer_conf, 1);
MAP_ARRAY(sl_steer_slots, BPF_MAP_TYPE_ARRAY, struct sl_steer_slots, 1);
MAP_ARRAY(sl_steer_state, BPF_MAP_TYPE_ARRAY, struct sl_steer_state, 1);
/* The value is a descriptor when written and a cookie when userspace reads it. */
MAP_ARRAY(sl_steer_socks, BPF_MAP_TYPE_SOCKMAP, __u64, SL_STEER_WORKERS * 2);

MAP_SPARSE(sl_tuple_exact, BPF_MAP_TYPE_HASH, struct sl_tuple_key, __u32, SL_STEER_TUPLES_MAX);
MAP_SPARSE(sl_tuple_lpm4, BPF_MAP_TYPE_LPM_TRIE, struct sl_lpm4_key, struct sl_port_ranges,
	   SL_STEER_TUPLES_MAX);
MAP_SPARSE(sl_tuple_lpm6, BPF_MAP_TYPE_LPM_TRIE, struct sl_lpm6_key, struct sl_port_ranges,
	   SL_STEER_TUPLES_MAX);
MAP_SPARSE(sl_tuple_list, BPF_MAP_TYPE_HASH, struct sl_tuple, __u32, SL_STEER_TUPLES_MAX);

#endif

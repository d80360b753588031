/*
 * maps: all maps of the kernel part. Each object that includes this has all of them; the loader
 * pins each under its name in node.bpffs and gives every object the same pinned ones.
 *
 *  map             key                value                   writer      reader     size
 *  sl_meta         0                  sl_meta                 loader      loader     1
 *  sl_counters     enum sl_reason     sl_counter, per CPU     BPF         userspace  SL_REASON_MAX
 *  sl_access_conf  0                  sl_access_conf          userspace   sl_main    1
 *  sl_access_sets  SL_ACCESS_SET()    array of sl_access_line userspace   sl_main    ACCESS_SETS
 *  sl_steer_conf   0                  sl_steer_conf           userspace   BPF        1
 *  sl_steer_slots  0                  sl_steer_slots          userspace   sl_steer   1
 *  sl_steer_state  0                  sl_steer_state          BPF, user   BPF        1
 *  sl_steer_socks  SL_STEER_SOCK()    listening socket        userspace   BPF        2 per worker
 *  sl_tuple_exact  sl_tuple_key       1                       userspace   BPF        TUPLES_MAX
 *  sl_tuple_lpm4,6 sl_lpm4_key, 6     sl_port_ranges          userspace   BPF        TUPLES_MAX
 *  sl_tuple_list   sl_tuple           1                       userspace   userspace  TUPLES_MAX
 *  sl_svc_keys     place              sl_service_key          userspace   sl_main    KEYS_MAX *
 *  sl_svc_ranges   list               sl_service_ranges       userspace   sl_main    RANGES_LISTS
 *  sl_svc_state    0                  sl_service_state        userspace   sl_main    1
 *  sl_services     service            sl_service              userspace   sl_main    SERVICES_MAX *
 *  sl_backends     backend            sl_backend              userspace   sl_main    BACKENDS_MAX *
 *  sl_slots        (base + slot) / 16 sl_slot_line            userspace   sl_main    SLOTS_MAX/16 *
 *  sl_flows        line               sl_flow_line            BPF, user   BPF, user  LINES_MAX *
 *  sl_flow_conf    0                  sl_flow_conf            loader      userspace  1
 *  sl_flow_counts  0                  sl_flow_counts, per CPU BPF         userspace  1
 *  sl_flow_sweep   0                  sl_flow_sweep           sl_sweep    userspace  1
 *  sl_phases       service            sl_phase_times          userspace   userspace  SERVICES_MAX *
 *  sl_svc_counts   service            sl_counter, per CPU     sl_main     userspace  SERVICES_MAX *
 *  sl_svc_drops    service            sl_service_drops, per CPU  sl_main  userspace  SERVICES_MAX *
 *  sl_be_counts    backend            sl_counter, per CPU     sl_main     userspace  BACKENDS_MAX *
 *  sl_fragments    sl_fragment_key    sl_fragment             sl_main     sl_main    FRAGMENTS_MAX
 *  sl_neigh_asks   ring               sl_neigh_ask            sl_main     userspace  ASKS_BYTES
 *  sl_nat_conf     0                  sl_nat_conf             userspace   sl_main    1
 *  sl_nat_tables   index of address   array of sl_nat_line    sl_main     sl_main    ADDRESSES_MAX
 *  sl_svc_info     service            sl_service_info         userspace   userspace  SERVICES_MAX *
 *  sl_be_info      backend            sl_backend_info         userspace   userspace  BACKENDS_MAX *
 *
 * All are pinned. Sizes with a star are defaults: the loader may set others before load. Tries and
 * hashes take memory by the element, so a high limit costs nothing. Names are at most 15 bytes: the
 * kernel cuts longer ones. The tables in sl_nat_tables are made by userspace and live in that map;
 * so do the sets in sl_access_sets, which are also pinned: as sl_allow4, sl_allow6, sl_deny4,
 * sl_deny6.
 */
#ifndef SLUICE_BPF_LIB_MAPS_H
#define SLUICE_BPF_LIB_MAPS_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

#include "abi/access.h"
#include "abi/drop_reasons.h"
#include "abi/flow.h"
#include "abi/nat.h"
#include "abi/service.h"
#include "abi/service_info.h"
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

#define MAP_MMAP(map_name, value_type, max)                                                        \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_ARRAY);                                                  \
		__uint(max_entries, max);                                                          \
		__uint(map_flags, BPF_F_MMAPABLE);                                                 \
		__type(key, __u32);                                                                \
		__type(value, value_type);                                                         \
	} map_name SEC(".maps")

MAP_ARRAY(sl_meta, BPF_MAP_TYPE_ARRAY, struct sl_meta, 1);
MAP_ARRAY(sl_counters, BPF_MAP_TYPE_PERCPU_ARRAY, struct sl_counter, SL_REASON_MAX);

/* Of any number of lines, of 5.10 and later. By size: see nat_lines. */
struct access_lines {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE | BPF_F_INNER_MAP);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(union sl_access_line));
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, SL_ACCESS_SETS);
	__type(key, __u32);
	__array(values, struct access_lines);
} sl_access_sets SEC(".maps");

MAP_MMAP(sl_access_conf, struct sl_access_conf, 1);

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

MAP_MMAP(sl_svc_keys, struct sl_service_key, SL_SERVICE_KEYS_MAX);
MAP_MMAP(sl_svc_ranges, struct sl_service_ranges, SL_SERVICE_RANGES_LISTS);
MAP_MMAP(sl_svc_state, struct sl_service_state, 1);
MAP_MMAP(sl_services, struct sl_service, SL_SERVICES_MAX);
MAP_MMAP(sl_backends, struct sl_backend, SL_BACKENDS_MAX);
MAP_MMAP(sl_slots, struct sl_slot_line, SL_SLOTS_MAX / SL_SLOT_LINE);
MAP_ARRAY(sl_svc_counts, BPF_MAP_TYPE_PERCPU_ARRAY, struct sl_counter, SL_SERVICES_MAX);
MAP_ARRAY(sl_svc_drops, BPF_MAP_TYPE_PERCPU_ARRAY, struct sl_service_drops, SL_SERVICES_MAX);
MAP_ARRAY(sl_be_counts, BPF_MAP_TYPE_PERCPU_ARRAY, struct sl_counter, SL_BACKENDS_MAX);

MAP_MMAP(sl_flows, struct sl_flow_line, SL_FLOW_LINES_MAX);
MAP_MMAP(sl_flow_conf, struct sl_flow_conf, 1);
MAP_ARRAY(sl_flow_counts, BPF_MAP_TYPE_PERCPU_ARRAY, struct sl_flow_counts, 1);
MAP_ARRAY(sl_flow_sweep, BPF_MAP_TYPE_ARRAY, struct sl_flow_sweep, 1);
MAP_MMAP(sl_phases, struct sl_phase_times, SL_SERVICES_MAX);
MAP_MMAP(sl_svc_info, struct sl_service_info, SL_SERVICES_MAX);
MAP_MMAP(sl_be_info, struct sl_backend_info, SL_BACKENDS_MAX);

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, SL_FRAGMENTS_MAX);
	__type(key, struct sl_fragment_key);
	__type(value, struct sl_fragment);
} sl_fragments SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, SL_NEIGH_ASKS_BYTES);
} sl_neigh_asks SEC(".maps");

/*
 * mmap-able arrays begin at a page, so that a line is a cache line. By size: clang 14 leaves the
 * type of a value that only an inner map names out of the BTF.
 */
struct nat_lines {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SL_NAT_LINES);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct sl_nat_line));
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, SL_NAT_ADDRESSES_MAX);
	__type(key, __u32);
	__array(values, struct nat_lines);
} sl_nat_tables SEC(".maps");

MAP_MMAP(sl_nat_conf, struct sl_nat_conf, 1);

#endif

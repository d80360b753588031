/*
 * service: how packets find their L4 service and its backends.
 *
 *   (address, port, protocol) ──► sl_svc_keys ──► sl_services[n] ──► sl_slots[base + slot(hash)]
 *     └ miss: the address alone ──► sl_svc_ranges[r]                        │ index in the pool
 *                                                        sl_backends[base + index] ──► forward
 *
 * All of these are plain arrays, mmap-able, written by userspace alone (the owner of the lock in
 * state_dir) and read by sl_main without locks. Words of 32 or 64 bits are atomic, structs are
 * not; so each struct has one word that publishes it, written last and withdrawn first:
 *
 *  - sl_svc_keys: open addressing, linear, at most SL_SERVICE_PROBES steps from the hashed place.
 *    Add: all fields, then `value`. Remove: `value = SL_SERVICE_KEY_REMOVED`, never EMPTY, since
 *    later keys may lie behind it. A removed place may be used again after SL_SERVICE_GRACE_MS.
 *  - sl_svc_ranges: write a list that no key names, then change `ranges` of the address' key; the
 *    old list may be used again after SL_SERVICE_GRACE_MS.
 *  - sl_services: all fields, then `flags` with SL_SERVICE_LIVE. To change M, the pool or the
 *    forward mode: make another service and point the keys at it.
 *  - sl_backends: all fields, then `flags` with SL_BACKEND_LIVE. DEAD is set only when no slot has
 *    the backend as `current`. The next hop: `ifindex = 0`, SL_SERVICE_GRACE_MS, addresses and
 *    MTU, then `ifindex`.
 *  - Order when a service is made: backends, slots, service, keys; when it goes: keys, service,
 *    then, after the grace time, the rest.
 */
#ifndef SLUICE_ABI_SERVICE_H
#define SLUICE_ABI_SERVICE_H

#include "abi/dataplane.h"
#include "abi/drop_reasons.h"
#include "abi/steer.h" /* SL_FAMILY_* */

/* Default sizes; the loader may give the maps others before load. Keys: a power of two. */
#define SL_SERVICES_MAX		1024
#define SL_SERVICE_KEYS_MAX	16384
#define SL_SERVICE_RANGES_LISTS 256
#define SL_BACKENDS_MAX		16384
#define SL_SLOTS_MAX		(1U << 22)
#define SL_FRAGMENTS_MAX	16384

#define SL_SERVICE_PROBES   8
#define SL_SERVICE_GRACE_MS 100

/* Backends that the flow table can name, over all pools. */
#define SL_BACKEND_BITS	 17
#define SL_BACKENDS_ROOM (1U << SL_BACKEND_BITS)

#define SL_SERVICE_KEY_EMPTY   0U
#define SL_SERVICE_KEY_REMOVED 0xffffffffU

/*
 * Element of sl_svc_keys. Each address of a service also has one key of port 0 and protocol 0: its
 * `value` is SL_SERVICE_KEY_ADDRESS, its `ranges` what the address serves by range. It is what
 * ping, ICMP errors and later fragments are known by.
 */
struct sl_service_key {
	__u32 addr_be[4]; /* IPv4: the first word, others 0 */
	__u16 port;	  /* 0: the key of the address */
	__u8 protocol;	  /* IPPROTO_TCP, IPPROTO_UDP; 0 with port 0 */
	__u8 family;	  /* SL_FAMILY_* */
	__u32 value;	  /* EMPTY, REMOVED, or number of the service + 1 */
	__u32 ranges;	  /* key of an address: list in sl_svc_ranges + 1; 0: none */
	__u32 pad;
};
_Static_assert(sizeof(struct sl_service_key) == 32, "struct sl_service_key");

#define SL_SERVICE_KEY_ADDRESS 0xfffffffeU

#define SL_SERVICE_RANGES_MAX 15

/* `any` port is 0 to 65535; a protocol of 0 is both TCP and UDP. The first that fits wins. */
struct sl_service_range {
	__u16 first;
	__u16 last;
	__u8 protocol;
	__u8 pad[3];
	__u32 service;
};
_Static_assert(sizeof(struct sl_service_range) == 12, "struct sl_service_range");

/* Element of sl_svc_ranges. */
struct sl_service_ranges {
	__u32 count;
	__u32 pad[2];
	struct sl_service_range ranges[SL_SERVICE_RANGES_MAX];
};
_Static_assert(sizeof(struct sl_service_ranges) == 192, "struct sl_service_ranges");

#define SL_SERVICE_LIVE 0x01

enum sl_forward { SL_FORWARD_IPIP, SL_FORWARD_NAT };
enum sl_affinity { SL_AFFINITY_FIVE_TUPLE, SL_AFFINITY_SOURCE };

/* Element of sl_services, by number. */
struct sl_service {
	__u32 flags;	     /* SL_SERVICE_* */
	__u8 forward;	     /* enum sl_forward */
	__u8 affinity;	     /* enum sl_affinity */
	__u16 id;	     /* what userspace likes; the kernel part does not read it */
	__u32 slot_base;     /* first slot in sl_slots */
	__u32 slot_count;    /* M, a prime, fixed for the service's life */
	__u32 backend_base;  /* sl_backends[base + index]; index 0 is never a backend */
	__u32 backend_count; /* room of the pool, index 0 included; <= SL_POOL_MAX */
	__u32 nat_base;	     /* for forward mode nat, see abi/nat.h */
	__u32 nat_count;
};
_Static_assert(sizeof(struct sl_service) == 32, "struct sl_service");

#define SL_BACKEND_LIVE 0x01 /* the record is whole */
#define SL_BACKEND_DEAD 0x02 /* down or its drain is over: a flow entry that names it is a miss */

/* Element of sl_backends. */
struct sl_backend {
	__u32 addr_be[4]; /* IPv4: the first word */
	__u32 flags;	  /* SL_BACKEND_* */
	__u8 family;	  /* SL_FAMILY_* */
	__u8 pad;
	__u16 port; /* nat: 0 keeps the destination port */
	/*
	 * Next hop, when userspace knows it: saves the lookup of route and neighbour. ifindex 0:
	 * ask the kernel. MTU is that of the route, outer header included.
	 */
	__u32 ifindex;
	__u16 mtu;
	__u8 next_hop[6];
	__u8 from[6]; /* address of ifindex itself */
	__u8 pad2[2];
	__u32 service; /* number of the service, for scans */
	__u32 id;      /* never used twice within a service's life */
	__u8 pad3[12];
};
_Static_assert(sizeof(struct sl_backend) == 64, "struct sl_backend");

/* Only element of sl_svc_state. */
struct sl_service_state {
	__u32 range_count; /* addresses with ranges; 0 saves every other packet a lookup */
	__u32 key_count;   /* keys in use; 0: the stage is skipped */
};
_Static_assert(sizeof(struct sl_service_state) == 8, "struct sl_service_state");

/*
 * Element of sl_svc_counts (by service) and sl_be_counts (by backend), per CPU, is sl_counter:
 * packets and bytes as they came in. Key of sl_fragments: a later fragment goes where the first
 * went; the first one writes it, the map forgets the least used. Value: number of the backend.
 */
struct sl_fragment_key {
	__u32 src_be[4];
	__u32 dst_be[4];
	__u32 id_be;
	__u8 protocol; /* of the IPv4 header; 0 for IPv6 */
	__u8 family;
	__u8 pad[2];
};
_Static_assert(sizeof(struct sl_fragment_key) == 40, "struct sl_fragment_key");

struct sl_fragment {
	__u32 service;
	__u32 backend;
};
_Static_assert(sizeof(struct sl_fragment) == 8, "struct sl_fragment");

/*
 * Element of sl_svc_drops, by service, per CPU: packets of the service that were dropped, by
 * SL_SERVICE_DROP(reason). The first one is for reasons that are not of services.
 */
#define SL_SERVICE_DROPS	32
#define SL_SERVICE_DROP(reason) ((reason)-SL_REASON_SERVICE)

struct sl_service_drops {
	__u64 packets[SL_SERVICE_DROPS];
};
_Static_assert(sizeof(struct sl_service_drops) == 256, "struct sl_service_drops");
_Static_assert(SL_SERVICE_DROP(SL_REASON_COUNT) <= SL_SERVICE_DROPS, "SL_SERVICE_DROPS");

/*
 * Record of the ring sl_neigh_asks: a next hop whose link address XDP needs and the kernel does not
 * have. Nothing is written while SL_NEIGH_ASKS_WAITING bytes of it have not been read.
 */
#define SL_NEIGH_ASKS_BYTES   4096
#define SL_NEIGH_ASKS_WAITING 2048

struct sl_neigh_ask {
	__u32 addr_be[4]; /* IPv4: the first word, others 0 */
	__u32 ifindex;
	__u8 family; /* SL_FAMILY_* */
	__u8 pad[3];
};
_Static_assert(sizeof(struct sl_neigh_ask) == 24, "struct sl_neigh_ask");

#endif

/*
 * dataplane_internal: the inside of struct dataplane, for the files of kern/ alone.
 *
 * dataplane.c opens and closes, dataplane_pins.c knows the bpffs directory, dataplane_xdp.c the
 * interfaces, access_list.c and steer.c the contents of maps. Descriptors are -1 when not open.
 * Pins: maps under their own names, xdp_link_IF, xdp_prog_IF (see dataplane_xdp.c), steer_link.
 */
#ifndef SLUICE_KERN_DATAPLANE_INTERNAL_H
#define SLUICE_KERN_DATAPLANE_INTERNAL_H

#include <bpf/libbpf.h>
#include <limits.h>

#include "abi/access.h"
#include "abi/drop_reasons.h"
#include "abi/flow.h"
#include "abi/service.h"
#include "abi/service_info.h"
#include "abi/nat.h"
#include "abi/steer.h"
#include "kern/access_list.h"
#include "kern/access_set.h"
#include "kern/dataplane.h"

/*
 * Symbol, name, type, key and value size, entries: what a pin must look like, see bpf/lib/maps.h.
 * Entries of 0: the pin says how many.
 */
#define DATAPLANE_MAP_TABLE(ROW)                                                                   \
	ROW(META, "sl_meta", BPF_MAP_TYPE_ARRAY, 4, sizeof(struct sl_meta), 1)                     \
	ROW(COUNTERS, "sl_counters", BPF_MAP_TYPE_PERCPU_ARRAY, 4, sizeof(struct sl_counter),      \
	    SL_REASON_MAX)                                                                         \
	ROW(ACCESS_CONF, "sl_access_conf", BPF_MAP_TYPE_ARRAY, 4, sizeof(struct sl_access_conf),   \
	    1)                                                                                     \
	ROW(ACCESS_SETS, "sl_access_sets", BPF_MAP_TYPE_ARRAY_OF_MAPS, 4, 4, SL_ACCESS_SETS)       \
	ROW(STEER_CONF, "sl_steer_conf", BPF_MAP_TYPE_ARRAY, 4, sizeof(struct sl_steer_conf), 1)   \
	ROW(STEER_SLOTS, "sl_steer_slots", BPF_MAP_TYPE_ARRAY, 4, sizeof(struct sl_steer_slots),   \
	    1)                                                                                     \
	ROW(STEER_STATE, "sl_steer_state", BPF_MAP_TYPE_ARRAY, 4, sizeof(struct sl_steer_state),   \
	    1)                                                                                     \
	ROW(STEER_SOCKS, "sl_steer_socks", BPF_MAP_TYPE_SOCKMAP, 4, 8, SL_STEER_WORKERS * 2)       \
	ROW(TUPLE_EXACT, "sl_tuple_exact", BPF_MAP_TYPE_HASH, sizeof(struct sl_tuple_key), 4,      \
	    SL_STEER_TUPLES_MAX)                                                                   \
	ROW(TUPLE_LPM4, "sl_tuple_lpm4", BPF_MAP_TYPE_LPM_TRIE, sizeof(struct sl_lpm4_key),        \
	    sizeof(struct sl_port_ranges), SL_STEER_TUPLES_MAX)                                    \
	ROW(TUPLE_LPM6, "sl_tuple_lpm6", BPF_MAP_TYPE_LPM_TRIE, sizeof(struct sl_lpm6_key),        \
	    sizeof(struct sl_port_ranges), SL_STEER_TUPLES_MAX)                                    \
	ROW(TUPLE_LIST, "sl_tuple_list", BPF_MAP_TYPE_HASH, sizeof(struct sl_tuple), 4,            \
	    SL_STEER_TUPLES_MAX)                                                                   \
	ROW(SVC_KEYS, "sl_svc_keys", BPF_MAP_TYPE_ARRAY, 4, sizeof(struct sl_service_key), 0)      \
	ROW(SVC_RANGES, "sl_svc_ranges", BPF_MAP_TYPE_ARRAY, 4, sizeof(struct sl_service_ranges),  \
	    0)                                                                                     \
	ROW(SVC_STATE, "sl_svc_state", BPF_MAP_TYPE_ARRAY, 4, sizeof(struct sl_service_state), 1)  \
	ROW(SERVICES, "sl_services", BPF_MAP_TYPE_ARRAY, 4, sizeof(struct sl_service), 0)          \
	ROW(BACKENDS, "sl_backends", BPF_MAP_TYPE_ARRAY, 4, sizeof(struct sl_backend), 0)          \
	ROW(SLOTS, "sl_slots", BPF_MAP_TYPE_ARRAY, 4, sizeof(struct sl_slot_line), 0)              \
	ROW(SVC_COUNTS, "sl_svc_counts", BPF_MAP_TYPE_PERCPU_ARRAY, 4, sizeof(struct sl_counter),  \
	    0)                                                                                     \
	ROW(SVC_DROPS, "sl_svc_drops", BPF_MAP_TYPE_PERCPU_ARRAY, 4,                               \
	    sizeof(struct sl_service_drops), 0)                                                    \
	ROW(BE_COUNTS, "sl_be_counts", BPF_MAP_TYPE_PERCPU_ARRAY, 4, sizeof(struct sl_counter), 0) \
	ROW(FLOWS, "sl_flows", BPF_MAP_TYPE_ARRAY, 4, sizeof(struct sl_flow_line), 0)              \
	ROW(FLOW_CONF, "sl_flow_conf", BPF_MAP_TYPE_ARRAY, 4, sizeof(struct sl_flow_conf), 1)      \
	ROW(FLOW_COUNTS, "sl_flow_counts", BPF_MAP_TYPE_PERCPU_ARRAY, 4,                           \
	    sizeof(struct sl_flow_counts), 1)                                                      \
	ROW(FLOW_SWEEP, "sl_flow_sweep", BPF_MAP_TYPE_ARRAY, 4, sizeof(struct sl_flow_sweep), 1)   \
	ROW(PHASES, "sl_phases", BPF_MAP_TYPE_ARRAY, 4, sizeof(struct sl_phase_times), 0)          \
	ROW(SVC_INFO, "sl_svc_info", BPF_MAP_TYPE_ARRAY, 4, sizeof(struct sl_service_info), 0)     \
	ROW(BE_INFO, "sl_be_info", BPF_MAP_TYPE_ARRAY, 4, sizeof(struct sl_backend_info), 0)       \
	ROW(FRAGMENTS, "sl_fragments", BPF_MAP_TYPE_LRU_HASH, sizeof(struct sl_fragment_key),      \
	    sizeof(struct sl_fragment), SL_FRAGMENTS_MAX)                                          \
	ROW(NEIGH_ASKS, "sl_neigh_asks", BPF_MAP_TYPE_RINGBUF, 0, 0, 0)                            \
	ROW(NAT_CONF, "sl_nat_conf", BPF_MAP_TYPE_ARRAY, 4, sizeof(struct sl_nat_conf), 1)         \
	ROW(NAT_TABLES, "sl_nat_tables", BPF_MAP_TYPE_ARRAY_OF_MAPS, 4, 4, SL_NAT_ADDRESSES_MAX)

enum dataplane_map {
#define DATAPLANE_MAP_ENUM(symbol, ...) DATAPLANE_MAP_##symbol,
	DATAPLANE_MAP_TABLE(DATAPLANE_MAP_ENUM)
#undef DATAPLANE_MAP_ENUM
		DATAPLANE_MAP_COUNT
};

#define STEER_LINK_PIN	  "steer_link"
#define DATAPLANE_PIN_MAX 128 /* name of a pin, NUL included */

struct xdp_main_bpf;
struct sk_lookup_bpf;

/* access_map.c: a set as it is mapped here; no lines: not yet. */
struct access_mapping {
	struct access_set set;
	bool is_trusted; /* no change was being made when it was found, or that is mended */
};

struct dataplane {
	char dir[PATH_MAX];
	int dir_fd;
	bool is_loader; /* dataplane_open(), not dataplane_open_pinned() */
	bool read_only;
	bool has_sockmap;
	int maps[DATAPLANE_MAP_COUNT];
	struct xdp_main_bpf *xdp;	 /* NULL for the CLI */
	struct sk_lookup_bpf *sk_lookup; /* NULL for the CLI and where the kernel has none */
	int steer_link_fd;

	int dispatcher_works;	/* -1: not tried yet */
	char (*made)[IFNAMSIZ]; /* interfaces that this process attached */
	size_t made_count;

	struct access_mapping access[2][2]; /* by kind and family */
	struct sl_access_conf *access_conf; /* mapped; NULL: not yet */
	/* access_list: no entry expires before; 0: not known. By kind and family. */
	uint64_t next_expiry_ns[2][2];
};

/* dataplane.c */

/* What libbpf says goes to the log, at debug. */
void dataplane_quiet_libbpf(void);

/* dataplane_pins.c */

/* Opens the directory on its bpffs; `create` makes it and mounts the bpffs where it may. */
int pins_open_dir(const char *dir, bool create, int *ret_dir_fd, struct error *err);
/* Takes the lock of those who change pins; it goes with the descriptor. -EBUSY. */
int pins_lock(const struct dataplane *dataplane, int *ret_lock_fd, struct error *err);
/*
 * A path to the pin that goes through our descriptor of the directory: after the drop of
 * privileges the directories above it need not be ours to cross (systemd's bpffs has mode 0700).
 */
int pins_path(const struct dataplane *dataplane, const char *name, char *buf, size_t buf_len);
/* Opens a pinned link, program or map by name. */
int pins_get(const struct dataplane *dataplane, const char *name);
int pins_put(const struct dataplane *dataplane, const char *name, int fd);
int pins_remove(const struct dataplane *dataplane, const char *name);
/* Calls visit for each name in the directory; the directory may change meanwhile. */
int pins_walk(const struct dataplane *dataplane, int (*visit)(const char *name, void *arg),
	      void *arg);

/* Opens those maps that are pinned, after a look at the version and each shape. */
int pins_open_maps(struct dataplane *dataplane, struct error *err);
/* Gives an object that is not loaded yet the open maps. */
int pins_give_maps(const struct dataplane *dataplane, struct bpf_object *object, struct error *err);
/* Takes the maps of a loaded object that were not open, fills sl_meta and pins them. */
int pins_take_maps(struct dataplane *dataplane, struct bpf_object *object, struct error *err);

/* dataplane_xdp.c */

/* Detaches what a pin stands for and removes the pin. Other pins are left alone. */
int xdp_detach_pin(struct dataplane *dataplane, const char *pin, struct error *err);
bool xdp_is_pin(const char *name);
/* Returns -ENODEV and names the nearest one that exists. */
int dataplane_no_interface(const char *name, struct error *err);

#endif

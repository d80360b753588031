/*
 * service: L4 services of the kernel part: what was asked for, and how the maps come to it.
 *
 *   configuration + overlay ──► service_set_apply() ──► maps (include/abi/service.h, flow.h)
 *                                service_set_tick() ──► phases of slots, ends of drains, scans
 *
 * The maps are the only state: names, weights, drains and schedules are pinned beside what BPF
 * reads, so that a restart goes on where the last daemon stopped, and nothing that is the same is
 * written again. Backends keep their number as long as a slot or an entry of the flow table names
 * it; a service keeps its number of slots for life. A change that a service cannot take in place
 * (other slots, another way of forwarding, more backends than its pool has room for) makes a new
 * one beside it and moves the addresses over: that forgets the state of its flows.
 *
 * Works on plain memory, which tests bring themselves. Thread rule: the control thread, or the CLI
 * that holds the owner lock.
 */
#ifndef SLUICE_KERN_SERVICE_H
#define SLUICE_KERN_SERVICE_H

#include <stdbool.h>
#include <stdint.h>

#include "abi/flow.h"
#include "abi/nat.h"
#include "abi/service_info.h"
#include "base/addr.h"
#include "base/error.h"
#include "base/json.h"
#include "base/str.h"
#include "kern/dataplane.h"
#include "kern/neighbours.h"

#define SERVICE_SLOTS_DEFAULT 65537u
#define SERVICE_SLOTS_EACH    100 /* slots for each backend, at least */
#define SERVICE_SLOTS_MAX     1638431u
#define SERVICE_BACKENDS_MAX  16000
#define SERVICE_ADDRESSES_MAX 256
#define SERVICE_PORTS_MAX     64
#define SERVICE_WEIGHT_MAX    65535
#define SERVICE_DRAIN_MAX_MS  86400000
#define SERVICE_TCP_WINDOW_S  600 /* W of abi/flow.h */
#define SERVICE_TCP_IDLE_S    300 /* R */
#define SERVICE_UDP_IDLE_S    60  /* both */

struct service_ports {
	uint16_t first;
	uint16_t last;
};

struct service_health {
	bool enabled;
	uint16_t port; /* 0: that of the backend, or the service's only port */
	uint64_t interval_ms, timeout_ms;
	uint64_t rise, fall;
};

struct service_backend {
	struct ip_addr addr;
	uint16_t port; /* nat: 0 keeps the destination port */
	uint32_t weight;
	bool drained; /* by a person */
	bool from_cli;
	uint32_t line, column; /* 0: not from a file */
};

struct service_conf {
	struct str name; /* at most SL_SERVICE_NAME_MAX - 1 bytes */
	uint32_t line, column;
	struct ip_addr *addresses;
	unsigned int address_count;
	struct service_ports *ports;
	unsigned int port_count;
	uint8_t protocol; /* IPPROTO_TCP, IPPROTO_UDP; 0: both */
	enum sl_forward forward;
	enum sl_affinity affinity;
	uint32_t slot_count; /* a prime; 0: chosen by the number of backends */
	uint64_t drain_ms;
	bool from_cli;
	struct service_backend *backends;
	unsigned int backend_count;
	struct service_health health;
	/* It is deleted when this time has come, and new connections are not taken any more. */
	uint64_t leave_drain_ms, leave_wall_ms; /* 0: it stays */
	uint64_t leave_boot_ns;			/* the same for the maps */
};

/* Its backend of that address and port, or NULL. */
const struct service_backend *service_conf_backend(const struct service_conf *conf,
						   const struct ip_addr *addr, uint16_t port);

/* Elements of arrays are padded to eight bytes. */
struct service_slot {
	uint32_t word; /* SL_SLOT() */
};

/* The maps as memory; unit tests bring their own. Descriptors are -1 there. */
struct service_maps {
	struct sl_service_key *keys;
	struct sl_service_ranges *ranges;
	struct sl_service_state *state;
	struct sl_service *services;
	struct sl_backend *backends;
	struct service_slot *slots;
	struct sl_flow_line *flows;
	const struct sl_flow_conf *flow_conf;
	struct sl_phase_times *phases;
	struct sl_service_info *service_info;
	struct sl_backend_info *backend_info;
	uint32_t key_count, range_count, service_count, backend_count, slot_count, line_count;
	int service_counts_fd, service_drops_fd, backend_counts_fd, flow_counts_fd;
	/* Tables of mode nat, open while somebody looks through them; NULL: there are none. */
	int (*nat_open)(void *arg, uint32_t index, struct sl_nat_line **ret_lines); /* -ENOENT */
	void (*nat_close)(struct sl_nat_line *lines);
	void *nat_arg;
};

int service_maps_open(struct dataplane *dataplane, bool read_only, struct service_maps *ret_maps,
		      struct error *err);
void service_maps_close(struct service_maps *maps);

/* What happened to a backend or service, for logs and events. */
enum service_event {
	SERVICE_ADDED,
	SERVICE_CHANGED,
	SERVICE_REPLACED, /* by a new one beside it: flow state is lost */
	SERVICE_REMOVED,
	SERVICE_BACKEND_ADDED,
	SERVICE_BACKEND_REMOVED,
	SERVICE_BACKEND_DRAINED, /* its drain is over */
	SERVICE_FAILS_OPEN,	 /* no backend is up: the table stays as it was */
	SERVICE_RECOVERED,	 /* one is up again */
};

struct service_set {
	struct service_maps maps;
	struct neighbours *neighbours; /* the owner's; NULL: nothing is known of next hops */
	/* The owner's, by number of the backend, NULL where there is none; NULL: nobody probes. */
	struct service_probe *const *probes;
	uint64_t refused;      /* flows that found no room so far; without counts, the caller's */
	uint64_t scanned_ns;   /* when the last scan began */
	uint64_t removed_ns;   /* when keys were removed last */
	uint32_t range_next;   /* where the search for a free list of ranges begins */
	bool scan_due;	       /* something waits for one */
	bool nat_due;	       /* something waits for a pass over the tables of mode nat */
	uint32_t nat_next;     /* table with which the pass goes on */
	uint64_t nat_begun_ns; /* the pass under way; 0: none */
	uint64_t nat_swept_ns; /* when the last whole pass began; 0: none was whole */
	void (*on_event)(enum service_event event, const char *service, const char *backend,
			 void *arg);
	void *arg;
};

/*
 * Makes the services exactly these, all or (with the reason) none: what does not fit is found
 * before anything is written. `now_ns`: CLOCK_BOOTTIME.
 */
int service_set_apply(struct service_set *set, const struct service_conf *confs, unsigned int count,
		      uint64_t now_ns, struct error *err);
/* To be called every second. */
void service_set_tick(struct service_set *set, uint64_t now_ns);

/* ---- health ---- */

/* What one who probes a backend has seen since the probing began. */
struct service_probe {
	struct service_health conf;
	uint16_t port;	    /* that is called */
	bool up;	    /* what it came to, also in the maps */
	unsigned int row;   /* outcomes in a row that speak against that */
	int last_error;	    /* errno of the last failure; 0: none */
	uint64_t failed_ns; /* CLOCK_BOOTTIME of that */
	uint64_t succeeded, failed;
	uint64_t not_made; /* for want of something on this host: says nothing of the backend */
};

/* Counts an outcome: 0 or the errno. True: `up` changed. */
bool service_probe_note(struct service_probe *probe, int error, uint64_t now_ns);
/* How long until the first probe, and from the beginning of one to the next; `random`: any bits. */
uint64_t service_probe_first_ms(const struct service_health *conf, uint64_t random);
uint64_t service_probe_next_ms(const struct service_health *conf, uint64_t random);
/* The port to call for a backend with `port` of its own; 0: the configuration has to say it. */
uint16_t service_probe_port(const struct service_conf *conf, uint16_t port);

/* Probes of the backend at this place say so; settling brings that into force. */
void service_set_note_health(struct service_set *set, uint32_t place, bool up, uint64_t now_ns);
/*
 * Backends that are down get no packet. When all that might get new connections are down, the table
 * stays as it was: probes that all fail tell more of the prober than of the backends. `again`: the
 * last call failed (-ENOMEM).
 */
int service_set_settle(struct service_set *set, uint32_t service, bool again, uint64_t now_ns);
/* Both, by name. -ENOENT. */
int service_set_health(struct service_set *set, const char *service, const struct ip_addr *addr,
		       uint16_t port, bool up, uint64_t now_ns);
/* UINT32_MAX: there is none. */
uint32_t service_set_find(const struct service_set *set, struct str name);

/*
 * Has `neighbours` keep the next hops of all backends in the maps, and of those in confs, which are
 * to come: a backend that new connections go to at once must not be asked for first.
 */
int service_set_resolve(const struct service_set *set, const struct service_conf *confs,
			unsigned int count, struct error *err);

/* ---- looking ---- */

struct service_view {
	const char *name;
	uint32_t number;
	const struct sl_service *service;
	const struct sl_service_info *info;
	const struct sl_phase_times *times;
	uint32_t phases[4]; /* slots in each */
	uint64_t packets, bytes;
	uint64_t drops[SL_SERVICE_DROPS]; /* packets, by SL_SERVICE_DROP() */
};

struct service_backend_view {
	uint32_t number;
	const struct sl_backend *backend;
	const struct sl_backend_info *info;
	uint32_t slots; /* that have it as `current` */
	uint64_t packets, bytes;
};

int service_set_walk(const struct service_set *set,
		     int (*visit)(const struct service_view *view, void *arg), void *arg);
int service_set_walk_backends(const struct service_set *set, uint32_t service,
			      int (*visit)(const struct service_backend_view *view, void *arg),
			      void *arg);
/* What one service or backend has got so far, by its number; 0 where nothing can be read. */
void service_set_read_service(const struct service_set *set, uint32_t number, uint64_t *ret_packets,
			      uint64_t *ret_bytes);
void service_set_read_backend(const struct service_set *set, uint32_t place, uint64_t *ret_packets,
			      uint64_t *ret_bytes);
/* Packets of the service that were dropped, by SL_SERVICE_DROP(). */
void service_set_read_drops(const struct service_set *set, uint32_t number,
			    uint64_t ret_drops[SL_SERVICE_DROPS]);
/* "service_no_backend"; "other" for the first. */
const char *service_drop_name(unsigned int drop);
/* Without the work of counting slots and packets. */
void service_set_each_backend(const struct service_set *set,
			      void (*visit)(uint32_t service, const struct ip_addr *addr,
					    void *arg),
			      void *arg);
/* "services": [...], a member of an open object. */
int service_set_write_json(const struct service_set *set, struct json_writer *json,
			   uint64_t now_ns);
/* "192.0.2.1:53/udp", "[2001:db8::1]:1000-2000/tcp": one call for each. */
int service_set_walk_addresses(const struct service_set *set, uint32_t service,
			       int (*visit)(const char *text, void *arg), void *arg);
/* "up", "down", "draining", "drained", "removed" */
const char *service_backend_state(const struct sl_backend_info *info);
/* "10.1.0.11", "10.1.0.11:53", "[2001:db8::1]:53" */
const char *service_backend_format(const struct ip_addr *addr, uint16_t port, char *buf,
				   size_t buf_len);
struct ip_addr service_ip(const uint32_t *addr_be, uint8_t family);

/* The prime that a service with so many backends gets when none is asked for. */
uint32_t service_slots_choose(unsigned int backend_count);
uint32_t service_slots_prime(uint32_t at_least);

#endif

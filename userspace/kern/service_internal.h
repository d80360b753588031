/*
 * service_internal: what the service_*.c files of kern/ share.
 *
 *   service_keys    addresses and ports ──► number of a service
 *   service_slots   tables, phases, scans of the flow table
 *   service_set     services and their pools; calls the other two
 *   service_health  what probes say, and what comes of it
 *   service_nat     passes over the tables of mode nat
 *   service_change  changes by people: may they be made, and without a daemon?
 *   service_view    reading it all back
 */
#ifndef SLUICE_KERN_SERVICE_INTERNAL_H
#define SLUICE_KERN_SERVICE_INTERNAL_H

#include "kern/service.h"

#define NS_PER_S  1000000000ULL
#define NS_PER_MS 1000000ULL

/* Words that BPF reads while we write: one store each, in this order. */
static inline void publish_u32(uint32_t *word, uint32_t value)
{
	__atomic_store_n(word, value, __ATOMIC_RELEASE);
}

static inline uint32_t read_u32(const uint32_t *word)
{
	return __atomic_load_n(word, __ATOMIC_RELAXED);
}

/* Moves slots on whose time has come, and notes whether flows found no room. */
void service_slots_tick(struct service_set *set, uint32_t number, uint64_t now_ns);
/* Brings the slots to what weights and states of the backends say. -ENOMEM: all is as before. */
int service_slots_rebuild(struct service_set *set, uint32_t number, uint64_t now_ns);
/* First content of a service that no key names yet: no phases. */
int service_slots_fill(struct service_set *set, uint32_t number);
/* previous = current wherever `index` is previous. */
void service_slots_forget(struct service_set *set, uint32_t number, uint32_t index);
/* Walks the flow table once: cleans slots, frees numbers of backends. */
void service_slots_scan(struct service_set *set, uint64_t now_ns);
/* Entries that name backends first .. first + count - 1 go. */
void service_flows_clear(struct service_set *set, uint32_t first, uint32_t count);
/* Is any of its slots not in phase CLEAN? */
bool service_slots_in_change(const struct service_set *set, uint32_t number);

/*
 * Is there no entry of mode nat that names backends of this service which were given up at
 * `since_ns`, a time of this boot? If that is not known yet, the next pass will tell.
 */
bool service_nat_is_clear(struct service_set *set, uint32_t number, uint64_t since_ns);
/* A slice of the pass that is due: frees entries whose backend is gone. */
void service_nat_tick(struct service_set *set, uint64_t now_ns);

/*
 * Makes the keys those of the services: `numbers` beside `confs`. Adds, points over and removes, in
 * an order in which no address that stays ever misses. -ENOSPC before anything is written.
 */
int service_keys_check(const struct service_set *set, const struct service_conf *confs,
		       unsigned int count, struct error *err);
int service_keys_sync(struct service_set *set, const struct service_conf *confs,
		      const uint32_t *numbers, unsigned int count, uint64_t now_ns);

/*
 * DOWN of each backend as FAILING of all says, before the slots follow. True: something changed;
 * service_health_bury() then has to follow the slots.
 */
bool service_health_settle(struct service_set *set, uint32_t number);
/* Flow entries of those that are down are misses from now on. */
void service_health_bury(struct service_set *set, uint32_t number);
/* What probes said of the backends of `from`, for the same ones of `to`, which is new. */
void service_health_inherit(struct service_set *set, uint32_t from, uint32_t to);

void service_tell(struct service_set *set, enum service_event event, const char *service,
		  const char *backend);
/* Place of the backend in sl_backends, 0: none (place 0 is never one). */
uint32_t service_find_backend(const struct service_set *set, uint32_t number,
			      const struct ip_addr *addr, uint16_t port);
bool service_takes_new(const struct sl_backend_info *info);
void service_addr_be(const struct ip_addr *addr, uint32_t *ret_be);

#endif

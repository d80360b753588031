/*
 * service_key: is this address, port and protocol a service? See include/abi/service.h for how
 * userspace changes the table under our eyes.
 */
#ifndef SLUICE_BPF_LIB_SERVICE_KEY_H
#define SLUICE_BPF_LIB_SERVICE_KEY_H

#include "lib/flow.h"

/*
 * The key and its place in sl_svc_keys, or NULL. port and protocol of 0: the key of the address
 * itself.
 */
static __always_inline struct sl_service_key *
service_key_find_at(__u8 family, const __u32 *addr_be, __u16 port, __u8 protocol, __u32 *ret_place)
{
	__u32 place = service_key_place(addr_be, port, protocol, flow_conf.key_count);

	for (int probe = 0; probe < SL_SERVICE_PROBES; probe++, place++) {
		__u32 at = place & (flow_conf.key_count - 1);
		struct sl_service_key *key = bpf_map_lookup_elem(&sl_svc_keys, &at);
		__u32 value;

		if (!key)
			return NULL;
		value = *(volatile __u32 *)&key->value;
		if (value == SL_SERVICE_KEY_EMPTY)
			return NULL;
		if (value == SL_SERVICE_KEY_REMOVED || key->addr_be[0] != addr_be[0] ||
		    key->port != port || key->protocol != protocol || key->family != family)
			continue;
		if (family == SL_FAMILY_V4 ||
		    (key->addr_be[1] == addr_be[1] && key->addr_be[2] == addr_be[2] &&
		     key->addr_be[3] == addr_be[3])) {
			*ret_place = at;
			return key;
		}
	}
	return NULL;
}

static __always_inline struct sl_service_key *service_key_find(__u8 family, const __u32 *addr_be,
							       __u16 port, __u8 protocol)
{
	__u32 place;

	return service_key_find_at(family, addr_be, port, protocol, &place);
}

static __always_inline struct sl_service_key *service_address_find(__u8 family,
								   const __u32 *addr_be)
{
	return service_key_find(family, addr_be, 0, 0);
}

/* Number + 1 of the service whose range of this address holds the port; 0: none. */
static __always_inline __u32 service_range_find(__u8 family, const __u32 *addr_be, __u16 port,
						__u8 protocol)
{
	struct sl_service_key *key = service_address_find(family, addr_be);
	struct sl_service_ranges *list;
	__u32 at;

	if (!key || !key->ranges)
		return 0;
	at = key->ranges - 1;
	list = bpf_map_lookup_elem(&sl_svc_ranges, &at);
	if (!list)
		return 0;
	for (__u32 nth = 0; nth < SL_SERVICE_RANGES_MAX && nth < list->count; nth++) {
		struct sl_service_range *range = &list->ranges[nth];

		if (port >= range->first && port <= range->last &&
		    (!range->protocol || range->protocol == protocol))
			return range->service + 1;
	}
	return 0;
}

struct service_ask {
	__u32 addr_be[4];
	__u16 port;
	__u8 protocol;
	__u8 family;
};

/* A global function: most packets of most nodes never come here. */
__noinline int service_find_range(const struct service_ask *ask)
{
	if (!ask)
		return 0;
	return service_range_find(ask->family, ask->addr_be, ask->port, ask->protocol);
}

/*
 * Number + 1 of the service; 0: none. The place of its key in sl_svc_keys, or SERVICE_NO_PLACE
 * where a range of the address has it.
 */
#define SERVICE_NO_PLACE (~0U)

static __always_inline __u32 service_find(__u8 family, const __u32 *addr_be, __u16 port,
					  __u8 protocol, bool has_ranges, __u32 *ret_place)
{
	struct sl_service_key *key = NULL;

	*ret_place = SERVICE_NO_PLACE;
	/* Port 0 and protocol 0 are what the key of an address has. */
	if (port)
		key = service_key_find_at(family, addr_be, port, protocol, ret_place);
	if (key)
		return key->value;
	if (has_ranges) {
		struct service_ask ask = {.port = port, .protocol = protocol, .family = family};

		__builtin_memcpy(ask.addr_be, addr_be, sizeof(ask.addr_be));
		return service_find_range(&ask);
	}
	return 0;
}

#endif

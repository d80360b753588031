/* Addresses and ports of services in sl_svc_keys and sl_svc_ranges. */
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "abi/flow_rules.h"
#include "base/cleanup.h"
#include "base/util.h"
#include "kern/service_internal.h"

/* What the keys are to be. */
struct wanted {
	struct sl_service_key *keys;
	struct sl_service_ranges *ranges; /* of keys[n], where that is the key of an address */
	unsigned int count, room;
	unsigned int with_ranges;
};

static void wanted_done(struct wanted *wanted)
{
	free(wanted->keys);
	free(wanted->ranges);
}

static bool same_key(const struct sl_service_key *left, const struct sl_service_key *right)
{
	return left->port == right->port && left->protocol == right->protocol &&
	       left->family == right->family &&
	       !memcmp(left->addr_be, right->addr_be, sizeof(left->addr_be));
}

static struct sl_service_key make_key(const struct ip_addr *addr, uint16_t port, uint8_t protocol)
{
	struct sl_service_key key = {.port = port, .protocol = protocol};

	service_addr_be(addr, key.addr_be);
	key.family = addr->family == AF_INET6 ? SL_FAMILY_V6 : SL_FAMILY_V4;
	return key;
}

static int wanted_add(struct wanted *wanted, const struct sl_service_key *key, unsigned int *ret)
{
	if (wanted->count == wanted->room) {
		unsigned int room = wanted->room ? wanted->room * 2 : 64;
		struct sl_service_key *keys = realloc(wanted->keys, room * sizeof(*keys));
		struct sl_service_ranges *ranges;

		if (!keys)
			return -ENOMEM;
		wanted->keys = keys;
		ranges = realloc(wanted->ranges, room * sizeof(*ranges));
		if (!ranges)
			return -ENOMEM;
		wanted->ranges = ranges;
		wanted->room = room;
	}
	wanted->keys[wanted->count] = *key;
	memset(&wanted->ranges[wanted->count], 0, sizeof(*wanted->ranges));
	*ret = wanted->count++;
	return 0;
}

/* The key of an address is shared by all services that have it. */
static int wanted_address(struct wanted *wanted, const struct ip_addr *addr, unsigned int *ret)
{
	struct sl_service_key key = make_key(addr, 0, 0);

	key.value = SL_SERVICE_KEY_ADDRESS;
	for (unsigned int i = 0; i < wanted->count; i++)
		if (same_key(&wanted->keys[i], &key)) {
			*ret = i;
			return 0;
		}
	return wanted_add(wanted, &key, ret);
}

static int want_range(struct wanted *wanted, unsigned int address,
		      const struct service_ports *ports, uint8_t protocol, uint32_t number)
{
	struct sl_service_ranges *ranges = &wanted->ranges[address];

	if (ranges->count == SL_SERVICE_RANGES_MAX)
		return -E2BIG;
	if (!ranges->count)
		wanted->with_ranges++;
	ranges->ranges[ranges->count++] = (struct sl_service_range){
		.first = ports->first,
		.last = ports->last,
		.protocol = protocol,
		.service = number,
	};
	return 0;
}

static int want_port(struct wanted *wanted, const struct ip_addr *addr, uint16_t port,
		     uint8_t protocol, uint32_t number)
{
	struct sl_service_key key = make_key(addr, port, protocol);
	unsigned int place;

	key.value = number + 1;
	return wanted_add(wanted, &key, &place);
}

static int want_ports(struct wanted *wanted, const struct ip_addr *addr, unsigned int address,
		      const struct service_ports *ports, uint8_t protocol, uint32_t number)
{
	int r = 0;

	if (ports->first != ports->last)
		return want_range(wanted, address, ports, protocol, number);
	if (!protocol || protocol == IPPROTO_TCP)
		r = want_port(wanted, addr, ports->first, IPPROTO_TCP, number);
	if (!r && (!protocol || protocol == IPPROTO_UDP))
		r = want_port(wanted, addr, ports->first, IPPROTO_UDP, number);
	return r;
}

static int want_service(struct wanted *wanted, const struct service_conf *conf, uint32_t number)
{
	int r = 0;

	for (unsigned int i = 0; i < conf->address_count && !r; i++) {
		unsigned int address;

		r = wanted_address(wanted, &conf->addresses[i], &address);
		for (unsigned int j = 0; j < conf->port_count && !r; j++)
			r = want_ports(wanted, &conf->addresses[i], address, &conf->ports[j],
				       conf->protocol, number);
	}
	return r;
}

/* ---- the table ---- */

static uint32_t place_of(const struct service_maps *maps, const struct sl_service_key *key,
			 unsigned int probe)
{
	uint32_t first = service_key_place(key->addr_be, key->port, key->protocol, maps->key_count);

	return (first + probe) & (maps->key_count - 1);
}

static struct sl_service_key *find_key(const struct service_maps *maps,
				       const struct sl_service_key *key)
{
	for (unsigned int probe = 0; probe < SL_SERVICE_PROBES; probe++) {
		struct sl_service_key *place = &maps->keys[place_of(maps, key, probe)];

		if (place->value == SL_SERVICE_KEY_EMPTY)
			return NULL;
		if (place->value != SL_SERVICE_KEY_REMOVED && same_key(place, key))
			return place;
	}
	return NULL;
}

static struct sl_service_key *find_room(const struct service_set *set,
					const struct sl_service_key *key, uint64_t now_ns)
{
	bool reuse = now_ns >= set->removed_ns + SL_SERVICE_GRACE_MS * NS_PER_MS;

	for (unsigned int probe = 0; probe < SL_SERVICE_PROBES; probe++) {
		struct sl_service_key *place = &set->maps.keys[place_of(&set->maps, key, probe)];

		if (place->value == SL_SERVICE_KEY_EMPTY ||
		    (reuse && place->value == SL_SERVICE_KEY_REMOVED))
			return place;
	}
	return NULL;
}

/* A list that no key names; those that were in use last are taken last. 0: none. */
static uint32_t find_list(struct service_set *set)
{
	struct service_maps *maps = &set->maps;

	for (uint32_t i = 0; i < maps->range_count; i++) {
		uint32_t list = (set->range_next + i) % maps->range_count;
		bool used = false;

		for (uint32_t j = 0; j < maps->key_count && !used; j++)
			used = maps->keys[j].value == SL_SERVICE_KEY_ADDRESS &&
			       maps->keys[j].ranges == list + 1;
		if (!used) {
			set->range_next = list + 1;
			return list + 1;
		}
	}
	return 0;
}

static int write_ranges(struct service_set *set, struct sl_service_key *key,
			const struct sl_service_ranges *ranges)
{
	uint32_t list;

	if (!ranges->count) {
		publish_u32(&key->ranges, 0);
		return 0;
	}
	if (key->ranges && !memcmp(&set->maps.ranges[key->ranges - 1], ranges, sizeof(*ranges)))
		return 0;
	list = find_list(set);
	if (!list)
		return -ENOSPC;
	set->maps.ranges[list - 1] = *ranges;
	publish_u32(&key->ranges, list);
	return 0;
}

static int write_key(struct service_set *set, const struct wanted *wanted, unsigned int index,
		     uint64_t now_ns)
{
	const struct sl_service_key *want = &wanted->keys[index];
	struct sl_service_key *key = find_key(&set->maps, want);
	int r = 0;

	if (key) {
		if (key->value == SL_SERVICE_KEY_ADDRESS)
			return write_ranges(set, key, &wanted->ranges[index]);
		if (key->value != want->value)
			publish_u32(&key->value, want->value);
		return 0;
	}
	key = find_room(set, want, now_ns);
	if (!key)
		return -ENOSPC;
	memcpy(key->addr_be, want->addr_be, sizeof(key->addr_be));
	key->port = want->port;
	key->protocol = want->protocol;
	key->family = want->family;
	key->ranges = 0;
	if (want->value == SL_SERVICE_KEY_ADDRESS)
		r = write_ranges(set, key, &wanted->ranges[index]);
	if (!r)
		publish_u32(&key->value, want->value);
	return r;
}

static int compare_keys(const void *left, const void *right)
{
	const struct sl_service_key *a = left, *b = right;

	return memcmp(a, b, offsetof(struct sl_service_key, value));
}

/* Takes away what is not wanted. `sorted`: the keys alone, for the search. */
static uint32_t remove_others(struct service_set *set, const struct sl_service_key *sorted,
			      unsigned int count, uint64_t now_ns)
{
	struct service_maps *maps = &set->maps;
	uint32_t used = 0;

	for (uint32_t i = 0; i < maps->key_count; i++) {
		struct sl_service_key *key = &maps->keys[i];

		if (key->value == SL_SERVICE_KEY_EMPTY || key->value == SL_SERVICE_KEY_REMOVED)
			continue;
		if (count && bsearch(key, sorted, count, sizeof(*sorted), compare_keys)) {
			used++;
			continue;
		}
		publish_u32(&key->value, SL_SERVICE_KEY_REMOVED);
		set->removed_ns = now_ns;
	}
	return used;
}

static int want_all(struct wanted *wanted, const struct service_conf *confs,
		    const uint32_t *numbers, unsigned int count)
{
	int r = 0;

	for (unsigned int i = 0; i < count && !r; i++)
		r = want_service(wanted, &confs[i], numbers ? numbers[i] : i);
	return r;
}

static int check_twice(struct wanted *wanted, const struct service_conf *confs, struct error *err)
{
	qsort(wanted->keys, wanted->count, sizeof(*wanted->keys), compare_keys);
	for (unsigned int i = 1; i < wanted->count; i++) {
		const struct sl_service_key *key = &wanted->keys[i];

		if (compare_keys(key - 1, key) || key->value == SL_SERVICE_KEY_ADDRESS)
			continue;
		return error_set(err, -EEXIST, "services '%.*s' and '%.*s' have the same port %u",
				 STR_FMT(confs[key[-1].value - 1].name),
				 STR_FMT(confs[key->value - 1].name), key->port);
	}
	return 0;
}

int service_keys_check(const struct service_set *set, const struct service_conf *confs,
		       unsigned int count, struct error *err)
{
	_cleanup_(wanted_done)
	struct wanted wanted = {0};
	int r = want_all(&wanted, confs, NULL, count);

	if (r == -E2BIG)
		return error_set(err, r, "an address has more than %d ranges of ports",
				 SL_SERVICE_RANGES_MAX);
	if (r)
		return error_set(err, r, "out of memory");
	/* Half full at most: then eight probes find a place. */
	if (wanted.count > set->maps.key_count / 2 ||
	    wanted.with_ranges > set->maps.range_count / 2)
		return error_set(err, -ENOSPC,
				 "%u addresses and ports, %u addresses with ranges: at most %u and "
				 "%u are possible",
				 wanted.count, wanted.with_ranges, set->maps.key_count / 2,
				 set->maps.range_count / 2);
	return wanted.count ? check_twice(&wanted, confs, err) : 0;
}

int service_keys_sync(struct service_set *set, const struct service_conf *confs,
		      const uint32_t *numbers, unsigned int count, uint64_t now_ns)
{
	_cleanup_(wanted_done)
	struct wanted wanted = {0};
	struct sl_service_state *state = set->maps.state;
	int r = want_all(&wanted, confs, numbers, count);

	/* Looked at before the keys: never too few of them. */
	if (!r && wanted.count) {
		publish_u32(&state->range_count, MAX(state->range_count, wanted.with_ranges));
		publish_u32(&state->key_count, MAX(state->key_count, wanted.count));
	}
	for (unsigned int i = 0; i < wanted.count && !r; i++)
		r = write_key(set, &wanted, i, now_ns);
	if (r)
		return r;
	if (wanted.count)
		qsort(wanted.keys, wanted.count, sizeof(*wanted.keys), compare_keys);
	publish_u32(&state->key_count, remove_others(set, wanted.keys, wanted.count, now_ns));
	publish_u32(&state->range_count, wanted.with_ranges);
	return 0;
}

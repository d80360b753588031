#include "kern/nat_view.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <string.h>

#include "base/util.h"
#include "kern/dataplane_internal.h"
#include "kern/nat_table.h"

static const char *const state_names[] = {
#define STATE_NAME(symbol, number, name, meaning) [number] = (name),
	SL_NAT_STATE_TABLE(STATE_NAME)
#undef STATE_NAME
};

bool nat_state_exists(const char *name)
{
	for (size_t i = SL_NAT_BUSY + 1; i < ARRAY_SIZE(state_names); i++)
		if (state_names[i] && !strcmp(name, state_names[i]))
			return true;
	return false;
}

struct walk {
	const struct service_maps *maps;
	const struct sl_nat_conf *conf;
	uint32_t address, now;
	int (*visit)(const struct nat_flow *flow, void *arg);
	void *arg;
	uint64_t expired;
};

static struct sock_addr place(uint32_t addr_be, uint16_t port)
{
	struct ip_addr addr = {.family = AF_INET};

	memcpy(addr.bytes, &addr_be, sizeof(addr_be));
	return sock_addr_make(&addr, port);
}

static uint64_t seconds(uint32_t units)
{
	return ((uint64_t)units << SL_NAT_TIME_SHIFT) / 1000000000ULL;
}

/* The key of the called address: of its port, or of the address, whose ranges have it. */
static const char *service_name(const struct service_maps *maps, const struct sl_service_key *key,
				uint16_t port, uint8_t protocol)
{
	uint32_t number = key->value - 1;

	if (key->value == SL_SERVICE_KEY_EMPTY || key->value == SL_SERVICE_KEY_REMOVED)
		return NULL;
	if (key->value == SL_SERVICE_KEY_ADDRESS) {
		const struct sl_service_ranges *list;

		number = UINT32_MAX;
		if (!key->ranges || key->ranges > maps->range_count)
			return NULL;
		list = &maps->ranges[key->ranges - 1];
		for (uint32_t i = MIN(list->count, (uint32_t)SL_SERVICE_RANGES_MAX); i-- > 0;) {
			const struct sl_service_range *range = &list->ranges[i];

			if (port >= range->first && port <= range->last &&
			    (!range->protocol || range->protocol == protocol))
				number = range->service;
		}
	}
	if (number >= maps->service_count || maps->service_info[number].use != SL_SERVICE_USED)
		return NULL;
	return maps->service_info[number].name;
}

static int visit_entry(struct walk *walk, const struct sl_nat_entry *entry, uint16_t port)
{
	const struct service_maps *maps = walk->maps;
	uint64_t key = __atomic_load_n(&entry->key, __ATOMIC_ACQUIRE);
	uint64_t value = __atomic_load_n(&entry->value, __ATOMIC_ACQUIRE);
	uint32_t state = SL_NAT_VALUE_STATE(value), flags = SL_NAT_VALUE_FLAGS(value);
	uint32_t number = SL_NAT_VALUE_BACKEND(value), at = (uint32_t)(key >> 48), age, limit;
	uint16_t called = SL_NAT_VALUE_PORT(value);
	const struct sl_backend *backend;
	struct nat_flow flow;

	if (state <= SL_NAT_BUSY || state >= ARRAY_SIZE(state_names) || !state_names[state] ||
	    number >= maps->backend_count || at >= maps->key_count ||
	    __atomic_load_n(&entry->key, __ATOMIC_ACQUIRE) != key)
		return 0;
	age = (walk->now + 1 - SL_NAT_VALUE_TIME(value)) & SL_NAT_TIME_MASK;
	flow.has_rst = flags & (SL_NAT_RST_CLIENT | SL_NAT_RST_BACKEND);
	limit = walk->conf->limits[SL_NAT_LIMIT(state, flow.has_rst)];
	if (age >= limit) {
		walk->expired++;
		return 0;
	}
	backend = &maps->backends[number];
	flow.protocol = state & SL_NAT_UDP_BIT ? IPPROTO_UDP : IPPROTO_TCP;
	flow.service = service_name(maps, &maps->keys[at], called, flow.protocol);
	flow.client = place((uint32_t)key, ntohs((uint16_t)(key >> 32)));
	flow.called = place(maps->keys[at].addr_be[0], called);
	flow.source = place(walk->conf->addresses[walk->address].addr_be, port);
	flow.backend = place(backend->addr_be[0], backend->port ? backend->port : called);
	flow.state = state_names[state];
	flow.idle_s = seconds(age ? age - 1 : 0);
	flow.left_s = seconds(limit - age);
	return walk->visit(&flow, walk->arg);
}

static int walk_table(struct walk *walk, const struct sl_nat_line *lines)
{
	int ret = 0;

	for (uint32_t port = 0; port < SL_NAT_LINES * SL_NAT_WAYS && !ret; port++)
		ret = visit_entry(walk, &lines[port / SL_NAT_WAYS].entries[port % SL_NAT_WAYS],
				  (uint16_t)port);
	return ret;
}

int nat_view_walk(const struct dataplane *dataplane, const struct service_maps *maps,
		  uint64_t now_mono_ns, int (*visit)(const struct nat_flow *flow, void *arg),
		  void *arg, uint64_t *ret_expired)
{
	struct sl_nat_conf conf;
	struct walk walk = {
		.maps = maps,
		.conf = &conf,
		.now = now_mono_ns >> SL_NAT_TIME_SHIFT & SL_NAT_TIME_MASK,
		.visit = visit,
		.arg = arg,
	};
	uint32_t zero = 0;
	int ret = bpf_map_lookup_elem(dataplane->maps[DATAPLANE_MAP_NAT_CONF], &zero, &conf);

	for (uint32_t i = 0; i < SL_NAT_ADDRESSES_MAX && !ret; i++) {
		struct sl_nat_line *lines;

		if (!conf.addresses[i].addr_be)
			continue;
		ret = nat_table_open(dataplane, i, true, &lines);
		if (ret)
			break;
		walk.address = i;
		ret = walk_table(&walk, lines);
		nat_table_close(lines);
	}
	*ret_expired = walk.expired;
	return ret;
}

/* Services as they are in the maps, for people. */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "kern/service_internal.h"
#include "kern/service_words.h"

struct ip_addr service_ip(const uint32_t *addr_be, uint8_t family)
{
	struct ip_addr addr = {.family = family == SL_FAMILY_V6 ? AF_INET6 : AF_INET};

	memcpy(addr.bytes, addr_be, family == SL_FAMILY_V6 ? 16 : 4);
	return addr;
}

void service_addr_be(const struct ip_addr *addr, uint32_t *ret_be)
{
	memcpy(ret_be, addr->bytes, sizeof(addr->bytes));
}

const char *service_backend_format(const struct ip_addr *addr, uint16_t port, char *buf,
				   size_t buf_len)
{
	struct sock_addr place;

	if (!port)
		return ip_addr_format(addr, buf, buf_len);
	place = sock_addr_make(addr, port);
	return sock_addr_format(&place, buf, buf_len);
}

const char *service_backend_state(const struct sl_backend_info *info)
{
	if (info->state & SL_BACKEND_REMOVED)
		return "removed";
	if (info->state & SL_BACKEND_OVER)
		return "drained";
	if (info->state & SL_BACKEND_DRAINING)
		return "draining";
	return info->state & SL_BACKEND_FAILING ? "down" : "up";
}

static void read_counter(int fd, uint32_t index, uint64_t *ret_packets, uint64_t *ret_bytes)
{
	int cpus = fd >= 0 ? libbpf_num_possible_cpus() : 0;
	_cleanup_free_ struct sl_counter *counts =
		cpus > 0 ? calloc((size_t)cpus, sizeof(*counts)) : NULL;

	*ret_packets = *ret_bytes = 0;
	if (!counts || bpf_map_lookup_elem(fd, &index, counts))
		return;
	for (int i = 0; i < cpus; i++) {
		*ret_packets += counts[i].packets;
		*ret_bytes += counts[i].bytes;
	}
}

void service_set_read_drops(const struct service_set *set, uint32_t number,
			    uint64_t ret_drops[SL_SERVICE_DROPS])
{
	int cpus = set->maps.service_drops_fd >= 0 ? libbpf_num_possible_cpus() : 0;
	_cleanup_free_ struct sl_service_drops *drops =
		cpus > 0 ? calloc((size_t)cpus, sizeof(*drops)) : NULL;

	memset(ret_drops, 0, SL_SERVICE_DROPS * sizeof(*ret_drops));
	if (!drops || bpf_map_lookup_elem(set->maps.service_drops_fd, &number, drops))
		return;
	for (int i = 0; i < cpus; i++)
		for (unsigned int j = 0; j < SL_SERVICE_DROPS; j++)
			ret_drops[j] += drops[i].packets[j];
}

const char *service_drop_name(unsigned int drop)
{
	static const char *const names[] = {
#define NAME(symbol, name, meaning) [SL_REASON_##symbol] = name,
		SL_REASON_TABLE(NAME)
#undef NAME
	};

	return drop && SL_REASON_SERVICE + drop < ARRAY_SIZE(names)
		       ? names[SL_REASON_SERVICE + drop]
		       : "other";
}

void service_set_read_service(const struct service_set *set, uint32_t number, uint64_t *ret_packets,
			      uint64_t *ret_bytes)
{
	read_counter(set->maps.service_counts_fd, number, ret_packets, ret_bytes);
}

void service_set_read_backend(const struct service_set *set, uint32_t place, uint64_t *ret_packets,
			      uint64_t *ret_bytes)
{
	read_counter(set->maps.backend_counts_fd, place, ret_packets, ret_bytes);
}

int service_set_walk(const struct service_set *set,
		     int (*visit)(const struct service_view *view, void *arg), void *arg)
{
	const struct service_maps *maps = &set->maps;
	int r = 0;

	for (uint32_t i = 0; i < maps->service_count && !r; i++) {
		const struct sl_service *service = &maps->services[i];
		struct service_view view = {
			.name = maps->service_info[i].name,
			.number = i,
			.service = service,
			.info = &maps->service_info[i],
			.times = &maps->phases[i],
		};

		if (view.info->use != SL_SERVICE_USED)
			continue;
		for (uint32_t j = 0; j < service->slot_count; j++)
			view.phases[SL_SLOT_PHASE(maps->slots[service->slot_base + j].word) & 3]++;
		read_counter(maps->service_counts_fd, i, &view.packets, &view.bytes);
		service_set_read_drops(set, i, view.drops);
		r = visit(&view, arg);
	}
	return r;
}

int service_set_walk_backends(const struct service_set *set, uint32_t number,
			      int (*visit)(const struct service_backend_view *view, void *arg),
			      void *arg)
{
	const struct service_maps *maps = &set->maps;
	const struct sl_service *service = &maps->services[number];
	_cleanup_free_ uint32_t *slots = calloc(SL_POOL_MAX, sizeof(*slots));
	int r = 0;

	if (!slots)
		return -ENOMEM;
	for (uint32_t i = 0; i < service->slot_count; i++)
		slots[SL_SLOT_CURRENT(maps->slots[service->slot_base + i].word)]++;
	for (uint32_t i = 1; i < service->backend_count && !r; i++) {
		uint32_t place = service->backend_base + i;
		struct service_backend_view view = {
			.number = place,
			.backend = &maps->backends[place],
			.info = &maps->backend_info[place],
			.slots = slots[i],
		};

		if (!(view.info->state & SL_BACKEND_USED))
			continue;
		read_counter(maps->backend_counts_fd, place, &view.packets, &view.bytes);
		r = visit(&view, arg);
	}
	return r;
}

static void format_place(const struct sl_service_key *key, uint16_t first, uint16_t last,
			 uint8_t protocol, char *buf, size_t buf_len)
{
	struct ip_addr addr = service_ip(key->addr_be, key->family);
	char text[ADDR_TEXT_MAX], ports[16];

	(void)ip_addr_format(&addr, text, sizeof(text));
	(void)service_ports_format(&(struct service_ports){first, last}, ports, sizeof(ports));
	(void)snprintf(buf, buf_len, addr.family == AF_INET6 ? "[%s]:%s/%s" : "%s:%s/%s", text,
		       ports, service_protocol_name(protocol));
}

int service_set_walk_addresses(const struct service_set *set, uint32_t number,
			       int (*visit)(const char *text, void *arg), void *arg)
{
	const struct service_maps *maps = &set->maps;
	char text[2 * ADDR_TEXT_MAX];
	int r = 0;

	for (uint32_t i = 0; i < maps->key_count && !r; i++) {
		const struct sl_service_key *key = &maps->keys[i];

		if (key->value == number + 1) {
			format_place(key, key->port, key->port, key->protocol, text, sizeof(text));
			r = visit(text, arg);
		}
		if (key->value != SL_SERVICE_KEY_ADDRESS || !key->ranges ||
		    key->ranges > maps->range_count)
			continue;
		for (uint32_t j = 0; j < SL_SERVICE_RANGES_MAX && !r; j++) {
			const struct sl_service_ranges *list = &maps->ranges[key->ranges - 1];
			const struct sl_service_range *range = &list->ranges[j];

			if (j >= list->count || range->service != number)
				continue;
			format_place(key, range->first, range->last, range->protocol, text,
				     sizeof(text));
			r = visit(text, arg);
		}
	}
	return r;
}

/* What probes say of backends, and what comes of it for the tables of their services. */
#include <errno.h>
#include <string.h>

#include "kern/service_internal.h"

/* ---- one backend ---- */

bool service_probe_note(struct service_probe *probe, int error, uint64_t now_ns)
{
	uint64_t needed = probe->up ? probe->conf.fall : probe->conf.rise;

	if (error) {
		probe->failed++;
		probe->last_error = error;
		probe->failed_ns = now_ns;
	} else {
		probe->succeeded++;
	}
	probe->row = probe->up == !error ? 0 : probe->row + 1;
	if (probe->row < needed)
		return false;
	probe->up = !probe->up;
	probe->row = 0;
	return true;
}

static uint64_t below(uint64_t random, uint64_t limit)
{
	return (uint64_t)(((unsigned __int128)random * limit) >> 64);
}

/* Anywhere in the first interval, so that the backends of a service are called one by one. */
uint64_t service_probe_first_ms(const struct service_health *conf, uint64_t random)
{
	return below(random, conf->interval_ms);
}

/* A sixteenth around the interval: what came together by chance comes apart. */
uint64_t service_probe_next_ms(const struct service_health *conf, uint64_t random)
{
	uint64_t spread = conf->interval_ms / 8;

	return conf->interval_ms - spread / 2 + below(random, spread + 1);
}

uint16_t service_probe_port(const struct service_conf *conf, uint16_t port)
{
	if (conf->health.port)
		return conf->health.port;
	if (port)
		return port;
	return conf->port_count == 1 && conf->ports[0].first == conf->ports[0].last
		       ? conf->ports[0].first
		       : 0;
}

/* ---- all of a service ---- */

void service_set_note_health(struct service_set *set, uint32_t place, bool up, uint64_t now_ns)
{
	struct sl_backend_info *info = &set->maps.backend_info[place];

	if (up == !(info->state & SL_BACKEND_FAILING))
		return;
	info->state ^= SL_BACKEND_FAILING;
	info->health_boot_ns = now_ns;
}

/* Would it get new connections if it were up? */
static bool is_candidate(const struct sl_backend_info *info)
{
	return (info->state & SL_BACKEND_USED) && info->weight &&
	       !(info->state & (SL_BACKEND_DRAINING | SL_BACKEND_REMOVED | SL_BACKEND_OVER));
}

static void note_fail_open(struct service_set *set, uint32_t number, bool fail_open)
{
	struct sl_service_info *info = &set->maps.service_info[number];

	if (fail_open == !!info->fail_open)
		return;
	info->fail_open = fail_open;
	info->fail_opens += fail_open;
	service_tell(set, fail_open ? SERVICE_FAILS_OPEN : SERVICE_RECOVERED, info->name, NULL);
}

bool service_health_settle(struct service_set *set, uint32_t number)
{
	const struct sl_service *service = &set->maps.services[number];
	struct sl_backend_info *pool = &set->maps.backend_info[service->backend_base];
	bool any = false, any_healthy = false, any_in_table = false, changed = false, fail_open;

	for (uint32_t i = 1; i < service->backend_count; i++) {
		if (!is_candidate(&pool[i]))
			continue;
		any = true;
		any_healthy |= !(pool[i].state & SL_BACKEND_FAILING);
		any_in_table |= !(pool[i].state & SL_BACKEND_DOWN);
	}
	fail_open = any && !any_healthy;
	note_fail_open(set, number, fail_open);
	for (uint32_t i = 1; i < service->backend_count; i++) {
		bool is_down = pool[i].state & SL_BACKEND_DOWN, down = is_down;

		if (!(pool[i].state & SL_BACKEND_USED))
			continue;
		if (!fail_open)
			down = pool[i].state & SL_BACKEND_FAILING;
		else if (!any_in_table && is_candidate(&pool[i]))
			down = false; /* who was in the table is gone: all share it */
		if (down == is_down)
			continue;
		pool[i].state ^= SL_BACKEND_DOWN;
		changed = true;
		/* Before the slots name it again. */
		if (!down && !(pool[i].state & SL_BACKEND_OVER))
			publish_u32(&set->maps.backends[service->backend_base + i].flags,
				    SL_BACKEND_LIVE);
	}
	return changed;
}

void service_health_bury(struct service_set *set, uint32_t number)
{
	const struct sl_service *service = &set->maps.services[number];

	for (uint32_t i = 1; i < service->backend_count; i++) {
		uint32_t place = service->backend_base + i;
		uint32_t state = set->maps.backend_info[place].state;

		if ((state & SL_BACKEND_USED) && (state & SL_BACKEND_DOWN))
			publish_u32(&set->maps.backends[place].flags,
				    SL_BACKEND_LIVE | SL_BACKEND_DEAD);
	}
}

void service_health_inherit(struct service_set *set, uint32_t from, uint32_t to)
{
	const uint32_t kept = SL_BACKEND_FAILING | SL_BACKEND_DOWN;
	const struct sl_service *service = &set->maps.services[from];
	struct sl_service_info *info = set->maps.service_info;

	info[to].fail_open = info[from].fail_open;
	info[to].fail_opens = info[from].fail_opens;
	for (uint32_t i = 1; i < service->backend_count; i++) {
		uint32_t place = service->backend_base + i, now;
		const struct sl_backend *backend = &set->maps.backends[place];
		const struct sl_backend_info *was = &set->maps.backend_info[place];
		struct ip_addr addr = service_ip(backend->addr_be, backend->family);

		if (!(was->state & SL_BACKEND_USED) || !was->health_boot_ns)
			continue;
		now = service_find_backend(set, to, &addr, backend->port);
		if (!now)
			continue;
		set->maps.backend_info[now].state |= was->state & kept;
		set->maps.backend_info[now].health_boot_ns = was->health_boot_ns;
	}
}

int service_set_settle(struct service_set *set, uint32_t number, bool again, uint64_t now_ns)
{
	int r;

	if (!service_health_settle(set, number) && !again)
		return 0;
	r = service_slots_rebuild(set, number, now_ns);
	if (!r)
		service_health_bury(set, number);
	return r;
}

int service_set_health(struct service_set *set, const char *service, const struct ip_addr *addr,
		       uint16_t port, bool up, uint64_t now_ns)
{
	uint32_t number = service_set_find(set, str_from_cstr(service)), place;

	place = number == UINT32_MAX ? 0 : service_find_backend(set, number, addr, port);
	if (!place)
		return -ENOENT;
	service_set_note_health(set, place, up, now_ns);
	return service_set_settle(set, number, false, now_ns);
}

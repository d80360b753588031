/* Services and their pools in the maps: what is to be, against what is. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "kern/service_internal.h"

#define POOL_ROOM_LEAST 16
#define SCAN_EVERY_NS	(5 * NS_PER_S)
#define NO_SERVICE	UINT32_MAX

/* What is to become of one service. */
struct step {
	uint32_t number;
	bool is_new;
	struct sl_service made; /* is_new: its places */
};

uint32_t service_slots_prime(uint32_t at_least)
{
	for (uint32_t candidate = MAX(at_least, 2u);; candidate++) {
		bool prime = true;

		for (uint32_t divisor = 2; divisor * divisor <= candidate && prime; divisor++)
			prime = candidate % divisor != 0;
		if (prime)
			return candidate;
	}
}

/* With room for twice as many backends before the number would be too small. */
uint32_t service_slots_choose(unsigned int backend_count)
{
	uint32_t wanted = backend_count * SERVICE_SLOTS_EACH;

	if (wanted <= SERVICE_SLOTS_DEFAULT)
		return SERVICE_SLOTS_DEFAULT;
	return service_slots_prime(MIN(wanted * 2, SERVICE_SLOTS_MAX));
}

static uint32_t room_for(unsigned int backend_count)
{
	return MIN(MAX(backend_count * 2 + 2, POOL_ROOM_LEAST), SL_POOL_MAX);
}

void service_tell(struct service_set *set, enum service_event event, const char *service,
		  const char *backend)
{
	if (set->on_event)
		set->on_event(event, service, backend, set->arg);
}

static void tell_backend(struct service_set *set, enum service_event event, uint32_t service,
			 uint32_t place)
{
	const struct sl_backend *backend = &set->maps.backends[place];
	struct ip_addr addr = service_ip(backend->addr_be, backend->family);
	char text[ADDR_TEXT_MAX];

	service_tell(set, event, set->maps.service_info[service].name,
		     service_backend_format(&addr, backend->port, text, sizeof(text)));
}

/* ---- finding ---- */

uint32_t service_set_find(const struct service_set *set, struct str name)
{
	for (uint32_t i = 0; i < set->maps.service_count; i++)
		if (set->maps.service_info[i].use == SL_SERVICE_USED &&
		    str_eq_cstr(name, set->maps.service_info[i].name))
			return i;
	return NO_SERVICE;
}

uint32_t service_find_backend(const struct service_set *set, uint32_t number,
			      const struct ip_addr *addr, uint16_t port)
{
	const struct sl_service *service = &set->maps.services[number];

	for (uint32_t i = 1; i < service->backend_count; i++) {
		uint32_t place = service->backend_base + i;
		const struct sl_backend *backend = &set->maps.backends[place];
		struct ip_addr its = service_ip(backend->addr_be, backend->family);

		if ((set->maps.backend_info[place].state & SL_BACKEND_USED) &&
		    backend->port == port && ip_addr_equal(&its, addr))
			return place;
	}
	return 0;
}

const struct service_backend *service_conf_backend(const struct service_conf *conf,
						   const struct ip_addr *addr, uint16_t port)
{
	for (unsigned int i = 0; i < conf->backend_count; i++)
		if (conf->backends[i].port == port && ip_addr_equal(&conf->backends[i].addr, addr))
			return &conf->backends[i];
	return NULL;
}

static const struct service_backend *conf_backend(const struct service_conf *conf,
						  const struct sl_backend *backend)
{
	struct ip_addr addr = service_ip(backend->addr_be, backend->family);

	return service_conf_backend(conf, &addr, backend->port);
}

/* ---- planning: nothing is written ---- */

static bool has_room(const struct service_set *set, uint32_t number,
		     const struct service_conf *conf)
{
	const struct sl_service *service = &set->maps.services[number];
	uint32_t room = 0, needed = 0;

	for (uint32_t i = 1; i < service->backend_count; i++)
		room += !(set->maps.backend_info[service->backend_base + i].state &
			  SL_BACKEND_USED);
	for (unsigned int i = 0; i < conf->backend_count; i++)
		needed += !service_find_backend(set, number, &conf->backends[i].addr,
						conf->backends[i].port);
	return needed <= room;
}

static bool fits_in_place(const struct service_set *set, uint32_t number,
			  const struct service_conf *conf)
{
	const struct sl_service *service = &set->maps.services[number];

	return service->forward == (uint8_t)conf->forward &&
	       service->affinity == (uint8_t)conf->affinity &&
	       set->maps.service_info[number].protocol == conf->protocol &&
	       (!conf->slot_count || conf->slot_count == service->slot_count) &&
	       service->slot_count / SERVICE_SLOTS_EACH >= conf->backend_count &&
	       has_room(set, number, conf);
}

struct span {
	uint32_t first, count;
};

static int compare_spans(const void *left, const void *right)
{
	const struct span *a = left, *b = right;

	return a->first < b->first ? -1 : a->first > b->first;
}

/* First gap of `count` in 0 .. limit - 1, or -1. Sorts the spans. */
static int64_t find_gap(struct span *spans, unsigned int span_count, uint32_t count, uint32_t limit)
{
	uint64_t at = 0;

	if (span_count)
		qsort(spans, span_count, sizeof(*spans), compare_spans);
	for (unsigned int i = 0; i < span_count; i++) {
		if (spans[i].first >= at + count)
			break;
		at = MAX(at, (uint64_t)spans[i].first + spans[i].count);
	}
	return at + count <= limit ? (int64_t)at : -1;
}

static bool is_taken(const struct service_set *set, const struct step *steps, unsigned int count,
		     uint32_t number)
{
	for (unsigned int i = 0; i < count; i++)
		if (steps[i].number == number)
			return true;
	return set->maps.service_info[number].use != SL_SERVICE_FREE;
}

/* Places of a new service, beside all that stand, leave, or are planned before it. */
static int plan_new(const struct service_set *set, const struct service_conf *confs,
		    struct step *steps, unsigned int index, struct error *err)
{
	const struct service_maps *maps = &set->maps;
	_cleanup_free_ struct span *slots = calloc(maps->service_count + index, sizeof(*slots));
	_cleanup_free_ struct span *pools = calloc(maps->service_count + index, sizeof(*pools));
	const struct service_conf *conf = &confs[index];
	struct sl_service *made = &steps[index].made;
	unsigned int count = 0;
	int64_t slot_base, backend_base;
	uint32_t number = 0;

	if (!slots || !pools)
		return error_set(err, -ENOMEM, "out of memory");
	for (uint32_t i = 0; i < maps->service_count; i++) {
		const struct sl_service *its = &maps->services[i];

		if (maps->service_info[i].use == SL_SERVICE_FREE)
			continue;
		slots[count] = (struct span){its->slot_base, its->slot_count};
		pools[count++] = (struct span){its->backend_base, its->backend_count};
	}
	for (unsigned int i = 0; i < index; i++) {
		if (!steps[i].is_new)
			continue;
		slots[count] = (struct span){steps[i].made.slot_base, steps[i].made.slot_count};
		pools[count++] =
			(struct span){steps[i].made.backend_base, steps[i].made.backend_count};
	}
	while (number < maps->service_count && is_taken(set, steps, index, number))
		number++;
	made->forward = (uint8_t)conf->forward;
	made->affinity = (uint8_t)conf->affinity;
	made->slot_count =
		conf->slot_count ? conf->slot_count : service_slots_choose(conf->backend_count);
	made->backend_count = room_for(conf->backend_count);
	slot_base = find_gap(slots, count, made->slot_count, maps->slot_count);
	backend_base = find_gap(pools, count, made->backend_count, maps->backend_count);
	if (number == maps->service_count || slot_base < 0 || backend_base < 0)
		return error_set(err, -ENOSPC,
				 "service '%.*s': no room for %u slots and %u backends; fewer "
				 "'slots' in the services make room",
				 STR_FMT(conf->name), made->slot_count, conf->backend_count);
	made->slot_base = (uint32_t)slot_base;
	made->backend_base = (uint32_t)backend_base;
	steps[index].number = number;
	return 0;
}

static int plan(const struct service_set *set, const struct service_conf *confs, unsigned int count,
		struct step *steps, struct error *err)
{
	int r = service_keys_check(set, confs, count, err);

	for (unsigned int i = 0; i < count && !r; i++) {
		uint32_t number = service_set_find(set, confs[i].name);

		steps[i].number = number;
		steps[i].is_new = number == NO_SERVICE || !fits_in_place(set, number, &confs[i]);
	}
	for (unsigned int i = 0; i < count && !r; i++)
		if (steps[i].is_new)
			r = plan_new(set, confs, steps, i, err);
	return r;
}

/* ---- pools ---- */

static void zero_counter(int fd, uint32_t index, size_t value_bytes)
{
	int cpus = fd >= 0 ? libbpf_num_possible_cpus() : 0;
	_cleanup_free_ void *zero = cpus > 0 ? calloc((size_t)cpus, value_bytes) : NULL;

	/* Old counts beside a new name would only be confusing: no error. */
	if (zero)
		(void)bpf_map_update_elem(fd, &index, zero, BPF_ANY);
}

static void add_backend(struct service_set *set, uint32_t number,
			const struct service_backend *conf)
{
	struct service_maps *maps = &set->maps;
	const struct sl_service *service = &maps->services[number];
	uint32_t place = service->backend_base + 1;
	struct sl_backend backend = {
		.family = conf->addr.family == AF_INET6 ? SL_FAMILY_V6 : SL_FAMILY_V4,
		.port = conf->port,
		.service = number,
	};

	while (maps->backend_info[place].state & SL_BACKEND_USED)
		place++;
	service_addr_be(&conf->addr, backend.addr_be);
	backend.id = ++maps->service_info[number].last_id;
	zero_counter(maps->backend_counts_fd, place, sizeof(struct sl_counter));
	maps->backend_info[place] = (struct sl_backend_info){
		.state = SL_BACKEND_USED | (conf->from_cli ? SL_BACKEND_FROM_CLI : 0) |
			 (conf->drained ? SL_BACKEND_DRAINING : 0),
		.weight = conf->weight,
	};
	maps->backends[place] = backend;
	publish_u32(&maps->backends[place].flags, SL_BACKEND_LIVE);
}

static void begin_drain(struct sl_backend_info *info, uint64_t until_ns, uint32_t state)
{
	if (!(info->state & SL_BACKEND_DRAINING) || !info->drain_until_boot_ns)
		info->drain_until_boot_ns = until_ns;
	info->state |= SL_BACKEND_DRAINING | state;
}

static bool is_over(const struct sl_backend_info *info)
{
	return info->state & (SL_BACKEND_DOWN | SL_BACKEND_OVER);
}

/* States alone; slots follow. True: something is different. */
static bool update_backend(struct service_set *set, uint32_t number, uint32_t place,
			   const struct service_backend *conf, uint64_t now_ns)
{
	struct sl_backend_info *info = &set->maps.backend_info[place], before = *info;
	uint64_t until_ns = now_ns + set->maps.service_info[number].drain_ms * NS_PER_MS;

	if (!conf) {
		begin_drain(info, until_ns, SL_BACKEND_REMOVED);
		return memcmp(&before, info, sizeof(before)) != 0;
	}
	info->weight = conf->weight;
	info->state &= ~(SL_BACKEND_FROM_CLI | SL_BACKEND_REMOVED);
	info->state |= conf->from_cli ? SL_BACKEND_FROM_CLI : 0;
	if (conf->drained) {
		begin_drain(info, until_ns, 0);
	} else {
		info->state &= ~(SL_BACKEND_DRAINING | SL_BACKEND_OVER);
		info->drain_until_boot_ns = 0;
	}
	/* Before the slots name it again. */
	if (!is_over(info))
		publish_u32(&set->maps.backends[place].flags, SL_BACKEND_LIVE);
	return memcmp(&before, info, sizeof(before)) != 0;
}

static int update_pool(struct service_set *set, uint32_t number, const struct service_conf *conf,
		       uint64_t now_ns)
{
	const struct sl_service *service = &set->maps.services[number];
	bool changed = false;
	int r;

	for (uint32_t i = 1; i < service->backend_count; i++) {
		uint32_t place = service->backend_base + i;
		const struct service_backend *want;
		bool removed = set->maps.backend_info[place].state & SL_BACKEND_REMOVED;

		if (!(set->maps.backend_info[place].state & SL_BACKEND_USED))
			continue;
		want = conf_backend(conf, &set->maps.backends[place]);
		if (!want && removed)
			continue;
		changed |= update_backend(set, number, place, want, now_ns);
		if (!conf->health.enabled)
			service_set_note_health(set, place, true, now_ns);
		if (!want || removed)
			tell_backend(set, want ? SERVICE_BACKEND_ADDED : SERVICE_BACKEND_REMOVED,
				     number, place);
	}
	for (unsigned int i = 0; i < conf->backend_count; i++) {
		const struct service_backend *its = &conf->backends[i];

		if (service_find_backend(set, number, &its->addr, its->port))
			continue;
		add_backend(set, number, its);
		tell_backend(set, SERVICE_BACKEND_ADDED, number,
			     service_find_backend(set, number, &its->addr, its->port));
		changed = true;
	}
	changed |= service_health_settle(set, number);
	r = changed ? service_slots_rebuild(set, number, now_ns) : 0;
	if (!r)
		service_health_bury(set, number);
	return r;
}

/* ---- services ---- */

static void write_info(struct service_set *set, uint32_t number, const struct service_conf *conf)
{
	struct sl_service_info *info = &set->maps.service_info[number];

	info->drain_ms = conf->drain_ms;
	info->until_boot_ns = conf->leave_boot_ns;
	info->from_cli = conf->from_cli;
	info->probed = conf->health.enabled;
}

/* `former`: the one of this name that it takes the place of, or NO_SERVICE. */
static int make_service(struct service_set *set, const struct step *step,
			const struct service_conf *conf, uint32_t former)
{
	struct service_maps *maps = &set->maps;
	struct sl_service_info *info = &maps->service_info[step->number];
	bool is_udp = conf->protocol == IPPROTO_UDP;
	int r;

	*info = (struct sl_service_info){.protocol = conf->protocol, .use = SL_SERVICE_LEAVING};
	(void)str_to_cstr(conf->name, info->name, sizeof(info->name));
	write_info(set, step->number, conf);
	maps->phases[step->number] = (struct sl_phase_times){
		.idle_s = is_udp ? SERVICE_UDP_IDLE_S : SERVICE_TCP_IDLE_S,
		.window_s = is_udp ? SERVICE_UDP_IDLE_S : SERVICE_TCP_WINDOW_S,
	};
	maps->services[step->number] = step->made;
	memset(&maps->backend_info[step->made.backend_base], 0,
	       step->made.backend_count * sizeof(*maps->backend_info));
	for (unsigned int i = 0; i < conf->backend_count; i++)
		add_backend(set, step->number, &conf->backends[i]);
	if (former != NO_SERVICE && conf->health.enabled)
		service_health_inherit(set, former, step->number);
	(void)service_health_settle(set, step->number);
	r = service_slots_fill(set, step->number);
	if (r)
		return r;
	service_health_bury(set, step->number);
	zero_counter(maps->service_counts_fd, step->number, sizeof(struct sl_counter));
	zero_counter(maps->service_drops_fd, step->number, sizeof(struct sl_service_drops));
	publish_u32(&maps->services[step->number].flags, SL_SERVICE_LIVE);
	info->use = SL_SERVICE_USED;
	return 0;
}

static void leave(struct service_set *set, uint32_t number, uint64_t now_ns)
{
	struct sl_service_info *info = &set->maps.service_info[number];

	info->until_boot_ns = now_ns + SL_SERVICE_GRACE_MS * NS_PER_MS;
	info->use = SL_SERVICE_LEAVING;
	publish_u32(&set->maps.services[number].flags, 0);
}

static void leave_others(struct service_set *set, const uint32_t *numbers, unsigned int count,
			 uint64_t now_ns)
{
	for (uint32_t i = 0; i < set->maps.service_count; i++) {
		bool wanted = false, renewed = false;

		for (unsigned int j = 0; j < count && !wanted; j++) {
			wanted = numbers[j] == i;
			renewed |= !strcmp(set->maps.service_info[numbers[j]].name,
					   set->maps.service_info[i].name);
		}
		if (wanted || set->maps.service_info[i].use != SL_SERVICE_USED)
			continue;
		leave(set, i, now_ns);
		service_tell(set, renewed ? SERVICE_REPLACED : SERVICE_REMOVED,
			     set->maps.service_info[i].name, NULL);
	}
}

int service_set_apply(struct service_set *set, const struct service_conf *confs, unsigned int count,
		      uint64_t now_ns, struct error *err)
{
	_cleanup_free_ struct step *steps = calloc(count + 1, sizeof(*steps));
	_cleanup_free_ uint32_t *numbers = calloc(count + 1, sizeof(*numbers));
	int r;

	if (!steps || !numbers)
		return error_set(err, -ENOMEM, "out of memory");
	r = plan(set, confs, count, steps, err);
	if (r)
		return r;
	for (unsigned int i = 0; i < count && !r; i++) {
		uint32_t former = service_set_find(set, confs[i].name);

		numbers[i] = steps[i].number;
		if (steps[i].is_new) {
			r = make_service(set, &steps[i], &confs[i], former);
			if (!r && former == NO_SERVICE)
				service_tell(set, SERVICE_ADDED,
					     set->maps.service_info[numbers[i]].name, NULL);
		} else {
			write_info(set, numbers[i], &confs[i]);
			r = update_pool(set, numbers[i], &confs[i], now_ns);
		}
	}
	if (!r)
		r = service_keys_sync(set, confs, numbers, count, now_ns);
	if (r)
		return error_set_errno(err, r, "the services cannot be written");
	leave_others(set, numbers, count, now_ns);
	return 0;
}

/* ---- time ---- */

static uint64_t read_refused(const struct service_set *set)
{
	int cpus = set->maps.flow_counts_fd >= 0 ? libbpf_num_possible_cpus() : 0;
	_cleanup_free_ struct sl_flow_counts *counts =
		cpus > 0 ? calloc((size_t)cpus, sizeof(*counts)) : NULL;
	uint64_t refused = 0;
	uint32_t zero = 0;

	if (!counts || bpf_map_lookup_elem(set->maps.flow_counts_fd, &zero, counts))
		return set->refused;
	for (int i = 0; i < cpus; i++)
		refused += counts[i].refused + counts[i].displaced;
	return refused;
}

static void tick_drains(struct service_set *set, uint32_t number, uint64_t now_ns)
{
	const struct sl_service *service = &set->maps.services[number];

	for (uint32_t i = 1; i < service->backend_count; i++) {
		uint32_t place = service->backend_base + i;
		struct sl_backend_info *info = &set->maps.backend_info[place];

		if (!(info->state & SL_BACKEND_DRAINING) || (info->state & SL_BACKEND_OVER) ||
		    !info->drain_until_boot_ns || now_ns < info->drain_until_boot_ns)
			continue;
		info->named_boot_ns = now_ns;
		info->state |= SL_BACKEND_OVER;
		service_slots_forget(set, number, i);
		publish_u32(&set->maps.backends[place].flags, SL_BACKEND_LIVE | SL_BACKEND_DEAD);
		tell_backend(set, SERVICE_BACKEND_DRAINED, number, place);
	}
}

static void tick_leaving(struct service_set *set, uint32_t number, uint64_t now_ns)
{
	struct service_maps *maps = &set->maps;
	struct sl_service *service = &maps->services[number];

	if (now_ns < maps->service_info[number].until_boot_ns ||
	    !service_nat_is_clear(set, number, maps->service_info[number].until_boot_ns))
		return;
	/* Nobody adds to the flow table for it any more. */
	service_flows_clear(set, service->backend_base, service->backend_count);
	memset(&maps->backends[service->backend_base], 0,
	       service->backend_count * sizeof(*maps->backends));
	memset(&maps->backend_info[service->backend_base], 0,
	       service->backend_count * sizeof(*maps->backend_info));
	memset(service, 0, sizeof(*service));
	memset(&maps->phases[number], 0, sizeof(maps->phases[number]));
	memset(&maps->service_info[number], 0, sizeof(maps->service_info[number]));
}

void service_set_tick(struct service_set *set, uint64_t now_ns)
{
	set->refused = read_refused(set);
	for (uint32_t i = 0; i < set->maps.service_count; i++) {
		switch (set->maps.service_info[i].use) {
		case SL_SERVICE_USED:
			tick_drains(set, i, now_ns);
			service_slots_tick(set, i, now_ns);
			break;
		case SL_SERVICE_LEAVING:
			tick_leaving(set, i, now_ns);
			break;
		default:
			break;
		}
	}
	service_nat_tick(set, now_ns);
	if (set->scan_due && now_ns >= set->scanned_ns + SCAN_EVERY_NS)
		service_slots_scan(set, now_ns);
}

#include "kern/service_change.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "kern/service_internal.h"
#include "kern/service_words.h"

static struct service_conf *find_service(const struct service_confs *confs, struct str name)
{
	for (unsigned int i = 0; i < confs->count; i++)
		if (str_eq(confs->items[i].name, name))
			return &confs->items[i];
	return NULL;
}

const char *service_change_format(const struct service_change *change, char *buf, size_t buf_len)
{
	return service_backend_format(&change->addr, change->port, buf, buf_len);
}

/* Which of the backends of this address? The only one, or the one without a port. */
static int find_port(const struct service_conf *conf, struct service_change *change,
		     struct error *err)
{
	char text[ADDR_TEXT_MAX], first[ADDR_TEXT_MAX] = "";
	unsigned int count = 0;
	uint16_t port = 0;

	for (unsigned int i = 0; i < conf->backend_count && !change->has_port; i++) {
		const struct service_backend *backend = &conf->backends[i];

		if (!ip_addr_equal(&backend->addr, &change->addr))
			continue;
		if (!count++)
			(void)snprintf(first, sizeof(first), "%u", backend->port);
		port = backend->port;
	}
	if (count > 1)
		return error_set(err, -ENOTUNIQ,
				 "service '%s' has %u backends %s; say which: port %s or port %u",
				 change->service, count,
				 ip_addr_format(&change->addr, text, sizeof(text)), first, port);
	if (count == 1)
		change->port = port;
	if (service_conf_backend(conf, &change->addr, change->port))
		return 0;
	return error_set(err, -ENOENT, "service '%s' has no backend %s", change->service,
			 service_change_format(change, text, sizeof(text)));
}

static int check_added(const struct service_conf *conf, const struct service_change *change,
		       const struct nat_source *sources, unsigned int source_count,
		       struct error *err)
{
	struct service_backend added = {.addr = change->addr, .port = change->port};
	const struct service_backend *fault = NULL;
	struct service_conf with = *conf;
	char text[ADDR_TEXT_MAX];
	int r;

	if (service_conf_backend(conf, &change->addr, change->port))
		return error_set(
			err, -EEXIST, "service '%s' has backend %s already; 'weight' changes it",
			change->service, service_change_format(change, text, sizeof(text)));
	if (conf->backend_count >= SERVICE_BACKENDS_MAX)
		return error_set(err, -EINVAL,
				 "service '%s' has %d backends, more are not possible",
				 change->service, SERVICE_BACKENDS_MAX);
	with.backends = &added;
	with.backend_count = 1;
	r = service_check_families(&with, &fault, err);
	if (!r)
		r = service_check_nat(&with, sources, source_count, &fault, err);
	if (r)
		error_prefix(err, "service '%s'", change->service);
	return r;
}

int service_change_check(const struct service_confs *confs, struct service_change *change,
			 const struct nat_source *sources, unsigned int source_count,
			 struct error *err)
{
	const struct service_conf *conf = find_service(confs, str_from_cstr(change->service));

	if (!conf)
		return error_set(err, -ENOENT, "there is no service '%s'", change->service);
	if (conf->leave_boot_ns)
		return error_set(err, -EPERM, "service '%s' is being deleted", change->service);
	if (change->kind == SERVICE_CHANGE_ADD)
		return check_added(conf, change, sources, source_count, err);
	return find_port(conf, change, err);
}

int service_change_check_new(const struct service_confs *confs, const struct service_conf *conf,
			     const struct nat_source *sources, unsigned int source_count,
			     struct error *err)
{
	const struct service_backend *fault = NULL;
	const struct service_conf *other = find_service(confs, conf->name);
	char text[ADDR_TEXT_MAX];
	int r;

	if (other)
		return error_set(err, -EEXIST, "there is a service '%.*s' already%s",
				 STR_FMT(conf->name),
				 other->from_cli ? "" : ", in the configuration");
	for (unsigned int i = 0; i < confs->count; i++) {
		const struct ip_addr *addr = service_shared_place(&confs->items[i], conf);

		if (addr)
			return error_set(err, -EEXIST,
					 "service '%.*s': has ports of %s that service '%.*s' has, "
					 "too",
					 STR_FMT(conf->name),
					 ip_addr_format(addr, text, sizeof(text)),
					 STR_FMT(confs->items[i].name));
	}
	r = service_check_families(conf, &fault, err);
	if (!r)
		r = service_check_nat(conf, sources, source_count, &fault, err);
	if (r)
		error_prefix(err, "service '%.*s'", STR_FMT(conf->name));
	return r;
}

/* ---- what stands ---- */

static void add_address(struct service_conf *conf, const struct sl_service_key *key)
{
	struct ip_addr addr = service_ip(key->addr_be, key->family);

	for (unsigned int i = 0; i < conf->address_count; i++)
		if (ip_addr_equal(&conf->addresses[i], &addr))
			return;
	if (conf->address_count < SERVICE_ADDRESSES_MAX)
		conf->addresses[conf->address_count++] = addr;
}

static void add_ports(struct service_conf *conf, uint16_t first, uint16_t last)
{
	for (unsigned int i = 0; i < conf->port_count; i++)
		if (conf->ports[i].first == first && conf->ports[i].last == last)
			return;
	if (conf->port_count < SERVICE_PORTS_MAX)
		conf->ports[conf->port_count++] = (struct service_ports){first, last};
}

/* A service has each of its ports at each of its addresses. */
static void read_places(const struct service_maps *maps, uint32_t number, struct service_conf *conf)
{
	for (uint32_t i = 0; i < maps->key_count; i++) {
		const struct sl_service_key *key = &maps->keys[i];
		const struct sl_service_ranges *list;

		if (key->value == number + 1) {
			add_address(conf, key);
			add_ports(conf, key->port, key->port);
		}
		if (key->value != SL_SERVICE_KEY_ADDRESS || !key->ranges ||
		    key->ranges > maps->range_count)
			continue;
		list = &maps->ranges[key->ranges - 1];
		for (uint32_t j = 0; j < MIN(list->count, (uint32_t)SL_SERVICE_RANGES_MAX); j++)
			if (list->ranges[j].service == number) {
				add_address(conf, key);
				add_ports(conf, list->ranges[j].first, list->ranges[j].last);
			}
	}
}

static void read_pool(const struct service_maps *maps, uint32_t number, struct service_conf *conf)
{
	const struct sl_service *service = &maps->services[number];

	for (uint32_t i = 1; i < service->backend_count; i++) {
		const struct sl_backend *backend = &maps->backends[service->backend_base + i];
		const struct sl_backend_info *info = &maps->backend_info[service->backend_base + i];

		if (!(info->state & SL_BACKEND_USED) || (info->state & SL_BACKEND_REMOVED))
			continue;
		conf->backends[conf->backend_count++] = (struct service_backend){
			.addr = service_ip(backend->addr_be, backend->family),
			.port = backend->port,
			.weight = info->weight,
			.drained = info->state & SL_BACKEND_DRAINING,
			.from_cli = info->state & SL_BACKEND_FROM_CLI,
		};
	}
}

/* Room for one more backend; confs hold a copy that service_confs_done() alone releases. */
static int read_service(const struct service_maps *maps, uint32_t number,
			struct service_confs *confs)
{
	const struct sl_service *service = &maps->services[number];
	const struct sl_service_info *info = &maps->service_info[number];
	struct service_conf *conf = &confs->items[confs->count++];

	*conf = (struct service_conf){
		.name = str_from_cstr(info->name),
		.addresses = calloc(SERVICE_ADDRESSES_MAX, sizeof(*conf->addresses)),
		.ports = calloc(SERVICE_PORTS_MAX, sizeof(*conf->ports)),
		.protocol = info->protocol,
		.forward = service->forward,
		.affinity = service->affinity,
		.slot_count = service->slot_count,
		.drain_ms = info->drain_ms,
		.leave_boot_ns = info->until_boot_ns,
		.from_cli = info->from_cli,
		.health = {.enabled = info->probed},
		.backends = calloc(service->backend_count + 1, sizeof(*conf->backends)),
	};
	if (!conf->addresses || !conf->ports || !conf->backends)
		return -ENOMEM;
	read_places(maps, number, conf);
	read_pool(maps, number, conf);
	return 0;
}

int service_set_confs(const struct service_set *set, struct service_confs *ret_confs,
		      struct error *err)
{
	const struct service_maps *maps = &set->maps;
	/* One more than can be there, for service_confs_add(). */
	struct service_confs confs = {
		.items = calloc(maps->service_count + 1, sizeof(*confs.items)),
		.owns_places = true,
	};
	int r = confs.items ? 0 : -ENOMEM;

	for (uint32_t i = 0; i < maps->service_count && !r; i++)
		if (maps->service_info[i].use == SL_SERVICE_USED)
			r = read_service(maps, i, &confs);
	if (r) {
		service_confs_done(&confs);
		return error_set(err, r, "out of memory");
	}
	*ret_confs = confs;
	return 0;
}

/* ---- changes ---- */

int service_confs_change(struct service_confs *confs, const struct service_change *change,
			 struct error *err)
{
	struct service_conf *conf = find_service(confs, str_from_cstr(change->service));
	struct service_backend *backend;

	if (!conf)
		return error_set(err, -ENOENT, "there is no service '%s'", change->service);
	backend = (struct service_backend *)service_conf_backend(conf, &change->addr, change->port);
	if (change->kind == SERVICE_CHANGE_ADD) {
		conf->backends[conf->backend_count++] =
			(struct service_backend){.addr = change->addr,
						 .port = change->port,
						 .weight = change->weight,
						 .from_cli = true};
		return 0;
	}
	if (!backend)
		return error_set(err, -ENOENT, "service '%s' has no such backend", change->service);
	switch (change->kind) {
	case SERVICE_CHANGE_DELETE:
		*backend = conf->backends[--conf->backend_count];
		break;
	case SERVICE_CHANGE_WEIGHT:
		backend->weight = change->weight;
		break;
	default:
		backend->drained = change->kind == SERVICE_CHANGE_DRAIN;
		break;
	}
	return 0;
}

int service_confs_add(struct service_confs *confs, const struct service_conf *conf,
		      struct error *err)
{
	_cleanup_free_ struct service_conf *copy = service_conf_copy(conf);

	if (!copy)
		return error_set(err, -ENOMEM, "out of memory");
	free((char *)copy->name.ptr);
	copy->name = conf->name;
	confs->items[confs->count++] = *copy;
	return 0;
}

int service_confs_delete(struct service_confs *confs, struct str name, struct error *err)
{
	struct service_conf *conf = find_service(confs, name);

	if (!conf)
		return error_set(err, -ENOENT, "there is no service '%.*s'", STR_FMT(name));
	if (!conf->from_cli)
		return error_set(err, -EPERM,
				 "service '%.*s' is in the configuration; take it out there and "
				 "reload",
				 STR_FMT(name));
	service_conf_release(conf, confs->owns_places);
	*conf = confs->items[--confs->count];
	return 0;
}

/* ---- trying ---- */

#define MAP_MEMBERS(DO)                                                                            \
	DO(keys, key_count)                                                                        \
	DO(ranges, range_count)                                                                    \
	DO(services, service_count)                                                                \
	DO(backends, backend_count)                                                                \
	DO(slots, slot_count)                                                                      \
	DO(phases, service_count)                                                                  \
	DO(service_info, service_count)                                                            \
	DO(backend_info, backend_count)

static void copy_done(struct service_maps *copy)
{
#define FREE(member, count) free(copy->member);
	MAP_MEMBERS(FREE)
#undef FREE
	free(copy->state);
}

/* What an application reads and writes; the flow table is for ticks alone. */
static int copy_maps(const struct service_maps *maps, struct service_maps *ret_copy)
{
	struct service_maps copy = *maps;
	bool failed = false;

	copy.service_counts_fd = copy.service_drops_fd = copy.backend_counts_fd =
		copy.flow_counts_fd = -1;
	copy.nat_open = NULL;
#define ALLOCATE(member, count)                                                                    \
	copy.member = calloc(copy.count, sizeof(*copy.member));                                    \
	failed |= !copy.member;
	MAP_MEMBERS(ALLOCATE)
#undef ALLOCATE
	copy.state = calloc(1, sizeof(*copy.state));
	if (failed || !copy.state) {
		copy_done(&copy);
		return -ENOMEM;
	}
#define COPY(member, count) memcpy(copy.member, maps->member, copy.count * sizeof(*copy.member));
	MAP_MEMBERS(COPY)
#undef COPY
	*copy.state = *maps->state;
	*ret_copy = copy;
	return 0;
}

/* Slots that are written and are in a phase, or a service that is made anew under its name. */
static int compare(const struct service_maps *before, const struct service_maps *after,
		   struct error *err)
{
	for (uint32_t i = 0; i < before->service_count; i++) {
		const struct sl_service *service = &before->services[i];
		const char *name = before->service_info[i].name;

		if (before->service_info[i].use != SL_SERVICE_USED)
			continue;
		for (uint32_t j = 0; j < after->service_count; j++)
			if (after->service_info[i].use != SL_SERVICE_USED &&
			    after->service_info[j].use == SL_SERVICE_USED &&
			    !strcmp(after->service_info[j].name, name))
				return error_set(err, -EBUSY,
						 "service '%s' has no room for it and would be "
						 "made anew, which forgets its flows",
						 name);
		for (uint32_t j = 0; j < service->slot_count; j++) {
			uint32_t word = after->slots[service->slot_base + j].word;

			if (word != before->slots[service->slot_base + j].word &&
			    SL_SLOT_PHASE(word) != SL_PHASE_CLEAN)
				return error_set(err, -EBUSY,
						 "connections of service '%s' would have to be "
						 "led to other backends in steps, minutes long",
						 name);
		}
	}
	return 0;
}

int service_set_apply_unattended(struct service_set *set, const struct service_confs *confs,
				 uint64_t now_ns, struct error *err)
{
	struct service_set tried = {.removed_ns = now_ns};
	int r = copy_maps(&set->maps, &tried.maps);

	if (r)
		return error_set(err, r, "out of memory");
	r = service_set_apply(&tried, confs->items, confs->count, now_ns, err);
	if (!r)
		r = compare(&set->maps, &tried.maps, err);
	copy_done(&tried.maps);
	if (r)
		return r;
	set->removed_ns = now_ns; /* when another process may have removed keys */
	return service_set_apply(set, confs->items, confs->count, now_ns, err);
}

#include "control/services.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/event.h"
#include "base/log.h"

static void on_event(enum service_event event, const char *service, const char *backend, void *arg)
{
	static const char *const texts[] = {
		[SERVICE_ADDED] = "added",
		[SERVICE_CHANGED] = "changed",
		[SERVICE_REPLACED] = "made anew: its flows are forgotten",
		[SERVICE_REMOVED] = "removed",
		[SERVICE_BACKEND_ADDED] = "added",
		[SERVICE_BACKEND_REMOVED] = "removed: it drains",
		[SERVICE_BACKEND_DRAINED] = "its drain is over",
	};
	char object[EVENT_OBJECT_MAX];

	(void)snprintf(object, sizeof(object), "%s%s%s", service, backend ? " " : "",
		       backend ? backend : "");
	log_info("control", "service %s: %s", object, texts[event]);
	event_publish(backend ? EVENT_BACKEND_CHANGED : EVENT_SERVICE_CHANGED,
		      str_from_cstr(object), "%s", texts[event]);
}

int services_open(struct services *services, struct dataplane *dataplane, struct loop *loop,
		  const char *state_dir, struct error *err)
{
	int r = service_overlay_load(&services->overlay, state_dir, err);

	if (!r)
		r = service_maps_open(dataplane, false, &services->set.maps, err);
	if (r)
		return r;
	services->set.on_event = on_event;
	services->set.scan_due = true; /* what an earlier daemon left to be looked at */
	next_hops_init(&services->next_hops, &services->set, dataplane, loop);
	services->open = true;
	return 0;
}

void services_stop(struct services *services)
{
	if (services->open)
		next_hops_stop(&services->next_hops);
}

bool services_are_stopped(const struct services *services)
{
	return !services->open || next_hops_are_stopped(&services->next_hops);
}

void services_close(struct services *services)
{
	next_hops_done(&services->next_hops);
	if (services->open)
		service_maps_close(&services->set.maps);
	service_overlay_done(&services->overlay);
	services->open = false;
}

int services_apply(struct services *services, const struct snapshot *snapshot, struct error *err)
{
	_cleanup_(service_confs_done)
	struct service_confs confs = {0};
	int r = service_overlay_lay(&services->overlay, snapshot->services, snapshot->service_count,
				    &confs, err);

	if (!r)
		r = next_hops_prepare(&services->next_hops, confs.items, confs.count, err);
	if (!r)
		r = service_set_apply(&services->set, confs.items, confs.count, clock_boot_ns(),
				      err);
	if (r)
		error_prefix(err, "services");
	return r;
}

void services_tick(struct services *services)
{
	if (!services->open)
		return;
	service_set_tick(&services->set, clock_boot_ns());
	next_hops_tick(&services->next_hops);
}

static const struct service_conf *find_service(const struct service_confs *confs, const char *name)
{
	for (unsigned int i = 0; i < confs->count; i++)
		if (str_eq_cstr(confs->items[i].name, name))
			return &confs->items[i];
	return NULL;
}

static bool has_backend(const struct service_conf *conf, const struct ip_addr *addr)
{
	for (unsigned int i = 0; i < conf->backend_count; i++)
		if (conf->backends[i].addr.family == addr->family &&
		    !memcmp(conf->backends[i].addr.bytes, addr->bytes, sizeof(addr->bytes)))
			return true;
	return false;
}

static int check_change(const struct services *services, const struct snapshot *snapshot,
			const struct service_change *change, struct error *err)
{
	_cleanup_(service_confs_done)
	struct service_confs confs = {0};
	const struct service_conf *conf;
	char text[ADDR_TEXT_MAX];
	int r = service_overlay_lay(&services->overlay, snapshot->services, snapshot->service_count,
				    &confs, err);

	if (r)
		return r;
	conf = find_service(&confs, change->service);
	(void)ip_addr_format(&change->addr, text, sizeof(text));
	if (!conf)
		return error_set(err, -ENOENT, "there is no service '%s'", change->service);
	if (change->kind == SERVICE_CHANGE_ADD && has_backend(conf, &change->addr))
		return error_set(err, -EEXIST,
				 "service '%s' has backend %s already; 'weight' "
				 "changes it",
				 change->service, text);
	if (change->kind != SERVICE_CHANGE_ADD && !has_backend(conf, &change->addr))
		return error_set(err, -ENOENT, "service '%s' has no backend %s", change->service,
				 text);
	if (change->kind != SERVICE_CHANGE_ADD || change->addr.family == AF_INET6)
		return 0;
	for (unsigned int i = 0; i < conf->address_count; i++)
		if (conf->addresses[i].family == AF_INET6)
			return error_set(
				err, -EINVAL,
				"service '%s' has an IPv6 address; ipip takes IPv6 packets "
				"to IPv6 backends only",
				change->service);
	return 0;
}

int services_change_backend(struct services *services, const struct snapshot *snapshot,
			    const struct service_change *change, struct error *err)
{
	struct service_overlay before;
	struct error back = {0};
	int r;

	if (!services->open)
		return error_set(err, -EOPNOTSUPP, "there is no kernel dataplane");
	r = check_change(services, snapshot, change, err);
	if (!r)
		r = service_overlay_copy(&services->overlay, &before, err);
	if (r)
		return r;
	r = service_overlay_note(&services->overlay, change, err);
	if (!r)
		r = services_apply(services, snapshot, err);
	if (!r)
		r = service_overlay_save(&services->overlay, snapshot->node.state_dir.ptr, err);
	if (!r) {
		service_overlay_done(&before);
		return 0;
	}
	service_overlay_done(&services->overlay);
	services->overlay = before;
	if (services_apply(services, snapshot, &back))
		log_error("control", "cannot return to the former services: %s", back.text);
	return r;
}

#include "control/services.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/event.h"
#include "base/log.h"
#include "kern/service_change.h"

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
		[SERVICE_FAILS_OPEN] = "all backends are down: new connections go where they went",
		[SERVICE_RECOVERED] = "a backend is up again",
	};
	enum event_kind kind = backend ? EVENT_BACKEND_CHANGED : EVENT_SERVICE_CHANGED;
	char object[EVENT_OBJECT_MAX];

	if (event == SERVICE_FAILS_OPEN)
		kind = EVENT_SERVICE_FAIL_OPEN;
	else if (event == SERVICE_RECOVERED)
		kind = EVENT_SERVICE_RECOVERED;

	(void)snprintf(object, sizeof(object), "%s%s%s", service, backend ? " " : "",
		       backend ? backend : "");
	log_info("control", "service %s: %s", object, texts[event]);
	event_publish(kind, str_from_cstr(object), "%s", texts[event]);
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
	health_init(&services->health, &services->set, loop);
	services->open = true;
	return 0;
}

void services_stop(struct services *services)
{
	if (!services->open)
		return;
	next_hops_stop(&services->next_hops);
	health_stop(&services->health);
}

bool services_are_stopped(const struct services *services)
{
	return !services->open || (next_hops_are_stopped(&services->next_hops) &&
				   health_is_stopped(&services->health));
}

void services_close(struct services *services)
{
	next_hops_done(&services->next_hops);
	health_done(&services->health);
	if (services->open)
		service_maps_close(&services->set.maps);
	service_overlay_done(&services->overlay);
	services->open = false;
}

static int lay(const struct services *services, const struct snapshot *snapshot,
	       struct service_confs *ret_confs, struct error *err)
{
	return service_overlay_lay(&services->overlay, snapshot->services, snapshot->service_count,
				   ret_confs, err);
}

/* Is there room for it beside the listeners and the services before it? */
static int check_made(const struct snapshot *snapshot, const struct service_confs *others,
		      const struct service_conf *conf, struct error *err)
{
	const struct nat_pool_conf *nat = &snapshot->dataplane.nat;
	int r = service_change_check_new(others, conf, nat->sources, nat->source_count, err);
	char text[ADDR_TEXT_MAX];

	for (unsigned int i = 0; i < snapshot->listener_count && !r; i++) {
		const struct listener_conf *listener = &snapshot->listeners[i];

		for (unsigned int j = 0; j < listener->tuple_count && !r; j++)
			if (service_meets_tuple(conf, &listener->tuples[j], text, sizeof(text)))
				r = error_set(err, -EEXIST,
					      "service '%.*s': %s belongs to listener '%.*s'",
					      STR_FMT(conf->name), text, STR_FMT(listener->name));
	}
	return r;
}

/* Those that people added must go with the file as it is now; it was read without them. */
static int check_all_made(const struct snapshot *snapshot, const struct service_confs *confs,
			  struct error *err)
{
	struct service_confs before = {.items = confs->items};

	for (; before.count < confs->count; before.count++) {
		const struct service_conf *conf = &confs->items[before.count];
		int r = conf->from_cli ? check_made(snapshot, &before, conf, err) : 0;

		if (r) {
			error_prefix(err, "added by 'sluice service add'");
			return r;
		}
	}
	return 0;
}

int services_apply(struct services *services, const struct snapshot *snapshot, struct error *err)
{
	_cleanup_(service_confs_done)
	struct service_confs confs = {0};
	int r = lay(services, snapshot, &confs, err);

	if (!r)
		r = check_all_made(snapshot, &confs, err);
	if (!r)
		r = next_hops_prepare(&services->next_hops, confs.items, confs.count, err);
	if (!r)
		r = service_set_apply(&services->set, confs.items, confs.count, clock_boot_ns(),
				      err);
	if (!r)
		r = health_sync(&services->health, confs.items, confs.count,
				&snapshot->dataplane.nat, err);
	if (r)
		error_prefix(err, "services");
	return r;
}

static void delete_due(struct services *services, const struct snapshot *snapshot)
{
	const char *due;

	while ((due = service_overlay_due(&services->overlay, clock_wall_ms()))) {
		char name[SL_SERVICE_NAME_MAX];
		struct error err = {0};

		(void)snprintf(name, sizeof(name), "%s", due);
		if (services_delete(services, snapshot, name, 0, &err)) {
			if (!services->is_delete_failing)
				log_error("control", "service %s: its drain is over: %s", name,
					  err.text);
			services->is_delete_failing = true;
			return;
		}
		services->is_delete_failing = false;
		log_info("control", "service %s: deleted, its drain is over", name);
		event_publish(EVENT_SERVICE_CHANGED, str_from_cstr(name),
			      "deleted: its drain is over");
	}
}

void services_tick(struct services *services, const struct snapshot *snapshot)
{
	if (!services->open)
		return;
	delete_due(services, snapshot);
	service_set_tick(&services->set, clock_boot_ns());
	next_hops_tick(&services->next_hops);
	health_tick(&services->health);
}

/* ---- changes by people ---- */

/* With the overlay changed: into force and to the disk, or back to `before`. Takes `before`. */
static int take_effect(struct services *services, const struct snapshot *snapshot,
		       struct service_overlay *before, int r, struct error *err)
{
	struct error back = {0};

	if (!r)
		r = services_apply(services, snapshot, err);
	if (!r)
		r = service_overlay_save(&services->overlay, snapshot->node.state_dir.ptr, err);
	if (!r) {
		service_overlay_done(before);
		return 0;
	}
	service_overlay_done(&services->overlay);
	services->overlay = *before;
	if (services_apply(services, snapshot, &back))
		log_error("control", "cannot return to the former services: %s", back.text);
	return r;
}

static int begin_change(struct services *services, const struct snapshot *snapshot,
			struct service_confs *ret_confs, struct error *err)
{
	if (!services->open)
		return error_set(err, -EOPNOTSUPP, "there is no kernel dataplane");
	return lay(services, snapshot, ret_confs, err);
}

int services_change_backend(struct services *services, const struct snapshot *snapshot,
			    struct service_change *change, struct error *err)
{
	_cleanup_(service_confs_done)
	struct service_confs confs = {0};
	const struct nat_pool_conf *nat = &snapshot->dataplane.nat;
	struct service_overlay before;
	int r = begin_change(services, snapshot, &confs, err);

	if (!r)
		r = service_change_check(&confs, change, nat->sources, nat->source_count, err);
	if (!r)
		r = service_overlay_copy(&services->overlay, &before, err);
	if (r)
		return r;
	r = service_overlay_note(&services->overlay, change, err);
	return take_effect(services, snapshot, &before, r, err);
}

int services_add(struct services *services, const struct snapshot *snapshot,
		 const struct service_conf *conf, struct error *err)
{
	_cleanup_(service_confs_done)
	struct service_confs confs = {0};
	struct service_overlay before;
	int r = begin_change(services, snapshot, &confs, err);

	if (!r)
		r = check_made(snapshot, &confs, conf, err);
	if (!r)
		r = service_overlay_copy(&services->overlay, &before, err);
	if (r)
		return r;
	r = service_overlay_make(&services->overlay, conf, err);
	return take_effect(services, snapshot, &before, r, err);
}

int services_delete(struct services *services, const struct snapshot *snapshot, const char *name,
		    uint64_t drain_ms, struct error *err)
{
	_cleanup_(service_confs_done)
	struct service_confs confs = {0};
	struct service_overlay before;
	int r = begin_change(services, snapshot, &confs, err);

	if (!r)
		r = service_confs_delete(&confs, str_from_cstr(name), err);
	if (!r)
		r = service_overlay_copy(&services->overlay, &before, err);
	if (r)
		return r;
	r = drain_ms ? service_overlay_leave(&services->overlay, name, drain_ms, err)
		     : service_overlay_unmake(&services->overlay, name, err);
	return take_effect(services, snapshot, &before, r, err);
}

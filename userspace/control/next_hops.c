#include "control/next_hops.h"

#include <errno.h>
#include <net/if.h>
#include <poll.h>
#include <string.h>

#include "base/event.h"
#include "base/log.h"

/* A neighbour on a link answers within one; who does not must not hold up a reload. */
#define ANSWER_WAIT_MS 100

/* ---- what happens ---- */

struct change {
	const struct service_set *set;
	const struct ip_addr *backend;
	const struct neighbour_view *view;
	uint32_t told; /* service + 1: a service may have a backend with several ports */
};

static void tell_service(uint32_t service, const struct ip_addr *addr, void *arg)
{
	struct change *change = arg;
	const struct neighbour_view *view = change->view;
	bool good = view->state == NEIGHBOUR_RESOLVED;
	char backend[ADDR_TEXT_MAX], hop[ADDR_TEXT_MAX], device[IF_NAMESIZE] = "?";
	char object[EVENT_OBJECT_MAX], text[EVENT_TEXT_MAX];

	if (change->told == service + 1 || memcmp(addr, change->backend, sizeof(*addr)))
		return;
	change->told = service + 1;
	(void)snprintf(object, sizeof(object), "%s %s",
		       change->set->maps.service_info[service].name,
		       ip_addr_format(addr, backend, sizeof(backend)));
	if (view->state == NEIGHBOUR_NO_ROUTE) {
		(void)snprintf(text, sizeof(text), "there is no route to it");
	} else {
		(void)if_indextoname(view->ifindex, device);
		(void)snprintf(text, sizeof(text), "its next hop %s on %s %s",
			       ip_addr_format(&view->next_hop, hop, sizeof(hop)), device,
			       good ? "answers again" : "does not answer");
	}
	if (good)
		log_info("control", "service %s: %s", object, text);
	else
		log_warn("control", "service %s: %s", object, text);
	event_publish(good ? EVENT_BACKEND_REACHABLE : EVENT_BACKEND_UNREACHABLE,
		      str_from_cstr(object), "%s", text);
}

static void on_change(const struct ip_addr *backend, const struct neighbour_view *view, void *arg)
{
	struct next_hops *hops = arg;
	struct change change = {.set = hops->set, .backend = backend, .view = view};

	service_set_each_backend(hops->set, tell_service, &change);
}

static void on_ask(uint32_t ifindex, const struct ip_addr *addr, void *arg)
{
	struct next_hops *hops = arg;

	if (!hops->asks_left)
		return;
	hops->asks_left--;
	neighbours_ask(hops->neighbours, ifindex, addr);
}

static void on_asks(struct watch *watch, uint32_t poll_events)
{
	struct next_hops *hops = CONTAINER_OF(watch, struct next_hops, asks_watch);

	(void)neighbour_asks_read(hops->asks);
	/* XDP stops writing when nobody reads. */
	if (!hops->asks_left)
		watch_stop(watch);
}

static void on_asks_stopped(struct watch *watch)
{
	CONTAINER_OF(watch, struct next_hops, asks_watch)->watches_asks = false;
}

static void on_changes(struct watch *watch, uint32_t poll_events)
{
	neighbours_hear(CONTAINER_OF(watch, struct next_hops, changes_watch)->neighbours);
}

static void on_changes_stopped(struct watch *watch)
{
	CONTAINER_OF(watch, struct next_hops, changes_watch)->watches_changes = false;
}

/* ---- beginning and end ---- */

void next_hops_init(struct next_hops *hops, struct service_set *set, struct dataplane *dataplane,
		    struct loop *loop)
{
	*hops = (struct next_hops){.set = set, .dataplane = dataplane, .loop = loop};
	hops->changes_watch.on_ready = on_changes;
	hops->changes_watch.on_stopped = on_changes_stopped;
	hops->asks_watch.on_ready = on_asks;
	hops->asks_watch.on_stopped = on_asks_stopped;
}

static int watch_asks(struct next_hops *hops)
{
	int r = watch_start(hops->loop, &hops->asks_watch, neighbour_asks_fd(hops->asks), POLLIN);

	hops->watches_asks = !r;
	return r;
}

static int open_hops(struct next_hops *hops, struct error *err)
{
	int r = neighbours_open(true, &hops->neighbours, err);

	if (!r)
		r = neighbour_asks_open(hops->dataplane, on_ask, hops, &hops->asks, err);
	if (r)
		return r;
	neighbours_on_change(hops->neighbours, on_change, hops);
	hops->asks_left = NEXT_HOPS_ASKS_MAX;
	r = watch_start(hops->loop, &hops->changes_watch, neighbours_fd(hops->neighbours), POLLIN);
	hops->watches_changes = !r;
	if (!r)
		r = watch_asks(hops);
	if (r)
		return error_set_errno(err, r, "cannot follow the neighbours of backends");
	hops->set->neighbours = hops->neighbours;
	return 0;
}

void next_hops_stop(struct next_hops *hops)
{
	hops->is_ending = true;
	if (hops->watches_changes)
		watch_stop(&hops->changes_watch);
	if (hops->watches_asks)
		watch_stop(&hops->asks_watch);
}

bool next_hops_are_stopped(const struct next_hops *hops)
{
	return !hops->watches_changes && !hops->watches_asks;
}

void next_hops_done(struct next_hops *hops)
{
	neighbour_asks_close(hops->asks);
	neighbours_close(hops->neighbours);
	hops->asks = NULL;
	hops->neighbours = NULL;
}

/* ---- the work ---- */

int next_hops_prepare(struct next_hops *hops, const struct service_conf *confs, unsigned int count,
		      struct error *err)
{
	int r;

	if (!hops->neighbours && !count) {
		/* Of services that were taken out of the file while no daemon lived. */
		r = hops->has_released ? 0 : neighbours_release(err);
		hops->has_released = !r;
		return r;
	}
	if (!hops->neighbours) {
		r = open_hops(hops, err);
		if (r)
			return r;
	}
	r = service_set_resolve(hops->set, confs, count, err);
	if (!r)
		neighbours_wait(hops->neighbours, ANSWER_WAIT_MS);
	return r;
}

void next_hops_tick(struct next_hops *hops)
{
	struct error err = {0};
	int r;

	if (!hops->neighbours || hops->is_ending)
		return;
	hops->asks_left = NEXT_HOPS_ASKS_MAX;
	r = hops->watches_asks ? 0 : watch_asks(hops);
	if (r)
		(void)error_set_errno(&err, r, "cannot hear what XDP asks for");
	else /* without those that are gone */
		r = service_set_resolve(hops->set, NULL, 0, &err);
	neighbours_tick(hops->neighbours);
	if (r && r != hops->told)
		log_warn("control", "neighbours of backends: %s", err.text);
	hops->told = r;
}

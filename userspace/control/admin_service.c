/* GET /v1/services, POST /v1/backends */
#include <errno.h>
#include <netinet/in.h>

#include "base/clock.h"
#include "control/admin_api.h"

struct walk {
	struct daemon *daemon;
	struct json_writer *json;
	uint64_t now_ns;
};

static int write_address(const char *text, void *arg)
{
	json_cstring(arg, NULL, text);
	return 0;
}

static int write_backend(const struct service_backend_view *view, void *arg)
{
	const struct walk *walk = arg;
	struct json_writer *json = walk->json;
	const struct sl_backend_info *info = view->info;
	struct ip_addr addr = service_ip(view->backend->addr_be, view->backend->family);
	char text[ADDR_TEXT_MAX];

	json_open_object(json, NULL);
	json_cstring(json, "address",
		     service_backend_format(&addr, view->backend->port, text, sizeof(text)));
	json_cstring(json, "state", service_backend_state(info));
	json_u64(json, "weight", info->weight);
	json_cstring(json, "origin", info->state & SL_BACKEND_FROM_CLI ? "cli" : "config");
	if ((info->state & SL_BACKEND_DRAINING) && info->drain_until_boot_ns > walk->now_ns)
		json_u64(json, "drain_left_s",
			 (info->drain_until_boot_ns - walk->now_ns + 999999999) / 1000000000);
	else
		json_nil(json, "drain_left_s");
	json_u64(json, "slots", view->slots);
	json_u64(json, "packets", view->packets);
	json_u64(json, "bytes", view->bytes);
	json_u64(json, "number", view->number);
	json_close_object(json);
	return 0;
}

static const char *protocol_name(uint8_t protocol)
{
	return protocol == IPPROTO_TCP ? "tcp" : protocol == IPPROTO_UDP ? "udp" : "any";
}

static int write_service(const struct service_view *view, void *arg)
{
	static const char *const phases[] = {"clean", "split", "record", "listed"};
	const struct walk *walk = arg;
	const struct service_set *set = &walk->daemon->services.set;
	struct json_writer *json = walk->json;
	int r;

	json_open_object(json, NULL);
	json_cstring(json, "name", view->name);
	json_open_array(json, "addresses");
	r = service_set_walk_addresses(set, view->number, write_address, json);
	json_close_array(json);
	json_cstring(json, "protocol", protocol_name(view->info->protocol));
	json_cstring(json, "forward", view->service->forward == SL_FORWARD_NAT ? "nat" : "ipip");
	json_cstring(json, "affinity",
		     view->service->affinity == SL_AFFINITY_SOURCE ? "source" : "five-tuple");
	json_u64(json, "drain_ms", view->info->drain_ms);
	json_u64(json, "slots", view->service->slot_count);
	json_open_object(json, "phases");
	for (size_t i = 0; i < ARRAY_SIZE(phases); i++)
		json_u64(json, phases[i], view->phases[i]);
	json_close_object(json);
	json_u64(json, "packets", view->packets);
	json_u64(json, "bytes", view->bytes);
	json_open_array(json, "backends");
	if (!r)
		r = service_set_walk_backends(set, view->number, write_backend, arg);
	json_close_array(json);
	json_close_object(json);
	return r;
}

static bool has_services(const struct daemon *daemon, struct admin_response *response)
{
	if (!daemon->services.open)
		admin_fail(response, 503, "no kernel dataplane: %s", daemon->dataplane_reason);
	return daemon->services.open;
}

void admin_get_services(struct daemon *daemon, const struct admin_request *request,
			struct admin_response *response)
{
	struct json_writer json;
	struct walk walk = {.daemon = daemon, .json = &json, .now_ns = clock_boot_ns()};
	int r;

	if (!has_services(daemon, response))
		return;
	json_init(&json, &response->body, false);
	json_open_object(&json, NULL);
	json_open_array(&json, "services");
	r = service_set_walk(&daemon->services.set, write_service, &walk);
	if (r) {
		admin_fail(response, 500, "cannot read the services: %s", strerror(-r));
		return;
	}
	json_close_array(&json);
	json_close_object(&json);
	admin_finish(response, &json);
}

static const struct {
	const char *name, *done;
	enum service_change_kind kind;
} changes[] = {
	{"add", "added", SERVICE_CHANGE_ADD},
	{"drain", "draining", SERVICE_CHANGE_DRAIN},
	{"undrain", "undrained", SERVICE_CHANGE_UNDRAIN},
	{"weight", "weighted", SERVICE_CHANGE_WEIGHT},
	{"delete", "deleted", SERVICE_CHANGE_DELETE},
};

static bool read_target(const char *service, const char *address, struct service_change *change,
			struct admin_response *response)
{
	char quoted[128];

	if (!service || !address) {
		admin_fail(response, 400, "%s is missing", service ? "address" : "service");
		return false;
	}
	if (strlen(service) >= sizeof(change->service) ||
	    ip_addr_parse(str_from_cstr(address), &change->addr)) {
		admin_fail(response, 400, "address: %s is not an IP address",
			   str_quote(str_from_cstr(address), quoted, sizeof(quoted)));
		return false;
	}
	ip_addr_unmap(&change->addr);
	(void)snprintf(change->service, sizeof(change->service), "%s", service);
	return true;
}

static bool read_weight(const char *text, struct service_change *change,
			struct admin_response *response)
{
	bool takes = change->kind == SERVICE_CHANGE_ADD || change->kind == SERVICE_CHANGE_WEIGHT;
	uint64_t weight = 100;

	if (text && !takes)
		admin_fail(response, 400, "weight goes with add and weight only");
	else if (!text && change->kind == SERVICE_CHANGE_WEIGHT)
		admin_fail(response, 400, "weight is missing");
	else if (text && (str_to_u64(str_from_cstr(text), &weight) || weight > SERVICE_WEIGHT_MAX))
		admin_fail(response, 400, "weight: expected 0 to %d", SERVICE_WEIGHT_MAX);
	else
		change->weight = (uint32_t)weight;
	return !response->status;
}

static void run_change(struct daemon *daemon, const struct service_change *change, const char *done,
		       struct admin_response *response)
{
	char addr[ADDR_TEXT_MAX], object[EVENT_OBJECT_MAX];
	struct error err = {0};
	struct json_writer json;
	int r = services_change_backend(&daemon->services, daemon->snapshot, change, &err);

	if (r) {
		admin_fail(response,
			   r == -ENOENT	  ? 404
			   : r == -EEXIST ? 409
			   : r == -EINVAL ? 400
			   : r == -ENOSPC ? 503
					  : 500,
			   "%s", err.text);
		return;
	}
	(void)ip_addr_format(&change->addr, addr, sizeof(addr));
	(void)snprintf(object, sizeof(object), "%s %s", change->service, addr);
	log_info("control", "backend %s: %s by a person", object, done);
	event_publish(EVENT_BACKEND_CHANGED, str_from_cstr(object), "%s by a person", done);
	json_init(&json, &response->body, false);
	json_open_object(&json, NULL);
	json_cstring(&json, "service", change->service);
	json_cstring(&json, "address", addr);
	json_cstring(&json, "done", done);
	json_close_object(&json);
	admin_finish(response, &json);
}

void admin_post_backends(struct daemon *daemon, const struct admin_request *request,
			 struct admin_response *response)
{
	static const char *const names[] = {"service", "address", "change", "weight"};
	const char *values[ARRAY_SIZE(names)];
	struct service_change change = {.weight = 0};
	const char *done = NULL;
	json_t *object;
	bool good;

	if (admin_read_strings(request, response, names, ARRAY_SIZE(names), values, &object))
		return;
	for (size_t i = 0; i < ARRAY_SIZE(changes) && values[2]; i++)
		if (!strcmp(values[2], changes[i].name)) {
			change.kind = changes[i].kind;
			done = changes[i].done;
		}
	if (!done)
		admin_fail(response, 400,
			   "change: expected one of add, delete, drain, undrain, weight");
	good = done && read_target(values[0], values[1], &change, response) &&
	       read_weight(values[3], &change, response);
	json_decref(object);
	if (good && has_services(daemon, response))
		run_change(daemon, &change, done, response);
}

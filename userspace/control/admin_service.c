/* GET, POST, DELETE /v1/services, POST /v1/backends */
#include <errno.h>

#include "base/clock.h"
#include "control/admin_api.h"
#include "kern/service_change.h"
#include "kern/service_words.h"

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
	int r;

	if (!has_services(daemon, response))
		return;
	json_init(&json, &response->body, false);
	json_open_object(&json, NULL);
	r = service_set_write_json(&daemon->services.set, &json, clock_boot_ns());
	if (r) {
		admin_fail(response, 500, "cannot read the services: %s", strerror(-r));
		return;
	}
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

static bool read_port(const char *text, struct service_change *change,
		      struct admin_response *response)
{
	uint64_t port = 0;

	if (text && (str_to_u64(str_from_cstr(text), &port) || port > UINT16_MAX))
		admin_fail(response, 400, "port: expected 0 to %d", UINT16_MAX);
	change->port = (uint16_t)port;
	change->has_port = text;
	return !response->status;
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

static void fail_change(struct admin_response *response, int code, const struct error *err)
{
	static const struct {
		int code, status;
	} statuses[] = {{-ENOENT, 404}, {-EEXIST, 409}, {-ENOTUNIQ, 409},
			{-EPERM, 409},	{-EINVAL, 400}, {-ENOSPC, 503}};
	int status = 500;

	for (size_t i = 0; i < ARRAY_SIZE(statuses); i++)
		if (statuses[i].code == code)
			status = statuses[i].status;
	admin_fail(response, status, "%s", err->text);
}

static void run_change(struct daemon *daemon, struct service_change *change, const char *done,
		       struct admin_response *response)
{
	char backend[ADDR_TEXT_MAX], object[EVENT_OBJECT_MAX];
	struct error err = {0};
	struct json_writer json;
	int r = services_change_backend(&daemon->services, daemon->snapshot, change, &err);

	if (r) {
		fail_change(response, r, &err);
		return;
	}
	(void)service_change_format(change, backend, sizeof(backend));
	(void)snprintf(object, sizeof(object), "%s %s", change->service, backend);
	log_info("control", "backend %s: %s by a person", object, done);
	event_publish(EVENT_BACKEND_CHANGED, str_from_cstr(object), "%s by a person", done);
	json_init(&json, &response->body, false);
	json_open_object(&json, NULL);
	json_cstring(&json, "service", change->service);
	json_cstring(&json, "address", backend);
	json_cstring(&json, "done", done);
	json_close_object(&json);
	admin_finish(response, &json);
}

void admin_post_backends(struct daemon *daemon, const struct admin_request *request,
			 struct admin_response *response)
{
	static const char *const names[] = {"service", "address", "change", "weight", "port"};
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
	       read_weight(values[3], &change, response) && read_port(values[4], &change, response);
	json_decref(object);
	if (good && has_services(daemon, response))
		run_change(daemon, &change, done, response);
}

static void tell_service(const char *name, const char *done, struct admin_response *response)
{
	struct json_writer json;

	log_info("control", "service %s: %s by a person", name, done);
	event_publish(EVENT_SERVICE_CHANGED, str_from_cstr(name), "%s by a person", done);
	json_init(&json, &response->body, false);
	json_open_object(&json, NULL);
	json_cstring(&json, "service", name);
	json_cstring(&json, "done", done);
	json_close_object(&json);
	admin_finish(response, &json);
}

void admin_post_services(struct daemon *daemon, const struct admin_request *request,
			 struct admin_response *response)
{
	static const char *const names[] = {"name",    "address",     "ports",	     "protocol",
					    "forward", "affinity",    "drain_ms",    "slots",
					    "probe",   "health_port", "interval_ms", "timeout_ms",
					    "rise",    "fall"};
	const char *values[ARRAY_SIZE(names)];
	struct service_conf *conf = NULL;
	struct service_words words;
	struct error err = {0};
	json_t *object;
	int r;

	if (admin_read_strings(request, response, names, ARRAY_SIZE(names), values, &object))
		return;
	words = (struct service_words){values[0],  values[1],  values[2],  values[3], values[4],
				       values[5],  values[6],  values[7],  values[8], values[9],
				       values[10], values[11], values[12], values[13]};
	r = service_words_read(&words, &conf, &err);
	json_decref(object);
	if (r)
		fail_change(response, r, &err);
	if (!r && has_services(daemon, response)) {
		r = services_add(&daemon->services, daemon->snapshot, conf, &err);
		if (r)
			fail_change(response, r, &err);
		else
			tell_service(conf->name.ptr, "added", response);
	}
	service_conf_free(conf);
}

void admin_delete_services(struct daemon *daemon, const struct admin_request *request,
			   struct admin_response *response)
{
	char name[SL_SERVICE_NAME_MAX], drain[24];
	struct error err = {0};
	uint64_t drain_ms = 0;
	int r;

	if (admin_query_get(request->query, "name", name, sizeof(name))) {
		admin_fail(response, 400, "name is missing or too long: /v1/services?name=NAME");
		return;
	}
	r = admin_query_get(request->query, "drain_ms", drain, sizeof(drain));
	if (r != -ENOENT &&
	    (r || str_to_u64(str_from_cstr(drain), &drain_ms) || drain_ms > SERVICE_DRAIN_MAX_MS)) {
		admin_fail(response, 400, "drain_ms: expected 0 to %d", SERVICE_DRAIN_MAX_MS);
		return;
	}
	if (!has_services(daemon, response))
		return;
	r = services_delete(&daemon->services, daemon->snapshot, name, drain_ms, &err);
	if (r)
		fail_change(response, r, &err);
	else
		tell_service(name, drain_ms ? "draining" : "deleted", response);
}

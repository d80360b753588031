/* POST, DELETE /v1/deny and /v1/allow: one entry. */
#include <errno.h>

#include "base/clock.h"
#include "base/log.h"
#include "conf/field.h"
#include "control/access_loads.h"
#include "control/admin_api.h"
#include "kern/access_overlay.h"
#include "kern/access_text.h"

enum access_list_kind admin_access_kind(const struct admin_request *request)
{
	return str_starts_with(request->path, STR("/v1/deny")) ? ACCESS_DENY : ACCESS_ALLOW;
}

static bool has_dataplane(const struct daemon *daemon, struct admin_response *response)
{
	if (!daemon->dataplane)
		admin_fail(response, 503, "no kernel dataplane: %s", daemon->dataplane_reason);
	return daemon->dataplane;
}

/* False with the answer written when the change could not be kept. */
static bool is_kept(int r, const struct error *err, struct admin_response *response)
{
	if (r)
		admin_fail(response, 500, "in force now, but lost with the next boot: %s",
			   err->text);
	return !r;
}

static const char *state_dir(const struct daemon *daemon)
{
	return daemon->snapshot->node.state_dir.ptr;
}

static bool read_reason(const char *reason, struct access_entry *entry,
			struct admin_response *response)
{
	if (!reason)
		return true;
	if (strlen(reason) >= sizeof(entry->reason)) {
		admin_fail(response, 400, "reason: at most %zu bytes", sizeof(entry->reason) - 1);
		return false;
	}
	for (const char *byte = reason; *byte; byte++)
		if ((unsigned char)*byte < ' ' || *byte == 127) {
			admin_fail(response, 400, "reason: no control characters");
			return false;
		}
	(void)snprintf(entry->reason, sizeof(entry->reason), "%s", reason);
	return true;
}

static bool read_ttl(const char *ttl, struct access_entry *entry, struct admin_response *response)
{
	char quoted[128];
	uint64_t ttl_ms;

	if (!ttl)
		return true;
	/* Larger ones would run over in sums with the time of day. */
	if (units_parse_duration_ms(str_from_cstr(ttl), &ttl_ms) || !ttl_ms ||
	    ttl_ms > ACCESS_TTL_MS_MAX) {
		admin_fail(response, 400, "ttl: %s is no duration such as 90s, 10m, 24h or 7d",
			   str_quote(str_from_cstr(ttl), quoted, sizeof(quoted)));
		return false;
	}
	entry->expires_wall_ms = clock_wall_ms() + ttl_ms;
	return true;
}

static bool read_entry(const struct admin_request *request, struct access_entry *entry,
		       struct admin_response *response)
{
	static const char *const names[] = {"cidr", "reason", "ttl"};
	const char *values[ARRAY_SIZE(names)];
	struct error err = {0};
	json_t *object;
	bool good = false;

	if (admin_read_strings(request, response, names, ARRAY_SIZE(names), values, &object))
		return false;
	if (!values[0])
		admin_fail(response, 400, "cidr is missing");
	else if (ip_prefix_parse(str_from_cstr(values[0]), &entry->prefix, &err))
		admin_fail(response, 400, "cidr: %s", err.text);
	else
		good = read_reason(values[1], entry, response) &&
		       read_ttl(values[2], entry, response);
	json_decref(object);
	return good;
}

static void publish_change(enum access_list_kind kind, const char *what, const char *cidr)
{
	event_publish(kind == ACCESS_DENY ? EVENT_DENY_CHANGED : EVENT_ALLOW_CHANGED,
		      str_from_cstr(cidr), "%s", what);
}

static void post_entry(struct daemon *daemon, enum access_list_kind kind,
		       const struct admin_request *request, struct admin_response *response)
{
	struct access_entry entry = {.origin = ACCESS_FROM_CLI};
	struct error err = {0};
	struct json_writer json;
	char cidr[ADDR_TEXT_MAX];
	int r;

	if (!read_entry(request, &entry, response) || !has_dataplane(daemon, response))
		return;
	r = access_list_add(daemon->dataplane, kind, &entry, &err);
	if (r) {
		admin_fail(response, r == -ENOSPC ? 503 : 500, "%s", err.text);
		return;
	}
	log_info("control", "%s: added %s", access_list_name(kind),
		 ip_prefix_format(&entry.prefix, cidr, sizeof(cidr)));
	publish_change(kind, "added", cidr);
	r = access_overlay_note_added(daemon->dataplane, state_dir(daemon), kind, &entry, &err);
	if (!is_kept(r, &err, response))
		return;
	access_loads_check_journal(daemon->access_loads);
	json_init(&json, &response->body, false);
	admin_json_entry(&json, &entry);
	admin_finish(response, &json);
}

static void delete_entry(struct daemon *daemon, enum access_list_kind kind,
			 const struct admin_request *request, struct admin_response *response)
{
	char text[ADDR_TEXT_MAX], cidr[ADDR_TEXT_MAX];
	struct error err = {0};
	struct ip_prefix prefix;
	struct json_writer json;
	int r;

	r = admin_query_get(request->query, "cidr", text, sizeof(text));
	if (r) {
		admin_fail(response, 400, "the query must be ?cidr=ADDRESS%%2FLENGTH");
		return;
	}
	if (ip_prefix_parse(str_from_cstr(text), &prefix, &err)) {
		admin_fail(response, 400, "cidr: %s", err.text);
		return;
	}
	if (!has_dataplane(daemon, response))
		return;
	(void)ip_prefix_format(&prefix, cidr, sizeof(cidr));
	r = access_list_remove(daemon->dataplane, kind, &prefix, &err);
	if (r) {
		if (r == -ENOENT)
			admin_fail(response, 404, "%s is not on the %s list", cidr,
				   access_list_name(kind));
		else
			admin_fail(response, 500, "%s", err.text);
		return;
	}
	log_info("control", "%s: removed %s", access_list_name(kind), cidr);
	publish_change(kind, "removed", cidr);
	r = access_overlay_note_removed(daemon->dataplane, state_dir(daemon), kind, &prefix, &err);
	if (!is_kept(r, &err, response))
		return;
	access_loads_check_journal(daemon->access_loads);
	json_init(&json, &response->body, false);
	json_open_object(&json, NULL);
	json_cstring(&json, "removed", cidr);
	json_close_object(&json);
	admin_finish(response, &json);
}

void admin_post_deny(struct daemon *daemon, const struct admin_request *request,
		     struct admin_response *response)
{
	post_entry(daemon, ACCESS_DENY, request, response);
}

void admin_delete_deny(struct daemon *daemon, const struct admin_request *request,
		       struct admin_response *response)
{
	delete_entry(daemon, ACCESS_DENY, request, response);
}

void admin_post_allow(struct daemon *daemon, const struct admin_request *request,
		      struct admin_response *response)
{
	post_entry(daemon, ACCESS_ALLOW, request, response);
}

void admin_delete_allow(struct daemon *daemon, const struct admin_request *request,
			struct admin_response *response)
{
	delete_entry(daemon, ACCESS_ALLOW, request, response);
}

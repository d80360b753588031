/* GET /v1/deny, /v1/allow and their counts. */
#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "control/admin_api.h"
#include "kern/access_entries.h"
#include "kern/access_text.h"
#include "kern/access_view.h"

#define PIECE_BYTES ((size_t)128 << 10)

/* A list on its way to a client: taken down at once, written as the client reads. */
struct list_source {
	struct access_entries *entries;
	size_t next;
	bool is_text;
	bool begun;
	struct json_writer json;
};

static void source_free(void *arg)
{
	struct list_source *source = arg;

	access_entries_free(source->entries);
	free(source);
}

static void source_freep(struct list_source **source)
{
	if (*source)
		source_free(*source);
}

void admin_json_entry(struct json_writer *json, const struct access_entry *entry)
{
	uint64_t now_ms = clock_wall_ms();
	char cidr[ADDR_TEXT_MAX];

	json_open_object(json, NULL);
	json_cstring(json, "cidr", ip_prefix_format(&entry->prefix, cidr, sizeof(cidr)));
	json_cstring(json, "reason", entry->reason[0] ? entry->reason : NULL);
	admin_json_time(json, "expires_at", entry->expires_wall_ms);
	if (entry->expires_wall_ms)
		json_u64(json, "ttl_s",
			 entry->expires_wall_ms > now_ms
				 ? (entry->expires_wall_ms - now_ms + 999) / 1000
				 : 0);
	else
		json_nil(json, "ttl_s");
	json_cstring(json, "origin", entry->origin == ACCESS_FROM_CONFIG ? "config" : "cli");
	json_u64(json, "packets", entry->packets);
	json_u64(json, "bytes", entry->bytes);
	json_close_object(json);
}

static int write_text(struct list_source *source, struct buf *body)
{
	struct access_entry entry;
	int r = 0;

	while (!r && source->next < access_entries_places(source->entries) &&
	       body->len < PIECE_BYTES)
		if (access_entries_get(source->entries, source->next++, &entry))
			r = access_text_write(body, &entry, true);
	/* Only a whole answer ends with its comment. */
	if (!r && source->next == access_entries_places(source->entries))
		r = buf_printf(body, "# %zu entries\n", access_entries_count(source->entries));
	return r;
}

static int write_json(struct list_source *source, struct buf *body)
{
	struct json_writer *json = &source->json;
	struct access_entry entry;

	if (!source->begun) {
		json_init(json, body, false);
		json_open_object(json, NULL);
		json_open_array(json, "entries");
		source->begun = true;
	}
	json->out = body;
	while (!json->failed && source->next < access_entries_places(source->entries) &&
	       body->len < PIECE_BYTES)
		if (access_entries_get(source->entries, source->next++, &entry))
			admin_json_entry(json, &entry);
	if (source->next < access_entries_places(source->entries))
		return json->failed;
	json_close_array(json);
	json_close_object(json);
	return json_finish(json);
}

static int more(void *arg, struct buf *body)
{
	struct list_source *source = arg;
	int r = source->is_text ? write_text(source, body) : write_json(source, body);

	return r ? r : source->next < access_entries_places(source->entries);
}

/* ---- requests ---- */

static bool read_prefix(const struct admin_request *request, struct access_filter *filter,
			struct admin_response *response)
{
	static const char *const names[] = {
		[ACCESS_MATCH_COVERING] = "cidr",
		[ACCESS_MATCH_EXACT] = "prefix",
		[ACCESS_MATCH_WITHIN] = "within",
	};
	struct error err = {0};
	char text[ADDR_TEXT_MAX];

	for (enum access_match match = ACCESS_MATCH_COVERING; match <= ACCESS_MATCH_WITHIN;
	     match++) {
		int r = admin_query_get(request->query, names[match], text, sizeof(text));

		if (r == -ENOENT)
			continue;
		if (filter->match) {
			admin_fail(response, 400, "cidr, prefix and within do not go together");
			return false;
		}
		filter->match = match;
		if (r || ip_prefix_parse(str_from_cstr(text), &filter->prefix, &err)) {
			admin_fail(response, 400, "%s: %s", names[match],
				   r ? "not an address or a prefix" : err.text);
			return false;
		}
	}
	return true;
}

static bool read_filter(const struct admin_request *request, struct access_filter *filter,
			struct admin_response *response)
{
	char text[ADDR_TEXT_MAX];
	int r;

	*filter = (struct access_filter){.match = ACCESS_MATCH_ALL};
	if (!read_prefix(request, filter, response))
		return false;
	r = admin_query_get(request->query, "from", text, sizeof(text));
	filter->has_origin = r != -ENOENT;
	if (filter->has_origin && (r || (strcmp(text, "cli") && strcmp(text, "config")))) {
		admin_fail(response, 400, "from: expected 'config' or 'cli'");
		return false;
	}
	filter->origin =
		filter->has_origin && !strcmp(text, "cli") ? ACCESS_FROM_CLI : ACCESS_FROM_CONFIG;
	r = admin_query_get(request->query, "reason", filter->reason, sizeof(filter->reason));
	filter->has_reason = r != -ENOENT;
	if (filter->has_reason && r) {
		admin_fail(response, 400, "reason: at most %d bytes", ACCESS_REASON_MAX - 1);
		return false;
	}
	return true;
}

static bool begin(struct daemon *daemon, const struct admin_request *request,
		  struct access_filter *filter, struct admin_response *response)
{
	if (!read_filter(request, filter, response))
		return false;
	if (!daemon->dataplane)
		admin_fail(response, 503, "no kernel dataplane: %s", daemon->dataplane_reason);
	return daemon->dataplane;
}

void admin_get_access(struct daemon *daemon, const struct admin_request *request,
		      struct admin_response *response)
{
	_cleanup_(source_freep)
	struct list_source *source = NULL;
	struct access_filter filter;
	char format[8];
	int r;

	r = admin_query_get(request->query, "format", format, sizeof(format));
	if (r != -ENOENT && (r || (strcmp(format, "text") && strcmp(format, "json")))) {
		admin_fail(response, 400, "format: expected 'json' or 'text'");
		return;
	}
	if (!begin(daemon, request, &filter, response))
		return;
	source = calloc(1, sizeof(*source));
	if (source)
		source->entries = access_entries_new(SIZE_MAX);
	if (!source || !source->entries) {
		admin_fail(response, 503, "out of memory");
		return;
	}
	source->is_text = !r && !strcmp(format, "text");
	r = access_filter_walk(daemon->dataplane, admin_access_kind(request), &filter,
			       access_entries_visit, source->entries);
	if (r) {
		admin_fail(response, 500, "cannot read the list: %s", strerror(-r));
		return;
	}
	response->status = 200;
	response->content_type = source->is_text ? "text/plain" : NULL;
	response->more = more;
	response->more_done = source_free;
	response->source = TAKE_PTR(source);
}

void admin_get_access_count(struct daemon *daemon, const struct admin_request *request,
			    struct admin_response *response)
{
	struct access_filter filter;
	struct access_sums sums = {0};
	struct json_writer json;
	int r;

	if (!begin(daemon, request, &filter, response))
		return;
	r = access_filter_walk(daemon->dataplane, admin_access_kind(request), &filter,
			       access_sums_visit, &sums);
	if (r) {
		admin_fail(response, 500, "cannot read the list: %s", strerror(-r));
		return;
	}
	json_init(&json, &response->body, false);
	json_open_object(&json, NULL);
	json_u64(&json, "entries", sums.entries);
	json_u64(&json, "cli", sums.cli);
	json_u64(&json, "config", sums.config);
	json_u64(&json, "ipv4", sums.ipv4);
	json_u64(&json, "ipv6", sums.ipv6);
	json_u64(&json, "packets", sums.packets);
	json_u64(&json, "bytes", sums.bytes);
	json_close_object(&json);
	admin_finish(response, &json);
}

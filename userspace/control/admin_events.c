/* GET /v1/events */
#include <errno.h>

#include "control/admin_api.h"

#define LAST_DEFAULT EVENT_RING_MAX

/* 0 with the value, or with `fallback` when it is not asked for; -EINVAL with the 400 written. */
static int read_number(const struct admin_request *request, const char *name, uint64_t fallback,
		       struct admin_response *response, uint64_t *ret_number)
{
	char text[32];
	int r = admin_query_get(request->query, name, text, sizeof(text));

	if (r == -ENOENT) {
		*ret_number = fallback;
		return 0;
	}
	if (!r)
		r = str_to_u64(str_from_cstr(text), ret_number);
	if (r) {
		admin_fail(response, 400, "%s: expected a whole number", name);
		return -EINVAL;
	}
	return 0;
}

static const char *level_name(enum log_level level)
{
	switch (level) {
	case LOG_LEVEL_ERROR:
		return "error";
	case LOG_LEVEL_WARN:
		return "warning";
	default:
		return "info";
	}
}

static void write_event(struct json_writer *json, uint64_t seq, const struct event *event)
{
	json_open_object(json, NULL);
	json_u64(json, "seq", seq);
	admin_json_time(json, "time", event->wall_ms);
	json_u64(json, "time_ms", event->wall_ms);
	json_cstring(json, "kind", event_kind_name(event->kind));
	json_cstring(json, "level", level_name(event_kind_level(event->kind)));
	json_cstring(json, "object", event->object[0] ? event->object : NULL);
	json_cstring(json, "text", event->text);
	json_close_object(json);
}

/*
 * ?since=SEQ: only those after it; ?last=N: of these the N newest. `missed` counts events after
 * SEQ that the ring has dropped already.
 */
void admin_get_events(struct daemon *daemon, const struct admin_request *request,
		      struct admin_response *response)
{
	struct event_ring *ring = &daemon->events;
	uint64_t since, last, from, oldest;
	struct json_writer json;

	if (read_number(request, "since", 0, response, &since) ||
	    read_number(request, "last", LAST_DEFAULT, response, &last))
		return;
	event_ring_collect(ring);
	oldest = event_ring_oldest(ring);
	from = MAX(since < event_ring_newest(ring) ? since + 1 : event_ring_newest(ring) + 1,
		   oldest);
	if (event_ring_newest(ring) + 1 - from > last)
		from = event_ring_newest(ring) + 1 - last;

	json_init(&json, &response->body, false);
	json_open_object(&json, NULL);
	json_u64(&json, "instance", daemon->started_wall_ms);
	json_u64(&json, "newest", event_ring_newest(ring));
	json_u64(&json, "missed", oldest > since + 1 ? oldest - since - 1 : 0);
	json_u64(&json, "lost", event_lost() + ring->lost);
	json_open_array(&json, "events");
	for (uint64_t seq = from; seq <= event_ring_newest(ring); seq++)
		write_event(&json, seq, event_ring_get(ring, seq));
	json_close_array(&json);
	json_close_object(&json);
	admin_finish(response, &json);
}

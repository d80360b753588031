#include "control/access_loads.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/random.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "conf/field.h"
#include "control/admin_api.h"
#include "kern/access_load.h"
#include "kern/access_overlay.h"
#include "kern/access_text.h"

#define OPEN_MS	      10000
#define KEPT_MS	      60000
#define SLICE_NS      4000000ULL
#define SLICE_ENTRIES 256
#define ERRORS_MAX    20
#define ID_TEXT_MAX   24

enum load_state { LOAD_NONE, LOAD_OPEN, LOAD_APPLYING, LOAD_SAVING, LOAD_DONE, LOAD_FAILED };

static const char *const state_names[] = {"none", "open", "applying", "saving", "done", "failed"};

/* The load of one list. */
struct session {
	struct access_loads *loads;
	enum access_list_kind kind;
	enum load_state state;
	uint64_t id;
	struct access_load_conf conf;
	struct access_load *load; /* NULL once it is done */
	uint64_t parts, entries, done, total;
	struct access_load_counts counts;
	struct error failure;
	struct timer timer;
};

struct access_loads {
	struct daemon *daemon;
	struct session sessions[2];
	struct access_saver *saver;
	bool save_again; /* changes that the saver which runs does not have */
	struct loop_task task;
	bool posted;
	bool stopping;
};

static const char *state_dir(const struct access_loads *loads)
{
	return loads->daemon->snapshot->node.state_dir.ptr;
}

static void post(struct access_loads *loads)
{
	if (loads->posted || loads->stopping)
		return;
	loads->posted = true;
	loop_post(loads->daemon->loop, &loads->task);
}

/* ---- a session ---- */

static void drop(struct session *session)
{
	timer_stop(&session->timer);
	access_load_free(session->load);
	session->load = NULL;
	session->state = LOAD_NONE;
}

static void on_timeout(struct timer *timer)
{
	struct session *session = CONTAINER_OF(timer, struct session, timer);

	if (session->state == LOAD_OPEN)
		log_info("control", "%s: a load was given up: its client is silent",
			 access_list_name(session->kind));
	drop(session);
}

static void end(struct session *session, enum load_state state)
{
	const struct access_load_counts *counts = &session->counts;

	session->state = state;
	access_load_free(session->load);
	session->load = NULL;
	timer_start(session->loads->daemon->loop, &session->timer, KEPT_MS);
	if (state == LOAD_FAILED) {
		log_warn("control", "%s: load: %s", access_list_name(session->kind),
			 session->failure.text);
		return;
	}
	log_info("control",
		 "%s: load%s: %" PRIu64 " added, %" PRIu64 " changed, %" PRIu64 " removed, %" PRIu64
		 " unchanged",
		 access_list_name(session->kind), session->conf.dry_run ? " (dry run)" : "",
		 counts->added, counts->changed, counts->removed, counts->unchanged);
}

static void publish(const struct session *session)
{
	const struct access_load_counts *counts = &session->counts;

	event_publish(session->kind == ACCESS_DENY ? EVENT_DENY_CHANGED : EVENT_ALLOW_CHANGED,
		      STR(""), "load: %" PRIu64 " added, %" PRIu64 " changed, %" PRIu64 " removed",
		      counts->added, counts->changed, counts->removed);
}

static void note_progress(struct session *session)
{
	session->counts = access_load_counts(session->load);
	access_load_progress(session->load, &session->done, &session->total);
}

static void start_save(struct access_loads *loads);

static void apply_slice(struct session *session)
{
	struct access_loads *loads = session->loads;
	uint64_t until = clock_mono_ns() + SLICE_NS;
	bool has_changed;
	int r;

	do
		r = access_load_step(session->load, loads->daemon->dataplane, SLICE_ENTRIES,
				     &session->failure);
	while (r > 0 && clock_mono_ns() < until);
	note_progress(session);
	if (r > 0)
		return;
	has_changed = access_load_has_changed(session->load);
	if (has_changed)
		publish(session);
	if (r < 0) {
		if (has_changed)
			error_prefix(&session->failure, "a part of the load is in force");
		end(session, LOAD_FAILED);
		if (has_changed)
			start_save(loads);
	} else if (has_changed) {
		session->state = LOAD_SAVING;
		access_load_free(session->load);
		session->load = NULL;
		start_save(loads);
	} else {
		end(session, LOAD_DONE);
	}
}

/* ---- keeping ---- */

static void end_save(struct access_loads *loads, int r, const struct error *err)
{
	access_saver_free(loads->saver);
	loads->saver = NULL;
	if (r)
		log_warn("control", "the lists are in force now, but lost with the next boot: %s",
			 err->text);
	if (loads->save_again) {
		loads->save_again = false;
		start_save(loads);
		return;
	}
	for (unsigned int i = 0; i < ARRAY_SIZE(loads->sessions); i++) {
		struct session *session = &loads->sessions[i];

		if (session->state != LOAD_SAVING)
			continue;
		if (r)
			(void)error_set(&session->failure, r,
					"in force now, but lost with the next boot: %s", err->text);
		end(session, r ? LOAD_FAILED : LOAD_DONE);
	}
}

static void start_save(struct access_loads *loads)
{
	struct error err = {0};
	int r;

	if (loads->saver) {
		loads->save_again = true;
		return;
	}
	r = access_saver_new(loads->daemon->dataplane, state_dir(loads), &loads->saver, &err);
	if (r)
		end_save(loads, r, &err);
	else
		post(loads);
}

static void save_slice(struct access_loads *loads)
{
	struct error err = {0};
	int r = access_saver_step(loads->saver, &err);

	if (r <= 0)
		end_save(loads, r, &err);
}

void access_loads_check_journal(struct access_loads *loads)
{
	if (loads && !loads->saver && access_overlay_is_long(state_dir(loads)))
		start_save(loads);
}

/* ---- turns ---- */

static void on_turn(struct loop_task *task)
{
	struct access_loads *loads = CONTAINER_OF(task, struct access_loads, task);
	bool more = false;

	loads->posted = false;
	if (loads->stopping)
		return;
	if (loads->saver)
		save_slice(loads);
	for (unsigned int i = 0; i < ARRAY_SIZE(loads->sessions); i++) {
		if (loads->sessions[i].state == LOAD_APPLYING)
			apply_slice(&loads->sessions[i]);
		more |= loads->sessions[i].state == LOAD_APPLYING;
	}
	if (more || loads->saver)
		post(loads);
}

int access_loads_new(struct daemon *daemon, struct access_loads **ret_loads)
{
	struct access_loads *loads = calloc(1, sizeof(*loads));

	if (!loads)
		return -ENOMEM;
	loads->daemon = daemon;
	loads->task.run = on_turn;
	for (unsigned int i = 0; i < ARRAY_SIZE(loads->sessions); i++) {
		loads->sessions[i].loads = loads;
		loads->sessions[i].kind = (enum access_list_kind)i;
		timer_init(&loads->sessions[i].timer, on_timeout);
	}
	*ret_loads = loads;
	return 0;
}

void access_loads_stop(struct access_loads *loads)
{
	if (!loads)
		return;
	loads->stopping = true;
	/* What is in force but not yet kept is worth the wait. */
	for (unsigned int i = 0; i < ARRAY_SIZE(loads->sessions); i++)
		if (loads->sessions[i].state == LOAD_APPLYING)
			start_save(loads);
	while (loads->saver) {
		struct error err = {0};
		int r = access_saver_step(loads->saver, &err);

		if (r <= 0)
			end_save(loads, r, &err);
	}
	for (unsigned int i = 0; i < ARRAY_SIZE(loads->sessions); i++)
		drop(&loads->sessions[i]);
}

bool access_loads_is_stopped(const struct access_loads *loads)
{
	return !loads || !loads->posted;
}

void access_loads_free(struct access_loads *loads)
{
	free(loads);
}

/* ---- requests ---- */

static void answer(const struct session *session, struct admin_response *response)
{
	const struct access_load_counts *counts = &session->counts;
	struct json_writer json;
	char id[ID_TEXT_MAX];

	(void)snprintf(id, sizeof(id), "%016" PRIx64, session->id);
	json_init(&json, &response->body, false);
	json_open_object(&json, NULL);
	json_cstring(&json, "load", id);
	json_cstring(&json, "state", state_names[session->state]);
	json_bool(&json, "replace", session->conf.replace);
	json_bool(&json, "dry_run", session->conf.dry_run);
	json_u64(&json, "parts", session->parts);
	json_u64(&json, "entries", session->entries);
	json_u64(&json, "done", session->done);
	json_u64(&json, "total", session->total);
	json_u64(&json, "added", counts->added);
	json_u64(&json, "changed", counts->changed);
	json_u64(&json, "removed", counts->removed);
	json_u64(&json, "unchanged", counts->unchanged);
	json_u64(&json, "expired", counts->expired);
	json_u64(&json, "repeated", counts->repeated);
	json_cstring(&json, "failure", session->failure.code ? session->failure.text : NULL);
	json_close_object(&json);
	admin_finish(response, &json);
}

/* NULL with the answer written when ?load= names no load of this list. */
static struct session *find_session(struct daemon *daemon, const struct admin_request *request,
				    struct admin_response *response)
{
	enum access_list_kind kind = admin_access_kind(request);
	struct session *session;
	char text[ID_TEXT_MAX], wanted[ID_TEXT_MAX];

	if (!daemon->access_loads) {
		admin_fail(response, 503, "no kernel dataplane: %s", daemon->dataplane_reason);
		return NULL;
	}
	session = &daemon->access_loads->sessions[kind];
	if (admin_query_get(request->query, "load", text, sizeof(text))) {
		admin_fail(response, 400, "the query must have load=ID");
		return NULL;
	}
	(void)snprintf(wanted, sizeof(wanted), "%016" PRIx64, session->id);
	if (session->state == LOAD_NONE || strcmp(text, wanted)) {
		admin_fail(response, 404,
			   "there is no such load of the %s list; it may have timed out",
			   access_list_name(kind));
		return NULL;
	}
	return session;
}

static bool read_conf(const struct admin_request *request, struct access_load_conf *conf,
		      struct admin_response *response)
{
	const char *reason = "", *ttl = NULL, *wrong;
	int replace = 0, dry_run = 0;
	json_error_t why;
	json_t *object =
		json_loadb(request->body.ptr, request->body.len, JSON_REJECT_DUPLICATES, &why);
	bool good = false;

	if (!object)
		admin_fail(response, 400, "the body is no JSON: line %d, column %d: %s", why.line,
			   why.column, why.text);
	else if (json_unpack_ex(object, &why, JSON_STRICT, "{s?b, s?b, s?s, s?s}", "replace",
				&replace, "dry_run", &dry_run, "reason", &reason, "ttl", &ttl))
		admin_fail(response, 400, "%s", why.text);
	else if ((wrong = access_reason_check(str_from_cstr(reason))))
		admin_fail(response, 400, "reason: %s", wrong);
	else if (ttl && (units_parse_duration_ms(str_from_cstr(ttl), &conf->ttl_ms) ||
			 !conf->ttl_ms || conf->ttl_ms > ACCESS_TTL_MS_MAX))
		admin_fail(response, 400, "ttl: that is no duration such as 90s, 10m, 24h or 7d");
	else
		good = true;
	if (good)
		(void)snprintf(conf->reason, sizeof(conf->reason), "%s", reason);
	conf->replace = replace;
	conf->dry_run = dry_run;
	json_decref(object);
	return good;
}

void admin_post_load(struct daemon *daemon, const struct admin_request *request,
		     struct admin_response *response)
{
	enum access_list_kind kind = admin_access_kind(request);
	struct access_load_conf conf = {.kind = kind, .now_wall_ms = clock_wall_ms()};
	struct session *session;
	struct error err = {0};

	if (!read_conf(request, &conf, response))
		return;
	if (!daemon->access_loads) {
		admin_fail(response, 503, "no kernel dataplane: %s", daemon->dataplane_reason);
		return;
	}
	session = &daemon->access_loads->sessions[kind];
	if (session->state >= LOAD_OPEN && session->state <= LOAD_SAVING) {
		admin_fail(response, 409,
			   "another load of the %s list is under way; try again when it is done",
			   access_list_name(kind));
		return;
	}
	/* So that single changes can be kept while this one is written. */
	if (!conf.dry_run &&
	    access_overlay_prepare(daemon->dataplane, state_dir(daemon->access_loads), &err)) {
		admin_fail(response, 500, "%s", err.text);
		return;
	}
	drop(session);
	session->load = access_load_new(&conf);
	if (!session->load) {
		admin_fail(response, 503, "out of memory");
		return;
	}
	if (getrandom(&session->id, sizeof(session->id), GRND_NONBLOCK) !=
	    (ssize_t)sizeof(session->id))
		session->id = clock_mono_ns();
	session->conf = conf;
	session->state = LOAD_OPEN;
	session->parts = session->entries = session->done = session->total = 0;
	session->counts = (struct access_load_counts){0};
	session->failure = (struct error){0};
	timer_start(daemon->loop, &session->timer, OPEN_MS);
	answer(session, response);
}

/* What is wrong with the lines of a part, for the answer. */
struct part_errors {
	struct json_writer *json;
	unsigned int count;
};

static void note_error(uint64_t line, size_t column, const char *text, void *arg)
{
	struct part_errors *errors = arg;
	char shown[600];

	if (errors->count++ >= ERRORS_MAX)
		return;
	(void)snprintf(shown, sizeof(shown), "%" PRIu64 ":%zu: %s", line, column, text);
	json_cstring(errors->json, NULL, shown);
}

static void read_part(struct session *session, struct str text, struct admin_response *response)
{
	struct json_writer json;
	struct part_errors errors = {.json = &json};
	char more[64];
	int r;

	json_init(&json, &response->body, false);
	json_open_object(&json, NULL);
	json_open_array(&json, "errors");
	r = access_load_read(session->load, text, note_error, &errors);
	if (!r) {
		buf_reset(&response->body);
		session->parts++;
		session->entries = access_load_entries(session->load);
		note_progress(session);
		timer_start(session->loads->daemon->loop, &session->timer, OPEN_MS);
		answer(session, response);
		return;
	}
	drop(session);
	if (r != -EINVAL) {
		admin_fail(response, r == -ENOSPC ? 413 : 503, "%s",
			   r == -ENOSPC ? "more entries than a load may have" : "out of memory");
		return;
	}
	(void)snprintf(more, sizeof(more), "and %u more",
		       errors.count - MIN(errors.count, ERRORS_MAX));
	if (errors.count > ERRORS_MAX)
		json_cstring(&json, NULL, more);
	json_close_array(&json);
	(void)snprintf(more, sizeof(more), "%u line%s wrong, nothing was changed", errors.count,
		       errors.count == 1 ? " is" : "s are");
	json_cstring(&json, "error", more);
	json_close_object(&json);
	admin_finish(response, &json);
	response->status = 400;
}

void admin_post_load_part(struct daemon *daemon, const struct admin_request *request,
			  struct admin_response *response)
{
	struct session *session = find_session(daemon, request, response);
	char text[ID_TEXT_MAX];
	uint64_t number;

	if (!session)
		return;
	if (session->state != LOAD_OPEN)
		admin_fail(response, 409, "the load takes no more: it is %s",
			   state_names[session->state]);
	else if (admin_query_get(request->query, "part", text, sizeof(text)) ||
		 str_to_u64(str_from_cstr(text), &number))
		admin_fail(response, 400, "the query must have part=NUMBER, counted from 1");
	else if (number != session->parts + 1)
		admin_fail(response, 409, "part %" PRIu64 " is next", session->parts + 1);
	else
		read_part(session, request->body, response);
}

void admin_post_load_commit(struct daemon *daemon, const struct admin_request *request,
			    struct admin_response *response)
{
	struct session *session = find_session(daemon, request, response);

	if (!session)
		return;
	if (session->state == LOAD_OPEN) {
		timer_stop(&session->timer);
		session->state = LOAD_APPLYING;
		post(session->loads);
	}
	answer(session, response);
}

void admin_get_load(struct daemon *daemon, const struct admin_request *request,
		    struct admin_response *response)
{
	struct session *session = find_session(daemon, request, response);

	if (session)
		answer(session, response);
}

void admin_delete_load(struct daemon *daemon, const struct admin_request *request,
		       struct admin_response *response)
{
	struct session *session = find_session(daemon, request, response);

	if (!session)
		return;
	if (session->state == LOAD_APPLYING || session->state == LOAD_SAVING) {
		admin_fail(response, 409, "the load is %s and cannot be taken back",
			   state_names[session->state]);
		return;
	}
	answer(session, response);
	drop(session);
}

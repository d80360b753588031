/*
 * `sluice stats`: the numbers of the node at a glance, and how fast they grow. Those of the kernel
 * part are there without a daemon, too.
 */
#include <errno.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "tools/cli.h"
#include "tools/client.h"
#include "tools/output.h"
#include "tools/pinned.h"
#include "tools/service.h"

#define INTERVAL_MIN_MS	    100
#define INTERVAL_MAX_MS	    3600000
#define INTERVAL_DEFAULT_MS 1000

/* ---- what the daemon tells ---- */

struct sample {
	uint64_t taken_ns;
	json_t *status, *routes, *upstreams; /* NULL without a daemon */
	json_t *counters, *services;	     /* of the kernel part, which lives by itself */
};

static void sample_done(struct sample *sample)
{
	json_decref(sample->status);
	json_decref(sample->routes);
	json_decref(sample->upstreams);
	json_decref(sample->counters);
	json_decref(sample->services);
	*sample = (struct sample){0};
}

static const struct output_section status_sections[] = {
	{.kind = OUTPUT_TABLE, .path = "workers", .required = true},
	{.kind = OUTPUT_MEMBERS, .path = "counters", .required = true},
};
static const struct output_section routes_section = {
	.kind = OUTPUT_TABLE, .path = "routes", .required = true};
static const struct output_section upstreams_section = {
	.kind = OUTPUT_TABLE, .path = "upstreams", .required = true};

static const struct output_section counters_section = {
	.kind = OUTPUT_TABLE, .path = "reasons", .required = true};

static const struct output_section services_section = {
	.kind = OUTPUT_TABLE, .path = "services", .required = true};

static int ask(struct cli *cli, const char *target, const struct output_section *sections,
	       unsigned int count, json_t **ret_doc)
{
	const struct output_view expected = {sections, count};
	int error = client_try(cli, "GET", target, NULL, ret_doc);

	return error ? error : output_check(cli, *ret_doc, &expected);
}

static int ask_daemon(struct cli *cli, struct sample *sample)
{
	int error = ask(cli, "/v1/status", status_sections, ARRAY_SIZE(status_sections),
			&sample->status);

	sample->taken_ns = clock_mono_ns();
	if (!error)
		error = ask(cli, "/v1/routes", &routes_section, 1, &sample->routes);
	if (!error)
		error = ask(cli, "/v1/upstreams", &upstreams_section, 1, &sample->upstreams);
	if (!error)
		error = ask(cli, "/v1/counters", &counters_section, 1, &sample->counters);
	return error ? error : ask(cli, "/v1/services", &services_section, 1, &sample->services);
}

/* Without a daemon, also one that just went away, what is pinned. */
static int sample_take(struct cli *cli, struct sample *sample)
{
	int error = ask_daemon(cli, sample);

	if (error != -ENOTCONN)
		return error;
	sample_done(sample);
	sample->taken_ns = clock_mono_ns();
	error = pinned_counters(cli, &sample->counters);
	return error ? error : service_load_pinned(cli, &sample->services);
}

/* ---- sums and rates ---- */

static json_int_t number_of(const json_t *row, const char *path)
{
	return json_integer_value(document_get(row, path));
}

static json_int_t sum_of(const json_t *rows, const char *path)
{
	json_int_t sum = 0;
	size_t index;
	json_t *row;

	json_array_foreach((json_t *)rows, index, row) sum += number_of(row, path);
	return sum;
}

static json_int_t count_in_state(const json_t *rows, const char *state)
{
	json_int_t count = 0;
	size_t index;
	json_t *row;

	json_array_foreach((json_t *)rows, index, row)
	{
		const char *its = document_string(row, "state");

		if (its && !strcmp(its, state))
			count++;
	}
	return count;
}

static bool is_called(const json_t *row, const char *key, const char *name)
{
	const char *its = document_string(row, key);

	return its && name && !strcmp(its, name);
}

/* `key`: the member that tells rows apart. */
static const json_t *find_row(const json_t *rows, const char *key, const char *name)
{
	size_t index;
	json_t *row;

	json_array_foreach((json_t *)rows, index, row)
	{
		if (is_called(row, key, name))
			return row;
	}
	return NULL;
}

/* What turns two numbers into one per second; 0: there is only one sample, or another daemon. */
static double seconds_between(const struct sample *before, const struct sample *after)
{
	if (!before->status || !after->status ||
	    number_of(before->status, "pid") != number_of(after->status, "pid"))
		return 0;
	return (double)(after->taken_ns - before->taken_ns) / 1e9;
}

static json_t *rate(json_int_t before, json_int_t after, double seconds)
{
	if (seconds <= 0 || after < before)
		return document_null();
	return json_real((double)(after - before) / seconds);
}

static json_t *describe_totals(const struct sample *before, const struct sample *after,
			       double seconds)
{
	const json_t *old = json_object_get(before->status, "workers");
	const json_t *workers = json_object_get(after->status, "workers");

	return json_pack("{s:I, s:o, s:I, s:o, s:I, s:I, s:O}", "requests",
			 sum_of(workers, "requests"), "requests_per_s",
			 rate(sum_of(old, "requests"), sum_of(workers, "requests"), seconds),
			 "accepted", sum_of(workers, "accepted"), "accepted_per_s",
			 rate(sum_of(old, "accepted"), sum_of(workers, "accepted"), seconds),
			 "connections", sum_of(workers, "connections"), "upstream_connections",
			 sum_of(workers, "upstream_connections"), "counters",
			 json_object_get(after->status, "counters"));
}

static json_t *describe_route(const json_t *before, const json_t *route, double seconds)
{
	const char *name = document_string(route, "name");

	return json_pack(
		"{s:s?, s:I, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "name", name, "requests",
		number_of(route, "requests"), "requests_per_s",
		before ? rate(number_of(before, "requests"), number_of(route, "requests"), seconds)
		       : document_null(),
		"responses_2xx", number_of(route, "responses.2xx"), "responses_3xx",
		number_of(route, "responses.3xx"), "responses_4xx",
		number_of(route, "responses.4xx"), "responses_5xx",
		number_of(route, "responses.5xx"), "unanswered", number_of(route, "responses.none"),
		"bytes_in", number_of(route, "bytes_in"), "bytes_out",
		number_of(route, "bytes_out"));
}

static json_t *describe_upstream(const json_t *before, const json_t *upstream, double seconds)
{
	const json_t *endpoints = json_object_get(upstream, "endpoints");
	const json_t *old = json_object_get(before, "endpoints");
	json_int_t failures = sum_of(endpoints, "connect_failures") + sum_of(endpoints, "resets") +
			      sum_of(endpoints, "protocol_errors") + sum_of(endpoints, "timeouts");

	return json_pack(
		"{s:s?, s:I, s:I, s:I, s:I, s:I, s:o, s:I, s:I, s:I}", "name",
		document_string(upstream, "name"), "endpoints",
		(json_int_t)json_array_size(endpoints), "ejected",
		count_in_state(endpoints, "ejected"), "connections_open",
		sum_of(endpoints, "connections.open"), "connections_idle",
		sum_of(endpoints, "connections.idle"), "requests", sum_of(endpoints, "requests"),
		"requests_per_s",
		before ? rate(sum_of(old, "requests"), sum_of(endpoints, "requests"), seconds)
		       : document_null(),
		"responses_5xx", sum_of(endpoints, "responses_5xx"), "failures", failures,
		"retries", number_of(upstream, "retries"));
}

/* A row for each of `rows`, with what stood under its name before. */
static json_t *
describe_rows(const json_t *before, const json_t *rows, const char *key, double seconds,
	      json_t *(*describe)(const json_t *before, const json_t *row, double seconds))
{
	json_t *list = json_array();
	size_t index;
	json_t *row;

	json_array_foreach((json_t *)rows, index, row)
	{
		const char *name = document_string(row, key);
		const json_t *old = json_array_get(before, index);

		/* Mostly at the place where it was: not a walk for each of many. */
		if (!is_called(old, key, name))
			old = find_row(before, key, name);

		if (json_array_append_new(list, describe(old, row, seconds))) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

static json_t *describe_daemon(const struct sample *before, const struct sample *after)
{
	double seconds = seconds_between(before, after);
	const json_t *status = after->status;

	return json_pack("{s:O?, s:O?, s:O?, s:O?, s:o, s:o, s:o, s:o}", "state",
			 json_object_get(status, "state"), "uptime_s",
			 json_object_get(status, "uptime_s"), "generation",
			 document_get(status, "config.generation"), "memory",
			 json_object_get(status, "memory"), "interval_s",
			 seconds > 0 ? json_real(seconds) : document_null(), "totals",
			 describe_totals(before, after, seconds), "routes",
			 describe_rows(json_object_get(before->routes, "routes"),
				       json_object_get(after->routes, "routes"), "name", seconds,
				       describe_route),
			 "upstreams",
			 describe_rows(json_object_get(before->upstreams, "upstreams"),
				       json_object_get(after->upstreams, "upstreams"), "name",
				       seconds, describe_upstream));
}

/* Counters of the kernel part go on over restarts of the daemon. */
static double kernel_seconds(const struct sample *before, const struct sample *after)
{
	return before->counters ? (double)(after->taken_ns - before->taken_ns) / 1e9 : 0;
}

static json_t *describe_reason(const json_t *before, const json_t *row, double seconds)
{
	bool has_rate = before && seconds > 0;

	return json_pack(
		"{s:s?, s:s?, s:I, s:I, s:o, s:o}", "name", document_string(row, "name"), "meaning",
		document_string(row, "meaning"), "packets", number_of(row, "packets"), "bytes",
		number_of(row, "bytes"), "packets_per_s",
		has_rate ? rate(number_of(before, "packets"), number_of(row, "packets"), seconds)
			 : document_null(),
		"bytes_per_s",
		has_rate ? rate(number_of(before, "bytes"), number_of(row, "bytes"), seconds)
			 : document_null());
}

static json_t *describe_backend(const json_t *before, const json_t *row, double seconds)
{
	bool has_rate = before && seconds > 0;

	return json_pack(
		"{s:s?, s:s?, s:I, s:I, s:o, s:o}", "address", document_string(row, "address"),
		"state", document_string(row, "state"), "packets", number_of(row, "packets"),
		"bytes", number_of(row, "bytes"), "packets_per_s",
		has_rate ? rate(number_of(before, "packets"), number_of(row, "packets"), seconds)
			 : document_null(),
		"bytes_per_s",
		has_rate ? rate(number_of(before, "bytes"), number_of(row, "bytes"), seconds)
			 : document_null());
}

static json_t *describe_service(const json_t *before, const json_t *row, double seconds)
{
	const json_t *backends = json_object_get(row, "backends");
	bool has_rate = before && seconds > 0;

	return json_pack(
		"{s:s?, s:I, s:b, s:I, s:I, s:I, s:o, s:o, s:o}", "name",
		document_string(row, "name"), "backends_up", count_in_state(backends, "up"),
		"fail_open", (int)json_is_true(document_get(row, "health.fail_open")), "packets",
		number_of(row, "packets"), "bytes", number_of(row, "bytes"), "dropped",
		number_of(row, "dropped"), "packets_per_s",
		has_rate ? rate(number_of(before, "packets"), number_of(row, "packets"), seconds)
			 : document_null(),
		"bytes_per_s",
		has_rate ? rate(number_of(before, "bytes"), number_of(row, "bytes"), seconds)
			 : document_null(),
		"backends",
		describe_rows(json_object_get(before, "backends"), backends, "address", seconds,
			      describe_backend));
}

static json_t *describe(const struct cli *cli, const struct sample *before,
			const struct sample *after)
{
	double seconds = kernel_seconds(before, after);
	json_t *reasons = describe_rows(json_object_get(before->counters, "reasons"),
					json_object_get(after->counters, "reasons"), "name",
					seconds, describe_reason);
	json_t *services = describe_rows(json_object_get(before->services, "services"),
					 json_object_get(after->services, "services"), "name",
					 seconds, describe_service);
	json_t *doc;

	if (after->status)
		doc = describe_daemon(before, after);
	else
		doc = json_pack("{s:o, s:o}", "bpffs", document_text(str_from_cstr(cli->bpffs_dir)),
				"interval_s", seconds > 0 ? json_real(seconds) : document_null());
	/* Both lists are given away, whatever becomes of the first. */
	if ((json_object_set_new(doc, "services", services) |
	     json_object_set_new(doc, "reasons", reasons)) ||
	    json_object_set_new(doc, "daemon", json_boolean(after->status != NULL))) {
		json_decref(doc);
		return NULL;
	}
	return doc;
}

/* ---- the view ---- */

static int cell_daemon(const json_t *row, struct buf *out)
{
	int error = output_member(out, row, "state", OUTPUT_TEXT, "", "");

	if (!error)
		error = output_member(out, row, "uptime_s", OUTPUT_SECONDS, ", up ", "");
	return error ? error
		     : output_member(out, row, "generation", OUTPUT_COUNT, ", generation ", "");
}

static int cell_requests(const json_t *row, struct buf *out)
{
	int error = output_member(out, row, "totals.requests", OUTPUT_COUNT, "", "");

	return error ? error
		     : output_member(out, row, "totals.requests_per_s", OUTPUT_RATE, ", ",
				     " a second");
}

static int cell_accepted(const json_t *row, struct buf *out)
{
	int error = output_member(out, row, "totals.accepted", OUTPUT_COUNT, "", "");

	return error ? error
		     : output_member(out, row, "totals.accepted_per_s", OUTPUT_RATE, ", ",
				     " a second");
}

/* What peers make the node hold, of what node.memory_limit allows. */
static int cell_memory(const json_t *row, struct buf *out)
{
	int error = output_member(out, row, "memory.used_bytes", OUTPUT_BYTES, "", "");

	return error ? error
		     : output_member(out, row, "memory.limit_bytes", OUTPUT_BYTES, " of ", "");
}

static const struct output_column head[] = {
	{"daemon", NULL, OUTPUT_CELL, cell_daemon},
	{"requests", NULL, OUTPUT_CELL, cell_requests},
	{"connections accepted", NULL, OUTPUT_CELL, cell_accepted},
	{"connections open", "totals.connections", OUTPUT_COUNT, NULL},
	{"connections to upstreams", "totals.upstream_connections", OUTPUT_COUNT, NULL},
	{"memory", NULL, OUTPUT_CELL, cell_memory},
	{"requests not understood", "totals.counters.bad_requests", OUTPUT_COUNT, NULL},
	{"requests without a route", "totals.counters.no_route", OUTPUT_COUNT, NULL},
	{"errors answered here", "totals.counters.local_errors", OUTPUT_COUNT, NULL},
	{"clients that left", "totals.counters.client_aborts", OUTPUT_COUNT, NULL},
	{NULL, NULL, 0, NULL},
};

static const struct output_column route_columns[] = {
	{"ROUTE", "name", OUTPUT_TEXT, NULL},
	{"REQUESTS", "requests", OUTPUT_COUNT, NULL},
	{"A SECOND", "requests_per_s", OUTPUT_RATE, NULL},
	{"2XX", "responses_2xx", OUTPUT_COUNT, NULL},
	{"3XX", "responses_3xx", OUTPUT_COUNT, NULL},
	{"4XX", "responses_4xx", OUTPUT_COUNT, NULL},
	{"5XX", "responses_5xx", OUTPUT_COUNT, NULL},
	{"UNANSWERED", "unanswered", OUTPUT_COUNT, NULL},
	{"IN", "bytes_in", OUTPUT_BYTES, NULL},
	{"OUT", "bytes_out", OUTPUT_BYTES, NULL},
	{NULL, NULL, 0, NULL},
};

static const struct output_column upstream_columns[] = {
	{"UPSTREAM", "name", OUTPUT_TEXT, NULL},
	{"ENDPOINTS", "endpoints", OUTPUT_COUNT, NULL},
	{"EJECTED", "ejected", OUTPUT_COUNT, NULL},
	{"OPEN", "connections_open", OUTPUT_COUNT, NULL},
	{"IDLE", "connections_idle", OUTPUT_COUNT, NULL},
	{"REQUESTS", "requests", OUTPUT_COUNT, NULL},
	{"A SECOND", "requests_per_s", OUTPUT_RATE, NULL},
	{"5XX", "responses_5xx", OUTPUT_COUNT, NULL},
	{"FAILURES", "failures", OUTPUT_COUNT, NULL},
	{"RETRIES", "retries", OUTPUT_COUNT, NULL},
	{NULL, NULL, 0, NULL},
};

/* "1 of 2 up" */
static int cell_backends(const json_t *row, struct buf *out)
{
	return buf_printf(out, "%lld of %zu up%s", (long long)number_of(row, "backends_up"),
			  json_array_size(json_object_get(row, "backends")),
			  json_is_true(json_object_get(row, "fail_open")) ? ", fail open" : "");
}

static const struct output_column service_columns[] = {
	{"SERVICE", "name", OUTPUT_TEXT, NULL},
	{"BACKENDS", NULL, OUTPUT_CELL, cell_backends},
	{"PACKETS", "packets", OUTPUT_COUNT, NULL},
	{"A SECOND", "packets_per_s", OUTPUT_RATE, NULL},
	{"BYTES", "bytes", OUTPUT_BYTES, NULL},
	{"BYTES A SECOND", "bytes_per_s", OUTPUT_RATE, NULL},
	{"DROPPED", "dropped", OUTPUT_COUNT, NULL},
	{NULL, NULL, 0, NULL},
};

static const struct output_column reason_columns[] = {
	{"KERNEL", "name", OUTPUT_TEXT, NULL},
	{"PACKETS", "packets", OUTPUT_COUNT, NULL},
	{"A SECOND", "packets_per_s", OUTPUT_RATE, NULL},
	{"BYTES", "bytes", OUTPUT_BYTES, NULL},
	{"MEANING", "meaning", OUTPUT_TEXT, NULL},
	{NULL, NULL, 0, NULL},
};

static const struct output_section sections[] = {
	{.kind = OUTPUT_RECORD, .columns = head},
	{.kind = OUTPUT_TABLE, .path = "routes", .columns = route_columns},
	{.kind = OUTPUT_TABLE, .path = "upstreams", .columns = upstream_columns},
	{.kind = OUTPUT_TABLE, .path = "services", .columns = service_columns},
	{.kind = OUTPUT_TABLE,
	 .path = "reasons",
	 .columns = reason_columns,
	 .empty = "The kernel part has counted nothing."},
};
static const struct output_view view = {sections, ARRAY_SIZE(sections)};

/* ---- commands ---- */

static void wait_ms(uint64_t ms)
{
	const struct timespec pause = {.tv_sec = (time_t)(ms / 1000),
				       .tv_nsec = (long)(ms % 1000) * 1000000L};

	(void)nanosleep(&pause, NULL);
}

/* A person looks for what happened: reasons that never did are left out of the table. */
static void drop_unused(json_t *reasons)
{
	size_t index = 0;

	while (index < json_array_size(reasons)) {
		if (number_of(json_array_get(reasons, index), "packets"))
			index++;
		else
			(void)json_array_remove(reasons, index);
	}
}

static int print(struct cli *cli, const struct sample *before, const struct sample *after)
{
	_cleanup_json_ json_t *doc = describe(cli, before, after);

	if (!doc)
		return p_out_of_memory(cli);
	if (!cli->json)
		drop_unused(json_object_get(doc, "reasons"));
	if (!after->status)
		pinned_print_note(cli);
	return output_print(cli, doc, &view);
}

static int show(struct cli *cli, struct args *args)
{
	const char *interval = NULL;
	const struct arg_key keys[] = {{"interval", "DURATION", &interval}, {NULL, NULL, NULL}};
	_cleanup_(sample_done)
	struct sample before = {0};
	_cleanup_(sample_done)
	struct sample after = {0};
	uint64_t interval_ms = 0;
	int error = args_read_keys(cli, args, keys);

	if (!error)
		error = args_parse_duration(cli, "interval", interval, INTERVAL_MIN_MS,
					    INTERVAL_MAX_MS, &interval_ms);
	if (!error && interval_ms) {
		error = sample_take(cli, &before);
		if (!error)
			wait_ms(interval_ms);
	}
	if (!error)
		error = sample_take(cli, &after);
	return error ? error : print(cli, &before, &after);
}

/* On a terminal each round takes the place of the one before. */
static int begin_round(struct cli *cli, bool first)
{
	if (cli->json)
		return 0;
	if (isatty(STDOUT_FILENO))
		return buf_append(&cli->out, STR("\x1b[H\x1b[2J"));
	return first ? 0 : buf_append(&cli->out, STR("\n"));
}

static int watch(struct cli *cli, struct args *args)
{
	const char *interval = NULL, *count_text = NULL;
	const struct arg_key keys[] = {{"interval", "DURATION", &interval},
				       {"count", "N", &count_text},
				       {NULL, NULL, NULL}};
	_cleanup_(sample_done)
	struct sample before = {0};
	uint64_t interval_ms = INTERVAL_DEFAULT_MS, count = UINT64_MAX;
	int error = args_read_keys(cli, args, keys);

	if (!error)
		error = args_parse_duration(cli, "interval", interval, INTERVAL_MIN_MS,
					    INTERVAL_MAX_MS, &interval_ms);
	if (!error)
		error = args_parse_number(cli, "count", count_text, 1, INT64_MAX, &count);
	if (!error)
		error = sample_take(cli, &before);
	for (uint64_t round = 0; !error && round < count; round++) {
		struct sample after = {0};

		wait_ms(interval_ms);
		error = sample_take(cli, &after);
		if (!error)
			error = begin_round(cli, round == 0) ? p_out_of_memory(cli)
							     : print(cli, &before, &after);
		if (!error)
			error = cli_flush(cli);
		sample_done(&before);
		before = after;
	}
	return error;
}

static const char *const show_keys[] = {"interval", NULL};

const struct object object_stats = {
	.name = "stats",
	.help = "Usage: sluice [OPTIONS] stats [show] [interval DURATION]\n"
		"       sluice [OPTIONS] stats watch [interval DURATION] [count N]\n"
		"       sluice [OPTIONS] stats help\n"
		"\n" HELP_OPTIONS,
	.commands = {{"show", show, false}, {"list", show, false}, {"watch", watch, true}, {NULL}},
	.show_keys = show_keys,
};

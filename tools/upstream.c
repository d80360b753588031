/* `sluice upstream`: the groups of endpoints, their connections and their counters. */
#include <errno.h>

#include "tools/cli.h"
#include "tools/client.h"
#include "tools/output.h"

static const struct output_column list_columns[] = {
	{"UPSTREAM", "upstream", OUTPUT_TEXT, NULL},
	{"BALANCE", "balance", OUTPUT_TEXT, NULL},
	{"ENDPOINT", "address", OUTPUT_TEXT, NULL},
	{"STATE", "state", OUTPUT_TEXT, NULL},
	{"WEIGHT", "weight", OUTPUT_COUNT, NULL},
	{"ACTIVE", "active", OUTPUT_COUNT, NULL},
	{"OPEN", "connections.open", OUTPUT_COUNT, NULL},
	{"IDLE", "connections.idle", OUTPUT_COUNT, NULL},
	{"REQUESTS", "requests", OUTPUT_COUNT, NULL},
	{"5XX", "responses_5xx", OUTPUT_COUNT, NULL},
	{"REFUSED", "connect_failures", OUTPUT_COUNT, NULL},
	{"RESETS", "resets", OUTPUT_COUNT, NULL},
	{"TIMEOUTS", "timeouts", OUTPUT_COUNT, NULL},
	{NULL, NULL, 0, NULL},
};

static const struct output_column upstream_columns[] = {
	{"upstream", "name", OUTPUT_TEXT, NULL},
	{"balance", "balance", OUTPUT_TEXT, NULL},
	{"connections", "connections", OUTPUT_COUNT, NULL},
	{"limit of connections", "connections_max", OUTPUT_COUNT, NULL},
	{"requests", "calls", OUTPUT_COUNT, NULL},
	{"retries", "retries", OUTPUT_COUNT, NULL},
	{"retries over budget", "retries_over_budget", OUTPUT_COUNT, NULL},
	{"requests waiting", "waiting", OUTPUT_COUNT, NULL},
	{"limit of waiting", "waiting_max", OUTPUT_COUNT, NULL},
	{"requests that waited", "queued", OUTPUT_COUNT, NULL},
	{"refused, queue full", "queue_overflows", OUTPUT_COUNT, NULL},
	{"refused, waited too long", "queue_timeouts", OUTPUT_COUNT, NULL},
	{NULL, NULL, 0, NULL},
};

/* "ejected, back in 12 s" */
static int state_cell(const json_t *row, struct buf *out)
{
	const json_t *left = document_get(row, "ejected_for_ms");
	int error = output_member(out, row, "state", OUTPUT_TEXT, "", "");

	if (error || !json_is_integer(left))
		return error;
	error = buf_append(out, STR(", back in "));
	return error ? error
		     : output_seconds(out, ((uint64_t)json_integer_value(left) + 999) / 1000);
}

static const struct output_column one_columns[] = {
	{"endpoint", "address", OUTPUT_TEXT, NULL},
	{"state", NULL, OUTPUT_CELL, state_cell},
	{"weight", "weight", OUTPUT_COUNT, NULL},
	{"requests under way", "active", OUTPUT_COUNT, NULL},
	{"failures in a row", "failures_in_row", OUTPUT_COUNT, NULL},
	{"times ejected", "ejections", OUTPUT_COUNT, NULL},
	{"connections open", "connections.open", OUTPUT_COUNT, NULL},
	{"connections idle", "connections.idle", OUTPUT_COUNT, NULL},
	{"connections made", "connects", OUTPUT_COUNT, NULL},
	{"connections refused", "connect_failures", OUTPUT_COUNT, NULL},
	{"connections reused", "reuses", OUTPUT_COUNT, NULL},
	{"connections lost", "resets", OUTPUT_COUNT, NULL},
	{"requests", "requests", OUTPUT_COUNT, NULL},
	{"answers 2xx", "responses_2xx", OUTPUT_COUNT, NULL},
	{"answers 3xx", "responses_3xx", OUTPUT_COUNT, NULL},
	{"answers 4xx", "responses_4xx", OUTPUT_COUNT, NULL},
	{"answers 5xx", "responses_5xx", OUTPUT_COUNT, NULL},
	{"broken answers", "protocol_errors", OUTPUT_COUNT, NULL},
	{"timeouts", "timeouts", OUTPUT_COUNT, NULL},
	{NULL, NULL, 0, NULL},
};

static const struct output_section checked_section = {
	.kind = OUTPUT_TABLE,
	.path = "upstreams",
	.required = true,
	.columns = list_columns,
};
static const struct output_view checked_view = {&checked_section, 1};

static const struct output_section list_section = {
	.kind = OUTPUT_TABLE,
	.path = "endpoints",
	.columns = list_columns,
	.empty = "No upstreams are configured.",
};
static const struct output_view list_view = {&list_section, 1};

static const struct output_section one_sections[] = {
	{.kind = OUTPUT_RECORDS, .path = "upstreams", .columns = upstream_columns},
	{.kind = OUTPUT_RECORDS, .path = "endpoints", .columns = one_columns},
};
static const struct output_view one_view = {one_sections, 2};

/* One list of all endpoints; each bears its upstream's name and balance. */
static int flatten(const json_t *upstreams, json_t *endpoints)
{
	size_t index, inner;
	json_t *upstream, *endpoint;

	json_array_foreach((json_t *)upstreams, index, upstream)
	{
		json_array_foreach(json_object_get(upstream, "endpoints"), inner, endpoint)
		{
			_cleanup_json_ json_t *row = json_copy(endpoint);
			json_t *name = json_object_get(upstream, "name");
			json_t *balance = json_object_get(upstream, "balance");

			if (!json_is_object(row))
				continue;
			if (name && json_object_set(row, "upstream", name))
				return -ENOMEM;
			if (balance && json_object_set(row, "balance", balance))
				return -ENOMEM;
			if (json_array_append(endpoints, row))
				return -ENOMEM;
		}
	}
	return 0;
}

static int show(struct cli *cli, struct args *args)
{
	const char *name = NULL;
	const struct arg_key keys[] = {{"name", "NAME", &name}, {NULL, NULL, NULL}};
	_cleanup_json_ json_t *doc = NULL;
	_cleanup_json_ json_t *flat = NULL;
	int error = args_read_keys(cli, args, keys);

	if (!error)
		error = client_call(cli, "GET", "/v1/upstreams", NULL, &doc);
	if (!error)
		error = client_keep_named(cli, doc, "upstreams", "upstream", name);
	if (error)
		return error;
	/* Text shows the endpoints of all upstreams as one list. */
	error = output_check(cli, doc, &checked_view);
	if (error || cli->json)
		return error ? error : output_print(cli, doc, &checked_view);
	flat = json_pack("{s:O,s:[]}", "upstreams", json_object_get(doc, "upstreams"), "endpoints");
	if (!flat || flatten(json_object_get(doc, "upstreams"), json_object_get(flat, "endpoints")))
		return p_out_of_memory(cli);
	return output_print(cli, flat, name ? &one_view : &list_view);
}

static const char *const show_keys[] = {"name", NULL};

const struct object object_upstream = {
	.name = "upstream",
	.help = "Usage: sluice [OPTIONS] upstream [show] [name NAME]\n"
		"       sluice [OPTIONS] upstream help\n"
		"\n" HELP_OPTIONS,
	.commands = {{"show", show}, {"list", show}, {NULL, NULL}},
	.show_keys = show_keys,
};

/* `sluice service`: what the kernel part balances over backends. */
#include "tools/service.h"

#include <errno.h>

#include "base/clock.h"
#include "kern/service.h"
#include "tools/client.h"
#include "tools/counters.h"
#include "tools/output.h"
#include "tools/pinned.h"

#define DOCUMENT_BYTES_MAX (64u << 20)

/* ---- the document ---- */

static int read_pins(struct cli *cli, struct buf *out)
{
	_cleanup_(pinned_close)
	struct pinned pins = PINNED_NONE;
	struct service_set set = {.scan_due = false};
	struct error err = {0};
	struct json_writer json;
	int error = pinned_open(cli, true, &pins), done;

	if (error)
		return error;
	error = service_maps_open(pins.dataplane, true, &set.maps, &err);
	if (error)
		return p_err(cli, error, "%s", err.text);
	/* Where netlink cannot be had the next hops stay unknown. */
	if (!neighbours_open(false, &set.neighbours, &err))
		(void)service_set_resolve(&set, NULL, 0, &err);
	json_init(&json, out, false);
	json_open_object(&json, NULL);
	error = service_set_write_json(&set, &json, clock_boot_ns());
	json_close_object(&json);
	done = json_finish(&json);
	neighbours_close(set.neighbours);
	service_maps_close(&set.maps);
	if (error || done)
		return p_err(cli, error ? error : done, "cannot read what is pinned in %s",
			     cli->bpffs_dir);
	return 0;
}

/* States are those that the last daemon came to. */
static void print_note(struct cli *cli, const json_t *doc)
{
	json_t *services = json_object_get(doc, "services"), *service;
	size_t index;

	pinned_print_note(cli);
	json_array_foreach(services, index, service)
	{
		if (!json_is_object(json_object_get(service, "health")))
			continue;
		if (!cli->json)
			p_text(cli, "Nobody probes backends without it: their health is what was "
				    "known last.\n");
		return;
	}
}

int service_load_pinned(struct cli *cli, json_t **ret_doc)
{
	_cleanup_(buf_done)
	struct buf text;
	int error;

	buf_init(&text, DOCUMENT_BYTES_MAX);
	error = read_pins(cli, &text);
	if (error)
		return error;
	*ret_doc = json_loadb(text.data, text.len, 0, NULL);
	return *ret_doc ? 0 : p_out_of_memory(cli);
}

int service_load(struct cli *cli, json_t **ret_doc)
{
	int error = client_try(cli, "GET", "/v1/services", NULL, ret_doc);
	bool daemon = !error;

	if (error == -ENOTCONN)
		error = service_load_pinned(cli, ret_doc);
	if (error)
		return error;
	if (!daemon)
		print_note(cli, *ret_doc);
	if (json_object_set_new(*ret_doc, "daemon", json_boolean(daemon)))
		return p_out_of_memory(cli);
	return 0;
}

int service_flatten(struct cli *cli, json_t *doc)
{
	json_t *all = json_array(), *service, *backend;
	size_t index, inner;

	if (!all || json_object_set_new(doc, "backends", all))
		return p_out_of_memory(cli);
	json_array_foreach(json_object_get(doc, "services"), index, service)
	{
		json_array_foreach(json_object_get(service, "backends"), inner, backend)
		{
			json_t *name = json_object_get(service, "name");
			json_t *row;

			if (!json_is_object(backend))
				continue;
			row = json_copy(backend);
			if (!row || (name && json_object_set(row, "service", name)) ||
			    json_array_append(all, row)) {
				json_decref(row);
				return p_out_of_memory(cli);
			}
			json_decref(row);
		}
	}
	return 0;
}

/* ---- show ---- */

static int backends_cell(const json_t *row, struct buf *out)
{
	const json_t *backends = json_object_get(row, "backends");
	const json_t *left = json_object_get(row, "deleted_in_s");
	size_t index, up = 0;
	json_t *backend;
	int error;

	json_array_foreach((json_t *)backends, index, backend)
	{
		const char *state = document_string(backend, "state");

		up += state && !strcmp(state, "up");
	}
	error = buf_printf(out, "%zu of %zu up%s", up, json_array_size(backends),
			   json_is_true(document_get(row, "health.fail_open")) ? ", fail open"
									       : "");
	if (error || !json_is_integer(left))
		return error;
	error = buf_append(out, STR(", deleted in "));
	return error ? error
		     : output_seconds(out, (uint64_t)MAX(json_integer_value(left), (json_int_t)0));
}

/* Slots on their way from one backend to another. */
static int change_cell(const json_t *row, struct buf *out)
{
	const json_t *phases = json_object_get(row, "phases");
	json_int_t clean = json_integer_value(json_object_get(phases, "clean"));
	json_int_t slots = json_integer_value(json_object_get(row, "slots"));

	if (clean >= slots || !slots)
		return buf_append(out, STR("none"));
	return buf_printf(out, "%.1f%% of slots", (double)(slots - clean) * 100 / (double)slots);
}

static const struct output_column list_columns[] = {
	{"SERVICE", "name", OUTPUT_TEXT, NULL},
	{"ADDRESSES", "addresses", OUTPUT_TEXT, NULL},
	{"FORWARD", "forward", OUTPUT_TEXT, NULL},
	{"AFFINITY", "affinity", OUTPUT_TEXT, NULL},
	{"BACKENDS", NULL, OUTPUT_CELL, backends_cell},
	{"CHANGE", NULL, OUTPUT_CELL, change_cell},
	{"PACKETS", "packets", OUTPUT_COUNT, NULL},
	{"BYTES", "bytes", OUTPUT_BYTES, NULL},
	{"DROPPED", "dropped", OUTPUT_COUNT, NULL},
	{"FROM", "origin", OUTPUT_TEXT, NULL},
	{NULL, NULL, 0, NULL},
};

/* "43,691 clean, 21,846 record" */
static int phases_cell(const json_t *row, struct buf *out)
{
	const char *phase;
	json_t *count;
	int error = 0;
	bool any = false;

	json_object_foreach(json_object_get(row, "phases"), phase, count)
	{
		if (json_integer_value(count) <= 0)
			continue;
		error = error ? error
			      : output_member(out, json_object_get(row, "phases"), phase,
					      OUTPUT_COUNT, any ? ", " : "", " ");
		error = error ? error : output_escape(out, str_from_cstr(phase), false);
		any = true;
	}
	return error;
}

/* "1 up, 1 down" and how often all were down at once */
static int health_cell(const json_t *row, struct buf *out)
{
	json_int_t fail_opens = json_integer_value(document_get(row, "health.fail_opens"));
	int error = output_member(out, row, "health.up", OUTPUT_COUNT, "", " up");

	if (!error)
		error = output_member(out, row, "health.down", OUTPUT_COUNT, ", ", " down");
	if (!error && fail_opens > 0)
		error = output_member(out, row, "health.fail_opens", OUTPUT_COUNT, ", failed open ",
				      fail_opens == 1 ? " time" : " times");
	if (!error && json_is_false(document_get(row, "health.probed")))
		error = buf_append(out, STR(", nobody probes"));
	return error;
}

/* "17: 12 service_no_backend, 5 service_no_neigh" */
static int dropped_cell(const json_t *row, struct buf *out)
{
	json_t *drops = json_object_get(row, "drops"), *count;
	int error = output_member(out, row, "dropped", OUTPUT_COUNT, "", "");
	const char *reason;
	bool any = false;

	json_object_foreach(drops, reason, count)
	{
		if (!error)
			error = output_member(out, drops, reason, OUTPUT_COUNT, any ? ", " : ": ",
					      " ");
		if (!error)
			error = output_escape(out, str_from_cstr(reason), false);
		any = true;
	}
	return error;
}

static int drain_cell(const json_t *row, struct buf *out)
{
	json_int_t drain_ms = json_integer_value(json_object_get(row, "drain_ms"));

	return drain_ms < 0 ? 0 : output_seconds(out, (uint64_t)drain_ms / 1000);
}

static const struct output_column one_columns[] = {
	{"service", "name", OUTPUT_TEXT, NULL},
	{"from", "origin", OUTPUT_TEXT, NULL},
	{"addresses", "addresses", OUTPUT_TEXT, NULL},
	{"forward", "forward", OUTPUT_TEXT, NULL},
	{"affinity", "affinity", OUTPUT_TEXT, NULL},
	{"drain", NULL, OUTPUT_CELL, drain_cell},
	{"backends", NULL, OUTPUT_CELL, backends_cell},
	{"health", NULL, OUTPUT_CELL, health_cell},
	{"slots", NULL, OUTPUT_CELL, phases_cell},
	{"packets", "packets", OUTPUT_COUNT, NULL},
	{"bytes", "bytes", OUTPUT_BYTES, NULL},
	{"dropped", NULL, OUTPUT_CELL, dropped_cell},
	{NULL, NULL, 0, NULL},
};

static const struct output_section list_section = {
	.kind = OUTPUT_TABLE,
	.path = "services",
	.required = true,
	.columns = list_columns,
	.empty = "No services are configured.",
};
static const struct output_section one_section = {
	.kind = OUTPUT_RECORDS,
	.path = "services",
	.required = true,
	.columns = one_columns,
};
static const struct output_view list_view = {&list_section, 1};
static const struct output_view one_view = {&one_section, 1};

static int show(struct cli *cli, struct args *args)
{
	const char *name = NULL;
	const struct arg_key keys[] = {{"name", "NAME", &name}, {NULL, NULL, NULL}};
	_cleanup_json_ json_t *doc = NULL;
	int error = args_read_keys(cli, args, keys);

	if (!error)
		error = service_load(cli, &doc);
	if (!error)
		error = client_keep_named(cli, doc, "services", "service", name);
	return error ? error : output_print(cli, doc, name ? &one_view : &list_view);
}

/* ---- what became of packets, by reason ---- */

/* Those of services and of their forward modes. */
static bool is_of_services(const json_t *row)
{
	const char *name = document_string(row, "name");

	return name && (!strncmp(name, "service", 7) || !strncmp(name, "nat_", 4));
}

static int counters(struct cli *cli, struct args *args)
{
	_cleanup_json_ json_t *doc = NULL;
	bool daemon;
	json_t *rows;
	int error = args_expect_end(cli, args);

	if (!error)
		error = counters_load(cli, &daemon, &doc);
	if (error)
		return error;
	rows = json_object_get(doc, "reasons");
	for (size_t i = json_array_size(rows); i-- > 0;)
		if (!is_of_services(json_array_get(rows, i)))
			(void)json_array_remove(rows, i);
	return output_print(cli, doc, &counters_view);
}

static const char *const show_keys[] = {"name", NULL};

const struct object object_service = {
	.name = "service",
	.help = "Usage: sluice [OPTIONS] service [show] [name NAME]\n"
		"       sluice [OPTIONS] service add NAME address ADDRESSES ports PORTS protocol "
		"PROTOCOL\n"
		"                                    forward MODE [affinity AFFINITY] "
		"[drain DURATION]\n"
		"                                    [slots N]\n"
		"                                    [probe tcp] [port PORT] [interval DURATION]\n"
		"                                    [timeout DURATION] [rise N] [fall N]\n"
		"       sluice [OPTIONS] service delete NAME [drain DURATION]\n"
		"       sluice [OPTIONS] service nat [name NAME] [client CIDR] [backend ADDRESS]\n"
		"                                    [state STATE] [limit N]\n"
		"       sluice [OPTIONS] service counters\n"
		"       sluice [OPTIONS] service help\n"
		"\n"
		"       ADDRESSES := ADDRESS{,ADDRESS}\n"
		"       PORTS := { PORT | PORT-PORT }{,...} | any\n"
		"       PROTOCOL := { tcp | udp | any }\n"
		"       MODE := { ipip | nat }\n"
		"       AFFINITY := { five-tuple | source }\n"
		"       DURATION := NUMBER{ms|s|m|h|d}\n"
		"       STATE := { syn | answered | established | closed | udp_new | udp "
		"}\n" HELP_OPTIONS,
	.commands = {{"show", show},
		     {"list", show},
		     {"add", service_add},
		     {"delete", service_delete},
		     {"nat", service_nat, .streams = true},
		     {"counters", counters},
		     {NULL, NULL}},
	.show_keys = show_keys,
};

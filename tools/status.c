/* `sluice status`: what the daemon is doing; without one, what the kernel still does. */
#include <errno.h>

#include "base/clock.h"
#include "kern/flow_sweep.h"
#include "tools/cli.h"
#include "tools/client.h"
#include "tools/output.h"
#include "tools/pinned.h"

static int cell_daemon(const json_t *row, struct buf *out)
{
	int error = output_member(out, row, "state", OUTPUT_TEXT, "", "");

	if (!error)
		error = output_member(out, row, "version", OUTPUT_TEXT, ", version ", "");
	if (!error)
		error = output_member(out, row, "pid", OUTPUT_TEXT, ", pid ", "");
	if (!error)
		error = output_member(out, row, "uptime_s", OUTPUT_SECONDS, ", up ", "");
	return error ? error : output_member(out, row, "user", OUTPUT_TEXT, ", as user ", "");
}

static int cell_config(const json_t *row, struct buf *out)
{
	int error = output_member(out, row, "config.file", OUTPUT_TEXT, "", "");

	if (!error)
		error = output_member(out, row, "config.generation", OUTPUT_COUNT, ", generation ",
				      "");
	return error ? error
		     : output_member(out, row, "config.loaded_at", OUTPUT_TEXT, ", loaded ", "");
}

static int cell_io(const json_t *row, struct buf *out)
{
	int error = output_member(out, row, "io.engine", OUTPUT_TEXT, "", "");

	return error ? error : output_member(out, row, "io.reason", OUTPUT_TEXT, " (", ")");
}

static int cell_steering(const json_t *row, struct buf *out)
{
	int error = output_member(out, row, "steering.mode", OUTPUT_TEXT, "", "");

	return error ? error : output_member(out, row, "steering.reason", OUTPUT_TEXT, " (", ")");
}

static int cell_memory(const json_t *row, struct buf *out)
{
	int error = output_member(out, row, "memory.used_bytes", OUTPUT_BYTES, "", "");

	if (!error)
		error = output_member(out, row, "memory.limit_bytes", OUTPUT_BYTES, " of ", "");
	return error ? error : output_member(out, row, "memory.level", OUTPUT_TEXT, ", ", "");
}

/* Lost lines are worth a look at the disk; nothing is said of none. */
static int cell_access_log(const json_t *row, struct buf *out)
{
	int error = output_member(out, row, "access_log.file", OUTPUT_TEXT, "", "");

	if (!error)
		error = output_member(out, row, "access_log.format", OUTPUT_TEXT, ", ", "");
	if (!error)
		error = output_member(out, row, "access_log.lines", OUTPUT_COUNT, ", ", " lines");
	if (!error && json_integer_value(document_get(row, "access_log.lines_lost")) > 0)
		error = output_member(out, row, "access_log.lines_lost", OUTPUT_COUNT, ", ",
				      " lost");
	return error;
}

static int cell_dataplane(const json_t *row, struct buf *out)
{
	int error = 0;

	if (json_is_false(document_get(row, "dataplane.available")))
		error = buf_append(out, STR("not available in "));
	if (!error)
		error = output_member(out, row, "dataplane.bpffs", OUTPUT_TEXT, "", "");
	return error ? error : output_member(out, row, "dataplane.reason", OUTPUT_TEXT, " (", ")");
}

/* Nothing is said where no listener has TLS, or none may use it. */
static int cell_ktls(const json_t *row, struct buf *out)
{
	const json_t *sends = document_get(row, "ktls.sends");
	int error;

	if (!json_is_boolean(sends))
		return 0;
	error = buf_append(out, json_is_true(sends) ? STR("the kernel encrypts") : STR("off"));
	if (!error && json_is_true(document_get(row, "ktls.receives")))
		error = buf_append(out, STR(", and decrypts TLS 1.2"));
	return error ? error : output_member(out, row, "ktls.reason", OUTPUT_TEXT, " (", ")");
}

static int cell_flow_table(const json_t *row, struct buf *out)
{
	const json_t *table = document_get(row, "dataplane.flow_table");
	int error = output_member(out, table, "entries", OUTPUT_COUNT, "", "");

	if (!error)
		error = output_member(out, table, "capacity", OUTPUT_COUNT, " of ", " entries");
	if (!error)
		error = output_member(out, table, "sweeps", OUTPUT_COUNT, ", ", " sweeps");
	if (!error && json_is_number(document_get(table, "looked_s_ago")))
		error = buf_printf(out, ", last look %.1f s ago",
				   json_number_value(document_get(table, "looked_s_ago")));
	return error;
}

static int cell_privileges(const json_t *row, struct buf *out)
{
	static const struct {
		const char *name, *reason;
	} parts[] = {{"seccomp", "seccomp_reason"},
		     {"no_new_privs", NULL},
		     {"landlock", "landlock_reason"}};
	const json_t *privileges = json_object_get(row, "privileges");
	size_t before = out->len;
	int error = output_member(out, privileges, "capabilities", OUTPUT_TEXT, "", "");

	for (size_t i = 0; i < ARRAY_SIZE(parts) && !error; i++) {
		const json_t *value = json_object_get(privileges, parts[i].name);

		if (!json_is_boolean(value))
			continue;
		error = buf_printf(out, "%s%s %s", out->len > before ? "; " : "", parts[i].name,
				   json_is_true(value) ? "on" : "off");
		if (!error && parts[i].reason)
			error = output_member(out, privileges, parts[i].reason, OUTPUT_TEXT, " (",
					      ")");
	}
	return error;
}

static const struct output_column head[] = {
	{"daemon", NULL, OUTPUT_CELL, cell_daemon},
	{"configuration", NULL, OUTPUT_CELL, cell_config},
	{"last reload failed", "config.last_error", OUTPUT_TEXT, NULL},
	{"i/o engine", NULL, OUTPUT_CELL, cell_io},
	{"memory", NULL, OUTPUT_CELL, cell_memory},
	{"steering", NULL, OUTPUT_CELL, cell_steering},
	{"dataplane", NULL, OUTPUT_CELL, cell_dataplane},
	{"flow table", NULL, OUTPUT_CELL, cell_flow_table},
	{"ktls", NULL, OUTPUT_CELL, cell_ktls},
	{"access log", NULL, OUTPUT_CELL, cell_access_log},
	{"privileges", NULL, OUTPUT_CELL, cell_privileges},
	{NULL, NULL, 0, NULL},
};

static const struct output_column listener_columns[] = {
	{"LISTENER", "name", OUTPUT_TEXT, NULL},
	{"PROTOCOL", "protocol", OUTPUT_TEXT, NULL},
	{"ADDRESS", "address", OUTPUT_TEXT, NULL},
	{"NOT OF THIS HOST", "absent", OUTPUT_TEXT, NULL},
	{NULL, NULL, 0, NULL},
};

static const struct output_column worker_columns[] = {
	{"WORKER", "id", OUTPUT_TEXT, NULL},
	{"CPU", "cpu", OUTPUT_TEXT, NULL},
	{"CONNECTIONS", "connections", OUTPUT_COUNT, NULL},
	{"ACCEPTED", "accepted", OUTPUT_COUNT, NULL},
	{"REQUESTS", "requests", OUTPUT_COUNT, NULL},
	{"TO UPSTREAMS", "upstream_connections", OUTPUT_COUNT, NULL},
	{NULL, NULL, 0, NULL},
};

static const struct output_section sections[] = {
	{.kind = OUTPUT_RECORD, .required = true, .columns = head},
	{.kind = OUTPUT_TABLE, .path = "listeners", .columns = listener_columns},
	{.kind = OUTPUT_TABLE, .path = "dataplane.interfaces", .columns = interface_columns},
	{.kind = OUTPUT_TABLE, .path = "workers", .columns = worker_columns},
	{.kind = OUTPUT_MEMBERS, .path = "counters"},
};
static const struct output_view view = {sections, ARRAY_SIZE(sections)};

static json_t *describe_flow_table(const struct pinned *pins)
{
	struct flow_table_state state;
	uint64_t now_ns = clock_boot_ns();

	if (flow_sweep_read(pins->dataplane, &state, NULL))
		return json_null();
	return json_pack(
		"{s:I, s:I, s:I, s:I, s:I, s:o}", "entries", (json_int_t)state.entries, "capacity",
		(json_int_t)state.capacity, "sweeps", (json_int_t)state.sweeps, "skipped",
		(json_int_t)state.skipped, "expired", (json_int_t)state.expired, "looked_s_ago",
		state.looked_boot_ns
			? json_real((double)(now_ns - MIN(now_ns, state.looked_boot_ns)) / 1e9)
			: json_null());
}

/* In the form of the daemon's answer, as far as the pins tell. */
static int load_pinned(struct cli *cli, json_t **ret_doc)
{
	_cleanup_(pinned_close)
	struct pinned pins = PINNED_NONE;
	_cleanup_json_ json_t *doc = NULL;
	json_t *parts;
	int error = pinned_open(cli, true, &pins);

	if (error)
		return error;
	error = pinned_describe(cli, &pins, &parts);
	if (error)
		return error;
	doc = json_pack("{s:b, s:s, s:{s:o, s:n}, s:{s:s, s:b, s:n, s:o, s:o}}", "daemon", 0,
			"state", "stopped", "steering", "mode",
			json_is_true(document_get(parts, "steering.attached"))
				? json_string("sk_lookup")
				: document_null(),
			"reason", "dataplane", "bpffs", cli->bpffs_dir, "available", 1, "reason",
			"interfaces", json_incref(json_object_get(parts, "interfaces")),
			"flow_table", describe_flow_table(&pins));
	json_decref(parts);
	if (!doc)
		return p_out_of_memory(cli);
	*ret_doc = TAKE_PTR(doc);
	return 0;
}

static int show(struct cli *cli, struct args *args)
{
	_cleanup_json_ json_t *doc = NULL;
	int error = args_expect_end(cli, args);

	if (error)
		return error;
	error = client_try(cli, "GET", "/v1/status", NULL, &doc);
	if (!error && json_object_set_new(doc, "daemon", json_true()))
		return p_out_of_memory(cli);
	if (error == -ENOTCONN) {
		error = load_pinned(cli, &doc);
		if (!error)
			pinned_print_note(cli);
	}
	return error ? error : output_print(cli, doc, &view);
}

const struct object object_status = {
	.name = "status",
	.help = "Usage: sluice [OPTIONS] status [show]\n"
		"       sluice [OPTIONS] status help\n"
		"\n" HELP_OPTIONS,
	.commands = {{"show", show}, {"list", show}, {NULL, NULL}},
};

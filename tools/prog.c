/* `sluice prog`: the programs in the kernel, read from their pins; and their removal. */
#include <errno.h>

#include "kern/neighbours.h"
#include "kern/steer.h"
#include "tools/cli.h"
#include "tools/client.h"
#include "tools/output.h"
#include "tools/pin_rows.h"
#include "tools/pinned.h"

static int cell_steering(const json_t *row, struct buf *out)
{
	return buf_append(out, json_is_true(document_get(row, "steering.attached"))
				       ? STR("sk_lookup is attached")
				       : STR("sk_lookup is not attached"));
}

static int cell_run_time(const json_t *row, struct buf *out)
{
	return buf_append(out, json_is_true(json_object_get(row, "run_time_counted"))
				       ? STR("counted")
				       : STR("not counted; 'sysctl kernel.bpf_stats_enabled=1' "
					     "has the kernel count it"));
}

static const struct output_column head[] = {
	{"pinned in", "bpffs", OUTPUT_TEXT, NULL},
	{"steering", NULL, OUTPUT_CELL, cell_steering},
	{"run time", NULL, OUTPUT_CELL, cell_run_time},
	{NULL, NULL, 0, NULL},
};

static const struct output_column attachment_columns[] = {
	{"INTERFACE", "name", OUTPUT_TEXT, NULL},
	{"XDP", "mode", OUTPUT_TEXT, NULL},
	{"ATTACHED BY", "how", OUTPUT_TEXT, NULL},
	{"PROGRAM", "program_id", OUTPUT_TEXT, NULL},
	{NULL, NULL, 0, NULL},
};

static const struct output_column program_columns[] = {
	{"PROGRAM", "id", OUTPUT_TEXT, NULL},
	{"NAME", "name", OUTPUT_TEXT, NULL},
	{"TYPE", "type", OUTPUT_TEXT, NULL},
	{"INSTRUCTIONS", "instructions", OUTPUT_COUNT, NULL},
	{"VERIFIED", "verified_instructions", OUTPUT_COUNT, NULL},
	{"MEMORY", "memory_bytes", OUTPUT_BYTES, NULL},
	{"RUNS", "run_count", OUTPUT_COUNT, NULL},
	{"NS A RUN", "ns_per_run", OUTPUT_RATE, NULL},
	{"LOADED", "loaded_at", OUTPUT_TEXT, NULL},
	{NULL, NULL, 0, NULL},
};

static const struct output_column link_columns[] = {
	{"LINK", "id", OUTPUT_TEXT, NULL},	     {"NAME", "name", OUTPUT_TEXT, NULL},
	{"TYPE", "type", OUTPUT_TEXT, NULL},	     {"PROGRAM", "program_id", OUTPUT_TEXT, NULL},
	{"ATTACHED", "attached", OUTPUT_TEXT, NULL}, {NULL, NULL, 0, NULL},
};

static const struct output_column tuple_columns[] = {
	{"STEERED", "prefix", OUTPUT_TEXT, NULL},
	{"PORTS", "ports", OUTPUT_TEXT, NULL},
	{NULL, NULL, 0, NULL},
};

static const struct output_column pin_columns[] = {
	{"PIN", "path", OUTPUT_TEXT, NULL},
	{NULL, NULL, 0, NULL},
};

static const struct output_section sections[] = {
	{.kind = OUTPUT_RECORD, .required = true, .columns = head},
	{.kind = OUTPUT_TABLE,
	 .path = "interfaces",
	 .columns = attachment_columns,
	 .empty = "XDP is attached to no interface."},
	{.kind = OUTPUT_TABLE, .path = "programs", .columns = program_columns},
	{.kind = OUTPUT_TABLE, .path = "links", .columns = link_columns},
	{.kind = OUTPUT_TABLE, .path = "steering.tuples", .columns = tuple_columns},
	{.kind = OUTPUT_TABLE, .path = "pins", .columns = pin_columns},
};
static const struct output_view view = {sections, ARRAY_SIZE(sections)};

struct listing {
	const struct cli *cli;
	json_t *programs, *links, *pins;
};

static int append_row(const struct listing *listing, json_t *rows, json_t *row,
		      const struct pin *pin)
{
	if (row && pin_row_add_path(listing->cli, row, pin)) {
		json_decref(row);
		return -ENOMEM;
	}
	return json_array_append_new(rows, row) ? -ENOMEM : 0;
}

static int list_pin(const struct pin *pin, void *arg)
{
	struct listing *listing = arg;
	int error = 0;

	if (pin->kind == PIN_IS_PROGRAM)
		error = append_row(listing, listing->programs, pin_row_of_program(pin), pin);
	else if (pin->kind == PIN_IS_LINK)
		error = append_row(listing, listing->links, pin_row_of_link(pin), pin);
	if (!error && pin->name[0] && listing->cli->show_paths)
		error = append_row(listing, listing->pins, json_object(), pin);
	return error;
}

static int list_objects(struct cli *cli, json_t *doc)
{
	struct listing listing = {cli, json_array(), json_array(), json_array()};
	struct error err = {0};
	int error;

	/* Given to the document first, which lets go of them on every way out. */
	if (json_object_set_new(doc, "programs", listing.programs) |
		    json_object_set_new(doc, "links", listing.links) |
		    json_object_set_new(doc, "pins", listing.pins) ||
	    json_object_set_new(doc, "run_time_counted", json_boolean(pin_info_counts_run_time())))
		return p_out_of_memory(cli);
	error = pin_info_walk(cli->bpffs_dir, list_pin, &listing, &err);
	if (error)
		return p_err(cli, error, "%s%s", err.text[0] ? err.text : strerrordesc_np(-error),
			     error == -EPERM || error == -EACCES ? "; run as root" : "");
	if (!cli->show_paths)
		(void)json_object_del(doc, "pins");
	return 0;
}

static int load(struct cli *cli, bool lives, json_t **ret_doc)
{
	_cleanup_(pinned_close)
	struct pinned pins = PINNED_NONE;
	_cleanup_json_ json_t *doc = NULL;
	int error;

	error = pinned_require(cli, lives);
	if (!error)
		error = pinned_open(cli, true, &pins);
	if (!error)
		error = pinned_describe(cli, &pins, &doc);
	if (error)
		return error;
	if (json_object_set_new(doc, "daemon", json_boolean(lives)) ||
	    json_object_set_new(doc, "bpffs", document_text(str_from_cstr(cli->bpffs_dir))))
		return p_out_of_memory(cli);
	error = list_objects(cli, doc);
	if (error)
		return error;
	*ret_doc = TAKE_PTR(doc);
	return 0;
}

static int show(struct cli *cli, struct args *args)
{
	_cleanup_json_ json_t *status = NULL;
	_cleanup_json_ json_t *doc = NULL;
	bool lives;
	int error = args_expect_end(cli, args);

	if (!error)
		error = pinned_find(cli, &status, &lives);
	if (!error)
		error = load(cli, lives, &doc);
	if (error)
		return error;
	if (!lives)
		pinned_print_note(cli);
	return output_print(cli, doc, &view);
}

static int unload_pinned(struct cli *cli, bool *ret_unloaded)
{
	_cleanup_close_ int lock_fd = -1;
	struct error err = {0};
	int error;

	if (!pinned_exist(cli)) {
		*ret_unloaded = false;
		return 0;
	}
	error = pinned_lock(cli, &lock_fd);
	if (error)
		return error;
	error = dataplane_unload(cli->bpffs_dir, &err);
	/* Routes that a killed daemon left would go on leading nowhere. */
	if (!error)
		error = steer_sync_local_routes(NULL, 0, &err);
	/* And nothing sends to these neighbours any more. */
	if (!error)
		error = neighbours_release(&err);
	if (error)
		return p_err(cli, error, "%s", err.text);
	*ret_unloaded = true;
	return 0;
}

static int unload(struct cli *cli, struct args *args)
{
	_cleanup_json_ json_t *status = NULL;
	_cleanup_json_ json_t *doc = NULL;
	bool lives, unloaded = false;
	int error = args_expect_end(cli, args);

	if (!error)
		error = pinned_find(cli, &status, &lives);
	if (!error && lives)
		return p_err(cli, -EBUSY,
			     "a daemon is running (pid %lld) and uses the programs; stop it first",
			     (long long)json_integer_value(document_get(status, "pid")));
	if (!error)
		error = unload_pinned(cli, &unloaded);
	if (error)
		return error;

	if (!cli->json) {
		p_text(cli, unloaded ? "Detached, and removed %s.\n" : "Nothing is pinned in %s.\n",
		       cli->bpffs_dir);
		return 0;
	}
	doc = json_pack("{s:o, s:b}", "bpffs", document_text(str_from_cstr(cli->bpffs_dir)),
			"unloaded", (int)unloaded);
	return !doc || output_document(cli, doc) ? p_out_of_memory(cli) : 0;
}

/* Under the owner's lock, so that no daemon starts meanwhile and swaps, too. */
static int reload_pinned(struct cli *cli, unsigned int *ret_count)
{
	_cleanup_(pinned_close)
	struct pinned pins = PINNED_NONE;
	struct dataplane *loaded = NULL;
	struct error err = {0};
	/* First a look at what is there: only what is whole and of our version is swapped. */
	int error = pinned_open(cli, false, &pins);

	if (error)
		return error;
	error = dataplane_open(cli->bpffs_dir, &loaded, &err);
	if (!error)
		error = dataplane_swap_programs(loaded, ret_count, &err);
	dataplane_free(loaded);
	return error ? p_err(cli, error, "%s%s", err.text, geteuid() ? "; run as root" : "") : 0;
}

static int reload(struct cli *cli, struct args *args)
{
	_cleanup_json_ json_t *status = NULL;
	_cleanup_json_ json_t *doc = NULL;
	bool lives;
	unsigned int count = 0;
	int error = args_expect_end(cli, args);

	if (!error)
		error = pinned_find(cli, &status, &lives);
	if (!error && lives)
		return p_err(cli, -EBUSY,
			     "a daemon is running (pid %lld) and owns the programs; it swaps them "
			     "by itself when it is started anew, as by 'systemctl restart sluiced'",
			     (long long)json_integer_value(document_get(status, "pid")));
	if (!error)
		error = reload_pinned(cli, &count);
	if (error)
		return error;
	if (!cli->json) {
		p_text(cli, "The programs of sluice %s took the place of %u attached %s in %s.\n",
		       SLUICE_VERSION, count, count == 1 ? "one" : "ones", cli->bpffs_dir);
		return 0;
	}
	doc = json_pack("{s:o, s:s, s:I}", "bpffs", document_text(str_from_cstr(cli->bpffs_dir)),
			"version", SLUICE_VERSION, "swapped", (json_int_t)count);
	return !doc || output_document(cli, doc) ? p_out_of_memory(cli) : 0;
}

const struct object object_prog = {
	.name = "prog",
	.help = "Usage: sluice [OPTIONS] prog [show]\n"
		"       sluice [OPTIONS] prog reload\n"
		"       sluice [OPTIONS] prog unload\n"
		"       sluice [OPTIONS] prog help\n"
		"\n" HELP_OPTIONS,
	.commands = {{"show", show},
		     {"list", show},
		     {"reload", reload},
		     {"unload", unload},
		     {NULL, NULL}},
};

/* `sluice prog`: the programs in the kernel, read from their pins; and their removal. */
#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>

#include "kern/steer.h"
#include "tools/cli.h"
#include "tools/client.h"
#include "tools/output.h"
#include "tools/pinned.h"

#define PIN_DEPTH_MAX 4

static int cell_steering(const json_t *row, struct buf *out)
{
	return buf_append(out, json_is_true(document_get(row, "steering.attached"))
				       ? STR("sk_lookup is attached")
				       : STR("sk_lookup is not attached"));
}

static const struct output_column head[] = {
	{"pinned in", "bpffs", OUTPUT_TEXT, NULL},
	{"steering", NULL, OUTPUT_CELL, cell_steering},
	{NULL, NULL, 0, NULL},
};

static const struct output_column attachment_columns[] = {
	{"INTERFACE", "name", OUTPUT_TEXT, NULL},
	{"XDP", "mode", OUTPUT_TEXT, NULL},
	{"ATTACHED BY", "how", OUTPUT_TEXT, NULL},
	{"PROGRAM", "program_id", OUTPUT_TEXT, NULL},
	{NULL, NULL, 0, NULL},
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
	{.kind = OUTPUT_TABLE, .path = "steering.tuples", .columns = tuple_columns},
	{.kind = OUTPUT_TABLE, .path = "pins", .columns = pin_columns},
};
static const struct output_view view = {sections, ARRAY_SIZE(sections)};

static int is_listed(const struct dirent *entry)
{
	return strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..");
}

/* Appends {"path": ...} for each file below `dir`, sorted. */
static int list_pins(const char *dir, unsigned int depth, json_t *rows)
{
	struct dirent **entries = NULL;
	int count = scandir(dir, &entries, is_listed, alphasort);
	int error = count < 0 ? -errno : 0;

	for (int i = 0; i < count; i++) {
		_cleanup_free_ struct dirent *entry = entries[i];
		_cleanup_(buf_done)
		struct buf path;
		struct stat stat_buf;

		buf_init(&path, 8192);
		if (!error)
			error = buf_printf(&path, "%s/%s", dir, entry->d_name);
		if (error)
			continue;
		if (!lstat(path.data, &stat_buf) && S_ISDIR(stat_buf.st_mode)) {
			if (depth < PIN_DEPTH_MAX)
				error = list_pins(path.data, depth + 1, rows);
			continue;
		}
		if (json_array_append_new(
			    rows, json_pack("{s:o}", "path", document_text(buf_str(&path)))))
			error = -ENOMEM;
	}
	free(entries);
	return error;
}

/* A daemon that answers knows the directory better than our default. */
static int ask_daemon(struct cli *cli, json_t **ret_status, bool *ret_lives)
{
	int error = client_try(cli, "GET", "/v1/status", NULL, ret_status);
	const char *bpffs;

	if (error && error != -ENOTCONN)
		return error;
	bpffs = document_string(*ret_status, "dataplane.bpffs");
	if (bpffs && !cli->bpffs_given)
		cli->bpffs_dir = bpffs;
	*ret_lives = !error;
	return 0;
}

static int load(struct cli *cli, bool lives, json_t **ret_doc)
{
	_cleanup_(pinned_close)
	struct pinned pins = PINNED_NONE;
	_cleanup_json_ json_t *doc = NULL;
	_cleanup_json_ json_t *rows = NULL;
	int error;

	if (lives && !pinned_exist(cli))
		return p_err(
			cli, -ENOENT,
			"nothing is pinned in %s; 'sluice status' says whether the daemon could "
			"use the kernel's part",
			cli->bpffs_dir);
	error = pinned_open(cli, true, &pins);
	if (!error)
		error = pinned_describe(cli, &pins, &doc);
	if (error)
		return error;
	if (json_object_set_new(doc, "daemon", json_boolean(lives)) ||
	    json_object_set_new(doc, "bpffs", document_text(str_from_cstr(cli->bpffs_dir))))
		return p_out_of_memory(cli);
	if (cli->show_paths) {
		rows = json_array();
		error = rows ? list_pins(cli->bpffs_dir, 0, rows) : -ENOMEM;
		if (error)
			return p_err(cli, error, "cannot list %s: %s", cli->bpffs_dir,
				     strerrordesc_np(-error));
		if (json_object_set(doc, "pins", rows))
			return p_out_of_memory(cli);
	}
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
		error = ask_daemon(cli, &status, &lives);
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
		error = ask_daemon(cli, &status, &lives);
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

const struct object object_prog = {
	.name = "prog",
	.help = "Usage: sluice [OPTIONS] prog [show]\n"
		"       sluice [OPTIONS] prog unload\n"
		"       sluice [OPTIONS] prog help\n"
		"\n" HELP_OPTIONS,
	.commands = {{"show", show}, {"list", show}, {"unload", unload}, {NULL, NULL}},
};

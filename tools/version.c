/* `sluice version`: of this command, and of the daemon if one answers. */
#include <errno.h>

#include "tools/cli.h"
#include "tools/client.h"
#include "tools/output.h"

static int cell_daemon(const json_t *row, struct buf *out)
{
	int error;

	if (!json_is_true(json_object_get(row, "daemon")))
		return buf_append(out, STR("not running"));
	error = output_member(out, row, "version", OUTPUT_TEXT, "", "");
	if (!error)
		error = output_member(out, row, "abi_version", OUTPUT_TEXT, ", kernel ABI ", "");
	return error ? error : output_member(out, row, "kernel", OUTPUT_TEXT, ", on Linux ", "");
}

static const struct output_column columns[] = {
	{"sluice", "cli", OUTPUT_TEXT, NULL},
	{"sluiced", NULL, OUTPUT_CELL, cell_daemon},
	{NULL, NULL, 0, NULL},
};
static const struct output_section section = {
	.kind = OUTPUT_RECORD,
	.required = true,
	.columns = columns,
};
static const struct output_view view = {&section, 1};

static int show(struct cli *cli, struct args *args)
{
	_cleanup_json_ json_t *answer = NULL;
	_cleanup_json_ json_t *doc = NULL;
	int error = args_expect_end(cli, args);

	if (!error)
		error = client_try(cli, "GET", "/v1/version", NULL, &answer);
	if (error && error != -ENOTCONN)
		return error;
	doc = json_pack("{s:s, s:b}", "cli", SLUICE_VERSION, "daemon", answer != NULL);
	if (!doc || (answer && json_object_update_missing(doc, answer)))
		return p_out_of_memory(cli);
	return output_print(cli, doc, &view);
}

const struct object object_version = {
	.name = "version",
	.help = "Usage: sluice [OPTIONS] version [show]\n"
		"       sluice [OPTIONS] version help\n"
		"\n" HELP_OPTIONS,
	.commands = {{"show", show}, {"list", show}, {NULL, NULL}},
};

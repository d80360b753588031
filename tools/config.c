/* `sluice config`: what is in force, its reload, and the check of a file. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include "tools/offline_check.h"
#include "tools/cli.h"
#include "tools/client.h"
#include "tools/output.h"

/* Comments in front, so that the text is still a configuration file. */
static const struct output_column head[] = {
	{"# file", "file", OUTPUT_TEXT, NULL},
	{"# generation", "generation", OUTPUT_COUNT, NULL},
	{"# loaded", "loaded_at", OUTPUT_TEXT, NULL},
	{NULL, NULL, 0, NULL},
};
static const struct output_section sections[] = {
	{.kind = OUTPUT_RECORD, .required = true, .columns = head},
	{.kind = OUTPUT_VERBATIM, .path = "effective", .required = true},
};
static const struct output_view view = {sections, ARRAY_SIZE(sections)};

static int show(struct cli *cli, struct args *args)
{
	int error = args_expect_end(cli, args);

	return error ? error : client_show(cli, "/v1/config", &view);
}

static int reload(struct cli *cli, struct args *args)
{
	_cleanup_json_ json_t *doc = NULL;
	int error = args_expect_end(cli, args);

	if (!error)
		error = client_call(cli, "POST", "/v1/config/reload", NULL, &doc);
	if (error == -EREMOTEIO)
		cli->hint = "The configuration that was in force stays in force.";
	if (error)
		return error;
	if (!json_is_integer(json_object_get(doc, "generation")))
		return p_err(cli, -EPROTO,
			     "the daemon's answer is not understood (it names no generation); are "
			     "sluice and sluiced of the same version?");
	if (cli->json)
		return output_document(cli, doc) ? p_out_of_memory(cli) : 0;
	p_text(cli, "The new configuration is in force: generation %lld.\n",
	       (long long)json_integer_value(json_object_get(doc, "generation")));
	return 0;
}

static int print_valid(struct cli *cli, const char *file, bool daemon, json_t *notes)
{
	static const struct output_section note_section = {.kind = OUTPUT_LINES, .path = "notes"};
	static const struct output_view note_view = {&note_section, 1};
	_cleanup_json_ json_t *doc = NULL;
	char quoted[512];

	doc = json_pack("{s:b, s:o, s:b}", "valid", 1, "file",
			file ? document_text(str_from_cstr(file)) : document_null(), "daemon",
			(int)daemon);
	if (!doc || (notes && json_object_set(doc, "notes", notes)))
		return p_out_of_memory(cli);
	if (!cli->json)
		p_text(cli, "%s is valid.\n",
		       file ? str_quote(str_from_cstr(file), quoted, sizeof(quoted))
			    : "The configuration file");
	return output_print(cli, doc, &note_view);
}

/* The daemon has another working directory: it gets the whole path. */
static int absolute_path(struct cli *cli, const char *file, char **ret_path)
{
	char quoted[512];
	char *path = realpath(file, NULL);

	if (!path)
		return p_err(cli, -errno, "cannot find %s: %s",
			     str_quote(str_from_cstr(file), quoted, sizeof(quoted)),
			     strerrordesc_np(errno));
	*ret_path = path;
	return 0;
}

static int check(struct cli *cli, struct args *args)
{
	const char *file = NULL;
	const struct arg_key keys[] = {{"file", "FILE", &file}, {NULL, NULL, NULL}};
	_cleanup_json_ json_t *request = json_object();
	_cleanup_json_ json_t *answer = NULL;
	_cleanup_json_ json_t *notes = NULL;
	_cleanup_free_ char *path = NULL;
	json_t *path_text;
	bool daemon = true;
	int error = args_read_keys(cli, args, keys);

	if (!error && file)
		error = absolute_path(cli, file, &path);
	if (error)
		return error;
	if (path) {
		/* A name that is no UTF-8 cannot be said in JSON: only our own check can take it.
		 */
		path_text = json_string(path);
		if (!path_text)
			return p_err(cli, -EILSEQ,
				     "the file's name is not UTF-8; check it with "
				     "'sluiced --check FILE'");
		if (json_object_set_new(request, "file", path_text))
			return p_out_of_memory(cli);
	}
	error = client_try(cli, "POST", "/v1/config/check", request, &answer);
	if (error == -ENOTCONN) {
		if (!path)
			return p_err(
				cli, error,
				"%s, so nothing says which file to check; name it: sluice config "
				"check file FILE",
				cli->absence);
		daemon = false;
		error = offline_check_run(cli, file, &notes);
	}
	return error ? error : print_valid(cli, path, daemon, notes);
}

const struct object object_config = {
	.name = "config",
	.help = "Usage: sluice [OPTIONS] config [show]\n"
		"       sluice [OPTIONS] config reload\n"
		"       sluice [OPTIONS] config check [file FILE]\n"
		"       sluice [OPTIONS] config help\n"
		"\n" HELP_OPTIONS,
	.commands = {{"show", show},
		     {"list", show},
		     {"reload", reload},
		     {"check", check},
		     {NULL, NULL}},
};

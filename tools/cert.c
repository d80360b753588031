/* `sluice cert`: the certificates that listeners show, and reading them again. */
#include <errno.h>

#include "tools/cli.h"
#include "tools/client.h"
#include "tools/output.h"

/* "12", or "expired" */
static int days_cell(const json_t *row, struct buf *out)
{
	const json_t *days = document_get(row, "days_left");

	if (!json_is_integer(days))
		return 0;
	if (json_integer_value(days) < 0)
		return buf_append(out, STR("expired"));
	return output_count(out, (uint64_t)json_integer_value(days));
}

static const struct output_column list_columns[] = {
	{"LISTENER", "listener", OUTPUT_TEXT, NULL}, {"SUBJECT", "subject", OUTPUT_TEXT, NULL},
	{"NAMES", "names", OUTPUT_TEXT, NULL},	     {"KEY", "key", OUTPUT_TEXT, NULL},
	{"DAYS", NULL, OUTPUT_CELL, days_cell},	     {"OCSP", "ocsp", OUTPUT_TEXT, NULL},
	{"FILE", "file", OUTPUT_TEXT, NULL},	     {NULL, NULL, 0, NULL},
};
static const struct output_section list_section = {
	.kind = OUTPUT_TABLE,
	.path = "certificates",
	.required = true,
	.columns = list_columns,
	.empty = "No listener has certificates.",
};
static const struct output_view list_view = {&list_section, 1};

static const struct output_column one_columns[] = {
	{"listener", "listener", OUTPUT_TEXT, NULL}, {"subject", "subject", OUTPUT_TEXT, NULL},
	{"issuer", "issuer", OUTPUT_TEXT, NULL},     {"names", "names", OUTPUT_TEXT, NULL},
	{"key", "key", OUTPUT_TEXT, NULL},	     {"SHA-256", "fingerprint", OUTPUT_TEXT, NULL},
	{"from", "not_before", OUTPUT_TEXT, NULL},   {"until", "not_after", OUTPUT_TEXT, NULL},
	{"days left", NULL, OUTPUT_CELL, days_cell}, {"ocsp", "ocsp", OUTPUT_TEXT, NULL},
	{"file", "file", OUTPUT_TEXT, NULL},	     {NULL, NULL, 0, NULL},
};
static const struct output_section one_section = {
	.kind = OUTPUT_RECORDS,
	.path = "certificates",
	.required = true,
	.columns = one_columns,
	.empty = "That listener has no certificates.",
};
static const struct output_view one_view = {&one_section, 1};

/* Those of one listener. */
static int keep_listener(struct cli *cli, json_t *doc, const char *listener)
{
	json_t *certificates = json_object_get(doc, "certificates");
	_cleanup_json_ json_t *kept = json_array();
	size_t index;
	json_t *row;

	if (!kept)
		return p_out_of_memory(cli);
	json_array_foreach(certificates, index, row)
	{
		const char *name = document_string(row, "listener");

		if (name && !strcmp(name, listener) && json_array_append(kept, row))
			return p_out_of_memory(cli);
	}
	return json_object_set(doc, "certificates", kept) ? p_out_of_memory(cli) : 0;
}

static int show(struct cli *cli, struct args *args)
{
	const char *listener = NULL;
	const struct arg_key keys[] = {{"listener", "NAME", &listener}, {NULL, NULL, NULL}};
	_cleanup_json_ json_t *doc = NULL;
	int error = args_read_keys(cli, args, keys);

	if (!error)
		error = client_call(cli, "GET", "/v1/certificates", NULL, &doc);
	if (!error)
		error = output_check(cli, doc, &list_view);
	if (!error && listener)
		error = keep_listener(cli, doc, listener);
	return error ? error : output_print(cli, doc, listener ? &one_view : &list_view);
}

static int reload(struct cli *cli, struct args *args)
{
	_cleanup_json_ json_t *doc = NULL;
	const json_t *listeners;
	int error = args_expect_end(cli, args);

	if (!error)
		error = client_call(cli, "POST", "/v1/certificates/reload", NULL, &doc);
	if (error == -EREMOTEIO)
		cli->hint = "Listeners whose files are of no use go on with the certificates they "
			    "had.";
	if (error)
		return error;
	listeners = json_object_get(doc, "listeners");
	if (!json_is_integer(listeners))
		return p_err(cli, -EPROTO,
			     "the daemon's answer is not understood (it names no listeners); are "
			     "sluice and sluiced of the same version?");
	if (cli->json)
		return output_document(cli, doc) ? p_out_of_memory(cli) : 0;
	p_text(cli, "Certificates were read again: listeners %lld.\n",
	       (long long)json_integer_value(listeners));
	return 0;
}

static const char *const show_keys[] = {"listener", NULL};

const struct object object_cert = {
	.name = "cert",
	.help = "Usage: sluice [OPTIONS] cert [show] [listener NAME]\n"
		"       sluice [OPTIONS] cert reload\n"
		"       sluice [OPTIONS] cert help\n"
		"\n" HELP_OPTIONS,
	.commands = {{"show", show}, {"list", show}, {"reload", reload}, {NULL, NULL}},
	.show_keys = show_keys,
};

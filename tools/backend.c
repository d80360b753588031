/* `sluice backend`: the backends of L4 services. */
#include <errno.h>

#include "base/addr.h"
#include "tools/cli.h"
#include "tools/client.h"
#include "tools/output.h"
#include "tools/pinned.h"
#include "tools/service.h"

#define WEIGHT_MAX 65535

/* "draining, 12s left" */
static int state_cell(const json_t *row, struct buf *out)
{
	int error = output_member(out, row, "state", OUTPUT_TEXT, "", "");

	return error ? error
		     : output_member(out, row, "drain_left_s", OUTPUT_SECONDS, ", ", " left");
}

/* "eth1 10.1.0.1 resolved" */
static int next_hop_state_cell(const json_t *row, struct buf *out)
{
	int error = output_member(out, row, "device", OUTPUT_TEXT, "", " ");

	if (!error)
		error = output_member(out, row, "next_hop", OUTPUT_TEXT, "", " ");
	return error ? error : output_member(out, row, "next_hop_state", OUTPUT_TEXT, "", "");
}

static const struct output_column columns[] = {
	{"SERVICE", "service", OUTPUT_TEXT, NULL},
	{"BACKEND", "address", OUTPUT_TEXT, NULL},
	{"STATE", NULL, OUTPUT_CELL, state_cell},
	{"NEXT HOP", NULL, OUTPUT_CELL, next_hop_state_cell},
	{"WEIGHT", "weight", OUTPUT_COUNT, NULL},
	{"SLOTS", "slots", OUTPUT_COUNT, NULL},
	{"PACKETS", "packets", OUTPUT_COUNT, NULL},
	{"BYTES", "bytes", OUTPUT_BYTES, NULL},
	{"FROM", "origin", OUTPUT_TEXT, NULL},
	{NULL, NULL, 0, NULL},
};

static const struct output_section section = {
	.kind = OUTPUT_TABLE,
	.path = "backends",
	.required = true,
	.columns = columns,
	.empty = "There are no backends.",
};
static const struct output_view view = {&section, 1};

static int show(struct cli *cli, struct args *args)
{
	const char *service = NULL;
	const struct arg_key keys[] = {{"service", "NAME", &service}, {NULL, NULL, NULL}};
	_cleanup_json_ json_t *doc = NULL;
	int error = args_read_keys(cli, args, keys);

	if (!error)
		error = service_load(cli, &doc);
	if (!error && !json_is_array(json_object_get(doc, "services")))
		return output_check(cli, doc, &view);
	if (!error)
		error = client_keep_named(cli, doc, "services", "service", service);
	if (!error)
		error = service_flatten(cli, doc);
	if (error)
		return error;
	(void)json_object_del(doc, "services");
	return output_print(cli, doc, &view);
}

/* Connections that stand must be moved over in steps, minutes long: nobody would take the later. */
static int refuse_without_daemon(struct cli *cli)
{
	return p_err(cli, -ENOTCONN,
		     "%s; a change of backends is made in steps by a running daemon, so that "
		     "connections stay where they are; start sluiced ('sluice backend' shows the "
		     "pins meanwhile)",
		     cli->absence);
}

static int change(struct cli *cli, const char *what, const char *address, const char *service,
		  const char *weight)
{
	_cleanup_json_ json_t *request = NULL;
	_cleanup_json_ json_t *answer = NULL;
	char text[ADDR_TEXT_MAX], quoted[80];
	struct ip_addr addr;
	uint64_t number;
	int error;

	if (ip_addr_parse(str_from_cstr(address), &addr))
		return p_usage(cli, "%s is not an IP address",
			       str_quote(str_from_cstr(address), quoted, sizeof(quoted)));
	if (!service)
		return p_usage(cli, "which service? write: %s %s service NAME", what, address);
	error = args_parse_number(cli, "weight", weight, 0, WEIGHT_MAX, &number);
	if (error)
		return error;
	request = json_pack("{s:s, s:o, s:s}", "change", what, "service",
			    document_text(str_from_cstr(service)), "address",
			    ip_addr_format(&addr, text, sizeof(text)));
	if (!request || (weight && json_object_set_new(request, "weight", json_string(weight))))
		return p_out_of_memory(cli);
	error = client_try(cli, "POST", "/v1/backends", request, &answer);
	if (error == -ENOTCONN)
		return refuse_without_daemon(cli);
	if (error)
		return error;
	if (cli->json)
		return output_document(cli, answer) ? p_out_of_memory(cli) : 0;
	error = buf_printf(&cli->out, "%s of service ", text);
	if (!error)
		error = output_escape(&cli->out, str_from_cstr(service), false);
	if (!error)
		error = output_member(&cli->out, answer, "done", OUTPUT_TEXT, ": ", "");
	return error || buf_append(&cli->out, STR(".\n")) ? p_out_of_memory(cli) : 0;
}

static int change_plain(struct cli *cli, struct args *args, const char *what)
{
	const char *address = NULL, *service = NULL;
	const struct arg_key keys[] = {{"service", "NAME", &service}, {NULL, NULL, NULL}};
	int error = args_read_value(cli, args, "address", "ADDRESS", &address);

	if (!error)
		error = args_read_keys(cli, args, keys);
	return error ? error : change(cli, what, address, service, NULL);
}

static int change_weighted(struct cli *cli, struct args *args, const char *what, bool required)
{
	const char *address = NULL, *service = NULL, *weight = NULL;
	const struct arg_key keys[] = {
		{"service", "NAME", &service}, {"weight", "N", &weight}, {NULL, NULL, NULL}};
	int error = args_read_value(cli, args, "address", "ADDRESS", &address);

	if (!error)
		error = args_read_keys(cli, args, keys);
	if (!error && required && !weight)
		error = p_usage(cli, "which weight? write: weight N");
	return error ? error : change(cli, what, address, service, weight);
}

static int add(struct cli *cli, struct args *args)
{
	return change_weighted(cli, args, "add", false);
}

static int set(struct cli *cli, struct args *args)
{
	return change_weighted(cli, args, "weight", true);
}

static int delete (struct cli *cli, struct args *args)
{
	return change_plain(cli, args, "delete");
}

static int drain(struct cli *cli, struct args *args)
{
	return change_plain(cli, args, "drain");
}

static int undrain(struct cli *cli, struct args *args)
{
	return change_plain(cli, args, "undrain");
}

static const char *const show_keys[] = {"service", NULL};

const struct object object_backend = {
	.name = "backend",
	.help = "Usage: sluice [OPTIONS] backend [show] [service NAME]\n"
		"       sluice [OPTIONS] backend add ADDRESS service NAME [weight N]\n"
		"       sluice [OPTIONS] backend delete ADDRESS service NAME\n"
		"       sluice [OPTIONS] backend drain ADDRESS service NAME\n"
		"       sluice [OPTIONS] backend undrain ADDRESS service NAME\n"
		"       sluice [OPTIONS] backend weight ADDRESS service NAME weight N\n"
		"       sluice [OPTIONS] backend help\n"
		"\n"
		"       ADDRESS := IP address of the backend\n"
		"       N := 0 to 65535\n" HELP_OPTIONS,
	.commands = {{"show", show},
		     {"list", show},
		     {"add", add},
		     {"delete", delete},
		     {"drain", drain},
		     {"undrain", undrain},
		     {"weight", set},
		     {NULL, NULL}},
	.show_keys = show_keys,
};

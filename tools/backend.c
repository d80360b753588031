/* `sluice backend`: the backends of L4 services. */
#include <errno.h>
#include <string.h>

#include "base/addr.h"
#include "kern/service_change.h"
#include "tools/cli.h"
#include "tools/client.h"
#include "tools/output.h"
#include "tools/service.h"
#include "tools/service_offline.h"

#define WEIGHT_DEFAULT 100

/* "draining, 12s left" */
static int state_cell(const json_t *row, struct buf *out)
{
	int error = output_member(out, row, "state", OUTPUT_TEXT, "", "");

	return error ? error
		     : output_member(out, row, "drain_left_s", OUTPUT_SECONDS, ", ", " left");
}

/* "down 12s, Connection refused", "down 12s, in use, ..." where all others are down, too */
static int health_cell(const json_t *row, struct buf *out)
{
	int error = output_member(out, row, "health.state", OUTPUT_TEXT, "", "");
	const char *state = document_string(row, "health.state");

	if (error || !state)
		return error;
	error = output_member(out, row, "health.for_s", OUTPUT_SECONDS, " ", "");
	if (strcmp(state, "down"))
		return error;
	if (!error && json_is_true(document_get(row, "health.in_use")))
		error = buf_append(out, STR(", in use"));
	return error ? error : output_member(out, row, "health.last_error", OUTPUT_TEXT, ", ", "");
}

/* "1,197 good, 3 failed" */
static int probes_cell(const json_t *row, struct buf *out)
{
	int error = output_member(out, row, "health.succeeded", OUTPUT_COUNT, "", " good");

	return error ? error
		     : output_member(out, row, "health.failed", OUTPUT_COUNT, ", ", " failed");
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
	{"HEALTH", NULL, OUTPUT_CELL, health_cell},
	{"PROBES", NULL, OUTPUT_CELL, probes_cell},
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

struct wish {
	const char *what; /* the command */
	enum service_change_kind kind;
	const char *address, *service, *port, *weight; /* as written; NULL: not at all */
};

/* Also for the change without a daemon; what only a daemon looks at is in the request. */
static int read_wish(struct cli *cli, const struct wish *wish, struct service_change *change)
{
	uint64_t port = 0, weight = WEIGHT_DEFAULT;
	char quoted[80];
	int error;

	if (ip_addr_parse(str_from_cstr(wish->address), &change->addr))
		return p_usage(cli, "%s is not an IP address%s",
			       str_quote(str_from_cstr(wish->address), quoted, sizeof(quoted)),
			       strchr(wish->address, '.') && strchr(wish->address, ':')
				       ? "; write: ADDRESS service NAME port PORT"
				       : "");
	if (!wish->service)
		return p_usage(cli, "which service? write: %s %s service NAME", wish->what,
			       wish->address);
	error = args_parse_number(cli, "weight", wish->weight, 0, SERVICE_WEIGHT_MAX, &weight);
	if (!error)
		error = args_parse_number(cli, "port", wish->port, 0, UINT16_MAX, &port);
	if (error)
		return error;
	if (strlen(wish->service) >= sizeof(change->service))
		return p_err(cli, -ENOENT, "there is no service of so long a name");
	(void)snprintf(change->service, sizeof(change->service), "%s", wish->service);
	ip_addr_unmap(&change->addr);
	change->kind = wish->kind;
	change->weight = (uint32_t)weight;
	change->port = (uint16_t)port;
	change->has_port = wish->port;
	return 0;
}

static json_t *make_request(const struct wish *wish, const struct service_change *change)
{
	char text[ADDR_TEXT_MAX];
	json_t *request = json_pack("{s:s, s:o, s:s}", "change", wish->what, "service",
				    document_text(str_from_cstr(wish->service)), "address",
				    ip_addr_format(&change->addr, text, sizeof(text)));

	if (request &&
	    ((wish->weight && json_object_set_new(request, "weight", json_string(wish->weight))) ||
	     (wish->port && json_object_set_new(request, "port", json_string(wish->port))))) {
		json_decref(request);
		return NULL;
	}
	return request;
}

/* In the form of the daemon's answer. */
static int change_offline(struct cli *cli, const struct wish *wish, struct service_change *change,
			  json_t **ret_answer)
{
	static const char *const done[] = {
		[SERVICE_CHANGE_ADD] = "added",	      [SERVICE_CHANGE_DELETE] = "deleted",
		[SERVICE_CHANGE_DRAIN] = "draining",  [SERVICE_CHANGE_UNDRAIN] = "undrained",
		[SERVICE_CHANGE_WEIGHT] = "weighted",
	};
	char text[ADDR_TEXT_MAX];
	int error = service_offline_backend(cli, change);

	if (error)
		return error;
	*ret_answer =
		json_pack("{s:o, s:s, s:s}", "service", document_text(str_from_cstr(wish->service)),
			  "address", service_change_format(change, text, sizeof(text)), "done",
			  done[change->kind]);
	return *ret_answer ? 0 : p_out_of_memory(cli);
}

static int change(struct cli *cli, const struct wish *wish)
{
	_cleanup_json_ json_t *request = NULL;
	_cleanup_json_ json_t *answer = NULL;
	struct service_change change = {.weight = 0};
	bool daemon = true;
	int error = read_wish(cli, wish, &change);

	if (error)
		return error;
	request = make_request(wish, &change);
	if (!request)
		return p_out_of_memory(cli);
	error = client_try(cli, "POST", "/v1/backends", request, &answer);
	if (error == -ENOTCONN) {
		daemon = false;
		error = change_offline(cli, wish, &change, &answer);
	} else if (!error) {
		error = service_check_answer(cli, answer);
	}
	if (error)
		return error;
	if (json_object_set_new(answer, "daemon", json_boolean(daemon)))
		return p_out_of_memory(cli);
	if (cli->json)
		return output_document(cli, answer) ? p_out_of_memory(cli) : 0;
	error = output_member(&cli->out, answer, "address", OUTPUT_TEXT, "", "");
	if (!error)
		error = output_member(&cli->out, answer, "service", OUTPUT_TEXT, " of service ",
				      "");
	if (!error)
		error = output_member(&cli->out, answer, "done", OUTPUT_TEXT, ": ", ".\n");
	service_print_offline(cli, daemon);
	return error ? p_out_of_memory(cli) : 0;
}

static int read_and_change(struct cli *cli, struct args *args, struct wish *wish)
{
	bool takes_weight = wish->kind == SERVICE_CHANGE_ADD || wish->kind == SERVICE_CHANGE_WEIGHT;
	const struct arg_key keys[] = {
		{"service", "NAME", &wish->service},
		{"port", "PORT", &wish->port},
		{takes_weight ? "weight" : NULL, "N", &wish->weight},
		{NULL, NULL, NULL},
	};
	int error = args_read_value(cli, args, "address", "ADDRESS", &wish->address);

	if (!error)
		error = args_read_keys(cli, args, keys);
	if (!error && wish->kind == SERVICE_CHANGE_WEIGHT && !wish->weight)
		error = p_usage(cli, "which weight? write: weight N");
	return error ? error : change(cli, wish);
}

static int add(struct cli *cli, struct args *args)
{
	struct wish wish = {.what = "add", .kind = SERVICE_CHANGE_ADD};

	return read_and_change(cli, args, &wish);
}

static int set(struct cli *cli, struct args *args)
{
	struct wish wish = {.what = "weight", .kind = SERVICE_CHANGE_WEIGHT};

	return read_and_change(cli, args, &wish);
}

static int delete (struct cli *cli, struct args *args)
{
	struct wish wish = {.what = "delete", .kind = SERVICE_CHANGE_DELETE};

	return read_and_change(cli, args, &wish);
}

static int drain(struct cli *cli, struct args *args)
{
	struct wish wish = {.what = "drain", .kind = SERVICE_CHANGE_DRAIN};

	return read_and_change(cli, args, &wish);
}

static int undrain(struct cli *cli, struct args *args)
{
	struct wish wish = {.what = "undrain", .kind = SERVICE_CHANGE_UNDRAIN};

	return read_and_change(cli, args, &wish);
}

static const char *const show_keys[] = {"service", NULL};

const struct object object_backend = {
	.name = "backend",
	.help = "Usage: sluice [OPTIONS] backend [show] [service NAME]\n"
		"       sluice [OPTIONS] backend add ADDRESS service NAME [port PORT] [weight N]\n"
		"       sluice [OPTIONS] backend delete ADDRESS service NAME [port PORT]\n"
		"       sluice [OPTIONS] backend drain ADDRESS service NAME [port PORT]\n"
		"       sluice [OPTIONS] backend undrain ADDRESS service NAME [port PORT]\n"
		"       sluice [OPTIONS] backend weight ADDRESS service NAME [port PORT] weight N\n"
		"       sluice [OPTIONS] backend help\n"
		"\n"
		"       ADDRESS := IP address of the backend\n"
		"       PORT := its port, with forward mode nat; which one, where an address has "
		"several\n"
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

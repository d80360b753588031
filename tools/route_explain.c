/* `sluice route explain`: where a request would go, and why not elsewhere. */
#include <errno.h>

#include "tools/client.h"
#include "tools/output.h"
#include "tools/route.h"

static int cell_host(const json_t *row, struct buf *out)
{
	size_t before = out->len;
	int error = output_member(out, row, "host", OUTPUT_TEXT, "", "");

	return error || out->len > before ? error : buf_append(out, STR("any"));
}

/* "route 'cart'", "404: no route", ... */
static int cell_result(const json_t *row, struct buf *out)
{
	const char *kind = document_string(row, "kind");
	int error;

	if (kind && !strcmp(kind, "route"))
		return output_member(out, row, "name", OUTPUT_TEXT, "route '", "'");
	error = output_member(out, row, "status", OUTPUT_TEXT, "no route: answered with ", "");
	if (!error)
		error = output_member(out, row, "reason", OUTPUT_TEXT, ", ", "");
	return error ? error : output_member(out, row, "allow", OUTPUT_TEXT, ", allowed: ", "");
}

static bool is_route(const json_t *row)
{
	return json_is_string(json_object_get(row, "name"));
}

static int cell_matched_host(const json_t *row, struct buf *out)
{
	return is_route(row) ? cell_host(row, out) : 0;
}

static int cell_matched_methods(const json_t *row, struct buf *out)
{
	return is_route(row) ? route_cell_methods(row, out) : 0;
}

/* "id = 7, rest = a/b" */
static int cell_parameters(const json_t *row, struct buf *out)
{
	size_t index;
	json_t *parameter;
	int error = 0;

	json_array_foreach(json_object_get(row, "parameters"), index, parameter)
	{
		error = output_member(out, parameter, "name", OUTPUT_TEXT, index ? ", " : "", "");
		if (!error)
			error = output_member(out, parameter, "value", OUTPUT_TEXT, " = ", "");
		if (error)
			break;
	}
	return error;
}

static int append_number(const json_t *row, const char *path, struct buf *out)
{
	if (json_integer_value(json_object_get(row, path)) == 0)
		return 0;
	return output_member(out, row, path, OUTPUT_COUNT, "", "");
}

static int cell_not_shown(const json_t *row, struct buf *out)
{
	return append_number(row, "others_not_shown", out);
}

static int cell_other_hosts(const json_t *row, struct buf *out)
{
	return append_number(row, "routes_for_other_hosts", out);
}

static int cell_other_listeners(const json_t *row, struct buf *out)
{
	return append_number(row, "routes_of_other_listeners", out);
}

static const struct output_column request_columns[] = {
	{"listener", "listener", OUTPUT_TEXT, NULL},
	{"host", "host", OUTPUT_TEXT, NULL},
	{"path", "path", OUTPUT_TEXT, NULL},
	{"query", "query", OUTPUT_TEXT, NULL},
	{NULL, NULL, 0, NULL},
};

static const struct output_column result_columns[] = {
	{"goes to", NULL, OUTPUT_CELL, cell_result},
	{"by host", NULL, OUTPUT_CELL, cell_matched_host},
	{"by path", NULL, OUTPUT_CELL, route_cell_path},
	{"by method", NULL, OUTPUT_CELL, cell_matched_methods},
	{"parameters", NULL, OUTPUT_CELL, cell_parameters},
	{"action", NULL, OUTPUT_CELL, route_cell_action},
	{NULL, NULL, 0, NULL},
};

static const struct output_column other_columns[] = {
	{"OTHER ROUTE", "name", OUTPUT_TEXT, NULL},
	{"HOST", NULL, OUTPUT_CELL, cell_host},
	{"PATH", NULL, OUTPUT_CELL, route_cell_path},
	{"METHODS", NULL, OUTPUT_CELL, route_cell_methods},
	{"LOST BY", "reason", OUTPUT_TEXT, NULL},
	{NULL, NULL, 0, NULL},
};

static const struct output_column rest_columns[] = {
	{"further routes of this host", NULL, OUTPUT_CELL, cell_not_shown},
	{"routes for other hosts", NULL, OUTPUT_CELL, cell_other_hosts},
	{"routes of other listeners", NULL, OUTPUT_CELL, cell_other_listeners},
	{NULL, NULL, 0, NULL},
};

static const struct output_section sections[] = {
	{.kind = OUTPUT_RECORD, .path = "request", .required = true, .columns = request_columns},
	{.kind = OUTPUT_RECORD, .path = "result", .required = true, .columns = result_columns},
	{.kind = OUTPUT_TABLE, .path = "others", .columns = other_columns},
	{.kind = OUTPUT_RECORD, .columns = rest_columns},
};
static const struct output_view view = {sections, ARRAY_SIZE(sections)};

static int add_text(struct cli *cli, json_t *object, const char *key, const char *text)
{
	json_t *value = json_string(text);

	if (!value)
		return p_usage(cli, "%s is not valid UTF-8", key);
	return json_object_set_new(object, key, value) ? p_out_of_memory(cli) : 0;
}

/* `header NAME VALUE` */
static int read_header(struct cli *cli, struct args *args, json_t *headers)
{
	const char *name = args_take(args), *value = args_take(args);
	_cleanup_json_ json_t *header = json_object();
	int error;

	if (!value)
		return p_usage(cli, "'header' needs a name and a value: header NAME VALUE");
	if (!header)
		return p_out_of_memory(cli);
	error = add_text(cli, header, "name", name);
	if (!error)
		error = add_text(cli, header, "value", value);
	if (error)
		return error;
	return json_array_append(headers, header) ? p_out_of_memory(cli) : 0;
}

static int read_listener(struct cli *cli, struct args *args, json_t *request)
{
	const char *name = args_take(args);

	if (!name)
		return p_usage(cli, "'listener' needs a value: listener NAME");
	if (json_object_get(request, "listener"))
		return p_usage(cli, "'listener' is given twice");
	return add_text(cli, request, "listener", name);
}

static int read_request(struct cli *cli, struct args *args, json_t *request)
{
	static const char *const keys[] = {"header", "listener", NULL};
	const char *method = args_take(args), *url = args_take(args), *word;
	json_t *headers = json_array();
	int error;

	if (json_object_set_new(request, "headers", headers))
		return p_out_of_memory(cli);
	if (!url)
		return p_usage(cli, "%s is missing; see 'sluice route help'",
			       method ? "URL" : "METHOD");
	error = add_text(cli, request, "method", method);
	if (!error)
		error = add_text(cli, request, "url", url);
	while (!error && (word = args_take(args))) {
		int key = names_require(cli, "key", word, keys);

		if (key < 0)
			return key;
		error = key ? read_listener(cli, args, request) : read_header(cli, args, headers);
	}
	return error;
}

int route_explain(struct cli *cli, struct args *args)
{
	_cleanup_json_ json_t *request = json_object();
	_cleanup_json_ json_t *doc = NULL;
	int error;

	if (!request)
		return p_out_of_memory(cli);
	error = read_request(cli, args, request);
	if (!error)
		error = client_call(cli, "POST", "/v1/routes/explain", request, &doc);
	return error ? error : output_print(cli, doc, &view);
}

/* `sluice route`: what is matched, what is done about it, and how often. */
#include "tools/cli.h"
#include "tools/client.h"
#include "tools/output.h"
#include "tools/route.h"

static int cell_hosts(const json_t *row, struct buf *out)
{
	size_t before = out->len;
	int error = output_member(out, row, "hosts", OUTPUT_TEXT, "", "");

	return error || out->len > before ? error : buf_append(out, STR("any"));
}

int route_cell_methods(const json_t *row, struct buf *out)
{
	size_t before = out->len;
	int error = output_member(out, row, "methods", OUTPUT_TEXT, "", "");

	return error || out->len > before ? error : buf_append(out, STR("any"));
}

/* "x-canary = yes, x-debug present" */
static int append_conditions(const json_t *list, struct buf *out)
{
	size_t index;
	json_t *condition;
	int error = 0;

	json_array_foreach((json_t *)list, index, condition)
	{
		const json_t *present = json_object_get(condition, "present");

		error = output_member(out, condition, "name", OUTPUT_TEXT, index ? ", " : "", "");
		if (!error)
			error = output_member(out, condition, "value", OUTPUT_TEXT, " = ", "");
		if (!error)
			error = output_member(out, condition, "regex", OUTPUT_TEXT, " ~ ", "");
		if (!error && json_is_boolean(present))
			error = buf_append(out, json_is_true(present) ? STR(" present")
								      : STR(" absent"));
		if (error)
			break;
	}
	return error;
}

static int cell_headers(const json_t *row, struct buf *out)
{
	return append_conditions(json_object_get(row, "headers"), out);
}

static int cell_query(const json_t *row, struct buf *out)
{
	return append_conditions(json_object_get(row, "query"), out);
}

int route_cell_path(const json_t *row, struct buf *out)
{
	int error = output_member(out, row, "path.kind", OUTPUT_TEXT, "", " ");

	return error ? error : output_member(out, row, "path.value", OUTPUT_TEXT, "", "");
}

/* "cart 95, cart-grpc 5" */
static int append_shares(const json_t *row, struct buf *out, const char *before)
{
	const json_t *split = json_object_get(row, "split");
	size_t index;
	json_t *variant;
	int error = 0;

	json_array_foreach((json_t *)split, index, variant)
	{
		error = output_member(out, variant, "upstream", OUTPUT_TEXT, index ? ", " : before,
				      "");
		if (!error)
			error = output_member(out, variant, "weight", OUTPUT_TEXT, " ", "");
		if (error)
			break;
	}
	return error;
}

/* "cart 119,000, cart-grpc 6,000" */
static int cell_variants(const json_t *row, struct buf *out)
{
	const json_t *split = json_object_get(row, "split");
	size_t index;
	json_t *variant;
	int error = 0;

	json_array_foreach((json_t *)split, index, variant)
	{
		error = output_member(out, variant, "upstream", OUTPUT_TEXT, index ? "; " : "", "");
		if (!error)
			error = output_member(out, variant, "requests", OUTPUT_COUNT, " ", "");
		if (!error && json_is_true(json_object_get(variant, "conditional")))
			error = buf_append(out, STR(" ('when' included)"));
		if (error)
			break;
	}
	return error;
}

int route_cell_action(const json_t *row, struct buf *out)
{
	static const struct {
		const char *path, *before;
	} parts[] = {
		{"action", ""},
		{"upstream", " to "},
		{"files.root", " from "},
		{"respond.status", " "},
		{"redirect.status", " "},
		{"redirect.scheme", ", scheme "},
		{"redirect.host", ", host "},
		{"redirect.port", ", port "},
		{"redirect.path", ", path "},
	};
	int error = 0;

	for (size_t i = 0; i < ARRAY_SIZE(parts) && !error; i++)
		error = output_member(out, row, parts[i].path, OUTPUT_TEXT, parts[i].before, "");
	return error ? error : append_shares(row, out, " to ");
}

static const struct output_column list_columns[] = {
	{"ROUTE", "name", OUTPUT_TEXT, NULL},
	{"HOSTS", NULL, OUTPUT_CELL, cell_hosts},
	{"PATH", NULL, OUTPUT_CELL, route_cell_path},
	{"METHODS", NULL, OUTPUT_CELL, route_cell_methods},
	{"ACTION", NULL, OUTPUT_CELL, route_cell_action},
	{"REQUESTS", "requests", OUTPUT_COUNT, NULL},
	{"2XX", "responses.2xx", OUTPUT_COUNT, NULL},
	{"3XX", "responses.3xx", OUTPUT_COUNT, NULL},
	{"4XX", "responses.4xx", OUTPUT_COUNT, NULL},
	{"5XX", "responses.5xx", OUTPUT_COUNT, NULL},
	{"IN", "bytes_in", OUTPUT_BYTES, NULL},
	{"OUT", "bytes_out", OUTPUT_BYTES, NULL},
	{NULL, NULL, 0, NULL},
};

static const struct output_column one_columns[] = {
	{"route", "name", OUTPUT_TEXT, NULL},
	{"hosts", NULL, OUTPUT_CELL, cell_hosts},
	{"path", NULL, OUTPUT_CELL, route_cell_path},
	{"methods", NULL, OUTPUT_CELL, route_cell_methods},
	{"headers", NULL, OUTPUT_CELL, cell_headers},
	{"query", NULL, OUTPUT_CELL, cell_query},
	{"upgrade", "upgrade", OUTPUT_TEXT, NULL},
	{"listeners", "listeners", OUTPUT_TEXT, NULL},
	{"policies", "policies", OUTPUT_TEXT, NULL},
	{"action", NULL, OUTPUT_CELL, route_cell_action},
	{"variants", NULL, OUTPUT_CELL, cell_variants},
	{"sticky by", "sticky", OUTPUT_TEXT, NULL},
	{"requests", "requests", OUTPUT_COUNT, NULL},
	{"answers 2xx", "responses.2xx", OUTPUT_COUNT, NULL},
	{"answers 3xx", "responses.3xx", OUTPUT_COUNT, NULL},
	{"answers 4xx", "responses.4xx", OUTPUT_COUNT, NULL},
	{"answers 5xx", "responses.5xx", OUTPUT_COUNT, NULL},
	{"without answer", "responses.none", OUTPUT_COUNT, NULL},
	{"request bodies", "bytes_in", OUTPUT_BYTES, NULL},
	{"response bodies", "bytes_out", OUTPUT_BYTES, NULL},
	{NULL, NULL, 0, NULL},
};

static const struct output_section list_section = {
	.kind = OUTPUT_TABLE,
	.path = "routes",
	.required = true,
	.columns = list_columns,
	.empty = "No routes are configured.",
};
static const struct output_section one_section = {
	.kind = OUTPUT_RECORDS,
	.path = "routes",
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
		error = client_call(cli, "GET", "/v1/routes", NULL, &doc);
	if (!error)
		error = client_keep_named(cli, doc, "routes", "route", name);
	return error ? error : output_print(cli, doc, name ? &one_view : &list_view);
}

static const char *const show_keys[] = {"name", NULL};

const struct object object_route = {
	.name = "route",
	.help = "Usage: sluice [OPTIONS] route [show] [name NAME]\n"
		"       sluice [OPTIONS] route explain METHOD URL [header NAME VALUE]... [listener "
		"NAME]\n"
		"       sluice [OPTIONS] route help\n"
		"\n" HELP_OPTIONS,
	.commands = {{"show", show}, {"list", show}, {"explain", route_explain}, {NULL, NULL}},
	.show_keys = show_keys,
};

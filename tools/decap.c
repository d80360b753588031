/*
 * `sluice decap`: on a backend: takes the outer header off what a balancer sends by IP in IP.
 * Works on pins of its own beside --bpffs and needs no daemon.
 */
#include <errno.h>
#include <limits.h>

#include "base/addr.h"
#include "kern/decap.h"
#include "tools/cli.h"
#include "tools/output.h"

#define ATTACH_GRAMMAR "decap attach dev DEV address ADDR... [source PREFIX...]"

static int cell_mode(const json_t *row, struct buf *out)
{
	const char *mode = document_string(row, "mode");

	return buf_append(out, mode ? str_from_cstr(mode)
				    : STR("not attached: there is no such device here now"));
}

static const struct output_column columns[] = {
	{"interface", "name", OUTPUT_TEXT, NULL},     {"xdp", NULL, OUTPUT_CELL, cell_mode},
	{"program", "program_id", OUTPUT_TEXT, NULL}, {"addresses", "addresses", OUTPUT_TEXT, NULL},
	{"sources", "sources", OUTPUT_TEXT, NULL},    {"opened", "opened", OUTPUT_COUNT, NULL},
	{"dropped", "dropped", OUTPUT_COUNT, NULL},   {NULL, NULL, 0, NULL},
};

static const struct output_column counter_columns[] = {
	{"INTERFACE", "interface", OUTPUT_TEXT, NULL},
	{"REASON", "name", OUTPUT_TEXT, NULL},
	{"VERDICT", "verdict", OUTPUT_TEXT, NULL},
	{"PACKETS", "packets", OUTPUT_COUNT, NULL},
	{"BYTES", "bytes", OUTPUT_BYTES, NULL},
	{"MEANING", "meaning", OUTPUT_TEXT, NULL},
	{NULL, NULL, 0, NULL},
};

static const struct output_section sections[] = {
	{.kind = OUTPUT_RECORDS,
	 .path = "interfaces",
	 .required = true,
	 .columns = columns,
	 .empty = "Nothing is taken out of IP in IP here."},
	{.kind = OUTPUT_TABLE, .path = "counters", .columns = counter_columns},
};
static const struct output_view view = {sections, ARRAY_SIZE(sections)};

/* Beside the daemon's directory: that one is the daemon's to remove. */
static int pin_dir(struct cli *cli, char *buf, size_t buf_len)
{
	size_t len = strlen(cli->bpffs_dir);

	while (len > 1 && cli->bpffs_dir[len - 1] == '/')
		len--;
	if ((size_t)snprintf(buf, buf_len, "%.*s-decap", (int)len, cli->bpffs_dir) >= buf_len)
		return p_usage(cli, "the directory of --bpffs is too long");
	return 0;
}

static json_t *make_addresses(const struct ip_addr *addresses, size_t count)
{
	json_t *list = json_array();
	char text[ADDR_TEXT_MAX];

	for (size_t i = 0; list && i < count; i++)
		(void)json_array_append_new(
			list, json_string(ip_addr_format(&addresses[i], text, sizeof(text))));
	return list;
}

static json_t *make_sources(const struct ip_prefix *sources, size_t count)
{
	json_t *list = json_array();
	char text[ADDR_TEXT_MAX];

	for (size_t i = 0; list && i < count; i++)
		(void)json_array_append_new(
			list, json_string(ip_prefix_format(&sources[i], text, sizeof(text))));
	return list;
}

struct rows {
	json_t *interfaces;
	json_t *counters;
};

static int add_state(const struct decap_state *state, void *arg)
{
	uint64_t opened = 0, dropped = 0;
	struct rows *rows = arg;
	json_t *row;

	for (unsigned int i = 0; i < SL_DECAP_REASONS; i++) {
		const struct decap_counter *counter = &state->counters[i];

		opened += strcmp(counter->verdict, "open") ? 0 : counter->packets;
		dropped += strcmp(counter->verdict, "drop") ? 0 : counter->packets;
		if (json_array_append_new(rows->counters,
					  json_pack("{s:s, s:s, s:s, s:s, s:I, s:I}", "interface",
						    state->interface, "name", counter->name,
						    "verdict", counter->verdict, "meaning",
						    counter->meaning, "packets",
						    (json_int_t)counter->packets, "bytes",
						    (json_int_t)counter->bytes)))
			return -ENOMEM;
	}
	row = json_pack("{s:o, s:b, s:s?, s:i, s:o, s:o, s:I, s:I}", "name",
			document_text(str_from_cstr(state->interface)), "attached",
			state->is_attached, "mode",
			!state->is_attached ? NULL
			: state->is_generic ? "generic"
					    : "native",
			"program_id", (int)state->program_id, "addresses",
			make_addresses(state->addresses, state->address_count), "sources",
			make_sources(state->sources, state->source_count), "opened",
			(json_int_t)opened, "dropped", (json_int_t)dropped);
	return json_array_append_new(rows->interfaces, row) ? -ENOMEM : 0;
}

static int show(struct cli *cli, struct args *args)
{
	_cleanup_json_ json_t *doc = json_pack("{s:[], s:[]}", "interfaces", "counters");
	struct error err = {0};
	struct rows rows;
	char dir[PATH_MAX];
	int error = args_expect_end(cli, args);

	if (!error)
		error = pin_dir(cli, dir, sizeof(dir));
	if (error)
		return error;
	if (!doc || json_object_set_new(doc, "bpffs", document_text(str_from_cstr(dir))))
		return p_out_of_memory(cli);
	rows.interfaces = json_object_get(doc, "interfaces");
	rows.counters = json_object_get(doc, "counters");
	error = decap_walk(dir, add_state, &rows, &err);
	if (error)
		return p_err(cli, error, "%s", err.text);
	return output_print(cli, doc, &view);
}

struct wanted {
	struct decap_config config;
	struct ip_addr addresses[SL_DECAP_ADDRESSES_MAX];
	struct ip_prefix sources[SL_DECAP_SOURCES_MAX];
};

static int read_dev(struct cli *cli, struct wanted *wanted, const char *value)
{
	char quoted[80];

	if (wanted->config.interface)
		return p_usage(cli, "'dev' is given twice");
	if (!value[0] || strlen(value) >= IFNAMSIZ || strchr(value, '/'))
		return p_usage(cli, "no interface can have the name %s",
			       str_quote(str_from_cstr(value), quoted, sizeof(quoted)));
	wanted->config.interface = value;
	return 0;
}

static int read_address(struct cli *cli, struct wanted *wanted, const char *value)
{
	unsigned int count = wanted->config.address_count;
	char quoted[80];

	if (count == SL_DECAP_ADDRESSES_MAX)
		return p_usage(cli, "there may be at most %d addresses", SL_DECAP_ADDRESSES_MAX);
	if (ip_addr_parse(str_from_cstr(value), &wanted->addresses[count]))
		return p_usage(cli, "%s is not an IP address",
			       str_quote(str_from_cstr(value), quoted, sizeof(quoted)));
	ip_addr_unmap(&wanted->addresses[count]);
	wanted->config.address_count++;
	return 0;
}

static int read_source(struct cli *cli, struct wanted *wanted, const char *value)
{
	unsigned int count = wanted->config.source_count;
	struct error err = {0};

	if (count == SL_DECAP_SOURCES_MAX)
		return p_usage(cli, "there may be at most %d sources", SL_DECAP_SOURCES_MAX);
	if (ip_prefix_parse(str_from_cstr(value), &wanted->sources[count], &err))
		return p_usage(cli, "%s", err.text);
	wanted->config.source_count++;
	return 0;
}

static const char *const attach_keys[] = {"dev", "address", "source", NULL};
static int (*const attach_readers[])(struct cli *cli, struct wanted *wanted,
				     const char *value) = {read_dev, read_address, read_source};

static int read_wanted(struct cli *cli, struct args *args, struct wanted *wanted)
{
	const char *word, *value;
	int key, error;

	wanted->config.addresses = wanted->addresses;
	wanted->config.sources = wanted->sources;
	while ((word = args_take(args))) {
		key = names_require(cli, "key", word, attach_keys);
		if (key < 0)
			return key;
		value = args_take(args);
		if (!value)
			return p_usage(cli, "'%s' needs a value: " ATTACH_GRAMMAR,
				       attach_keys[key]);
		error = attach_readers[key](cli, wanted, value);
		if (error)
			return error;
	}
	if (!wanted->config.interface || wanted->config.address_count == 0)
		return p_usage(cli, "%s is missing: " ATTACH_GRAMMAR,
			       wanted->config.interface ? "address" : "dev");
	return 0;
}

static int attach(struct cli *cli, struct args *args)
{
	_cleanup_free_ struct wanted *wanted = calloc(1, sizeof(*wanted));
	_cleanup_json_ json_t *doc = NULL;
	struct error err = {0};
	char dir[PATH_MAX];
	int error;

	if (!wanted)
		return p_out_of_memory(cli);
	error = read_wanted(cli, args, wanted);
	if (!error)
		error = pin_dir(cli, dir, sizeof(dir));
	if (error)
		return error;
	error = decap_attach(dir, &wanted->config, &err);
	if (error)
		return p_err(cli, error, "%s", err.text);
	if (!cli->json) {
		p_text(cli, "'%s' takes packets out of IP in IP.\n", wanted->config.interface);
		return 0;
	}
	doc = json_pack("{s:o, s:o, s:o, s:o}", "attached",
			document_text(str_from_cstr(wanted->config.interface)), "bpffs",
			document_text(str_from_cstr(dir)), "addresses",
			make_addresses(wanted->addresses, wanted->config.address_count), "sources",
			make_sources(wanted->sources, wanted->config.source_count));
	return !doc || output_document(cli, doc) ? p_out_of_memory(cli) : 0;
}

static int detach(struct cli *cli, struct args *args)
{
	_cleanup_json_ json_t *doc = NULL;
	const char *interface = NULL;
	struct error err = {0};
	char dir[PATH_MAX];
	int error = args_read_value(cli, args, "dev", "DEV", &interface);

	if (!error)
		error = args_expect_end(cli, args);
	if (!error)
		error = pin_dir(cli, dir, sizeof(dir));
	if (error)
		return error;
	error = decap_detach(dir, interface, &err);
	if (error)
		return p_err(cli, error, "%s", err.text);
	if (!cli->json) {
		p_text(cli, "'%s' gets packets as they come again.\n", interface);
		return 0;
	}
	doc = json_pack("{s:o}", "detached", document_text(str_from_cstr(interface)));
	return !doc || output_document(cli, doc) ? p_out_of_memory(cli) : 0;
}

const struct object object_decap = {
	.name = "decap",
	.help = "Usage: sluice [OPTIONS] decap [show]\n"
		"       sluice [OPTIONS] decap attach dev DEV address ADDR... [source PREFIX...]\n"
		"       sluice [OPTIONS] decap detach dev DEV\n"
		"       sluice [OPTIONS] decap help\n"
		"\n" HELP_OPTIONS,
	.commands = {{"show", show},
		     {"list", show},
		     {"attach", attach},
		     {"detach", detach},
		     {NULL, NULL}},
};

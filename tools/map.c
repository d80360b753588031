/* `sluice map`: Sluice's maps in the kernel, read from their pins. Nothing is written. */
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>

#include "kern/map_walk.h"
#include "tools/btf_json.h"
#include "tools/cli.h"
#include "tools/client.h"
#include "tools/output.h"
#include "tools/pin_rows.h"
#include "tools/pinned.h"

#define LIMIT_DEFAULT 256
#define LIMIT_MAX     16777216
#define MAPS_MAX      128
#define QUOTED_MAX    160
#define ENOTSUPP      524 /* the kernel's own, which is in no header of userspace */

static const struct output_column map_columns[] = {
	{"MAP", "name", OUTPUT_TEXT, NULL},
	{"ID", "id", OUTPUT_TEXT, NULL},
	{"TYPE", "type", OUTPUT_TEXT, NULL},
	{"KEY", "key_bytes", OUTPUT_BYTES, NULL},
	{"VALUE", "value_bytes", OUTPUT_BYTES, NULL},
	{"ENTRIES", "max_entries", OUTPUT_COUNT, NULL},
	{"MEMORY", "memory_bytes", OUTPUT_BYTES, NULL},
	{NULL, NULL, 0, NULL},
};
static const struct output_column path_columns[] = {
	{"PIN", "path", OUTPUT_TEXT, NULL},
	{NULL, NULL, 0, NULL},
};

/* ---- show ---- */

struct listing {
	struct cli *cli;
	json_t *maps;
};

static int list_map(const struct pin *pin, void *arg)
{
	struct listing *listing = arg;
	json_t *row;

	if (pin->kind != PIN_IS_MAP)
		return 0;
	row = pin_row_of_map(pin);
	if (row && pin_row_add_path(listing->cli, row, pin)) {
		json_decref(row);
		return -ENOMEM;
	}
	return json_array_append_new(listing->maps, row) ? -ENOMEM : 0;
}

/* The daemon's directory, else our own one. */
static int find_pins(struct cli *cli, bool *ret_lives)
{
	_cleanup_json_ json_t *status = NULL;
	int error = pinned_find(cli, &status, ret_lives);

	return error ? error : pinned_require(cli, *ret_lives);
}

static int walk_pins(struct cli *cli, int (*visit)(const struct pin *pin, void *arg), void *arg)
{
	struct error err = {0};
	int error = pin_info_walk(cli->bpffs_dir, visit, arg, &err);

	if (!error)
		return 0;
	return p_err(cli, error, "%s%s", err.text[0] ? err.text : strerrordesc_np(-error),
		     error == -EPERM || error == -EACCES ? "; run as root" : "");
}

static int show(struct cli *cli, struct args *args)
{
	const char *name = NULL;
	const struct arg_key keys[] = {{"name", "NAME", &name}, {NULL, NULL, NULL}};
	const struct output_section sections[] = {
		{.kind = OUTPUT_TABLE,
		 .path = "maps",
		 .columns = map_columns,
		 .empty = "No map is pinned."},
		{.kind = OUTPUT_TABLE, .path = "maps", .columns = path_columns},
	};
	const struct output_view view = {sections, cli->show_paths ? 2 : 1};
	_cleanup_json_ json_t *doc = json_object();
	struct listing listing = {cli, json_array()};
	bool lives = false;
	int error = args_read_keys(cli, args, keys);

	if (json_object_set_new(doc, "maps", listing.maps))
		return p_out_of_memory(cli);
	if (!error)
		error = find_pins(cli, &lives);
	if (!error)
		error = walk_pins(cli, list_map, &listing);
	if (!error && name)
		error = client_keep_named(cli, doc, "maps", "map", name);
	if (error)
		return error;
	if (json_object_set_new(doc, "daemon", json_boolean(lives)) ||
	    json_object_set_new(doc, "bpffs", document_text(str_from_cstr(cli->bpffs_dir))))
		return p_out_of_memory(cli);
	if (!lives)
		pinned_print_note(cli);
	return output_print(cli, doc, &view);
}

/* ---- one map ---- */

struct reader {
	int fd;
	char name[PIN_NAME_MAX];
	struct pin_map map;
	struct btf *btf;
	size_t stride;	     /* from one CPU's value to the next one's */
	unsigned int copies; /* values of an element: CPUs, else 1 */
	uint8_t *value;
};

static void reader_done(struct reader *reader)
{
	if (reader->fd >= 0)
		(void)close(reader->fd);
	btf__free(reader->btf);
	free(reader->value);
}

struct names {
	char texts[MAPS_MAX][PIN_NAME_MAX];
	const char *list[MAPS_MAX + 1];
	unsigned int count;
};

static int note_name(const struct pin *pin, void *arg)
{
	struct names *names = arg;

	if (pin->kind != PIN_IS_MAP || names->count == MAPS_MAX)
		return 0;
	(void)snprintf(names->texts[names->count], PIN_NAME_MAX, "%s", pin->name);
	names->list[names->count] = names->texts[names->count];
	names->count++;
	return 0;
}

static int take_map(const struct pin *pin, void *arg)
{
	struct reader *reader = arg;

	if (pin->kind != PIN_IS_MAP || strcmp(pin->name, reader->name))
		return 0;
	reader->map = pin->map;
	reader->fd = fcntl(pin->fd, F_DUPFD_CLOEXEC, 3);
	return reader->fd < 0 ? -errno : 0;
}

/* What the kernel does not let us have of it is shown as bytes. */
static struct btf *load_btf(uint32_t id)
{
	struct btf *btf = id ? btf__load_from_kernel_by_id(id) : NULL;

	return libbpf_get_error(btf) ? NULL : btf;
}

static int open_map(struct cli *cli, const char *word, struct reader *reader)
{
	_cleanup_free_ struct names *names = calloc(1, sizeof(*names));
	bool lives;
	int error, index;

	if (!names)
		return p_out_of_memory(cli);
	error = find_pins(cli, &lives);
	if (!error)
		error = walk_pins(cli, note_name, names);
	if (error)
		return error;
	index = names_find(word, names->list);
	if (index < 0 && index != -ENOTUNIQ && !names_suggest(word, names->list)) {
		char quoted[QUOTED_MAX];

		return p_err(cli, -ENOENT, "no map %s is pinned in %s; 'sluice map' lists them",
			     str_quote(str_from_cstr(word), quoted, sizeof(quoted)),
			     cli->bpffs_dir);
	}
	if (index < 0)
		return names_require(cli, "map", word, names->list);
	(void)snprintf(reader->name, sizeof(reader->name), "%s", names->texts[index]);
	error = walk_pins(cli, take_map, reader);
	if (error)
		return error;
	if (reader->fd < 0)
		return p_err(cli, -ENOENT, "map '%s' is gone; try again", reader->name);
	reader->copies = 1;
	reader->stride = reader->map.value_bytes;
	if (pin_map_type_is_per_cpu(reader->map.type)) {
		reader->copies = (unsigned int)MAX(libbpf_num_possible_cpus(), 1);
		reader->stride = (reader->map.value_bytes + 7UL) & ~7UL;
	}
	reader->value = calloc(reader->copies, reader->stride);
	reader->btf = load_btf(reader->map.btf_id);
	return reader->value ? 0 : p_out_of_memory(cli);
}

static json_t *value_json(const struct reader *reader)
{
	json_t *list;

	if (reader->copies == 1)
		return btf_json(reader->btf, reader->map.value_type_id, reader->value,
				reader->map.value_bytes);
	list = json_array();
	for (unsigned int cpu = 0; list && cpu < reader->copies; cpu++) {
		if (json_array_append_new(list, btf_json(reader->btf, reader->map.value_type_id,
							 reader->value + cpu * reader->stride,
							 reader->map.value_bytes))) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

static json_t *element_json(const struct reader *reader, const uint8_t *key)
{
	return json_pack("{s:o, s:o}", "key",
			 btf_json(reader->btf, reader->map.key_type_id, key, reader->map.key_bytes),
			 reader->copies == 1 ? "value" : "values", value_json(reader));
}

static bool is_zero(const struct reader *reader)
{
	for (size_t i = 0; i < reader->copies * reader->stride; i++)
		if (reader->value[i])
			return false;
	return true;
}

static int report_read(struct cli *cli, const struct reader *reader, int error)
{
	if (error == -ENOTSUPP || error == -EOPNOTSUPP)
		return p_err(cli, error, "map '%s' is of type %s, whose elements cannot be read",
			     reader->name, pin_map_type_name(reader->map.type));
	if (error == -EAGAIN)
		return p_err(cli, error,
			     "map '%s' changes faster than it can be read; try again or look up "
			     "single keys",
			     reader->name);
	return p_err(cli, error, "cannot read map '%s': %s%s", reader->name,
		     strerrordesc_np(-error), error == -EPERM ? "; run as root" : "");
}

struct dump {
	json_t *elements;
	uint64_t limit;
	uint64_t zero; /* left out: elements of an array that are all zero */
	uint64_t more; /* left out: those beyond the limit */
};

/* One element of a dump; what is gone meanwhile is left out. */
static int dump_element(struct reader *reader, const uint8_t *key, struct dump *dump)
{
	int error = bpf_map_lookup_elem(reader->fd, key, reader->value);

	if (error)
		return error == -ENOENT ? 0 : error;
	if (pin_map_type_is_array(reader->map.type) && is_zero(reader)) {
		dump->zero++;
		return 0;
	}
	if (json_array_size(dump->elements) >= dump->limit) {
		dump->more++;
		return 0;
	}
	return json_array_append_new(dump->elements, element_json(reader, key)) ? -ENOMEM : 0;
}

static int dump_elements(struct reader *reader, struct dump *dump)
{
	_cleanup_free_ void *keys = NULL;
	size_t count = 0;
	int error = 0;

	if (pin_map_type_is_array(reader->map.type)) {
		for (uint32_t key = 0; key < reader->map.max_entries && !error; key++)
			error = dump_element(reader, (const uint8_t *)&key, dump);
		return error;
	}
	error = map_collect_keys(reader->fd, reader->map.key_bytes, reader->map.max_entries, &keys,
				 &count);
	for (size_t i = 0; i < count && !error; i++) {
		if (json_array_size(dump->elements) >= dump->limit) {
			dump->more = count - i;
			break;
		}
		error = dump_element(reader, (uint8_t *)keys + i * reader->map.key_bytes, dump);
	}
	return error;
}

static int cell_json(const json_t *value, struct buf *out)
{
	_cleanup_free_ char *text = NULL;

	if (json_is_string(value))
		return output_escape(out, str_from_cstr(json_string_value(value)), false);
	text = value ? json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
	return text ? output_escape(out, str_from_cstr(text), false) : value ? -ENOMEM : 0;
}

static int cell_key(const json_t *row, struct buf *out)
{
	return cell_json(json_object_get(row, "key"), out);
}

static int cell_value(const json_t *row, struct buf *out)
{
	const json_t *value = json_object_get(row, "value");

	return cell_json(value ? value : json_object_get(row, "values"), out);
}

static const struct output_column element_columns[] = {
	{"KEY", NULL, OUTPUT_CELL, cell_key},
	{"VALUE", NULL, OUTPUT_CELL, cell_value},
	{NULL, NULL, 0, NULL},
};

static int print_dump(struct cli *cli, const struct reader *reader, const struct dump *dump)
{
	const struct output_section section = {
		.kind = OUTPUT_TABLE,
		.path = "elements",
		.columns = element_columns,
		.empty = "There is nothing in the map.",
	};
	const struct output_view view = {&section, 1};
	_cleanup_json_ json_t *doc = NULL;
	int error;

	doc = json_pack("{s:s, s:s, s:O, s:I, s:I}", "map", reader->name, "type",
			pin_map_type_name(reader->map.type), "elements", dump->elements,
			"zero_elements", (json_int_t)dump->zero, "not_shown",
			(json_int_t)dump->more);
	if (!doc)
		return p_out_of_memory(cli);
	error = output_print(cli, doc, &view);
	if (error || cli->json)
		return error;
	if (dump->zero)
		p_text(cli, "%llu elements that are all zero are left out.\n",
		       (unsigned long long)dump->zero);
	if (dump->more)
		p_text(cli, "%llu more are not shown; 'limit N' shows up to N.\n",
		       (unsigned long long)dump->more);
	return 0;
}

static int dump(struct cli *cli, struct args *args)
{
	const char *word = NULL, *limit = NULL;
	const struct arg_key keys[] = {{"limit", "N", &limit}, {NULL, NULL, NULL}};
	_cleanup_(reader_done)
	struct reader reader = {.fd = -1};
	_cleanup_json_ json_t *elements = json_array();
	struct dump it = {.elements = elements, .limit = LIMIT_DEFAULT};
	int error = args_read_value(cli, args, "name", "NAME", &word);

	if (!error)
		error = args_read_keys(cli, args, keys);
	if (!error)
		error = args_parse_number(cli, "limit", limit, 1, LIMIT_MAX, &it.limit);
	if (!error)
		error = open_map(cli, word, &reader);
	if (error)
		return error;
	if (!elements)
		return p_out_of_memory(cli);
	error = dump_elements(&reader, &it);
	return error ? report_read(cli, &reader, error) : print_dump(cli, &reader, &it);
}

/* ---- lookup ---- */

static int hex_digit(char digit)
{
	if (digit >= '0' && digit <= '9')
		return digit - '0';
	if (digit >= 'a' && digit <= 'f')
		return digit - 'a' + 10;
	return digit >= 'A' && digit <= 'F' ? digit - 'A' + 10 : -1;
}

static int parse_hex(struct cli *cli, const struct reader *reader, const char *text, uint8_t *key)
{
	char quoted[QUOTED_MAX];
	size_t len = strlen(text);

	for (size_t i = 0; len == 2UL * reader->map.key_bytes && i < len; i++) {
		int digit = hex_digit(text[i]);

		if (digit < 0)
			break;
		key[i / 2] = (uint8_t)(key[i / 2] << 4 | digit);
		if (i == len - 1)
			return 0;
	}
	return p_usage(cli, "hex %s: a key of map '%s' has %u bytes, so expected %u digits",
		       str_quote(str_from_cstr(text), quoted, sizeof(quoted)), reader->name,
		       reader->map.key_bytes, 2 * reader->map.key_bytes);
}

static int parse_number(struct cli *cli, const struct reader *reader, const char *text,
			uint8_t *key)
{
	unsigned int bits = 8 * MIN(reader->map.key_bytes, 8U);
	uint64_t number = 0;
	int error;

	if (!bits || bits > 64 || reader->map.key_bytes > 8)
		return p_usage(cli, "a key of map '%s' has %u bytes: give them with 'hex BYTES'",
			       reader->name, reader->map.key_bytes);
	error = args_parse_number(cli, "key", text, 0, bits == 64 ? UINT64_MAX : (1ULL << bits) - 1,
				  &number);
	if (!error)
		memcpy(key, &number, reader->map.key_bytes);
	return error;
}

static int print_element(struct cli *cli, const struct reader *reader, const uint8_t *key)
{
	_cleanup_json_ json_t *doc = element_json(reader, key);
	_cleanup_free_ char *text = NULL;

	if (!doc || json_object_set_new(doc, "map", json_string(reader->name)))
		return p_out_of_memory(cli);
	if (cli->json)
		return output_document(cli, doc) ? p_out_of_memory(cli) : 0;
	text = json_dumps(reader->copies == 1 ? json_object_get(doc, "value")
					      : json_object_get(doc, "values"),
			  JSON_INDENT(2) | JSON_ENCODE_ANY);
	if (!text || output_escape(&cli->out, str_from_cstr(text), true) ||
	    buf_append(&cli->out, STR("\n")))
		return p_out_of_memory(cli);
	return 0;
}

static int lookup(struct cli *cli, struct args *args)
{
	const char *word = NULL, *number = NULL, *hex = NULL;
	const struct arg_key keys[] = {
		{"key", "NUMBER", &number}, {"hex", "BYTES", &hex}, {NULL, NULL, NULL}};
	_cleanup_(reader_done)
	struct reader reader = {.fd = -1};
	_cleanup_free_ uint8_t *key = NULL;
	int error = args_read_value(cli, args, "name", "NAME", &word);

	if (!error)
		error = args_read_keys(cli, args, keys);
	if (!error && !number == !hex)
		error = p_usage(cli, "one of 'key NUMBER' and 'hex BYTES' says which element; see "
				     "'sluice map help'");
	if (!error)
		error = open_map(cli, word, &reader);
	if (error)
		return error;
	key = calloc(1, reader.map.key_bytes + 1UL);
	if (!key)
		return p_out_of_memory(cli);
	error = number ? parse_number(cli, &reader, number, key)
		       : parse_hex(cli, &reader, hex, key);
	if (error)
		return error;
	error = bpf_map_lookup_elem(reader.fd, key, reader.value);
	if (error == -ENOENT)
		return p_err(cli, error,
			     "map '%s' has no element of that key; 'sluice map dump "
			     "%s' shows what it has",
			     reader.name, reader.name);
	return error ? report_read(cli, &reader, error) : print_element(cli, &reader, key);
}

static const char *const show_keys[] = {"name", NULL};

const struct object object_map = {
	.name = "map",
	.help = "Usage: sluice [OPTIONS] map [show] [name NAME]\n"
		"       sluice [OPTIONS] map dump NAME [limit N]\n"
		"       sluice [OPTIONS] map lookup NAME [key NUMBER] [hex BYTES]\n"
		"       sluice [OPTIONS] map help\n"
		"\n"
		"       NAME := a map as 'sluice map' names it, or an unambiguous beginning\n"
		"       NUMBER := for keys of up to 8 bytes\n"
		"       BYTES := 2 hexadecimal digits for each byte of the key, as it is in "
		"memory\n"
		"       N := elements shown at most; 256 if not given\n" HELP_OPTIONS,
	.commands =
		{{"show", show}, {"list", show}, {"dump", dump}, {"lookup", lookup}, {NULL, NULL}},
	.show_keys = show_keys,
};

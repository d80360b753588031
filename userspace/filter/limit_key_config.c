#include <errno.h>

#include "base/util.h"
#include "conf/names.h"
#include "filter/limit_key.h"
#include "proto/http_head.h"

#define WHAT_MAX   160
#define VALUE_MAX  96
#define NAME_BYTES 128
#define PARTS_MAX  8
#define IPV4_BITS  32
#define IPV6_BITS  64 /* what one customer has */

struct source_file {
	uint64_t ipv4_bits, ipv6_bits;
};

static const struct field source_fields[] = {
	{.key = "ipv4",
	 .kind = FIELD_U64,
	 .offset = offsetof(struct source_file, ipv4_bits),
	 .min = 1,
	 .max = 32,
	 .default_text = "32"},
	{.key = "ipv6",
	 .kind = FIELD_U64,
	 .offset = offsetof(struct source_file, ipv6_bits),
	 .min = 1,
	 .max = 128,
	 .default_text = "64"},
};

struct part_name {
	const char *key;
	enum limit_part_kind kind;
	bool is_word;	/* `consumer` */
	bool has_value; /* `{ header: x-user }` */
};

static const struct part_name part_names[] = {
	{"source", LIMIT_BY_SOURCE, true, true}, {"consumer", LIMIT_BY_CONSUMER, true, false},
	{"route", LIMIT_BY_ROUTE, true, false},	 {"header", LIMIT_BY_HEADER, false, true},
	{"claim", LIMIT_BY_CLAIM, false, true},
};

static const struct part_name *find_name(const struct conf_node *node)
{
	struct str key = node->type == CONF_SCALAR ? node->value
			 : node->count == 1	   ? node->children->key
						   : STR_NULL;

	for (size_t i = 0; i < ARRAY_SIZE(part_names); i++)
		if (str_eq_cstr(key, part_names[i].key) &&
		    (node->type == CONF_SCALAR ? part_names[i].is_word : part_names[i].has_value))
			return &part_names[i];
	return NULL;
}

static int source_read(const struct field_context *context, const struct conf_node *node,
		       const char *what, struct limit_part *part)
{
	struct source_file file;
	char source_what[WHAT_MAX];

	(void)snprintf(source_what, sizeof(source_what), "%s: source", what);
	if (field_read(context, source_fields, ARRAY_SIZE(source_fields), node, source_what, &file))
		return -EINVAL;
	part->ipv4_bits = (uint8_t)file.ipv4_bits;
	part->ipv6_bits = (uint8_t)file.ipv6_bits;
	return 0;
}

static int name_read(const struct field_context *context, const struct conf_node *node,
		     const char *what, struct limit_part *part)
{
	bool is_header = part->kind == LIMIT_BY_HEADER;
	char value[VALUE_MAX];

	if (node->type != CONF_SCALAR || !node->value.len || node->value.len > NAME_BYTES ||
	    (is_header && !http_name_is_valid(node->value))) {
		conf_error(context->errors, node, "%s: %s: expected a name, got %s", what,
			   is_header ? "header" : "claim",
			   conf_describe(node, value, sizeof(value)));
		return -EINVAL;
	}
	part->name = arena_copy(context->arena, node->value);
	return part->name.ptr ? 0 : field_no_memory(context, node);
}

static int part_read(const struct field_context *context, const struct conf_node *node,
		     const char *what, struct limit_part *part)
{
	const struct part_name *name = NULL;
	char value[VALUE_MAX];

	if (node->type != CONF_SEQUENCE)
		name = find_name(node);
	if (!name) {
		conf_error(context->errors, node,
			   "%s: expected source, consumer, route, { header: NAME }, "
			   "{ claim: NAME } or { source: { ipv4: BITS, ipv6: BITS } }, got %s",
			   what, conf_describe(node, value, sizeof(value)));
		return -EINVAL;
	}
	*part = (struct limit_part){name->kind, STR_NULL, IPV4_BITS, IPV6_BITS};
	if (node->type == CONF_SCALAR)
		return 0;
	if (name->kind == LIMIT_BY_SOURCE)
		return source_read(context, node->children, what, part);
	return name_read(context, node->children, what, part);
}

int limit_key_read(const struct field_context *context, const struct conf_node *node,
		   const char *what, struct limit_key *key)
{
	bool is_list = node->type == CONF_SEQUENCE;
	const struct conf_node *item = is_list ? node->children : node;
	unsigned int count = is_list ? node->count : 1;
	int result = 0;

	if (!count || count > PARTS_MAX) {
		conf_error(context->errors, node, "%s: needs 1 to %d parts", what, PARTS_MAX);
		return -EINVAL;
	}
	key->parts = arena_new_array(context->arena, struct limit_part, count);
	if (!key->parts)
		return field_no_memory(context, node);
	for (; key->count < count; item = item->next)
		if (part_read(context, item, what, &key->parts[key->count++]))
			result = -EINVAL;
	return result;
}

int limit_key_default(struct arena *arena, struct limit_key *key)
{
	key->parts = arena_new(arena, struct limit_part);
	if (!key->parts)
		return -ENOMEM;
	key->parts[0] = (struct limit_part){LIMIT_BY_SOURCE, STR_NULL, IPV4_BITS, IPV6_BITS};
	key->count = 1;
	return 0;
}

static void source_write(struct conf_writer *writer, const struct limit_part *part)
{
	struct source_file file = {part->ipv4_bits, part->ipv6_bits};

	conf_write_open_mapping(writer, "source");
	field_write(writer, source_fields, ARRAY_SIZE(source_fields), &file);
	conf_write_close(writer);
}

void limit_key_write(struct conf_writer *writer, const char *name, const struct limit_key *key)
{
	conf_write_open_list(writer, name);
	for (unsigned int i = 0; i < key->count; i++) {
		const struct limit_part *part = &key->parts[i];
		const struct part_name *of_kind = part_names;

		while (of_kind->kind != part->kind)
			of_kind++;
		if (!of_kind->has_value) {
			conf_write_plain(writer, NULL, of_kind->key);
			continue;
		}
		conf_write_open_item(writer);
		if (part->kind == LIMIT_BY_SOURCE)
			source_write(writer, part);
		else
			conf_write_str(writer, of_kind->key, part->name);
		conf_write_close(writer);
	}
	conf_write_close(writer);
}

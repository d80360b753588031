#include "config/access_config.h"

#include <errno.h>
#include <stdlib.h>

#include "abi/access.h"
#include "base/cleanup.h"
#include "conf/names.h"
#include "conf/value_file.h"

#define WHAT_MAX       160
#define VALUE_MAX      96
#define FILE_BYTES_MAX ((size_t)256 << 20)
#define ENTRIES_FIRST  64
#define TTL_MAX_MS     ((uint64_t)3650 * 86400000)
#define REASON_LEN_MAX (ACCESS_REASON_MAX - 1)

/* Entries while they are collected, with an index that finds a prefix again. */
struct collection {
	const struct field_context *context;
	enum access_list_kind kind;
	uint64_t now_wall_ms;
	struct access_entry *entries;
	size_t count, room;
	uint32_t *slots; /* entry number from 1; 0: empty; at most half full */
	size_t slot_mask;
	size_t count_by_family[2];
};

static const char *list_name(enum access_list_kind kind)
{
	return kind == ACCESS_ALLOW ? "allow" : "deny";
}

static bool same_prefix(const struct ip_prefix *left, const struct ip_prefix *right)
{
	return left->bits == right->bits && left->addr.family == right->addr.family &&
	       !memcmp(left->addr.bytes, right->addr.bytes, sizeof(left->addr.bytes));
}

static uint32_t hash_prefix(const struct ip_prefix *prefix)
{
	uint32_t hash = 2166136261u ^ prefix->bits ^ (uint32_t)prefix->addr.family << 8;

	for (size_t i = 0; i < sizeof(prefix->addr.bytes); i++)
		hash = (hash ^ prefix->addr.bytes[i]) * 16777619u;
	return hash ^ hash >> 15;
}

static uint32_t *find_slot(const struct collection *all, const struct ip_prefix *prefix)
{
	for (uint32_t hash = hash_prefix(prefix);; hash++) {
		uint32_t *slot = &all->slots[hash & all->slot_mask];

		if (!*slot || same_prefix(&all->entries[*slot - 1].prefix, prefix))
			return slot;
	}
}

static int grow(struct collection *all)
{
	size_t room = all->room ? all->room * 2 : ENTRIES_FIRST;
	_cleanup_free_ uint32_t *slots = calloc(room * 2, sizeof(*slots));
	struct access_entry *entries;

	if (!slots)
		return -ENOMEM;
	entries = realloc(all->entries, room * sizeof(*entries));
	if (!entries)
		return -ENOMEM;
	all->entries = entries;
	all->room = room;
	free(all->slots);
	all->slots = TAKE_PTR(slots);
	all->slot_mask = room * 2 - 1;
	for (size_t i = 0; i < all->count; i++)
		*find_slot(all, &entries[i].prefix) = (uint32_t)i + 1;
	return 0;
}

static void collection_done(struct collection *all)
{
	free(all->entries);
	free(all->slots);
}

/* 0, -EEXIST when the prefix is there already, -ENOMEM. */
static int add_entry(struct collection *all, const struct ip_prefix *prefix,
		     const struct access_source *source)
{
	struct access_entry *entry;
	uint32_t *slot;

	if (all->count == all->room && grow(all))
		return -ENOMEM;
	slot = find_slot(all, prefix);
	if (*slot)
		return -EEXIST;
	entry = &all->entries[all->count];
	*entry = (struct access_entry){
		.prefix = *prefix,
		.origin = ACCESS_FROM_CONFIG,
		.expires_wall_ms = source->ttl_ms ? all->now_wall_ms + source->ttl_ms : 0,
	};
	if (source->reason.ptr)
		(void)str_to_cstr(source->reason, entry->reason, sizeof(entry->reason));
	*slot = (uint32_t)++all->count;
	all->count_by_family[prefix->addr.family == AF_INET6]++;
	return 0;
}

/* ---- files ---- */

/* Without the comment, the carriage return of other systems and outer blanks. */
static struct str line_content(struct str line)
{
	ptrdiff_t comment = str_find_byte(line, '#');

	if (comment >= 0)
		line = str_sub(line, 0, (size_t)comment);
	if (str_ends_with(line, STR("\r")))
		line.len--;
	return str_trim(line);
}

static int add_lines(struct collection *all, const char *shown, struct str text,
		     const struct access_source *source)
{
	int r, result = 0;

	for (uint32_t number = 1; text.len; number++) {
		ptrdiff_t end = str_find_byte(text, '\n');
		struct str line = end < 0 ? text : str_sub(text, 0, (size_t)end);
		struct str content = line_content(line);
		struct ip_prefix prefix;
		struct error err = {0};

		text = end < 0 ? STR_NULL : str_sub(text, (size_t)end + 1, text.len);
		if (str_is_empty(content))
			continue;
		if (ip_prefix_parse(content, &prefix, &err)) {
			conf_error_in_file(all->context->errors, shown, number,
					   (uint32_t)(content.ptr - line.ptr) + 1, "%s", err.text);
			result = -EINVAL;
			continue;
		}
		/* Feeds repeat themselves; that changes nothing. */
		r = add_entry(all, &prefix, source);
		if (r && r != -EEXIST)
			return r;
	}
	return result;
}

static int add_file(struct collection *all, const struct conf_node *node,
		    struct access_source *source)
{
	const struct field_context *context = all->context;
	_cleanup_(value_file_done)
	struct value_file file = {.content = {.data = NULL}};
	int r = value_file_read(context, node, context->what, source->file, FILE_BYTES_MAX, &file);

	if (r)
		return r;
	source->file = file.absolute;
	r = add_lines(all, file.path, buf_str(&file.content), source);
	return r == -ENOMEM ? field_no_memory(context, node) : r;
}

/* ---- elements ---- */

static int cidr_read(const struct field_context *context, const struct conf_node *node,
		     void *target)
{
	struct access_source *source = target;
	struct error err = {0};
	char value[VALUE_MAX];

	if (node->type != CONF_SCALAR || conf_is_null(node)) {
		conf_error(context->errors, node, "%s: expected an address or a prefix, got %s",
			   context->what, conf_describe(node, value, sizeof(value)));
		return -EINVAL;
	}
	if (ip_prefix_parse(node->value, &source->prefix, &err)) {
		conf_error(context->errors, node, "%s: %s", context->what, err.text);
		return -EINVAL;
	}
	return 0;
}

static void cidr_print(struct conf_writer *writer, const char *key, const void *target)
{
	const struct access_source *source = target;
	char text[ADDR_TEXT_MAX];

	if (!source->file.ptr)
		conf_write_str(
			writer, key,
			str_from_cstr(ip_prefix_format(&source->prefix, text, sizeof(text))));
}

static int ttl_read(const struct field_context *context, const struct conf_node *node, void *target)
{
	static const struct field ttl = {
		.key = "ttl",
		.kind = FIELD_DURATION_MS,
		.offset = offsetof(struct access_source, ttl_ms),
		.min = 1000,
		.max = TTL_MAX_MS,
	};

	return field_read_value(context, &ttl, node, context->what, target);
}

static void ttl_print(struct conf_writer *writer, const char *key, const void *target)
{
	uint64_t ttl_ms = ((const struct access_source *)target)->ttl_ms;
	char text[32];

	if (ttl_ms)
		conf_write_plain(writer, key, units_format_duration(ttl_ms, text, sizeof(text)));
}

/* `allow` takes the first two, `deny` all. */
static const struct field source_fields[] = {
	{.key = "cidr", .kind = FIELD_CUSTOM, .read = cidr_read, .print = cidr_print},
	{.key = "reason",
	 .kind = FIELD_STRING,
	 .offset = offsetof(struct access_source, reason),
	 .min = 1,
	 .max = REASON_LEN_MAX},
	{.key = "file",
	 .kind = FIELD_STRING,
	 .offset = offsetof(struct access_source, file),
	 .min = 1},
	{.key = "ttl", .kind = FIELD_CUSTOM, .read = ttl_read, .print = ttl_print},
};
#define ALLOW_FIELDS 2

static int refuse_second(const struct collection *all, const struct conf_node *node,
			 const struct access_conf *written, const struct access_source *source)
{
	char text[ADDR_TEXT_MAX];

	(void)ip_prefix_format(&source->prefix, text, sizeof(text));
	for (unsigned int i = 0; i < written->source_count; i++) {
		const struct access_source *first = &written->sources[i];

		if (first->file.ptr || !same_prefix(&first->prefix, &source->prefix))
			continue;
		conf_error(all->context->errors, node,
			   "%s: '%s' is given twice; the first is at line %u, column %u",
			   all->context->what, text, first->line, first->column);
		return -EINVAL;
	}
	return 0; /* a file had it first */
}

static int read_source(struct collection *all, const struct conf_node *node,
		       const struct access_conf *written, struct access_source *source)
{
	const struct field_context *context = all->context;
	unsigned int field_count =
		all->kind == ACCESS_ALLOW ? ALLOW_FIELDS : ARRAY_SIZE(source_fields);
	bool is_short = node->type == CONF_SCALAR;
	int r;

	if (node->refused)
		return -EINVAL;
	source->line = node->line;
	source->column = node->column;
	if (is_short)
		r = cidr_read(context, node, source);
	else
		r = field_read(context, source_fields, field_count, node, context->what, source);
	if (!is_short && node->type == CONF_MAPPING &&
	    !conf_get(node, "cidr") == !(field_count > ALLOW_FIELDS && conf_get(node, "file"))) {
		conf_error(context->errors, node, "%s: needs %s", context->what,
			   all->kind == ACCESS_ALLOW ? "a 'cidr'"
						     : "exactly one of 'cidr' and 'file'");
		r = -EINVAL;
	}
	if (r)
		return r;
	if (source->file.ptr)
		return add_file(all, node, source);
	r = add_entry(all, &source->prefix, source);
	if (r == -EEXIST)
		return refuse_second(all, node, written, source);
	return r == -ENOMEM ? field_no_memory(context, node) : r;
}

static int check_counts(const struct collection *all, const struct conf_node *node)
{
	size_t most = all->kind == ACCESS_ALLOW ? SL_ALLOW_MAX : SL_DENY_MAX;

	for (int i = 0; i < 2; i++) {
		if (all->count_by_family[i] <= most)
			continue;
		conf_error(all->context->errors, node,
			   "%s: %zu IPv%d entries, at most %zu are possible", all->context->what,
			   all->count_by_family[i], i ? 6 : 4, most);
		return -EINVAL;
	}
	return 0;
}

int access_config_read(const struct field_context *context, const struct conf_node *node,
		       enum access_list_kind kind, uint64_t now_wall_ms,
		       struct access_conf *ret_written, struct access_entry **ret_entries,
		       size_t *ret_count)
{
	struct field_context inner = *context;
	_cleanup_(collection_done)
	struct collection all = {
		.context = &inner,
		.kind = kind,
		.now_wall_ms = now_wall_ms,
	};
	struct access_conf written = {.source_count = 0};
	struct access_entry *entries;
	char what[WHAT_MAX];
	int result = 0;

	(void)snprintf(what, sizeof(what), "%s: %s", context->what, list_name(kind));
	inner.what = what;
	if (list_check(context, node, what))
		return -EINVAL;
	written.sources = arena_new_array(context->arena, struct access_source, node->count);
	if (!written.sources)
		return field_no_memory(context, node);
	conf_for_each (item, node) {
		struct access_source *source = &written.sources[written.source_count];

		if (read_source(&all, item, &written, source)) {
			*source = (struct access_source){.line = 0};
			result = -EINVAL;
		} else {
			written.source_count++;
		}
	}
	if (check_counts(&all, node) || result)
		return -EINVAL;
	entries = arena_new_array(context->arena, struct access_entry, all.count);
	if (!entries)
		return field_no_memory(context, node);
	if (all.count)
		memcpy(entries, all.entries, all.count * sizeof(*entries));
	*ret_written = written;
	*ret_entries = entries;
	*ret_count = all.count;
	return 0;
}

void access_config_write(struct conf_writer *writer, const struct access_conf *written)
{
	for (unsigned int i = 0; i < written->source_count; i++) {
		conf_write_open_item(writer);
		field_write(writer, source_fields, ARRAY_SIZE(source_fields), &written->sources[i]);
		conf_write_close(writer);
	}
}

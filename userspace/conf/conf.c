#include "conf/conf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <yaml.h>

#include "base/cleanup.h"

#define CONF_FILE_BYTES_MAX  (64u << 20)
#define CONF_DEPTH_MAX	     64
#define CONF_NODES_MAX	     1000000u
#define CONF_ARENA_BYTES_MAX ((size_t)512 << 20)
#define CONF_QUOTED_MAX	     96
/* YAML's simple keys end at 1,024 bytes (section 7.4.2); written back, a byte may take six. */
#define CONF_KEY_BYTES_MAX 128

/* An open sequence or mapping. */
struct level {
	struct conf_node *node;
	struct conf_node **tail; /* where the next child is linked */
	bool has_key;		 /* a key was read, its value comes next */
	bool key_refused;	 /* the key was no text: its value is dropped */
	struct str key;
	uint32_t key_line, key_column;
};

struct builder {
	struct conf_errors *errors;
	struct conf_doc *doc;
	struct str text;
	struct level levels[CONF_DEPTH_MAX];
	unsigned int depth;
	unsigned int node_count;
	unsigned int document_count;
};

static uint32_t mark_line(yaml_mark_t mark)
{
	return (uint32_t)mark.line + 1;
}

static uint32_t mark_column(yaml_mark_t mark)
{
	return (uint32_t)mark.column + 1;
}

static int out_of_memory(struct conf_errors *errors)
{
	conf_error(errors, NULL, "out of memory while reading the configuration");
	return -ENOMEM;
}

static void event_cleanup(yaml_event_t *event)
{
	yaml_event_delete(event);
}

static struct str event_text(const yaml_event_t *event)
{
	return str_make((const char *)event->data.scalar.value, event->data.scalar.length);
}

/*
 * Links a node into the open level. NULL with *ret_error 0: dropped, since its key was refused.
 * The caller fills in type and value.
 */
static struct conf_node *add_node(struct builder *builder, const yaml_event_t *event,
				  int *ret_error)
{
	struct level *level = builder->depth ? &builder->levels[builder->depth - 1] : NULL;
	struct conf_node *node;

	*ret_error = 0;
	if (++builder->node_count > CONF_NODES_MAX) {
		conf_error_at(builder->errors, mark_line(event->start_mark),
			      mark_column(event->start_mark), "more than %u values in one file",
			      CONF_NODES_MAX);
		*ret_error = -EINVAL;
		return NULL;
	}
	node = arena_new(&builder->doc->arena, struct conf_node);
	if (!node) {
		*ret_error = out_of_memory(builder->errors);
		return NULL;
	}
	node->line = mark_line(event->start_mark);
	node->column = mark_column(event->start_mark);
	if (!level) {
		builder->doc->root = node;
		return node;
	}
	if (level->node->type == CONF_MAPPING) {
		node->key = level->key;
		node->key_line = level->key_line;
		node->key_column = level->key_column;
		level->has_key = false;
		if (level->key_refused) {
			level->key_refused = false;
			return node;
		}
	}
	*level->tail = node;
	level->tail = &node->next;
	level->node->count++;
	return node;
}

/* Anchors and tags are refused on any node; the rest of the node is read all the same. */
static void refuse_properties(struct builder *builder, const yaml_event_t *event,
			      const yaml_char_t *anchor, const yaml_char_t *tag)
{
	char quoted[CONF_QUOTED_MAX];

	if (anchor)
		conf_error_at(
			builder->errors, mark_line(event->start_mark),
			mark_column(event->start_mark), "anchor %s: anchors are not supported",
			str_quote(str_from_cstr((const char *)anchor), quoted, sizeof(quoted)));
	if (tag)
		conf_error_at(builder->errors, mark_line(event->start_mark),
			      mark_column(event->start_mark), "tag %s: tags are not supported",
			      str_quote(str_from_cstr((const char *)tag), quoted, sizeof(quoted)));
}

static bool expects_key(const struct builder *builder)
{
	const struct level *level;

	if (!builder->depth)
		return false;
	level = &builder->levels[builder->depth - 1];
	return level->node->type == CONF_MAPPING && !level->has_key;
}

static int read_key(struct builder *builder, const yaml_event_t *event)
{
	struct level *level = &builder->levels[builder->depth - 1];
	struct str text = event_text(event);

	level->has_key = true;
	level->key_line = mark_line(event->start_mark);
	level->key_column = mark_column(event->start_mark);
	if (str_find_byte(text, '\0') >= 0 || text.len > CONF_KEY_BYTES_MAX) {
		if (text.len > CONF_KEY_BYTES_MAX)
			conf_error_at(builder->errors, level->key_line, level->key_column,
				      "a key cannot be longer than %d bytes", CONF_KEY_BYTES_MAX);
		else
			conf_error_at(builder->errors, level->key_line, level->key_column,
				      "a key cannot hold a NUL byte");
		level->key_refused = true;
		return 0;
	}
	level->key = arena_copy(&builder->doc->arena, text);
	return level->key.ptr ? 0 : out_of_memory(builder->errors);
}

static int read_scalar(struct builder *builder, const yaml_event_t *event)
{
	struct str text = event_text(event);
	struct conf_node *node;
	int r;

	refuse_properties(builder, event, event->data.scalar.anchor, event->data.scalar.tag);
	if (expects_key(builder))
		return read_key(builder, event);
	node = add_node(builder, event, &r);
	if (!node)
		return r;
	node->type = CONF_SCALAR;
	node->quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
	if (str_find_byte(text, '\0') >= 0) {
		conf_error(builder->errors, node, "a value cannot hold a NUL byte");
		node->refused = true;
		text = STR("");
	}
	node->value = arena_copy(&builder->doc->arena, text);
	return node->value.ptr ? 0 : out_of_memory(builder->errors);
}

static int read_alias(struct builder *builder, const yaml_event_t *event)
{
	char quoted[CONF_QUOTED_MAX];
	struct conf_node *node;
	int r;

	conf_error_at(builder->errors, mark_line(event->start_mark), mark_column(event->start_mark),
		      "alias %s: aliases are not supported",
		      str_quote(str_from_cstr((const char *)event->data.alias.anchor), quoted,
				sizeof(quoted)));
	if (expects_key(builder)) {
		struct level *level = &builder->levels[builder->depth - 1];

		level->has_key = level->key_refused = true;
		return 0;
	}
	node = add_node(builder, event, &r);
	if (!node)
		return r;
	node->type = CONF_SCALAR;
	node->refused = true;
	node->value = STR("");
	return 0;
}

static int open_level(struct builder *builder, const yaml_event_t *event, enum conf_type type)
{
	struct conf_node *node;
	int r;

	if (expects_key(builder)) {
		/* What follows is the key's content: nothing after it can be told apart well. */
		conf_error_at(builder->errors, mark_line(event->start_mark),
			      mark_column(event->start_mark), "a key must be text, not %s",
			      type == CONF_MAPPING ? "a mapping" : "a list");
		return -EINVAL;
	}
	if (builder->depth == CONF_DEPTH_MAX) {
		conf_error_at(builder->errors, mark_line(event->start_mark),
			      mark_column(event->start_mark), "nested deeper than %u levels",
			      CONF_DEPTH_MAX);
		return -EINVAL;
	}
	node = add_node(builder, event, &r);
	if (!node)
		return r;
	node->type = type;
	builder->levels[builder->depth++] = (struct level){
		.node = node,
		.tail = &node->children,
	};
	return 0;
}

static int compare_keys(const void *left_ptr, const void *right_ptr)
{
	const struct conf_node *left = *(const struct conf_node *const *)left_ptr;
	const struct conf_node *right = *(const struct conf_node *const *)right_ptr;
	size_t common = MIN(left->key.len, right->key.len);
	int r = memcmp(left->key.ptr, right->key.ptr, common);

	if (r)
		return r;
	if (left->key.len != right->key.len)
		return left->key.len < right->key.len ? -1 : 1;
	if (left->key_line != right->key_line)
		return left->key_line < right->key_line ? -1 : 1;
	return left->key_column < right->key_column ? -1 : 1;
}

/* The first of several members of one name stays, the others are reported and taken out. */
static int drop_duplicates(struct builder *builder, struct conf_node *mapping)
{
	_cleanup_free_ struct conf_node **members = NULL;
	struct conf_node *first = NULL, **place;
	char quoted[CONF_QUOTED_MAX];
	unsigned int count = 0;

	if (mapping->count < 2)
		return 0;
	members = calloc(mapping->count, sizeof(struct conf_node *));
	if (!members)
		return out_of_memory(builder->errors);
	for (struct conf_node *node = mapping->children; node; node = node->next)
		members[count++] = node;
	qsort(members, count, sizeof(struct conf_node *), compare_keys);
	for (unsigned int i = 0; i < count; i++) {
		if (!first || !str_eq(first->key, members[i]->key)) {
			first = members[i];
			continue;
		}
		conf_error_key(builder->errors, members[i],
			       "key %s is given twice; the first is at line %u, column %u",
			       str_quote(first->key, quoted, sizeof(quoted)), first->key_line,
			       first->key_column);
		/* Marks it for the pass below, which keeps the order of the file. */
		members[i]->key = STR_NULL;
	}
	place = &mapping->children;
	while (*place) {
		if ((*place)->key.ptr) {
			place = &(*place)->next;
		} else {
			*place = (*place)->next;
			mapping->count--;
		}
	}
	return 0;
}

static int close_level(struct builder *builder)
{
	struct conf_node *node = builder->levels[--builder->depth].node;

	return node->type == CONF_MAPPING ? drop_duplicates(builder, node) : 0;
}

static int read_event(struct builder *builder, const yaml_event_t *event)
{
	switch (event->type) {
	case YAML_DOCUMENT_START_EVENT:
		if (++builder->document_count > 1) {
			conf_error_at(builder->errors, mark_line(event->start_mark),
				      mark_column(event->start_mark),
				      "a second document: only one is allowed in a file");
			return -EINVAL;
		}
		return 0;
	case YAML_SCALAR_EVENT:
		return read_scalar(builder, event);
	case YAML_ALIAS_EVENT:
		return read_alias(builder, event);
	case YAML_SEQUENCE_START_EVENT:
		refuse_properties(builder, event, event->data.sequence_start.anchor,
				  event->data.sequence_start.tag);
		return open_level(builder, event, CONF_SEQUENCE);
	case YAML_MAPPING_START_EVENT:
		refuse_properties(builder, event, event->data.mapping_start.anchor,
				  event->data.mapping_start.tag);
		return open_level(builder, event, CONF_MAPPING);
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT:
		return close_level(builder);
	default:
		return 0;
	}
}

/* Line and column, from 1, of a byte: libyaml gives only the offset for bytes it cannot decode. */
static void find_place(struct str text, size_t offset, uint32_t *ret_line, uint32_t *ret_column)
{
	uint32_t line = 1, column = 1;

	for (size_t i = 0; i < offset && i < text.len; i++) {
		if (text.ptr[i] == '\n') {
			line++;
			column = 1;
		} else if (((unsigned char)text.ptr[i] & 0xc0) != 0x80) {
			column++;
		}
	}
	*ret_line = line;
	*ret_column = column;
}

/* The byte at a line and column, or NUL. */
static char byte_at(struct str text, uint32_t line, uint32_t column)
{
	size_t at = 0;

	while (--line) {
		ptrdiff_t end = str_find_byte(str_sub(text, at, text.len), '\n');

		if (end < 0)
			return '\0';
		at += (size_t)end + 1;
	}
	while (at < text.len && --column) {
		at++;
		while (at < text.len && ((unsigned char)text.ptr[at] & 0xc0) == 0x80)
			at++;
	}
	return at < text.len ? text.ptr[at] : '\0';
}

static int report_parser(struct builder *builder, const yaml_parser_t *parser)
{
	const char *problem = parser->problem ? parser->problem : "cannot be read";
	uint32_t line, column;

	if (parser->error == YAML_MEMORY_ERROR)
		return out_of_memory(builder->errors);
	if (parser->error == YAML_READER_ERROR) {
		find_place(builder->text, parser->problem_offset, &line, &column);
		if (parser->problem_value == -1)
			conf_error_at(builder->errors, line, column, "not valid UTF-8: %s",
				      problem);
		else
			conf_error_at(builder->errors, line, column,
				      "not valid UTF-8 text: %s (0x%02x)", problem,
				      (unsigned int)parser->problem_value);
		return -EINVAL;
	}
	line = mark_line(parser->problem_mark);
	column = mark_column(parser->problem_mark);
	if (byte_at(builder->text, line, column) == '\t')
		conf_error_at(builder->errors, line, column,
			      "a tab where YAML allows only spaces: indent with spaces");
	else if (parser->context)
		conf_error_at(builder->errors, line, column,
			      "not valid YAML: %s %s that begins at line %u, column %u", problem,
			      parser->context, mark_line(parser->context_mark),
			      mark_column(parser->context_mark));
	else
		conf_error_at(builder->errors, line, column, "not valid YAML: %s", problem);
	return -EINVAL;
}

static int parse_events(struct builder *builder, yaml_parser_t *parser)
{
	for (;;) {
		_cleanup_(event_cleanup)
		yaml_event_t event = {.type = YAML_NO_EVENT};
		int r;

		if (!yaml_parser_parse(parser, &event))
			return report_parser(builder, parser);
		if (event.type == YAML_STREAM_END_EVENT)
			return 0;
		r = read_event(builder, &event);
		if (r)
			return r;
	}
}

DEFINE_FREEP(struct conf_doc, conf_doc_free)

int conf_load_string(struct str text, struct conf_errors *errors, struct conf_doc **ret_doc)
{
	_cleanup_(yaml_parser_delete)
	yaml_parser_t parser = {.error = YAML_NO_ERROR};
	_cleanup_(conf_doc_freep)
	struct conf_doc *doc = NULL;
	struct builder builder = {.errors = errors, .text = text};
	int r;

	if (text.len > CONF_FILE_BYTES_MAX) {
		conf_error(errors, NULL, "the file is bigger than %u MiB",
			   CONF_FILE_BYTES_MAX >> 20);
		return -EINVAL;
	}
	doc = calloc(1, sizeof(*doc));
	if (!doc)
		return out_of_memory(errors);
	arena_init(&doc->arena, 16384, CONF_ARENA_BYTES_MAX);
	builder.doc = doc;
	if (!yaml_parser_initialize(&parser))
		return out_of_memory(errors);
	/* Else a byte order mark could make it UTF-16. */
	yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&parser, (const unsigned char *)text.ptr, text.len);
	r = parse_events(&builder, &parser);
	if (r)
		return r;
	if (!doc->root) {
		doc->root = arena_new(&doc->arena, struct conf_node);
		if (!doc->root)
			return out_of_memory(errors);
		doc->root->type = CONF_MAPPING;
		doc->root->line = doc->root->column = 1;
	}
	*ret_doc = TAKE_PTR(doc);
	return 0;
}

/* All of a file (or pipe) that is not bigger than allowed. */
static int read_all(int fd, struct buf *content)
{
	for (;;) {
		char *room;
		ssize_t got;
		int r;

		r = buf_reserve(content, MIN(65536u, content->cap_bytes - content->len), &room);
		if (r)
			return r;
		got = read(fd, room, MIN(65536u, content->cap_bytes - content->len));
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (!got)
			return content->len == content->cap_bytes ? -EFBIG : 0;
		buf_commit(content, (size_t)got);
		if (content->len == content->cap_bytes)
			return -EFBIG;
	}
}

int conf_load_file(const char *path, struct conf_errors *errors, struct conf_doc **ret_doc)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	_cleanup_(buf_done)
	struct buf content = {.data = NULL};
	int r = fd < 0 ? -errno : 0;

	/* One byte more than allowed tells a file that is too big from one that just fits. */
	buf_init(&content, CONF_FILE_BYTES_MAX + 1);
	if (!r)
		r = read_all(fd, &content);
	if (r == -EFBIG) {
		conf_error(errors, NULL, "the file is bigger than %u MiB",
			   CONF_FILE_BYTES_MAX >> 20);
		return r;
	}
	if (r) {
		conf_error(errors, NULL, "cannot be read: %s", strerrordesc_np(-r));
		return r;
	}
	return conf_load_string(buf_str(&content), errors, ret_doc);
}

void conf_doc_free(struct conf_doc *doc)
{
	if (!doc)
		return;
	arena_done(&doc->arena);
	free(doc);
}

const struct conf_node *conf_get(const struct conf_node *mapping, const char *key)
{
	if (mapping->type != CONF_MAPPING)
		return NULL;
	conf_for_each (child, mapping)
		if (str_eq_cstr(child->key, key))
			return child;
	return NULL;
}

bool conf_is_null(const struct conf_node *node)
{
	return node->type == CONF_SCALAR && !node->quoted &&
	       (str_is_empty(node->value) || str_eq_cstr(node->value, "~") ||
		str_eq_cstr(node->value, "null"));
}

const char *conf_describe(const struct conf_node *node, char *buf, size_t buf_len)
{
	const char *kind = node->type == CONF_SEQUENCE	? "a list"
			   : node->type == CONF_MAPPING ? "a mapping"
			   : conf_is_null(node)		? "nothing"
							: NULL;

	if (!kind)
		return str_quote(node->value, buf, buf_len);
	(void)snprintf(buf, buf_len, "%s", kind);
	return buf;
}

const char *conf_suggest(struct str name, const char *const *names, unsigned int count)
{
	/* About a third of the letters may be wrong, but never all of a short name. */
	unsigned int best = name.len < 2 ? 1 : (unsigned int)MIN((name.len + 5) / 3, (size_t)4);
	const char *found = NULL, *longer = NULL;

	for (unsigned int i = 0; i < count; i++) {
		struct str candidate = str_from_cstr(names[i]);
		unsigned int distance = str_distance(name, candidate, best);

		if (distance < best) {
			best = distance;
			found = names[i];
		}
		/* "pay" for "payments", "uring" for "io_uring", or the reverse. */
		if (!longer && MIN(name.len, candidate.len) >= 3 &&
		    (str_starts_with(candidate, name) || str_starts_with(name, candidate) ||
		     str_ends_with(candidate, name) || str_ends_with(name, candidate)))
			longer = names[i];
	}
	return found ? found : longer;
}

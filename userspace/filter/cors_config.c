#include "filter/cors.h"

#include <errno.h>

#include "conf/names.h"
#include "proto/http_head.h"

#define WHAT_MAX    160
#define VALUE_MAX   96
#define MAX_AGE_MAX (24ull * 3600 * 1000) /* browsers go no further */

/* ---- origins ---- */

static bool is_host_byte(char byte)
{
	return (byte >= 'a' && byte <= 'z') || (byte >= '0' && byte <= '9') || byte == '-' ||
	       byte == '.' || byte == '[' || byte == ']' || byte == ':';
}

/* As browsers write it: "SCHEME://HOST" or with a port, in lower case, nothing behind. */
static bool origin_parse(struct str text, struct cors_origin *ret_origin)
{
	ptrdiff_t colon = str_find_byte(text, ':');
	struct str host;

	if (colon <= 0 || !str_starts_with(str_sub(text, (size_t)colon, text.len), STR("://")))
		return false;
	for (ptrdiff_t i = 0; i < colon; i++)
		if (text.ptr[i] < 'a' || text.ptr[i] > 'z')
			return false;
	host = str_sub(text, (size_t)colon + 3, text.len);
	*ret_origin = (struct cors_origin){.written = text};
	if (str_starts_with(host, STR("*."))) {
		ret_origin->wildcard = true;
		ret_origin->head = str_sub(text, 0, (size_t)colon + 3);
		host = str_sub(host, 1, host.len);
		ret_origin->tail = host;
	}
	if (host.len < 2)
		return false;
	for (size_t i = 0; i < host.len; i++)
		if (!is_host_byte(host.ptr[i]))
			return false;
	/* The scheme's own port is never written. */
	return !(str_starts_with(text, STR("https://")) && str_ends_with(host, STR(":443"))) &&
	       !(str_starts_with(text, STR("http://")) && str_ends_with(host, STR(":80")));
}

static int origins_read(const struct field_context *context, const struct conf_node *node,
			void *target)
{
	const struct conf_node *item = node->type == CONF_SEQUENCE ? node->children : node;
	struct cors *cors = target;
	struct str *texts = NULL;
	unsigned int count = 0;
	char what[WHAT_MAX], value[VALUE_MAX];
	int result = 0;

	(void)snprintf(what, sizeof(what), "%s: origins", context->what);
	if (texts_read(context, node, what, &texts, &count))
		return -EINVAL;
	cors->origins = arena_new_array(context->arena, struct cors_origin, count);
	if (!cors->origins)
		return field_no_memory(context, node);
	for (unsigned int i = 0; i < count; i++, item = item->next) {
		if (str_eq(texts[i], STR("*"))) {
			cors->any_origin = true;
			continue;
		}
		if (origin_parse(texts[i], &cors->origins[cors->origin_count])) {
			cors->origin_count++;
			continue;
		}
		conf_error(context->errors, item,
			   "%s: %s is no origin; expected 'https://shop.example.com', "
			   "'https://*.example.com' or '*', without the scheme's own port",
			   what, str_quote(texts[i], value, sizeof(value)));
		result = -EINVAL;
	}
	if (!result && !count) {
		conf_error(context->errors, node, "%s: needs at least one", what);
		result = -EINVAL;
	}
	return result;
}

static void origins_print(struct conf_writer *writer, const char *key, const void *target)
{
	const struct cors *cors = target;

	conf_write_open_list(writer, key);
	if (cors->any_origin)
		conf_write_str(writer, NULL, STR("*"));
	for (unsigned int i = 0; i < cors->origin_count; i++)
		conf_write_str(writer, NULL, cors->origins[i].written);
	conf_write_close(writer);
}

/* ---- lists of tokens ---- */

static int tokens_read(const struct field_context *context, const struct conf_node *node,
		       const char *key, struct str **ret_texts, unsigned int *ret_count)
{
	const struct conf_node *item = node->type == CONF_SEQUENCE ? node->children : node;
	char what[WHAT_MAX], value[VALUE_MAX];
	int result = 0;

	(void)snprintf(what, sizeof(what), "%s: %s", context->what, key);
	if (texts_read(context, node, what, ret_texts, ret_count))
		return -EINVAL;
	for (unsigned int i = 0; i < *ret_count; i++, item = item->next) {
		if (http_name_is_valid((*ret_texts)[i]))
			continue;
		conf_error(context->errors, item, "%s: %s cannot be a name", what,
			   str_quote((*ret_texts)[i], value, sizeof(value)));
		result = -EINVAL;
	}
	return result;
}

static int methods_read(const struct field_context *context, const struct conf_node *node,
			void *target)
{
	struct cors *cors = target;

	return tokens_read(context, node, "methods", &cors->methods, &cors->method_count);
}

static void methods_print(struct conf_writer *writer, const char *key, const void *target)
{
	const struct cors *cors = target;

	conf_write_texts(writer, key, cors->methods, cors->method_count);
}

static int headers_read(const struct field_context *context, const struct conf_node *node,
			void *target)
{
	struct cors *cors = target;

	if (tokens_read(context, node, "headers", &cors->headers, &cors->header_count))
		return -EINVAL;
	for (unsigned int i = 0; i < cors->header_count; i++)
		cors->any_header |= str_eq(cors->headers[i], STR("*"));
	return 0;
}

static void headers_print(struct conf_writer *writer, const char *key, const void *target)
{
	const struct cors *cors = target;

	conf_write_texts(writer, key, cors->headers, cors->header_count);
}

static int expose_read(const struct field_context *context, const struct conf_node *node,
		       void *target)
{
	struct cors *cors = target;

	return tokens_read(context, node, "expose_headers", &cors->expose, &cors->expose_count);
}

static void expose_print(struct conf_writer *writer, const char *key, const void *target)
{
	const struct cors *cors = target;

	conf_write_texts(writer, key, cors->expose, cors->expose_count);
}

/* "a, b, c" in the arena; ptr NULL: none, or out of memory (sticky there). */
static struct str join(struct arena *arena, const struct str *texts, unsigned int count)
{
	size_t bytes = 0, len = 0;
	char *room;

	for (unsigned int i = 0; i < count; i++)
		bytes += texts[i].len + 2;
	room = bytes ? arena_alloc_bytes(arena, bytes) : NULL;
	if (!room)
		return STR_NULL;
	for (unsigned int i = 0; i < count; i++) {
		if (i) {
			memcpy(room + len, ", ", 2);
			len += 2;
		}
		memcpy(room + len, texts[i].ptr, texts[i].len);
		len += texts[i].len;
	}
	return str_make(room, len);
}

static const struct field fields[] = {
	{.key = "origins",
	 .kind = FIELD_CUSTOM,
	 .required = true,
	 .read = origins_read,
	 .print = origins_print},
	{.key = "methods", .kind = FIELD_CUSTOM, .read = methods_read, .print = methods_print},
	{.key = "headers", .kind = FIELD_CUSTOM, .read = headers_read, .print = headers_print},
	{.key = "expose_headers", .kind = FIELD_CUSTOM, .read = expose_read, .print = expose_print},
	{.key = "credentials",
	 .kind = FIELD_BOOL,
	 .offset = offsetof(struct cors, credentials),
	 .default_text = "off"},
	{.key = "max_age",
	 .kind = FIELD_DURATION_MS,
	 .offset = offsetof(struct cors, max_age_ms),
	 .max = MAX_AGE_MAX,
	 .default_text = "5s"},
};

int cors_read(const struct field_context *context, const struct conf_node *node, const char *what,
	      void *conf)
{
	static struct str usual[] = {{"GET", 3}, {"HEAD", 4}, {"POST", 4}};
	struct cors *cors = conf;

	cors->methods = usual;
	cors->method_count = ARRAY_SIZE(usual);
	if (field_read(context, fields, ARRAY_SIZE(fields), node, what, cors))
		return -EINVAL;
	if (cors->any_origin && cors->credentials) {
		conf_error(context->errors, node,
			   "%s: 'credentials' for every origin would let any page act as its "
			   "visitor; name the origins",
			   what);
		return -EINVAL;
	}
	cors->methods_text = join(context->arena, cors->methods, cors->method_count);
	cors->headers_text = join(context->arena, cors->headers, cors->header_count);
	cors->expose_text = join(context->arena, cors->expose, cors->expose_count);
	cors->max_age_text =
		arena_printf(context->arena, "%llu", (unsigned long long)(cors->max_age_ms / 1000));
	return context->arena->overflowed ? field_no_memory(context, node) : 0;
}

void cors_write(struct conf_writer *writer, const void *conf)
{
	field_write(writer, fields, ARRAY_SIZE(fields), conf);
}

#include "filter/compress.h"

#include <errno.h>

#include "conf/names.h"
#include "proto/http_head.h"

#define WHAT_MAX  160
#define VALUE_MAX 96

static int algorithms_read(const struct field_context *context, const struct conf_node *node,
			   void *target)
{
	static const char *const known[] = {"zstd", "br", "gzip"};
	const struct conf_node *item = node->type == CONF_SEQUENCE ? node->children : node;
	struct compress *compress = target;
	struct str *texts = NULL;
	unsigned int count = 0;
	char what[WHAT_MAX], value[VALUE_MAX], hint[VALUE_MAX];
	int result = 0;

	(void)snprintf(what, sizeof(what), "%s: algorithms", context->what);
	if (texts_read(context, node, what, &texts, &count))
		return -EINVAL;
	compress->coding_count = 0;
	for (unsigned int i = 0; i < count; i++, item = item->next) {
		enum coding coding = coding_lookup(texts[i]);
		bool listed = false;

		if (coding == CODING_IDENTITY || coding == CODING_COUNT ||
		    !str_eq_cstr(texts[i], coding_name(coding))) {
			conf_error(
				context->errors, item, "%s: expected zstd, br or gzip, got %s%s",
				what, str_quote(texts[i], value, sizeof(value)),
				field_hint(texts[i], known, ARRAY_SIZE(known), hint, sizeof(hint)));
			result = -EINVAL;
			continue;
		}
		for (unsigned int j = 0; j < compress->coding_count; j++)
			listed |= compress->codings[j] == coding;
		if (listed) {
			conf_error(context->errors, item, "%s: '%.*s' is listed twice", what,
				   STR_FMT(texts[i]));
			result = -EINVAL;
			continue;
		}
		compress->codings[compress->coding_count++] = coding;
	}
	if (!result && !count) {
		conf_error(context->errors, node, "%s: needs at least one", what);
		result = -EINVAL;
	}
	return result;
}

static void algorithms_print(struct conf_writer *writer, const char *key, const void *target)
{
	const struct compress *compress = target;

	conf_write_open_list(writer, key);
	for (unsigned int i = 0; i < compress->coding_count; i++)
		conf_write_plain(writer, NULL, coding_name(compress->codings[i]));
	conf_write_close(writer);
}

/* TYPE/SUBTYPE, or TYPE followed by an asterisk. */
static bool is_type(struct str text)
{
	ptrdiff_t slash = str_find_byte(text, '/');

	return slash > 0 && http_name_is_valid(str_sub(text, 0, (size_t)slash)) &&
	       http_name_is_valid(str_sub(text, (size_t)slash + 1, text.len));
}

static int types_read(const struct field_context *context, const struct conf_node *node,
		      void *target)
{
	const struct conf_node *item = node->type == CONF_SEQUENCE ? node->children : node;
	struct compress *compress = target;
	char what[WHAT_MAX], value[VALUE_MAX];
	int result = 0;

	(void)snprintf(what, sizeof(what), "%s: types", context->what);
	if (texts_read(context, node, what, &compress->types, &compress->type_count))
		return -EINVAL;
	for (unsigned int i = 0; i < compress->type_count; i++, item = item->next) {
		if (is_type(compress->types[i]))
			continue;
		conf_error(context->errors, item,
			   "%s: %s is no media type; expected 'application/json' or 'text/*'", what,
			   str_quote(compress->types[i], value, sizeof(value)));
		result = -EINVAL;
	}
	return result;
}

static void types_print(struct conf_writer *writer, const char *key, const void *target)
{
	const struct compress *compress = target;

	conf_write_open_list(writer, key);
	for (unsigned int i = 0; i < compress->type_count; i++)
		conf_write_str(writer, NULL, compress->types[i]);
	conf_write_close(writer);
}

static const struct field fields[] = {
	{.key = "algorithms",
	 .kind = FIELD_CUSTOM,
	 .read = algorithms_read,
	 .print = algorithms_print},
	{.key = "min_size",
	 .kind = FIELD_SIZE_BYTES,
	 .offset = offsetof(struct compress, min_bytes),
	 .default_text = "1KiB"},
	{.key = "types", .kind = FIELD_CUSTOM, .read = types_read, .print = types_print},
};

int compress_read(const struct field_context *context, const struct conf_node *node,
		  const char *what, void *conf)
{
	static struct str usual[] = {{"text/*", 6},
				     {"application/json", 16},
				     {"application/xml", 15},
				     {"application/javascript", 22},
				     {"application/wasm", 16},
				     {"image/svg+xml", 13},
				     {"application/ld+json", 19}};
	struct compress *compress = conf;

	compress->codings[0] = CODING_ZSTD;
	compress->codings[1] = CODING_BR;
	compress->codings[2] = CODING_GZIP;
	compress->coding_count = 3;
	compress->types = usual;
	compress->type_count = ARRAY_SIZE(usual);
	return field_read(context, fields, ARRAY_SIZE(fields), node, what, compress);
}

void compress_write(struct conf_writer *writer, const void *conf)
{
	field_write(writer, fields, ARRAY_SIZE(fields), conf);
}

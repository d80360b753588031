#include "http/template.h"

#include <errno.h>

#include "http/exchange.h"
#include "proto/http_bytes.h"

#define NAMES_MAX 64
#define HINT_MAX  96
#define VALUE_MAX 96

/* ---- reading ---- */

struct reader {
	const struct field_context *context;
	const struct conf_node *node;
	const char *what;
	bool of_answer;
	struct template *template;
};

static int add_part(struct reader *reader, const struct template_variable *variable,
		    struct str text)
{
	struct template *template = reader->template;

	if (!variable && !text.len)
		return 0;
	if (template->part_count == TEMPLATE_PARTS_MAX) {
		conf_error(reader->context->errors, reader->node,
			   "%s: more than %d pieces of text and variables", reader->what,
			   TEMPLATE_PARTS_MAX);
		return -EINVAL;
	}
	text = arena_copy(reader->context->arena, text);
	if (!text.ptr)
		return field_no_memory(reader->context, reader->node);
	template->parts[template->part_count++] = (struct template_part){variable, text};
	if (variable)
		template->constant = false;
	return 0;
}

static int report_unknown(const struct reader *reader, struct str name)
{
	const char *names[NAMES_MAX];
	char value[VALUE_MAX], hint[HINT_MAX];
	unsigned int count = 0;

	for (unsigned int i = 0; i < template_variable_count && count < NAMES_MAX; i++)
		if (reader->of_answer || !template_variables[i].of_answer)
			names[count++] = template_variables[i].name;
	conf_error(reader->context->errors, reader->node, "%s: variable %s is not known%s",
		   reader->what, str_quote(name, value, sizeof(value)),
		   field_hint(name, names, count, hint, sizeof(hint)));
	return -EINVAL;
}

static int read_variable(struct reader *reader, struct str name)
{
	for (unsigned int i = 0; i < template_variable_count; i++) {
		const struct template_variable *variable = &template_variables[i];
		struct str known = str_from_cstr(variable->name), argument = STR("");

		if (variable->argument_is_valid && str_starts_with(name, known))
			argument = str_sub(name, known.len, name.len);
		else if (!str_eq(name, known))
			continue;
		if (variable->argument_is_valid && !variable->argument_is_valid(argument)) {
			conf_error(reader->context->errors, reader->node,
				   "%s: '{%.*s}': %s must follow '%s'", reader->what, STR_FMT(name),
				   variable->argument_what, variable->name);
			return -EINVAL;
		}
		if (variable->of_answer && !reader->of_answer) {
			conf_error(reader->context->errors, reader->node,
				   "%s: '{%.*s}': there is no answer yet at this place",
				   reader->what, STR_FMT(name));
			return -EINVAL;
		}
		return add_part(reader, variable, argument);
	}
	return report_unknown(reader, name);
}

static int read_parts(struct reader *reader, struct str text)
{
	size_t from = 0;

	for (size_t at = 0; at < text.len;) {
		char byte = text.ptr[at];
		struct str rest;
		ptrdiff_t close;

		if (byte != '{' && byte != '}') {
			at++;
			continue;
		}
		/* Doubled: one of the two belongs to the text before. */
		if (at + 1 < text.len && text.ptr[at + 1] == byte) {
			if (add_part(reader, NULL, str_sub(text, from, at + 1 - from)))
				return -EINVAL;
			at += 2;
			from = at;
			continue;
		}
		rest = str_sub(text, at + 1, text.len);
		close = byte == '{' ? str_find_byte(rest, '}') : -1;
		if (close < 0) {
			conf_error(reader->context->errors, reader->node,
				   "%s: a single '%c'; a variable stands in braces, and a brace is "
				   "written twice",
				   reader->what, byte);
			return -EINVAL;
		}
		if (add_part(reader, NULL, str_sub(text, from, at - from)) ||
		    read_variable(reader, str_sub(rest, 0, (size_t)close)))
			return -EINVAL;
		at += (size_t)close + 2;
		from = at;
	}
	return add_part(reader, NULL, str_sub(text, from, text.len));
}

int template_read(const struct field_context *context, const struct conf_node *node,
		  const char *what, bool of_answer, struct template *ret_template)
{
	struct template template = {.constant = true};
	struct reader reader = {context, node, what, of_answer, &template};
	char value[VALUE_MAX];

	if (node->type != CONF_SCALAR || conf_is_null(node)) {
		conf_error(context->errors, node, "%s: expected text, got %s", what,
			   conf_describe(node, value, sizeof(value)));
		return -EINVAL;
	}
	template.written = arena_copy(context->arena, node->value);
	template.parts = arena_new_array(context->arena, struct template_part, TEMPLATE_PARTS_MAX);
	if (!template.written.ptr || !template.parts)
		return field_no_memory(context, node);
	if (read_parts(&reader, node->value))
		return -EINVAL;
	if (template.constant && template.part_count > 1) {
		/* Pieces between doubled braces: one text of all. */
		char *room = arena_alloc_bytes(context->arena, template.written.len);
		size_t len = 0;

		if (!room)
			return field_no_memory(context, node);
		for (unsigned int i = 0; i < template.part_count; i++) {
			memcpy(room + len, template.parts[i].text.ptr, template.parts[i].text.len);
			len += template.parts[i].text.len;
		}
		template.parts[0].text = str_make(room, len);
		template.part_count = 1;
	}
	*ret_template = template;
	return 0;
}

/* ---- text ---- */

static bool is_unreserved(char byte)
{
	return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
	       (byte >= '0' && byte <= '9') || byte == '-' || byte == '.' || byte == '_' ||
	       byte == '~';
}

static bool stays(char byte, enum template_place place, bool encoded, bool slashes)
{
	switch (place) {
	case TEMPLATE_HEADER:
		return (unsigned char)byte >= ' ' && byte != 0x7f;
	case TEMPLATE_PATH:
		return is_unreserved(byte) || (byte && strchr("!$&'()*+,;=:@", byte)) ||
		       (encoded && byte == '%') || (slashes && byte == '/');
	case TEMPLATE_QUERY:
		return is_unreserved(byte) || (encoded && byte == '%');
	}
	return false;
}

size_t template_encode(char *out, struct str value, enum template_place place, bool encoded,
		       bool slashes)
{
	static const char digits[] = "0123456789ABCDEF";
	size_t len = 0;

	for (size_t i = 0; i < value.len; i++) {
		unsigned char byte = (unsigned char)value.ptr[i];

		if (stays((char)byte, place, encoded, slashes)) {
			out[len++] = (char)byte;
			continue;
		}
		out[len++] = '%';
		out[len++] = digits[byte >> 4];
		out[len++] = digits[byte & 15];
	}
	return len;
}

/* A field's value neither begins nor ends with space (RFC 9110 5.5). */
static struct str trim(struct str text, enum template_place place)
{
	return place == TEMPLATE_HEADER ? str_trim(text) : text;
}

struct str template_text(const struct template *template, struct exchange *exchange,
			 const struct exchange_response *response, enum template_place place)
{
	struct str values[TEMPLATE_PARTS_MAX];
	size_t room_bytes = 1, len = 0;
	char *out;

	if (template->constant && place != TEMPLATE_QUERY)
		return template->part_count ? trim(template->parts[0].text, place) : STR("");
	for (unsigned int i = 0; i < template->part_count; i++) {
		const struct template_part *part = &template->parts[i];

		values[i] = part->variable ? part->variable->get(exchange, response, part->text)
					   : part->text;
		room_bytes += values[i].len * 3;
	}
	out = arena_alloc_bytes(&exchange->arena, room_bytes);
	if (!out)
		return STR_NULL;
	for (unsigned int i = 0; i < template->part_count; i++) {
		const struct template_variable *variable = template->parts[i].variable;

		/* Text of the file is a header's or a path's as it stands. */
		if (variable || place == TEMPLATE_QUERY) {
			len += template_encode(out + len, values[i], place,
					       variable && variable->encoded,
					       variable && variable->has_slashes);
			continue;
		}
		memcpy(out + len, values[i].ptr, values[i].len);
		len += values[i].len;
	}
	return trim(str_make(out, len), place);
}

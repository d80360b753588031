#include "conf/field.h"

#include <assert.h>
#include <errno.h>

#define FIELDS_MAX 64
#define VALUE_MAX  96
#define HINT_MAX   160
#define LIST_MAX   320
#define WHAT_MAX   192

static void *field_place(const struct field *field, void *target)
{
	return (char *)target + field->offset;
}

const char *field_hint(struct str name, const char *const *names, unsigned int count, char *buf,
		       size_t buf_len)
{
	const char *meant = conf_suggest(name, names, count);

	(void)snprintf(buf, buf_len, meant ? "; did you mean '%s'?" : "%s", meant ? meant : "");
	return buf;
}

int field_no_memory(const struct field_context *context, const struct conf_node *node)
{
	conf_error(context->errors, node, "out of memory");
	return -ENOMEM;
}

static int refuse(const struct field_context *context, const struct field *field,
		  const struct conf_node *node, const char *what, const char *expected)
{
	char value[VALUE_MAX];

	conf_error(context->errors, node, "%s: %s: expected %s, got %s", what, field->key, expected,
		   conf_describe(node, value, sizeof(value)));
	return -EINVAL;
}

/* Numbers and words, but not text in quotes, which is text because its author said so. */
static bool is_plain(const struct conf_node *node)
{
	return node->type == CONF_SCALAR && !node->quoted;
}

static int read_string(const struct field_context *context, const struct field *field,
		       const struct conf_node *node, const char *what, void *target)
{
	struct str *place = field_place(field, target), copy;

	if (node->type != CONF_SCALAR || conf_is_null(node))
		return refuse(context, field, node, what, "text");
	if (node->value.len < field->min) {
		conf_error(context->errors, node, "%s: %s: must not be empty", what, field->key);
		return -EINVAL;
	}
	if (field->max && node->value.len > field->max) {
		conf_error(context->errors, node, "%s: %s: longer than %llu bytes", what,
			   field->key, (unsigned long long)field->max);
		return -EINVAL;
	}
	copy = arena_copy(context->arena, node->value);
	if (!copy.ptr)
		return field_no_memory(context, node);
	*place = copy;
	return 0;
}

static int read_bool(const struct field_context *context, const struct field *field,
		     const struct conf_node *node, const char *what, void *target)
{
	bool *place = field_place(field, target);

	if (is_plain(node) && (str_eq_cstr(node->value, "true") || str_eq_cstr(node->value, "on")))
		*place = true;
	else if (is_plain(node) &&
		 (str_eq_cstr(node->value, "false") || str_eq_cstr(node->value, "off")))
		*place = false;
	else
		return refuse(context, field, node, what, "on or off");
	return 0;
}

/* A number's limits in the notation of its kind. */
static const char *format_number(const struct field *field, uint64_t number, char *buf,
				 size_t buf_len)
{
	if (field->kind == FIELD_DURATION_MS)
		return units_format_duration(number, buf, buf_len);
	if (field->kind == FIELD_SIZE_BYTES)
		return units_format_size(number, buf, buf_len);
	if (field->kind == FIELD_PERCENT)
		return units_format_percent(number, buf, buf_len);
	(void)snprintf(buf, buf_len, "%llu", (unsigned long long)number);
	return buf;
}

static int refuse_range(const struct field_context *context, const struct field *field,
			const struct conf_node *node, const char *what)
{
	char low[32], high[32], value[VALUE_MAX];

	(void)format_number(field, field->min, low, sizeof(low));
	(void)format_number(field, field->max, high, sizeof(high));
	(void)conf_describe(node, value, sizeof(value));
	if (field->max)
		conf_error(context->errors, node, "%s: %s: must be %s to %s, got %s", what,
			   field->key, low, high, value);
	else
		conf_error(context->errors, node, "%s: %s: must be at least %s, got %s", what,
			   field->key, low, value);
	return -EINVAL;
}

static int read_number(const struct field_context *context, const struct field *field,
		       const struct conf_node *node, const char *what, void *target)
{
	uint64_t *place = field_place(field, target), number = 0;
	const char *expected;
	int r = -EINVAL;

	if (field->kind == FIELD_DURATION_MS) {
		expected = "a duration such as 500ms, 2s, 10m, 24h or 7d";
		if (node->type == CONF_SCALAR)
			r = units_parse_duration_ms(node->value, &number);
	} else if (field->kind == FIELD_SIZE_BYTES) {
		expected = "a size such as 512, 64KiB, 16MiB or 1GiB";
		if (node->type == CONF_SCALAR)
			r = units_parse_size_bytes(node->value, &number);
	} else if (field->kind == FIELD_PERCENT) {
		uint32_t basis_points = 0;

		expected = "a percentage such as 20% or 0.5%";
		if (node->type == CONF_SCALAR)
			r = units_parse_percent(node->value, &basis_points);
		number = basis_points;
	} else {
		expected = "a whole number";
		if (is_plain(node))
			r = str_to_u64(node->value, &number);
	}
	if (r == -EINVAL)
		return refuse(context, field, node, what, expected);
	if (r == -ERANGE && !field->min && !field->max) {
		conf_error(context->errors, node, "%s: %s: the number is too big", what,
			   field->key);
		return -EINVAL;
	}
	if (r || number < field->min || (field->max && number > field->max))
		return refuse_range(context, field, node, what);
	*place = number;
	return 0;
}

static int read_enum(const struct field_context *context, const struct field *field,
		     const struct conf_node *node, const char *what, void *target)
{
	char list[LIST_MAX], value[VALUE_MAX], hint[HINT_MAX];
	const char *names[FIELDS_MAX];
	int *place = field_place(field, target);
	size_t len = 0;

	assert(field->name_count <= FIELDS_MAX);
	list[0] = '\0';
	for (unsigned int i = 0; i < field->name_count; i++) {
		const struct field_name *known = &field->names[i];

		names[i] = known->name;
		if (node->type == CONF_SCALAR && str_eq_cstr(node->value, known->name)) {
			if (!known->not_yet) {
				*place = known->value;
				return 0;
			}
			conf_error(context->errors, node, "%s: %s: '%s' is not supported yet", what,
				   field->key, known->name);
			return -EINVAL;
		}
		if (!known->not_yet && len < sizeof(list))
			len += (size_t)snprintf(list + len, sizeof(list) - len, "%s%s",
						len ? ", " : "", known->name);
	}
	conf_error(context->errors, node, "%s: %s: expected %s%s, got %s%s", what, field->key,
		   strchr(list, ',') ? "one of " : "", list,
		   conf_describe(node, value, sizeof(value)),
		   node->type == CONF_SCALAR
			   ? field_hint(node->value, names, field->name_count, hint, sizeof(hint))
			   : "");
	return -EINVAL;
}

static int read_section(const struct field_context *context, const struct field *field,
			const struct conf_node *node, const char *what, void *target)
{
	char inner[WHAT_MAX];

	(void)snprintf(inner, sizeof(inner), "%s: %s", what, field->key);
	return field_read(context, field->fields, field->field_count, node, inner,
			  field_place(field, target));
}

static int read_custom(const struct field_context *context, const struct field *field,
		       const struct conf_node *node, const char *what, void *target)
{
	struct field_context inner = *context;

	inner.what = what;
	return field->read(&inner, node, target);
}

int field_read_value(const struct field_context *context, const struct field *field,
		     const struct conf_node *node, const char *what, void *target)
{
	if (node->refused)
		return -EINVAL;
	switch (field->kind) {
	case FIELD_STRING:
		return read_string(context, field, node, what, target);
	case FIELD_BOOL:
		return read_bool(context, field, node, what, target);
	case FIELD_U64:
	case FIELD_DURATION_MS:
	case FIELD_SIZE_BYTES:
	case FIELD_PERCENT:
		return read_number(context, field, node, what, target);
	case FIELD_ENUM:
		return read_enum(context, field, node, what, target);
	case FIELD_SECTION:
		return read_section(context, field, node, what, target);
	case FIELD_CUSTOM:
		return read_custom(context, field, node, what, target);
	case FIELD_NOT_YET:
		break;
	}
	conf_error_key(context->errors, node, "%s: '%s' is not supported yet", what, field->key);
	return -EINVAL;
}

static void refuse_key(const struct field_context *context, const struct field *fields,
		       unsigned int field_count, const struct conf_node *member, const char *what)
{
	char key[VALUE_MAX], hint[HINT_MAX];
	const char *names[FIELDS_MAX];

	for (unsigned int i = 0; i < field_count; i++)
		names[i] = fields[i].key;
	conf_error_key(context->errors, member, "%s: unknown key %s%s", what,
		       str_quote(member->key, key, sizeof(key)),
		       field_hint(member->key, names, field_count, hint, sizeof(hint)));
}

/* Defaults go through the readers of the file, so that both have one notation. */
static int read_default(const struct field_context *context, const struct field *field,
			const char *what, void *target)
{
	struct conf_node node = {
		.type = CONF_SCALAR,
		.key = str_from_cstr(field->key),
		.value = str_from_cstr(field->default_text),
	};

	return field_read_value(context, field, &node, what, target);
}

static int read_absent(const struct field_context *context, const struct field *field,
		       const char *what, void *target)
{
	if (field->kind == FIELD_SECTION)
		return field_read_defaults(context, field->fields, field->field_count, what,
					   field_place(field, target));
	return field->default_text ? read_default(context, field, what, target) : 0;
}

int field_read(const struct field_context *context, const struct field *fields,
	       unsigned int field_count, const struct conf_node *node, const char *what,
	       void *target)
{
	bool seen[FIELDS_MAX] = {false};
	char value[VALUE_MAX];
	int result = 0;

	assert(field_count <= FIELDS_MAX);
	if (node->refused)
		return -EINVAL;
	/* "section:" with nothing below is a section without members. */
	if (node->type != CONF_MAPPING && !conf_is_null(node)) {
		conf_error(context->errors, node, "%s: expected a mapping, got %s", what,
			   conf_describe(node, value, sizeof(value)));
		return -EINVAL;
	}
	conf_for_each (member, node) {
		unsigned int i = 0;

		while (i < field_count && !str_eq_cstr(member->key, fields[i].key))
			i++;
		if (i == field_count) {
			refuse_key(context, fields, field_count, member, what);
			result = -EINVAL;
			continue;
		}
		seen[i] = true;
		if (field_read_value(context, &fields[i], member, what, target))
			result = -EINVAL;
	}
	for (unsigned int i = 0; i < field_count; i++) {
		if (seen[i])
			continue;
		if (fields[i].required) {
			conf_error(context->errors, node, "%s: '%s' is required", what,
				   fields[i].key);
			result = -EINVAL;
		} else if (read_absent(context, &fields[i], what, target)) {
			result = -EINVAL;
		}
	}
	return result;
}

int field_read_defaults(const struct field_context *context, const struct field *fields,
			unsigned int field_count, const char *what, void *target)
{
	int result = 0;

	for (unsigned int i = 0; i < field_count; i++)
		if (read_absent(context, &fields[i], what, target))
			result = -EINVAL;
	return result;
}

static void write_number(struct conf_writer *writer, const struct field *field, uint64_t number)
{
	char text[32];

	conf_write_plain(writer, field->key, format_number(field, number, text, sizeof(text)));
}

static void write_enum(struct conf_writer *writer, const struct field *field, int value)
{
	for (unsigned int i = 0; i < field->name_count; i++) {
		if (field->names[i].value != value || field->names[i].not_yet)
			continue;
		conf_write_plain(writer, field->key, field->names[i].name);
		return;
	}
}

void field_write(struct conf_writer *writer, const struct field *fields, unsigned int field_count,
		 const void *target)
{
	for (unsigned int i = 0; i < field_count; i++) {
		const struct field *field = &fields[i];
		const char *place = (const char *)target + field->offset;
		const struct str *text = (const struct str *)place;

		switch (field->kind) {
		case FIELD_STRING:
			if (text->ptr)
				conf_write_str(writer, field->key, *text);
			break;
		case FIELD_BOOL:
			conf_write_plain(writer, field->key, *(const bool *)place ? "on" : "off");
			break;
		case FIELD_U64:
		case FIELD_DURATION_MS:
		case FIELD_SIZE_BYTES:
		case FIELD_PERCENT:
			write_number(writer, field, *(const uint64_t *)place);
			break;
		case FIELD_ENUM:
			write_enum(writer, field, *(const int *)place);
			break;
		case FIELD_SECTION:
			conf_write_open_mapping(writer, field->key);
			field_write(writer, field->fields, field->field_count, place);
			conf_write_close(writer);
			break;
		case FIELD_CUSTOM:
			if (field->print)
				field->print(writer, field->key, target);
			break;
		case FIELD_NOT_YET:
			break;
		}
	}
}

#include "http/route_condition_config.h"

#include <errno.h>

#define WHAT_MAX       160
#define VALUE_MAX      96
#define NAME_BYTES_MAX 128

/* The mapping form of one condition. */
struct condition_file {
	struct str regex_pattern;
	struct route_regex *regex;
	int present; /* -1: not given */
};

int route_regex_read(const struct field_context *context, const struct conf_node *node,
		     const char *what, enum route_regex_span span, struct route_regex **ret_regex)
{
	struct route_regex_error error;
	char value[VALUE_MAX];
	int r;

	if (node->refused)
		return -EINVAL;
	if (node->type != CONF_SCALAR || conf_is_null(node) || !node->value.len) {
		conf_error(context->errors, node, "%s: regex: expected a pattern, got %s", what,
			   conf_describe(node, value, sizeof(value)));
		return -EINVAL;
	}
	r = route_regex_compile(node->value, span, context->arena, ret_regex, &error);
	if (r == -ENOMEM)
		return field_no_memory(context, node);
	if (r)
		conf_error(context->errors, node, "%s: regex: %s: %s at offset %zu", what,
			   str_quote(node->value, value, sizeof(value)), error.text, error.offset);
	return r;
}

static int regex_read(const struct field_context *context, const struct conf_node *node,
		      void *target)
{
	struct condition_file *file = target;
	int r = route_regex_read(context, node, context->what, ROUTE_REGEX_ANY, &file->regex);

	if (!r)
		file->regex_pattern = route_regex_pattern(file->regex);
	return r;
}

static int present_read(const struct field_context *context, const struct conf_node *node,
			void *target)
{
	static const struct field field = {.key = "present", .kind = FIELD_BOOL};
	struct condition_file *file = target;
	bool present;
	int r = field_read_value(context, &field, node, context->what, &present);

	if (!r)
		file->present = present;
	return r;
}

static const struct field condition_fields[] = {
	{.key = "regex", .kind = FIELD_CUSTOM, .read = regex_read},
	{.key = "present", .kind = FIELD_CUSTOM, .read = present_read},
};

static int mapping_read(const struct field_context *context, const struct conf_node *node,
			const char *what, struct route_condition *condition)
{
	struct condition_file file = {.present = -1};

	if (field_read(context, condition_fields, ARRAY_SIZE(condition_fields), node, what, &file))
		return -EINVAL;
	if (!file.regex == (file.present < 0)) {
		conf_error(context->errors, node, "%s: needs exactly one of 'regex' and 'present'",
			   what);
		return -EINVAL;
	}
	condition->regex = file.regex;
	condition->value = file.regex ? file.regex_pattern : STR_NULL;
	condition->kind = file.regex	 ? ROUTE_CONDITION_REGEX
			  : file.present ? ROUTE_CONDITION_PRESENT
					 : ROUTE_CONDITION_ABSENT;
	return 0;
}

static int exact_read(const struct field_context *context, const struct conf_node *node,
		      const char *what, enum route_condition_subject subject,
		      struct route_condition *condition)
{
	char value[VALUE_MAX];

	/* The value of a field comes without outer spaces, so that one with them would never match.
	 */
	if (node->type != CONF_SCALAR || conf_is_null(node) ||
	    (subject == ROUTE_CONDITION_HEADER &&
	     (!http_value_is_valid(node->value) || !str_eq(str_trim(node->value), node->value)))) {
		conf_error(context->errors, node,
			   "%s: expected text%s, or a mapping with 'regex' or 'present', got %s",
			   what,
			   subject == ROUTE_CONDITION_HEADER
				   ? " without control bytes and outer spaces"
				   : "",
			   conf_describe(node, value, sizeof(value)));
		return -EINVAL;
	}
	condition->kind = ROUTE_CONDITION_EXACT;
	condition->value = arena_copy(context->arena, node->value);
	return condition->value.ptr ? 0 : field_no_memory(context, node);
}

/* Fields compare without case, so the configuration keeps them in lower case. */
static int name_read(const struct field_context *context, const struct conf_node *node,
		     const char *what, enum route_condition_subject subject,
		     struct route_condition *condition)
{
	struct str key = node->key;
	char name[VALUE_MAX];
	char *text;

	(void)str_quote(key, name, sizeof(name));
	if (subject == ROUTE_CONDITION_HEADER && !http_name_is_valid(key)) {
		conf_error_key(context->errors, node, "%s: %s is not a field name", what, name);
		return -EINVAL;
	}
	if (!key.len || key.len > NAME_BYTES_MAX) {
		conf_error_key(context->errors, node, "%s: a name has 1 to %d bytes", what,
			       NAME_BYTES_MAX);
		return -EINVAL;
	}
	text = arena_alloc_bytes(context->arena, key.len + 1);
	if (!text)
		return field_no_memory(context, node);
	for (size_t i = 0; i < key.len; i++)
		text[i] = subject == ROUTE_CONDITION_HEADER ? ascii_lower(key.ptr[i]) : key.ptr[i];
	text[key.len] = '\0';
	condition->name = str_make(text, key.len);
	if (subject == ROUTE_CONDITION_HEADER)
		condition->id = http_field_lookup(condition->name);
	/* It may carry a port and be absent in favour of the target's authority. */
	if (condition->id == HTTP_FIELD_HOST) {
		conf_error_key(context->errors, node, "%s: 'host' is what 'hosts' is for", what);
		return -EINVAL;
	}
	return 0;
}

static int condition_read(const struct field_context *context, const struct conf_node *node,
			  const char *what, enum route_condition_subject subject,
			  struct route_conditions *conditions)
{
	struct route_condition *condition = &conditions->items[conditions->count];
	char inner[WHAT_MAX], name[VALUE_MAX];
	int r = name_read(context, node, what, subject, condition);

	for (unsigned int i = 0; !r && i < conditions->count; i++) {
		if (!str_eq(conditions->items[i].name, condition->name))
			continue;
		conf_error_key(context->errors, node, "%s: %s is given twice", what,
			       str_quote(condition->name, name, sizeof(name)));
		r = -EINVAL;
	}
	if (r || node->refused)
		return -EINVAL;
	(void)snprintf(inner, sizeof(inner), "%s: %s", what,
		       str_quote(condition->name, name, sizeof(name)));
	if (node->type == CONF_MAPPING)
		return mapping_read(context, node, inner, condition);
	return exact_read(context, node, inner, subject, condition);
}

int route_conditions_read(const struct field_context *context, const struct conf_node *node,
			  const char *what, enum route_condition_subject subject,
			  struct route_conditions *ret_conditions)
{
	struct route_conditions conditions = {0};
	char value[VALUE_MAX];
	int result = 0;

	if (node->refused)
		return -EINVAL;
	if (node->type != CONF_MAPPING && !conf_is_null(node)) {
		conf_error(context->errors, node, "%s: expected a mapping, got %s", what,
			   conf_describe(node, value, sizeof(value)));
		return -EINVAL;
	}
	if (node->count > ROUTE_CONDITIONS_MAX) {
		conf_error(context->errors, node, "%s: at most %d conditions", what,
			   ROUTE_CONDITIONS_MAX);
		return -EINVAL;
	}
	conditions.items = arena_new_array(context->arena, struct route_condition, node->count);
	if (!conditions.items)
		return field_no_memory(context, node);
	conf_for_each (member, node) {
		if (condition_read(context, member, what, subject, &conditions))
			result = -EINVAL;
		else
			conditions.count++;
	}
	if (!result)
		*ret_conditions = conditions;
	return result;
}

void route_conditions_write(struct conf_writer *writer, const char *key,
			    const struct route_conditions *conditions)
{
	if (!conditions->count)
		return;
	conf_write_open_mapping(writer, key);
	for (unsigned int i = 0; i < conditions->count; i++) {
		const struct route_condition *item = &conditions->items[i];

		if (item->kind == ROUTE_CONDITION_EXACT) {
			conf_write_member(writer, item->name, item->value);
			continue;
		}
		/* Names end in a NUL in the arena. */
		conf_write_open_mapping(writer, item->name.ptr);
		if (item->kind == ROUTE_CONDITION_REGEX)
			conf_write_str(writer, "regex", item->value);
		else
			conf_write_plain(writer, "present",
					 item->kind == ROUTE_CONDITION_PRESENT ? "on" : "off");
		conf_write_close(writer);
	}
	conf_write_close(writer);
}

#include "filter/auth.h"

#include <errno.h>

#include "http/field_edit.h"

#define WHAT_MAX     160
#define VALUE_MAX    96
#define FORWARDS_MAX 16

static struct str copy_lower(struct arena *arena, struct str text)
{
	char *copy = arena_alloc_bytes(arena, text.len + 1);

	if (!copy)
		return STR_NULL;
	for (size_t i = 0; i < text.len; i++)
		copy[i] = ascii_lower(text.ptr[i]);
	copy[text.len] = '\0';
	return str_make(copy, text.len);
}

int auth_field_name_read(const struct field_context *context, const struct conf_node *node,
			 const char *what, struct str *ret_name)
{
	char value[VALUE_MAX];

	if (node->type != CONF_SCALAR || !http_name_is_valid(node->value)) {
		conf_error(context->errors, node, "%s: expected the name of a field, got %s", what,
			   conf_describe(node, value, sizeof(value)));
		return -EINVAL;
	}
	*ret_name = copy_lower(context->arena, node->value);
	return ret_name->ptr ? 0 : field_no_memory(context, node);
}

/* ---- forward ---- */

static bool is_sensitive(struct str name)
{
	return http_field_kinds(http_field_lookup(name)) & HTTP_FIELD_SENSITIVE;
}

static int add_forward(const struct field_context *context, const struct conf_node *node,
		       const char *what, struct str claim, struct auth_conf *auth)
{
	struct auth_forward *forward = &auth->forwards[auth->forward_count];
	char value[VALUE_MAX];

	if (auth_field_name_read(context, node, what, &forward->field))
		return -EINVAL;
	if (!field_may_be_edited(forward->field) || is_sensitive(forward->field)) {
		conf_error(context->errors, node, "%s: %s is not a field that a policy may set",
			   what, str_quote(node->value, value, sizeof(value)));
		return -EINVAL;
	}
	for (unsigned int i = 0; i < auth->forward_count; i++) {
		if (!field_name_equal_folded(auth->forwards[i].field, forward->field))
			continue;
		conf_error(context->errors, node, "%s: field %s is set twice", what,
			   str_quote(node->value, value, sizeof(value)));
		return -EINVAL;
	}
	forward->claim = arena_copy(context->arena, claim);
	if (!forward->claim.ptr)
		return field_no_memory(context, node);
	auth->owned_fields[auth->forward_count++] = forward->field;
	return 0;
}

int auth_forward_read(const struct field_context *context, const struct conf_node *node,
		      void *target)
{
	struct auth_conf *auth = target;
	char what[WHAT_MAX], value[VALUE_MAX];
	int result = 0;

	(void)snprintf(what, sizeof(what), "%s: forward", context->what);
	auth->forwards = arena_new_array(context->arena, struct auth_forward, FORWARDS_MAX);
	auth->owned_fields = arena_new_array(context->arena, struct str, FORWARDS_MAX);
	if (!auth->forwards || !auth->owned_fields)
		return field_no_memory(context, node);
	if (node->type == CONF_SCALAR && !conf_is_null(node))
		return add_forward(context, node, what, STR("consumer"), auth);
	if (node->type != CONF_MAPPING) {
		conf_error(context->errors, node,
			   "%s: expected a field for the consumer, or claims and their fields, "
			   "got %s",
			   what, conf_describe(node, value, sizeof(value)));
		return -EINVAL;
	}
	if (node->count > FORWARDS_MAX) {
		conf_error(context->errors, node, "%s: more than %d fields", what, FORWARDS_MAX);
		return -EINVAL;
	}
	conf_for_each (member, node)
		if (add_forward(context, member, what, member->key, auth))
			result = -EINVAL;
	return result;
}

void auth_forward_print(struct conf_writer *writer, const char *key, const void *target)
{
	const struct auth_conf *auth = target;

	if (!auth->forward_count)
		return;
	conf_write_open_mapping(writer, key);
	for (unsigned int i = 0; i < auth->forward_count; i++)
		conf_write_member(writer, auth->forwards[i].claim, auth->forwards[i].field);
	conf_write_close(writer);
}

int auth_check_forward(const struct field_context *context, const struct conf_node *node,
		       const char *what, const struct auth_conf *auth, struct str credentials)
{
	for (unsigned int i = 0; credentials.ptr && i < auth->forward_count; i++) {
		if (!field_name_equal_folded(auth->forwards[i].field, credentials))
			continue;
		conf_error(context->errors, conf_get(node, "forward"),
			   "%s: forward: credentials are read of '%.*s', which the client sends",
			   what, STR_FMT(credentials));
		return -EINVAL;
	}
	return 0;
}

/* ---- { file: PATH } ---- */

static const struct field file_field = {.key = "file", .kind = FIELD_STRING, .required = true};

int auth_file_read(const struct field_context *context, const struct conf_node *node,
		   const char *what, size_t bytes_max, struct value_file *file)
{
	struct str name = STR_NULL;

	buf_init(&file->content, bytes_max);
	if (field_read(context, &file_field, 1, node, what, &name))
		return -EINVAL;
	return value_file_read(context, conf_get(node, "file"), what, name, bytes_max, file)
		       ? -EINVAL
		       : 0;
}

void auth_file_write(struct conf_writer *writer, const char *key, struct str path)
{
	if (!path.ptr)
		return;
	conf_write_open_mapping(writer, key);
	conf_write_str(writer, "file", path);
	conf_write_close(writer);
}

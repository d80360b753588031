#include "http/policy_fields_config.h"

#include <errno.h>

#include "conf/names.h"
#include "http/field_edit.h"

#define VALUE_MAX 96

int policy_field_check(const struct field_context *context, const struct conf_node *node,
		       struct str name, const char *what)
{
	char value[VALUE_MAX];

	if (!http_name_is_valid(name)) {
		conf_error(context->errors, node, "%s: %s is not a header name", what,
			   str_quote(name, value, sizeof(value)));
		return -EINVAL;
	}
	if (!field_may_be_edited(name)) {
		conf_error(context->errors, node,
			   "%s: '%.*s' frames messages or says who the client is, and is written "
			   "by Sluice alone",
			   what, STR_FMT(name));
		return -EINVAL;
	}
	return 0;
}

static struct str lower(const struct field_context *context, struct str name)
{
	struct str copy = arena_copy(context->arena, name);
	char *bytes = (char *)copy.ptr; /* just made */

	for (size_t i = 0; bytes && i < copy.len; i++)
		bytes[i] = ascii_lower(bytes[i]);
	return copy;
}

int policy_field_names_read(const struct field_context *context, const struct conf_node *node,
			    const char *what, struct field_names *ret_names)
{
	const struct conf_node *item = node->type == CONF_SEQUENCE ? node->children : node;
	struct str *texts = NULL;
	unsigned int count = 0;
	int result = 0;

	if (texts_read(context, node, what, &texts, &count))
		return -EINVAL;
	for (unsigned int i = 0; i < count; i++, item = item->next) {
		if (policy_field_check(context, item, texts[i], what)) {
			result = -EINVAL;
			continue;
		}
		texts[i] = lower(context, texts[i]);
		if (!texts[i].ptr)
			return field_no_memory(context, item);
		for (unsigned int j = 0; j < i; j++) {
			if (!field_name_equal_folded(texts[i], texts[j]))
				continue;
			conf_error(context->errors, item, "%s: '%.*s' is listed twice", what,
				   STR_FMT(texts[i]));
			result = -EINVAL;
			break;
		}
	}
	ret_names->names = texts;
	ret_names->count = count;
	return result;
}

void policy_field_names_write(struct conf_writer *writer, const char *key,
			      const struct field_names *names)
{
	conf_write_texts(writer, key, names->names, names->count);
}

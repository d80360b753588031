#include "http/upgrade_config.h"

#include <errno.h>

#include "conf/names.h"
#include "http/upgrade.h"

#define VALUE_MAX 96

static int token_check(const struct field_context *context, const struct conf_node *node,
		       const char *what, struct str token)
{
	char *bytes = (char *)token.ptr; /* our copy */
	char value[VALUE_MAX];

	for (size_t i = 0; i < token.len; i++)
		bytes[i] = ascii_lower(bytes[i]);
	if (upgrade_token_is_allowed(token))
		return 0;
	conf_error(context->errors, node,
		   "%s: expected a protocol such as websocket, other than HTTP and TLS, got %s",
		   what, conf_describe(node, value, sizeof(value)));
	return -EINVAL;
}

int upgrade_tokens_read(const struct field_context *context, const struct conf_node *node,
			const char *what, struct str **ret_tokens, unsigned int *ret_count)
{
	const struct conf_node *item = node->type == CONF_SEQUENCE ? node->children : node;
	int result = 0;

	if (texts_read(context, node, what, ret_tokens, ret_count))
		return -EINVAL;
	for (unsigned int i = 0; i < *ret_count; i++, item = item->next)
		if (token_check(context, item, what, (*ret_tokens)[i]))
			result = -EINVAL;
	return result;
}

int upgrade_token_read(const struct field_context *context, const struct conf_node *node,
		       const char *what, struct str *ret_token)
{
	char value[VALUE_MAX];

	if (node->type != CONF_SCALAR) {
		conf_error(context->errors, node,
			   "%s: expected one protocol such as websocket, got %s", what,
			   conf_describe(node, value, sizeof(value)));
		return -EINVAL;
	}
	*ret_token = arena_copy(context->arena, node->value);
	if (!ret_token->ptr)
		return field_no_memory(context, node);
	return token_check(context, node, what, *ret_token);
}

#include "http/hiding_config.h"

#include <errno.h>

#include "conf/names.h"
#include "http/hiding.h"

#define WHAT_MAX  160
#define VALUE_MAX 96

static int add_field(const struct field_context *context, const struct conf_node *node,
		     struct str name, uint32_t *exposed)
{
	char value[VALUE_MAX];

	if (str_eq(name, STR("all"))) {
		*exposed = HIDING_ALL;
		return 0;
	}
	for (unsigned int i = 0; hiding_field_name(i).ptr; i++) {
		if (!str_eq_nocase(hiding_field_name(i), name))
			continue;
		*exposed |= 1u << i;
		return 0;
	}
	conf_error(context->errors, node,
		   "%s: expose_upstream: %s is neither 'all' nor a field that is hidden",
		   context->what, str_quote(name, value, sizeof(value)));
	return -EINVAL;
}

int hiding_config_read(const struct field_context *context, const struct conf_node *node,
		       uint32_t *ret_exposed)
{
	const struct conf_node *item = node->type == CONF_SEQUENCE ? node->children : node;
	struct str *names = NULL;
	unsigned int count = 0;
	uint32_t exposed = 0;
	char what[WHAT_MAX];
	int result = 0;

	(void)snprintf(what, sizeof(what), "%s: expose_upstream", context->what);
	if (texts_read(context, node, what, &names, &count))
		return -EINVAL;
	for (unsigned int i = 0; i < count; i++, item = item->next)
		if (add_field(context, item, names[i], &exposed))
			result = -EINVAL;
	*ret_exposed = exposed;
	return result;
}

void hiding_config_write(struct conf_writer *writer, const char *key, uint32_t exposed)
{
	conf_write_open_list(writer, key);
	if (exposed == HIDING_ALL)
		conf_write_plain(writer, NULL, "all");
	for (unsigned int i = 0; exposed != HIDING_ALL && hiding_field_name(i).ptr; i++)
		if (exposed & 1u << i)
			conf_write_str(writer, NULL, hiding_field_name(i));
	conf_write_close(writer);
}

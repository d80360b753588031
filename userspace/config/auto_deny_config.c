#include "config/auto_deny_config.h"

#include <errno.h>

#include "conf/names.h"
#include "http/offence.h"

#define WHAT_MAX   160
#define VALUE_MAX  96
#define RULES_MAX  16
#define OVER_MAX   1000000
#define TTL_MS_MIN 1000
#define TTL_MS_MAX (366ULL * 24 * 3600 * 1000)

static const struct field_name event_names[] = {
#define X(symbol, text) {.name = text, .value = OFFENCE_##symbol},
	OFFENCES(X)
#undef X
};

static int over_read(const struct field_context *context, const struct conf_node *node,
		     void *target)
{
	struct auto_deny_rule *rule = target;
	char value[VALUE_MAX];

	if (node->type == CONF_SCALAR &&
	    !units_parse_rate(node->value, &rule->count, &rule->period_ms) && rule->count &&
	    rule->count <= OVER_MAX)
		return 0;
	conf_error(context->errors, node, "%s: over: expected a rate as '20/m', up to %d, got %s",
		   context->what, OVER_MAX, conf_describe(node, value, sizeof(value)));
	return -EINVAL;
}

static void over_print(struct conf_writer *writer, const char *key, const void *target)
{
	const struct auto_deny_rule *rule = target;
	char period[24], text[64];

	/* "1m": the unit alone. */
	(void)snprintf(text, sizeof(text), "%llu/%s", (unsigned long long)rule->count,
		       units_format_duration(rule->period_ms, period, sizeof(period)) + 1);
	conf_write_str(writer, key, str_from_cstr(text));
}

static const struct field rule_fields[] = {
	{.key = "event",
	 .kind = FIELD_ENUM,
	 .offset = offsetof(struct auto_deny_rule, event),
	 .required = true,
	 .names = event_names,
	 .name_count = ARRAY_SIZE(event_names)},
	{.key = "over",
	 .kind = FIELD_CUSTOM,
	 .required = true,
	 .read = over_read,
	 .print = over_print},
	{.key = "ttl",
	 .kind = FIELD_DURATION_MS,
	 .offset = offsetof(struct auto_deny_rule, ttl_ms),
	 .required = true,
	 .min = TTL_MS_MIN,
	 .max = TTL_MS_MAX},
};

int auto_deny_config_read(const struct field_context *context, const struct conf_node *node,
			  struct auto_deny_conf *conf)
{
	char what[WHAT_MAX];
	int result = 0;

	(void)snprintf(what, sizeof(what), "%s: auto_deny", context->what);
	if (list_check(context, node, what))
		return -EINVAL;
	if (node->count > RULES_MAX) {
		conf_error(context->errors, node, "%s: more than %d rules", what, RULES_MAX);
		return -EINVAL;
	}
	conf->rules = arena_new_array(context->arena, struct auto_deny_rule, node->count);
	if (!conf->rules)
		return field_no_memory(context, node);
	conf_for_each (item, node)
		if (field_read(context, rule_fields, ARRAY_SIZE(rule_fields), item, what,
			       &conf->rules[conf->rule_count++]))
			result = -EINVAL;
	return result;
}

void auto_deny_config_write(struct conf_writer *writer, const char *key,
			    const struct auto_deny_conf *conf)
{
	conf_write_open_list(writer, key);
	for (unsigned int i = 0; i < conf->rule_count; i++) {
		conf_write_open_item(writer);
		field_write(writer, rule_fields, ARRAY_SIZE(rule_fields), &conf->rules[i]);
		conf_write_close(writer);
	}
	conf_write_close(writer);
}

#include <errno.h>

#include "conf/names.h"
#include "filter/authorize.h"
#include "http/path.h"

#define WHAT_MAX  160
#define VALUE_MAX 96
#define RULES_MAX 64

static const char *const kind_keys[] = {
#define X(symbol, key) [AUTHORIZE_##symbol] = key,
	AUTHORIZE_KINDS(X)
#undef X
};

const char *authorize_kind_key(enum authorize_kind kind)
{
	return kind_keys[kind];
}

/* A rule at work, and the whole that it is part of. */
struct reading {
	struct authorize_rule *rule;
	struct authorize *whole;
	unsigned int depth;
	struct str equals; /* `equals_claim` */
};

static int rule_read(const struct field_context *context, const struct conf_node *node,
		     const char *what, struct authorize *whole, unsigned int depth,
		     struct authorize_rule *rule);

static enum authorize_kind kind_of(struct str key)
{
	enum authorize_kind kind = AUTHORIZE_ANY;

	while (kind < AUTHORIZE_KIND_COUNT && !str_eq_cstr(key, kind_keys[kind]))
		kind++;
	return kind;
}

/* ---- rules of rules ---- */

static int rules_read(const struct field_context *context, const struct conf_node *node,
		      void *target)
{
	struct reading *reading = target;
	struct authorize_rule *rule = reading->rule;
	bool is_not = rule->kind == AUTHORIZE_NOT;
	char what[WHAT_MAX];
	int result = 0;

	(void)snprintf(what, sizeof(what), "%s: %s", context->what, kind_keys[rule->kind]);
	if (reading->depth >= AUTHORIZE_DEPTH_MAX) {
		conf_error(context->errors, node, "%s: rules are nested more than %d deep", what,
			   AUTHORIZE_DEPTH_MAX);
		return -EINVAL;
	}
	if (!is_not && list_check(context, node, what))
		return -EINVAL;
	if (!is_not && (!node->count || node->count > RULES_MAX)) {
		conf_error(context->errors, node, "%s: expected 1 to %d rules", what, RULES_MAX);
		return -EINVAL;
	}
	rule->rules =
		arena_new_array(context->arena, struct authorize_rule, is_not ? 1 : node->count);
	if (!rule->rules)
		return field_no_memory(context, node);
	if (is_not) {
		rule->rule_count = 1;
		return rule_read(context, node, what, reading->whole, reading->depth + 1,
				 rule->rules);
	}
	conf_for_each (item, node)
		if (rule_read(context, item, what, reading->whole, reading->depth + 1,
			      &rule->rules[rule->rule_count++]))
			result = -EINVAL;
	return result;
}

/* ---- single rules ---- */

static int list_read(const struct field_context *context, const struct conf_node *node,
		     void *target)
{
	struct authorize_rule *rule = ((struct reading *)target)->rule;
	char what[WHAT_MAX];

	(void)snprintf(what, sizeof(what), "%s: %.*s", context->what, STR_FMT(node->key));
	if (texts_read(context, node, what, &rule->texts, &rule->text_count))
		return -EINVAL;
	if (rule->text_count)
		return 0;
	conf_error(context->errors, node, "%s: an empty list holds for nobody", what);
	return -EINVAL;
}

static int method_read(const struct field_context *context, const struct conf_node *node,
		       void *target)
{
	const struct authorize_rule *rule = ((struct reading *)target)->rule;
	char value[VALUE_MAX];

	if (list_read(context, node, target))
		return -EINVAL;
	for (unsigned int i = 0; i < rule->text_count; i++) {
		bool valid = http_name_is_valid(rule->texts[i]);

		for (size_t j = 0; j < rule->texts[i].len; j++)
			valid = valid &&
				!(rule->texts[i].ptr[j] >= 'a' && rule->texts[i].ptr[j] <= 'z');
		if (valid)
			continue;
		conf_error(context->errors, node, "%s: method: %s is not a method in capitals",
			   context->what, str_quote(rule->texts[i], value, sizeof(value)));
		return -EINVAL;
	}
	return 0;
}

static int known_read(const struct field_context *context, const struct conf_node *node,
		      void *target)
{
	if (node->type == CONF_SCALAR && !node->quoted && str_eq(node->value, STR("true")))
		return 0;
	conf_error(context->errors, node, "%s: known: expected true; the contrary is 'not'",
		   context->what);
	return -EINVAL;
}

static int source_read(const struct field_context *context, const struct conf_node *node,
		       void *target)
{
	struct authorize_rule *rule = ((struct reading *)target)->rule;
	char value[VALUE_MAX];
	int result = 0;

	if (list_read(context, node, target))
		return -EINVAL;
	rule->prefixes = arena_new_array(context->arena, struct ip_prefix, rule->text_count);
	if (!rule->prefixes)
		return field_no_memory(context, node);
	for (unsigned int i = 0; i < rule->text_count; i++) {
		struct error err = {0};

		if (!ip_prefix_parse(rule->texts[i], &rule->prefixes[rule->prefix_count++], &err))
			continue;
		conf_error(context->errors, node, "%s: source: %s: %s", context->what,
			   str_quote(rule->texts[i], value, sizeof(value)), err.text);
		result = -EINVAL;
	}
	return result;
}

/* ---- path ---- */

struct path_file {
	struct str prefix, exact;
};

static const struct field path_fields[] = {
	{.key = "prefix", .kind = FIELD_STRING, .offset = offsetof(struct path_file, prefix)},
	{.key = "exact", .kind = FIELD_STRING, .offset = offsetof(struct path_file, exact)},
};

static int path_read(const struct field_context *context, const struct conf_node *node,
		     void *target)
{
	struct authorize_rule *rule = ((struct reading *)target)->rule;
	struct path_file file = {0};
	char what[WHAT_MAX], value[VALUE_MAX];
	struct str path, canonical;

	(void)snprintf(what, sizeof(what), "%s: path", context->what);
	if (field_read(context, path_fields, ARRAY_SIZE(path_fields), node, what, &file))
		return -EINVAL;
	if (!file.prefix.ptr == !file.exact.ptr) {
		conf_error(context->errors, node, "%s: needs exactly one of 'prefix' and 'exact'",
			   what);
		return -EINVAL;
	}
	path = file.exact.ptr ? file.exact : file.prefix;
	if (!str_starts_with(path, STR("/")) ||
	    path_canonicalise(path, context->arena, &canonical) || !str_eq(path, canonical)) {
		conf_error(context->errors, node, "%s: %s is no path in its canonical form", what,
			   str_quote(path, value, sizeof(value)));
		return -EINVAL;
	}
	rule->exact = file.exact.ptr;
	if (!rule->exact && path.ptr[path.len - 1] == '/')
		path.len--;
	rule->path = path;
	return 0;
}

/* ---- time ---- */

struct time_file {
	struct str from, to;
};

static int days_read(const struct field_context *context, const struct conf_node *node,
		     void *target);

static const char *const day_names[] = {"sun", "mon", "tue", "wed", "thu", "fri", "sat"};

/* "08:30"; "24:00" is the end of the day. */
static int minute_parse(struct str text, uint64_t *ret_minute)
{
	uint64_t hours, minutes;

	if (text.len != 5 || text.ptr[2] != ':' || str_to_u64(str_sub(text, 0, 2), &hours) ||
	    str_to_u64(str_sub(text, 3, 2), &minutes) || minutes > 59 ||
	    hours * 60 + minutes > 24 * 60)
		return -EINVAL;
	*ret_minute = hours * 60 + minutes;
	return 0;
}

static int minute_read(const struct field_context *context, const struct conf_node *node,
		       void *target)
{
	struct authorize_rule *rule = target;
	char value[VALUE_MAX];

	if (node->type == CONF_SCALAR &&
	    !minute_parse(node->value,
			  str_eq(node->key, STR("from")) ? &rule->from_min : &rule->to_min))
		return 0;
	conf_error(context->errors, node, "%s: %.*s: expected a time as \"08:30\", got %s",
		   context->what, STR_FMT(node->key), conf_describe(node, value, sizeof(value)));
	return -EINVAL;
}

static void minute_print(struct conf_writer *writer, const char *key, const void *target)
{
	const struct authorize_rule *rule = target;
	uint64_t minute = !strcmp(key, "from") ? rule->from_min : rule->to_min;
	char text[16];

	(void)snprintf(text, sizeof(text), "%02u:%02u", (unsigned int)(minute / 60),
		       (unsigned int)(minute % 60));
	conf_write_str(writer, key, str_from_cstr(text));
}

static void days_print(struct conf_writer *writer, const char *key, const void *target)
{
	const struct authorize_rule *rule = target;

	conf_write_open_list(writer, key);
	for (unsigned int i = 0; i < ARRAY_SIZE(day_names); i++)
		if (rule->days & 1u << i)
			conf_write_str(writer, NULL, str_from_cstr(day_names[i]));
	conf_write_close(writer);
}

static const struct field time_fields[] = {
	{.key = "from",
	 .kind = FIELD_CUSTOM,
	 .required = true,
	 .read = minute_read,
	 .print = minute_print},
	{.key = "to",
	 .kind = FIELD_CUSTOM,
	 .required = true,
	 .read = minute_read,
	 .print = minute_print},
	{.key = "days", .kind = FIELD_CUSTOM, .read = days_read, .print = days_print},
};

static int days_read(const struct field_context *context, const struct conf_node *node,
		     void *target)
{
	struct authorize_rule *rule = target;
	struct str *texts = NULL;
	unsigned int count = 0;
	char what[WHAT_MAX], value[VALUE_MAX];

	(void)snprintf(what, sizeof(what), "%s: days", context->what);
	if (texts_read(context, node, what, &texts, &count))
		return -EINVAL;
	rule->days = 0;
	for (unsigned int i = 0; i < count; i++) {
		unsigned int day = 0;

		while (day < ARRAY_SIZE(day_names) && !str_eq_cstr(texts[i], day_names[day]))
			day++;
		if (day == ARRAY_SIZE(day_names)) {
			conf_error(context->errors, node,
				   "%s: expected sun, mon, tue, wed, thu, fri or sat, got %s", what,
				   str_quote(texts[i], value, sizeof(value)));
			return -EINVAL;
		}
		rule->days |= 1u << day;
	}
	if (rule->days)
		return 0;
	conf_error(context->errors, node, "%s: an empty list is no day", what);
	return -EINVAL;
}

static int time_read(const struct field_context *context, const struct conf_node *node,
		     void *target)
{
	struct authorize_rule *rule = ((struct reading *)target)->rule;
	char what[WHAT_MAX];

	(void)snprintf(what, sizeof(what), "%s: time", context->what);
	rule->days = AUTHORIZE_ALL_DAYS;
	if (field_read(context, time_fields, ARRAY_SIZE(time_fields), node, what, rule))
		return -EINVAL;
	if (rule->from_min != rule->to_min)
		return 0;
	conf_error(context->errors, node, "%s: 'from' and 'to' are the same", what);
	return -EINVAL;
}

/* ---- a rule ---- */

static int name_read(const struct field_context *context, const struct conf_node *node,
		     void *target)
{
	struct authorize_rule *rule = ((struct reading *)target)->rule;
	char value[VALUE_MAX];

	if (node->type != CONF_SCALAR || !node->value.len) {
		conf_error(context->errors, node, "%s: %.*s: expected a name, got %s",
			   context->what, STR_FMT(node->key),
			   conf_describe(node, value, sizeof(value)));
		return -EINVAL;
	}
	rule->name = arena_copy(context->arena, node->value);
	return rule->name.ptr ? 0 : field_no_memory(context, node);
}

static const struct field rule_fields[] = {
	{.key = "any", .kind = FIELD_CUSTOM, .read = rules_read},
	{.key = "all", .kind = FIELD_CUSTOM, .read = rules_read},
	{.key = "not", .kind = FIELD_CUSTOM, .read = rules_read},
	{.key = "known", .kind = FIELD_CUSTOM, .read = known_read},
	{.key = "claim", .kind = FIELD_CUSTOM, .read = name_read},
	{.key = "in", .kind = FIELD_CUSTOM, .read = list_read},
	{.key = "scope", .kind = FIELD_CUSTOM, .read = list_read},
	{.key = "group", .kind = FIELD_CUSTOM, .read = list_read},
	{.key = "consumer", .kind = FIELD_CUSTOM, .read = list_read},
	{.key = "method", .kind = FIELD_CUSTOM, .read = method_read},
	{.key = "path", .kind = FIELD_CUSTOM, .read = path_read},
	{.key = "variable", .kind = FIELD_CUSTOM, .read = name_read},
	{.key = "equals_claim", .kind = FIELD_STRING, .offset = offsetof(struct reading, equals)},
	{.key = "source", .kind = FIELD_CUSTOM, .read = source_read},
	{.key = "time", .kind = FIELD_CUSTOM, .read = time_read},
	{.key = "country", .kind = FIELD_NOT_YET},
};

/* -ENOENT: none, which is not reported yet. Exactly one kind; `in` and `equals_claim` belong to
 * one. */
static int find_kind(const struct field_context *context, const struct conf_node *node,
		     const char *what, struct authorize_rule *rule)
{
	const struct conf_node *found = NULL;

	conf_for_each (member, node) {
		enum authorize_kind kind = kind_of(member->key);

		if (str_eq(member->key, STR("country")))
			return 0; /* said already */
		if (kind == AUTHORIZE_KIND_COUNT)
			continue;
		if (found) {
			conf_error_key(context->errors, member,
				       "%s: has '%.*s' already; several rules stand in "
				       "'all' or 'any'",
				       what, STR_FMT(found->key));
			return -EINVAL;
		}
		found = member;
		rule->kind = kind;
	}
	return found ? 0 : -ENOENT;
}

static int report_no_kind(const struct field_context *context, const struct conf_node *node,
			  const char *what)
{
	conf_error(context->errors, node,
		   "%s: expected a rule: 'any', 'all', 'not', 'known', 'claim', 'scope', 'group', "
		   "'consumer', 'method', 'path', 'variable', 'source' or 'time'",
		   what);
	return -EINVAL;
}

static int check_parts(const struct field_context *context, const struct conf_node *node,
		       const char *what, const struct authorize_rule *rule)
{
	const struct conf_node *in = conf_get(node, "in"), *equals = conf_get(node, "equals_claim");

	if (in && rule->kind != AUTHORIZE_CLAIM && rule->kind != AUTHORIZE_VARIABLE) {
		conf_error_key(context->errors, in, "%s: 'in' belongs to 'claim' or 'variable'",
			       what);
		return -EINVAL;
	}
	if (equals && rule->kind != AUTHORIZE_VARIABLE) {
		conf_error_key(context->errors, equals, "%s: 'equals_claim' belongs to 'variable'",
			       what);
		return -EINVAL;
	}
	if (rule->kind == AUTHORIZE_VARIABLE && !in == !equals) {
		conf_error(context->errors, node,
			   "%s: variable: needs exactly one of 'in' and 'equals_claim'", what);
		return -EINVAL;
	}
	return 0;
}

static void note_subjects(struct authorize *whole, const struct authorize_rule *rule)
{
	switch (rule->kind) {
	case AUTHORIZE_KNOWN:
	case AUTHORIZE_CLAIM:
	case AUTHORIZE_SCOPE:
	case AUTHORIZE_GROUP:
	case AUTHORIZE_CONSUMER:
		whole->asks_who = true;
		break;
	case AUTHORIZE_VARIABLE:
		whole->asks_path = true;
		if (rule->claim.ptr)
			whole->asks_who = true;
		break;
	case AUTHORIZE_PATH:
		whole->asks_path = true;
		break;
	default:
		break;
	}
}

static int rule_read(const struct field_context *context, const struct conf_node *node,
		     const char *what, struct authorize *whole, unsigned int depth,
		     struct authorize_rule *rule)
{
	struct reading reading = {.rule = rule, .whole = whole, .depth = depth};

	int kind = node->type == CONF_MAPPING ? find_kind(context, node, what, rule) : -ENOENT;

	if (node->type != CONF_MAPPING)
		return node->refused ? -EINVAL : report_no_kind(context, node, what);
	if (kind == -EINVAL ||
	    field_read(context, rule_fields, ARRAY_SIZE(rule_fields), node, what, &reading))
		return -EINVAL;
	if (kind)
		return report_no_kind(context, node, what);
	if (check_parts(context, node, what, rule))
		return -EINVAL;
	rule->claim = reading.equals;
	note_subjects(whole, rule);
	return 0;
}

int authorize_read(const struct field_context *context, const struct conf_node *node,
		   const char *what, void *conf)
{
	struct authorize *authorize = conf;

	return rule_read(context, node, what, authorize, 0, &authorize->root);
}

/* ---- writing ---- */

static void write_texts(struct conf_writer *writer, const char *key,
			const struct authorize_rule *rule)
{
	conf_write_open_list(writer, key);
	for (unsigned int i = 0; i < rule->text_count; i++)
		conf_write_str(writer, NULL, rule->texts[i]);
	conf_write_close(writer);
}

static void write_rule(struct conf_writer *writer, const struct authorize_rule *rule)
{
	const char *key = kind_keys[rule->kind];

	switch (rule->kind) {
	case AUTHORIZE_ANY:
	case AUTHORIZE_ALL:
		conf_write_open_list(writer, key);
		for (unsigned int i = 0; i < rule->rule_count; i++) {
			conf_write_open_item(writer);
			write_rule(writer, &rule->rules[i]);
			conf_write_close(writer);
		}
		conf_write_close(writer);
		break;
	case AUTHORIZE_NOT:
		conf_write_open_mapping(writer, key);
		write_rule(writer, rule->rules);
		conf_write_close(writer);
		break;
	case AUTHORIZE_KNOWN:
		conf_write_plain(writer, key, "true");
		break;
	case AUTHORIZE_CLAIM:
	case AUTHORIZE_VARIABLE:
		conf_write_str(writer, key, rule->name);
		if (rule->claim.ptr)
			conf_write_str(writer, "equals_claim", rule->claim);
		if (rule->text_count)
			write_texts(writer, "in", rule);
		break;
	case AUTHORIZE_PATH:
		conf_write_open_mapping(writer, key);
		conf_write_str(writer, rule->exact ? "exact" : "prefix",
			       rule->path.len ? rule->path : STR("/"));
		conf_write_close(writer);
		break;
	case AUTHORIZE_TIME:
		conf_write_open_mapping(writer, key);
		field_write(writer, time_fields, ARRAY_SIZE(time_fields), rule);
		conf_write_close(writer);
		break;
	default:
		write_texts(writer, key, rule);
		break;
	}
}

void authorize_write(struct conf_writer *writer, const void *conf)
{
	write_rule(writer, &((const struct authorize *)conf)->root);
}

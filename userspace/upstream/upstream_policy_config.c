#include "upstream/upstream_policy_config.h"

#include <errno.h>

#include "base/util.h"
#include "conf/names.h"
#include "proto/http_head.h"

#define VALUE_MAX    96
#define HINT_MAX     160
#define WHAT_MAX     160
#define NAME_MAX_LEN 255

#define AT(member) .offset = offsetof(struct upstream_conf, member)

const struct field upstream_ejection_fields[UPSTREAM_EJECTION_FIELDS] = {
	{.key = "consecutive_failures",
	 .kind = FIELD_U64,
	 AT(ejection.consecutive_failures),
	 .max = 1000,
	 .default_text = "5"},
	{.key = "base",
	 .kind = FIELD_DURATION_MS,
	 AT(ejection.base_ms),
	 .min = 1,
	 .max = 86400000,
	 .default_text = "30s"},
	{.key = "max",
	 .kind = FIELD_PERCENT,
	 AT(ejection.max_share),
	 .min = 100,
	 .max = 10000,
	 .default_text = "50%"},
};

const struct field upstream_limit_fields[UPSTREAM_LIMIT_FIELDS] = {
	{.key = "connections",
	 .kind = FIELD_U64,
	 AT(limits.connections),
	 .max = 1000000,
	 .default_text = "0"},
	{.key = "pending",
	 .kind = FIELD_U64,
	 AT(limits.pending),
	 .max = 1000000,
	 .default_text = "256"},
	{.key = "streams",
	 .kind = FIELD_U64,
	 AT(limits.streams),
	 .min = 1,
	 .max = 10000,
	 .default_text = "100"},
};

/* ---- retry ---- */

static const struct field_name retry_names[] = {
	{.name = "connect", .value = UPSTREAM_RETRY_CONNECT},
	{.name = "reset", .value = UPSTREAM_RETRY_RESET},
	{.name = "502", .value = UPSTREAM_RETRY_502},
	{.name = "503", .value = UPSTREAM_RETRY_503},
	{.name = "504", .value = UPSTREAM_RETRY_504},
};

static int retry_on_read_one(const struct field_context *context, const struct conf_node *node,
			     struct upstream_conf *conf)
{
	const char *names[ARRAY_SIZE(retry_names)];
	char value[VALUE_MAX], hint[HINT_MAX];

	for (size_t i = 0; i < ARRAY_SIZE(retry_names); i++) {
		names[i] = retry_names[i].name;
		if (node->type != CONF_SCALAR || !str_eq_cstr(node->value, names[i]))
			continue;
		conf->retry.on |= (uint32_t)retry_names[i].value;
		return 0;
	}
	if (node->refused)
		return -EINVAL;
	conf_error(context->errors, node,
		   "%s: on: expected one of connect, reset, 502, 503, 504, got %s%s", context->what,
		   conf_describe(node, value, sizeof(value)),
		   node->type == CONF_SCALAR
			   ? field_hint(node->value, names, ARRAY_SIZE(names), hint, sizeof(hint))
			   : "");
	return -EINVAL;
}

static int retry_on_read(const struct field_context *context, const struct conf_node *node,
			 void *target)
{
	struct upstream_conf *conf = target;
	char what[WHAT_MAX];
	int result = 0;

	conf->retry.on = 0;
	if (node->type == CONF_SCALAR && !conf_is_null(node))
		return retry_on_read_one(context, node, conf);
	(void)snprintf(what, sizeof(what), "%s: on", context->what);
	if (list_check(context, node, what))
		return -EINVAL;
	conf_for_each (item, node)
		if (retry_on_read_one(context, item, conf))
			result = -EINVAL;
	return result;
}

static void retry_on_print(struct conf_writer *writer, const char *key, const void *target)
{
	const struct upstream_conf *conf = target;

	conf_write_open_list(writer, key);
	for (size_t i = 0; i < ARRAY_SIZE(retry_names); i++)
		if (conf->retry.on & (uint32_t)retry_names[i].value)
			conf_write_plain(writer, NULL, retry_names[i].name);
	conf_write_close(writer);
}

const struct field upstream_retry_fields[UPSTREAM_RETRY_FIELDS] = {
	{.key = "on",
	 .kind = FIELD_CUSTOM,
	 .read = retry_on_read,
	 .print = retry_on_print,
	 .default_text = "connect"},
	{.key = "attempts",
	 .kind = FIELD_U64,
	 AT(retry.attempts),
	 .min = 1,
	 .max = UPSTREAM_ATTEMPTS_MAX,
	 .default_text = "3"},
	{.key = "per_try",
	 .kind = FIELD_DURATION_MS,
	 AT(retry.per_try_ms),
	 .max = 86400000,
	 .default_text = "0s"},
	{.key = "budget",
	 .kind = FIELD_PERCENT,
	 AT(retry.budget),
	 .max = 10000,
	 .default_text = "20%"},
};

/* ---- hash_on ---- */

struct hash_name {
	const char *key;
	enum upstream_hash_kind kind;
	bool has_name; /* `{ header: x-user }` and not `source` */
};

static const struct hash_name hash_names[] = {
	{.key = "header", .kind = UPSTREAM_HASH_HEADER, .has_name = true},
	{.key = "cookie", .kind = UPSTREAM_HASH_COOKIE, .has_name = true},
	{.key = "query", .kind = UPSTREAM_HASH_QUERY, .has_name = true},
	{.key = "source", .kind = UPSTREAM_HASH_SOURCE},
	{.key = "path", .kind = UPSTREAM_HASH_PATH},
};

static const struct hash_name *find_hash_name(struct str key, bool has_name)
{
	for (size_t i = 0; i < ARRAY_SIZE(hash_names); i++)
		if (hash_names[i].has_name == has_name && str_eq_cstr(key, hash_names[i].key))
			return &hash_names[i];
	return NULL;
}

static int hash_on_refuse(const struct field_context *context, const struct conf_node *node)
{
	char value[VALUE_MAX];

	conf_error(context->errors, node,
		   "%s: hash_on: expected source, path, { header: NAME }, { cookie: NAME } or "
		   "{ query: NAME }, got %s",
		   context->what, conf_describe(node, value, sizeof(value)));
	return -EINVAL;
}

int upstream_hash_on_read(const struct field_context *context, const struct conf_node *node,
			  void *target)
{
	struct upstream_hash_on *hash_on = &((struct upstream_conf *)target)->hash_on;
	const struct conf_node *member = node->children;
	const struct hash_name *found = NULL;
	char value[VALUE_MAX];

	if (node->type == CONF_SCALAR) {
		found = find_hash_name(node->value, false);
		if (!found)
			return hash_on_refuse(context, node);
		hash_on->kind = found->kind;
		return 0;
	}
	if (node->type == CONF_MAPPING && node->count == 1)
		found = find_hash_name(member->key, true);
	if (!found)
		return hash_on_refuse(context, node);
	/* Cookies and fields have tokens for names; a parameter may be called anything. */
	if (member->type != CONF_SCALAR || !member->value.len || member->value.len > NAME_MAX_LEN ||
	    (found->kind != UPSTREAM_HASH_QUERY && !http_name_is_valid(member->value))) {
		conf_error(context->errors, member, "%s: hash_on: %s: expected a name, got %s",
			   context->what, found->key, conf_describe(member, value, sizeof(value)));
		return -EINVAL;
	}
	hash_on->name = arena_copy(context->arena, member->value);
	if (!hash_on->name.ptr)
		return field_no_memory(context, member);
	hash_on->kind = found->kind;
	return 0;
}

void upstream_hash_on_print(struct conf_writer *writer, const char *key, const void *target)
{
	const struct upstream_hash_on *hash_on = &((const struct upstream_conf *)target)->hash_on;

	for (size_t i = 0; i < ARRAY_SIZE(hash_names); i++) {
		if (hash_names[i].kind != hash_on->kind)
			continue;
		if (!hash_names[i].has_name) {
			conf_write_plain(writer, key, hash_names[i].key);
			return;
		}
		conf_write_open_mapping(writer, key);
		conf_write_str(writer, hash_names[i].key, hash_on->name);
		conf_write_close(writer);
	}
}

#include "http/policy_config.h"

#include <errno.h>

#include "upstream/upstream.h"

#define WHAT_MAX 160

/* Kinds of the contract that are not built. */
static const struct field kinds_not_yet[] = {
	{.key = "hmac", .kind = FIELD_NOT_YET},
	{.key = "client_certificate", .kind = FIELD_NOT_YET},
	{.key = "cache", .kind = FIELD_NOT_YET},
	{.key = "validate", .kind = FIELD_NOT_YET},
};

static const struct field name_field = {
	.key = "name",
	.kind = FIELD_STRING,
	.offset = offsetof(struct policy, name),
	.required = true,
};

/* Kinds are looked at together after the name; the table only knows what they are called. */
static int kind_seen(const struct field_context *context, const struct conf_node *node,
		     void *target)
{
	return 0;
}

struct policy_kinds {
	const struct policy_targets *targets;
	const struct policy_type *const *types;
	unsigned int type_count;
	struct field fields[1 + POLICY_TYPES_MAX + ARRAY_SIZE(kinds_not_yet)];
	unsigned int field_count;
};

static void kinds_init(struct policy_kinds *kinds, const struct policy_type *const *types,
		       unsigned int type_count)
{
	kinds->types = types;
	kinds->type_count = MIN(type_count, POLICY_TYPES_MAX);
	kinds->fields[kinds->field_count++] = name_field;
	for (unsigned int i = 0; i < kinds->type_count; i++)
		kinds->fields[kinds->field_count++] = (struct field){
			.key = types[i]->key, .kind = FIELD_CUSTOM, .read = kind_seen};
	for (unsigned int i = 0; i < ARRAY_SIZE(kinds_not_yet); i++)
		kinds->fields[kinds->field_count++] = kinds_not_yet[i];
}

int policy_refer_upstream(const struct field_context *context, const struct conf_node *node,
			  const char *what, const struct upstream_conf **ret_upstream)
{
	const struct policy_kinds *kinds = context->user;
	const struct policy_targets *targets = kinds->targets;
	const struct name_entry *entry;

	if (name_table_refer(targets->upstreams, context, node, what, &entry))
		return -EINVAL;
	*ret_upstream = &targets->upstream_items[entry->index];
	return 0;
}

static void report_missing_kind(const struct field_context *context, const struct conf_node *node,
				const char *what, const struct policy_kinds *kinds)
{
	char list[256] = "";
	size_t len = 0;

	for (unsigned int i = 0; i < kinds->type_count && len < sizeof(list); i++)
		len += (size_t)snprintf(list + len, sizeof(list) - len, "%s'%s'", i ? ", " : "",
					kinds->types[i]->key);
	conf_error(context->errors, node, "%s: needs a kind: %s%s", what,
		   kinds->type_count > 1 ? "one of " : "", list);
}

/* Exactly one kind. One that is not built counts, so that one error is enough for it. */
static int kind_read(const struct field_context *context, const struct conf_node *node,
		     const char *policy_what, const struct policy_kinds *kinds,
		     struct policy *policy)
{
	const struct conf_node *first = NULL;
	char what[WHAT_MAX];

	if (node->type != CONF_MAPPING)
		return -EINVAL;
	conf_for_each (member, node) {
		const struct policy_type *type = NULL;
		bool known = false;

		for (unsigned int i = 1; i < kinds->field_count && !known; i++) {
			known = str_eq_cstr(member->key, kinds->fields[i].key);
			if (known && i <= kinds->type_count)
				type = kinds->types[i - 1];
		}
		if (!known)
			continue;
		if (first) {
			conf_error_key(context->errors, member,
				       "%s: has '%.*s' already; '%.*s' is a second kind",
				       policy_what, STR_FMT(first->key), STR_FMT(member->key));
			policy->type = NULL;
			return -EINVAL;
		}
		first = member;
		policy->type = type;
	}
	if (!first)
		report_missing_kind(context, node, policy_what, kinds);
	if (!policy->type)
		return -EINVAL;
	policy->conf = arena_alloc_zero(context->arena, policy->type->conf_bytes);
	if (!policy->conf)
		return field_no_memory(context, first);
	(void)snprintf(what, sizeof(what), "%s: %s", policy_what, policy->type->key);
	return policy->type->read(context, first, what, (void *)policy->conf);
}

static int policy_read(const struct field_context *context, const struct conf_node *node,
		       const char *what, unsigned int index, void *item)
{
	const struct policy_kinds *kinds = context->user;
	struct policy *policy = item;
	int r = field_read(context, kinds->fields, kinds->field_count, node, what, policy);

	if (kind_read(context, node, what, kinds, policy))
		r = -EINVAL;
	if (r)
		policy->type = NULL;
	else
		policy->steps = policy_find_steps(policy);
	return r;
}

int policies_read(const struct field_context *context, const struct conf_node *node,
		  const struct policy_type *const *types, unsigned int type_count,
		  struct arena *scratch, struct name_table *ret_names, struct policy **ret_policies,
		  unsigned int *ret_count)
{
	static const struct named_list list = {
		.kind = "policy",
		.item_bytes = sizeof(struct policy),
		.read = policy_read,
	};
	struct field_context inner = *context;
	struct policy_kinds kinds = {0};
	void *items = NULL;
	int r;

	kinds_init(&kinds, types, type_count);
	kinds.targets = context->user;
	inner.user = &kinds;
	r = named_list_read(&inner, &list, node, scratch, ret_names, &items, ret_count);
	*ret_policies = items;
	return r;
}

void policies_write(struct conf_writer *writer, const struct policy *policies, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++) {
		const struct policy *policy = &policies[i];

		conf_write_open_item(writer);
		conf_write_str(writer, name_field.key, policy->name);
		conf_write_open_mapping(writer, policy->type->key);
		policy->type->write(writer, policy->conf);
		conf_write_close(writer);
		conf_write_close(writer);
	}
}

/* ---- the names in a route ---- */

static bool is_listed(const struct route *route, const struct policy *policy)
{
	for (unsigned int i = 0; i < route->policy_count; i++)
		if (route->policies[i] == policy)
			return true;
	return false;
}

/* What policies may set, each name once. */
static int own_fields(const struct field_context *context, const struct conf_node *node,
		      struct route *route)
{
	unsigned int room = 0;

	route->policy_steps = 0;
	for (unsigned int i = 0; i < route->policy_count; i++) {
		const struct policy *policy = route->policies[i];
		unsigned int count = 0;

		if (!policy->type)
			continue; /* it has errors */
		route->policy_steps |= policy->steps;
		if (policy->type->owned_fields)
			(void)policy->type->owned_fields(policy->conf, &count);
		room += count;
	}
	route->owned_fields = arena_new_array(context->arena, struct str, room);
	if (!route->owned_fields)
		return field_no_memory(context, node);
	for (unsigned int i = 0; i < route->policy_count; i++) {
		const struct policy *policy = route->policies[i];
		const struct str *names = NULL;
		unsigned int count = 0;

		if (policy->type && policy->type->owned_fields)
			names = policy->type->owned_fields(policy->conf, &count);
		for (unsigned int j = 0; j < count; j++) {
			unsigned int seen = 0;

			while (seen < route->owned_field_count &&
			       !str_eq_nocase(route->owned_fields[seen], names[j]))
				seen++;
			if (seen == route->owned_field_count)
				route->owned_fields[route->owned_field_count++] = names[j];
		}
	}
	return 0;
}

int route_policies_read(const struct field_context *context, const struct conf_node *node,
			const char *what, const struct name_table *names,
			const struct policy *policies, struct route *route)
{
	const struct conf_node *item = node->type == CONF_SEQUENCE ? node->children : node;
	const struct name_entry *entry;
	const struct policy **found;
	char list_what[WHAT_MAX];
	struct str *texts = NULL;
	unsigned int count = 0;
	int result = 0;

	(void)snprintf(list_what, sizeof(list_what), "%s: policies", what);
	if (texts_read(context, node, list_what, &texts, &count))
		return -EINVAL;
	found = arena_new_array(context->arena, const struct policy *, count);
	if (!found)
		return field_no_memory(context, node);
	route->policies = found;
	for (unsigned int i = 0; i < count; i++, item = item->next) {
		if (name_table_refer(names, context, item, what, &entry)) {
			result = -EINVAL;
			continue;
		}
		if (is_listed(route, &policies[entry->index])) {
			conf_error(context->errors, item, "%s: policy '%.*s' is listed twice", what,
				   STR_FMT(entry->name));
			result = -EINVAL;
			continue;
		}
		found[route->policy_count++] = &policies[entry->index];
	}
	if (own_fields(context, node, route))
		return -EINVAL;
	return result;
}

int route_policies_check(const struct field_context *context, const struct conf_node *node,
			 const char *what, const struct route *route)
{
	int result = 0;

	for (unsigned int i = 0; i < route->policy_count; i++) {
		const struct policy *policy = route->policies[i];

		if (route->action == ROUTE_PROXY || !policy->type || !policy->type->proxy_only ||
		    !policy->type->proxy_only(policy->conf))
			continue;
		conf_error(context->errors, node,
			   "%s: policy '%.*s' (%s) has nothing to do where no upstream is asked",
			   what, STR_FMT(policy->name), policy->type->key);
		result = -EINVAL;
	}
	return result;
}

void route_policies_write(struct conf_writer *writer, const char *key, const struct route *route)
{
	if (!route->policy_count)
		return;
	conf_write_open_list(writer, key);
	for (unsigned int i = 0; i < route->policy_count; i++)
		conf_write_str(writer, NULL, route->policies[i]->name);
	conf_write_close(writer);
}

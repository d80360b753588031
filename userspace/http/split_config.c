#include "http/split_config.h"

#include <errno.h>

#include "http/route_condition_config.h"

#define WHAT_MAX    192
#define VALUE_MAX   96
#define TTL_MAX_MS  ((uint64_t)400 * 86400000) /* browsers keep no cookie for longer */
#define WEIGHT_NONE UINT64_MAX		       /* not given */

/* ---- one variant ---- */

struct variant_file {
	const struct route_targets *targets;
	struct split_variant *variant;
	uint64_t weight;
};

static int upstream_refer(const struct field_context *context, const struct conf_node *node,
			  void *target)
{
	const struct variant_file *file = target;
	const struct name_entry *entry;
	int r = name_table_refer(file->targets->upstreams, context, node, context->what, &entry);

	if (!r)
		file->variant->upstream = &file->targets->upstream_items[entry->index];
	return r;
}

static void upstream_print(struct conf_writer *writer, const char *key, const void *target)
{
	conf_write_str(writer, key, ((const struct variant_file *)target)->variant->upstream->name);
}

static int when_header_read(const struct field_context *context, const struct conf_node *node,
			    void *target)
{
	char what[WHAT_MAX];

	(void)snprintf(what, sizeof(what), "%s: header", context->what);
	return route_conditions_read(context, node, what, ROUTE_CONDITION_HEADER,
				     &((struct split_variant *)target)->when_header);
}

static int when_query_read(const struct field_context *context, const struct conf_node *node,
			   void *target)
{
	char what[WHAT_MAX];

	(void)snprintf(what, sizeof(what), "%s: query", context->what);
	return route_conditions_read(context, node, what, ROUTE_CONDITION_QUERY,
				     &((struct split_variant *)target)->when_query);
}

static void when_header_print(struct conf_writer *writer, const char *key, const void *target)
{
	route_conditions_write(writer, key, &((const struct split_variant *)target)->when_header);
}

static void when_query_print(struct conf_writer *writer, const char *key, const void *target)
{
	route_conditions_write(writer, key, &((const struct split_variant *)target)->when_query);
}

static const struct field when_fields[] = {
	{.key = "header",
	 .kind = FIELD_CUSTOM,
	 .read = when_header_read,
	 .print = when_header_print},
	{.key = "query", .kind = FIELD_CUSTOM, .read = when_query_read, .print = when_query_print},
};

static bool has_when(const struct split_variant *variant)
{
	return variant->when_header.count || variant->when_query.count;
}

static int when_read(const struct field_context *context, const struct conf_node *node,
		     void *target)
{
	struct split_variant *variant = ((struct variant_file *)target)->variant;
	char what[WHAT_MAX];

	(void)snprintf(what, sizeof(what), "%s: when", context->what);
	if (field_read(context, when_fields, ARRAY_SIZE(when_fields), node, what, variant))
		return -EINVAL;
	if (has_when(variant))
		return 0;
	conf_error(context->errors, node, "%s: needs a condition in 'header' or 'query'", what);
	return -EINVAL;
}

static void when_print(struct conf_writer *writer, const char *key, const void *target)
{
	const struct split_variant *variant = ((const struct variant_file *)target)->variant;

	if (!has_when(variant))
		return;
	conf_write_open_mapping(writer, key);
	field_write(writer, when_fields, ARRAY_SIZE(when_fields), variant);
	conf_write_close(writer);
}

static const struct field variant_fields[] = {
	{.key = "upstream",
	 .kind = FIELD_CUSTOM,
	 .required = true,
	 .read = upstream_refer,
	 .print = upstream_print},
	{.key = "weight",
	 .kind = FIELD_U64,
	 .offset = offsetof(struct variant_file, weight),
	 .max = SPLIT_WEIGHT_MAX},
	{.key = "when", .kind = FIELD_CUSTOM, .read = when_read, .print = when_print},
};

static int variant_read(const struct field_context *context, const struct conf_node *node,
			const char *what, const struct route_targets *targets, struct split *split)
{
	struct split_variant *variant = &split->variants[split->count];
	struct variant_file file = {.targets = targets, .variant = variant, .weight = WEIGHT_NONE};

	*variant = (struct split_variant){0}; /* one with errors may have been here before */
	if (field_read(context, variant_fields, ARRAY_SIZE(variant_fields), node, what, &file))
		return -EINVAL;
	for (unsigned int i = 0; i < split->count; i++) {
		if (split->variants[i].upstream != variant->upstream)
			continue;
		conf_error(context->errors, conf_get(node, "upstream"),
			   "%s: upstream '%.*s' is given twice; use 'weight' to send it more", what,
			   STR_FMT(variant->upstream->name));
		return -EINVAL;
	}
	/* Who only names a condition wants those requests and no others. */
	if (file.weight == WEIGHT_NONE)
		file.weight = has_when(variant) ? 0 : 1;
	variant->weight = file.weight;
	split->count++;
	return 0;
}

static int variants_read(const struct field_context *context, const struct conf_node *list,
			 const char *proxy_what, const struct route_targets *targets,
			 struct split *split)
{
	uint64_t weight_sum = 0;
	char what[WHAT_MAX];
	int result = 0;

	(void)snprintf(what, sizeof(what), "%s: split", proxy_what);
	if (list_check(context, list, what))
		return -EINVAL;
	if (list->refused || !list->count || list->count > SPLIT_VARIANTS_MAX) {
		if (!list->refused)
			conf_error(context->errors, list, "%s: needs 1 to %d upstreams", what,
				   SPLIT_VARIANTS_MAX);
		return -EINVAL;
	}
	split->variants = arena_new_array(context->arena, struct split_variant, list->count);
	if (!split->variants)
		return field_no_memory(context, list);
	conf_for_each (item, list)
		if (variant_read(context, item, what, targets, split))
			result = -EINVAL;
	for (unsigned int i = 0; i < split->count; i++)
		weight_sum += split->variants[i].weight;
	if (!result && !weight_sum) {
		conf_error(context->errors, list,
			   "%s: no weight is above 0: requests that fulfil no 'when' could go "
			   "nowhere",
			   what);
		return -EINVAL;
	}
	return result;
}

/* ---- sticky ---- */

struct sticky_file {
	struct str cookie, header;
	bool source;
	uint64_t ttl_ms;
};

static const struct field sticky_fields[] = {
	{.key = "cookie", .kind = FIELD_STRING, .offset = offsetof(struct sticky_file, cookie)},
	{.key = "header", .kind = FIELD_STRING, .offset = offsetof(struct sticky_file, header)},
	{.key = "source", .kind = FIELD_BOOL, .offset = offsetof(struct sticky_file, source)},
	{.key = "ttl",
	 .kind = FIELD_DURATION_MS,
	 .offset = offsetof(struct sticky_file, ttl_ms),
	 .max = TTL_MAX_MS,
	 .default_text = "0s"},
};

static int check_sticky(const struct field_context *context, const struct conf_node *node,
			const char *what, const struct sticky_file *file)
{
	bool cookie = file->cookie.ptr != NULL, header = file->header.ptr != NULL;
	char value[VALUE_MAX];

	if (cookie + header + file->source != 1) {
		conf_error(context->errors, node,
			   "%s: needs exactly one of 'cookie', 'header' and 'source'", what);
		return -EINVAL;
	}
	if ((cookie && !http_name_is_valid(file->cookie)) ||
	    (header && !http_name_is_valid(file->header))) {
		conf_error(context->errors, conf_get(node, cookie ? "cookie" : "header"),
			   "%s: %s is no name for a %s", what,
			   str_quote(cookie ? file->cookie : file->header, value, sizeof(value)),
			   cookie ? "cookie" : "header");
		return -EINVAL;
	}
	if (file->ttl_ms && !cookie) {
		conf_error_key(context->errors, conf_get(node, "ttl"),
			       "%s: 'ttl' is how long a cookie lives; there is none", what);
		return -EINVAL;
	}
	if (file->ttl_ms && file->ttl_ms < 1000) {
		conf_error(context->errors, conf_get(node, "ttl"),
			   "%s: ttl: cookies live for whole seconds: at least 1s, or 0s", what);
		return -EINVAL;
	}
	return 0;
}

static int sticky_read(const struct field_context *context, const struct conf_node *node,
		       const char *proxy_what, struct split *split)
{
	struct sticky_file file = {0};
	char what[WHAT_MAX], *lower;

	(void)snprintf(what, sizeof(what), "%s: sticky", proxy_what);
	if (field_read(context, sticky_fields, ARRAY_SIZE(sticky_fields), node, what, &file) ||
	    check_sticky(context, node, what, &file))
		return -EINVAL;
	split->cookie_ttl_ms = file.ttl_ms;
	if (file.source) {
		split->sticky = SPLIT_BY_SOURCE;
		return 0;
	}
	if (file.cookie.ptr) {
		split->sticky = SPLIT_BY_COOKIE;
		split->sticky_name = file.cookie;
		return 0;
	}
	lower = arena_alloc_bytes(context->arena, file.header.len + 1);
	if (!lower)
		return field_no_memory(context, node);
	for (size_t i = 0; i < file.header.len; i++)
		lower[i] = ascii_lower(file.header.ptr[i]);
	lower[file.header.len] = '\0';
	split->sticky = SPLIT_BY_HEADER;
	split->sticky_name = str_make(lower, file.header.len);
	split->sticky_field_id = http_field_lookup(split->sticky_name);
	return 0;
}

/* ---- the whole ---- */

int split_read(const struct field_context *context, const struct conf_node *proxy, const char *what,
	       const struct route_targets *targets, struct split **ret_split)
{
	struct split *split = arena_new(context->arena, struct split);
	const struct conf_node *list = conf_get(proxy, "split");
	const struct conf_node *sticky = conf_get(proxy, "sticky");
	int r;

	if (!split)
		return field_no_memory(context, list);
	r = variants_read(context, list, what, targets, split);
	if (sticky && sticky_read(context, sticky, what, split))
		r = -EINVAL;
	if (r)
		return r;
	switch (split_prepare(split, context->arena)) {
	case 0:
		*ret_split = split;
		return 0;
	case -EEXIST:
		conf_error(context->errors, list,
			   "%s: split: the names of two upstreams have the same short form; rename "
			   "one of them",
			   what);
		return -EINVAL;
	default:
		return field_no_memory(context, list);
	}
}

void split_write(struct conf_writer *writer, const char *key, const struct split *split)
{
	conf_write_open_list(writer, key);
	for (unsigned int i = 0; i < split->count; i++) {
		const struct variant_file file = {.variant = &split->variants[i],
						  .weight = split->variants[i].weight};

		conf_write_open_item(writer);
		field_write(writer, variant_fields, ARRAY_SIZE(variant_fields), &file);
		conf_write_close(writer);
	}
	conf_write_close(writer);
}

void split_write_sticky(struct conf_writer *writer, const char *key, const struct split *split)
{
	char ttl[32];

	if (split->sticky == SPLIT_FREE)
		return;
	conf_write_open_mapping(writer, key);
	switch (split->sticky) {
	case SPLIT_BY_COOKIE:
		conf_write_str(writer, "cookie", split->sticky_name);
		conf_write_plain(writer, "ttl",
				 units_format_duration(split->cookie_ttl_ms, ttl, sizeof(ttl)));
		break;
	case SPLIT_BY_HEADER:
		conf_write_str(writer, "header", split->sticky_name);
		break;
	default:
		conf_write_plain(writer, "source", "on");
		break;
	}
	conf_write_close(writer);
}

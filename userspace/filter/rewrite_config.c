#include <errno.h>

#include "filter/rewrite.h"
#include "http/path.h"
#include "http/route_condition_config.h"
#include "http/route_match_config.h"

#define WHAT_MAX       160
#define VALUE_MAX      96
#define PATH_MAX_BYTES 4096

static int path_regex_read(const struct field_context *context, const struct conf_node *node,
			   void *target)
{
	struct rewrite *rewrite = target;
	char what[WHAT_MAX];

	(void)snprintf(what, sizeof(what), "%s: regex", context->what);
	return route_regex_read(context, node, what, ROUTE_REGEX_ANY, &rewrite->regex);
}

static void path_regex_print(struct conf_writer *writer, const char *key, const void *target)
{
	const struct rewrite *rewrite = target;

	if (rewrite->regex)
		conf_write_str(writer, key, route_regex_pattern(rewrite->regex));
}

static const struct field path_fields[] = {
	{.key = "prefix", .kind = FIELD_STRING, .offset = offsetof(struct rewrite, prefix)},
	{.key = "regex", .kind = FIELD_CUSTOM, .read = path_regex_read, .print = path_regex_print},
	{.key = "to",
	 .kind = FIELD_STRING,
	 .offset = offsetof(struct rewrite, to),
	 .max = PATH_MAX_BYTES,
	 .required = true},
};

static struct str without_last_slash(struct str path)
{
	if (path.len && path.ptr[path.len - 1] == '/')
		path.len--;
	return path;
}

/* A path as it must come out: in the one form in which paths are compared and forwarded. */
static int check_path(const struct field_context *context, const struct conf_node *node,
		      const char *what, const char *key, struct str path)
{
	struct str canonical = STR_NULL;
	char value[VALUE_MAX], better[VALUE_MAX];

	(void)str_quote(path, value, sizeof(value));
	for (size_t i = 0; i < path.len; i++) {
		if (path.ptr[i] > ' ' && path.ptr[i] <= '~' && !strchr("?#\\\"<>", path.ptr[i]))
			continue;
		conf_error(context->errors, node,
			   "%s: %s: %s: a path has no spaces, '?', '#' and the like; "
			   "percent-encode them",
			   what, key, value);
		return -EINVAL;
	}
	switch (path_canonicalise(path, context->arena, &canonical)) {
	case 0:
		break;
	case -ENOMEM:
		return field_no_memory(context, node);
	default:
		conf_error(context->errors, node, "%s: %s: %s is no path that could be forwarded",
			   what, key, value);
		return -EINVAL;
	}
	if (str_eq(canonical, path))
		return 0;
	conf_error(context->errors, node, "%s: %s: %s must be written as %s", what, key, value,
		   str_quote(canonical, better, sizeof(better)));
	return -EINVAL;
}

static int read_prefix(const struct field_context *context, const struct conf_node *node,
		       const char *what, struct rewrite *rewrite)
{
	if (check_path(context, conf_get(node, "prefix"), what, "prefix", rewrite->prefix) |
	    check_path(context, conf_get(node, "to"), what, "to", rewrite->to))
		return -EINVAL;
	rewrite->from_segments = without_last_slash(rewrite->prefix);
	rewrite->to_segments = without_last_slash(rewrite->to);
	if (!str_eq(rewrite->from_segments, rewrite->to_segments))
		return 0;
	conf_error(context->errors, node,
		   "%s: 'prefix' and 'to' are the same: nothing is rewritten", what);
	return -EINVAL;
}

/* `to` with a regex, taken apart as it is read: at `rest`. */
struct to_reader {
	const struct field_context *context;
	const struct conf_node *node;
	const char *what;
	struct rewrite *rewrite;
	struct str rest;
};

static void to_add(struct to_reader *reader, struct str text, int group)
{
	struct rewrite *rewrite = reader->rewrite;

	if (group >= 0 || text.len)
		rewrite->parts[rewrite->part_count++] = (struct rewrite_part){
			.text = text, .group = group, .in_query = rewrite->has_query};
}

/* "$1", "${1}" and "$$" at the front of the rest. */
static int to_read_dollar(struct to_reader *reader)
{
	struct rewrite *rewrite = reader->rewrite;
	struct str rest = reader->rest;
	unsigned int groups = route_regex_group_count(rewrite->regex);
	size_t at = 1, len = 2;
	int group;

	if (rest.len > 1 && rest.ptr[1] == '$') {
		to_add(reader, STR("$"), -1);
		reader->rest = str_sub(rest, 2, rest.len - 2);
		return 0;
	}
	if (rest.len > 3 && rest.ptr[1] == '{' && rest.ptr[3] == '}') {
		at = 2;
		len = 4;
	}
	if (rest.len <= at || rest.ptr[at] < '0' || rest.ptr[at] > '9') {
		conf_error(reader->context->errors, reader->node,
			   "%s: to: '$' stands before the number of a group, 0 to 9; '$$' is a "
			   "dollar sign",
			   reader->what);
		return -EINVAL;
	}
	group = rest.ptr[at] - '0';
	if ((unsigned int)group > groups) {
		conf_error(reader->context->errors, reader->node,
			   "%s: to: there is no group %d; the regex has %u", reader->what, group,
			   groups);
		return -EINVAL;
	}
	to_add(reader, STR_NULL, group);
	reader->rest = str_sub(rest, len, rest.len - len);
	return 0;
}

static int to_read_parts(struct to_reader *reader)
{
	struct rewrite *rewrite = reader->rewrite;

	/* Every piece takes a byte of it at least; the query may begin amid one. */
	rewrite->parts =
		arena_new_array(reader->context->arena, struct rewrite_part, rewrite->to.len + 1);
	if (!rewrite->parts)
		return field_no_memory(reader->context, reader->node);
	while (reader->rest.len) {
		size_t len = 0;

		if (reader->rest.ptr[0] == '$') {
			if (to_read_dollar(reader))
				return -EINVAL;
			continue;
		}
		if (reader->rest.ptr[0] == '?' && !rewrite->has_query) {
			rewrite->has_query = true;
			len = 1;
		}
		while (len < reader->rest.len && reader->rest.ptr[len] != '$' &&
		       (reader->rest.ptr[len] != '?' || rewrite->has_query))
			len++;
		to_add(reader, str_sub(reader->rest, 0, len), -1);
		reader->rest = str_sub(reader->rest, len, reader->rest.len - len);
	}
	return 0;
}

/* What stands around the groups must be canonical by itself, or nothing would ever get through. */
static int to_check_path(struct to_reader *reader)
{
	const struct rewrite *rewrite = reader->rewrite;
	char *sample = arena_alloc_bytes(reader->context->arena, rewrite->to.len + 1);
	size_t len = 0;

	if (!sample)
		return field_no_memory(reader->context, reader->node);
	for (unsigned int i = 0; i < rewrite->part_count && !rewrite->parts[i].in_query; i++) {
		const struct rewrite_part *part = &rewrite->parts[i];

		if (part->group >= 0) {
			sample[len++] = 'x';
		} else {
			memcpy(sample + len, part->text.ptr, part->text.len);
			len += part->text.len;
		}
	}
	return check_path(reader->context, reader->node, reader->what, "to", str_make(sample, len));
}

static int to_check_query(struct to_reader *reader)
{
	const struct rewrite *rewrite = reader->rewrite;

	for (unsigned int i = 0; i < rewrite->part_count; i++) {
		struct str text = rewrite->parts[i].text;

		for (size_t j = 0; rewrite->parts[i].in_query && j < text.len; j++) {
			if (text.ptr[j] > ' ' && text.ptr[j] <= '~' &&
			    !strchr("#\\\"<>", text.ptr[j]))
				continue;
			conf_error(reader->context->errors, reader->node,
				   "%s: to: a query has no spaces, '#' and the like; "
				   "percent-encode them",
				   reader->what);
			return -EINVAL;
		}
	}
	return 0;
}

static int read_to(const struct field_context *context, const struct conf_node *node,
		   const char *what, struct rewrite *rewrite)
{
	struct to_reader reader = {
		.context = context,
		.node = conf_get(node, "to"),
		.what = what,
		.rewrite = rewrite,
		.rest = rewrite->to,
	};

	if (!str_starts_with(rewrite->to, STR("/"))) {
		conf_error(context->errors, reader.node, "%s: to: a path begins with '/'", what);
		return -EINVAL;
	}
	if (to_read_parts(&reader) || to_check_path(&reader) || to_check_query(&reader))
		return -EINVAL;
	return 0;
}

static int path_read(const struct field_context *context, const struct conf_node *node,
		     void *target)
{
	struct rewrite *rewrite = target;
	char what[WHAT_MAX];

	(void)snprintf(what, sizeof(what), "%s: path", context->what);
	if (field_read(context, path_fields, ARRAY_SIZE(path_fields), node, what, rewrite))
		return -EINVAL;
	if (!rewrite->prefix.ptr == !rewrite->regex) {
		conf_error(context->errors, node, "%s: needs exactly one of 'prefix' and 'regex'",
			   what);
		return -EINVAL;
	}
	return rewrite->regex ? read_to(context, node, what, rewrite)
			      : read_prefix(context, node, what, rewrite);
}

static void path_print(struct conf_writer *writer, const char *key, const void *target)
{
	const struct rewrite *rewrite = target;

	if (!rewrite->to.ptr)
		return;
	conf_write_open_mapping(writer, key);
	field_write(writer, path_fields, ARRAY_SIZE(path_fields), rewrite);
	conf_write_close(writer);
}

/* NAME or NAME:PORT, as it goes into Host. */
static bool is_host_field(struct str text)
{
	struct str name = text;
	uint64_t port = 1;

	for (size_t i = text.len; i > 0 && text.ptr[i - 1] != ']'; i--) {
		if (text.ptr[i - 1] != ':')
			continue;
		name = str_sub(text, 0, i - 1);
		if (str_to_u64(str_sub(text, i, text.len - i), &port))
			return false;
		break;
	}
	return route_host_is_valid(name) && port >= 1 && port <= UINT16_MAX;
}

static int host_read(const struct field_context *context, const struct conf_node *node,
		     void *target)
{
	struct rewrite *rewrite = target;
	char value[VALUE_MAX];

	if (node->type != CONF_SCALAR || !is_host_field(node->value)) {
		conf_error(context->errors, node,
			   "%s: host: expected a host name in lower case, with or without port, "
			   "got %s",
			   context->what, conf_describe(node, value, sizeof(value)));
		return -EINVAL;
	}
	rewrite->host = arena_copy(context->arena, node->value);
	return rewrite->host.ptr ? 0 : field_no_memory(context, node);
}

static void host_print(struct conf_writer *writer, const char *key, const void *target)
{
	struct str host = ((const struct rewrite *)target)->host;

	if (host.ptr)
		conf_write_str(writer, key, host);
}

static const struct field rewrite_fields[] = {
	{.key = "path", .kind = FIELD_CUSTOM, .read = path_read, .print = path_print},
	{.key = "host", .kind = FIELD_CUSTOM, .read = host_read, .print = host_print},
};

int rewrite_read(const struct field_context *context, const struct conf_node *node,
		 const char *what, void *conf)
{
	struct rewrite *rewrite = conf;

	if (field_read(context, rewrite_fields, ARRAY_SIZE(rewrite_fields), node, what, rewrite))
		return -EINVAL;
	if (rewrite->to.ptr || rewrite->host.ptr)
		return 0;
	conf_error(context->errors, node, "%s: needs 'path' or 'host'", what);
	return -EINVAL;
}

void rewrite_write(struct conf_writer *writer, const void *conf)
{
	field_write(writer, rewrite_fields, ARRAY_SIZE(rewrite_fields), conf);
}

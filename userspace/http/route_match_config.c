#include "http/route_match_config.h"

#include <errno.h>

#include "base/addr.h"
#include "conf/names.h"
#include "http/path.h"
#include "http/route_condition_config.h"
#include "http/upgrade_config.h"

#define WHAT_MAX       160
#define VALUE_MAX      96
#define HOST_BYTES_MAX 253

struct path_file {
	struct str text;
	enum route_path_kind kind;
	unsigned int count; /* ways to match that were given */
	struct route_template *template;
	struct route_regex *regex;
};

static bool is_label_byte(char byte)
{
	return (byte >= 'a' && byte <= 'z') || (byte >= '0' && byte <= '9') || byte == '-' ||
	       byte == '_';
}

bool route_host_is_valid(struct str host)
{
	struct str rest = host, label;
	struct ip_addr addr;

	if (host.len > 2 && host.ptr[0] == '[' && host.ptr[host.len - 1] == ']')
		return !ip_addr_parse(str_sub(host, 1, host.len - 2), &addr) &&
		       addr.family == AF_INET6;
	if (!host.len || host.len > HOST_BYTES_MAX)
		return false;
	while (str_next_token(&rest, '.', &label)) {
		if (!label.len || label.len > 63 || label.ptr[0] == '-' ||
		    label.ptr[label.len - 1] == '-')
			return false;
		for (size_t i = 0; i < label.len; i++)
			if (!is_label_byte(label.ptr[i]))
				return false;
	}
	return true;
}

/* Names compare without case, so the configuration keeps them in lower case. */
static int host_read(const struct field_context *context, const struct conf_node *node,
		     struct str *host)
{
	char *text = arena_alloc_bytes(context->arena, host->len + 1);
	struct str name;
	char value[VALUE_MAX];

	if (!text)
		return field_no_memory(context, node);
	for (size_t i = 0; i < host->len; i++)
		text[i] = ascii_lower(host->ptr[i]);
	text[host->len] = '\0';
	(void)str_quote(*host, value, sizeof(value));
	*host = name = str_make(text, host->len);
	if (str_starts_with(name, STR("*.")))
		name = str_sub(name, 2, name.len);
	if (route_host_is_valid(name))
		return 0;
	if (str_find_byte(name, '*') >= 0)
		conf_error(context->errors, node,
			   "%s: hosts: %s: '*' stands only in front, as in '*.example.com'",
			   context->what, value);
	else if (str_find_byte(name, ':') >= 0)
		conf_error(context->errors, node,
			   "%s: hosts: %s: a host has neither scheme nor port", context->what,
			   value);
	else
		conf_error(context->errors, node, "%s: hosts: %s is not a host name", context->what,
			   value);
	return -EINVAL;
}

static int hosts_read(const struct field_context *context, const struct conf_node *node,
		      void *target)
{
	struct route *route = target;
	const struct conf_node *item = node->type == CONF_SEQUENCE ? node->children : node;
	char what[WHAT_MAX];
	int result = 0;

	(void)snprintf(what, sizeof(what), "%s: hosts", context->what);
	if (texts_read(context, node, what, &route->hosts, &route->host_count))
		return -EINVAL;
	for (unsigned int i = 0; i < route->host_count; i++, item = item->next)
		if (host_read(context, item, &route->hosts[i]))
			result = -EINVAL;
	return result;
}

static void hosts_print(struct conf_writer *writer, const char *key, const void *target)
{
	const struct route *route = target;

	conf_write_texts(writer, key, route->hosts, route->host_count);
}

static int check_path_bytes(const struct field_context *context, const struct conf_node *node)
{
	char value[VALUE_MAX];

	(void)conf_describe(node, value, sizeof(value));
	if (node->type != CONF_SCALAR || conf_is_null(node) ||
	    !str_starts_with(node->value, STR("/"))) {
		conf_error(context->errors, node,
			   "%s: expected a path that begins with '/', got %s", context->what,
			   value);
		return -EINVAL;
	}
	for (size_t i = 0; i < node->value.len; i++) {
		char byte = node->value.ptr[i];

		/* RFC 3986 section 3.3: these cannot stand in the path of a request. */
		if (byte <= ' ' || byte > '~' || byte == '?' || byte == '#') {
			conf_error(context->errors, node,
				   "%s: %s: spaces, '?', '#' and bytes beyond ASCII must be "
				   "percent-encoded",
				   context->what, value);
			return -EINVAL;
		}
	}
	return 0;
}

/*
 * The path must stand as requests are compared with it, or it would never match. `text` is that of
 * the node, or stands for it.
 */
static int check_canonical(const struct field_context *context, const struct conf_node *node,
			   struct str text)
{
	char value[VALUE_MAX], meant[VALUE_MAX];
	struct str canonical;
	bool ambiguous; /* whether it may be so is seen when the whole route is read */
	int r = path_canonicalise_flagged(text, context->arena, &canonical, &ambiguous);

	(void)conf_describe(node, value, sizeof(value));
	if (r == -ENOMEM)
		return field_no_memory(context, node);
	if (r) {
		conf_error(context->errors, node,
			   "%s: %s: such a path is never routed (bad or forbidden escape, or above "
			   "the root)",
			   context->what, value);
		return r;
	}
	if (str_eq(canonical, text))
		return 0;
	if (str_eq(text, node->value))
		conf_error(context->errors, node, "%s: %s must be written as %s", context->what,
			   value, str_quote(canonical, meant, sizeof(meant)));
	else
		conf_error(context->errors, node,
			   "%s: %s is not in canonical form: escapes only where they are needed, "
			   "in capitals, and no dot segments",
			   context->what, value);
	return -EINVAL;
}

static int path_text_read(const struct field_context *context, const struct conf_node *node,
			  struct path_file *file, enum route_path_kind kind)
{
	file->kind = kind;
	file->count++;
	if (check_path_bytes(context, node) || check_canonical(context, node, node->value))
		return -EINVAL;
	file->text = arena_copy(context->arena, node->value);
	return file->text.ptr ? 0 : field_no_memory(context, node);
}

static int prefix_read(const struct field_context *context, const struct conf_node *node,
		       void *target)
{
	return path_text_read(context, node, target, ROUTE_PATH_PREFIX);
}

static int exact_read(const struct field_context *context, const struct conf_node *node,
		      void *target)
{
	return path_text_read(context, node, target, ROUTE_PATH_EXACT);
}

/* The template with a letter in place of each parameter: a path. */
static struct str template_example(struct arena *arena, struct str text)
{
	char *example = arena_alloc_bytes(arena, text.len + 1);
	size_t len = 0;

	if (!example)
		return STR_NULL;
	for (size_t i = 0; i < text.len; i++) {
		if (text.ptr[i] == '{')
			while (text.ptr[i] != '}')
				i++;
		example[len++] = text.ptr[i] == '}' ? 'p' : text.ptr[i];
	}
	return str_make(example, len);
}

static int template_read(const struct field_context *context, const struct conf_node *node,
			 void *target)
{
	struct path_file *file = target;
	struct error err = {0};
	char value[VALUE_MAX];
	struct str example;
	int r;

	file->kind = ROUTE_PATH_TEMPLATE;
	file->count++;
	if (check_path_bytes(context, node))
		return -EINVAL;
	r = route_template_parse(node->value, context->arena, &file->template, &err);
	if (r == -ENOMEM)
		return field_no_memory(context, node);
	if (r) {
		conf_error(context->errors, node, "%s: template %s: %s", context->what,
			   conf_describe(node, value, sizeof(value)), err.text);
		return r;
	}
	example = template_example(context->arena, node->value);
	file->text = arena_copy(context->arena, node->value);
	if (!example.ptr || !file->text.ptr)
		return field_no_memory(context, node);
	return check_canonical(context, node, example);
}

static int regex_read(const struct field_context *context, const struct conf_node *node,
		      void *target)
{
	struct path_file *file = target;
	char value[VALUE_MAX], first;
	int r;

	file->kind = ROUTE_PATH_REGEX;
	file->count++;
	r = route_regex_read(context, node, context->what, ROUTE_REGEX_WHOLE, &file->regex);
	if (r)
		return r;
	file->text = route_regex_pattern(file->regex);
	if (route_regex_literal_prefix(file->text, &first, 1) && first != '/') {
		conf_error(context->errors, node,
			   "%s: regex: %s matches no path: the whole path is compared, and begins "
			   "with '/'",
			   context->what, str_quote(file->text, value, sizeof(value)));
		return -EINVAL;
	}
	return 0;
}

static const struct field path_fields[] = {
	{.key = "prefix", .kind = FIELD_CUSTOM, .read = prefix_read},
	{.key = "exact", .kind = FIELD_CUSTOM, .read = exact_read},
	{.key = "template", .kind = FIELD_CUSTOM, .read = template_read},
	{.key = "regex", .kind = FIELD_CUSTOM, .read = regex_read},
};

static int path_read(const struct field_context *context, const struct conf_node *node,
		     void *target)
{
	struct path_file file = {.kind = ROUTE_PATH_PREFIX};
	char what[WHAT_MAX], beginning[ROUTE_LITERAL_BYTES_MAX];
	struct route *route = target;

	(void)snprintf(what, sizeof(what), "%s: path", context->what);
	if (field_read(context, path_fields, ARRAY_SIZE(path_fields), node, what, &file))
		return -EINVAL;
	if (file.count != 1) {
		conf_error(context->errors, node,
			   "%s: needs exactly one of 'prefix', 'exact', 'template' and 'regex'",
			   what);
		return -EINVAL;
	}
	route->path = file.text;
	route->path_kind = file.kind;
	route->template = file.template;
	route->regex = file.regex;
	if (!file.regex)
		return 0;
	route->regex_prefix = arena_copy(
		context->arena, str_make(beginning, route_regex_literal_prefix(file.text, beginning,
									       sizeof(beginning))));
	return route->regex_prefix.ptr ? 0 : field_no_memory(context, node);
}

static void path_print(struct conf_writer *writer, const char *key, const void *target)
{
	const struct route *route = target;

	conf_write_open_mapping(writer, key);
	conf_write_str(writer, route_path_kind_name(route->path_kind), route->path);
	conf_write_close(writer);
}

static int method_read(const struct field_context *context, const struct conf_node *node,
		       struct str name, struct route *route)
{
	static const char *const known[] = {"GET",    "HEAD",	 "POST", "PUT",
					    "DELETE", "OPTIONS", "PATCH"};
	enum http_method method = http_method_lookup(name);
	char value[VALUE_MAX];

	(void)str_quote(name, value, sizeof(value));
	/* The proxy answers both with 501 before it looks for a route. */
	if (method == HTTP_METHOD_CONNECT || method == HTTP_METHOD_TRACE) {
		conf_error(context->errors, node, "%s: methods: %s is not supported yet",
			   context->what, value);
		return -EINVAL;
	}
	if (!http_name_is_valid(name)) {
		conf_error(context->errors, node, "%s: methods: %s is not a method", context->what,
			   value);
		return -EINVAL;
	}
	if (method != HTTP_METHOD_OTHER) {
		route->methods |= 1u << method;
		return 0;
	}
	/* RFC 9110 section 9.1: methods are case-sensitive, so "get" would match nothing. */
	for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
		if (!str_eq_nocase(name, str_from_cstr(known[i])))
			continue;
		conf_error(context->errors, node, "%s: methods: %s: did you mean '%s'?",
			   context->what, value, known[i]);
		return -EINVAL;
	}
	route->other_methods[route->other_method_count++] = name;
	return 0;
}

static int methods_read(const struct field_context *context, const struct conf_node *node,
			void *target)
{
	const struct conf_node *item = node->type == CONF_SEQUENCE ? node->children : node;
	struct route *route = target;
	struct str *names = NULL;
	unsigned int count = 0;
	char what[WHAT_MAX];
	int result = 0;

	(void)snprintf(what, sizeof(what), "%s: methods", context->what);
	if (texts_read(context, node, what, &names, &count))
		return -EINVAL;
	if (!count)
		return 0;
	route->other_methods = arena_new_array(context->arena, struct str, count);
	if (!route->other_methods)
		return field_no_memory(context, node);
	for (unsigned int i = 0; i < count; i++, item = item->next)
		if (method_read(context, item, names[i], route))
			result = -EINVAL;
	return result;
}

static void methods_print(struct conf_writer *writer, const char *key, const void *target)
{
	static const char *const names[] = {
		[HTTP_METHOD_GET] = "GET",	 [HTTP_METHOD_HEAD] = "HEAD",
		[HTTP_METHOD_POST] = "POST",	 [HTTP_METHOD_PUT] = "PUT",
		[HTTP_METHOD_DELETE] = "DELETE", [HTTP_METHOD_OPTIONS] = "OPTIONS",
		[HTTP_METHOD_PATCH] = "PATCH",
	};
	const struct route *route = target;

	if (!route->methods && !route->other_method_count)
		return;
	conf_write_open_list(writer, key);
	for (unsigned int i = 0; i < ARRAY_SIZE(names); i++)
		if (route->methods & (1u << i))
			conf_write_plain(writer, NULL, names[i]);
	for (unsigned int i = 0; i < route->other_method_count; i++)
		conf_write_str(writer, NULL, route->other_methods[i]);
	conf_write_close(writer);
}

static int conditions_read(const struct field_context *context, const struct conf_node *node,
			   enum route_condition_subject subject,
			   struct route_conditions *conditions)
{
	char what[WHAT_MAX];

	(void)snprintf(what, sizeof(what), "%s: %s", context->what,
		       subject == ROUTE_CONDITION_HEADER ? "headers" : "query");
	return route_conditions_read(context, node, what, subject, conditions);
}

static int headers_read(const struct field_context *context, const struct conf_node *node,
			void *target)
{
	struct route *route = target;

	return conditions_read(context, node, ROUTE_CONDITION_HEADER, &route->headers);
}

static void headers_print(struct conf_writer *writer, const char *key, const void *target)
{
	route_conditions_write(writer, key, &((const struct route *)target)->headers);
}

static int query_read(const struct field_context *context, const struct conf_node *node,
		      void *target)
{
	struct route *route = target;

	return conditions_read(context, node, ROUTE_CONDITION_QUERY, &route->query);
}

static void query_print(struct conf_writer *writer, const char *key, const void *target)
{
	route_conditions_write(writer, key, &((const struct route *)target)->query);
}

static int upgrade_read(const struct field_context *context, const struct conf_node *node,
			void *target)
{
	char what[WHAT_MAX];

	(void)snprintf(what, sizeof(what), "%s: upgrade", context->what);
	return upgrade_token_read(context, node, what, &((struct route *)target)->upgrade);
}

static void upgrade_print(struct conf_writer *writer, const char *key, const void *target)
{
	const struct route *route = target;

	if (route->upgrade.ptr)
		conf_write_str(writer, key, route->upgrade);
}

const struct field route_match_fields[] = {
	{.key = "hosts", .kind = FIELD_CUSTOM, .read = hosts_read, .print = hosts_print},
	{.key = "path", .kind = FIELD_CUSTOM, .read = path_read, .print = path_print},
	{.key = "methods", .kind = FIELD_CUSTOM, .read = methods_read, .print = methods_print},
	{.key = "headers", .kind = FIELD_CUSTOM, .read = headers_read, .print = headers_print},
	{.key = "query", .kind = FIELD_CUSTOM, .read = query_read, .print = query_print},
	{.key = "sni", .kind = FIELD_NOT_YET},
	{.key = "upgrade", .kind = FIELD_CUSTOM, .read = upgrade_read, .print = upgrade_print},
};

const unsigned int route_match_field_count = ARRAY_SIZE(route_match_fields);

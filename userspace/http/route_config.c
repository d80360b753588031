#include "http/route_config.h"

#include <errno.h>

#include "http/files_config.h"
#include "http/hiding_config.h"
#include "http/path.h"
#include "http/policy_config.h"
#include "http/route_match_config.h"
#include "http/split_config.h"
#include "http/upgrade_config.h"

#define WHAT_MAX       160
#define VALUE_MAX      96
#define BODY_BYTES_MAX (1u << 20)
#define WEEK_MS	       ((uint64_t)7 * 86400000)

/* Actions are read with plain types and copied into the route when all is well. */
struct route_file {
	const char *what; /* "route 'api'" */
	struct str name;
	uint64_t proxy_timeout_ms;
	bool trailers;
	uint64_t tunnel_idle_ms;
	int redirect_scheme;
	struct str redirect_host, redirect_path;
	uint64_t redirect_port;
	int redirect_status;
	uint64_t respond_status;
	struct str respond_body;
	int unsafe_paths;
	struct route *route;
};

enum redirect_scheme { SCHEME_KEEP, SCHEME_HTTP, SCHEME_HTTPS };

static const struct field_name unsafe_paths_names[] = {
	{.name = "refuse", .value = 0},
	{.name = "allow", .value = 1},
};

static const struct field_name scheme_names[] = {
	{.name = "http", .value = SCHEME_HTTP},
	{.name = "https", .value = SCHEME_HTTPS},
};

static const struct field_name redirect_status_names[] = {
	{.name = "301", .value = 301}, {.name = "302", .value = 302}, {.name = "303", .value = 303},
	{.name = "307", .value = 307}, {.name = "308", .value = 308},
};

/* ---- proxy ---- */

static int proxy_upstream_read(const struct field_context *context, const struct conf_node *node,
			       void *target)
{
	const struct route_targets *targets = context->user;
	struct route_file *file = target;
	const struct name_entry *entry;
	int r = name_table_refer(targets->upstreams, context, node, file->what, &entry);

	if (!r)
		file->route->proxy.upstream = &targets->upstream_items[entry->index];
	return r;
}

static void proxy_upstream_print(struct conf_writer *writer, const char *key, const void *target)
{
	const struct route *route = ((const struct route_file *)target)->route;

	if (route->proxy.upstream)
		conf_write_str(writer, key, route->proxy.upstream->name);
}

/* Both are read together, when it is known that both are there. */
static int split_seen(const struct field_context *context, const struct conf_node *node,
		      void *target)
{
	return 0;
}

static void split_print(struct conf_writer *writer, const char *key, const void *target)
{
	const struct route *route = ((const struct route_file *)target)->route;

	if (route->proxy.split)
		split_write(writer, key, route->proxy.split);
}

static void sticky_print(struct conf_writer *writer, const char *key, const void *target)
{
	const struct route *route = ((const struct route_file *)target)->route;

	if (route->proxy.split)
		split_write_sticky(writer, key, route->proxy.split);
}

static int expose_read(const struct field_context *context, const struct conf_node *node,
		       void *target)
{
	return hiding_config_read(context, node,
				  &((struct route_file *)target)->route->proxy.exposed);
}

static void expose_print(struct conf_writer *writer, const char *key, const void *target)
{
	hiding_config_write(writer, key, ((const struct route_file *)target)->route->proxy.exposed);
}

static int upgrade_read(const struct field_context *context, const struct conf_node *node,
			void *target)
{
	struct route *route = ((struct route_file *)target)->route;
	char what[WHAT_MAX];

	(void)snprintf(what, sizeof(what), "%s: upgrade", context->what);
	return upgrade_tokens_read(context, node, what, &route->proxy.upgrades,
				   &route->proxy.upgrade_count);
}

static void upgrade_print(struct conf_writer *writer, const char *key, const void *target)
{
	const struct route *route = ((const struct route_file *)target)->route;

	conf_write_texts(writer, key, route->proxy.upgrades, route->proxy.upgrade_count);
}

static const struct field proxy_fields[] = {
	{.key = "upstream",
	 .kind = FIELD_CUSTOM,
	 .read = proxy_upstream_read,
	 .print = proxy_upstream_print},
	{.key = "timeout",
	 .kind = FIELD_DURATION_MS,
	 .offset = offsetof(struct route_file, proxy_timeout_ms),
	 .max = WEEK_MS,
	 .default_text = "0s"},
	{.key = "trailers",
	 .kind = FIELD_BOOL,
	 .offset = offsetof(struct route_file, trailers),
	 .default_text = "off"},
	{.key = "split", .kind = FIELD_CUSTOM, .read = split_seen, .print = split_print},
	{.key = "sticky", .kind = FIELD_CUSTOM, .read = split_seen, .print = sticky_print},
	{.key = "expose_upstream",
	 .kind = FIELD_CUSTOM,
	 .read = expose_read,
	 .print = expose_print},
	{.key = "upgrade", .kind = FIELD_CUSTOM, .read = upgrade_read, .print = upgrade_print},
	{.key = "tunnel_idle",
	 .kind = FIELD_DURATION_MS,
	 .offset = offsetof(struct route_file, tunnel_idle_ms),
	 .min = 1,
	 .max = WEEK_MS,
	 .default_text = "5m"},
	{.key = "mirror", .kind = FIELD_NOT_YET},
};

/* One upstream, or several that share. */
static int proxy_read_targets(const struct field_context *context, const struct conf_node *node,
			      const char *what, struct route_file *file)
{
	const struct conf_node *split, *sticky;

	if (node->refused || (node->type != CONF_MAPPING && !conf_is_null(node)))
		return -EINVAL;
	split = conf_get(node, "split");
	sticky = conf_get(node, "sticky");
	if (split && conf_get(node, "upstream")) {
		conf_error_key(context->errors, split,
			       "%s: has 'upstream' already; 'split' names its own", what);
		return -EINVAL;
	}
	if (split)
		return split_read(context, node, what, context->user, &file->route->proxy.split);
	if (sticky) {
		conf_error_key(context->errors, sticky, "%s: 'sticky' needs a 'split'", what);
		return -EINVAL;
	}
	if (conf_get(node, "upstream"))
		return 0;
	conf_error(context->errors, node, "%s: needs 'upstream' or 'split'", what);
	return -EINVAL;
}

/* An upgrade is of HTTP/1; towards HTTP/2 it would have to be an extended CONNECT. */
static int check_upgrades(const struct field_context *context, const struct conf_node *node,
			  const char *what, const struct route *route)
{
	const struct upstream_conf *found = route->proxy.upstream;
	const struct split *split = route->proxy.split;
	char name[VALUE_MAX];

	for (unsigned int i = 0; split && i < split->count; i++)
		if (!found || found->protocol != UPSTREAM_HTTP2)
			found = split->variants[i].upstream;
	if (!route->proxy.upgrade_count || !found || found->protocol != UPSTREAM_HTTP2)
		return 0;
	conf_error_key(
		context->errors, conf_get(node, "upgrade"),
		"%s: 'upgrade' to upstream %s, which has 'protocol: http2', is not supported yet",
		what, str_quote(found->name, name, sizeof(name)));
	return -EINVAL;
}

static int proxy_read(const struct field_context *context, const struct conf_node *node,
		      const char *what, struct route_file *file)
{
	struct route *route = file->route;
	int r = field_read(context, proxy_fields, ARRAY_SIZE(proxy_fields), node, what, file);

	if (proxy_read_targets(context, node, what, file))
		r = -EINVAL;
	else if (!r && check_upgrades(context, node, what, route))
		r = -EINVAL;
	route->proxy.timeout_ms = file->proxy_timeout_ms;
	route->proxy.trailers = file->trailers;
	route->proxy.tunnel_idle_ms = file->tunnel_idle_ms;
	return r;
}

static void proxy_fill(struct route_file *file)
{
	file->proxy_timeout_ms = file->route->proxy.timeout_ms;
	file->trailers = file->route->proxy.trailers;
	file->tunnel_idle_ms = file->route->proxy.tunnel_idle_ms;
}

/* ---- redirect ---- */

static int redirect_host_read(const struct field_context *context, const struct conf_node *node,
			      void *target)
{
	struct route_file *file = target;
	char value[VALUE_MAX];

	if (node->type != CONF_SCALAR || !route_host_is_valid(node->value)) {
		conf_error(context->errors, node,
			   "%s: host: expected a host name in lower case, without port, got %s",
			   context->what, conf_describe(node, value, sizeof(value)));
		return -EINVAL;
	}
	file->redirect_host = arena_copy(context->arena, node->value);
	return file->redirect_host.ptr ? 0 : field_no_memory(context, node);
}

static void redirect_host_print(struct conf_writer *writer, const char *key, const void *target)
{
	struct str host = ((const struct route_file *)target)->redirect_host;

	if (host.ptr)
		conf_write_str(writer, key, host);
}

/*
 * It becomes a part of Location: bytes of a URL only (no header may be split), no "//host", and no
 * query, since the request's own follows it.
 */
static bool is_redirect_path(struct str path)
{
	if (!str_starts_with(path, STR("/")) || str_starts_with(path, STR("//")))
		return false;
	for (size_t i = 0; i < path.len; i++)
		if (path.ptr[i] <= ' ' || path.ptr[i] > '~' || strchr("?#\\\"<>", path.ptr[i]))
			return false;
	return true;
}

static int redirect_path_read(const struct field_context *context, const struct conf_node *node,
			      void *target)
{
	struct route_file *file = target;
	char value[VALUE_MAX];

	if (node->type != CONF_SCALAR || !is_redirect_path(node->value)) {
		conf_error(context->errors, node,
			   "%s: path: expected a path that begins with one '/', without query, "
			   "percent-encoded where needed, got %s",
			   context->what, conf_describe(node, value, sizeof(value)));
		return -EINVAL;
	}
	file->redirect_path = arena_copy(context->arena, node->value);
	return file->redirect_path.ptr ? 0 : field_no_memory(context, node);
}

static void redirect_path_print(struct conf_writer *writer, const char *key, const void *target)
{
	struct str path = ((const struct route_file *)target)->redirect_path;

	if (path.ptr)
		conf_write_str(writer, key, path);
}

static int redirect_port_read(const struct field_context *context, const struct conf_node *node,
			      void *target)
{
	static const struct field port = {
		.key = "port",
		.kind = FIELD_U64,
		.offset = offsetof(struct route_file, redirect_port),
		.min = 1,
		.max = UINT16_MAX,
	};

	return field_read_value(context, &port, node, context->what, target);
}

static void redirect_port_print(struct conf_writer *writer, const char *key, const void *target)
{
	uint64_t port = ((const struct route_file *)target)->redirect_port;

	if (port)
		conf_write_u64(writer, key, port);
}

static const struct field redirect_fields[] = {
	{.key = "scheme",
	 .kind = FIELD_ENUM,
	 .offset = offsetof(struct route_file, redirect_scheme),
	 .names = scheme_names,
	 .name_count = ARRAY_SIZE(scheme_names)},
	{.key = "host",
	 .kind = FIELD_CUSTOM,
	 .read = redirect_host_read,
	 .print = redirect_host_print},
	{.key = "path",
	 .kind = FIELD_CUSTOM,
	 .read = redirect_path_read,
	 .print = redirect_path_print},
	{.key = "port",
	 .kind = FIELD_CUSTOM,
	 .read = redirect_port_read,
	 .print = redirect_port_print},
	{.key = "status",
	 .kind = FIELD_ENUM,
	 .offset = offsetof(struct route_file, redirect_status),
	 .names = redirect_status_names,
	 .name_count = ARRAY_SIZE(redirect_status_names),
	 .default_text = "308"},
};

static int redirect_read(const struct field_context *context, const struct conf_node *node,
			 const char *what, struct route_file *file)
{
	struct route *route = file->route;

	if (field_read(context, redirect_fields, ARRAY_SIZE(redirect_fields), node, what, file))
		return -EINVAL;
	if (!file->redirect_scheme && !file->redirect_host.ptr && !file->redirect_path.ptr &&
	    !file->redirect_port) {
		conf_error(context->errors, node,
			   "%s: needs one of 'scheme', 'host', 'port' and 'path', or the client "
			   "would come back for ever",
			   what);
		return -EINVAL;
	}
	if (file->redirect_scheme)
		route->redirect.scheme =
			file->redirect_scheme == SCHEME_HTTPS ? STR("https") : STR("http");
	route->redirect.host = file->redirect_host;
	route->redirect.path = file->redirect_path;
	route->redirect.port = (uint16_t)file->redirect_port;
	route->redirect.status = (uint16_t)file->redirect_status;
	return 0;
}

static void redirect_fill(struct route_file *file)
{
	const struct route *route = file->route;

	if (route->redirect.scheme.ptr)
		file->redirect_scheme =
			str_eq_cstr(route->redirect.scheme, "https") ? SCHEME_HTTPS : SCHEME_HTTP;
	file->redirect_host = route->redirect.host;
	file->redirect_path = route->redirect.path;
	file->redirect_port = route->redirect.port;
	file->redirect_status = route->redirect.status;
}

/* ---- respond ---- */

static int check_header(const struct field_context *context, const struct conf_node *node)
{
	enum http_field_id id = http_field_lookup(node->key);
	char name[VALUE_MAX], value[VALUE_MAX];

	(void)str_quote(node->key, name, sizeof(name));
	if (!http_name_is_valid(node->key)) {
		conf_error_key(context->errors, node, "%s: headers: %s is not a field name",
			       context->what, name);
		return -EINVAL;
	}
	/* RFC 9112 section 6: framing is ours to write. */
	if ((http_field_kinds(id) & HTTP_FIELD_HOP) || id == HTTP_FIELD_CONTENT_LENGTH ||
	    id == HTTP_FIELD_HOST || id == HTTP_FIELD_DATE) {
		conf_error_key(context->errors, node, "%s: headers: %s is written by Sluice itself",
			       context->what, name);
		return -EINVAL;
	}
	if (node->refused)
		return -EINVAL;
	if (node->type == CONF_SCALAR && http_value_is_valid(node->value) &&
	    str_eq(str_trim(node->value), node->value))
		return 0;
	conf_error(context->errors, node,
		   "%s: headers: %s: expected text without control bytes and outer spaces, got %s",
		   context->what, name, conf_describe(node, value, sizeof(value)));
	return -EINVAL;
}

int route_headers_read(const struct field_context *context, const struct conf_node *node,
		       struct route_field **ret_fields, unsigned int *ret_count)
{
	struct route_field *fields;
	char value[VALUE_MAX];
	unsigned int count = 0;
	int result = 0;

	if (node->type != CONF_MAPPING && !conf_is_null(node)) {
		conf_error(context->errors, node, "%s: headers: expected a mapping, got %s",
			   context->what, conf_describe(node, value, sizeof(value)));
		return -EINVAL;
	}
	fields = arena_new_array(context->arena, struct route_field, node->count);
	if (!fields)
		return field_no_memory(context, node);
	conf_for_each (member, node) {
		struct route_field *field = &fields[count];

		if (check_header(context, member)) {
			result = -EINVAL;
			continue;
		}
		field->name = arena_copy(context->arena, member->key);
		field->value = arena_copy(context->arena, member->value);
		if (!field->name.ptr || !field->value.ptr)
			return field_no_memory(context, member);
		count++;
	}
	*ret_fields = fields;
	*ret_count = count;
	return result;
}

void route_headers_write(struct conf_writer *writer, const char *key,
			 const struct route_field *fields, unsigned int count)
{
	conf_write_open_mapping(writer, key);
	for (unsigned int i = 0; i < count; i++)
		conf_write_member(writer, fields[i].name, fields[i].value);
	conf_write_close(writer);
}

static int headers_read(const struct field_context *context, const struct conf_node *node,
			void *target)
{
	struct route *route = ((struct route_file *)target)->route;

	return route_headers_read(context, node, &route->respond.fields,
				  &route->respond.field_count);
}

static void headers_print(struct conf_writer *writer, const char *key, const void *target)
{
	const struct route *route = ((const struct route_file *)target)->route;

	route_headers_write(writer, key, route->respond.fields, route->respond.field_count);
}

static const struct field respond_fields[] = {
	{.key = "status",
	 .kind = FIELD_U64,
	 .offset = offsetof(struct route_file, respond_status),
	 .min = 200,
	 .max = 599,
	 .default_text = "200"},
	{.key = "body",
	 .kind = FIELD_STRING,
	 .offset = offsetof(struct route_file, respond_body),
	 .max = BODY_BYTES_MAX},
	{.key = "headers", .kind = FIELD_CUSTOM, .read = headers_read, .print = headers_print},
};

static int respond_read(const struct field_context *context, const struct conf_node *node,
			const char *what, struct route_file *file)
{
	struct route *route = file->route;

	if (field_read(context, respond_fields, ARRAY_SIZE(respond_fields), node, what, file))
		return -EINVAL;
	/* RFC 9110 sections 15.3.5, 15.3.6 and 15.4.5: no content. */
	if (file->respond_body.len && (file->respond_status == 204 || file->respond_status == 205 ||
				       file->respond_status == 304)) {
		conf_error(context->errors, node, "%s: an answer with status %llu has no body",
			   what, (unsigned long long)file->respond_status);
		return -EINVAL;
	}
	route->respond.status = (uint16_t)file->respond_status;
	route->respond.body = file->respond_body;
	return 0;
}

static void respond_fill(struct route_file *file)
{
	file->respond_status = file->route->respond.status;
	file->respond_body = file->route->respond.body;
}

/* ---- files ---- */

static int files_read(const struct field_context *context, const struct conf_node *node,
		      const char *what, struct route_file *file)
{
	return files_config_read(context, node, what, &file->route->files);
}

/* ---- the route ---- */

struct action {
	const char *key;
	enum route_action action;
	int (*read)(const struct field_context *context, const struct conf_node *node,
		    const char *what, struct route_file *file);
	void (*fill)(struct route_file *file); /* the reverse, for writing */
	const struct field *fields;
	unsigned int field_count;
};

static const struct action actions[] = {
	{"proxy", ROUTE_PROXY, proxy_read, proxy_fill, proxy_fields, ARRAY_SIZE(proxy_fields)},
	{"redirect", ROUTE_REDIRECT, redirect_read, redirect_fill, redirect_fields,
	 ARRAY_SIZE(redirect_fields)},
	{"respond", ROUTE_RESPOND, respond_read, respond_fill, respond_fields,
	 ARRAY_SIZE(respond_fields)},
	{"files", ROUTE_FILES, files_read, NULL, NULL, 0}, /* has its own writer */
};

static const char *const other_actions[] = {"compose", "grpc_json", "websocket_tcp"};

/* Actions are looked at together after the other keys; the table only knows their names. */
static int action_seen(const struct field_context *context, const struct conf_node *node,
		       void *target)
{
	return 0;
}

static int match_read(const struct field_context *context, const struct conf_node *node,
		      void *target)
{
	char what[WHAT_MAX];

	(void)snprintf(what, sizeof(what), "%s: match", context->what);
	return field_read(context, route_match_fields, route_match_field_count, node, what,
			  ((struct route_file *)target)->route);
}

static void match_print(struct conf_writer *writer, const char *key, const void *target)
{
	conf_write_open_mapping(writer, key);
	field_write(writer, route_match_fields, route_match_field_count,
		    ((const struct route_file *)target)->route);
	conf_write_close(writer);
}

static int listeners_refer(const struct field_context *context, const struct conf_node *node,
			   void *target)
{
	const struct conf_node *item = node->type == CONF_SEQUENCE ? node->children : node;
	const struct route_targets *targets = context->user;
	struct route *route = ((struct route_file *)target)->route;
	const struct name_entry *entry;
	char what[WHAT_MAX];
	int result = 0;

	(void)snprintf(what, sizeof(what), "%s: listeners", context->what);
	if (texts_read(context, node, what, &route->listeners, &route->listener_count))
		return -EINVAL;
	for (unsigned int i = 0; i < route->listener_count; i++, item = item->next)
		if (name_table_refer(targets->listeners, context, item, context->what, &entry))
			result = -EINVAL;
	return result;
}

static void listeners_print(struct conf_writer *writer, const char *key, const void *target)
{
	const struct route *route = ((const struct route_file *)target)->route;

	conf_write_texts(writer, key, route->listeners, route->listener_count);
}

static int policies_refer(const struct field_context *context, const struct conf_node *node,
			  void *target)
{
	const struct route_targets *targets = context->user;

	return route_policies_read(context, node, context->what, targets->policies,
				   targets->policy_items, ((struct route_file *)target)->route);
}

static void policies_print(struct conf_writer *writer, const char *key, const void *target)
{
	route_policies_write(writer, key, ((const struct route_file *)target)->route);
}

static void action_print(struct conf_writer *writer, const char *key, const void *target)
{
	struct route_file file = *(const struct route_file *)target;

	for (unsigned int i = 0; i < ARRAY_SIZE(actions); i++) {
		if (actions[i].action != file.route->action || strcmp(actions[i].key, key))
			continue;
		conf_write_open_mapping(writer, key);
		if (actions[i].action == ROUTE_FILES) {
			files_config_write(writer, &file.route->files);
		} else {
			actions[i].fill(&file);
			field_write(writer, actions[i].fields, actions[i].field_count, &file);
		}
		conf_write_close(writer);
	}
}

static const struct field route_fields[] = {
	{.key = "name",
	 .kind = FIELD_STRING,
	 .offset = offsetof(struct route_file, name),
	 .required = true},
	{.key = "match", .kind = FIELD_CUSTOM, .read = match_read, .print = match_print},
	{.key = "listeners",
	 .kind = FIELD_CUSTOM,
	 .read = listeners_refer,
	 .print = listeners_print},
	{.key = "unsafe_paths",
	 .kind = FIELD_ENUM,
	 .offset = offsetof(struct route_file, unsafe_paths),
	 .names = unsafe_paths_names,
	 .name_count = ARRAY_SIZE(unsafe_paths_names),
	 .default_text = "refuse"},
	{.key = "policies", .kind = FIELD_CUSTOM, .read = policies_refer, .print = policies_print},
	{.key = "proxy", .kind = FIELD_CUSTOM, .read = action_seen, .print = action_print},
	{.key = "redirect", .kind = FIELD_CUSTOM, .read = action_seen, .print = action_print},
	{.key = "respond", .kind = FIELD_CUSTOM, .read = action_seen, .print = action_print},
	{.key = "files", .kind = FIELD_CUSTOM, .read = action_seen, .print = action_print},
	{.key = "compose", .kind = FIELD_NOT_YET},
	{.key = "grpc_json", .kind = FIELD_NOT_YET},
	{.key = "websocket_tcp", .kind = FIELD_NOT_YET},
};

/* Exactly one action. Those that are not built yet count, so that one error is enough for them. */
static int action_read(const struct field_context *context, const struct conf_node *node,
		       const char *route_what, struct route_file *file)
{
	const char *first = NULL;
	char what[WHAT_MAX];
	int result = 0;

	if (node->type != CONF_MAPPING)
		return -EINVAL;
	for (unsigned int i = 0; i < ARRAY_SIZE(other_actions) && !first; i++)
		if (conf_get(node, other_actions[i]))
			first = other_actions[i];
	for (unsigned int i = 0; i < ARRAY_SIZE(actions); i++) {
		const struct conf_node *action = conf_get(node, actions[i].key);

		if (!action)
			continue;
		if (first) {
			conf_error_key(context->errors, action,
				       "%s: has '%s' already; '%s' is a "
				       "second action",
				       route_what, first, actions[i].key);
			result = -EINVAL;
			continue;
		}
		first = actions[i].key;
		file->route->action = actions[i].action;
		(void)snprintf(what, sizeof(what), "%s: %s", route_what, actions[i].key);
		if (actions[i].read(context, action, what, file))
			result = -EINVAL;
	}
	if (!first) {
		conf_error(context->errors, node,
			   "%s: needs an action: 'proxy', 'redirect', 'respond' or 'files'",
			   route_what);
		result = -EINVAL;
	}
	return result;
}

/* Requests with such a path are refused before they could reach it. */
static int check_path_is_served(const struct field_context *context, const struct conf_node *node,
				const char *what, const struct route *route)
{
	char value[VALUE_MAX];
	struct str canonical;

	if (route->unsafe_paths || !route->path.ptr || route->path_kind == ROUTE_PATH_REGEX ||
	    path_canonicalise(route->path, context->arena, &canonical) != -EINVAL)
		return 0;
	conf_error(context->errors, node,
		   "%s: match: path: %s has '//', %%2F or %%5C: that needs 'unsafe_paths: allow'",
		   what, str_quote(route->path, value, sizeof(value)));
	return -EINVAL;
}

static int route_read(const struct field_context *context, const struct conf_node *node,
		      const char *what, unsigned int index, void *item)
{
	const struct route_targets *targets = context->user;
	struct route *route = item;
	struct route_file file = {.what = what, .route = route};
	int r;

	route->line = node->line;
	route->column = node->column;
	route->order = index;
	route->path_kind = ROUTE_PATH_PREFIX;
	route->path = STR("/");
	r = field_read(context, route_fields, ARRAY_SIZE(route_fields), node, what, &file);
	route->name = file.name;
	route->unsafe_paths = file.unsafe_paths;
	if (check_path_is_served(context, node, what, route))
		r = -EINVAL;
	if (action_read(context, node, what, &file) ||
	    route_policies_check(context, conf_get(node, "policies"), what, route))
		r = -EINVAL;
	if (!targets->listeners->count && !conf_get(node, "listeners")) {
		conf_error(context->errors, node,
			   "%s: there is no listener that it could be reached by", what);
		r = -EINVAL;
	}
	if (r)
		route->path = STR_NULL;
	return r;
}

int routes_read(const struct field_context *context, const struct conf_node *node,
		const struct route_targets *targets, struct arena *scratch,
		struct name_table *ret_names, struct route **ret_routes, unsigned int *ret_count)
{
	static const struct named_list list = {
		.kind = "route",
		.item_bytes = sizeof(struct route),
		.read = route_read,
	};
	struct field_context inner = *context;
	void *items = NULL;
	int r;

	inner.user = targets;
	r = named_list_read(&inner, &list, node, scratch, ret_names, &items, ret_count);
	*ret_routes = items;
	return r;
}

void routes_write(struct conf_writer *writer, const struct route *routes, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++) {
		struct route route = routes[i];
		const struct route_file file = {
			.name = route.name,
			.unsafe_paths = route.unsafe_paths,
			.route = &route,
		};

		conf_write_open_item(writer);
		field_write(writer, route_fields, ARRAY_SIZE(route_fields), &file);
		conf_write_close(writer);
	}
}

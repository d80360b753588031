#include "filter/transform.h"

#include <errno.h>

#include "conf/names.h"
#include "http/field_edit.h"

#define WHAT_MAX       200
#define VALUE_MAX      96
#define PATH_BYTES_MAX 1024

/* ---- lists ---- */

static int check_mapping(const struct field_context *context, const struct conf_node *node,
			 const char *what)
{
	char value[VALUE_MAX];

	if (node->type == CONF_MAPPING || conf_is_null(node))
		return 0;
	conf_error(context->errors, node, "%s: expected a mapping, got %s", what,
		   conf_describe(node, value, sizeof(value)));
	return -EINVAL;
}

/* What names are of. */
enum subject { REQUEST_HEADERS, RESPONSE_HEADERS, QUERY };

static int check_name(const struct field_context *context, const struct conf_node *node,
		      enum subject subject, const char *what)
{
	if (subject != QUERY)
		return policy_field_check(context, node, node->key, what);
	if (node->key.len)
		return 0;
	conf_error_key(context->errors, node, "%s: a parameter has a name", what);
	return -EINVAL;
}

static int settings_read(const struct field_context *context, const struct conf_node *node,
			 const char *key, enum subject subject, struct transform_settings *settings)
{
	char what[WHAT_MAX], member_what[WHAT_MAX * 2];
	int result = 0;

	(void)snprintf(what, sizeof(what), "%s: %s", context->what, key);
	if (check_mapping(context, node, what))
		return -EINVAL;
	settings->items = arena_new_array(context->arena, struct transform_setting, node->count);
	if (!settings->items)
		return field_no_memory(context, node);
	conf_for_each (member, node) {
		struct transform_setting *setting = &settings->items[settings->count];

		(void)snprintf(member_what, sizeof(member_what), "%s: '%.*s'", what,
			       STR_FMT(member->key));
		if (check_name(context, member, subject, what) ||
		    template_read(context, member, member_what, subject == RESPONSE_HEADERS,
				  &setting->value)) {
			result = -EINVAL;
			continue;
		}
		setting->name = arena_copy(context->arena, member->key);
		if (!setting->name.ptr)
			return field_no_memory(context, member);
		if (subject != QUERY && setting->value.constant && setting->value.part_count &&
		    !http_value_is_valid(setting->value.parts[0].text)) {
			conf_error(context->errors, member,
				   "%s: a header's value has no control characters", member_what);
			result = -EINVAL;
			continue;
		}
		settings->count++;
	}
	return result;
}

static void settings_print(struct conf_writer *writer, const char *key,
			   const struct transform_settings *settings)
{
	if (!settings->count)
		return;
	conf_write_open_mapping(writer, key);
	for (unsigned int i = 0; i < settings->count; i++)
		conf_write_member(writer, settings->items[i].name,
				  settings->items[i].value.written);
	conf_write_close(writer);
}

static int renames_read(const struct field_context *context, const struct conf_node *node,
			struct transform_renames *renames)
{
	char what[WHAT_MAX];
	int result = 0;

	(void)snprintf(what, sizeof(what), "%s: rename", context->what);
	if (check_mapping(context, node, what))
		return -EINVAL;
	renames->items = arena_new_array(context->arena, struct transform_rename, node->count);
	if (!renames->items)
		return field_no_memory(context, node);
	conf_for_each (member, node) {
		struct transform_rename *rename = &renames->items[renames->count];
		struct str to = member->type == CONF_SCALAR ? member->value : STR("");

		if (policy_field_check(context, member, member->key, what) ||
		    policy_field_check(context, member, to, what)) {
			result = -EINVAL;
			continue;
		}
		if (field_name_equal_folded(member->key, to)) {
			conf_error(context->errors, member, "%s: '%.*s' is its own new name", what,
				   STR_FMT(to));
			result = -EINVAL;
			continue;
		}
		rename->from = arena_copy(context->arena, member->key);
		rename->to = arena_copy(context->arena, to);
		if (!rename->from.ptr || !rename->to.ptr)
			return field_no_memory(context, member);
		renames->count++;
	}
	return result;
}

static void renames_print(struct conf_writer *writer, const struct transform_renames *renames)
{
	if (!renames->count)
		return;
	conf_write_open_mapping(writer, "rename");
	for (unsigned int i = 0; i < renames->count; i++)
		conf_write_member(writer, renames->items[i].from, renames->items[i].to);
	conf_write_close(writer);
}

/* ---- headers ---- */

/* A request's or an answer's: field_read() gives the struct, not whose it is. */
struct headers_file {
	struct transform_headers *headers;
	enum subject subject;
};

static int remove_read(const struct field_context *context, const struct conf_node *node,
		       void *target)
{
	const struct headers_file *file = target;
	char what[WHAT_MAX];

	(void)snprintf(what, sizeof(what), "%s: remove", context->what);
	return policy_field_names_read(context, node, what, &file->headers->remove);
}

static int rename_read(const struct field_context *context, const struct conf_node *node,
		       void *target)
{
	const struct headers_file *file = target;

	return renames_read(context, node, &file->headers->rename);
}

static int set_read(const struct field_context *context, const struct conf_node *node, void *target)
{
	const struct headers_file *file = target;

	return settings_read(context, node, "set", file->subject, &file->headers->set);
}

static int add_read(const struct field_context *context, const struct conf_node *node, void *target)
{
	const struct headers_file *file = target;

	return settings_read(context, node, "add", file->subject, &file->headers->add);
}

static const struct field headers_fields[] = {
	{.key = "remove", .kind = FIELD_CUSTOM, .read = remove_read},
	{.key = "rename", .kind = FIELD_CUSTOM, .read = rename_read},
	{.key = "set", .kind = FIELD_CUSTOM, .read = set_read},
	{.key = "add", .kind = FIELD_CUSTOM, .read = add_read},
};

static int headers_read(const struct field_context *context, const struct conf_node *node,
			enum subject subject, struct transform_headers *headers)
{
	struct headers_file file = {headers, subject};
	char what[WHAT_MAX];

	(void)snprintf(what, sizeof(what), "%s: headers", context->what);
	return field_read(context, headers_fields, ARRAY_SIZE(headers_fields), node, what, &file);
}

static bool headers_are_empty(const struct transform_headers *headers)
{
	return !headers->remove.count && !headers->rename.count && !headers->set.count &&
	       !headers->add.count;
}

static void headers_print(struct conf_writer *writer, const char *key,
			  const struct transform_headers *headers)
{
	if (headers_are_empty(headers))
		return;
	conf_write_open_mapping(writer, key);
	policy_field_names_write(writer, "remove", &headers->remove);
	renames_print(writer, &headers->rename);
	settings_print(writer, "set", &headers->set);
	settings_print(writer, "add", &headers->add);
	conf_write_close(writer);
}

/* ---- request ---- */

static int method_read(const struct field_context *context, const struct conf_node *node,
		       void *target)
{
	struct transform_request *request = target;
	struct str name = node->type == CONF_SCALAR ? node->value : STR("");

	switch (http_method_lookup(name)) {
	case HTTP_METHOD_HEAD:
	case HTTP_METHOD_TRACE:
	case HTTP_METHOD_CONNECT:
		conf_error(context->errors, node,
			   "%s: method: '%.*s' changes what an answer is; it cannot be set",
			   context->what, STR_FMT(name));
		return -EINVAL;
	default:
		break;
	}
	if (!http_name_is_valid(name)) {
		conf_error(context->errors, node, "%s: method: expected the name of a method",
			   context->what);
		return -EINVAL;
	}
	request->method = arena_copy(context->arena, name);
	return request->method.ptr ? 0 : field_no_memory(context, node);
}

static void method_print(struct conf_writer *writer, const char *key, const void *target)
{
	const struct transform_request *request = target;

	if (request->method.ptr)
		conf_write_str(writer, key, request->method);
}

static int path_read(const struct field_context *context, const struct conf_node *node,
		     void *target)
{
	struct transform_request *request = target;
	char what[WHAT_MAX];

	(void)snprintf(what, sizeof(what), "%s: path", context->what);
	if (template_read(context, node, what, false, &request->path))
		return -EINVAL;
	if (!str_starts_with(request->path.written, STR("/")) &&
	    !str_starts_with(request->path.written, STR("{"))) {
		conf_error(context->errors, node, "%s: a path begins with '/'", what);
		return -EINVAL;
	}
	for (unsigned int i = 0; i < request->path.part_count; i++) {
		const struct template_part *part = &request->path.parts[i];
		char room[3 * PATH_BYTES_MAX];

		if (part->variable)
			continue;
		if (part->text.len <= PATH_BYTES_MAX &&
		    template_encode(room, part->text, TEMPLATE_PATH, true, true) == part->text.len)
			continue;
		conf_error(context->errors, node,
			   "%s: a path has no spaces, '?', '#' and the like; percent-encode them",
			   what);
		return -EINVAL;
	}
	return 0;
}

static void path_print(struct conf_writer *writer, const char *key, const void *target)
{
	const struct transform_request *request = target;

	if (request->path.written.ptr)
		conf_write_str(writer, key, request->path.written);
}

static int query_remove_read(const struct field_context *context, const struct conf_node *node,
			     void *target)
{
	struct transform_request *request = target;
	char what[WHAT_MAX];

	(void)snprintf(what, sizeof(what), "%s: remove", context->what);
	return texts_read(context, node, what, &request->query.remove.names,
			  &request->query.remove.count);
}

static int query_set_read(const struct field_context *context, const struct conf_node *node,
			  void *target)
{
	return settings_read(context, node, "set", QUERY,
			     &((struct transform_request *)target)->query.set);
}

static int query_add_read(const struct field_context *context, const struct conf_node *node,
			  void *target)
{
	return settings_read(context, node, "add", QUERY,
			     &((struct transform_request *)target)->query.add);
}

static const struct field query_fields[] = {
	{.key = "remove", .kind = FIELD_CUSTOM, .read = query_remove_read},
	{.key = "set", .kind = FIELD_CUSTOM, .read = query_set_read},
	{.key = "add", .kind = FIELD_CUSTOM, .read = query_add_read},
};

static int query_read(const struct field_context *context, const struct conf_node *node,
		      void *target)
{
	char what[WHAT_MAX];

	(void)snprintf(what, sizeof(what), "%s: query", context->what);
	return field_read(context, query_fields, ARRAY_SIZE(query_fields), node, what, target);
}

static bool query_is_empty(const struct transform_request *request)
{
	return !request->query.remove.count && !request->query.set.count &&
	       !request->query.add.count;
}

static void query_print(struct conf_writer *writer, const char *key, const void *target)
{
	const struct transform_request *request = target;

	if (query_is_empty(request))
		return;
	conf_write_open_mapping(writer, key);
	if (request->query.remove.count) {
		conf_write_open_list(writer, "remove");
		for (unsigned int i = 0; i < request->query.remove.count; i++)
			conf_write_str(writer, NULL, request->query.remove.names[i]);
		conf_write_close(writer);
	}
	settings_print(writer, "set", &request->query.set);
	settings_print(writer, "add", &request->query.add);
	conf_write_close(writer);
}

static int request_headers_read(const struct field_context *context, const struct conf_node *node,
				void *target)
{
	return headers_read(context, node, REQUEST_HEADERS,
			    &((struct transform_request *)target)->headers);
}

static void request_headers_print(struct conf_writer *writer, const char *key, const void *target)
{
	headers_print(writer, key, &((const struct transform_request *)target)->headers);
}

static const struct field request_fields[] = {
	{.key = "method", .kind = FIELD_CUSTOM, .read = method_read, .print = method_print},
	{.key = "path", .kind = FIELD_CUSTOM, .read = path_read, .print = path_print},
	{.key = "query", .kind = FIELD_CUSTOM, .read = query_read, .print = query_print},
	{.key = "headers",
	 .kind = FIELD_CUSTOM,
	 .read = request_headers_read,
	 .print = request_headers_print},
	{.key = "json", .kind = FIELD_NOT_YET},
};

static int request_read(const struct field_context *context, const struct conf_node *node,
			void *target)
{
	struct transform_request *request = &((struct transform *)target)->request;
	char what[WHAT_MAX];

	(void)snprintf(what, sizeof(what), "%s: request", context->what);
	if (field_read(context, request_fields, ARRAY_SIZE(request_fields), node, what, request))
		return -EINVAL;
	request->upstream_only =
		request->method.ptr || request->path.written.ptr || !query_is_empty(request);
	request->asked = request->upstream_only || !headers_are_empty(&request->headers);
	return 0;
}

static void request_print(struct conf_writer *writer, const char *key, const void *target)
{
	const struct transform_request *request = &((const struct transform *)target)->request;

	if (!request->asked)
		return;
	conf_write_open_mapping(writer, key);
	field_write(writer, request_fields, ARRAY_SIZE(request_fields), request);
	conf_write_close(writer);
}

/* ---- response ---- */

static int status_read(const struct field_context *context, const struct conf_node *node,
		       void *target)
{
	static const struct field number = {.key = "status",
					    .kind = FIELD_U64,
					    .offset = offsetof(struct transform_response, status),
					    .min = 200,
					    .max = 599};
	struct transform_response *response = target;

	if (field_read_value(context, &number, node, context->what, response))
		return -EINVAL;
	if (response->status != 204 && response->status != 205 && response->status != 304)
		return 0;
	conf_error(context->errors, node, "%s: status: an answer with status %llu has no body",
		   context->what, (unsigned long long)response->status);
	return -EINVAL;
}

static void status_print(struct conf_writer *writer, const char *key, const void *target)
{
	const struct transform_response *response = target;

	if (response->status)
		conf_write_u64(writer, key, response->status);
}

static int response_headers_read(const struct field_context *context, const struct conf_node *node,
				 void *target)
{
	return headers_read(context, node, RESPONSE_HEADERS,
			    &((struct transform_response *)target)->headers);
}

static void response_headers_print(struct conf_writer *writer, const char *key, const void *target)
{
	headers_print(writer, key, &((const struct transform_response *)target)->headers);
}

static const struct field response_fields[] = {
	{.key = "status", .kind = FIELD_CUSTOM, .read = status_read, .print = status_print},
	{.key = "headers",
	 .kind = FIELD_CUSTOM,
	 .read = response_headers_read,
	 .print = response_headers_print},
	{.key = "json", .kind = FIELD_NOT_YET},
};

static int response_read(const struct field_context *context, const struct conf_node *node,
			 void *target)
{
	struct transform_response *response = &((struct transform *)target)->response;
	char what[WHAT_MAX];

	(void)snprintf(what, sizeof(what), "%s: response", context->what);
	if (field_read(context, response_fields, ARRAY_SIZE(response_fields), node, what, response))
		return -EINVAL;
	response->asked = response->status || !headers_are_empty(&response->headers);
	return 0;
}

static void response_print(struct conf_writer *writer, const char *key, const void *target)
{
	const struct transform_response *response = &((const struct transform *)target)->response;

	if (!response->asked)
		return;
	conf_write_open_mapping(writer, key);
	field_write(writer, response_fields, ARRAY_SIZE(response_fields), response);
	conf_write_close(writer);
}

static const struct field transform_fields[] = {
	{.key = "request", .kind = FIELD_CUSTOM, .read = request_read, .print = request_print},
	{.key = "response", .kind = FIELD_CUSTOM, .read = response_read, .print = response_print},
};

int transform_read(const struct field_context *context, const struct conf_node *node,
		   const char *what, void *conf)
{
	struct transform *transform = conf;

	if (field_read(context, transform_fields, ARRAY_SIZE(transform_fields), node, what,
		       transform))
		return -EINVAL;
	if (transform->request.asked || transform->response.asked)
		return 0;
	conf_error(context->errors, node, "%s: changes nothing; it needs 'request' or 'response'",
		   what);
	return -EINVAL;
}

void transform_write(struct conf_writer *writer, const void *conf)
{
	field_write(writer, transform_fields, ARRAY_SIZE(transform_fields), conf);
}

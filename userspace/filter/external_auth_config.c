#include "filter/external_auth.h"

#include <errno.h>

#include "http/policy_config.h"
#include "proto/http_bytes.h"
#include "upstream/upstream.h"

#define WHAT_MAX 160

static int upstream_read(const struct field_context *context, const struct conf_node *node,
			 void *target)
{
	struct external_auth *auth = target;

	return policy_refer_upstream(context, node, context->what, &auth->upstream);
}

static void upstream_print(struct conf_writer *writer, const char *key, const void *target)
{
	conf_write_str(writer, key, ((const struct external_auth *)target)->upstream->name);
}

static int path_read(const struct field_context *context, const struct conf_node *node,
		     void *target)
{
	struct external_auth *auth = target;
	bool valid = node->type == CONF_SCALAR && str_starts_with(node->value, STR("/"));

	for (size_t i = 0; valid && i < node->value.len; i++)
		valid = http_byte_is(node->value.ptr[i], HTTP_BYTE_TARGET);
	if (!valid) {
		conf_error(context->errors, node,
			   "%s: path: expected a path that begins with '/', perhaps with a query, "
			   "as it is sent",
			   context->what);
		return -EINVAL;
	}
	auth->path = arena_copy(context->arena, node->value);
	return auth->path.ptr ? 0 : field_no_memory(context, node);
}

static void path_print(struct conf_writer *writer, const char *key, const void *target)
{
	conf_write_str(writer, key, ((const struct external_auth *)target)->path);
}

static int names_read(const struct field_context *context, const struct conf_node *node,
		      const char *key, struct field_names *names)
{
	char what[WHAT_MAX];

	(void)snprintf(what, sizeof(what), "%s: %s", context->what, key);
	return policy_field_names_read(context, node, what, names);
}

static int take_read(const struct field_context *context, const struct conf_node *node,
		     void *target)
{
	return names_read(context, node, "take_headers",
			  &((struct external_auth *)target)->take_headers);
}

static void take_print(struct conf_writer *writer, const char *key, const void *target)
{
	policy_field_names_write(writer, key,
				 &((const struct external_auth *)target)->take_headers);
}

static int answer_read(const struct field_context *context, const struct conf_node *node,
		       void *target)
{
	return names_read(context, node, "answer_headers",
			  &((struct external_auth *)target)->answer_headers);
}

static void answer_print(struct conf_writer *writer, const char *key, const void *target)
{
	policy_field_names_write(writer, key,
				 &((const struct external_auth *)target)->answer_headers);
}

static const struct field fields[] = {
	{.key = "upstream",
	 .kind = FIELD_CUSTOM,
	 .required = true,
	 .read = upstream_read,
	 .print = upstream_print},
	{.key = "path",
	 .kind = FIELD_CUSTOM,
	 .required = true,
	 .read = path_read,
	 .print = path_print},
	{.key = "timeout",
	 .kind = FIELD_DURATION_MS,
	 .offset = offsetof(struct external_auth, timeout_ms),
	 .min = 10,
	 .max = 60000,
	 .default_text = "1s"},
	{.key = "take_headers", .kind = FIELD_CUSTOM, .read = take_read, .print = take_print},
	{.key = "answer_headers", .kind = FIELD_CUSTOM, .read = answer_read, .print = answer_print},
};

int external_auth_read(const struct field_context *context, const struct conf_node *node,
		       const char *what, void *conf)
{
	static struct str usual[] = {{"www-authenticate", 16}, {"location", 8}, {"set-cookie", 10}};
	struct external_auth *auth = conf;

	auth->answer_headers = (struct field_names){usual, ARRAY_SIZE(usual)};
	return field_read(context, fields, ARRAY_SIZE(fields), node, what, auth);
}

void external_auth_write(struct conf_writer *writer, const void *conf)
{
	field_write(writer, fields, ARRAY_SIZE(fields), conf);
}

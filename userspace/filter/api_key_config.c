#include <errno.h>

#include "conf/value_file.h"
#include "filter/api_key.h"

#define WHAT_MAX	160
#define VALUE_MAX	96
#define FILE_BYTES_MAX	((size_t)64 << 20)
#define PARAM_BYTES_MAX 64

static int header_read(const struct field_context *context, const struct conf_node *node,
		       void *target)
{
	struct api_key *api_key = target;
	char what[WHAT_MAX], value[VALUE_MAX];

	(void)snprintf(what, sizeof(what), "%s: header", context->what);
	if (auth_field_name_read(context, node, what, &api_key->header))
		return -EINVAL;
	switch (http_field_lookup(api_key->header)) {
	case HTTP_FIELD_OTHER:
	case HTTP_FIELD_AUTHORIZATION:
		return 0;
	default:
		conf_error(context->errors, node, "%s: %s has a meaning of its own", what,
			   str_quote(api_key->header, value, sizeof(value)));
		return -EINVAL;
	}
}

static void header_print(struct conf_writer *writer, const char *key, const void *target)
{
	const struct api_key *api_key = target;

	if (api_key->header.ptr)
		conf_write_str(writer, key, api_key->header);
}

static int keys_read(const struct field_context *context, const struct conf_node *node,
		     void *target)
{
	struct api_key *api_key = target;
	struct value_file file;
	char what[WHAT_MAX];
	int r;

	(void)snprintf(what, sizeof(what), "%s: keys", context->what);
	r = auth_file_read(context, node, what, FILE_BYTES_MAX, &file);
	if (!r) {
		api_key->file = file.absolute;
		r = api_key_file_parse(context, file.path, buf_str(&file.content), &api_key->table);
	}
	value_file_done(&file);
	return r;
}

static void keys_print(struct conf_writer *writer, const char *key, const void *target)
{
	auth_file_write(writer, key, ((const struct api_key *)target)->file);
}

static const struct field api_key_fields[] = {
	AUTH_FIELDS("false"),
	{.key = "header", .kind = FIELD_CUSTOM, .read = header_read, .print = header_print},
	{.key = "query",
	 .kind = FIELD_STRING,
	 .offset = offsetof(struct api_key, query),
	 .max = PARAM_BYTES_MAX},
	{.key = "keys",
	 .kind = FIELD_CUSTOM,
	 .required = true,
	 .read = keys_read,
	 .print = keys_print},
};

int api_key_read(const struct field_context *context, const struct conf_node *node,
		 const char *what, void *conf)
{
	struct api_key *api_key = conf;

	api_key->auth.challenge = STR("ApiKey");
	if (field_read(context, api_key_fields, ARRAY_SIZE(api_key_fields), node, what, api_key) ||
	    auth_check_forward(context, node, what, &api_key->auth, api_key->header))
		return -EINVAL;
	if (api_key->header.ptr || api_key->query.ptr)
		return 0;
	conf_error(context->errors, node, "%s: needs 'header' or 'query': where the key stands",
		   what);
	return -EINVAL;
}

void api_key_write(struct conf_writer *writer, const void *conf)
{
	field_write(writer, api_key_fields, ARRAY_SIZE(api_key_fields), conf);
}

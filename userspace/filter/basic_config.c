#include <errno.h>

#include "conf/value_file.h"
#include "filter/basic.h"
#include "filter/password.h"

#define WHAT_MAX	160
#define FILE_BYTES_MAX	((size_t)16 << 20)
#define REALM_BYTES_MAX 128
#define CACHED_MAX_MS	3600000

/* ---- the htpasswd file: USER:HASH a line ---- */

static bool next_line(struct str *rest, struct str *ret_line)
{
	ptrdiff_t end = str_find_byte(*rest, '\n');

	if (!rest->len)
		return false;
	*ret_line = end < 0 ? *rest : str_make(rest->ptr, (size_t)end);
	*rest = end < 0 ? str_make(rest->ptr + rest->len, 0)
			: str_make(rest->ptr + end + 1, rest->len - (size_t)end - 1);
	*ret_line = str_trim(*ret_line);
	if (ret_line->len && ret_line->ptr[ret_line->len - 1] == '\r')
		ret_line->len--;
	return true;
}

static bool is_user_line(struct str line)
{
	return line.len && line.ptr[0] != '#';
}

static int make_room(const struct field_context *context, struct str text, struct basic *basic)
{
	struct str line;
	size_t lines = 0, slots = 4;

	while (next_line(&text, &line))
		lines += is_user_line(line);
	while (slots < lines * 2)
		slots *= 2;
	basic->users = arena_new_array(context->arena, struct basic_user, lines);
	basic->slots = arena_new_array(context->arena, uint32_t, slots);
	basic->mask = (uint32_t)slots - 1;
	return basic->users && basic->slots ? 0 : field_no_memory(context, NULL);
}

/* NULL, or what is wrong with it, which never shows the hash. */
static const char *read_line(const struct field_context *context, struct str line,
			     struct basic *basic)
{
	struct basic_user *user = &basic->users[basic->user_count];
	ptrdiff_t colon = str_find_byte(line, ':');
	struct str name, hash;
	uint32_t at;

	if (colon <= 0)
		return "expected USER:HASH";
	name = str_sub(line, 0, (size_t)colon);
	if (basic_find(basic, name))
		return "the user stands in an earlier line";
	hash = arena_copy(context->arena, str_sub(line, (size_t)colon + 1, line.len));
	name = arena_copy(context->arena, name);
	if (!hash.ptr || !name.ptr)
		return "out of memory";
	if (!password_hash_is_valid(hash.ptr))
		return "expected a hash by bcrypt, yescrypt, SHA-crypt or apr1 "
		       "($2y$, $y$, $5$, $6$, $apr1$)";
	user->hash = hash.ptr;
	user->finding = (struct identity_finding){.scheme = "basic", .consumer = name};
	basic->user_count++;
	at = basic_hash_name(name);
	while (basic->slots[at & basic->mask])
		at++;
	basic->slots[at & basic->mask] = basic->user_count;
	return NULL;
}

static int parse(const struct field_context *context, const char *path, struct str text,
		 struct basic *basic)
{
	struct str line;
	int result = 0;

	if (make_room(context, text, basic))
		return -EINVAL;
	for (uint32_t number = 1; next_line(&text, &line); number++) {
		const char *wrong = is_user_line(line) ? read_line(context, line, basic) : NULL;

		if (!wrong)
			continue;
		conf_error_in_file(context->errors, path, number, 1, "%s", wrong);
		result = -EINVAL;
	}
	if (result || basic->user_count)
		return result;
	conf_error_in_file(context->errors, path, 1, 1, "there is no user in the file");
	return -EINVAL;
}

static int htpasswd_read(const struct field_context *context, const struct conf_node *node,
			 void *target)
{
	struct basic *basic = target;
	struct value_file file;
	char what[WHAT_MAX];
	int r;

	(void)snprintf(what, sizeof(what), "%s: htpasswd", context->what);
	r = auth_file_read(context, node, what, FILE_BYTES_MAX, &file);
	if (!r) {
		basic->file = file.absolute;
		r = parse(context, file.path, buf_str(&file.content), basic);
	}
	value_file_done(&file);
	return r;
}

static void htpasswd_print(struct conf_writer *writer, const char *key, const void *target)
{
	auth_file_write(writer, key, ((const struct basic *)target)->file);
}

static const struct field basic_fields[] = {
	AUTH_FIELDS("false"),
	{.key = "realm",
	 .kind = FIELD_STRING,
	 .offset = offsetof(struct basic, realm),
	 .max = REALM_BYTES_MAX,
	 .required = true},
	{.key = "htpasswd",
	 .kind = FIELD_CUSTOM,
	 .required = true,
	 .read = htpasswd_read,
	 .print = htpasswd_print},
	{.key = "cached_for",
	 .kind = FIELD_DURATION_MS,
	 .offset = offsetof(struct basic, cached_for_ms),
	 .max = CACHED_MAX_MS,
	 .default_text = "1m"},
};

int basic_read(const struct field_context *context, const struct conf_node *node, const char *what,
	       void *conf)
{
	struct basic *basic = conf;

	if (field_read(context, basic_fields, ARRAY_SIZE(basic_fields), node, what, basic))
		return -EINVAL;
	for (size_t i = 0; i < basic->realm.len; i++) {
		char byte = basic->realm.ptr[i];

		if (byte >= ' ' && byte <= '~' && byte != '"' && byte != '\\')
			continue;
		conf_error(context->errors, conf_get(node, "realm"),
			   "%s: realm: expected printable ASCII without quotes and backslashes",
			   what);
		return -EINVAL;
	}
	basic->auth.challenge = arena_printf(
		context->arena, "Basic realm=\"%.*s\", charset=\"UTF-8\"", STR_FMT(basic->realm));
	return basic->auth.challenge.ptr ? 0 : field_no_memory(context, node);
}

void basic_write(struct conf_writer *writer, const void *conf)
{
	field_write(writer, basic_fields, ARRAY_SIZE(basic_fields), conf);
}

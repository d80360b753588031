#include <errno.h>

#include "base/cleanup.h"
#include "conf/names.h"
#include "filter/jwt.h"

#define WHAT_MAX       160
#define VALUE_MAX      96
#define FILE_BYTES_MAX ((size_t)1 << 20)
#define SKEW_MAX_MS    60000 /* HARDENING 23 */

static int audience_read(const struct field_context *context, const struct conf_node *node,
			 void *target)
{
	struct jwt_rules *rules = &((struct jwt *)target)->rules;
	char what[WHAT_MAX];

	(void)snprintf(what, sizeof(what), "%s: audience", context->what);
	return texts_read(context, node, what, &rules->audiences, &rules->audience_count);
}

static void audience_print(struct conf_writer *writer, const char *key, const void *target)
{
	const struct jwt_rules *rules = &((const struct jwt *)target)->rules;

	conf_write_texts(writer, key, rules->audiences, rules->audience_count);
}

static int algorithms_read(const struct field_context *context, const struct conf_node *node,
			   void *target)
{
	struct jwt_rules *rules = &((struct jwt *)target)->rules;
	const char *names[JWT_ALGORITHM_COUNT];
	struct str *texts = NULL;
	unsigned int count = 0;
	char what[WHAT_MAX], value[VALUE_MAX], hint[VALUE_MAX];
	int result = 0;

	(void)snprintf(what, sizeof(what), "%s: algorithms", context->what);
	if (texts_read(context, node, what, &texts, &count))
		return -EINVAL;
	for (unsigned int i = 0; i < JWT_ALGORITHM_COUNT; i++)
		names[i] = jwt_algorithm_name((enum jwt_algorithm)i);
	for (unsigned int i = 0; i < count; i++) {
		enum jwt_algorithm algorithm = jwt_algorithm_find(texts[i]);

		if (algorithm < JWT_ALGORITHM_COUNT) {
			rules->algorithms |= 1u << algorithm;
			continue;
		}
		conf_error(context->errors, node, "%s: %s is not an algorithm%s", what,
			   str_quote(texts[i], value, sizeof(value)),
			   field_hint(texts[i], names, JWT_ALGORITHM_COUNT, hint, sizeof(hint)));
		result = -EINVAL;
	}
	if (!result && !rules->algorithms) {
		conf_error(context->errors, node, "%s: an empty list allows nothing", what);
		result = -EINVAL;
	}
	return result;
}

static void algorithms_print(struct conf_writer *writer, const char *key, const void *target)
{
	const struct jwt_rules *rules = &((const struct jwt *)target)->rules;

	conf_write_open_list(writer, key);
	for (unsigned int i = 0; i < JWT_ALGORITHM_COUNT; i++)
		if (rules->algorithms & 1u << i)
			conf_write_plain(writer, NULL, jwt_algorithm_name((enum jwt_algorithm)i));
	conf_write_close(writer);
}

/* ---- keys ---- */

static void release_keys(void *object)
{
	jwk_set_free(object);
}

static const struct field jwks_fields[] = {
	{.key = "file", .kind = FIELD_STRING, .offset = 0, .required = true},
	{.key = "url", .kind = FIELD_NOT_YET},
	{.key = "refresh", .kind = FIELD_NOT_YET},
};

static int keys_load(const struct field_context *context, const struct conf_node *node,
		     const char *what, const struct value_file *file, struct jwt *jwt)
{
	struct error err = {0};
	uint8_t digest[DIGEST_BYTES];
	int r = jwk_set_parse(buf_str(&file->content), &jwt->keys, &err);

	if (r == -ENOMEM)
		return field_no_memory(context, node);
	if (r) {
		conf_error_in_file(context->errors, file->path, 1, 1, "%s: %s", what, err.text);
		return -EINVAL;
	}
	if (!arena_at_end(context->arena, release_keys, jwt->keys)) {
		jwk_set_free(TAKE_PTR(jwt->keys));
		return field_no_memory(context, node);
	}
	digest_sha256(buf_str(&file->content), digest);
	for (size_t i = 0; i < DIGEST_BYTES; i++)
		(void)snprintf(jwt->digest + 2 * i, 3, "%02x", digest[i]);
	jwt->jwks_file = file->absolute;
	return 0;
}

static int jwks_read(const struct field_context *context, const struct conf_node *node,
		     void *target)
{
	struct value_file file;
	struct str name = STR_NULL;
	char what[WHAT_MAX];
	int r;

	(void)snprintf(what, sizeof(what), "%s: jwks", context->what);
	buf_init(&file.content, FILE_BYTES_MAX);
	r = field_read(context, jwks_fields, ARRAY_SIZE(jwks_fields), node, what, &name);
	if (!r)
		r = value_file_read(context, conf_get(node, "file"), what, name, FILE_BYTES_MAX,
				    &file);
	if (!r)
		r = keys_load(context, node, what, &file, target);
	if (file.content.data)
		explicit_bzero(file.content.data, file.content.size_bytes);
	value_file_done(&file);
	return r ? -EINVAL : 0;
}

static void jwks_print(struct conf_writer *writer, const char *key, const void *target)
{
	auth_file_write(writer, key, ((const struct jwt *)target)->jwks_file);
}

/* ---- the policy ---- */

static int header_read(const struct field_context *context, const struct conf_node *node,
		       void *target)
{
	struct jwt *jwt = target;
	char what[WHAT_MAX], value[VALUE_MAX];

	(void)snprintf(what, sizeof(what), "%s: header", context->what);
	if (auth_field_name_read(context, node, what, &jwt->header))
		return -EINVAL;
	switch (http_field_lookup(jwt->header)) {
	case HTTP_FIELD_OTHER:
	case HTTP_FIELD_AUTHORIZATION:
		return 0;
	default:
		conf_error(context->errors, node, "%s: %s has a meaning of its own", what,
			   str_quote(jwt->header, value, sizeof(value)));
		return -EINVAL;
	}
}

static void header_print(struct conf_writer *writer, const char *key, const void *target)
{
	conf_write_str(writer, key, ((const struct jwt *)target)->header);
}

static const struct field jwt_fields[] = {
	AUTH_FIELDS("true"),
	{.key = "issuer",
	 .kind = FIELD_STRING,
	 .offset = offsetof(struct jwt, rules.issuer),
	 .required = true},
	{.key = "audience", .kind = FIELD_CUSTOM, .read = audience_read, .print = audience_print},
	{.key = "algorithms",
	 .kind = FIELD_CUSTOM,
	 .required = true,
	 .read = algorithms_read,
	 .print = algorithms_print},
	{.key = "jwks",
	 .kind = FIELD_CUSTOM,
	 .required = true,
	 .read = jwks_read,
	 .print = jwks_print},
	{.key = "header", .kind = FIELD_CUSTOM, .read = header_read, .print = header_print},
	{.key = "skew",
	 .kind = FIELD_DURATION_MS,
	 .offset = offsetof(struct jwt, skew_ms),
	 .max = SKEW_MAX_MS,
	 .default_text = "30s"},
	{.key = "consumer",
	 .kind = FIELD_STRING,
	 .offset = offsetof(struct jwt, rules.consumer),
	 .default_text = "sub"},
	{.key = "groups", .kind = FIELD_STRING, .offset = offsetof(struct jwt, rules.groups)},
	{.key = "cached_tokens",
	 .kind = FIELD_U64,
	 .offset = offsetof(struct jwt, cached_tokens),
	 .max = 65536,
	 .default_text = "1024"},
};

/* What was verified under other rules, or named by other claims, is not to be found again. */
static int digest_rules(const struct field_context *context, const struct conf_node *node,
			struct jwt *jwt)
{
	const struct jwt_rules *rules = &jwt->rules;
	uint8_t digest[DIGEST_BYTES];
	struct buf text;
	int r;

	buf_init(&text, (size_t)1 << 20);
	r = buf_printf(&text, "%s %x %zu:%.*s %llu %zu:%.*s %zu:%.*s %llu", jwt->digest,
		       rules->algorithms, rules->issuer.len, STR_FMT(rules->issuer),
		       (unsigned long long)rules->skew_s, rules->consumer.len,
		       STR_FMT(rules->consumer), rules->groups.len, STR_FMT(rules->groups),
		       (unsigned long long)jwt->cached_tokens);
	for (unsigned int i = 0; i < rules->audience_count && !r; i++)
		r = buf_printf(&text, " %zu:%.*s", rules->audiences[i].len,
			       STR_FMT(rules->audiences[i]));
	if (!r) {
		digest_sha256(buf_str(&text), digest);
		for (size_t i = 0; i < DIGEST_BYTES; i++)
			(void)snprintf(jwt->digest + 2 * i, 3, "%02x", digest[i]);
	}
	buf_done(&text);
	return r ? field_no_memory(context, node) : 0;
}

/* Is there a key for each algorithm? One without would refuse all its tokens. */
static int check_keys(const struct field_context *context, const struct conf_node *node,
		      const char *what, const struct jwt *jwt)
{
	unsigned int have = 0;

	for (unsigned int i = 0; i < jwt->keys->count; i++)
		have |= jwt->keys->keys[i].algorithms;
	if (jwt->rules.algorithms & have)
		return 0;
	conf_error(context->errors, conf_get(node, "jwks"),
		   "%s: jwks: there is no key for any of the algorithms", what);
	return -EINVAL;
}

int jwt_read(const struct field_context *context, const struct conf_node *node, const char *what,
	     void *conf)
{
	struct jwt *jwt = conf;

	jwt->header = STR("authorization");
	jwt->auth.challenge = STR("Bearer");
	jwt->auth.challenge_wrong = STR("Bearer error=\"invalid_token\"");
	if (field_read(context, jwt_fields, ARRAY_SIZE(jwt_fields), node, what, jwt) ||
	    auth_check_forward(context, node, what, &jwt->auth, jwt->header) ||
	    check_keys(context, node, what, jwt))
		return -EINVAL;
	jwt->rules.skew_s = jwt->skew_ms / 1000;
	return digest_rules(context, node, jwt);
}

void jwt_write(struct conf_writer *writer, const void *conf)
{
	field_write(writer, jwt_fields, ARRAY_SIZE(jwt_fields), conf);
}

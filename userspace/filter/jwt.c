#include "filter/jwt.h"

#include "base/clock.h"
#include "http/field_edit.h"
#include "http/worker_internal.h"

static void release_token(void *object)
{
	jwt_token_unref(object);
}

/* ptr NULL: there is none. False: more than one, or none of ours in Authorization. */
static bool find_text(const struct exchange *exchange, const struct jwt *jwt, struct str *ret_text)
{
	const struct http_head *request = &exchange->request;
	bool bearer = str_eq(jwt->header, STR("authorization"));

	for (unsigned int i = 0; i < request->field_count; i++) {
		struct str value = request->fields[i].value;

		if (request->fields[i].name.len != jwt->header.len ||
		    !str_eq_nocase(request->fields[i].name, jwt->header))
			continue;
		if (bearer) {
			/* Other schemes are other policies' (RFC 9110 section 11.4). */
			if (!str_eq_nocase(str_sub(value, 0, 7), STR("Bearer ")))
				continue;
			value = str_trim(str_sub(value, 7, value.len));
		}
		if (ret_text->ptr)
			return false;
		*ret_text = value;
	}
	return true;
}

/* The exchange keeps it from here on. False: out of memory. */
static bool keep(struct exchange *exchange, struct jwt_token *token)
{
	if (arena_at_end(&exchange->arena, release_token, token))
		return true;
	jwt_token_unref(token);
	return false;
}

static enum auth_verdict check(struct exchange *exchange, const void *conf, void *state,
			       struct auth_attempt *attempt)
{
	const struct jwt *jwt = conf;
	struct jwt_cache *cache = jwt->caches->caches[exchange->worker->index];
	uint64_t now_s = clock_wall_ms() / 1000;
	struct str text = STR_NULL;
	struct jwt_token *token;

	attempt->why = "several tokens";
	if (!find_text(exchange, jwt, &text))
		return AUTH_WRONG;
	attempt->why = NULL;
	if (!text.ptr)
		return AUTH_ABSENT;
	token = jwt_cache_find(cache, text, now_s);
	if (!token) {
		token = jwt_token_verify(text, &jwt->rules, jwt->keys, now_s, &attempt->why);
		if (!token)
			return AUTH_WRONG;
		jwt_cache_put(cache, token);
	}
	attempt->why = "out of memory";
	if (!keep(exchange, token))
		return AUTH_UNAVAILABLE;
	attempt->finding = &token->finding;
	return AUTH_KNOWN;
}

static void hide(struct exchange *exchange, const void *conf)
{
	request_field_remove(exchange, ((const struct jwt *)conf)->header);
}

static int acquire(struct registry *registry, struct str name, unsigned int worker_count,
		   void *conf)
{
	struct jwt *jwt = conf;

	return jwt_caches_acquire(registry, name, str_from_cstr(jwt->digest), worker_count,
				  (unsigned int)jwt->cached_tokens, &jwt->caches);
}

static void release(void *conf)
{
	jwt_caches_unref(((struct jwt *)conf)->caches);
}

static const struct auth_kind jwt_auth = {
	.scheme = "jwt",
	.check = check,
	.hide = hide,
};

const struct policy_type jwt_policy = {
	.key = "jwt",
	.conf_bytes = sizeof(struct jwt),
	.auth = &jwt_auth,
	.read = jwt_read,
	.write = jwt_write,
	.acquire = acquire,
	.release = release,
	.owned_fields = auth_owned_fields,
	.request_head = auth_request_head,
};

#include "filter/jwt_token.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "filter/base64.h"
#include "filter/jwt_claims.h"

const char jwt_why_key[] = "key is not known";

/* ---- parts ---- */

struct parts {
	struct str header, payload, signature, signed_bytes;
};

static bool split(struct str text, struct parts *parts)
{
	ptrdiff_t first = str_find_byte(text, '.'), second;
	struct str rest;

	if (text.len > JWT_BYTES_MAX || first <= 0)
		return false;
	rest = str_sub(text, (size_t)first + 1, text.len);
	second = str_find_byte(rest, '.');
	if (second <= 0)
		return false;
	parts->header = str_sub(text, 0, (size_t)first);
	parts->payload = str_sub(rest, 0, (size_t)second);
	parts->signature = str_sub(rest, (size_t)second + 1, rest.len);
	parts->signed_bytes = str_sub(text, 0, (size_t)first + 1 + (size_t)second);
	return true; /* a third dot is no digit of base64 */
}

/* NULL: no JSON object. */
static json_t *part_read(struct str text)
{
	uint8_t room[BASE64_ROOM(JWT_BYTES_MAX)];
	ptrdiff_t len = base64url_decode(text, room);
	json_t *object;

	if (len <= 0)
		return NULL;
	object = json_loadb((const char *)room, (size_t)len, JSON_REJECT_DUPLICATES, NULL);
	if (json_is_object(object))
		return object;
	json_decref(object);
	return NULL;
}

static struct str text_of(const json_t *value)
{
	return json_is_string(value) ? str_make(json_string_value(value), json_string_length(value))
				     : STR_NULL;
}

/* ---- header ---- */

/* RFC 7515 section 4.1.9: "application/" may be left out; other types are other things (RFC 8725
 * section 3.11). */
static bool type_is_token(const json_t *header)
{
	const json_t *member = json_object_get(header, "typ");
	struct str type = text_of(member);

	if (!member)
		return true;
	if (str_eq_nocase(str_sub(type, 0, 12), STR("application/")))
		type = str_sub(type, 12, type.len);
	return str_eq_nocase(type, STR("JWT")) || str_eq_nocase(type, STR("at+jwt"));
}

static const char *header_check(const json_t *header, const struct jwt_rules *rules,
				const struct jwk_set *keys, enum jwt_algorithm *ret_algorithm,
				const struct jwk **ret_key)
{
	const json_t *kid = json_object_get(header, "kid");

	*ret_algorithm = jwt_algorithm_find(text_of(json_object_get(header, "alg")));
	if (*ret_algorithm == JWT_ALGORITHM_COUNT || !(rules->algorithms & 1u << *ret_algorithm))
		return "algorithm is not allowed";
	if (json_object_get(header, "crit"))
		return "'crit' is not understood";
	if (json_object_get(header, "b64") || json_object_get(header, "zip"))
		return "'b64' and 'zip' are not understood";
	if (!type_is_token(header))
		return "'typ' is another thing's";
	if (kid && !json_is_string(kid))
		return "'kid' is no text";
	*ret_key = jwk_set_find(keys, text_of(kid), *ret_algorithm);
	return *ret_key ? NULL : jwt_why_key;
}

/* ---- claims ---- */

/* RFC 7519 section 2: a number of seconds, perhaps with a fraction. */
static bool time_of(const json_t *payload, const char *name, bool *ret_there, double *ret_seconds)
{
	const json_t *value = json_object_get(payload, name);

	*ret_there = value;
	if (!value)
		return true;
	if (!json_is_number(value))
		return false;
	*ret_seconds = json_number_value(value);
	return isfinite(*ret_seconds) && *ret_seconds >= 0 && *ret_seconds < 1e15;
}

static const char *times_check(const json_t *payload, uint64_t skew_s, uint64_t now_s,
			       uint64_t *ret_expires_s)
{
	double expires = 0, begins = 0, issued = 0, now = (double)now_s, skew = (double)skew_s;
	bool has_expires, has_begin, has_issued;

	if (!time_of(payload, "exp", &has_expires, &expires) ||
	    !time_of(payload, "nbf", &has_begin, &begins) ||
	    !time_of(payload, "iat", &has_issued, &issued))
		return "'exp', 'nbf' or 'iat' is no time";
	if (!has_expires)
		return "'exp' is missing";
	if (now >= expires + skew)
		return "token has expired";
	if (has_begin && now + skew < begins)
		return "token is not valid yet";
	*ret_expires_s = (uint64_t)(expires + skew);
	return NULL;
}

static bool is_audience(const struct jwt_rules *rules, const json_t *value)
{
	struct str text = text_of(value);

	for (unsigned int i = 0; text.ptr && i < rules->audience_count; i++)
		if (str_eq(text, rules->audiences[i]))
			return true;
	return false;
}

static const char *parties_check(const json_t *payload, const struct jwt_rules *rules)
{
	const json_t *issuer = json_object_get(payload, "iss");
	const json_t *audience = json_object_get(payload, "aud"), *item;
	size_t i;

	if (rules->issuer.ptr &&
	    (!json_is_string(issuer) || !str_eq(text_of(issuer), rules->issuer)))
		return "issuer is another one";
	if (!rules->audience_count || is_audience(rules, audience))
		return NULL;
	json_array_foreach(audience, i, item) if (is_audience(rules, item)) return NULL;
	return "audience is another one";
}

/* ---- all of it ---- */

static struct jwt_token *judge(struct str text, const struct parts *parts, const json_t *header,
			       const struct jwt_rules *rules, const struct jwk_set *keys,
			       uint64_t now_s, const char **ret_why)
{
	uint8_t signature[BASE64_ROOM(JWT_BYTES_MAX)];
	struct jwt_token *token = NULL;
	enum jwt_algorithm algorithm;
	const struct jwk *key = NULL;
	uint64_t expires_s = 0;
	json_t *payload;
	ptrdiff_t len;

	*ret_why = header_check(header, rules, keys, &algorithm, &key);
	if (*ret_why)
		return NULL;
	len = base64url_decode(parts->signature, signature);
	*ret_why = "signature is wrong";
	if (len <= 0 || !jwk_verify(key, algorithm, parts->signed_bytes,
				    str_make((const char *)signature, (size_t)len)))
		return NULL;
	payload = part_read(parts->payload);
	*ret_why = payload ? times_check(payload, rules->skew_s, now_s, &expires_s)
			   : "payload is no JSON object";
	if (!*ret_why)
		*ret_why = parties_check(payload, rules);
	if (!*ret_why)
		*ret_why = jwt_claims_make(payload, rules, text, &token);
	json_decref(payload);
	if (token)
		token->expires_s = expires_s;
	return token;
}

struct jwt_token *jwt_token_verify(struct str text, const struct jwt_rules *rules,
				   const struct jwk_set *keys, uint64_t now_s, const char **ret_why)
{
	struct jwt_token *token = NULL;
	struct parts parts;
	json_t *header;

	*ret_why = "is no token";
	if (!split(text, &parts))
		return NULL;
	header = part_read(parts.header);
	if (header)
		token = judge(text, &parts, header, rules, keys, now_s, ret_why);
	json_decref(header);
	return token;
}

struct jwt_token *jwt_token_ref(struct jwt_token *token)
{
	atomic_fetch_add_explicit(&token->refs, 1, memory_order_relaxed);
	return token;
}

void jwt_token_unref(struct jwt_token *token)
{
	if (token && atomic_fetch_sub_explicit(&token->refs, 1, memory_order_acq_rel) == 1)
		free(token);
}

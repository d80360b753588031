/*
 * fuzz_jwt: any bytes as a key set, and as a token whose signature is right: the first byte says
 * which. A token that is let through has an expiry, every claim lies within its block and holds no
 * NUL; what a key set gives can be searched.
 */
#include <stdlib.h>

#include "filter/jwt_claims.h"

static void check(bool holds)
{
	if (!holds)
		abort();
}

static const struct jwt_rules rules = {
	.algorithms = (1u << JWT_ALGORITHM_COUNT) - 1,
	.skew_s = 30,
	.consumer = {"sub", 3},
	.groups = {"org.groups", 10},
};

static void check_finding(const struct identity_finding *finding)
{
	struct identity identity = {0};

	check(identity_add(&identity, STR("p"), finding));
	for (unsigned int i = 0; i < finding->claim_count; i++) {
		check(finding->claims[i].value.ptr != NULL);
		check(!memchr(finding->claims[i].value.ptr, '\0', finding->claims[i].value.len));
		check(identity_has_claim(&identity, finding->claims[i].name,
					 finding->claims[i].value));
	}
	for (unsigned int i = 0; i < finding->group_count; i++)
		check(identity_has_group(&identity, finding->groups[i]));
	for (unsigned int i = 0; i < finding->scope_count; i++)
		check(finding->scopes[i].len > 0);
}

static void try_keys(struct str json)
{
	struct jwk_set *set = NULL;
	struct error err = {0};

	if (jwk_set_parse(json, &set, &err)) {
		check(!set);
		return;
	}
	check(set->count > 0);
	for (unsigned int i = 0; i < JWT_ALGORITHM_COUNT; i++) {
		const struct jwk *jwk = jwk_set_find(set, STR_NULL, (enum jwt_algorithm)i);

		if (jwk)
			check(!jwk_verify(jwk, (enum jwt_algorithm)i, STR("a"), STR("b")));
	}
	jwk_set_free(set);
}

static void try_token(struct str text)
{
	static const char keys_text[] = "{\"keys\":[{\"kty\":\"oct\",\"k\":"
					"\"c2l4dHktZm91ciBvY3RldHMgdGhhdCBhcmUgYXMgc2VjcmV0\"}]}";
	static struct jwk_set *keys;
	struct error err = {0};
	const char *why = NULL;
	struct jwt_token *token;

	if (!keys)
		check(!jwk_set_parse(str_from_cstr(keys_text), &keys, &err));
	token = jwt_token_verify(text, &rules, keys, 1000, &why);
	check(!token == !!why);
	jwt_token_unref(token);
}

static void try_payload(struct str json)
{
	json_t *payload = json_loadb(json.ptr, json.len, JSON_REJECT_DUPLICATES, NULL);
	struct jwt_token *token = NULL;

	if (json_is_object(payload) &&
	    !jwt_claims_make(payload, &rules, STR("the.whole.token"), &token)) {
		check(str_eq(token->text, STR("the.whole.token")));
		check_finding(&token->finding);
	}
	jwt_token_unref(token);
	json_decref(payload);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str rest;

	if (!size)
		return 0;
	rest = str_make((const char *)data + 1, size - 1);
	if (data[0] == 'k')
		try_keys(rest);
	else if (data[0] == 't')
		try_token(rest);
	else
		try_payload(rest);
	return 0;
}

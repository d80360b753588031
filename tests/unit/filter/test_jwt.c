/*
 * Tokens: every algorithm, what they say of the caller, and what must never pass (in the manner of
 * Wycheproof: one change each to a token that is good).
 */
#include "auth_stage.h"

#include <stdlib.h>

#include "filter/base64.h"
#include "filter/jwt.h"
#include "jwt_maker.h"

#define NOW	1800000000ULL
#define PAYLOAD "{\"iss\":\"https://id.test/\",\"aud\":\"shop\",\"exp\":1800000100,\"sub\":\"ann\"}"
#define ALL	((1u << JWT_ALGORITHM_COUNT) - 1)

static struct jwt_maker maker;
static struct jwk_set *keys;
static struct str audience = {"shop", 4};
static const struct jwt_rules rules = {
	.algorithms = ALL,
	.issuer = {"https://id.test/", 16},
	.audiences = &audience,
	.audience_count = 1,
	.skew_s = 30,
	.consumer = {"sub", 3},
	.groups = {"org.groups", 10},
};

static EVP_PKEY *key_named(const char *kid)
{
	const struct {
		const char *kid;
		EVP_PKEY *key;
	} names[] = {{"r1", maker.rsa},	   {"r2", maker.rsa_other}, {"e256", maker.p256},
		     {"e384", maker.p384}, {"e521", maker.p521},    {"ed", maker.ed25519}};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (!strcmp(names[i].kid, kid))
			return names[i].key;
	return NULL;
}

/* Signed with the key of that kid, as the algorithm wants it. */
static const char *make(const char *header, const char *payload, const char *kid,
			enum jwt_algorithm algorithm)
{
	return jwt_maker_sign(header, payload, key_named(kid), algorithm, jwt_maker_octets,
			      strcmp(kid, "h512") ? 32 : 64);
}

static struct jwt_token *verify(const char *token, const struct jwt_rules *by, const char **ret_why)
{
	return jwt_token_verify(str_from_cstr(token), by, keys, NOW, ret_why);
}

static void assert_good(const char *row, const char *token)
{
	const char *why = NULL;
	struct jwt_token *made = verify(token, &rules, &why);

	if (!made)
		fail_msg("%s: %s", row, why);
	assert_str(made->finding.consumer, "ann");
	jwt_token_unref(made);
}

static void assert_bad(const char *row, const char *token, const char *expected)
{
	const char *why = NULL;
	struct jwt_token *made = verify(token, &rules, &why);

	if (made || strcmp(why, expected) != 0)
		fail_msg("%s: %s", row, made ? "passed" : why);
}

static const struct {
	const char *alg, *kid;
	enum jwt_algorithm algorithm;
} algorithms[] = {
	{"RS256", "r1", JWT_RS256},   {"RS384", "r1", JWT_RS384},   {"RS512", "r2", JWT_RS512},
	{"PS256", "r1", JWT_PS256},   {"PS384", "r2", JWT_PS384},   {"PS512", "r1", JWT_PS512},
	{"ES256", "e256", JWT_ES256}, {"ES384", "e384", JWT_ES384}, {"ES512", "e521", JWT_ES512},
	{"EdDSA", "ed", JWT_EDDSA},   {"HS256", "h256", JWT_HS256}, {"HS384", "h512", JWT_HS384},
	{"HS512", "h512", JWT_HS512},
};

static const char *header_of(const char *alg, const char *kid)
{
	static char header[128];

	(void)snprintf(header, sizeof(header), "{\"alg\":\"%s\",\"kid\":\"%s\"}", alg, kid);
	return header;
}

static void test_every_algorithm_verifies_what_it_signed_and_nothing_else(void **state)
{
	static char changed[65536];

	for (size_t i = 0; i < ARRAY_SIZE(algorithms); i++) {
		const char *token = make(header_of(algorithms[i].alg, algorithms[i].kid), PAYLOAD,
					 algorithms[i].kid, algorithms[i].algorithm);
		size_t len = strlen(token);
		struct jwt_rules without = rules;
		const char *why;

		assert_good(algorithms[i].alg, token);
		/* Every place of it counts; the last digit of a part may hold unused bits. */
		for (size_t at = 0; at < len; at += 7) {
			memcpy(changed, token, len + 1);
			changed[at] = changed[at] == 'A' ? 'B' : 'A';
			assert_null(verify(changed, &rules, &why));
		}
		/* Each shorter one. */
		for (size_t cut = 1; cut < len; cut += 13) {
			memcpy(changed, token, len);
			changed[len - cut] = '\0';
			assert_null(verify(changed, &rules, &why));
		}
		without.algorithms = ALL & ~(1u << algorithms[i].algorithm);
		assert_null(verify(token, &without, &why));
		assert_string_equal(why, "algorithm is not allowed");
	}
}

static void test_no_key_signs_for_the_algorithm_of_another(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(algorithms); i++) {
		for (size_t j = 0; j < ARRAY_SIZE(algorithms); j++) {
			const char *why, *token;

			if (i == j)
				continue;
			/* The header says one algorithm, the signature is by another. */
			token = make(header_of(algorithms[j].alg, algorithms[i].kid), PAYLOAD,
				     algorithms[i].kid, algorithms[i].algorithm);
			assert_null(verify(token, &rules, &why));
		}
	}
}

static void test_public_key_is_no_secret_for_hmac(void **state)
{
	/* The classic: RS256 becomes HS256, and what is public becomes the secret. */
	const char *texts[] = {maker.jwks, "r1"};
	const char *why;

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		assert_null(verify(jwt_maker_sign("{\"alg\":\"HS256\",\"kid\":\"r1\"}", PAYLOAD,
						  NULL, JWT_HS256, texts[i], strlen(texts[i])),
				   &rules, &why));
		assert_string_equal(why, "key is not known");
	}
}

#define RS(header)   make(header, PAYLOAD, "r1", JWT_RS256)
#define WITH(inside) make("{\"alg\":\"RS256\",\"kid\":\"r1\"}", "{" inside "}", "r1", JWT_RS256)
#define PARTIES	     "\"iss\":\"https://id.test/\",\"aud\":\"shop\","
#define GOOD	     PARTIES "\"exp\":1800000100,"

static void test_headers_do_not_decide(void **state)
{
	const struct {
		const char *header, *why; /* NULL: good */
	} rows[] = {
		{"{\"alg\":\"RS256\",\"kid\":\"r1\"}", NULL},
		{"{\"alg\":\"RS256\",\"kid\":\"r1\",\"typ\":\"JWT\"}", NULL},
		{"{\"alg\":\"RS256\",\"kid\":\"r1\",\"typ\":\"jwt\"}", NULL},
		{"{\"alg\":\"RS256\",\"kid\":\"r1\",\"typ\":\"application/at+jwt\"}", NULL},
		{"{\"alg\":\"RS256\",\"kid\":\"r1\",\"jku\":\"http://evil.test/\"}", NULL},
		{"{\"alg\":\"RS256\",\"kid\":\"r1\",\"x5u\":\"http://evil.test/\"}", NULL},
		{"{\"alg\":\"none\"}", "algorithm is not allowed"},
		{"{\"alg\":\"None\",\"kid\":\"r1\"}", "algorithm is not allowed"},
		{"{\"alg\":\"rs256\",\"kid\":\"r1\"}", "algorithm is not allowed"},
		{"{\"alg\":\"\",\"kid\":\"r1\"}", "algorithm is not allowed"},
		{"{\"alg\":\"RS256 \",\"kid\":\"r1\"}", "algorithm is not allowed"},
		{"{\"alg\":null,\"kid\":\"r1\"}", "algorithm is not allowed"},
		{"{\"alg\":[\"RS256\"],\"kid\":\"r1\"}", "algorithm is not allowed"},
		{"{\"kid\":\"r1\"}", "algorithm is not allowed"},
		{"{\"alg\":\"RS1\",\"kid\":\"r1\"}", "algorithm is not allowed"},
		{"{\"alg\":\"RSA-OAEP\",\"enc\":\"A128GCM\"}", "algorithm is not allowed"},
		{"{\"alg\":\"RS256\"}", "key is not known"}, /* two would fit */
		{"{\"alg\":\"RS256\",\"kid\":\"r3\"}", "key is not known"},
		{"{\"alg\":\"RS256\",\"kid\":\"e256\"}", "key is not known"},
		{"{\"alg\":\"RS256\",\"kid\":\"R1\"}", "key is not known"},
		{"{\"alg\":\"RS256\",\"kid\":\"\"}", "key is not known"},
		{"{\"alg\":\"RS256\",\"kid\":1}", "'kid' is no text"},
		{"{\"alg\":\"RS256\",\"kid\":\"r2\"}", "signature is wrong"},
		{"{\"alg\":\"RS256\",\"kid\":\"r1\",\"crit\":[\"exp\"]}",
		 "'crit' is not understood"},
		{"{\"alg\":\"RS256\",\"kid\":\"r1\",\"crit\":[]}", "'crit' is not understood"},
		{"{\"alg\":\"RS256\",\"kid\":\"r1\",\"b64\":false}",
		 "'b64' and 'zip' are not understood"},
		{"{\"alg\":\"RS256\",\"kid\":\"r1\",\"zip\":\"DEF\"}",
		 "'b64' and 'zip' are not understood"},
		{"{\"alg\":\"RS256\",\"kid\":\"r1\",\"typ\":\"logout+jwt\"}",
		 "'typ' is another thing's"},
		{"{\"alg\":\"RS256\",\"kid\":\"r1\",\"typ\":7}", "'typ' is another thing's"},
		{"{\"alg\":\"RS256\",\"alg\":\"RS256\",\"kid\":\"r1\"}", "is no token"},
		{"{\"alg\":\"RS256\",\"kid\":\"r1\"}x", "is no token"},
		{"{\"alg\":\"RS256\",\"kid\":\"r1\\u0000\"}", "is no token"},
		{"[\"RS256\"]", "is no token"},
		{"\"RS256\"", "is no token"},
		{"{", "is no token"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		if (rows[i].why)
			assert_bad(rows[i].header, RS(rows[i].header), rows[i].why);
		else
			assert_good(rows[i].header, RS(rows[i].header));
	}
	/* A key that the token brings along is not looked at. */
	assert_bad("jwk",
		   make("{\"alg\":\"ES256\",\"jwk\":{\"kty\":\"EC\",\"crv\":\"P-256\"}}", PAYLOAD,
			"e384", JWT_ES384),
		   "signature is wrong");
	/* Only one key fits: no kid is needed. */
	assert_good("no kid", make("{\"alg\":\"ES256\"}", PAYLOAD, "e256", JWT_ES256));
}

#define INSIDE(members) "{" members "}"

static void test_claims_must_agree(void **state)
{
	const struct {
		const char *payload, *why;
	} rows[] = {
		{INSIDE(GOOD "\"sub\":\"ann\""), NULL},
		{INSIDE(PARTIES "\"sub\":\"ann\",\"exp\":1799999971"), NULL}, /* within the skew */
		{INSIDE(PARTIES "\"sub\":\"ann\",\"exp\":1800000000.5"), NULL},
		{INSIDE(GOOD "\"sub\":\"ann\",\"nbf\":1800000030"), NULL},
		{INSIDE("\"iss\":\"https://id.test/\",\"aud\":[\"x\",\"shop\"],\"exp\":1800000100,"
			"\"sub\":\"ann\""),
		 NULL},
		{INSIDE(PARTIES "\"exp\":1799999970"), "token has expired"},
		{INSIDE(PARTIES "\"exp\":0"), "token has expired"},
		{INSIDE(PARTIES "\"sub\":\"ann\""), "'exp' is missing"},
		{INSIDE(PARTIES "\"exp\":null"), "'exp', 'nbf' or 'iat' is no time"},
		{INSIDE(PARTIES "\"exp\":\"1800000100\""), "'exp', 'nbf' or 'iat' is no time"},
		{INSIDE(PARTIES "\"exp\":-1"), "'exp', 'nbf' or 'iat' is no time"},
		{INSIDE(PARTIES "\"exp\":1e300"), "'exp', 'nbf' or 'iat' is no time"},
		{INSIDE(PARTIES "\"exp\":1e999"), "payload is no JSON object"},
		{INSIDE(PARTIES "\"exp\":18446744073709551616"), "payload is no JSON object"},
		{INSIDE(PARTIES "\"exp\":true"), "'exp', 'nbf' or 'iat' is no time"},
		{INSIDE(PARTIES "\"exp\":[1800000100]"), "'exp', 'nbf' or 'iat' is no time"},
		{INSIDE(GOOD "\"nbf\":1800000031"), "token is not valid yet"},
		{INSIDE(GOOD "\"nbf\":\"0\""), "'exp', 'nbf' or 'iat' is no time"},
		{INSIDE(GOOD "\"iat\":\"x\""), "'exp', 'nbf' or 'iat' is no time"},
		{INSIDE("\"aud\":\"shop\",\"exp\":1800000100"), "issuer is another one"},
		{INSIDE("\"iss\":\"https://id.test\",\"aud\":\"shop\",\"exp\":1800000100"),
		 "issuer is another one"},
		{INSIDE("\"iss\":[\"https://id.test/\"],\"aud\":\"shop\",\"exp\":1800000100"),
		 "issuer is another one"},
		{INSIDE("\"iss\":\"https://id.test/\",\"exp\":1800000100"),
		 "audience is another one"},
		{INSIDE("\"iss\":\"https://id.test/\",\"aud\":[],\"exp\":1800000100"),
		 "audience is another one"},
		{INSIDE("\"iss\":\"https://id.test/\",\"aud\":[[\"shop\"]],\"exp\":1800000100"),
		 "audience is another one"},
		{INSIDE("\"iss\":\"https://id.test/\",\"aud\":\"shop2\",\"exp\":1800000100"),
		 "audience is another one"},
		{INSIDE("\"iss\":\"https://id.test/\",\"aud\":{\"shop\":1},\"exp\":1800000100"),
		 "audience is another one"},
		{INSIDE(GOOD "\"exp\":1800000100"), "payload is no JSON object"}, /* twice */
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const char *token = make("{\"alg\":\"RS256\",\"kid\":\"r1\"}", rows[i].payload,
					 "r1", JWT_RS256);

		if (rows[i].why)
			assert_bad(rows[i].payload, token, rows[i].why);
		else
			assert_good(rows[i].payload, token);
	}
}

static void test_what_is_no_compact_form_is_no_token(void **state)
{
	static char big[JWT_BYTES_MAX + 2];
	const char *good = RS("{\"alg\":\"RS256\",\"kid\":\"r1\"}");
	char text[4096];
	const struct {
		const char *row, *before, *after;
	} rows[] = {
		{"padding", "", "="},	{"space", "", " "},	  {"a fourth part", "", ".e30"},
		{"dot first", ".", ""}, {"space first", " ", ""}, {"line", "", "\n"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const char *why;

		(void)snprintf(text, sizeof(text), "%s%s%s", rows[i].before, good, rows[i].after);
		if (verify(text, &rules, &why))
			fail_msg("%s passed", rows[i].row);
	}
	assert_bad("empty", "", "is no token");
	assert_bad("dots", "..", "is no token");
	assert_bad("no signature", "e30.e30.", "algorithm is not allowed");
	assert_bad("two parts", "e30.e30", "is no token");
	memset(big, 'a', sizeof(big) - 1);
	big[10] = big[20] = '.';
	assert_bad("too long", big, "is no token");
	/* Unused bits of a last digit are another spelling of the same bytes. */
	assert_int_equal(base64url_decode(STR("QQ"), (uint8_t *)text), 1);
	assert_true(base64url_decode(STR("QR"), (uint8_t *)text) < 0);
	assert_true(base64url_decode(STR("QUI"), (uint8_t *)text) == 2);
	assert_true(base64url_decode(STR("QUJ"), (uint8_t *)text) < 0);
	assert_true(base64url_decode(STR("Q"), (uint8_t *)text) < 0);
	assert_true(base64url_decode(STR("Q+"), (uint8_t *)text) < 0);
	assert_int_equal(base64_decode(STR("QUI="), (uint8_t *)text), 2);
	assert_true(base64_decode(STR("QUI"), (uint8_t *)text) < 0);
	assert_true(base64_decode(STR("Q==="), (uint8_t *)text) < 0);
}

static void test_ecdsa_signatures_have_one_form(void **state)
{
	static const char zeros[132];
	const char *header = "{\"alg\":\"ES256\",\"kid\":\"e256\"}";
	char token[4096], signature[256];
	const char *good = make(header, PAYLOAD, "e256", JWT_ES256);
	size_t stem = (size_t)(strrchr(good, '.') - good) + 1;

	/* r = s = 0, which a verifier without a check takes for anything (CVE-2022-21449). */
	(void)jwt_maker_encode(zeros, 64, signature);
	(void)snprintf(token, sizeof(token), "%.*s%s", (int)stem, good, signature);
	assert_bad("zeros", token, "signature is wrong");
	(void)jwt_maker_encode(zeros, 63, signature);
	(void)snprintf(token, sizeof(token), "%.*s%s", (int)stem, good, signature);
	assert_bad("short", token, "signature is wrong");
	/* Leading zeros more than an element has. */
	(void)snprintf(token, sizeof(token), "%.*sAAAA%s", (int)stem, good, good + stem);
	assert_bad("long", token, "signature is wrong");
}

static void test_claims_are_found_by_path(void **state)
{
	const char *why = NULL;
	struct identity identity = {0};
	struct jwt_token *token = verify(
		WITH(GOOD "\"sub\":\"ann\",\"admin\":true,\"level\":7,\"ratio\":0.5,\"none\":null,"
			  "\"org\":{\"id\":12,\"groups\":[\"a\",\"b\"],\"x.y\":1},"
			  "\"https://t.test/role\":\"cook\",\"org.id\":\"top\","
			  "\"roles\":[\"r1\",3,{\"no\":1},[\"no\"]],\"scope\":\"read  write\","
			  "\"deep\":{\"a\":{\"b\":{\"c\":\"d\"}}},\"empty\":\"\""),
		&rules, &why);

	assert_non_null(token);
	assert_true(identity_add(&identity, STR("users"), &token->finding));
	assert_str(identity_consumer(&identity), "ann");
	assert_str(identity_claim(&identity, STR("admin")), "true");
	assert_str(identity_claim(&identity, STR("level")), "7");
	assert_str(identity_claim(&identity, STR("ratio")), "0.5");
	assert_null(identity_claim(&identity, STR("none")).ptr);
	assert_str(identity_claim(&identity, STR("https://t.test/role")), "cook");
	assert_str(identity_claim(&identity, STR("org.id")), "top"); /* the top wins, alone */
	assert_false(identity_has_claim(&identity, STR("org.id"), STR("12")));
	assert_null(identity_claim(&identity, STR("org.x.y")).ptr);
	assert_str(identity_claim(&identity, STR("deep.a.b.c")), "d");
	assert_true(identity_has_claim(&identity, STR("roles"), STR("3")));
	assert_false(identity_has_claim(&identity, STR("roles"), STR("no")));
	assert_str(identity_claim(&identity, STR("empty")), "");
	assert_true(identity_has_group(&identity, STR("b")));
	assert_true(identity_has_scope(&identity, STR("read")));
	assert_true(identity_has_scope(&identity, STR("write")));
	assert_false(identity_has_scope(&identity, STR("")));
	assert_int_equal(token->expires_s, 1800000130);
	jwt_token_unref(token);
}

static void test_flood_of_claims_is_refused(void **state)
{
	static char payload[8000];
	size_t len = (size_t)snprintf(payload, sizeof(payload), "{" GOOD "\"l\":[0");

	for (int i = 0; i < 200; i++)
		len += (size_t)snprintf(payload + len, sizeof(payload) - len, ",%d", i);
	(void)snprintf(payload + len, sizeof(payload) - len, "]}");
	assert_bad("many", make("{\"alg\":\"RS256\",\"kid\":\"r1\"}", payload, "r1", JWT_RS256),
		   "token has too many claims");
	len = (size_t)snprintf(payload, sizeof(payload), "{" GOOD "\"l\":");
	memset(payload + len, '[', 2000);
	memset(payload + len + 2000, ']', 2000);
	(void)snprintf(payload + len + 4000, sizeof(payload) - len - 4000, "}");
	assert_bad("deep lists, left out",
		   make("{\"alg\":\"RS256\",\"kid\":\"r1\"}", payload, "r1", JWT_RS256) + 1,
		   "is no token");
}

static void test_key_sets_that_are_of_no_use_are_told(void **state)
{
	const struct {
		const char *json, *error;
	} rows[] = {
		{"", "is no JSON Web Key Set"},
		{"[]", "is no JSON Web Key Set"},
		{"{\"keys\":{}}", "is no JSON Web Key Set"},
		{"{\"keys\":[]}", "there is no key in it that can be used"},
		{"{\"keys\":[1]}", "key 1 is no object"},
		{"{\"keys\":[{\"kty\":\"RSA\",\"use\":\"enc\"}]}", "there is no key in it"},
		{"{\"keys\":[{\"kty\":\"new\"}]}", "there is no key in it"},
		{"{\"keys\":[{\"kty\":\"EC\",\"crv\":\"secp256k1\"}]}", "there is no key in it"},
		{"{\"keys\":[{\"kty\":\"RSA\"}]}", "is no RSA key that can be used"},
		{"{\"keys\":[{\"kty\":\"RSA\",\"n\":\"8Q\",\"e\":\"AQAB\"}]}",
		 "has fewer than 2048 bits"},
		{"{\"keys\":[{\"kty\":\"RSA\",\"n\":\"8Q\",\"e\":\"AQ\"}]}",
		 "is no RSA key that can be used"},
		{"{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AQ\",\"y\":\"AQ\"}]}",
		 "is no point of its curve"},
		{"{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\","
		 "\"x\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE\","
		 "\"y\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE\"}]}",
		 "is no point of its curve"},
		{"{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"AQ\"}]}",
		 "is no Ed25519 key"},
		{"{\"keys\":[{\"kty\":\"oct\",\"k\":\"c2hvcnQ\"}]}", "has fewer than 32 octets"},
		{"{\"keys\":[{\"kty\":\"RSA\",\"d\":\"AQ\"}]}", "is a private key"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct jwk_set *set = NULL;
		struct error err = {0};

		assert_int_equal(jwk_set_parse(str_from_cstr(rows[i].json), &set, &err), -EINVAL);
		if (!strstr(err.text, rows[i].error))
			fail_msg("%s: %s", rows[i].json, err.text);
		assert_null(set);
	}
}

static int parse_keys(void *arg)
{
	struct jwk_set *set = NULL;
	struct error err = {0};
	int r = jwk_set_parse(STR("{\"keys\":[{\"kty\":\"oct\",\"kid\":\"a\","
				  "\"k\":\"c2l4dHktZm91ciBvY3RldHMgdGhhdCBhcmUgYXMgc2VjcmV0\"}]}"),
			      &set, &err);

	jwk_set_free(set);
	return r;
}

static void test_key_sets_survive_a_lack_of_memory(void **state)
{
	assert_true(test_failing_each_allocation(parse_keys, NULL) > 3);
}

/* ---- the policy ---- */

static const char *fresh(const char *claims)
{
	static char payload[2048];

	(void)snprintf(payload, sizeof(payload), "{\"iss\":\"https://id.test/\",\"exp\":%lld%s}",
		       (long long)time(NULL) + 600, claims);
	return make("{\"alg\":\"ES256\",\"kid\":\"e256\"}", payload, "e256", JWT_ES256);
}

#define POLICY(inside)                                                                             \
	"{ name: p, jwt: { issuer: \"https://id.test/\", algorithms: ES256, "                      \
	"jwks: { file: jwks.json }" inside " } }"

static unsigned int ask(struct auth_stage *stage, const char *scheme, const char *token)
{
	static char value[8192];

	(void)snprintf(value, sizeof(value), "%s%s", scheme, token);
	return auth_stage_ask(stage, "/", "Authorization", value);
}

static void test_policy_asks_for_a_bearer_token(void **state)
{
	static const char *const two[] = {"authorization: Bearer a", "authorization: Bearer a",
					  NULL};
	struct auth_stage stage;

	config_write_file("jwks.json", maker.jwks);
	auth_stage_begin(&stage, POLICY(", forward: { sub: x-user, roles: x-roles }"));
	for (int i = 0; i < 3; i++) { /* verified, then found */
		assert_int_equal(ask(&stage, "Bearer ", fresh(",\"sub\":\"ann\"")), 200);
		assert_non_null(strstr(auth_stage_fields(&stage), "x-user: ann\n"));
		assert_non_null(strstr(auth_stage_fields(&stage), "Authorization: Bearer "));
	}
	assert_int_equal(ask(&stage, "bearer ", fresh(",\"roles\":[\"a\",\"b\"]")), 200);
	assert_non_null(strstr(auth_stage_fields(&stage), "x-roles: a,b\n"));
	assert_int_equal(ask(&stage, "Basic ", fresh("")), 401);
	assert_string_equal(stage.fixture->added, "www-authenticate: Bearer\n");
	assert_int_equal(ask(&stage, "Bearer ", "x.y.z"), 401);
	assert_string_equal(stage.fixture->added,
			    "www-authenticate: Bearer error=\"invalid_token\"\n");
	assert_int_equal(auth_stage_ask_all(&stage, "/", two), 401);
	assert_string_equal(auth_stage_reason(&stage),
			    "authentication failed: policy 'p': several tokens");
	auth_stage_end(&stage);
}

static void test_claim_that_breaks_a_field_refuses_the_request(void **state)
{
	static const char *const claims[] = {
		",\"sub\":\"a\\r\\nx-admin: 1\"",
		",\"sub\":\"a\\u0001\"",
		",\"sub\":\" a\"",
		",\"sub\":\"a\\u007f\"",
		",\"sub\":\"a\\n\"",
		",\"sub\":[\"a,b\",\"c\"]",
		",\"sub\":[\"a,b\"]",
	};
	struct auth_stage stage;

	config_write_file("jwks.json", maker.jwks);
	auth_stage_begin(&stage, POLICY(", forward: { sub: x-user }"));
	for (size_t i = 0; i < ARRAY_SIZE(claims); i++) {
		assert_int_equal(ask(&stage, "Bearer ", fresh(claims[i])), 401);
		assert_string_equal(
			auth_stage_reason(&stage),
			"authentication failed: policy 'p': claim 'sub' cannot stand in a field");
		assert_null(strstr(auth_stage_fields(&stage), "x-user: "));
	}
	auth_stage_end(&stage);
}

static void test_cached_token_ends_with_its_time_and_its_place(void **state)
{
	const char *why = NULL;
	struct registry *registry = registry_new();
	struct jwt_caches *caches = NULL;
	struct jwt_token *token, *found;
	struct jwt_cache *cache;

	assert_non_null(registry);
	assert_int_equal(jwt_caches_acquire(registry, STR("p"), STR("d"), 2, 4, &caches), 0);
	cache = caches->caches[0];
	token = verify(WITH(GOOD "\"sub\":\"ann\""), &rules, &why);
	assert_non_null(token);
	assert_null(jwt_cache_find(cache, token->text, NOW));
	jwt_cache_put(cache, token);
	found = jwt_cache_find(cache, token->text, NOW);
	assert_ptr_equal(found, token);
	jwt_token_unref(found);
	assert_null(jwt_cache_find(caches->caches[1], token->text, NOW)); /* another worker's */
	assert_null(jwt_cache_find(cache, str_sub(token->text, 0, token->text.len - 1), NOW));
	/* Four newer ones in the only row. */
	for (int i = 0; i < JWT_CACHE_WAYS; i++) {
		char claims[64];
		struct jwt_token *newer;
		const char *text;

		(void)snprintf(claims, sizeof(claims), "{" GOOD "\"n\":%d}", i);
		text = make("{\"alg\":\"RS256\",\"kid\":\"r1\"}", claims, "r1", JWT_RS256);
		newer = verify(text, &rules, &why);
		assert_non_null(newer);
		jwt_cache_put(cache, newer);
		found = jwt_cache_find(cache, newer->text, newer->expires_s - 1);
		assert_ptr_equal(found, newer);
		jwt_token_unref(found);
		if (i == 3)
			assert_null(jwt_cache_find(cache, newer->text, newer->expires_s));
		jwt_token_unref(newer);
	}
	assert_null(jwt_cache_find(cache, token->text, NOW));
	jwt_token_unref(token);
	jwt_caches_unref(caches);
	registry_free(registry);
}

static void test_what_the_policy_itself_cannot_be_is_told(void **state)
{
	static const struct {
		const char *policy, *error;
	} rows[] = {
		{"jwt: { algorithms: RS256, jwks: { file: jwks.json } }", "'issuer' is required"},
		{"jwt: { issuer: x, jwks: { file: jwks.json } }", "'algorithms' is required"},
		{"jwt: { issuer: x, algorithms: RS256 }", "'jwks' is required"},
		{"jwt: { issuer: x, algorithms: none, jwks: { file: jwks.json } }",
		 "algorithms: 'none' is not an algorithm"},
		{"jwt: { issuer: x, algorithms: rs256, jwks: { file: jwks.json } }",
		 "algorithms: 'rs256' is not an algorithm; did you mean 'RS256'?"},
		{"jwt: { issuer: x, algorithms: [], jwks: { file: jwks.json } }",
		 "algorithms: an empty list allows nothing"},
		{"jwt: { issuer: x, algorithms: RS256, jwks: { file: jwks.json }, skew: 61s }",
		 "skew: must be"},
		{"jwt: { issuer: x, algorithms: RS256, jwks: { url: \"https://x/\" } }",
		 "'url' is not supported yet"},
		{"jwt: { issuer: x, algorithms: RS256, jwks: { file: few.json } }",
		 "jwks: there is no key for any of the algorithms"},
		{"jwt: { issuer: x, algorithms: RS256, jwks: { file: bad.json } }",
		 "bad.json:1:1: policy 'p': jwt: jwks: is no JSON Web Key Set"},
	};

	config_write_file("jwks.json", maker.jwks);
	config_write_file("bad.json", "{}");
	config_write_file("few.json", "{\"keys\":[{\"kty\":\"oct\",\"k\":"
				      "\"c2l4dHktZm91ciBvY3RldHMgdGhhdCBhcmUgYXMgc2VjcmV0\"}]}");
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		assert_policy_refused(rows[i].policy, rows[i].error);
}

static int setup(void **state)
{
	struct error err = {0};

	jwt_maker_init(&maker);
	assert_int_equal(jwk_set_parse(str_from_cstr(maker.jwks), &keys, &err), 0);
	return config_enter_dir(state);
}

static int teardown(void **state)
{
	jwk_set_free(keys);
	jwt_maker_done(&maker);
	return config_leave_dir(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_algorithm_verifies_what_it_signed_and_nothing_else),
		cmocka_unit_test(test_no_key_signs_for_the_algorithm_of_another),
		cmocka_unit_test(test_public_key_is_no_secret_for_hmac),
		cmocka_unit_test(test_headers_do_not_decide),
		cmocka_unit_test(test_claims_must_agree),
		cmocka_unit_test(test_what_is_no_compact_form_is_no_token),
		cmocka_unit_test(test_ecdsa_signatures_have_one_form),
		cmocka_unit_test(test_claims_are_found_by_path),
		cmocka_unit_test(test_flood_of_claims_is_refused),
		cmocka_unit_test(test_key_sets_that_are_of_no_use_are_told),
		cmocka_unit_test(test_key_sets_survive_a_lack_of_memory),
		cmocka_unit_test(test_policy_asks_for_a_bearer_token),
		cmocka_unit_test(test_claim_that_breaks_a_field_refuses_the_request),
		cmocka_unit_test(test_cached_token_ends_with_its_time_and_its_place),
		cmocka_unit_test(test_what_the_policy_itself_cannot_be_is_told),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}

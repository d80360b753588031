#include "filter/jwk.h"

#include <errno.h>
#include <jansson.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/hmac.h>
#include <openssl/param_build.h>
#include <openssl/rsa.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "filter/base64.h"

#define RSA_BITS_MIN   2048
#define RSA_BITS_MAX   8192
#define ES_BYTES_MAX   66
#define KEY_TEXT_MAX   4096
#define SIGNATURE_MAX  1024
#define RSA_ALGORITHMS ((1u << JWT_ES256) - 1)

static const struct {
	const char *name, *digest;
	size_t element_bytes;
} algorithms[] = {
#define X(symbol, name, digest, bytes) [JWT_##symbol] = {name, digest, bytes},
	JWT_ALGORITHMS(X)
#undef X
};

enum jwt_algorithm jwt_algorithm_find(struct str name)
{
	enum jwt_algorithm algorithm = JWT_RS256;

	while (algorithm < JWT_ALGORITHM_COUNT && !str_eq_cstr(name, algorithms[algorithm].name))
		algorithm++;
	return algorithm;
}

const char *jwt_algorithm_name(enum jwt_algorithm algorithm)
{
	return algorithms[algorithm].name;
}

/* ---- parsing ---- */

static const char *member_text(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}

/* A member as bytes; malloc'd. */
static int member_bytes(const json_t *object, const char *key, uint8_t **ret_bytes, size_t *ret_len)
{
	struct str text = str_from_cstr(member_text(object, key));
	_cleanup_free_ uint8_t *bytes = NULL;
	ptrdiff_t len;

	if (!text.len || text.len > KEY_TEXT_MAX)
		return -EINVAL;
	bytes = malloc(BASE64_ROOM(text.len));
	if (!bytes)
		return -ENOMEM;
	len = base64url_decode(text, bytes);
	if (len <= 0)
		return -EINVAL;
	*ret_bytes = TAKE_PTR(bytes);
	*ret_len = (size_t)len;
	return 0;
}

static int from_params(const char *type, OSSL_PARAM_BLD *builder, EVP_PKEY **ret_key)
{
	EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
	OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(builder);
	int r = -ENOMEM;

	if (context && params)
		r = EVP_PKEY_fromdata_init(context) == 1 &&
				    EVP_PKEY_fromdata(context, ret_key, EVP_PKEY_PUBLIC_KEY,
						      params) == 1
			    ? 0
			    : -EINVAL;
	OSSL_PARAM_free(params);
	EVP_PKEY_CTX_free(context);
	return r;
}

static int rsa_make(const uint8_t *modulus, size_t modulus_len, const uint8_t *exponent,
		    size_t exponent_len, EVP_PKEY **ret_key)
{
	OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
	BIGNUM *n = BN_bin2bn(modulus, (int)modulus_len, NULL);
	BIGNUM *e = BN_bin2bn(exponent, (int)exponent_len, NULL);
	int r = -ENOMEM;

	if (builder && n && e && OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_N, n) == 1 &&
	    OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_E, e) == 1) {
		/* An even exponent is none, and 1 would sign everything. */
		r = BN_is_odd(e) && !BN_is_one(e) && BN_is_odd(n)
			    ? from_params("RSA", builder, ret_key)
			    : -EINVAL;
	}
	BN_free(n);
	BN_free(e);
	OSSL_PARAM_BLD_free(builder);
	return r;
}

static int rsa_parse(const json_t *object, struct jwk *jwk, struct error *err)
{
	_cleanup_free_ uint8_t *modulus = NULL;
	_cleanup_free_ uint8_t *exponent = NULL;
	size_t modulus_len = 0, exponent_len = 0;
	int r = member_bytes(object, "n", &modulus, &modulus_len);

	if (!r)
		r = member_bytes(object, "e", &exponent, &exponent_len);
	if (!r && (exponent_len > 8 || modulus_len > RSA_BITS_MAX / 8))
		r = -EINVAL;
	if (!r)
		r = rsa_make(modulus, modulus_len, exponent, exponent_len, &jwk->key);
	if (r)
		return error_set(err, r, "is no RSA key that can be used");
	if (EVP_PKEY_get_bits(jwk->key) < RSA_BITS_MIN)
		return error_set(err, -EINVAL, "has fewer than %d bits", RSA_BITS_MIN);
	jwk->algorithms = RSA_ALGORITHMS;
	return 0;
}

static int ec_make(const char *group, const uint8_t *point, size_t len, EVP_PKEY **ret_key)
{
	OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
	EVP_PKEY_CTX *check;
	int r = -ENOMEM;

	if (builder &&
	    OSSL_PARAM_BLD_push_utf8_string(builder, OSSL_PKEY_PARAM_GROUP_NAME, group, 0) == 1 &&
	    OSSL_PARAM_BLD_push_octet_string(builder, OSSL_PKEY_PARAM_PUB_KEY, point, len) == 1)
		r = from_params("EC", builder, ret_key);
	OSSL_PARAM_BLD_free(builder);
	if (r)
		return r;
	/* A point that is not on the curve is no key. */
	check = EVP_PKEY_CTX_new_from_pkey(NULL, *ret_key, NULL);
	if (!check)
		return -ENOMEM;
	r = EVP_PKEY_public_check(check) == 1 ? 0 : -EINVAL;
	EVP_PKEY_CTX_free(check);
	return r;
}

static int ec_parse(const json_t *object, struct jwk *jwk, struct error *err)
{
	static const struct {
		const char *curve, *group;
		enum jwt_algorithm algorithm;
	} curves[] = {{"P-256", "prime256v1", JWT_ES256},
		      {"P-384", "secp384r1", JWT_ES384},
		      {"P-521", "secp521r1", JWT_ES512}};
	const char *curve = member_text(object, "crv");
	_cleanup_free_ uint8_t *x = NULL;
	_cleanup_free_ uint8_t *y = NULL;
	uint8_t point[1 + 2 * ES_BYTES_MAX] = {4}; /* uncompressed */
	size_t x_len = 0, y_len = 0, bytes, at = 0;
	int r;

	while (at < ARRAY_SIZE(curves) && (!curve || strcmp(curve, curves[at].curve) != 0))
		at++;
	if (at == ARRAY_SIZE(curves))
		return 1;
	bytes = algorithms[curves[at].algorithm].element_bytes;
	r = member_bytes(object, "x", &x, &x_len);
	if (!r)
		r = member_bytes(object, "y", &y, &y_len);
	if (!r && (x_len != bytes || y_len != bytes))
		r = -EINVAL;
	if (!r) {
		memcpy(point + 1, x, bytes);
		memcpy(point + 1 + bytes, y, bytes);
		r = ec_make(curves[at].group, point, 1 + 2 * bytes, &jwk->key);
	}
	if (r)
		return error_set(err, r, "is no point of its curve");
	jwk->algorithms = 1u << curves[at].algorithm;
	return 0;
}

static int okp_parse(const json_t *object, struct jwk *jwk, struct error *err)
{
	const char *curve = member_text(object, "crv");
	_cleanup_free_ uint8_t *x = NULL;
	size_t len = 0;
	int r;

	if (!curve || strcmp(curve, "Ed25519") != 0)
		return 1;
	r = member_bytes(object, "x", &x, &len);
	if (!r && len != 32)
		r = -EINVAL;
	if (r)
		return error_set(err, r, "is no Ed25519 key");
	jwk->key = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, x, len);
	if (!jwk->key)
		return error_set(err, -EINVAL, "is no Ed25519 key");
	jwk->algorithms = 1u << JWT_EDDSA;
	return 0;
}

static int oct_parse(const json_t *object, struct jwk *jwk, struct error *err)
{
	int r = member_bytes(object, "k", &jwk->octets, &jwk->octets_len);

	if (r)
		return error_set(err, r, "has no octets");
	/* RFC 7518 section 3.2: as long as the digest at least. */
	if (jwk->octets_len < 32)
		return error_set(err, -EINVAL, "has fewer than 32 octets");
	jwk->algorithms = 1u << JWT_HS256;
	if (jwk->octets_len >= 48)
		jwk->algorithms |= 1u << JWT_HS384;
	if (jwk->octets_len >= 64)
		jwk->algorithms |= 1u << JWT_HS512;
	return 0;
}

/* For verifying signatures? What is said of use must not be against it. */
static bool is_for_verifying(const json_t *object)
{
	const json_t *use = json_object_get(object, "use"), *ops, *op;
	size_t i;

	if (use && (!json_is_string(use) || strcmp(json_string_value(use), "sig") != 0))
		return false;
	ops = json_object_get(object, "key_ops");
	if (!ops)
		return true;
	json_array_foreach(ops, i, op) if (json_is_string(op) &&
					   !strcmp(json_string_value(op), "verify")) return true;
	return false;
}

static int narrow(const json_t *object, struct jwk *jwk)
{
	const json_t *alg = json_object_get(object, "alg");
	enum jwt_algorithm algorithm;

	if (!alg)
		return 0;
	algorithm = jwt_algorithm_find(str_from_cstr(json_string_value(alg)));
	jwk->algorithms &= algorithm < JWT_ALGORITHM_COUNT ? 1u << algorithm : 0;
	return jwk->algorithms ? 0 : 1;
}

/* 0, 1 where the key is of no use to us, or a negative errno. */
static int key_parse(const json_t *object, struct jwk *jwk, struct error *err)
{
	static const struct {
		const char *kty;
		int (*parse)(const json_t *object, struct jwk *jwk, struct error *err);
	} kinds[] = {{"RSA", rsa_parse}, {"EC", ec_parse}, {"OKP", okp_parse}, {"oct", oct_parse}};
	const char *kty = member_text(object, "kty");
	const char *kid = member_text(object, "kid");
	size_t at = 0;
	int r;

	while (at < ARRAY_SIZE(kinds) && (!kty || strcmp(kty, kinds[at].kty) != 0))
		at++;
	if (at == ARRAY_SIZE(kinds) || !is_for_verifying(object))
		return 1;
	if (json_object_get(object, "d"))
		return error_set(err, -EINVAL,
				 "is a private key: only public ones belong in a key set");
	r = kinds[at].parse(object, jwk, err);
	if (r)
		return r;
	if (kid) {
		jwk->kid = strdup(kid);
		if (!jwk->kid)
			return -ENOMEM;
	}
	return narrow(object, jwk);
}

static void key_done(struct jwk *jwk)
{
	free(jwk->kid);
	EVP_PKEY_free(jwk->key);
	if (jwk->octets)
		OPENSSL_cleanse(jwk->octets, jwk->octets_len);
	free(jwk->octets);
	*jwk = (struct jwk){0};
}

static bool has_twin(const struct jwk_set *set, const struct jwk *jwk)
{
	for (unsigned int i = 0; jwk->kid && i < set->count; i++)
		if (set->keys[i].kid && !strcmp(set->keys[i].kid, jwk->kid) &&
		    (set->keys[i].algorithms & jwk->algorithms))
			return true;
	return false;
}

static int keys_parse(const json_t *keys, struct jwk_set *set, struct error *err)
{
	const json_t *object;
	size_t i;

	json_array_foreach(keys, i, object)
	{
		struct jwk *jwk = &set->keys[set->count];
		int r;

		if (!json_is_object(object))
			return error_set(err, -EINVAL, "key %zu is no object", i + 1);
		r = key_parse(object, jwk, err);
		if (!r && has_twin(set, jwk))
			r = error_set(err, -EINVAL, "has the kid of another key");
		if (r) {
			key_done(jwk);
			if (r == 1)
				continue;
			if (r != -ENOMEM)
				error_prefix(err, "key");
			return r;
		}
		set->count++;
	}
	return set->count ? 0 : error_set(err, -EINVAL, "there is no key in it that can be used");
}

int jwk_set_parse(struct str json, struct jwk_set **ret_set, struct error *err)
{
	json_t *document = json_loadb(json.ptr, json.len, JSON_REJECT_DUPLICATES, NULL);
	const json_t *keys = json_object_get(document, "keys");
	struct jwk_set *set = NULL;
	int r;

	if (!json_is_array(keys)) {
		r = error_set(err, -EINVAL, "is no JSON Web Key Set: an object with 'keys'");
	} else if (json_array_size(keys) > JWK_SET_MAX) {
		r = error_set(err, -EINVAL, "has more than %d keys", JWK_SET_MAX);
	} else {
		set = calloc(1, sizeof(*set));
		if (set)
			set->keys = calloc(json_array_size(keys) + 1, sizeof(*set->keys));
		r = set && set->keys ? keys_parse(keys, set, err) : -ENOMEM;
	}
	json_decref(document);
	ERR_clear_error();
	if (r) {
		jwk_set_free(set);
		return r;
	}
	*ret_set = set;
	return 0;
}

void jwk_set_free(struct jwk_set *set)
{
	if (!set)
		return;
	for (unsigned int i = 0; set->keys && i < set->count; i++)
		key_done(&set->keys[i]);
	free(set->keys);
	free(set);
}

/* ---- use ---- */

const struct jwk *jwk_set_find(const struct jwk_set *set, struct str kid,
			       enum jwt_algorithm algorithm)
{
	const struct jwk *found = NULL;

	for (unsigned int i = 0; i < set->count; i++) {
		const struct jwk *jwk = &set->keys[i];

		if (!(jwk->algorithms & 1u << algorithm))
			continue;
		if (kid.ptr) {
			if (jwk->kid && str_eq_cstr(kid, jwk->kid))
				return jwk;
			continue;
		}
		if (found)
			return NULL; /* which one is not said */
		found = jwk;
	}
	return found;
}

static bool hmac_verify(const struct jwk *jwk, enum jwt_algorithm algorithm,
			struct str signed_bytes, struct str signature)
{
	const EVP_MD *digest = EVP_get_digestbyname(algorithms[algorithm].digest);
	unsigned char expected[EVP_MAX_MD_SIZE];
	unsigned int len = 0;

	return digest &&
	       HMAC(digest, jwk->octets, (int)jwk->octets_len,
		    (const unsigned char *)signed_bytes.ptr, signed_bytes.len, expected, &len) &&
	       signature.len == len && !CRYPTO_memcmp(signature.ptr, expected, len);
}

/* RFC 7518 section 3.4: r and s, each as long as a field element, where OpenSSL wants DER. */
static int ecdsa_to_der(struct str signature, size_t element_bytes, unsigned char *room)
{
	ECDSA_SIG *pair = ECDSA_SIG_new();
	const unsigned char *bytes = (const unsigned char *)signature.ptr;
	BIGNUM *r, *s;
	int len = -1;

	if (signature.len != 2 * element_bytes || !pair) {
		ECDSA_SIG_free(pair);
		return -1;
	}
	r = BN_bin2bn(bytes, (int)element_bytes, NULL);
	s = BN_bin2bn(bytes + element_bytes, (int)element_bytes, NULL);
	if (r && s && ECDSA_SIG_set0(pair, r, s) == 1) {
		len = i2d_ECDSA_SIG(pair, &room);
	} else {
		BN_free(r);
		BN_free(s);
	}
	ECDSA_SIG_free(pair);
	return len;
}

static bool set_padding(EVP_PKEY_CTX *context, enum jwt_algorithm algorithm)
{
	if (algorithm > JWT_PS512)
		return true;
	if (algorithm < JWT_PS256)
		return EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PADDING) == 1;
	/* RFC 7518 section 3.5: the salt is as long as the digest. */
	return EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PSS_PADDING) == 1 &&
	       EVP_PKEY_CTX_set_rsa_pss_saltlen(context, RSA_PSS_SALTLEN_DIGEST) == 1;
}

bool jwk_verify(const struct jwk *jwk, enum jwt_algorithm algorithm, struct str signed_bytes,
		struct str signature)
{
	unsigned char der[16 + 2 * ES_BYTES_MAX + 8];
	const char *digest = algorithms[algorithm].digest;
	EVP_PKEY_CTX *context = NULL;
	EVP_MD_CTX *verifying;
	bool good;

	if (!(jwk->algorithms & 1u << algorithm) || signature.len > SIGNATURE_MAX)
		return false;
	if (!jwk->key)
		return hmac_verify(jwk, algorithm, signed_bytes, signature);
	if (algorithms[algorithm].element_bytes) {
		int len = ecdsa_to_der(signature, algorithms[algorithm].element_bytes, der);

		if (len <= 0)
			return false;
		signature = str_make((const char *)der, (size_t)len);
	}
	verifying = EVP_MD_CTX_new();
	good = verifying &&
	       EVP_DigestVerifyInit_ex(verifying, &context, *digest ? digest : NULL, NULL, NULL,
				       jwk->key, NULL) == 1 &&
	       set_padding(context, algorithm) &&
	       EVP_DigestVerify(verifying, (const unsigned char *)signature.ptr, signature.len,
				(const unsigned char *)signed_bytes.ptr, signed_bytes.len) == 1;
	EVP_MD_CTX_free(verifying);
	/* TLS on this thread must not take it for its own. */
	if (!good)
		ERR_clear_error();
	return good;
}

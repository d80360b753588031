#include "jwt_maker.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/hmac.h>
#include <openssl/rsa.h>

#include "test_support.h"

#define TOKEN_ROOM 65536

const unsigned char jwt_maker_octets[64] =
	"sixty-four octets that are as secret as a test can keep it: 0123";

size_t jwt_maker_encode(const void *bytes, size_t len, char *room)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	const unsigned char *from = bytes;
	size_t out = 0;

	for (size_t i = 0; i < len; i += 3) {
		unsigned int left = (unsigned int)MIN(len - i, (size_t)3);
		unsigned int bits = (unsigned int)from[i] << 16 |
				    (left > 1 ? (unsigned int)from[i + 1] << 8 : 0) |
				    (left > 2 ? from[i + 2] : 0);

		for (unsigned int j = 0; j <= left; j++)
			room[out++] = digits[bits >> (18 - 6 * j) & 63];
	}
	room[out] = '\0';
	return out;
}

static const char *digest_name(enum jwt_algorithm algorithm)
{
	static const char *const names[] = {"SHA256", "SHA384", "SHA512"};

	switch (algorithm) {
	case JWT_RS256:
	case JWT_PS256:
	case JWT_ES256:
	case JWT_HS256:
		return names[0];
	case JWT_RS384:
	case JWT_PS384:
	case JWT_ES384:
	case JWT_HS384:
		return names[1];
	case JWT_EDDSA:
		return NULL;
	default:
		return names[2];
	}
}

/* DER to r and s of a fixed length. */
static size_t raw_ecdsa(const unsigned char *der, size_t der_len, size_t bytes, unsigned char *room)
{
	ECDSA_SIG *pair = d2i_ECDSA_SIG(NULL, &der, (long)der_len);

	assert_non_null(pair);
	assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_r(pair), room, (int)bytes), (int)bytes);
	assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_s(pair), room + bytes, (int)bytes),
			 (int)bytes);
	ECDSA_SIG_free(pair);
	return 2 * bytes;
}

static size_t sign(const char *text, EVP_PKEY *key, enum jwt_algorithm algorithm,
		   unsigned char *room)
{
	EVP_MD_CTX *signing = EVP_MD_CTX_new();
	unsigned char made[1024];
	size_t len = sizeof(made);
	EVP_PKEY_CTX *context = NULL;

	assert_int_equal(EVP_DigestSignInit_ex(signing, &context, digest_name(algorithm), NULL,
					       NULL, key, NULL),
			 1);
	if (algorithm >= JWT_PS256 && algorithm <= JWT_PS512) {
		assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PSS_PADDING), 1);
		assert_int_equal(EVP_PKEY_CTX_set_rsa_pss_saltlen(context, RSA_PSS_SALTLEN_DIGEST),
				 1);
	}
	assert_int_equal(
		EVP_DigestSign(signing, made, &len, (const unsigned char *)text, strlen(text)), 1);
	EVP_MD_CTX_free(signing);
	if (EVP_PKEY_is_a(key, "EC"))
		return raw_ecdsa(made, len, ((size_t)EVP_PKEY_get_bits(key) + 7) / 8, room);
	memcpy(room, made, len);
	return len;
}

const char *jwt_maker_sign(const char *header, const char *payload, EVP_PKEY *key,
			   enum jwt_algorithm algorithm, const void *octets, size_t octets_len)
{
	static char tokens[8][TOKEN_ROOM];
	static unsigned int turn;
	char *token = tokens[turn++ % ARRAY_SIZE(tokens)];
	unsigned char signature[1024];
	size_t len, signature_len;
	unsigned int mac_len = 0;

	assert_true(strlen(header) + strlen(payload) < TOKEN_ROOM / 2);
	len = jwt_maker_encode(header, strlen(header), token);
	token[len++] = '.';
	len += jwt_maker_encode(payload, strlen(payload), token + len);
	if (key) {
		signature_len = sign(token, key, algorithm, signature);
	} else {
		assert_non_null(HMAC(EVP_get_digestbyname(digest_name(algorithm)), octets,
				     (int)octets_len, (const unsigned char *)token, len, signature,
				     &mac_len));
		signature_len = mac_len;
	}
	token[len++] = '.';
	(void)jwt_maker_encode(signature, signature_len, token + len);
	return token;
}

static void bn_member(const EVP_PKEY *key, const char *param, int bytes, char *room)
{
	unsigned char binary[1024];
	BIGNUM *number = NULL;
	int len;

	assert_int_equal(EVP_PKEY_get_bn_param(key, param, &number), 1);
	len = bytes ? BN_bn2binpad(number, binary, bytes) : BN_bn2bin(number, binary);
	assert_true(len > 0);
	(void)jwt_maker_encode(binary, (size_t)len, room);
	BN_free(number);
}

static size_t add_rsa(const EVP_PKEY *key, const char *kid, char *room)
{
	char n[1024], e[16];

	bn_member(key, OSSL_PKEY_PARAM_RSA_N, 0, n);
	bn_member(key, OSSL_PKEY_PARAM_RSA_E, 0, e);
	return (size_t)snprintf(room, 2048,
				"{\"kty\":\"RSA\",\"kid\":\"%s\",\"use\":\"sig\","
				"\"n\":\"%s\",\"e\":\"%s\"},",
				kid, n, e);
}

static size_t add_ec(const EVP_PKEY *key, const char *kid, const char *curve, char *room)
{
	int bytes = (EVP_PKEY_get_bits(key) + 7) / 8;
	char x[128], y[128];

	bn_member(key, OSSL_PKEY_PARAM_EC_PUB_X, bytes, x);
	bn_member(key, OSSL_PKEY_PARAM_EC_PUB_Y, bytes, y);
	return (size_t)snprintf(room, 2048,
				"{\"kty\":\"EC\",\"kid\":\"%s\",\"crv\":\"%s\","
				"\"x\":\"%s\",\"y\":\"%s\"},",
				kid, curve, x, y);
}

static size_t add_rest(const struct jwt_maker *maker, char *room)
{
	unsigned char raw[32];
	size_t raw_len = sizeof(raw);
	char x[64], short_octets[64], long_octets[128];

	assert_int_equal(EVP_PKEY_get_raw_public_key(maker->ed25519, raw, &raw_len), 1);
	(void)jwt_maker_encode(raw, raw_len, x);
	(void)jwt_maker_encode(jwt_maker_octets, 32, short_octets);
	(void)jwt_maker_encode(jwt_maker_octets, 64, long_octets);
	return (size_t)snprintf(room, 2048,
				"{\"kty\":\"OKP\",\"kid\":\"ed\",\"crv\":\"Ed25519\",\"x\":\"%s\"},"
				"{\"kty\":\"oct\",\"kid\":\"h256\",\"k\":\"%s\"},"
				"{\"kty\":\"oct\",\"kid\":\"h512\",\"k\":\"%s\"}]}",
				x, short_octets, long_octets);
}

void jwt_maker_init(struct jwt_maker *maker)
{
	char *at = maker->jwks;

	maker->rsa = EVP_RSA_gen(2048);
	maker->rsa_other = EVP_RSA_gen(2048);
	maker->p256 = EVP_EC_gen("P-256");
	maker->p384 = EVP_EC_gen("P-384");
	maker->p521 = EVP_EC_gen("P-521");
	maker->ed25519 = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	assert_true(maker->rsa && maker->rsa_other && maker->p256 && maker->p384 && maker->p521 &&
		    maker->ed25519);
	at += snprintf(at, 2048, "{\"keys\":[");
	at += add_rsa(maker->rsa, "r1", at);
	at += add_rsa(maker->rsa_other, "r2", at);
	at += add_ec(maker->p256, "e256", "P-256", at);
	at += add_ec(maker->p384, "e384", "P-384", at);
	at += add_ec(maker->p521, "e521", "P-521", at);
	(void)add_rest(maker, at);
}

void jwt_maker_done(struct jwt_maker *maker)
{
	EVP_PKEY_free(maker->rsa);
	EVP_PKEY_free(maker->rsa_other);
	EVP_PKEY_free(maker->p256);
	EVP_PKEY_free(maker->p384);
	EVP_PKEY_free(maker->p521);
	EVP_PKEY_free(maker->ed25519);
}

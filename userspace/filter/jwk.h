/*
 * jwk: keys that tokens are verified with: a JSON Web Key Set (RFC 7517), and one verification.
 *
 * A key fits exactly one family of algorithms, by its kind: RSA keys RS and PS, a curve its ES, an
 * Ed25519 key EdDSA, octets HS. `alg` in the key narrows that. What the set says of other uses or
 * unknown kinds is skipped, as the RFC asks; keys that are too weak, or private where public ones
 * belong, are errors. Thread rule: immutable once parsed; verifying from any thread.
 */
#ifndef SLUICE_FILTER_JWK_H
#define SLUICE_FILTER_JWK_H

#include <openssl/evp.h>

#include "base/error.h"
#include "base/str.h"

/* symbol, name in tokens, digest, bytes of a field element (ES) */
#define JWT_ALGORITHMS(X)                                                                          \
	X(RS256, "RS256", "SHA256", 0)                                                             \
	X(RS384, "RS384", "SHA384", 0)                                                             \
	X(RS512, "RS512", "SHA512", 0)                                                             \
	X(PS256, "PS256", "SHA256", 0)                                                             \
	X(PS384, "PS384", "SHA384", 0)                                                             \
	X(PS512, "PS512", "SHA512", 0)                                                             \
	X(ES256, "ES256", "SHA256", 32)                                                            \
	X(ES384, "ES384", "SHA384", 48)                                                            \
	X(ES512, "ES512", "SHA512", 66)                                                            \
	X(EDDSA, "EdDSA", "", 0)                                                                   \
	X(HS256, "HS256", "SHA256", 0)                                                             \
	X(HS384, "HS384", "SHA384", 0)                                                             \
	X(HS512, "HS512", "SHA512", 0)

enum jwt_algorithm {
#define X(symbol, name, digest, bytes) JWT_##symbol,
	JWT_ALGORITHMS(X)
#undef X
		JWT_ALGORITHM_COUNT
};

#define JWK_SET_MAX 64 /* keys */

/* JWT_ALGORITHM_COUNT: there is none of that name; names are case-sensitive. */
enum jwt_algorithm jwt_algorithm_find(struct str name);
const char *jwt_algorithm_name(enum jwt_algorithm algorithm);

struct jwk {
	char *kid;		 /* NULL: none */
	unsigned int algorithms; /* bits 1 << enum jwt_algorithm */
	EVP_PKEY *key;		 /* NULL: octets */
	uint8_t *octets;
	size_t octets_len;
};

struct jwk_set {
	struct jwk *keys;
	unsigned int count;
};

/* 0, -ENOMEM or -EINVAL with the reason, which never quotes a key. At least one key is usable. */
int jwk_set_parse(struct str json, struct jwk_set **ret_set, struct error *err);
void jwk_set_free(struct jwk_set *set); /* NULL allowed */

/*
 * The key for a token: of that kid (ptr NULL: the only one that fits) and algorithm. NULL: none.
 */
const struct jwk *jwk_set_find(const struct jwk_set *set, struct str kid,
			       enum jwt_algorithm algorithm);
bool jwk_verify(const struct jwk *jwk, enum jwt_algorithm algorithm, struct str signed_bytes,
		struct str signature);

#endif

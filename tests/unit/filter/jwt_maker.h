/*
 * jwt_maker: keys made for a test, as a JWK set and for signing, and tokens of any header, payload
 * and signature. Written beside the code under test, with OpenSSL's own calls.
 */
#ifndef SLUICE_TESTS_UNIT_JWT_MAKER_H
#define SLUICE_TESTS_UNIT_JWT_MAKER_H

#include <openssl/evp.h>

#include "filter/jwk.h"

struct jwt_maker {
	EVP_PKEY *rsa, *rsa_other, *p256, *p384, *p521, *ed25519;
	char jwks[8192]; /* kids r1, r2, e256, e384, e521, ed, h256, h512; HS: jwt_maker_octets */
};

extern const unsigned char jwt_maker_octets[64];

void jwt_maker_init(struct jwt_maker *maker);
void jwt_maker_done(struct jwt_maker *maker);

/* base64url without padding, into `room`. */
size_t jwt_maker_encode(const void *bytes, size_t len, char *room);
/*
 * "HEADER.PAYLOAD.SIGNATURE", signed as the algorithm says, whatever the header does. key NULL: by
 * HMAC with `octets`. In a buffer of its own until the next 8 calls.
 */
const char *jwt_maker_sign(const char *header, const char *payload, EVP_PKEY *key,
			   enum jwt_algorithm algorithm, const void *octets, size_t octets_len);

#endif

/* EVP looks its methods up for every digest, which would cost several times the digest itself. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "filter/digest.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>

#include "proto/http_bytes.h"

void digest_sha256(struct str bytes, uint8_t ret_digest[DIGEST_BYTES])
{
	SHA256_CTX context;

	(void)SHA256_Init(&context);
	(void)SHA256_Update(&context, bytes.ptr, bytes.len);
	(void)SHA256_Final(ret_digest, &context);
	OPENSSL_cleanse(&context, sizeof(context));
}

bool digest_from_hex(struct str hex, uint8_t ret_digest[DIGEST_BYTES])
{
	if (hex.len != DIGEST_HEX)
		return false;
	for (size_t i = 0; i < DIGEST_BYTES; i++) {
		int high = http_byte_hex(hex.ptr[2 * i]), low = http_byte_hex(hex.ptr[2 * i + 1]);

		if (high < 0 || low < 0)
			return false;
		ret_digest[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

bool digest_equal(const uint8_t *left, const uint8_t *right)
{
	return !CRYPTO_memcmp(left, right, DIGEST_BYTES);
}

/* Low-level MD5: EVP would look its methods up two thousand times. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "filter/password.h"

#include <crypt.h>
#include <openssl/crypto.h>
#include <openssl/md5.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

#define APR1	    "$apr1$"
#define APR1_SALT   8
#define APR1_DIGITS 22
#define APR1_ROUNDS 1000

/* ---- apr1: the algorithm of MD5-crypt with another name ---- */

static void apr1_first(const char *password, size_t len, const char *salt, size_t salt_len,
		       unsigned char digest[MD5_DIGEST_LENGTH])
{
	MD5_CTX outer, inner;

	(void)MD5_Init(&inner);
	(void)MD5_Update(&inner, password, len);
	(void)MD5_Update(&inner, salt, salt_len);
	(void)MD5_Update(&inner, password, len);
	(void)MD5_Final(digest, &inner);
	(void)MD5_Init(&outer);
	(void)MD5_Update(&outer, password, len);
	(void)MD5_Update(&outer, APR1, strlen(APR1));
	(void)MD5_Update(&outer, salt, salt_len);
	for (size_t left = len; left; left -= MIN(left, (size_t)MD5_DIGEST_LENGTH))
		(void)MD5_Update(&outer, digest, MIN(left, (size_t)MD5_DIGEST_LENGTH));
	/* A bit of the length picks a NUL or the first byte: so it has always been. */
	for (size_t bits = len; bits; bits >>= 1)
		(void)MD5_Update(&outer, bits & 1 ? "" : password, 1);
	(void)MD5_Final(digest, &outer);
}

static void apr1_round(unsigned int round, const char *password, size_t len, const char *salt,
		       size_t salt_len, unsigned char digest[MD5_DIGEST_LENGTH])
{
	MD5_CTX context;

	(void)MD5_Init(&context);
	if (round & 1)
		(void)MD5_Update(&context, password, len);
	else
		(void)MD5_Update(&context, digest, MD5_DIGEST_LENGTH);
	if (round % 3)
		(void)MD5_Update(&context, salt, salt_len);
	if (round % 7)
		(void)MD5_Update(&context, password, len);
	if (round & 1)
		(void)MD5_Update(&context, digest, MD5_DIGEST_LENGTH);
	else
		(void)MD5_Update(&context, password, len);
	(void)MD5_Final(digest, &context);
}

static void apr1_digits(const unsigned char digest[MD5_DIGEST_LENGTH], char *out)
{
	static const char digits[] =
		"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
	static const unsigned char order[][3] = {
		{0, 6, 12}, {1, 7, 13}, {2, 8, 14}, {3, 9, 15}, {4, 10, 5}};

	for (size_t i = 0; i < ARRAY_SIZE(order); i++) {
		unsigned int bits = (unsigned int)digest[order[i][0]] << 16 |
				    (unsigned int)digest[order[i][1]] << 8 | digest[order[i][2]];

		for (unsigned int j = 0; j < 4; j++, bits >>= 6)
			*out++ = digits[bits & 63];
	}
	*out++ = digits[digest[11] & 63];
	*out++ = digits[digest[11] >> 6];
	*out = '\0';
}

static bool apr1_matches(const char *hash, const char *password)
{
	const char *salt = hash + strlen(APR1);
	size_t salt_len = strcspn(salt, "$"), len = strlen(password);
	unsigned char digest[MD5_DIGEST_LENGTH];
	char made[APR1_DIGITS + 1];

	apr1_first(password, len, salt, salt_len, digest);
	for (unsigned int round = 0; round < APR1_ROUNDS; round++)
		apr1_round(round, password, len, salt, salt_len, digest);
	apr1_digits(digest, made);
	return !CRYPTO_memcmp(made, salt + salt_len + 1, APR1_DIGITS);
}

static bool apr1_is_valid(const char *hash)
{
	size_t salt_len = strcspn(hash + strlen(APR1), "$");
	const char *rest = hash + strlen(APR1) + salt_len;

	return salt_len >= 1 && salt_len <= APR1_SALT && *rest == '$' &&
	       strlen(rest + 1) == APR1_DIGITS;
}

/* ---- all ---- */

bool password_hash_is_valid(const char *hash)
{
	static const char *const kinds[] = {"$2a$", "$2b$", "$2y$", "$y$", "$5$", "$6$"};

	if (strlen(hash) >= PASSWORD_HASH_BYTES_MAX)
		return false;
	if (!strncmp(hash, APR1, strlen(APR1)))
		return apr1_is_valid(hash);
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (strncmp(hash, kinds[i], strlen(kinds[i])) != 0)
			continue;
		/* The last part is the digest: it must be there. */
		return crypt_checksalt(hash) != CRYPT_SALT_INVALID &&
		       strlen(strrchr(hash, '$') + 1) >= APR1_DIGITS;
	}
	return false;
}

bool password_matches(const char *hash, const char *password)
{
	struct crypt_data *data;
	const char *made;
	bool good;

	if (!strncmp(hash, APR1, strlen(APR1)))
		return apr1_matches(hash, password);
	data = calloc(1, sizeof(*data));
	if (!data)
		return false;
	made = crypt_r(password, hash, data);
	/* Failure is told by a text that no hash begins with. */
	good = made && made[0] == '$' && strlen(made) == strlen(hash) &&
	       !CRYPTO_memcmp(made, hash, strlen(hash));
	OPENSSL_cleanse(data, sizeof(*data));
	free(data);
	return good;
}

/* Our key schedule of TLS 1.3 beside OpenSSL's, and the values that RFC 8448 gives. */
#include "test_support.h"

#include <errno.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/provider.h>
#include <openssl/rand.h>

#include "tls/tls_kdf.h"
#include "tls/tls_library.h"

#define OUTPUT_MAX 600

static OSSL_LIB_CTX *ours, *theirs;
static struct tls_kdf loaded;

struct call {
	const char *digest;
	int mode;
	struct str key, salt, prefix, label, data; /* ptr NULL: not given */
};

static void add(OSSL_PARAM **param, const char *name, struct str value)
{
	if (value.ptr)
		*(*param)++ = OSSL_PARAM_construct_octet_string(name, (void *)value.ptr, value.len);
}

static bool derive(OSSL_LIB_CTX *library, const struct call *call, unsigned char *output,
		   size_t output_bytes)
{
	EVP_KDF *kdf = EVP_KDF_fetch(library, OSSL_KDF_NAME_TLS1_3_KDF, NULL);
	EVP_KDF_CTX *ctx = EVP_KDF_CTX_new(kdf);
	OSSL_PARAM params[8], *param = params;
	int mode = call->mode;
	bool done;

	assert_non_null(ctx);
	if (mode >= 0)
		*param++ = OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &mode);
	if (call->digest)
		*param++ = OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST,
							    (char *)call->digest, 0);
	add(&param, OSSL_KDF_PARAM_KEY, call->key);
	add(&param, OSSL_KDF_PARAM_SALT, call->salt);
	add(&param, OSSL_KDF_PARAM_PREFIX, call->prefix);
	add(&param, OSSL_KDF_PARAM_LABEL, call->label);
	add(&param, OSSL_KDF_PARAM_DATA, call->data);
	*param = OSSL_PARAM_construct_end();
	done = EVP_KDF_derive(ctx, output, output_bytes, params) == 1;
	EVP_KDF_CTX_free(ctx);
	EVP_KDF_free(kdf);
	ERR_clear_error();
	return done;
}

static void assert_same(const struct call *call, size_t output_bytes)
{
	unsigned char mine[OUTPUT_MAX], its[OUTPUT_MAX];

	assert_true(derive(theirs, call, its, output_bytes));
	assert_true(derive(ours, call, mine, output_bytes));
	assert_memory_equal(mine, its, output_bytes);
}

static void test_workers_derive_by_it(void **state)
{
	const struct tls_library *library = tls_library_get(0);
	EVP_KDF *kdf = EVP_KDF_fetch(library->ctx, OSSL_KDF_NAME_TLS1_3_KDF, NULL);

	assert_string_equal(OSSL_PROVIDER_get0_name(EVP_KDF_get0_provider(kdf)), "sluice");
	EVP_KDF_free(kdf);
	kdf = EVP_KDF_fetch(library->ctx, OSSL_KDF_NAME_HKDF, NULL);
	assert_string_equal(OSSL_PROVIDER_get0_name(EVP_KDF_get0_provider(kdf)), "default");
	EVP_KDF_free(kdf);
}

/* RFC 8448 3: the early secret, and the handshake secret that follows with its key. */
static void test_secrets_are_those_of_the_rfc(void **state)
{
	static const unsigned char early[32] = {0x33, 0xad, 0x0a, 0x1c, 0x60, 0x7e, 0xc0, 0x3b,
						0x09, 0xe6, 0xcd, 0x98, 0x93, 0x68, 0x0c, 0xe2,
						0x10, 0xad, 0xf3, 0x00, 0xaa, 0x1f, 0x26, 0x60,
						0xe1, 0xb2, 0x2e, 0x10, 0xf1, 0x70, 0xf9, 0x2a};
	static const unsigned char key[32] = {0x8b, 0xd4, 0x05, 0x4f, 0xb5, 0x5b, 0x9d, 0x63,
					      0xfd, 0xfb, 0xac, 0xf9, 0xf0, 0x4b, 0x9f, 0x0d,
					      0x35, 0xe6, 0xd6, 0x3f, 0x53, 0x75, 0x63, 0xef,
					      0xd4, 0x62, 0x72, 0x90, 0x0f, 0x89, 0x49, 0x2d};
	static const unsigned char handshake[32] = {0x1d, 0xc8, 0x26, 0xe9, 0x36, 0x06, 0xaa, 0x6f,
						    0xdc, 0x0a, 0xad, 0xc1, 0x2f, 0x74, 0x1b, 0x01,
						    0x04, 0x6a, 0xa6, 0xb9, 0x9f, 0x69, 0x1e, 0xd2,
						    0x21, 0xa9, 0xf0, 0xca, 0x04, 0x3f, 0xbe, 0xac};
	struct call call = {.digest = "SHA256",
			    .mode = EVP_KDF_HKDF_MODE_EXTRACT_ONLY,
			    .prefix = STR("tls13 "),
			    .label = STR("derived")};
	unsigned char output[32];

	assert_true(derive(ours, &call, output, sizeof(output)));
	assert_memory_equal(output, early, sizeof(output));
	call.salt = str_make((const char *)early, sizeof(early));
	call.key = str_make((const char *)key, sizeof(key));
	assert_true(derive(ours, &call, output, sizeof(output)));
	assert_memory_equal(output, handshake, sizeof(output));
}

static void test_it_expands_as_openssl_does(void **state)
{
	static const char *const digests[] = {"SHA256", "SHA2-256", "SHA384", "SHA2-384"};
	unsigned char random[400];

	assert_int_equal(RAND_bytes(random, sizeof(random)), 1);
	for (size_t i = 0; i < 4 * 250; i++) {
		/* Keys longer than a block of either digest, contexts of any length, several
		 * rounds. */
		struct call call = {
			.digest = digests[i % 4],
			.mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY,
			.key = str_make((const char *)random, 1 + i % 200),
			.prefix = STR("tls13 "),
			.label = str_make((const char *)random + 100, i % 13),
			.data = i % 5 ? str_make((const char *)random + 50, i / 5) : STR_NULL,
		};

		assert_same(&call, 1 + i % OUTPUT_MAX);
	}
}

static void test_it_extracts_as_openssl_does(void **state)
{
	unsigned char random[300];

	assert_int_equal(RAND_bytes(random, sizeof(random)), 1);
	for (size_t i = 0; i < 400; i++) {
		size_t digest_bytes = i % 2 ? 48 : 32;
		struct call call = {
			.digest = i % 2 ? "SHA384" : "SHA256",
			.mode = EVP_KDF_HKDF_MODE_EXTRACT_ONLY,
			.key = i % 3 ? str_make((const char *)random, 1 + i % 260) : STR_NULL,
			.salt = i % 4 ? str_make((const char *)random + 20, digest_bytes)
				      : STR_NULL,
			.prefix = STR("tls13 "),
			.label = STR("derived"),
		};

		assert_same(&call, digest_bytes);
	}
}

static void test_what_it_does_not_know_is_refused(void **state)
{
	const struct call good = {.digest = "SHA256",
				  .mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY,
				  .key = STR("key"),
				  .prefix = STR("tls13 "),
				  .label = STR("label")};
	static const char text[300];
	unsigned char output[256 * 32];
	struct call call = good;

	assert_true(derive(ours, &call, output, 255 * 32));
	assert_false(derive(ours, &call, output, 255 * 32 + 1));
	assert_false(derive(ours, &call, output, 0));
	call.digest = "SHA1";
	assert_false(derive(ours, &call, output, 32));
	call.digest = NULL;
	assert_false(derive(ours, &call, output, 32));
	call = good;
	call.mode = -1;
	assert_false(derive(ours, &call, output, 32));
	call.mode = EVP_KDF_HKDF_MODE_EXTRACT_AND_EXPAND;
	assert_false(derive(ours, &call, output, 32));
	call = good;
	call.key = STR_NULL;
	assert_false(derive(ours, &call, output, 32));
	call = good;
	call.label = str_make(text, 256 - strlen("tls13 "));
	assert_false(derive(ours, &call, output, 32));
	call = good;
	call.data = str_make(text, 256);
	assert_false(derive(ours, &call, output, 32));
	call = good;
	call.mode = EVP_KDF_HKDF_MODE_EXTRACT_ONLY;
	assert_false(derive(ours, &call, output, 31)); /* a secret is as long as the digest */
}

/* Else it would be lost, and another key made than was meant. */
static void test_what_is_set_beforehand_is_refused(void **state)
{
	EVP_KDF *kdf = EVP_KDF_fetch(ours, OSSL_KDF_NAME_TLS1_3_KDF, NULL);
	EVP_KDF_CTX *ctx = EVP_KDF_CTX_new(kdf);
	const OSSL_PARAM params[] = {
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)"key", 3),
		OSSL_PARAM_construct_end()};

	assert_int_equal(EVP_KDF_CTX_set_params(ctx, params), 0);
	EVP_KDF_CTX_free(ctx);
	EVP_KDF_free(kdf);
	ERR_clear_error();
}

static int setup(void **state)
{
	tls_library_begin();
	theirs = OSSL_LIB_CTX_new();
	ours = OSSL_LIB_CTX_new();
	return tls_kdf_load(ours, &loaded);
}

static int teardown(void **state)
{
	tls_kdf_unload(&loaded);
	OSSL_LIB_CTX_free(ours);
	OSSL_LIB_CTX_free(theirs);
	tls_library_end();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_workers_derive_by_it),
		cmocka_unit_test(test_secrets_are_those_of_the_rfc),
		cmocka_unit_test(test_it_expands_as_openssl_does),
		cmocka_unit_test(test_it_extracts_as_openssl_does),
		cmocka_unit_test(test_what_it_does_not_know_is_refused),
		cmocka_unit_test(test_what_is_set_beforehand_is_refused),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}

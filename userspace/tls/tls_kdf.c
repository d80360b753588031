/* SHA-2 is called directly: libssl would not be faster by way of EVP, which is the point. */
#define OPENSSL_SUPPRESS_DEPRECATED

#include "tls/tls_kdf.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/provider.h>
#include <openssl/sha.h>

#include "base/str.h"
#include "base/util.h"

#define NAME	   "sluice"
#define DIGEST_MAX SHA384_DIGEST_LENGTH
#define BLOCK_MAX  SHA512_CBLOCK
#define LABEL_MAX  255 /* of prefix and label together, and of the context */
#define OUTPUT_MAX (255u * SHA256_DIGEST_LENGTH)

/* ---- digests ---- */

union state {
	SHA256_CTX sha256;
	SHA512_CTX sha384;
};

struct digest {
	unsigned int bytes, block_bytes;
	const char *names[3];
};

static const struct digest sha256 = {
	SHA256_DIGEST_LENGTH, SHA256_CBLOCK, {"SHA2-256", "SHA256", "SHA-256"}};
static const struct digest sha384 = {
	SHA384_DIGEST_LENGTH, SHA512_CBLOCK, {"SHA2-384", "SHA384", "SHA-384"}};

static const struct digest *find_digest(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(sha256.names); i++) {
		if (!OPENSSL_strcasecmp(name, sha256.names[i]))
			return &sha256;
		if (!OPENSSL_strcasecmp(name, sha384.names[i]))
			return &sha384;
	}
	return NULL;
}

/* None of these three fails. */
static void begin(const struct digest *digest, union state *state)
{
	if (digest == &sha256)
		(void)SHA256_Init(&state->sha256);
	else
		(void)SHA384_Init(&state->sha384);
}

static void add(const struct digest *digest, union state *state, const void *data, size_t len)
{
	if (digest == &sha256)
		(void)SHA256_Update(&state->sha256, data, len);
	else
		(void)SHA384_Update(&state->sha384, data, len);
}

static void end(const struct digest *digest, union state *state, unsigned char *output)
{
	if (digest == &sha256)
		(void)SHA256_Final(output, &state->sha256);
	else
		(void)SHA384_Final(output, &state->sha384);
}

/* ---- HMAC (RFC 2104) ---- */

struct hmac {
	const struct digest *digest;
	union state inner, outer; /* each with its block of the key */
};

static void hmac_init(struct hmac *hmac, const struct digest *digest, struct str key)
{
	unsigned char block[BLOCK_MAX] = {0};

	hmac->digest = digest;
	if (key.len > digest->block_bytes) {
		begin(digest, &hmac->inner);
		add(digest, &hmac->inner, key.ptr, key.len);
		end(digest, &hmac->inner, block);
	} else if (key.len) {
		memcpy(block, key.ptr, key.len);
	}
	for (unsigned int i = 0; i < digest->block_bytes; i++)
		block[i] ^= 0x36;
	begin(digest, &hmac->inner);
	add(digest, &hmac->inner, block, digest->block_bytes);
	for (unsigned int i = 0; i < digest->block_bytes; i++)
		block[i] ^= 0x36 ^ 0x5c;
	begin(digest, &hmac->outer);
	add(digest, &hmac->outer, block, digest->block_bytes);
	OPENSSL_cleanse(block, sizeof(block));
}

/* One MAC of two pieces behind each other. The key stays. */
static void hmac_make(const struct hmac *hmac, struct str first, struct str second,
		      unsigned char *output)
{
	union state state = hmac->inner;

	add(hmac->digest, &state, first.ptr, first.len);
	add(hmac->digest, &state, second.ptr, second.len);
	end(hmac->digest, &state, output);
	state = hmac->outer;
	add(hmac->digest, &state, output, hmac->digest->bytes);
	end(hmac->digest, &state, output);
	OPENSSL_cleanse(&state, sizeof(state));
}

/* ---- HKDF (RFC 5869), and its labels (RFC 8446 7.1) ---- */

static void extract(const struct digest *digest, struct str salt, struct str secret,
		    unsigned char *output)
{
	struct hmac hmac;

	hmac_init(&hmac, digest, salt);
	hmac_make(&hmac, secret, STR_NULL, output);
	OPENSSL_cleanse(&hmac, sizeof(hmac));
}

struct info {
	size_t len;
	unsigned char bytes[2 + 1 + LABEL_MAX + 1 + LABEL_MAX];
};

static void info_add(struct info *info, struct str text)
{
	if (text.len)
		memcpy(info->bytes + info->len, text.ptr, text.len);
	info->len += text.len;
}

static bool info_make(struct info *info, struct str prefix, struct str label, struct str context,
		      size_t output_bytes)
{
	if (prefix.len > LABEL_MAX || label.len > LABEL_MAX - prefix.len ||
	    context.len > LABEL_MAX || output_bytes > OUTPUT_MAX)
		return false;
	info->bytes[0] = (unsigned char)(output_bytes >> 8);
	info->bytes[1] = (unsigned char)output_bytes;
	info->bytes[2] = (unsigned char)(prefix.len + label.len);
	info->len = 3;
	info_add(info, prefix);
	info_add(info, label);
	info->bytes[info->len++] = (unsigned char)context.len;
	info_add(info, context);
	return true;
}

static bool expand(const struct digest *digest, struct str secret, const struct info *info,
		   unsigned char *output, size_t output_bytes)
{
	unsigned char tail[sizeof(info->bytes) + 1], block[DIGEST_MAX];
	unsigned int count = 0;
	struct hmac hmac;

	if (output_bytes > 255u * digest->bytes)
		return false;
	memcpy(tail, info->bytes, info->len);
	hmac_init(&hmac, digest, secret);
	while (output_bytes) {
		size_t part = MIN(output_bytes, (size_t)digest->bytes);

		tail[info->len] = (unsigned char)(count + 1);
		hmac_make(&hmac, str_make((const char *)block, count ? digest->bytes : 0),
			  str_make((const char *)tail, info->len + 1), block);
		memcpy(output, block, part);
		output += part;
		output_bytes -= part;
		count++;
	}
	OPENSSL_cleanse(&hmac, sizeof(hmac));
	OPENSSL_cleanse(block, sizeof(block));
	return true;
}

/* ---- what libssl asks ---- */

struct request {
	const struct digest *digest;
	int mode; /* EVP_KDF_HKDF_MODE_..., -1: not said */
	struct str key, salt, prefix, label, data;
};

static bool take_mode(struct request *request, const OSSL_PARAM *param)
{
	if (param->data_type != OSSL_PARAM_UTF8_STRING)
		return OSSL_PARAM_get_int(param, &request->mode) == 1;
	if (!OPENSSL_strcasecmp(param->data, "EXTRACT_ONLY"))
		request->mode = EVP_KDF_HKDF_MODE_EXTRACT_ONLY;
	else if (!OPENSSL_strcasecmp(param->data, "EXPAND_ONLY"))
		request->mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY;
	else
		return false;
	return true;
}

static bool take_param(struct request *request, const OSSL_PARAM *param)
{
	const struct {
		const char *name;
		struct str *value;
	} values[] = {
		{OSSL_KDF_PARAM_KEY, &request->key},	   {OSSL_KDF_PARAM_SALT, &request->salt},
		{OSSL_KDF_PARAM_PREFIX, &request->prefix}, {OSSL_KDF_PARAM_LABEL, &request->label},
		{OSSL_KDF_PARAM_DATA, &request->data},
	};

	for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
		if (strcmp(param->key, values[i].name) != 0)
			continue;
		if (param->data_type != OSSL_PARAM_OCTET_STRING)
			return false;
		*values[i].value = str_make(param->data, param->data_size);
		return true;
	}
	if (!strcmp(param->key, OSSL_KDF_PARAM_MODE))
		return take_mode(request, param);
	if (!strcmp(param->key, OSSL_KDF_PARAM_DIGEST)) {
		if (param->data_type != OSSL_PARAM_UTF8_STRING)
			return false;
		request->digest = find_digest(param->data);
		return request->digest;
	}
	return true; /* properties: there is one implementation of each digest here */
}

/* The next secret of the schedule: the one before it gives the salt, the key is mixed in. */
static bool derive_secret(const struct request *request, unsigned char *output, size_t output_bytes)
{
	static const unsigned char zeros[DIGEST_MAX];
	const struct digest *digest = request->digest;
	unsigned char salt[DIGEST_MAX], nothing[DIGEST_MAX];
	struct str key = request->key;
	struct info info;
	union state state;

	if (output_bytes != digest->bytes)
		return false;
	if (!key.ptr)
		key = str_make((const char *)zeros, digest->bytes);
	if (!request->salt.ptr) {
		extract(digest, STR_NULL, key, output);
		return true;
	}
	begin(digest, &state);
	end(digest, &state, nothing);
	if (!info_make(&info, request->prefix, request->label,
		       str_make((const char *)nothing, digest->bytes), digest->bytes) ||
	    !expand(digest, request->salt, &info, salt, digest->bytes))
		return false;
	extract(digest, str_make((const char *)salt, digest->bytes), key, output);
	OPENSSL_cleanse(salt, sizeof(salt));
	return true;
}

static int kdf_derive(void *kdf, unsigned char *output, size_t output_bytes,
		      const OSSL_PARAM params[])
{
	struct request request = {.mode = -1};
	struct info info;

	for (; params && params->key; params++)
		if (!take_param(&request, params))
			return 0;
	if (!request.digest || !output_bytes)
		return 0;
	switch (request.mode) {
	case EVP_KDF_HKDF_MODE_EXTRACT_ONLY:
		return derive_secret(&request, output, output_bytes);
	case EVP_KDF_HKDF_MODE_EXPAND_ONLY:
		return request.key.ptr &&
		       info_make(&info, request.prefix, request.label, request.data,
				 output_bytes) &&
		       expand(request.digest, request.key, &info, output, output_bytes);
	default:
		return 0;
	}
}

/* A context has nothing in it: all comes with the call. */
static void *kdf_newctx(void *provider)
{
	return provider;
}

static void kdf_freectx(void *kdf)
{
	(void)kdf;
}

/* What is set before it would be lost. */
static int kdf_set_params(void *kdf, const OSSL_PARAM params[])
{
	(void)kdf;
	return !params || !params->key;
}

/* ---- the provider ---- */

static const OSSL_DISPATCH kdf_functions[] = {
	{OSSL_FUNC_KDF_NEWCTX, (void (*)(void))kdf_newctx},
	{OSSL_FUNC_KDF_FREECTX, (void (*)(void))kdf_freectx},
	{OSSL_FUNC_KDF_DERIVE, (void (*)(void))kdf_derive},
	{OSSL_FUNC_KDF_SET_CTX_PARAMS, (void (*)(void))kdf_set_params},
	{0, NULL},
};

static const OSSL_ALGORITHM kdfs[] = {
	{OSSL_KDF_NAME_TLS1_3_KDF, "provider=" NAME, kdf_functions, NULL},
	{NULL, NULL, NULL, NULL},
};

static const OSSL_ALGORITHM *query(void *provider, int operation, int *no_cache)
{
	(void)provider;
	*no_cache = 0;
	return operation == OSSL_OP_KDF ? kdfs : NULL;
}

static const OSSL_DISPATCH provider_functions[] = {
	{OSSL_FUNC_PROVIDER_QUERY_OPERATION, (void (*)(void))query},
	{0, NULL},
};

static int init(const OSSL_CORE_HANDLE *handle, const OSSL_DISPATCH *core,
		const OSSL_DISPATCH **ret_functions, void **ret_provider)
{
	(void)core;
	*ret_functions = provider_functions;
	*ret_provider = (void *)handle; /* anything that is not NULL */
	return 1;
}

int tls_kdf_load(OSSL_LIB_CTX *ctx, struct tls_kdf *ret_kdf)
{
	struct tls_kdf kdf = {NULL, NULL};

	/* The first one that has an algorithm gives it. */
	if (OSSL_PROVIDER_add_builtin(ctx, NAME, init) == 1)
		kdf.ours = OSSL_PROVIDER_load(ctx, NAME);
	if (kdf.ours)
		kdf.defaults = OSSL_PROVIDER_load(ctx, "default");
	if (!kdf.defaults) {
		tls_kdf_unload(&kdf);
		return -ENOMEM;
	}
	*ret_kdf = kdf;
	return 0;
}

void tls_kdf_unload(struct tls_kdf *kdf)
{
	if (kdf->defaults)
		(void)OSSL_PROVIDER_unload(kdf->defaults);
	if (kdf->ours)
		(void)OSSL_PROVIDER_unload(kdf->ours);
	kdf->defaults = kdf->ours = NULL;
}

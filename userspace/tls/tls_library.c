#include "tls/tls_library.h"

#include <pthread.h>
#include <stdlib.h>

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "base/util.h"

static struct {
	struct tls_library **items;
	unsigned int count;
} libraries;

static void begin(void)
{
	/* Before privileges are dropped: later the tables of error texts could not be loaded. */
	(void)OPENSSL_init_ssl(OPENSSL_INIT_NO_LOAD_CONFIG | OPENSSL_INIT_LOAD_SSL_STRINGS |
				       OPENSSL_INIT_LOAD_CRYPTO_STRINGS,
			       NULL);
}

void tls_library_begin(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	(void)pthread_once(&once, begin);
}

static void library_free(struct tls_library *library)
{
	if (!library)
		return;
	EVP_CIPHER_free(library->ticket_cipher);
	tls_kdf_unload(&library->kdf);
	OSSL_LIB_CTX_free(library->ctx);
	free(library);
}

static struct tls_library *library_new(void)
{
	struct tls_library *library = calloc(1, sizeof(*library));

	if (!library)
		return NULL;
	library->ctx = OSSL_LIB_CTX_new();
	if (library->ctx && !tls_kdf_load(library->ctx, &library->kdf))
		library->ticket_cipher = EVP_CIPHER_fetch(library->ctx, "AES-256-CBC", NULL);
	if (!library->ticket_cipher) {
		library_free(library);
		return NULL;
	}
	return library;
}

const struct tls_library *tls_library_get(unsigned int worker_index)
{
	tls_library_begin();
	if (worker_index >= libraries.count) {
		unsigned int count = worker_index + 1;
		struct tls_library **items = reallocarray(libraries.items, count, sizeof(*items));

		if (!items)
			return NULL;
		while (libraries.count < count)
			items[libraries.count++] = NULL;
		libraries.items = items;
	}
	if (!libraries.items[worker_index])
		libraries.items[worker_index] = library_new();
	return libraries.items[worker_index];
}

void tls_library_end(void)
{
	for (unsigned int i = 0; i < libraries.count; i++)
		library_free(libraries.items[i]);
	free(libraries.items);
	libraries.items = NULL;
	libraries.count = 0;
}

const char *tls_library_reason(const char *otherwise)
{
	const char *reason = ERR_reason_error_string(ERR_peek_error());

	ERR_clear_error();
	return reason ? reason : otherwise;
}

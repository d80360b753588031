/*
 * tls_library: OpenSSL's own state, one OSSL_LIB_CTX per worker, made at first need and kept until
 * the process ends. No file of OpenSSL's is read: what holds is what Sluice says.
 * Thread rule: tls_library_get() by the control thread; a library's use by its worker.
 */
#ifndef SLUICE_TLS_TLS_LIBRARY_H
#define SLUICE_TLS_TLS_LIBRARY_H

#include <openssl/evp.h>
#include <stddef.h>

#include "base/error.h"
#include "tls/tls_kdf.h"

struct tls_library {
	OSSL_LIB_CTX *ctx;
	struct tls_kdf kdf;
	EVP_CIPHER *ticket_cipher; /* AES-256-CBC */
};

/* Before any other call of OpenSSL. Idempotent. */
void tls_library_begin(void);
/* NULL: out of memory. */
const struct tls_library *tls_library_get(unsigned int worker_index);
/* All of them, for tests that look for leaks: nothing may use one any more. */
void tls_library_end(void);

/* The reason of OpenSSL's last error, or `otherwise`; the queue is empty then. */
const char *tls_library_reason(const char *otherwise);

#endif

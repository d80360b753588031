/*
 * tls_kdf: the key schedule of TLS 1.3 (RFC 8446 7.1) as a provider of OpenSSL's, "TLS13-KDF".
 *
 * The one that OpenSSL 3.0 has looks up digest and MAC by their names, and makes and frees four
 * contexts, for each of the twenty-odd secrets of a handshake, which comes to a seventh of it. This
 * one goes straight to SHA-2. It knows what libssl asks for: SHA-256 and SHA-384, with all
 * parameters given to EVP_KDF_derive(). Everything else of OpenSSL stays the default provider's.
 * Thread rule: any; it keeps no state.
 */
#ifndef SLUICE_TLS_TLS_KDF_H
#define SLUICE_TLS_TLS_KDF_H

#include <openssl/types.h>

/* The providers of a context that has it. */
struct tls_kdf {
	OSSL_PROVIDER *ours, *defaults;
};

/*
 * Puts it into a context that has loaded no provider yet, and the default provider behind it. 0 or
 * -ENOMEM, with nothing loaded.
 */
int tls_kdf_load(OSSL_LIB_CTX *ctx, struct tls_kdf *ret_kdf);
/* Just before the context is freed. */
void tls_kdf_unload(struct tls_kdf *kdf);

#endif

/*
 * tls_identity: a certificate with its chain and key, as PEM texts and what is to be known of them.
 * OpenSSL's objects are made anew from the texts in each worker's library. Private to tls/.
 * Thread rule: immutable once made; the reference counts nothing, its server owns it.
 */
#ifndef SLUICE_TLS_TLS_IDENTITY_H
#define SLUICE_TLS_TLS_IDENTITY_H

#include <openssl/x509.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/str.h"
#include "tls/tls_context.h"
#include "tls/tls_library.h"

/* A server's name has one certificate of each. */
enum tls_key_kind { TLS_KEY_RSA, TLS_KEY_EC, TLS_KEY_ED, TLS_KEY_KINDS };

struct tls_identity {
	char *chain_pem, *key_pem;
	size_t chain_len, key_len;
	X509 *leaf; /* of the default library: looked at, never used in a handshake */
	enum tls_key_kind kind;
	int64_t not_before, not_after; /* seconds since 1970 */
	char subject[64], issuer[64], key_kind[40];
	char fingerprint[TLS_FINGERPRINT_HEX + 1];
	char **names; /* lower-case: of its subject alternative names, else the common name */
	unsigned int name_count;
	unsigned char *ocsp;
	size_t ocsp_len;
	int64_t ocsp_until;
};

int tls_identity_new(struct str chain_pem, struct str key_pem, struct tls_identity **ret_identity,
		     struct error *err);
int tls_identity_set_ocsp(struct tls_identity *identity, struct str der, struct error *err);
void tls_identity_facts(const struct tls_identity *identity,
			struct tls_certificate_facts *ret_facts);
void tls_identity_free(struct tls_identity *identity); /* NULL allowed */

/* Objects of `ctx` (NULL: the default library). NULL: no more in the text, or out of memory. */
X509 *tls_read_certificate(BIO *bio, OSSL_LIB_CTX *ctx);
/* NULL with err set. */
EVP_PKEY *tls_read_key(const char *pem, size_t len, OSSL_LIB_CTX *ctx, struct error *err);

#endif

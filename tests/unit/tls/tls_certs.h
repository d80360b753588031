/*
 * tls_certs: certificates made in memory for the tests of tls/, and handshakes over memory BIOs
 * between an SSL of a tls_server and a client of OpenSSL's.
 */
#ifndef SLUICE_TESTS_TLS_CERTS_H
#define SLUICE_TESTS_TLS_CERTS_H

#include "test_support.h"

#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "tls/tls_context.h"

struct test_cert {
	EVP_PKEY *key;
	X509 *x509;
	char *pem, *key_pem; /* NUL-terminated */
};

enum test_key { TEST_RSA, TEST_EC, TEST_ED };

struct test_cert_want {
	enum test_key key;
	const char *name;  /* common name */
	const char *san;   /* as in openssl.cnf; NULL: none */
	const char *usage; /* extended key usage; NULL: none */
	bool is_ca;
	long serial;
	int days;			/* of life; 0: 10; negative: ended so long ago */
	const struct test_cert *issuer; /* NULL: itself */
};

void test_cert_make(struct test_cert *cert, const struct test_cert_want *want);
void test_cert_done(struct test_cert *cert);
/* A list of the issuer's that revokes one serial number. free() it. */
char *test_crl_make(const struct test_cert *issuer, long revoked_serial);

/* What a test asks of a server's contexts. */
struct test_client_want {
	const char *sni;		      /* NULL: none */
	int version;			      /* the only one; 0: any */
	const char *ciphers, *sigalgs, *alpn; /* alpn in wire form; NULL: what OpenSSL does */
	const struct test_cert *cert;
	SSL_SESSION *session; /* to be resumed */
	bool ocsp;
};

struct test_pair {
	SSL_CTX *client_ctx;
	SSL *server, *client;
	SSL_SESSION *session; /* the last ticket's, when one came */
	bool done;	      /* both sides say the handshake is over */
};

/* Runs a handshake and one byte each way. */
void test_pair_run(struct test_pair *pair, struct tls_server *server, unsigned int worker,
		   const struct test_client_want *want);
void test_pair_done(struct test_pair *pair);
/* The common name of what the server showed. */
void test_pair_shown(const struct test_pair *pair, char *name, size_t name_len);

#endif

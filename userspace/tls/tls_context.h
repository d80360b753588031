/*
 * tls_context: what a listener with TLS is to OpenSSL: certificates by name, versions, resumption.
 *
 *   tls_config ──► tls_server ──┬── worker 0: contexts, one per set of certificates ──► SSL
 *                               └── worker 1: ...
 *
 * OpenSSL's objects are made once per worker, in an OSSL_LIB_CTX of the worker's own: two threads
 * in one pay a quarter more per handshake. Which certificates a name has is a hash table: an exact
 * name first, then a wildcard in the place of the first label, else the first certificate that the
 * file names. A name may have one certificate per kind of key; the client's signature algorithms
 * choose among them.
 *
 * A server is counted; its certificates can be exchanged under way, each SSL goes on with those it
 * began with. Thread rule: made by the control thread, tls_server_new_ssl() and what takes an SSL
 * by the worker whose it is, references by any.
 */
#ifndef SLUICE_TLS_TLS_CONTEXT_H
#define SLUICE_TLS_TLS_CONTEXT_H

#include <openssl/ssl.h>
#include <stdbool.h>

#include "base/error.h"
#include "base/str.h"

#define TLS_FINGERPRINT_HEX 64 /* of SHA-256 */

struct tls_server;
struct tls_tickets;

enum tls_client_auth { TLS_CLIENT_AUTH_OFF, TLS_CLIENT_AUTH_OPTIONAL, TLS_CLIENT_AUTH_REQUIRE };

enum tls_alpn { TLS_ALPN_NONE, TLS_ALPN_HTTP11, TLS_ALPN_H2 };

/* Of a finished handshake. Strings live as long as the SSL. */
struct tls_facts {
	const char *version; /* "TLSv1.3" */
	const char *cipher;  /* "TLS_AES_128_GCM_SHA256" */
	bool resumed;
	struct str sni;	 /* ptr NULL: none was sent */
	struct str alpn; /* ptr NULL: none was agreed on */
};

/* Texts of a client's certificate. Empty when it has none of them, or there is no certificate. */
struct tls_client_facts {
	bool present;
	char fingerprint[TLS_FINGERPRINT_HEX + 1]; /* of the whole certificate, lower-case */
	char san[512]; /* "DNS:a.example, URI:spiffe://x", without what does not fit */
};

/* Of a certificate of ours. Strings live until it is exchanged, or the server goes. */
struct tls_certificate_facts {
	const char *subject, *issuer; /* common names; "" where there is none */
	const char *const *names;     /* lower-case */
	unsigned int name_count;
	const char *key_kind; /* "RSA 2048", "EC P-256", "ED25519" */
	char fingerprint[TLS_FINGERPRINT_HEX + 1];
	int64_t not_before, not_after; /* seconds since 1970 */
	bool stapled;
	int64_t ocsp_until;
};

/* What a server is made of. PEM texts; all is copied. */
struct tls_server_settings {
	struct str listener; /* its name: sessions of another are not resumed */
	int min_version;
	bool http11, h2;
	struct str ciphers; /* ptr NULL: the default */
	enum tls_client_auth client_auth;
	struct str ca_pem, crl_pem;
	unsigned int depth;
	bool tickets;
	unsigned int session_seconds; /* how long one may be resumed */
	bool ktls;		      /* the kernel may encrypt */
	bool ktls_required;	      /* ... and must be able to, with every cipher */
};

/* With one reference and no certificate yet. */
int tls_server_new(const struct tls_server_settings *settings, struct tls_server **ret_server,
		   struct error *err);
/*
 * A chain, its own certificate first, and its key. Refused with the reason: no certificate in it, a
 * key that does not fit, what cannot be used for a server.
 */
int tls_server_add_certificate(struct tls_server *server, struct str chain_pem, struct str key_pem,
			       struct error *err);
/*
 * An OCSP response (DER) for the certificate added last. -EKEYEXPIRED, -ENOKEY: it is out of date,
 * or of another certificate; it is not stapled then.
 */
int tls_server_add_ocsp(struct tls_server *server, struct str der, struct error *err);
/* The certificate `index`, in the order of adding, of the set in force. -ENOENT: none. */
int tls_server_get_certificate(const struct tls_server *server, unsigned int index,
			       struct tls_certificate_facts *ret_facts);
/*
 * From now on handshakes use what `fresh` was made of, which gets what `server` had. Settings that
 * are not part of contexts stay. The control thread only.
 */
void tls_server_exchange(struct tls_server *server, struct tls_server *fresh);
/* Are the settings and certificates such that contexts can be made? Says why not. */
int tls_server_check(struct tls_server *server, struct error *err);
/* For the workers 0 to count - 1. Takes the reference on `tickets` (NULL: OpenSSL makes keys). */
int tls_server_prepare(struct tls_server *server, unsigned int worker_count,
		       struct tls_tickets *tickets, struct error *err);

struct tls_server *tls_server_ref(struct tls_server *server);
void tls_server_unref(struct tls_server *server); /* NULL allowed */

/* In accept state, without BIOs. NULL: out of memory. */
SSL *tls_server_new_ssl(struct tls_server *server, unsigned int worker_index);

enum tls_alpn tls_ssl_alpn(const SSL *ssl);
void tls_ssl_facts(const SSL *ssl, struct tls_facts *ret_facts);
void tls_ssl_client_facts(const SSL *ssl, struct tls_client_facts *ret_facts);
/*
 * May a request for this host come by the connection (RFC 9110 7.4)? Not when the host has other
 * certificates than those that were chosen at the handshake. Without SNI any host may: the client
 * could not say which.
 */
bool tls_ssl_serves_host(const SSL *ssl, struct str host);

#endif

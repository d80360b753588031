/*
 * tls_client: what an upstream with TLS is to OpenSSL: whom we trust, whom we expect, what we show.
 *
 * A server is believed when its chain ends in one of our authorities (any certificate of their file
 * is one, an intermediate too) and one of the expected names is among its subject alternative
 * names, by type; its common name counts for nothing (HARDENING 25). `insecure` leaves all of that
 * out.
 *
 * Sessions are kept per endpoint and worker, by whoever has the connections. A resumed session
 * shows no certificate, so it serves only a client that would ask for the same (authorities, names,
 * its own certificate), and not beyond the time of the certificate that was looked at.
 *
 * A client is immutable and counted; each SSL holds a reference. Thread rule: made and prepared by
 * the control thread; tls_client_new_ssl() and sessions by the worker whose they are, references by
 * any.
 */
#ifndef SLUICE_TLS_TLS_CLIENT_H
#define SLUICE_TLS_TLS_CLIENT_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/str.h"

#define TLS_SANS_MAX	 64
#define TLS_SESSIONS_MAX 4 /* kept per endpoint and worker; one of TLS 1.3 is good for one use */

enum tls_san_type { TLS_SAN_DNS, TLS_SAN_IP, TLS_SAN_URI };

struct tls_san {
	enum tls_san_type type;
	struct str value;
};

/* What a client is made of. PEM texts; all is copied. */
struct tls_client_settings {
	struct str server_name;	    /* sent as SNI, unless it is an address; ptr NULL: none */
	const struct tls_san *sans; /* one of them is expected; none: server_name is */
	unsigned int san_count;
	bool insecure;		       /* any certificate will do */
	struct str ca_pem;	       /* ptr NULL only if insecure */
	struct str crl_pem;	       /* what they revoked; ptr NULL: nobody asks */
	struct str chain_pem, key_pem; /* shown where the server asks; ptr NULL: nothing */
	int min_version;	       /* TLS1_2_VERSION or TLS1_3_VERSION */
	bool http11, h2;	       /* offered by ALPN; neither: no ALPN */
};

struct tls_client;
struct tls_sessions;

/*
 * With one reference. What contexts are made of is tried: refused with the reason are texts that
 * hold no certificate, a key that does not fit, names that cannot be in a certificate, and neither
 * `insecure` nor anything to be checked.
 */
int tls_client_new(const struct tls_client_settings *settings, struct tls_client **ret_client,
		   struct error *err);
/* Contexts for the workers 0 to count - 1, once. */
int tls_client_prepare(struct tls_client *client, unsigned int worker_count, struct error *err);

struct tls_client *tls_client_ref(struct tls_client *client);
void tls_client_unref(struct tls_client *client); /* NULL allowed */

/* Would both believe the same servers, and show them the same? NULL: without TLS. */
bool tls_client_is_same(const struct tls_client *left, const struct tls_client *right);

/*
 * In connect state, without BIOs. `sessions` (may be NULL): one of them is offered, and new ones go
 * there; the SSL holds a reference. NULL: out of memory.
 */
SSL *tls_client_new_ssl(struct tls_client *client, unsigned int worker_index,
			struct tls_sessions *sessions);
/* The same at the wall-clock time given (seconds since 1970), for tests. */
SSL *tls_client_new_ssl_at(struct tls_client *client, unsigned int worker_index,
			   struct tls_sessions *sessions, int64_t now_s);
/* Why the server's certificate was not believed, in OpenSSL's words; NULL: that was not it. */
const char *tls_client_refusal(const SSL *ssl);

/* With one reference, which is counted for one thread. NULL: out of memory. */
struct tls_sessions *tls_sessions_new(void);
void tls_sessions_unref(struct tls_sessions *sessions); /* NULL allowed */
unsigned int tls_sessions_count(const struct tls_sessions *sessions);

#endif

/* What the files of tls_context share. Private to tls/. */
#ifndef SLUICE_TLS_TLS_SERVER_H
#define SLUICE_TLS_TLS_SERVER_H

#include <pthread.h>
#include <stdatomic.h>

#include "tls/tls_context.h"
#include "tls/tls_identity.h"
#include "tls/tls_tickets.h"

#define TLS_NO_IDENTITY UINT16_MAX

/* The certificates of a name, by kind of key. */
struct tls_tuple {
	uint16_t identities[TLS_KEY_KINDS]; /* TLS_NO_IDENTITY: none */
};

struct tls_name {
	const char *name; /* the identity's */
	uint16_t identity;
	uint16_t tuple;
};

struct tls_set;

/* One worker's SSL_CTX for a tuple. */
struct tls_context {
	SSL_CTX *ctx;
	const struct tls_set *set;
	unsigned int tuple;
	X509 *leaves[TLS_KEY_KINDS]; /* as the context has them; not referenced */
};

/*
 * Certificates and the contexts made of them, exchanged as a whole. Each SSL holds a reference, so
 * a handshake ends with what it began with.
 */
struct tls_set {
	atomic_uint refs;
	bool http11, h2;
	struct tls_tickets *tickets; /* one reference; NULL: OpenSSL's own keys */
	struct tls_identity **identities;
	unsigned int identity_count;
	/* Made once, when the first contexts are. */
	struct tls_name *names; /* each once, sorted */
	unsigned int name_count;
	struct tls_tuple *tuples; /* the first is of the first certificate */
	unsigned int tuple_count;
	const struct tls_library **libraries; /* of the workers */
	struct tls_context *contexts; /* tuple_count of each worker, one worker behind the other */
	unsigned int worker_count;
};

struct tls_server {
	atomic_uint refs;
	pthread_mutex_t lock; /* of `set`, for as long as a reference is taken */
	struct tls_set *set;

	/* What contexts are made with. */
	char *ciphers, *ca_pem, *crl_pem; /* NULL: none */
	size_t ca_len, crl_len;
	int min_version;
	bool tickets_on;
	bool ktls, ktls_required;
	enum tls_client_auth client_auth;
	unsigned int depth;
	unsigned int session_seconds;
	unsigned char session_context[32];
};

/* ---- tls_names.c ---- */

int tls_names_build(struct tls_set *set, struct error *err);
/* The tuple of a name; 0, the default, where no certificate has it. */
unsigned int tls_names_find(const struct tls_set *set, struct str name);

/* ---- tls_settings.c: one context ---- */

/* In `library`, with the tuple's certificates. */
int tls_context_make(const struct tls_server *server, const struct tls_set *set,
		     const struct tls_library *library, unsigned int tuple,
		     struct tls_context *ret_context, struct error *err);

/* ---- tls_context.c ---- */

const struct tls_set *tls_ssl_set(const SSL *ssl);

#endif

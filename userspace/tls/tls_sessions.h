/* What tls_client.c and tls_sessions.c share. Private to tls/. */
#ifndef SLUICE_TLS_TLS_SESSIONS_H
#define SLUICE_TLS_TLS_SESSIONS_H

#include "tls/tls_client.h"

#define TLS_DIGEST_BYTES 32 /* SHA-256 of what a client asks for */

struct tls_sessions *tls_sessions_ref(struct tls_sessions *sessions);
/* Takes the session over if it may be used later at all. False: it is still the caller's. */
bool tls_sessions_put(struct tls_sessions *sessions, const unsigned char *digest,
		      SSL_SESSION *session, int64_t now_s);
/* With a reference; NULL: there is none for a client of this digest. */
SSL_SESSION *tls_sessions_take(struct tls_sessions *sessions, const unsigned char *digest,
			       int64_t now_s);

#endif

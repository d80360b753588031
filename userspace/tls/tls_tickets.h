/*
 * tls_tickets: the keys of session tickets, shared by the workers and kept over reloads.
 *
 * Two generations (HARDENING 30): the current key seals, it and the one before it open. A new key
 * is made when the current one has served `rotate_ms`, by whoever seals next; a file's keys stay
 * until the file changes. The lock is held for a copy of 80 bytes per handshake.
 */
#ifndef SLUICE_TLS_TLS_TICKETS_H
#define SLUICE_TLS_TLS_TICKETS_H

#include <openssl/ssl.h>

#include "base/error.h"
#include "base/registry.h"
#include "tls/tls_library.h"

#define TLS_TICKET_KEY_BYTES 80 /* name 16, HMAC-SHA256 key 32, AES-256-CBC key 32: as nginx */

struct tls_tickets {
	struct registry_entry entry; /* kind "tls_tickets", by file; "": made here */
	struct tls_ticket_ring *ring;
};

/* With a reference. rotate_ms: from now on. NULL: out of memory or no randomness. */
struct tls_tickets *tls_tickets_acquire(struct registry *registry, struct str file,
					uint64_t rotate_ms);
static inline void tls_tickets_unref(struct tls_tickets *tickets)
{
	if (tickets)
		registry_unref(&tickets->entry);
}

/* One or two keys, the current one first. -EINVAL: not of that size. */
int tls_tickets_check(struct str keys, struct error *err);
void tls_tickets_set(struct tls_tickets *tickets, struct str keys);

/* Of SSL_CTX_set_tlsext_ticket_key_evp_cb(); looks for the keys at the SSL's server. */
int tls_tickets_use(struct tls_tickets *tickets, const struct tls_library *library, SSL *ssl,
		    unsigned char *key_name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
		    EVP_MAC_CTX *mac, int sealing);
/* The same with the time given, for tests. */
int tls_tickets_use_at(struct tls_tickets *tickets, const struct tls_library *library, bool tls13,
		       unsigned char *key_name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
		       EVP_MAC_CTX *mac, int sealing, uint64_t now_ms);

#endif

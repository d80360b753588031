#include "tls/tls_tickets.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include "base/clock.h"

#define NAME_BYTES   16
#define SECRET_BYTES 32
#define GENERATIONS  2

struct ticket_key {
	unsigned char name[NAME_BYTES];
	unsigned char mac[SECRET_BYTES];
	unsigned char aes[SECRET_BYTES];
};
_Static_assert(sizeof(struct ticket_key) == TLS_TICKET_KEY_BYTES, "as in a file");

struct tls_ticket_ring {
	pthread_mutex_t lock;
	struct ticket_key keys[GENERATIONS]; /* the current one first */
	unsigned int count;
	bool from_file;
	uint64_t rotate_ms;
	uint64_t made_ms; /* the current one; of two that were made here, so was the other then */
};

static int key_make(struct ticket_key *key)
{
	return RAND_priv_bytes((unsigned char *)key, sizeof(*key)) == 1 ? 0 : -EIO;
}

static int ring_init(struct registry_entry *entry, void *arg)
{
	struct tls_tickets *tickets = CONTAINER_OF(entry, struct tls_tickets, entry);
	struct tls_ticket_ring *ring = calloc(1, sizeof(*ring));

	(void)arg;
	if (!ring)
		return -ENOMEM;
	if (key_make(&ring->keys[0])) {
		free(ring);
		return -EIO;
	}
	(void)pthread_mutex_init(&ring->lock, NULL);
	ring->count = 1;
	ring->made_ms = clock_mono_ms();
	tickets->ring = ring;
	return 0;
}

static void ring_free(struct registry_entry *entry)
{
	struct tls_tickets *tickets = CONTAINER_OF(entry, struct tls_tickets, entry);

	(void)pthread_mutex_destroy(&tickets->ring->lock);
	OPENSSL_cleanse(tickets->ring, sizeof(*tickets->ring));
	free(tickets->ring);
}

struct tls_tickets *tls_tickets_acquire(struct registry *registry, struct str file,
					uint64_t rotate_ms)
{
	struct registry_entry *entry =
		registry_acquire(registry, "tls_tickets", STR("keys"), file.ptr ? file : STR(""),
				 sizeof(struct tls_tickets), ring_init, NULL, ring_free);
	struct tls_tickets *tickets;

	if (!entry)
		return NULL;
	tickets = CONTAINER_OF(entry, struct tls_tickets, entry);
	(void)pthread_mutex_lock(&tickets->ring->lock);
	tickets->ring->rotate_ms = rotate_ms;
	(void)pthread_mutex_unlock(&tickets->ring->lock);
	return tickets;
}

int tls_tickets_check(struct str keys, struct error *err)
{
	if (keys.len == TLS_TICKET_KEY_BYTES || keys.len == 2 * TLS_TICKET_KEY_BYTES)
		return 0;
	return error_set(err, -EINVAL,
			 "expected %d bytes, or %d with the former key behind the current one, "
			 "has %zu (openssl rand -out FILE %d makes one)",
			 TLS_TICKET_KEY_BYTES, 2 * TLS_TICKET_KEY_BYTES, keys.len,
			 TLS_TICKET_KEY_BYTES);
}

void tls_tickets_set(struct tls_tickets *tickets, struct str keys)
{
	struct tls_ticket_ring *ring = tickets->ring;

	(void)pthread_mutex_lock(&ring->lock);
	ring->count = (unsigned int)MIN(keys.len / sizeof(struct ticket_key), (size_t)GENERATIONS);
	memcpy(ring->keys, keys.ptr, ring->count * sizeof(struct ticket_key));
	ring->from_file = true;
	(void)pthread_mutex_unlock(&ring->lock);
}

/* ---- use ---- */

static void rotate_if_due(struct tls_ticket_ring *ring, uint64_t now_ms)
{
	struct ticket_key fresh;

	if (ring->from_file || now_ms - ring->made_ms < ring->rotate_ms)
		return;
	if (key_make(&fresh))
		return; /* the next one tries again */
	/* Nobody sealed for longer than a period: the old key is too old to be kept. */
	ring->count = now_ms - ring->made_ms < 2 * ring->rotate_ms ? GENERATIONS : 1;
	ring->keys[1] = ring->keys[0];
	ring->keys[0] = fresh;
	ring->made_ms = now_ms;
	OPENSSL_cleanse(&fresh, sizeof(fresh));
}

static void pick_sealing(struct tls_ticket_ring *ring, uint64_t now_ms, struct ticket_key *ret_key)
{
	(void)pthread_mutex_lock(&ring->lock);
	rotate_if_due(ring, now_ms);
	*ret_key = ring->keys[0];
	(void)pthread_mutex_unlock(&ring->lock);
}

/* Which generation, or -1. */
static int pick_opening(struct tls_ticket_ring *ring, uint64_t now_ms, const unsigned char *name,
			struct ticket_key *ret_key)
{
	int found = -1;

	(void)pthread_mutex_lock(&ring->lock);
	rotate_if_due(ring, now_ms);
	for (unsigned int i = 0; i < ring->count; i++) {
		if (CRYPTO_memcmp(ring->keys[i].name, name, NAME_BYTES) != 0)
			continue;
		*ret_key = ring->keys[i];
		found = (int)i;
		break;
	}
	(void)pthread_mutex_unlock(&ring->lock);
	return found;
}

static bool set_mac(EVP_MAC_CTX *mac, struct ticket_key *key)
{
	char digest[] = "SHA256";
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key->mac, sizeof(key->mac)),
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
		OSSL_PARAM_construct_end(),
	};

	return EVP_MAC_CTX_set_params(mac, params) == 1;
}

int tls_tickets_use_at(struct tls_tickets *tickets, const struct tls_library *library, bool tls13,
		       unsigned char *key_name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
		       EVP_MAC_CTX *mac, int sealing, uint64_t now_ms)
{
	struct ticket_key key;
	int generation = 0, ok;

	if (sealing) {
		pick_sealing(tickets->ring, now_ms, &key);
		memcpy(key_name, key.name, NAME_BYTES);
		if (RAND_bytes_ex(library->ctx, iv, EVP_MAX_IV_LENGTH, 0) != 1)
			return -1;
	} else {
		generation = pick_opening(tickets->ring, now_ms, key_name, &key);
		if (generation < 0)
			return 0; /* a whole handshake then, and a new ticket */
	}
	ok = EVP_CipherInit_ex(cipher, library->ticket_cipher, NULL, key.aes, iv, sealing) == 1 &&
	     set_mac(mac, &key);
	OPENSSL_cleanse(&key, sizeof(key));
	if (!ok)
		return -1;
	/*
	 * 2: the client gets a new ticket. Under TLS 1.3 each time, since a client that uses a
	 * ticket once (RFC 8446 C.4) would have none for its next connection.
	 */
	return sealing || (!generation && !tls13) ? 1 : 2;
}

int tls_tickets_use(struct tls_tickets *tickets, const struct tls_library *library, SSL *ssl,
		    unsigned char *key_name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
		    EVP_MAC_CTX *mac, int sealing)
{
	return tls_tickets_use_at(tickets, library, SSL_version(ssl) == TLS1_3_VERSION, key_name,
				  iv, cipher, mac, sealing, clock_mono_ms());
}

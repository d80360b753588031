/*
 * tls_test: a certificate made in memory, and the client that the tests of tls_stream talk with:
 * OpenSSL over memory BIOs, carried to and from a socket by hand, so that a test decides in what
 * pieces the bytes travel.
 */
#ifndef SLUICE_TESTS_TLS_TEST_H
#define SLUICE_TESTS_TLS_TEST_H

#include "io/io_test.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "tls/tls_stream.h"

SSL_CTX *tls_test_server_context(void); /* ECDSA, tickets on; SSL_CTX_free() it */
SSL_CTX *tls_test_client_context(void);

struct tls_client {
	int fd;
	SSL *ssl;
	BIO *to_ssl, *from_ssl;
	size_t piece_bytes; /* at most so many at a time; 0: all */
	bool ended;	    /* the server's end of stream */
};

void tls_client_init(struct tls_client *client, SSL_CTX *context, int fd);
void tls_client_done(struct tls_client *client);
/* One step each way. */
void tls_client_carry(struct tls_client *client);

/* A server's peer with TLS. */
struct tls_peer {
	struct peer peer; /* first */
	unsigned int secured_calls;
	int secured_result;
	void (*then_secured)(struct tls_peer *server);
};

extern const struct stream_ops *const tls_test_peer_ops;
void tls_peer_adopt(struct loop *loop, struct tls_worker *worker, struct tls_peer *server, int fd,
		    SSL_CTX *context);

/* Both sides until the handshake is over. */
void tls_test_handshake(struct loop *loop, struct tls_peer *server, struct tls_client *client);

/* What the tests of a program share: group setup and teardown. */
extern struct tls_test {
	SSL_CTX *server_context, *client_context;
	struct tls_worker *worker;
} tls_test;
int tls_test_setup(void **state);
int tls_test_teardown(void **state);

/* A pair that is not secured yet; one that is, receiving; and its end. */
void begin(struct loop *loop, struct tls_peer *server, struct tls_client *client, int version);
void secure(struct loop *loop, struct tls_peer *server, struct tls_client *client, int version);
void finish(struct loop *loop, struct tls_peer *server, struct tls_client *client);
/* Turns until nothing of the past is left. */
void settle(struct loop *loop, struct tls_client *client);
void client_write(struct tls_client *client, const void *data, size_t len);
/* So many bytes; carries until all are there. */
void client_read(struct loop *loop, struct tls_client *client, char *room, size_t len);

/* Turns the loop and carries the client's bytes until the condition holds. */
#define carry_until(loop, client, condition)                                                       \
	do {                                                                                       \
		uint64_t stop_ms = clock_mono_ms() + DEADLINE_MS;                                  \
                                                                                                   \
		while (!(condition)) {                                                             \
			tls_client_carry(client);                                                  \
			assert_int_equal(loop_run_once(loop, 0), 0);                               \
			if (clock_mono_ms() > stop_ms)                                             \
				fail_msg("waited in vain for: %s", #condition);                    \
		}                                                                                  \
	} while (0)

#endif

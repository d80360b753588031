/*
 * client_fixture: authorities and certificates made in memory, a client of tls_client, and a server
 * of plain OpenSSL on the other end of a pair of BIOs.
 */
#ifndef SLUICE_TESTS_CLIENT_FIXTURE_H
#define SLUICE_TESTS_CLIENT_FIXTURE_H

#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "tls/tls_client.h"

#define DAY	86400
#define WORKERS 2

struct identity {
	EVP_PKEY *key;
	X509 *certificate;
	struct str pem, key_pem; /* free() their ptr */
};

struct wanted {
	const char *name, *san, *usage;
	bool authority;
	int64_t until_s; /* from now; 0: a day */
};

/* issuer NULL: signs itself. */
void make_identity(struct identity *identity, const struct identity *issuer,
		   const struct wanted *wanted);
void identity_done(struct identity *identity);

/* Of all tests. `shop` is signed by `root`, `deep` by `middle`, which `root` has signed. */
extern struct made {
	struct identity root, other_root, middle, shop, deep, client, middle_client;
} made;
/* The group's setup and teardown. */
int make_all(void **state);
int free_all(void **state);

/* Trusts `root`. */
struct tls_client_settings settings_of(struct str name);
struct tls_client *client_of(const struct tls_client_settings *settings);
SSL_CTX *server_of(const struct identity *identity);

struct talk {
	SSL *client, *server;
	bool client_done, server_done;
};

/* Takes the client over. */
void talk_begin(struct talk *talk, SSL *client, SSL_CTX *server);
/* True: both are through. */
bool talk_run(struct talk *talk);
void talk_end(struct talk *talk);

#endif

#include "tls/client_fixture.h"

#include <stdlib.h>

#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "tls/tls_library.h"

#include "test_support.h"

struct made made;

/* ---- certificates ---- */

static void add_extension(X509 *certificate, X509 *issuer, int nid, const char *value)
{
	X509_EXTENSION *extension;
	X509V3_CTX ctx;

	if (!value)
		return;
	X509V3_set_ctx(&ctx, issuer, certificate, NULL, NULL, 0);
	extension = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	assert_non_null(extension);
	assert_int_equal(X509_add_ext(certificate, extension, -1), 1);
	X509_EXTENSION_free(extension);
}

static struct str take_text(BIO *bio)
{
	char *data, *copy;
	long len = BIO_get_mem_data(bio, &data);

	copy = malloc((size_t)len);
	assert_non_null(copy);
	memcpy(copy, data, (size_t)len);
	BIO_free(bio);
	return str_make(copy, (size_t)len);
}

void make_identity(struct identity *identity, const struct identity *issuer,
		   const struct wanted *wanted)
{
	static long serial;
	X509 *certificate = X509_new();
	const struct identity *by = issuer ? issuer : identity;
	X509_NAME *name;
	BIO *bio;

	assert_non_null(certificate);
	identity->key = EVP_EC_gen("P-256");
	identity->certificate = certificate;
	assert_non_null(identity->key);
	assert_true(X509_set_version(certificate, 2));
	assert_true(ASN1_INTEGER_set(X509_get_serialNumber(certificate), ++serial));
	assert_non_null(X509_gmtime_adj(X509_getm_notBefore(certificate), -2L * DAY));
	assert_non_null(X509_gmtime_adj(X509_getm_notAfter(certificate),
					wanted->until_s ? wanted->until_s : DAY));
	assert_true(X509_set_pubkey(certificate, identity->key));
	name = X509_get_subject_name(certificate);
	assert_true(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8,
					       (const unsigned char *)wanted->name, -1, -1, 0));
	assert_true(X509_set_issuer_name(certificate, X509_get_subject_name(by->certificate)));
	add_extension(certificate, by->certificate, NID_basic_constraints,
		      wanted->authority ? "critical,CA:TRUE" : "critical,CA:FALSE");
	add_extension(certificate, by->certificate, NID_subject_alt_name, wanted->san);
	add_extension(certificate, by->certificate, NID_ext_key_usage, wanted->usage);
	assert_true(X509_sign(certificate, by->key, EVP_sha256()));
	bio = BIO_new(BIO_s_mem());
	assert_int_equal(PEM_write_bio_X509(bio, certificate), 1);
	identity->pem = take_text(bio);
	bio = BIO_new(BIO_s_mem());
	assert_int_equal(PEM_write_bio_PrivateKey(bio, identity->key, NULL, NULL, 0, NULL, NULL),
			 1);
	identity->key_pem = take_text(bio);
}

void identity_done(struct identity *identity)
{
	EVP_PKEY_free(identity->key);
	X509_free(identity->certificate);
	free((char *)identity->pem.ptr);
	free((char *)identity->key_pem.ptr);
}

int make_all(void **state)
{
	make_identity(&made.root, NULL, &(struct wanted){.name = "root", .authority = true});
	make_identity(&made.other_root, NULL, &(struct wanted){.name = "other", .authority = true});
	make_identity(&made.middle, &made.root,
		      &(struct wanted){.name = "middle", .authority = true});
	make_identity(&made.shop, &made.root,
		      &(struct wanted){.name = "ignored.example", .san = "DNS:shop.example"});
	make_identity(&made.deep, &made.middle,
		      &(struct wanted){.name = "deep", .san = "DNS:shop.example"});
	make_identity(&made.client, &made.root,
		      &(struct wanted){.name = "node", .usage = "clientAuth"});
	make_identity(&made.middle_client, &made.middle,
		      &(struct wanted){.name = "node", .usage = "clientAuth"});
	return 0;
}

int free_all(void **state)
{
	identity_done(&made.root);
	identity_done(&made.other_root);
	identity_done(&made.middle);
	identity_done(&made.shop);
	identity_done(&made.deep);
	identity_done(&made.client);
	identity_done(&made.middle_client);
	tls_library_end();
	return 0;
}

/* ---- both ends ---- */

struct tls_client_settings settings_of(struct str name)
{
	return (struct tls_client_settings){
		.server_name = name,
		.ca_pem = made.root.pem,
		.min_version = TLS1_2_VERSION,
		.http11 = true,
	};
}

struct tls_client *client_of(const struct tls_client_settings *settings)
{
	struct tls_client *client = NULL;
	struct error err = {0};

	if (tls_client_new(settings, &client, &err) || tls_client_prepare(client, WORKERS, &err))
		fail_msg("%s", err.text);
	return client;
}

SSL_CTX *server_of(const struct identity *identity)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());

	assert_non_null(ctx);
	assert_int_equal(SSL_CTX_use_certificate(ctx, identity->certificate), 1);
	assert_int_equal(SSL_CTX_use_PrivateKey(ctx, identity->key), 1);
	assert_int_equal(SSL_CTX_set_session_id_context(ctx, (const unsigned char *)"s", 1), 1);
	SSL_CTX_set_num_tickets(ctx, 1);
	return ctx;
}

void talk_begin(struct talk *talk, SSL *client, SSL_CTX *server)
{
	BIO *left, *right;

	assert_non_null(client);
	assert_int_equal(BIO_new_bio_pair(&left, 1 << 16, &right, 1 << 16), 1);
	*talk = (struct talk){.client = client, .server = SSL_new(server)};
	SSL_set_bio(client, left, left);
	SSL_set_bio(talk->server, right, right);
	SSL_set_accept_state(talk->server);
}

static bool step(SSL *ssl, bool *done)
{
	int r = SSL_do_handshake(ssl);

	*done = r == 1;
	return r == 1 || SSL_get_error(ssl, r) == SSL_ERROR_WANT_READ;
}

bool talk_run(struct talk *talk)
{
	char byte;

	for (int turn = 0; turn < 10; turn++) {
		ERR_clear_error();
		if (!step(talk->client, &talk->client_done) ||
		    !step(talk->server, &talk->server_done))
			break;
	}
	ERR_clear_error();
	/* Tickets of TLS 1.3 come as if they were data; so does a refused client certificate. */
	if (talk->client_done) {
		int got = SSL_read(talk->client, &byte, 1);

		if (SSL_get_error(talk->client, got) != SSL_ERROR_WANT_READ)
			talk->client_done = false;
		ERR_clear_error();
	}
	return talk->client_done && talk->server_done;
}

void talk_end(struct talk *talk)
{
	if (talk->client_done)
		(void)SSL_shutdown(talk->client);
	SSL_free(talk->client);
	SSL_free(talk->server);
	ERR_clear_error();
}

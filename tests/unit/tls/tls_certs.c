#include "tls/tls_certs.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

#define DAY_S 86400

static EVP_PKEY *make_key(enum test_key kind)
{
	static EVP_PKEY *rsa; /* slow to make: one for all */

	if (kind == TEST_EC)
		return EVP_EC_gen("P-256");
	if (kind == TEST_ED)
		return EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	if (!rsa)
		rsa = EVP_RSA_gen(2048);
	assert_true(EVP_PKEY_up_ref(rsa));
	return rsa;
}

static void add_extension(X509 *certificate, int nid, const char *value)
{
	X509_EXTENSION *extension;

	if (!value)
		return;
	extension = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
	assert_non_null(extension);
	assert_true(X509_add_ext(certificate, extension, -1));
	X509_EXTENSION_free(extension);
}

static char *bio_text(BIO *bio)
{
	char *data = NULL, *text;
	long len = BIO_get_mem_data(bio, &data);

	text = malloc((size_t)len + 1);
	assert_non_null(text);
	memcpy(text, data, (size_t)len);
	text[len] = '\0';
	BIO_free(bio);
	return text;
}

void test_cert_make(struct test_cert *cert, const struct test_cert_want *want)
{
	const struct test_cert *issuer = want->issuer ? want->issuer : cert;
	int days = want->days ? want->days : 10;
	BIO *bio = BIO_new(BIO_s_mem());
	X509_NAME *name;

	cert->key = make_key(want->key);
	cert->x509 = X509_new();
	assert_true(cert->key && cert->x509 && bio);
	assert_true(X509_set_version(cert->x509, 2));
	assert_true(ASN1_INTEGER_set(X509_get_serialNumber(cert->x509),
				     want->serial ? want->serial : 1));
	assert_non_null(X509_gmtime_adj(X509_getm_notBefore(cert->x509), -20 * DAY_S));
	assert_non_null(X509_gmtime_adj(X509_getm_notAfter(cert->x509), (long)days * DAY_S));
	assert_true(X509_set_pubkey(cert->x509, cert->key));
	name = X509_get_subject_name(cert->x509);
	assert_true(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
					       (const unsigned char *)want->name, -1, -1, 0));
	assert_true(X509_set_issuer_name(cert->x509, X509_get_subject_name(issuer->x509)));
	add_extension(cert->x509, NID_basic_constraints,
		      want->is_ca ? "critical,CA:TRUE" : "critical,CA:FALSE");
	add_extension(cert->x509, NID_subject_alt_name, want->san);
	add_extension(cert->x509, NID_ext_key_usage, want->usage);
	assert_true(X509_sign(
		cert->x509, issuer->key,
		EVP_PKEY_get_base_id(issuer->key) == EVP_PKEY_ED25519 ? NULL : EVP_sha256()));
	assert_true(PEM_write_bio_X509(bio, cert->x509));
	cert->pem = bio_text(bio);
	bio = BIO_new(BIO_s_mem());
	assert_true(PEM_write_bio_PrivateKey(bio, cert->key, NULL, NULL, 0, NULL, NULL));
	cert->key_pem = bio_text(bio);
}

void test_cert_done(struct test_cert *cert)
{
	EVP_PKEY_free(cert->key);
	X509_free(cert->x509);
	free(cert->pem);
	free(cert->key_pem);
	memset(cert, 0, sizeof(*cert));
}

char *test_crl_make(const struct test_cert *issuer, long revoked_serial)
{
	X509_CRL *list = X509_CRL_new();
	X509_REVOKED *revoked = X509_REVOKED_new();
	ASN1_INTEGER *serial = ASN1_INTEGER_new();
	ASN1_TIME *now = ASN1_TIME_adj(NULL, time(NULL), 0, -60);
	ASN1_TIME *then = ASN1_TIME_adj(NULL, time(NULL), 1, 0);
	BIO *bio = BIO_new(BIO_s_mem());

	assert_true(list && revoked && serial && now && then && bio);
	assert_true(X509_CRL_set_version(list, 1));
	assert_true(X509_CRL_set_issuer_name(list, X509_get_subject_name(issuer->x509)));
	assert_true(X509_CRL_set1_lastUpdate(list, now));
	assert_true(X509_CRL_set1_nextUpdate(list, then));
	assert_true(ASN1_INTEGER_set(serial, revoked_serial));
	assert_true(X509_REVOKED_set_serialNumber(revoked, serial));
	assert_true(X509_REVOKED_set_revocationDate(revoked, now));
	assert_true(X509_CRL_add0_revoked(list, revoked));
	assert_true(X509_CRL_sign(list, issuer->key, EVP_sha256()));
	assert_true(PEM_write_bio_X509_CRL(bio, list));
	X509_CRL_free(list);
	ASN1_INTEGER_free(serial);
	ASN1_TIME_free(now);
	ASN1_TIME_free(then);
	return bio_text(bio);
}

/* ---- handshakes ---- */

static int keep_session(SSL *ssl, SSL_SESSION *session)
{
	struct test_pair *pair = SSL_get_app_data(ssl);

	SSL_SESSION_free(pair->session);
	pair->session = session;
	return 1;
}

static void make_client(struct test_pair *pair, const struct test_client_want *want)
{
	pair->client_ctx = SSL_CTX_new(TLS_client_method());
	assert_non_null(pair->client_ctx);
	SSL_CTX_set_session_cache_mode(pair->client_ctx,
				       SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(pair->client_ctx, keep_session);
	SSL_CTX_set_security_level(pair->client_ctx, 0);
	if (want->version) {
		SSL_CTX_set_min_proto_version(pair->client_ctx, want->version);
		SSL_CTX_set_max_proto_version(pair->client_ctx, want->version);
	}
	if (want->ciphers)
		assert_true(SSL_CTX_set_cipher_list(pair->client_ctx, want->ciphers));
	if (want->sigalgs)
		assert_true(SSL_CTX_set1_sigalgs_list(pair->client_ctx, want->sigalgs));
	if (want->alpn)
		assert_int_equal(SSL_CTX_set_alpn_protos(pair->client_ctx,
							 (const unsigned char *)want->alpn,
							 (unsigned int)strlen(want->alpn)),
				 0);
	if (want->cert) {
		assert_true(SSL_CTX_use_certificate(pair->client_ctx, want->cert->x509));
		assert_true(SSL_CTX_use_PrivateKey(pair->client_ctx, want->cert->key));
	}
	pair->client = SSL_new(pair->client_ctx);
	assert_non_null(pair->client);
	SSL_set_app_data(pair->client, pair);
	SSL_set_connect_state(pair->client);
	if (want->sni)
		assert_true(SSL_set_tlsext_host_name(pair->client, want->sni));
	if (want->session)
		assert_true(SSL_set_session(pair->client, want->session));
	if (want->ocsp)
		assert_true(SSL_set_tlsext_status_type(pair->client, TLSEXT_STATUSTYPE_ocsp));
}

void test_pair_run(struct test_pair *pair, struct tls_server *server, unsigned int worker,
		   const struct test_client_want *want)
{
	BIO *server_bio, *client_bio;
	char byte;

	memset(pair, 0, sizeof(*pair));
	make_client(pair, want);
	pair->server = tls_server_new_ssl(server, worker);
	assert_non_null(pair->server);
	assert_int_equal(BIO_new_bio_pair(&server_bio, 65536, &client_bio, 65536), 1);
	SSL_set_bio(pair->server, server_bio, server_bio);
	SSL_set_bio(pair->client, client_bio, client_bio);
	for (int i = 0; i < 10; i++) {
		int client_done = SSL_do_handshake(pair->client);
		int server_done = SSL_do_handshake(pair->server);

		if (client_done == 1 && server_done == 1) {
			pair->done = true;
			break;
		}
	}
	if (!pair->done)
		return;
	/* The client's last word may still be refused, and tickets come with the first data. */
	pair->done = SSL_write(pair->client, "x", 1) == 1 &&
		     SSL_read(pair->server, &byte, 1) == 1 &&
		     SSL_write(pair->server, "y", 1) == 1 && SSL_read(pair->client, &byte, 1) == 1;
}

void test_pair_done(struct test_pair *pair)
{
	SSL_SESSION_free(pair->session);
	/* One that ends without saying so must not be resumed, says OpenSSL. */
	if (pair->client)
		SSL_set_shutdown(pair->client, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
	SSL_free(pair->server);
	SSL_free(pair->client);
	SSL_CTX_free(pair->client_ctx);
	memset(pair, 0, sizeof(*pair));
}

void test_pair_shown(const struct test_pair *pair, char *name, size_t name_len)
{
	const X509 *shown = SSL_get0_peer_certificate(pair->client);

	assert_non_null(shown);
	assert_true(X509_NAME_get_text_by_NID(X509_get_subject_name(shown), NID_commonName, name,
					      (int)name_len) > 0);
}

/* One SSL_CTX: what Sluice allows of TLS, and the certificates of one tuple. */
#include <errno.h>
#include <time.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509_vfy.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "tls/tls_ktls.h"
#include "tls/tls_server.h"

/* TLS 1.2 with forward secrecy and AEAD only (HARDENING 30); those of 1.3 are all that. */
#define CIPHERS_DEFAULT                                                                            \
	"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"                               \
	"ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"                               \
	"ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
#define SUITES_13 "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
#define GROUPS	  "X25519:P-256:P-384"

DEFINE_FREEP(BIO, BIO_free_all)
DEFINE_FREEP(EVP_PKEY, EVP_PKEY_free)
DEFINE_FREEP(SSL_CTX, SSL_CTX_free)
DEFINE_FREEP(X509, X509_free)
DEFINE_FREEP(X509_CRL, X509_CRL_free)

static int fail(struct error *err, const char *what)
{
	return error_set(err, -EINVAL, "%s: %s", what, tls_library_reason("out of memory"));
}

/* ---- what the handshake asks ---- */

static int on_server_name(SSL *ssl, int *alert, void *arg)
{
	const struct tls_context *first = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
	const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
	unsigned int tuple;

	if (!name)
		return SSL_TLSEXT_ERR_NOACK;
	tuple = tls_names_find(first->set, str_from_cstr(name));
	/* A worker's contexts lie behind each other. */
	if (tuple != first->tuple &&
	    !SSL_set_SSL_CTX(ssl, (first + (ptrdiff_t)tuple - (ptrdiff_t)first->tuple)->ctx)) {
		*alert = SSL_AD_INTERNAL_ERROR;
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	}
	return SSL_TLSEXT_ERR_OK;
}

/* Ours in our order; nothing in common is the end (RFC 7301 3.2). */
static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
		   const unsigned char *in, unsigned int in_len, void *arg)
{
	const struct tls_set *set = arg;
	unsigned char protocols[12], len = 0;

	if (set->h2) {
		memcpy(protocols, "\x02h2", 3);
		len = 3;
	}
	if (set->http11) {
		memcpy(protocols + len, "\x08http/1.1", 9);
		len += 9;
	}
	if (SSL_select_next_proto((unsigned char **)out, out_len, protocols, len, in, in_len) !=
	    OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	/* The result may lie in `protocols`, which ends here. */
	*out = (const unsigned char *)(*out_len == 2 ? "h2" : "http/1.1");
	return SSL_TLSEXT_ERR_OK;
}

static int on_status(SSL *ssl, void *arg)
{
	const struct tls_context *context = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
	const struct tls_set *set = context->set;
	const X509 *chosen = SSL_get_certificate(ssl);

	for (unsigned int kind = 0; kind < TLS_KEY_KINDS; kind++) {
		const struct tls_identity *identity;
		unsigned char *copy;

		if (!chosen || context->leaves[kind] != chosen)
			continue;
		identity = set->identities[set->tuples[context->tuple].identities[kind]];
		if (!identity->ocsp_len || identity->ocsp_until < (int64_t)time(NULL))
			return SSL_TLSEXT_ERR_NOACK;
		copy = OPENSSL_memdup(identity->ocsp, identity->ocsp_len);
		if (!copy)
			return SSL_TLSEXT_ERR_NOACK;
		SSL_set_tlsext_status_ocsp_resp(ssl, copy, (long)identity->ocsp_len);
		return SSL_TLSEXT_ERR_OK;
	}
	return SSL_TLSEXT_ERR_NOACK;
}

static int on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
		     EVP_MAC_CTX *mac, int sealing)
{
	const struct tls_context *context = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
	const struct tls_set *set = context->set;
	unsigned int worker = (unsigned int)(context - set->contexts) / set->tuple_count;

	return tls_tickets_use(set->tickets, set->libraries[worker], ssl, name, iv, cipher, mac,
			       sealing);
}

/* ---- making ---- */

static int set_ciphers(const struct tls_server *server, SSL_CTX *ctx, struct error *err)
{
	STACK_OF(SSL_CIPHER) * ciphers;

	if (SSL_CTX_set_cipher_list(ctx, server->ciphers ? server->ciphers : CIPHERS_DEFAULT) != 1)
		return fail(err, "ciphers");
	if (SSL_CTX_set_ciphersuites(ctx, SUITES_13) != 1)
		return fail(err, "cipher suites");
	ciphers = SSL_CTX_get_ciphers(ctx);
	for (int i = 0; i < sk_SSL_CIPHER_num(ciphers); i++) {
		const SSL_CIPHER *cipher = sk_SSL_CIPHER_value(ciphers, i);
		int exchange = SSL_CIPHER_get_kx_nid(cipher);

		if (SSL_CIPHER_is_aead(cipher) &&
		    (exchange == NID_kx_ecdhe || exchange == NID_kx_any))
			continue;
		return error_set(err, -EINVAL,
				 "ciphers: %s is not offered: only ECDHE with AES-GCM, AES-CCM or "
				 "ChaCha20-Poly1305 is",
				 SSL_CIPHER_get_name(cipher));
	}
	if (SSL_CTX_set1_groups_list(ctx, GROUPS) != 1)
		return fail(err, "groups");
	return 0;
}

/* Where the kernel is required, a client must not be able to choose what it does not know. */
static int set_ktls(const struct tls_server *server, SSL_CTX *ctx, struct error *err)
{
	STACK_OF(SSL_CIPHER) *ciphers = SSL_CTX_get_ciphers(ctx);

	if (!server->ktls)
		return 0;
	(void)SSL_CTX_set_options(ctx, SSL_OP_ENABLE_KTLS);
	for (int i = 0; server->ktls_required && i < sk_SSL_CIPHER_num(ciphers); i++) {
		const SSL_CIPHER *cipher = sk_SSL_CIPHER_value(ciphers, i);

		if (SSL_CIPHER_get_protocol_id(cipher) >> 8 != 0x13 &&
		    server->min_version == TLS1_3_VERSION)
			continue;
		if (!tls_ktls_has(tls_ktls_support(), cipher))
			return error_set(err, -EINVAL,
					 "ktls: required, but the kernel does not encrypt with %s",
					 SSL_CIPHER_get_name(cipher));
	}
	return 0;
}

static int add_identity(const struct tls_identity *identity, const struct tls_library *library,
			SSL_CTX *ctx, X509 **ret_leaf, struct error *err)
{
	_cleanup_(BIO_free_allp)
	BIO *bio = BIO_new_mem_buf(identity->chain_pem, (int)identity->chain_len);
	_cleanup_(X509_freep)
	X509 *leaf = NULL;
	_cleanup_(EVP_PKEY_freep)
	EVP_PKEY *key = NULL;
	X509 *next;

	if (bio)
		leaf = tls_read_certificate(bio, library->ctx);
	if (!leaf || SSL_CTX_use_certificate(ctx, leaf) != 1)
		return fail(err, "certificate");
	*ret_leaf = leaf;
	while ((next = tls_read_certificate(bio, library->ctx))) {
		if (SSL_CTX_add0_chain_cert(ctx, next) != 1) {
			X509_free(next);
			return fail(err, "chain");
		}
	}
	/* The end of the text is an error to OpenSSL. */
	if (ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
		return fail(err, "chain");
	ERR_clear_error();
	key = tls_read_key(identity->key_pem, identity->key_len, library->ctx, err);
	if (!key)
		return -EINVAL;
	if (SSL_CTX_use_PrivateKey(ctx, key) != 1)
		return fail(err, "key");
	return 0;
}

static int set_certificates(const struct tls_library *library, struct tls_context *context,
			    struct error *err)
{
	const struct tls_set *set = context->set;

	for (unsigned int kind = 0; kind < TLS_KEY_KINDS; kind++) {
		unsigned int identity = set->tuples[context->tuple].identities[kind];
		int r;

		if (identity == TLS_NO_IDENTITY)
			continue;
		r = add_identity(set->identities[identity], library, context->ctx,
				 &context->leaves[kind], err);
		if (r)
			return r;
	}
	return 0;
}

/* ---- client certificates ---- */

static int load_authorities(const struct tls_server *server, const struct tls_library *library,
			    SSL_CTX *ctx, struct error *err)
{
	_cleanup_(BIO_free_allp)
	BIO *bio = BIO_new_mem_buf(server->ca_pem, (int)server->ca_len);
	X509_STORE *store = SSL_CTX_get_cert_store(ctx);
	unsigned int count = 0;

	while (bio) {
		_cleanup_(X509_freep)
		X509 *authority = tls_read_certificate(bio, library->ctx);

		if (!authority)
			break;
		if (X509_STORE_add_cert(store, authority) != 1 ||
		    SSL_CTX_add_client_CA(ctx, authority) != 1)
			return fail(err, "client_auth: ca");
		count++;
	}
	if (!count || ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
		return fail(err, "client_auth: ca");
	ERR_clear_error();
	return 0;
}

static int load_revoked(const struct tls_server *server, SSL_CTX *ctx, struct error *err)
{
	_cleanup_(BIO_free_allp)
	BIO *bio = BIO_new_mem_buf(server->crl_pem, (int)server->crl_len);
	X509_STORE *store = SSL_CTX_get_cert_store(ctx);
	unsigned int count = 0;

	while (bio) {
		_cleanup_(X509_CRL_freep)
		X509_CRL *list = PEM_read_bio_X509_CRL(bio, NULL, NULL, NULL);

		if (!list)
			break;
		if (X509_STORE_add_crl(store, list) != 1)
			return fail(err, "client_auth: crl");
		count++;
	}
	if (!count || ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
		return fail(err, "client_auth: crl");
	ERR_clear_error();
	if (X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL) != 1)
		return fail(err, "client_auth: crl");
	return 0;
}

static int set_client_auth(const struct tls_server *server, const struct tls_library *library,
			   SSL_CTX *ctx, struct error *err)
{
	int mode = SSL_VERIFY_PEER, r;

	if (server->client_auth == TLS_CLIENT_AUTH_OFF)
		return 0;
	if (server->client_auth == TLS_CLIENT_AUTH_REQUIRE)
		mode |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
	r = load_authorities(server, library, ctx, err);
	if (!r && server->crl_pem)
		r = load_revoked(server, ctx, err);
	if (r)
		return r;
	SSL_CTX_set_verify(ctx, mode, NULL);
	SSL_CTX_set_verify_depth(ctx, (int)server->depth);
	return 0;
}

/* ---- the whole ---- */

static int set_resumption(const struct tls_server *server, const struct tls_set *set, SSL_CTX *ctx,
			  struct error *err)
{
	(void)SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	(void)SSL_CTX_set_timeout(ctx, server->session_seconds);
	if (SSL_CTX_set_session_id_context(ctx, server->session_context,
					   sizeof(server->session_context)) != 1)
		return fail(err, "session");
	if (!server->tickets_on) {
		(void)SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
		return SSL_CTX_set_num_tickets(ctx, 0) == 1 ? 0 : fail(err, "tickets");
	}
	if (SSL_CTX_set_num_tickets(ctx, 1) != 1 ||
	    (set->tickets && SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, on_ticket) != 1))
		return fail(err, "tickets");
	return 0;
}

int tls_context_make(const struct tls_server *server, const struct tls_set *set,
		     const struct tls_library *library, unsigned int tuple,
		     struct tls_context *ret_context, struct error *err)
{
	_cleanup_(SSL_CTX_freep)
	SSL_CTX *ctx = SSL_CTX_new_ex(library->ctx, NULL, TLS_server_method());
	struct tls_context context = {.ctx = ctx, .set = set, .tuple = tuple};
	int r;

	if (!ctx || SSL_CTX_set_min_proto_version(ctx, server->min_version) != 1)
		return fail(err, "context");
	(void)SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
					       SSL_OP_CIPHER_SERVER_PREFERENCE |
					       SSL_OP_PRIORITIZE_CHACHA);
	(void)SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
	(void)SSL_CTX_set_max_early_data(ctx, 0);
	SSL_CTX_set_read_ahead(ctx, 0);
	if (SSL_CTX_set_app_data(ctx, ret_context) != 1)
		return fail(err, "context");
	(void)SSL_CTX_set_tlsext_servername_callback(ctx, on_server_name);
	(void)SSL_CTX_set_tlsext_status_cb(ctx, on_status);
	SSL_CTX_set_alpn_select_cb(ctx, on_alpn, (void *)set);
	r = set_ciphers(server, ctx, err);
	if (!r)
		r = set_ktls(server, ctx, err);
	if (!r)
		r = set_certificates(library, &context, err);
	if (!r)
		r = set_client_auth(server, library, ctx, err);
	if (!r)
		r = set_resumption(server, set, ctx, err);
	if (r)
		return r;
	(void)TAKE_PTR(ctx);
	*ret_context = context;
	return 0;
}

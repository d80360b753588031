#include "tls/tls_client.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "base/addr.h"
#include "base/arena.h"
#include "base/cleanup.h"
#include "base/util.h"
#include "tls/tls_identity.h"
#include "tls/tls_library.h"
#include "tls/tls_sessions.h"

#define PEM_BYTES_MAX  (4u << 20) /* all authorities of a system are about 220 KB */
#define LIST_BYTES_MAX (64u << 20)
#define NAME_BYTES_MAX 253
#define URI_BYTES_MAX  2048
#define QUOTE_MAX      96

/* TLS 1.2 with forward secrecy and AEAD only (HARDENING 30), as what we offer clients. */
#define CIPHERS                                                                                    \
	"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"                               \
	"ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"                               \
	"ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
#define SUITES_13 "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
#define GROUPS	  "X25519:P-256:P-384"

DEFINE_FREEP(BIO, BIO_free_all)
DEFINE_FREEP(EVP_MD_CTX, EVP_MD_CTX_free)
DEFINE_FREEP(EVP_PKEY, EVP_PKEY_free)
DEFINE_FREEP(GENERAL_NAMES, GENERAL_NAMES_free)
DEFINE_FREEP(SSL_CTX, SSL_CTX_free)
DEFINE_FREEP(X509, X509_free)
DEFINE_FREEP(X509_CRL, X509_CRL_free)
DEFINE_FREEP(struct tls_client, tls_client_unref)

struct expected {
	enum tls_san_type type;
	struct str value;
	struct ip_addr addr;
};

struct tls_client {
	atomic_uint refs;
	struct arena arena; /* of the texts */
	struct str sni;	    /* ptr NULL: none is sent */
	struct expected *expected;
	unsigned int expected_count;
	bool insecure, http11, h2;
	int min_version;
	struct str ca_pem, crl_pem, chain_pem;
	char *key_pem; /* outside the arena, which nobody wipes; NULL: none */
	size_t key_len;
	unsigned char digest[TLS_DIGEST_BYTES];
	SSL_CTX **contexts; /* of the workers */
	unsigned int context_count;
};

/* ---- what an SSL knows ---- */

static struct {
	pthread_once_t once;
	int client, sessions;
} slots = {PTHREAD_ONCE_INIT, -1, -1};

static void slot_free_client(void *parent, void *ptr, CRYPTO_EX_DATA *data, int index, long argl,
			     void *argp)
{
	tls_client_unref(ptr);
}

static void slot_free_sessions(void *parent, void *ptr, CRYPTO_EX_DATA *data, int index, long argl,
			       void *argp)
{
	tls_sessions_unref(ptr);
}

static void slots_make(void)
{
	slots.client = SSL_get_ex_new_index(0, NULL, NULL, NULL, slot_free_client);
	slots.sessions = SSL_get_ex_new_index(0, NULL, NULL, NULL, slot_free_sessions);
}

/* ---- is it the server that is expected? ---- */

static bool has_uri(X509 *leaf, struct str uri)
{
	_cleanup_(GENERAL_NAMES_freep)
	GENERAL_NAMES *names = X509_get_ext_d2i(leaf, NID_subject_alt_name, NULL, NULL);

	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
		const ASN1_STRING *value = name->d.uniformResourceIdentifier;

		if (name->type == GEN_URI &&
		    str_eq(uri, str_make((const char *)ASN1_STRING_get0_data(value),
					 (size_t)ASN1_STRING_length(value))))
			return true;
	}
	return false;
}

static bool has_name(X509 *leaf, const struct expected *expected)
{
	switch (expected->type) {
	case TLS_SAN_DNS:
		return X509_check_host(leaf, expected->value.ptr, expected->value.len,
				       X509_CHECK_FLAG_NEVER_CHECK_SUBJECT |
					       X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS,
				       NULL) == 1;
	case TLS_SAN_IP:
		return X509_check_ip(leaf, expected->addr.bytes,
				     expected->addr.family == AF_INET ? 4 : 16, 0) == 1;
	case TLS_SAN_URI:
		return has_uri(leaf, expected->value);
	}
	return false;
}

/* Instead of X509_verify_cert(): the same, then the name. */
static int on_verify(X509_STORE_CTX *store, void *arg)
{
	const SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
	const struct tls_client *client = SSL_get_ex_data(ssl, slots.client);
	X509 *leaf = X509_STORE_CTX_get0_cert(store);
	int r;

	if (client->insecure)
		return 1;
	r = X509_verify_cert(store);
	if (r <= 0)
		return r;
	for (unsigned int i = 0; i < client->expected_count; i++)
		if (has_name(leaf, &client->expected[i]))
			return 1;
	X509_STORE_CTX_set_error(store, X509_V_ERR_HOSTNAME_MISMATCH);
	return 0;
}

const char *tls_client_refusal(const SSL *ssl)
{
	long result = SSL_get_verify_result(ssl);

	if (result == X509_V_OK || SSL_get_verify_mode(ssl) == SSL_VERIFY_NONE)
		return NULL;
	return X509_verify_cert_error_string(result);
}

/* ---- one context ---- */

static int fail(struct error *err, const char *what)
{
	unsigned long reason = ERR_peek_error();

	if (!reason || ERR_GET_REASON(reason) == ERR_R_MALLOC_FAILURE) {
		ERR_clear_error();
		return error_set(err, -ENOMEM, "out of memory");
	}
	return error_set(err, -EINVAL, "%s: %s", what, tls_library_reason(""));
}

/* After the last certificate of a text: was it the end, or one that cannot be read? */
static bool is_at_end(void)
{
	bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;

	if (at_end)
		ERR_clear_error();
	return at_end;
}

static int set_authorities(const struct tls_client *client, OSSL_LIB_CTX *library, SSL_CTX *ctx,
			   struct error *err)
{
	_cleanup_(BIO_free_allp)
	BIO *bio = BIO_new_mem_buf(client->ca_pem.ptr, (int)client->ca_pem.len);
	X509_STORE *store = SSL_CTX_get_cert_store(ctx);
	unsigned int count = 0;

	for (; bio; count++) {
		_cleanup_(X509_freep)
		X509 *authority = tls_read_certificate(bio, library);

		if (!authority)
			break;
		if (X509_STORE_add_cert(store, authority) != 1)
			return fail(err, "ca");
	}
	if (!bio || !is_at_end())
		return fail(err, "ca");
	if (!count)
		return error_set(err, -EINVAL, "ca: no certificate in PEM form");
	return X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN) == 1 ? 0 : fail(err, "ca");
}

/* Every certificate of a chain is looked up in the list of its issuer. */
static int set_revoked(const struct tls_client *client, SSL_CTX *ctx, struct error *err)
{
	_cleanup_(BIO_free_allp)
	BIO *bio = BIO_new_mem_buf(client->crl_pem.ptr, (int)client->crl_pem.len);
	X509_STORE *store = SSL_CTX_get_cert_store(ctx);
	unsigned int count = 0;

	for (; bio; count++) {
		_cleanup_(X509_CRL_freep)
		X509_CRL *list = PEM_read_bio_X509_CRL(bio, NULL, NULL, NULL);

		if (!list)
			break;
		if (X509_STORE_add_crl(store, list) != 1)
			return fail(err, "crl");
	}
	if (!bio || !is_at_end())
		return fail(err, "crl");
	if (!count)
		return error_set(err, -EINVAL, "crl: no list of revocations in PEM form");
	return X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL) == 1
		       ? 0
		       : fail(err, "crl");
}

static int set_chain(const struct tls_client *client, OSSL_LIB_CTX *library, SSL_CTX *ctx,
		     struct error *err)
{
	_cleanup_(BIO_free_allp)
	BIO *bio = BIO_new_mem_buf(client->chain_pem.ptr, (int)client->chain_pem.len);
	_cleanup_(X509_freep)
	X509 *leaf = bio ? tls_read_certificate(bio, library) : NULL;
	X509 *next;

	if (bio && !leaf && is_at_end())
		return error_set(err, -EINVAL, "client_cert: no certificate in PEM form");
	if (!leaf || SSL_CTX_use_certificate(ctx, leaf) != 1)
		return fail(err, "client_cert");
	if (X509_check_purpose(leaf, X509_PURPOSE_SSL_CLIENT, 0) != 1)
		return error_set(err, -EINVAL,
				 "client_cert: the certificate is not for a TLS client (extended "
				 "key usage)");
	while ((next = tls_read_certificate(bio, library))) {
		if (SSL_CTX_add0_chain_cert(ctx, next) != 1) {
			X509_free(next);
			return fail(err, "client_cert");
		}
	}
	return is_at_end() ? 0 : fail(err, "client_cert");
}

static int set_identity(const struct tls_client *client, OSSL_LIB_CTX *library, SSL_CTX *ctx,
			struct error *err)
{
	_cleanup_(EVP_PKEY_freep)
	EVP_PKEY *key = NULL;
	int r;

	if (!client->chain_pem.ptr)
		return 0;
	r = set_chain(client, library, ctx, err);
	if (r)
		return r;
	key = tls_read_key(client->key_pem, client->key_len, library, err);
	if (!key) {
		error_prefix(err, "client_cert");
		return error_is_set(err) ? err->code : -EINVAL;
	}
	if (X509_check_private_key(SSL_CTX_get0_certificate(ctx), key) != 1) {
		(void)tls_library_reason("");
		return error_set(err, -EINVAL,
				 "client_cert: the key is not that of the certificate");
	}
	return SSL_CTX_use_PrivateKey(ctx, key) == 1 ? 0 : fail(err, "client_cert");
}

static int on_new_session(SSL *ssl, SSL_SESSION *session)
{
	struct tls_sessions *sessions = SSL_get_ex_data(ssl, slots.sessions);
	const struct tls_client *client = SSL_get_ex_data(ssl, slots.client);

	return sessions && tls_sessions_put(sessions, client->digest, session, (int64_t)time(NULL));
}

static int set_protocols(const struct tls_client *client, SSL_CTX *ctx, struct error *err)
{
	unsigned char alpn[12];
	unsigned int len = 0;

	if (SSL_CTX_set_min_proto_version(ctx, client->min_version) != 1 ||
	    SSL_CTX_set_cipher_list(ctx, CIPHERS) != 1 ||
	    SSL_CTX_set_ciphersuites(ctx, SUITES_13) != 1 ||
	    SSL_CTX_set1_groups_list(ctx, GROUPS) != 1)
		return fail(err, "context");
	if (client->h2) {
		memcpy(alpn, "\x02h2", 3);
		len = 3;
	}
	if (client->http11) {
		memcpy(alpn + len, "\x08http/1.1", 9);
		len += 9;
	}
	/* Of all functions, this one returns 0 when it is well. */
	return !len || !SSL_CTX_set_alpn_protos(ctx, alpn, len) ? 0 : fail(err, "alpn");
}

static int context_make(const struct tls_client *client, OSSL_LIB_CTX *library, SSL_CTX **ret_ctx,
			struct error *err)
{
	_cleanup_(SSL_CTX_freep)
	SSL_CTX *ctx = SSL_CTX_new_ex(library, NULL, TLS_client_method());
	int r;

	if (!ctx)
		return fail(err, "context");
	(void)SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
	/* What is shown is what the file says, nothing that is found among the authorities. */
	(void)SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_NO_AUTO_CHAIN);
	SSL_CTX_set_read_ahead(ctx, 0);
	(void)SSL_CTX_set_session_cache_mode(ctx,
					     SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(ctx, on_new_session);
	SSL_CTX_set_verify(ctx, client->insecure ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_cert_verify_callback(ctx, on_verify, NULL);
	r = set_protocols(client, ctx, err);
	if (!r && !client->insecure)
		r = set_authorities(client, library, ctx, err);
	if (!r && client->crl_pem.ptr)
		r = set_revoked(client, ctx, err);
	if (!r)
		r = set_identity(client, library, ctx, err);
	if (!r)
		*ret_ctx = TAKE_PTR(ctx);
	return r;
}

/* ---- what is asked for ---- */

static int refuse_name(struct error *err, struct str value, const char *why)
{
	char quoted[QUOTE_MAX];

	return error_set(err, -EINVAL, "%s %s", str_quote(value, quoted, sizeof(quoted)), why);
}

static int check_dns(struct str name, struct error *err)
{
	/* A leading dot would be any name below it to OpenSSL, a star nothing. */
	if (!name.len || name.len > NAME_BYTES_MAX || name.ptr[0] == '.')
		return refuse_name(err, name, "is no name of a host");
	for (size_t i = 0; i < name.len; i++) {
		char byte = ascii_lower(name.ptr[i]);

		if ((byte < 'a' || byte > 'z') && (byte < '0' || byte > '9') && byte != '-' &&
		    byte != '.' && byte != '_')
			return refuse_name(err, name, "is no name of a host");
	}
	return 0;
}

static int check_uri(struct str uri, struct error *err)
{
	ptrdiff_t colon = str_find_byte(uri, ':');

	if (colon <= 0 || uri.len > URI_BYTES_MAX)
		return refuse_name(err, uri, "is no URI");
	for (size_t i = 0; i < uri.len; i++)
		if (uri.ptr[i] <= ' ' || uri.ptr[i] > '~')
			return refuse_name(err, uri, "is no URI");
	return 0;
}

static int expect(struct tls_client *client, enum tls_san_type type, struct str value,
		  struct error *err)
{
	struct expected *expected = &client->expected[client->expected_count];
	int r = 0;

	expected->type = type;
	if (type == TLS_SAN_IP && ip_addr_parse(value, &expected->addr))
		r = refuse_name(err, value, "is no IP address");
	else if (type == TLS_SAN_DNS)
		r = check_dns(value, err);
	else if (type == TLS_SAN_URI)
		r = check_uri(value, err);
	if (r)
		return r;
	expected->value = arena_copy(&client->arena, value);
	if (!expected->value.ptr)
		return error_set(err, -ENOMEM, "out of memory");
	client->expected_count++;
	return 0;
}

static int set_names(struct tls_client *client, const struct tls_client_settings *settings,
		     struct error *err)
{
	struct str name = settings->server_name;
	struct ip_addr addr;
	bool is_addr = name.ptr && !ip_addr_parse(name, &addr);
	int r = 0;

	if (settings->san_count > TLS_SANS_MAX)
		return error_set(err, -EINVAL, "san: more than %d names", TLS_SANS_MAX);
	if (!settings->insecure && !name.ptr && !settings->san_count)
		return error_set(err, -EINVAL,
				 "needs 'server_name' or 'san': the names that the server's "
				 "certificate may have");
	client->expected =
		arena_new_array(&client->arena, struct expected, settings->san_count + 1);
	if (!client->expected)
		return error_set(err, -ENOMEM, "out of memory");
	if (name.ptr && !is_addr) {
		r = check_dns(name, err);
		if (r)
			error_prefix(err, "server_name");
		else
			client->sni = arena_copy(&client->arena, name);
		if (!r && !client->sni.ptr)
			return error_set(err, -ENOMEM, "out of memory");
	}
	for (unsigned int i = 0; i < settings->san_count && !r; i++) {
		r = expect(client, settings->sans[i].type, settings->sans[i].value, err);
		if (r == -EINVAL)
			error_prefix(err, "san");
	}
	if (!r && name.ptr && !settings->san_count)
		r = expect(client, is_addr ? TLS_SAN_IP : TLS_SAN_DNS, name, err);
	return r;
}

static int copy_pem(struct tls_client *client, const struct tls_client_settings *settings,
		    struct error *err)
{
	if (settings->crl_pem.len > LIST_BYTES_MAX)
		return error_set(err, -EFBIG, "crl: larger than %u bytes", LIST_BYTES_MAX);
	if (settings->ca_pem.len > PEM_BYTES_MAX || settings->chain_pem.len > PEM_BYTES_MAX ||
	    settings->key_pem.len > PEM_BYTES_MAX)
		return error_set(err, -EFBIG, "larger than %u bytes", PEM_BYTES_MAX);
	if (!settings->insecure && !settings->ca_pem.ptr)
		return error_set(err, -EINVAL,
				 "needs 'ca': the authorities that may sign the server's "
				 "certificate");
	if (settings->ca_pem.ptr) {
		client->ca_pem = arena_copy(&client->arena, settings->ca_pem);
		if (!client->ca_pem.ptr)
			return error_set(err, -ENOMEM, "out of memory");
	}
	if (settings->crl_pem.ptr) {
		client->crl_pem = arena_copy(&client->arena, settings->crl_pem);
		if (!client->crl_pem.ptr)
			return error_set(err, -ENOMEM, "out of memory");
	}
	if (!settings->chain_pem.ptr)
		return 0;
	client->chain_pem = arena_copy(&client->arena, settings->chain_pem);
	client->key_pem = malloc(settings->key_pem.len + 1);
	if (!client->chain_pem.ptr || !client->key_pem)
		return error_set(err, -ENOMEM, "out of memory");
	memcpy(client->key_pem, settings->key_pem.ptr, settings->key_pem.len);
	client->key_len = settings->key_pem.len;
	client->key_pem[client->key_len] = '\0';
	return 0;
}

static bool hash_text(EVP_MD_CTX *hash, struct str text)
{
	uint64_t len = text.len;

	return EVP_DigestUpdate(hash, &len, sizeof(len)) == 1 &&
	       EVP_DigestUpdate(hash, text.ptr, text.len) == 1;
}

/* All that decides whether a server is believed, and what it was shown. */
static int make_digest(struct tls_client *client, struct error *err)
{
	_cleanup_(EVP_MD_CTX_freep)
	EVP_MD_CTX *hash = EVP_MD_CTX_new();
	const char head[] = {(char)client->insecure, (char)client->min_version,
			     (char)client->http11, (char)client->h2};
	bool ok = hash && EVP_DigestInit_ex(hash, EVP_sha256(), NULL) == 1 &&
		  hash_text(hash, str_make(head, sizeof(head))) && hash_text(hash, client->sni) &&
		  hash_text(hash, client->ca_pem) && hash_text(hash, client->crl_pem) &&
		  hash_text(hash, client->chain_pem);

	for (unsigned int i = 0; i < client->expected_count && ok; i++) {
		const char type = (char)client->expected[i].type;

		ok = hash_text(hash, str_make(&type, 1)) &&
		     hash_text(hash, client->expected[i].value);
	}
	if (ok && EVP_DigestFinal_ex(hash, client->digest, NULL) == 1)
		return 0;
	return fail(err, "digest");
}

int tls_client_new(const struct tls_client_settings *settings, struct tls_client **ret_client,
		   struct error *err)
{
	_cleanup_(tls_client_unrefp)
	struct tls_client *client = calloc(1, sizeof(*client));
	_cleanup_(SSL_CTX_freep)
	SSL_CTX *trial = NULL;
	int r;

	tls_library_begin();
	(void)pthread_once(&slots.once, slots_make);
	if (!client || slots.client < 0 || slots.sessions < 0)
		return error_set(err, -ENOMEM, "out of memory");
	ERR_clear_error();
	atomic_init(&client->refs, 1);
	arena_init(&client->arena, 0, 2 * (size_t)PEM_BYTES_MAX + (TLS_SANS_MAX + 2) * 4096u);
	client->insecure = settings->insecure;
	client->min_version = settings->min_version;
	client->http11 = settings->http11;
	client->h2 = settings->h2;
	r = set_names(client, settings, err);
	if (!r)
		r = copy_pem(client, settings, err);
	if (!r)
		r = make_digest(client, err);
	if (!r)
		r = context_make(client, NULL, &trial, err);
	if (r)
		return r;
	*ret_client = TAKE_PTR(client);
	return 0;
}

int tls_client_prepare(struct tls_client *client, unsigned int worker_count, struct error *err)
{
	client->contexts = calloc(worker_count, sizeof(SSL_CTX *));
	if (!client->contexts)
		return error_set(err, -ENOMEM, "out of memory");
	ERR_clear_error();
	while (client->context_count < worker_count) {
		const struct tls_library *library = tls_library_get(client->context_count);
		int r;

		if (!library)
			return error_set(err, -ENOMEM, "out of memory");
		r = context_make(client, library->ctx, &client->contexts[client->context_count],
				 err);
		if (r)
			return r;
		client->context_count++;
	}
	return 0;
}

struct tls_client *tls_client_ref(struct tls_client *client)
{
	atomic_fetch_add_explicit(&client->refs, 1, memory_order_relaxed);
	return client;
}

void tls_client_unref(struct tls_client *client)
{
	if (!client || atomic_fetch_sub_explicit(&client->refs, 1, memory_order_acq_rel) != 1)
		return;
	for (unsigned int i = 0; i < client->context_count; i++)
		SSL_CTX_free(client->contexts[i]);
	free(client->contexts);
	if (client->key_pem)
		OPENSSL_cleanse(client->key_pem, client->key_len);
	free(client->key_pem);
	arena_done(&client->arena);
	free(client);
}

bool tls_client_is_same(const struct tls_client *left, const struct tls_client *right)
{
	return left == right ||
	       (left && right && memcmp(left->digest, right->digest, TLS_DIGEST_BYTES) == 0);
}

/* ---- connections ---- */

static bool set_up(SSL *ssl, struct tls_client *client, struct tls_sessions *sessions,
		   int64_t now_s)
{
	SSL_SESSION *session;
	bool ok;

	if (SSL_set_ex_data(ssl, slots.client, client) != 1)
		return false;
	(void)tls_client_ref(client);
	if (client->sni.ptr && SSL_set_tlsext_host_name(ssl, client->sni.ptr) != 1)
		return false;
	if (!sessions)
		return true;
	if (SSL_set_ex_data(ssl, slots.sessions, sessions) != 1)
		return false;
	session = tls_sessions_take(tls_sessions_ref(sessions), client->digest, now_s);
	if (!session)
		return true;
	ok = SSL_set_session(ssl, session) == 1;
	SSL_SESSION_free(session);
	return ok;
}

SSL *tls_client_new_ssl_at(struct tls_client *client, unsigned int worker_index,
			   struct tls_sessions *sessions, int64_t now_s)
{
	SSL *ssl = SSL_new(client->contexts[worker_index]);

	if (!ssl)
		return NULL;
	if (!set_up(ssl, client, sessions, now_s)) {
		SSL_free(ssl);
		return NULL;
	}
	SSL_set_connect_state(ssl);
	return ssl;
}

SSL *tls_client_new_ssl(struct tls_client *client, unsigned int worker_index,
			struct tls_sessions *sessions)
{
	return tls_client_new_ssl_at(client, worker_index, sessions, (int64_t)time(NULL));
}

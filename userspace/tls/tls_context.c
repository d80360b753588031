#include "tls/tls_server.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>

#include "base/cleanup.h"
#include "base/util.h"

#define CERTIFICATES_MAX 4096

DEFINE_FREEP(EVP_MD_CTX, EVP_MD_CTX_free)
DEFINE_FREEP(struct tls_server, tls_server_unref)

/* ---- sets ---- */

static void set_clear_contexts(struct tls_set *set)
{
	for (unsigned int i = 0; i < set->worker_count * set->tuple_count; i++)
		SSL_CTX_free(set->contexts[i].ctx);
	free(set->contexts);
	free(set->libraries);
	set->contexts = NULL;
	set->libraries = NULL;
	set->worker_count = 0;
}

static void set_unref(struct tls_set *set)
{
	if (!set || atomic_fetch_sub_explicit(&set->refs, 1, memory_order_acq_rel) != 1)
		return;
	set_clear_contexts(set);
	tls_tickets_unref(set->tickets);
	for (unsigned int i = 0; i < set->identity_count; i++)
		tls_identity_free(set->identities[i]);
	free(set->identities);
	free(set->names);
	free(set->tuples);
	free(set);
}

/* ---- which set an SSL is of ---- */

static struct {
	pthread_once_t once;
	int index;
} slot = {PTHREAD_ONCE_INIT, -1};

static void slot_free(void *parent, void *ptr, CRYPTO_EX_DATA *data, int index, long argl,
		      void *argp)
{
	set_unref(ptr);
}

static void slot_make(void)
{
	slot.index = SSL_get_ex_new_index(0, NULL, NULL, NULL, slot_free);
}

const struct tls_set *tls_ssl_set(const SSL *ssl)
{
	return SSL_get_ex_data(ssl, slot.index);
}

/* ---- making ---- */

static int copy_text(struct str text, char **ret_copy, size_t *ret_len)
{
	if (!text.ptr)
		return 0;
	*ret_copy = malloc(text.len + 1);
	if (!*ret_copy)
		return -ENOMEM;
	memcpy(*ret_copy, text.ptr, text.len);
	(*ret_copy)[text.len] = '\0';
	if (ret_len)
		*ret_len = text.len;
	return 0;
}

static bool hash_text(EVP_MD_CTX *hash, struct str text)
{
	uint64_t len = text.len;

	return EVP_DigestUpdate(hash, &len, sizeof(len)) == 1 &&
	       EVP_DigestUpdate(hash, text.ptr, text.len) == 1;
}

/*
 * A session is resumed only where a whole handshake would have asked for the same: another
 * listener, or other authorities or revocations, make the client show its certificate again.
 */
static int hash_session_context(struct tls_server *server,
				const struct tls_server_settings *settings)
{
	_cleanup_(EVP_MD_CTX_freep)
	EVP_MD_CTX *hash = EVP_MD_CTX_new();
	const char auth = (char)settings->client_auth;

	if (!hash || EVP_DigestInit_ex(hash, EVP_sha256(), NULL) != 1 ||
	    !hash_text(hash, settings->listener) || !hash_text(hash, str_make(&auth, 1)) ||
	    !hash_text(hash, settings->ca_pem) || !hash_text(hash, settings->crl_pem) ||
	    EVP_DigestFinal_ex(hash, server->session_context, NULL) != 1)
		return -ENOMEM;
	return 0;
}

int tls_server_new(const struct tls_server_settings *settings, struct tls_server **ret_server,
		   struct error *err)
{
	_cleanup_(tls_server_unrefp)
	struct tls_server *server = calloc(1, sizeof(*server));

	tls_library_begin();
	(void)pthread_once(&slot.once, slot_make);
	if (slot.index < 0 || !server)
		return error_set(err, -ENOMEM, "out of memory");
	atomic_init(&server->refs, 1);
	(void)pthread_mutex_init(&server->lock, NULL);
	server->set = calloc(1, sizeof(*server->set));
	if (!server->set)
		return error_set(err, -ENOMEM, "out of memory");
	atomic_init(&server->set->refs, 1);
	server->set->http11 = settings->http11;
	server->set->h2 = settings->h2;
	server->min_version = settings->min_version;
	server->tickets_on = settings->tickets;
	server->ktls = settings->ktls;
	server->ktls_required = settings->ktls_required;
	server->client_auth = settings->client_auth;
	server->depth = settings->depth;
	server->session_seconds = settings->session_seconds;
	if (copy_text(settings->ciphers, &server->ciphers, NULL) ||
	    copy_text(settings->ca_pem, &server->ca_pem, &server->ca_len) ||
	    copy_text(settings->crl_pem, &server->crl_pem, &server->crl_len))
		return error_set(err, -ENOMEM, "out of memory");
	if (hash_session_context(server, settings))
		return error_set(err, -ENOMEM, "out of memory");
	*ret_server = TAKE_PTR(server);
	return 0;
}

int tls_server_add_certificate(struct tls_server *server, struct str chain_pem, struct str key_pem,
			       struct error *err)
{
	struct tls_set *set = server->set;
	struct tls_identity **grown;
	int r;

	if (set->identity_count == CERTIFICATES_MAX)
		return error_set(err, -E2BIG, "more than %d certificates", CERTIFICATES_MAX);
	grown = reallocarray(set->identities, set->identity_count + 1, sizeof(*grown));
	if (!grown)
		return error_set(err, -ENOMEM, "out of memory");
	set->identities = grown;
	r = tls_identity_new(chain_pem, key_pem, &grown[set->identity_count], err);
	if (!r)
		set->identity_count++;
	return r;
}

int tls_server_add_ocsp(struct tls_server *server, struct str der, struct error *err)
{
	return tls_identity_set_ocsp(server->set->identities[server->set->identity_count - 1], der,
				     err);
}

int tls_server_get_certificate(const struct tls_server *server, unsigned int index,
			       struct tls_certificate_facts *ret_facts)
{
	if (index >= server->set->identity_count)
		return -ENOENT;
	tls_identity_facts(server->set->identities[index], ret_facts);
	return 0;
}

static int make_worker(const struct tls_server *server, struct tls_set *set, unsigned int worker,
		       struct error *err)
{
	struct tls_context *contexts = set->contexts + (size_t)worker * set->tuple_count;
	const struct tls_library *library = tls_library_get(worker);

	if (!library)
		return error_set(err, -ENOMEM, "out of memory");
	set->libraries[worker] = library;
	for (unsigned int i = 0; i < set->tuple_count; i++) {
		int r = tls_context_make(server, set, library, i, &contexts[i], err);

		if (r)
			return r;
	}
	return 0;
}

int tls_server_prepare(struct tls_server *server, unsigned int worker_count,
		       struct tls_tickets *tickets, struct error *err)
{
	struct tls_set *set = server->set;
	int r;

	set->tickets = tickets;
	r = tls_names_build(set, err);
	if (r)
		return r;
	set->contexts = calloc((size_t)worker_count * set->tuple_count, sizeof(*set->contexts));
	set->libraries = calloc(worker_count, sizeof(*set->libraries));
	if (!set->contexts || !set->libraries)
		return error_set(err, -ENOMEM, "out of memory");
	set->worker_count = worker_count;
	for (unsigned int i = 0; i < worker_count && !r; i++)
		r = make_worker(server, set, i, err);
	return r;
}

void tls_server_exchange(struct tls_server *server, struct tls_server *fresh)
{
	struct tls_set *former = server->set;

	(void)pthread_mutex_lock(&server->lock);
	server->set = fresh->set;
	(void)pthread_mutex_unlock(&server->lock);
	fresh->set = former;
}

int tls_server_check(struct tls_server *server, struct error *err)
{
	int r = tls_server_prepare(server, 1, NULL, err);

	set_clear_contexts(server->set);
	return r;
}

struct tls_server *tls_server_ref(struct tls_server *server)
{
	atomic_fetch_add_explicit(&server->refs, 1, memory_order_relaxed);
	return server;
}

void tls_server_unref(struct tls_server *server)
{
	if (!server || atomic_fetch_sub_explicit(&server->refs, 1, memory_order_acq_rel) != 1)
		return;
	set_unref(server->set);
	(void)pthread_mutex_destroy(&server->lock);
	free(server->ciphers);
	free(server->ca_pem);
	free(server->crl_pem);
	free(server);
}

SSL *tls_server_new_ssl(struct tls_server *server, unsigned int worker_index)
{
	struct tls_set *set;
	SSL *ssl;

	(void)pthread_mutex_lock(&server->lock);
	set = server->set;
	atomic_fetch_add_explicit(&set->refs, 1, memory_order_relaxed);
	(void)pthread_mutex_unlock(&server->lock);
	ssl = SSL_new(set->contexts[(size_t)worker_index * set->tuple_count].ctx);
	if (!ssl || SSL_set_ex_data(ssl, slot.index, set) != 1) {
		SSL_free(ssl);
		set_unref(set);
		return NULL;
	}
	SSL_set_accept_state(ssl);
	return ssl;
}

/* ---- what became of a handshake ---- */

static struct str alpn_of(const SSL *ssl)
{
	const unsigned char *alpn;
	unsigned int len;

	SSL_get0_alpn_selected(ssl, &alpn, &len);
	return str_make((const char *)alpn, len);
}

enum tls_alpn tls_ssl_alpn(const SSL *ssl)
{
	struct str alpn = alpn_of(ssl);

	if (str_eq_cstr(alpn, "h2"))
		return TLS_ALPN_H2;
	return str_eq_cstr(alpn, "http/1.1") ? TLS_ALPN_HTTP11 : TLS_ALPN_NONE;
}

void tls_ssl_facts(const SSL *ssl, struct tls_facts *ret_facts)
{
	*ret_facts = (struct tls_facts){
		.version = SSL_get_version(ssl),
		.cipher = SSL_get_cipher_name(ssl),
		.resumed = SSL_session_reused(ssl),
		.sni = str_from_cstr(SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name)),
		.alpn = alpn_of(ssl),
	};
}

bool tls_ssl_serves_host(const SSL *ssl, struct str host)
{
	struct str sni = str_from_cstr(SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name));
	const struct tls_set *set = tls_ssl_set(ssl);

	if (!sni.ptr || str_eq_nocase(sni, host))
		return true;
	return tls_names_find(set, sni) == tls_names_find(set, host);
}

static const char *san_kind(int type)
{
	switch (type) {
	case GEN_DNS:
		return "DNS";
	case GEN_EMAIL:
		return "email";
	case GEN_URI:
		return "URI";
	default:
		return NULL;
	}
}

static void add_san(struct tls_client_facts *facts, size_t *len, const GENERAL_NAME *name)
{
	const char *kind = san_kind(name->type);
	const ASN1_STRING *value = name->d.ia5;
	int added;

	if (!kind || memchr(ASN1_STRING_get0_data(value), '\0', (size_t)ASN1_STRING_length(value)))
		return;
	added = snprintf(facts->san + *len, sizeof(facts->san) - *len, "%s%s:%.*s",
			 *len ? ", " : "", kind, ASN1_STRING_length(value),
			 (const char *)ASN1_STRING_get0_data(value));
	if (added < 0 || (size_t)added >= sizeof(facts->san) - *len)
		facts->san[*len] = '\0';
	else
		*len += (size_t)added;
}

void tls_ssl_client_facts(const SSL *ssl, struct tls_client_facts *ret_facts)
{
	const X509 *certificate = SSL_get0_peer_certificate(ssl);
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned int digest_len = 0;
	GENERAL_NAMES *names;
	size_t len = 0;

	*ret_facts = (struct tls_client_facts){.present = certificate};
	if (!certificate)
		return;
	if (X509_digest(certificate, EVP_sha256(), digest, &digest_len) == 1)
		for (unsigned int i = 0; i < digest_len; i++)
			(void)snprintf(ret_facts->fingerprint + 2 * (size_t)i, 3, "%02x",
				       digest[i]);
	names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++)
		add_san(ret_facts, &len, sk_GENERAL_NAME_value(names, i));
	GENERAL_NAMES_free(names);
}

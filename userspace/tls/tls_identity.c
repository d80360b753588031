#include "tls/tls_identity.h"

#include <errno.h>
#include <stdlib.h>

#include <openssl/asn1.h>
#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/ocsp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "base/cleanup.h"
#include "base/util.h"

#define NAME_MAX_BYTES 253
#define OCSP_CLOCK_S   300 /* how far the responder's clock may be ahead */
#define PEM_BYTES_MAX  (1u << 20)

DEFINE_FREEP(BIO, BIO_free_all)
DEFINE_FREEP(EVP_PKEY, EVP_PKEY_free)
DEFINE_FREEP(GENERAL_NAMES, GENERAL_NAMES_free)
DEFINE_FREEP(OCSP_RESPONSE, OCSP_RESPONSE_free)
DEFINE_FREEP(OCSP_BASICRESP, OCSP_BASICRESP_free)
DEFINE_FREEP(struct tls_identity, tls_identity_free)

/* ---- PEM ---- */

/* Nobody is asked for a passphrase: there is no terminal. */
static int refuse_passphrase(char *buf, int size, int writing, void *seen)
{
	*(bool *)seen = true;
	return -1;
}

X509 *tls_read_certificate(BIO *bio, OSSL_LIB_CTX *ctx)
{
	X509 *certificate = X509_new_ex(ctx, NULL);
	bool seen = false;

	if (!certificate)
		return NULL;
	if (!PEM_read_bio_X509(bio, &certificate, refuse_passphrase, &seen)) {
		X509_free(certificate);
		return NULL;
	}
	return certificate;
}

EVP_PKEY *tls_read_key(const char *pem, size_t len, OSSL_LIB_CTX *ctx, struct error *err)
{
	_cleanup_(BIO_free_allp)
	BIO *bio = BIO_new_mem_buf(pem, (int)len);
	bool encrypted = false;
	EVP_PKEY *key;

	if (!bio) {
		(void)error_set(err, -ENOMEM, "out of memory");
		return NULL;
	}
	key = PEM_read_bio_PrivateKey_ex(bio, NULL, refuse_passphrase, &encrypted, ctx, NULL);
	if (key)
		return key;
	if (encrypted)
		(void)error_set(err, -EINVAL,
				"the key is encrypted; nobody can be asked for its passphrase here "
				"(openssl pkey -in KEY -out PLAIN takes it off)");
	else
		(void)error_set(err, -EINVAL, "no private key in PEM form: %s",
				tls_library_reason("it cannot be read"));
	(void)tls_library_reason(NULL);
	return NULL;
}

/* ---- names ---- */

static int add_name(struct tls_identity *identity, const unsigned char *text, int len)
{
	char *name;

	/* A NUL inside is an old trick: such a name matches nothing. */
	if (len <= 0 || len > NAME_MAX_BYTES || memchr(text, '\0', (size_t)len))
		return 0;
	name = malloc((size_t)len + 1);
	if (!name)
		return -ENOMEM;
	for (int i = 0; i < len; i++)
		name[i] = ascii_lower((char)text[i]);
	name[len] = '\0';
	identity->names[identity->name_count++] = name;
	return 0;
}

static int read_common_name(struct tls_identity *identity)
{
	X509_NAME *subject = X509_get_subject_name(identity->leaf);
	int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
	const ASN1_STRING *value;

	if (at < 0)
		return 0;
	value = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at));
	identity->names = calloc(1, sizeof(*identity->names));
	if (!identity->names)
		return -ENOMEM;
	return add_name(identity, ASN1_STRING_get0_data(value), ASN1_STRING_length(value));
}

static int read_names(struct tls_identity *identity)
{
	_cleanup_(GENERAL_NAMES_freep)
	GENERAL_NAMES *names = X509_get_ext_d2i(identity->leaf, NID_subject_alt_name, NULL, NULL);
	int count = names ? sk_GENERAL_NAME_num(names) : 0, r = 0;

	if (!count)
		return read_common_name(identity);
	identity->names = calloc((size_t)count, sizeof(*identity->names));
	if (!identity->names)
		return -ENOMEM;
	for (int i = 0; i < count && !r; i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);

		if (name->type == GEN_DNS)
			r = add_name(identity, ASN1_STRING_get0_data(name->d.dNSName),
				     ASN1_STRING_length(name->d.dNSName));
	}
	return r;
}

/* ---- what it is ---- */

static int read_kind(struct tls_identity *identity, struct error *err)
{
	switch (EVP_PKEY_get_base_id(X509_get0_pubkey(identity->leaf))) {
	case EVP_PKEY_RSA:
	case EVP_PKEY_RSA_PSS:
		identity->kind = TLS_KEY_RSA;
		return 0;
	case EVP_PKEY_EC:
		identity->kind = TLS_KEY_EC;
		return 0;
	case EVP_PKEY_ED25519:
	case EVP_PKEY_ED448:
		identity->kind = TLS_KEY_ED;
		return 0;
	default:
		return error_set(err, -EINVAL, "its key is of a kind that TLS does not use here");
	}
}

static int64_t seconds_of(const ASN1_TIME *time)
{
	struct tm tm;

	if (!time || ASN1_TIME_to_tm(time, &tm) != 1)
		return INT64_MAX;
	return (int64_t)timegm(&tm);
}

static void read_name(X509_NAME *from, char *text, size_t text_len)
{
	if (X509_NAME_get_text_by_NID(from, NID_commonName, text, (int)text_len) < 0)
		text[0] = '\0';
}

/* As people say it, where OpenSSL has other names. */
static const char *group_name(const char *name)
{
	static const char *const names[][2] = {
		{"prime256v1", "P-256"}, {"secp384r1", "P-384"}, {"secp521r1", "P-521"}};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (!strcmp(name, names[i][0]))
			return names[i][1];
	return name;
}

static void describe(struct tls_identity *identity, EVP_PKEY *key)
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned int digest_len = 0;
	char group[24] = "";

	read_name(X509_get_subject_name(identity->leaf), identity->subject,
		  sizeof(identity->subject));
	read_name(X509_get_issuer_name(identity->leaf), identity->issuer, sizeof(identity->issuer));
	if (identity->kind == TLS_KEY_RSA)
		(void)snprintf(identity->key_kind, sizeof(identity->key_kind), "RSA %d",
			       EVP_PKEY_get_bits(key));
	else if (identity->kind == TLS_KEY_EC &&
		 EVP_PKEY_get_group_name(key, group, sizeof(group), NULL) == 1)
		(void)snprintf(identity->key_kind, sizeof(identity->key_kind), "EC %s",
			       group_name(group));
	else
		(void)snprintf(identity->key_kind, sizeof(identity->key_kind), "%s",
			       EVP_PKEY_get0_type_name(key));
	if (X509_digest(identity->leaf, EVP_sha256(), digest, &digest_len) == 1)
		for (unsigned int i = 0; i < digest_len; i++)
			(void)snprintf(identity->fingerprint + 2 * (size_t)i, 3, "%02x", digest[i]);
}

void tls_identity_facts(const struct tls_identity *identity,
			struct tls_certificate_facts *ret_facts)
{
	*ret_facts = (struct tls_certificate_facts){
		.subject = identity->subject,
		.issuer = identity->issuer,
		.names = (const char *const *)identity->names,
		.name_count = identity->name_count,
		.key_kind = identity->key_kind,
		.not_before = identity->not_before,
		.not_after = identity->not_after,
		.stapled = identity->ocsp_len,
		.ocsp_until = identity->ocsp_until,
	};
	memcpy(ret_facts->fingerprint, identity->fingerprint, sizeof(ret_facts->fingerprint));
}

static int look_at_leaf(struct tls_identity *identity, struct error *err)
{
	_cleanup_(EVP_PKEY_freep)
	EVP_PKEY *key = tls_read_key(identity->key_pem, identity->key_len, NULL, err);
	int r;

	if (!key)
		return -EINVAL;
	if (X509_check_private_key(identity->leaf, key) != 1) {
		(void)tls_library_reason(NULL);
		return error_set(err, -EINVAL, "the key is not that of the certificate");
	}
	if (X509_check_purpose(identity->leaf, X509_PURPOSE_SSL_SERVER, 0) != 1)
		return error_set(err, -EINVAL,
				 "the certificate is not for a TLS server (extended key usage)");
	r = read_kind(identity, err);
	if (r)
		return r;
	identity->not_before = seconds_of(X509_get0_notBefore(identity->leaf));
	identity->not_after = seconds_of(X509_get0_notAfter(identity->leaf));
	describe(identity, key);
	return read_names(identity) ? error_set(err, -ENOMEM, "out of memory") : 0;
}

static char *copy_text(struct str text)
{
	char *copy = malloc(text.len + 1);

	if (copy) {
		memcpy(copy, text.ptr, text.len);
		copy[text.len] = '\0';
	}
	return copy;
}

int tls_identity_new(struct str chain_pem, struct str key_pem, struct tls_identity **ret_identity,
		     struct error *err)
{
	_cleanup_(tls_identity_freep)
	struct tls_identity *identity = calloc(1, sizeof(*identity));
	_cleanup_(BIO_free_allp)
	BIO *bio = NULL;
	int r;

	tls_library_begin();
	if (chain_pem.len > PEM_BYTES_MAX || key_pem.len > PEM_BYTES_MAX)
		return error_set(err, -EFBIG, "larger than %u bytes", PEM_BYTES_MAX);
	if (!identity)
		return error_set(err, -ENOMEM, "out of memory");
	identity->chain_len = chain_pem.len;
	identity->key_len = key_pem.len;
	identity->chain_pem = copy_text(chain_pem);
	identity->key_pem = copy_text(key_pem);
	if (identity->chain_pem)
		bio = BIO_new_mem_buf(identity->chain_pem, (int)identity->chain_len);
	if (!bio || !identity->key_pem)
		return error_set(err, -ENOMEM, "out of memory");
	identity->leaf = tls_read_certificate(bio, NULL);
	if (!identity->leaf)
		return error_set(err, -EINVAL, "no certificate in PEM form: %s",
				 tls_library_reason("it cannot be read"));
	r = look_at_leaf(identity, err);
	if (r)
		return r;
	*ret_identity = TAKE_PTR(identity);
	return 0;
}

void tls_identity_free(struct tls_identity *identity)
{
	if (!identity)
		return;
	if (identity->key_pem)
		OPENSSL_cleanse(identity->key_pem, identity->key_len);
	free(identity->key_pem);
	free(identity->chain_pem);
	for (unsigned int i = 0; i < identity->name_count; i++)
		free(identity->names[i]);
	free(identity->names);
	free(identity->ocsp);
	X509_free(identity->leaf);
	free(identity);
}

/* ---- OCSP ---- */

/* The response for this certificate: by its serial number, which is its issuer's. */
static OCSP_SINGLERESP *find_single(const struct tls_identity *identity, OCSP_BASICRESP *basic)
{
	const ASN1_INTEGER *serial = X509_get0_serialNumber(identity->leaf);

	for (int i = 0; i < OCSP_resp_count(basic); i++) {
		OCSP_SINGLERESP *single = OCSP_resp_get0(basic, i);
		ASN1_INTEGER *its_serial = NULL;

		if (OCSP_id_get0_info(NULL, NULL, NULL, &its_serial,
				      (OCSP_CERTID *)OCSP_SINGLERESP_get0_id(single)) == 1 &&
		    !ASN1_INTEGER_cmp(serial, its_serial))
			return single;
	}
	return NULL;
}

int tls_identity_set_ocsp(struct tls_identity *identity, struct str der, struct error *err)
{
	const unsigned char *at = (const unsigned char *)der.ptr;
	_cleanup_(OCSP_RESPONSE_freep)
	OCSP_RESPONSE *response = d2i_OCSP_RESPONSE(NULL, &at, (long)der.len);
	_cleanup_(OCSP_BASICRESP_freep)
	OCSP_BASICRESP *basic = NULL;
	ASN1_GENERALIZEDTIME *from = NULL, *until = NULL;
	OCSP_SINGLERESP *single;

	if (response && OCSP_response_status(response) == OCSP_RESPONSE_STATUS_SUCCESSFUL)
		basic = OCSP_response_get1_basic(response);
	if (!basic)
		return error_set(err, -EINVAL, "no successful OCSP response in DER form: %s",
				 tls_library_reason("the responder says so"));
	single = find_single(identity, basic);
	if (!single)
		return error_set(err, -ENOKEY, "the OCSP response is of another certificate");
	if (OCSP_single_get0_status(single, NULL, NULL, &from, &until) != V_OCSP_CERTSTATUS_GOOD)
		return error_set(err, -EKEYREVOKED,
				 "the OCSP response does not say that the certificate is good");
	if (OCSP_check_validity(from, until, OCSP_CLOCK_S, -1) != 1)
		return error_set(err, -EKEYEXPIRED, "the OCSP response is out of date: %s",
				 tls_library_reason("its time has passed"));
	identity->ocsp = malloc(der.len);
	if (!identity->ocsp)
		return error_set(err, -ENOMEM, "out of memory");
	memcpy(identity->ocsp, der.ptr, der.len);
	identity->ocsp_len = der.len;
	identity->ocsp_until = seconds_of(until);
	return 0;
}

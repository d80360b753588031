/* Contexts of a listener: which certificate whom is shown, what is agreed on, and resumption. */
#include "tls/tls_certs.h"

#include <errno.h>
#include <stdlib.h>

#include <openssl/err.h>
#include <openssl/pem.h>

#include "base/clock.h"
#include "base/registry.h"
#include "tls/tls_library.h"
#include "tls/tls_tickets.h"

#define ROTATE_MS 60000

static struct {
	struct test_cert ec, rsa, other, authority, client, revoked, foreign;
} certs;

static const struct test_cert_want wants[] = {
	{TEST_EC, "ec", "DNS:a.example,DNS:*.wild.example", NULL, false, 0, 0, NULL},
	{TEST_RSA, "rsa", "DNS:A.example", "serverAuth", false, 0, 0, NULL},
	{TEST_EC, "other", "DNS:b.example,DNS:deep.wild.example", NULL, false, 0, 0, NULL},
	{TEST_EC, "authority", NULL, NULL, true, 0, 0, NULL},
	{TEST_EC, "client", "DNS:dev.example,URI:spiffe://x/y,email:a@b.example", "clientAuth",
	 false, 7, 0, &certs.authority},
	{TEST_EC, "revoked", NULL, "clientAuth", false, 8, 0, &certs.authority},
	{TEST_EC, "foreign", NULL, NULL, false, 9, 0, NULL},
};

static int setup(void **state)
{
	struct test_cert *const all[] = {&certs.ec,	   &certs.rsa,	  &certs.other,
					 &certs.authority, &certs.client, &certs.revoked,
					 &certs.foreign};

	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		test_cert_make(all[i], &wants[i]);
	return 0;
}

static int teardown(void **state)
{
	struct test_cert *const all[] = {&certs.ec,	   &certs.rsa,	  &certs.other,
					 &certs.authority, &certs.client, &certs.revoked,
					 &certs.foreign};

	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		test_cert_done(all[i]);
	tls_library_end();
	return 0;
}

static const struct tls_server_settings defaults = {
	.listener = {"web", 3},
	.min_version = TLS1_2_VERSION,
	.http11 = true,
	.tickets = true,
	.session_seconds = 3600,
};

static void add(struct tls_server *server, const struct test_cert *cert)
{
	struct error err = {0};

	assert_int_equal(tls_server_add_certificate(server, str_from_cstr(cert->pem),
						    str_from_cstr(cert->key_pem), &err),
			 0);
}

static struct tls_server *make_server(const struct tls_server_settings *settings,
				      struct tls_tickets *tickets)
{
	struct tls_server *server;
	struct error err = {0};

	assert_int_equal(tls_server_new(settings, &server, &err), 0);
	add(server, &certs.ec);
	add(server, &certs.rsa);
	add(server, &certs.other);
	if (tls_server_prepare(server, 2, tickets, &err))
		fail_msg("%s", err.text);
	return server;
}

static void expect_shown(struct tls_server *server, const struct test_client_want *want,
			 const char *name)
{
	struct test_pair pair;
	char shown[64];

	test_pair_run(&pair, server, 0, want);
	assert_row(want->sni ? want->sni : "no SNI", pair.done);
	test_pair_shown(&pair, shown, sizeof(shown));
	assert_string_equal(shown, name);
	test_pair_done(&pair);
}

static void test_a_name_gets_its_certificate(void **state)
{
	struct tls_server *server = make_server(&defaults, NULL);
	static const struct {
		const char *sni, *shown;
	} rows[] = {
		{"a.example", "ec"},
		{"A.EXAMPLE", "ec"},
		{"b.example", "other"},
		{"x.wild.example", "ec"},
		{"deep.wild.example", "other"},
		{"x.y.wild.example", "ec"}, /* of none: the first */
		{"wild.example", "ec"},
		{"nobody.example", "ec"},
		{NULL, "ec"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		expect_shown(server, &(struct test_client_want){.sni = rows[i].sni}, rows[i].shown);
	tls_server_unref(server);
}

static void test_the_client_chooses_among_kinds_of_keys(void **state)
{
	struct tls_server *server = make_server(&defaults, NULL);

	for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
		struct test_client_want want = {.sni = "a.example", .version = version};

		want.sigalgs = "RSA-PSS+SHA256:RSA+SHA256";
		want.ciphers = version == TLS1_2_VERSION ? "ECDHE-RSA-AES128-GCM-SHA256" : NULL;
		expect_shown(server, &want, "rsa");
		want.sigalgs = "ECDSA+SHA256";
		want.ciphers = version == TLS1_2_VERSION ? "ECDHE-ECDSA-AES128-GCM-SHA256" : NULL;
		expect_shown(server, &want, "ec");
	}
	tls_server_unref(server);
}

static void expect_refused(struct tls_server *server, const struct test_client_want *want)
{
	struct test_pair pair;

	test_pair_run(&pair, server, 1, want);
	assert_false(pair.done);
	test_pair_done(&pair);
	ERR_clear_error();
}

/* HARDENING 30 */
static void test_hardening_30_old_versions_and_weak_ciphers_are_refused(void **state)
{
	struct tls_server_settings settings = defaults;
	struct tls_server *server = make_server(&settings, NULL);
	struct test_client_want want = {.sni = "a.example"};

	for (int version = TLS1_VERSION; version < TLS1_2_VERSION; version++) {
		want.version = version;
		want.ciphers = "ALL:@SECLEVEL=0";
		expect_refused(server, &want);
	}
	want.version = TLS1_2_VERSION;
	want.ciphers = "ECDHE-RSA-AES128-SHA256:ECDHE-RSA-AES128-SHA";
	expect_refused(server, &want);
	want.ciphers = "AES128-GCM-SHA256"; /* no forward secrecy */
	expect_refused(server, &want);
	tls_server_unref(server);
	settings.min_version = TLS1_3_VERSION;
	server = make_server(&settings, NULL);
	want.ciphers = NULL;
	expect_refused(server, &want);
	tls_server_unref(server);
}

static void test_hardening_30_renegotiation_and_early_data_are_off(void **state)
{
	struct tls_server *server = make_server(&defaults, NULL);
	struct test_pair pair;
	char byte;

	test_pair_run(&pair, server, 0, &(struct test_client_want){.version = TLS1_2_VERSION});
	assert_true(pair.done);
	assert_int_equal(SSL_renegotiate(pair.client), 1);
	(void)SSL_do_handshake(pair.client);
	assert_true(SSL_read(pair.server, &byte, 1) <= 0);
	(void)SSL_do_handshake(pair.client);
	assert_int_equal(SSL_num_renegotiations(pair.server), 0);
	test_pair_done(&pair);
	test_pair_run(&pair, server, 0, &(struct test_client_want){.version = TLS1_3_VERSION});
	assert_int_equal(SSL_SESSION_get_max_early_data(pair.session), 0);
	test_pair_done(&pair);
	tls_server_unref(server);
	ERR_clear_error();
}

static void test_alpn(void **state)
{
	struct tls_server_settings settings = defaults;
	struct tls_server *server = make_server(&settings, NULL);
	struct test_pair pair;

	test_pair_run(&pair, server, 0, &(struct test_client_want){.alpn = "\x02h2\x08http/1.1"});
	assert_int_equal(tls_ssl_alpn(pair.server), TLS_ALPN_HTTP11);
	test_pair_done(&pair);
	test_pair_run(&pair, server, 0, &(struct test_client_want){.alpn = NULL});
	assert_int_equal(tls_ssl_alpn(pair.server), TLS_ALPN_NONE);
	test_pair_done(&pair);
	expect_refused(server, &(struct test_client_want){.alpn = "\x03spx"});
	tls_server_unref(server);

	settings.h2 = true;
	server = make_server(&settings, NULL);
	test_pair_run(&pair, server, 0, &(struct test_client_want){.alpn = "\x08http/1.1\x02h2"});
	assert_int_equal(tls_ssl_alpn(pair.server), TLS_ALPN_H2); /* our order */
	test_pair_done(&pair);
	tls_server_unref(server);
}

static void test_facts(void **state)
{
	struct tls_server *server = make_server(&defaults, NULL);
	struct tls_facts facts;
	struct test_pair pair;

	test_pair_run(&pair, server, 0,
		      &(struct test_client_want){.sni = "b.example",
						 .version = TLS1_3_VERSION,
						 .alpn = "\x08http/1.1"});
	tls_ssl_facts(pair.server, &facts);
	assert_string_equal(facts.version, "TLSv1.3");
	assert_string_equal(facts.cipher, "TLS_AES_128_GCM_SHA256");
	assert_str(facts.sni, "b.example");
	assert_str(facts.alpn, "http/1.1");
	assert_false(facts.resumed);
	assert_true(tls_ssl_serves_host(pair.server, STR("b.example")));
	assert_true(tls_ssl_serves_host(pair.server, STR("deep.wild.example")));
	assert_false(tls_ssl_serves_host(pair.server, STR("a.example")));
	assert_false(tls_ssl_serves_host(pair.server, STR("nobody.example")));
	test_pair_done(&pair);
	test_pair_run(&pair, server, 0, &(struct test_client_want){.sni = NULL});
	assert_true(tls_ssl_serves_host(pair.server, STR("b.example")));
	test_pair_done(&pair);
	tls_server_unref(server);
}

/* ---- resumption ---- */

static bool resumes(struct tls_server *server, unsigned int worker, SSL_SESSION *session,
		    const struct test_client_want *like, SSL_SESSION **ret_next)
{
	struct test_client_want want = *like;
	struct test_pair pair;
	bool resumed;

	want.session = session;
	test_pair_run(&pair, server, worker, &want);
	assert_true(pair.done);
	resumed = SSL_session_reused(pair.server);
	assert_int_equal(SSL_session_reused(pair.client), resumed);
	if (ret_next) {
		*ret_next = pair.session;
		pair.session = NULL;
	}
	test_pair_done(&pair);
	return resumed;
}

static SSL_SESSION *first_session(struct tls_server *server, const struct test_client_want *want)
{
	SSL_SESSION *session = NULL;

	assert_false(resumes(server, 0, NULL, want, &session));
	assert_non_null(session);
	return session;
}

static struct tls_tickets *tickets_of(struct registry *registry)
{
	struct tls_tickets *tickets = tls_tickets_acquire(registry, STR_NULL, ROTATE_MS);

	assert_non_null(tickets);
	return tickets;
}

static void test_sessions_are_resumed_by_other_workers_and_after_reloads(void **state)
{
	struct registry *registry = registry_new();

	for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
		const struct test_client_want want = {.sni = "a.example", .version = version};
		struct tls_server *server = make_server(&defaults, tickets_of(registry)), *next;
		SSL_SESSION *session = first_session(server, &want), *renewed = NULL;

		assert_true(resumes(server, 1, session, &want, &renewed));
		/* Under TLS 1.3 each connection brings a ticket for the next one. */
		assert_int_equal(renewed != NULL, version == TLS1_3_VERSION);
		next = make_server(&defaults, tickets_of(registry));
		tls_server_unref(server);
		assert_true(resumes(next, 0, renewed ? renewed : session, &want, NULL));
		SSL_SESSION_free(session);
		SSL_SESSION_free(renewed);
		tls_server_unref(next);
	}
	registry_free(registry);
}

static void test_sessions_of_another_listener_or_other_authorities_are_not_resumed(void **state)
{
	struct registry *registry = registry_new();
	const struct test_client_want want = {.sni = "a.example", .cert = &certs.client};
	struct tls_server_settings settings = defaults;
	struct tls_server *server, *other;
	char *list = test_crl_make(&certs.authority, 8);
	SSL_SESSION *session;

	settings.client_auth = TLS_CLIENT_AUTH_REQUIRE;
	settings.ca_pem = str_from_cstr(certs.authority.pem);
	settings.depth = 4;
	server = make_server(&settings, tickets_of(registry));
	session = first_session(server, &want);
	assert_true(resumes(server, 0, session, &want, NULL));
	settings.listener = STR("other");
	other = make_server(&settings, tickets_of(registry));
	assert_false(resumes(other, 0, session, &want, NULL));
	tls_server_unref(other);
	settings.listener = STR("web");
	settings.crl_pem = str_from_cstr(list);
	other = make_server(&settings, tickets_of(registry));
	assert_false(resumes(other, 0, session, &want, NULL));
	tls_server_unref(other);
	tls_server_unref(server);
	SSL_SESSION_free(session);
	registry_free(registry);
	free(list);
}

static void test_without_tickets_nothing_is_resumed(void **state)
{
	struct tls_server_settings settings = defaults;
	struct tls_server *server;
	struct test_pair pair;

	settings.tickets = false;
	server = make_server(&settings, NULL);
	for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
		test_pair_run(&pair, server, 0, &(struct test_client_want){.version = version});
		assert_true(pair.done);
		if (pair.session && version == TLS1_3_VERSION)
			fail_msg("a ticket came");
		if (pair.session)
			assert_false(resumes(server, 0, pair.session,
					     &(struct test_client_want){.version = version}, NULL));
		test_pair_done(&pair);
	}
	tls_server_unref(server);
}

/* What one generation sealed, another opens: 0, 1 or 2 as OpenSSL's callback. */
static int open_at(struct tls_tickets *tickets, const unsigned char *name, bool tls13,
		   uint64_t now_ms)
{
	EVP_CIPHER_CTX *cipher = EVP_CIPHER_CTX_new();
	EVP_MAC *hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
	EVP_MAC_CTX *mac = EVP_MAC_CTX_new(hmac);
	unsigned char iv[EVP_MAX_IV_LENGTH] = {0}, copy[16];
	int r;

	memcpy(copy, name, sizeof(copy));
	r = tls_tickets_use_at(tickets, tls_library_get(0), tls13, copy, iv, cipher, mac, 0,
			       now_ms);
	EVP_CIPHER_CTX_free(cipher);
	EVP_MAC_CTX_free(mac);
	EVP_MAC_free(hmac);
	return r;
}

static void seal_at(struct tls_tickets *tickets, unsigned char *name, uint64_t now_ms)
{
	EVP_CIPHER_CTX *cipher = EVP_CIPHER_CTX_new();
	EVP_MAC *hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
	EVP_MAC_CTX *mac = EVP_MAC_CTX_new(hmac);
	unsigned char iv[EVP_MAX_IV_LENGTH];

	assert_int_equal(tls_tickets_use_at(tickets, tls_library_get(0), true, name, iv, cipher,
					    mac, 1, now_ms),
			 1);
	EVP_CIPHER_CTX_free(cipher);
	EVP_MAC_CTX_free(mac);
	EVP_MAC_free(hmac);
}

static void test_hardening_30_ticket_keys_have_two_generations(void **state)
{
	struct registry *registry = registry_new();
	struct tls_tickets *tickets = tickets_of(registry);
	uint64_t start_ms = clock_mono_ms();
	unsigned char first[16], second[16];

	seal_at(tickets, first, start_ms + 1000);
	assert_int_equal(open_at(tickets, first, false, start_ms + 2000), 1);
	assert_int_equal(open_at(tickets, first, true, start_ms + 2000), 2);
	/* The next period: it still opens, and is renewed. */
	seal_at(tickets, second, start_ms + ROTATE_MS + 2000);
	assert_memory_not_equal(first, second, sizeof(first));
	assert_int_equal(open_at(tickets, first, false, start_ms + ROTATE_MS + 3000), 2);
	assert_int_equal(open_at(tickets, second, false, start_ms + ROTATE_MS + 3000), 1);
	/* The one after: gone. */
	assert_int_equal(open_at(tickets, first, false, start_ms + 2 * ROTATE_MS + 5000), 0);
	assert_int_equal(open_at(tickets, second, false, start_ms + 2 * ROTATE_MS + 5000), 2);
	/* Nobody came for long: not even the last one opens. */
	assert_int_equal(open_at(tickets, second, false, start_ms + 9 * ROTATE_MS), 0);
	tls_tickets_unref(tickets);
	registry_free(registry);
}

static void test_ticket_keys_of_a_file(void **state)
{
	struct registry *registry = registry_new();
	struct tls_tickets *tickets = tls_tickets_acquire(registry, STR("/k"), ROTATE_MS);
	unsigned char keys[2 * TLS_TICKET_KEY_BYTES], name[16];
	struct error err = {0};

	for (size_t i = 0; i < sizeof(keys); i++)
		keys[i] = (unsigned char)i;
	assert_int_equal(tls_tickets_check(str_make((char *)keys, 79), &err), -EINVAL);
	assert_int_equal(tls_tickets_check(str_make((char *)keys, 160), &err), 0);
	tls_tickets_set(tickets, str_make((char *)keys, 160));
	seal_at(tickets, name, clock_mono_ms() + 9 * ROTATE_MS); /* they do not age by themselves */
	assert_memory_equal(name, keys, sizeof(name));
	assert_int_equal(open_at(tickets, keys + TLS_TICKET_KEY_BYTES, false, clock_mono_ms()), 2);
	tls_tickets_set(tickets, str_make((char *)keys + TLS_TICKET_KEY_BYTES, 80));
	assert_int_equal(open_at(tickets, keys, false, clock_mono_ms()), 0);
	tls_tickets_unref(tickets);
	registry_free(registry);
}

/* ---- client certificates ---- */

static void test_client_certificates(void **state)
{
	char *list = test_crl_make(&certs.authority, 8);
	static const struct {
		const char *row;
		enum tls_client_auth auth;
		const struct test_cert *cert;
		bool crl, accepted, seen;
	} rows[] = {
		{"off, shown", TLS_CLIENT_AUTH_OFF, &certs.client, false, true, false},
		{"optional, none", TLS_CLIENT_AUTH_OPTIONAL, NULL, false, true, false},
		{"optional, good", TLS_CLIENT_AUTH_OPTIONAL, &certs.client, false, true, true},
		{"optional, foreign", TLS_CLIENT_AUTH_OPTIONAL, &certs.foreign, false, false,
		 false},
		{"required, none", TLS_CLIENT_AUTH_REQUIRE, NULL, false, false, false},
		{"required, good", TLS_CLIENT_AUTH_REQUIRE, &certs.client, false, true, true},
		{"required, foreign", TLS_CLIENT_AUTH_REQUIRE, &certs.foreign, false, false, false},
		{"not yet revoked", TLS_CLIENT_AUTH_REQUIRE, &certs.revoked, false, true, true},
		{"revoked", TLS_CLIENT_AUTH_REQUIRE, &certs.revoked, true, false, false},
		{"good beside a list", TLS_CLIENT_AUTH_REQUIRE, &certs.client, true, true, true},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows) * 2; i++) {
		const size_t at = i / 2;
		struct tls_server_settings settings = defaults;
		struct tls_client_facts facts;
		struct tls_server *server;
		struct test_pair pair;

		settings.client_auth = rows[at].auth;
		settings.depth = 4;
		if (rows[at].auth != TLS_CLIENT_AUTH_OFF)
			settings.ca_pem = str_from_cstr(certs.authority.pem);
		if (rows[at].crl)
			settings.crl_pem = str_from_cstr(list);
		server = make_server(&settings, NULL);
		test_pair_run(&pair, server, 0,
			      &(struct test_client_want){.version = i % 2 ? TLS1_3_VERSION
									  : TLS1_2_VERSION,
							 .cert = rows[at].cert});
		assert_row(rows[at].row, pair.done == rows[at].accepted);
		if (pair.done) {
			tls_ssl_client_facts(pair.server, &facts);
			assert_row(rows[at].row, facts.present == rows[at].seen);
		}
		test_pair_done(&pair);
		tls_server_unref(server);
		ERR_clear_error();
	}
	free(list);
}

/* HARDENING 25: names by their kind; the common name is none. */
static void test_hardening_25_names_of_a_client_have_a_kind(void **state)
{
	struct tls_server_settings settings = defaults;
	struct tls_client_facts facts;
	struct registry *registry = registry_new();
	struct test_client_want want = {.sni = "a.example", .cert = &certs.client};
	struct tls_server *server;
	struct test_pair pair;
	SSL_SESSION *session;

	settings.client_auth = TLS_CLIENT_AUTH_REQUIRE;
	settings.ca_pem = str_from_cstr(certs.authority.pem);
	settings.depth = 4;
	server = make_server(&settings, tickets_of(registry));
	session = first_session(server, &want);
	want.session = session;
	test_pair_run(&pair, server, 1, &want); /* a resumed session still has them */
	assert_true(SSL_session_reused(pair.server));
	tls_ssl_client_facts(pair.server, &facts);
	assert_string_equal(facts.san, "DNS:dev.example, URI:spiffe://x/y, email:a@b.example");
	assert_int_equal(strlen(facts.fingerprint), TLS_FINGERPRINT_HEX);
	test_pair_done(&pair);
	SSL_SESSION_free(session);
	tls_server_unref(server);
	registry_free(registry);
}

/* ---- what is refused ---- */

static void expect_certificate_refused(struct str chain, struct str key, const char *says)
{
	struct tls_server *server;
	struct error err = {0};

	assert_int_equal(tls_server_new(&defaults, &server, &err), 0);
	assert_true(tls_server_add_certificate(server, chain, key, &err) < 0);
	if (!strstr(err.text, says))
		fail_msg("'%s' does not say '%s'", err.text, says);
	assert_int_equal(ERR_peek_error(), 0);
	tls_server_unref(server);
}

static void test_certificates_that_cannot_be_used(void **state)
{
	struct str pem = str_from_cstr(certs.ec.pem), key = str_from_cstr(certs.ec.key_pem);
	BIO *bio = BIO_new(BIO_s_mem());
	char *encrypted = NULL;
	long len;

	expect_certificate_refused(STR("nothing"), key, "no certificate in PEM form");
	expect_certificate_refused(pem, STR("nothing"), "no private key in PEM form");
	expect_certificate_refused(pem, str_from_cstr(certs.other.key_pem), "not that of the");
	expect_certificate_refused(str_from_cstr(certs.client.pem),
				   str_from_cstr(certs.client.key_pem), "not for a TLS server");
	assert_true(PEM_write_bio_PKCS8PrivateKey(bio, certs.ec.key, EVP_aes_256_cbc(), "pass", 4,
						  NULL, NULL));
	len = BIO_get_mem_data(bio, &encrypted);
	expect_certificate_refused(pem, str_make(encrypted, (size_t)len), "encrypted");
	BIO_free(bio);
}

static void test_settings_that_cannot_be_used(void **state)
{
	struct tls_server_settings settings = defaults;
	struct tls_server *server;
	struct error err = {0};

	settings.ciphers = STR("ECDHE-RSA-AES128-SHA");
	assert_int_equal(tls_server_new(&settings, &server, &err), 0);
	add(server, &certs.ec);
	assert_true(tls_server_check(server, &err) < 0);
	assert_non_null(strstr(err.text, "is not offered"));
	tls_server_unref(server);

	settings = defaults;
	err = (struct error){0};
	settings.client_auth = TLS_CLIENT_AUTH_REQUIRE;
	settings.ca_pem = STR("no authority");
	assert_int_equal(tls_server_new(&settings, &server, &err), 0);
	add(server, &certs.ec);
	assert_true(tls_server_check(server, &err) < 0);
	if (!strstr(err.text, "client_auth: ca"))
		fail_msg("%s", err.text);
	tls_server_unref(server);
}

/* ---- memory ---- */

static int make_one(void *arg)
{
	struct tls_server *server = NULL;
	struct error err = {0};
	int r = tls_server_new(&defaults, &server, &err);

	(void)arg;
	if (!r)
		r = tls_server_add_certificate(server, str_from_cstr(certs.ec.pem),
					       str_from_cstr(certs.ec.key_pem), &err);
	if (!r)
		r = tls_server_prepare(server, 2, NULL, &err);
	tls_server_unref(server);
	ERR_clear_error();
	return r;
}

/* OpenSSL makes thousands: the first ones all, then fewer and fewer. */
static void test_memory_may_fail_anywhere(void **state)
{
	unsigned int failed = 0;

	assert_int_equal(make_one(NULL), 0); /* what OpenSSL keeps for ever is there then */
	for (unsigned int nth = 0, step = 1;; nth += step, step += 1) {
		int r;

		alloc_fail_arm(nth);
		r = make_one(NULL);
		if (!alloc_fail_disarm()) {
			assert_int_equal(r, 0);
			break;
		}
		failed += r < 0;
	}
	assert_true(failed > 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_name_gets_its_certificate),
		cmocka_unit_test(test_the_client_chooses_among_kinds_of_keys),
		cmocka_unit_test(test_hardening_30_old_versions_and_weak_ciphers_are_refused),
		cmocka_unit_test(test_hardening_30_renegotiation_and_early_data_are_off),
		cmocka_unit_test(test_alpn),
		cmocka_unit_test(test_facts),
		cmocka_unit_test(test_sessions_are_resumed_by_other_workers_and_after_reloads),
		cmocka_unit_test(
			test_sessions_of_another_listener_or_other_authorities_are_not_resumed),
		cmocka_unit_test(test_without_tickets_nothing_is_resumed),
		cmocka_unit_test(test_hardening_30_ticket_keys_have_two_generations),
		cmocka_unit_test(test_ticket_keys_of_a_file),
		cmocka_unit_test(test_client_certificates),
		cmocka_unit_test(test_hardening_25_names_of_a_client_have_a_kind),
		cmocka_unit_test(test_certificates_that_cannot_be_used),
		cmocka_unit_test(test_settings_that_cannot_be_used),
		cmocka_unit_test(test_memory_may_fail_anywhere),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}

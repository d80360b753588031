/* TLS towards upstreams: which servers are believed, what is sent, and what is refused. */
#include <errno.h>
#include <stdlib.h>

#include <openssl/err.h>

#include "tls/client_fixture.h"
#include "tls/tls_library.h"

#include "test_support.h"

/* NULL: believed; else why not. */
static const char *try_server(const struct tls_client_settings *settings,
			      const struct identity *identity, const struct identity *chain)
{
	struct tls_client *client = client_of(settings);
	SSL_CTX *server = server_of(identity);
	const char *refusal;
	struct talk talk;
	bool through;

	if (chain)
		assert_int_equal(SSL_CTX_add1_chain_cert(server, chain->certificate), 1);
	talk_begin(&talk, tls_client_new_ssl(client, 1, NULL), server);
	through = talk_run(&talk);
	refusal = tls_client_refusal(talk.client);
	assert_int_equal(through, !refusal);
	talk_end(&talk);
	SSL_CTX_free(server);
	tls_client_unref(client);
	return refusal;
}

/* ---- who is believed ---- */

static void test_server_is_known_by_its_alternative_name_of_the_same_type(void **state)
{
	static const struct {
		const char *name; /* server_name */
		enum tls_san_type type;
		const char *san; /* NULL: none is expected */
		const char *certificate;
		bool believed;
	} rows[] = {
		{"shop.example", 0, NULL, "DNS:shop.example", true},
		{"SHOP.example", 0, NULL, "DNS:shop.example", true},
		{"shop.example", 0, NULL, "DNS:a.example,DNS:shop.example", true},
		{"a.shop.example", 0, NULL, "DNS:*.shop.example", true},
		{"a.b.shop.example", 0, NULL, "DNS:*.shop.example", false},
		{"shop.example", 0, NULL, "DNS:*.shop.example", false},
		{"shop.example", 0, NULL, "DNS:*.example", false}, /* of a whole domain */
		{"ab.shop.example", 0, NULL, "DNS:a*.shop.example", false},
		{"shop.example", 0, NULL, "DNS:shop.example.org", false},
		{"shop.example", 0, NULL, "URI:shop.example", false},
		{"cn.example", 0, NULL, "DNS:shop.example", false},
		{"cn.example", 0, NULL, NULL, false}, /* the common name */
		{"10.0.0.1", 0, NULL, "IP:10.0.0.1", true},
		{"10.0.0.1", 0, NULL, "DNS:10.0.0.1", false},
		{"10.0.0.1", 0, NULL, "IP:10.0.0.2", false},
		{"2001:db8::1", 0, NULL, "IP:2001:db8::1", true},
		{NULL, TLS_SAN_URI, "spiffe://x/cart", "URI:spiffe://x/cart", true},
		{NULL, TLS_SAN_URI, "spiffe://x/cart", "URI:spiffe://x/Cart", false},
		{NULL, TLS_SAN_URI, "spiffe://x/cart", "URI:spiffe://x/cart2", false},
		{NULL, TLS_SAN_URI, "spiffe://x/cart", "DNS:spiffe://x/cart", false},
		{NULL, TLS_SAN_IP, "10.0.0.1", "DNS:a.example,IP:10.0.0.1", true},
		/* Names of `san` are instead of the server's name. */
		{"shop.example", TLS_SAN_DNS, "cart.example", "DNS:cart.example", true},
		{"shop.example", TLS_SAN_DNS, "cart.example", "DNS:shop.example", false},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct tls_client_settings settings = settings_of(str_from_cstr(rows[i].name));
		struct tls_san san = {rows[i].type, str_from_cstr(rows[i].san)};
		struct identity identity;
		const char *refusal;

		settings.sans = &san;
		settings.san_count = rows[i].san ? 1 : 0;
		make_identity(&identity, &made.root,
			      &(struct wanted){.name = "cn.example", .san = rows[i].certificate});
		refusal = try_server(&settings, &identity, NULL);
		if (!refusal != rows[i].believed)
			print_error("%s, %s: %s\n", rows[i].name, rows[i].certificate, refusal);
		assert_int_equal(!refusal, rows[i].believed);
		if (refusal)
			assert_string_equal(refusal, "hostname mismatch");
		identity_done(&identity);
	}
}

static void test_one_of_several_expected_names_is_enough(void **state)
{
	const struct tls_san sans[] = {{TLS_SAN_URI, STR("spiffe://x/cart")},
				       {TLS_SAN_DNS, STR("shop.example")}};
	struct tls_client_settings settings = settings_of(STR_NULL);

	settings.sans = sans;
	settings.san_count = 2;
	assert_null(try_server(&settings, &made.shop, NULL));
	settings.san_count = 1;
	assert_non_null(try_server(&settings, &made.shop, NULL));
}

static void test_chain_must_end_in_an_authority_of_ours(void **state)
{
	struct tls_client_settings settings = settings_of(STR("shop.example"));

	assert_null(try_server(&settings, &made.deep, &made.middle));
	assert_non_null(try_server(&settings, &made.deep, NULL));
	settings.ca_pem = made.other_root.pem;
	assert_non_null(try_server(&settings, &made.shop, NULL));
	assert_non_null(try_server(&settings, &made.deep, &made.middle));
	/* Whoever stands in the file is one, though it is not a root. */
	settings.ca_pem = made.middle.pem;
	assert_null(try_server(&settings, &made.deep, NULL));
	assert_non_null(try_server(&settings, &made.shop, NULL));
}

static void test_authorities_of_a_file_are_all_believed(void **state)
{
	struct tls_client_settings settings = settings_of(STR("shop.example"));
	char *both = NULL;

	assert_true(asprintf(&both, "# ours\n%.*s\n%.*s", STR_FMT(made.other_root.pem),
			     STR_FMT(made.root.pem)) > 0);
	settings.ca_pem = str_from_cstr(both);
	assert_null(try_server(&settings, &made.shop, NULL));
	free(both);
}

static void test_certificates_out_of_time_or_of_another_use_are_refused(void **state)
{
	struct tls_client_settings settings = settings_of(STR("shop.example"));
	struct identity old, user;

	make_identity(&old, &made.root,
		      &(struct wanted){.name = "x", .san = "DNS:shop.example", .until_s = -DAY});
	make_identity(
		&user, &made.root,
		&(struct wanted){.name = "x", .san = "DNS:shop.example", .usage = "clientAuth"});
	assert_string_equal(try_server(&settings, &old, NULL), "certificate has expired");
	assert_non_null(try_server(&settings, &user, NULL));
	/* Nothing is asked for where that is what was asked for. */
	settings.insecure = true;
	assert_null(try_server(&settings, &old, NULL));
	settings.ca_pem = STR_NULL;
	settings.server_name = STR("nobody.example");
	assert_null(try_server(&settings, &user, NULL));
	identity_done(&old);
	identity_done(&user);
}

/* ---- what is sent ---- */

static int choose_h2(SSL *ssl, const unsigned char **out, unsigned char *out_len,
		     const unsigned char *in, unsigned int in_len, void *arg)
{
	*(struct str *)arg = str_make((const char *)memcpy(malloc(in_len), in, in_len), in_len);
	*out = (const unsigned char *)"h2";
	*out_len = 2;
	return SSL_TLSEXT_ERR_OK;
}

static void test_name_and_protocols_are_sent(void **state)
{
	struct tls_client_settings settings = settings_of(STR("shop.example"));
	SSL_CTX *server = server_of(&made.shop);
	struct str offered = STR_NULL;
	struct tls_client *client;
	const unsigned char *alpn;
	struct talk talk;
	unsigned int len;

	settings.h2 = true;
	client = client_of(&settings);
	SSL_CTX_set_alpn_select_cb(server, choose_h2, &offered);
	talk_begin(&talk, tls_client_new_ssl(client, 0, NULL), server);
	assert_true(talk_run(&talk));
	assert_string_equal(SSL_get_servername(talk.server, TLSEXT_NAMETYPE_host_name),
			    "shop.example");
	assert_str(offered, "\x02h2\x08http/1.1");
	SSL_get0_alpn_selected(talk.client, &alpn, &len);
	assert_int_equal(len, 2);
	talk_end(&talk);
	free((char *)offered.ptr);
	SSL_CTX_free(server);
	tls_client_unref(client);
}

static void test_addresses_are_no_server_names(void **state)
{
	struct tls_client_settings settings = settings_of(STR("10.0.0.1"));
	struct tls_client *client = client_of(&settings);
	SSL_CTX *server = server_of(&made.shop);
	struct talk talk;

	talk_begin(&talk, tls_client_new_ssl(client, 0, NULL), server);
	assert_false(talk_run(&talk)); /* it has another name */
	assert_null(SSL_get_servername(talk.server, TLSEXT_NAMETYPE_host_name));
	talk_end(&talk);
	SSL_CTX_free(server);
	tls_client_unref(client);
}

static bool meets(int min_version, int server_version, const char *ciphers)
{
	struct tls_client_settings settings = settings_of(STR("shop.example"));
	SSL_CTX *server = server_of(&made.shop);
	struct tls_client *client;
	struct talk talk;
	bool through;

	settings.min_version = min_version;
	client = client_of(&settings);
	assert_int_equal(SSL_CTX_set_min_proto_version(server, server_version), 1);
	assert_int_equal(SSL_CTX_set_max_proto_version(server, server_version), 1);
	assert_int_equal(SSL_CTX_set_cipher_list(server, ciphers), 1);
	talk_begin(&talk, tls_client_new_ssl(client, 0, NULL), server);
	through = talk_run(&talk);
	talk_end(&talk);
	SSL_CTX_free(server);
	tls_client_unref(client);
	return through;
}

static void test_old_versions_and_ciphers_are_refused(void **state)
{
	assert_true(meets(TLS1_2_VERSION, TLS1_2_VERSION, "DEFAULT"));
	assert_true(meets(TLS1_2_VERSION, TLS1_3_VERSION, "DEFAULT"));
	assert_true(meets(TLS1_3_VERSION, TLS1_3_VERSION, "DEFAULT"));
	assert_false(meets(TLS1_3_VERSION, TLS1_2_VERSION, "DEFAULT"));
	assert_false(meets(TLS1_2_VERSION, TLS1_1_VERSION, "ALL:@SECLEVEL=0"));
	assert_true(meets(TLS1_2_VERSION, TLS1_2_VERSION, "ECDHE-ECDSA-CHACHA20-POLY1305"));
	assert_false(meets(TLS1_2_VERSION, TLS1_2_VERSION, "ECDHE-ECDSA-AES128-SHA256"));
}

static bool shows(const struct tls_client_settings *settings, int version, unsigned int *ret_chain)
{
	struct tls_client *client = client_of(settings);
	SSL_CTX *server = server_of(&made.shop);
	STACK_OF(X509) * chain;
	struct talk talk;
	bool through;

	assert_int_equal(X509_STORE_add_cert(SSL_CTX_get_cert_store(server), made.root.certificate),
			 1);
	SSL_CTX_set_verify(server, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	assert_int_equal(SSL_CTX_set_max_proto_version(server, version), 1);
	talk_begin(&talk, tls_client_new_ssl(client, 0, NULL), server);
	through = talk_run(&talk);
	chain = SSL_get_peer_cert_chain(talk.server); /* a server's is without the leaf */
	*ret_chain = chain ? (unsigned int)sk_X509_num(chain) : 0;
	talk_end(&talk);
	SSL_CTX_free(server);
	tls_client_unref(client);
	return through;
}

static void test_certificate_of_ours_is_shown_with_its_chain(void **state)
{
	static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
	char *chain_pem = NULL;
	unsigned int chain;

	assert_true(asprintf(&chain_pem, "%.*s%.*s", STR_FMT(made.middle_client.pem),
			     STR_FMT(made.middle.pem)) > 0);
	for (size_t i = 0; i < ARRAY_SIZE(versions); i++) {
		struct tls_client_settings settings = settings_of(STR("shop.example"));

		assert_false(shows(&settings, versions[i], &chain));
		settings.chain_pem = made.client.pem;
		settings.key_pem = made.client.key_pem;
		assert_true(shows(&settings, versions[i], &chain));
		assert_int_equal(chain, 0); /* our authorities are nobody's business */
		settings.chain_pem = str_from_cstr(chain_pem);
		settings.key_pem = made.middle_client.key_pem;
		assert_true(shows(&settings, versions[i], &chain));
		assert_int_equal(chain, 1);
	}
	free(chain_pem);
}

/* ---- what cannot be ---- */

static void refused(const struct tls_client_settings *settings, const char *reason)
{
	struct tls_client *client = NULL;
	struct error err = {0};

	assert_int_equal(tls_client_new(settings, &client, &err), -EINVAL);
	assert_null(client);
	if (!strstr(err.text, reason))
		print_error("%s\n", err.text);
	assert_non_null(strstr(err.text, reason));
	assert_int_equal(ERR_peek_error(), 0);
}

static void test_settings_that_cannot_work_are_refused(void **state)
{
	const struct tls_client_settings good = settings_of(STR("shop.example"));
	struct tls_client_settings settings = good;
	struct tls_san san = {TLS_SAN_IP, STR("10.0.0.300")};
	char *torn = NULL;

	settings.ca_pem = STR_NULL;
	refused(&settings, "needs 'ca'");
	settings.ca_pem = STR("nothing");
	refused(&settings, "ca: no certificate in PEM form");
	settings.ca_pem = made.root.key_pem;
	refused(&settings, "ca: no certificate in PEM form");
	assert_true(asprintf(&torn, "%.*s%.*s", STR_FMT(made.root.pem), 200, made.shop.pem.ptr) >
		    0);
	settings.ca_pem = str_from_cstr(torn);
	refused(&settings, "ca: ");

	settings = good;
	settings.server_name = STR_NULL;
	refused(&settings, "needs 'server_name' or 'san'");
	settings.server_name = STR("*.example");
	refused(&settings, "server_name: '*.example' is no name of a host");
	settings.server_name = STR(".example");
	refused(&settings, "server_name: '.example' is no name of a host");
	settings.server_name = STR("");
	refused(&settings, "server_name: ");
	settings.server_name = STR("a\0b");
	refused(&settings, "server_name: ");
	settings = good;
	settings.sans = &san;
	settings.san_count = 1;
	refused(&settings, "san: '10.0.0.300' is no IP address");
	san = (struct tls_san){TLS_SAN_URI, STR("cart")};
	refused(&settings, "san: 'cart' is no URI");
	san = (struct tls_san){TLS_SAN_DNS, STR("a b")};
	refused(&settings, "san: 'a b' is no name of a host");
	settings.san_count = TLS_SANS_MAX + 1;
	refused(&settings, "san: more than 64 names");

	settings = good;
	settings.chain_pem = made.client.pem;
	settings.key_pem = made.shop.key_pem;
	refused(&settings, "client_cert: the key is not that of the certificate");
	settings.key_pem = STR("no key");
	refused(&settings, "client_cert: no private key in PEM form");
	settings.chain_pem = STR("no certificate");
	refused(&settings, "client_cert: no certificate in PEM form");
	free(torn);
}

static void test_certificate_for_servers_is_not_shown_as_a_client(void **state)
{
	struct tls_client_settings settings = settings_of(STR("shop.example"));
	struct identity server;

	make_identity(&server, &made.root, &(struct wanted){.name = "x", .usage = "serverAuth"});
	settings.chain_pem = server.pem;
	settings.key_pem = server.key_pem;
	refused(&settings, "client_cert: the certificate is not for a TLS client");
	identity_done(&server);
}

/* ---- without memory ---- */

static int make_client(void *arg)
{
	struct tls_client *client = NULL;
	struct error err = {0};
	int r = tls_client_new(arg, &client, &err);

	tls_client_unref(client);
	ERR_clear_error();
	return r;
}

static void test_each_allocation_of_a_client_may_fail(void **state)
{
	struct tls_client_settings settings = settings_of(STR("shop.example"));

	settings.chain_pem = made.client.pem;
	settings.key_pem = made.client.key_pem;
	assert_int_equal(make_client(&settings), 0); /* what is made once is made */
	assert_true(test_failing_each_allocation(make_client, &settings) > 50);
}

static void test_each_allocation_of_a_worker_s_context_may_fail(void **state)
{
	struct tls_client_settings settings = settings_of(STR("shop.example"));
	unsigned int failures = 0;
	bool happened = true;

	assert_non_null(tls_library_get(0));
	for (unsigned int nth = 0; happened; nth++) {
		struct tls_client *client = NULL;
		int r;

		assert_int_equal(tls_client_new(&settings, &client, NULL), 0);
		alloc_fail_arm(nth);
		r = tls_client_prepare(client, 1, NULL);
		happened = alloc_fail_disarm();
		failures += r ? 1 : 0;
		assert_true(happened || !r);
		tls_client_unref(client);
		ERR_clear_error();
	}
	assert_true(failures > 50);
}

struct pair {
	struct tls_client *client;
	SSL_CTX *server;
};

/* A whole handshake, then one that resumes it if the first could be kept. */
static int talk_twice(void *arg)
{
	struct pair *pair = arg;
	struct tls_sessions *sessions = tls_sessions_new();
	int r = sessions ? 0 : -ENOMEM;

	for (int turn = 0; turn < 2 && !r; turn++) {
		SSL *ssl = tls_client_new_ssl(pair->client, 0, sessions);
		SSL *server = SSL_new(pair->server);
		struct talk talk = {.client = ssl, .server = server};
		BIO *left = NULL, *right = NULL;

		if (ssl && server && BIO_new_bio_pair(&left, 1 << 16, &right, 1 << 16) == 1) {
			SSL_set_bio(ssl, left, left);
			SSL_set_bio(server, right, right);
			SSL_set_accept_state(server);
			r = talk_run(&talk) ? 0 : -ENOMEM;
		} else {
			r = -ENOMEM;
		}
		talk_end(&talk);
	}
	tls_sessions_unref(sessions);
	return r;
}

static void test_each_allocation_of_a_connection_may_fail(void **state)
{
	struct tls_client_settings settings = settings_of(STR("shop.example"));
	struct pair pair = {client_of(&settings), server_of(&made.shop)};

	assert_int_equal(talk_twice(&pair), 0);
	assert_true(test_failing_each_allocation(talk_twice, &pair) > 50);
	SSL_CTX_free(pair.server);
	tls_client_unref(pair.client);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_server_is_known_by_its_alternative_name_of_the_same_type),
		cmocka_unit_test(test_one_of_several_expected_names_is_enough),
		cmocka_unit_test(test_chain_must_end_in_an_authority_of_ours),
		cmocka_unit_test(test_authorities_of_a_file_are_all_believed),
		cmocka_unit_test(test_certificates_out_of_time_or_of_another_use_are_refused),
		cmocka_unit_test(test_name_and_protocols_are_sent),
		cmocka_unit_test(test_addresses_are_no_server_names),
		cmocka_unit_test(test_old_versions_and_ciphers_are_refused),
		cmocka_unit_test(test_certificate_of_ours_is_shown_with_its_chain),
		cmocka_unit_test(test_settings_that_cannot_work_are_refused),
		cmocka_unit_test(test_certificate_for_servers_is_not_shown_as_a_client),
		cmocka_unit_test(test_each_allocation_of_a_client_may_fail),
		cmocka_unit_test(test_each_allocation_of_a_worker_s_context_may_fail),
		cmocka_unit_test(test_each_allocation_of_a_connection_may_fail),
	};

	return cmocka_run_group_tests(tests, make_all, free_all);
}

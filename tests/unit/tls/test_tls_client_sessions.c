/* Which sessions are offered to an upstream again. */
#include <time.h>

#include "tls/client_fixture.h"

#include "test_support.h"

static bool resumes_at(struct tls_client *client, SSL_CTX *server, struct tls_sessions *sessions,
		       int64_t now_s)
{
	struct talk talk;
	bool resumed;

	talk_begin(&talk, tls_client_new_ssl_at(client, 0, sessions, now_s), server);
	assert_true(talk_run(&talk));
	resumed = SSL_session_reused(talk.client);
	assert_int_equal(SSL_session_reused(talk.server), resumed);
	talk_end(&talk);
	return resumed;
}

static bool resumes(struct tls_client *client, SSL_CTX *server, struct tls_sessions *sessions)
{
	return resumes_at(client, server, sessions, (int64_t)time(NULL));
}

static void test_sessions_are_resumed_again_and_again(void **state)
{
	static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
	struct tls_client_settings settings = settings_of(STR("shop.example"));

	for (size_t i = 0; i < ARRAY_SIZE(versions); i++) {
		struct tls_client *client = client_of(&settings), *reloaded = client_of(&settings);
		struct tls_sessions *sessions = tls_sessions_new();
		SSL_CTX *server = server_of(&made.shop);

		assert_int_equal(SSL_CTX_set_max_proto_version(server, versions[i]), 1);
		assert_false(resumes(client, server, sessions));
		assert_int_equal(tls_sessions_count(sessions), 1);
		for (int time = 0; time < 5; time++)
			assert_true(resumes(client, server, sessions));
		/* The same settings after a reload. */
		tls_client_unref(client);
		assert_true(resumes(reloaded, server, sessions));
		assert_false(resumes(reloaded, server, NULL));
		assert_int_equal(tls_sessions_count(sessions), 1);
		tls_sessions_unref(sessions);
		tls_client_unref(reloaded);
		SSL_CTX_free(server);
	}
}

static void test_session_of_tls_1_3_is_offered_once(void **state)
{
	struct tls_client_settings settings = settings_of(STR("shop.example"));
	struct tls_client *client = client_of(&settings);
	struct tls_sessions *sessions = tls_sessions_new();
	SSL_CTX *server = server_of(&made.shop);
	struct talk first, second;

	SSL_CTX_set_num_tickets(server, TLS_SESSIONS_MAX + 3);
	assert_false(resumes(client, server, sessions));
	assert_int_equal(tls_sessions_count(sessions), TLS_SESSIONS_MAX);
	talk_begin(&first, tls_client_new_ssl(client, 0, sessions), server);
	talk_begin(&second, tls_client_new_ssl(client, 0, sessions), server);
	assert_int_equal(tls_sessions_count(sessions), TLS_SESSIONS_MAX - 2);
	assert_ptr_not_equal(SSL_get_session(first.client), SSL_get_session(second.client));
	talk_end(&first);
	talk_end(&second);
	tls_sessions_unref(sessions);
	SSL_CTX_free(server);
	tls_client_unref(client);
}

static void test_changed_demands_are_not_met_by_an_old_session(void **state)
{
	const struct tls_san san = {TLS_SAN_DNS, STR("shop.example")};
	struct tls_client_settings settings = settings_of(STR("shop.example")), changed;
	SSL_CTX *server = server_of(&made.shop);
	struct tls_client *loose, *client, *other_ca, *with_san, *with_certificate;
	struct tls_sessions *sessions = tls_sessions_new();
	struct talk talk;

	client = client_of(&settings);
	changed = settings;
	changed.insecure = true;
	loose = client_of(&changed);
	changed = settings;
	changed.ca_pem = made.other_root.pem;
	other_ca = client_of(&changed);
	changed = settings;
	changed.sans = &san;
	changed.san_count = 1;
	changed.server_name = STR("elsewhere.example");
	with_san = client_of(&changed);
	changed = settings;
	changed.chain_pem = made.client.pem;
	changed.key_pem = made.client.key_pem;
	with_certificate = client_of(&changed);

	assert_false(resumes(loose, server, sessions));
	assert_true(resumes(loose, server, sessions));
	assert_false(resumes(client, server, sessions));
	assert_true(resumes(client, server, sessions));
	assert_false(resumes(with_san, server, sessions));
	assert_false(resumes(with_certificate, server, sessions));
	assert_false(resumes(client, server, sessions));
	talk_begin(&talk, tls_client_new_ssl(other_ca, 0, sessions), server);
	assert_false(talk_run(&talk));
	assert_non_null(tls_client_refusal(talk.client));
	talk_end(&talk);
	assert_int_equal(tls_sessions_count(sessions), 0);

	tls_sessions_unref(sessions);
	tls_client_unref(client);
	tls_client_unref(loose);
	tls_client_unref(other_ca);
	tls_client_unref(with_san);
	tls_client_unref(with_certificate);
	SSL_CTX_free(server);
}

static void test_session_ends_with_the_certificate_that_was_looked_at(void **state)
{
	struct tls_client_settings settings = settings_of(STR("shop.example"));
	struct tls_client *client = client_of(&settings);
	struct tls_sessions *sessions = tls_sessions_new();
	int64_t now_s = (int64_t)time(NULL);
	struct identity brief;
	SSL_CTX *server;

	make_identity(&brief, &made.root,
		      &(struct wanted){.name = "x", .san = "DNS:shop.example", .until_s = 1000});
	server = server_of(&brief);
	assert_int_equal(SSL_CTX_set_timeout(server, 5000) >= 0, 1);
	assert_false(resumes(client, server, sessions));
	assert_true(resumes_at(client, server, sessions, now_s + 900));
	assert_false(resumes_at(client, server, sessions, now_s + 1100));
	/* Nor does one from the future, with a clock that was set back. */
	assert_false(resumes_at(client, server, sessions, now_s - 3600));
	tls_sessions_unref(sessions);
	SSL_CTX_free(server);

	sessions = tls_sessions_new();
	server = server_of(&made.shop);
	(void)SSL_CTX_set_timeout(server, 500); /* of the ticket */
	assert_false(resumes(client, server, sessions));
	assert_false(resumes_at(client, server, sessions, now_s + 600));
	tls_sessions_unref(sessions);
	SSL_CTX_free(server);
	identity_done(&brief);
	tls_client_unref(client);
}

static void test_connection_outlives_its_client_and_sessions(void **state)
{
	struct tls_client_settings settings = settings_of(STR("shop.example"));
	struct tls_client *client = client_of(&settings);
	struct tls_sessions *sessions = tls_sessions_new();
	SSL_CTX *server = server_of(&made.shop);
	struct talk talk;

	talk_begin(&talk, tls_client_new_ssl(client, 0, sessions), server);
	tls_client_unref(client);
	tls_sessions_unref(sessions);
	assert_true(talk_run(&talk));
	talk_end(&talk);
	SSL_CTX_free(server);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sessions_are_resumed_again_and_again),
		cmocka_unit_test(test_session_of_tls_1_3_is_offered_once),
		cmocka_unit_test(test_changed_demands_are_not_met_by_an_old_session),
		cmocka_unit_test(test_session_ends_with_the_certificate_that_was_looked_at),
		cmocka_unit_test(test_connection_outlives_its_client_and_sessions),
	};

	return cmocka_run_group_tests(tests, make_all, free_all);
}

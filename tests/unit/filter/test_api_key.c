/* Callers that show a key: the keys file, where keys are looked for, and what becomes known. */
#include "auth_stage.h"

#include <openssl/sha.h>

#include "filter/api_key.h"

#define ANY_DIGEST "8e31ae7fd49be4b98d7d7dd3f5ab55ec8b79ef4a1a2c4f2bb4ef4d0e0f9d1e0f"

static const char *digest_of(const char *key)
{
	static char hex[DIGEST_HEX + 1];
	uint8_t digest[DIGEST_BYTES];

	/* By OpenSSL's own one-shot function: not the code under test. */
	assert_non_null(SHA256((const unsigned char *)key, strlen(key), digest));
	for (size_t i = 0; i < DIGEST_BYTES; i++)
		(void)snprintf(hex + 2 * i, 3, "%02x", digest[i]);
	return hex;
}

static void write_keys(void)
{
	char text[1024];
	size_t len = 0;

	len += (size_t)snprintf(text + len, sizeof(text) - len,
				"# partners\n\nacme sha256:%s groups=partners,eu plan=gold\r\n",
				digest_of("s3cret"));
	len += (size_t)snprintf(text + len, sizeof(text) - len, "acme sha256:%s\n",
				digest_of("s3cret-of-next-year"));
	len += (size_t)snprintf(text + len, sizeof(text) - len,
				"  globex\tsha256:%s  scopes=read,write expires=2999-12-31  \n",
				digest_of("gl"));
	(void)snprintf(text + len, sizeof(text) - len, "late sha256:%s expires=2020-02-29",
		       digest_of("late"));
	config_write_file("keys.txt", text);
}

#define POLICY(inside) "{ name: p, api_key: { keys: { file: keys.txt }, " inside " } }"

static void test_key_in_a_field_names_the_consumer(void **state)
{
	struct auth_stage stage;
	const struct identity *identity;

	write_keys();
	auth_stage_begin(&stage, POLICY("header: X-Api-Key"));
	assert_int_equal(auth_stage_ask(&stage, "/", "x-api-key", "s3cret"), 200);
	identity = &stage.fixture->exchange->identity;
	assert_str(identity_consumer(identity), "acme");
	assert_true(identity_has_group(identity, STR("eu")));
	assert_str(identity_claim(identity, STR("plan")), "gold");
	assert_int_equal(auth_stage_ask(&stage, "/", "X-API-Key", "s3cret-of-next-year"), 200);
	identity = &stage.fixture->exchange->identity;
	assert_str(identity_consumer(identity), "acme");
	assert_false(identity_has_group(identity, STR("eu")));
	assert_int_equal(auth_stage_ask(&stage, "/", "x-api-key", "gl"), 200);
	assert_true(identity_has_scope(&stage.fixture->exchange->identity, STR("write")));
	auth_stage_end(&stage);
}

static void test_what_is_no_known_key_is_refused_and_counted(void **state)
{
	static const struct {
		const char *name, *value, *reason;
	} rows[] = {
		{NULL, NULL, "authentication required: policy 'p': no credentials"},
		{"x_api_key", "s3cret", "authentication required: policy 'p': no credentials"},
		{"x-api-key", "", "authentication failed: policy 'p': key is not known"},
		{"x-api-key", "s3cre", "authentication failed: policy 'p': key is not known"},
		{"x-api-key", "s3cret ,s3cret",
		 "authentication failed: policy 'p': key is not known"},
		{"x-api-key", "S3cret", "authentication failed: policy 'p': key is not known"},
		{"x-api-key", "late", "authentication failed: policy 'p': key has expired"},
	};
	static const char *const two[] = {"x-api-key: s3cret", "x-api-key: s3cret", NULL};
	struct auth_stage stage;
	char big[API_KEY_BYTES_MAX + 2];

	write_keys();
	auth_stage_begin(&stage, POLICY("header: x-api-key"));
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		assert_int_equal(auth_stage_ask(&stage, "/", rows[i].name, rows[i].value), 401);
		assert_string_equal(auth_stage_reason(&stage), rows[i].reason);
		assert_string_equal(stage.fixture->added, "www-authenticate: ApiKey\n");
		assert_int_equal(stage.fixture->exchange->identity.count, 0);
	}
	assert_int_equal(auth_stage_ask_all(&stage, "/", two), 401);
	assert_string_equal(auth_stage_reason(&stage),
			    "authentication failed: policy 'p': several keys");
	memset(big, 'a', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	assert_int_equal(auth_stage_ask(&stage, "/", "x-api-key", big), 401);
	assert_int_equal(policy_stats_sum(stage.list[0]->stats, REFUSAL_NO_CREDENTIALS), 2);
	assert_int_equal(policy_stats_sum(stage.list[0]->stats, REFUSAL_BAD_CREDENTIALS), 7);
	auth_stage_end(&stage);
}

static void test_key_in_the_query_goes_neither_upstream_nor_into_the_log(void **state)
{
	struct auth_stage stage;
	const struct exchange *exchange;

	write_keys();
	auth_stage_begin(&stage, POLICY("query: key"));
	assert_int_equal(auth_stage_ask(&stage, "/a?x=1&k%65y=s3cre%74&y", NULL, NULL), 200);
	exchange = stage.fixture->exchange;
	assert_str(identity_consumer(&exchange->identity), "acme");
	assert_str(exchange->upstream_query, "?x=1&y");
	assert_str(exchange->request.target, "/a?x=1&k%65y=***&y");
	assert_int_equal(auth_stage_ask(&stage, "/a?key=wrong", NULL, NULL), 401);
	assert_str(stage.fixture->exchange->request.target, "/a?key=***");
	assert_int_equal(auth_stage_ask(&stage, "/a?key=s3cret&key=s3cret", NULL, NULL), 401);
	assert_int_equal(auth_stage_ask(&stage, "/a", "key", "s3cret"), 401);
	auth_stage_end(&stage);
}

static void test_upstream_is_told_what_forward_says_and_nothing_a_client_said(void **state)
{
	static const char *const fields[] = {"X-Consumer: root",   "x.consumer: root",
					     "X_Plan: none",	   "x-api-key: s3cret",
					     "accept: text/plain", NULL};
	static const char *const late[] = {"X-Consumer: root", "x_plan: none", NULL};
	struct auth_stage stage;

	write_keys();
	auth_stage_begin(&stage, POLICY("header: x-api-key, optional: true, forward: "
					"{ consumer: x-consumer, plan: x-plan, groups: x-groups, "
					"nothing: x-nothing }"));
	assert_int_equal(auth_stage_ask_all(&stage, "/", fields), 200);
	assert_string_equal(auth_stage_fields(&stage), "accept: text/plain\nx-consumer: acme\n"
						       "x-plan: gold\nx-groups: partners,eu\n");
	assert_int_equal(auth_stage_ask_all(&stage, "/", late), 200); /* optional: nobody */
	assert_string_equal(auth_stage_fields(&stage), "");
	assert_int_equal(stage.fixture->exchange->identity.count, 0);
	assert_int_equal(auth_stage_ask(&stage, "/", "x-api-key", "wrong"), 401);
	auth_stage_end(&stage);
}

static void test_credentials_are_kept_where_it_is_asked_for(void **state)
{
	struct auth_stage stage;

	write_keys();
	auth_stage_begin(&stage, POLICY("header: x-api-key, query: key, keep_credentials: true, "
					"forward: x-consumer"));
	assert_int_equal(auth_stage_ask(&stage, "/?key=s3cret", NULL, NULL), 200);
	assert_str(stage.fixture->exchange->upstream_query, "?key=s3cret");
	assert_int_equal(auth_stage_ask(&stage, "/", "x-api-key", "s3cret"), 200);
	assert_string_equal(auth_stage_fields(&stage), "x-api-key: s3cret\nx-consumer: acme\n");
	assert_int_equal(auth_stage_ask(&stage, "/?key=s3cret", "x-api-key", "s3cret"), 401);
	auth_stage_end(&stage);
}

static void test_many_keys_are_all_found(void **state)
{
	enum { COUNT = 3000 };
	static char text[COUNT * 100];
	struct auth_stage stage;
	size_t len = 0;
	char key[32];

	for (int i = 0; i < COUNT; i++) {
		(void)snprintf(key, sizeof(key), "key-%d", i);
		len += (size_t)snprintf(text + len, sizeof(text) - len, "c%d sha256:%s\n", i,
					digest_of(key));
	}
	config_write_file("keys.txt", text);
	auth_stage_begin(&stage, POLICY("header: x-api-key"));
	for (int i = 0; i < COUNT; i++) {
		const struct api_key *api_key = stage.list[0]->conf;
		const struct api_key_entry *entry;
		char consumer[16];

		(void)snprintf(key, sizeof(key), "key-%d", i);
		(void)snprintf(consumer, sizeof(consumer), "c%d", i);
		entry = api_key_find(&api_key->table, str_from_cstr(key));
		assert_non_null(entry);
		assert_str(entry->finding.consumer, consumer);
		(void)snprintf(key, sizeof(key), "key-%d", i + COUNT);
		assert_null(api_key_find(&api_key->table, str_from_cstr(key)));
	}
	auth_stage_end(&stage);
}

static void test_lines_that_cannot_be_keys_are_told_with_their_place(void **state)
{
	static const struct {
		const char *line, *error;
	} rows[] = {
		{"", "keys.txt:1:1: there is no key in the file"},
		{"# x\n", "there is no key in the file"},
		{"acme s3cret\n", "keys.txt:1:6: expected 'sha256:' and the 64 hex digits"},
		{"acme\n", "keys.txt:1:5: expected 'sha256:'"},
		{"acme sha256:" ANY_DIGEST "0\n", "expected 'sha256:' and the 64 hex digits"},
		{"acme sha1:" ANY_DIGEST "\n", "expected 'sha256:' and the 64 hex digits"},
		{"a,b sha256:" ANY_DIGEST "\n", "keys.txt:1:1: a consumer has up to 63"},
		{"a sha256:" ANY_DIGEST " x\n", "keys.txt:1:75: expected NAME=VALUE: 'x'"},
		{"a sha256:" ANY_DIGEST " x=\n", "expected NAME=VALUE: 'x='"},
		{"a sha256:" ANY_DIGEST " x=\x01\n", "expected NAME=VALUE: 'x=\\x01'"},
		{"a sha256:" ANY_DIGEST " x=1 x=2\n", "is given twice: 'x'"},
		{"a sha256:" ANY_DIGEST " consumer=b\n", "the consumer is the first word"},
		{"a sha256:" ANY_DIGEST " groups=a,,b\n", "expected up to 64 names"},
		{"a sha256:" ANY_DIGEST " groups=a groups=b\n", "is given twice"},
		{"a sha256:" ANY_DIGEST " expires=2027-02-30\n", "expected a day as YYYY-MM-DD"},
		{"a sha256:" ANY_DIGEST " expires=27-2-3\n", "expected a day as YYYY-MM-DD"},
		{"a sha256:" ANY_DIGEST " expires=never\n", "expected a day as YYYY-MM-DD"},
		{"a sha256:" ANY_DIGEST "\n\nb sha256:" ANY_DIGEST "\n",
		 "keys.txt:3:1: the same key stands in an earlier line"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		config_write_file("keys.txt", rows[i].line);
		assert_policy_refused("api_key: { header: x-key, keys: { file: keys.txt } }",
				      rows[i].error);
	}
}

static void test_what_the_policy_itself_cannot_be_is_told(void **state)
{
	static const struct {
		const char *policy, *error;
	} rows[] = {
		{"api_key: { header: x-key }", "policy 'p': api_key: 'keys' is required"},
		{"api_key: { keys: { file: keys.txt } }", "needs 'header' or 'query'"},
		{"api_key: { header: x-key, keys: { file: nope.txt } }",
		 "api_key: keys: file 'nope.txt' cannot be read"},
		{"api_key: { header: x-key, keys: keys.txt }", "api_key: keys: expected a mapping"},
		{"api_key: { header: \"x key\", keys: { file: keys.txt } }",
		 "header: expected the name of a field, got 'x key'"},
		{"api_key: { header: content-length, keys: { file: keys.txt } }",
		 "header: 'content-length' has a meaning of its own"},
		{"api_key: { header: cookie, keys: { file: keys.txt } }",
		 "header: 'cookie' has a meaning of its own"},
		{"api_key: { header: x-key, keys: { file: keys.txt }, forward: Host }",
		 "forward: 'Host' is not a field that a policy may set"},
		{"api_key: { header: x-key, keys: { file: keys.txt }, forward: x-forwarded-for }",
		 "forward: 'x-forwarded-for' is not a field that a policy may set"},
		{"api_key: { header: x-key, keys: { file: keys.txt }, forward: authorization }",
		 "forward: 'authorization' is not a field that a policy may set"},
		{"api_key: { header: x-key, keys: { file: keys.txt }, forward: x_key }",
		 "forward: credentials are read of 'x-key'"},
		{"api_key: { header: x-key, keys: { file: keys.txt }, "
		 "forward: { consumer: x-a, plan: X.A } }",
		 "forward: field 'X.A' is set twice"},
		{"api_key: { header: x-key, keys: { file: keys.txt }, forward: [ x ] }",
		 "forward: expected a field for the consumer"},
	};

	write_keys();
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		assert_policy_refused(rows[i].policy, rows[i].error);
}

static void test_effective_configuration_names_the_file_and_shows_no_key(void **state)
{
	struct auth_stage stage;
	struct buf out;

	write_keys();
	auth_stage_begin(&stage, POLICY("header: X-Api-Key, forward: X-Consumer"));
	buf_init(&out, 1 << 20);
	assert_int_equal(config_print_effective(stage.loaded.snapshot, &out), 0);
	assert_int_equal(buf_append(&out, str_make("", 1)), 0);
	assert_non_null(strstr(out.data, "header: x-api-key"));
	assert_non_null(strstr(out.data, "consumer: x-consumer"));
	assert_non_null(strstr(out.data, "/keys.txt"));
	assert_null(strstr(out.data, digest_of("s3cret")));
	buf_done(&out);
	auth_stage_end(&stage);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_key_in_a_field_names_the_consumer),
		cmocka_unit_test(test_what_is_no_known_key_is_refused_and_counted),
		cmocka_unit_test(test_key_in_the_query_goes_neither_upstream_nor_into_the_log),
		cmocka_unit_test(test_upstream_is_told_what_forward_says_and_nothing_a_client_said),
		cmocka_unit_test(test_credentials_are_kept_where_it_is_asked_for),
		cmocka_unit_test(test_many_keys_are_all_found),
		cmocka_unit_test(test_lines_that_cannot_be_keys_are_told_with_their_place),
		cmocka_unit_test(test_what_the_policy_itself_cannot_be_is_told),
		cmocka_unit_test(test_effective_configuration_names_the_file_and_shows_no_key),
	};

	return cmocka_run_group_tests(tests, config_enter_dir, config_leave_dir);
}

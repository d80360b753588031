/* The policy rate_limit: for whom it counts, what it tells, and what its configuration may say. */
#include "auth_stage.h"

#include <openssl/sha.h>

#include "filter/rate_limit.h"

#define LIMIT(inside) "{ name: few, rate_limit: { rate: 1/h, burst: 2, " inside " } }"

static void check(struct auth_stage *stage, const char *const *fields, unsigned int status)
{
	assert_int_equal(auth_stage_ask_all(stage, "/", fields), status);
}

static void test_client_is_told_how_far_it_may_go(void **state)
{
	struct auth_stage stage;

	auth_stage_begin(&stage, LIMIT(""));
	assert_int_equal(auth_stage_ask(&stage, "/", NULL, NULL), 200);
	assert_string_equal(stage.fixture->added, "ratelimit-policy: \"few\";q=2;w=7200\n"
						  "ratelimit: \"few\";r=1;t=3600\n");
	assert_int_equal(auth_stage_ask(&stage, "/", NULL, NULL), 200);
	assert_string_equal(stage.fixture->added, "ratelimit-policy: \"few\";q=2;w=7200\n"
						  "ratelimit: \"few\";r=0;t=7200\n");
	assert_int_equal(auth_stage_ask(&stage, "/", NULL, NULL), 429);
	assert_string_equal(stage.fixture->added, "ratelimit-policy: \"few\";q=2;w=7200\n"
						  "ratelimit: \"few\";r=0;t=7200\n"
						  "retry-after: 3600\n");
	assert_string_equal(auth_stage_reason(&stage),
			    "too many requests: policy 'few': more than 2 at once and 1 in 3600 s");
	assert_int_equal(policy_stats_sum(stage.list[0]->stats, REFUSAL_LIMITED), 1);
	auth_stage_end(&stage);
}

static void test_several_limits_are_told_in_one_field_each(void **state)
{
	struct auth_stage stage;

	auth_stage_begin(&stage, "{ name: a, rate_limit: { rate: 10/s } }, "
				 "{ name: b, rate_limit: { rate: 1/m } }, "
				 "{ name: c, rate_limit: { rate: 1/m, headers: off } }");
	assert_int_equal(auth_stage_ask(&stage, "/", NULL, NULL), 200);
	assert_string_equal(stage.fixture->added,
			    "ratelimit-policy: \"a\";q=10;w=1, \"b\";q=1;w=60\n"
			    "ratelimit: \"a\";r=9;t=1, \"b\";r=0;t=60\n");
	assert_int_equal(auth_stage_ask(&stage, "/", NULL, NULL), 429);
	assert_string_equal(stage.fixture->added,
			    "ratelimit-policy: \"a\";q=10;w=1, \"b\";q=1;w=60\n"
			    "ratelimit: \"a\";r=8;t=1, \"b\";r=0;t=60\n"
			    "retry-after: 60\n");
	auth_stage_end(&stage);
}

/* ---- keys ---- */

static void test_fields_tell_callers_apart(void **state)
{
	static const char *const rows[][4] = {
		{"x-a: 1", NULL},
		{"x-a: 2", NULL},
		{"x-a: 1", "x-a: 2", NULL},
		{"x-a: 12", NULL},
		{"x-a: ", NULL},
		{NULL},
		{"x-a: 1", "x-b: 1", NULL},
		{"x-a: 2", "x-a: 1", NULL},
		{"x-b: 1", NULL},
		{"x-b: 1", "x-a: ", NULL},
	};
	struct auth_stage stage;

	auth_stage_begin(&stage, LIMIT("key: [ { header: X-A }, { header: x-b } ]"));
	for (unsigned int turn = 0; turn < 3; turn++)
		for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
			check(&stage, rows[i], turn < 2 ? 200 : 429);
	/* Case of names and order among others say nothing. */
	check(&stage, (const char *const[]){"X-A: 1", NULL}, 429);
	check(&stage, (const char *const[]){"x-b: 1", "x-c: 3", "x-a: 1", NULL}, 429);
	auth_stage_end(&stage);
}

static void set_client(struct auth_stage *stage, const char *text)
{
	assert_int_equal(ip_addr_parse(str_from_cstr(text), &stage->fixture->peer), 0);
}

static void test_addresses_count_by_prefix(void **state)
{
	static const struct {
		const char *limit, *first, *same, *other;
	} rows[] = {
		{"", "192.0.2.1", "192.0.2.1", "192.0.2.2"},
		{"key: source", "2001:db8::1", "2001:db8:0:0:ffff::2", "2001:db8:0:1::1"},
		{"key: { source: { ipv4: 24 } }", "192.0.2.1", "192.0.2.254", "192.0.3.1"},
		{"key: { source: { ipv4: 31, ipv6: 61 } }", "192.0.2.4", "192.0.2.5", "192.0.2.6"},
		{"key: { source: { ipv6: 61 } }",
		 "2001:db8:0:8::", "2001:db8:0:f::", "2001:db8:0:10::"},
	};
	struct auth_stage stage;
	char text[128];

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		(void)snprintf(text, sizeof(text), LIMIT("%s"), rows[i].limit);
		auth_stage_begin(&stage, text);
		set_client(&stage, rows[i].first);
		assert_int_equal(auth_stage_ask(&stage, "/", NULL, NULL), 200);
		assert_int_equal(auth_stage_ask(&stage, "/", NULL, NULL), 200);
		set_client(&stage, rows[i].same);
		assert_row(rows[i].limit, auth_stage_ask(&stage, "/", NULL, NULL) == 429);
		set_client(&stage, rows[i].other);
		assert_row(rows[i].limit, auth_stage_ask(&stage, "/", NULL, NULL) == 200);
		auth_stage_end(&stage);
	}
}

static void write_keys(void)
{
	static const char *const rows[][3] = {{"acme", "k1", "plan=gold"},
					      {"acme", "k2", "plan=gold"},
					      {"globex", "k3", "plan=gold"},
					      {"initech", "k4", ""}};
	char text[1024];
	size_t len = 0;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		uint8_t digest[32];

		(void)SHA256((const unsigned char *)rows[i][1], strlen(rows[i][1]), digest);
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s sha256:", rows[i][0]);
		for (size_t j = 0; j < sizeof(digest); j++)
			len += (size_t)snprintf(text + len, sizeof(text) - len, "%02x", digest[j]);
		len += (size_t)snprintf(text + len, sizeof(text) - len, " %s\n", rows[i][2]);
	}
	config_write_file("keys.txt", text);
}

#define KEYED "{ name: who, api_key: { header: x-key, optional: on, keys: { file: keys.txt } } }, "

static void test_consumers_and_claims_of_policies_before(void **state)
{
	struct auth_stage stage;

	write_keys();
	auth_stage_begin(&stage, KEYED LIMIT("key: consumer"));
	assert_int_equal(auth_stage_ask(&stage, "/", "x-key", "k1"), 200);
	assert_int_equal(auth_stage_ask(&stage, "/", "x-key", "k2"), 200);
	assert_int_equal(auth_stage_ask(&stage, "/", "x-key", "k2"), 429);
	assert_int_equal(auth_stage_ask(&stage, "/", "x-key", "k3"), 200);
	assert_int_equal(auth_stage_ask(&stage, "/", NULL, NULL), 200);
	assert_int_equal(auth_stage_ask(&stage, "/", NULL, NULL), 200);
	assert_int_equal(auth_stage_ask(&stage, "/", NULL, NULL), 429);
	auth_stage_end(&stage);
	auth_stage_begin(&stage, KEYED LIMIT("key: { claim: plan }"));
	assert_int_equal(auth_stage_ask(&stage, "/", "x-key", "k1"), 200);
	assert_int_equal(auth_stage_ask(&stage, "/", "x-key", "k3"), 200);
	assert_int_equal(auth_stage_ask(&stage, "/", "x-key", "k2"), 429);
	assert_int_equal(auth_stage_ask(&stage, "/", "x-key", "k4"), 200);
	assert_int_equal(auth_stage_ask(&stage, "/", NULL, NULL), 200);
	assert_int_equal(auth_stage_ask(&stage, "/", "x-key", "k4"), 429);
	auth_stage_end(&stage);
}

/* ---- configuration ---- */

static void test_configuration_errors(void **state)
{
	static const struct {
		const char *inside, *error;
	} rows[] = {
		{"burst: 3", "rate_limit: 'rate' is required"},
		{"rate: 10", "rate_limit: rate: expected a rate such as 100/s, 5/m or 1000/h, got "
			     "'10'"},
		{"rate: 0/s", "rate_limit: rate: expected a rate such as 100/s, 5/m or 1000/h, got "
			      "'0/s'"},
		{"rate: 1/ms", "rate_limit: rate: expected a rate such as 100/s, 5/m or 1000/h, "
			       "got '1/ms'"},
		{"rate: 1/s, burst: 0", "rate_limit: burst: must be 1 to 1000000000, got '0'"},
		{"rate: 1/d, burst: 101", "rate_limit: burst: it would take more than 100 days "
					  "until all of it is there"},
		{"rate: 1/s, key: []", "rate_limit: key: needs 1 to 8 parts"},
		{"rate: 1/s, key: address",
		 "rate_limit: key: expected source, consumer, route, { header: NAME }, { claim: "
		 "NAME } or { source: { ipv4: BITS, ipv6: BITS } }, got 'address'"},
		{"rate: 1/s, key: [ { header: a, claim: b } ]",
		 "rate_limit: key: expected source, consumer, route, { header: NAME }, { claim: "
		 "NAME } or { source: { ipv4: BITS, ipv6: BITS } }, got a mapping"},
		{"rate: 1/s, key: { header: 'a b' }",
		 "rate_limit: key: header: expected a name, got 'a b'"},
		{"rate: 1/s, key: { claim: [] }",
		 "rate_limit: key: claim: expected a name, got a list"},
		{"rate: 1/s, key: { source: { ipv4: 33 } }",
		 "rate_limit: key: source: ipv4: must be 1 to 32, got '33'"},
		{"rate: 1/s, keys: 10", "rate_limit: keys: must be 1024 to 16777216, got '10'"},
		{"rate: 1/s, store: shared", "rate_limit: 'store' is not supported yet"},
	};
	char policy[160], error[256];

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		(void)snprintf(policy, sizeof(policy), "rate_limit: { %s }", rows[i].inside);
		(void)snprintf(error, sizeof(error), "policy 'p': %s", rows[i].error);
		assert_policy_refused(policy, error);
	}
}

/* What is printed reads back to the same. */
static void test_effective_configuration_reads_back(void **state)
{
	struct auth_stage stage;
	struct buf first, second;
	struct loaded loaded;

	auth_stage_begin(&stage, "{ name: a, rate_limit: { rate: 5/m, headers: off, key: [ route, "
				 "{ claim: sub }, { source: { ipv4: 24 } }, { header: X-A } ] } }, "
				 "{ name: b, rate_limit: { rate: 20/d, burst: 7, keys: 4096 } }");
	buf_init(&first, 1 << 20);
	buf_init(&second, 1 << 20);
	assert_int_equal(config_print_effective(stage.loaded.snapshot, &first), 0);
	assert_int_equal(buf_append(&first, str_make("", 1)), 0);
	assert_non_null(strstr(first.data, "rate: 5/m"));
	assert_non_null(strstr(first.data, "burst: 7"));
	config_load_text(&loaded, first.data, NULL);
	assert_string_equal(loaded.printed.data, "");
	assert_int_equal(config_print_effective(loaded.snapshot, &second), 0);
	assert_int_equal(buf_append(&second, str_make("", 1)), 0);
	assert_string_equal(first.data, second.data);
	loaded_done(&loaded);
	buf_done(&first);
	buf_done(&second);
	auth_stage_end(&stage);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_client_is_told_how_far_it_may_go),
		cmocka_unit_test(test_several_limits_are_told_in_one_field_each),
		cmocka_unit_test(test_fields_tell_callers_apart),
		cmocka_unit_test(test_addresses_count_by_prefix),
		cmocka_unit_test(test_consumers_and_claims_of_policies_before),
		cmocka_unit_test(test_configuration_errors),
		cmocka_unit_test(test_effective_configuration_reads_back),
	};

	return cmocka_run_group_tests(tests, config_enter_dir, config_leave_dir);
}

/* Rules about callers and requests: which hold, which are refused, and what is said of it. */
#include "auth_stage.h"

#include <openssl/sha.h>
#include <stdlib.h>

#include "filter/authorize.h"

#define MONDAY_NOON 1769428800ULL /* 2026-01-26T12:00:00Z */
#define HOUR	    3600ULL

static const struct str groups[] = {{"partners", 8}};
static const struct str scopes[] = {{"read", 4}, {"write", 5}};
static const struct identity_claim claims[] = {
	{{"sub", 3}, {"a b", 3}, false},
	{{"role", 4}, {"editor", 6}, true},
	{{"role", 4}, {"auditor", 7}, true},
	{{"org.id", 6}, {"17", 2}, false},
};
static const struct identity_finding finding = {
	.scheme = "jwt",
	.consumer = {"acme", 4},
	.groups = groups,
	.group_count = ARRAY_SIZE(groups),
	.scopes = scopes,
	.scope_count = ARRAY_SIZE(scopes),
	.claims = claims,
	.claim_count = ARRAY_SIZE(claims),
};
static struct route_param params[] = {{{"user", 4}, {"a%20b", 5}}, {{"org", 3}, {"17", 2}}};

/* POST /orgs/17/users/a%20b from 192.0.2.7, by acme. */
static void make_exchange(struct exchange *exchange)
{
	*exchange = (struct exchange){
		.request = {.method = STR("POST")},
		.path = STR("/orgs/17/users/a%20b"),
		.params = params,
		.param_count = ARRAY_SIZE(params),
		.client = {AF_INET, {192, 0, 2, 7}},
	};
	assert_true(identity_add(&exchange->identity, STR("users"), &finding));
}

/* The policy's conf out of its text, as long as `loaded` lives. */
static const struct authorize *load(struct loaded *loaded, const char *rule)
{
	char text[1024];

	(void)snprintf(text, sizeof(text),
		       CONFIG_HEAD "policies: [ { name: p, authorize: { %s } } ]\n", rule);
	config_load_text(loaded, text, NULL);
	if (loaded->result)
		fail_msg("%s: %s", rule, loaded->printed.data);
	return loaded->snapshot->policies[0].conf;
}

static void assert_holds(const char *rule, const struct exchange *exchange, uint64_t wall_s,
			 const char *why_not)
{
	struct loaded loaded;
	const struct authorize *authorize = load(&loaded, rule);
	struct buf why;
	bool holds;

	buf_init(&why, 1000);
	holds = authorize_holds(authorize, exchange, wall_s, &why);
	if (holds != !why_not || (why_not && !str_eq_cstr(buf_str(&why), why_not)))
		fail_msg("%s: %s '%.*s'", rule,
			 holds ? "holds" : "does not hold:", STR_FMT(buf_str(&why)));
	buf_done(&why);
	loaded_done(&loaded);
}

static const struct {
	const char *rule, *why_not; /* NULL: it holds */
} rows[] = {
	{"known: true", NULL},
	{"claim: role", NULL},
	{"claim: role, in: [ admin, auditor ]", NULL},
	{"claim: role, in: [ audit, Auditor, \"editor,auditor\" ]", "claim 'role'"},
	{"claim: org.id, in: [ \"17\" ]", NULL},
	{"claim: org", "claim 'org'"},
	{"scope: read", NULL},
	{"scope: [ admin, write ]", NULL},
	{"scope: [ rea ]", "scope"},
	{"group: [ partners ]", NULL},
	{"group: [ read ]", "group"},
	{"consumer: [ globex, acme ]", NULL},
	{"consumer: [ acm ]", "consumer"},
	{"method: [ GET, POST ]", NULL},
	{"method: GET", "method"},
	{"path: { prefix: /orgs }", NULL},
	{"path: { prefix: /orgs/17/ }", NULL},
	{"path: { prefix: / }", NULL},
	{"path: { prefix: /org }", "path"},
	{"path: { exact: \"/orgs/17/users/a%20b\" }", NULL},
	{"path: { exact: /orgs/17 }", "path"},
	{"variable: user, equals_claim: sub", NULL},
	{"variable: org, equals_claim: org.id", NULL},
	{"variable: org, equals_claim: sub", "variable 'org'"},
	{"variable: user, equals_claim: nothing", "variable 'user'"},
	{"variable: nothing, equals_claim: sub", "variable 'nothing'"},
	{"variable: org, in: [ \"16\", \"17\" ]", NULL},
	{"variable: org, in: [ \"1\" ]", "variable 'org'"},
	{"source: [ 10.0.0.0/8, 192.0.2.0/24 ]", NULL},
	{"source: [ \"2001:db8::/32\", 192.0.3.0/24 ]", "source"},
	{"not: { claim: role, in: [ admin ] }", NULL},
	{"not: { known: true }", "not known"},
	{"all: [ { known: true }, { method: POST } ]", NULL},
	{"all: [ { method: GET }, { scope: admin } ]", "method"},
	{"any: [ { method: GET }, { scope: read } ]", NULL},
	{"any: [ { all: [ { claim: role, in: [ admin ] }, { method: GET } ] }, "
	 "{ source: [ 10.0.0.0/8 ] } ]",
	 "none of (claim 'role'; source)"},
	{"time: { from: \"08:00\", to: \"18:00\" }", NULL},
	{"time: { from: \"12:00\", to: \"12:01\", days: mon }", NULL},
	{"time: { from: \"12:01\", to: \"24:00\" }", "time"},
	{"time: { from: \"11:00\", to: \"12:00\" }", "time"},
	{"time: { from: \"08:00\", to: \"18:00\", days: [ sun, tue ] }", "time"},
	{"time: { from: \"22:00\", to: \"12:30\", days: sun }", NULL},
	{"time: { from: \"22:00\", to: \"12:30\", days: mon }", "time"},
	{"time: { from: \"12:00\", to: \"06:00\", days: mon }", NULL},
};

static void test_rules_hold_or_say_why_not(void **state)
{
	struct exchange *exchange = calloc(1, sizeof(*exchange));

	assert_non_null(exchange);
	make_exchange(exchange);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		assert_holds(rows[i].rule, exchange, MONDAY_NOON, rows[i].why_not);
	free(exchange);
}

static void test_days_and_hours_go_on_over_midnight_and_the_week(void **state)
{
	static const struct {
		const char *rule;
		uint64_t wall_s;
		bool holds;
	} times[] = {
		{"time: { from: \"22:00\", to: \"06:00\", days: sat }", MONDAY_NOON - 31 * HOUR,
		 true}, /* Sunday 05:00 */
		{"time: { from: \"22:00\", to: \"06:00\", days: sat }", MONDAY_NOON - 30 * HOUR,
		 false},
		{"time: { from: \"22:00\", to: \"06:00\", days: sat }", MONDAY_NOON - 38 * HOUR,
		 true}, /* Saturday 22:00 */
		{"time: { from: \"22:00\", to: \"06:00\", days: sat }", MONDAY_NOON - 55 * HOUR,
		 false}, /* Saturday 05:00: that night is Friday's */
		{"time: { from: \"00:00\", to: \"24:00\", days: thu }", 0, true},
		{"time: { from: \"00:00\", to: \"24:00\", days: thu }", 24 * HOUR - 1, true},
		{"time: { from: \"00:00\", to: \"24:00\", days: thu }", 24 * HOUR, false},
	};
	struct exchange *exchange = calloc(1, sizeof(*exchange));

	assert_non_null(exchange);
	make_exchange(exchange);
	for (size_t i = 0; i < ARRAY_SIZE(times); i++)
		assert_holds(times[i].rule, exchange, times[i].wall_s,
			     times[i].holds ? NULL : "time");
	free(exchange);
}

static void test_nobody_is_in_no_group_and_ambiguous_paths_hold_nothing(void **state)
{
	struct exchange *exchange = calloc(1, sizeof(*exchange));

	assert_non_null(exchange);
	make_exchange(exchange);
	exchange->path_ambiguous = true;
	assert_holds("path: { prefix: / }", exchange, 0, "path is ambiguous");
	assert_holds("not: { path: { prefix: /admin } }", exchange, 0, "path is ambiguous");
	assert_holds("any: [ { known: true }, { variable: org, in: [ \"17\" ] } ]", exchange, 0,
		     "path is ambiguous");
	assert_holds("known: true", exchange, 0, NULL);
	exchange->identity.count = 0;
	assert_holds("known: true", exchange, 0, "known");
	assert_holds("consumer: acme", exchange, 0, "consumer");
	assert_holds("claim: sub", exchange, 0, "claim 'sub'");
	free(exchange);
}

static void test_extended_connect_is_a_get(void **state)
{
	struct exchange *exchange = calloc(1, sizeof(*exchange));

	assert_non_null(exchange);
	make_exchange(exchange);
	exchange->request.method = STR("CONNECT");
	exchange->request.protocol = STR("websocket");
	assert_holds("method: GET", exchange, 0, NULL);
	free(exchange);
}

static void write_key(void)
{
	uint8_t digest[SHA256_DIGEST_LENGTH];
	char text[256];
	size_t len = (size_t)snprintf(text, sizeof(text), "acme sha256:");

	assert_non_null(SHA256((const unsigned char *)"k", 1, digest));
	for (size_t i = 0; i < sizeof(digest); i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%02x", digest[i]);
	config_write_file("keys.txt", text);
}

static void test_who_is_nobody_hears_401_and_who_may_not_403(void **state)
{
	struct auth_stage stage;

	write_key();
	auth_stage_begin(&stage, "{ name: keys, api_key: { header: x-key, optional: true, "
				 "keys: { file: keys.txt } } }, "
				 "{ name: staff, authorize: { group: staff } }");
	assert_int_equal(auth_stage_ask(&stage, "/", NULL, NULL), 401);
	assert_string_equal(stage.fixture->added, "www-authenticate: ApiKey\n");
	assert_string_equal(auth_stage_reason(&stage),
			    "authentication required: policy 'staff': nobody is known; does not "
			    "hold: group");
	assert_int_equal(auth_stage_ask(&stage, "/", "x-key", "k"), 403);
	assert_string_equal(stage.fixture->added, "");
	assert_string_equal(auth_stage_reason(&stage),
			    "not allowed: policy 'staff': does not hold: group");
	assert_int_equal(policy_stats_sum(stage.list[1]->stats, REFUSAL_DENIED), 1);
	assert_int_equal(policy_stats_sum(stage.list[1]->stats, REFUSAL_NO_CREDENTIALS), 1);
	auth_stage_end(&stage);
	/* Nothing that the caller could show would help. */
	auth_stage_begin(&stage, "{ name: keys, api_key: { header: x-key, optional: true, "
				 "keys: { file: keys.txt } } }, "
				 "{ name: gets, authorize: { method: POST } }");
	assert_int_equal(auth_stage_ask(&stage, "/", NULL, NULL), 403);
	auth_stage_end(&stage);
	/* Nobody asks who it is. */
	auth_stage_begin(&stage, "{ name: staff, authorize: { group: staff } }");
	assert_int_equal(auth_stage_ask(&stage, "/", NULL, NULL), 403);
	auth_stage_end(&stage);
}

static void test_what_is_no_rule_is_told(void **state)
{
	static const struct {
		const char *policy, *error;
	} refused[] = {
		{"authorize: {}", "policy 'p': authorize: expected a rule: 'any', 'all', 'not'"},
		{"authorize: []", "policy 'p': authorize: expected a rule"},
		{"authorize: { any: [] }", "authorize: any: expected 1 to 64 rules"},
		{"authorize: { any: { known: true } }", "authorize: any: expected a list"},
		{"authorize: { all: [ { known: true }, 3 ] }", "authorize: all: expected a rule"},
		{"authorize: { known: true, method: GET }",
		 "authorize: has 'known' already; several rules stand in 'all' or 'any'"},
		{"authorize: { known: false }", "known: expected true"},
		{"authorize: { grup: x }", "unknown key 'grup'; did you mean 'group'?"},
		{"authorize: { scope: [] }", "scope: an empty list holds for nobody"},
		{"authorize: { method: get }", "method: 'get' is not a method in capitals"},
		{"authorize: { method: GET, in: [ x ] }", "'in' belongs to 'claim' or 'variable'"},
		{"authorize: { claim: a, equals_claim: b }",
		 "'equals_claim' belongs to 'variable'"},
		{"authorize: { variable: a }", "exactly one of 'in' and 'equals_claim'"},
		{"authorize: { path: {} }", "needs exactly one of 'prefix' and 'exact'"},
		{"authorize: { path: { prefix: /a/../b } }", "'/a/../b' is no path in its"},
		{"authorize: { path: { prefix: \"/%61\" } }", "'/%61' is no path in its"},
		{"authorize: { source: [ 10.0.0.0/33 ] }", "source: '10.0.0.0/33'"},
		{"authorize: { time: { from: \"8:00\", to: \"18:00\" } }", "expected a time as"},
		{"authorize: { time: { from: \"08:60\", to: \"18:00\" } }", "expected a time as"},
		{"authorize: { time: { from: \"08:00\", to: \"24:01\" } }", "expected a time as"},
		{"authorize: { time: { from: \"08:00\", to: \"08:00\" } }", "are the same"},
		{"authorize: { time: { from: \"08:00\", to: \"09:00\", days: [ mo ] } }",
		 "expected sun, mon, tue"},
		{"authorize: { country: [ DE ] }", "'country' is not supported yet"},
		{"authorize: { not: { not: { not: { not: { not: { not: { known: true } } } } } } }",
		 "rules are nested more than 5 deep"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(refused); i++)
		assert_policy_refused(refused[i].policy, refused[i].error);
}

static void test_every_rule_is_printed_as_it_can_be_read_again(void **state)
{
	struct loaded loaded, again;
	struct buf first, second;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		(void)load(&loaded, rows[i].rule);
		buf_init(&first, 1 << 20);
		buf_init(&second, 1 << 20);
		assert_int_equal(config_print_effective(loaded.snapshot, &first), 0);
		assert_int_equal(buf_append(&first, str_make("", 1)), 0);
		config_load_text(&again, first.data, NULL);
		assert_string_equal(again.printed.data, "");
		assert_int_equal(config_print_effective(again.snapshot, &second), 0);
		assert_int_equal(buf_append(&second, str_make("", 1)), 0);
		assert_string_equal(first.data, second.data);
		buf_done(&first);
		buf_done(&second);
		loaded_done(&loaded);
		loaded_done(&again);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rules_hold_or_say_why_not),
		cmocka_unit_test(test_days_and_hours_go_on_over_midnight_and_the_week),
		cmocka_unit_test(test_nobody_is_in_no_group_and_ambiguous_paths_hold_nothing),
		cmocka_unit_test(test_extended_connect_is_a_get),
		cmocka_unit_test(test_who_is_nobody_hears_401_and_who_may_not_403),
		cmocka_unit_test(test_what_is_no_rule_is_told),
		cmocka_unit_test(test_every_rule_is_printed_as_it_can_be_read_again),
	};

	return cmocka_run_group_tests(tests, config_enter_dir, config_leave_dir);
}

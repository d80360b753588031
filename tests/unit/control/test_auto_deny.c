/* Offences on their way to the control thread, and who may be denied for them. */
#include "control/auto_deny.h"

#include "config/config_fixture.h"
#include "test_support.h"

static struct ip_addr parsed(const char *text)
{
	struct ip_addr addr;

	assert_int_equal(ip_addr_parse(str_from_cstr(text), &addr), 0);
	return addr;
}

static void report(enum offence_kind kind, const char *peer, const char *sender)
{
	struct ip_addr left = parsed(peer), right = parsed(sender);

	offence_report(kind, &left, &right);
}

static void test_what_nobody_watches_or_somebody_else_did_is_not_told(void **state)
{
	struct offence offence;
	struct ip_addr peer = parsed("192.0.2.1");

	report(OFFENCE_AUTH_FAILURE, "192.0.2.1", "192.0.2.1");
	assert_false(offence_take(&offence));
	offence_watch(1u << OFFENCE_AUTH_FAILURE);
	report(OFFENCE_RATE_LIMITED, "192.0.2.1", "192.0.2.1");
	report(OFFENCE_AUTH_FAILURE, "192.0.2.1", "203.0.113.9");
	assert_false(offence_take(&offence));
	report(OFFENCE_AUTH_FAILURE, "192.0.2.1", "192.0.2.1");
	assert_true(offence_take(&offence));
	assert_int_equal(offence.kind, OFFENCE_AUTH_FAILURE);
	assert_true(ip_addr_equal(&offence.peer, &peer));
	assert_false(offence_take(&offence));
	offence_watch(0);
}

static void test_full_queue_counts_what_it_loses_and_goes_on(void **state)
{
	uint64_t lost = offence_lost();
	struct offence offence;
	unsigned int count = 0;

	offence_watch(1u << OFFENCE_PROTOCOL_ERROR);
	for (unsigned int i = 0; i < 5000; i++)
		report(OFFENCE_PROTOCOL_ERROR, "2001:db8::1", "2001:db8::1");
	while (offence_take(&offence))
		count++;
	assert_int_equal(count + offence_lost() - lost, 5000);
	assert_true(offence_lost() > lost);
	report(OFFENCE_PROTOCOL_ERROR, "2001:db8::1", "2001:db8::1");
	assert_true(offence_take(&offence));
	offence_watch(0);
}

static void test_ipv6_is_denied_by_network(void **state)
{
	static const char *const rows[][2] = {
		{"192.0.2.9", "192.0.2.9/32"},
		{"2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"},
	};
	char text[ADDR_TEXT_MAX];

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct ip_addr peer = parsed(rows[i][0]);
		struct ip_prefix prefix = auto_deny_prefix(&peer);

		assert_string_equal(ip_prefix_format(&prefix, text, sizeof(text)), rows[i][1]);
	}
}

static void test_who_is_trusted_or_allowed_is_never_denied(void **state)
{
	static const struct {
		const char *peer;
		bool may;
	} rows[] = {
		{"192.0.2.1", true},	   {"10.1.2.3", false},	      {"198.51.100.7", false},
		{"198.51.100.8", true},	   {"2001:db8::1", false}, /* its network has one */
		{"2001:db8:0:1::1", true}, {"2001:db8:ff::1", false},
	};
	struct loaded loaded;

	config_load_text(&loaded,
			 CONFIG_HEAD
			 "node: { trusted_proxies: [ 10.0.0.0/8, \"2001:db8::77\" ] }\n"
			 "dataplane: { allow: [ 198.51.100.7, \"2001:db8:ff::/48\" ] }\n",
			 NULL);
	assert_string_equal(loaded.printed.data, "");
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct ip_addr peer = parsed(rows[i].peer);
		struct ip_prefix prefix = auto_deny_prefix(&peer);

		assert_row(rows[i].peer, auto_deny_may(loaded.snapshot, &prefix) == rows[i].may);
	}
	loaded_done(&loaded);
}

static void test_rules_are_read_and_shown(void **state)
{
	static const struct {
		const char *rule, *error;
	} refused[] = {
		{"{}", "dataplane: auto_deny: 'event' is required"},
		{"{ event: auth_failure, over: 20, ttl: 1m }",
		 "auto_deny: over: expected a rate as '20/m', up to 1000000, got '20'"},
		{"{ event: auth_failure, over: 0/m, ttl: 1m }", "auto_deny: over: expected a rate"},
		{"{ event: auth_falure, over: 1/m, ttl: 1m }", "auto_deny: event: expected one of"},
		{"{ event: auth_failure, over: 1/m, ttl: 1ms }", "auto_deny: ttl: must be"},
		{"{ event: auth_failure, over: 1/m }", "auto_deny: 'ttl' is required"},
	};
	struct loaded loaded;
	struct buf out;
	char text[512];

	for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
		(void)snprintf(text, sizeof(text), CONFIG_HEAD "dataplane: { auto_deny: [ %s ] }\n",
			       refused[i].rule);
		config_load_text(&loaded, text, NULL);
		if (!strstr(loaded.printed.data, refused[i].error))
			print_error("%s\n", loaded.printed.data);
		assert_row(refused[i].rule, strstr(loaded.printed.data, refused[i].error));
		loaded_done(&loaded);
	}
	config_load_text(&loaded,
			 CONFIG_HEAD "dataplane: { auto_deny: [ { event: rate_limited, over: "
				     "1000/m, ttl: 60s } ] }\n",
			 NULL);
	assert_string_equal(loaded.printed.data, "");
	buf_init(&out, 100000);
	assert_int_equal(config_print_effective(loaded.snapshot, &out), 0);
	assert_int_equal(buf_append(&out, str_make("", 1)), 0);
	assert_non_null(strstr(out.data, "  auto_deny:\n"
					 "    - event: rate_limited\n"
					 "      over: \"1000/m\"\n"
					 "      ttl: 1m\n"));
	buf_done(&out);
	loaded_done(&loaded);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_nobody_watches_or_somebody_else_did_is_not_told),
		cmocka_unit_test(test_full_queue_counts_what_it_loses_and_goes_on),
		cmocka_unit_test(test_ipv6_is_denied_by_network),
		cmocka_unit_test(test_who_is_trusted_or_allowed_is_never_denied),
		cmocka_unit_test(test_rules_are_read_and_shown),
	};

	return cmocka_run_group_tests(tests, config_enter_dir, config_leave_dir);
}

/*
 * Local routes for listener prefixes, looked at with iproute2 in a private network namespace.
 */
#include "tests/bpf/bpf_env.h"

#include <errno.h>
#include <unistd.h>

#include "base/addr.h"
#include "kern/steer.h"

static struct ip_prefix prefix_of(const char *text)
{
	struct ip_prefix prefix;
	struct error err = {0};

	env_assert_ok(ip_prefix_parse(str_from_cstr(text), &prefix, &err), &err);
	return prefix;
}

static void sync_routes(const struct ip_prefix *prefixes, unsigned int count)
{
	struct error err = {0};

	env_assert_ok(steer_sync_local_routes(prefixes, count, &err), &err);
}

/* Our routes of the family, one line each. */
static unsigned int count_ours(const char *family)
{
	char command[128], line[256];
	unsigned int count = 0;
	FILE *output;

	(void)snprintf(command, sizeof(command), "ip %s route show table local type local proto %d",
		       family, STEER_ROUTE_PROTOCOL);
	output = popen(command, "r");
	assert_non_null(output);
	while (fgets(line, sizeof(line), output))
		count++;
	assert_int_equal(pclose(output), 0);
	return count;
}

static bool is_local(const char *address)
{
	char command[128];

	(void)snprintf(command, sizeof(command), "ip route get %s 2>/dev/null | grep -q '^local '",
		       address);
	return env_command(command) == 0;
}

static void setup_routes(void)
{
	env_require();
	sync_routes(NULL, 0);
	assert_int_equal(count_ours("-4") + count_ours("-6"), 0);
}

static void test_routes_are_made_exactly_these(void **state)
{
	struct ip_prefix prefixes[3];

	setup_routes();
	prefixes[0] = prefix_of("203.0.113.0/24");
	prefixes[1] = prefix_of("198.51.100.64/26");
	prefixes[2] = prefix_of("2001:db8:aa::/64");
	assert_false(is_local("203.0.113.9"));
	sync_routes(prefixes, 3);
	assert_int_equal(count_ours("-4"), 2);
	assert_int_equal(count_ours("-6"), 1);
	assert_true(is_local("203.0.113.9"));
	assert_true(is_local("198.51.100.127"));
	assert_false(is_local("198.51.100.128"));
	assert_true(is_local("2001:db8:aa::9"));
	sync_routes(prefixes, 3); /* nothing to do */
	sync_routes(&prefixes[1], 2);
	assert_int_equal(count_ours("-4"), 1);
	assert_false(is_local("203.0.113.9"));
	assert_true(is_local("2001:db8:aa::9"));
	sync_routes(NULL, 0);
	assert_int_equal(count_ours("-4") + count_ours("-6"), 0);
}

static void test_what_is_local_already_gets_none(void **state)
{
	struct ip_prefix prefixes[4];

	setup_routes();
	assert_int_equal(env_command("ip addr add 192.0.2.1/24 dev lo"), 0);
	prefixes[0] = prefix_of("192.0.2.1");
	prefixes[1] = prefix_of("127.1.0.0/16"); /* within 127.0.0.0/8 */
	prefixes[2] = prefix_of("::1");
	prefixes[3] = prefix_of("0.0.0.0/0"); /* every local address */
	sync_routes(prefixes, 4);
	assert_int_equal(count_ours("-4") + count_ours("-6"), 0);
	assert_int_equal(env_command("ip addr del 192.0.2.1/24 dev lo"), 0);
}

static void test_routes_of_others_are_left_alone(void **state)
{
	struct ip_prefix prefix;

	setup_routes();
	assert_int_equal(env_command("ip route add local 203.0.113.0/24 dev lo proto 99"), 0);
	prefix = prefix_of("203.0.113.0/24");
	sync_routes(&prefix, 1);
	assert_int_equal(count_ours("-4"), 0);
	sync_routes(NULL, 0);
	assert_true(is_local("203.0.113.9"));
	assert_int_equal(env_command("ip route del local 203.0.113.0/24 dev lo proto 99"), 0);
}

static void test_prefix_named_twice_is_one_route(void **state)
{
	struct ip_prefix prefixes[2];

	setup_routes();
	prefixes[0] = prefixes[1] = prefix_of("203.0.113.0/24");
	sync_routes(prefixes, 2);
	assert_int_equal(count_ours("-4"), 1);
	sync_routes(NULL, 0);
}

static void test_refusal_names_the_prefix(void **state)
{
	struct ip_prefix prefix;
	struct error err = {0};

	setup_routes();
	prefix = prefix_of("203.0.113.0/24");
	assert_return_code(seteuid(65534), errno); /* with it go the effective capabilities */
	assert_int_equal(steer_sync_local_routes(&prefix, 1, &err), -EPERM);
	assert_return_code(seteuid(0), errno);
	assert_non_null(strstr(err.text, "cannot add the local route 203.0.113.0/24"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_routes_are_made_exactly_these),
		cmocka_unit_test(test_what_is_local_already_gets_none),
		cmocka_unit_test(test_routes_of_others_are_left_alone),
		cmocka_unit_test(test_prefix_named_twice_is_one_route),
		cmocka_unit_test(test_refusal_names_the_prefix),
	};

	return cmocka_run_group_tests(tests, env_setup, NULL);
}

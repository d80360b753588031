#include "config_fixture.h"

#include <netinet/in.h>

#include "base/registry.h"

#define DNS                                                                                        \
	"services:\n"                                                                              \
	"  - { name: dns, address: [ 192.0.2.53, 192.0.2.54 ], ports: [ 53, \"1000-2000\" ],\n"    \
	"      protocol: udp, forward: ipip, drain: 5s, slots: 1000,\n"                            \
	"      backends: [ 10.1.0.11, { address: 2001:db8::2, weight: 50 } ],\n"                   \
	"      health: { probe: tcp, port: 53, timeout: 500ms, fall: 5 } }\n"

#define SERVICE(name, rest)                                                                        \
	"  - { name: " name ", address: 192.0.2.1, protocol: tcp, forward: ipip,\n"                \
	"      backends: [ 10.0.0.1 ], " rest " }\n"

static void test_services_are_read_with_their_defaults(void **state)
{
	struct loaded loaded;
	const struct service_conf *conf;

	config_load_text(&loaded, "version: 1\n" DNS, NULL);
	assert_string_equal(loaded.printed.data, "");
	assert_int_equal(loaded.snapshot->service_count, 1);
	conf = &loaded.snapshot->services[0];
	assert_str(conf->name, "dns");
	assert_int_equal(conf->address_count, 2);
	assert_int_equal(conf->port_count, 2);
	assert_int_equal(conf->ports[1].first, 1000);
	assert_int_equal(conf->ports[1].last, 2000);
	assert_int_equal(conf->protocol, IPPROTO_UDP);
	assert_int_equal(conf->affinity, SL_AFFINITY_FIVE_TUPLE);
	assert_int_equal(conf->drain_ms, 5000);
	assert_int_equal(conf->slot_count, 1009); /* the next prime */
	assert_int_equal(conf->backend_count, 2);
	assert_int_equal(conf->backends[0].weight, 100);
	assert_int_equal(conf->backends[1].weight, 50);
	assert_int_equal(conf->backends[1].addr.family, AF_INET6);
	assert_true(conf->health.enabled);
	assert_int_equal(conf->health.port, 53);
	assert_int_equal(conf->health.interval_ms, 2000);
	assert_int_equal(conf->health.timeout_ms, 500);
	assert_int_equal(conf->health.rise, 2);
	assert_int_equal(conf->health.fall, 5);
	loaded_done(&loaded);
}

static void test_effective_services_read_to_the_same(void **state)
{
	struct loaded first, second;
	struct buf printed[2];

	config_load_text(&first, "version: 1\n" DNS, NULL);
	buf_init(&printed[0], 1 << 16);
	buf_init(&printed[1], 1 << 16);
	assert_int_equal(config_print_effective(first.snapshot, &printed[0]), 0);
	assert_int_equal(buf_append(&printed[0], str_make("", 1)), 0);
	assert_non_null(strstr(printed[0].data, "drain: 5s"));
	assert_non_null(strstr(printed[0].data, "slots: 1009"));
	assert_non_null(strstr(printed[0].data, "timeout: 500ms"));
	config_load_text(&second, printed[0].data, NULL);
	assert_string_equal(second.printed.data, "");
	assert_int_equal(config_print_effective(second.snapshot, &printed[1]), 0);
	assert_int_equal(printed[0].len, printed[1].len + 1);
	assert_memory_equal(printed[0].data, printed[1].data, printed[1].len);
	buf_done(&printed[0]);
	buf_done(&printed[1]);
	loaded_done(&first);
	loaded_done(&second);
}

static void test_errors_name_their_place(void **state)
{
	static const struct {
		const char *text, *errors;
	} rows[] = {
		{"services:\n" SERVICE("a", "ports: [ 80, 70-60 ]"),
		 "sluice.yaml:4:44: service 'a': ports: expected a port, a range such as "
		 "1000-2000, or any, got '70-60'\n"},
		{"services:\n" SERVICE("a", "ports: [ 80, 79-81 ]"),
		 "sluice.yaml:4:44: service 'a': ports: '79-81' overlaps another one\n"},
		{"services:\n" SERVICE("a", "ports: [ 80 ], helth: {}"),
		 "sluice.yaml:4:46: service 'a': unknown key 'helth'; did you mean 'health'?\n"},
		{"services:\n" SERVICE("a", "ports: [ 80 ], affinity: quic-cid"),
		 "sluice.yaml:4:56: service 'a': affinity: 'quic-cid' is not supported yet\n"},
		{"services:\n" SERVICE("a", "ports: [ 80 ], health: { probe: http, rise: 0 }"),
		 "sluice.yaml:4:63: service 'a': health: probe: expected tcp, got 'http'; did you "
		 "mean 'tcp'?\n"
		 "sluice.yaml:4:75: service 'a': health: rise: must be 1 to 100, got '0'\n"},
		{"services:\n" SERVICE("a", "ports: [ 80 ], health: { port: 0 }"),
		 "sluice.yaml:4:54: service 'a': health: 'probe' is required\n"
		 "sluice.yaml:4:62: service 'a': health: port: must be 1 to 65535, got '0'\n"},
		{"services:\n" SERVICE("a", "ports: [ 80-81 ], health: { probe: tcp }"),
		 "sluice.yaml:4:57: service 'a': health: 'port' is required: the service has no "
		 "single port\n"},
		{"services:\n" SERVICE("a", "ports: [ 80 ], health: { probe: tcp, timeout: 3s }"),
		 "sluice.yaml:4:77: service 'a': health: timeout 3s is longer than interval 2s\n"},
		{"services:\n" SERVICE("a", "ports: [ 80 ], slots: 99"),
		 "sluice.yaml:4:53: service 'a': slots: must be 101 to 1638431, got '99'\n"},
		{"services:\n" SERVICE("a", "ports: [ 80 ]") SERVICE("a", "ports: [ 81 ]"),
		 "sluice.yaml:5:13: service 'a' is defined twice; the first is at line 3, column "
		 "13\n"},
		{"services:\n" SERVICE("a", "ports: any") SERVICE("b", "ports: 1-99"),
		 "sluice.yaml:5:5: service 'b': has ports of 192.0.2.1 that service 'a' at line 3, "
		 "column 5 has, too\n"},
		{"services:\n" SERVICE("a", "ports: [ any ]")
			 SERVICE("b", "ports: [ 80 ]") "listeners: [ { name: web, address: "
						       "192.0.2.1:80 } ]\n",
		 "sluice.yaml:3:5: service 'a': 192.0.2.1:80 belongs to listener 'web' at line 7, "
		 "column 14\n"
		 "sluice.yaml:5:5: service 'b': 192.0.2.1:80 belongs to listener 'web' at line 7, "
		 "column 14\n"},
		{"services:\n"
		 "  - { name: a, address: x, ports: 1, protocol: tcp, forward: gue,\n"
		 "      backends: [ 10.0.0.1, 10.0.0.1, { address: 10.0.0.2, weight: 70000 } ] }\n",
		 "sluice.yaml:3:25: service 'a': address: expected an IP address, got 'x'\n"
		 "sluice.yaml:3:62: service 'a': forward: 'gue' is not supported yet\n"
		 "sluice.yaml:4:29: service 'a': backends: '10.0.0.1' is given twice; use 'weight' "
		 "to send it more\n"
		 "sluice.yaml:4:68: service 'a': backends: weight: must be 0 to 65535, got "
		 "'70000'\n"},
		{"services:\n"
		 "  - { name: a, address: \"2001:db8::1\", ports: 1, protocol: tcp, forward: "
		 "ipip,\n"
		 "      backends: [ 10.0.0.1 ] }\n",
		 "sluice.yaml:4:19: service 'a': backend '10.0.0.1' has an IPv4 address, but the "
		 "service has an IPv6 address; ipip takes IPv6 packets to IPv6 backends only\n"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct loaded loaded;
		char text[2048];

		(void)snprintf(text, sizeof(text), "version: 1\n%s", rows[i].text);
		config_load_text(&loaded, text, NULL);
		assert_string_equal(loaded.printed.data, rows[i].errors);
		loaded_done(&loaded);
	}
}

static void test_udp_service_may_share_a_port_with_a_listener(void **state)
{
	struct loaded loaded;

	config_load_text(&loaded,
			 "version: 1\n" DNS
			 "listeners: [ { name: web, address: \"192.0.2.53:53\" } ]\n",
			 NULL);
	assert_string_equal(loaded.printed.data, "");
	loaded_done(&loaded);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_services_are_read_with_their_defaults),
		cmocka_unit_test(test_effective_services_read_to_the_same),
		cmocka_unit_test(test_errors_name_their_place),
		cmocka_unit_test(test_udp_service_may_share_a_port_with_a_listener),
	};

	return cmocka_run_group_tests(tests, config_enter_dir, config_leave_dir);
}

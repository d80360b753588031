#include "test_support.h"

#include <errno.h>

#include "base/addr.h"

static void test_addresses_parse_and_format(void **state)
{
	static const struct {
		const char *text, *formatted; /* NULL: refused */
	} rows[] = {
		{"192.0.2.1", "192.0.2.1"},
		{"2001:DB8:0::1", "2001:db8::1"},
		{"::", "::"},
		{"0.0.0.0", "0.0.0.0"},
		{"", NULL},
		{"192.0.2", NULL},
		{"192.0.2.256", NULL},
		{"192.0.2.01", NULL},
		{"192.0.2.1 ", NULL},
		{"fe80::1%eth0", NULL},
		{"[::1]", NULL},
		{"example.com", NULL},
		{"1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb:cccc", NULL},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct ip_addr addr = {0};
		char text[ADDR_TEXT_MAX];
		int r = ip_addr_parse(str_from_cstr(rows[i].text), &addr);

		assert_row(rows[i].text, r == (rows[i].formatted ? 0 : -EINVAL));
		if (rows[i].formatted)
			assert_row(rows[i].text, !strcmp(ip_addr_format(&addr, text, sizeof(text)),
							 rows[i].formatted));
		else
			assert_row(rows[i].text, addr.family == 0);
	}
}

static void test_nul_byte_inside_an_address_is_refused(void **state)
{
	struct ip_addr addr;

	assert_int_equal(ip_addr_parse(STR("192.0.2.1\0x"), &addr), -EINVAL);
}

static void test_prefixes_parse_and_say_what_is_wrong(void **state)
{
	static const struct {
		const char *text, *formatted, *error;
	} rows[] = {
		{"192.0.2.0/24", "192.0.2.0/24", NULL},
		{"192.0.2.7", "192.0.2.7/32", NULL},
		{"2001:db8::/33", "2001:db8::/33", NULL},
		{"2001:db8::1", "2001:db8::1/128", NULL},
		{"0.0.0.0/0", "0.0.0.0/0", NULL},
		{"192.0.2.7/24", NULL,
		 "'192.0.2.7/24' has host bits set; did you mean '192.0.2.0/24'?"},
		{"192.0.2.2/31", "192.0.2.2/31", NULL},
		{"192.0.2.3/31", NULL,
		 "'192.0.2.3/31' has host bits set; did you mean '192.0.2.2/31'?"},
		{"192.0.2.0/33", NULL, "'192.0.2.0/33': the prefix length must be 0 to 32"},
		{"192.0.2.0/024", NULL, "'192.0.2.0/024': the prefix length must be 0 to 32"},
		{"::/129", NULL, "'::/129': the prefix length must be 0 to 128"},
		{"192.0.2.0/", NULL, "'192.0.2.0/': the prefix length must be 0 to 32"},
		{"192.0.2.0/+8", NULL, "'192.0.2.0/+8': the prefix length must be 0 to 32"},
		{"net/8", NULL, "'net/8' is not an address or a prefix"},
		{"", NULL, "'' is not an address or a prefix"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct ip_prefix prefix = {0};
		struct error err = {0};
		char text[ADDR_TEXT_MAX];
		int r = ip_prefix_parse(str_from_cstr(rows[i].text), &prefix, &err);

		assert_row(rows[i].text, r == (rows[i].formatted ? 0 : -EINVAL));
		assert_string_equal(err.text, rows[i].error ? rows[i].error : "");
		if (rows[i].formatted)
			assert_string_equal(ip_prefix_format(&prefix, text, sizeof(text)),
					    rows[i].formatted);
	}
}

static void test_prefix_contains_its_addresses_and_no_others(void **state)
{
	static const struct {
		const char *prefix, *addr;
		bool contains;
	} rows[] = {
		{"192.0.2.0/25", "192.0.2.127", true},
		{"192.0.2.0/25", "192.0.2.128", false},
		{"0.0.0.0/0", "255.1.2.3", true},
		{"0.0.0.0/0", "::1", false},
		{"::/0", "2001:db8::1", true},
		{"2001:db8::/47", "2001:db8:1::1", true},
		{"2001:db8::/47", "2001:db8:2::", false},
		{"192.0.2.1/32", "192.0.2.1", true},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct ip_prefix prefix;
		struct ip_addr addr;

		assert_int_equal(ip_prefix_parse(str_from_cstr(rows[i].prefix), &prefix, NULL), 0);
		assert_int_equal(ip_addr_parse(str_from_cstr(rows[i].addr), &addr), 0);
		assert_row(rows[i].addr, ip_prefix_contains(&prefix, &addr) == rows[i].contains);
	}
	{
		struct ip_prefix prefix = {0};
		struct ip_addr none = {0};

		assert_false(ip_prefix_contains(&prefix, &none));
	}
}

static void test_socket_addresses_parse_and_format(void **state)
{
	static const struct {
		const char *text, *error;
	} rows[] = {
		{"192.0.2.1:80", NULL},
		{"[2001:db8::1]:443", NULL},
		{"127.0.0.1:0", NULL},
		{"unix:/run/x.sock", NULL},
		{"192.0.2.1", "'192.0.2.1' has no port; expected 'ADDRESS:PORT'"},
		{"[2001:db8::1]", "'[2001:db8::1]' has no port; expected 'ADDRESS:PORT'"},
		{"[2001:db8::1", "'[2001:db8::1' has no port; expected 'ADDRESS:PORT'"},
		{"2001:db8::1:443",
		 "'2001:db8::1:443': write an IPv6 address with its port as '[ADDRESS]:PORT'"},
		{"[192.0.2.1]:80", "'[192.0.2.1]:80': not an IP address before the port"},
		{"host:80", "'host:80': not an IP address before the port"},
		{"192.0.2.1:65536", "'192.0.2.1:65536': the port must be 0 to 65535"},
		{"192.0.2.1:", "'192.0.2.1:': the port must be 0 to 65535"},
		{"192.0.2.1:http", "'192.0.2.1:http': the port must be 0 to 65535"},
		{"unix:", "'unix:' needs a path after it"},
		{"", "'' has no port; expected 'ADDRESS:PORT'"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct sock_addr addr = {.len = 0};
		struct error err = {0};
		char text[ADDR_TEXT_MAX];
		int r = sock_addr_parse(str_from_cstr(rows[i].text), &addr, &err);

		assert_row(rows[i].text, r == (rows[i].error ? -EINVAL : 0));
		assert_string_equal(err.text, rows[i].error ? rows[i].error : "");
		assert_string_equal(sock_addr_format(&addr, text, sizeof(text)),
				    rows[i].error ? "none" : rows[i].text);
	}
}

static void test_unix_path_may_fill_the_kernels_field_but_not_more(void **state)
{
	char text[5 + 108] = "unix:";
	char formatted[ADDR_TEXT_MAX];
	struct sock_addr addr;
	struct error err = {0};

	memset(text + 5, 'p', 108);
	assert_int_equal(sock_addr_parse(str_make(text, 5 + 107), &addr, &err), 0);
	assert_str(str_make(text, 5 + 107), sock_addr_format(&addr, formatted, sizeof(formatted)));
	assert_int_equal(sock_addr_parse(str_make(text, 5 + 108), &addr, &err), -EINVAL);
	assert_string_equal(err.text, "the socket path is longer than 107 bytes");
}

static void test_peer_without_a_path_is_shown_as_unix(void **state)
{
	struct sock_addr addr = {.un = {.sun_family = AF_UNIX}, .len = sizeof(sa_family_t)};
	char text[ADDR_TEXT_MAX];

	assert_string_equal(sock_addr_format(&addr, text, sizeof(text)), "unix:");
	assert_int_equal(sock_addr_ip(&addr).family, 0);
	assert_int_equal(sock_addr_port(&addr), 0);
}

static void test_ipv4_mapped_address_comes_out_as_ipv4(void **state)
{
	struct sock_addr addr;
	char text[ADDR_TEXT_MAX];
	struct ip_addr ip;

	assert_int_equal(sock_addr_parse(STR("[::ffff:192.0.2.1]:80"), &addr, NULL), 0);
	ip = sock_addr_ip(&addr);
	assert_int_equal(ip.family, AF_INET);
	assert_string_equal(ip_addr_format(&ip, text, sizeof(text)), "192.0.2.1");
	assert_string_equal(sock_addr_format(&addr, text, sizeof(text)), "192.0.2.1:80");
	assert_int_equal(sock_addr_port(&addr), 80);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_addresses_parse_and_format),
		cmocka_unit_test(test_nul_byte_inside_an_address_is_refused),
		cmocka_unit_test(test_prefixes_parse_and_say_what_is_wrong),
		cmocka_unit_test(test_prefix_contains_its_addresses_and_no_others),
		cmocka_unit_test(test_socket_addresses_parse_and_format),
		cmocka_unit_test(test_unix_path_may_fill_the_kernels_field_but_not_more),
		cmocka_unit_test(test_peer_without_a_path_is_shown_as_unix),
		cmocka_unit_test(test_ipv4_mapped_address_comes_out_as_ipv4),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "config_fixture.h"

#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

/* The effective configuration of a text, NUL-terminated, in a buf to be released. */
static void print_effective(const char *text, struct buf *out)
{
	struct loaded loaded;

	config_load_text(&loaded, text, NULL);
	assert_string_equal(loaded.printed.data, "");
	buf_init(out, 1 << 20);
	assert_int_equal(config_print_effective(loaded.snapshot, out), 0);
	assert_int_equal(buf_append(out, str_make("", 1)), 0);
	loaded_done(&loaded);
}

static void test_empty_configuration_prints_every_default(void **state)
{
	struct buf out;

	print_effective(CONFIG_HEAD, &out);
	assert_string_equal(out.data, "version: 1\n"
				      "node:\n"
				      "  workers: auto\n"
				      "  state_dir: /var/lib/sluice\n"
				      "  bpffs: /sys/fs/bpf/sluice\n"
				      "  admin:\n"
				      "    socket: /run/sluice/admin.sock\n"
				      "  io: auto\n"
				      "  coalesce: adaptive\n"
				      "  memory_limit: 1GiB\n"
				      "  log:\n"
				      "    level: info\n"
				      "    format: json\n"
				      "  drain: 30s\n"
				      "  trusted_proxies: []\n"
				      "dataplane:\n"
				      "  interfaces: []\n"
				      "  allow: []\n"
				      "  deny: []\n"
				      "  auto_deny: []\n"
				      "services: []\n"
				      "listeners: []\n"
				      "upstreams: []\n"
				      "policies: []\n"
				      "routes: []\n");
	buf_done(&out);
}

static void test_listener_upstream_and_route_print_every_default(void **state)
{
	struct buf out;

	print_effective(CONFIG_HEAD CONFIG_WEB CONFIG_UP
			"routes: [ { name: r, proxy: { upstream: shop } } ]\n",
			&out);
	assert_non_null(strstr(out.data, "listeners:\n"
					 "  - name: web\n"
					 "    address:\n"
					 "      - \"192.0.2.10:80\"\n"
					 "    protocol: http\n"
					 "    proxy_protocol: off\n"
					 "    limits:\n"
					 "      header_bytes: 32KiB\n"
					 "      header_count: 100\n"
					 "      field_bytes: 16KiB\n"
					 "      uri_bytes: 8KiB\n"
					 "      body_bytes: 16MiB\n"
					 "      connections_per_source: 1000\n"
					 "    timeouts:\n"
					 "      header: 10s\n"
					 "      idle: 1m\n"
					 "      request: 5m\n"
					 "      handshake: 10s\n"
					 "      min_body_rate: 1KiB/s\n"
					 "    http2:\n"
					 "      prior_knowledge: on\n"
					 "      max_concurrent_streams: 128\n"
					 "upstreams:\n"
					 "  - name: shop\n"
					 "    endpoints:\n"
					 "      - address: \"10.0.0.1:8080\"\n"
					 "        weight: 1\n"
					 "    balance: round-robin\n"
					 "    protocol: http\n"
					 "    proxy_protocol: off\n"
					 "    timeouts:\n"
					 "      connect: 1s\n"
					 "      response: 30s\n"
					 "      idle: 1m\n"
					 "      pending: 1s\n"
					 "    limits:\n"
					 "      connections: 0\n"
					 "      pending: 256\n"
					 "      streams: 100\n"
					 "    retry:\n"
					 "      \"on\":\n"
					 "        - connect\n"
					 "      attempts: 3\n"
					 "      per_try: 0s\n"
					 "      budget: 20%\n"
					 "    ejection:\n"
					 "      consecutive_failures: 5\n"
					 "      base: 30s\n"
					 "      max: 50%\n"
					 "    slow_start: 0s\n"
					 "policies: []\n"
					 "routes:\n"
					 "  - name: r\n"
					 "    match:\n"
					 "      path:\n"
					 "        prefix: /\n"
					 "    unsafe_paths: refuse\n"
					 "    proxy:\n"
					 "      upstream: shop\n"
					 "      timeout: 0s\n"
					 "      trailers: off\n"
					 "      expose_upstream: []\n"
					 "      tunnel_idle: 5m\n"));
	buf_done(&out);
}

/* What is printed loads again and prints the same, so nothing was lost or changed on the way. */
static void check_fixpoint(const char *text, const char *must_hold)
{
	struct buf first, second;

	print_effective(text, &first);
	assert_non_null(strstr(first.data, must_hold));
	print_effective(first.data, &second);
	assert_string_equal(first.data, second.data);
	buf_done(&first);
	buf_done(&second);
}

static void test_effective_configuration_loads_to_itself(void **state)
{
	config_write_file("deny list.txt", "198.51.100.0/24\n");
	check_fixpoint(
		CONFIG_HEAD
		"node: { workers: 3, user: nobody, trusted_proxies: [ 10.0.0.0/8, \"::1\" ], io: "
		"epoll, drain: 1500ms, memory_limit: "
		"100000000, metrics: 127.0.0.1:9464, access_log: { file: \"/tmp/a b.log\", sample: "
		"0.5% } }\n"
		"dataplane:\n"
		"  interfaces: [ { name: eth0, xdp: \"off\" }, { name: \"1\" } ]\n"
		"  allow: [ 10.0.0.0/8, { cidr: 1::1, reason: \"it's \\\"us\\\"\" } ]\n"
		"  deny: [ { file: \"deny list.txt\", reason: feed, ttl: 90m }, 192.0.2.1 ]\n"
		"listeners:\n"
		"  - { name: web, address: [ \"*:80\", \"10.0.0.0/8:1-5\", \"[1::]/16:9\" ], "
		"protocol: http, timeouts: { request: 0s, min_body_rate: \"off\" }, limits: { "
		"connections_per_source: 7, field_bytes: 300 } }\n"
		"  - { name: fast, address: \"*:81\", timeouts: { min_body_rate: 1000000/s } }\n"
		"upstreams:\n"
		"  - { name: \"0\", endpoints: [ \"unix:/run/a b.sock\", { address: "
		"10.0.0.1:80, weight: 9 } ], retry: { on: [], budget: 0.5% }, limits: { "
		"connections: 3 }, proxy_protocol: v1 }\n"
		"  - { name: a, endpoints: [ 10.0.0.1:80 ], balance: maglev, hash_on: { query: "
		"\"a b\" } }\n"
		"  - { name: b, endpoints: [ 10.0.0.1:80 ], balance: maglev, hash_on: source, "
		"retry: { on: [ 504, connect ] } }\n"
		"routes:\n"
		"  - { name: \"1\", match: { hosts: [ \"*.a.example\", \"[::1]\" ], path: { "
		"exact: \"/a%20b\" }, methods: [ GET, PURGE ] }, listeners: [ web ], proxy: { "
		"upstream: \"0\", timeout: 9s, trailers: on, expose_upstream: [ Server, location "
		"], "
		"upgrade: websocket, tunnel_idle: 90s "
		"} }\n"
		"  - { name: t, match: { path: { template: \"/t/{a}/{b*}\" }, headers: { X-A: "
		"\"yes\", "
		"b: { regex: '^\"2\\.' }, c: { present: false } }, query: { \"a b\": \"\", d: { "
		"present: "
		"true } }, upgrade: WebSocket }, respond: {} }\n"
		"  - { name: x, match: { path: { regex: '/x\\d+(\\.json)?' } }, respond: {} }\n"
		"  - { name: \"2\", match: { path: { exact: /2//2 } }, unsafe_paths: allow, "
		"redirect: { scheme: http, "
		"host: "
		"b.example, path: \"/x%25\", port: 81, status: 302 } }\n"
		"  - { name: \"3\", respond: { status: 503, body: \"line\\n\\ttab \\u2028 \\x01 "
		"\xc3\xa4\", headers: { \"on\": \"yes\", x: \"\" } } }\n",
		"ttl: 90m");
}

static void test_files_are_printed_with_absolute_names(void **state)
{
	char *directory = getcwd(NULL, 0);
	char expected[PATH_MAX + 32];
	struct buf out;

	assert_non_null(directory);
	config_write_file("deny.txt", "198.51.100.0/24\n");
	print_effective(CONFIG_HEAD "dataplane: { deny: [ { file: deny.txt } ] }\n", &out);
	(void)snprintf(expected, sizeof(expected), "%s/deny.txt", directory);
	assert_non_null(strstr(out.data, expected));
	assert_null(strstr(out.data, "198.51.100"));
	buf_done(&out);
	free(directory);
}

static void test_full_buffer_is_an_error(void **state)
{
	struct loaded loaded;
	struct buf out;

	config_load_text(&loaded, CONFIG_HEAD, NULL);
	buf_init(&out, 100);
	assert_int_not_equal(config_print_effective(loaded.snapshot, &out), 0);
	buf_done(&out);
	loaded_done(&loaded);
}

#define in_dir(test) cmocka_unit_test_setup_teardown(test, config_enter_dir, config_leave_dir)

int main(void)
{
	const struct CMUnitTest tests[] = {
		in_dir(test_empty_configuration_prints_every_default),
		in_dir(test_listener_upstream_and_route_print_every_default),
		in_dir(test_effective_configuration_loads_to_itself),
		in_dir(test_files_are_printed_with_absolute_names),
		in_dir(test_full_buffer_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "config_fixture.h"

#include <errno.h>
#include <stdlib.h>

struct bad_row {
	const char *text, *errors;
};

static void check_rows(const struct bad_row *rows, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct loaded loaded;

		config_load_text(&loaded, rows[i].text, NULL);
		if (!str_eq_cstr(buf_str(&loaded.printed), rows[i].errors))
			print_error("row %zu:\n%s", i, rows[i].text);
		assert_string_equal(loaded.printed.data, rows[i].errors);
		assert_int_equal(loaded.result, -EINVAL);
		loaded_done(&loaded);
	}
}

static void test_structure_errors(void **state)
{
	static const struct bad_row rows[] = {
		{"", "sluice.yaml:1:1: configuration: 'version' is required\n"},
		{"- version\n", "sluice.yaml:1:1: expected a mapping of sections, got a list\n"},
		{"version: 2\n", "sluice.yaml:1:10: version: expected 1, got '2'\n"},
		{"version: \"1\"\n", "sluice.yaml:1:10: version: expected 1, got '1'\n"},
		{CONFIG_HEAD "listners: []\n",
		 "sluice.yaml:2:1: configuration: unknown key 'listners'; did you mean "
		 "'listeners'?\n"},
		{CONFIG_HEAD "version: 1\n",
		 "sluice.yaml:2:1: key 'version' is given twice; the first is at line 1, column "
		 "1\n"},
		{CONFIG_HEAD "node: &n { io: auto }\nroutes: *n\n",
		 "sluice.yaml:2:7: anchor 'n': anchors are not supported\n"
		 "sluice.yaml:3:9: alias 'n': aliases are not supported\n"},
		{CONFIG_HEAD
		 "services: [ { name: dns } ]\ncaches: [ {} ]\nstores: x\npolicies: {}\n",
		 "sluice.yaml:2:13: service 'dns': 'address' is required\n"
		 "sluice.yaml:2:13: service 'dns': 'ports' is required\n"
		 "sluice.yaml:2:13: service 'dns': 'protocol' is required\n"
		 "sluice.yaml:2:13: service 'dns': 'forward' is required\n"
		 "sluice.yaml:2:13: service 'dns': 'backends' is required\n"
		 "sluice.yaml:3:1: 'caches' is not supported yet\n"
		 "sluice.yaml:4:1: 'stores' is not supported yet\n"
		 "sluice.yaml:5:11: policies: expected a list, got a mapping\n"},
	};

	check_rows(rows, ARRAY_SIZE(rows));
}

static void test_node_errors(void **state)
{
	static const struct bad_row rows[] = {
		{CONFIG_HEAD "node: 4\n", "sluice.yaml:2:7: node: expected a mapping, got '4'\n"},
		{CONFIG_HEAD "node:\n  workers: 0\n",
		 "sluice.yaml:3:12: node: workers: must be 1 to 256, got '0'\n"},
		{CONFIG_HEAD "node:\n  workers: many\n",
		 "sluice.yaml:3:12: node: workers: expected a whole number, got 'many'\n"},
		{CONFIG_HEAD "node:\n  user: ''\n",
		 "sluice.yaml:3:9: node: user: must not be empty\n"},
		{CONFIG_HEAD "node:\n  state_dir: var\n  bpffs: [ a ]\n  admin: { socket: x }\n",
		 "sluice.yaml:3:14: node: state_dir: expected an absolute path, got 'var'\n"
		 "sluice.yaml:4:10: node: bpffs: expected an absolute path, got a list\n"
		 "sluice.yaml:5:20: node: admin: socket: expected an absolute path, got 'x'\n"},
		{CONFIG_HEAD "node:\n  admin: { socket: "
			     "/0123456789012345678901234567890123456789012345678901234567890123456"
			     "7890123456789012345678901234567890123456 }\n",
		 "sluice.yaml:3:20: node: admin: socket: longer than 107 bytes\n"},
		{CONFIG_HEAD "node:\n  io: uring\n",
		 "sluice.yaml:3:7: node: io: expected one of auto, io_uring, epoll, got 'uring'; "
		 "did you mean 'io_uring'?\n"},
		{CONFIG_HEAD "node:\n  memory_limit: 1MiB\n",
		 "sluice.yaml:3:17: node: memory_limit: must be at least 16MiB, got '1MiB'\n"},
		{CONFIG_HEAD "node:\n  log: { level: trace, format: xml }\n",
		 "sluice.yaml:3:17: node: log: level: expected one of error, warn, info, debug, "
		 "got "
		 "'trace'\n"
		 "sluice.yaml:3:32: node: log: format: expected one of text, json, got 'xml'\n"},
		{CONFIG_HEAD "node:\n  drain: 2d\n",
		 "sluice.yaml:3:10: node: drain: must be 0s to 1d, got '2d'\n"},
		{CONFIG_HEAD "node:\n  dashboard: 127.0.0.1:9465\n"
			     "  tracing: {}\n",
		 "sluice.yaml:3:3: node: 'dashboard' is not supported yet\n"
		 "sluice.yaml:4:3: node: 'tracing' is not supported yet\n"},
		{CONFIG_HEAD "node:\n  metrics: localhost:9464\n",
		 "sluice.yaml:3:12: node: metrics: 'localhost:9464': not an IP address before the "
		 "port\n"},
		{CONFIG_HEAD "node:\n  metrics: 127.0.0.1:0\n",
		 "sluice.yaml:3:12: node: metrics: expected ADDRESS:PORT, got '127.0.0.1:0'\n"},
		{CONFIG_HEAD "node:\n  metrics: \"unix:/run/m.sock\"\n",
		 "sluice.yaml:3:12: node: metrics: expected ADDRESS:PORT, got "
		 "'unix:/run/m.sock'\n"},
		{CONFIG_HEAD "node: { metrics: \"192.0.2.10:80\" }\n" CONFIG_WEB,
		 "sluice.yaml:2:18: node: metrics: address '192.0.2.10:80' belongs to listener "
		 "'web'\n"},
		{CONFIG_HEAD "node:\n  trusted_proxies:\n    - 10.0.0.1/8\n    - cdn.example\n"
			     "    - [ 1 ]\n    - 10.0.0.0/8\n",
		 "sluice.yaml:4:7: node: trusted_proxies: '10.0.0.1/8' has host bits set; did you "
		 "mean '10.0.0.0/8'?\n"
		 "sluice.yaml:5:7: node: trusted_proxies: 'cdn.example' is not an address or a "
		 "prefix\n"
		 "sluice.yaml:6:7: node: trusted_proxies: expected an address or a prefix, got a "
		 "list\n"},
		{CONFIG_HEAD "node:\n  trusted_proxies: 10.0.0.1\n",
		 "sluice.yaml:3:20: node: trusted_proxies: expected a list, got '10.0.0.1'\n"},
		{CONFIG_HEAD "node:\n  access_log: {}\n",
		 "sluice.yaml:3:15: node: access_log: 'file' is required\n"},
		{CONFIG_HEAD "node:\n  access_log: { file: a.log, format: clf, sample: 0% }\n",
		 "sluice.yaml:3:23: node: access_log: file: expected an absolute path, stdout or "
		 "stderr, got 'a.log'\n"
		 "sluice.yaml:3:38: node: access_log: format: expected one of json, combined, got "
		 "'clf'\n"
		 "sluice.yaml:3:51: node: access_log: sample: must be 0.01% to 100%, got '0%'\n"},
	};

	check_rows(rows, ARRAY_SIZE(rows));
}

static void test_dataplane_errors(void **state)
{
	static const struct bad_row rows[] = {
		{CONFIG_HEAD "dataplane:\n  interfaces: eth0\n",
		 "sluice.yaml:3:15: dataplane: interfaces: expected a list, got 'eth0'\n"},
		{CONFIG_HEAD
		 "dataplane:\n  interfaces: [ { xdp: fast }, { name: eth0 }, { name: eth0 "
		 "}, { name: a/b }, { name: a234567890123456 } ]\n",
		 "sluice.yaml:3:17: dataplane: interfaces: 'name' is required\n"
		 "sluice.yaml:3:24: dataplane: interfaces: xdp: expected one of auto, native, "
		 "generic, off, got 'fast'\n"
		 "sluice.yaml:3:56: dataplane: interfaces: 'eth0' is given twice\n"
		 "sluice.yaml:3:72: dataplane: interfaces: 'a/b' is not a name of an interface\n"
		 "sluice.yaml:3:87: dataplane: interfaces: name: longer than 15 bytes\n"},
		{CONFIG_HEAD "dataplane:\n  allow:\n    - 192.0.2.1/24\n    - { reason: x }\n"
			     "    - { cidr: 10.0.0.0/8, ttl: 1h }\n    - []\n    -\n",
		 "sluice.yaml:4:7: dataplane: allow: '192.0.2.1/24' has host bits set; did you "
		 "mean "
		 "'192.0.2.0/24'?\n"
		 "sluice.yaml:5:7: dataplane: allow: needs a 'cidr'\n"
		 "sluice.yaml:6:27: dataplane: allow: unknown key 'ttl'\n"
		 "sluice.yaml:7:7: dataplane: allow: expected a mapping, got a list\n"
		 "sluice.yaml:8:6: dataplane: allow: expected an address or a prefix, got "
		 "nothing\n"},
		{CONFIG_HEAD
		 "dataplane:\n  deny:\n    - 10.0.0.0/8\n    - { cidr: 10.0.0.0/8 }\n"
		 "    - { cidr: 1.2.3.4, file: x }\n    - { ttl: 10m }\n"
		 "    - { cidr: 1::1, ttl: 10ms }\n"
		 "    - { cidr: 1::2, reason: \"0123456789012345678901234567890123\" }\n",
		 "sluice.yaml:5:7: dataplane: deny: '10.0.0.0/8' is given twice; the first is at "
		 "line 4, column 7\n"
		 "sluice.yaml:6:7: dataplane: deny: needs exactly one of 'cidr' and 'file'\n"
		 "sluice.yaml:7:7: dataplane: deny: needs exactly one of 'cidr' and 'file'\n"
		 "sluice.yaml:8:26: dataplane: deny: ttl: must be 1s to 3650d, got '10ms'\n"
		 "sluice.yaml:9:29: dataplane: deny: reason: longer than 31 bytes\n"},
		{CONFIG_HEAD "dataplane:\n  deny: [ { file: none.txt } ]\n",
		 "sluice.yaml:3:11: dataplane: deny: file 'none.txt' cannot be read: No such file "
		 "or directory\n"},
		{CONFIG_HEAD "dataplane:\n  deny: [ { file: /dev/zero }, { file: / } ]\n",
		 "sluice.yaml:3:11: dataplane: deny: file '/dev/zero' cannot be read: not a "
		 "regular "
		 "file\n"
		 "sluice.yaml:3:32: dataplane: deny: file '/' cannot be read: Is a directory\n"},
		{CONFIG_HEAD "dataplane:\n  deny: [ { file: bad.txt } ]\n  alow: []\n",
		 "sluice.yaml:4:3: dataplane: unknown key 'alow'; did you mean 'allow'?\n"
		 "bad.txt:2:3: '10.0.0.1/8' has host bits set; did you mean '10.0.0.0/8'?\n"
		 "bad.txt:4:1: 'example.com' is not an address or a prefix\n"},
		{CONFIG_HEAD
		 "dataplane:\n  hash_key: {}\n  source_limits: {}\n  syn_cookies: auto\n",
		 "sluice.yaml:3:3: dataplane: 'hash_key' is not supported yet\n"
		 "sluice.yaml:4:3: dataplane: 'source_limits' is not supported yet\n"
		 "sluice.yaml:5:3: dataplane: 'syn_cookies' is not supported yet\n"},
	};

	config_write_file("bad.txt", "# list\n  10.0.0.1/8 # no\n192.0.2.0/24\nexample.com\n");
	check_rows(rows, ARRAY_SIZE(rows));
}

static void test_listener_errors(void **state)
{
	static const struct bad_row rows[] = {
		{CONFIG_HEAD "listeners: web\n",
		 "sluice.yaml:2:12: listeners: expected a list, got 'web'\n"},
		{CONFIG_HEAD "listeners:\n  - { address: \"192.0.2.1:80\" }\n",
		 "sluice.yaml:3:5: listener 1: 'name' is required\n"},
		{CONFIG_HEAD "listeners:\n"
			     "  - { name: Web, address: \"192.0.2.1:80\", protocol: http }\n"
			     "  - { name: a, address: \"192.0.2.2:80\", protocol: http }\n"
			     "  - { name: a, address: \"192.0.2.3:80\", protocol: http }\n",
		 "sluice.yaml:3:13: listener 'Web': a name has 1 to 63 of the letters a-z, digits, "
		 "'-' and '_', and begins with a letter or digit\n"
		 "sluice.yaml:5:13: listener 'a' is defined twice; the first is at line 4, column "
		 "13\n"},
		{CONFIG_HEAD "listeners:\n  - name: a\n    protocol: http\n    address:\n"
			     "      - \"192.0.2.1\"\n      - \"2001:db8::1:80\"\n"
			     "      - \"192.0.2.1:0\"\n      - \"192.0.2.1:90-80\"\n"
			     "      - \"192.0.2.1/24:80\"\n      - \"[192.0.2.1]:80\"\n"
			     "      - \"host:80\"\n      - []\n      - \"192.0.2.1:65536\"\n",
		 "sluice.yaml:6:9: listener 'a': address: '192.0.2.1': expected ADDRESS:PORT, "
		 "[IPV6]:PORT, PREFIX/LEN:PORT or *:PORT\n"
		 "sluice.yaml:7:9: listener 'a': address: '2001:db8::1:80': expected ADDRESS:PORT, "
		 "[IPV6]:PORT, PREFIX/LEN:PORT or *:PORT\n"
		 "sluice.yaml:8:9: listener 'a': address: '192.0.2.1:0': the port must be 1 to "
		 "65535, or a range such as 1000-2000\n"
		 "sluice.yaml:9:9: listener 'a': address: '192.0.2.1:90-80': the port must be 1 to "
		 "65535, or a range such as 1000-2000\n"
		 "sluice.yaml:10:9: listener 'a': address: '192.0.2.1/24' has host bits set; did "
		 "you mean '192.0.2.0/24'?\n"
		 "sluice.yaml:11:9: listener 'a': address: '[192.0.2.1]:80': expected "
		 "ADDRESS:PORT, "
		 "[IPV6]:PORT, PREFIX/LEN:PORT or *:PORT\n"
		 "sluice.yaml:12:9: listener 'a': address: 'host' is not an address or a prefix\n"
		 "sluice.yaml:13:9: listener 'a': address: expected ADDRESS:PORT, got a list\n"
		 "sluice.yaml:14:9: listener 'a': address: '192.0.2.1:65536': the port must be 1 "
		 "to "
		 "65535, or a range such as 1000-2000\n"},
		{CONFIG_HEAD
		 "listeners:\n"
		 "  - { name: a, address: \"*:80\", protocol: http }\n"
		 "  - { name: b, address: \"[::]/0:80\", protocol: http }\n"
		 "  - { name: c, address: [ \"10.0.0.1:80\", \"10.0.0.1:80\" ], protocol: http "
		 "}\n",
		 "sluice.yaml:4:5: listener 'b': address '[::/0]:80' belongs to listener 'a' at "
		 "line 3 already\n"
		 "sluice.yaml:5:5: listener 'c': address '10.0.0.1:80' is given twice\n"},
		{CONFIG_HEAD "listeners:\n  - { name: a, address: [], protocol: tcp }\n",
		 "sluice.yaml:3:25: listener 'a': address: needs 1 to 4096 addresses, has 0\n"
		 "sluice.yaml:3:39: listener 'a': protocol: 'tcp' is not supported yet\n"},
		{CONFIG_HEAD
		 "listeners:\n  - name: a\n    address: \"192.0.2.1:80\"\n"
		 "    protocol: http\n    limits: { header_bytes: 4KiB, uri_bytes: 4KiB }\n",
		 "sluice.yaml:3:5: listener 'a': limits: uri_bytes (4KiB) must be less than "
		 "header_bytes (4KiB)\n"},
		{CONFIG_HEAD
		 "listeners:\n  - name: a\n    address: \"192.0.2.1:80\"\n"
		 "    protocol: http\n    limits: { header_bytes: 1, header_count: 0, "
		 "connections_per_source: 0, field_bytes: 1 }\n"
		 "    timeouts: { header: 0s, idle: 10, handshake: 0s, min_body_rate: 1KiB "
		 "}\n    tls: {}\n    proxy_protocol: maybe\n    upstream: x\n",
		 "sluice.yaml:6:29: listener 'a': limits: header_bytes: must be 1KiB to 128KiB, "
		 "got "
		 "'1'\n"
		 "sluice.yaml:6:46: listener 'a': limits: header_count: must be 1 to 1000, got "
		 "'0'\n"
		 "sluice.yaml:6:73: listener 'a': limits: connections_per_source: must be 1 to "
		 "1000000, got '0'\n"
		 "sluice.yaml:6:89: listener 'a': limits: field_bytes: must be 64 to 128KiB, got "
		 "'1'\n"
		 "sluice.yaml:7:25: listener 'a': timeouts: header: must be 1ms to 1d, got '0s'\n"
		 "sluice.yaml:7:35: listener 'a': timeouts: idle: expected a duration such as "
		 "500ms, 2s, 10m, 24h or 7d, got '10'\n"
		 "sluice.yaml:7:50: listener 'a': timeouts: handshake: must be 1ms to 1d, got "
		 "'0s'\n"
		 "sluice.yaml:7:69: listener 'a': timeouts: min_body_rate: expected a rate such as "
		 "1KiB/s, or off, got '1KiB'\n"
		 "sluice.yaml:8:10: listener 'a': tls: 'certificates' is required\n"
		 "sluice.yaml:9:21: listener 'a': proxy_protocol: expected one of off, accept, "
		 "require, got 'maybe'\n"
		 "sluice.yaml:10:5: listener 'a': 'upstream' is not supported yet\n"},
		{CONFIG_HEAD "listeners:\n"
			     "  - { name: a, address: \"*:80\", proxy_protocol: accept }\n"
			     "  - { name: b, address: \"*:81\", proxy_protocol: off }\n"
			     "  - { name: c, address: \"*:82\", proxy_protocol: require }\n",
		 "sluice.yaml:3:5: listener 'a': 'proxy_protocol' needs 'node.trusted_proxies', "
		 "which says whose headers are believed\n"
		 "sluice.yaml:5:5: listener 'c': 'proxy_protocol' needs 'node.trusted_proxies', "
		 "which says whose headers are believed\n"},
	};

	check_rows(rows, ARRAY_SIZE(rows));
}

static void test_upstream_errors(void **state)
{
	static const struct bad_row rows[] = {
		{CONFIG_HEAD "upstreams:\n  - { name: a }\n  - { name: b, endpoints: [] }\n  - c\n",
		 "sluice.yaml:3:5: upstream 'a': 'endpoints' is required\n"
		 "sluice.yaml:4:27: upstream 'b': endpoints: needs 1 to 4096 endpoints, has 0\n"
		 "sluice.yaml:5:5: upstream 3: expected a mapping, got 'c'\n"},
		{CONFIG_HEAD
		 "upstreams:\n  - name: a\n    endpoints:\n      - shop.internal:8080\n"
		 "      - 10.0.0.1\n      - 10.0.0.1:0\n      - { address: 10.0.0.2:80, "
		 "weight: 0 }\n      - { weight: 2 }\n      - { address: [] }\n"
		 "      - \"unix:\"\n      - 10.0.0.3:80\n      - { address: 10.0.0.3:80 }\n",
		 "sluice.yaml:5:9: upstream 'a': endpoint 'shop.internal:8080': use an IP address; "
		 "names are not supported yet\n"
		 "sluice.yaml:6:9: upstream 'a': endpoint: '10.0.0.1' has no port; expected "
		 "'ADDRESS:PORT'\n"
		 "sluice.yaml:7:9: upstream 'a': endpoint: '10.0.0.1:0': the port must be 1 to "
		 "65535\n"
		 "sluice.yaml:8:41: upstream 'a': endpoints: weight: must be 1 to 65535, got '0'\n"
		 "sluice.yaml:9:9: upstream 'a': endpoints: 'address' is required\n"
		 "sluice.yaml:10:20: upstream 'a': endpoints: expected an address such as "
		 "10.0.0.1:8080, got a list\n"
		 "sluice.yaml:11:9: upstream 'a': endpoint: 'unix:' needs a path after it\n"
		 "sluice.yaml:13:9: upstream 'a': endpoint '10.0.0.3:80' is given twice; use "
		 "'weight' to send it more\n"},
		{CONFIG_HEAD "upstreams:\n  - name: a\n    dns: x:80\n    balance: ewma\n"
			     "    protocol: grpc\n    health_check: {}\n    tls: {}\n",
		 "sluice.yaml:4:5: upstream 'a': 'dns' is not supported yet\n"
		 "sluice.yaml:5:14: upstream 'a': balance: 'ewma' is not supported yet\n"
		 "sluice.yaml:6:15: upstream 'a': protocol: 'grpc' is not supported yet\n"
		 "sluice.yaml:7:5: upstream 'a': 'health_check' is not supported yet\n"
		 "sluice.yaml:8:10: upstream 'a': tls: needs 'ca', the authorities that may sign "
		 "the server's certificate\n"
		 "sluice.yaml:8:10: upstream 'a': tls: needs 'server_name' or 'san': the names "
		 "that the server's certificate may have\n"},
		{CONFIG_HEAD
		 "upstreams:\n  - { name: a, endpoints: [ 10.0.0.1:80 ], timeouts: { connect: "
		 "0s, reponse: 1s } }\n",
		 "sluice.yaml:3:65: upstream 'a': timeouts: connect: must be 1ms to 1d, got '0s'\n"
		 "sluice.yaml:3:69: upstream 'a': timeouts: unknown key 'reponse'; did you mean "
		 "'response'?\n"},
	};

	check_rows(rows, ARRAY_SIZE(rows));
}

#define ONE_UPSTREAM CONFIG_HEAD "upstreams:\n  - name: a\n    endpoints: [ 10.0.0.1:80 ]\n"

static void test_upstream_policy_errors(void **state)
{
	static const struct bad_row rows[] = {
		{ONE_UPSTREAM "    proxy_protocol: v1\n    proxy_protocol_tlvs: [ alpn ]\n",
		 "sluice.yaml:6:5: upstream 'a': 'proxy_protocol_tlvs' needs 'proxy_protocol: v2', "
		 "which has room for them\n"},
		{ONE_UPSTREAM "    proxy_protocol: v2\n    proxy_protocol_tlvs: [ alpm, {} ]\n",
		 "sluice.yaml:6:28: upstream 'a': proxy_protocol_tlvs: expected authority or alpn, "
		 "got 'alpm'; did you mean 'alpn'?\n"
		 "sluice.yaml:6:34: upstream 'a': proxy_protocol_tlvs: expected authority or alpn, "
		 "got a mapping\n"},
		{ONE_UPSTREAM "    balance: maglev\n",
		 "sluice.yaml:5:14: upstream 'a': balance: maglev needs 'hash_on', which says what "
		 "keeps a client with its endpoint\n"},
		{ONE_UPSTREAM "    hash_on: source\n",
		 "sluice.yaml:5:5: upstream 'a': 'hash_on' has a meaning with 'balance: maglev' "
		 "only\n"},
		{ONE_UPSTREAM "    balance: maglev\n    hash_on: path\n    slow_start: 1s\n",
		 "sluice.yaml:7:5: upstream 'a': 'slow_start' has no meaning with 'balance: "
		 "maglev': keys have their endpoint at once\n"},
		{ONE_UPSTREAM "    balance: maglev\n    hash_on: user\n",
		 "sluice.yaml:6:14: upstream 'a': hash_on: expected source, path, { header: NAME "
		 "}, { cookie: NAME } or { query: NAME }, got 'user'\n"},
		{ONE_UPSTREAM "    balance: maglev\n    hash_on: { header: a, cookie: b }\n",
		 "sluice.yaml:6:14: upstream 'a': hash_on: expected source, path, { header: NAME "
		 "}, { cookie: NAME } or { query: NAME }, got a mapping\n"},
		{ONE_UPSTREAM "    balance: maglev\n    hash_on: { source: true }\n",
		 "sluice.yaml:6:14: upstream 'a': hash_on: expected source, path, { header: NAME "
		 "}, { cookie: NAME } or { query: NAME }, got a mapping\n"},
		{ONE_UPSTREAM "    balance: maglev\n    hash_on: { header: \"a b\" }\n",
		 "sluice.yaml:6:24: upstream 'a': hash_on: header: expected a name, got 'a b'\n"},
		{ONE_UPSTREAM "    balance: maglev\n    hash_on: { query: [] }\n",
		 "sluice.yaml:6:23: upstream 'a': hash_on: query: expected a name, got a list\n"},
		{ONE_UPSTREAM "    retry: { on: [ conect, 500 ], attempts: 11, budget: 20 }\n",
		 "sluice.yaml:5:20: upstream 'a': retry: on: expected one of connect, reset, 502, "
		 "503, 504, got 'conect'; did you mean 'connect'?\n"
		 "sluice.yaml:5:28: upstream 'a': retry: on: expected one of connect, reset, 502, "
		 "503, 504, got '500'; did you mean '502'?\n"
		 "sluice.yaml:5:45: upstream 'a': retry: attempts: must be 1 to 10, got '11'\n"
		 "sluice.yaml:5:57: upstream 'a': retry: budget: expected a percentage such as 20% "
		 "or 0.5%, got '20'\n"},
		{ONE_UPSTREAM "    retry: { on: {} }\n",
		 "sluice.yaml:5:18: upstream 'a': retry: on: expected a list, got a mapping\n"},
		{ONE_UPSTREAM "    ejection: { base: 0s, max: 0%, failures: 1 }\n",
		 "sluice.yaml:5:23: upstream 'a': ejection: base: must be 1ms to 1d, got '0s'\n"
		 "sluice.yaml:5:32: upstream 'a': ejection: max: must be 1% to 100%, got '0%'\n"
		 "sluice.yaml:5:36: upstream 'a': ejection: unknown key 'failures'; did you mean "
		 "'consecutive_failures'?\n"},
		{ONE_UPSTREAM "    limits: { connections: 1000001, pending: many }\n",
		 "sluice.yaml:5:28: upstream 'a': limits: connections: must be 0 to 1000000, got "
		 "'1000001'\n"
		 "sluice.yaml:5:46: upstream 'a': limits: pending: expected a whole number, got "
		 "'many'\n"},
	};

	check_rows(rows, ARRAY_SIZE(rows));
}

static void test_route_reference_errors(void **state)
{
	static const struct bad_row rows[] = {
		{CONFIG_HEAD CONFIG_WEB
		 "upstreams: [ { name: payments, endpoints: [ 10.0.0.1:80 ] } ]\n"
		 "routes:\n  - { name: api, proxy: { upstream: pay } }\n",
		 "sluice.yaml:5:37: route 'api': upstream 'pay' is not defined; did you mean "
		 "'payments'?\n"},
		{CONFIG_HEAD CONFIG_WEB CONFIG_UP
		 "routes:\n  - { name: api, listeners: [ web, wep ], proxy: { upstream: [] } }\n",
		 "sluice.yaml:5:36: route 'api': listener 'wep' is not defined; did you mean "
		 "'web'?\n"
		 "sluice.yaml:5:62: route 'api': expected the name of an upstream, got a list\n"},
		/* An upstream with an error of its own is defined all the same. */
		{CONFIG_HEAD CONFIG_WEB "upstreams: [ { name: shop, endpoints: [ x ] } ]\n"
					"routes:\n  - { name: api, proxy: { upstream: shop } }\n",
		 "sluice.yaml:3:41: upstream 'shop': endpoint 'x': use an IP address; names are "
		 "not "
		 "supported yet\n"},
		{CONFIG_HEAD "routes:\n  - { name: api, respond: {} }\n",
		 "sluice.yaml:3:5: route 'api': there is no listener that it could be reached "
		 "by\n"},
		{CONFIG_HEAD CONFIG_WEB "routes:\n  - { name: a, respond: {} }\n  - { name: a, "
					"match: { path: { exact: /x } }, "
					"respond: {} }\n",
		 "sluice.yaml:5:13: route 'a' is defined twice; the first is at line 4, column "
		 "13\n"},
	};

	check_rows(rows, ARRAY_SIZE(rows));
}

static void test_route_match_errors(void **state)
{
	static const struct bad_row rows[] = {
		{CONFIG_HEAD CONFIG_WEB
		 "routes:\n  - name: a\n    respond: {}\n    match:\n      hosts:\n"
		 "        - api.*.com\n        - \"http://x\"\n        - \"x:80\"\n        - a..b\n"
		 "        - \"*.\"\n        - \"[::1\"\n        - ok.example.com\n        - \"\"\n",
		 "sluice.yaml:15:11: route 'a': match: hosts: must not be empty\n"},
		{CONFIG_HEAD CONFIG_WEB
		 "routes:\n  - name: a\n    respond: {}\n    match:\n      hosts:\n"
		 "        - api.*.com\n        - \"http://x\"\n        - \"x:80\"\n        - a..b\n"
		 "        - \"*.\"\n        - \"[::1\"\n        - ok.example.com\n",
		 "sluice.yaml:8:11: route 'a': match: hosts: 'api.*.com': '*' stands only in "
		 "front, "
		 "as in '*.example.com'\n"
		 "sluice.yaml:9:11: route 'a': match: hosts: 'http://x': a host has neither scheme "
		 "nor port\n"
		 "sluice.yaml:10:11: route 'a': match: hosts: 'x:80': a host has neither scheme "
		 "nor "
		 "port\n"
		 "sluice.yaml:11:11: route 'a': match: hosts: 'a..b' is not a host name\n"
		 "sluice.yaml:12:11: route 'a': match: hosts: '*.' is not a host name\n"
		 "sluice.yaml:13:11: route 'a': match: hosts: '[::1': a host has neither scheme "
		 "nor "
		 "port\n"},
		{CONFIG_HEAD CONFIG_WEB
		 "routes:\n"
		 "  - { name: a, respond: {}, match: { path: { prefix: cart } } }\n"
		 "  - { name: b, respond: {}, match: { path: { exact: /a/../b } } }\n"
		 "  - { name: c, respond: {}, match: { path: { exact: /%7euser } } }\n"
		 "  - { name: d, respond: {}, match: { path: { exact: /a%2fb } } }\n"
		 "  - { name: e, respond: {}, match: { path: { exact: \"/a b\" } } }\n"
		 "  - { name: f, respond: {}, match: { path: { exact: /f, prefix: /f } } }\n"
		 "  - { name: g, respond: {}, match: { path: {} } }\n"
		 "  - { name: h, respond: {}, match: { path: { regex: x } } }\n"
		 "  - { name: i, respond: {}, match: { path: /i } }\n"
		 "  - { name: j, respond: {}, match: { path: { exact: /.. } } }\n",
		 "sluice.yaml:4:54: route 'a': match: path: expected a path that begins with '/', "
		 "got 'cart'\n"
		 "sluice.yaml:5:53: route 'b': match: path: '/a/../b' must be written as '/b'\n"
		 "sluice.yaml:6:53: route 'c': match: path: '/%7euser' must be written as "
		 "'/~user'\n"
		 "sluice.yaml:7:53: route 'd': match: path: '/a%2fb' must be written as "
		 "'/a%2Fb'\n"
		 "sluice.yaml:8:53: route 'e': match: path: '/a b': spaces, '?', '#' and bytes "
		 "beyond ASCII must be percent-encoded\n"
		 "sluice.yaml:9:44: route 'f': match: path: needs exactly one of 'prefix', "
		 "'exact', 'template' and 'regex'\n"
		 "sluice.yaml:10:44: route 'g': match: path: needs exactly one of 'prefix', "
		 "'exact', 'template' and 'regex'\n"
		 "sluice.yaml:11:53: route 'h': match: path: regex: 'x' matches no path: the whole "
		 "path is compared, and begins with '/'\n"
		 "sluice.yaml:12:44: route 'i': match: path: expected a mapping, got '/i'\n"
		 "sluice.yaml:13:53: route 'j': match: path: '/..': such a path is never routed "
		 "(bad "
		 "or forbidden escape, or above the root)\n"},
		{CONFIG_HEAD CONFIG_WEB
		 "routes:\n"
		 "  - { name: a, respond: {}, match: { path: { exact: /a//b } } }\n"
		 "  - { name: b, respond: {}, match: { path: { prefix: /a%5Cb } } }\n"
		 "  - { name: c, respond: {}, match: { path: { exact: /a/c//b } }, "
		 "unsafe_paths: allow }\n"
		 "  - { name: d, respond: {}, unsafe_paths: \"on\" }\n",
		 "sluice.yaml:4:5: route 'a': match: path: '/a//b' has '//', %2F or %5C: that "
		 "needs 'unsafe_paths: allow'\n"
		 "sluice.yaml:5:5: route 'b': match: path: '/a%5Cb' has '//', %2F or %5C: that "
		 "needs 'unsafe_paths: allow'\n"
		 "sluice.yaml:7:43: route 'd': unsafe_paths: expected one of refuse, allow, got "
		 "'on'\n"},
		{CONFIG_HEAD CONFIG_WEB
		 "routes:\n"
		 "  - { name: a, respond: {}, match: { path: { template: a } } }\n"
		 "  - { name: b, respond: {}, match: { path: { template: /a } } }\n"
		 "  - { name: c, respond: {}, match: { path: { template: \"/{a}/{a}\" } } }\n"
		 "  - { name: d, respond: {}, match: { path: { template: \"/x{a}\" } } }\n"
		 "  - { name: e, respond: {}, match: { path: { template: \"/{a*}/x\" } } }\n"
		 "  - { name: f, respond: {}, match: { path: { template: \"/{A}\" } } }\n"
		 "  - { name: g, respond: {}, match: { path: { template: \"/{a}/../b\" } } }\n"
		 "  - { name: h, respond: {}, match: { path: { template: \"/{a}//b\" } } }\n"
		 "  - { name: i, respond: {}, match: { path: { regex: \"/a(\" } } }\n"
		 "  - { name: j, respond: {}, match: { path: { regex: [ x ] } } }\n",
		 "sluice.yaml:4:56: route 'a': match: path: expected a path that begins with '/', "
		 "got 'a'\n"
		 "sluice.yaml:5:56: route 'b': match: path: template '/a': has no {parameter}; "
		 "'exact' is for such a path\n"
		 "sluice.yaml:6:56: route 'c': match: path: template '/{a}/{a}': parameter 'a' is "
		 "there twice\n"
		 "sluice.yaml:7:56: route 'd': match: path: template '/x{a}': 'x{a}': a parameter "
		 "is a whole segment, as in /{id}/ (a brace itself is written %7B or %7D)\n"
		 "sluice.yaml:8:56: route 'e': match: path: template '/{a*}/x': '{a*}' must be "
		 "the last segment\n"
		 "sluice.yaml:9:56: route 'f': match: path: template '/{A}': 'A' is not a "
		 "parameter's name (1 to 32 of a-z, 0-9 and '_', not a digit first)\n"
		 "sluice.yaml:10:56: route 'g': match: path: '/{a}/../b' is not in canonical form: "
		 "escapes only where they are needed, in capitals, and no dot segments\n"
		 "sluice.yaml:11:5: route 'h': match: path: '/{a}//b' has '//', %2F or %5C: that "
		 "needs 'unsafe_paths: allow'\n"
		 "sluice.yaml:12:53: route 'i': match: path: regex: '/a(': missing closing "
		 "parenthesis at offset 3\n"
		 "sluice.yaml:13:53: route 'j': match: path: regex: expected a pattern, got a "
		 "list\n"},
		{CONFIG_HEAD CONFIG_WEB
		 "routes:\n"
		 "  - { name: a, respond: {}, match: { headers: [ x ] } }\n"
		 "  - { name: b, respond: {}, match: { headers: { x: { regex: \"*\" } } } }\n"
		 "  - { name: c, respond: {}, match: { query: { x: { present: 1 } } } }\n",
		 "sluice.yaml:4:47: route 'a': match: headers: expected a mapping, got a list\n"
		 "sluice.yaml:5:61: route 'b': match: headers: 'x': regex: '*': quantifier does "
		 "not follow a repeatable item at offset 0\n"
		 "sluice.yaml:6:61: route 'c': match: query: 'x': present: expected on or off, got "
		 "'1'\n"},
		{CONFIG_HEAD CONFIG_WEB "routes:\n  - { name: a, respond: {}, match: { methods: [ "
					"GET, get, \"A B\", CONNECT, TRACE ] "
					"} }\n  - { name: b, respond: {}, match: { headers: {}, "
					"query: {}, sni: [], upgrade: "
					"h2c } }\n  - { name: c, respond: {}, match: { "
					"upgrade: [ a, b ] } }\n",
		 "sluice.yaml:4:54: route 'a': match: methods: 'get': did you mean 'GET'?\n"
		 "sluice.yaml:4:59: route 'a': match: methods: 'A B' is not a method\n"
		 "sluice.yaml:4:66: route 'a': match: methods: 'CONNECT' is not supported yet\n"
		 "sluice.yaml:4:75: route 'a': match: methods: 'TRACE' is not supported yet\n"
		 "sluice.yaml:5:62: route 'b': match: 'sni' is not supported yet\n"
		 "sluice.yaml:5:80: route 'b': match: upgrade: expected a protocol such as "
		 "websocket, other than HTTP and TLS, got 'h2c'\n"
		 "sluice.yaml:6:47: route 'c': match: upgrade: expected one protocol such as "
		 "websocket, got a list\n"},
	};

	check_rows(rows, ARRAY_SIZE(rows));
}

static void test_route_action_errors(void **state)
{
	static const struct bad_row rows[] = {
		{CONFIG_HEAD CONFIG_WEB CONFIG_UP
		 "routes:\n  - { name: a }\n"
		 "  - { name: b, match: { path: { exact: /b } }, respond: {}, redirect: { scheme: "
		 "https "
		 "} }\n"
		 "  - { name: c, match: { path: { exact: /c } }, files: {}, policies: [] }\n"
		 "  - { name: d, match: { path: { exact: /d } }, compose: {}, proxy: { upstream: "
		 "shop "
		 "} }\n",
		 "sluice.yaml:5:5: route 'a': needs an action: 'proxy', 'redirect', 'respond' or "
		 "'files'\n"
		 "sluice.yaml:6:48: route 'b': has 'redirect' already; 'respond' is a second "
		 "action\n"
		 "sluice.yaml:7:55: route 'c': files: 'root' is required\n"
		 "sluice.yaml:8:48: route 'd': 'compose' is not supported yet\n"
		 "sluice.yaml:8:61: route 'd': has 'compose' already; 'proxy' is a second "
		 "action\n"},
		{CONFIG_HEAD CONFIG_WEB CONFIG_UP
		 "routes:\n"
		 "  - { name: a, match: { path: { exact: /a } }, proxy: {} }\n"
		 "  - { name: b, match: { path: { exact: /b } }, proxy: shop }\n"
		 "  - { name: c, match: { path: { exact: /c } }, proxy: { split: [] } }\n"
		 "  - { name: d, match: { path: { exact: /d } }, proxy: { upstream: shop, "
		 "trailers: "
		 "maybe, mirror: {} } }\n"
		 "  - { name: e, match: { path: { exact: /e } }, proxy: { upstream: shop, "
		 "expose_upstream: [ via, date, all ] } }\n"
		 "  - { name: f, match: { path: { exact: /f } }, proxy: { upstream: shop, "
		 "upgrade: [ websocket, H2C, \"a b\", tls ], tunnel_idle: 0s } }\n",
		 "sluice.yaml:5:55: route 'a': proxy: needs 'upstream' or 'split'\n"
		 "sluice.yaml:6:55: route 'b': proxy: expected a mapping, got 'shop'\n"
		 "sluice.yaml:7:64: route 'c': proxy: split: needs 1 to 64 upstreams\n"
		 "sluice.yaml:8:83: route 'd': proxy: trailers: expected on or off, got 'maybe'\n"
		 "sluice.yaml:8:90: route 'd': proxy: 'mirror' is not supported yet\n"
		 "sluice.yaml:9:97: route 'e': proxy: expose_upstream: 'date' is neither 'all' nor "
		 "a "
		 "field that is hidden\n"
		 "sluice.yaml:10:95: route 'f': proxy: upgrade: expected a protocol such as "
		 "websocket, other than HTTP and TLS, got 'H2C'\n"
		 "sluice.yaml:10:100: route 'f': proxy: upgrade: expected a protocol such as "
		 "websocket, other than HTTP and TLS, got 'a b'\n"
		 "sluice.yaml:10:107: route 'f': proxy: upgrade: expected a protocol such as "
		 "websocket, other than HTTP and TLS, got 'tls'\n"
		 "sluice.yaml:10:127: route 'f': proxy: tunnel_idle: must be 1ms to 7d, got "
		 "'0s'\n"},
		{CONFIG_HEAD CONFIG_WEB
		 "routes:\n"
		 "  - { name: a, match: { path: { exact: /a } }, redirect: { status: 301 } }\n"
		 "  - { name: b, match: { path: { exact: /b } }, redirect: { scheme: ftp, status: "
		 "200 } "
		 "}\n"
		 "  - { name: c, match: { path: { exact: /c } }, redirect: { host: \"x y\", port: "
		 "0 } "
		 "}\n"
		 "  - { name: d, match: { path: { exact: /d } }, redirect: { path: //evil.example "
		 "} "
		 "}\n"
		 "  - { name: e, match: { path: { exact: /e } }, redirect: { path: \"/a\\r\\nb\" } "
		 "}\n  - { name: f, match: { path: { exact: /f } }, redirect: { path: \"/a?b\" } "
		 "}\n",
		 "sluice.yaml:4:58: route 'a': redirect: needs one of 'scheme', 'host', 'port' and "
		 "'path', or the client would come back for ever\n"
		 "sluice.yaml:5:68: route 'b': redirect: scheme: expected one of http, https, got "
		 "'ftp'\n"
		 "sluice.yaml:5:81: route 'b': redirect: status: expected one of 301, 302, 303, "
		 "307, 308, got '200'\n"
		 "sluice.yaml:6:66: route 'c': redirect: host: expected a host name in lower case, "
		 "without port, got 'x y'\n"
		 "sluice.yaml:6:79: route 'c': redirect: port: must be 1 to 65535, got '0'\n"
		 "sluice.yaml:7:66: route 'd': redirect: path: expected a path that begins with "
		 "one "
		 "'/', without query, percent-encoded where needed, got '//evil.example'\n"
		 "sluice.yaml:8:66: route 'e': redirect: path: expected a path that begins with "
		 "one "
		 "'/', without query, percent-encoded where needed, got '/a\\x0d\\x0ab'\n"
		 "sluice.yaml:9:66: route 'f': redirect: path: expected a path that begins with "
		 "one "
		 "'/', without query, percent-encoded where needed, got '/a?b'\n"},
		{CONFIG_HEAD CONFIG_WEB
		 "routes:\n"
		 "  - { name: a, match: { path: { exact: /a } }, respond: { status: 199, body: [] "
		 "} }\n"
		 "  - { name: b, match: { path: { exact: /b } }, respond: { status: 204, body: x } "
		 "}\n"
		 "  - { name: c, match: { path: { exact: /c } }, respond: { headers: { \"a b\": x, "
		 "content-length: 1, X-Ok: \"a\\nb\", connection: close } } }\n"
		 "  - { name: d, match: { path: { exact: /d } }, respond: { headers: [] } }\n",
		 "sluice.yaml:4:67: route 'a': respond: status: must be 200 to 599, got '199'\n"
		 "sluice.yaml:4:78: route 'a': respond: body: expected text, got a list\n"
		 "sluice.yaml:5:57: route 'b': respond: an answer with status 204 has no body\n"
		 "sluice.yaml:6:70: route 'c': respond: headers: 'a b' is not a field name\n"
		 "sluice.yaml:6:80: route 'c': respond: headers: 'content-length' is written by "
		 "Sluice itself\n"
		 "sluice.yaml:6:105: route 'c': respond: headers: 'X-Ok': expected text without "
		 "control bytes and outer spaces, got 'a\\x0ab'\n"
		 "sluice.yaml:6:113: route 'c': respond: headers: 'connection' is written by "
		 "Sluice "
		 "itself\n"
		 "sluice.yaml:7:68: route 'd': respond: headers: expected a mapping, got a list\n"},
	};

	check_rows(rows, ARRAY_SIZE(rows));
}

static void test_routes_that_match_the_same_requests_are_named_with_both_places(void **state)
{
	static const struct bad_row rows[] = {
		{CONFIG_HEAD CONFIG_WEB
		 "routes:\n"
		 "  - { name: a, match: { hosts: [ x, y ], path: { prefix: /p } }, respond: {} }\n"
		 "  - { name: b, match: { hosts: [ z, Y ], path: { prefix: /p/ } }, respond: {} }\n"
		 "  - { name: c, match: { hosts: [ y ], path: { exact: /p } }, respond: {} }\n"
		 "  - { name: d, match: { hosts: [ y ], path: { prefix: /p }, methods: [ GET ] }, "
		 "respond: {} }\n"
		 "  - { name: e, match: { path: { prefix: /p } }, respond: {} }\n"
		 "  - { name: f, match: { path: { prefix: /p } }, respond: {} }\n"
		 "  - { name: g, match: { path: { prefix: /p } }, respond: {} }\n"
		 "  - { name: h, match: { path: { prefix: /p }, headers: { a: x } }, respond: {} "
		 "}\n"
		 "  - { name: i, match: { path: { prefix: /p }, headers: { A: x } }, respond: {} "
		 "}\n"
		 "  - { name: j, match: { path: { prefix: /p }, headers: { a: y } }, respond: {} "
		 "}\n"
		 "  - { name: k, match: { path: { prefix: /p }, query: { a: y } }, respond: {} }\n"
		 "  - { name: l, match: { path: { template: \"/{x}\" } }, respond: {} }\n"
		 "  - { name: m, match: { path: { template: \"/{y}\" } }, respond: {} }\n"
		 "  - { name: n, match: { path: { regex: /x.* } }, respond: {} }\n"
		 "  - { name: o, match: { path: { regex: /x.* } }, respond: {} }\n",
		 "sluice.yaml:5:5: route 'b': matches the same requests as route 'a' at line 4, "
		 "column 5\n"
		 "sluice.yaml:9:5: route 'f': matches the same requests as route 'e' at line 8, "
		 "column 5\n"
		 "sluice.yaml:10:5: route 'g': matches the same requests as route 'e' at line 8, "
		 "column 5\n"
		 "sluice.yaml:12:5: route 'i': matches the same requests as route 'h' at line 11, "
		 "column 5\n"
		 "sluice.yaml:16:5: route 'm': matches the same requests as route 'l' at line 15, "
		 "column 5\n"
		 "sluice.yaml:18:5: route 'o': matches the same requests as route 'n' at line 17, "
		 "column 5\n"},
		{CONFIG_HEAD "listeners:\n"
			     "  - { name: a, address: \"192.0.2.1:80\", protocol: http }\n"
			     "  - { name: b, address: \"192.0.2.2:80\", protocol: http }\n"
			     "routes:\n"
			     "  - { name: r1, listeners: [ a ], respond: {} }\n"
			     "  - { name: r2, listeners: b, respond: {} }\n"
			     "  - { name: r3, respond: {} }\n",
		 "sluice.yaml:8:5: route 'r3': matches the same requests as route 'r1' at line 6, "
		 "column 5\n"},
	};

	check_rows(rows, ARRAY_SIZE(rows));
}

static void test_engine_of_the_environment_is_checked(void **state)
{
	static const struct bad_row rows[] = {
		{CONFIG_HEAD, "sluice.yaml: environment variable SLUICE_IO: expected one of auto, "
			      "io_uring, epoll, got 'select'\n"},
	};

	assert_int_equal(setenv(CONFIG_ENGINE_ENV, "select", 1), 0);
	check_rows(rows, ARRAY_SIZE(rows));
	assert_int_equal(unsetenv(CONFIG_ENGINE_ENV), 0);
}

static void test_missing_file_is_told(void **state)
{
	struct loaded loaded;

	config_load_text(&loaded, NULL, NULL);
	assert_int_equal(loaded.result, -ENOENT);
	assert_string_equal(loaded.printed.data,
			    "sluice.yaml: cannot be read: No such file or directory\n");
	loaded_done(&loaded);
}

#define in_dir(test) cmocka_unit_test_setup_teardown(test, config_enter_dir, config_leave_dir)

int main(void)
{
	const struct CMUnitTest tests[] = {
		in_dir(test_structure_errors),
		in_dir(test_node_errors),
		in_dir(test_dataplane_errors),
		in_dir(test_listener_errors),
		in_dir(test_upstream_errors),
		in_dir(test_upstream_policy_errors),
		in_dir(test_route_reference_errors),
		in_dir(test_route_match_errors),
		in_dir(test_route_action_errors),
		in_dir(test_routes_that_match_the_same_requests_are_named_with_both_places),
		in_dir(test_engine_of_the_environment_is_checked),
		in_dir(test_missing_file_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

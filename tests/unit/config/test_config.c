#include "config_fixture.h"
#include "http/router.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/un.h>

#include "http/listener_config.h"

static void load_good(struct loaded *loaded, const char *text)
{
	config_load_text(loaded, text, NULL);
	assert_string_equal(loaded->printed.data, "");
	assert_int_equal(loaded->result, 0);
}

static void assert_prefix(const struct ip_prefix *prefix, const char *expected)
{
	char text[ADDR_TEXT_MAX];

	assert_string_equal(ip_prefix_format(prefix, text, sizeof(text)), expected);
}

static void test_version_alone_loads_with_all_defaults(void **state)
{
	const struct node_conf *node;
	struct loaded loaded;

	load_good(&loaded, CONFIG_HEAD "services: []\ncaches:\nstores: []\npolicies: []\n");
	node = &loaded.snapshot->node;
	assert_int_equal(node->workers, 0);
	assert_null(node->user.ptr);
	assert_str(node->state_dir, "/var/lib/sluice");
	assert_str(node->bpffs, "/sys/fs/bpf/sluice");
	assert_str(node->admin_socket, "/run/sluice/admin.sock");
	assert_int_equal(node->io, IO_ENGINE_AUTO);
	assert_int_equal(node->memory_limit_bytes, 1 << 30);
	assert_int_equal(node->log_level, LOG_LEVEL_INFO);
	assert_int_equal(node->log_format, LOG_FORMAT_JSON);
	assert_int_equal(node->drain_ms, 30000);
	assert_true(node->coalesce);
	assert_int_equal(loaded.snapshot->dataplane.interface_count, 0);
	assert_int_equal(loaded.snapshot->dataplane.allow_count, 0);
	assert_int_equal(loaded.snapshot->dataplane.deny_count, 0);
	assert_int_equal(loaded.snapshot->listener_count, 0);
	assert_int_equal(loaded.snapshot->upstream_count, 0);
	assert_int_equal(loaded.snapshot->route_count, 0);
	assert_str(loaded.snapshot->file, "sluice.yaml");
	assert_true(loaded.snapshot->loaded_wall_ms > 0);
	loaded_done(&loaded);
}

static void test_every_key_of_node_is_read(void **state)
{
	const struct node_conf *node;
	struct loaded loaded;

	load_good(&loaded, CONFIG_HEAD "node:\n"
				       "  workers: 7\n"
				       "  user: nobody\n"
				       "  state_dir: /tmp/state\n"
				       "  bpffs: /tmp/bpf\n"
				       "  admin: { socket: /tmp/admin.sock }\n"
				       "  io: epoll\n"
				       "  memory_limit: 64MiB\n"
				       "  log: { level: debug, format: text }\n"
				       "  drain: 5s\n"
				       "  trusted_proxies: [ 10.0.0.0/8, 2001:db8::1 ]\n"
				       "  metrics: \"[::1]:9464\"\n"
				       "  access_log: { file: /tmp/a.log, format: combined, "
				       "sample: 12.5% }\n");
	node = &loaded.snapshot->node;
	assert_int_equal(node->workers, 7);
	assert_int_equal(config_worker_count(loaded.snapshot), 7);
	assert_str(node->user, "nobody");
	assert_str(node->state_dir, "/tmp/state");
	assert_str(node->bpffs, "/tmp/bpf");
	assert_str(node->admin_socket, "/tmp/admin.sock");
	assert_int_equal(node->io, IO_ENGINE_EPOLL);
	assert_int_equal(node->memory_limit_bytes, 64 << 20);
	assert_int_equal(node->log_level, LOG_LEVEL_DEBUG);
	assert_int_equal(node->log_format, LOG_FORMAT_TEXT);
	assert_int_equal(node->drain_ms, 5000);
	assert_int_equal(node->trusted_proxies.count, 2);
	assert_prefix(&node->trusted_proxies.prefixes[0], "10.0.0.0/8");
	assert_prefix(&node->trusted_proxies.prefixes[1], "2001:db8::1/128");
	assert_str(node->metrics, "[::1]:9464");
	assert_int_equal(sock_addr_port(&node->metrics_addr), 9464);
	assert_str(node->access_log.file, "/tmp/a.log");
	assert_int_equal(node->access_log.format, ACCESS_LOG_COMBINED);
	assert_int_equal(node->access_log.sample, 1250);
	loaded_done(&loaded);
}

static void test_access_log_is_json_of_all_requests_by_default_and_absent_without_file(void **state)
{
	struct loaded loaded;

	load_good(&loaded, CONFIG_HEAD);
	assert_null(loaded.snapshot->node.access_log.file.ptr);
	loaded_done(&loaded);
	load_good(&loaded, CONFIG_HEAD "node: { access_log: { file: stdout } }\n");
	assert_str(loaded.snapshot->node.access_log.file, "stdout");
	assert_int_equal(loaded.snapshot->node.access_log.format, ACCESS_LOG_JSON);
	assert_int_equal(loaded.snapshot->node.access_log.sample, ACCESS_LOG_SAMPLE_ALL);
	loaded_done(&loaded);
}

static void test_workers_auto_is_at_least_one(void **state)
{
	struct loaded loaded;

	load_good(&loaded, CONFIG_HEAD "node: { workers: auto }\n");
	assert_in_range(config_worker_count(loaded.snapshot), 1, STEER_WORKERS_MAX);
	loaded_done(&loaded);
}

static void test_engine_of_the_environment_wins_over_the_file(void **state)
{
	struct loaded loaded;

	assert_int_equal(setenv(CONFIG_ENGINE_ENV, "epoll", 1), 0);
	load_good(&loaded, CONFIG_HEAD "node: { io: io_uring }\n");
	assert_int_equal(loaded.snapshot->node.io, IO_ENGINE_EPOLL);
	loaded_done(&loaded);
	assert_int_equal(setenv(CONFIG_ENGINE_ENV, "", 1), 0);
	load_good(&loaded, NULL);
	assert_int_equal(loaded.snapshot->node.io, IO_ENGINE_IO_URING);
	loaded_done(&loaded);
	assert_int_equal(unsetenv(CONFIG_ENGINE_ENV), 0);
}

static void test_every_key_of_dataplane_is_read(void **state)
{
	const struct dataplane_conf *conf;
	struct loaded loaded;
	uint64_t now_ms;

	config_write_file("feed.txt", "# feed\r\n\n  198.51.100.0/24 # a\n2001:db8::/32\r\n"
				      "198.51.100.0/24\n203.0.113.0/24\n192.0.2.9");
	load_good(&loaded,
		  CONFIG_HEAD "dataplane:\n"
			      "  interfaces:\n"
			      "    - { name: eth0 }\n"
			      "    - { name: eth1, xdp: native }\n"
			      "    - { name: eth2.7, xdp: generic }\n"
			      "    - { name: eth3, xdp: \"off\" }\n"
			      "  allow: [ 192.0.2.1, { cidr: 10.0.0.0/8, reason: office } ]\n"
			      "  deny:\n"
			      "    - { cidr: 203.0.113.0/24, reason: scanner, ttl: 24h }\n"
			      "    - { file: feed.txt, reason: feed, ttl: 1h }\n"
			      "    - \"2001:db8:1::/48\"\n");
	conf = &loaded.snapshot->dataplane;
	now_ms = loaded.snapshot->loaded_wall_ms;
	assert_int_equal(conf->interface_count, 4);
	assert_string_equal(conf->interfaces[0].name, "eth0");
	assert_int_equal(conf->interfaces[0].mode, XDP_MODE_AUTO);
	assert_int_equal(conf->interfaces[1].mode, XDP_MODE_NATIVE);
	assert_string_equal(conf->interfaces[2].name, "eth2.7");
	assert_int_equal(conf->interfaces[2].mode, XDP_MODE_GENERIC);
	assert_int_equal(conf->interfaces[3].mode, XDP_MODE_OFF);

	assert_int_equal(conf->allow_count, 2);
	assert_prefix(&conf->allow[0].prefix, "192.0.2.1/32");
	assert_string_equal(conf->allow[0].reason, "");
	assert_prefix(&conf->allow[1].prefix, "10.0.0.0/8");
	assert_string_equal(conf->allow[1].reason, "office");

	/* The repetitions within the file and of the first entry are dropped. */
	assert_int_equal(conf->deny_count, 5);
	assert_prefix(&conf->deny[0].prefix, "203.0.113.0/24");
	assert_string_equal(conf->deny[0].reason, "scanner");
	assert_true(conf->deny[0].expires_wall_ms == now_ms + 86400000);
	assert_int_equal(conf->deny[0].origin, ACCESS_FROM_CONFIG);
	assert_prefix(&conf->deny[1].prefix, "198.51.100.0/24");
	assert_string_equal(conf->deny[1].reason, "feed");
	assert_true(conf->deny[1].expires_wall_ms == now_ms + 3600000);
	assert_prefix(&conf->deny[2].prefix, "2001:db8::/32");
	assert_prefix(&conf->deny[3].prefix, "192.0.2.9/32");
	assert_prefix(&conf->deny[4].prefix, "2001:db8:1::/48");
	assert_int_equal(conf->deny[4].expires_wall_ms, 0);
	loaded_done(&loaded);
}

static void test_thousands_of_denied_prefixes_are_read_once_each(void **state)
{
	struct loaded loaded;
	FILE *file = fopen("many.txt", "wb");

	assert_non_null(file);
	for (int round = 0; round < 2; round++)
		for (unsigned int i = 0; i < 20000; i++)
			assert_true(fprintf(file, "10.%u.%u.%u\n", i >> 16, i >> 8 & 255, i & 255) >
				    0);
	assert_int_equal(fclose(file), 0);
	load_good(&loaded, CONFIG_HEAD "dataplane: { deny: [ { file: many.txt } ] }\n");
	assert_int_equal(loaded.snapshot->dataplane.deny_count, 20000);
	assert_prefix(&loaded.snapshot->dataplane.deny[19999].prefix, "10.0.78.31/32");
	loaded_done(&loaded);
}

static void test_every_key_of_a_listener_is_read(void **state)
{
	const struct listener_conf *listener;
	struct loaded loaded;

	load_good(&loaded, CONFIG_HEAD
		  "node: { trusted_proxies: [ 10.0.0.0/8 ] }\n"
		  "listeners:\n"
		  "  - { name: plain, address: \"192.0.2.10:80\", protocol: http }\n"
		  "  - name: all\n"
		  "    address: [ \"*:8080\", \"[2001:db8::1]:443\" ]\n"
		  "    protocol: http\n"
		  "    proxy_protocol: require\n"
		  "    limits: { header_bytes: 64KiB, header_count: 50, uri_bytes: 4KiB, "
		  "body_bytes: 0, field_bytes: 2KiB, connections_per_source: 5 }\n"
		  "    timeouts: { header: 3s, idle: 4s, request: 0s, min_body_rate: 2KiB/s }\n"
		  "  - { name: bare, address: \"*:1\", timeouts: { min_body_rate: \"off\" } }\n");
	assert_int_equal(loaded.snapshot->listener_count, 3);
	assert_int_equal(loaded.snapshot->listeners[2].min_body_rate, 0);
	listener = &loaded.snapshot->listeners[0];
	assert_str(listener->name, "plain");
	assert_int_equal(listener->connections_per_source, 1000);
	assert_int_equal(listener->min_body_rate, 1024);
	assert_int_equal(listener->line, 4);
	assert_int_equal(listener->proxy_protocol, LISTENER_PROXY_OFF);
	assert_int_equal(listener->column, 5);
	assert_int_equal(listener->tuple_count, 1);
	assert_int_equal(listener->http1.head_bytes, 32 << 10);
	assert_int_equal(listener->http1.field_count, 100);
	assert_int_equal(listener->http1.uri_bytes, 8 << 10);
	assert_int_equal(listener->http1.field_bytes, http1_limits_default.field_bytes);
	assert_int_equal(listener->http1.trailer_bytes, http1_limits_default.trailer_bytes);
	assert_int_equal(listener->body_bytes, 16 << 20);
	assert_int_equal(listener->header_timeout_ms, 10000);
	assert_int_equal(listener->idle_timeout_ms, 60000);
	assert_int_equal(listener->request_timeout_ms, 300000);
	assert_non_null(listener->router);

	listener = &loaded.snapshot->listeners[1];
	assert_int_equal(listener->tuple_count, 3);
	assert_int_equal(listener->proxy_protocol, LISTENER_PROXY_REQUIRE);
	assert_prefix(&listener->tuples[0].prefix, "0.0.0.0/0");
	assert_prefix(&listener->tuples[1].prefix, "::/0");
	assert_int_equal(listener->tuples[1].port_first, 8080);
	assert_prefix(&listener->tuples[2].prefix, "2001:db8::1/128");
	assert_int_equal(listener->http1.head_bytes, 64 << 10);
	assert_int_equal(listener->http1.field_count, 50);
	assert_int_equal(listener->http1.uri_bytes, 4 << 10);
	assert_int_equal(listener->body_bytes, 0);
	assert_int_equal(listener->header_timeout_ms, 3000);
	assert_int_equal(listener->idle_timeout_ms, 4000);
	assert_int_equal(listener->request_timeout_ms, 0);
	assert_int_equal(listener->http1.field_bytes, 2 << 10);
	assert_int_equal(listener->connections_per_source, 5);
	assert_int_equal(listener->min_body_rate, 2 << 10);
	loaded_done(&loaded);
}

static void test_listener_addresses_parse_and_format(void **state)
{
	static const struct {
		const char *text, *formatted;
	} rows[] = {
		{"192.0.2.1:80", "192.0.2.1:80"},
		{"192.0.2.0/24:1000-2000", "192.0.2.0/24:1000-2000"},
		{"192.0.2.1/32:80-80", "192.0.2.1:80"},
		{"0.0.0.0/0:1-65535", "0.0.0.0/0:1-65535"},
		{"[2001:db8::1]:443", "[2001:db8::1]:443"},
		{"[2001:DB8::/64]:443", "[2001:db8::/64]:443"},
		{"[2001:db8::]/64:443", "[2001:db8::/64]:443"},
		{"[::]/0:80", "[::/0]:80"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char text[LISTENER_TUPLE_TEXT_MAX];
		struct steer_tuple tuples[2];
		struct error err = {0};
		unsigned int count;

		assert_row(rows[i].text, !listener_parse_tuples(str_from_cstr(rows[i].text), tuples,
								&count, &err));
		assert_row(rows[i].text, count == 1);
		assert_string_equal(listener_format_tuple(&tuples[0], text, sizeof(text)),
				    rows[i].formatted);
	}
}

static void test_listener_addresses_with_stray_brackets_are_refused(void **state)
{
	static const char *const rows[] = {
		"",
		":",
		"[",
		"[]",
		"[]:80",
		"[::1",
		"[::1]",
		"[::1]80",
		"[::1]x:80",
		"[::1]:80:90",
		"::1:80",
		"[*]:80",
		"[[::1]]:80",
		"[::1/64]/64:80",
		"*",
		"*:",
		"*:0",
		"*:80-",
		"*:-80",
		"[aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
		"aaa"
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa:]:80",
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct steer_tuple tuples[2];
		unsigned int count = 77;

		assert_row(rows[i], listener_parse_tuples(str_from_cstr(rows[i]), tuples, &count,
							  NULL) == -EINVAL);
		assert_row(rows[i], count == 77);
	}
}

static void test_every_key_of_an_upstream_is_read(void **state)
{
	const struct upstream_conf *upstream;
	char text[ADDR_TEXT_MAX];
	struct loaded loaded;

	load_good(&loaded, CONFIG_HEAD
		  "upstreams:\n"
		  "  - { name: one, endpoints: [ \"unix:/run/x.sock\" ] }\n"
		  "  - name: two\n"
		  "    endpoints: [ 10.0.0.1:80, { address: \"[2001:db8::1]:81\", weight: 3 "
		  "} ]\n"
		  "    balance: round-robin\n"
		  "    protocol: http\n"
		  "    timeouts: { connect: 100ms, response: 2s, idle: 3s, pending: 4s }\n"
		  "    limits: { connections: 1024, pending: 7 }\n"
		  "    retry: { on: [ reset, 502, 503, 504 ], attempts: 2, per_try: 500ms, "
		  "budget: 12.5% }\n"
		  "    ejection: { consecutive_failures: 3, base: 10s, max: 30% }\n"
		  "    slow_start: 30s\n"
		  "    proxy_protocol: v2\n"
		  "    proxy_protocol_tlvs: [ alpn, authority ]\n");
	assert_int_equal(loaded.snapshot->upstream_count, 2);
	upstream = &loaded.snapshot->upstreams[0];
	assert_str(upstream->name, "one");
	assert_int_equal(upstream->endpoint_count, 1);
	assert_int_equal(upstream->endpoints[0].addr.any.sa_family, AF_UNIX);
	assert_str(upstream->endpoints[0].address, "unix:/run/x.sock");
	assert_int_equal(upstream->endpoints[0].weight, 1);
	assert_int_equal(upstream->connect_timeout_ms, 1000);
	assert_int_equal(upstream->response_timeout_ms, 30000);
	assert_int_equal(upstream->idle_timeout_ms, 60000);
	assert_int_equal(upstream->pending_timeout_ms, 1000);
	assert_int_equal(upstream->limits.connections, 0);
	assert_int_equal(upstream->limits.pending, 256);
	assert_int_equal(upstream->retry.on, UPSTREAM_RETRY_CONNECT);
	assert_int_equal(upstream->retry.attempts, 3);
	assert_int_equal(upstream->retry.per_try_ms, 0);
	assert_int_equal(upstream->retry.budget, 2000);
	assert_int_equal(upstream->ejection.consecutive_failures, 5);
	assert_int_equal(upstream->ejection.base_ms, 30000);
	assert_int_equal(upstream->ejection.max_share, 5000);
	assert_int_equal(upstream->slow_start_ms, 0);
	assert_int_equal(upstream->proxy_protocol, 0);
	assert_int_equal(upstream->proxy_tlvs, 0);
	assert_int_equal(upstream->hash_on.kind, UPSTREAM_HASH_NONE);

	upstream = &loaded.snapshot->upstreams[1];
	assert_int_equal(upstream->line, 4);
	assert_int_equal(upstream->column, 5);
	assert_int_equal(upstream->endpoint_count, 2);
	assert_string_equal(sock_addr_format(&upstream->endpoints[1].addr, text, sizeof(text)),
			    "[2001:db8::1]:81");
	assert_int_equal(upstream->endpoints[1].weight, 3);
	assert_int_equal(upstream->balance, UPSTREAM_ROUND_ROBIN);
	assert_int_equal(upstream->connect_timeout_ms, 100);
	assert_int_equal(upstream->response_timeout_ms, 2000);
	assert_int_equal(upstream->idle_timeout_ms, 3000);
	assert_int_equal(upstream->pending_timeout_ms, 4000);
	assert_int_equal(upstream->limits.connections, 1024);
	assert_int_equal(upstream->limits.pending, 7);
	assert_int_equal(upstream->retry.on, UPSTREAM_RETRY_RESET | UPSTREAM_RETRY_502 |
						     UPSTREAM_RETRY_503 | UPSTREAM_RETRY_504);
	assert_int_equal(upstream->retry.attempts, 2);
	assert_int_equal(upstream->retry.per_try_ms, 500);
	assert_int_equal(upstream->retry.budget, 1250);
	assert_int_equal(upstream->ejection.consecutive_failures, 3);
	assert_int_equal(upstream->ejection.base_ms, 10000);
	assert_int_equal(upstream->ejection.max_share, 3000);
	assert_int_equal(upstream->slow_start_ms, 30000);
	assert_int_equal(upstream->proxy_protocol, 2);
	assert_int_equal(upstream->proxy_tlvs, UPSTREAM_PROXY_ALPN | UPSTREAM_PROXY_AUTHORITY);
	assert_int_equal(upstream->schedule_len, 4);
	assert_null(upstream->endpoints[0].endpoint);
	loaded_done(&loaded);
}

static void test_every_balance_and_hash_is_read(void **state)
{
	static const struct {
		const char *text;
		enum upstream_balance balance;
		enum upstream_hash_kind kind;
		const char *name;
	} rows[] = {
		{"balance: least-requests", UPSTREAM_LEAST_REQUESTS, UPSTREAM_HASH_NONE, NULL},
		{"balance: random-two", UPSTREAM_RANDOM_TWO, UPSTREAM_HASH_NONE, NULL},
		{"balance: maglev, hash_on: source", UPSTREAM_MAGLEV, UPSTREAM_HASH_SOURCE, NULL},
		{"balance: maglev, hash_on: path", UPSTREAM_MAGLEV, UPSTREAM_HASH_PATH, NULL},
		{"balance: maglev, hash_on: { header: X-User }", UPSTREAM_MAGLEV,
		 UPSTREAM_HASH_HEADER, "X-User"},
		{"balance: maglev, hash_on: { cookie: sid }", UPSTREAM_MAGLEV, UPSTREAM_HASH_COOKIE,
		 "sid"},
		{"balance: maglev, hash_on: { query: \"u ser\" }", UPSTREAM_MAGLEV,
		 UPSTREAM_HASH_QUERY, "u ser"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct upstream_conf *upstream;
		struct loaded loaded;
		char text[256];

		(void)snprintf(text, sizeof(text),
			       CONFIG_HEAD
			       "upstreams: [ { name: a, endpoints: [ 10.0.0.1:80 ], %s } ]\n",
			       rows[i].text);
		load_good(&loaded, text);
		upstream = &loaded.snapshot->upstreams[0];
		assert_row(rows[i].text, upstream->balance == (int)rows[i].balance);
		assert_row(rows[i].text, upstream->hash_on.kind == rows[i].kind);
		if (rows[i].name)
			assert_str(upstream->hash_on.name, rows[i].name);
		loaded_done(&loaded);
	}
}

static void test_every_key_of_a_route_is_read(void **state)
{
	const struct route *routes;
	struct loaded loaded;

	load_good(&loaded, CONFIG_HEAD CONFIG_WEB CONFIG_UP
		  "routes:\n"
		  "  - name: api\n"
		  "    match:\n"
		  "      hosts: [ API.example.com, \"*.example.org\", \"[2001:db8::1]\" ]\n"
		  "      path: { prefix: /cart/ }\n"
		  "      methods: [ GET, HEAD, PURGE ]\n"
		  "    listeners: [ web ]\n"
		  "    proxy: { upstream: shop, timeout: 2s, trailers: on, upgrade: [ WebSocket, "
		  "chat ], tunnel_idle: 1h }\n"
		  "  - name: old\n"
		  "    match: { hosts: old.example.com }\n"
		  "    redirect: { scheme: https, host: www.example.com, path: /new, port: 8443, "
		  "status: 301 }\n"
		  "  - name: robots\n"
		  "    match: { path: { exact: /robots.txt }, methods: GET }\n"
		  "    respond:\n"
		  "      status: 404\n"
		  "      body: \"none\\n\"\n"
		  "      headers: { Content-Type: text/plain, x-a: \"b c\" }\n"
		  "  - { name: rest, proxy: { upstream: shop } }\n");
	assert_int_equal(loaded.snapshot->route_count, 4);
	routes = loaded.snapshot->routes;

	assert_str(routes[0].name, "api");
	assert_int_equal(routes[0].line, 5);
	assert_int_equal(routes[0].host_count, 3);
	assert_str(routes[0].hosts[0], "api.example.com");
	assert_str(routes[0].hosts[1], "*.example.org");
	assert_str(routes[0].hosts[2], "[2001:db8::1]");
	assert_int_equal(routes[0].path_kind, ROUTE_PATH_PREFIX);
	assert_str(routes[0].path, "/cart/");
	assert_int_equal(routes[0].methods, 1u << HTTP_METHOD_GET | 1u << HTTP_METHOD_HEAD);
	assert_int_equal(routes[0].other_method_count, 1);
	assert_str(routes[0].other_methods[0], "PURGE");
	assert_int_equal(routes[0].listener_count, 1);
	assert_str(routes[0].listeners[0], "web");
	assert_int_equal(routes[0].action, ROUTE_PROXY);
	assert_ptr_equal(routes[0].proxy.upstream, &loaded.snapshot->upstreams[0]);
	assert_int_equal(routes[0].proxy.timeout_ms, 2000);
	assert_true(routes[0].proxy.trailers);
	assert_int_equal(routes[0].proxy.upgrade_count, 2);
	assert_str(routes[0].proxy.upgrades[0], "websocket");
	assert_str(routes[0].proxy.upgrades[1], "chat");
	assert_int_equal(routes[0].proxy.tunnel_idle_ms, 3600000);

	assert_int_equal(routes[1].order, 1);
	assert_int_equal(routes[1].host_count, 1);
	assert_int_equal(routes[1].action, ROUTE_REDIRECT);
	assert_str(routes[1].redirect.scheme, "https");
	assert_str(routes[1].redirect.host, "www.example.com");
	assert_str(routes[1].redirect.path, "/new");
	assert_int_equal(routes[1].redirect.port, 8443);
	assert_int_equal(routes[1].redirect.status, 301);

	assert_int_equal(routes[2].path_kind, ROUTE_PATH_EXACT);
	assert_int_equal(routes[2].methods, 1u << HTTP_METHOD_GET);
	assert_int_equal(routes[2].action, ROUTE_RESPOND);
	assert_int_equal(routes[2].respond.status, 404);
	assert_str(routes[2].respond.body, "none\n");
	assert_int_equal(routes[2].respond.field_count, 2);
	assert_str(routes[2].respond.fields[0].name, "Content-Type");
	assert_str(routes[2].respond.fields[1].value, "b c");

	assert_int_equal(routes[3].host_count, 0);
	assert_str(routes[3].path, "/");
	assert_int_equal(routes[3].path_kind, ROUTE_PATH_PREFIX);
	assert_int_equal(routes[3].methods, 0);
	assert_int_equal(routes[3].listener_count, 0);
	assert_int_equal(routes[3].proxy.timeout_ms, 0);
	assert_false(routes[3].proxy.trailers);
	assert_int_equal(routes[3].proxy.upgrade_count, 0);
	assert_int_equal(routes[3].proxy.tunnel_idle_ms, 300000);
	loaded_done(&loaded);
}

static void test_redirect_and_respond_have_defaults(void **state)
{
	const struct route *routes;
	struct loaded loaded;

	load_good(&loaded, CONFIG_HEAD CONFIG_WEB
		  "routes:\n"
		  "  - { name: a, match: { path: { exact: /a } }, redirect: { scheme: https } }\n"
		  "  - { name: b, respond: }\n");
	routes = loaded.snapshot->routes;
	assert_int_equal(routes[0].redirect.status, 308);
	assert_null(routes[0].redirect.host.ptr);
	assert_null(routes[0].redirect.path.ptr);
	assert_int_equal(routes[0].redirect.port, 0);
	assert_int_equal(routes[1].respond.status, 200);
	assert_int_equal(routes[1].respond.body.len, 0);
	assert_int_equal(routes[1].respond.field_count, 0);
	loaded_done(&loaded);
}

static const char *route_for(const struct listener_conf *listener, const char *host,
			     const char *path)
{
	const struct http_head head = {0};
	const struct router_request request = {
		.host = str_from_cstr(host),
		.path = str_from_cstr(path),
		.method_id = HTTP_METHOD_GET,
		.method = STR("GET"),
		.head = &head,
	};
	struct router_match match;

	if (router_find(listener->router, &request, &match) != ROUTER_FOUND)
		return "none";
	return match.route->name.ptr;
}

static void test_listeners_serve_the_routes_that_name_them_or_none(void **state)
{
	const struct listener_conf *listeners;
	struct loaded loaded;

	load_good(&loaded, CONFIG_HEAD
		  "listeners:\n"
		  "  - { name: a, address: \"192.0.2.1:80\", protocol: http }\n"
		  "  - { name: b, address: \"192.0.2.2:80\", protocol: http }\n"
		  "routes:\n"
		  "  - { name: only-a, listeners: [ a ], match: { hosts: [ X.example ] }, respond: "
		  "{} "
		  "}\n"
		  "  - { name: everywhere, match: { path: { prefix: /all } }, respond: {} }\n"
		  "  - { name: only-b, listeners: [ b ], match: { hosts: [ x.example ] }, respond: "
		  "{} "
		  "}\n");
	listeners = loaded.snapshot->listeners;
	assert_string_equal(route_for(&listeners[0], "x.example", "/"), "only-a");
	assert_string_equal(route_for(&listeners[1], "x.example", "/"), "only-b");
	assert_string_equal(route_for(&listeners[0], "y.example", "/all/x"), "everywhere");
	assert_string_equal(route_for(&listeners[1], "y.example", "/all"), "everywhere");
	assert_string_equal(route_for(&listeners[1], "y.example", "/"), "none");
	loaded_done(&loaded);
}

static void test_sections_may_stand_in_any_order(void **state)
{
	struct loaded loaded;

	load_good(&loaded,
		  "routes: [ { name: r, proxy: { upstream: shop } } ]\n" CONFIG_UP CONFIG_WEB
		  "version: 1\n");
	assert_ptr_equal(loaded.snapshot->routes[0].proxy.upstream, loaded.snapshot->upstreams);
	loaded_done(&loaded);
}

static void test_runtime_objects_survive_a_reload(void **state)
{
	struct registry *registry = registry_new();
	const struct endpoint *endpoint;
	const struct route_stats *stats;
	struct loaded first, second;

	assert_non_null(registry);
	config_load_text(&first,
			 CONFIG_HEAD CONFIG_WEB CONFIG_UP
			 "routes: [ { name: r, proxy: { upstream: shop } } ]\n",
			 registry);
	assert_int_equal(first.result, 0);
	endpoint = first.snapshot->upstreams[0].endpoints[0].endpoint;
	stats = first.snapshot->routes[0].stats;
	assert_non_null(endpoint);
	assert_int_equal(endpoint->row_count, 3);
	assert_int_equal(stats->row_count, 3);

	config_load_text(
		&second,
		CONFIG_HEAD CONFIG_WEB
		"upstreams: [ { name: shop, endpoints: [ 10.0.0.2:8080, 10.0.0.1:8080 ] } ]\n"
		"routes: [ { name: r, proxy: { upstream: shop } } ]\n",
		registry);
	assert_int_equal(second.result, 0);
	assert_ptr_equal(second.snapshot->upstreams[0].endpoints[1].endpoint, endpoint);
	assert_ptr_not_equal(second.snapshot->upstreams[0].endpoints[0].endpoint, endpoint);
	assert_ptr_equal(second.snapshot->routes[0].stats, stats);
	loaded_done(&first);
	assert_int_equal(registry_sweep(registry), 0);
	loaded_done(&second);
	assert_int_equal(registry_sweep(registry), 4); /* upstream, two endpoints, route */
	registry_free(registry);
}

static void test_refused_file_leaves_no_runtime_object(void **state)
{
	struct registry *registry = registry_new();
	struct loaded loaded;

	config_load_text(&loaded, CONFIG_HEAD CONFIG_UP "routes: [ {} ]\n", registry);
	assert_int_equal(loaded.result, -EINVAL);
	assert_null(registry_find(registry, "endpoint", STR("shop"), STR("10.0.0.1:8080")));
	loaded_done(&loaded);
	registry_free(registry);
}

static void test_text_is_loaded_as_if_it_stood_in_the_file(void **state)
{
	struct conf_errors *errors = conf_errors_new("x.yaml");
	struct snapshot *snapshot = NULL;

	config_write_file("list.txt", "192.0.2.1\n");
	assert_int_equal(
		config_load_string(STR(CONFIG_HEAD "dataplane: { deny: [ { file: list.txt } ] }\n"),
				   "x.yaml", NULL, 0, errors, &snapshot),
		0);
	assert_int_equal(snapshot->dataplane.deny_count, 1);
	assert_str(snapshot->file, "x.yaml");
	snapshot_unref(snapshot);
	conf_errors_free(errors);
}

struct allocation {
	struct registry *registry;
};

static int load_once(void *arg)
{
	struct conf_errors *errors = conf_errors_new("sluice.yaml");
	struct snapshot *snapshot = NULL;
	struct allocation *allocation = arg;
	int r = -ENOMEM;

	if (!errors)
		return r;
	r = config_load("sluice.yaml", allocation->registry, 1, errors, &snapshot);
	/* A failure that says nothing, or a half-built snapshot, is a failure of this test. */
	if ((r != 0) != (conf_errors_count(errors) != 0) || (r != 0) == (snapshot != NULL))
		abort();
	snapshot_unref(snapshot);
	conf_errors_free(errors);
	(void)registry_sweep(allocation->registry);
	return r;
}

static void test_failed_allocation_is_reported_and_leaks_nothing(void **state)
{
	struct allocation allocation = {.registry = registry_new()};

	config_write_file("deny.txt", "192.0.2.1\n192.0.2.2\n");
	config_write_file(
		"sluice.yaml", CONFIG_HEAD CONFIG_WEB CONFIG_UP
		"dataplane: { deny: [ { file: deny.txt } ], interfaces: [ { name: x } ] }\n"
		"routes:\n"
		"  - { name: a, match: { hosts: [ x.example ], methods: [ GET ] }, proxy: { "
		"upstream: shop } }\n"
		"  - { name: b, respond: { body: x, headers: { a: b } } }\n");
	assert_in_range(test_failing_each_allocation(load_once, &allocation), 50, 1000);
	registry_free(allocation.registry);
}

#define in_dir(test) cmocka_unit_test_setup_teardown(test, config_enter_dir, config_leave_dir)

int main(void)
{
	const struct CMUnitTest tests[] = {
		in_dir(test_version_alone_loads_with_all_defaults),
		in_dir(test_every_key_of_node_is_read),
		in_dir(test_access_log_is_json_of_all_requests_by_default_and_absent_without_file),
		in_dir(test_workers_auto_is_at_least_one),
		in_dir(test_engine_of_the_environment_wins_over_the_file),
		in_dir(test_every_key_of_dataplane_is_read),
		in_dir(test_thousands_of_denied_prefixes_are_read_once_each),
		in_dir(test_every_key_of_a_listener_is_read),
		cmocka_unit_test(test_listener_addresses_parse_and_format),
		cmocka_unit_test(test_listener_addresses_with_stray_brackets_are_refused),
		in_dir(test_every_key_of_an_upstream_is_read),
		in_dir(test_every_balance_and_hash_is_read),
		in_dir(test_every_key_of_a_route_is_read),
		in_dir(test_redirect_and_respond_have_defaults),
		in_dir(test_listeners_serve_the_routes_that_name_them_or_none),
		in_dir(test_sections_may_stand_in_any_order),
		in_dir(test_runtime_objects_survive_a_reload),
		in_dir(test_refused_file_leaves_no_runtime_object),
		in_dir(test_text_is_loaded_as_if_it_stood_in_the_file),
		in_dir(test_failed_allocation_is_reported_and_leaks_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Requests to the admin API without sockets and without a kernel part. */
#include "test_support.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>

#include "base/arena.h"
#include "control/admin_api.h"

static const struct steer_tuple tuples[] = {
	{{{AF_INET, {192, 0, 2, 10}}, 32}, 80, 80},
	{{{AF_INET6, {0x20, 0x01, 0x0d, 0xb8}}, 64}, 8000, 8100},
};

/* A daemon as it is while it runs, but for loop, workers and dataplane. */
static void daemon_init(struct daemon *daemon)
{
	struct snapshot *snapshot = snapshot_new();
	struct listener_conf *listener;
	struct upstream_conf *upstream;
	struct route *route;

	assert_non_null(snapshot);
	listener = arena_new(&snapshot->arena, struct listener_conf);
	upstream = arena_new(&snapshot->arena, struct upstream_conf);
	upstream->endpoints = arena_new(&snapshot->arena, struct endpoint_conf);
	route = arena_new_array(&snapshot->arena, struct route, 3);

	listener->name = STR("web");
	listener->tuples = (struct steer_tuple *)tuples;
	listener->tuple_count = ARRAY_SIZE(tuples);
	upstream->name = STR("cart");
	upstream->endpoints->address = STR("10.0.0.1:8080");
	upstream->endpoints->weight = 3;
	upstream->endpoint_count = 1;
	route[0].name = STR("cart");
	route[0].path = STR("/cart");
	route[0].methods = 1u << HTTP_METHOD_GET | 1u << HTTP_METHOD_DELETE;
	route[0].action = ROUTE_PROXY;
	route[0].proxy.upstream = upstream;
	route[1].name = STR("to-https");
	route[1].path = STR("/");
	route[1].path_kind = ROUTE_PATH_EXACT;
	route[1].action = ROUTE_REDIRECT;
	route[1].redirect.scheme = STR("https");
	route[1].redirect.status = 308;
	route[2].name = STR("robots");
	route[2].path = STR("/robots.txt");
	route[2].action = ROUTE_RESPOND;
	route[2].respond.status = 200;

	snapshot->file = STR("test.yaml");
	snapshot->loaded_wall_ms = 1769860800000; /* 2026-01-31T12:00:00Z */
	snapshot->node.bpffs = STR("/sys/fs/bpf/sluice");
	snapshot->node.state_dir = STR("/nonexistent");
	snapshot->node.admin_socket = STR("/nonexistent/admin.sock");
	snapshot->node.io = IO_ENGINE_EPOLL;
	snapshot->listeners = listener;
	snapshot->listener_count = 1;
	snapshot->upstreams = upstream;
	snapshot->upstream_count = 1;
	snapshot->routes = route;
	snapshot->route_count = 3;

	memset(daemon, 0, sizeof(*daemon));
	daemon->config_file = "test.yaml";
	daemon->state = DAEMON_READY;
	daemon->snapshot = snapshot;
	daemon->generation = 4;
	daemon->steering.mode = STEERING_BIND;
	(void)snprintf(daemon->steering.reason, sizeof(daemon->steering.reason), "no sk_lookup");
	(void)snprintf(daemon->dataplane_reason, sizeof(daemon->dataplane_reason), "no BPF here");
}

static void daemon_done(struct daemon *daemon)
{
	snapshot_unref(daemon->snapshot);
}

/* Asks and returns the document, which every answer must be. */
static json_t *ask(struct daemon *daemon, const char *method, const char *target, const char *body,
		   uint16_t *ret_status, const char **ret_allow)
{
	struct str path = str_from_cstr(target);
	struct admin_request request = {.method = str_from_cstr(method), .path = path};
	ptrdiff_t question = str_find_byte(path, '?');
	struct admin_response response;
	json_error_t error;
	json_t *document;

	if (question >= 0) {
		request.path = str_sub(path, 0, (size_t)question);
		request.query = str_sub(path, (size_t)question + 1, path.len);
	}
	request.body = body ? str_from_cstr(body) : STR("");
	admin_response_init(&response);
	admin_dispatch(daemon, &request, &response);
	document = json_loadb(response.body.data + response.body.start, response.body.len,
			      JSON_REJECT_DUPLICATES, &error);
	if (!document)
		print_error("%s %s: no JSON: %s\n", method, target, error.text);
	assert_non_null(document);
	*ret_status = response.status;
	if (ret_allow)
		*ret_allow = response.allow;
	admin_response_done(&response);
	return document;
}

static const char *error_of(json_t *document)
{
	const char *text = json_string_value(json_object_get(document, "error"));

	return text ? text : "";
}

static const struct {
	const char *method, *target, *body;
	uint16_t status;
	const char *error; /* part of it; NULL: none */
} rows[] = {
	{"GET", "/v1/version", NULL, 200, NULL},
	{"GET", "/v1/status", NULL, 200, NULL},
	{"GET", "/v1/status?pretty=1", NULL, 200, NULL},
	{"GET", "/v1/routes", NULL, 200, NULL},
	{"GET", "/v1/upstreams", NULL, 200, NULL},
	{"GET", "/v1/counters", NULL, 503, "no kernel dataplane: no BPF here"},
	{"GET", "/v1/deny", NULL, 503, "no kernel dataplane: no BPF here"},
	{"GET", "/v1/allow", NULL, 503, "no kernel dataplane"},
	{"POST", "/v1/deny", "{\"cidr\":\"203.0.113.0/24\"}", 503, "no kernel dataplane"},
	{"DELETE", "/v1/allow?cidr=203.0.113.0%2F24", NULL, 503, "no kernel dataplane"},

	{"GET", "/", NULL, 404, "there is no '/' here"},
	{"GET", "/v1", NULL, 404, "there is no '/v1' here"},
	{"GET", "/v1/deny/", NULL, 404, "there is no"},
	{"GET", "/v2/status", NULL, 404, "there is no"},
	{"GET", "http://sluice/v1/status", NULL, 404, "there is no"},
	{"GET", "/v1/\x01", NULL, 404, "'/v1/\\x01'"},
	{"POST", "/v1/status", NULL, 405, "/v1/status takes GET"},
	{"HEAD", "/v1/status", NULL, 405, "takes GET"},
	{"get", "/v1/status", NULL, 405, "takes GET"},
	{"PUT", "/v1/deny", NULL, 405, "/v1/deny takes GET, POST, DELETE"},
	{"GET", "/v1/config/reload", NULL, 405, "takes POST"},

	{"POST", "/v1/deny", "", 400, "no JSON"},
	{"POST", "/v1/deny", "{\"cidr\":", 400, "no JSON: line 1"},
	{"POST", "/v1/deny", "[]", 400, "must be a JSON object"},
	{"POST", "/v1/deny", "{}", 400, "cidr is missing"},
	{"POST", "/v1/deny", "{\"cidr\":1}", 400, "'cidr' must be a string"},
	{"POST", "/v1/deny", "{\"cidr\":null}", 400, "'cidr' must be a string"},
	{"POST", "/v1/deny", "{\"cidr\":\"1.2.3.4\",\"cidr\":\"1.2.3.5\"}", 400, "no JSON"},
	{"POST", "/v1/deny", "{\"cidr\":\"1.2.3.4\",\"until\":\"1h\"}", 400, "unknown key 'until'"},
	{"POST", "/v1/deny", "{\"cidr\":\"1.2.3\"}", 400, "cidr: "},
	{"POST", "/v1/deny", "{\"cidr\":\"203.0.113.1/24\"}", 400, "cidr: "},
	{"POST", "/v1/deny", "{\"cidr\":\"1.2.3.4\",\"ttl\":\"\"}", 400, "ttl: '' is no duration"},
	{"POST", "/v1/deny", "{\"cidr\":\"1.2.3.4\",\"ttl\":\"0s\"}", 400, "ttl: "},
	{"POST", "/v1/deny", "{\"cidr\":\"1.2.3.4\",\"ttl\":\"-1h\"}", 400, "ttl: "},
	{"POST", "/v1/deny", "{\"cidr\":\"1.2.3.4\",\"ttl\":\"99999999999h\"}", 400, "ttl: "},
	{"POST", "/v1/deny", "{\"cidr\":\"1.2.3.4\",\"reason\":\"a\\nb\"}", 400,
	 "reason: no control"},
	{"POST", "/v1/deny",
	 "{\"cidr\":\"1.2.3.4\",\"reason\":\"0123456789012345678901234567890x\"}", 400,
	 "reason: at most 31 bytes"},
	{"POST", "/v1/deny",
	 "{\"cidr\":\"1.2.3.4\",\"reason\":\"012345678901234567890123456789x\",\"ttl\":\"7d\"}",
	 503, "no kernel dataplane"},
	{"DELETE", "/v1/deny", NULL, 400, "?cidr="},
	{"DELETE", "/v1/deny?CIDR=1.2.3.4", NULL, 400, "?cidr="},
	{"DELETE", "/v1/deny?cidr=%zz", NULL, 400, "?cidr="},
	{"DELETE", "/v1/deny?cidr=1.2.3.4%", NULL, 400, "?cidr="},
	{"DELETE", "/v1/deny?cidr=nonsense", NULL, 400, "cidr: "},

	{"POST", "/v1/config/check", "{\"txt\":\"\"}", 400, "unknown key 'txt'"},
	{"POST", "/v1/config/check", "{\"text\":\"\",\"file\":\"/x\"}", 400, "not both"},
	{"POST", "/v1/config/check", "{\"file\":\"x.yaml\"}", 400, "absolute path"},
	{"POST", "/v1/config/check", "{\"file\":\"/nonexistent/x.yaml\"}", 422,
	 "/nonexistent/x.yaml"},
	{"POST", "/v1/config/check", "{\"text\":\"version: 2\\n\"}", 422,
	 "test.yaml:1:10: version"},
	{"POST", "/v1/config/check", "{\"text\":\"version: 1\\n\"}", 200, NULL},
};

static void test_each_request_has_its_status_and_its_sentence(void **state)
{
	struct daemon daemon;

	daemon_init(&daemon);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char name[128];
		uint16_t status;
		json_t *document;

		(void)snprintf(name, sizeof(name), "%s %s %s", rows[i].method, rows[i].target,
			       rows[i].body ? rows[i].body : "");
		document =
			ask(&daemon, rows[i].method, rows[i].target, rows[i].body, &status, NULL);
		if (status != rows[i].status)
			print_error("status %u, error: %s\n", status, error_of(document));
		assert_row(name, status == rows[i].status);
		if (rows[i].error && !strstr(error_of(document), rows[i].error))
			print_error("error: %s\n", error_of(document));
		assert_row(name, !rows[i].error || strstr(error_of(document), rows[i].error));
		assert_row(name, rows[i].error || !json_object_get(document, "error"));
		json_decref(document);
	}
	daemon_done(&daemon);
}

static void test_a_wrong_method_is_told_the_right_ones(void **state)
{
	struct daemon daemon;
	const char *allow = NULL;
	uint16_t status;

	daemon_init(&daemon);
	json_decref(ask(&daemon, "PATCH", "/v1/deny", NULL, &status, &allow));
	assert_int_equal(status, 405);
	assert_string_equal(allow, "GET, POST, DELETE");
	daemon_done(&daemon);
}

static json_t *at(json_t *document, const char *key, size_t index)
{
	json_t *value = json_array_get(json_object_get(document, key), index);

	assert_non_null(value);
	return value;
}

static const char *text(json_t *object, const char *key)
{
	const char *value = json_string_value(json_object_get(object, key));

	return value ? value : "(none)";
}

static void test_status_tells_state_reasons_and_addresses(void **state)
{
	struct daemon daemon;
	uint16_t status;
	json_t *document, *part, *addresses;

	daemon_init(&daemon);
	(void)snprintf(daemon.last_error, sizeof(daemon.last_error), "test.yaml:1:1: bad");
	(void)snprintf(daemon.privileges.user, sizeof(daemon.privileges.user), "nobody");
	daemon.privileges.no_new_privs = true;
	document = ask(&daemon, "GET", "/v1/status", NULL, &status, NULL);
	assert_int_equal(status, 200);
	assert_string_equal(text(document, "state"), "ready");
	assert_string_equal(text(document, "user"), "nobody");
	part = json_object_get(document, "config");
	assert_string_equal(text(part, "file"), "test.yaml");
	assert_string_equal(text(part, "loaded_at"), "2026-01-31T12:00:00Z");
	assert_string_equal(text(part, "last_error"), "test.yaml:1:1: bad");
	assert_int_equal(json_integer_value(json_object_get(part, "generation")), 4);
	assert_string_equal(text(json_object_get(document, "io"), "engine"), "epoll");
	part = json_object_get(document, "steering");
	assert_string_equal(text(part, "mode"), "bind");
	assert_string_equal(text(part, "reason"), "no sk_lookup");
	part = json_object_get(document, "dataplane");
	assert_true(json_is_false(json_object_get(part, "available")));
	assert_string_equal(text(part, "reason"), "no BPF here");
	addresses = json_object_get(at(document, "listeners", 0), "address");
	assert_string_equal(json_string_value(json_array_get(addresses, 0)), "192.0.2.10:80");
	assert_string_equal(json_string_value(json_array_get(addresses, 1)),
			    "[2001:db8::/64]:8000-8100");
	part = json_object_get(document, "privileges");
	assert_true(json_is_true(json_object_get(part, "no_new_privs")));
	assert_true(json_is_false(json_object_get(part, "seccomp")));
	json_decref(document);

	daemon.state = DAEMON_DRAINING;
	document = ask(&daemon, "GET", "/v1/status", NULL, &status, NULL);
	assert_string_equal(text(document, "state"), "draining");
	json_decref(document);
	daemon_done(&daemon);
}

static void test_routes_show_match_and_action(void **state)
{
	struct daemon daemon;
	uint16_t status;
	json_t *document, *route;

	daemon_init(&daemon);
	document = ask(&daemon, "GET", "/v1/routes", NULL, &status, NULL);
	route = at(document, "routes", 0);
	assert_string_equal(text(route, "name"), "cart");
	assert_string_equal(text(route, "action"), "proxy");
	assert_string_equal(text(route, "upstream"), "cart");
	assert_string_equal(text(json_object_get(route, "path"), "kind"), "prefix");
	assert_string_equal(json_string_value(at(route, "methods", 0)), "GET");
	assert_string_equal(json_string_value(at(route, "methods", 1)), "DELETE");
	assert_int_equal(json_array_size(json_object_get(route, "methods")), 2);
	route = at(document, "routes", 1);
	assert_string_equal(text(json_object_get(route, "path"), "kind"), "exact");
	assert_string_equal(text(route, "action"), "redirect");
	assert_string_equal(text(json_object_get(route, "redirect"), "scheme"), "https");
	assert_true(json_is_null(json_object_get(json_object_get(route, "redirect"), "host")));
	assert_null(json_object_get(route, "upstream"));
	assert_string_equal(text(at(document, "routes", 2), "action"), "respond");
	json_decref(document);

	document = ask(&daemon, "GET", "/v1/upstreams", NULL, &status, NULL);
	assert_string_equal(text(at(document, "upstreams", 0), "balance"), "round-robin");
	route = at(at(document, "upstreams", 0), "endpoints", 0);
	assert_string_equal(text(route, "address"), "10.0.0.1:8080");
	assert_int_equal(json_integer_value(json_object_get(route, "weight")), 3);
	json_decref(document);
	daemon_done(&daemon);
}

static void test_a_reload_while_draining_is_refused_and_remembered(void **state)
{
	struct daemon daemon;
	uint16_t status;
	json_t *document;

	daemon_init(&daemon);
	daemon.state = DAEMON_DRAINING;
	daemon.registry = registry_new();
	assert_non_null(daemon.registry);
	log_configure(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
	document = ask(&daemon, "POST", "/v1/config/reload", NULL, &status, NULL);
	assert_int_equal(status, 422);
	assert_non_null(strstr(error_of(document), "stopping"));
	assert_non_null(strstr(daemon.last_error, "stopping"));
	assert_int_equal(json_array_size(json_object_get(document, "errors")), 1);
	assert_int_equal(daemon.generation, 4);
	json_decref(document);
	registry_free(daemon.registry);
	daemon_done(&daemon);
}

static const struct {
	const char *query;
	int result;
	const char *value;
} queries[] = {
	{"cidr=10.0.0.0%2F8", 0, "10.0.0.0/8"},
	{"cidr=10.0.0.0/8", 0, "10.0.0.0/8"},
	{"a=b&cidr=%41%62", 0, "Ab"},
	{"cidr=", 0, ""},
	{"cidr=1=2", 0, "1=2"},
	{"", -ENOENT, NULL},
	{"cidr", -ENOENT, NULL},
	{"xcidr=1", -ENOENT, NULL},
	{"cidr=%", -EINVAL, NULL},
	{"cidr=%4", -EINVAL, NULL},
	{"cidr=%4g", -EINVAL, NULL},
	{"cidr=a%00b", -EINVAL, NULL},
	{"cidr=0123456789abcdef", -EINVAL, NULL}, /* sixteen bytes and no room for the NUL */
	{"cidr=0123456789abcde", 0, "0123456789abcde"},
};

static void test_query_values_are_decoded_once(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(queries); i++) {
		char value[16];

		assert_row(queries[i].query,
			   admin_query_get(str_from_cstr(queries[i].query), "cidr", value,
					   sizeof(value)) == queries[i].result);
		assert_row(queries[i].query, queries[i].result || !strcmp(value, queries[i].value));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_request_has_its_status_and_its_sentence),
		cmocka_unit_test(test_a_wrong_method_is_told_the_right_ones),
		cmocka_unit_test(test_status_tells_state_reasons_and_addresses),
		cmocka_unit_test(test_routes_show_match_and_action),
		cmocka_unit_test(test_a_reload_while_draining_is_refused_and_remembered),
		cmocka_unit_test(test_query_values_are_decoded_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

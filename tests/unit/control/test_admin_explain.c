/* What the admin API explains about a configuration, without sockets and daemon. */
#include "test_support.h"

#include <jansson.h>

#include "config/config.h"
#include "control/admin_api.h"

static const char config[] =
	"version: 1\n"
	"listeners:\n"
	"  - { name: web, address: \"192.0.2.10:80\", protocol: http }\n"
	"  - { name: side, address: \"192.0.2.10:8000-8100\", protocol: http }\n"
	"routes:\n"
	"  - { name: all, respond: {} }\n"
	"  - { name: any-host, match: { path: { prefix: /a } }, respond: {} }\n"
	"  - { name: wild, match: { hosts: \"*.test\", path: { prefix: /a } }, respond: {} }\n"
	"  - { name: root, match: { hosts: x.test }, respond: {} }\n"
	"  - { name: short, match: { hosts: x.test, path: { prefix: /a } }, respond: {} }\n"
	"  - { name: win, match: { hosts: x.test, path: { template: \"/a/{id}\" }, methods: GET, "
	"headers: { h: \"1\" }, query: { q: \"1\" } }, respond: {} }\n"
	"  - { name: no-query, match: { hosts: x.test, path: { template: \"/a/{id}\" }, methods: "
	"GET, headers: { h: \"1\" } }, respond: {} }\n"
	"  - { name: no-headers, match: { hosts: x.test, path: { template: \"/a/{id}\" }, methods: "
	"GET, query: { q: \"1\" } }, respond: {} }\n"
	"  - { name: no-methods, match: { hosts: x.test, path: { template: \"/a/{id}\" } }, "
	"respond: {} }\n"
	"  - { name: later, match: { hosts: x.test, path: { template: \"/a/{id}\" }, methods: GET, "
	"headers: { h: { regex: \"1\" } }, query: { q: { present: on } } }, respond: {} }\n"
	"  - { name: loose, match: { hosts: x.test, path: { template: \"/{a}/{id}\" } }, respond: "
	"{} }\n"
	"  - { name: pattern, match: { hosts: x.test, path: { regex: \"/a/.*\" } }, respond: {} }\n"
	"  - { name: exact, match: { hosts: x.test, path: { exact: /a/8 } }, respond: {} }\n"
	"  - { name: side-only, listeners: side, match: { hosts: y.test }, respond: {} }\n";

static struct daemon daemon_;

static int setup(void **state)
{
	struct conf_errors *errors = conf_errors_new("f");

	if (config_load_string(str_from_cstr(config), "f", NULL, 1, errors, &daemon_.snapshot))
		fail_msg("%s", conf_errors_get(errors, 0));
	conf_errors_free(errors);
	daemon_.config_file = "f";
	return 0;
}

static int teardown(void **state)
{
	snapshot_unref(daemon_.snapshot);
	return 0;
}

static json_t *ask(const char *body, uint16_t status)
{
	struct admin_request request = {
		.method = STR("POST"),
		.path = STR("/v1/routes/explain"),
		.body = str_from_cstr(body),
	};
	struct admin_response response;
	json_t *document;

	admin_response_init(&response);
	admin_dispatch(&daemon_, &request, &response);
	document = json_loadb(response.body.data + response.body.start, response.body.len,
			      JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(document);
	if (response.status != status)
		fail_msg("%s: status %u: %s", body, response.status,
			 json_string_value(json_object_get(document, "error")));
	admin_response_done(&response);
	return document;
}

static const char *text_of(const json_t *document, const char *object, const char *key)
{
	const char *text =
		json_string_value(json_object_get(json_object_get(document, object), key));

	return text ? text : "";
}

static const char *reason_of(const json_t *document, const char *route)
{
	size_t i;
	json_t *other;

	json_array_foreach(
		json_object_get(document, "others"), i,
		other) if (!strcmp(json_string_value(json_object_get(other, "name")),
				   route)) return json_string_value(json_object_get(other,
										    "reason"));
	return "is not there";
}

static void test_each_criterion_of_precedence_is_named(void **state)
{
	static const struct {
		const char *route, *reason;
	} rows[] = {
		{"all", "less specific than 'win', by its host"},
		{"any-host", "less specific than 'win', by its host"},
		{"wild", "less specific than 'win', by its host"},
		{"root", "less specific than 'win', by its path"},
		{"short", "less specific than 'win', by its path"},
		{"no-query", "less specific than 'win', by more query"},
		{"no-headers", "less specific than 'win', by more headers"},
		{"no-methods", "less specific than 'win', by methods"},
		{"later", "order: later in the file than 'win'"},
		{"loose", "less specific than 'win', by its path"},
		{"pattern", "less specific than 'win', by its path"},
		{"exact", "path does not match"},
	};
	json_t *found = ask("{\"method\":\"GET\",\"url\":\"http://X.test/a/7?q=1\",\"headers\":[{"
			    "\"name\":\"H\",\"value\":\"1\"}]}",
			    200);

	assert_string_equal(text_of(found, "result", "name"), "win");
	assert_string_equal(text_of(found, "request", "host"), "x.test");
	assert_int_equal(json_array_size(json_object_get(found, "others")), ARRAY_SIZE(rows));
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (strcmp(reason_of(found, rows[i].route), rows[i].reason) != 0)
			fail_msg("%s: %s", rows[i].route, reason_of(found, rows[i].route));
	assert_int_equal(json_integer_value(json_object_get(found, "routes_of_other_listeners")),
			 1);
	json_decref(found);
}

static void test_the_listener_is_the_one_named_or_that_of_the_port(void **state)
{
	static const struct {
		const char *body, *listener;
	} rows[] = {
		{"{\"method\":\"GET\",\"url\":\"http://y.test/\"}", "web"},
		{"{\"method\":\"GET\",\"url\":\"http://y.test:8050/\"}", "side"},
		{"{\"method\":\"GET\",\"url\":\"https://y.test/\"}", "web"}, /* none has the port */
		{"{\"method\":\"GET\",\"url\":\"/\"}", "web"},
		{"{\"method\":\"GET\",\"url\":\"/\",\"listener\":\"side\"}", "side"},
		{"{\"method\":\"GET\",\"url\":\"http://y.test:8050/\",\"listener\":\"web\"}",
		 "web"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		json_t *found = ask(rows[i].body, 200);

		assert_string_equal(text_of(found, "request", "listener"), rows[i].listener);
		json_decref(found);
	}
}

static void test_a_request_the_codec_refuses_is_refused_with_its_words(void **state)
{
	static const struct {
		const char *body, *reason;
	} rows[] = {
		{"{\"method\":\"GET\",\"url\":\"http://a_b@x/\"}", "malformed Host"},
		{"{\"method\":\"GET\",\"url\":\"http://x/%00\"}", "malformed or ambiguous path"},
		{"{\"method\":\"GET\",\"url\":\"http://x/a//b\"}", "malformed or ambiguous path"},
		{"{\"method\":\"TRACE\",\"url\":\"http://x/\"}", "method not supported"},
		{"{\"method\":\"GET\",\"url\":\"http://x/\",\"headers\":[{\"name\":\"host\","
		 "\"value\":\"a\"},{\"name\":\"host\",\"value\":\"b\"}]}",
		 "more than one Host"},
		{"{\"method\":\"GET\",\"url\":\"http://x/"
		 "\",\"headers\":[{\"name\":\"content-length\","
		 "\"value\":\"1\"},{\"name\":\"transfer-encoding\",\"value\":\"chunked\"}]}",
		 "Content-Length together with Transfer-Encoding"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		json_t *found = ask(rows[i].body, 200);

		assert_string_equal(text_of(found, "result", "kind"), "refused");
		assert_string_equal(text_of(found, "result", "reason"), rows[i].reason);
		assert_null(json_object_get(found, "others"));
		json_decref(found);
	}
}

static void test_what_is_no_question_gets_400(void **state)
{
	static const struct {
		const char *body;
		uint16_t status;
	} rows[] = {
		{"", 400},
		{"[]", 400},
		{"{}", 400},
		{"{\"method\":\"GET\"}", 400},
		{"{\"url\":\"/\"}", 400},
		{"{\"method\":\"G T\",\"url\":\"/\"}", 400},
		{"{\"method\":\"\",\"url\":\"/\"}", 400},
		{"{\"method\":1,\"url\":\"/\"}", 400},
		{"{\"method\":\"GET\",\"url\":\"\"}", 400},
		{"{\"method\":\"GET\",\"url\":\"x\"}", 400},
		{"{\"method\":\"GET\",\"url\":\"ftp://x/\"}", 400},
		{"{\"method\":\"GET\",\"url\":\"/ \"}", 400},
		{"{\"method\":\"GET\",\"url\":\"/#a\"}", 400},
		{"{\"method\":\"GET\",\"url\":\"/\",\"headers\":{}}", 400},
		{"{\"method\":\"GET\",\"url\":\"/\",\"headers\":[1]}", 400},
		{"{\"method\":\"GET\",\"url\":\"/\",\"headers\":[{\"name\":\"a\"}]}", 400},
		{"{\"method\":\"GET\",\"url\":\"/\",\"headers\":[{\"name\":\"a "
		 "b\",\"value\":\"\"}]}",
		 400},
		{"{\"method\":\"GET\",\"url\":\"/\",\"headers\":[{\"name\":\"a\",\"value\":"
		 "\"x\\r\\nb: c\"}]}",
		 400},
		{"{\"method\":\"GET\",\"url\":\"/\",\"listener\":3}", 400},
		{"{\"method\":\"GET\",\"url\":\"/\",\"listener\":\"nope\"}", 404},
		{"{\"method\":\"GET\",\"url\":\"/\",\"colour\":\"red\"}", 400},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		json_t *found = ask(rows[i].body, rows[i].status);

		assert_row(rows[i].body, json_is_string(json_object_get(found, "error")));
		json_decref(found);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_criterion_of_precedence_is_named),
		cmocka_unit_test(test_the_listener_is_the_one_named_or_that_of_the_port),
		cmocka_unit_test(test_a_request_the_codec_refuses_is_refused_with_its_words),
		cmocka_unit_test(test_what_is_no_question_gets_400),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}

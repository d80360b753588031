/* The `policies` section and the names in routes: what is read, printed back and refused. */
#include "config_fixture.h"

#include "filter/rewrite.h"

#define POLICY(inside)	CONFIG_HEAD "policies: [ { name: p, " inside " } ]\n"
#define REWRITE(inside) POLICY("rewrite: { " inside " }")
#define ROUTE(policies, action)                                                                    \
	CONFIG_HEAD CONFIG_WEB CONFIG_UP                                                           \
		"policies: [ { name: strip, rewrite: { path: { prefix: /a, to: / } } }, "          \
		"{ name: host, rewrite: { host: x.test } }, "                                      \
		"{ name: path, transform: { request: { path: /x } } } ]\n"                         \
		"routes: [ { name: r, policies: " policies ", " action " } ]\n"
#define AUTH(inside)                                                                               \
	CONFIG_HEAD CONFIG_UP "policies: [ { name: p, external_auth: { " inside " } } ]\n"
#define CORS(inside)	  POLICY("cors: { " inside " }")
#define COMPRESS(inside)  POLICY("compress: { " inside " }")
#define TRANSFORM(inside) POLICY("transform: { " inside " }")
#define PROXY		  "proxy: { upstream: shop }"

static const struct {
	const char *text, *error;
} refused[] = {
	{POLICY(""), "2:13: policy 'p': needs a kind: "},
	{POLICY("rewrit: {}"), "policy 'p': unknown key 'rewrit'; did you mean 'rewrite'?"},
	{POLICY("cache: { store: x }"), "2:24: policy 'p': 'cache' is not supported yet"},
	{POLICY("cors: {}, rewrite: { host: x }"),
	 "policy 'p': has 'cors' already; 'rewrite' is a second kind"},
	{CONFIG_HEAD "policies: [ { rewrite: { host: x } } ]\n", "policy 1: 'name' is required"},
	{CONFIG_HEAD "policies: [ { name: p, rewrite: { host: x } }, "
		     "{ name: p, rewrite: { host: y } } ]\n",
	 "policy 'p' is defined twice; the first is at line 2, column 21"},
	{CONFIG_HEAD "policies: 3\n", "policies: expected a list"},

	{REWRITE(""), "policy 'p': rewrite: needs 'path' or 'host'"},
	{REWRITE("path: {}"), "policy 'p': rewrite: path: 'to' is required"},
	{REWRITE("path: { to: / }"), "rewrite: path: needs exactly one of 'prefix' and 'regex'"},
	{REWRITE("path: { prefix: /a, regex: b, to: / }"), "exactly one of 'prefix' and 'regex'"},
	{REWRITE("path: { prefix: a, to: / }"), "path: prefix: 'a' is no path"},
	{REWRITE("path: { prefix: /a/../b, to: / }"), "prefix: '/a/../b' must be written as '/b'"},
	{REWRITE("path: { prefix: \"/a?b\", to: / }"), "prefix: '/a?b': a path has no spaces"},
	{REWRITE("path: { prefix: /a, to: x }"), "path: to: 'x' is no path"},
	{REWRITE("path: { prefix: /a, to: \"/ä\" }"), "to: '/\\xc3\\xa4': a path has no spaces"},
	{REWRITE("path: { prefix: /a, to: /a/ }"),
	 "path: 'prefix' and 'to' are the same: nothing is rewritten"},
	{REWRITE("path: { regex: \"(\", to: / }"), "policy 'p': rewrite: path: regex: "},
	{REWRITE("path: { regex: a, to: x }"), "path: to: a path begins with '/'"},
	{REWRITE("path: { regex: a, to: \"$0\" }"), "path: to: a path begins with '/'"},
	{REWRITE("path: { regex: \"(a)\", to: \"/$2\" }"),
	 "path: to: there is no group 2; the regex has 1"},
	{REWRITE("path: { regex: a, to: \"/$\" }"), "to: '$' stands before the number of a group"},
	{REWRITE("path: { regex: a, to: \"/${1\" }"),
	 "to: '$' stands before the number of a group"},
	{REWRITE("path: { regex: a, to: \"/$x\" }"), "to: '$' stands before the number of a group"},
	{REWRITE("path: { regex: a, to: \"/b/../$0\" }"), "must be written as '/x'"},
	{REWRITE("path: { regex: \"(..)\", to: \"/%$1\" }"), "to: '/%x' is no path"},
	{REWRITE("path: { regex: a, to: \"/b c\" }"), "to: '/b c': a path has no spaces"},
	{REWRITE("path: { regex: a, to: \"/b?c d\" }"), "to: a query has no spaces"},
	{REWRITE("host: X.test"), "host: expected a host name in lower case"},
	{REWRITE("host: \"x.test:0\""), "host: expected a host name in lower case"},
	{REWRITE("host: \"x.test:99999\""), "host: expected a host name in lower case"},
	{REWRITE("host: \"x y\""), "host: expected a host name in lower case"},
	{REWRITE("host: \"x\\r\\ny: z\""), "host: expected a host name in lower case"},

	{AUTH("upstream: shp, path: /"),
	 "policy 'p': external_auth: upstream 'shp' is not defined; did you mean 'shop'?"},
	{AUTH("path: /"), "policy 'p': external_auth: 'upstream' is required"},
	{AUTH("upstream: shop"), "policy 'p': external_auth: 'path' is required"},
	{AUTH("upstream: shop, path: check"), "external_auth: path: expected a path that begins"},
	{AUTH("upstream: shop, path: \"/a b\""), "external_auth: path: expected a path"},
	{AUTH("upstream: shop, path: /, timeout: 5m"), "external_auth: timeout: "},
	{AUTH("upstream: shop, path: /, take_headers: [ Host ]"),
	 "take_headers: 'Host' frames messages or says who the client is"},
	{AUTH("upstream: shop, path: /, take_headers: [ x-forwarded-for ]"), "frames messages or"},
	{AUTH("upstream: shop, path: /, take_headers: [ x-a, X_A ]"), "'x_a' is listed twice"},
	{AUTH("upstream: shop, path: /, answer_headers: [ \"x a\" ]"),
	 "answer_headers: 'x a' is not a header name"},
	{AUTH("upstream: shop, path: /, take_header: x"),
	 "unknown key 'take_header'; did you mean 'take_headers'?"},

	{CORS("methods: GET"), "policy 'p': cors: 'origins' is required"},
	{CORS("origins: []"), "policy 'p': cors: origins: needs at least one"},
	{CORS("origins: shop.example.com"), "cors: origins: 'shop.example.com' is no origin"},
	{CORS("origins: \"https://a.test/\""), "'https://a.test/' is no origin"},
	{CORS("origins: \"https://A.test\""), "'https://A.test' is no origin"},
	{CORS("origins: \"https://a.test:443\""), "without the scheme's own port"},
	{CORS("origins: \"https://a.*.test\""), "'https://a.*.test' is no origin"},
	{CORS("origins: \"https://*\""), "'https://*' is no origin"},
	{CORS("origins: \"*\", credentials: on"), "'credentials' for every origin would let"},
	{CORS("origins: \"*\", methods: [ \"G T\" ]"), "cors: methods: 'G T' cannot be a name"},
	{CORS("origins: \"*\", max_age: 2d"), "cors: max_age: "},
	{COMPRESS("algorithms: [ gzi ]"),
	 "compress: algorithms: expected zstd, br or gzip, got 'gzi'; did you mean 'gzip'?"},
	{COMPRESS("algorithms: x-gzip"), "algorithms: expected zstd, br or gzip, got 'x-gzip'"},
	{COMPRESS("algorithms: []"), "compress: algorithms: needs at least one"},
	{COMPRESS("algorithms: [ br, br ]"), "compress: algorithms: 'br' is listed twice"},
	{COMPRESS("types: json"), "compress: types: 'json' is no media type"},
	{COMPRESS("min_size: x"), "compress: min_size: "},
	{POLICY("decompress: { max_ratio: 0 }"), "decompress: max_ratio: must be 1 to 10000"},
	{POLICY("decompress: { max_size: 0 }"), "decompress: max_size: "},
	{TRANSFORM(""), "policy 'p': transform: changes nothing; it needs 'request' or 'response'"},
	{TRANSFORM("request: {}"), "transform: changes nothing"},
	{TRANSFORM("request: { json: {} }"), "transform: request: 'json' is not supported yet"},
	{TRANSFORM("response: { json: {} }"), "transform: response: 'json' is not supported yet"},
	{TRANSFORM("request: { method: HEAD }"), "request: method: 'HEAD' changes what an answer"},
	{TRANSFORM("request: { method: \"G T\" }"), "method: expected the name of a method"},
	{TRANSFORM("request: { path: a }"), "transform: request: path: a path begins with '/'"},
	{TRANSFORM("request: { path: \"/a b\" }"), "path: a path has no spaces, '?', '#'"},
	{TRANSFORM("request: { path: \"/a?b={path.c}\" }"), "path: a path has no spaces, '?', '#'"},
	{TRANSFORM("request: { path: \"/{path}\" }"),
	 "request: path: variable 'path' is not known"},
	{TRANSFORM("request: { headers: { set: { host: x } } }"),
	 "request: headers: set: 'host' frames messages"},
	{TRANSFORM("request: { headers: { set: { x-a: \"{claim}\" } } }"),
	 "headers: set: 'x-a': variable 'claim' is not known; did you mean 'claim.'?"},
	{TRANSFORM("request: { headers: { set: { x-a: \"a\\nb\" } } }"),
	 "set: 'x-a': a header's value has no control characters"},
	{TRANSFORM("request: { headers: { set: { x-a: \"{response.status}\" } } }"),
	 "there is no answer yet at this place"},
	{TRANSFORM("request: { headers: { set: { \"x a\": b } } }"), "'x a' is not a header name"},
	{TRANSFORM("request: { headers: { rename: { x-a: X_A } } }"),
	 "headers: rename: 'X_A' is its own new name"},
	{TRANSFORM("request: { headers: { rename: { x-a: te } } }"),
	 "rename: 'te' frames messages"},
	{TRANSFORM("request: { headers: { add: [ a ] } }"), "headers: add: expected a mapping"},
	{TRANSFORM("response: { headers: { remove: [ content-length ] } }"),
	 "response: headers: remove: 'content-length' frames messages"},
	{TRANSFORM("response: { status: 204 }"), "response: status: an answer with status 204 has"},
	{TRANSFORM("response: { status: 99 }"), "transform: response: status: must be 200 to 599"},
	{TRANSFORM("request: { query: { ad: { a: b } } }"),
	 "unknown key 'ad'; did you mean 'add'?"},
	{ROUTE("[ path ]", "respond: { status: 200 }"),
	 "route 'r': policy 'path' (transform) has nothing to do where no upstream is asked"},

	{ROUTE("[ strp ]", PROXY),
	 "route 'r': policy 'strp' is not defined; did you mean 'strip'?"},
	{ROUTE("[ strip, host, strip ]", PROXY), "route 'r': policy 'strip' is listed twice"},
	{ROUTE("[ strip ]", "respond: { status: 200 }"),
	 "route 'r': policy 'strip' (rewrite) has nothing to do where no upstream is asked"},
	{ROUTE("{ a: b }", PROXY), "route 'r': policies: "},
};

static void test_what_is_refused_is_told_with_its_place(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
		struct loaded loaded;

		config_load_text(&loaded, refused[i].text, NULL);
		if (!strstr(loaded.printed.data, refused[i].error))
			print_error("%s\ngave: %s", refused[i].text, loaded.printed.data);
		assert_row(refused[i].error, strstr(loaded.printed.data, refused[i].error));
		loaded_done(&loaded);
	}
}

static void test_one_mistake_in_a_policy_is_one_error(void **state)
{
	static const char *const texts[] = {
		ROUTE("[ strip, nope ]", PROXY),
		/* a route that refers to a policy with an error has none itself */
		CONFIG_HEAD CONFIG_WEB CONFIG_UP
		"policies: [ { name: bad, rewrite: {} } ]\n"
		"routes: [ { name: r, policies: bad, proxy: { upstream: shop } } ]\n",
		POLICY("cache: {}"),
	};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		struct loaded loaded;

		config_load_text(&loaded, texts[i], NULL);
		if (conf_errors_count(loaded.errors) != 1)
			print_error("%s", loaded.printed.data);
		assert_int_equal(conf_errors_count(loaded.errors), 1);
		loaded_done(&loaded);
	}
}

static void test_policies_of_a_route_keep_their_order(void **state)
{
	struct loaded loaded;
	const struct route *route;

	config_load_text(&loaded, ROUTE("[ host, strip ]", PROXY), NULL);
	assert_string_equal(loaded.printed.data, "");
	route = &loaded.snapshot->routes[0];
	assert_int_equal(route->policy_count, 2);
	assert_str(route->policies[0]->name, "host");
	assert_str(route->policies[1]->name, "strip");
	assert_ptr_equal(route->policies[1], &loaded.snapshot->policies[0]);
	loaded_done(&loaded);
}

static void test_one_policy_stands_without_brackets_and_none_is_none(void **state)
{
	struct loaded loaded;

	config_load_text(&loaded, ROUTE("strip", PROXY), NULL);
	assert_string_equal(loaded.printed.data, "");
	assert_int_equal(loaded.snapshot->routes[0].policy_count, 1);
	loaded_done(&loaded);
	config_load_text(&loaded, ROUTE("[]", PROXY), NULL);
	assert_string_equal(loaded.printed.data, "");
	assert_int_equal(loaded.snapshot->routes[0].policy_count, 0);
	loaded_done(&loaded);
}

static void test_policies_are_printed_as_they_are_read(void **state)
{
	struct loaded loaded;
	struct buf first, second;

	config_load_text(
		&loaded,
		CONFIG_HEAD CONFIG_WEB CONFIG_UP
		"policies:\n"
		"  - { name: old-paths, rewrite: { path: { regex: \"^/v1/(.*)$\", to: "
		"\"/$1?a=$0\" } } }\n"
		"  - { name: strip, rewrite: { path: { prefix: /a/, to: / }, host: "
		"\"[::1]:80\" } }\n"
		"  - { name: ask, external_auth: { upstream: shop, path: \"/c?d\", timeout: 2s, "
		"take_headers: [ X-User, x-role ], answer_headers: location } }\n"
		"  - { name: shape, transform: { request: { method: POST, path: \"/{path.id}\", "
		"query: { remove: [ a, b ], set: { c: \"{claim.sub}\" }, add: { d: 1 } }, "
		"headers: { remove: [ X-Debug ], rename: { x-a: x-b }, set: { X-C: \"\" }, "
		"add: { x-d: \"}}\" } } }, response: { status: 201, headers: { set: "
		"{ x-e: \"{response.status}\" } } } } }\n"
		"  - { name: pages, cors: { origins: [ \"https://a.test\", "
		"\"https://*.b.test:8443\" ], methods: [ GET, PUT ], headers: x-a, expose_headers: "
		"[ x-b ], credentials: on, max_age: 10m } }\n"
		"  - { name: all-pages, cors: { origins: \"*\", headers: \"*\" } }\n"
		"  - { name: small, compress: { algorithms: [ gzip, zstd ], min_size: 2KiB, types: "
		"[ \"text/*\", a/b ] } }\n"
		"  - { name: usual, compress: {} }\n"
		"  - { name: plain, decompress: { max_size: 1MiB, max_ratio: 7 } }\n"
		"  - { name: shape-less, transform: { response: { headers: { remove: server } } } "
		"}\n"
		"  - { name: ask-too, external_auth: { upstream: shop, path: / } }\n"
		"routes: [ { name: r, policies: [ strip, old-paths ], proxy: { upstream: shop "
		"} } ]\n",
		NULL);
	assert_string_equal(loaded.printed.data, "");
	buf_init(&first, 1 << 16);
	assert_int_equal(config_print_effective(loaded.snapshot, &first), 0);
	assert_int_equal(buf_append(&first, str_make("", 1)), 0);
	loaded_done(&loaded);
	assert_non_null(strstr(first.data, "policies:\n"
					   "  - name: old-paths\n"
					   "    rewrite:\n"
					   "      path:\n"
					   "        regex: \"^/v1/(.*)$\"\n"
					   "        to: \"/$1?a=$0\"\n"
					   "  - name: strip\n"
					   "    rewrite:\n"
					   "      path:\n"
					   "        prefix: /a/\n"
					   "        to: /\n"
					   "      host: \"[::1]:80\"\n"));
	assert_non_null(strstr(first.data, "    policies:\n"
					   "      - strip\n"
					   "      - old-paths\n"));
	config_load_text(&loaded, first.data, NULL);
	assert_string_equal(loaded.printed.data, "");
	buf_init(&second, 1 << 16);
	assert_int_equal(config_print_effective(loaded.snapshot, &second), 0);
	assert_int_equal(buf_append(&second, str_make("", 1)), 0);
	assert_string_equal(first.data, second.data);
	loaded_done(&loaded);
	buf_done(&first);
	buf_done(&second);
}

#define in_dir(test) cmocka_unit_test_setup_teardown(test, config_enter_dir, config_leave_dir)

int main(void)
{
	const struct CMUnitTest tests[] = {
		in_dir(test_what_is_refused_is_told_with_its_place),
		in_dir(test_one_mistake_in_a_policy_is_one_error),
		in_dir(test_policies_of_a_route_keep_their_order),
		in_dir(test_one_policy_stands_without_brackets_and_none_is_none),
		in_dir(test_policies_are_printed_as_they_are_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* `split` and `sticky` of a route: what is read, printed back and refused; counters over reloads.
 */
#include "config_fixture.h"

#include "http/split.h"

#define UPS                                                                                        \
	"upstreams: [ { name: cart, endpoints: [ 10.0.0.1:80 ] }, "                                \
	"{ name: cart-grpc, endpoints: [ 10.0.0.2:80 ] } ]\n"
#define PROXY(inside)  CONFIG_HEAD CONFIG_WEB UPS "routes: [ { name: r, proxy: { " inside " } } ]\n"
#define SPLIT(inside)  PROXY("split: [ " inside " ]")
#define STICKY(inside) PROXY("split: [ { upstream: cart } ], sticky: { " inside " }")

static const struct {
	const char *text, *error;
} refused[] = {
	{PROXY(""), "route 'r': proxy: needs 'upstream' or 'split'"},
	{PROXY("upstream: cart, split: [ { upstream: cart } ]"),
	 "route 'r': proxy: has 'upstream' already; 'split' names its own"},
	{PROXY("upstream: cart, sticky: { cookie: v }"),
	 "route 'r': proxy: 'sticky' needs a 'split'"},
	{PROXY("upstream: cart, mirror: { upstream: cart }"), "'mirror' is not supported yet"},
	{SPLIT(""), "route 'r': proxy: split: needs 1 to 64 upstreams"},
	{PROXY("split: cart"), "route 'r': proxy: split: expected a list"},
	{SPLIT("cart"), "route 'r': proxy: split: expected a mapping"},
	{SPLIT("{ weight: 1 }"), "route 'r': proxy: split: 'upstream' is required"},
	{SPLIT("{ upstream: crt }"), "split: upstream 'crt' is not defined; did you mean 'cart'?"},
	{SPLIT("{ upstream: cart, wight: 1 }"), "unknown key 'wight'; did you mean 'weight'?"},
	{SPLIT("{ upstream: cart }, { upstream: cart }"),
	 "split: upstream 'cart' is given twice; use 'weight' to send it more"},
	{SPLIT("{ upstream: cart, weight: 1000001 }"), "weight: must be 0 to 1000000"},
	{SPLIT("{ upstream: cart, weight: -1 }"), "weight: expected a whole number"},
	{SPLIT("{ upstream: cart, weight: 0 }"), "split: no weight is above 0"},
	{SPLIT("{ upstream: cart, when: { header: { x: y } } }"), "split: no weight is above 0"},
	{SPLIT("{ upstream: cart, when: {} }"),
	 "split: when: needs a condition in 'header' or 'query'"},
	{SPLIT("{ upstream: cart, when: { header: {} } }"), "when: needs a condition"},
	{SPLIT("{ upstream: cart, when: { headers: { x: y } } }"),
	 "when: unknown key 'headers'; did you mean 'header'?"},
	{SPLIT("{ upstream: cart, when: { header: { \"x y\": z } } }"), "is not a field name"},
	{STICKY(""), "sticky: needs exactly one of 'cookie', 'header' and 'source'"},
	{STICKY("cookie: v, source: on"), "sticky: needs exactly one of"},
	{STICKY("source: off"), "sticky: needs exactly one of"},
	{STICKY("cookie: \"a;b\""), "sticky: 'a;b' is no name for a cookie"},
	{STICKY("cookie: \"a=b\""), "sticky: 'a=b' is no name for a cookie"},
	{STICKY("header: \"a b\""), "sticky: 'a b' is no name for a header"},
	{STICKY("header: x-user, ttl: 1h"), "sticky: 'ttl' is how long a cookie lives"},
	{STICKY("cookie: v, ttl: 20ms"), "ttl: cookies live for whole seconds"},
	{STICKY("cookie: v, ttl: 401d"), "ttl: must be 0s to 400d"},
};

static void test_what_is_refused_is_told_once_with_its_reason(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
		struct loaded loaded;

		config_load_text(&loaded, refused[i].text, NULL);
		if (!strstr(loaded.printed.data, refused[i].error) ||
		    conf_errors_count(loaded.errors) != 1)
			print_error("%s\ngave: %s", refused[i].text, loaded.printed.data);
		assert_row(refused[i].error, strstr(loaded.printed.data, refused[i].error));
		assert_row(refused[i].error, conf_errors_count(loaded.errors) == 1);
		loaded_done(&loaded);
	}
}

/* The contract's own example, but for what is not built. */
#define CANARY                                                                                     \
	PROXY("split: [ { upstream: cart, weight: 95 }, "                                          \
	      "{ upstream: cart-grpc, weight: 5, when: { header: { x-canary: \"yes\" } } } ], "    \
	      "sticky: { cookie: variant, ttl: 1h }, timeout: 2s")

static void test_example_of_the_contract_is_read(void **state)
{
	const struct split *split;
	struct loaded loaded;

	config_load_text(&loaded, CANARY, NULL);
	assert_string_equal(loaded.printed.data, "");
	assert_null(loaded.snapshot->routes[0].proxy.upstream);
	assert_int_equal(loaded.snapshot->routes[0].proxy.timeout_ms, 2000);
	split = loaded.snapshot->routes[0].proxy.split;
	assert_int_equal(split->count, 2);
	assert_int_equal(split->weight_sum, 100);
	assert_str(split->variants[1].upstream->name, "cart-grpc");
	assert_int_equal(split->variants[1].when_header.count, 1);
	assert_int_equal(split->sticky, SPLIT_BY_COOKIE);
	assert_int_equal(split->cookie_ttl_ms, 3600000);
	loaded_done(&loaded);
}

static void test_weight_is_one_and_with_a_condition_none(void **state)
{
	const struct split *split;
	struct loaded loaded;

	config_load_text(&loaded,
			 SPLIT("{ upstream: cart }, { upstream: cart-grpc, when: { query: { v: "
			       "\"2\" } } }"),
			 NULL);
	assert_string_equal(loaded.printed.data, "");
	split = loaded.snapshot->routes[0].proxy.split;
	assert_int_equal(split->variants[0].weight, 1);
	assert_int_equal(split->variants[1].weight, 0);
	assert_int_equal(split->sticky, SPLIT_FREE);
	loaded_done(&loaded);
}

static void print(const char *text, struct buf *out)
{
	struct loaded loaded;

	config_load_text(&loaded, text, NULL);
	assert_string_equal(loaded.printed.data, "");
	buf_init(out, 1 << 16);
	assert_int_equal(config_print_effective(loaded.snapshot, out), 0);
	assert_int_equal(buf_append(out, str_make("", 1)), 0);
	loaded_done(&loaded);
}

static void test_split_is_printed_as_it_is_read(void **state)
{
	static const char *const texts[] = {
		CANARY,
		STICKY("header: X-User"),
		STICKY("source: on"),
		STICKY("cookie: __Host-v"),
		SPLIT("{ upstream: cart }, { upstream: cart-grpc, when: { query: { v: \"2\" }, "
		      "header: { a: { present: true } } } }"),
	};
	struct buf first, second;

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		print(texts[i], &first);
		print(first.data, &second);
		assert_string_equal(first.data, second.data);
		if (i == 0)
			assert_non_null(strstr(first.data, "    proxy:\n"
							   "      timeout: 2s\n"
							   "      trailers: off\n"
							   "      split:\n"
							   "        - upstream: cart\n"
							   "          weight: 95\n"
							   "        - upstream: cart-grpc\n"
							   "          weight: 5\n"
							   "          when:\n"
							   "            header:\n"
							   "              x-canary: \"yes\"\n"
							   "      sticky:\n"
							   "        cookie: variant\n"
							   "        ttl: 1h\n"));
		buf_done(&first);
		buf_done(&second);
	}
}

static void test_counters_and_tokens_outlive_a_reload(void **state)
{
	struct registry *registry = registry_new();
	struct loaded before, after;
	const struct split *split;
	char token[SPLIT_TOKEN_LEN + 1];

	assert_non_null(registry);
	config_load_text(&before, CANARY, registry);
	assert_string_equal(before.printed.data, "");
	split = before.snapshot->routes[0].proxy.split;
	atomic_fetch_add(&split->variants[1].stats->rows[2].requests, 7);
	memcpy(token, split->variants[1].token, sizeof(token));
	config_load_text(
		&after,
		SPLIT("{ upstream: cart-grpc, weight: 50 }, { upstream: cart, weight: 50 }"),
		registry);
	loaded_done(&before);
	(void)registry_sweep(registry);
	split = after.snapshot->routes[0].proxy.split;
	assert_int_equal(variant_stats_requests(split->variants[0].stats), 7);
	assert_int_equal(variant_stats_requests(split->variants[1].stats), 0);
	assert_string_equal(split->variants[0].token, token);
	loaded_done(&after);
	(void)registry_sweep(registry);
	assert_null(registry_find(registry, "variant", STR("r"), STR("cart")));
	registry_free(registry);
}

#define in_dir(test) cmocka_unit_test_setup_teardown(test, config_enter_dir, config_leave_dir)

int main(void)
{
	const struct CMUnitTest tests[] = {
		in_dir(test_what_is_refused_is_told_once_with_its_reason),
		in_dir(test_example_of_the_contract_is_read),
		in_dir(test_weight_is_one_and_with_a_condition_none),
		in_dir(test_split_is_printed_as_it_is_read),
		in_dir(test_counters_and_tokens_outlive_a_reload),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "test_support.h"

#include <stdlib.h>

#include "http/exchange.h"
#include "http/hiding.h"

/* The side that clients must not see. */
static struct endpoint_conf endpoints[3];
static struct upstream_conf upstream = {.endpoints = endpoints, .endpoint_count = 3};

static int make_upstream(void **state)
{
	static const char *const addresses[] = {"10.0.0.7:8080", "[fd00::7]:8081", "unix:/run/x"};
	struct error err = {0};

	upstream.name = STR("shop");
	for (unsigned int i = 0; i < ARRAY_SIZE(addresses); i++)
		if (sock_addr_parse(str_from_cstr(addresses[i]), &endpoints[i].addr, &err))
			return -1;
	return 0;
}

static struct hiding plain(void)
{
	return (struct hiding){
		.upstream = &upstream,
		.sent_host = STR("www.example"),
		.public_scheme = STR("http"),
		.public_host = STR("www.example"),
	};
}

struct row {
	const char *value;
	const char *expected; /* NULL: stays, without a copy */
};

typedef struct str (*map_function)(const struct hiding *hiding, struct arena *arena,
				   struct str value);

static void check_rows(const struct hiding *hiding, map_function map, const struct row *rows,
		       size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct str value = str_from_cstr(rows[i].value), mapped;
		struct arena arena;

		arena_init(&arena, 0, 1 << 20);
		mapped = map(hiding, &arena, value);
		if (!rows[i].expected)
			assert_row(rows[i].value,
				   mapped.ptr == value.ptr && mapped.len == value.len);
		else if (!str_eq_cstr(mapped, rows[i].expected))
			fail_msg("'%s': got '%.*s', expected '%s'", rows[i].value, STR_FMT(mapped),
				 rows[i].expected);
		arena_done(&arena);
	}
}
#define CHECK_ROWS(hiding, map, rows) check_rows(hiding, map, rows, ARRAY_SIZE(rows))

static void test_h36_urls_of_the_upstream_become_urls_of_the_client(void **state)
{
	static const struct row rows[] = {
		{"http://10.0.0.7:8080/x?y#z", "http://www.example/x?y#z"},
		{"http://10.0.0.7/x", "http://www.example/x"},
		{"http://10.0.0.7:9999/x", "http://www.example/x"},
		{"http://10.0.0.7", "http://www.example"},
		{"http://10.0.0.7?x", "http://www.example?x"},
		{"HTTP://10.0.0.7:8080/", "http://www.example/"},
		{"//10.0.0.7:8080/x", "//www.example/x"},
		{"http://user:pass@10.0.0.7/x", "http://www.example/x"},
		{"http://[fd00::7]:8081/x", "http://www.example/x"},
		{"http://[FD00:0::7]/x", "http://www.example/x"},
		{"http://[::ffff:10.0.0.7]/x", "http://www.example/x"},
		{"http://10.0.0.7./x", "http://www.example/x"},
		{"http://shop/x", "http://www.example/x"},
		{"http://SHOP:8080/x", "http://www.example/x"},
		/* An upstream that sees only http and still says https means it. */
		{"https://10.0.0.7/x", "https://www.example/x"},
		{"https://shop:8443/x", "https://www.example/x"},
		/* The client's own host, with the upstream's port. */
		{"http://www.example:8080/x", "http://www.example/x"},
		{"http://WWW.example:8081/x", "http://www.example/x"},
		/* What the client can use stays. */
		{"http://www.example/x", NULL},
		{"http://www.example:80/x", NULL},
		{"https://www.example/x", NULL},
		{"https://www.example:8080/x", NULL},
		{"http://www.example:9999/x", NULL},
		{"http://www.example.evil/x", NULL},
		{"http://other.example/10.0.0.7", NULL},
		{"http://10.0.0.70/x", NULL},
		{"http://10.0.0.8:8080/x", NULL},
		{"http://110.0.0.7/x", NULL},
		{"http://shop.example/x", NULL},
		{"http://shopping/x", NULL},
		{"http://[fd00::8]/x", NULL},
		{"http://other.example/?to=http://10.0.0.7/", NULL},
		{"http://10.0.0.7@other.example/", NULL},
		{"/x", NULL},
		{"x", NULL},
		{"?x", NULL},
		{"", NULL},
		{"http:", NULL},
		{"http:/", NULL},
		{"http://", NULL},
		{"//", NULL},
		{"ftp://10.0.0.7/x", NULL},
		{"mailto:a@10.0.0.7", NULL},
		{"http://[fd00::7/x", NULL},
	};
	struct hiding hiding = plain();

	CHECK_ROWS(&hiding, hiding_map_url, rows);
}

static void test_h36_the_public_side_may_be_https_on_a_port_of_its_own(void **state)
{
	static const struct row rows[] = {
		{"http://10.0.0.7:8080/x", "https://www.example:8443/x"},
		{"https://10.0.0.7/x", "https://www.example:8443/x"},
		/* The upstream sees http and a Host without TLS. */
		{"http://www.example:8443/x", "https://www.example:8443/x"},
		{"http://www.example:8080/x", "https://www.example:8443/x"},
		{"https://www.example:8443/x", NULL},
		{"http://www.example/x", NULL},
		{"//www.example:8443/x", NULL},
		{"//10.0.0.7/x", "//www.example:8443/x"},
	};
	struct hiding hiding = plain();

	hiding.sent_host = hiding.public_host = STR("www.example:8443");
	hiding.public_scheme = STR("https");
	CHECK_ROWS(&hiding, hiding_map_url, rows);
}

static void test_h36_a_host_that_only_the_upstream_knows_is_hidden(void **state)
{
	static const struct row rows[] = {
		{"http://origin.internal/x", "http://www.example:81/x"},
		{"http://origin.internal:9/x", "http://www.example:81/x"},
		{"https://origin.internal/x", "https://www.example/x"},
		{"http://www.example:81/x", NULL},
		{"http://internal/x", NULL},
	};
	struct hiding hiding = plain();

	hiding.sent_host = STR("origin.internal");
	hiding.public_host = STR("www.example:81");
	CHECK_ROWS(&hiding, hiding_map_url, rows);
}

static void test_h36_a_client_without_a_host_gets_paths(void **state)
{
	static const struct row rows[] = {
		{"http://shop/x?y", "/x?y"},
		{"http://10.0.0.7:8080", "/"},
		{"http://10.0.0.7:8080?y", "/?y"},
		{"//shop/x", "/x"},
		{"http://shop//evil.example/x", "/evil.example/x"},
		{"http://other.example/x", NULL},
	};
	struct hiding hiding = plain();

	hiding.sent_host = STR("shop");
	hiding.public_host = STR("");
	CHECK_ROWS(&hiding, hiding_map_url, rows);
}

static void test_h36_an_address_as_host_keeps_its_brackets(void **state)
{
	static const struct row rows[] = {
		{"http://10.0.0.7/x", "http://[2001:db8::1]:81/x"},
		{"https://10.0.0.7/x", "https://[2001:db8::1]/x"},
		{"http://[2001:db8::1]:8081/x", "http://[2001:db8::1]:81/x"},
	};
	struct hiding hiding = plain();

	hiding.sent_host = hiding.public_host = STR("[2001:db8::1]:81");
	CHECK_ROWS(&hiding, hiding_map_url, rows);
}

/* Proxy and upstream on one machine: the address is the client's, too. */
static void test_https_on_the_address_that_the_client_uses_is_left_alone(void **state)
{
	static const struct row rows[] = {
		{"http://10.0.0.7:8080/x", "http://10.0.0.7/x"},
		{"http://10.0.0.7/x", NULL},
		{"https://10.0.0.7/x", NULL},
	};
	struct hiding hiding = plain();

	hiding.sent_host = hiding.public_host = STR("10.0.0.7");
	CHECK_ROWS(&hiding, hiding_map_url, rows);
}

static void test_h36_paths_are_mapped_back_through_a_prefix(void **state)
{
	static const struct row added[] = {
		/* /api of ours is the root there */
		{"/x", "/api/x"},
		{"/", "/api/"},
		{"/?x", "/api/?x"},
		{"/api/x", NULL}, /* it knows where it is mounted */
		{"/apix", "/api/apix"},
		{"http://10.0.0.7/x", "http://www.example/api/x"},
		{"http://10.0.0.7", "http://www.example/api/"},
		{"http://10.0.0.7?x", "http://www.example/api/?x"},
		{"http://www.example/x", "http://www.example/api/x"},
		{"http://www.example/api/x", NULL},
		{"http://other.example/x", NULL},
		{"x", NULL},
	};
	static const struct row replaced[] = {
		/* /api of ours is /v2/app there */
		{"/v2/app/x", "/api/x"},
		{"/v2/app", "/api"},
		{"/v2/app?x", "/api?x"},
		{"/v2/apps", NULL},
		{"/other", NULL},
		{"/api", NULL},
		{"http://shop/v2/app/x", "http://www.example/api/x"},
		{"http://shop/other", "http://www.example/other"},
	};
	static const struct row removed[] = {
		/* our root is /app there */
		{"/app/x", "/x"},
		{"/app", "/"},
		{"/app?x", "/?x"},
		{"/app#x", "/#x"},
		{"/x", NULL},
		{"/app//evil.example/x", NULL},
		{"http://shop/app", "http://www.example/"},
		{"http://shop/app/x", "http://www.example/x"},
	};
	struct hiding hiding = plain();

	hiding.public_prefix = STR("/api");
	CHECK_ROWS(&hiding, hiding_map_url, added);
	hiding.upstream_prefix = STR("/v2/app");
	CHECK_ROWS(&hiding, hiding_map_url, replaced);
	hiding.public_prefix = STR("");
	hiding.upstream_prefix = STR("/app");
	CHECK_ROWS(&hiding, hiding_map_url, removed);
}

static void test_h36_refresh_is_read_as_browsers_read_it(void **state)
{
	static const struct row rows[] = {
		{"5; url=http://10.0.0.7/x", "5; url=http://www.example/x"},
		{"5;URL = http://10.0.0.7/x", "5;URL = http://www.example/x"},
		{"0,url=\"http://10.0.0.7/x\"", "0,url=\"http://www.example/x\""},
		{"0; url='http://10.0.0.7/x' more", "0; url='http://www.example/x' more"},
		{"0; url=\"http://10.0.0.7/x", "0; url=\"http://www.example/x"},
		{"0; http://10.0.0.7/x", "0; http://www.example/x"},
		{"5", NULL},
		{"5;", NULL},
		{"5; url", NULL},
		{"5; url=", NULL},
		{"5; url=\"", NULL},
		{"5; url=/x", NULL},
		{"", NULL},
	};
	struct hiding hiding = plain();

	CHECK_ROWS(&hiding, hiding_map_refresh, rows);
}

static void test_h36_every_target_of_link_is_mapped(void **state)
{
	static const struct row rows[] = {
		{"<http://10.0.0.7/2>; rel=next, <http://shop/1>; rel=\"prev\"",
		 "<http://www.example/2>; rel=next, <http://www.example/1>; rel=\"prev\""},
		{"<http://10.0.0.7/a>,<http://other.example/>,<http://shop/b>",
		 "<http://www.example/a>,<http://other.example/>,<http://www.example/b>"},
		{"</x>; title=\"<http://10.0.0.7>\"; rel=x", NULL},
		{"</x>; title=\"\\\"<http://10.0.0.7>\"; rel=x", NULL},
		{"<http://10.0.0.7", NULL},
		{"<>", NULL},
		{"", NULL},
		{"\"", NULL},
		{"\"\\", NULL},
	};
	struct hiding hiding = plain();

	CHECK_ROWS(&hiding, hiding_map_link, rows);
}

static void test_h36_cookies_of_the_upstream_become_the_hosts_own(void **state)
{
	static const struct row rows[] = {
		{"a=b; Domain=10.0.0.7; Path=/", "a=b; Path=/"},
		{"a=b; Path=/; domain=shop", "a=b; Path=/"},
		{"a=b;DOMAIN = .Origin.Internal ;Secure", "a=b;Secure"},
		{"a=b; Domain=internal", "a=b"},
		{"a=b; Domain=[fd00::7]; HttpOnly", "a=b; HttpOnly"},
		{"a=b; Domain=shop; Domain=10.0.0.7", "a=b"},
		/* What clients may have stays, and so does what only looks like an attribute. */
		{"a=b; Domain=www.example", NULL},
		{"a=b; Domain=.example", NULL},
		{"a=b; Domain=other.example", NULL},
		{"a=b; Domain=", NULL},
		{"a=b; Domain", NULL},
		{"Domain=10.0.0.7; Path=/", NULL},
		{"a=\"; Domain\"", NULL},
		{"a=b", NULL},
		{"a=b;", NULL},
		{"", NULL},
		{";;", NULL},
	};
	static const struct row paths[] = {
		{"a=b; Path=/app", "a=b; Path=/api"},
		{"a=b; path = /app/x ; Secure", "a=b; path = /api/x ; Secure"},
		{"a=b; Path=/app; Domain=shop; Secure", "a=b; Path=/api; Secure"},
		{"a=b; Domain=shop; Path=/app", "a=b; Path=/api"},
		{"a=b; Path=/", NULL},
		{"a=b; Path=/apps", NULL},
		{"a=b; Path=app", NULL},
		{"a=/app; Path", NULL},
	};
	struct hiding hiding = plain();

	hiding.sent_host = STR("origin.internal:8080");
	CHECK_ROWS(&hiding, hiding_map_cookie, rows);
	hiding.public_prefix = STR("/api");
	hiding.upstream_prefix = STR("/app");
	CHECK_ROWS(&hiding, hiding_map_cookie, paths);
}

/* Pieces put together at random: no address comes through, and what was mapped stays. */
static void test_h36_no_address_comes_through_in_any_combination(void **state)
{
	static const char *const schemes[] = {"http:", "HTTPS:", "", "https:"};
	static const char *const hosts[] = {"10.0.0.7", "[fd00::7]", "www.example", "a.example",
					    "u@10.0.0.7"};
	static const char *const ports[] = {"", ":80", ":8080", ":8081", ":443", ":", ":x"};
	static const char *const rests[] = {"", "/", "/x/y", "?q", "#f", "/app/x", "/api", "//z"};
	static const map_function maps[] = {hiding_map_url, hiding_map_refresh, hiding_map_link};
	static const char *const frames[][2] = {{"", ""}, {"1;url=\"", "\""}, {"<", ">"}};

	srandom(36);
	for (unsigned int round = 0; round < 20000; round++) {
		struct hiding hiding = plain();
		unsigned int kind = (unsigned int)random() % ARRAY_SIZE(maps);
		struct str value, once, twice;
		struct arena arena;

		arena_init(&arena, 0, 1 << 20);
		hiding.public_scheme = random() % 2 ? STR("http") : STR("https");
		if (random() % 3 == 0)
			hiding.public_host = hiding.sent_host = STR("www.example:8443");
		if (random() % 3 == 0)
			hiding.sent_host = STR("shop");
		value = arena_printf(&arena, "%s%s//%s%s%s%s", frames[kind][0],
				     schemes[random() % 4], hosts[random() % 5],
				     ports[random() % 7], rests[random() % 8], frames[kind][1]);
		once = maps[kind](&hiding, &arena, value);
		if (memmem(once.ptr, once.len, "10.0.0.7", 8) ||
		    memmem(once.ptr, once.len, "fd00::7", 7))
			fail_msg("'%.*s' became '%.*s'", STR_FMT(value), STR_FMT(once));
		twice = maps[kind](&hiding, &arena, once);
		if (!str_eq(once, twice))
			fail_msg("'%.*s' became '%.*s' and then '%.*s'", STR_FMT(value),
				 STR_FMT(once), STR_FMT(twice));
		arena_done(&arena);
	}
}

static void test_a_full_arena_is_reported(void **state)
{
	static const struct {
		map_function map;
		const char *value;
	} rows[] = {
		{hiding_map_url, "http://10.0.0.7/x"},
		{hiding_map_refresh, "1; url=http://10.0.0.7/x"},
		{hiding_map_link, "<http://10.0.0.7/x>"},
		{hiding_map_cookie, "a=b; Domain=shop; Path=/"},
	};
	struct hiding hiding = plain();

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct arena arena;

		arena_init(&arena, 0, 4);
		assert_null(rows[i].map(&hiding, &arena, str_from_cstr(rows[i].value)).ptr);
		arena_done(&arena);
	}
}

static enum hiding_verdict apply(const char *name, const char *value, uint32_t exposed,
				 struct str *ret_value)
{
	struct route route = {.name = STR("r"), .proxy = {.exposed = exposed}};
	struct exchange *exchange = calloc(1, sizeof(*exchange));
	struct http_field field = {str_from_cstr(name), str_from_cstr(value), HTTP_FIELD_OTHER};
	enum hiding_verdict verdict;

	assert_non_null(exchange);
	field.id = http_field_lookup(field.name);
	arena_init(&exchange->arena, 0, 1 << 16);
	exchange->route = &route;
	exchange->upstream = &upstream;
	exchange->request.host = exchange->upstream_host = STR("www.example");
	exchange->public_scheme = STR("http");
	verdict = http_field_kinds(field.id) & HIDING_KINDS ? hiding_apply(exchange, &field)
							    : HIDING_KEEP;
	*ret_value = STR("");
	if (str_eq_cstr(field.value, value))
		*ret_value = str_from_cstr(value);
	else if (str_eq_cstr(field.value, "http://www.example/x"))
		*ret_value = STR("http://www.example/x");
	arena_done(&exchange->arena);
	free(exchange);
	return verdict;
}

static void test_h36_fields_about_the_upstream_are_dropped_unless_exposed(void **state)
{
	static const char *const dropped[] = {"Server",		  "via",      "X-Powered-By",
					      "x-runtime",	  "ALT-SVC",  "X-Served-By",
					      "X-Forwarded-Host", "X-Real-IP"};
	static const char *const kept[] = {"Date", "Content-Type", "Server-Timing",   "X-Other",
					   "Vary", "X-Request-Id", "WWW-Authenticate"};
	uint32_t server = 0;
	struct str value;

	for (size_t i = 0; i < ARRAY_SIZE(dropped); i++)
		assert_row(dropped[i],
			   apply(dropped[i], "x", 0, &value) == HIDING_DROP &&
				   apply(dropped[i], "x", HIDING_ALL, &value) == HIDING_KEEP);
	for (size_t i = 0; i < ARRAY_SIZE(kept); i++)
		assert_row(kept[i], apply(kept[i], "x", 0, &value) == HIDING_KEEP);
	for (unsigned int i = 0; hiding_field_name(i).ptr; i++)
		if (str_eq_cstr(hiding_field_name(i), "server"))
			server = 1u << i;
	assert_int_not_equal(server, 0);
	assert_int_equal(apply("Server", "x", server, &value), HIDING_KEEP);
	assert_int_equal(apply("Via", "x", server, &value), HIDING_DROP);
	assert_int_equal(apply("Location", "http://10.0.0.7/x", server, &value), HIDING_KEEP);
	assert_str(value, "http://www.example/x");
	assert_int_equal(apply("Location", "http://10.0.0.7/x", HIDING_ALL, &value), HIDING_KEEP);
	assert_str(value, "http://10.0.0.7/x");
}

static void test_every_field_that_can_be_exposed_is_hidden_or_rewritten(void **state)
{
	unsigned int count = 0, kinds = 0;

	for (; hiding_field_name(count).ptr; count++) {
		unsigned int kind = http_field_kinds(http_field_lookup(hiding_field_name(count)));

		assert_true(kind & (HTTP_FIELD_HIDDEN | HTTP_FIELD_REWRITTEN));
	}
	for (int id = 0; id < HTTP_FIELD_COUNT; id++)
		if (http_field_kinds((enum http_field_id)id) &
		    (HTTP_FIELD_HIDDEN | HTTP_FIELD_REWRITTEN))
			kinds++;
	assert_int_equal(count, kinds);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_h36_urls_of_the_upstream_become_urls_of_the_client),
		cmocka_unit_test(test_h36_the_public_side_may_be_https_on_a_port_of_its_own),
		cmocka_unit_test(test_h36_a_host_that_only_the_upstream_knows_is_hidden),
		cmocka_unit_test(test_h36_a_client_without_a_host_gets_paths),
		cmocka_unit_test(test_h36_an_address_as_host_keeps_its_brackets),
		cmocka_unit_test(test_https_on_the_address_that_the_client_uses_is_left_alone),
		cmocka_unit_test(test_h36_paths_are_mapped_back_through_a_prefix),
		cmocka_unit_test(test_h36_refresh_is_read_as_browsers_read_it),
		cmocka_unit_test(test_h36_every_target_of_link_is_mapped),
		cmocka_unit_test(test_h36_cookies_of_the_upstream_become_the_hosts_own),
		cmocka_unit_test(test_h36_no_address_comes_through_in_any_combination),
		cmocka_unit_test(test_a_full_arena_is_reported),
		cmocka_unit_test(test_h36_fields_about_the_upstream_are_dropped_unless_exposed),
		cmocka_unit_test(test_every_field_that_can_be_exposed_is_hidden_or_rewritten),
	};

	return cmocka_run_group_tests(tests, make_upstream, NULL);
}

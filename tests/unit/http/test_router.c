#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "http/route.h"

#define ROUTES_MAX 10240

struct fixture {
	struct arena arena;
	struct route routes[ROUTES_MAX];
	struct route *order[ROUTES_MAX];
	unsigned int count;
	struct router *router;
	const struct route *conflict;
};

static int setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	arena_init(&fixture->arena, 65536, (size_t)256 << 20);
	*state = fixture;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;

	arena_done(&fixture->arena);
	free(fixture);
	return 0;
}

/* hosts: comma-separated, or "". methods: bits, 0 for all. */
static struct route *add(struct fixture *fixture, const char *name, const char *hosts,
			 enum route_path_kind kind, const char *path, uint32_t methods)
{
	struct route *route = &fixture->routes[fixture->count];
	struct str rest = str_from_cstr(hosts), host;

	route->name = arena_copy(&fixture->arena, str_from_cstr(name));
	route->hosts = arena_new_array(&fixture->arena, struct str, 8);
	while (rest.len && str_next_token(&rest, ',', &host))
		route->hosts[route->host_count++] = arena_copy(&fixture->arena, host);
	route->path_kind = kind;
	route->path = arena_copy(&fixture->arena, str_from_cstr(path));
	route->methods = methods;
	route->order = fixture->count;
	fixture->order[fixture->count++] = route;
	return route;
}

static void build(struct fixture *fixture)
{
	fixture->router =
		router_build(&fixture->arena, fixture->order, fixture->count, &fixture->conflict);
	assert_non_null(fixture->router);
}

static const char *find(struct fixture *fixture, const char *host, const char *path,
			enum http_method method)
{
	const struct route *route = NULL;
	uint32_t allow = 0;

	switch (router_find(fixture->router, str_from_cstr(host), str_from_cstr(path), method,
			    STR("?"), &route, &allow)) {
	case ROUTER_FOUND:
		return route->name.ptr;
	case ROUTER_NO_METHOD:
		return "405";
	default:
		return "404";
	}
}

#define GET  (1u << HTTP_METHOD_GET)
#define POST (1u << HTTP_METHOD_POST)

static void test_the_more_specific_route_wins_whatever_its_place(void **state)
{
	struct fixture *fixture = *state;
	const struct {
		const char *host, *path;
		enum http_method method;
		const char *route;
	} rows[] = {
		{"api.example.com", "/cart", HTTP_METHOD_GET, "exact"},
		{"api.example.com", "/cart/", HTTP_METHOD_GET, "prefix"},
		{"api.example.com", "/cart/3", HTTP_METHOD_GET, "prefix"},
		{"api.example.com", "/cart/3/items", HTTP_METHOD_GET, "longer"},
		{"api.example.com", "/cart/3/items/7", HTTP_METHOD_GET, "longer"},
		{"api.example.com", "/cartoon", HTTP_METHOD_GET, "root"},
		{"api.example.com", "/", HTTP_METHOD_GET, "root"},
		{"api.example.com", "/other", HTTP_METHOD_GET, "root"},
		{"x.example.com", "/", HTTP_METHOD_GET, "wildcard"},
		{"x.y.example.com", "/", HTTP_METHOD_GET, "wildcard"},
		{"x.deep.example.com", "/", HTTP_METHOD_GET, "deep"},
		{"example.com", "/", HTTP_METHOD_GET, "any"},
		{"", "/", HTTP_METHOD_GET, "any"},
		{"x.example.com", "/health", HTTP_METHOD_GET, "wildcard"},
		{"other.org", "/health", HTTP_METHOD_GET, "health"},
		{"api.example.com", "/submit", HTTP_METHOD_POST, "post"},
		{"api.example.com", "/submit", HTTP_METHOD_GET, "submit"},
		{"only.org", "/x", HTTP_METHOD_POST, "any"},
		{"only.org", "/x", HTTP_METHOD_GET, "only"},
	};

	add(fixture, "any", "", ROUTE_PATH_PREFIX, "/", 0);
	add(fixture, "root", "api.example.com", ROUTE_PATH_PREFIX, "/", 0);
	add(fixture, "prefix", "api.example.com", ROUTE_PATH_PREFIX, "/cart", 0);
	add(fixture, "longer", "api.example.com", ROUTE_PATH_PREFIX, "/cart/3/items/", 0);
	add(fixture, "exact", "api.example.com", ROUTE_PATH_EXACT, "/cart", 0);
	add(fixture, "wildcard", "*.example.com", ROUTE_PATH_PREFIX, "/", 0);
	add(fixture, "deep", "*.deep.example.com", ROUTE_PATH_PREFIX, "/", 0);
	add(fixture, "health", "", ROUTE_PATH_EXACT, "/health", 0);
	add(fixture, "submit", "api.example.com", ROUTE_PATH_EXACT, "/submit", 0);
	add(fixture, "post", "api.example.com", ROUTE_PATH_EXACT, "/submit", POST);
	add(fixture, "only", "only.org", ROUTE_PATH_PREFIX, "/x", GET);
	build(fixture);
	assert_null(fixture->conflict);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const char *route = find(fixture, rows[i].host, rows[i].path, rows[i].method);

		if (strcmp(route, rows[i].route) != 0)
			fail_msg("%s%s: '%s' instead of '%s'", rows[i].host, rows[i].path, route,
				 rows[i].route);
	}
}

static void test_a_method_nobody_takes_gives_the_methods_that_are_taken(void **state)
{
	struct fixture *fixture = *state;
	const struct route *route = NULL;
	uint32_t allow = 0;

	add(fixture, "read", "", ROUTE_PATH_PREFIX, "/a", GET);
	add(fixture, "write", "", ROUTE_PATH_EXACT, "/a/b", POST);
	build(fixture);
	assert_int_equal(router_find(fixture->router, STR("h"), STR("/a/b"), HTTP_METHOD_DELETE,
				     STR("DELETE"), &route, &allow),
			 ROUTER_NO_METHOD);
	assert_int_equal(allow, GET | POST);
	assert_string_equal(find(fixture, "h", "/z", HTTP_METHOD_GET), "404");
}

static void test_methods_without_a_name_of_ours_match_by_their_text(void **state)
{
	struct fixture *fixture = *state;
	struct route *route = add(fixture, "purge", "", ROUTE_PATH_PREFIX, "/", 0);
	const struct route *found = NULL;
	uint32_t allow = 0;

	route->other_methods = arena_new(&fixture->arena, struct str);
	route->other_methods[0] = STR("PURGE");
	route->other_method_count = 1;
	build(fixture);
	assert_int_equal(router_find(fixture->router, STR(""), STR("/"), HTTP_METHOD_OTHER,
				     STR("PURGE"), &found, &allow),
			 ROUTER_FOUND);
	assert_int_equal(router_find(fixture->router, STR(""), STR("/"), HTTP_METHOD_OTHER,
				     STR("purge"), &found, &allow),
			 ROUTER_NO_METHOD);
	assert_int_equal(router_find(fixture->router, STR(""), STR("/"), HTTP_METHOD_GET,
				     STR("GET"), &found, &allow),
			 ROUTER_NO_METHOD);
}

static void test_two_routes_for_the_same_thing_are_reported(void **state)
{
	struct fixture *fixture = *state;
	struct route *later;

	add(fixture, "first", "a.org,b.org", ROUTE_PATH_PREFIX, "/x", GET);
	later = add(fixture, "second", "b.org", ROUTE_PATH_PREFIX, "/x/", GET);
	build(fixture);
	assert_ptr_equal(fixture->conflict, later);
}

static void test_the_same_path_with_other_methods_or_kind_is_no_conflict(void **state)
{
	struct fixture *fixture = *state;

	add(fixture, "get", "a.org", ROUTE_PATH_PREFIX, "/x", GET);
	add(fixture, "post", "a.org", ROUTE_PATH_PREFIX, "/x", POST);
	add(fixture, "all", "a.org", ROUTE_PATH_PREFIX, "/x", 0);
	add(fixture, "exact", "a.org", ROUTE_PATH_EXACT, "/x", GET);
	build(fixture);
	assert_null(fixture->conflict);
}

/* What the index must agree with: every route is looked at, the best one kept. */
static const struct route *find_slowly(struct fixture *fixture, struct str host, struct str path)
{
	const struct route *best = NULL;
	size_t best_host = 0, best_path = 0;

	for (unsigned int i = 0; i < fixture->count; i++) {
		const struct route *route = &fixture->routes[i];
		struct str prefix = route->path;
		size_t host_rank = 0, path_rank;

		if (route->host_count) {
			struct str name = route->hosts[0];

			if (name.ptr[0] == '*') {
				name = str_sub(name, 1, name.len - 1);
				if (!str_ends_with(host, name) || host.len == name.len)
					continue;
				host_rank = name.len;
			} else if (str_eq(name, host)) {
				host_rank = 1000;
			} else {
				continue;
			}
		}
		if (route->path_kind == ROUTE_PATH_EXACT) {
			if (!str_eq(path, prefix))
				continue;
			path_rank = 1000;
		} else {
			if (prefix.ptr[prefix.len - 1] == '/')
				prefix.len--;
			if (!str_starts_with(path, prefix) ||
			    (path.len > prefix.len && path.ptr[prefix.len] != '/'))
				continue;
			path_rank = prefix.len;
		}
		if (!best || host_rank > best_host ||
		    (host_rank == best_host && path_rank > best_path)) {
			best = route;
			best_host = host_rank;
			best_path = path_rank;
		}
	}
	return best;
}

static void test_ten_thousand_routes_are_found_as_by_looking_at_each(void **state)
{
	struct fixture *fixture = *state;
	char host[64], path[64], name[32];

	srand(20261124);
	for (unsigned int i = 0; i < 10000; i++) {
		(void)snprintf(name, sizeof(name), "r%u", i);
		(void)snprintf(host, sizeof(host), "%s%u.example.%s", i % 7 == 0 ? "*.h" : "h",
			       (unsigned int)rand() % 200, i % 3 ? "com" : "org");
		(void)snprintf(path, sizeof(path), "/s%u/t%u%s", (unsigned int)rand() % 40, i,
			       i % 5 == 0 ? "/u" : "");
		add(fixture, name, host, i % 4 ? ROUTE_PATH_PREFIX : ROUTE_PATH_EXACT, path, 0);
	}
	add(fixture, "any", "", ROUTE_PATH_PREFIX, "/", 0);
	build(fixture);

	for (unsigned int i = 0; i < 3000; i++) {
		const struct route *model = &fixture->routes[(unsigned int)rand() % 10000];
		const struct route *found = NULL, *expected;
		uint32_t allow = 0;

		(void)snprintf(host, sizeof(host), "%s%.*s", i % 6 ? "" : "x",
			       STR_FMT(model->hosts[0]));
		if (host[0] == '*')
			host[0] = 'w';
		(void)snprintf(path, sizeof(path), "%.*s%s", STR_FMT(model->path),
			       i % 3 == 0   ? "/more"
			       : i % 3 == 1 ? "more"
					    : "");
		expected = find_slowly(fixture, str_from_cstr(host), str_from_cstr(path));
		assert_int_equal(router_find(fixture->router, str_from_cstr(host),
					     str_from_cstr(path), HTTP_METHOD_GET, STR("GET"),
					     &found, &allow),
				 ROUTER_FOUND);
		if (found != expected)
			fail_msg("%s%s: '%s' instead of '%s'", host, path, found->name.ptr,
				 expected->name.ptr);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			test_the_more_specific_route_wins_whatever_its_place, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_a_method_nobody_takes_gives_the_methods_that_are_taken, setup,
			teardown),
		cmocka_unit_test_setup_teardown(
			test_methods_without_a_name_of_ours_match_by_their_text, setup, teardown),
		cmocka_unit_test_setup_teardown(test_two_routes_for_the_same_thing_are_reported,
						setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_the_same_path_with_other_methods_or_kind_is_no_conflict, setup,
			teardown),
		cmocka_unit_test_setup_teardown(
			test_ten_thousand_routes_are_found_as_by_looking_at_each, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

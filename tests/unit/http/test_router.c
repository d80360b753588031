#include "test_support.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "http/router.h"
#include "tests/fuzz/router_reference.h"

#define ROUTES_MAX    10240
#define CONFLICTS_MAX 8

struct fixture {
	struct arena arena;
	struct route routes[ROUTES_MAX];
	struct route *order[ROUTES_MAX];
	unsigned int count;
	struct router *router;
	struct router_conflict conflicts[CONFLICTS_MAX];
	unsigned int conflict_count;
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
	if (kind == ROUTE_PATH_TEMPLATE) {
		struct route_template *template = NULL;
		struct error err = {0};

		if (route_template_parse(route->path, &fixture->arena, &template, &err))
			fail_msg("%s: %s", path, err.text);
		route->template = template;
	}
	if (kind == ROUTE_PATH_REGEX) {
		struct route_regex_error error;
		struct route_regex *regex = NULL;
		char text[ROUTE_LITERAL_BYTES_MAX];
		size_t len = route_regex_literal_prefix(route->path, text, sizeof(text));

		assert_int_equal(route_regex_compile(route->path, ROUTE_REGEX_WHOLE,
						     &fixture->arena, &regex, &error),
				 0);
		route->regex = regex;
		route->regex_prefix = arena_copy(&fixture->arena, str_make(text, len));
	}
	route->methods = methods;
	route->order = fixture->count;
	fixture->order[fixture->count++] = route;
	return route;
}

/* name=value of a field or of the query. */
static void add_condition(struct fixture *fixture, struct route_conditions *conditions,
			  const char *name, const char *value)
{
	if (!conditions->items)
		conditions->items = arena_new_array(&fixture->arena, struct route_condition,
						    ROUTE_CONDITIONS_MAX);
	conditions->items[conditions->count++] = (struct route_condition){
		.kind = ROUTE_CONDITION_EXACT,
		.name = arena_copy(&fixture->arena, str_from_cstr(name)),
		.value = arena_copy(&fixture->arena, str_from_cstr(value)),
	};
}

static void build(struct fixture *fixture)
{
	fixture->router = router_build(&fixture->arena, fixture->order, fixture->count,
				       fixture->conflicts, CONFLICTS_MAX, &fixture->conflict_count);
	assert_non_null(fixture->router);
}

struct asked {
	struct http_field fields[8];
	struct http_head head;
	struct router_request request;
	struct router_match match;
};

/* target: path and query. fields: "name: value\n" lines. */
static enum router_result ask(struct fixture *fixture, struct asked *asked, const char *method,
			      const char *host, const char *target, const char *fields)
{
	struct str path = str_from_cstr(target), rest = str_from_cstr(fields), line;
	ptrdiff_t at = str_find_byte(path, '?');

	*asked = (struct asked){.head = {.fields = asked->fields}};
	while (rest.len && str_next_token(&rest, '\n', &line)) {
		ptrdiff_t colon = str_find_byte(line, ':');

		asked->fields[asked->head.field_count++] = (struct http_field){
			str_sub(line, 0, (size_t)colon),
			str_trim(str_sub(line, (size_t)colon + 1, line.len)), HTTP_FIELD_OTHER};
	}
	asked->request = (struct router_request){
		.host = str_from_cstr(host),
		.path = at < 0 ? path : str_sub(path, 0, (size_t)at),
		.query = at < 0 ? STR("") : str_sub(path, (size_t)at, path.len),
		.method = str_from_cstr(method),
		.method_id = http_method_lookup(str_from_cstr(method)),
		.head = &asked->head,
	};
	return router_find(fixture->router, &asked->request, &asked->match);
}

static const char *find(struct fixture *fixture, const char *method, const char *host,
			const char *target, const char *fields)
{
	struct asked asked;

	switch (ask(fixture, &asked, method, host, target, fields)) {
	case ROUTER_FOUND:
		return asked.match.route->name.ptr;
	case ROUTER_NO_METHOD:
		return "405";
	case ROUTER_NO_ROUTE:
		break;
	}
	return "404";
}

#define GET  (1u << HTTP_METHOD_GET)
#define PUT  (1u << HTTP_METHOD_PUT)
#define POST (1u << HTTP_METHOD_POST)

struct wanted {
	const char *request; /* "METHOD HOST TARGET" and perhaps lines of fields */
	const char *route;
};

static void check(struct fixture *fixture, const struct wanted *rows, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		char method[16] = "", host[32] = "", target[64] = "";
		const char *fields = strchr(rows[i].request, '\n');
		const char *first = strchr(rows[i].request, ' '), *second = strchr(first + 1, ' ');
		const char *route;

		(void)snprintf(method, sizeof(method), "%.*s", (int)(first - rows[i].request),
			       rows[i].request);
		(void)snprintf(host, sizeof(host), "%.*s", (int)(second - first - 1), first + 1);
		(void)snprintf(target, sizeof(target), "%.*s", (int)strcspn(second + 1, "\n"),
			       second + 1);
		route = find(fixture, method, host, target, fields ? fields + 1 : "");
		if (strcmp(route, rows[i].route) != 0)
			fail_msg("%s: '%s' instead of '%s'", rows[i].request, route, rows[i].route);
	}
}

static void test_the_more_specific_route_wins_whatever_its_place(void **state)
{
	static const struct wanted rows[] = {
		{"GET api.example.com /cart", "exact"},
		{"GET api.example.com /cart/", "prefix"},
		{"GET api.example.com /cart/3", "prefix"},
		{"GET api.example.com /cart/3/items", "longer"},
		{"GET api.example.com /cart/3/items/7", "longer"},
		{"GET api.example.com /cartoon", "root"},
		{"GET api.example.com /", "root"},
		{"GET api.example.com /other", "root"},
		{"GET x.example.com /", "wildcard"},
		{"GET x.y.example.com /", "wildcard"},
		{"GET x.deep.example.com /", "deep"},
		{"GET deep.example.com /", "wildcard"},
		{"GET .example.com /", "any"},
		{"GET example.com /", "any"},
		{"GET  /", "any"},
		{"GET x.example.com /health", "wildcard"},
		{"GET other.org /health", "health"},
		{"POST api.example.com /submit", "post"},
		{"GET api.example.com /submit", "submit"},
		{"POST only.org /x", "any"},
		{"GET only.org /x", "only"},
		{"GET only.org /xy", "any"},
	};
	struct fixture *fixture = *state;

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
	assert_int_equal(fixture->conflict_count, 0);
	check(fixture, rows, ARRAY_SIZE(rows));
}

static void test_path_kinds_rank_exact_template_prefix_regex(void **state)
{
	static const struct wanted rows[] = {
		{"GET h /a/b", "exact"},	{"GET h /a/c", "template"},
		{"GET h /a/c/d", "prefix"},	{"GET h /a", "prefix"},
		{"GET h /x/b", "regex"},	{"GET h /x/bb", "404"},
		{"GET h /y/one/z", "t-y"},	{"GET h /y/one/two", "t-any"},
		{"GET h /y/one/two/3", "rest"}, {"GET h /y//z", "rest"},
		{"GET h /y/", "rest"},		{"GET h /y", "404"},
		{"GET h /p/q/r", "two-late"},	{"GET h /p/q/s", "one-early"},
		{"GET h /o/q/s", "404"},
	};
	struct fixture *fixture = *state;

	add(fixture, "regex", "h", ROUTE_PATH_REGEX, "/./b|/a/.*", 0);
	add(fixture, "prefix", "h", ROUTE_PATH_PREFIX, "/a", 0);
	add(fixture, "template", "h", ROUTE_PATH_TEMPLATE, "/a/{x}", 0);
	add(fixture, "exact", "h", ROUTE_PATH_EXACT, "/a/b", 0);
	add(fixture, "rest", "h", ROUTE_PATH_TEMPLATE, "/y/{all*}", 0);
	add(fixture, "t-any", "h", ROUTE_PATH_TEMPLATE, "/y/{a}/{b}", 0);
	add(fixture, "t-y", "h", ROUTE_PATH_TEMPLATE, "/y/{a}/z", 0);
	add(fixture, "one-early", "h", ROUTE_PATH_TEMPLATE, "/p/{b}/{c}", 0);
	add(fixture, "two-late", "h", ROUTE_PATH_TEMPLATE, "/{a}/q/r", 0);
	build(fixture);
	assert_int_equal(fixture->conflict_count, 0);
	check(fixture, rows, ARRAY_SIZE(rows));
}

static void test_conditions_rank_behind_the_path_and_the_method(void **state)
{
	static const struct wanted rows[] = {
		{"GET h /", "plain"},
		{"GET h /\na: 1", "one"},
		{"GET h /\na: 1\nb: 2", "two"},
		{"GET h /?q=1\na: 1", "one"}, /* headers before query */
		{"GET h /?q=1", "query"},
		{"GET h /?q=1&r=1", "both"},
		{"PUT h /?q=1\na: 1", "get-only"}, /* a method before headers */
		{"GET h /longer\na: 1", "longer"},
	};
	struct fixture *fixture = *state;
	struct route *route;

	add(fixture, "plain", "h", ROUTE_PATH_PREFIX, "/", 0);
	add_condition(fixture, &add(fixture, "query", "h", ROUTE_PATH_PREFIX, "/", 0)->query, "q",
		      "1");
	route = add(fixture, "both", "h", ROUTE_PATH_PREFIX, "/", 0);
	add_condition(fixture, &route->query, "q", "1");
	add_condition(fixture, &route->query, "r", "1");
	add_condition(fixture, &add(fixture, "one", "h", ROUTE_PATH_PREFIX, "/", 0)->headers, "a",
		      "1");
	route = add(fixture, "two", "h", ROUTE_PATH_PREFIX, "/", 0);
	add_condition(fixture, &route->headers, "b", "2");
	add_condition(fixture, &route->headers, "a", "1");
	add(fixture, "get-only", "h", ROUTE_PATH_PREFIX, "/", PUT);
	add(fixture, "longer", "h", ROUTE_PATH_PREFIX, "/longer", 0);
	build(fixture);
	assert_int_equal(fixture->conflict_count, 0);
	check(fixture, rows, ARRAY_SIZE(rows));
}

static void test_an_upgrade_ranks_as_a_condition_on_fields(void **state)
{
	struct fixture *fixture = *state;
	struct asked asked;
	struct route *route;

	add_condition(fixture, &add(fixture, "field", "h", ROUTE_PATH_PREFIX, "/", 0)->headers, "a",
		      "1");
	add(fixture, "upgrade", "h", ROUTE_PATH_PREFIX, "/", 0)->upgrade = STR("websocket");
	add(fixture, "other", "h", ROUTE_PATH_PREFIX, "/", 0)->upgrade = STR("chat");
	route = add(fixture, "both", "h", ROUTE_PATH_PREFIX, "/", 0);
	route->upgrade = STR("websocket");
	add_condition(fixture, &route->headers, "a", "1");
	build(fixture);
	assert_int_equal(fixture->conflict_count, 0);
	assert_string_equal(find(fixture, "GET", "h", "/", "a: 1"), "field");
	assert_string_equal(find(fixture, "GET", "h", "/", ""), "404");
	assert_int_equal(ask(fixture, &asked, "GET", "h", "/", "b: 1\nupgrade: x, WebSocket"),
			 ROUTER_NO_ROUTE);
	asked.fields[1].id = HTTP_FIELD_UPGRADE;
	/* Connection does not name it. */
	assert_int_equal(router_find(fixture->router, &asked.request, &asked.match),
			 ROUTER_NO_ROUTE);
	asked.head.has_upgrade = true;
	assert_int_equal(router_find(fixture->router, &asked.request, &asked.match), ROUTER_FOUND);
	assert_str(asked.match.route->name, "upgrade");
	asked.fields[0].name = STR("a");
	assert_int_equal(router_find(fixture->router, &asked.request, &asked.match), ROUTER_FOUND);
	assert_str(asked.match.route->name, "both");
	/* RFC 8441: an extended CONNECT says it elsewhere, and fields of HTTP/1 say nothing. */
	asked.head.protocol = STR("Chat");
	asked.fields[0].name = STR("b");
	assert_int_equal(router_find(fixture->router, &asked.request, &asked.match), ROUTER_FOUND);
	assert_str(asked.match.route->name, "other");
}

static void test_regexes_compete_by_conditions_and_order_whatever_their_beginning(void **state)
{
	static const struct wanted rows[] = {
		{"GET h /item/1", "first"},	{"GET h /item/1\na: 1", "with-field"},
		{"PUT h /item/1\na: 1", "put"}, {"GET h /item/x", "loose"},
		{"GET h /item/xy", "404"},	{"PUT h /item/x", "loose"},
		{"GET h /other", "404"},
	};
	struct fixture *fixture = *state;

	add(fixture, "first", "h", ROUTE_PATH_REGEX, "/i.*/[0-9]", 0);
	add(fixture, "loose", "h", ROUTE_PATH_REGEX, "/item/.", 0);
	add_condition(
		fixture,
		&add(fixture, "with-field", "h", ROUTE_PATH_REGEX, "(/item)/[0-9]+", 0)->headers,
		"a", "1");
	add(fixture, "put", "h", ROUTE_PATH_REGEX, "/ite[m]/[0-9]+", PUT);
	build(fixture);
	assert_int_equal(fixture->conflict_count, 0);
	check(fixture, rows, ARRAY_SIZE(rows));
}

static void test_a_method_nobody_takes_gives_the_methods_that_are_taken(void **state)
{
	struct fixture *fixture = *state;
	struct asked asked;

	add(fixture, "read", "", ROUTE_PATH_PREFIX, "/a", GET);
	add(fixture, "write", "", ROUTE_PATH_EXACT, "/a/b", POST);
	add(fixture, "elsewhere", "", ROUTE_PATH_EXACT, "/a/c", PUT);
	build(fixture);
	assert_int_equal(ask(fixture, &asked, "DELETE", "h", "/a/b", ""), ROUTER_NO_METHOD);
	assert_int_equal(asked.match.allow, GET | POST);
	assert_string_equal(find(fixture, "GET", "h", "/z", ""), "404");
}

static void test_methods_of_routes_whose_conditions_fail_are_not_allowed(void **state)
{
	struct fixture *fixture = *state;
	struct asked asked;

	add(fixture, "read", "", ROUTE_PATH_PREFIX, "/a", GET);
	add_condition(fixture, &add(fixture, "write", "", ROUTE_PATH_PREFIX, "/a", POST)->headers,
		      "a", "1");
	add_condition(fixture, &add(fixture, "other", "", ROUTE_PATH_PREFIX, "/b", PUT)->query, "a",
		      "1");
	add(fixture, "regex", "", ROUTE_PATH_REGEX, "/[ac]", PUT);
	build(fixture);
	assert_int_equal(ask(fixture, &asked, "DELETE", "h", "/a", ""), ROUTER_NO_METHOD);
	assert_int_equal(asked.match.allow, GET | PUT);
	assert_int_equal(ask(fixture, &asked, "DELETE", "h", "/a", "a: 1"), ROUTER_NO_METHOD);
	assert_int_equal(asked.match.allow, GET | POST | PUT);
	assert_int_equal(ask(fixture, &asked, "DELETE", "h", "/b", ""), ROUTER_NO_ROUTE);
}

static void test_methods_without_a_name_of_ours_match_by_their_text(void **state)
{
	struct fixture *fixture = *state;
	struct route *route = add(fixture, "purge", "", ROUTE_PATH_PREFIX, "/", 0);

	route->other_methods = arena_new(&fixture->arena, struct str);
	route->other_methods[0] = STR("PURGE");
	route->other_method_count = 1;
	build(fixture);
	assert_string_equal(find(fixture, "PURGE", "", "/", ""), "purge");
	assert_string_equal(find(fixture, "purge", "", "/", ""), "405");
	assert_string_equal(find(fixture, "GET", "", "/", ""), "405");
}

static void test_two_routes_for_the_same_thing_are_reported(void **state)
{
	struct fixture *fixture = *state;
	static const struct {
		enum route_path_kind kind;
		const char *first, *second;
	} rows[] = {
		{ROUTE_PATH_PREFIX, "/x", "/x/"},
		{ROUTE_PATH_EXACT, "/x", "/x"},
		{ROUTE_PATH_TEMPLATE, "/x/{a}/{b*}", "/x/{c}/{d*}"},
		{ROUTE_PATH_REGEX, "/x.*", "/x.*"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct route *first, *second;

		first = add(fixture, "first", "a.org,b.org,c.org", rows[i].kind, rows[i].first,
			    GET);
		second = add(fixture, "second", "c.org,b.org", rows[i].kind, rows[i].second, GET);
		for (unsigned int j = 0; j < 2; j++) { /* in any order */
			add_condition(fixture, &first->headers, j ? "a" : "b", "1");
			add_condition(fixture, &second->headers, j ? "b" : "a", "1");
		}
	}
	build(fixture);
	assert_int_equal(fixture->conflict_count, ARRAY_SIZE(rows)); /* once a route */
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		assert_ptr_equal(fixture->conflicts[i].earlier, &fixture->routes[2 * i]);
		assert_ptr_equal(fixture->conflicts[i].later, &fixture->routes[2 * i + 1]);
	}
}

static void test_conflicts_beyond_the_room_are_left_out(void **state)
{
	struct fixture *fixture = *state;

	for (unsigned int i = 0; i < CONFLICTS_MAX + 5; i++)
		add(fixture, "same", "", ROUTE_PATH_PREFIX, "/", 0);
	build(fixture);
	assert_int_equal(fixture->conflict_count, CONFLICTS_MAX);
	assert_ptr_equal(fixture->conflicts[CONFLICTS_MAX - 1].earlier, &fixture->routes[0]);
	fixture->router = router_build(&fixture->arena, fixture->order, fixture->count, NULL, 0,
				       &fixture->conflict_count);
	assert_non_null(fixture->router);
	assert_int_equal(fixture->conflict_count, 0);
}

static void test_the_same_path_with_other_methods_kind_or_conditions_is_no_conflict(void **state)
{
	struct fixture *fixture = *state;

	add(fixture, "get", "a.org", ROUTE_PATH_PREFIX, "/x", GET);
	add(fixture, "post", "a.org", ROUTE_PATH_PREFIX, "/x", POST);
	add(fixture, "all", "a.org", ROUTE_PATH_PREFIX, "/x", 0);
	add(fixture, "exact", "a.org", ROUTE_PATH_EXACT, "/x", GET);
	add(fixture, "regex", "a.org", ROUTE_PATH_REGEX, "/x", GET);
	add(fixture, "regex2", "a.org", ROUTE_PATH_REGEX, "/[x]", GET);
	add(fixture, "template", "a.org", ROUTE_PATH_TEMPLATE, "/x/{a}", 0);
	add(fixture, "template2", "a.org", ROUTE_PATH_TEMPLATE, "/x/{a*}", 0);
	add(fixture, "template3", "a.org", ROUTE_PATH_TEMPLATE, "/y/{a}", 0);
	add(fixture, "twice", "d.org,d.org", ROUTE_PATH_PREFIX, "/x", GET);
	add_condition(fixture,
		      &add(fixture, "field", "a.org", ROUTE_PATH_PREFIX, "/x", GET)->headers, "a",
		      "1");
	add_condition(fixture,
		      &add(fixture, "field2", "a.org", ROUTE_PATH_PREFIX, "/x", GET)->headers, "a",
		      "2");
	add_condition(fixture, &add(fixture, "query", "a.org", ROUTE_PATH_PREFIX, "/x", GET)->query,
		      "a", "1");
	build(fixture);
	assert_int_equal(fixture->conflict_count, 0);
}

static void test_parameters_of_a_template_are_views_of_the_path(void **state)
{
	struct fixture *fixture = *state;
	struct asked asked;

	add(fixture, "page", "", ROUTE_PATH_TEMPLATE, "/pages/{id}/x/{rest*}", 0);
	add(fixture, "plain", "", ROUTE_PATH_PREFIX, "/", 0);
	build(fixture);
	assert_int_equal(ask(fixture, &asked, "GET", "h", "/pages/a%20b/x/c//d?e=f", ""),
			 ROUTER_FOUND);
	assert_str(asked.match.route->name, "page");
	assert_int_equal(asked.match.param_count, 2);
	assert_str(asked.match.params[0].name, "id");
	assert_str(asked.match.params[0].value, "a%20b");
	assert_ptr_equal(asked.match.params[0].value.ptr, asked.request.path.ptr + 7);
	assert_str(asked.match.params[1].name, "rest");
	assert_str(asked.match.params[1].value, "c//d");
	assert_int_equal(ask(fixture, &asked, "GET", "h", "/pages/a/y", ""), ROUTER_FOUND);
	assert_int_equal(asked.match.param_count, 0);
}

/* ---- against the reference ---- */

static unsigned int pick(unsigned int count)
{
	return (unsigned int)rand() % count;
}

static const char *const some_hosts[] = {"",	"a.t",	 "b.t",	    "x.b.t",
					 "*.t", "*.b.t", "a.t,*.t", "c,a.t,*.t"};
static const char *const some_segments[] = {"a", "b", "ab", "", "a.b"};
static const char *const some_patterns[] = {
	"/a/.*",    "/[ab]/b", "/a|/b", "(/a)+", "/a(/b)?/.*", ".*",	"/ab?/.*",
	"/a/b|/.*", "/a\\.b",  "/.*/a", "/a+",	 "/(?i)A/.*",  "/a/?b",
};

static void random_path(char *text, size_t room, bool template)
{
	unsigned int count = 1 + pick(3);
	size_t len = 0;

	text[0] = '\0';
	for (unsigned int i = 0; i < count; i++) {
		const char *literal = some_segments[pick(ARRAY_SIZE(some_segments))];

		if (template && (i == count - 1 || pick(2)))
			len += (size_t)snprintf(text + len, room - len, "/{p%u%s}", i,
						i == count - 1 && pick(3) == 0 ? "*" : "");
		else
			len += (size_t)snprintf(text + len, room - len, "/%s", literal);
	}
}

static void add_random(struct fixture *fixture)
{
	enum route_path_kind kind = (enum route_path_kind)pick(4);
	const char *host = some_hosts[pick(ARRAY_SIZE(some_hosts))];
	struct route *route;
	char path[64];

	random_path(path, sizeof(path), kind == ROUTE_PATH_TEMPLATE);
	if (kind == ROUTE_PATH_REGEX)
		(void)snprintf(path, sizeof(path), "%s",
			       some_patterns[pick(ARRAY_SIZE(some_patterns))]);
	route = add(fixture, "r", host, kind, path, pick(3) ? 0 : 1u << (1 + pick(3)));
	for (unsigned int i = pick(5); i > 2; i--)
		add_condition(fixture, &route->headers, i == 3 ? "a" : "b", pick(2) ? "1" : "2");
	for (unsigned int i = pick(5); i > 2; i--)
		add_condition(fixture, &route->query, i == 3 ? "q" : "r", pick(2) ? "1" : "2");
}

static void check_against_reference(struct fixture *fixture, struct asked *asked,
				    enum router_result found)
{
	const struct route *expected;
	uint32_t allow;

	assert_int_equal(
		reference_find(fixture->order, fixture->count, &asked->request, &expected, &allow),
		found);
	if (found == ROUTER_NO_METHOD)
		assert_int_equal(asked->match.allow, allow);
	if (asked->match.route != expected)
		fail_msg("%.*s%.*s: route %u (%s) instead of %u (%s)", STR_FMT(asked->request.host),
			 STR_FMT(asked->request.path), asked->match.route->order,
			 asked->match.route->path.ptr, expected->order, expected->path.ptr);
	if (expected && expected->path_kind == ROUTE_PATH_TEMPLATE)
		assert_true(reference_params_fit(expected, asked->request.path, asked->match.params,
						 asked->match.param_count));
}

static void test_random_routes_are_found_as_by_looking_at_each(void **state)
{
	static const char *const hosts[] = {"", "a.t", "b.t", "x.b.t", "y.x.b.t", "t", "z", "z.t"};
	static const char *const methods[] = {"GET", "HEAD", "POST", "PURGE"};
	static const char *const queries[] = {"", "?q=1", "?q=2&r=1", "?r=2", "?q=1&r=1"};
	static const char *const fields[] = {"", "a: 1", "b: 2", "a: 1\nb: 1", "A: 2\nb: 2"};
	struct fixture *fixture = *state;

	srand(7);
	for (unsigned int round = 0; round < 300; round++) {
		fixture->count = 0;
		memset(fixture->routes, 0, sizeof(struct route) * 64);
		arena_reset(&fixture->arena);
		for (unsigned int i = 0; i < 1 + round % 60; i++)
			add_random(fixture);
		build(fixture);
		for (unsigned int i = 0; i < 100; i++) {
			struct asked asked;
			char target[96];
			enum router_result found;

			random_path(target, 64, false);
			(void)snprintf(target + strlen(target), 24, "%s",
				       queries[pick(ARRAY_SIZE(queries))]);
			found = ask(fixture, &asked, methods[pick(ARRAY_SIZE(methods))],
				    hosts[pick(ARRAY_SIZE(hosts))], target,
				    fields[pick(ARRAY_SIZE(fields))]);
			check_against_reference(fixture, &asked, found);
		}
	}
}

/* ---- many ---- */

static void many_text(char *text, size_t room, enum route_path_kind kind, unsigned int i)
{
	switch (kind) {
	case ROUTE_PATH_EXACT:
	case ROUTE_PATH_PREFIX:
		(void)snprintf(text, room, "/s%u/t%u%s", i % 40, i, i % 5 ? "" : "/u");
		break;
	case ROUTE_PATH_TEMPLATE:
		(void)snprintf(text, room, "/s%u/t%u%s", i % 40, i,
			       i % 3 ? "/{a}/{b}" : "/{a}/x/{b*}");
		break;
	case ROUTE_PATH_REGEX:
		(void)snprintf(text, room, "/s%u/t%u/.*[0-9]", i % 40, i);
		break;
	}
}

static unsigned int most_steps(struct fixture *fixture, enum route_path_kind kind,
			       unsigned int count, const char *host)
{
	char text[64], name[16];
	unsigned int most = 0;

	fixture->count = 0;
	memset(fixture->routes, 0, sizeof(struct route) * count);
	arena_reset(&fixture->arena);
	for (unsigned int i = 0; i < count; i++) {
		many_text(text, sizeof(text), kind, i);
		(void)snprintf(name, sizeof(name), "r%u", i);
		add(fixture, name, host, kind, text, 0);
	}
	build(fixture);
	assert_int_equal(fixture->conflict_count, 0);
	for (unsigned int i = 0; i < count; i += 7) {
		static const char *const ends[] = {
			[ROUTE_PATH_EXACT] = "",
			[ROUTE_PATH_PREFIX] = "/v",
			[ROUTE_PATH_TEMPLATE] = "/1/x/y/z",
			[ROUTE_PATH_REGEX] = "/ab7",
		};
		struct asked asked;

		(void)snprintf(text, sizeof(text), "/s%u/t%u%s%s", i % 40, i,
			       kind == ROUTE_PATH_EXACT && i % 5 == 0 ? "/u" : "",
			       kind == ROUTE_PATH_TEMPLATE && i % 3 ? "/1/2" : ends[kind]);
		if (kind == ROUTE_PATH_PREFIX && i % 5 == 0)
			(void)snprintf(text, sizeof(text), "/s%u/t%u/u/v", i % 40, i);
		assert_int_equal(ask(fixture, &asked, "GET", "h.test", text, ""), ROUTER_FOUND);
		assert_int_equal(asked.match.route->order, i);
		most = MAX(most, asked.match.steps);
		assert_int_equal(ask(fixture, &asked, "GET", "h.test", "/none/of/them", ""),
				 ROUTER_NO_ROUTE);
		most = MAX(most, asked.match.steps);
	}
	return most;
}

static void test_lookup_cost_does_not_grow_with_the_number_of_routes(void **state)
{
	static const enum route_path_kind kinds[] = {ROUTE_PATH_EXACT, ROUTE_PATH_PREFIX,
						     ROUTE_PATH_TEMPLATE, ROUTE_PATH_REGEX};
	static const char *const hosts[] = {"h.test", "*.test", ""};
	struct fixture *fixture = *state;

	/*
	 * Probes in half-full tables and one per length or shape: a few dozen at most, and no more
	 * for ten thousand than for a hundred but for luck with the hash and longer numbers.
	 */
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		for (size_t j = 0; j < ARRAY_SIZE(hosts); j++) {
			unsigned int few = most_steps(fixture, kinds[i], 100, hosts[j]);
			unsigned int many = most_steps(fixture, kinds[i], 10000, hosts[j]);

			if (few > 64 || many > 64)
				fail_msg("kind %s, host '%s': %u steps with 100 routes, %u with "
					 "10,000",
					 route_path_kind_name(kinds[i]), hosts[j], few, many);
		}
}

static void test_ten_thousand_hosts_cost_no_more(void **state)
{
	struct fixture *fixture = *state;
	struct asked asked;
	char host[32];

	for (unsigned int i = 0; i < 10000; i++) {
		(void)snprintf(host, sizeof(host), "%sh%u.test", i % 3 ? "" : "*.", i);
		add(fixture, "r", host, ROUTE_PATH_PREFIX, "/", 0);
	}
	build(fixture);
	for (unsigned int i = 0; i < 10000; i++) {
		(void)snprintf(host, sizeof(host), "%sh%u.test", i % 3 ? "" : "x.", i);
		assert_int_equal(ask(fixture, &asked, "GET", host, "/a/b/c", ""), ROUTER_FOUND);
		assert_int_equal(asked.match.route->order, i);
		assert_true(asked.match.steps < 64);
	}
}

static int build_in_small_arena(void *arg)
{
	struct fixture *fixture = arg;
	struct arena arena;
	struct router *router;

	arena_init(&arena, 64, 1 << 20);
	router = router_build(&arena, fixture->order, fixture->count, fixture->conflicts,
			      CONFLICTS_MAX, &fixture->conflict_count);
	arena_done(&arena);
	return router ? 0 : -ENOMEM;
}

static void test_building_reports_each_failed_allocation(void **state)
{
	struct fixture *fixture = *state;

	add(fixture, "a", "a.t,*.t", ROUTE_PATH_PREFIX, "/a", 0);
	add(fixture, "b", "a.t", ROUTE_PATH_TEMPLATE, "/a/{x}", 0);
	add(fixture, "c", "", ROUTE_PATH_REGEX, "/c.*", 0);
	assert_true(test_failing_each_allocation(build_in_small_arena, fixture) > 4);
}

int main(void)
{
#define EACH(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		EACH(test_the_more_specific_route_wins_whatever_its_place),
		EACH(test_path_kinds_rank_exact_template_prefix_regex),
		EACH(test_an_upgrade_ranks_as_a_condition_on_fields),
		EACH(test_conditions_rank_behind_the_path_and_the_method),
		EACH(test_regexes_compete_by_conditions_and_order_whatever_their_beginning),
		EACH(test_a_method_nobody_takes_gives_the_methods_that_are_taken),
		EACH(test_methods_of_routes_whose_conditions_fail_are_not_allowed),
		EACH(test_methods_without_a_name_of_ours_match_by_their_text),
		EACH(test_two_routes_for_the_same_thing_are_reported),
		EACH(test_conflicts_beyond_the_room_are_left_out),
		EACH(test_the_same_path_with_other_methods_kind_or_conditions_is_no_conflict),
		EACH(test_parameters_of_a_template_are_views_of_the_path),
		EACH(test_random_routes_are_found_as_by_looking_at_each),
		EACH(test_lookup_cost_does_not_grow_with_the_number_of_routes),
		EACH(test_ten_thousand_hosts_cost_no_more),
		EACH(test_building_reports_each_failed_allocation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * fuzz_router: any request to a fixed set of routes of every kind. The index must find what looking
 * at each route finds (router_reference.h), the methods of a 405 included, and parameters of a
 * template must be the pieces of the path.
 *
 * Input: "METHOD HOST TARGET", then lines "NAME: VALUE". The path is made canonical as in the
 * proxy; one that is refused there ends the run.
 */
#include <stdio.h>
#include <stdlib.h>

#include "config/config.h"
#include "http/path.h"
#include "router_reference.h"

#define FIELDS_MAX 16

static const char *const hosts[] = {"", "a.t", "b.t", "x.b.t", "*.t", "*.b.t", "*.x.b.t"};

static const char *const paths[] = {
	"prefix: /",
	"prefix: /a",
	"prefix: /a/b",
	"prefix: /a/b/c/",
	"prefix: /ab",
	"exact: /a",
	"exact: /a/",
	"exact: /a/b",
	"exact: /%20",
	"template: '/{x}'",
	"template: '/{x}/'",
	"template: '/{x}/b'",
	"template: '/a/{x}'",
	"template: '/a/{x}/c'",
	"template: '/{x}/{y}/{z}'",
	"template: '/a/{all*}'",
	"template: '/{x}/b/{all*}'",
	"template: '/{all*}'",
	"regex: '/a/.*'",
	"regex: '/a/b+'",
	"regex: '/ab?/.*'",
	"regex: '/[ab]/.*|/c'",
	"regex: '(/a)+/b'",
	"regex: '.*\\.png'",
	"regex: '/a/b/(c|d)*'",
};

static const char *const conditions[] = {
	"",
	", methods: GET",
	", methods: [ GET, POST ]",
	", methods: PURGE",
	", headers: { a: '1' }",
	", headers: { a: '2' }",
	", headers: { a: '1', b: { present: on } }",
	", headers: { b: { regex: '^[0-9]+$' } }",
	", headers: { c: { present: off } }",
	", query: { q: '1' }",
	", query: { q: '1', r: { present: on } }",
	", query: { q: { regex: 'x' } }",
	", headers: { a: '1' }, query: { q: '1' }, methods: PUT",
};

static struct snapshot *snapshot;
static struct route **routes;

static void check(bool holds)
{
	if (!holds)
		abort();
}

static void add_routes(struct buf *text)
{
	unsigned int count = 0;

	for (size_t i = 0; i < ARRAY_SIZE(hosts); i++)
		for (size_t j = 0; j < ARRAY_SIZE(paths); j++)
			for (size_t k = 0; k < ARRAY_SIZE(conditions); k++) {
				/* Not all, so that what is missing differs from host to host. */
				if ((i * 31 + j * 17 + k * 7) % 5 > 1)
					continue;
				check(!buf_printf(text,
						  "  - { name: r%u, respond: {}, match: { %s%s%s "
						  "path: { %s }%s } }\n",
						  count++, hosts[i][0] ? "hosts: '" : "", hosts[i],
						  hosts[i][0] ? "'," : "", paths[j],
						  conditions[k]));
			}
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct conf_errors *errors = conf_errors_new("fuzz");
	struct buf text;

	buf_init(&text, 1 << 20);
	check(!buf_append(&text, STR("version: 1\nlisteners: [ { name: web, address: "
				     "\"127.0.0.1:80\", protocol: http } ]\nroutes:\n")));
	add_routes(&text);
	if (config_load_string(buf_str(&text), "fuzz", NULL, 1, errors, &snapshot)) {
		(void)fprintf(stderr, "%s\n", conf_errors_get(errors, 0));
		abort();
	}
	buf_done(&text);
	conf_errors_free(errors);
	routes = calloc(snapshot->route_count, sizeof(struct route *));
	check(routes != NULL);
	for (unsigned int i = 0; i < snapshot->route_count; i++)
		routes[i] = &snapshot->routes[i];
	return 0;
}

static struct str take_until(struct str *rest, char end)
{
	ptrdiff_t at = str_find_byte(*rest, end);
	struct str taken = *rest;

	if (at < 0) {
		*rest = STR("");
		return taken;
	}
	taken.len = (size_t)at;
	*rest = str_make(rest->ptr + at + 1, rest->len - (size_t)at - 1);
	return taken;
}

static void read_fields(struct str text, struct http_head *head)
{
	while (text.len && head->field_count < FIELDS_MAX) {
		struct str value = take_until(&text, '\n'), name = take_until(&value, ':');

		head->fields[head->field_count++] =
			(struct http_field){name, str_trim(value), http_field_lookup(name)};
	}
}

static void check_request(const struct router_request *request)
{
	enum router_result found, expected;
	const struct route *route;
	struct router_match match;
	uint32_t allow;

	found = router_find(snapshot->listeners[0].router, request, &match);
	expected = reference_find(routes, snapshot->route_count, request, &route, &allow);
	check(found == expected);
	check(match.route == route);
	check(found != ROUTER_NO_METHOD || match.allow == allow);
	check(match.param_count <= ROUTE_PARAMS_MAX);
	check(match.param_count == 0 || route->path_kind == ROUTE_PATH_TEMPLATE);
	if (route && route->path_kind == ROUTE_PATH_TEMPLATE)
		check(reference_params_fit(route, request->path, match.params, match.param_count));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct str rest = str_make((const char *)data, len), line, target;
	struct http_field fields[FIELDS_MAX];
	struct http_head head = {.fields = fields};
	struct router_request request = {.head = &head};
	struct arena arena;
	ptrdiff_t at;

	if (len > 8192)
		return 0;
	line = take_until(&rest, '\n');
	read_fields(rest, &head);
	request.method = take_until(&line, ' ');
	request.method_id = http_method_lookup(request.method);
	request.host = take_until(&line, ' ');
	at = str_find_byte(line, '?');
	target = at < 0 ? line : str_sub(line, 0, (size_t)at);
	request.query = at < 0 ? STR("") : str_sub(line, (size_t)at, line.len);
	arena_init(&arena, 4096, 1 << 20);
	if (!path_canonicalise(target, &arena, &request.path))
		check_request(&request);
	arena_done(&arena);
	return 0;
}

/* What a rewrite makes of a path, from the configuration on; and what it tells the answer's side.
 */
#include "config/config_fixture.h"

#include <errno.h>

#include "filter/rewrite.h"
#include "http/exchange_fixture.h"

/* Loads one policy; its text is the inside of rewrite's braces. */
static const struct rewrite *load(struct loaded *loaded, const char *inside)
{
	char text[512];

	(void)snprintf(text, sizeof(text),
		       CONFIG_HEAD "policies: [ { name: p, rewrite: { %s } } ]\n", inside);
	config_load_text(loaded, text, NULL);
	assert_string_equal(loaded->printed.data, "");
	assert_int_equal(loaded->snapshot->policy_count, 1);
	assert_ptr_equal(loaded->snapshot->policies[0].type, &rewrite_policy);
	return loaded->snapshot->policies[0].conf;
}

static const struct {
	const char *rewrite;
	const char *path, *query;
	const char *expected; /* path and query; NULL: refused */
} rows[] = {
	/* prefixes are whole segments, as in routes */
	{"path: { prefix: /api, to: / }", "/api/x", "?q=1", "/x?q=1"},
	{"path: { prefix: /api, to: / }", "/api", "", "/"},
	{"path: { prefix: /api, to: / }", "/api/", "", "/"},
	{"path: { prefix: /api, to: / }", "/apis/x", "", "/apis/x"},
	{"path: { prefix: /api, to: / }", "/x/api", "", "/x/api"},
	{"path: { prefix: /api/, to: / }", "/api/x/", "", "/x/"},
	{"path: { prefix: /api, to: /v2 }", "/api/x", "", "/v2/x"},
	{"path: { prefix: /api, to: /v2 }", "/api", "", "/v2"},
	{"path: { prefix: /api, to: /v2/ }", "/api/x", "", "/v2/x"},
	{"path: { prefix: /api, to: /v2/ }", "/api/", "", "/v2/"},
	{"path: { prefix: /, to: /v2 }", "/x", "?", "/v2/x?"},
	{"path: { prefix: /, to: /v2 }", "/", "", "/v2/"},
	{"path: { prefix: /a%20b, to: /c }", "/a%20b/%C3%A4", "", "/c/%C3%A4"},

	/* a regex replaces the whole path and keeps the query */
	{"path: { regex: \"^/v1/(.*)$\", to: \"/$1\" }", "/v1/a/b", "?q=1", "/a/b?q=1"},
	{"path: { regex: \"^/v1/(.*)$\", to: \"/$1\" }", "/v2/a", "?q=1", "/v2/a?q=1"},
	{"path: { regex: \"^/v1/(.*)$\", to: \"/$1\" }", "/v1/", "", "/"},
	{"path: { regex: \"/([0-9]+)\", to: \"/item/$1\" }", "/shop/17/x", "", "/item/17"},
	{"path: { regex: \"^/(a)?(b)?$\", to: \"/x$1-$2\" }", "/b", "", "/x-b"},
	{"path: { regex: \"^/(.)(.)$\", to: \"/${2}0$0$$\" }", "/ab", "", "/b0/ab$"},
	{"path: { regex: \"^/a$\", to: /b }", "/a", "?q", "/b?q"},

	/* a query in `to` takes the place of the request's, and what it takes over is text there */
	{"path: { regex: \"^/find/(.*)$\", to: \"/find?q=$1\" }", "/find/shoe", "?x=1",
	 "/find?q=shoe"},
	{"path: { regex: \"^/find/(.*)$\", to: \"/find?q=$1&v=2\" }", "/find/a&admin=1", "",
	 "/find?q=a%26admin%3D1&v=2"},
	{"path: { regex: \"^/find/(.*)$\", to: \"/find?q=$1\" }", "/find/a+b;c%20d/e", "",
	 "/find?q=a%2Bb%3Bc%20d/e"},
	{"path: { regex: \"^/(.*)$\", to: \"/?\" }", "/x", "?q", "/?"},
	{"path: { regex: \"^/(.*)$\", to: \"/a?b?$1\" }", "/x", "", "/a?b?x"},

	/* what would not be canonical is refused */
	{"path: { regex: \"^/(.*)-(.*)$\", to: \"/$1.$2\" }", "/a/-./b", "", NULL},
	{"path: { regex: \"^/(.*)-(.*)$\", to: \"/$1/.$2\" }", "/a-/b", "", NULL},
	{"path: { regex: \"^/(.*)-(.*)$\", to: \"/$1$2\" }", "/a/-/b", "", NULL},
};

static void test_paths_come_out_as_written_or_are_refused(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct str path = str_from_cstr(rows[i].path);
		struct str query = str_from_cstr(rows[i].query);
		const struct rewrite *rewrite;
		struct loaded loaded;
		struct arena arena;
		char name[256], result[256];
		int r;

		(void)snprintf(name, sizeof(name), "%s: %s%s", rows[i].rewrite, rows[i].path,
			       rows[i].query);
		rewrite = load(&loaded, rows[i].rewrite);
		arena_init(&arena, 0, 65536);
		r = rewrite_path(rewrite, false, &arena, &path, &query);
		(void)snprintf(result, sizeof(result), "%.*s%.*s", STR_FMT(path), STR_FMT(query));
		if (rows[i].expected && (r < 0 || strcmp(result, rows[i].expected)))
			print_error("%s gave %d %s\n", name, r, result);
		assert_row(name, rows[i].expected ? r >= 0 && !strcmp(result, rows[i].expected)
						  : r == -EINVAL);
		arena_done(&arena);
		loaded_done(&loaded);
	}
}

static void test_route_that_takes_ambiguous_paths_may_ask_for_one(void **state)
{
	struct str path = STR("/api//x%2Fy"), query = STR("");
	struct loaded loaded;
	struct arena arena;

	arena_init(&arena, 0, 65536);
	assert_int_equal(rewrite_path(load(&loaded, "path: { prefix: /api, to: /v2 }"), true,
				      &arena, &path, &query),
			 1);
	assert_str(path, "/v2//x%2Fy");
	path = STR("/api//x");
	assert_int_equal(
		rewrite_path(loaded.snapshot->policies[0].conf, false, &arena, &path, &query),
		-EINVAL);
	loaded_done(&loaded);
	arena_done(&arena);
}

static void test_full_arena_is_reported(void **state)
{
	struct str path = STR("/api/x"), query = STR("");
	struct loaded loaded;
	struct arena arena;

	arena_init(&arena, 0, 4);
	assert_int_equal(rewrite_path(load(&loaded, "path: { prefix: /api, to: /v2 }"), false,
				      &arena, &path, &query),
			 -ENOMEM);
	loaded_done(&loaded);
	arena_done(&arena);
	path = STR("/v1/x");
	arena_init(&arena, 0, 1);
	assert_int_equal(rewrite_path(load(&loaded, "path: { regex: \"^/v1(.*)\", to: \"/$1\" }"),
				      false, &arena, &path, &query),
			 -ENOMEM);
	loaded_done(&loaded);
	arena_done(&arena);
}

/* ---- in an exchange ---- */

struct stage {
	struct exchange_fixture *fixture;
	struct loaded loaded[3];
	const struct policy *list[3];
	unsigned int count;
};

static void stage_add(struct stage *stage, const char *inside)
{
	(void)load(&stage->loaded[stage->count], inside);
	stage->list[stage->count] = &stage->loaded[stage->count].snapshot->policies[0];
	stage->count++;
}

static struct exchange *stage_begin(struct stage *stage, const char *target)
{
	stage->fixture->route->policies = stage->list;
	stage->fixture->route->policy_count = stage->count;
	return exchange_fixture_begin(stage->fixture, target, NULL, 0);
}

static void stage_done(struct stage *stage)
{
	exchange_fixture_end(stage->fixture);
	for (unsigned int i = 0; i < stage->count; i++)
		loaded_done(&stage->loaded[i]);
}

static int setup(void **state)
{
	return config_enter_dir(state) ? -1 : exchange_fixture_setup(state);
}

static int teardown(void **state)
{
	int r = exchange_fixture_teardown(state);

	return config_leave_dir(state) ? -1 : r;
}

static void test_upstream_is_asked_for_the_new_path_and_host(void **state)
{
	struct stage stage = {.fixture = *state};
	struct exchange *exchange;

	stage_add(&stage, "path: { prefix: /api, to: / }, host: \"inner.test:8080\"");
	exchange = stage_begin(&stage, "/api/a%62?x=/api");
	assert_str(exchange->path, "/api/ab"); /* the client's own stays what was matched */
	assert_str(exchange->upstream_path, "/ab");
	assert_str(exchange->upstream_query, "?x=/api");
	assert_str(exchange->upstream_host, "inner.test:8080");
	assert_str(exchange->request.host, "shop.example.com");
	assert_str(exchange->rewritten.public_prefix, "/api");
	assert_str(exchange->rewritten.upstream_prefix, "");
	assert_false(exchange->rewritten.opaque);
	stage_done(&stage);
}

static void test_request_that_does_not_match_is_not_noted_as_rewritten(void **state)
{
	struct stage stage = {.fixture = *state};
	struct exchange *exchange;

	stage_add(&stage, "path: { prefix: /api, to: / }");
	exchange = stage_begin(&stage, "/other");
	assert_str(exchange->upstream_path, "/other");
	assert_str(exchange->upstream_host, "shop.example.com");
	assert_null(exchange->rewritten.public_prefix.ptr);
	assert_false(exchange->rewritten.opaque);
	stage_done(&stage);
}

static void test_prefixes_that_follow_each_other_are_one_for_the_answer(void **state)
{
	struct stage stage = {.fixture = *state};
	struct exchange *exchange;

	stage_add(&stage, "path: { prefix: /shop/api, to: /api }");
	stage_add(&stage, "path: { prefix: /api, to: /internal/v2 }");
	exchange = stage_begin(&stage, "/shop/api/x");
	assert_str(exchange->upstream_path, "/internal/v2/x");
	assert_str(exchange->rewritten.public_prefix, "/shop/api");
	assert_str(exchange->rewritten.upstream_prefix, "/internal/v2");
	assert_false(exchange->rewritten.opaque);
	stage_done(&stage);
}

static void test_regex_and_prefixes_apart_say_nothing_about_the_answer(void **state)
{
	struct stage stage = {.fixture = *state};
	struct exchange *exchange;

	stage_add(&stage, "path: { prefix: /a, to: /b/c }");
	stage_add(&stage, "path: { prefix: /b, to: /d }");
	exchange = stage_begin(&stage, "/a/x");
	assert_str(exchange->upstream_path, "/d/c/x");
	assert_true(exchange->rewritten.opaque);
	stage_done(&stage);

	stage = (struct stage){.fixture = *state};
	stage_add(&stage, "path: { regex: \"^/a/(.*)\", to: \"/$1\" }");
	exchange = stage_begin(&stage, "/a/x");
	assert_str(exchange->upstream_path, "/x");
	assert_true(exchange->rewritten.opaque);
	stage_done(&stage);
}

static void test_path_that_would_not_be_canonical_gets_400_and_no_action(void **state)
{
	struct stage stage = {.fixture = *state};

	stage_add(&stage, "path: { regex: \"^/(.*)-(.*)$\", to: \"/$1/.$2\" }");
	(void)stage_begin(&stage, "/a-/b");
	assert_int_equal(stage.fixture->status, 400);
	assert_int_equal(stage.fixture->heads, 1);
	assert_string_equal(stage.fixture->exchange->failure,
			    "the rewritten path is not canonical");
	stage_done(&stage);
}

#define in_dir(test)	  cmocka_unit_test_setup_teardown(test, config_enter_dir, config_leave_dir)
#define in_exchange(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		in_dir(test_paths_come_out_as_written_or_are_refused),
		in_dir(test_route_that_takes_ambiguous_paths_may_ask_for_one),
		in_dir(test_full_arena_is_reported),
		in_exchange(test_upstream_is_asked_for_the_new_path_and_host),
		in_exchange(test_request_that_does_not_match_is_not_noted_as_rewritten),
		in_exchange(test_prefixes_that_follow_each_other_are_one_for_the_answer),
		in_exchange(test_regex_and_prefixes_apart_say_nothing_about_the_answer),
		in_exchange(test_path_that_would_not_be_canonical_gets_400_and_no_action),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

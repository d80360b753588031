#include "test_support.h"

#include <errno.h>

#include "http/route_template.h"

static struct arena arena;

static int setup(void **state)
{
	arena_init(&arena, 4096, 1 << 20);
	return 0;
}

static int teardown(void **state)
{
	arena_done(&arena);
	return 0;
}

static struct route_template *parse(const char *text)
{
	struct route_template *template = NULL;
	struct error err = {0};

	if (route_template_parse(str_from_cstr(text), &arena, &template, &err))
		fail_msg("%s: %s", text, err.text);
	return template;
}

static void test_segments_match_whole_and_parameters_are_not_empty(void **state)
{
	static const struct {
		const char *template, *path;
		bool matches;
	} rows[] = {
		{"/pages/{id}", "/pages/7", true},
		{"/pages/{id}", "/pages/", false},
		{"/pages/{id}", "/pages", false},
		{"/pages/{id}", "/pages/7/", false},
		{"/pages/{id}", "/pages/7/x", false},
		{"/pages/{id}", "/Pages/7", false},
		{"/pages/{id}", "/pagesx/7", false},
		{"/pages/{id}", "/pages//", false},
		{"/pages/{id}/", "/pages/7/", true},
		{"/pages/{id}/", "/pages/7", false},
		{"/pages/{id}/", "/pages//", false},
		{"/pages/{id}", "/pages/a%2Fb", true}, /* an encoded slash cuts nothing */
		{"/a%20b/{id}", "/a%20b/x", true},
		{"/a%20b/{id}", "/a b/x", false},
		{"/{id}", "/x", true},
		{"/{id}", "/", false},
		{"/{a}/{b}", "/x/y", true},
		{"/{a}/{b}", "/x/", false},
		{"/{a}/{b}", "//y", false},
		{"/{a}//{b}", "/x//y", true},
		{"/{a}//{b}", "/x/z/y", false},
		{"/{all*}", "/", true},
		{"/{all*}", "/x//y/", true},
		{"/f/{all*}", "/f/", true},
		{"/f/{all*}", "/f", false},
		{"/f/{all*}", "/f/a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q/r/s/t/u/v/w/x/y/z/1/2/3/4/5/6",
		 true},
		{"/{a}/x/{all*}", "/f/x/y", true},
		{"/{a}/x/{all*}", "//x/y", false},
		{"/{a}/x/{all*}", "/f/y/y", false},
		{"/{a}", "/a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q/r/s/t/u/v/w/x/y/z/1/2/3/4/5/6", false},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (route_template_matches(parse(rows[i].template), str_from_cstr(rows[i].path)) !=
		    rows[i].matches)
			fail_msg("%s with %s", rows[i].template, rows[i].path);
}

static void test_the_deepest_template_there_may_be_matches(void **state)
{
	static const char text[] = "/a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q/r/s/t/u/v/w/x/y/z/1/2/3/4/5/"
				   "{x}";
	struct route_template *template = parse(text);

	assert_int_equal(template->shape.count, ROUTE_TEMPLATE_SEGMENTS_MAX);
	assert_true(route_template_matches(
		template, STR("/a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q/r/s/t/u/v/w/x/y/z/1/2/3/4/5/6")));
	assert_false(route_template_matches(
		template,
		STR("/a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q/r/s/t/u/v/w/x/y/z/1/2/3/4/5/6/7")));
	assert_false(route_template_matches(
		template, STR("/a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q/r/s/t/u/v/w/x/y/z/1/2/3/4/5/")));
}

static void test_values_are_what_stands_in_the_path(void **state)
{
	struct route_param params[ROUTE_PARAMS_MAX];
	struct route_template *template = parse("/{a}/x/{b_2}/{rest*}");
	struct str path = STR("/1/x/%20//y/");

	assert_true(route_template_matches(template, path));
	assert_int_equal(route_template_params(template, path, params), 3);
	assert_str(params[0].name, "a");
	assert_str(params[0].value, "1");
	assert_str(params[1].name, "b_2");
	assert_str(params[1].value, "%20");
	assert_str(params[2].name, "rest");
	assert_str(params[2].value, "/y/");
	path = STR("/1/x/2/");
	assert_int_equal(route_template_params(template, path, params), 3);
	assert_str(params[2].value, "");
}

static void test_shapes_are_ordered_by_what_they_leave_open(void **state)
{
	/* Each before all that follow. */
	static const char *const order[] = {
		"/a/b/{x}/d",	"/a/{x}/c/d", "/a/b/c/{x*}", "/a/{x}/c/{y}", "/a/{y}/{x}/d",
		"/{x}/{y}/c/d", "/{x}/b/c",   "/a/b/{z*}",   "/a/{x}/{y}",   "/{x}/b/{z*}",
		"/{x}/{y}/{z}", "/{x}/{y}",   "/{x}",	     "/{x}/{y*}",    "/{x*}",
	};

	for (size_t i = 0; i < ARRAY_SIZE(order); i++)
		for (size_t j = 0; j < ARRAY_SIZE(order); j++) {
			int r = route_shape_compare(parse(order[i])->shape, parse(order[j])->shape);

			if (i == j ? r != 0 : (r < 0) != (i < j))
				fail_msg("%s and %s: %d", order[i], order[j], r);
		}
}

static void test_templates_are_the_same_whatever_their_names(void **state)
{
	assert_true(route_template_same(parse("/a/{x}/{y*}"), parse("/a/{u}/{v*}")));
	assert_false(route_template_same(parse("/a/{x}"), parse("/b/{x}")));
	assert_false(route_template_same(parse("/a/{x}"), parse("/a/{x*}")));
	assert_false(route_template_same(parse("/a/{x}"), parse("/{x}/a")));
}

static void test_what_is_no_template_is_refused_with_the_reason(void **state)
{
	static const struct {
		const char *text, *error;
	} rows[] = {
		{"/", "has no {parameter}"},
		{"/a", "has no {parameter}"},
		{"/{}", "'' is not a parameter's name"},
		{"/{*}", "'' is not a parameter's name"},
		{"/{1a}", "'1a' is not a parameter's name"},
		{"/{a-b}", "'a-b' is not a parameter's name"},
		{"/{abcdefghijklmnopqrstuvwxyz1234567}", "is not a parameter's name"},
		{"/{a}b", "'{a}b': a parameter is a whole segment"},
		{"/x{a}", "'x{a}': a parameter is a whole segment"},
		{"/{a}{b}", "a parameter is a whole segment"},
		{"/{{a}}", "a parameter is a whole segment"},
		{"/{a", "a parameter is a whole segment"},
		{"/a}", "a parameter is a whole segment"},
		{"/{a*}/", "'{a*}' must be the last segment"},
		{"/{a**}", "'a*' is not a parameter's name"},
		{"/{a}/{b}/{a}", "parameter 'a' is there twice"},
		{"/{a}/{a*}", "parameter 'a' is there twice"},
		{"/{a}/{b}/{c}/{d}/{e}/{f}/{g}/{h}/{i}/{j}/{k}/{l}/{m}/{n}/{o}/{p}/{q}",
		 "at most 16 parameters"},
		{"/a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q/r/s/t/u/v/w/x/y/z/1/2/3/4/5/6/{x}",
		 "at most 32 segments"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct route_template *template = NULL;
		struct error err = {0};

		assert_row(rows[i].text, route_template_parse(str_from_cstr(rows[i].text), &arena,
							      &template, &err) == -EINVAL);
		if (template || !strstr(err.text, rows[i].error))
			fail_msg("%s: %s", rows[i].text, err.text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_segments_match_whole_and_parameters_are_not_empty),
		cmocka_unit_test(test_the_deepest_template_there_may_be_matches),
		cmocka_unit_test(test_values_are_what_stands_in_the_path),
		cmocka_unit_test(test_shapes_are_ordered_by_what_they_leave_open),
		cmocka_unit_test(test_templates_are_the_same_whatever_their_names),
		cmocka_unit_test(test_what_is_no_template_is_refused_with_the_reason),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}

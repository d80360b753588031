#include "test_support.h"

#include <errno.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "http/route_regex.h"

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

static struct route_regex *compile(const char *pattern, enum route_regex_span span)
{
	struct route_regex_error error = {0};
	struct route_regex *regex = NULL;
	int r = route_regex_compile(str_from_cstr(pattern), span, &arena, &regex, &error);

	if (r)
		fail_msg("'%s': %s at %zu", pattern, error.text, error.offset);
	return regex;
}

static void test_span_says_whether_the_whole_subject_must_match(void **state)
{
	static const struct {
		const char *pattern, *subject;
		bool whole, any;
	} rows[] = {
		{"/a", "/a", true, true},
		{"/a", "/ab", false, true},
		{"/a", "x/a", false, true},
		{"/a|/ab", "/ab", true, true}, /* the second alternative is tried for the end */
		{"^2\\.", "2.1", false, true},
		{"^2\\.", "12.1", false, false},
		{"/[0-9]+", "/17", true, true},
		{"/[0-9]+", "/17\n", false, true},
		{"^x$", "x\n", false, false}, /* $ is the end, not "before a last newline" */
		{"", "", true, true},
		{"", "a", false, true},
		{"(?i)/A", "/a", true, true},
		{"/\\xe4", "/\xe4", true, true}, /* bytes, whatever the charset */
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct str subject = str_from_cstr(rows[i].subject);

		assert_row(rows[i].pattern,
			   route_regex_matches(compile(rows[i].pattern, ROUTE_REGEX_WHOLE),
					       subject) == rows[i].whole);
		assert_row(rows[i].pattern,
			   route_regex_matches(compile(rows[i].pattern, ROUTE_REGEX_ANY),
					       subject) == rows[i].any);
	}
}

static void test_a_pattern_that_does_not_compile_is_refused_with_its_offset(void **state)
{
	static const struct {
		const char *pattern;
		size_t offset;
	} rows[] = {
		{"/a(b", 4},	       {"[a", 2}, {"*", 0},	{"a{2,1}", 5}, {"(*UTF)a", 6},
		{"(?<n>a)\\k<m>", 10}, {"\\", 1}, {"a\\Cb", 3},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct route_regex_error error = {0};
		struct route_regex *regex = NULL;

		assert_row(rows[i].pattern,
			   route_regex_compile(str_from_cstr(rows[i].pattern), ROUTE_REGEX_WHOLE,
					       &arena, &regex, &error) == -EINVAL);
		assert_row(rows[i].pattern, !regex && error.text[0]);
		if (error.offset != rows[i].offset)
			fail_msg("'%s': offset %zu instead of %zu: %s", rows[i].pattern,
				 error.offset, rows[i].offset, error.text);
	}
}

static void test_an_overlong_pattern_is_refused(void **state)
{
	char pattern[ROUTE_REGEX_BYTES_MAX + 1];
	struct route_regex_error error = {0};
	struct route_regex *regex = NULL;

	memset(pattern, 'a', sizeof(pattern));
	assert_int_equal(route_regex_compile(str_make(pattern, sizeof(pattern)), ROUTE_REGEX_ANY,
					     &arena, &regex, &error),
			 -EINVAL);
	assert_int_equal(route_regex_compile(str_make(pattern, sizeof(pattern) - 1),
					     ROUTE_REGEX_ANY, &arena, &regex, &error),
			 0);
}

static void test_groups_are_views_into_the_subject(void **state)
{
	struct route_regex *regex = compile("/v1/([^/]*)(/x)?(.*)", ROUTE_REGEX_WHOLE);
	struct str groups[ROUTE_REGEX_GROUPS_MAX];

	assert_int_equal(route_regex_group_count(regex), 3);
	assert_true(route_regex_find(regex, STR("/v1/ab/cd"), groups, ARRAY_SIZE(groups)));
	assert_str(groups[0], "/v1/ab/cd");
	assert_str(groups[1], "ab");
	assert_null(groups[2].ptr);
	assert_str(groups[3], "/cd");
	assert_null(groups[4].ptr);
	assert_false(route_regex_find(regex, STR("/v2/ab"), groups, ARRAY_SIZE(groups)));
}

static void test_more_groups_than_are_given_out_do_no_harm(void **state)
{
	struct str groups[ROUTE_REGEX_GROUPS_MAX];
	struct route_regex *regex =
		compile("(a)(b)(c)(d)(e)(f)(g)(h)(i)(j)(k)(l)(m)(n)(o)(p)(q)(r)", ROUTE_REGEX_ANY);

	assert_true(route_regex_find(regex, STR("abcdefghijklmnopqr"), groups, ARRAY_SIZE(groups)));
	assert_str(groups[15], "o");
}

/* HARDENING 34's sibling: exponential patterns end at a limit, as no match. */
static void check_hostile(const char *pattern, const char *end)
{
	struct route_regex *regex = compile(pattern, ROUTE_REGEX_WHOLE);
	uint64_t before = route_regex_limit_hits();
	char subject[4096];

	memset(subject, 'a', sizeof(subject));
	memcpy(subject + sizeof(subject) - 1, end, 1);
	assert_row(pattern, !route_regex_matches(regex, str_make(subject, sizeof(subject))));
	assert_row(pattern, route_regex_limit_hits() == before + 1);
}

static void test_a_hostile_input_ends_at_the_limit_as_no_match(void **state)
{
	check_hostile("(a+)+$", "!");
	check_hostile("(a|aa)+", "!");
	check_hostile("(a|a?)+", "!");
	check_hostile("(*NO_JIT)(a+)+$", "!"); /* the interpreter, too */
	check_hostile("(*NO_JIT)(a|aa)+", "!");
}

static void test_a_pattern_cannot_raise_the_limits(void **state)
{
	check_hostile("(*LIMIT_MATCH=4000000000)(a+)+$", "!");
	check_hostile("(*LIMIT_MATCH=4000000000)(*LIMIT_DEPTH=4000000000)(*NO_JIT)(a+)+$", "!");
}

static void test_a_long_subject_of_a_sound_pattern_is_within_the_limits(void **state)
{
	static const char *const patterns[] = {"(a|b)*",	  "(?:a|b)*",	"([a-z])*",
					       "(*NO_JIT)(a|b)*", "[a-z]*a{3}", ".*a.*a.*"};
	uint64_t before = route_regex_limit_hits();
	char subject[8192];

	memset(subject, 'a', sizeof(subject));
	for (size_t i = 0; i < ARRAY_SIZE(patterns); i++)
		assert_row(patterns[i], route_regex_matches(compile(patterns[i], ROUTE_REGEX_WHOLE),
							    str_make(subject, sizeof(subject))));
	assert_int_equal(route_regex_limit_hits(), before);
}

static void *match_in_thread(void *regex)
{
	for (int i = 0; i < 1000; i++)
		if (!route_regex_matches(regex, STR("/item/17")) ||
		    route_regex_matches(regex, STR("/item/x")))
			return NULL;
	return regex;
}

static void test_threads_match_one_pattern_side_by_side(void **state)
{
	struct route_regex *regex = compile("/item/(\\d+)", ROUTE_REGEX_WHOLE);
	pthread_t threads[4];
	void *result;

	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, match_in_thread, regex), 0);
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++) {
		assert_int_equal(pthread_join(threads[i], &result), 0);
		assert_ptr_equal(result, regex);
	}
}

#ifndef PR_SET_MDWE
#define PR_SET_MDWE		 65
#define PR_MDWE_REFUSE_EXEC_GAIN 1
#endif

/* 0: all is well; 1: no; 2: the kernel (before 6.3) cannot refuse executable memory. */
static int match_without_executable_memory(void)
{
	struct route_regex_error error;
	struct route_regex *regex = NULL;

	if (prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0))
		return 2;
	if (route_regex_compile(STR("/item/(\\d+)"), ROUTE_REGEX_WHOLE, &arena, &regex, &error) ||
	    route_regex_is_jit(regex))
		return 1;
	return route_regex_matches(regex, STR("/item/17")) &&
			       !route_regex_matches(regex, STR("/item/17x"))
		       ? 0
		       : 1;
}

static void test_where_executable_memory_is_refused_the_interpreter_matches(void **state)
{
	pid_t child;
	int status;

	(void)fflush(NULL);
	child = fork();
	assert_true(child >= 0);
	if (!child)
		_exit(match_without_executable_memory());
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 2) {
		print_message("skipped: no PR_SET_MDWE in this kernel\n");
		skip();
	}
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_literal_prefix_holds_nothing_that_a_match_may_lack(void **state)
{
	static const struct {
		const char *pattern, *prefix;
	} rows[] = {
		{"/a/b", "/a/b"},
		{"^/a/b$", "/a/b"},
		{"/a/b?", "/a/"},
		{"/a/b*", "/a/"},
		{"/a/b{2}", "/a/"},
		{"/a/b+", "/a/b"},
		{"/a/(b|c)/d", "/a/"},
		{"/a|/b", ""},
		{"(/a|/b)", ""},
		{"/a/[0-9]+/(x|y)", "/a/"},
		{"/a[(]x|/b", ""},
		{"/a[]|]b", "/a"},
		{"/a[^]|]b|/c", ""},
		{"/a[[:alpha:]]|/c", ""},
		{"/a\\(x|/b", ""},
		{"/a\\.json", "/a.json"},
		{"/a\\.?json", "/a"},
		{"/a\\d", "/a"},
		{"/a.b", "/a"},
		{"(?i)/a", ""},
		{"/a\\Q(\\E|/b", ""},
		{"/a(?x)# (\n|/b", ""},
		{"/a(?#()|/b", ""},
		{"(*ACCEPT)/a", ""},
		{"/a(*ACCEPT)b", ""},
		{"/a(?:b|c)", "/a"},
		{"/a)", "/a"},
		{"\\A/a", ""},
		{"", ""},
	};
	char buf[64];

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		size_t len = route_regex_literal_prefix(str_from_cstr(rows[i].pattern), buf,
							sizeof(buf));

		if (!str_eq_cstr(str_make(buf, len), rows[i].prefix))
			fail_msg("'%s': '%.*s' instead of '%s'", rows[i].pattern, (int)len, buf,
				 rows[i].prefix);
	}
	assert_int_equal(route_regex_literal_prefix(STR("/abcdef"), buf, 3), 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		/* First: later there is executable memory with room for more. */
		cmocka_unit_test(test_where_executable_memory_is_refused_the_interpreter_matches),
		cmocka_unit_test(test_span_says_whether_the_whole_subject_must_match),
		cmocka_unit_test(test_a_pattern_that_does_not_compile_is_refused_with_its_offset),
		cmocka_unit_test(test_an_overlong_pattern_is_refused),
		cmocka_unit_test(test_groups_are_views_into_the_subject),
		cmocka_unit_test(test_more_groups_than_are_given_out_do_no_harm),
		cmocka_unit_test(test_a_hostile_input_ends_at_the_limit_as_no_match),
		cmocka_unit_test(test_a_pattern_cannot_raise_the_limits),
		cmocka_unit_test(test_a_long_subject_of_a_sound_pattern_is_within_the_limits),
		cmocka_unit_test(test_threads_match_one_pattern_side_by_side),
		cmocka_unit_test(test_literal_prefix_holds_nothing_that_a_match_may_lack),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}

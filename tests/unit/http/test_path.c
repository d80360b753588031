#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>

#include "http/path.h"

struct row {
	const char *path;
	const char *canonical; /* NULL: refused */
	bool ambiguous;	       /* only for routes that allow it */
};

static const struct row rows[] = {
	{"/", "/", false},
	{"/cart/3", "/cart/3", false},
	{"/.well-known/x", "/.well-known/x", false},
	{"/a/./b", "/a/b", false},
	{"/a/.", "/a/", false},
	{"/.", "/", false},
	{"/a/../b", "/b", false},
	{"/a/b/..", "/a/", false},
	{"/a/..", "/", false},
	{"/a/../", "/", false},
	{"/a/...", "/a/...", false},
	{"/a/..b/c", "/a/..b/c", false},
	{"/a/%2e%2e/b", "/b", false},
	{"/a/%2E/b", "/a/b", false},
	{"/a/.%2e/b", "/b", false},
	{"/%61dmin", "/admin", false},
	{"/%7Euser/%2d", "/~user/-", false},
	{"/a%20b", "/a%20b", false},
	{"/caf%c3%a9", "/caf%C3%A9", false},
	{"/a%25b", "/a%25b", false},
	{"/a%252e%252e/b", "/a%252e%252e/b", false}, /* decoded once, not twice */
	{"/a;p=1/b", "/a;p=1/b", false},
	{"/a%3bp=1%40/b", "/a%3Bp=1%40/b", false}, /* reserved bytes keep their escape */
	{"/a\"<>^`{|}b", "/a%22%3C%3E%5E%60%7B%7C%7Db", false},
	{"/%22%7b", "/%22%7B", false},
	{"/a//b", "/a//b", true},
	{"//a", "//a", true},
	{"//", "//", true},
	{"/a//", "/a//", true},
	{"/a/.//b", "/a//b", true},
	{"/a/..//b", "//b", true},
	{"/a//b/../c", "/a//c", true},
	{"/a//../b", NULL, false}, /* where others merge "//", the ".." goes one level further up */
	{"/a%2Fb", "/a%2Fb", true},
	{"/a%2fb", "/a%2Fb", true},
	{"/%2f", "/%2F", true},
	{"/a%2F%2fb/c", "/a%2F%2Fb/c", true},
	{"/a%5Cb", "/a%5Cb", true},
	{"/a%5cb", "/a%5Cb", true},
	{"/a%2F.b", "/a%2F.b", true},
	{"/a%252Fb", "/a%252Fb", false}, /* decoded once it is an escape, not a slash */
	/* The number of segments stays, and yet who decodes first ends in /admin. */
	{"/public%2F..%2Fadmin", NULL, false},
	{"/public%2f%2e%2e%2fadmin", NULL, false},
	{"/a%5C..%5Cb", NULL, false},
	{"/a%2F.", NULL, false},
	{"/..%2Fa", NULL, false},
	{"/%2e%2e%5ca", NULL, false},
	{"/a%2Fb/..", NULL, false}, /* up from where? */
	{"/a%5Cb/../c", NULL, false},
	{"", NULL, false},
	{"a", NULL, false},
	{"*", NULL, false},
	{"/..", NULL, false},
	{"/../a", NULL, false},
	{"/a/../../b", NULL, false},
	{"/%2e%2e/a", NULL, false},
	{"/a\\b", NULL, false},
	{"/a b", NULL, false},
	{"/a?b", NULL, false},
	{"/a#b", NULL, false},
	{"/caf\xc3\xa9", NULL, false},
	{"/a%00b", NULL, false},
	{"/a%0d%0ab", NULL, false},
	{"/a%7fb", NULL, false},
	{"/a%", NULL, false},
	{"/a%2", NULL, false},
	{"/a%zz", NULL, false},
	{"/a%2/", NULL, false},
};

static void test_h22_paths_have_one_canonical_form_or_are_refused(void **state)
{
	struct arena arena;

	arena_init(&arena, 0, 65536);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct str path = str_from_cstr(rows[i].path), canonical = STR_NULL;
		bool ambiguous = false;
		int ret = path_canonicalise_flagged(path, &arena, &canonical, &ambiguous);

		if (rows[i].canonical ? ret != 0 || !str_eq_cstr(canonical, rows[i].canonical) ||
						ambiguous != rows[i].ambiguous
				      : ret != -EINVAL)
			fail_msg("'%s': got %d '%.*s' %d, expected '%s' %d", rows[i].path, ret,
				 STR_FMT(canonical), ambiguous,
				 rows[i].canonical ? rows[i].canonical : "-EINVAL",
				 rows[i].ambiguous);
		ret = path_canonicalise(path, &arena, &canonical);
		assert_int_equal(ret, rows[i].canonical && !ambiguous ? 0 : -EINVAL);
	}
	arena_done(&arena);
}

static void test_a_canonical_path_stays_itself(void **state)
{
	struct arena arena;

	arena_init(&arena, 0, 65536);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct str once = str_from_cstr(rows[i].path), twice;
		bool ambiguous;

		if (!rows[i].canonical)
			continue;
		assert_int_equal(path_canonicalise_flagged(once, &arena, &once, &ambiguous), 0);
		assert_int_equal(path_canonicalise_flagged(once, &arena, &twice, &ambiguous), 0);
		assert_true(str_eq(once, twice) && ambiguous == rows[i].ambiguous);
	}
	arena_done(&arena);
}

static void test_a_plain_path_is_not_copied(void **state)
{
	struct arena arena;
	struct str path = STR("/products/42/reviews"), canonical;

	arena_init(&arena, 0, 0);
	assert_int_equal(path_canonicalise(path, &arena, &canonical), 0);
	assert_ptr_equal(canonical.ptr, path.ptr);
	arena_done(&arena);
}

static void test_a_full_arena_is_reported(void **state)
{
	struct arena arena;
	struct str canonical;

	arena_init(&arena, 0, 4);
	assert_int_equal(path_canonicalise(STR("/a/./b/./c/./d"), &arena, &canonical), -ENOMEM);
	arena_done(&arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_h22_paths_have_one_canonical_form_or_are_refused),
		cmocka_unit_test(test_a_canonical_path_stays_itself),
		cmocka_unit_test(test_a_plain_path_is_not_copied),
		cmocka_unit_test(test_a_full_arena_is_reported),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

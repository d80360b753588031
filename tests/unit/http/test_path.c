#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>

#include "http/path.h"

struct row {
	const char *path;
	const char *canonical; /* NULL: refused */
};

static const struct row rows[] = {
	{"/", "/"},
	{"/cart/3", "/cart/3"},
	{"/.well-known/x", "/.well-known/x"},
	{"/a/./b", "/a/b"},
	{"/a/.", "/a/"},
	{"/.", "/"},
	{"/a/../b", "/b"},
	{"/a/b/..", "/a/"},
	{"/a/..", "/"},
	{"/a/../", "/"},
	{"/a/...", "/a/..."},
	{"/a/..b/c", "/a/..b/c"},
	{"/a/%2e%2e/b", "/b"},
	{"/a/%2E/b", "/a/b"},
	{"/a/.%2e/b", "/b"},
	{"/%61dmin", "/admin"},
	{"/%7Euser/%2d", "/~user/-"},
	{"/a%20b", "/a%20b"},
	{"/caf%c3%a9", "/caf%C3%A9"},
	{"/a%25b", "/a%25b"},
	{"/a%252e%252e/b", "/a%252e%252e/b"}, /* decoded once, not twice */
	{"/a//b", "/a//b"},
	{"/a;p=1/b", "/a;p=1/b"},
	{"", NULL},
	{"a", NULL},
	{"*", NULL},
	{"/..", NULL},
	{"/../a", NULL},
	{"/a/../../b", NULL},
	{"/%2e%2e/a", NULL},
	{"/a//../b", NULL}, /* where others merge "//", the ".." goes one level further up */
	{"/a%2Fb", NULL},
	{"/a%2fb", NULL},
	{"/a%5Cb", NULL},
	{"/a\\b", NULL},
	{"/a%00b", NULL},
	{"/a%0d%0ab", NULL},
	{"/a%7fb", NULL},
	{"/a%", NULL},
	{"/a%2", NULL},
	{"/a%zz", NULL},
	{"/a%2/", NULL},
};

static void test_h22_paths_have_one_canonical_form_or_are_refused(void **state)
{
	struct arena arena;

	arena_init(&arena, 0, 65536);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct str canonical = STR_NULL;
		int ret = path_canonicalise(str_from_cstr(rows[i].path), &arena, &canonical);

		if (rows[i].canonical ? ret != 0 || !str_eq_cstr(canonical, rows[i].canonical)
				      : ret != -EINVAL)
			fail_msg("'%s': got %d '%.*s', expected '%s'", rows[i].path, ret,
				 STR_FMT(canonical),
				 rows[i].canonical ? rows[i].canonical : "-EINVAL");
	}
	arena_done(&arena);
}

static void test_a_canonical_path_stays_itself(void **state)
{
	struct arena arena;

	arena_init(&arena, 0, 65536);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct str once, twice;

		if (!rows[i].canonical)
			continue;
		assert_int_equal(path_canonicalise(str_from_cstr(rows[i].path), &arena, &once), 0);
		assert_int_equal(path_canonicalise(once, &arena, &twice), 0);
		assert_true(str_eq(once, twice));
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

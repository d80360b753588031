#include <errno.h>

#include "http/files_name.h"
#include "http/media_type.h"
#include "test_support.h"

static const struct {
	enum route_path_kind kind;
	const char *match, *path, *below;
} below_rows[] = {
	{ROUTE_PATH_PREFIX, "/", "/", ""},
	{ROUTE_PATH_PREFIX, "/", "/a/b", "a/b"},
	{ROUTE_PATH_PREFIX, "/", "/a/", "a/"},
	{ROUTE_PATH_PREFIX, "/", "//a", "/a"},
	{ROUTE_PATH_PREFIX, "/assets", "/assets", ""},
	{ROUTE_PATH_PREFIX, "/assets", "/assets/", ""},
	{ROUTE_PATH_PREFIX, "/assets", "/assets/x/y.css", "x/y.css"},
	{ROUTE_PATH_PREFIX, "/assets/", "/assets/x", "x"},
	{ROUTE_PATH_PREFIX, "/assets/", "/assets", ""},
	{ROUTE_PATH_PREFIX, "/assets", "/assets//x", "/x"},
	{ROUTE_PATH_EXACT, "/robots.txt", "/robots.txt", "robots.txt"},
	{ROUTE_PATH_EXACT, "/a/b/robots.txt", "/a/b/robots.txt", "robots.txt"},
	{ROUTE_PATH_EXACT, "/a/", "/a/", ""},
	{ROUTE_PATH_TEMPLATE, "/{a}/x", "/a/x", "a/x"},
	{ROUTE_PATH_REGEX, "^/x", "/xy/z", "xy/z"},
	{ROUTE_PATH_REGEX, "^/", "//host/z", "/host/z"},
};

static void test_h22_what_the_match_named_is_taken_off_the_path(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(below_rows); i++) {
		struct route route = {.path_kind = below_rows[i].kind,
				      .path = str_from_cstr(below_rows[i].match)};

		assert_str(files_path_below(&route, str_from_cstr(below_rows[i].path)),
			   below_rows[i].below);
	}
}

static const struct {
	const char *below;
	const char *name; /* NULL: nothing has it */
	bool hidden;
} name_rows[] = {
	{"", "", false},
	{"a", "a", false},
	{"a/b/c.txt", "a/b/c.txt", false},
	{"a/", "a/", false},
	{"a%20b%25", "a b%", false},
	{"caf%C3%A9", "caf\xC3\xA9", false},
	{"a%252e%252e/b", "a%2e%2e/b", false}, /* decoded once */
	{"a..b/c...d", "a..b/c...d", false},
	{"a%5Cb", "a\\b", false},
	{"/", NULL, false},
	{"/a", NULL, false},
	{"a//b", NULL, false},
	{"a//", NULL, false},
	{".", NULL, true},
	{"..", NULL, true},
	{"../a", NULL, true},
	{"a/../b", NULL, true},
	{"a/..", NULL, true},
	{"%2e%2e/a", NULL, true},
	{".%2e", NULL, true},
	{"a%2Fb", NULL, true},
	{"..%2f..%2fetc/passwd", NULL, true},
	{"a%00", NULL, true},
	{"%00", NULL, true},
	{"a%", NULL, true},
	{"a%4", NULL, true},
	{"a%zz", NULL, true},
	{".git/config", NULL, false},
	{".git/config", ".git/config", true},
	{"a/.htaccess", NULL, false},
	{"a/%2ehtaccess", NULL, false},
	{".well-known/acme/x", ".well-known/acme/x", false},
	{".well-known", ".well-known", false},
	{".well-known/.x", NULL, false},
	{".well-knownx", NULL, false},
	{"...", NULL, false},
	{"...", "...", true},
};

static void test_h22_a_path_is_decoded_once_and_names_nothing_else(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(name_rows); i++) {
		struct str below = str_from_cstr(name_rows[i].below), name;
		char room[64];
		int r = files_name_decode(below, name_rows[i].hidden, room, sizeof(room), &name);

		assert_row(name_rows[i].below, r == (name_rows[i].name ? 0 : -ENOENT));
		if (!r) {
			assert_str(name, name_rows[i].name);
			assert_string_equal(room, name_rows[i].name);
		}
	}
}

static void test_a_name_longer_than_the_room_is_refused(void **state)
{
	struct str name;
	char room[4];

	assert_int_equal(files_name_decode(STR("abc"), false, room, sizeof(room), &name), 0);
	assert_int_equal(files_name_decode(STR("abcd"), false, room, sizeof(room), &name),
			 -ENAMETOOLONG);
	assert_int_equal(files_name_decode(STR("ab/c"), false, room, sizeof(room), &name),
			 -ENAMETOOLONG);
}

static const struct {
	const char *name, *type;
} type_rows[] = {
	{"a.html", "text/html; charset=utf-8"},
	{"A.HTML", "text/html; charset=utf-8"},
	{"a.b/c.css", "text/css; charset=utf-8"},
	{"x.tar.gz", "application/gzip"},
	{"a.7z", "application/x-7z-compressed"},
	{"a.zst", "application/zstd"},
	{"a.js", "text/javascript; charset=utf-8"},
	{"a.json", "application/json"},
	{"a.svg", "image/svg+xml"},
	{"a.woff2", "font/woff2"},
	{"a.webmanifest", "application/manifest+json"},
	{"a.wasm", "application/wasm"},
	{"", "application/octet-stream"},
	{"a", "application/octet-stream"},
	{"html", "application/octet-stream"},
	{".html", "application/octet-stream"},
	{"d/.html", "application/octet-stream"},
	{"a.html/b", "application/octet-stream"},
	{"a.", "application/octet-stream"},
	{"a.htmlx", "application/octet-stream"},
	{"a.averyveryverylongextension", "application/octet-stream"},
};

static void test_the_extension_tells_the_media_type(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(type_rows); i++)
		assert_row(type_rows[i].name,
			   str_eq_cstr(media_type_of(str_from_cstr(type_rows[i].name)),
				       type_rows[i].type));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_h22_what_the_match_named_is_taken_off_the_path),
		cmocka_unit_test(test_h22_a_path_is_decoded_once_and_names_nothing_else),
		cmocka_unit_test(test_a_name_longer_than_the_room_is_refused),
		cmocka_unit_test(test_the_extension_tells_the_media_type),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

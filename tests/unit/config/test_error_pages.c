#include "config_fixture.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "http/error_pages_config.h"

static const struct error_page *find(const struct error_pages *pages, uint16_t status)
{
	return error_pages_find(pages, status);
}

static void test_pages_are_read_and_found_by_status_then_class(void **state)
{
	const struct error_pages *node, *web;
	struct loaded loaded;

	config_write_file("404.html", "<p>gone");
	config_write_file("sorry.json", "{}");
	config_write_file("empty.txt", "");
	config_load_text(
		&loaded,
		CONFIG_HEAD
		"node: { errors: { 4xx: sorry.json, \"503\": empty.txt } }\n"
		"listeners:\n"
		"  - { name: web, address: \"192.0.2.10:80\", errors: { 5xx: sorry.json, 404: "
		"404.html, 4xx: sorry.json } }\n",
		NULL);
	assert_string_equal(loaded.printed.data, "");
	node = &loaded.snapshot->node.error_pages;
	web = &loaded.snapshot->listeners[0].error_pages;
	assert_str(find(web, 404)->body, "<p>gone");
	assert_str(find(web, 404)->type, "text/html; charset=utf-8");
	assert_str(find(web, 400)->body, "{}");
	assert_str(find(web, 499)->type, "application/json");
	assert_str(find(web, 500)->body, "{}");
	assert_null(find(web, 399));
	assert_str(find(node, 404)->body, "{}");
	assert_str(find(node, 503)->body, "");
	assert_str(find(node, 503)->type, "text/plain; charset=utf-8");
	assert_null(find(node, 500));
	loaded_done(&loaded);
}

static void check_errors(const char *text, const char *expected)
{
	struct loaded loaded;

	config_load_text(&loaded, text, NULL);
	assert_string_equal(loaded.printed.data, expected);
	assert_null(loaded.snapshot);
	loaded_done(&loaded);
}

static void test_pages_that_cannot_be_used_are_named(void **state)
{
	config_write_file("a.html", "x");
	config_write_file("a.png", "x");
	assert_int_equal(mkdir("dir.html", 0700), 0);
	check_errors(
		CONFIG_HEAD "node:\n"
			    "  errors:\n"
			    "    404: missing.html\n"
			    "    302: a.html\n"
			    "    60x: a.html\n"
			    "    500: a.png\n"
			    "    501: a\n"
			    "    502: [ a.html ]\n"
			    "    503:\n"
			    "    504: dir.html\n",
		"sluice.yaml:4:10: node: errors: file 'missing.html' cannot be read: No such "
		"file or directory\n"
		"sluice.yaml:5:5: node: errors: expected a status of 400 to 599, 4xx or 5xx, "
		"got '302'\n"
		"sluice.yaml:6:5: node: errors: expected a status of 400 to 599, 4xx or 5xx, "
		"got '60x'\n"
		"sluice.yaml:7:10: node: errors: 500: 'a.png': what is in it is told by .html, "
		".htm, .txt, .json or .xml at its end\n"
		"sluice.yaml:8:10: node: errors: 501: 'a': what is in it is told by .html, "
		".htm, .txt, .json or .xml at its end\n"
		"sluice.yaml:9:10: node: errors: 502: expected a file, got a list\n"
		"sluice.yaml:10:9: node: errors: 503: expected a file, got nothing\n"
		"sluice.yaml:11:10: node: errors: file 'dir.html' cannot be read: Is a "
		"directory\n");
	assert_int_equal(rmdir("dir.html"), 0);
	check_errors(CONFIG_HEAD "listeners:\n  - { name: web, address: \"192.0.2.10:80\", errors: "
				 "a.html }\n",
		     "sluice.yaml:3:52: listener 'web': errors: expected a mapping of statuses to "
		     "files, got 'a.html'\n");
}

static void test_a_page_of_more_than_its_limit_is_refused(void **state)
{
	char *text = malloc(ERROR_PAGE_BYTES_MAX + 2);
	struct loaded loaded;

	assert_non_null(text);
	memset(text, 'x', ERROR_PAGE_BYTES_MAX + 1);
	text[ERROR_PAGE_BYTES_MAX + 1] = '\0';
	config_write_file("big.html", text);
	check_errors(CONFIG_HEAD "node: { errors: { 404: big.html } }\n",
		     "sluice.yaml:2:24: node: errors: file 'big.html' cannot be read: File too "
		     "large\n");
	text[ERROR_PAGE_BYTES_MAX] = '\0';
	config_write_file("big.html", text);
	config_load_text(&loaded, CONFIG_HEAD "node: { errors: { 404: big.html } }\n", NULL);
	assert_string_equal(loaded.printed.data, "");
	assert_int_equal(find(&loaded.snapshot->node.error_pages, 404)->body.len,
			 ERROR_PAGE_BYTES_MAX);
	loaded_done(&loaded);
	free(text);
}

static void test_pages_are_printed_with_absolute_names_and_load_again(void **state)
{
	struct buf first, second;
	struct loaded loaded;

	config_write_file("a b.html", "x");
	buf_init(&first, 1 << 20);
	buf_init(&second, 1 << 20);
	config_load_text(&loaded,
			 CONFIG_HEAD
			 "node: { errors: { 404: \"a b.html\" } }\n"
			 "listeners: [ { name: web, address: \"192.0.2.10:80\", errors: "
			 "{ 5xx: ./a b.html } } ]\n",
			 NULL);
	assert_int_equal(config_print_effective(loaded.snapshot, &first), 0);
	assert_int_equal(buf_append(&first, str_make("", 1)), 0);
	loaded_done(&loaded);
	assert_non_null(strstr(first.data, "  errors:\n    \"404\": \"/"));
	assert_non_null(strstr(first.data, "    errors:\n      \"5xx\": \"/"));
	assert_null(strstr(first.data, "./a b"));
	config_load_text(&loaded, first.data, NULL);
	assert_string_equal(loaded.printed.data, "");
	assert_int_equal(config_print_effective(loaded.snapshot, &second), 0);
	assert_int_equal(buf_append(&second, str_make("", 1)), 0);
	assert_string_equal(first.data, second.data);
	loaded_done(&loaded);
	buf_done(&first);
	buf_done(&second);
}

#define in_dir(test) cmocka_unit_test_setup_teardown(test, config_enter_dir, config_leave_dir)

int main(void)
{
	const struct CMUnitTest tests[] = {
		in_dir(test_pages_are_read_and_found_by_status_then_class),
		in_dir(test_pages_that_cannot_be_used_are_named),
		in_dir(test_a_page_of_more_than_its_limit_is_refused),
		in_dir(test_pages_are_printed_with_absolute_names_and_load_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

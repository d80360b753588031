#include "config_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "http/files_root.h"

#define ROUTE(action) CONFIG_HEAD CONFIG_WEB "routes: [ { name: r, " action " } ]\n"

static void load_good(struct loaded *loaded, const char *text, struct registry *registry)
{
	config_load_text(loaded, text, registry);
	assert_string_equal(loaded->printed.data, "");
	assert_int_equal(loaded->result, 0);
}

static int enter_with_www(void **state)
{
	return config_enter_dir(state) || mkdir("www", 0755);
}

static int leave_with_www(void **state)
{
	return rmdir("www") || config_leave_dir(state);
}

static void test_a_root_alone_gets_the_defaults_and_becomes_absolute(void **state)
{
	char *here = get_current_dir_name(), expected[512];
	const struct route_files *files;
	struct loaded loaded;

	load_good(&loaded, ROUTE("files: { root: www }"), NULL);
	files = &loaded.snapshot->routes[0].files;
	assert_int_equal(loaded.snapshot->routes[0].action, ROUTE_FILES);
	(void)snprintf(expected, sizeof(expected), "%s/www", here);
	assert_str(files->root, expected);
	assert_int_equal(files->index_count, 1);
	assert_str(files->indexes[0], "index.html");
	assert_false(files->hidden);
	assert_int_equal(files->field_count, 0);
	loaded_done(&loaded);
	free(here);
}

static void test_every_key_of_files_is_read_and_printed_again(void **state)
{
	const struct route_files *files;
	struct loaded first, second;
	struct buf out;

	load_good(&first,
		  ROUTE("files: { root: www, index: [ a.html, b ], hidden: on, headers: { "
			"cache-control: \"max-age=60\", x-a: b } }"),
		  NULL);
	files = &first.snapshot->routes[0].files;
	assert_int_equal(files->index_count, 2);
	assert_str(files->indexes[1], "b");
	assert_true(files->hidden);
	assert_int_equal(files->field_count, 2);
	assert_str(files->fields[0].name, "cache-control");
	assert_str(files->fields[0].value, "max-age=60");
	buf_init(&out, 1 << 20);
	assert_int_equal(config_print_effective(first.snapshot, &out), 0);
	assert_int_equal(buf_append(&out, str_make("", 1)), 0);
	assert_non_null(strstr(out.data, "      index:\n"
					 "        - a.html\n"
					 "        - b\n"
					 "      hidden: on\n"
					 "      headers:\n"
					 "        cache-control: \"max-age=60\"\n"
					 "        x-a: b\n"));
	load_good(&second, out.data, NULL);
	assert_str(second.snapshot->routes[0].files.indexes[0], "a.html");
	loaded_done(&second);
	loaded_done(&first);
	buf_done(&out);

	load_good(&first, ROUTE("files: { root: www, index: start.htm }"), NULL);
	assert_str(first.snapshot->routes[0].files.indexes[0], "start.htm");
	loaded_done(&first);
	load_good(&first, ROUTE("files: { root: www, index: [] }"), NULL);
	assert_int_equal(first.snapshot->routes[0].files.index_count, 0);
	loaded_done(&first);
}

static const struct {
	const char *text, *error;
} rows[] = {
	{ROUTE("files: { index: a }"), "'root' is required"},
	{ROUTE("files: { root: }"), "root: expected a directory, got nothing"},
	{ROUTE("files: { root: [ www ] }"), "root: expected a directory, got a list"},
	{ROUTE("files: { root: \"\" }"), "root: expected a directory, got"},
	{ROUTE("files: { root: nowhere }"), "sluice.yaml:3:37: route 'r': files: root: directory "
					    "'nowhere' cannot be used: No such file "
					    "or directory"},
	{ROUTE("files: { root: sluice.yaml }"), "cannot be used: Not a directory"},
	{ROUTE("files: { root: /dev/null }"), "cannot be used: Not a directory"},
	{ROUTE("files: { root: www, index: a/b }"),
	 "index: expected the name of a file, without '/', got 'a/b'"},
	{ROUTE("files: { root: www, index: [ a, .. ] }"), "got '..'"},
	{ROUTE("files: { root: www, index: [ a, \"\" ] }"), "index: must not be empty"},
	{ROUTE("files: { root: www, hidden: maybe }"), "hidden: expected"},
	{ROUTE("files: { root: www, indx: a }"), "unknown key 'indx'; did you mean 'index'?"},
	{ROUTE("files: { root: www, headers: { Content-Type: text/plain } }"),
	 "headers: 'Content-Type' is written by Sluice itself"},
	{ROUTE("files: { root: www, headers: { etag: x } }"),
	 "headers: 'etag' is written by Sluice itself"},
	{ROUTE("files: { root: www, headers: { content-length: 1 } }"),
	 "headers: 'content-length' is written by Sluice itself"},
	{ROUTE("files: { root: www }, respond: { status: 200 }"), "has 'respond' already"},
};

static void test_mistakes_in_files_are_named_with_their_place(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct loaded loaded;

		config_load_text(&loaded, rows[i].text, NULL);
		if (!strstr(loaded.printed.data, rows[i].error))
			print_error("%s", loaded.printed.data);
		assert_row(rows[i].text, strstr(loaded.printed.data, rows[i].error));
		assert_row(rows[i].text, !loaded.snapshot);
		loaded_done(&loaded);
	}
}

static const struct files_root *directory_of(const struct loaded *loaded)
{
	return loaded->snapshot->routes[0].files.directory;
}

static void test_a_reload_keeps_the_directory_until_its_name_means_another(void **state)
{
	struct registry *registry = registry_new();
	struct loaded first, second, third;

	assert_non_null(registry);
	load_good(&first, ROUTE("files: { root: www }"), registry);
	load_good(&second, NULL, registry);
	assert_ptr_equal(directory_of(&first), directory_of(&second));
	assert_true(fcntl(directory_of(&first)->dir_fd, F_GETFD) >= 0);
	assert_int_equal(rename("www", "old"), 0);
	assert_int_equal(mkdir("www", 0755), 0);
	load_good(&third, NULL, registry);
	assert_ptr_not_equal(directory_of(&first), directory_of(&third));
	loaded_done(&first);
	loaded_done(&second);
	loaded_done(&third);
	(void)registry_sweep(registry);
	assert_int_equal(registry_sweep(registry), 0);
	registry_free(registry);
	assert_int_equal(rmdir("old"), 0);
}

static void test_a_directory_that_went_meanwhile_is_no_object(void **state)
{
	struct registry *registry = registry_new();
	struct files_root *root = NULL;

	assert_int_equal(files_root_acquire(registry, STR("nowhere"), &root), -ENOENT);
	assert_int_equal(files_root_acquire(registry, STR("sluice.yaml"), &root), -ENOENT);
	assert_null(root);
	registry_free(registry);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			test_a_root_alone_gets_the_defaults_and_becomes_absolute, enter_with_www,
			leave_with_www),
		cmocka_unit_test_setup_teardown(test_every_key_of_files_is_read_and_printed_again,
						enter_with_www, leave_with_www),
		cmocka_unit_test_setup_teardown(test_mistakes_in_files_are_named_with_their_place,
						enter_with_www, leave_with_www),
		cmocka_unit_test_setup_teardown(
			test_a_reload_keeps_the_directory_until_its_name_means_another,
			enter_with_www, leave_with_www),
		cmocka_unit_test_setup_teardown(test_a_directory_that_went_meanwhile_is_no_object,
						config_enter_dir, config_leave_dir),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

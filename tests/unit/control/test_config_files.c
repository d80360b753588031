#include "test_support.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "control/config_files.h"

#define SEEN_MAX 8

struct seen {
	char *paths[SEEN_MAX];
	unsigned int count;
	unsigned int stop_after; /* 0: never */
};

static int note(const char *path, void *arg)
{
	struct seen *seen = arg;

	assert_true(seen->count < SEEN_MAX);
	seen->paths[seen->count++] = strdup(path);
	return seen->count == seen->stop_after ? -ECANCELED : 0;
}

static void seen_done(struct seen *seen)
{
	for (unsigned int i = 0; i < seen->count; i++)
		free(seen->paths[i]);
}

static const char config[] = "version: 1\n"
			     "node: { errors: { 5xx: sorry.html } }\n"
			     "dataplane:\n"
			     "  deny:\n"
			     "    - { file: deny.txt, reason: feed }\n"
			     "    - { cidr: 203.0.113.0/24 }\n"
			     "    - { file: /etc/hostname }\n"
			     "stores:\n"
			     "  - { name: file, password: { file: sub/secret } }\n"
			     "routes:\n"
			     "  - { name: a, files: { root: www, index: file } }\n"
			     "  - { name: files, files: { index: none } }\n";

static void test_the_configuration_and_each_file_it_names_are_visited(void **state)
{
	char *path = test_file_make("sluice.yaml", str_from_cstr(config));
	size_t dir_len = (size_t)(strrchr(path, '/') - path);
	struct seen seen = {0};
	char expected[512];

	assert_int_equal(config_files_walk(path, note, &seen), 0);
	assert_int_equal(seen.count, 6);
	assert_string_equal(seen.paths[0], path);
	(void)snprintf(expected, sizeof(expected), "%.*s/sorry.html", (int)dir_len, path);
	assert_string_equal(seen.paths[1], expected);
	(void)snprintf(expected, sizeof(expected), "%.*s/deny.txt", (int)dir_len, path);
	assert_string_equal(seen.paths[2], expected);
	assert_string_equal(seen.paths[3], "/etc/hostname");
	(void)snprintf(expected, sizeof(expected), "%.*s/sub/secret", (int)dir_len, path);
	assert_string_equal(seen.paths[4], expected);
	(void)snprintf(expected, sizeof(expected), "%.*s/www/.", (int)dir_len, path);
	assert_string_equal(seen.paths[5], expected);
	seen_done(&seen);
	test_file_remove(path);
}

static void test_a_visitor_ends_the_walk(void **state)
{
	char *path = test_file_make("sluice.yaml", str_from_cstr(config));
	struct seen seen = {.stop_after = 2};

	assert_int_equal(config_files_walk(path, note, &seen), -ECANCELED);
	assert_int_equal(seen.count, 2);
	seen_done(&seen);
	test_file_remove(path);
}

static void test_a_file_that_is_no_yaml_is_visited_and_then_refused(void **state)
{
	char *path = test_file_make("sluice.yaml", STR("dataplane: [ unclosed"));
	struct seen seen = {0};

	assert_true(config_files_walk(path, note, &seen) < 0);
	assert_int_equal(seen.count, 1);
	seen_done(&seen);
	test_file_remove(path);
}

static void test_files_that_the_user_cannot_read_are_listed(void **state)
{
	char *path, *secret, expected[512];
	unsigned int count = 99;
	struct user user;
	struct buf out;

	if (geteuid() != 0) {
		print_message("skipped: needs root\n");
		skip();
	}
	/* Not looked up: what libc loads for that counts as a leak to ASan. */
	user = (struct user){.name = "nobody", .uid = 65534, .gid = 65534};
	secret = test_file_make("secret", STR("x"));
	(void)snprintf(expected, sizeof(expected),
		       "policies: [ { hmac: { secret: { file: %s } } } ]\n", secret);
	path = test_file_make("sluice.yaml", str_from_cstr(expected));
	for (int i = 0; i < 2; i++) { /* the directories are private */
		char dir[256];

		(void)snprintf(dir, sizeof(dir), "%s", i ? secret : path);
		*strrchr(dir, '/') = '\0';
		assert_int_equal(chmod(dir, 0755), 0);
	}
	assert_int_equal(chmod(path, 0644), 0);
	assert_int_equal(chmod(secret, 0600), 0);

	buf_init(&out, 4096);
	assert_int_equal(config_files_find_unreadable(path, &user, &out, &count), 0);
	assert_int_equal(count, 1);
	(void)snprintf(expected, sizeof(expected), "%s: user 'nobody' cannot read it: %s\n", secret,
		       strerror(EACCES));
	assert_str(buf_str(&out), expected);

	buf_reset(&out);
	assert_int_equal(chmod(secret, 0644), 0);
	assert_int_equal(config_files_find_unreadable(path, &user, &out, &count), 0);
	assert_int_equal(count, 0);
	assert_int_equal(out.len, 0);
	buf_done(&out);
	test_file_remove(path);
	test_file_remove(secret);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_configuration_and_each_file_it_names_are_visited),
		cmocka_unit_test(test_a_visitor_ends_the_walk),
		cmocka_unit_test(test_a_file_that_is_no_yaml_is_visited_and_then_refused),
		cmocka_unit_test(test_files_that_the_user_cannot_read_are_listed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * Lists from text and lists that are kept: kern/access_load.h and kern/access_overlay.h on the
 * kernel's maps.
 */
#include "tests/bpf/bpf_env.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "kern/access_load.h"
#include "kern/access_overlay.h"
#include "kern/access_text.h"

static struct dataplane *dataplane;
static char state_dir[64];

static int setup(void **state)
{
	struct error err = {0};

	env_require();
	assert_int_equal(dataplane_unload(ENV_DIR, NULL), 0);
	dataplane_free(dataplane);
	dataplane = NULL;
	env_assert_ok(dataplane_open(ENV_DIR, &dataplane, &err), &err);
	(void)snprintf(state_dir, sizeof(state_dir), "/tmp/sluice-load-XXXXXX");
	return mkdtemp(state_dir) ? 0 : -1;
}

static char *path_of(const char *name)
{
	static char path[128];

	(void)snprintf(path, sizeof(path), "%s/%s", state_dir, name);
	return path;
}

static int teardown(void **state)
{
	(void)unlink(path_of("overlay.json"));
	(void)unlink(path_of("overlay.journal"));
	/* Fails when a temporary file is left. */
	return rmdir(state_dir);
}

static int group_teardown(void **state)
{
	dataplane_free(dataplane);
	return 0;
}

static int write_entry(const struct access_entry *entry, void *arg)
{
	return access_text_write(arg, entry, false) ||
			       buf_append(arg, entry->origin == ACCESS_FROM_CLI ? STR("cli ")
										: STR("config "))
		       ? -ENOMEM
		       : 0;
}

/* The deny list holds exactly these, each "PREFIX[ reason R]\nORIGIN ", in whatever order. */
static void assert_list(const char *const *wanted)
{
	struct buf text;
	size_t len = 0;

	buf_init(&text, 1 << 20);
	assert_int_equal(access_list_walk(dataplane, ACCESS_DENY, write_entry, &text), 0);
	for (; *wanted; wanted++) {
		if (!memmem(buf_str(&text).ptr, text.len, *wanted, strlen(*wanted)))
			print_error("'%.*s'\n", STR_FMT(buf_str(&text)));
		assert_row(*wanted, memmem(buf_str(&text).ptr, text.len, *wanted, strlen(*wanted)));
		len += strlen(*wanted);
	}
	assert_int_equal(text.len, len);
	buf_done(&text);
}

#define LIST(...) ((const char *const[]){__VA_ARGS__, NULL})

static void add(const char *prefix, enum access_origin origin, uint64_t expires_wall_ms)
{
	struct access_entry entry = {.origin = origin, .expires_wall_ms = expires_wall_ms};
	struct error err = {0};

	env_assert_ok(ip_prefix_parse(str_from_cstr(prefix), &entry.prefix, &err), &err);
	env_assert_ok(access_list_add(dataplane, ACCESS_DENY, &entry, &err), &err);
	if (origin == ACCESS_FROM_CLI)
		env_assert_ok(
			access_overlay_note_added(dataplane, state_dir, ACCESS_DENY, &entry, &err),
			&err);
}

static void delete_entry(const char *text)
{
	struct error err = {0};
	struct ip_prefix prefix;

	env_assert_ok(ip_prefix_parse(str_from_cstr(text), &prefix, &err), &err);
	env_assert_ok(access_list_remove(dataplane, ACCESS_DENY, &prefix, &err), &err);
	env_assert_ok(access_overlay_note_removed(dataplane, state_dir, ACCESS_DENY, &prefix, &err),
		      &err);
}

static void note_error(uint64_t line, size_t column, const char *text, void *arg)
{
	(*(unsigned int *)arg)++;
}

/* "ADDED CHANGED REMOVED UNCHANGED EXPIRED REPEATED" */
static void load(const char *text, bool replace, bool dry_run, const char *counts)
{
	struct access_load_conf conf = {.kind = ACCESS_DENY,
					.replace = replace,
					.dry_run = dry_run,
					.now_wall_ms = clock_wall_ms()};
	struct access_load *it = access_load_new(&conf);
	struct access_load_counts found;
	struct error err = {0};
	unsigned int errors = 0;
	uint64_t done, total;
	char line[64];
	int r;

	assert_non_null(it);
	assert_int_equal(access_load_read(it, str_from_cstr(text), note_error, &errors), 0);
	assert_int_equal(errors, 0);
	/* In the smallest slices. */
	do
		r = access_load_step(it, dataplane, 1, &err);
	while (r > 0);
	env_assert_ok(r, &err);
	found = access_load_counts(it);
	(void)snprintf(line, sizeof(line), "%u %u %u %u %u %u", (unsigned int)found.added,
		       (unsigned int)found.changed, (unsigned int)found.removed,
		       (unsigned int)found.unchanged, (unsigned int)found.expired,
		       (unsigned int)found.repeated);
	assert_string_equal(line, counts);
	access_load_progress(it, &done, &total);
	assert_true(done == total);
	assert_int_equal(access_load_has_changed(it),
			 !dry_run && found.added + found.changed + found.removed > 0);
	access_load_free(it);
}

static void test_load_adds_and_changes_and_tells_what(void **state)
{
	load("10.0.0.0/8 reason old\n10.1.0.0/16\n", false, false, "2 0 0 0 0 0");
	load("10.0.0.0/8 reason new\n10.1.0.0/16\n2001:db8::/32\n10.0.0.0/8 reason newer\n"
	     "10.2.0.0/16 until 2020-01-01T00:00:00Z\n",
	     false, true, "1 1 0 1 1 1");
	assert_list(LIST("10.0.0.0/8 reason old\ncli ", "10.1.0.0/16\ncli "));
	load("10.0.0.0/8 reason new\n2001:db8::/32\n", false, false, "1 1 0 0 0 0");
	assert_list(
		LIST("10.0.0.0/8 reason new\ncli ", "10.1.0.0/16\ncli ", "2001:db8::/32\ncli "));
	load("10.0.0.0/8 reason new\n2001:db8::/32\n10.1.0.0/16", true, false, "0 0 0 3 0 0");
}

static void test_replace_removes_what_people_made_and_uncovers_the_files(void **state)
{
	add("10.0.0.0/8", ACCESS_FROM_CONFIG, 0);
	add("10.1.0.0/16", ACCESS_FROM_CONFIG, 0);
	load("10.1.0.0/16 reason mine\n10.2.0.0/16\n10.3.0.0/16\n", false, false, "3 0 0 0 0 0");
	load("10.3.0.0/16\n10.4.0.0/16\n", true, true, "1 0 2 1 0 0");
	load("10.3.0.0/16\n10.4.0.0/16\n", true, false, "1 0 2 1 0 0");
	assert_list(LIST("10.0.0.0/8\nconfig ", "10.1.0.0/16\nconfig ", "10.3.0.0/16\ncli ",
			 "10.4.0.0/16\ncli "));
	load("", true, false, "0 0 2 0 0 0");
	assert_list(LIST("10.0.0.0/8\nconfig ", "10.1.0.0/16\nconfig "));
}

static void test_errors_change_nothing(void **state)
{
	struct access_load_conf conf = {.kind = ACCESS_DENY, .now_wall_ms = clock_wall_ms()};
	struct access_load *it = access_load_new(&conf);
	unsigned int errors = 0;

	assert_int_equal(access_load_read(it, STR("10.0.0.0/8\nx\ny\n"), note_error, &errors),
			 -EINVAL);
	assert_int_equal(errors, 2);
	access_load_free(it);
	assert_list((const char *const[]){NULL});
}

static void load_overlay(void)
{
	struct error err = {0};

	/* As after a boot: what was pinned is gone. */
	assert_int_equal(dataplane_unload(ENV_DIR, NULL), 0);
	dataplane_free(dataplane);
	dataplane = NULL;
	env_assert_ok(dataplane_open(ENV_DIR, &dataplane, &err), &err);
	env_assert_ok(access_overlay_load(dataplane, state_dir, &err), &err);
}

static void test_each_change_is_kept(void **state)
{
	add("10.0.0.0/8", ACCESS_FROM_CLI, 0);
	assert_int_equal(access(path_of("overlay.journal"), F_OK), -1);
	add("10.1.0.0/16", ACCESS_FROM_CLI, 0);
	add("10.2.0.0/16", ACCESS_FROM_CLI, 0);
	assert_int_equal(access(path_of("overlay.journal"), F_OK), 0);
	delete_entry("10.0.0.0/8");
	delete_entry("10.1.0.0/16");
	add("10.1.0.0/16", ACCESS_FROM_CLI, clock_wall_ms() + 3600000);
	/* An end that came meanwhile ends what was there before, too. */
	add("10.2.0.0/16", ACCESS_FROM_CLI, clock_wall_ms() + 20);
	assert_int_equal(usleep(30000), 0);
	load_overlay();
	delete_entry("10.1.0.0/16");
	assert_list((const char *const[]){NULL});
	assert_false(access_overlay_is_long(state_dir));
}

static void test_changes_during_a_save_are_kept(void **state)
{
	struct access_saver *saver = NULL;
	struct error err = {0};
	int r;

	add("10.0.0.0/8", ACCESS_FROM_CLI, 0);
	add("10.1.0.0/16", ACCESS_FROM_CLI, 0);
	env_assert_ok(access_saver_new(dataplane, state_dir, &saver, &err), &err);
	delete_entry("10.0.0.0/8");
	add("10.2.0.0/16", ACCESS_FROM_CLI, 0);
	do
		r = access_saver_step(saver, &err);
	while (r > 0);
	env_assert_ok(r, &err);
	access_saver_free(saver);
	add("10.3.0.0/16", ACCESS_FROM_CLI, 0);
	load_overlay();
	assert_list(LIST("10.1.0.0/16\ncli ", "10.2.0.0/16\ncli ", "10.3.0.0/16\ncli "));
	/* One that was given up leaves everything as it was. */
	env_assert_ok(access_saver_new(dataplane, state_dir, &saver, &err), &err);
	access_saver_free(saver);
	load_overlay();
	assert_list(LIST("10.1.0.0/16\ncli ", "10.2.0.0/16\ncli ", "10.3.0.0/16\ncli "));
}

static void test_saved_file_is_json_and_read_whatever_its_form(void **state)
{
	static const char indented[] =
		"{\n  \"version\": 1,\n  \"allow\": [],\n  \"deny\": [\n    {\n"
		"      \"prefix\": \"10.9.0.0/16\",\n      \"reason\": \"\\u0061 \\\"b\\\"\",\n"
		"      \"expires\": 0\n    }\n  ]\n}\n";
	struct error err = {0};
	char *text;
	FILE *file;

	load("10.1.0.0/16 reason \"say \\\"hi\\\" \\\\\"\n2001:db8::/32 reason \xc3\xa9\n"
	     "10.2.0.0/16 ttl 1h\n",
	     false, false, "3 0 0 0 0 0");
	env_assert_ok(access_overlay_save(dataplane, state_dir, &err), &err);
	load_overlay();
	load("10.1.0.0/16 reason \"say \\\"hi\\\" \\\\\"\n2001:db8::/32 reason \xc3\xa9\n", false,
	     false, "0 0 0 2 0 0");
	/* A person put a blank in: read as JSON then, with the journal all the same. */
	text = test_read_file(path_of("overlay.json"));
	assert_non_null(strstr(text, "\",\"reason\""));
	file = fopen(path_of("overlay.json"), "w");
	assert_non_null(file);
	*strstr(text, "\",\"reason\"") = '\0';
	(void)fprintf(file, "%s\" , \"reason\"%s", text, text + strlen(text) + 10);
	assert_int_equal(fclose(file), 0);
	free(text);
	add("10.3.0.0/16", ACCESS_FROM_CLI, 0);
	load_overlay();
	load("10.1.0.0/16 reason \"say \\\"hi\\\" \\\\\"\n2001:db8::/32 reason \xc3\xa9\n"
	     "10.3.0.0/16\n",
	     false, false, "0 0 0 3 0 0");
	/* As versions before wrote it; it becomes the new form with the next change. */
	file = fopen(path_of("overlay.json"), "w");
	assert_non_null(file);
	(void)fputs(indented, file);
	assert_int_equal(fclose(file), 0);
	load_overlay();
	assert_list(LIST("10.9.0.0/16 reason \"a \\\"b\\\"\"\ncli "));
	add("10.8.0.0/16", ACCESS_FROM_CLI, 0);
	load_overlay();
	assert_list(LIST("10.9.0.0/16 reason \"a \\\"b\\\"\"\ncli ", "10.8.0.0/16\ncli "));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_load_adds_and_changes_and_tells_what),
		TEST(test_replace_removes_what_people_made_and_uncovers_the_files),
		TEST(test_errors_change_nothing),
		TEST(test_each_change_is_kept),
		TEST(test_changes_during_a_save_are_kept),
		TEST(test_saved_file_is_json_and_read_whatever_its_form),
	};

	return cmocka_run_group_tests(tests, env_setup, group_teardown);
}

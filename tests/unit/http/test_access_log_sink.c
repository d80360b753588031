/* Blocks of lines on their way to a file. */
#include "test_support.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "http/access_log_sink.h"

struct fixture {
	struct access_log_sink *sink;
	struct access_log_pool *pool;
	pthread_t thread;
	char dir[64];
	char path[100], moved[100];
};

static void *run_sink(void *arg)
{
	access_log_sink_run(arg);
	return NULL;
}

static void fixture_start(struct fixture *fixture)
{
	struct error err = {0};

	memset(fixture, 0, sizeof(*fixture));
	(void)snprintf(fixture->dir, sizeof(fixture->dir), "/tmp/sluice-log-XXXXXX");
	assert_non_null(mkdtemp(fixture->dir));
	(void)snprintf(fixture->path, sizeof(fixture->path), "%s/a.log", fixture->dir);
	(void)snprintf(fixture->moved, sizeof(fixture->moved), "%s/a.log.1", fixture->dir);
	assert_int_equal(access_log_sink_new(&fixture->sink, &err), 0);
	fixture->pool = access_log_pool_new();
	assert_non_null(fixture->pool);
}

static void fixture_run(struct fixture *fixture)
{
	assert_int_equal(pthread_create(&fixture->thread, NULL, run_sink, fixture->sink), 0);
}

static struct access_log_file *fixture_open(struct fixture *fixture)
{
	struct access_log_file *file = NULL;
	struct error err = {0};

	if (access_log_file_open(fixture->sink, str_from_cstr(fixture->path), &file, &err))
		fail_msg("%s", err.text);
	return file;
}

static struct access_log_stats fixture_join(struct fixture *fixture)
{
	access_log_sink_stop(fixture->sink);
	assert_int_equal(pthread_join(fixture->thread, NULL), 0);
	return access_log_sink_stats(fixture->sink);
}

static void fixture_end(struct fixture *fixture)
{
	access_log_pool_unref(fixture->pool);
	access_log_sink_free(fixture->sink);
	(void)unlink(fixture->path);
	(void)unlink(fixture->moved);
	assert_int_equal(rmdir(fixture->dir), 0);
}

static void put_line(struct access_log_block *block, const char *line)
{
	memcpy(block->bytes + block->len, line, strlen(line));
	block->len += (uint32_t)strlen(line);
	block->line_count++;
}

static void assert_file(const char *path, const char *expected)
{
	char *text = test_read_file(path);

	assert_string_equal(text, expected);
	free(text);
}

static void test_blocks_are_appended_in_the_order_of_pushing(void **state)
{
	struct access_log_file *file;
	struct access_log_stats stats;
	struct fixture fixture;
	char expected[4096] = "before\n";
	struct stat info;
	int fd;

	fixture_start(&fixture);
	fd = open(fixture.path, O_WRONLY | O_CREAT, 0600);
	assert_int_equal(write(fd, "before\n", 7), 7);
	(void)close(fd);
	file = fixture_open(&fixture);
	for (unsigned int i = 0; i < 20; i++) {
		struct access_log_block *block = access_log_pool_take(fixture.pool, file);
		char line[32];

		assert_non_null(block);
		(void)snprintf(line, sizeof(line), "line %u\n", i);
		put_line(block, line);
		(void)snprintf(expected + strlen(expected), 32, "%s", line);
		access_log_sink_push(block);
		if (i == 9) /* some wait for the writer, others wake it */
			fixture_run(&fixture);
	}
	access_log_file_unref(file);
	stats = fixture_join(&fixture);
	assert_int_equal(stats.lines, 20);
	assert_int_equal(stats.lines_lost, 0);
	assert_int_equal(stats.bytes, strlen(expected) - 7);
	assert_file(fixture.path, expected);
	assert_int_equal(stat(fixture.path, &info), 0);
	assert_int_equal(info.st_mode & 07777, 0600); /* what is there keeps its mode */
	fixture_end(&fixture);
}

static void test_a_new_file_has_mode_0640(void **state)
{
	struct fixture fixture;
	struct stat info;
	mode_t before = umask(022);

	fixture_start(&fixture);
	access_log_file_unref(fixture_open(&fixture));
	(void)umask(before);
	assert_int_equal(stat(fixture.path, &info), 0);
	assert_int_equal(info.st_mode & 07777, 0640);
	fixture_end(&fixture);
}

static void test_a_worker_gets_no_more_blocks_than_its_share(void **state)
{
	struct access_log_block *block;
	struct access_log_file *file;
	struct fixture fixture;

	fixture_start(&fixture);
	file = fixture_open(&fixture);
	/* Nobody writes yet: as with a disk that hangs. */
	for (unsigned int i = 0; i < ACCESS_LOG_BLOCKS_MAX; i++) {
		block = access_log_pool_take(fixture.pool, file);
		assert_non_null(block);
		put_line(block, "x\n");
		access_log_sink_push(block);
	}
	assert_null(access_log_pool_take(fixture.pool, file));
	fixture_run(&fixture);
	assert_int_equal(fixture_join(&fixture).lines, ACCESS_LOG_BLOCKS_MAX);
	/* They came back. */
	block = access_log_pool_take(fixture.pool, file);
	assert_non_null(block);
	put_line(block, "late\n");
	access_log_sink_push(block);
	access_log_sink_stop(fixture.sink);
	access_log_sink_run(fixture.sink);
	access_log_file_unref(file);
	fixture_end(&fixture);
}

static void test_blocks_outlive_their_worker(void **state)
{
	struct access_log_block *block;
	struct access_log_file *file;
	struct fixture fixture;

	fixture_start(&fixture);
	file = fixture_open(&fixture);
	block = access_log_pool_take(fixture.pool, file);
	put_line(block, "last words\n");
	access_log_sink_push(block);
	access_log_pool_unref(TAKE_PTR(fixture.pool));
	access_log_file_unref(file);
	fixture_run(&fixture);
	assert_int_equal(fixture_join(&fixture).lines, 1);
	assert_file(fixture.path, "last words\n");
	fixture_end(&fixture);
}

static void test_after_a_rename_a_reopened_file_gets_the_lines(void **state)
{
	struct access_log_block *block;
	struct access_log_file *file;
	struct fixture fixture;
	struct error err = {0};
	int fd;

	fixture_start(&fixture);
	file = fixture_open(&fixture);
	block = access_log_pool_take(fixture.pool, file);
	put_line(block, "old\n");
	access_log_sink_push(block);
	access_log_sink_stop(fixture.sink);
	access_log_sink_run(fixture.sink);
	assert_int_equal(rename(fixture.path, fixture.moved), 0);
	assert_int_equal(access_log_file_reopen(file, &fd, &err), 0);
	access_log_file_replace(file, fd);
	/* A second one before anybody has written: the first descriptor is closed. */
	assert_int_equal(access_log_file_reopen(file, &fd, &err), 0);
	access_log_file_replace(file, fd);
	block = access_log_pool_take(fixture.pool, file);
	put_line(block, "new\n");
	access_log_sink_push(block);
	access_log_sink_run(fixture.sink);
	access_log_file_unref(file);
	assert_file(fixture.moved, "old\n");
	assert_file(fixture.path, "new\n");
	fixture_end(&fixture);
}

static void test_lines_that_a_full_disk_refuses_are_counted(void **state)
{
	struct access_log_stats stats;
	struct access_log_block *block;
	struct access_log_file *file;
	struct fixture fixture;
	struct error err = {0};

	fixture_start(&fixture);
	assert_int_equal(access_log_file_open(fixture.sink, STR("/dev/full"), &file, &err), 0);
	block = access_log_pool_take(fixture.pool, file);
	put_line(block, "one\n");
	put_line(block, "two\n");
	access_log_sink_push(block);
	access_log_file_unref(file);
	access_log_sink_stop(fixture.sink);
	access_log_sink_run(fixture.sink);
	stats = access_log_sink_stats(fixture.sink);
	assert_int_equal(stats.lines, 0);
	assert_int_equal(stats.lines_lost, 2);
	assert_int_equal(stats.bytes, 0);
	fixture_end(&fixture);
}

static void test_half_a_line_is_ended_before_the_next_one(void **state)
{
	struct access_log_stats stats;
	struct access_log_block *block;
	struct access_log_file *file;
	struct fixture fixture;
	struct error err = {0};
	char got[65536 * 3];
	size_t len = 0, pipe_bytes;
	int reader;

	fixture_start(&fixture);
	assert_int_equal(mkfifo(fixture.path, 0600), 0);
	/* A pipe that nobody reads is told of, not waited for. */
	assert_int_equal(
		access_log_file_open(fixture.sink, str_from_cstr(fixture.path), &file, &err),
		-ENXIO);
	assert_non_null(strstr(err.text, "nobody reads this pipe"));
	reader = open(fixture.path, O_RDONLY | O_NONBLOCK);
	assert_true(reader >= 0);
	pipe_bytes = (size_t)fcntl(reader, F_GETPIPE_SZ);
	file = fixture_open(&fixture);
	block = access_log_pool_take(fixture.pool, file);
	/* More than the pipe holds, in two blocks; the second is torn when the stop comes. */
	for (unsigned int i = 0; i < 2; i++) {
		while (block->len + 10 <= sizeof(block->bytes) && block->len < pipe_bytes - 4096)
			put_line(block, "012345678\n");
		access_log_sink_push(block);
		block = access_log_pool_take(fixture.pool, file);
	}
	access_log_sink_stop(fixture.sink);
	access_log_sink_run(fixture.sink);
	stats = access_log_sink_stats(fixture.sink);
	assert_true(stats.lines > 0 && stats.lines_lost > 0);
	while (len < stats.bytes) {
		ssize_t some = read(reader, got + len, sizeof(got) - len);

		assert_true(some > 0);
		len += (size_t)some;
	}
	assert_int_equal(len, stats.bytes);
	put_line(block, "whole\n");
	access_log_sink_push(block);
	access_log_sink_run(fixture.sink);
	len = (size_t)read(reader, got, sizeof(got));
	if (stats.bytes % 10)
		assert_str(str_make(got, len), "\nwhole\n");
	else
		assert_str(str_make(got, len), "whole\n");
	access_log_file_unref(file);
	(void)close(reader);
	fixture_end(&fixture);
}

static void test_what_is_no_file_is_refused_with_its_name(void **state)
{
	struct access_log_file *file = NULL;
	struct fixture fixture;
	struct error err = {0};

	fixture_start(&fixture);
	assert_int_equal(
		access_log_file_open(fixture.sink, str_from_cstr(fixture.dir), &file, &err),
		-EISDIR);
	assert_non_null(strstr(err.text, fixture.dir));
	error_reset(&err);
	assert_int_equal(access_log_file_open(fixture.sink, STR("/nowhere/a.log"), &file, &err),
			 -ENOENT);
	assert_string_equal(err.text, "cannot open /nowhere/a.log: No such file or directory");
	fixture_end(&fixture);
}

static int open_once(void *arg)
{
	struct access_log_file *file = NULL;
	struct fixture *fixture = arg;
	struct access_log_pool *pool;
	struct access_log_block *block;
	struct error err = {0};
	int r = access_log_file_open(fixture->sink, str_from_cstr(fixture->path), &file, &err);

	if (r)
		return r;
	pool = access_log_pool_new();
	block = pool ? access_log_pool_take(pool, file) : NULL;
	if (block)
		access_log_sink_push(block);
	access_log_pool_unref(pool);
	access_log_file_unref(file);
	access_log_sink_stop(fixture->sink);
	access_log_sink_run(fixture->sink);
	return block ? 0 : -ENOMEM;
}

static void test_every_failed_allocation_is_reported_and_leaves_nothing(void **state)
{
	struct fixture fixture;

	fixture_start(&fixture);
	/* The sanitizer's strndup() allocates past our count. */
	assert_in_range(test_failing_each_allocation(open_once, &fixture), 3, 4);
	fixture_end(&fixture);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_blocks_are_appended_in_the_order_of_pushing),
		cmocka_unit_test(test_a_new_file_has_mode_0640),
		cmocka_unit_test(test_a_worker_gets_no_more_blocks_than_its_share),
		cmocka_unit_test(test_blocks_outlive_their_worker),
		cmocka_unit_test(test_after_a_rename_a_reopened_file_gets_the_lines),
		cmocka_unit_test(test_lines_that_a_full_disk_refuses_are_counted),
		cmocka_unit_test(test_half_a_line_is_ended_before_the_next_one),
		cmocka_unit_test(test_what_is_no_file_is_refused_with_its_name),
		cmocka_unit_test(test_every_failed_allocation_is_reported_and_leaves_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

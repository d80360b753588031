/* The journal of list changes: what a crash at any place leaves behind. */
#include "test_support.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/buf.h"
#include "kern/access_journal.h"

static char directory[64];
static int dir_fd;
static struct buf lines; /* "NUMBER LINE\n" */

static int setup(void **state)
{
	(void)snprintf(directory, sizeof(directory), "/tmp/sluice-journal-XXXXXX");
	if (!mkdtemp(directory))
		return -1;
	dir_fd = open(directory, O_RDONLY | O_DIRECTORY);
	buf_init(&lines, 1 << 20);
	return dir_fd < 0 ? -1 : 0;
}

static int teardown(void **state)
{
	(void)unlinkat(dir_fd, ACCESS_JOURNAL_FILE, 0);
	(void)unlinkat(dir_fd, ACCESS_OVERLAY_FILE, 0);
	(void)close(dir_fd);
	buf_done(&lines);
	/* Fails when a temporary file is left. */
	return rmdir(directory);
}

static void write_file(const char *name, struct str content)
{
	int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, content.ptr, content.len), (ssize_t)content.len);
	(void)close(fd);
}

static struct str read_file(const char *name, char *room, size_t room_len)
{
	int fd = openat(dir_fd, name, O_RDONLY);
	ssize_t len = fd < 0 ? 0 : read(fd, room, room_len);

	assert_true(len >= 0);
	if (fd >= 0)
		(void)close(fd);
	return str_make(room, (size_t)len);
}

static int keep_line(struct str line, unsigned long number, void *arg)
{
	if (str_eq(line, STR("bad")))
		return -EINVAL;
	return buf_printf(&lines, "%lu %.*s\n", number, STR_FMT(line));
}

static int read_from(const struct access_mark *mark)
{
	struct error err = {0};

	buf_reset(&lines);
	return access_journal_read(dir_fd, mark, keep_line, NULL, &err);
}

#define assert_lines(mark, wanted)                                                                 \
	do {                                                                                       \
		assert_int_equal(read_from(mark), 0);                                              \
		assert_true(str_eq_cstr(buf_str(&lines), wanted));                                 \
	} while (0)

static void append(const struct access_mark *mark, const char *line)
{
	assert_int_equal(access_journal_append(dir_fd, mark, str_from_cstr(line)), 0);
}

static void test_lines_come_back_from_the_mark_on(void **state)
{
	struct access_mark mark = {.id = 0xabc, .offset = 100};
	uint64_t end;

	assert_lines(&mark, "");
	assert_int_equal(access_journal_end(dir_fd, &mark, &end), 0);
	assert_int_equal(end, 100);
	append(&mark, "first\n");
	append(&mark, "second\n");
	assert_lines(&mark, "1 first\n2 second\n");
	assert_int_equal(access_journal_end(dir_fd, &mark, &end), 0);
	assert_int_equal(end, 113);
	mark.offset = 106;
	assert_lines(&mark, "1 second\n");
	append(&mark, "third\n");
	assert_lines(&mark, "1 second\n2 third\n");
}

static void test_trim_keeps_what_came_after_the_mark(void **state)
{
	struct access_mark old = {.id = 7}, fresh = {.id = 7, .offset = 6};

	append(&old, "first\n");
	append(&old, "second\n");
	assert_int_equal(access_journal_trim(dir_fd, &fresh), 0);
	assert_lines(&fresh, "1 second\n");
	append(&fresh, "third\n");
	assert_lines(&fresh, "1 second\n2 third\n");
	/* The overlay.json of before would miss what was cut off: that must not go unseen. */
	assert_int_equal(read_from(&old), -EPROTO);
	fresh.offset = 19;
	assert_int_equal(access_journal_trim(dir_fd, &fresh), 0);
	assert_int_equal(faccessat(dir_fd, ACCESS_JOURNAL_FILE, F_OK, 0), -1);
	assert_lines(&fresh, "");
}

static void test_journal_of_another_id_means_nothing(void **state)
{
	struct access_mark one = {.id = 1}, two = {.id = 2};

	append(&one, "of one\n");
	assert_lines(&two, "");
	append(&two, "of two\n");
	assert_lines(&two, "1 of two\n");
	assert_lines(&one, "");
	assert_int_equal(access_journal_trim(dir_fd, &one), 0);
	assert_int_equal(faccessat(dir_fd, ACCESS_JOURNAL_FILE, F_OK, 0), -1);
}

/* Cut at each of its bytes: whole lines count, the rest is overwritten by the next one. */
static void test_incomplete_last_line_is_not_there(void **state)
{
	struct access_mark mark = {.id = 3};
	char content[256];
	struct str whole;
	size_t first, second;

	append(&mark, "first\n");
	first = read_file(ACCESS_JOURNAL_FILE, content, sizeof(content)).len;
	append(&mark, "second\n");
	whole = read_file(ACCESS_JOURNAL_FILE, content, sizeof(content));
	second = whole.len;
	for (size_t len = 0; len < second; len++) {
		write_file(ACCESS_JOURNAL_FILE, str_sub(whole, 0, len));
		assert_lines(&mark, len < first ? "" : "1 first\n");
		append(&mark, "again\n");
		assert_lines(&mark, len < first ? "1 again\n" : "1 first\n2 again\n");
	}
}

static void test_hole_in_the_last_line_is_forgiven_and_no_other(void **state)
{
	struct access_mark mark = {.id = 4};

	append(&mark, "first\n");
	append(&mark, "bad\n");
	assert_lines(&mark, "1 first\n");
	append(&mark, "third\n");
	assert_int_equal(read_from(&mark), -EINVAL);
}

static void test_what_is_no_journal_is_an_error(void **state)
{
	static const char *const heads[] = {
		"nonsense\n",
		"sluice-journal 2 0000000000000005 0\n",
		"sluice-journal 1 0000000000000005 0 more\n",
		"sluice-journal 1 0000000000000005 10\n", /* begins after the mark */
		"sluice-journal 1 0000000000000005\n",
		"\n",
	};
	struct access_mark mark = {.id = 5, .offset = 5};

	for (size_t i = 0; i < ARRAY_SIZE(heads); i++) {
		write_file(ACCESS_JOURNAL_FILE, str_from_cstr(heads[i]));
		assert_row(heads[i], read_from(&mark) == -EPROTO);
		assert_row(heads[i], access_journal_append(dir_fd, &mark, STR("x\n")) == -EPROTO);
	}
	/* Ends before the mark. */
	write_file(ACCESS_JOURNAL_FILE, STR("sluice-journal 1 0000000000000005 0\nx\n"));
	assert_int_equal(read_from(&mark), -EPROTO);
}

static void test_mark_is_read_from_the_first_line(void **state)
{
	static const struct {
		const char *head;
		uint64_t id, offset;
	} rows[] = {
		{"{\"version\":1,\"journal\":\"00000000000000ff\",\"offset\":17,\n\"allow\":[\n",
		 255, 17},
		{"{\"version\":1,\"journal\":\"0000000000000000\",\"offset\":17,\n", 0, 0},
		{"{\"version\":2,\"journal\":\"00000000000000ff\",\"offset\":17,\n", 0, 0},
		{"{\"version\":1,\"journal\":\"00000000000000ff\",\"offset\":17}\n", 0, 0},
		{"{\n  \"version\": 1,\n  \"allow\": [],\n  \"deny\": []\n}\n", 0, 0},
		{"", 0, 0},
	};
	struct access_mark mark;
	uint64_t bytes;

	assert_int_equal(access_mark_read(dir_fd, &mark, &bytes), 0);
	assert_true(!mark.id && !bytes);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		write_file(ACCESS_OVERLAY_FILE, str_from_cstr(rows[i].head));
		assert_row(rows[i].head, access_mark_read(dir_fd, &mark, &bytes) == 0);
		assert_row(rows[i].head, mark.id == rows[i].id && mark.offset == rows[i].offset);
		assert_row(rows[i].head, bytes == strlen(rows[i].head));
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_lines_come_back_from_the_mark_on),
		TEST(test_trim_keeps_what_came_after_the_mark),
		TEST(test_journal_of_another_id_means_nothing),
		TEST(test_incomplete_last_line_is_not_there),
		TEST(test_hole_in_the_last_line_is_forgiven_and_no_other),
		TEST(test_what_is_no_journal_is_an_error),
		TEST(test_mark_is_read_from_the_first_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

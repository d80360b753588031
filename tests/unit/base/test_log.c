#include "test_support.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include <jansson.h>

#include "base/log.h"

static char *log_path;
static int saved_stderr;

static int capture_start(void **state)
{
	int fd;

	log_path = test_file_make("log", STR(""));
	fd = open(log_path, O_WRONLY | O_APPEND | O_CLOEXEC);
	saved_stderr = dup(STDERR_FILENO);
	if (fd < 0 || saved_stderr < 0 || dup2(fd, STDERR_FILENO) < 0)
		return -1;
	return close(fd);
}

/* Standard error is put back, and what was logged is the result. */
static char *capture_end(void)
{
	if (saved_stderr >= 0) {
		assert_int_equal(dup2(saved_stderr, STDERR_FILENO), STDERR_FILENO);
		assert_int_equal(close(saved_stderr), 0);
		saved_stderr = -1;
	}
	return test_read_file(log_path);
}

static int capture_remove(void **state)
{
	free(capture_end());
	test_file_remove(log_path);
	log_configure(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
	return 0;
}

static void test_lines_below_the_level_are_not_written(void **state)
{
	char *text;

	log_configure(LOG_LEVEL_WARN, LOG_FORMAT_TEXT);
	log_error("area", "one");
	log_warn("area", "two");
	log_info("area", "three");
	log_debug("area", "four");
	text = capture_end();
	assert_non_null(strstr(text, " error area: one\n"));
	assert_non_null(strstr(text, " warn area: two\n"));
	assert_null(strstr(text, "three"));
	assert_null(strstr(text, "four"));
	free(text);
}

static void test_text_message_with_line_break_stays_one_line(void **state)
{
	char *text;

	log_configure(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
	log_info("area", "first\nsecond\x1b[31m");
	text = capture_end();
	assert_non_null(strstr(text, "first second [31m\n"));
	assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
	free(text);
}

static void test_json_line_is_one_valid_document(void **state)
{
	json_t *document;
	char *text;

	log_configure(LOG_LEVEL_INFO, LOG_FORMAT_JSON);
	log_warn("kern", "quote \" newline \n bad byte \xff");
	text = capture_end();
	assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
	document = json_loads(text, 0, NULL);
	assert_non_null(document);
	assert_string_equal(json_string_value(json_object_get(document, "level")), "warn");
	assert_string_equal(json_string_value(json_object_get(document, "area")), "kern");
	assert_string_equal(json_string_value(json_object_get(document, "message")),
			    "quote \" newline \n bad byte \xef\xbf\xbd");
	assert_non_null(json_object_get(document, "time"));
	json_decref(document);
	free(text);
}

static void test_overlong_message_is_cut_not_lost(void **state)
{
	char longer[5000];
	char *text;

	memset(longer, '\x01', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	log_configure(LOG_LEVEL_INFO, LOG_FORMAT_JSON);
	log_info("area", "start%s", longer);
	text = capture_end();
	assert_non_null(strstr(text, "\"message\":\"start\\u0001"));
	assert_non_null(strstr(text, "\"}\n"));
	free(text);
}

static void *write_lines(void *arg)
{
	for (int i = 0; i < 200; i++)
		log_info("area", "%s", (const char *)arg);
	return NULL;
}

static void test_lines_of_two_threads_do_not_mix(void **state)
{
	static char first[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", second[] = "bbbbbbbbbbbbbbbb";
	pthread_t threads[2];
	unsigned int lines = 0;
	char *text, *rest, *line;

	log_configure(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
	assert_int_equal(pthread_create(&threads[0], NULL, write_lines, first), 0);
	assert_int_equal(pthread_create(&threads[1], NULL, write_lines, second), 0);
	assert_int_equal(pthread_join(threads[0], NULL), 0);
	assert_int_equal(pthread_join(threads[1], NULL), 0);
	text = rest = capture_end();
	while ((line = strsep(&rest, "\n")) && *line) {
		const char *message = strstr(line, "area: ");

		assert_non_null(message);
		message += strlen("area: ");
		assert_true(!strcmp(message, first) || !strcmp(message, second));
		lines++;
	}
	assert_int_equal(lines, 400);
	free(text);
}

#define captured(test) cmocka_unit_test_setup_teardown(test, capture_start, capture_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		captured(test_lines_below_the_level_are_not_written),
		captured(test_text_message_with_line_break_stays_one_line),
		captured(test_json_line_is_one_valid_document),
		captured(test_overlong_message_is_cut_not_lost),
		captured(test_lines_of_two_threads_do_not_mix),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

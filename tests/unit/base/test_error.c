#include "test_support.h"

#include <errno.h>

#include "base/error.h"

static void test_first_error_wins_and_keeps_its_code(void **state)
{
	struct error err = {0};

	assert_false(error_is_set(&err));
	assert_int_equal(error_set(&err, -EINVAL, "port %d is bad", 7), -EINVAL);
	assert_int_equal(error_set(&err, -ENOENT, "later"), -ENOENT);
	assert_int_equal(err.code, -EINVAL);
	assert_string_equal(err.text, "port 7 is bad");
}

static void test_errno_is_told_in_words(void **state)
{
	struct error err = {0};

	assert_int_equal(error_set_errno(&err, -ENOENT, "cannot open 'x'"), -ENOENT);
	assert_string_equal(err.text, "cannot open 'x': No such file or directory");
	error_reset(&err);
	(void)error_set_errno(&err, -99999, "odd");
	assert_string_equal(err.text, "odd: unknown error");
}

static void test_prefix_goes_in_front_and_never_overflows(void **state)
{
	struct error err = {0};
	char longer[600];

	error_prefix(&err, "nothing to prefix");
	assert_string_equal(err.text, "");
	(void)error_set(&err, -EINVAL, "bad");
	error_prefix(&err, "line %d", 3);
	assert_string_equal(err.text, "line 3: bad");

	memset(longer, 'a', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	error_prefix(&err, "%s", longer);
	assert_in_range(strlen(err.text), 500, sizeof(err.text) - 1);

	error_reset(&err);
	(void)error_set(&err, -EINVAL, "%s", longer);
	error_prefix(&err, "file");
	assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
	assert_memory_equal(err.text, "file: aaa", 9);
}

static void test_null_is_allowed_everywhere(void **state)
{
	assert_int_equal(error_set(NULL, -EIO, "x"), -EIO);
	assert_int_equal(error_set_errno(NULL, -EIO, "x"), -EIO);
	error_prefix(NULL, "x");
	error_reset(NULL);
	assert_false(error_is_set(NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_first_error_wins_and_keeps_its_code),
		cmocka_unit_test(test_errno_is_told_in_words),
		cmocka_unit_test(test_prefix_goes_in_front_and_never_overflows),
		cmocka_unit_test(test_null_is_allowed_everywhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

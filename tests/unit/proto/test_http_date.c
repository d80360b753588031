#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "proto/http_date.h"
#include "test_support.h"

#define NOW 1800000000 /* in 2027 */

static const struct {
	const char *text;
	int64_t seconds; /* -1: refused */
} rows[] = {
	{"Sun, 06 Nov 1994 08:49:37 GMT", 784111777},
	{"Sunday, 06-Nov-94 08:49:37 GMT", 784111777},
	{"Sun Nov  6 08:49:37 1994", 784111777},
	{"Mon, 06 Nov 1994 08:49:37 GMT", 784111777}, /* the day's name is not checked */
	{"Thu, 01 Jan 1970 00:00:00 GMT", 0},
	{"Tue, 29 Feb 2000 23:59:59 GMT", 951868799},
	{"Thu, 29 Feb 2024 00:00:00 GMT", 1709164800},
	{"Sat, 31 Dec 2016 23:59:60 GMT", 1483228800}, /* a leap second */
	{"Wed Nov 16 08:49:37 1994", 784975777},
	{"Monday, 01-Jan-77 00:00:00 GMT", 3376684800}, /* 2077: 50 years ahead */
	{"Sunday, 01-Jan-78 00:00:00 GMT", 252460800},	/* 1978: 2078 would be 51 */
	{"Friday, 31-Dec-99 23:59:59 GMT", 946684799},
	{"Fri, 31 Dec 9999 23:59:60 GMT", 253402300799}, /* what can be written */
	{"", -1},
	{"0", -1},
	{"Sun, 06 Nov 1994 08:49:37", -1},
	{"Sun, 06 Nov 1994 08:49:37 GMT ", -1},
	{" Sun, 06 Nov 1994 08:49:37 GMT", -1},
	{"Sun, 06 Nov 1994 08:49:37 UTC", -1},
	{"Sun, 06 Nov 1994 08:49:37 +0000", -1},
	{"sun, 06 Nov 1994 08:49:37 GMT", -1},
	{"Xyz, 06 Nov 1994 08:49:37 GMT", -1},
	{"Sun,06 Nov 1994 08:49:37 GMT", -1},
	{"Sun, 6 Nov 1994 08:49:37 GMT", -1},
	{"Sun, 06 nov 1994 08:49:37 GMT", -1},
	{"Sun, 06 Nov 94 08:49:37 GMT", -1},
	{"Sun, 00 Nov 1994 08:49:37 GMT", -1},
	{"Sun, 31 Nov 1994 08:49:37 GMT", -1},
	{"Wed, 29 Feb 2023 00:00:00 GMT", -1},
	{"Mon, 29 Feb 2100 00:00:00 GMT", -1},
	{"Sun, 06 Nov 1994 24:00:00 GMT", -1},
	{"Sun, 06 Nov 1994 08:60:00 GMT", -1},
	{"Sun, 06 Nov 1994 08:49:61 GMT", -1},
	{"Sun, 06 Nov 1994 -8:49:37 GMT", -1},
	{"Sun, 06-Nov-94 08:49:37 GMT", -1},
	{"Sunday, 06 Nov 1994 08:49:37 GMT", -1},
	{"Sun Nov 6 08:49:37 1994", -1},
	{"Sun Nov  6 08:49:37 1994 GMT", -1},
	{"Sun Nov  6 08:49:37 94", -1},
};

static void test_dates_are_read_in_their_three_forms_and_refused_otherwise(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		int64_t seconds = -1;
		int r = http_date_parse(str_from_cstr(rows[i].text), NOW, &seconds);

		assert_row(rows[i].text, r == (rows[i].seconds < 0 ? -EINVAL : 0));
		assert_row(rows[i].text, seconds == rows[i].seconds);
	}
}

static void test_two_digits_never_make_a_year_of_five(void **state)
{
	int64_t seconds = 0;

	assert_int_equal(
		http_date_parse(STR("Sunday, 06-Nov-40 08:49:37 GMT"), 253402300799, &seconds),
		-EINVAL);
	assert_int_equal(
		http_date_parse(STR("Sunday, 06-Nov-99 08:49:37 GMT"), -62167219200, &seconds),
		-EINVAL);
}

static void test_a_date_cut_anywhere_is_refused(void **state)
{
	static const char *const dates[] = {"Sun, 06 Nov 1994 08:49:37 GMT",
					    "Sunday, 06-Nov-94 08:49:37 GMT",
					    "Sun Nov  6 08:49:37 1994"};
	int64_t seconds;

	for (size_t i = 0; i < ARRAY_SIZE(dates); i++)
		for (size_t len = 0; len < strlen(dates[i]); len++) {
			char *copy = malloc(len + 1); /* the sanitizer sees a step beyond */

			assert_non_null(copy);
			memcpy(copy, dates[i], len);
			assert_int_equal(http_date_parse(str_make(copy, len), NOW, &seconds),
					 -EINVAL);
			free(copy);
		}
}

static void check_written(int64_t seconds)
{
	char room[HTTP_DATE_LEN], expected[64];
	time_t moment = (time_t)seconds;
	struct tm parts;
	int64_t again = -1;

	assert_non_null(gmtime_r(&moment, &parts));
	assert_true(strftime(expected, sizeof(expected), "%a, %d %b %Y %H:%M:%S GMT", &parts) > 0);
	assert_str(http_date_format(seconds, room), expected);
	assert_int_equal(http_date_parse(str_make(room, HTTP_DATE_LEN), NOW, &again), 0);
	assert_int_equal(again, seconds);
}

static void test_dates_are_written_as_the_c_library_does_and_read_back(void **state)
{
	check_written(0);
	check_written(253402300799);
	check_written(-1);
	check_written(-30610224000); /* 1000-01-01 */
	/* Each day of four hundred years, at changing times. */
	for (int64_t day = 0; day < 146097; day++)
		check_written(day * 86400 + day * 7919 % 86400);
}

static void test_moments_beyond_four_digits_of_the_year_become_the_nearest(void **state)
{
	char room[HTTP_DATE_LEN];

	assert_str(http_date_format(INT64_MAX, room), "Fri, 31 Dec 9999 23:59:59 GMT");
	assert_str(http_date_format(INT64_MIN, room), "Sat, 01 Jan 0000 00:00:00 GMT");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_dates_are_read_in_their_three_forms_and_refused_otherwise),
		cmocka_unit_test(test_two_digits_never_make_a_year_of_five),
		cmocka_unit_test(test_a_date_cut_anywhere_is_refused),
		cmocka_unit_test(test_dates_are_written_as_the_c_library_does_and_read_back),
		cmocka_unit_test(test_moments_beyond_four_digits_of_the_year_become_the_nearest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

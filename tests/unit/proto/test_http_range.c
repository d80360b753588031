#include <stdlib.h>

#include "proto/http_range.h"
#include "test_support.h"

/* "first+len,..." of what is asked for; "whole": ignored; "none": unsatisfiable. */
static const struct {
	const char *value;
	uint64_t length;
	const char *expected;
} rows[] = {
	{"bytes=0-0", 10, "0+1"},
	{"bytes=0-9", 10, "0+10"},
	{"bytes=0-", 10, "0+10"},
	{"bytes=9-", 10, "9+1"},
	{"bytes=5-100", 10, "5+5"},
	{"bytes=-1", 10, "9+1"},
	{"bytes=-10", 10, "0+10"},
	{"bytes=-11", 10, "0+10"},
	{"BYTES=2-3", 10, "2+2"},
	{"bytes=0-0,-1", 10, "0+1,9+1"},
	{"bytes=5-6, 1-2", 10, "5+2,1+2"},
	{"bytes= 5-6\t,\t1-2 ", 10, "5+2,1+2"},
	{"bytes=,0-1,,3-4,", 10, "0+2,3+2"},
	{"bytes=0-1,20-30", 10, "0+2"},
	{"bytes=20-30,0-1", 10, "0+2"},
	{"bytes=0-99999999999999999999999999", 10, "0+10"},
	{"bytes=-99999999999999999999999999", 10, "0+10"},
	{"bytes=0-18446744073709551615", 10, "0+10"},
	{"bytes=18446744073709551614-", UINT64_MAX, "18446744073709551614+1"},
	{"bytes=0-4,5-9", 10, "0+5,5+5"},
	/* nothing of it is there */
	{"bytes=10-", 10, "none"},
	{"bytes=10-20", 10, "none"},
	{"bytes=-0", 10, "none"},
	{"bytes=99999999999999999999999999-", 10, "none"},
	{"bytes=0-", 0, "none"},
	{"bytes=-5", 0, "none"},
	{"bytes=10-11,12-13", 10, "none"},
	/* together longer than the whole: overlaps that are meant to cost */
	{"bytes=0-9,0-9", 10, "whole"},
	{"bytes=0-,0-,0-", 10, "whole"},
	{"bytes=0-5,4-9", 10, "whole"},
	/* malformed, or none of ours */
	{"", 10, "whole"},
	{"bytes", 10, "whole"},
	{"bytes=", 10, "whole"},
	{"bytes=,", 10, "whole"},
	{"bytes 0-1", 10, "whole"},
	{"bytes =0-1", 10, "whole"},
	{"bytes=-", 10, "whole"},
	{"bytes=--1", 10, "whole"},
	{"bytes=1", 10, "whole"},
	{"bytes=5-4", 10, "whole"},
	{"bytes=0-1,5-4", 10, "whole"},
	{"bytes=a-b", 10, "whole"},
	{"bytes=0x0-1", 10, "whole"},
	{"bytes=+1-2", 10, "whole"},
	{"bytes=0 - 1", 10, "whole"},
	{"bytes=0-1;", 10, "whole"},
	{"bytes=0-1-2", 10, "whole"},
	{"seconds=0-1", 10, "whole"},
	{"items=0-1", 10, "whole"},
};

static void describe(struct str value, uint64_t length, char *out, size_t out_bytes)
{
	struct http_range ranges[HTTP_RANGES_MAX];
	unsigned int count = 0;
	size_t at = 0;

	switch (http_range_parse(value, length, ranges, &count)) {
	case HTTP_RANGE_IGNORED:
		(void)snprintf(out, out_bytes, "whole");
		return;
	case HTTP_RANGE_UNSATISFIABLE:
		(void)snprintf(out, out_bytes, "none");
		return;
	case HTTP_RANGE_SATISFIABLE:
		break;
	}
	assert_true(count >= 1 && count <= HTTP_RANGES_MAX);
	for (unsigned int i = 0; i < count; i++)
		at += (size_t)snprintf(out + at, out_bytes - at, "%s%llu+%llu", i ? "," : "",
				       (unsigned long long)ranges[i].first,
				       (unsigned long long)ranges[i].len);
}

static void test_ranges_are_cut_to_what_is_there_or_ignored(void **state)
{
	char got[512];

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		describe(str_from_cstr(rows[i].value), rows[i].length, got, sizeof(got));
		if (strcmp(got, rows[i].expected))
			print_error("got %s, expected %s\n", got, rows[i].expected);
		assert_row(rows[i].value, !strcmp(got, rows[i].expected));
	}
}

static void test_sixteen_ranges_are_answered_and_more_are_ignored(void **state)
{
	char value[256] = "bytes=", got[512];

	for (int i = 0; i < HTTP_RANGES_MAX; i++) {
		size_t len = strlen(value);

		(void)snprintf(value + len, sizeof(value) - len, "%s%d-%d", i ? "," : "", 2 * i,
			       2 * i);
	}
	describe(str_from_cstr(value), 100, got, sizeof(got));
	assert_true(strstr(got, "0+1,2+1,4+1,") == got);
	(void)snprintf(value + strlen(value), sizeof(value) - strlen(value), ",90-90");
	describe(str_from_cstr(value), 100, got, sizeof(got));
	assert_string_equal(got, "whole");
}

static void test_ten_thousand_ranges_are_ignored(void **state)
{
	size_t room_bytes = 100000, len = 6;
	char *value = malloc(room_bytes), got[512];

	assert_non_null(value);
	memcpy(value, "bytes=", len);
	for (int i = 0; i < 10000; i++)
		len += (size_t)snprintf(value + len, room_bytes - len, "%s0-%d", i ? "," : "", i);
	describe(str_make(value, len), 1 << 20, got, sizeof(got));
	assert_string_equal(got, "whole");
	free(value);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ranges_are_cut_to_what_is_there_or_ignored),
		cmocka_unit_test(test_sixteen_ranges_are_answered_and_more_are_ignored),
		cmocka_unit_test(test_ten_thousand_ranges_are_ignored),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

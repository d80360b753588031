#include "test_support.h"

#include <errno.h>

#include "conf/field.h"

struct row {
	const char *text;
	int result;
	uint64_t value;
};

static void check(const struct row *rows, size_t count,
		  int (*parse)(struct str text, uint64_t *ret_value))
{
	for (size_t i = 0; i < count; i++) {
		uint64_t value = 77;

		assert_row(rows[i].text,
			   parse(str_from_cstr(rows[i].text), &value) == rows[i].result);
		assert_row(rows[i].text, value == (rows[i].result ? 77 : rows[i].value));
	}
}

static void test_durations_need_a_unit_and_fit_64_bits(void **state)
{
	static const struct row rows[] = {
		{"500ms", 0, 500},
		{"2s", 0, 2000},
		{"10m", 0, 600000},
		{"24h", 0, 86400000},
		{"7d", 0, 604800000},
		{"0s", 0, 0},
		{"18446744073709551615ms", 0, UINT64_MAX},
		{"18446744073709551616ms", -ERANGE, 0},
		{"18446744073709552s", -ERANGE, 0},
		{"213503982335d", -ERANGE, 0},
		{"5", -EINVAL, 0},
		{"s", -EINVAL, 0},
		{"", -EINVAL, 0},
		{"1 s", -EINVAL, 0},
		{" 1s", -EINVAL, 0},
		{"-1s", -EINVAL, 0},
		{"1.5s", -EINVAL, 0},
		{"1S", -EINVAL, 0},
		{"1h30m", -EINVAL, 0},
		{"1us", -EINVAL, 0},
	};

	check(rows, ARRAY_SIZE(rows), units_parse_duration_ms);
}

static void test_sizes_are_bytes_or_binary_units_and_fit_64_bits(void **state)
{
	static const struct row rows[] = {
		{"512", 0, 512},
		{"64KiB", 0, 65536},
		{"16MiB", 0, 16777216},
		{"1GiB", 0, 1073741824},
		{"2TiB", 0, 2199023255552},
		{"0", 0, 0},
		{"16777215TiB", 0, 16777215ULL << 40},
		{"16777216TiB", -ERANGE, 0},
		{"64KB", -EINVAL, 0},
		{"64K", -EINVAL, 0},
		{"64kib", -EINVAL, 0},
		{"1.5GiB", -EINVAL, 0},
		{"KiB", -EINVAL, 0},
		{"", -EINVAL, 0},
	};

	check(rows, ARRAY_SIZE(rows), units_parse_size_bytes);
}

static void test_rates_keep_count_and_period_apart(void **state)
{
	static const struct {
		const char *text;
		int result;
		uint64_t count, period_ms;
	} rows[] = {
		{"100/s", 0, 100, 1000},
		{"5/m", 0, 5, 60000},
		{"1000/h", 0, 1000, 3600000},
		{"7/d", 0, 7, 86400000},
		{"18446744073709551616/s", -ERANGE, 0, 0},
		{"100", -EINVAL, 0, 0},
		{"/s", -EINVAL, 0, 0},
		{"100/", -EINVAL, 0, 0},
		{"100/ms", -EINVAL, 0, 0},
		{"100/10s", -EINVAL, 0, 0},
		{"100 / s", -EINVAL, 0, 0},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		uint64_t count = 0, period_ms = 0;

		assert_row(rows[i].text, units_parse_rate(str_from_cstr(rows[i].text), &count,
							  &period_ms) == rows[i].result);
		assert_row(rows[i].text, count == rows[i].count);
		assert_row(rows[i].text, period_ms == rows[i].period_ms);
	}
}

static void test_percentages_go_from_0_to_100_with_two_decimals(void **state)
{
	static const struct {
		const char *text;
		int result;
		uint32_t basis_points;
	} rows[] = {
		{"20%", 0, 2000},
		{"0%", 0, 0},
		{"100%", 0, 10000},
		{"0.5%", 0, 50},
		{"0.05%", 0, 5},
		{"99.99%", 0, 9999},
		{"100.01%", -ERANGE, 7},
		{"101%", -ERANGE, 7},
		{"18446744073709551616%", -ERANGE, 7},
		{"20", -EINVAL, 7},
		{"%", -EINVAL, 7},
		{".5%", -EINVAL, 7},
		{"1.%", -EINVAL, 7},
		{"1.123%", -EINVAL, 7},
		{"1.5 %", -EINVAL, 7},
		{"-1%", -EINVAL, 7},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		uint32_t basis_points = 7;

		assert_row(rows[i].text, units_parse_percent(str_from_cstr(rows[i].text),
							     &basis_points) == rows[i].result);
		assert_row(rows[i].text, basis_points == rows[i].basis_points);
	}
}

static void test_formatted_values_use_the_biggest_whole_unit(void **state)
{
	char text[32];

	assert_string_equal(units_format_duration(0, text, sizeof(text)), "0s");
	assert_string_equal(units_format_duration(1500, text, sizeof(text)), "1500ms");
	assert_string_equal(units_format_duration(90000, text, sizeof(text)), "90s");
	assert_string_equal(units_format_duration(172800000, text, sizeof(text)), "2d");
	assert_string_equal(units_format_size(0, text, sizeof(text)), "0");
	assert_string_equal(units_format_size(1000, text, sizeof(text)), "1000");
	assert_string_equal(units_format_size(32768, text, sizeof(text)), "32KiB");
	assert_string_equal(units_format_size(1ULL << 42, text, sizeof(text)), "4TiB");
	assert_string_equal(units_format_percent(0, text, sizeof(text)), "0%");
	assert_string_equal(units_format_percent(10000, text, sizeof(text)), "100%");
	assert_string_equal(units_format_percent(1250, text, sizeof(text)), "12.5%");
	assert_string_equal(units_format_percent(5, text, sizeof(text)), "0.05%");
}

static void test_formatted_values_read_back_as_the_same_number(void **state)
{
	uint64_t value = 1;

	for (int i = 0; i < 64; i++) {
		char text[32];
		uint64_t again;

		value = value * 3 + (uint64_t)i;
		assert_int_equal(units_parse_duration_ms(str_from_cstr(units_format_duration(
								 value, text, sizeof(text))),
							 &again),
				 0);
		assert_true(again == value);
		assert_int_equal(units_parse_size_bytes(str_from_cstr(units_format_size(
								value << 10, text, sizeof(text))),
							&again),
				 0);
		assert_true(again == value << 10);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_durations_need_a_unit_and_fit_64_bits),
		cmocka_unit_test(test_sizes_are_bytes_or_binary_units_and_fit_64_bits),
		cmocka_unit_test(test_rates_keep_count_and_period_apart),
		cmocka_unit_test(test_percentages_go_from_0_to_100_with_two_decimals),
		cmocka_unit_test(test_formatted_values_use_the_biggest_whole_unit),
		cmocka_unit_test(test_formatted_values_read_back_as_the_same_number),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

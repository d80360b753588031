#include "test_support.h"

#include <errno.h>

static void test_comparison_without_case_folds_ascii_only(void **state)
{
	assert_true(str_eq_nocase(STR("Content-Length"), STR("content-lENGTH")));
	assert_false(str_eq_nocase(STR("a"), STR("ab")));
	assert_false(str_eq_nocase(STR("\xc3\x84"), STR("\xc3\xa4")));
	/* '@' and '`' differ by the case bit but are no letters. */
	assert_false(str_eq_nocase(STR("@"), STR("`")));
	assert_true(str_eq_nocase(STR_NULL, STR("")));
}

static void test_prefix_and_suffix_longer_than_the_text_do_not_match(void **state)
{
	assert_true(str_starts_with(STR("/search/x"), STR("/search")));
	assert_true(str_starts_with(STR("x"), STR("")));
	assert_false(str_starts_with(STR("/sea"), STR("/search")));
	assert_true(str_ends_with(STR("api.example.com"), STR(".example.com")));
	assert_false(str_ends_with(STR("com"), STR("example.com")));
	assert_true(str_ends_with(STR_NULL, STR("")));
}

static void test_find_byte_gives_the_first_place_or_minus_one(void **state)
{
	assert_int_equal(str_find_byte(STR("a:b:c"), ':'), 1);
	assert_int_equal(str_find_byte(STR("abc"), ':'), -1);
	assert_int_equal(str_find_byte(STR_NULL, ':'), -1);
}

static void test_sub_is_clamped_to_the_text(void **state)
{
	assert_str(str_sub(STR("hello"), 1, 3), "ell");
	assert_str(str_sub(STR("hello"), 3, SIZE_MAX), "lo");
	assert_str(str_sub(STR("hello"), 9, 2), "");
	assert_null(str_sub(STR_NULL, 0, 1).ptr);
}

static void test_trim_removes_space_and_tab_but_not_line_ends(void **state)
{
	assert_str(str_trim(STR(" \t a b\t ")), "a b");
	assert_str(str_trim(STR("\r\n")), "\r\n");
	assert_str(str_trim(STR("   ")), "");
}

static void test_token_list_yields_empty_elements_too(void **state)
{
	static const struct {
		const char *list;
		const char *tokens[5];
	} rows[] = {
		{"a, ,b", {"a", "", "b"}}, {"", {""}}, {",", {"", ""}}, {" one ", {"one"}},
		{"a,b,", {"a", "b", ""}},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct str rest = str_from_cstr(rows[i].list), token;
		size_t count = 0;

		while (str_next_token(&rest, ',', &token)) {
			assert_row(rows[i].list, count < 5 && rows[i].tokens[count]);
			assert_row(rows[i].list, str_eq_cstr(token, rows[i].tokens[count]));
			count++;
		}
		assert_row(rows[i].list, !rows[i].tokens[count]);
	}
}

static void test_numbers_take_digits_only_and_refuse_overflow(void **state)
{
	static const struct {
		const char *text;
		int result;
		uint64_t number;
	} rows[] = {
		{"0", 0, 0},
		{"0042", 0, 42},
		{"18446744073709551615", 0, UINT64_MAX},
		{"18446744073709551616", -ERANGE, 7},
		{"99999999999999999999999", -ERANGE, 7},
		{"99999999999999999999999x", -EINVAL, 7},
		{"", -EINVAL, 7},
		{"+1", -EINVAL, 7},
		{"-1", -EINVAL, 7},
		{" 1", -EINVAL, 7},
		{"1 ", -EINVAL, 7},
		{"0x1", -EINVAL, 7},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		uint64_t number = 7;

		assert_row(rows[i].text,
			   str_to_u64(str_from_cstr(rows[i].text), &number) == rows[i].result);
		assert_row(rows[i].text, number == rows[i].number);
	}
}

static void test_copy_to_c_string_refuses_what_does_not_fit_and_nul(void **state)
{
	char buf[4] = "xyz";

	assert_int_equal(str_to_cstr(STR("abcd"), buf, sizeof(buf)), -ENAMETOOLONG);
	assert_int_equal(str_to_cstr(STR("a\0b"), buf, sizeof(buf)), -EINVAL);
	assert_string_equal(buf, "xyz");
	assert_int_equal(str_to_cstr(STR("abc"), buf, sizeof(buf)), 0);
	assert_string_equal(buf, "abc");
	assert_int_equal(str_to_cstr(STR_NULL, buf, sizeof(buf)), 0);
	assert_string_equal(buf, "");
}

static void test_quoting_escapes_controls_quotes_and_high_bytes(void **state)
{
	char buf[64];

	assert_string_equal(str_quote(STR("a b\n"), buf, sizeof(buf)), "'a b\\x0a'");
	assert_string_equal(str_quote(STR("it's \"x\""), buf, sizeof(buf)),
			    "'it\\x27s \\x22x\\x22'");
	assert_string_equal(str_quote(STR("\xff\x7f\x1b"), buf, sizeof(buf)), "'\\xff\\x7f\\x1b'");
	assert_string_equal(str_quote(STR_NULL, buf, sizeof(buf)), "''");
}

static void test_quoting_cuts_long_text_at_every_buffer_size(void **state)
{
	for (size_t size = 1; size < 20; size++) {
		char buf[20];

		memset(buf, 'Z', sizeof(buf));
		(void)str_quote(STR("ab\ncdefghi"), buf, size);
		assert_in_range(strlen(buf), 0, size - 1);
		for (size_t i = size; i < sizeof(buf); i++)
			assert_int_equal(buf[i], 'Z');
	}
	{
		char buf[10];

		assert_string_equal(str_quote(STR("abcdefghi"), buf, sizeof(buf)), "'abcd...'");
		assert_string_equal(str_quote(STR("abcdefg"), buf, sizeof(buf)), "'abcdefg'");
	}
}

static void test_distance_counts_edits_up_to_the_cap(void **state)
{
	static const struct {
		const char *left, *right;
		unsigned int cap, distance;
	} rows[] = {
		{"pay", "pay", 3, 0},	     {"lisener", "listener", 3, 1},
		{"kitten", "sitting", 9, 3}, {"kitten", "sitting", 2, 2},
		{"", "abc", 9, 3},	     {"ab", "ba", 9, 2},
		{"a", "abcdefgh", 3, 3},
	};
	char longer[300];

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		assert_row(rows[i].left,
			   str_distance(str_from_cstr(rows[i].left), str_from_cstr(rows[i].right),
					rows[i].cap) == rows[i].distance);
	memset(longer, 'a', sizeof(longer));
	assert_int_equal(str_distance(str_make(longer, 300), str_make(longer, 299), 3), 3);
	assert_int_equal(str_distance(str_make(longer, 300), str_make(longer, 300), 3), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_comparison_without_case_folds_ascii_only),
		cmocka_unit_test(test_prefix_and_suffix_longer_than_the_text_do_not_match),
		cmocka_unit_test(test_find_byte_gives_the_first_place_or_minus_one),
		cmocka_unit_test(test_sub_is_clamped_to_the_text),
		cmocka_unit_test(test_trim_removes_space_and_tab_but_not_line_ends),
		cmocka_unit_test(test_token_list_yields_empty_elements_too),
		cmocka_unit_test(test_numbers_take_digits_only_and_refuse_overflow),
		cmocka_unit_test(test_copy_to_c_string_refuses_what_does_not_fit_and_nul),
		cmocka_unit_test(test_quoting_escapes_controls_quotes_and_high_bytes),
		cmocka_unit_test(test_quoting_cuts_long_text_at_every_buffer_size),
		cmocka_unit_test(test_distance_counts_edits_up_to_the_cap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Allow and deny lists as text, and many entries in little memory. */
#include "test_support.h"

#include <errno.h>
#include <stdlib.h>

#include "kern/access_entries.h"
#include "kern/access_text.h"

/* 2026-09-21T14:13:20Z */
#define NOW_MS 1790000000000ULL

struct seen {
	struct access_entry entries[8];
	size_t count;
	struct buf errors; /* "LINE:COLUMN: TEXT\n" */
};

static int keep_entry(const struct access_entry *entry, void *arg)
{
	struct seen *seen = arg;

	assert_true(seen->count < ARRAY_SIZE(seen->entries));
	seen->entries[seen->count++] = *entry;
	return 0;
}

static void keep_error(uint64_t line, size_t column, const char *text, void *arg)
{
	struct seen *seen = arg;

	assert_int_equal(
		buf_printf(&seen->errors, "%llu:%zu: %s\n", (unsigned long long)line, column, text),
		0);
}

static struct access_text_reader reader_of(struct seen *seen)
{
	memset(seen, 0, sizeof(*seen));
	buf_init(&seen->errors, 1 << 20);
	return (struct access_text_reader){
		.now_wall_ms = NOW_MS,
		.entry = keep_entry,
		.error = keep_error,
		.arg = seen,
	};
}

/* Lines as they are read, and as they are written again ("" when they say nothing). */
static const struct {
	const char *text, *written;
} good_rows[] = {
	{"203.0.113.0/24", "203.0.113.0/24\n"},
	{"198.51.100.7", "198.51.100.7/32\n"},
	{" \t198.51.100.7 \t", "198.51.100.7/32\n"},
	{"0.0.0.0/0", "0.0.0.0/0\n"},
	{"255.255.255.255", "255.255.255.255/32\n"},
	{"128.0.0.0/1", "128.0.0.0/1\n"},
	{"2001:DB8::/32", "2001:db8::/32\n"},
	{"::/0", "::/0\n"},
	{"::ffff:192.0.2.1", "::ffff:192.0.2.1/128\n"},
	{"", ""},
	{"   ", ""},
	{"# all of it", ""},
	{"\r", ""},
	{"10.0.0.1#here", "10.0.0.1/32\n"},
	{"10.0.0.1 # and here", "10.0.0.1/32\n"},
	{"10.0.0.1\r", "10.0.0.1/32\n"},
	{"10.0.0.1 reason scanner", "10.0.0.1/32 reason scanner\n"},
	{"10.0.0.1 reason \"two words\"", "10.0.0.1/32 reason \"two words\"\n"},
	{"10.0.0.1 reason \"plain\"", "10.0.0.1/32 reason plain\n"},
	{"10.0.0.1 reason \"\"", "10.0.0.1/32\n"},
	{"10.0.0.1 reason \"#1\"# 2", "10.0.0.1/32 reason \"#1\"\n"},
	{"10.0.0.1 reason \"a\\\"b\\\\c\\d\"", "10.0.0.1/32 reason \"a\\\"b\\\\c\\\\d\"\n"},
	{"10.0.0.1 reason \xc3\xa9t\xc3\xa9", "10.0.0.1/32 reason \"\xc3\xa9t\xc3\xa9\"\n"},
	{"10.0.0.1 reason ttl ttl 1s", "10.0.0.1/32 reason ttl until 2026-09-21T14:13:21Z\n"},
	{"10.0.0.1 reason 0123456789012345678901234567890",
	 "10.0.0.1/32 reason 0123456789012345678901234567890\n"},
	{"10.0.0.1 ttl 1500ms", "10.0.0.1/32 until 2026-09-21T14:13:21.500Z\n"},
	{"10.0.0.1 ttl 7d reason x", "10.0.0.1/32 reason x until 2026-09-28T14:13:20Z\n"},
	{"10.0.0.1 until 2026-11-24T05:00:00Z", "10.0.0.1/32 until 2026-11-24T05:00:00Z\n"},
	{"10.0.0.1 until 2028-02-29T23:59:59.007Z", "10.0.0.1/32 until 2028-02-29T23:59:59.007Z\n"},
	{"10.0.0.1 until 2100-03-01T00:00:00Z", "10.0.0.1/32 until 2100-03-01T00:00:00Z\n"},
	{"10.0.0.1 until 1970-01-02T00:00:00Z", "10.0.0.1/32 until 1970-01-02T00:00:00Z\n"},
};

static void test_lines_are_read_and_written(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(good_rows); i++) {
		struct seen seen, again;
		struct access_text_reader reader = reader_of(&seen);
		struct buf out;

		buf_init(&out, 4096);
		assert_row(good_rows[i].text,
			   access_text_read(&reader, str_from_cstr(good_rows[i].text)) == 0);
		assert_row(good_rows[i].text, seen.count == (good_rows[i].written[0] != 0));
		if (!seen.count)
			continue;
		assert_int_equal(access_text_write(&out, &seen.entries[0], false), 0);
		assert_row(good_rows[i].text, str_eq_cstr(buf_str(&out), good_rows[i].written));
		reader = reader_of(&again);
		assert_int_equal(access_text_read(&reader, buf_str(&out)), 0);
		assert_row(good_rows[i].text,
			   !memcmp(&again.entries[0], &seen.entries[0], sizeof(again.entries[0])));
		buf_done(&out);
	}
}

static const struct {
	const char *text, *error; /* how it begins */
} bad_rows[] = {
	{"x", "1:1: 'x' is not an address or a prefix\n"},
	{"\n\n  x y", "3:3: 'x' is not an address"},
	{"10.0.0.1/8", "1:1: '10.0.0.1/8' has host bits set; did you mean '10.0.0.0/8'?"},
	{"10.0.0.0/33", "1:1: '10.0.0.0/33': the prefix length must be 0 to 32"},
	{"10.0.0.0/08", "1:1: '10.0.0.0/08': the prefix length"},
	{"10.0.0.0/", "1:1: '10.0.0.0/': the prefix length"},
	{"010.0.0.0", "1:1: '010.0.0.0' is not an address"},
	{"10.0.0.256", "1:1: '10.0.0.256' is not an address"},
	{"10.0.0", "1:1: '10.0.0' is not an address"},
	{"10.0.0.0.0", "1:1: '10.0.0.0.0' is not an address"},
	{"10.0.0.0/8/8", "1:1: '10.0.0.0/8/8'"},
	{"2001:db8::/129", "1:1: '2001:db8::/129': the prefix length must be 0 to 128"},
	{"10.0.0.1 scanner", "1:10: unknown word 'scanner'; expected 'reason', 'ttl' or 'until'"},
	{"10.0.0.1 from cli", "1:10: unknown word 'from'"},
	{"10.0.0.1 reason", "1:16: 'reason' needs a value: reason TEXT"},
	{"10.0.0.1 reason # x", "1:17: 'reason' needs a value"},
	{"10.0.0.1 ttl", "1:10: 'ttl' needs a value: ttl DURATION"},
	{"10.0.0.1 ttl 5", "1:14: ttl '5' is not a duration; write it as 90s"},
	{"10.0.0.1 ttl 0s", "1:14: ttl '0s' is no time at all"},
	{"10.0.0.1 ttl 36501d", "1:14: ttl '36501d' is too long"},
	{"10.0.0.1 ttl 18446744073709551616ms", "1:14: ttl '18446744073709551616ms' is too long"},
	{"10.0.0.1 ttl 1s ttl 1s", "1:17: 'ttl' is given twice"},
	{"10.0.0.1 ttl 1s until 2027-01-01T00:00:00Z", "1:17: 'ttl' and 'until' do not go"},
	{"10.0.0.1 until tomorrow", "1:16: until 'tomorrow' is not a moment such as 2026-"},
	{"10.0.0.1 until 2027-02-29T00:00:00Z", "1:16: until '2027-02-29T00:00:00Z' is not a"},
	{"10.0.0.1 until 2100-02-29T00:00:00Z", "1:16: until '2100-02-29T00:00:00Z' is not a"},
	{"10.0.0.1 until 2027-13-01T00:00:00Z", "1:16: until"},
	{"10.0.0.1 until 2027-01-01T24:00:00Z", "1:16: until"},
	{"10.0.0.1 until 2027-01-01T00:00:00", "1:16: until"},
	{"10.0.0.1 until 1970-01-01T00:00:00Z", "1:16: until"},
	{"10.0.0.1 until 2999-01-01T00:00:00Z", "1:16: until '2999-01-01T00:00:00Z' is more than"},
	{"10.0.0.1 reason \"x", "1:17: the quote is not closed on its line"},
	{"10.0.0.1 reason \"x\\\"", "1:17: the quote is not closed"},
	{"10.0.0.1 reason \"x\"y", "1:20: expected a blank after the closing quote"},
	{"10.0.0.1 reason 01234567890123456789012345678901", "1:17: the reason '01234567890"},
	{"10.0.0.1 reason \"01234567890123456789012345678901234567890\"", "1:17: the reason '0123"},
	{"10.0.0.1 reason a\x01", "1:17: the reason 'a\\x01' has a control character"},
	{"10.0.0.1 reason \xff", "1:17: the reason '\\xff' is not UTF-8"},
	{"a\n10.0.0.1\nb\n", "1:1: 'a' is not an address or a prefix\n3:1: 'b' is"},
};

static void test_errors_name_line_and_column(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(bad_rows); i++) {
		struct seen seen;
		struct access_text_reader reader = reader_of(&seen);

		assert_row(bad_rows[i].text,
			   access_text_read(&reader, str_from_cstr(bad_rows[i].text)) == -EINVAL);
		if (!str_starts_with(buf_str(&seen.errors), str_from_cstr(bad_rows[i].error)))
			print_error("%.*s", STR_FMT(buf_str(&seen.errors)));
		assert_row(bad_rows[i].text, str_starts_with(buf_str(&seen.errors),
							     str_from_cstr(bad_rows[i].error)));
		buf_done(&seen.errors);
	}
}

static void test_zero_bytes_and_endless_lines_are_errors(void **state)
{
	static char longest[ACCESS_LINE_MAX + 2];
	struct seen seen;
	struct access_text_reader reader = reader_of(&seen);

	assert_int_equal(access_text_read(&reader, str_make("10.0.0.1\0", 9)), -EINVAL);
	assert_int_equal(access_text_read(&reader, str_make("10.0.0.1 reason \0", 17)), -EINVAL);
	memset(longest, '#', sizeof(longest));
	assert_int_equal(access_text_read(&reader, str_make(longest, ACCESS_LINE_MAX)), 0);
	assert_int_equal(access_text_read(&reader, str_make(longest, ACCESS_LINE_MAX + 1)),
			 -EINVAL);
	assert_int_equal(reader.line, 4);
	assert_non_null(memmem(buf_str(&seen.errors).ptr, seen.errors.len,
			       "4:4097: the line is longer than 4096 bytes", 42));
	buf_done(&seen.errors);
}

static void test_lines_without_words_take_what_holds_for_all(void **state)
{
	struct seen seen;
	struct access_text_reader reader = reader_of(&seen);

	reader.reason = "feed";
	reader.expires_wall_ms = NOW_MS + 5000;
	assert_int_equal(access_text_read(&reader, STR("10.0.0.1\n10.0.0.2 reason own ttl 1s\n")),
			 0);
	assert_string_equal(seen.entries[0].reason, "feed");
	assert_true(seen.entries[0].expires_wall_ms == NOW_MS + 5000);
	assert_string_equal(seen.entries[1].reason, "own");
	assert_true(seen.entries[1].expires_wall_ms == NOW_MS + 1000);
	assert_int_equal(seen.entries[1].origin, ACCESS_FROM_CLI);
}

static void test_shown_entries_have_origin_and_what_they_matched(void **state)
{
	static const char line[] =
		"10.0.0.0/8 reason x from config packets 18446744073709551615 bytes 12\n";
	struct seen seen;
	struct access_text_reader reader = reader_of(&seen);
	struct buf out;

	buf_init(&out, 4096);
	reader.is_shown = true;
	assert_int_equal(access_text_read(&reader, str_from_cstr(line)), 0);
	assert_int_equal(seen.entries[0].origin, ACCESS_FROM_CONFIG);
	assert_true(seen.entries[0].packets == UINT64_MAX && seen.entries[0].bytes == 12);
	assert_int_equal(access_text_write(&out, &seen.entries[0], true), 0);
	assert_true(str_eq_cstr(buf_str(&out), line));
	buf_done(&out);
	assert_int_equal(access_text_read(&reader, STR("10.0.0.0/8 from here")), -EINVAL);
	assert_int_equal(access_text_read(&reader, STR("10.0.0.0/8 packets -1")), -EINVAL);
	buf_done(&seen.errors);
}

/* Maps are input: what cannot be a reason is written so that it can be read. */
static void test_reason_that_is_none_is_written_readably(void **state)
{
	struct access_entry entry = {.prefix = {{AF_INET, {10}}, 8}, .reason = "a\xff\n\"b"};
	struct buf out;

	buf_init(&out, 4096);
	assert_int_equal(access_text_write(&out, &entry, false), 0);
	assert_true(str_eq_cstr(buf_str(&out), "10.0.0.0/8 reason \"a\?\?\\\"b\"\n"));
	buf_done(&out);
}

static int stop(const struct access_entry *entry, void *arg)
{
	return entry->prefix.addr.bytes[3] == 2 ? -ECANCELED : 0;
}

static void test_reading_stops_when_it_is_told(void **state)
{
	struct seen seen;
	struct access_text_reader reader = reader_of(&seen);

	reader.entry = stop;
	assert_int_equal(access_text_read(&reader, STR("10.0.0.1\n10.0.0.2\n10.0.0.3\n")),
			 -ECANCELED);
	assert_int_equal(reader.line, 2);
}

/* ---- sets ---- */

static struct access_entry entry_number(uint32_t number)
{
	struct access_entry entry = {.prefix = {{AF_INET, {10}}, 32},
				     .expires_wall_ms = number,
				     .packets = number * 2ULL};

	entry.prefix.addr.bytes[1] = (uint8_t)(number >> 16);
	entry.prefix.addr.bytes[2] = (uint8_t)(number >> 8);
	entry.prefix.addr.bytes[3] = (uint8_t)number;
	(void)snprintf(entry.reason, sizeof(entry.reason), "reason %u", number % 1000);
	return entry;
}

static void test_set_finds_all_of_many_entries(void **state)
{
	struct access_entries *set = access_entries_new(100000);
	struct access_entry entry, found;

	assert_non_null(set);
	for (uint32_t i = 0; i < 100000; i++) {
		entry = entry_number(i);
		assert_int_equal(access_entries_put(set, &entry), 0);
	}
	entry = entry_number(100000);
	assert_int_equal(access_entries_put(set, &entry), -ENOSPC);
	assert_false(access_entries_has(set, &entry.prefix));
	for (uint32_t i = 0; i < 100000; i++) {
		entry = entry_number(i);
		assert_true(access_entries_has(set, &entry.prefix));
		assert_true(access_entries_get(set, i, &found));
		assert_memory_equal(&found, &entry, sizeof(found));
	}
	entry.prefix.bits = 31;
	assert_false(access_entries_has(set, &entry.prefix));
	access_entries_free(set);
}

static void test_set_replaces_and_removes(void **state)
{
	struct access_entries *set = access_entries_new(10);
	struct access_entry entry = entry_number(1), found;

	assert_non_null(set);
	assert_int_equal(access_entries_put(set, &entry), 0);
	(void)snprintf(entry.reason, sizeof(entry.reason), "other");
	assert_int_equal(access_entries_put(set, &entry), 1);
	assert_int_equal(access_entries_count(set), 1);
	assert_true(access_entries_get(set, 0, &found));
	assert_string_equal(found.reason, "other");
	assert_int_equal(access_entries_remove(set, &entry.prefix), 0);
	assert_int_equal(access_entries_remove(set, &entry.prefix), -ENOENT);
	assert_int_equal(access_entries_count(set), 0);
	assert_false(access_entries_get(set, 0, &found));
	assert_int_equal(access_entries_put(set, &entry), 0);
	assert_int_equal(access_entries_places(set), 2);
	assert_true(access_entries_has(set, &entry.prefix));
	access_entries_free(set);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines_are_read_and_written),
		cmocka_unit_test(test_errors_name_line_and_column),
		cmocka_unit_test(test_zero_bytes_and_endless_lines_are_errors),
		cmocka_unit_test(test_lines_without_words_take_what_holds_for_all),
		cmocka_unit_test(test_shown_entries_have_origin_and_what_they_matched),
		cmocka_unit_test(test_reason_that_is_none_is_written_readably),
		cmocka_unit_test(test_reading_stops_when_it_is_told),
		cmocka_unit_test(test_set_finds_all_of_many_entries),
		cmocka_unit_test(test_set_replaces_and_removes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

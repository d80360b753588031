/* One exchange as one line of the access log. */
#include "test_support.h"

#include <jansson.h>
#include <stdlib.h>

#include "http/access_log_format.h"

static struct access_log_entry entry_make(void)
{
	struct access_log_entry entry = {
		.wall_ms = 1769860800123ULL, /* 2026-01-31T12:00:00.123Z */
		.listener = STR("web"),
		.route = STR("shop"),
		.method = STR("GET"),
		.host = STR("example.com"),
		.target = STR("/a?b=c"),
		.version_minor = 1,
		.status = 200,
		.bytes_in = 0,
		.bytes_out = 18446744073709551615ULL,
		.duration_us = 1234005,
		.first_byte_us = 999,
		.user_agent = STR("curl/8.5"),
	};

	assert_int_equal(ip_addr_parse(STR("192.0.2.7"), &entry.client), 0);
	entry.peer = entry.client;
	return entry;
}

/* The line without its line feed, in memory of exactly the promised size. */
static char *format_line(enum access_log_format format, const struct access_log_entry *entry)
{
	struct access_log_clock clock = {0};
	size_t bound = access_log_format_bound(entry), len;
	char *room = malloc(bound);

	assert_non_null(room);
	assert_true(bound <= ACCESS_LOG_LINE_MAX);
	len = access_log_format(format, entry, &clock, room);
	assert_in_range(len, 1, bound);
	assert_int_equal(room[len - 1], '\n');
	room[len - 1] = '\0';
	assert_int_equal(strlen(room), len - 1);
	assert_null(strchr(room, '\n'));
	return room;
}

static void assert_line(enum access_log_format format, const struct access_log_entry *entry,
			const char *expected)
{
	char *line = format_line(format, entry);

	assert_string_equal(line, expected);
	free(line);
}

static void assert_line_has(enum access_log_format format, const struct access_log_entry *entry,
			    const char *part)
{
	char *line = format_line(format, entry);

	if (!strstr(line, part))
		fail_msg("no %s in %s", part, line);
	free(line);
}

static void test_a_local_answer_as_json(void **state)
{
	struct access_log_entry entry = entry_make();

	assert_line(ACCESS_LOG_JSON, &entry,
		    "{\"time\":\"2026-01-31T12:00:00.123Z\",\"client\":\"192.0.2.7\","
		    "\"listener\":\"web\",\"route\":\"shop\",\"method\":\"GET\","
		    "\"host\":\"example.com\",\"target\":\"/a?b=c\",\"protocol\":\"HTTP/1.1\","
		    "\"status\":200,\"reason\":null,\"bytes_in\":0,"
		    "\"bytes_out\":18446744073709551615,\"duration_ms\":1234.005,"
		    "\"first_byte_ms\":0.999,\"user_agent\":\"curl/8.5\",\"referer\":null}");
}

static void test_a_proxied_exchange_as_json_says_whom_it_asked(void **state)
{
	struct access_log_entry entry = entry_make();

	assert_int_equal(ip_addr_parse(STR("2001:db8::9"), &entry.client), 0);
	entry.has_upstream = true;
	entry.upstream = STR("api");
	entry.endpoint = STR("10.0.0.1:80");
	entry.attempts = 2;
	entry.connect_us = 1;
	entry.head_us = ACCESS_LOG_NEVER;
	entry.status = 504;
	entry.reason = "upstream did not answer in time";
	assert_line(ACCESS_LOG_JSON, &entry,
		    "{\"time\":\"2026-01-31T12:00:00.123Z\",\"client\":\"2001:db8::9\","
		    "\"peer\":\"192.0.2.7\",\"listener\":\"web\",\"route\":\"shop\","
		    "\"method\":\"GET\",\"host\":\"example.com\",\"target\":\"/a?b=c\","
		    "\"protocol\":\"HTTP/1.1\",\"status\":504,"
		    "\"reason\":\"upstream did not answer in time\",\"bytes_in\":0,"
		    "\"bytes_out\":18446744073709551615,\"duration_ms\":1234.005,"
		    "\"first_byte_ms\":0.999,\"upstream\":\"api\",\"endpoint\":\"10.0.0.1:80\","
		    "\"attempts\":2,\"reused\":false,\"connect_ms\":0.001,\"upstream_ms\":null,"
		    "\"user_agent\":\"curl/8.5\",\"referer\":null}");
}

static void test_a_refused_head_and_an_exchange_without_answer_as_json(void **state)
{
	struct access_log_entry entry = entry_make();

	entry.route = entry.method = entry.host = entry.target = entry.user_agent = STR_NULL;
	entry.refused_line = STR("GET  / HTTP/1.1");
	entry.status = 0;
	entry.first_byte_us = ACCESS_LOG_NEVER;
	assert_line(ACCESS_LOG_JSON, &entry,
		    "{\"time\":\"2026-01-31T12:00:00.123Z\",\"client\":\"192.0.2.7\","
		    "\"listener\":\"web\",\"route\":null,\"method\":null,\"host\":null,"
		    "\"target\":null,\"protocol\":null,\"refused_line\":\"GET  / HTTP/1.1\","
		    "\"status\":null,\"reason\":null,\"bytes_in\":0,"
		    "\"bytes_out\":18446744073709551615,\"duration_ms\":1234.005,"
		    "\"first_byte_ms\":null,\"user_agent\":null,\"referer\":null}");
}

static void test_combined_is_what_log_analysers_read(void **state)
{
	struct access_log_entry entry = entry_make();

	entry.version_minor = 0;
	entry.bytes_out = 12;
	assert_line(ACCESS_LOG_COMBINED, &entry,
		    "192.0.2.7 - - [31/Jan/2026:12:00:00 +0000] \"GET /a?b=c HTTP/1.0\" 200 12 "
		    "\"-\" \"curl/8.5\"");
	entry.method = STR_NULL;
	entry.refused_line = STR_NULL;
	entry.user_agent = STR("");
	entry.status = 0;
	assert_line(ACCESS_LOG_COMBINED, &entry,
		    "192.0.2.7 - - [31/Jan/2026:12:00:00 +0000] \"-\" 499 12 \"-\" \"-\"");
}

static void test_the_consumer_is_told_in_both_formats(void **state)
{
	struct access_log_entry entry = entry_make();

	entry.consumer = STR("ac\"me");
	assert_line_has(ACCESS_LOG_JSON, &entry,
			"\"route\":\"shop\",\"consumer\":\"ac\\\"me\",\"method\":");
	assert_line_has(ACCESS_LOG_COMBINED, &entry, "192.0.2.7 - ac\\x22me [31/Jan/2026:");
}

static void test_hostile_bytes_break_neither_format(void **state)
{
	static const struct {
		const char *row;
		struct str value;
		const char *json, *combined;
	} rows[] = {
		{"quote", STR("a\"b"), "\"a\\\"b\"", "\"a\\x22b\""},
		{"backslash at the end", STR("a\\"), "\"a\\\\\"", "\"a\\x5C\""},
		{"a second line", STR("a\r\n1.2.3.4 - -"), "\"a\\u000d\\u000a1.2.3.4 - -\"",
		 "\"a\\x0D\\x0A1.2.3.4 - -\""},
		{"controls", STR("\x01\x1f\x7f\t"), "\"\\u0001\\u001f\\u007f\\u0009\"",
		 "\"\\x01\\x1F\\x7F\\x09\""},
		{"NUL", STR("a\0b"), "\"a\\u0000b\"", "\"a\\x00b\""},
		{"good UTF-8", STR("gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x8c\x8a"),
		 "\"gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x8c\x8a\"",
		 "\"gr\\xC3\\xBC\\xC3\\x9F \\xE2\\x82\\xAC \\xF0\\x9F\\x8C\\x8A\""},
		{"bad UTF-8",
		 STR("\xff"
		     "a\xc3"),
		 "\"\xef\xbf\xbd"
		 "a\xef\xbf\xbd\"",
		 "\"\\xFFa\\xC3\""},
		{"overlong and surrogate", STR("\xc0\xaf\xed\xa0\x80"),
		 "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"",
		 "\"\\xC0\\xAF\\xED\\xA0\\x80\""},
		{"eight plain bytes and a quote", STR("01234567\"01234567"),
		 "\"01234567\\\"01234567\"", "\"01234567\\x2201234567\""},
		{"terminal escape", STR("\x1b[2J"), "\"\\u001b[2J\"", "\"\\x1B[2J\""},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct access_log_entry entry = entry_make();
		char *line;

		entry.user_agent = rows[i].value;
		line = format_line(ACCESS_LOG_JSON, &entry);
		assert_row(rows[i].row, strstr(line, rows[i].json) != NULL);
		free(line);
		line = format_line(ACCESS_LOG_COMBINED, &entry);
		assert_row(rows[i].row, strstr(line, rows[i].combined) != NULL);
		free(line);
	}
}

/* Every byte at every place of a word of eight: where the quick way looks. */
static void test_every_byte_at_every_place_gives_valid_json(void **state)
{
	for (unsigned int byte = 0; byte < 256; byte++) {
		for (unsigned int place = 0; place < 17; place++) {
			struct access_log_entry entry = entry_make();
			char value[17];
			json_t *doc;
			char *line;

			memset(value, 'a', sizeof(value));
			value[place] = (char)byte;
			entry.target = str_make(value, sizeof(value));
			entry.bytes_out = 1; /* jansson's integers are signed */
			line = format_line(ACCESS_LOG_JSON, &entry);
			doc = json_loads(line, JSON_ALLOW_NUL, NULL);
			if (!doc)
				fail_msg("byte %u at %u: %s", byte, place, line);
			if (byte < 128)
				assert_memory_equal(
					json_string_value(json_object_get(doc, "target")), value,
					sizeof(value));
			json_decref(doc);
			free(line);
			line = format_line(ACCESS_LOG_COMBINED, &entry);
			for (const char *at = line; *at; at++)
				if (*at < ' ' || *at > 126)
					fail_msg("byte %u at %u: %s", byte, place, line);
			free(line);
		}
	}
}

static void test_the_longest_values_are_cut_and_fit_the_bound(void **state)
{
	static const enum access_log_format formats[] = {ACCESS_LOG_JSON, ACCESS_LOG_COMBINED};
	struct access_log_entry entry = entry_make();
	char *big = malloc(100000);

	assert_non_null(big);
	memset(big, 1, 100000); /* six bytes for each in JSON */
	entry.method = entry.host = entry.target = entry.user_agent = entry.referer =
		entry.consumer = entry.listener = entry.route = entry.upstream = entry.endpoint =
			str_make(big, 100000);
	entry.has_upstream = true;
	entry.connect_us = entry.head_us = entry.duration_us = entry.first_byte_us = UINT64_MAX - 1;
	entry.bytes_in = UINT64_MAX;
	entry.attempts = UINT32_MAX;
	for (size_t i = 0; i < ARRAY_SIZE(formats); i++)
		free(format_line(formats[i], &entry));
	entry.method = STR_NULL;
	entry.refused_line = entry.host;
	for (size_t i = 0; i < ARRAY_SIZE(formats); i++)
		free(format_line(formats[i], &entry));
	free(big);
}

static void test_the_time_is_right_across_seconds_and_years(void **state)
{
	static const struct {
		uint64_t wall_ms;
		const char *json, *combined;
	} rows[] = {
		{0, "\"1970-01-01T00:00:00.000Z\"", "[01/Jan/1970:00:00:00 +0000]"},
		{999, "\"1970-01-01T00:00:00.999Z\"", "[01/Jan/1970:00:00:00 +0000]"},
		{951827696007ULL, "\"2000-02-29T12:34:56.007Z\"", "[29/Feb/2000:12:34:56 +0000]"},
		{1798761599999ULL, "\"2026-12-31T23:59:59.999Z\"", "[31/Dec/2026:23:59:59 +0000]"},
		{1798761600000ULL, "\"2027-01-01T00:00:00.000Z\"", "[01/Jan/2027:00:00:00 +0000]"},
	};
	struct access_log_clock clock = {0};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct access_log_entry entry = entry_make();
		char line[8192];
		size_t len;

		entry.wall_ms = rows[i].wall_ms;
		len = access_log_format(ACCESS_LOG_JSON, &entry, &clock, line);
		line[len] = '\0';
		assert_row(rows[i].json, strstr(line, rows[i].json) != NULL);
		len = access_log_format(ACCESS_LOG_COMBINED, &entry, &clock, line);
		line[len] = '\0';
		assert_row(rows[i].combined, strstr(line, rows[i].combined) != NULL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_local_answer_as_json),
		cmocka_unit_test(test_a_proxied_exchange_as_json_says_whom_it_asked),
		cmocka_unit_test(test_a_refused_head_and_an_exchange_without_answer_as_json),
		cmocka_unit_test(test_combined_is_what_log_analysers_read),
		cmocka_unit_test(test_the_consumer_is_told_in_both_formats),
		cmocka_unit_test(test_hostile_bytes_break_neither_format),
		cmocka_unit_test(test_every_byte_at_every_place_gives_valid_json),
		cmocka_unit_test(test_the_longest_values_are_cut_and_fit_the_bound),
		cmocka_unit_test(test_the_time_is_right_across_seconds_and_years),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

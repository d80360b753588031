#include "http1_support.h"

#include <stdlib.h>

static void test_a_request_head_is_written_and_reads_back(void **state)
{
	char room[256];
	struct http1_writer writer;
	struct parsed parsed;

	http1_write_init(&writer, room, sizeof(room));
	http1_write_request_line(&writer, STR("GET"), STR("/a?b=c"));
	http1_write_field(&writer, STR("Host"), STR("shop.example"));
	http1_write_field(&writer, STR("X-Empty"), STR(""));
	http1_write_field_u64(&writer, STR("Content-Length"), UINT64_MAX);
	http1_write_bytes(&writer, STR("X-Ready: made\r\n"));
	http1_write_end(&writer);
	assert_false(writer.overflowed);
	assert_false(writer.invalid);
	assert_str(str_make(room, (size_t)(writer.pos - room)),
		   "GET /a?b=c HTTP/1.1\r\nHost: shop.example\r\nX-Empty: \r\n"
		   "Content-Length: 18446744073709551615\r\nX-Ready: made\r\n\r\n");

	parsed_request(&parsed, str_make(room, (size_t)(writer.pos - room)), NULL);
	assert_int_equal(parsed.error, HTTP1_OK);
	assert_int_equal(parsed.head.field_count, 4);
	assert_int_equal(parsed.head.content_length, UINT64_MAX);
	parsed_done(&parsed);
}

static void test_a_status_line_has_our_phrase(void **state)
{
	static const struct {
		uint16_t status;
		const char *line;
	} rows[] = {
		{100, "HTTP/1.1 100 Continue\r\n"},
		{200, "HTTP/1.1 200 OK\r\n"},
		{421, "HTTP/1.1 421 Misdirected Request\r\n"},
		{511, "HTTP/1.1 511 Network Authentication Required\r\n"},
		{599, "HTTP/1.1 599 Unknown\r\n"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char room[64];
		struct http1_writer writer;

		http1_write_init(&writer, room, sizeof(room));
		http1_write_status_line(&writer, rows[i].status);
		assert_false(writer.overflowed);
		assert_str(str_make(room, (size_t)(writer.pos - room)), rows[i].line);
	}
}

static void test_every_phrase_is_found_and_others_are_unknown(void **state)
{
	static const uint16_t known[] = {101, 204, 206, 301, 304, 308, 400, 404, 408, 413, 414,
					 417, 429, 431, 451, 500, 501, 502, 503, 504, 505};
	static const uint16_t unknown[] = {0, 99, 104, 299, 306, 452, 512, 999, UINT16_MAX};

	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		assert_string_not_equal(http_reason_phrase(known[i]), "Unknown");
	for (size_t i = 0; i < ARRAY_SIZE(unknown); i++)
		assert_string_equal(http_reason_phrase(unknown[i]), "Unknown");
}

static void test_a_status_outside_100_to_599_is_not_written(void **state)
{
	static const uint16_t rows[] = {0, 1, 99, 600, 1000, UINT16_MAX};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char room[64];
		struct http1_writer writer;

		http1_write_init(&writer, room, sizeof(room));
		http1_write_status_line(&writer, rows[i]);
		assert_true(writer.invalid);
		assert_ptr_equal(writer.pos, room);
	}
}

static void test_h13_a_name_or_value_that_would_break_the_line_is_not_written(void **state)
{
	static const struct {
		struct str name, value;
	} rows[] = {
		{BYTES("X"), BYTES("a\r\nSet-Cookie: b")},
		{BYTES("X"), BYTES("a\rb")},
		{BYTES("X"), BYTES("a\nb")},
		{BYTES("X"), BYTES("a\0b")},
		{BYTES("X"), BYTES("\n")},
		{BYTES("X"), BYTES("0123456789abcdef\n")},
		{BYTES("X"), BYTES("a\x7f")},
		{BYTES("X"), BYTES("a\x1b[1m")},
		{BYTES("X\r\nY"), BYTES("a")},
		{BYTES("X\nY"), BYTES("a")},
		{BYTES("X\0"), BYTES("a")},
		{BYTES("X: Y"), BYTES("a")},
		{BYTES("X "), BYTES("a")},
		{BYTES(""), BYTES("a")},
		{BYTES("\xc3\xa4"), BYTES("a")},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char room[128];
		struct http1_writer writer;

		http1_write_init(&writer, room, sizeof(room));
		http1_write_field(&writer, rows[i].name, rows[i].value);
		assert_row(row_text(rows[i].value), writer.invalid && writer.overflowed);
		assert_row(row_text(rows[i].value), writer.pos == room);
		/* Nothing follows it either: half a head never looks whole. */
		http1_write_field(&writer, STR("Y"), STR("b"));
		http1_write_end(&writer);
		assert_row(row_text(rows[i].value), writer.invalid && writer.pos == room);
	}
}

static void test_h13_a_request_line_takes_a_token_and_visible_bytes_only(void **state)
{
	static const struct {
		struct str method, target;
	} rows[] = {
		{BYTES("GET"), BYTES("/ HTTP/1.1\r\nX: y")},
		{BYTES("GET"), BYTES("/a b")},
		{BYTES("GET"), BYTES("/a\n")},
		{BYTES("GET"), BYTES("/a\0")},
		{BYTES("GET"), BYTES("/\xff")},
		{BYTES("GET"), BYTES("/#a")},
		{BYTES("GET"), BYTES("")},
		{BYTES("GET "), BYTES("/")},
		{BYTES("GE\r\nT"), BYTES("/")},
		{BYTES(""), BYTES("/")},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char room[128];
		struct http1_writer writer;

		http1_write_init(&writer, room, sizeof(room));
		http1_write_request_line(&writer, rows[i].method, rows[i].target);
		assert_row(row_text(rows[i].target), writer.invalid && writer.pos == room);
	}
}

static void write_small_head(struct http1_writer *writer)
{
	http1_write_status_line(writer, 200);
	http1_write_field(writer, STR("Server"), STR("sluice"));
	http1_write_field_u64(writer, STR("Content-Length"), 12);
	http1_write_bytes(writer, STR("A: b\r\n"));
	http1_write_end(writer);
}

static void test_too_little_room_overflows_and_writes_nothing_past_the_end(void **state)
{
	char big[256];
	struct http1_writer writer;
	size_t len;

	http1_write_init(&writer, big, sizeof(big));
	write_small_head(&writer);
	len = (size_t)(writer.pos - big);
	for (size_t room_bytes = 0; room_bytes <= len; room_bytes++) {
		char *room = malloc(room_bytes + 1);

		assert_non_null(room);
		room[room_bytes] = '#';
		http1_write_init(&writer, room, room_bytes);
		write_small_head(&writer);
		assert_int_equal(writer.overflowed, room_bytes < len);
		assert_false(writer.invalid);
		assert_true(writer.pos <= room + room_bytes);
		assert_int_equal(room[room_bytes], '#');
		free(room);
	}
}

static void test_a_chunk_head_is_the_length_in_hex(void **state)
{
	static const struct {
		uint64_t len;
		const char *text;
	} rows[] = {
		{0, "0\r\n"},
		{1, "1\r\n"},
		{15, "f\r\n"},
		{16, "10\r\n"},
		{0xabc, "abc\r\n"},
		{0x1000, "1000\r\n"},
		{0x0fffffffffffffff, "fffffffffffffff\r\n"},
		{UINT64_MAX, "ffffffffffffffff\r\n"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char out[HTTP1_CHUNK_HEAD_MAX];
		size_t len = http1_chunk_head(out, rows[i].len);

		assert_str(str_make(out, len), rows[i].text);
	}
}

static void test_errors_have_a_name_a_text_and_a_status(void **state)
{
	assert_string_equal(http1_error_name(HTTP1_E_BARE_LF), "bare_lf");
	assert_string_equal(http1_error_name(HTTP1_E_CHUNK_EXTENSION_BYTES),
			    "chunk_extension_bytes");
	assert_string_equal(http1_error_text(HTTP1_E_OBS_FOLD), "folded field line");
	assert_int_equal(http1_error_status(HTTP1_E_HEAD_BYTES), 431);
	assert_int_equal(http1_error_status(HTTP1_E_URI_BYTES), 414);
	assert_int_equal(http1_error_status(HTTP1_E_VERSION), 505);
	for (unsigned int i = 1; i < HTTP1_ERROR_COUNT; i++) {
		const char *name = http1_error_name((enum http1_error)i);

		assert_true(strlen(name) > 0 && strlen(name) < 31);
		assert_null(strpbrk(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ -"));
		assert_true(http1_error_status((enum http1_error)i) >= 400);
	}
	assert_string_equal(http1_error_name(HTTP1_ERROR_COUNT), "unknown");
	assert_string_equal(http1_error_text(HTTP1_ERROR_COUNT), "unknown error");
	assert_int_equal(http1_error_status(HTTP1_ERROR_COUNT), 400);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_request_head_is_written_and_reads_back),
		cmocka_unit_test(test_a_status_line_has_our_phrase),
		cmocka_unit_test(test_every_phrase_is_found_and_others_are_unknown),
		cmocka_unit_test(test_a_status_outside_100_to_599_is_not_written),
		cmocka_unit_test(test_h13_a_name_or_value_that_would_break_the_line_is_not_written),
		cmocka_unit_test(test_h13_a_request_line_takes_a_token_and_visible_bytes_only),
		cmocka_unit_test(test_too_little_room_overflows_and_writes_nothing_past_the_end),
		cmocka_unit_test(test_a_chunk_head_is_the_length_in_hex),
		cmocka_unit_test(test_errors_have_a_name_a_text_and_a_status),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "http1_support.h"

struct refused {
	struct str bytes;
	enum http1_error error;
};

static void check_refused_rows(const struct refused *rows, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct parsed parsed;

		parsed_response(&parsed, rows[i].bytes, NULL, HTTP_METHOD_GET);
		assert_error(rows[i].bytes, parsed.error, rows[i].error);
		assert_int_equal(parsed.head.status, 0);
		parsed_done(&parsed);
	}
}

static void test_accepted_status_lines_are_read_as_sent(void **state)
{
	static const struct {
		const char *bytes;
		unsigned int status, version_minor;
		const char *reason;
	} rows[] = {
		{"HTTP/1.1 200 OK\r\n\r\n", 200, 1, "OK"},
		{"HTTP/1.0 404 Not Found\r\n\r\n", 404, 0, "Not Found"},
		{"HTTP/1.1 200 \r\n\r\n", 200, 1, ""},
		{"HTTP/1.1 200\r\n\r\n", 200, 1, ""},
		{"HTTP/1.1 100 Continue\r\n\r\n", 100, 1, "Continue"},
		{"HTTP/1.1 599 \xc3\xa4\xff\r\n\r\n", 599, 1, "\xc3\xa4\xff"},
		{"HTTP/1.1 200 a\tb  c \r\n\r\n", 200, 1, "a\tb  c "},
		{"HTTP/1.1 302 200 OK\r\n\r\n", 302, 1, "200 OK"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct parsed parsed;

		parsed_response(&parsed, str_from_cstr(rows[i].bytes), NULL, HTTP_METHOD_GET);
		assert_error(str_from_cstr(rows[i].bytes), parsed.error, HTTP1_OK);
		assert_row(rows[i].bytes, parsed.head.status == rows[i].status);
		assert_row(rows[i].bytes, parsed.head.version_minor == rows[i].version_minor);
		assert_str(parsed.head.reason, rows[i].reason);
		parsed_done(&parsed);
	}
}

static void test_h12_malformed_status_lines_are_refused(void **state)
{
	static const struct refused rows[] = {
		{BYTES("HTTP/1.1 099 X\r\n\r\n"), HTTP1_E_STATUS_LINE},
		{BYTES("HTTP/1.1 000 X\r\n\r\n"), HTTP1_E_STATUS_LINE},
		{BYTES("HTTP/1.1 600 X\r\n\r\n"), HTTP1_E_STATUS_LINE},
		{BYTES("HTTP/1.1 999 X\r\n\r\n"), HTTP1_E_STATUS_LINE},
		{BYTES("HTTP/1.1 20 X\r\n\r\n"), HTTP1_E_STATUS_LINE},
		{BYTES("HTTP/1.1 2000 X\r\n\r\n"), HTTP1_E_STATUS_LINE},
		{BYTES("HTTP/1.1 2x0 X\r\n\r\n"), HTTP1_E_STATUS_LINE},
		{BYTES("HTTP/1.1 -20 X\r\n\r\n"), HTTP1_E_STATUS_LINE},
		{BYTES("HTTP/1.1 200X\r\n\r\n"), HTTP1_E_STATUS_LINE},
		{BYTES("HTTP/1.1 200\tX\r\n\r\n"), HTTP1_E_STATUS_LINE},
		{BYTES("HTTP/1.1  200 X\r\n\r\n"), HTTP1_E_STATUS_LINE},
		{BYTES("HTTP/1.1\t200 X\r\n\r\n"), HTTP1_E_STATUS_LINE},
		{BYTES("HTTP/1.1\r\n\r\n"), HTTP1_E_STATUS_LINE},
		{BYTES("HTTP/1.1 \r\n\r\n"), HTTP1_E_STATUS_LINE},
		{BYTES(" HTTP/1.1 200 X\r\n\r\n"), HTTP1_E_STATUS_LINE},
		{BYTES("\r\nHTTP/1.1 200 X\r\n\r\n"), HTTP1_E_STATUS_LINE},
		{BYTES("http/1.1 200 X\r\n\r\n"), HTTP1_E_STATUS_LINE},
		{BYTES("ICY 200 OK\r\n\r\n"), HTTP1_E_STATUS_LINE},
		{BYTES("<html>\r\n\r\n"), HTTP1_E_STATUS_LINE},
		{BYTES("HTTP/1.11 200 X\r\n\r\n"), HTTP1_E_STATUS_LINE},
		{BYTES("HTTP/0.9 200 X\r\n\r\n"), HTTP1_E_VERSION},
		{BYTES("HTTP/1.2 200 X\r\n\r\n"), HTTP1_E_VERSION},
		{BYTES("HTTP/2.0 200 X\r\n\r\n"), HTTP1_E_VERSION},
		{BYTES("HTTP/1.1 200 a\0b\r\n\r\n"), HTTP1_E_CONTROL_BYTE},
		{BYTES("HTTP/1.1 200 a\x1b[1m\r\n\r\n"), HTTP1_E_CONTROL_BYTE},
		{BYTES("HTTP/1.1 200 a\x7f\r\n\r\n"), HTTP1_E_CONTROL_BYTE},
		{BYTES("HTTP/1.1 200 a\rb\r\n\r\n"), HTTP1_E_BARE_CR},
		{BYTES("HTTP/1.1 200\rX\r\n\r\n"), HTTP1_E_BARE_CR},
		{BYTES("HTTP/1.1 200 OK\nX: y\r\n\r\n"), HTTP1_E_BARE_LF},
		{BYTES("HTTP/1.1 200\n\r\n"), HTTP1_E_BARE_LF},
	};

	check_refused_rows(rows, ARRAY_SIZE(rows));
}

static void test_h12_response_fields_are_checked_like_request_fields(void **state)
{
#define OK_LINE "HTTP/1.1 200 OK\r\n"
	static const struct refused rows[] = {
		{BYTES(OK_LINE "X: a\r\n b\r\n\r\n"), HTTP1_E_OBS_FOLD},
		{BYTES(OK_LINE " X: a\r\n\r\n"), HTTP1_E_OBS_FOLD},
		{BYTES(OK_LINE "X: a\r\n\n"), HTTP1_E_BARE_LF},
		{BYTES(OK_LINE "X: a\rb\r\n\r\n"), HTTP1_E_BARE_CR},
		{BYTES(OK_LINE "X: a\0\r\n\r\n"), HTTP1_E_CONTROL_BYTE},
		{BYTES(OK_LINE "X : a\r\n\r\n"), HTTP1_E_FIELD_COLON},
		{BYTES(OK_LINE "X\r\n\r\n"), HTTP1_E_FIELD_COLON},
		{BYTES(OK_LINE ": a\r\n\r\n"), HTTP1_E_FIELD_NAME},
		{BYTES(OK_LINE "X[]: a\r\n\r\n"), HTTP1_E_FIELD_NAME},
	};

	check_refused_rows(rows, ARRAY_SIZE(rows));
}

static void test_h12_conflicting_response_framing_is_refused(void **state)
{
	static const struct refused rows[] = {
		{BYTES(OK_LINE "Content-Length: 5\r\nContent-Length: 6\r\n\r\n"),
		 HTTP1_E_LENGTH_DUPLICATE},
		{BYTES(OK_LINE "Content-Length: 5\r\nContent-Length: 5\r\n\r\n"),
		 HTTP1_E_LENGTH_DUPLICATE},
		{BYTES(OK_LINE "Content-Length: 5, 5\r\n\r\n"), HTTP1_E_LENGTH_INVALID},
		{BYTES(OK_LINE "Content-Length: 0x5\r\n\r\n"), HTTP1_E_LENGTH_INVALID},
		{BYTES(OK_LINE "Content-Length:\r\n\r\n"), HTTP1_E_LENGTH_INVALID},
		{BYTES(OK_LINE "Content-Length: 18446744073709551616\r\n\r\n"),
		 HTTP1_E_LENGTH_INVALID},
		{BYTES(OK_LINE "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"),
		 HTTP1_E_LENGTH_AND_CHUNKED},
		{BYTES(OK_LINE "Transfer-Encoding: gzip\r\n\r\n"), HTTP1_E_TRANSFER_UNKNOWN},
		{BYTES(OK_LINE "Transfer-Encoding: gzip, chunked\r\n\r\n"),
		 HTTP1_E_TRANSFER_UNKNOWN},
		{BYTES(OK_LINE "Transfer-Encoding: identity\r\n\r\n"), HTTP1_E_TRANSFER_UNKNOWN},
		{BYTES(OK_LINE "Transfer-Encoding: chunked, gzip\r\n\r\n"),
		 HTTP1_E_TRANSFER_ENCODING},
		{BYTES(OK_LINE "Transfer-Encoding: chunked, chunked\r\n\r\n"),
		 HTTP1_E_TRANSFER_ENCODING},
		{BYTES(OK_LINE "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"),
		 HTTP1_E_TRANSFER_ENCODING},
		{BYTES("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
		 HTTP1_E_TRANSFER_HTTP10},
	};

	check_refused_rows(rows, ARRAY_SIZE(rows));
}

static void test_h12_1xx_and_204_that_announce_a_body_are_refused(void **state)
{
	static const struct refused rows[] = {
		{BYTES("HTTP/1.1 204 X\r\nContent-Length: 1\r\n\r\n"), HTTP1_E_LENGTH_INVALID},
		{BYTES("HTTP/1.1 100 X\r\nContent-Length: 1\r\n\r\n"), HTTP1_E_LENGTH_INVALID},
		{BYTES("HTTP/1.1 199 X\r\nContent-Length: 1\r\n\r\n"), HTTP1_E_LENGTH_INVALID},
		{BYTES("HTTP/1.1 101 X\r\nContent-Length: 1\r\n\r\n"), HTTP1_E_LENGTH_INVALID},
		{BYTES("HTTP/1.1 204 X\r\nTransfer-Encoding: chunked\r\n\r\n"),
		 HTTP1_E_TRANSFER_ENCODING},
		{BYTES("HTTP/1.1 103 X\r\nTransfer-Encoding: chunked\r\n\r\n"),
		 HTTP1_E_TRANSFER_ENCODING},
	};

	check_refused_rows(rows, ARRAY_SIZE(rows));
}

static void test_framing_follows_status_request_method_and_fields(void **state)
{
#define LENGTH	"Content-Length: 5\r\n\r\n"
#define CHUNKED "Transfer-Encoding: chunked\r\n\r\n"
	static const struct {
		const char *bytes;
		enum http_method request_method;
		enum http_framing framing;
		uint64_t content_length;
		bool has_content_length, keep_alive;
	} rows[] = {
		{OK_LINE LENGTH, HTTP_METHOD_GET, HTTP_FRAMING_LENGTH, 5, true, true},
		{OK_LINE CHUNKED, HTTP_METHOD_GET, HTTP_FRAMING_CHUNKED, 0, false, true},
		{OK_LINE "\r\n", HTTP_METHOD_GET, HTTP_FRAMING_UNTIL_CLOSE, 0, false, false},
		{"HTTP/1.0 200 OK\r\n\r\n", HTTP_METHOD_GET, HTTP_FRAMING_UNTIL_CLOSE, 0, false,
		 false},
		{"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n", HTTP_METHOD_GET,
		 HTTP_FRAMING_UNTIL_CLOSE, 0, false, false},
		{"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n" LENGTH, HTTP_METHOD_GET,
		 HTTP_FRAMING_LENGTH, 5, true, true},
		{"HTTP/1.0 200 OK\r\n" LENGTH, HTTP_METHOD_GET, HTTP_FRAMING_LENGTH, 5, true,
		 false},
		{OK_LINE "Connection: close\r\n" LENGTH, HTTP_METHOD_GET, HTTP_FRAMING_LENGTH, 5,
		 true, false},
		{OK_LINE LENGTH, HTTP_METHOD_HEAD, HTTP_FRAMING_NONE, 5, true, true},
		{OK_LINE CHUNKED, HTTP_METHOD_HEAD, HTTP_FRAMING_NONE, 0, false, true},
		{OK_LINE "\r\n", HTTP_METHOD_HEAD, HTTP_FRAMING_NONE, 0, false, true},
		{"HTTP/1.1 304 X\r\n" LENGTH, HTTP_METHOD_GET, HTTP_FRAMING_NONE, 5, true, true},
		{"HTTP/1.1 304 X\r\n" CHUNKED, HTTP_METHOD_GET, HTTP_FRAMING_NONE, 0, false, true},
		{"HTTP/1.1 304 X\r\n\r\n", HTTP_METHOD_GET, HTTP_FRAMING_NONE, 0, false, true},
		{"HTTP/1.1 204 X\r\n\r\n", HTTP_METHOD_GET, HTTP_FRAMING_NONE, 0, false, true},
		{"HTTP/1.1 204 X\r\nContent-Length: 0\r\n\r\n", HTTP_METHOD_GET, HTTP_FRAMING_NONE,
		 0, true, true},
		{"HTTP/1.1 100 X\r\n\r\n", HTTP_METHOD_POST, HTTP_FRAMING_NONE, 0, false, true},
		{"HTTP/1.1 103 X\r\nLink: </a>\r\n\r\n", HTTP_METHOD_GET, HTTP_FRAMING_NONE, 0,
		 false, true},
		{"HTTP/1.1 205 X\r\nContent-Length: 0\r\n\r\n", HTTP_METHOD_GET,
		 HTTP_FRAMING_LENGTH, 0, true, true},
		{OK_LINE "\r\n", HTTP_METHOD_CONNECT, HTTP_FRAMING_NONE, 0, false, true},
		{OK_LINE LENGTH, HTTP_METHOD_CONNECT, HTTP_FRAMING_NONE, 5, true, true},
		{"HTTP/1.1 300 X\r\n" LENGTH, HTTP_METHOD_CONNECT, HTTP_FRAMING_LENGTH, 5, true,
		 true},
		{"HTTP/1.1 407 X\r\n" LENGTH, HTTP_METHOD_CONNECT, HTTP_FRAMING_LENGTH, 5, true,
		 true},
		{"HTTP/1.1 500 X\r\n" LENGTH, HTTP_METHOD_OTHER, HTTP_FRAMING_LENGTH, 5, true,
		 true},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const char *row = rows[i].bytes;
		struct parsed parsed;

		parsed_response(&parsed, str_from_cstr(row), NULL, rows[i].request_method);
		assert_error(str_from_cstr(row), parsed.error, HTTP1_OK);
		assert_row(row, parsed.head.framing == rows[i].framing);
		assert_row(row, parsed.head.content_length == rows[i].content_length);
		assert_row(row, parsed.head.has_content_length == rows[i].has_content_length);
		assert_row(row, parsed.head.keep_alive == rows[i].keep_alive);
		parsed_done(&parsed);
	}
}

static void test_an_upgrade_needs_the_field_and_the_option(void **state)
{
	static const struct {
		const char *bytes;
		bool has_upgrade;
	} rows[] = {
		{"HTTP/1.1 101 X\r\nUpgrade: a\r\nConnection: upgrade\r\n\r\n", true},
		{"HTTP/1.1 101 X\r\nUpgrade: a\r\n\r\n", false},
		{"HTTP/1.1 101 X\r\nConnection: upgrade\r\n\r\n", false},
		{"HTTP/1.1 426 X\r\nUpgrade: a\r\nConnection: upgrade\r\n" LENGTH, true},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct parsed parsed;

		parsed_response(&parsed, str_from_cstr(rows[i].bytes), NULL, HTTP_METHOD_GET);
		assert_error(str_from_cstr(rows[i].bytes), parsed.error, HTTP1_OK);
		assert_row(rows[i].bytes, parsed.head.has_upgrade == rows[i].has_upgrade);
		parsed_done(&parsed);
	}
}

static void test_a_host_field_in_a_response_means_nothing(void **state)
{
	struct parsed parsed;

	parsed_response(&parsed, STR(OK_LINE "Host: u@x\r\nHost:\r\nExpect: x\r\n" LENGTH), NULL,
			HTTP_METHOD_GET);
	assert_int_equal(parsed.error, HTTP1_OK);
	assert_null(parsed.head.host.ptr);
	assert_int_equal(parsed.head.field_count, 4);
	assert_false(parsed.head.expect_continue);
	parsed_done(&parsed);
}

static void test_h14_response_heads_are_limited_too(void **state)
{
	static const struct http1_limits small = {
		.head_bytes = 64, .field_bytes = 16, .field_count = 2};
	static const struct {
		const char *bytes;
		enum http1_error error;
	} rows[] = {
		{OK_LINE "A: 1\r\nB: 2\r\n\r\n", HTTP1_OK},
		{OK_LINE "A: 1\r\nB: 2\r\nC: 3\r\n\r\n", HTTP1_E_FIELD_COUNT},
		{OK_LINE "A: 0123456789abc\r\n\r\n", HTTP1_OK},
		{OK_LINE "A: 0123456789abcd\r\n\r\n", HTTP1_E_FIELD_BYTES},
		{"HTTP/1.1 200 0123456789abcdef0123456789abcdef0123456789abcde\r\n\r\n", HTTP1_OK},
		{"HTTP/1.1 200 0123456789abcdef0123456789abcdef0123456789abcdef\r\n\r\n",
		 HTTP1_E_HEAD_BYTES},
	};

	struct str whole = STR(OK_LINE LENGTH);
	const struct http1_limits short_head = {.head_bytes = (uint32_t)whole.len - 1};
	struct arena arena;
	struct http_head head;

	arena_init(&arena, 0, 65536);
	assert_int_equal(http1_parse_response(whole, &short_head, HTTP_METHOD_GET, &arena, &head),
			 -HTTP1_E_HEAD_BYTES);
	arena_done(&arena);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct parsed parsed;

		parsed_response(&parsed, str_from_cstr(rows[i].bytes), &small, HTTP_METHOD_GET);
		assert_error(str_from_cstr(rows[i].bytes), parsed.error, rows[i].error);
		parsed_done(&parsed);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_accepted_status_lines_are_read_as_sent),
		cmocka_unit_test(test_h12_malformed_status_lines_are_refused),
		cmocka_unit_test(test_h12_response_fields_are_checked_like_request_fields),
		cmocka_unit_test(test_h12_conflicting_response_framing_is_refused),
		cmocka_unit_test(test_h12_1xx_and_204_that_announce_a_body_are_refused),
		cmocka_unit_test(test_framing_follows_status_request_method_and_fields),
		cmocka_unit_test(test_an_upgrade_needs_the_field_and_the_option),
		cmocka_unit_test(test_a_host_field_in_a_response_means_nothing),
		cmocka_unit_test(test_h14_response_heads_are_limited_too),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "http1_support.h"

#define HOST "Host: a.example\r\n"

/* Methods, targets and versions that pass, with what is read. */
static void test_accepted_requests_are_read_as_sent(void **state)
{
	static const struct {
		const char *bytes, *method, *target, *host;
		enum http_method method_id;
		unsigned int version_minor, field_count;
	} rows[] = {
		{"GET / HTTP/1.1\r\n" HOST "\r\n", "GET", "/", "a.example", HTTP_METHOD_GET, 1, 1},
		{"\r\nGET / HTTP/1.1\r\n" HOST "\r\n", "GET", "/", "a.example", HTTP_METHOD_GET, 1,
		 1},
		{"\r\n\r\nHEAD /x HTTP/1.1\r\n" HOST "\r\n", "HEAD", "/x", "a.example",
		 HTTP_METHOD_HEAD, 1, 1},
		{"GET / HTTP/1.0\r\n\r\n", "GET", "/", NULL, HTTP_METHOD_GET, 0, 0},
		{"PROPFIND /a HTTP/1.1\r\n" HOST "\r\n", "PROPFIND", "/a", "a.example",
		 HTTP_METHOD_OTHER, 1, 1},
		{"get / HTTP/1.1\r\n" HOST "\r\n", "get", "/", "a.example", HTTP_METHOD_OTHER, 1,
		 1},
		{"PRI / HTTP/1.1\r\n" HOST "\r\n", "PRI", "/", "a.example", HTTP_METHOD_OTHER, 1,
		 1},
		{"SOURCE / HTTP/1.1\r\n" HOST "\r\n", "SOURCE", "/", "a.example", HTTP_METHOD_OTHER,
		 1, 1},
		{"!#$%&'*+-.^_`|~09azAZ / HTTP/1.1\r\n" HOST "\r\n", "!#$%&'*+-.^_`|~09azAZ", "/",
		 "a.example", HTTP_METHOD_OTHER, 1, 1},
		{"ABCDEFGHIJKLMNOPQRSTUVWXYZ012345 / HTTP/1.1\r\n" HOST "\r\n",
		 "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345", "/", "a.example", HTTP_METHOD_OTHER, 1, 1},
		{"GET /!\"$%&'()*+,-./:;<=>?@[\\]^_`{|}~ HTTP/1.1\r\n" HOST "\r\n", "GET",
		 "/!\"$%&'()*+,-./:;<=>?@[\\]^_`{|}~", "a.example", HTTP_METHOD_GET, 1, 1},
		{"GET //a//b/../%2f HTTP/1.1\r\n" HOST "\r\n", "GET", "//a//b/../%2f", "a.example",
		 HTTP_METHOD_GET, 1, 1},
		{"OPTIONS * HTTP/1.1\r\n" HOST "\r\n", "OPTIONS", "*", "a.example",
		 HTTP_METHOD_OPTIONS, 1, 1},
		{"CONNECT a.example:443 HTTP/1.1\r\nHost: A.example:443\r\n\r\n", "CONNECT",
		 "a.example:443", "A.example:443", HTTP_METHOD_CONNECT, 1, 1},
		{"CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]\r\n\r\n", "CONNECT", "[::1]:443",
		 "[::1]", HTTP_METHOD_CONNECT, 1, 1},
		{"GET http://a.example HTTP/1.1\r\n" HOST "\r\n", "GET", "http://a.example",
		 "a.example", HTTP_METHOD_GET, 1, 1},
		{"GET HTTP://A.EXAMPLE?x HTTP/1.1\r\n" HOST "\r\n", "GET", "HTTP://A.EXAMPLE?x",
		 "a.example", HTTP_METHOD_GET, 1, 1},
		{"GET https://a/b@c HTTP/1.0\r\n\r\n", "GET", "https://a/b@c", NULL,
		 HTTP_METHOD_GET, 0, 0},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const char *row = rows[i].bytes;
		struct parsed parsed;

		parsed_request(&parsed, str_from_cstr(row), NULL);
		assert_error(str_from_cstr(row), parsed.error, HTTP1_OK);
		assert_int_equal(parsed.len, strlen(row));
		assert_str(parsed.head.method, rows[i].method);
		assert_str(parsed.head.target, rows[i].target);
		assert_str(parsed.head.host, rows[i].host);
		assert_row(row, parsed.head.method_id == rows[i].method_id);
		assert_row(row, parsed.head.version_minor == rows[i].version_minor);
		assert_row(row, parsed.head.field_count == rows[i].field_count);
		assert_row(row, parsed.head.framing == HTTP_FRAMING_NONE);
		parsed_done(&parsed);
	}
}

static void check_refused(struct str bytes, const struct http1_limits *limits,
			  enum http1_error expected)
{
	struct parsed parsed;

	parsed_request(&parsed, bytes, limits);
	assert_error(bytes, parsed.error, expected);
	/* Outputs are only written on success. */
	assert_null(parsed.head.method.ptr);
	parsed_done(&parsed);
}

struct refused {
	struct str bytes;
	enum http1_error error;
};

static void check_refused_rows(const struct refused *rows, size_t count)
{
	for (size_t i = 0; i < count; i++)
		check_refused(rows[i].bytes, NULL, rows[i].error);
}

static void test_malformed_request_lines_are_refused(void **state)
{
	static const struct refused rows[] = {
		{BYTES("GET  / HTTP/1.1\r\n" HOST "\r\n"), HTTP1_E_REQUEST_LINE},
		{BYTES("GET /  HTTP/1.1\r\n" HOST "\r\n"), HTTP1_E_REQUEST_LINE},
		{BYTES("GET / HTTP/1.1 \r\n" HOST "\r\n"), HTTP1_E_REQUEST_LINE},
		{BYTES(" GET / HTTP/1.1\r\n" HOST "\r\n"), HTTP1_E_REQUEST_LINE},
		{BYTES("GET\t/ HTTP/1.1\r\n" HOST "\r\n"), HTTP1_E_REQUEST_LINE},
		{BYTES("GET /\tHTTP/1.1\r\n" HOST "\r\n"), HTTP1_E_REQUEST_LINE},
		{BYTES("GET HTTP/1.1\r\n" HOST "\r\n"), HTTP1_E_REQUEST_LINE},
		{BYTES("GET\r\n" HOST "\r\n"), HTTP1_E_REQUEST_LINE},
		{BYTES("GET /a b HTTP/1.1\r\n" HOST "\r\n"), HTTP1_E_REQUEST_LINE},
		{BYTES("G(T / HTTP/1.1\r\n" HOST "\r\n"), HTTP1_E_REQUEST_LINE},
		{BYTES("G\xc3\x84T / HTTP/1.1\r\n" HOST "\r\n"), HTTP1_E_REQUEST_LINE},
		{BYTES("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456 / HTTP/1.1\r\n" HOST "\r\n"),
		 HTTP1_E_REQUEST_LINE},
		{BYTES("\r\n\r\n\r\nGET / HTTP/1.1\r\n" HOST "\r\n"), HTTP1_E_REQUEST_LINE},
		{BYTES("G\0T / HTTP/1.1\r\n" HOST "\r\n"), HTTP1_E_CONTROL_BYTE},
		{BYTES("GET /\0 HTTP/1.1\r\n" HOST "\r\n"), HTTP1_E_CONTROL_BYTE},
		{BYTES("GET /\x7f HTTP/1.1\r\n" HOST "\r\n"), HTTP1_E_CONTROL_BYTE},
		{BYTES("GET / HTTP/1\x01\r\n" HOST "\r\n"), HTTP1_E_CONTROL_BYTE},
		{BYTES("\x16\x03\x01\x02\n\r\n\r\n"), HTTP1_E_BARE_LF},
		{BYTES("\x16\x03\x01\x02\r\n\r\n"), HTTP1_E_CONTROL_BYTE},
	};

	check_refused_rows(rows, ARRAY_SIZE(rows));
}

static void test_versions_other_than_1_0_and_1_1_are_refused(void **state)
{
	static const struct refused rows[] = {
		{BYTES("GET / HTTP/0.9\r\n" HOST "\r\n"), HTTP1_E_VERSION},
		{BYTES("GET / HTTP/1.2\r\n" HOST "\r\n"), HTTP1_E_VERSION},
		{BYTES("GET / HTTP/1.9\r\n" HOST "\r\n"), HTTP1_E_VERSION},
		{BYTES("GET / HTTP/2.0\r\n" HOST "\r\n"), HTTP1_E_VERSION},
		{BYTES("PRI * HTTP/2.0\r\n\r\n"), HTTP1_E_VERSION},
		{BYTES("GET /\r\n\r\n"), HTTP1_E_REQUEST_LINE},
		{BYTES("GET / \r\n" HOST "\r\n"), HTTP1_E_REQUEST_LINE},
		{BYTES("GET / http/1.1\r\n" HOST "\r\n"), HTTP1_E_REQUEST_LINE},
		{BYTES("GET / Http/1.1\r\n" HOST "\r\n"), HTTP1_E_REQUEST_LINE},
		{BYTES("GET / HTTP/1.1x\r\n" HOST "\r\n"), HTTP1_E_REQUEST_LINE},
		{BYTES("GET / HTTP/1.10\r\n" HOST "\r\n"), HTTP1_E_REQUEST_LINE},
		{BYTES("GET / HTTP/01.1\r\n" HOST "\r\n"), HTTP1_E_REQUEST_LINE},
		{BYTES("GET / HTTP/2.00\r\n" HOST "\r\n"), HTTP1_E_REQUEST_LINE},
		{BYTES("GET / HTTP/1,1\r\n" HOST "\r\n"), HTTP1_E_REQUEST_LINE},
		{BYTES("GET / HTTP/1\r\n" HOST "\r\n"), HTTP1_E_REQUEST_LINE},
		{BYTES("GET / HTTP\r\n" HOST "\r\n"), HTTP1_E_REQUEST_LINE},
		{BYTES("GET / HTTP/\r\n" HOST "\r\n"), HTTP1_E_REQUEST_LINE},
		{BYTES("GET / RTSP/1.0\r\n" HOST "\r\n"), HTTP1_E_REQUEST_LINE},
		{BYTES("SOURCE / ICE/1.0\r\n" HOST "\r\n"), HTTP1_E_REQUEST_LINE},
	};

	check_refused_rows(rows, ARRAY_SIZE(rows));
}

static void test_targets_of_the_wrong_form_are_refused(void **state)
{
	static const struct refused rows[] = {
		{BYTES("GET a HTTP/1.1\r\n" HOST "\r\n"), HTTP1_E_TARGET},
		{BYTES("GET ?a HTTP/1.1\r\n" HOST "\r\n"), HTTP1_E_TARGET},
		{BYTES("GET \\ HTTP/1.1\r\n" HOST "\r\n"), HTTP1_E_TARGET},
		{BYTES("GET * HTTP/1.1\r\n" HOST "\r\n"), HTTP1_E_TARGET},
		{BYTES("OPTIONS ** HTTP/1.1\r\n" HOST "\r\n"), HTTP1_E_TARGET},
		{BYTES("GET /# HTTP/1.1\r\n" HOST "\r\n"), HTTP1_E_TARGET},
		{BYTES("GET /a?b#c HTTP/1.1\r\n" HOST "\r\n"), HTTP1_E_TARGET},
		{BYTES("GET /\xc3\xa4 HTTP/1.1\r\n" HOST "\r\n"), HTTP1_E_TARGET},
		{BYTES("GET /\x80 HTTP/1.1\r\n" HOST "\r\n"), HTTP1_E_TARGET},
		{BYTES("GET ftp://a.example/ HTTP/1.1\r\n" HOST "\r\n"), HTTP1_E_TARGET},
		{BYTES("GET http:/a.example/ HTTP/1.1\r\n" HOST "\r\n"), HTTP1_E_TARGET},
		{BYTES("GET http:///x HTTP/1.1\r\n" HOST "\r\n"), HTTP1_E_TARGET},
		{BYTES("GET http://?x HTTP/1.1\r\n" HOST "\r\n"), HTTP1_E_TARGET},
		{BYTES("GET http:// HTTP/1.1\r\n" HOST "\r\n"), HTTP1_E_TARGET},
		{BYTES("GET http://a.example:x/ HTTP/1.1\r\n" HOST "\r\n"), HTTP1_E_TARGET},
		{BYTES("GET http://a.example\\x/ HTTP/1.1\r\n" HOST "\r\n"), HTTP1_E_TARGET},
		{BYTES("GET a.example:80 HTTP/1.1\r\n" HOST "\r\n"), HTTP1_E_TARGET},
		{BYTES("CONNECT / HTTP/1.1\r\n" HOST "\r\n"), HTTP1_E_TARGET},
		{BYTES("CONNECT * HTTP/1.1\r\n" HOST "\r\n"), HTTP1_E_TARGET},
		{BYTES("CONNECT a.example HTTP/1.1\r\n" HOST "\r\n"), HTTP1_E_TARGET},
		{BYTES("CONNECT a.example: HTTP/1.1\r\n" HOST "\r\n"), HTTP1_E_TARGET},
		{BYTES("CONNECT :443 HTTP/1.1\r\n" HOST "\r\n"), HTTP1_E_TARGET},
		{BYTES("CONNECT http://a.example:80/ HTTP/1.1\r\n" HOST "\r\n"), HTTP1_E_TARGET},
		{BYTES("CONNECT u@a.example:443 HTTP/1.1\r\n" HOST "\r\n"), HTTP1_E_TARGET},
	};

	check_refused_rows(rows, ARRAY_SIZE(rows));
}

static void test_h06_bare_line_ends_folds_and_controls_in_fields_are_refused(void **state)
{
#define LINE "GET / HTTP/1.1\r\n" HOST
	static const struct refused rows[] = {
		{BYTES(LINE "X: a\r\n b\r\n\r\n"), HTTP1_E_OBS_FOLD},
		{BYTES(LINE "X: a\r\n\tb\r\n\r\n"), HTTP1_E_OBS_FOLD},
		{BYTES(LINE "X:\r\n a\r\n\r\n"), HTTP1_E_OBS_FOLD},
		{BYTES(LINE "X: a\r\n \r\n\r\n"), HTTP1_E_OBS_FOLD},
		{BYTES("GET / HTTP/1.1\r\n " HOST "\r\n"), HTTP1_E_OBS_FOLD},
		{BYTES("GET / HTTP/1.1\n" HOST "\r\n"), HTTP1_E_BARE_LF},
		{BYTES("GET / HTTP/1.1\r\nHost: a\n\r\n"), HTTP1_E_BARE_LF},
		{BYTES(LINE "X: a\nY: b\r\n\r\n"), HTTP1_E_BARE_LF},
		{BYTES(LINE "X: a\r\n\n"), HTTP1_E_BARE_LF},
		{BYTES(LINE "\n"), HTTP1_E_BARE_LF},
		{BYTES("\nGET / HTTP/1.1\r\n" HOST "\r\n"), HTTP1_E_BARE_LF},
		{BYTES("\r\n\nGET / HTTP/1.1\r\n" HOST "\r\n"), HTTP1_E_BARE_LF},
		{BYTES("\r\r\nGET / HTTP/1.1\r\n" HOST "\r\n"), HTTP1_E_BARE_CR},
		{BYTES("GET / HTTP/1.1\r\r\n" HOST "\r\n"), HTTP1_E_BARE_CR},
		{BYTES("GET /\r HTTP/1.1\r\n" HOST "\r\n"), HTTP1_E_BARE_CR},
		{BYTES("GE\rT / HTTP/1.1\r\n" HOST "\r\n"), HTTP1_E_BARE_CR},
		{BYTES(LINE "X: a\rb\r\n\r\n"), HTTP1_E_BARE_CR},
		{BYTES(LINE "X: a\r\r\n\r\n"), HTTP1_E_BARE_CR},
		{BYTES(LINE "X: a\r\rY: b\r\n\r\n"), HTTP1_E_BARE_CR},
		{BYTES(LINE "X\rY: a\r\n\r\n"), HTTP1_E_BARE_CR},
		{BYTES(LINE "\rX: a\r\n\r\n"), HTTP1_E_BARE_CR},
		{BYTES(LINE "X:\ra\r\n\r\n"), HTTP1_E_BARE_CR},
		{BYTES(LINE "X: a\0b\r\n\r\n"), HTTP1_E_CONTROL_BYTE},
		{BYTES(LINE "X:\0\r\n\r\n"), HTTP1_E_CONTROL_BYTE},
		{BYTES(LINE "X: 0123456789\x01\r\n\r\n"), HTTP1_E_CONTROL_BYTE},
		{BYTES(LINE "X: a\x0b\r\n\r\n"), HTTP1_E_CONTROL_BYTE},
		{BYTES(LINE "X: a\x0c\r\n\r\n"), HTTP1_E_CONTROL_BYTE},
		{BYTES(LINE "X: a\x1f\r\n\r\n"), HTTP1_E_CONTROL_BYTE},
		{BYTES(LINE "X: a\x7f\r\n\r\n"), HTTP1_E_CONTROL_BYTE},
		{BYTES(LINE "X\0: a\r\n\r\n"), HTTP1_E_CONTROL_BYTE},
		{BYTES(LINE "X\x0b: a\r\n\r\n"), HTTP1_E_CONTROL_BYTE},
		{BYTES(LINE "X : a\r\n\r\n"), HTTP1_E_FIELD_COLON},
		{BYTES(LINE "X\t: a\r\n\r\n"), HTTP1_E_FIELD_COLON},
		{BYTES(LINE "X\r\n\r\n"), HTTP1_E_FIELD_COLON},
		{BYTES(LINE "X a\r\n\r\n"), HTTP1_E_FIELD_COLON},
		{BYTES(LINE ": a\r\n\r\n"), HTTP1_E_FIELD_NAME},
		{BYTES(LINE ":\r\n\r\n"), HTTP1_E_FIELD_NAME},
		{BYTES(LINE "X(: a\r\n\r\n"), HTTP1_E_FIELD_NAME},
		{BYTES(LINE "X\xc3\xa4: a\r\n\r\n"), HTTP1_E_FIELD_NAME},
		{BYTES(LINE "\"X\": a\r\n\r\n"), HTTP1_E_FIELD_NAME},
		{BYTES(LINE "X/Y: a\r\n\r\n"), HTTP1_E_FIELD_NAME},
		{BYTES(LINE "{X}: a\r\n\r\n"), HTTP1_E_FIELD_NAME},
		{BYTES(LINE "X@: a\r\n\r\n"), HTTP1_E_FIELD_NAME},
	};

	check_refused_rows(rows, ARRAY_SIZE(rows));
}

static void test_field_values_are_trimmed_and_keep_the_rest(void **state)
{
	static const struct {
		const char *line, *value;
	} rows[] = {
		{"X: a", "a"},
		{"X:a", "a"},
		{"X: \t a \t ", "a"},
		{"X:", ""},
		{"X:  \t", ""},
		{"X: a \t b", "a \t b"},
		{"X: a:b: c", "a:b: c"},
		{"X: \xc3\xa4\xff\x80", "\xc3\xa4\xff\x80"},
		{"X: \"a, b\";c=(d)", "\"a, b\";c=(d)"},
		{"X: \ta\t\t\t\t\t\t\t\t\tb", "a\t\t\t\t\t\t\t\t\tb"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct buf bytes;
		struct parsed parsed;

		buf_init(&bytes, 4096);
		assert_int_equal(
			buf_printf(&bytes, "GET / HTTP/1.1\r\nHost: a\r\n%s\r\n\r\n", rows[i].line),
			0);
		parsed_request(&parsed, buf_str(&bytes), NULL);
		assert_error(buf_str(&bytes), parsed.error, HTTP1_OK);
		assert_int_equal(parsed.head.field_count, 2);
		assert_str(parsed.head.fields[1].name, "X");
		assert_str(parsed.head.fields[1].value, rows[i].value);
		assert_int_equal(parsed.head.fields[1].id, HTTP_FIELD_OTHER);
		assert_int_equal(parsed.head.fields[0].id, HTTP_FIELD_HOST);
		parsed_done(&parsed);
		buf_done(&bytes);
	}
}

static void test_h01_content_length_with_transfer_encoding_is_refused(void **state)
{
	static const struct refused rows[] = {
		{BYTES(LINE "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"),
		 HTTP1_E_LENGTH_AND_CHUNKED},
		{BYTES(LINE "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n"),
		 HTTP1_E_LENGTH_AND_CHUNKED},
		{BYTES(LINE "transfer-encoding: chunked\r\nX: y\r\ncontent-length: 0\r\n\r\n"),
		 HTTP1_E_LENGTH_AND_CHUNKED},
		{BYTES(LINE "Transfer-Encoding: identity\r\nContent-Length: 5\r\n\r\n"),
		 HTTP1_E_LENGTH_AND_CHUNKED},
		{BYTES("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n"
		       "Content-Length: 5\r\n\r\n"),
		 HTTP1_E_LENGTH_AND_CHUNKED},
	};

	check_refused_rows(rows, ARRAY_SIZE(rows));
}

static void test_h02_transfer_encoding_other_than_one_chunked_is_refused(void **state)
{
#define TE LINE "Transfer-Encoding: "
	static const struct refused rows[] = {
		{BYTES(TE ",chunked\r\n\r\n"), HTTP1_E_TRANSFER_ENCODING},
		{BYTES(TE "chunked,\r\n\r\n"), HTTP1_E_TRANSFER_ENCODING},
		{BYTES(TE "chunked;x\r\n\r\n"), HTTP1_E_TRANSFER_ENCODING},
		{BYTES(TE "chunked;q=1\r\n\r\n"), HTTP1_E_TRANSFER_ENCODING},
		{BYTES(TE "chunked, chunked\r\n\r\n"), HTTP1_E_TRANSFER_ENCODING},
		{BYTES(TE "chunked, gzip\r\n\r\n"), HTTP1_E_TRANSFER_ENCODING},
		{BYTES(TE "chunked, identity\r\n\r\n"), HTTP1_E_TRANSFER_ENCODING},
		{BYTES(TE "\r\n\r\n"), HTTP1_E_TRANSFER_ENCODING},
		{BYTES(TE "\"chunked\"\r\n\r\n"), HTTP1_E_TRANSFER_ENCODING},
		{BYTES(TE "chun ked\r\n\r\n"), HTTP1_E_TRANSFER_ENCODING},
		{BYTES(TE "chunked chunked\r\n\r\n"), HTTP1_E_TRANSFER_ENCODING},
		{BYTES(TE "chunked\xa0\r\n\r\n"), HTTP1_E_TRANSFER_ENCODING},
		{BYTES(TE "chunked\r\nTransfer-Encoding: chunked\r\n\r\n"),
		 HTTP1_E_TRANSFER_ENCODING},
		{BYTES(TE "gzip\r\nTransfer-Encoding: chunked\r\n\r\n"), HTTP1_E_TRANSFER_ENCODING},
		{BYTES(TE "chunked\r\nTransfer-Encoding:\r\n\r\n"), HTTP1_E_TRANSFER_ENCODING},
		{BYTES(TE "xchunked\r\n\r\n"), HTTP1_E_TRANSFER_UNKNOWN},
		{BYTES(TE "chunkedx\r\n\r\n"), HTTP1_E_TRANSFER_UNKNOWN},
		{BYTES(TE "gzip, chunked\r\n\r\n"), HTTP1_E_TRANSFER_UNKNOWN},
		{BYTES(TE "gzip\r\n\r\n"), HTTP1_E_TRANSFER_UNKNOWN},
		{BYTES(TE "identity\r\n\r\n"), HTTP1_E_TRANSFER_UNKNOWN},
		{BYTES("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"),
		 HTTP1_E_TRANSFER_HTTP10},
		{BYTES("POST / HTTP/1.0\r\nTransfer-Encoding: gzip\r\n\r\n"),
		 HTTP1_E_TRANSFER_HTTP10},
		{BYTES(TE "\x0b"
			  "chunked\r\n\r\n"),
		 HTTP1_E_CONTROL_BYTE},
		{BYTES(LINE "Transfer-Encoding : chunked\r\n\r\n"), HTTP1_E_FIELD_COLON},
		{BYTES(LINE "Transfer-Encoding:\r\n chunked\r\n\r\n"), HTTP1_E_OBS_FOLD},
	};

	check_refused_rows(rows, ARRAY_SIZE(rows));
	assert_int_equal(http1_error_status(HTTP1_E_TRANSFER_UNKNOWN), 501);
	assert_int_equal(http1_error_status(HTTP1_E_TRANSFER_ENCODING), 400);
}

static void test_h03_content_length_is_one_number_of_64_bits(void **state)
{
#define CL LINE "Content-Length: "
	static const struct refused rows[] = {
		{BYTES(CL "\r\n\r\n"), HTTP1_E_LENGTH_INVALID},
		{BYTES(CL "+5\r\n\r\n"), HTTP1_E_LENGTH_INVALID},
		{BYTES(CL "-5\r\n\r\n"), HTTP1_E_LENGTH_INVALID},
		{BYTES(CL "0x5\r\n\r\n"), HTTP1_E_LENGTH_INVALID},
		{BYTES(CL "5,5\r\n\r\n"), HTTP1_E_LENGTH_INVALID},
		{BYTES(CL "5, 5\r\n\r\n"), HTTP1_E_LENGTH_INVALID},
		{BYTES(CL "5 5\r\n\r\n"), HTTP1_E_LENGTH_INVALID},
		{BYTES(CL "5.0\r\n\r\n"), HTTP1_E_LENGTH_INVALID},
		{BYTES(CL "5e0\r\n\r\n"), HTTP1_E_LENGTH_INVALID},
		{BYTES(CL "five\r\n\r\n"), HTTP1_E_LENGTH_INVALID},
		{BYTES(CL "\"5\"\r\n\r\n"), HTTP1_E_LENGTH_INVALID},
		{BYTES(CL "\xb2\r\n\r\n"), HTTP1_E_LENGTH_INVALID},
		{BYTES(CL "18446744073709551616\r\n\r\n"), HTTP1_E_LENGTH_INVALID},
		{BYTES(CL "99999999999999999999999999\r\n\r\n"), HTTP1_E_LENGTH_INVALID},
		{BYTES(CL "5\r\nContent-Length: 5\r\n\r\n"), HTTP1_E_LENGTH_DUPLICATE},
		{BYTES(CL "5\r\ncontent-length: 6\r\n\r\n"), HTTP1_E_LENGTH_DUPLICATE},
		{BYTES(CL "5\r\nContent-Length:\r\n\r\n"), HTTP1_E_LENGTH_DUPLICATE},
	};
	static const struct {
		const char *bytes;
		uint64_t length;
	} accepted[] = {
		{CL "0\r\n\r\n", 0},
		{CL "5\r\n\r\n", 5},
		{CL "005\r\n\r\n", 5},
		{CL "18446744073709551615\r\n\r\n", UINT64_MAX},
		{LINE "CONTENT-LENGTH:7 \r\n\r\n", 7},
		{"POST / HTTP/1.0\r\nContent-Length: 7\r\n\r\n", 7},
	};

	check_refused_rows(rows, ARRAY_SIZE(rows));
	for (size_t i = 0; i < ARRAY_SIZE(accepted); i++) {
		struct parsed parsed;

		parsed_request(&parsed, str_from_cstr(accepted[i].bytes), NULL);
		assert_error(str_from_cstr(accepted[i].bytes), parsed.error, HTTP1_OK);
		assert_row(accepted[i].bytes, parsed.head.framing == HTTP_FRAMING_LENGTH);
		assert_row(accepted[i].bytes, parsed.head.has_content_length);
		assert_row(accepted[i].bytes, parsed.head.content_length == accepted[i].length);
		parsed_done(&parsed);
	}
}

static void test_chunked_in_any_case_is_chunked_framing(void **state)
{
	static const char *const rows[] = {
		TE "chunked\r\n\r\n",
		TE "Chunked\r\n\r\n",
		TE "CHUNKED\r\n\r\n",
		TE "chunked \r\n\r\n",
		LINE "transfer-encoding:\tchunked\r\n\r\n",
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct parsed parsed;

		parsed_request(&parsed, str_from_cstr(rows[i]), NULL);
		assert_error(str_from_cstr(rows[i]), parsed.error, HTTP1_OK);
		assert_row(rows[i], parsed.head.framing == HTTP_FRAMING_CHUNKED);
		assert_row(rows[i], !parsed.head.has_content_length);
		parsed_done(&parsed);
	}
}

/* "GET / HTTP/1.1" with the Host, or "GET TARGET HTTP/1.1" with it when there is a target. */
static enum http1_error parse_host(const char *target, const char *host)
{
	enum http1_error error;
	struct parsed parsed;
	struct buf bytes;

	buf_init(&bytes, 4096);
	assert_int_equal(buf_printf(&bytes, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", target, host),
			 0);
	parsed_request(&parsed, buf_str(&bytes), NULL);
	error = parsed.error;
	parsed_done(&parsed);
	buf_done(&bytes);
	return error;
}

static void test_h07_exactly_one_well_formed_host_is_asked_for(void **state)
{
	static const struct refused rows[] = {
		{BYTES("GET / HTTP/1.1\r\n\r\n"), HTTP1_E_HOST_MISSING},
		{BYTES("GET http://a/ HTTP/1.1\r\n\r\n"), HTTP1_E_HOST_MISSING},
		{BYTES(LINE HOST "\r\n"), HTTP1_E_HOST_DUPLICATE},
		{BYTES(LINE "host: b.example\r\n\r\n"), HTTP1_E_HOST_DUPLICATE},
		{BYTES("GET / HTTP/1.0\r\n" HOST HOST "\r\n"), HTTP1_E_HOST_DUPLICATE},
		{BYTES("GET / HTTP/1.0\r\nHost:\r\n\r\n"), HTTP1_E_HOST_INVALID},
	};
	static const char *const valid[] = {
		"a",	     "a.example",	   "A.Example:80",    "a_b.example",
		"127.0.0.1", "127.0.0.1:8080",	   "[::1]",	      "[2001:DB8::1]:443",
		"a.",	     "a.example:1",	   "a.example:65535", "xn--bcher-kva.ch",
		"a.:80",     "[::ffff:192.0.2.1]",
	};
	static const char *const invalid[] = {
		"",
		":80",
		"a:",
		"a:65536",
		"a:123456",
		"a:-1",
		"a:80:80",
		"a:b",
		"a b",
		"a\tb",
		"a/b",
		"u@a",
		"u:p@a",
		"a?b",
		"a#b",
		"[::1",
		"::1",
		"[::1]x",
		"[::1]:",
		"[127.0.0.1]",
		"[]",
		"[::1%25eth0]",
		"[v1.a]",
		"%6",
		"%zz",
		"a\\b",
		"<a>",
		"\"a\"",
		"a,b:80,c",
		"a|b",
		"\xc3\xa4.example",
		"{a}",
		"a~b",
		"a!c",
		"a,b",
		"a;b=c",
		"a'b",
		"a*b",
		"%61.example",
		".",
		".a",
		"a..b",
		"a..",
		"a:0",
		"a:080",
		"a:00080",
	};

	check_refused_rows(rows, ARRAY_SIZE(rows));
	for (size_t i = 0; i < ARRAY_SIZE(valid); i++)
		assert_row(valid[i], parse_host("/", valid[i]) == HTTP1_OK);
	for (size_t i = 0; i < ARRAY_SIZE(invalid); i++)
		assert_row(invalid[i], parse_host("/", invalid[i]) == HTTP1_E_HOST_INVALID);
}

static void test_h07_an_absolute_target_must_agree_with_host(void **state)
{
	static const struct {
		const char *target, *host;
		enum http1_error error;
	} rows[] = {
		{"http://a.example/", "a.example", HTTP1_OK},
		{"http://A.example/", "a.EXAMPLE", HTTP1_OK},
		{"http://a.example:80/", "a.example", HTTP1_OK},
		{"http://a.example/", "a.example:80", HTTP1_OK},
		{"https://a.example", "a.example:443", HTTP1_OK},
		{"https://a.example:443/", "a.example", HTTP1_OK},
		{"https://a.example:0443/", "a.example", HTTP1_E_TARGET},
		{"http://a.example./", "A.example.:80", HTTP1_OK},
		{"http://a.example:8080/x", "a.example:8080", HTTP1_OK},
		{"http://[::1]:80/", "[::1]", HTTP1_OK},
		{"http://a.example?x", "a.example", HTTP1_OK},
		{"http://b.example/", "a.example", HTTP1_E_HOST_INVALID},
		{"http://a.example/", "a.example.", HTTP1_E_HOST_INVALID},
		{"http://a.example:8080/", "a.example", HTTP1_E_HOST_INVALID},
		{"http://a.example/", "a.example:8080", HTTP1_E_HOST_INVALID},
		{"http://a.example/", "a.example:443", HTTP1_E_HOST_INVALID},
		{"https://a.example/", "a.example:80", HTTP1_E_HOST_INVALID},
		{"http://a.example", "a.exampl", HTTP1_E_HOST_INVALID},
		{"http://u@a.example/", "a.example", HTTP1_E_TARGET},
		{"http://u:p@a.example/", "a.example", HTTP1_E_TARGET},
		{"http://@a.example/", "a.example", HTTP1_E_TARGET},
		{"http://a.example@b.example/", "a.example", HTTP1_E_TARGET},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		assert_error(str_from_cstr(rows[i].target),
			     parse_host(rows[i].target, rows[i].host), rows[i].error);
	check_refused(STR("CONNECT a:443 HTTP/1.1\r\nHost: b:443\r\n\r\n"), NULL,
		      HTTP1_E_HOST_INVALID);
	check_refused(STR("CONNECT a:443 HTTP/1.1\r\nHost: a:444\r\n\r\n"), NULL,
		      HTTP1_E_HOST_INVALID);
}

static void test_h08_only_100_continue_may_be_expected(void **state)
{
	static const struct {
		const char *bytes;
		enum http1_error error;
		bool expect_continue;
	} rows[] = {
		{LINE "\r\n", HTTP1_OK, false},
		{LINE "Expect: 100-continue\r\n\r\n", HTTP1_OK, true},
		{LINE "expect: 100-Continue\r\n\r\n", HTTP1_OK, true},
		{"GET / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n", HTTP1_OK, false},
		{LINE "Expect: 100-continue, x\r\n\r\n", HTTP1_E_EXPECT, false},
		{LINE "Expect: 100-continuex\r\n\r\n", HTTP1_E_EXPECT, false},
		{LINE "Expect: 200-ok\r\n\r\n", HTTP1_E_EXPECT, false},
		{LINE "Expect:\r\n\r\n", HTTP1_E_EXPECT, false},
		{LINE "Expect: 100-continue\r\nExpect: x\r\n\r\n", HTTP1_E_EXPECT, false},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct parsed parsed;

		parsed_request(&parsed, str_from_cstr(rows[i].bytes), NULL);
		assert_error(str_from_cstr(rows[i].bytes), parsed.error, rows[i].error);
		assert_row(rows[i].bytes, parsed.head.expect_continue == rows[i].expect_continue);
		parsed_done(&parsed);
	}
	assert_int_equal(http1_error_status(HTTP1_E_EXPECT), 417);
}

static void test_connection_options_decide_keep_alive_and_upgrade(void **state)
{
#define LINE10 "GET / HTTP/1.0\r\n"
	static const struct {
		const char *bytes;
		bool keep_alive, has_upgrade;
	} rows[] = {
		{LINE "\r\n", true, false},
		{LINE "Connection: close\r\n\r\n", false, false},
		{LINE "Connection: CLOSE\r\n\r\n", false, false},
		{LINE "Connection: keep-alive\r\n\r\n", true, false},
		{LINE "Connection: keep-alive, close\r\n\r\n", false, false},
		{LINE "Connection: x-close , Close\r\n\r\n", false, false},
		{LINE "Connection: closed\r\n\r\n", true, false},
		{LINE "Connection: x\r\nConnection: close\r\n\r\n", false, false},
		{LINE "Connection:\r\n\r\n", true, false},
		{LINE "Proxy-Connection: close\r\n\r\n", true, false},
		{LINE "Proxy-Connection: close\r\nProxy-Connection: x\r\n\r\n", true, false},
		{LINE "Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n", true, true},
		{LINE "Connection: keep-alive, upgrade\r\nUpgrade: h2c\r\n\r\n", true, true},
		{LINE "Upgrade: websocket\r\n\r\n", true, false},
		{LINE "Connection: upgrade\r\n\r\n", true, false},
		{LINE "Upgrade:\r\nConnection: upgrade\r\n\r\n", true, false},
		{LINE10 "\r\n", false, false},
		{LINE10 "Connection: keep-alive\r\n\r\n", true, false},
		{LINE10 "Connection: Keep-Alive, x\r\n\r\n", true, false},
		{LINE10 "Connection: keep-alive, close\r\n\r\n", false, false},
		{LINE10 "Proxy-Connection: keep-alive\r\n\r\n", false, false},
		{LINE10 "Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n", false, false},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct parsed parsed;

		parsed_request(&parsed, str_from_cstr(rows[i].bytes), NULL);
		assert_error(str_from_cstr(rows[i].bytes), parsed.error, HTTP1_OK);
		assert_row(rows[i].bytes, parsed.head.keep_alive == rows[i].keep_alive);
		assert_row(rows[i].bytes, parsed.head.has_upgrade == rows[i].has_upgrade);
		parsed_done(&parsed);
	}
}

static void test_connect_with_content_is_refused(void **state)
{
#define CONNECT "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n"
	struct parsed parsed;

	check_refused(STR(CONNECT "Content-Length: 1\r\n\r\n"), NULL, HTTP1_E_LENGTH_INVALID);
	check_refused(STR(CONNECT "Transfer-Encoding: chunked\r\n\r\n"), NULL,
		      HTTP1_E_TRANSFER_ENCODING);
	parsed_request(&parsed, STR(CONNECT "Content-Length: 0\r\n\r\n"), NULL);
	assert_int_equal(parsed.error, HTTP1_OK);
	parsed_done(&parsed);
}

/* llhttp does not skip a tab before the end of these values; nobody sends one in good faith. */
static void test_what_llhttp_reads_differently_is_refused(void **state)
{
	static const struct refused rows[] = {
		{BYTES(CL "5\t\r\n\r\n"), HTTP1_E_PARSER},
		{BYTES(LINE "Connection: close\t\r\n\r\n"), HTTP1_E_PARSER},
	};

	check_refused_rows(rows, ARRAY_SIZE(rows));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_accepted_requests_are_read_as_sent),
		cmocka_unit_test(test_malformed_request_lines_are_refused),
		cmocka_unit_test(test_versions_other_than_1_0_and_1_1_are_refused),
		cmocka_unit_test(test_targets_of_the_wrong_form_are_refused),
		cmocka_unit_test(test_h06_bare_line_ends_folds_and_controls_in_fields_are_refused),
		cmocka_unit_test(test_field_values_are_trimmed_and_keep_the_rest),
		cmocka_unit_test(test_h01_content_length_with_transfer_encoding_is_refused),
		cmocka_unit_test(test_h02_transfer_encoding_other_than_one_chunked_is_refused),
		cmocka_unit_test(test_h03_content_length_is_one_number_of_64_bits),
		cmocka_unit_test(test_chunked_in_any_case_is_chunked_framing),
		cmocka_unit_test(test_h07_exactly_one_well_formed_host_is_asked_for),
		cmocka_unit_test(test_h07_an_absolute_target_must_agree_with_host),
		cmocka_unit_test(test_h08_only_100_continue_may_be_expected),
		cmocka_unit_test(test_connection_options_decide_keep_alive_and_upgrade),
		cmocka_unit_test(test_connect_with_content_is_refused),
		cmocka_unit_test(test_what_llhttp_reads_differently_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

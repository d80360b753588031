/*
 * Why there is a gate: messages that llhttp in strict mode accepts, each with the error that the
 * gate or the body decoder finds in it. When a new llhttp refuses one, its row may go.
 */
#include <llhttp.h>

#include "http1_support.h"

#define GET    "GET / HTTP/1.1\r\nHost: a\r\n"
#define POST   "POST / HTTP/1.1\r\nHost: a\r\n"
#define CHUNKS POST "Transfer-Encoding: chunked\r\n\r\n"
#define END    "0\r\n\r\n"
#define ANSWER "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"

struct row {
	struct str bytes;
	enum http1_error error;
};

static const struct row requests[] = {
	{BYTES(GET "X: a\r\n b\r\n\r\n"), HTTP1_E_OBS_FOLD},
	{BYTES(GET "X: a\r\n\tb\r\n\r\n"), HTTP1_E_OBS_FOLD},
	{BYTES(GET "X:\r\n a\r\n\r\n"), HTTP1_E_OBS_FOLD},
	{BYTES("GET / HTTP/1.1\nHost: a\r\n\r\n"), HTTP1_E_BARE_LF},
	{BYTES(GET "\n"), HTTP1_E_BARE_LF},
	{BYTES("\n" GET "\r\n"), HTTP1_E_BARE_LF},
	{BYTES("\r\r\n" GET "\r\n"), HTTP1_E_BARE_CR},
	{BYTES("\r\n\r\n\r\n" GET "\r\n"), HTTP1_E_REQUEST_LINE},
	{BYTES("GET  / HTTP/1.1\r\nHost: a\r\n\r\n"), HTTP1_E_REQUEST_LINE},
	{BYTES("GET /  HTTP/1.1\r\nHost: a\r\n\r\n"), HTTP1_E_REQUEST_LINE},
	{BYTES("GET /\r\n\r\n"), HTTP1_E_REQUEST_LINE},
	{BYTES("GET /\n\n"), HTTP1_E_BARE_LF},
	{BYTES("GET / HTTP/0.9\r\nHost: a\r\n\r\n"), HTTP1_E_VERSION},
	{BYTES("GET / HTTP/2.0\r\nHost: a\r\n\r\n"), HTTP1_E_VERSION},
	{BYTES("SOURCE / ICE/1.0\r\nHost: a\r\n\r\n"), HTTP1_E_REQUEST_LINE},
	{BYTES("PLAY rtsp://a/ RTSP/1.0\r\n\r\n"), HTTP1_E_REQUEST_LINE},
	{BYTES(GET ": x\r\n\r\n"), HTTP1_E_FIELD_NAME},
	{BYTES("GET /#x HTTP/1.1\r\nHost: a\r\n\r\n"), HTTP1_E_TARGET},
	{BYTES("GET * HTTP/1.1\r\nHost: a\r\n\r\n"), HTTP1_E_TARGET},
	{BYTES("OPTIONS *x HTTP/1.1\r\nHost: a\r\n\r\n"), HTTP1_E_TARGET},
	{BYTES("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n"), HTTP1_E_TARGET},
	{BYTES("GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n"), HTTP1_E_TARGET},
	{BYTES("GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n"), HTTP1_E_TARGET},
	{BYTES("GET http://a:b/ HTTP/1.1\r\nHost: a\r\n\r\n"), HTTP1_E_TARGET},
	{BYTES("GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n"), HTTP1_E_HOST_INVALID},
	{BYTES("CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n"), HTTP1_E_TARGET},
	{BYTES("CONNECT /x HTTP/1.1\r\nHost: a\r\n\r\n"), HTTP1_E_TARGET},
	{BYTES("CONNECT http://a/ HTTP/1.1\r\nHost: a\r\n\r\n"), HTTP1_E_TARGET},
	{BYTES("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nContent-Length: 5\r\n\r\n"),
	 HTTP1_E_LENGTH_INVALID},
	{BYTES("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nTransfer-Encoding: chunked\r\n\r\n"),
	 HTTP1_E_TRANSFER_ENCODING},
	{BYTES("GET / HTTP/1.1\r\n\r\n"), HTTP1_E_HOST_MISSING},
	{BYTES(GET "Host: a\r\n\r\n"), HTTP1_E_HOST_DUPLICATE},
	{BYTES("GET / HTTP/1.1\r\nHost: \r\n\r\n"), HTTP1_E_HOST_INVALID},
	{BYTES("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n"), HTTP1_E_HOST_INVALID},
	{BYTES("GET / HTTP/1.1\r\nHost: a b\r\n\r\n"), HTTP1_E_HOST_INVALID},
	{BYTES("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"), HTTP1_E_HOST_INVALID},
	{BYTES("GET / HTTP/1.1\r\nHost: a:99999\r\n\r\n"), HTTP1_E_HOST_INVALID},
	{BYTES("GET / HTTP/1.1\r\nHost: [::1\r\n\r\n"), HTTP1_E_HOST_INVALID},
	{BYTES("GET / HTTP/1.1\r\nHost: \xe4\r\n\r\n"), HTTP1_E_HOST_INVALID},
	{BYTES("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n" END),
	 HTTP1_E_TRANSFER_HTTP10},
	{BYTES(POST "Transfer-Encoding: gzip, chunked\r\n\r\n" END), HTTP1_E_TRANSFER_UNKNOWN},
	{BYTES(POST "Transfer-Encoding: ,chunked\r\n\r\n" END), HTTP1_E_TRANSFER_ENCODING},
	{BYTES(POST "Transfer-Encoding: gzip;q=1, chunked\r\n\r\n" END), HTTP1_E_TRANSFER_ENCODING},
	{BYTES(POST "Transfer-Encoding: \"x, chunked\r\n\r\n" END), HTTP1_E_TRANSFER_ENCODING},
	{BYTES(POST "Transfer-Encoding: a b, chunked\r\n\r\n" END), HTTP1_E_TRANSFER_ENCODING},
	{BYTES(POST "Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n\r\n" END),
	 HTTP1_E_TRANSFER_ENCODING},
	{BYTES(GET "Expect: x\r\n\r\n"), HTTP1_E_EXPECT},
	{BYTES(CHUNKS "5;a=\r\nabcde\r\n" END), HTTP1_E_CHUNK_EXTENSION},
	{BYTES(CHUNKS "5;=a\r\nabcde\r\n" END), HTTP1_E_CHUNK_EXTENSION},
	{BYTES(CHUNKS "5;a=b\"c\"\r\nabcde\r\n" END), HTTP1_E_CHUNK_EXTENSION},
	{BYTES(CHUNKS "00000000000000005\r\nabcde\r\n" END), HTTP1_E_CHUNK_SIZE},
	{BYTES(CHUNKS "5\r\nabcde\r\n0\r\n\n"), HTTP1_E_BARE_LF},
	{BYTES(CHUNKS "0\r\nX: a\r\n\n"), HTTP1_E_BARE_LF},
	{BYTES(CHUNKS "0\r\nX: a\r\n b\r\n\r\n"), HTTP1_E_TRAILER},
	{BYTES(CHUNKS "0\r\n: a\r\n\r\n"), HTTP1_E_TRAILER},
};

static const struct row responses[] = {
	{BYTES("HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n"), HTTP1_E_VERSION},
	{BYTES("HTTP/0.9 200 OK\r\nContent-Length: 0\r\n\r\n"), HTTP1_E_VERSION},
	{BYTES("HTTP/1.1 600 X\r\nContent-Length: 0\r\n\r\n"), HTTP1_E_STATUS_LINE},
	{BYTES("HTTP/1.1 099 X\r\nContent-Length: 0\r\n\r\n"), HTTP1_E_STATUS_LINE},
	{BYTES("HTTP/1.1 20 X\r\nContent-Length: 0\r\n\r\n"), HTTP1_E_STATUS_LINE},
	{BYTES("HTTP/1.1  200 OK\r\nContent-Length: 0\r\n\r\n"), HTTP1_E_STATUS_LINE},
	{BYTES("\r\n" ANSWER "\r\n"), HTTP1_E_STATUS_LINE},
	{BYTES("HTTP/1.1 200\nContent-Length: 0\r\n\r\n"), HTTP1_E_BARE_LF},
	{BYTES("HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n"), HTTP1_E_BARE_LF},
	{BYTES(ANSWER "\n"), HTTP1_E_BARE_LF},
	{BYTES("HTTP/1.1 200 a\x01\r\nContent-Length: 0\r\n\r\n"), HTTP1_E_CONTROL_BYTE},
	{BYTES("HTTP/1.1 200 a\0b\r\nContent-Length: 0\r\n\r\n"), HTTP1_E_CONTROL_BYTE},
	{BYTES(ANSWER "X: a\r\n b\r\n\r\n"), HTTP1_E_OBS_FOLD},
	{BYTES(ANSWER ": a\r\n\r\n"), HTTP1_E_FIELD_NAME},
	{BYTES("HTTP/1.1 204 X\r\nContent-Length: 5\r\n\r\n"), HTTP1_E_LENGTH_INVALID},
	{BYTES("HTTP/1.1 100 X\r\nContent-Length: 5\r\n\r\n"), HTTP1_E_LENGTH_INVALID},
	{BYTES("HTTP/1.1 204 X\r\nTransfer-Encoding: chunked\r\n\r\n"), HTTP1_E_TRANSFER_ENCODING},
	{BYTES("HTTP/1.0 200 X\r\nTransfer-Encoding: chunked\r\n\r\n" END),
	 HTTP1_E_TRANSFER_HTTP10},
	{BYTES("HTTP/1.1 200 X\r\nTransfer-Encoding: gzip\r\n\r\nx"), HTTP1_E_TRANSFER_UNKNOWN},
	{BYTES("HTTP/1.1 200 X\r\nTransfer-Encoding: chunked, gzip\r\n\r\nx"),
	 HTTP1_E_TRANSFER_ENCODING},
};

struct progress {
	bool head_complete, message_complete;
};

static int on_head(llhttp_t *parser)
{
	((struct progress *)parser->data)->head_complete = true;
	return 0;
}

static int on_message(llhttp_t *parser)
{
	((struct progress *)parser->data)->message_complete = true;
	return HPE_PAUSED;
}

/* A message to its end, or a head whose body goes on. */
static bool llhttp_accepts(struct str bytes, llhttp_type_t type)
{
	const llhttp_settings_t settings = {.on_headers_complete = on_head,
					    .on_message_complete = on_message};
	struct progress progress = {0};
	llhttp_errno_t error;
	llhttp_t parser;

	llhttp_init(&parser, type, &settings);
	parser.data = &progress;
	error = llhttp_execute(&parser, bytes.ptr, bytes.len);
	return progress.message_complete || (progress.head_complete && error == HPE_OK);
}

/* Head and body by our codec. */
static enum http1_error judge(struct str bytes, bool is_response)
{
	enum http1_error error;
	struct parsed parsed;

	if (is_response)
		parsed_response(&parsed, bytes, NULL, HTTP_METHOD_GET);
	else
		parsed_request(&parsed, bytes, NULL);
	error = parsed.error;
	if (!error) {
		struct fed fed;

		fed_init(&fed, parsed.head.framing, parsed.head.content_length, NULL,
			 str_sub(bytes, parsed.len, bytes.len), 0, 0);
		error = fed.error;
		fed_done(&fed);
	}
	parsed_done(&parsed);
	return error;
}

static void test_h06_requests_that_llhttp_alone_accepts_are_refused(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
		assert_row(row_text(requests[i].bytes),
			   llhttp_accepts(requests[i].bytes, HTTP_REQUEST));
		assert_error(requests[i].bytes, judge(requests[i].bytes, false), requests[i].error);
	}
	assert_true(ARRAY_SIZE(requests) >= 37);
}

static void test_h12_responses_that_llhttp_alone_accepts_are_refused(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(responses); i++) {
		assert_row(row_text(responses[i].bytes),
			   llhttp_accepts(responses[i].bytes, HTTP_RESPONSE));
		assert_error(responses[i].bytes, judge(responses[i].bytes, true),
			     responses[i].error);
	}
}

/* Pieces from which heads are put together: right, dangerous and wrong ones. */
static const struct str pieces[] = {
	BYTES("GET / HTTP/1.1\r\n"),
	BYTES("POST /a?b HTTP/1.1\r\n"),
	BYTES("FOO /x HTTP/1.0\r\n"),
	BYTES("HTTP/1.1 200 OK\r\n"),
	BYTES("Host: a\r\n"),
	BYTES("Content-Length: 5\r\n"),
	BYTES("Content-Length: 0 \r\n"),
	BYTES("Transfer-Encoding: chunked\r\n"),
	BYTES("Connection: close, x\r\n"),
	BYTES("Connection: keep-alive\r\n"),
	BYTES("Upgrade: a\r\nConnection: upgrade\r\n"),
	BYTES("Expect: 100-continue\r\n"),
	BYTES("X: \t y z \r\n"),
	BYTES("\r\n"),
	BYTES("\n"),
	BYTES("\r"),
	BYTES(" "),
	BYTES(":"),
	BYTES("\0"),
};

static void make_head(struct buf *bytes, uint64_t *seed)
{
	struct str first = pieces[random_next(seed) % 4];

	assert_int_equal(buf_append(bytes, first), 0);
	assert_int_equal(buf_append(bytes, pieces[4]), 0);
	for (unsigned int count = random_next(seed) % 5; count; count--) {
		size_t kinds = random_next(seed) % 8 ? 13 : ARRAY_SIZE(pieces);

		assert_int_equal(buf_append(bytes, pieces[4 + random_next(seed) % (kinds - 4)]), 0);
	}
	assert_int_equal(buf_append(bytes, STR("\r\n")), 0);
}

/*
 * What passes every rule of ours llhttp reads alike: no head of these pieces is refused "by the
 * parser".
 */
static void test_random_heads_that_pass_the_gate_pass_llhttp(void **state)
{
	uint64_t seed = 9110;
	unsigned int accepted = 0;

	for (unsigned int i = 0; i < 20000; i++) {
		bool is_response;
		struct parsed parsed;
		struct buf bytes;

		buf_init(&bytes, 65536);
		make_head(&bytes, &seed);
		is_response = str_starts_with(buf_str(&bytes), STR("HTTP"));
		if (is_response)
			parsed_response(&parsed, buf_str(&bytes), NULL, HTTP_METHOD_GET);
		else
			parsed_request(&parsed, buf_str(&bytes), NULL);
		assert_row(row_text(buf_str(&bytes)), parsed.error != HTTP1_E_PARSER);
		if (!parsed.error) {
			accepted++;
			/* Only we know what to do with a method that llhttp has no name for. */
			assert_row(
				row_text(buf_str(&bytes)),
				(!is_response && str_eq(parsed.head.method, STR("FOO"))) ||
					llhttp_accepts(str_sub(buf_str(&bytes), 0, parsed.len),
						       is_response ? HTTP_RESPONSE : HTTP_REQUEST));
		}
		parsed_done(&parsed);
		buf_done(&bytes);
	}
	assert_in_range(accepted, 2000, 18000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_h06_requests_that_llhttp_alone_accepts_are_refused),
		cmocka_unit_test(test_h12_responses_that_llhttp_alone_accepts_are_refused),
		cmocka_unit_test(test_random_heads_that_pass_the_gate_pass_llhttp),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "test_support.h"

#include <errno.h>
#include <stdlib.h>

#include "proto/http2/http2.h"

/* ---- the score ---- */

static void test_score_lets_a_burst_pass_and_forgets_with_time(void **state)
{
	struct http2_score score = {.since_ms = 1000};
	unsigned int resets = 0;

	(void)state;
	while (!http2_score_add(&score, HTTP2_ABUSE_RESETS, 1000))
		resets++;
	assert_int_equal(resets, 200);
	/* 20 a second are for ever. */
	score = (struct http2_score){.since_ms = 1000};
	for (uint64_t now_ms = 1000; now_ms < 100000; now_ms += 50)
		assert_false(http2_score_add(&score, HTTP2_ABUSE_RESETS, now_ms));
	/* Twice as many are not. */
	for (resets = 0; !http2_score_add(&score, HTTP2_ABUSE_RESETS, 100000 + resets * 25);
	     resets++)
		assert_true(resets < 1000);
	http2_score_pay(&score, UINT32_MAX);
	assert_int_equal(score.points, 0);
}

static void test_score_counts_time_that_comes_in_small_pieces(void **state)
{
	struct http2_score score = {.since_ms = 0};

	(void)state;
	for (uint64_t now_ms = 0; now_ms < 20000; now_ms++)
		if (now_ms % 10 == 0)
			assert_false(http2_score_add(&score, HTTP2_ABUSE_WINDOW_UPDATES, now_ms));
	assert_true(score.points <= 2);
}

static void test_every_abuse_has_a_text(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < HTTP2_ABUSE_COUNT; i++)
		assert_true(strlen(http2_abuse_text((enum http2_abuse)i)) > 10);
}

/* ---- heads ---- */

struct text_field {
	const char *name, *value;
};

#define GET                                                                                        \
	{":method", "GET"}, {":scheme", "http"}, {":authority", "a.test"},                         \
	{                                                                                          \
		":path", "/x?y"                                                                    \
	}
#define POST                                                                                       \
	{":method", "POST"}, {":scheme", "http"}, {":authority", "a.test"},                        \
	{                                                                                          \
		":path", "/x"                                                                      \
	}

static int read_request(struct arena *arena, const struct text_field *fields, bool end,
			struct http_head *ret_head)
{
	struct http2_fields list;
	struct str scheme;

	http2_fields_init(&list, arena);
	for (; fields->name; fields++)
		http2_fields_add(&list, &http1_limits_default, str_from_cstr(fields->name),
				 str_from_cstr(fields->value), false);
	return http2_fields_request(&list, end, ret_head, &scheme);
}

static void test_requests_are_read_or_refused(void **state)
{
	static const struct {
		const char *what;
		struct text_field fields[8];
		bool end;
		enum http1_error error;
	} rows[] = {
		{"get", {GET, {NULL, NULL}}, true, HTTP1_OK},
		{"host instead of authority",
		 {{":method", "GET"},
		  {":scheme", "http"},
		  {":path", "/"},
		  {"host", "a"},
		  {NULL, NULL}},
		 true,
		 HTTP1_OK},
		{"both, equal without case",
		 {GET, {"host", "A.test"}, {NULL, NULL}},
		 true,
		 HTTP1_OK},
		{"both, different",
		 {GET, {"host", "b.test"}, {NULL, NULL}},
		 true,
		 HTTP1_E_HOST_INVALID},
		{"two hosts",
		 {GET, {"host", "a.test"}, {"host", "a.test"}, {NULL, NULL}},
		 true,
		 HTTP1_E_HOST_DUPLICATE},
		{"none",
		 {{":method", "GET"}, {":scheme", "http"}, {":path", "/"}, {NULL, NULL}},
		 true,
		 HTTP1_E_HOST_MISSING},
		{"length", {POST, {"content-length", "4"}, {NULL, NULL}}, false, HTTP1_OK},
		{"length but no body",
		 {POST, {"content-length", "4"}, {NULL, NULL}},
		 true,
		 HTTP1_E_LENGTH_INVALID},
		{"two lengths",
		 {POST, {"content-length", "4"}, {"content-length", "4"}, {NULL, NULL}},
		 false,
		 HTTP1_E_LENGTH_DUPLICATE},
		{"no length",
		 {POST, {"content-length", "+4"}, {NULL, NULL}},
		 false,
		 HTTP1_E_LENGTH_INVALID},
		{"transfer-encoding",
		 {POST, {"transfer-encoding", "chunked"}, {NULL, NULL}},
		 false,
		 HTTP1_E_TRANSFER_ENCODING},
		{"connection",
		 {GET, {"connection", "x"}, {NULL, NULL}},
		 true,
		 HTTP1_E_CONNECTION_FIELD},
		{"upgrade", {GET, {"upgrade", "x"}, {NULL, NULL}}, true, HTTP1_E_CONNECTION_FIELD},
		{"te", {GET, {"te", "trailers"}, {NULL, NULL}}, true, HTTP1_OK},
		{"te gzip", {GET, {"te", "gzip"}, {NULL, NULL}}, true, HTTP1_E_CONNECTION_FIELD},
		{"upper case", {GET, {"X-a", "1"}, {NULL, NULL}}, true, HTTP1_E_FIELD_NAME},
		{"colon", {GET, {"x:a", "1"}, {NULL, NULL}}, true, HTTP1_E_FIELD_NAME},
		{"line feed", {GET, {"x-a", "1\nb: c"}, {NULL, NULL}}, true, HTTP1_E_CONTROL_BYTE},
		{"pseudo-header late",
		 {GET, {"x-a", "1"}, {":path", "/"}, {NULL, NULL}},
		 true,
		 HTTP1_E_REQUEST_LINE},
		{"pseudo-header twice",
		 {GET, {":path", "/"}, {NULL, NULL}},
		 true,
		 HTTP1_E_REQUEST_LINE},
		{"pseudo-header unknown",
		 {GET, {":x", "/"}, {NULL, NULL}},
		 true,
		 HTTP1_E_REQUEST_LINE},
		{"status", {GET, {":status", "200"}, {NULL, NULL}}, true, HTTP1_E_REQUEST_LINE},
		{"expect", {POST, {"expect", "100-continue"}, {NULL, NULL}}, false, HTTP1_OK},
		{"expect more", {POST, {"expect", "200"}, {NULL, NULL}}, false, HTTP1_E_EXPECT},
	};
	struct http_head head;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct arena arena;

		arena_init(&arena, 0, 1u << 20);
		assert_row(rows[i].what, read_request(&arena, rows[i].fields, rows[i].end, &head) ==
						 -(int)rows[i].error);
		if (rows[i].error == HTTP1_OK) {
			assert_row(rows[i].what, head.is_http2 && head.host.len);
			assert_row(rows[i].what,
				   (head.framing == HTTP_FRAMING_NONE) == rows[i].end);
		}
		arena_done(&arena);
	}
}

static void test_crumbs_of_cookies_are_joined(void **state)
{
	static const struct text_field fields[] = {
		GET,	     {"cookie", "a=1"}, {"x-a", "1"}, {"cookie", "b=2"}, {"cookie", ""},
		{NULL, NULL}};
	struct http_head head;
	struct arena arena;

	(void)state;
	arena_init(&arena, 0, 1u << 20);
	assert_int_equal(read_request(&arena, fields, true, &head), 0);
	assert_int_equal(head.field_count, 2);
	assert_str(head.fields[0].value, "a=1; b=2; ");
	assert_str(head.fields[1].name, "x-a");
	arena_done(&arena);
}

static void test_limits_count_what_was_decoded(void **state)
{
	const struct http1_limits limits = {
		.head_bytes = 200, .field_bytes = 100, .field_count = 3, .uri_bytes = 20};
	static const struct {
		const char *what, *name;
		size_t value_bytes, times;
		enum http1_error error;
	} rows[] = {
		{"fits", "x-a", 93, 2, HTTP1_OK},
		{"field", "x-a", 94, 1, HTTP1_E_FIELD_BYTES},
		{"head", "x-a", 60, 3, HTTP1_E_HEAD_BYTES},
		{"count", "x-a", 1, 4, HTTP1_E_FIELD_COUNT},
		{"path", ":path", 21, 1, HTTP1_E_URI_BYTES},
	};
	char value[256];

	(void)state;
	memset(value, '/', sizeof(value));
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct http2_fields list;
		struct arena arena;

		arena_init(&arena, 0, 1u << 20);
		http2_fields_init(&list, &arena);
		for (size_t j = 0; j < rows[i].times; j++)
			http2_fields_add(&list, &limits, str_from_cstr(rows[i].name),
					 str_make(value, rows[i].value_bytes), false);
		assert_row(rows[i].what, list.error == -(int)rows[i].error);
		arena_done(&arena);
	}
}

static void test_responses_are_read_or_refused(void **state)
{
	static const struct {
		const char *what, *status, *length;
		enum http_method method;
		bool end;
		int result;
		enum http_framing framing;
	} rows[] = {
		{"200", "200", "5", HTTP_METHOD_GET, false, 0, HTTP_FRAMING_LENGTH},
		{"200 without length", "200", NULL, HTTP_METHOD_GET, false, 0,
		 HTTP_FRAMING_CHUNKED},
		{"200 cut", "200", "5", HTTP_METHOD_GET, true, -HTTP1_E_TRUNCATED, 0},
		{"HEAD", "200", "5", HTTP_METHOD_HEAD, true, 0, HTTP_FRAMING_NONE},
		{"HEAD, the end apart", "200", "5", HTTP_METHOD_HEAD, false, 0, HTTP_FRAMING_NONE},
		{"204", "204", NULL, HTTP_METHOD_GET, true, 0, HTTP_FRAMING_NONE},
		{"204, the end apart", "204", NULL, HTTP_METHOD_GET, false, 0, HTTP_FRAMING_NONE},
		{"204 with a length", "204", "5", HTTP_METHOD_GET, true, -HTTP1_E_LENGTH_INVALID,
		 0},
		{"101", "101", NULL, HTTP_METHOD_GET, false, -HTTP1_E_STATUS_LINE, 0},
		{"304 with a length", "304", "5", HTTP_METHOD_GET, true, 0, HTTP_FRAMING_NONE},
		{"100", "100", NULL, HTTP_METHOD_GET, false, 0, HTTP_FRAMING_NONE},
		{"100 that ends", "100", NULL, HTTP_METHOD_GET, true, -HTTP1_E_STATUS_LINE, 0},
		{"no number", "2x0", NULL, HTTP_METHOD_GET, true, -HTTP1_E_STATUS_LINE, 0},
		{"too large", "600", NULL, HTTP_METHOD_GET, true, -HTTP1_E_STATUS_LINE, 0},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct http2_fields list;
		struct http_head head;
		struct arena arena;

		arena_init(&arena, 0, 1u << 20);
		http2_fields_init(&list, &arena);
		http2_fields_add(&list, &http1_limits_default, STR(":status"),
				 str_from_cstr(rows[i].status), false);
		if (rows[i].length)
			http2_fields_add(&list, &http1_limits_default, STR("content-length"),
					 str_from_cstr(rows[i].length), false);
		assert_row(rows[i].what, http2_fields_response(&list, rows[i].method, rows[i].end,
							       &head) == rows[i].result);
		if (!rows[i].result)
			assert_row(rows[i].what, head.framing == rows[i].framing);
		arena_done(&arena);
	}
}

/* ---- connections ---- */

static struct http2_stream *refuse(struct http2 *http2, int32_t id)
{
	(void)http2;
	(void)id;
	return NULL;
}

static const struct http2_ops refusing_ops = {.on_stream = refuse};

static int talk(void *arg)
{
	static const char request[] = HTTP2_PREFACE "\0\0\0\4\0\0\0\0\0"
						    "\0\0\6\1\5\0\0\0\1\x82\x86\x84\x41\1a";
	size_t account_bytes = 0;
	const struct http2_config config = {
		.ops = &refusing_ops,
		.limits = &http1_limits_default,
		.max_streams = 10,
		.stream_window_bytes = 65536,
		.connection_window_bytes = 131072,
		.account = &account_bytes,
	};
	struct http2 http2;
	struct str bytes;
	int ret = http2_init(&http2, &config);

	(void)arg;
	if (ret < 0) {
		assert_int_equal(account_bytes, 0);
		return ret;
	}
	ret = http2_feed(&http2, str_make(request, sizeof(request) - 1), 1);
	do {
		if (ret == 0)
			ret = http2_pull(&http2, &bytes);
	} while (ret == 0 && bytes.len);
	/* A RST_STREAM or answer that could not be queued is no failure that shows here. */
	http2_done(&http2);
	assert_int_equal(account_bytes, 0);
	return ret;
}

struct answering {
	struct http2 http2;
	struct http2_stream stream;
	struct arena arena;
	size_t sent_bytes;
};

static struct answering *answering_of(struct http2 *http2)
{
	return CONTAINER_OF(http2, struct answering, http2);
}

static struct http2_stream *answer_stream(struct http2 *http2, int32_t id)
{
	struct answering *server = answering_of(http2);

	(void)id;
	http2_fields_init(&server->stream.fields, &server->arena);
	return &server->stream;
}

static void answer_head(struct http2 *http2, struct http2_stream *stream, bool end)
{
	const nghttp2_nv status = http2_nv(STR(":status"), STR("200"));

	(void)end;
	(void)http2_submit_head(http2, stream->id, &status, 1, false);
}

static void answer_end(struct http2 *http2, struct http2_stream *stream,
		       const struct http_field *trailers, unsigned int count)
{
	(void)http2;
	(void)stream;
	(void)trailers;
	(void)count;
}

static void answer_closed(struct http2 *http2, struct http2_stream *stream, uint32_t error)
{
	(void)http2;
	(void)stream;
	(void)error;
}

static size_t answer_ready(struct http2 *http2, struct http2_stream *stream, size_t max,
			   bool *ret_end)
{
	(void)http2;
	(void)stream;
	(void)max;
	*ret_end = true;
	return 10;
}

static bool answer_data(struct http2 *http2, struct http2_stream *stream, const uint8_t *head,
			size_t bytes)
{
	(void)stream;
	(void)head;
	answering_of(http2)->sent_bytes += bytes;
	return true;
}

static bool answer_trailers(struct http2 *http2, struct http2_stream *stream)
{
	const nghttp2_nv trailer = http2_nv(STR("x-sum"), STR("1"));

	return http2_submit_trailers(http2, stream->id, &trailer, 1) == 0;
}

static const struct http2_ops answering_ops = {
	.on_stream = answer_stream,
	.on_head = answer_head,
	.on_end = answer_end,
	.on_closed = answer_closed,
	.on_send_ready = answer_ready,
	.on_send_data = answer_data,
	.on_send_trailers = answer_trailers,
};

/* Bytes of the body that was sent, or negative. */
static int answer(void)
{
	static const char request[] = HTTP2_PREFACE "\0\0\0\4\0\0\0\0\0"
						    "\0\0\6\1\5\0\0\0\1\x82\x86\x84\x41\1a";
	size_t account_bytes = 0;
	const struct http2_config config = {
		.ops = &answering_ops,
		.limits = &http1_limits_default,
		.max_streams = 10,
		.stream_window_bytes = 65536,
		.connection_window_bytes = 131072,
		.account = &account_bytes,
	};
	struct answering server = {.sent_bytes = 0};
	struct str bytes = STR_NULL;
	int ret;

	arena_init(&server.arena, 0, 1u << 20);
	ret = http2_init(&server.http2, &config);
	if (ret == 0) {
		ret = http2_feed(&server.http2, str_make(request, sizeof(request) - 1), 1);
		do {
			if (ret == 0)
				ret = http2_pull(&server.http2, &bytes);
		} while (ret == 0 && bytes.len);
		http2_done(&server.http2);
	}
	assert_int_equal(account_bytes, 0);
	arena_done(&server.arena);
	return ret < 0 ? ret : (int)server.sent_bytes;
}

static void test_an_answer_with_a_body_survives_every_failed_allocation(void **state)
{
	(void)state;
	for (unsigned int nth = 0;; nth++) {
		alloc_fail_arm(nth);
		(void)answer();
		if (!alloc_fail_disarm())
			break;
		assert_true(nth < 1000);
	}
	assert_int_equal(answer(), 10);
}

static void test_a_connection_survives_every_failed_allocation(void **state)
{
	(void)state;
	for (unsigned int nth = 0;; nth++) {
		alloc_fail_arm(nth);
		(void)talk(NULL);
		if (!alloc_fail_disarm())
			break;
		assert_true(nth < 1000);
	}
	assert_int_equal(talk(NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_score_lets_a_burst_pass_and_forgets_with_time),
		cmocka_unit_test(test_score_counts_time_that_comes_in_small_pieces),
		cmocka_unit_test(test_every_abuse_has_a_text),
		cmocka_unit_test(test_requests_are_read_or_refused),
		cmocka_unit_test(test_crumbs_of_cookies_are_joined),
		cmocka_unit_test(test_limits_count_what_was_decoded),
		cmocka_unit_test(test_responses_are_read_or_refused),
		cmocka_unit_test(test_a_connection_survives_every_failed_allocation),
		cmocka_unit_test(test_an_answer_with_a_body_survives_every_failed_allocation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

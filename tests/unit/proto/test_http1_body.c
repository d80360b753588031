#include "http1_support.h"

#include <stdlib.h>

#define RANDOM_BODIES	4000
#define RANDOM_MUTATION 20000

/*
 * Feeds the bytes whole, in single bytes, in pieces and split in two at every place; all must come
 * to the same. The result of the whole feed is left in *fed.
 */
static void feed_all_ways(struct fed *fed, enum http_framing framing, uint64_t content_length,
			  const struct http1_limits *limits, struct str bytes)
{
	static const size_t pieces[] = {1, 2, 3, 7};

	fed_init(fed, framing, content_length, limits, bytes, 0, 0);
	for (size_t i = 0; i < ARRAY_SIZE(pieces); i++) {
		struct fed other;

		fed_init(&other, framing, content_length, limits, bytes, 0, pieces[i]);
		assert_row(row_text(bytes), fed_equal(fed, &other));
		fed_done(&other);
	}
	for (size_t split = 1; split < bytes.len; split++) {
		struct fed other;

		fed_init(&other, framing, content_length, limits, bytes, split, 0);
		assert_row(row_text(bytes), fed_equal(fed, &other));
		fed_done(&other);
	}
}

static void check_chunked(struct str bytes, const struct http1_limits *limits,
			  enum http1_error error, const char *data, const char *trailers,
			  size_t left)
{
	struct fed fed;

	feed_all_ways(&fed, HTTP_FRAMING_CHUNKED, 0, limits, bytes);
	assert_error(bytes, fed.error, error);
	assert_row(row_text(bytes), fed.is_done == !error);
	if (!error) {
		assert_str(buf_str(&fed.data), data);
		assert_str(buf_str(&fed.trailers), trailers);
		assert_row(row_text(bytes), fed.consumed == bytes.len - left);
	}
	fed_done(&fed);
}

static void test_well_formed_chunks_give_their_data_at_every_split(void **state)
{
	static const struct {
		const char *bytes, *data, *trailers;
		size_t left;
	} rows[] = {
		{"0\r\n\r\n", "", "", 0},
		{"000\r\n\r\n", "", "", 0},
		{"5\r\nhello\r\n0\r\n\r\n", "hello", "", 0},
		{"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", "hello world", "", 0},
		{"a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", "01234567890123456789", "", 0},
		{"0000000000000003\r\nabc\r\n0000000000000000\r\n\r\n", "abc", "", 0},
		{"4\r\n\r\n\r\n\r\n0\r\n\r\n", "\r\n\r\n", "", 0},
		{"5\r\n0\r\n\r\n\r\n0\r\n\r\n", "0\r\n\r\n", "", 0},
		{"1\r\na\r\n0\r\n\r\nGET / HTTP/1.1\r\n", "a", "", 16},
		{"0\r\n\r\n\r\n", "", "", 2},
		{"0\r\nX: y\r\n\r\n", "", "X=y\n", 0},
		{"0\r\nX-Sum: 1\r\nY:\t2 \r\n\r\n0\r\n", "", "X-Sum=1\nY=2\n", 3},
		{"3;a\r\nabc\r\n0\r\n\r\n", "abc", "", 0},
		{"3;a=b\r\nabc\r\n0\r\n\r\n", "abc", "", 0},
		{"3;a=\"b;\\\"\\\\ \tc\"\r\nabc\r\n0;d\r\n\r\n", "abc", "", 0},
		{"3 ; a = b ; c\r\nabc\r\n0\r\n\r\n", "abc", "", 0},
		{"3\t;\ta\t=\t\"\"\t;b=c;d\r\nabc\r\n0\r\n\r\n", "abc", "", 0},
		{"3;a=\"\xc3\xa4\"\r\nabc\r\n0\r\n\r\n", "abc", "", 0},
		{"3;a=\"\";b=\"x\"\r\nabc\r\n0\r\n\r\n", "abc", "", 0},
		{"3;!#$%&'*+-.^_`|~\r\nabc\r\n0\r\n\r\n", "abc", "", 0},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		check_chunked(str_from_cstr(rows[i].bytes), NULL, HTTP1_OK, rows[i].data,
			      rows[i].trailers, rows[i].left);
}

struct refused {
	struct str bytes;
	enum http1_error error;
};

static void check_refused_rows(const struct refused *rows, size_t count)
{
	for (size_t i = 0; i < count; i++)
		check_chunked(rows[i].bytes, NULL, rows[i].error, NULL, NULL, 0);
}

static void test_h04_chunk_sizes_are_hex_digits_only_and_checked_for_overflow(void **state)
{
	static const struct refused rows[] = {
		{BYTES("\r\n"), HTTP1_E_CHUNK_SIZE},
		{BYTES("\n"), HTTP1_E_CHUNK_SIZE},
		{BYTES(";a\r\n"), HTTP1_E_CHUNK_SIZE},
		{BYTES(" 5\r\nhello\r\n"), HTTP1_E_CHUNK_SIZE},
		{BYTES("+5\r\nhello\r\n"), HTTP1_E_CHUNK_SIZE},
		{BYTES("-5\r\nhello\r\n"), HTTP1_E_CHUNK_SIZE},
		{BYTES("0x5\r\nhello\r\n"), HTTP1_E_CHUNK_SIZE},
		{BYTES("5h\r\nhello\r\n"), HTTP1_E_CHUNK_SIZE},
		{BYTES("g\r\n"), HTTP1_E_CHUNK_SIZE},
		{BYTES("5,\r\nhello\r\n"), HTTP1_E_CHUNK_SIZE},
		{BYTES("5\0\r\nhello\r\n"), HTTP1_E_CHUNK_SIZE},
		{BYTES("\xb5\r\nhello\r\n"), HTTP1_E_CHUNK_SIZE},
		{BYTES("00000000000000005\r\nhello\r\n"), HTTP1_E_CHUNK_SIZE},
		{BYTES("10000000000000000\r\n"), HTTP1_E_CHUNK_SIZE},
		{BYTES("fffffffffffffffff\r\n"), HTTP1_E_CHUNK_SIZE},
		/* Each fits 64 bits, the sum does not. */
		{BYTES("1\r\na\r\nffffffffffffffff\r\n"), HTTP1_E_CHUNK_SIZE},
	};

	check_refused_rows(rows, ARRAY_SIZE(rows));
}

static void test_h04_every_line_and_chunk_ends_in_crlf(void **state)
{
	static const struct refused rows[] = {
		{BYTES("5\nhello\r\n0\r\n\r\n"), HTTP1_E_BARE_LF},
		{BYTES("5;a\nhello\r\n0\r\n\r\n"), HTTP1_E_BARE_LF},
		{BYTES("5;a=\"\n\"\r\nhello\r\n0\r\n\r\n"), HTTP1_E_BARE_LF},
		{BYTES("5\rhello\r\n0\r\n\r\n"), HTTP1_E_BARE_CR},
		{BYTES("5\r\r\nhello\r\n0\r\n\r\n"), HTTP1_E_BARE_CR},
		{BYTES("5;a\rb\r\nhello\r\n0\r\n\r\n"), HTTP1_E_BARE_CR},
		{BYTES("5\r\nhello\n0\r\n\r\n"), HTTP1_E_CHUNK_END},
		{BYTES("5\r\nhello\r0\r\n\r\n"), HTTP1_E_CHUNK_END},
		{BYTES("5\r\nhelloXX0\r\n\r\n"), HTTP1_E_CHUNK_END},
		{BYTES("5\r\nhello!\r\n0\r\n\r\n"), HTTP1_E_CHUNK_END},
		{BYTES("5\r\nhello0\r\n\r\n"), HTTP1_E_CHUNK_END},
		{BYTES("0\n\r\n"), HTTP1_E_BARE_LF},
		{BYTES("0\r\n\n"), HTTP1_E_BARE_LF},
		{BYTES("0\r\n\rX"), HTTP1_E_BARE_CR},
		{BYTES("0\r\n\r\r\n"), HTTP1_E_BARE_CR},
	};

	check_refused_rows(rows, ARRAY_SIZE(rows));
}

static void test_h04_chunk_extensions_follow_their_grammar(void **state)
{
	static const struct refused rows[] = {
		{BYTES("5;\r\nhello\r\n"), HTTP1_E_CHUNK_EXTENSION},
		{BYTES("5;;a\r\nhello\r\n"), HTTP1_E_CHUNK_EXTENSION},
		{BYTES("5;a;\r\nhello\r\n"), HTTP1_E_CHUNK_EXTENSION},
		{BYTES("5; \r\nhello\r\n"), HTTP1_E_CHUNK_EXTENSION},
		{BYTES("5 \r\nhello\r\n"), HTTP1_E_CHUNK_EXTENSION},
		{BYTES("5\t\r\nhello\r\n"), HTTP1_E_CHUNK_EXTENSION},
		{BYTES("5 a\r\nhello\r\n"), HTTP1_E_CHUNK_EXTENSION},
		{BYTES("5 5\r\nhello\r\n"), HTTP1_E_CHUNK_EXTENSION},
		{BYTES("5;a \r\nhello\r\n"), HTTP1_E_CHUNK_EXTENSION},
		{BYTES("5;a b\r\nhello\r\n"), HTTP1_E_CHUNK_EXTENSION},
		{BYTES("5;=b\r\nhello\r\n"), HTTP1_E_CHUNK_EXTENSION},
		{BYTES("5;a=\r\nhello\r\n"), HTTP1_E_CHUNK_EXTENSION},
		{BYTES("5;a= \r\nhello\r\n"), HTTP1_E_CHUNK_EXTENSION},
		{BYTES("5;a==b\r\nhello\r\n"), HTTP1_E_CHUNK_EXTENSION},
		{BYTES("5;a=b=c\r\nhello\r\n"), HTTP1_E_CHUNK_EXTENSION},
		{BYTES("5;a=b \r\nhello\r\n"), HTTP1_E_CHUNK_EXTENSION},
		{BYTES("5;a=b c\r\nhello\r\n"), HTTP1_E_CHUNK_EXTENSION},
		{BYTES("5;a=b\"c\"\r\nhello\r\n"), HTTP1_E_CHUNK_EXTENSION},
		{BYTES("5;a=\"b\"c\r\nhello\r\n"), HTTP1_E_CHUNK_EXTENSION},
		{BYTES("5;a=\"b\r\nhello\r\n"), HTTP1_E_CHUNK_EXTENSION},
		{BYTES("5;a=\"\\\r\nhello\r\n"), HTTP1_E_CHUNK_EXTENSION},
		{BYTES("5;a=\"\\\x01\"\r\nhello\r\n"), HTTP1_E_CHUNK_EXTENSION},
		{BYTES("5;a=\"\0\"\r\nhello\r\n"), HTTP1_E_CHUNK_EXTENSION},
		{BYTES("5;a=\"\x7f\"\r\nhello\r\n"), HTTP1_E_CHUNK_EXTENSION},
		{BYTES("5;\"a\"\r\nhello\r\n"), HTTP1_E_CHUNK_EXTENSION},
		{BYTES("5;a\"\r\nhello\r\n"), HTTP1_E_CHUNK_EXTENSION},
		{BYTES("5;\xc3\xa4\r\nhello\r\n"), HTTP1_E_CHUNK_EXTENSION},
		{BYTES("5;a=\xc3\xa4\r\nhello\r\n"), HTTP1_E_CHUNK_EXTENSION},
		{BYTES("5;a,b\r\nhello\r\n"), HTTP1_E_CHUNK_EXTENSION},
		{BYTES("5;a/b\r\nhello\r\n"), HTTP1_E_CHUNK_EXTENSION},
	};

	check_refused_rows(rows, ARRAY_SIZE(rows));
}

static void test_h04_extension_bytes_are_limited_over_the_whole_message(void **state)
{
	static const struct http1_limits small = {.chunk_extension_bytes = 8};
	struct buf bytes;

	check_chunked(STR("1;abcdefg\r\nx\r\n0\r\n\r\n"), &small, HTTP1_OK, "x", "", 0);
	check_chunked(STR("1;abcdefgh\r\nx\r\n0\r\n\r\n"), &small, HTTP1_E_CHUNK_EXTENSION_BYTES,
		      NULL, NULL, 0);
	check_chunked(STR("1;abc\r\nx\r\n1;def\r\nx\r\n0\r\n\r\n"), &small, HTTP1_OK, "xx", "", 0);
	check_chunked(STR("1;abc\r\nx\r\n1;def\r\nx\r\n0;g\r\n\r\n"), &small,
		      HTTP1_E_CHUNK_EXTENSION_BYTES, NULL, NULL, 0);
	check_chunked(STR("1        ;a\r\nx\r\n0\r\n\r\n"), &small, HTTP1_E_CHUNK_EXTENSION_BYTES,
		      NULL, NULL, 0);

	buf_init(&bytes, 65536);
	for (unsigned int i = 0; i < 512; i++)
		assert_int_equal(buf_append(&bytes, STR("1;a\r\nx\r\n")), 0);
	assert_int_equal(buf_append(&bytes, STR("0\r\n\r\n")), 0);
	check_chunked(buf_str(&bytes), &(struct http1_limits){.chunk_extension_bytes = 1023},
		      HTTP1_E_CHUNK_EXTENSION_BYTES, NULL, NULL, 0);
	{
		struct fed fed;

		fed_init(&fed, HTTP_FRAMING_CHUNKED, 0, NULL, buf_str(&bytes), 0, 0);
		assert_int_equal(fed.error, HTTP1_OK);
		assert_int_equal(fed.data.len, 512);
		fed_done(&fed);
	}
	buf_done(&bytes);
}

static void test_h06_trailers_pass_the_same_gate_as_fields(void **state)
{
	static const struct refused rows[] = {
		{BYTES("0\r\nX: a\r\n b\r\n\r\n"), HTTP1_E_TRAILER},
		{BYTES("0\r\n X: a\r\n\r\n"), HTTP1_E_TRAILER},
		{BYTES("0\r\n: a\r\n\r\n"), HTTP1_E_TRAILER},
		{BYTES("0\r\nX : a\r\n\r\n"), HTTP1_E_TRAILER},
		{BYTES("0\r\nX\r\n\r\n"), HTTP1_E_TRAILER},
		{BYTES("0\r\nX: a\rb\r\n\r\n"), HTTP1_E_TRAILER},
		{BYTES("0\r\nX: a\r\r\n\r\n"), HTTP1_E_TRAILER},
		{BYTES("0\r\nX: a\0\r\n\r\n"), HTTP1_E_TRAILER},
		{BYTES("0\r\nX(: a\r\n\r\n"), HTTP1_E_TRAILER},
		{BYTES("0\r\nGET / HTTP/1.1\r\n\r\n"), HTTP1_E_TRAILER},
		{BYTES("0\r\nX: a\n\r\n"), HTTP1_E_BARE_LF},
		{BYTES("0\r\nX: a\r\n\n"), HTTP1_E_BARE_LF},
		{BYTES("0\r\nX: a\r\n\rY"), HTTP1_E_BARE_CR},
	};

	check_refused_rows(rows, ARRAY_SIZE(rows));
}

static void test_h14_trailers_are_limited_in_bytes_and_fields(void **state)
{
	static const struct http1_limits small = {.trailer_bytes = 12, .field_count = 2};
	static const struct http1_limits narrow = {.field_bytes = 6};

	check_chunked(STR("0\r\nA: 1\r\nB: 2\r\n\r\n"), &small, HTTP1_OK, "", "A=1\nB=2\n", 0);
	check_chunked(STR("0\r\nA: 1\r\nB: 23\r\n\r\n"), &small, HTTP1_E_TRAILER, NULL, NULL, 0);
	check_chunked(STR("0\r\nABCDEFGHIJKLMNO"), &small, HTTP1_E_TRAILER, NULL, NULL, 0);
	check_chunked(STR("0\r\nA:\r\nB:\r\nC:\r\n\r\n"), &small, HTTP1_E_TRAILER, NULL, NULL, 0);
	check_chunked(STR("0\r\nA: 123\r\n\r\n"), &narrow, HTTP1_OK, "", "A=123\n", 0);
	check_chunked(STR("0\r\nA: 1234\r\n\r\n"), &narrow, HTTP1_E_TRAILER, NULL, NULL, 0);
}

static void test_a_body_without_trailers_allocates_nothing(void **state)
{
	struct str bytes = STR("5\r\nhello\r\n0\r\n\r\n"), data;
	struct http1_body body;
	size_t consumed, at = 0;
	int event;

	alloc_fail_arm(0);
	http1_body_init(&body, HTTP_FRAMING_CHUNKED, 0, NULL);
	do {
		event = http1_body_feed(&body, str_sub(bytes, at, bytes.len), &consumed, &data);
		at += consumed;
	} while (event == HTTP1_BODY_DATA);
	assert_false(alloc_fail_disarm());
	assert_int_equal(event, HTTP1_BODY_DONE);
	assert_null(body.trailer.data);
	http1_body_done(&body);
}

static int feed_with_trailer(void *arg)
{
	struct http_field *fields = NULL;
	unsigned int count = 0;
	struct http1_body body;
	struct arena arena;
	struct str data;
	size_t consumed;
	int r;

	arena_init(&arena, 0, 65536);
	http1_body_init(&body, HTTP_FRAMING_CHUNKED, 0, NULL);
	r = http1_body_feed(&body, STR("0\r\nX-Sum: 123\r\n\r\n"), &consumed, &data);
	if (r == HTTP1_BODY_DONE)
		r = http1_body_trailers(&body, &arena, &fields, &count);
	assert_true(r == 0 || r == -HTTP1_E_NO_MEMORY);
	if (!r)
		assert_int_equal(count, 1);
	http1_body_done(&body);
	arena_done(&arena);
	return r;
}

static void test_missing_memory_for_trailers_is_reported(void **state)
{
	/* The collected section and the field index. */
	assert_int_equal(test_failing_each_allocation(feed_with_trailer, NULL), 2);
}

static void test_a_body_of_known_length_ends_there(void **state)
{
	static const struct {
		uint64_t length;
		const char *bytes, *data;
		bool is_done;
	} rows[] = {
		{0, "", "", true},
		{0, "GET", "", true},
		{1, "", "", false},
		{5, "hell", "hell", false},
		{5, "hello", "hello", true},
		{5, "hello world", "hello", true},
		{UINT64_MAX, "hello", "hello", false},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct fed fed;

		feed_all_ways(&fed, HTTP_FRAMING_LENGTH, rows[i].length, NULL,
			      str_from_cstr(rows[i].bytes));
		assert_row(rows[i].bytes, !fed.error && fed.is_done == rows[i].is_done);
		assert_str(buf_str(&fed.data), rows[i].data);
		assert_row(rows[i].bytes, fed.consumed == strlen(rows[i].data));
		fed_done(&fed);
	}
}

static void test_no_body_is_done_at_once_and_eats_nothing(void **state)
{
	struct fed fed;

	feed_all_ways(&fed, HTTP_FRAMING_NONE, 5, NULL, STR("GET / HTTP/1.1\r\n"));
	assert_true(fed.is_done);
	assert_int_equal(fed.consumed, 0);
	fed_done(&fed);
}

static void test_a_zeroed_body_is_over(void **state)
{
	struct http1_body body = {0};
	size_t consumed = 1;
	struct str data;

	assert_true(http1_body_is_done(&body));
	assert_int_equal(http1_body_feed(&body, STR("x"), &consumed, &data), HTTP1_BODY_DONE);
	assert_int_equal(consumed, 0);
	http1_body_done(&body);
}

static void test_only_an_until_close_body_ends_by_closing(void **state)
{
	static const struct {
		enum http_framing framing;
		uint64_t length;
		const char *bytes;
		int at_eof;
	} rows[] = {
		{HTTP_FRAMING_UNTIL_CLOSE, 0, "", HTTP1_BODY_DONE},
		{HTTP_FRAMING_UNTIL_CLOSE, 0, "anything\r\n\r\n", HTTP1_BODY_DONE},
		{HTTP_FRAMING_NONE, 0, "", HTTP1_BODY_DONE},
		{HTTP_FRAMING_LENGTH, 5, "hello", HTTP1_BODY_DONE},
		{HTTP_FRAMING_LENGTH, 5, "hell", -HTTP1_E_TRUNCATED},
		{HTTP_FRAMING_LENGTH, 5, "", -HTTP1_E_TRUNCATED},
		{HTTP_FRAMING_CHUNKED, 0, "", -HTTP1_E_TRUNCATED},
		{HTTP_FRAMING_CHUNKED, 0, "5\r\nhello", -HTTP1_E_TRUNCATED},
		{HTTP_FRAMING_CHUNKED, 0, "5\r\nhello\r\n", -HTTP1_E_TRUNCATED},
		{HTTP_FRAMING_CHUNKED, 0, "0\r\n", -HTTP1_E_TRUNCATED},
		{HTTP_FRAMING_CHUNKED, 0, "0\r\nX: y\r\n", -HTTP1_E_TRUNCATED},
		{HTTP_FRAMING_CHUNKED, 0, "0\r\n\r\n", HTTP1_BODY_DONE},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct str bytes = str_from_cstr(rows[i].bytes), data;
		struct http1_body body;
		size_t consumed = 0, at = 0;
		int event;

		http1_body_init(&body, rows[i].framing, rows[i].length, NULL);
		do {
			event = http1_body_feed(&body, str_sub(bytes, at, bytes.len), &consumed,
						&data);
			at += consumed;
		} while (event == HTTP1_BODY_DATA);
		assert_row(rows[i].bytes, event >= 0);
		assert_row(rows[i].bytes, http1_body_eof(&body) == rows[i].at_eof);
		assert_row(rows[i].bytes,
			   http1_body_is_done(&body) == (rows[i].at_eof == HTTP1_BODY_DONE));
		http1_body_done(&body);
	}
}

static void test_h09_nothing_is_consumed_past_the_end_of_the_message(void **state)
{
	static const char next[] = "GET /admin HTTP/1.1\r\nHost: a\r\n\r\n";
	static const char *const bodies[] = {
		"0\r\n\r\n",
		"3\r\nabc\r\n0\r\n\r\n",
		"3\r\nabc\r\n0;a\r\nX: y\r\n\r\n",
	};

	for (size_t i = 0; i < ARRAY_SIZE(bodies); i++) {
		struct buf bytes;
		struct fed fed;

		buf_init(&bytes, 4096);
		assert_int_equal(buf_printf(&bytes, "%s%s", bodies[i], next), 0);
		feed_all_ways(&fed, HTTP_FRAMING_CHUNKED, 0, NULL, buf_str(&bytes));
		assert_row(bodies[i], fed.is_done && fed.consumed == strlen(bodies[i]));
		fed_done(&fed);
		buf_done(&bytes);
	}
}

static void append_random(struct buf *buf, uint64_t *seed, const char *alphabet, size_t count)
{
	size_t letters = strlen(alphabet);

	for (size_t i = 0; i < count; i++)
		assert_int_equal(
			buf_append(buf, str_make(&alphabet[random_next(seed) % letters], 1)), 0);
}

/* A chunked message with random cuts, extensions and trailers, and the data it holds. */
static void make_message(struct buf *bytes, struct buf *data, uint64_t *seed)
{
	for (unsigned int chunks = random_next(seed) % 6; chunks; chunks--) {
		uint32_t len = 1 + random_next(seed) % 40;
		size_t from = data->len;

		assert_int_equal(buf_printf(bytes, random_next(seed) & 1 ? "%x" : "%04X", len), 0);
		if (random_next(seed) % 3 == 0) {
			assert_int_equal(buf_append(bytes, STR(";n")), 0);
			append_random(bytes, seed, "abc", random_next(seed) % 4);
		}
		assert_int_equal(buf_append(bytes, STR("\r\n")), 0);
		append_random(data, seed, "\r\n0123456789abcdef;\" ", len);
		assert_int_equal(buf_append(bytes, str_sub(buf_str(data), from, len)), 0);
		assert_int_equal(buf_append(bytes, STR("\r\n")), 0);
	}
	assert_int_equal(buf_append(bytes, STR("0\r\n")), 0);
	if (random_next(seed) & 1)
		assert_int_equal(buf_append(bytes, STR("X-Trailer: value\r\n")), 0);
	assert_int_equal(buf_append(bytes, STR("\r\n")), 0);
}

static void test_random_messages_keep_their_bytes_in_random_pieces(void **state)
{
	uint64_t seed = 9112;

	for (unsigned int i = 0; i < RANDOM_BODIES; i++) {
		struct buf bytes, data;
		struct fed fed;

		buf_init(&bytes, 65536);
		buf_init(&data, 65536);
		make_message(&bytes, &data, &seed);
		fed_init(&fed, HTTP_FRAMING_CHUNKED, 0, NULL, buf_str(&bytes), 0,
			 random_next(&seed) % 30);
		assert_row(row_text(buf_str(&bytes)), !fed.error && fed.is_done);
		assert_row(row_text(buf_str(&bytes)), str_eq(buf_str(&fed.data), buf_str(&data)));
		assert_row(row_text(buf_str(&bytes)), fed.consumed == bytes.len);
		fed_done(&fed);
		buf_done(&data);
		buf_done(&bytes);
	}
}

/* Mostly broken messages: whole and byte by byte must agree on the error, too. */
static void test_random_damage_is_judged_the_same_in_any_pieces(void **state)
{
	uint64_t seed = 7230;
	unsigned int refused = 0;

	for (unsigned int i = 0; i < RANDOM_MUTATION; i++) {
		static const char damage[] = "\r\n\t ;=\"\\0aFgX:\x00\x7f\xff";
		struct fed whole, single, pieces;
		struct buf bytes, data;

		buf_init(&bytes, 65536);
		buf_init(&data, 65536);
		make_message(&bytes, &data, &seed);
		for (unsigned int times = random_next(&seed) % 3; times; times--)
			bytes.data[random_next(&seed) % bytes.len] =
				damage[random_next(&seed) % (sizeof(damage) - 1)];
		fed_init(&whole, HTTP_FRAMING_CHUNKED, 0, NULL, buf_str(&bytes), 0, 0);
		fed_init(&single, HTTP_FRAMING_CHUNKED, 0, NULL, buf_str(&bytes), 0, 1);
		fed_init(&pieces, HTTP_FRAMING_CHUNKED, 0, NULL, buf_str(&bytes),
			 random_next(&seed) % 20, 1 + random_next(&seed) % 20);
		assert_row(row_text(buf_str(&bytes)), fed_equal(&whole, &single));
		assert_row(row_text(buf_str(&bytes)), fed_equal(&whole, &pieces));
		refused += whole.error != HTTP1_OK;
		fed_done(&whole);
		fed_done(&single);
		fed_done(&pieces);
		buf_done(&data);
		buf_done(&bytes);
	}
	/* The damage is real, but not all of it. */
	assert_in_range(refused, RANDOM_MUTATION / 10, RANDOM_MUTATION * 9 / 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_well_formed_chunks_give_their_data_at_every_split),
		cmocka_unit_test(test_h04_chunk_sizes_are_hex_digits_only_and_checked_for_overflow),
		cmocka_unit_test(test_h04_every_line_and_chunk_ends_in_crlf),
		cmocka_unit_test(test_h04_chunk_extensions_follow_their_grammar),
		cmocka_unit_test(test_h04_extension_bytes_are_limited_over_the_whole_message),
		cmocka_unit_test(test_h06_trailers_pass_the_same_gate_as_fields),
		cmocka_unit_test(test_h14_trailers_are_limited_in_bytes_and_fields),
		cmocka_unit_test(test_a_body_without_trailers_allocates_nothing),
		cmocka_unit_test(test_missing_memory_for_trailers_is_reported),
		cmocka_unit_test(test_a_body_of_known_length_ends_there),
		cmocka_unit_test(test_no_body_is_done_at_once_and_eats_nothing),
		cmocka_unit_test(test_a_zeroed_body_is_over),
		cmocka_unit_test(test_only_an_until_close_body_ends_by_closing),
		cmocka_unit_test(test_h09_nothing_is_consumed_past_the_end_of_the_message),
		cmocka_unit_test(test_random_messages_keep_their_bytes_in_random_pieces),
		cmocka_unit_test(test_random_damage_is_judged_the_same_in_any_pieces),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

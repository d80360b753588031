/* Where a head ends, and how much of it there may be. */
#include "http1_support.h"

#include <stdlib.h>

#define LINE "GET / HTTP/1.1\r\nHost: a.example\r\n"

static struct str repeat(struct buf *buf, const char *before, char byte, size_t count,
			 const char *after)
{
	buf_init(buf, 1024 * 1024);
	assert_int_equal(buf_append(buf, str_from_cstr(before)), 0);
	for (size_t i = 0; i < count; i++)
		assert_int_equal(buf_append(buf, str_make(&byte, 1)), 0);
	assert_int_equal(buf_append(buf, str_from_cstr(after)), 0);
	return buf_str(buf);
}

/* Exactly at the limit it passes, one byte more is refused. */
static void check_limit(const char *before, size_t max, const char *after,
			const struct http1_limits *limits, enum http1_error error)
{
	struct parsed parsed;
	struct buf bytes;

	parsed_request(&parsed, repeat(&bytes, before, 'a', max, after), limits);
	assert_error(buf_str(&bytes), parsed.error, HTTP1_OK);
	parsed_done(&parsed);
	buf_done(&bytes);

	parsed_request(&parsed, repeat(&bytes, before, 'a', max + 1, after), limits);
	assert_error(buf_str(&bytes), parsed.error, error);
	parsed_done(&parsed);
	buf_done(&bytes);
}

static void test_h14_uri_field_and_head_bytes_are_limited(void **state)
{
	static const struct http1_limits small = {
		.head_bytes = 200, .field_bytes = 50, .field_count = 3, .uri_bytes = 20};
	static const char line[] = "GET / HTTP/1.1\r\nHost: a\r\n";

	check_limit("GET /", 19, " HTTP/1.1\r\nHost: a\r\n\r\n", &small, HTTP1_E_URI_BYTES);
	check_limit("GET /", 8191, " HTTP/1.1\r\nHost: a\r\n\r\n", NULL, HTTP1_E_URI_BYTES);
	check_limit("GET / HTTP/1.1\r\nHost: a\r\nX: ", 47, "\r\n\r\n", &small,
		    HTTP1_E_FIELD_BYTES);
	check_limit("GET / HTTP/1.1\r\nHost: a\r\n", 47, ": b\r\n\r\n", &small,
		    HTTP1_E_FIELD_BYTES);
	check_limit("GET / HTTP/1.1\r\nHost: a\r\nX: ", 16 * 1024 - 3, "\r\n\r\n", NULL,
		    HTTP1_E_FIELD_BYTES);
	check_limit("GET / HTTP/1.1\r\nHost: a\r\nX: ", 200 - (sizeof(line) - 1) - 3 - 4,
		    "\r\n\r\n", &(struct http1_limits){.head_bytes = 200, .field_bytes = 1000},
		    HTTP1_E_HEAD_BYTES);
	/* Both the search and the parser hold the limit. */
	for (size_t head_bytes = sizeof(line); head_bytes <= sizeof(line) + 2; head_bytes++) {
		const struct http1_limits limits = {.head_bytes = (uint32_t)head_bytes};
		struct str bytes = STR("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
		bool fits = bytes.len <= head_bytes;
		struct arena arena;
		struct http_head head;
		size_t scan = 0, len = 0;

		arena_init(&arena, 0, 65536);
		assert_int_equal(http1_find_head_end(bytes, &limits, &scan, &len),
				 fits ? 1 : -HTTP1_E_HEAD_BYTES);
		assert_int_equal(http1_parse_request(bytes, &limits, &arena, &head),
				 fits ? 0 : -HTTP1_E_HEAD_BYTES);
		arena_done(&arena);
	}
	assert_int_equal(http1_error_status(HTTP1_E_URI_BYTES), 414);
	assert_int_equal(http1_error_status(HTTP1_E_FIELD_BYTES), 431);
	assert_int_equal(http1_error_status(HTTP1_E_HEAD_BYTES), 431);
}

static void test_h14_a_first_line_without_end_is_given_up_early(void **state)
{
	static const struct http1_limits small = {.uri_bytes = 100};
	struct buf bytes;
	size_t scan = 0, len = 0;

	/* Far below head_bytes, and without a line end in sight. */
	(void)repeat(&bytes, "\r\nGET /", 'a', 200, "");
	assert_int_equal(http1_find_head_end(buf_str(&bytes), &small, &scan, &len),
			 -HTTP1_E_URI_BYTES);
	buf_done(&bytes);
	scan = 0;
	(void)repeat(&bytes, "GET / HTTP/1.1\r\nX: ", 'a', 200, "");
	assert_int_equal(http1_find_head_end(buf_str(&bytes), &small, &scan, &len), 0);
	assert_int_equal(scan, bytes.len);
	buf_done(&bytes);
}

static void test_h14_field_count_is_limited_and_the_index_grows_to_it(void **state)
{
	for (unsigned int count = 90; count <= 101; count++) {
		struct parsed parsed;
		struct buf bytes;

		buf_init(&bytes, 1024 * 1024);
		assert_int_equal(buf_printf(&bytes, "GET / HTTP/1.1\r\nHost: a\r\n"), 0);
		for (unsigned int i = 1; i < count; i++)
			assert_int_equal(buf_printf(&bytes, "X-%u: v%u\r\n", i, i), 0);
		assert_int_equal(buf_append(&bytes, STR("\r\n")), 0);
		parsed_request(&parsed, buf_str(&bytes), NULL);
		if (count > 100) {
			assert_int_equal(parsed.error, HTTP1_E_FIELD_COUNT);
		} else {
			assert_int_equal(parsed.error, HTTP1_OK);
			assert_int_equal(parsed.head.field_count, count);
		}
		for (unsigned int i = 1; !parsed.error && i < count; i++) {
			char value[16];

			(void)snprintf(value, sizeof(value), "v%u", i);
			assert_str(parsed.head.fields[i].value, value);
		}
		parsed_done(&parsed);
		buf_done(&bytes);
	}
}

static void test_an_arena_without_room_is_no_memory(void **state)
{
	static const char bytes[] = LINE "\r\n";
	struct arena arena;
	struct http_head head;

	arena_init(&arena, 0, 64);
	assert_int_equal(
		http1_parse_request(str_make(bytes, sizeof(bytes) - 1), NULL, &arena, &head),
		-HTTP1_E_NO_MEMORY);
	assert_true(arena.overflowed);
	arena_done(&arena);
}

/* Whoever hands over something that http1_find_head_end() did not find gets an error, no more. */
static void test_bytes_that_are_no_whole_head_are_refused(void **state)
{
	static const char whole[] = LINE "X: y\r\n\r\n";
	struct arena arena;
	struct http_head head;

	arena_init(&arena, 0, 65536);
	for (size_t len = 0; len < sizeof(whole) - 1; len++) {
		char *copy = malloc(len + 1);

		assert_non_null(copy);
		memcpy(copy, whole, len);
		assert_true(http1_parse_request(str_make(copy, len), NULL, &arena, &head) < 0);
		assert_true(http1_parse_response(str_make(copy, len), NULL, HTTP_METHOD_GET, &arena,
						 &head) < 0);
		free(copy);
	}
	assert_int_equal(http1_parse_request(STR(LINE "\r\nX: y\r\n\r\n"), NULL, &arena, &head),
			 -HTTP1_E_PARSER);
	assert_int_equal(http1_parse_request(STR("\r\n\r\n\r\n" LINE "\r\n"), NULL, &arena, &head),
			 -HTTP1_E_REQUEST_LINE);
	arena_done(&arena);
}

/* All splits in two and all single bytes; the second request stays where it is. */
static void test_the_end_of_a_head_is_found_at_every_split(void **state)
{
	static const char *const heads[] = {
		"GET / HTTP/1.1\r\n\r\n",
		"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"\r\n\r\nA / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n",
		"A\r\n\r\n",
		"AB\r\n\r\n",
		"ABC\r\nD\r\n\r\n",
	};

	for (size_t i = 0; i < ARRAY_SIZE(heads); i++) {
		size_t head_len = strlen(heads[i]);
		struct buf bytes;

		buf_init(&bytes, 4096);
		assert_int_equal(buf_printf(&bytes, "%sGET /2 HTTP/1.1\r\n\r\n", heads[i]), 0);
		for (size_t split = 0; split <= bytes.len; split++) {
			size_t scan = 0, len = 0;
			int r = http1_find_head_end(str_sub(buf_str(&bytes), 0, split), NULL, &scan,
						    &len);

			assert_row(heads[i], r == (split >= head_len ? 1 : 0));
			if (!r)
				r = http1_find_head_end(buf_str(&bytes), NULL, &scan, &len);
			assert_row(heads[i], r == 1 && len == head_len);
		}
		buf_done(&bytes);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_h14_uri_field_and_head_bytes_are_limited),
		cmocka_unit_test(test_h14_a_first_line_without_end_is_given_up_early),
		cmocka_unit_test(test_h14_field_count_is_limited_and_the_index_grows_to_it),
		cmocka_unit_test(test_an_arena_without_room_is_no_memory),
		cmocka_unit_test(test_bytes_that_are_no_whole_head_are_refused),
		cmocka_unit_test(test_the_end_of_a_head_is_found_at_every_split),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

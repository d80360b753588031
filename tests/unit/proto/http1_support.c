#include "http1_support.h"

#include <stdlib.h>

#define ARENA_CAP_BYTES (1024 * 1024)

/* The head's end, found in one go and again byte by byte. 0 and its length, or the error. */
static enum http1_error find_end(struct str bytes, const struct http1_limits *limits,
				 size_t *ret_len)
{
	size_t scan = 0, len = 0;
	int whole = http1_find_head_end(bytes, limits, &scan, &len);

	scan = 0;
	for (size_t given = 0; given <= bytes.len; given++) {
		size_t step_len = 0;
		int step =
			http1_find_head_end(str_make(bytes.ptr, given), limits, &scan, &step_len);

		if (step == 0 && given < bytes.len)
			continue;
		if (step != whole || (step == 1 && (step_len != len || given != len))) {
			print_error("%s: whole %d %zu, by bytes %d %zu at %zu\n", row_text(bytes),
				    whole, len, step, step_len, given);
			fail();
		}
		break;
	}
	*ret_len = len;
	return whole < 0 ? (enum http1_error) - whole : whole ? HTTP1_OK : HTTP1_E_TRUNCATED;
}

static void parsed_init(struct parsed *parsed, struct str bytes, const struct http1_limits *limits)
{
	*parsed = (struct parsed){0};
	arena_init(&parsed->arena, 0, ARENA_CAP_BYTES);
	parsed->error = find_end(bytes, limits, &parsed->len);
	if (parsed->error)
		return;
	parsed->copy = malloc(parsed->len);
	assert_non_null(parsed->copy);
	memcpy(parsed->copy, bytes.ptr, parsed->len);
}

void parsed_request(struct parsed *parsed, struct str bytes, const struct http1_limits *limits)
{
	parsed_init(parsed, bytes, limits);
	if (!parsed->error)
		parsed->error = (enum http1_error) -
				http1_parse_request(str_make(parsed->copy, parsed->len), limits,
						    &parsed->arena, &parsed->head);
}

void parsed_response(struct parsed *parsed, struct str bytes, const struct http1_limits *limits,
		     enum http_method request_method)
{
	parsed_init(parsed, bytes, limits);
	if (!parsed->error)
		parsed->error = (enum http1_error) -
				http1_parse_response(str_make(parsed->copy, parsed->len), limits,
						     request_method, &parsed->arena, &parsed->head);
}

void parsed_done(struct parsed *parsed)
{
	arena_done(&parsed->arena);
	free(parsed->copy);
}

static void take_trailers(struct fed *fed, struct http1_body *body)
{
	struct http_field *fields = NULL;
	unsigned int count = 0;
	struct arena arena;

	arena_init(&arena, 0, ARENA_CAP_BYTES);
	assert_int_equal(http1_body_trailers(body, &arena, &fields, &count), 0);
	for (unsigned int i = 0; i < count; i++)
		assert_int_equal(buf_printf(&fed->trailers, "%.*s=%.*s\n", STR_FMT(fields[i].name),
					    STR_FMT(fields[i].value)),
				 0);
	arena_done(&arena);
}

/* One piece; true while the body wants more. */
static bool feed_piece(struct fed *fed, struct http1_body *body, struct str piece)
{
	/* A NULL view of no bytes must do, too. */
	char *copy = piece.len ? malloc(piece.len) : NULL;
	size_t at = 0;
	int event = HTTP1_BODY_DATA;

	if (piece.len) {
		assert_non_null(copy);
		memcpy(copy, piece.ptr, piece.len);
	}
	while (event == HTTP1_BODY_DATA) {
		struct str data = STR_NULL, rest = str_make(copy + at, piece.len - at);
		size_t consumed = 0;

		event = http1_body_feed(body, rest, &consumed, &data);
		if (event < 0)
			break;
		assert_true(consumed <= rest.len);
		if (event == HTTP1_BODY_DATA) {
			/* A view of the consumed input that ends where it ends. */
			assert_true(data.len > 0 && data.len <= consumed);
			assert_ptr_equal(data.ptr + data.len, rest.ptr + consumed);
			assert_int_equal(buf_append(&fed->data, data), 0);
		} else if (event == HTTP1_BODY_MORE) {
			assert_int_equal(consumed, rest.len);
		}
		at += consumed;
	}
	free(copy);
	fed->consumed += at;
	fed->is_done = event == HTTP1_BODY_DONE;
	assert_int_equal(fed->is_done, http1_body_is_done(body));
	if (event < 0) {
		size_t consumed;
		struct str data;

		fed->error = (enum http1_error) - event;
		/* The error stays. */
		assert_int_equal(http1_body_feed(body, STR("0\r\n\r\n"), &consumed, &data), event);
		assert_int_equal(http1_body_eof(body), event);
	}
	return event == HTTP1_BODY_MORE;
}

void fed_init(struct fed *fed, enum http_framing framing, uint64_t content_length,
	      const struct http1_limits *limits, struct str bytes, size_t first, size_t piece)
{
	struct http1_body body;
	size_t at = 0;
	bool wants_more;

	*fed = (struct fed){0};
	buf_init(&fed->data, ARENA_CAP_BYTES);
	buf_init(&fed->trailers, ARENA_CAP_BYTES);
	http1_body_init(&body, framing, content_length, limits);
	do {
		size_t len = at == 0 && first ? first : piece ? piece : bytes.len - at;

		len = MIN(len, bytes.len - at);
		wants_more = feed_piece(fed, &body, str_sub(bytes, at, len));
		at += len;
	} while (wants_more && at < bytes.len);
	if (fed->is_done)
		take_trailers(fed, &body);
	http1_body_done(&body);
}

void fed_done(struct fed *fed)
{
	buf_done(&fed->data);
	buf_done(&fed->trailers);
}

bool fed_equal(const struct fed *left, const struct fed *right)
{
	return left->error == right->error && left->is_done == right->is_done &&
	       str_eq(buf_str(&left->data), buf_str(&right->data)) &&
	       str_eq(buf_str(&left->trailers), buf_str(&right->trailers)) &&
	       /* How far an error is into its piece is not told. */
	       (left->error || left->consumed == right->consumed);
}

const char *row_text(struct str bytes)
{
	static char text[512];

	return str_quote(bytes, text, sizeof(text));
}

void assert_error_at(struct str bytes, enum http1_error error, enum http1_error expected,
		     const char *file, int line)
{
	if (error == expected)
		return;
	print_error("%s: %s instead of %s\n", row_text(bytes), http1_error_name(error),
		    http1_error_name(expected));
	_fail(file, line);
}

uint32_t random_next(uint64_t *state)
{
	/* splitmix64 */
	uint64_t mixed = *state += 0x9e3779b97f4a7c15u;

	mixed = (mixed ^ mixed >> 30) * 0xbf58476d1ce4e5b9u;
	mixed = (mixed ^ mixed >> 27) * 0x94d049bb133111ebu;
	return (uint32_t)(mixed >> 32);
}

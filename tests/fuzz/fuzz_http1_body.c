/*
 * fuzz_http1_body: any bytes as a chunked body, fed whole, in pieces and byte by byte: data, end,
 * trailers and error must be the same. Accepted data goes out in chunks of ours and must come back.
 */
#include "fuzz_http1.h"

struct outcome {
	int event; /* the last one, or the error */
	size_t consumed;
	struct buf data;
	struct buf trailers;
};

static void take_trailers(struct outcome *outcome, struct http1_body *body)
{
	struct http_field *fields = NULL;
	unsigned int count = 0;
	struct arena arena;

	arena_init(&arena, 0, ARENA_CAP_BYTES);
	check(!http1_body_trailers(body, &arena, &fields, &count));
	for (unsigned int i = 0; i < count; i++) {
		check_inside(fields[i].name, buf_str(&body->trailer));
		check_inside(fields[i].value, buf_str(&body->trailer));
		check(!buf_printf(&outcome->trailers, "%.*s: %.*s\r\n", STR_FMT(fields[i].name),
				  STR_FMT(fields[i].value)));
	}
	arena_done(&arena);
}

/* Copies each piece, so that nothing may look at bytes that have not come yet. */
static void feed_piece(struct outcome *outcome, struct http1_body *body, struct str piece)
{
	char *copy = copy_bytes(piece);
	size_t at = 0;

	do {
		struct str rest = str_make(copy + at, piece.len - at), data = STR_NULL;
		size_t consumed = 0;

		outcome->event = http1_body_feed(body, rest, &consumed, &data);
		if (outcome->event < 0)
			break;
		check(consumed <= rest.len);
		at += consumed;
		if (outcome->event == HTTP1_BODY_DATA) {
			check(data.len > 0);
			check_inside(data, rest);
			check(!buf_append(&outcome->data, data));
		}
	} while (outcome->event == HTTP1_BODY_DATA);
	check(outcome->event != HTTP1_BODY_MORE || at == piece.len);
	outcome->consumed += at;
	free(copy);
}

static void feed(struct outcome *outcome, struct str bytes, size_t piece_bytes,
		 const struct http1_limits *limits)
{
	struct http1_body body;
	size_t at = 0;

	*outcome = (struct outcome){.event = HTTP1_BODY_MORE};
	buf_init(&outcome->data, SIZE_MAX / 2);
	buf_init(&outcome->trailers, SIZE_MAX / 2);
	http1_body_init(&body, HTTP_FRAMING_CHUNKED, 0, limits);
	while (outcome->event == HTTP1_BODY_MORE && at < bytes.len) {
		size_t len = MIN(piece_bytes, bytes.len - at);

		feed_piece(outcome, &body, str_sub(bytes, at, len));
		at += len;
	}
	check(body.data_bytes == outcome->data.len);
	check(http1_body_is_done(&body) == (outcome->event == HTTP1_BODY_DONE));
	if (outcome->event == HTTP1_BODY_DONE)
		take_trailers(outcome, &body);
	else if (outcome->event == HTTP1_BODY_MORE)
		check(http1_body_eof(&body) == -HTTP1_E_TRUNCATED);
	http1_body_done(&body);
}

static void outcome_done(struct outcome *outcome)
{
	buf_done(&outcome->data);
	buf_done(&outcome->trailers);
}

static void check_same_outcome(const struct outcome *left, const struct outcome *right)
{
	check(left->event == right->event);
	check(left->event < 0 || left->consumed == right->consumed);
	check(str_eq(buf_str(&left->data), buf_str(&right->data)));
	check(str_eq(buf_str(&left->trailers), buf_str(&right->trailers)));
}

static void check_framed_again(const struct outcome *outcome, size_t piece_bytes)
{
	struct str data = buf_str(&outcome->data);
	struct outcome again;
	struct buf framed;

	buf_init(&framed, SIZE_MAX / 2);
	for (size_t at = 0; at < data.len; at += piece_bytes) {
		struct str piece = str_sub(data, at, piece_bytes);
		char head[HTTP1_CHUNK_HEAD_MAX];

		check(!buf_append(&framed, str_make(head, http1_chunk_head(head, piece.len))));
		check(!buf_append(&framed, piece));
		check(!buf_append(&framed, STR("\r\n")));
	}
	check(!buf_append(&framed, STR("0\r\n")));
	check(!buf_append(&framed, buf_str(&outcome->trailers)));
	check(!buf_append(&framed, STR("\r\n")));

	/* Trailers may have grown by a space after each colon. */
	feed(&again, buf_str(&framed), framed.len, &(struct http1_limits){.trailer_bytes = 65536});
	check(again.event == HTTP1_BODY_DONE && again.consumed == framed.len);
	check(str_eq(buf_str(&again.data), data));
	check(str_eq(buf_str(&again.trailers), buf_str(&outcome->trailers)));
	outcome_done(&again);
	buf_done(&framed);
}

static void judge(struct str bytes, size_t piece_bytes, const struct http1_limits *limits)
{
	struct outcome whole, other;

	feed(&whole, bytes, bytes.len, limits);
	feed(&other, bytes, piece_bytes, limits);
	check_same_outcome(&whole, &other);
	outcome_done(&other);
	if (bytes.len <= SINGLE_BYTES_MAX) {
		feed(&other, bytes, 1, limits);
		check_same_outcome(&whole, &other);
		outcome_done(&other);
	}
	if (whole.event == HTTP1_BODY_DONE)
		check_framed_again(&whole, piece_bytes);
	outcome_done(&whole);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct http1_limits small = {.field_bytes = 16,
						  .field_count = 2,
						  .chunk_extension_bytes = 8,
						  .trailer_bytes = 24};
	struct str bytes = str_make((const char *)data, size);
	size_t piece_bytes = 1 + hash_bytes(bytes) % 37;

	judge(bytes, piece_bytes, NULL);
	judge(bytes, piece_bytes, &small);
	return 0;
}

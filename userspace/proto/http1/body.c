#include <assert.h>

#include "proto/http1/gate.h"
#include "proto/http_bytes.h"

#define SIZE_DIGITS_MAX	 16 /* of a 64-bit number; leading zeros count */
#define EMPTY_LINE_BYTES 2

/*
 * RFC 9112 7.1, one state per place between two bytes. From SIZE to EXT_QUOTED_END a CR ends the
 * size line where the grammar lets it end.
 */
enum body_state {
	BODY_OVER,   /* also what a zeroed body is */
	BODY_FAILED, /* size_digits holds the error */
	BODY_LENGTH,
	BODY_UNTIL_CLOSE,
	BODY_SIZE_FIRST,
	BODY_SIZE,
	BODY_EXT_BWS,	     /* blanks after the size or an extension: ";" must follow */
	BODY_EXT_NAME_FIRST, /* after ";" */
	BODY_EXT_NAME,
	BODY_EXT_NAME_BWS,    /* blanks after a name: "=" or ";" must follow */
	BODY_EXT_VALUE_FIRST, /* after "=" */
	BODY_EXT_TOKEN,
	BODY_EXT_QUOTED,
	BODY_EXT_QUOTED_PAIR,
	BODY_EXT_QUOTED_END,
	BODY_SIZE_LF,
	BODY_DATA,
	BODY_DATA_CR,
	BODY_DATA_LF,
	BODY_TRAILER_LINE, /* at the first byte of a line */
	BODY_TRAILER,	   /* inside a line */
	BODY_TRAILER_LF,   /* the empty line's CR is there */
};

void http1_body_init(struct http1_body *body, enum http_framing framing, uint64_t content_length,
		     const struct http1_limits *limits)
{
	uint32_t trailer_bytes;

	*body = (struct http1_body){
		.framing = framing,
		.limits = limits ? limits : &http1_limits_default,
	};
	trailer_bytes = http1_limits_resolve(limits).trailer_bytes;
	/* The empty line is kept with the section, so that the gate sees its end. */
	buf_init(&body->trailer, (size_t)trailer_bytes + EMPTY_LINE_BYTES);
	switch (framing) {
	case HTTP_FRAMING_LENGTH:
		body->left_bytes = content_length;
		body->state = content_length ? BODY_LENGTH : BODY_OVER;
		break;
	case HTTP_FRAMING_CHUNKED:
		body->state = BODY_SIZE_FIRST;
		break;
	case HTTP_FRAMING_UNTIL_CLOSE:
		body->state = BODY_UNTIL_CLOSE;
		break;
	case HTTP_FRAMING_NONE:
		body->state = BODY_OVER;
		break;
	}
}

void http1_body_done(struct http1_body *body)
{
	buf_done(&body->trailer);
}

static int body_fail(struct http1_body *body, enum http1_error error)
{
	body->state = BODY_FAILED;
	body->size_digits = (uint8_t)error;
	return -(int)error;
}

static uint32_t extension_bytes_max(const struct http1_body *body)
{
	return body->limits->chunk_extension_bytes ? body->limits->chunk_extension_bytes
						   : http1_limits_default.chunk_extension_bytes;
}

/* The next state for a byte of an extension (RFC 9112 7.1.1); BODY_FAILED when it may not stand. */
static enum body_state extension_next(enum body_state state, char byte)
{
	bool is_blank = http_byte_is(byte, HTTP_BYTE_BLANK);
	bool is_token = http_byte_is(byte, HTTP_BYTE_TOKEN);

	switch (state) {
	case BODY_SIZE:
	case BODY_EXT_BWS:
	case BODY_EXT_QUOTED_END:
		return is_blank ? BODY_EXT_BWS : byte == ';' ? BODY_EXT_NAME_FIRST : BODY_FAILED;
	case BODY_EXT_NAME_FIRST:
		return is_blank ? BODY_EXT_NAME_FIRST : is_token ? BODY_EXT_NAME : BODY_FAILED;
	case BODY_EXT_NAME:
		if (is_token)
			return BODY_EXT_NAME;
		/* fall through */
	case BODY_EXT_NAME_BWS:
		if (is_blank)
			return BODY_EXT_NAME_BWS;
		return byte == '='   ? BODY_EXT_VALUE_FIRST
		       : byte == ';' ? BODY_EXT_NAME_FIRST
				     : BODY_FAILED;
	case BODY_EXT_VALUE_FIRST:
		if (is_blank)
			return BODY_EXT_VALUE_FIRST;
		return byte == '"' ? BODY_EXT_QUOTED : is_token ? BODY_EXT_TOKEN : BODY_FAILED;
	case BODY_EXT_TOKEN:
		if (is_token)
			return BODY_EXT_TOKEN;
		return is_blank ? BODY_EXT_BWS : byte == ';' ? BODY_EXT_NAME_FIRST : BODY_FAILED;
	case BODY_EXT_QUOTED:
		if (byte == '"')
			return BODY_EXT_QUOTED_END;
		if (byte == '\\')
			return BODY_EXT_QUOTED_PAIR;
		return http_byte_is(byte, HTTP_BYTE_QUOTED) ? BODY_EXT_QUOTED : BODY_FAILED;
	case BODY_EXT_QUOTED_PAIR:
		return http_byte_is(byte, HTTP_BYTE_VALUE) ? BODY_EXT_QUOTED : BODY_FAILED;
	default:
		return BODY_FAILED;
	}
}

/* One byte after the digits of the size, up to the line's CR. */
static int extension_feed(struct http1_body *body, char byte)
{
	enum body_state next;

	if (byte == '\r' && (body->state == BODY_SIZE || body->state == BODY_EXT_NAME ||
			     body->state == BODY_EXT_TOKEN || body->state == BODY_EXT_QUOTED_END)) {
		body->state = BODY_SIZE_LF;
		return 0;
	}
	next = extension_next((enum body_state)body->state, byte);
	if (next == BODY_FAILED) {
		if (byte == '\n')
			return body_fail(body, HTTP1_E_BARE_LF);
		return body_fail(body, body->state == BODY_SIZE ? HTTP1_E_CHUNK_SIZE
								: HTTP1_E_CHUNK_EXTENSION);
	}
	if (body->extension_bytes >= extension_bytes_max(body))
		return body_fail(body, HTTP1_E_CHUNK_EXTENSION_BYTES);
	body->extension_bytes++;
	body->state = (uint8_t)next;
	return 0;
}

static int size_feed(struct http1_body *body, char byte)
{
	int digit = http_byte_hex(byte);

	if (digit < 0) {
		if (body->state == BODY_SIZE_FIRST)
			return body_fail(body, HTTP1_E_CHUNK_SIZE);
		return extension_feed(body, byte);
	}
	if (body->state == BODY_SIZE_FIRST) {
		body->left_bytes = 0;
		body->size_digits = 0;
		body->state = BODY_SIZE;
	}
	/* 16 digits cannot overflow 64 bits, but the sum of all chunks can. */
	if (body->size_digits == SIZE_DIGITS_MAX)
		return body_fail(body, HTTP1_E_CHUNK_SIZE);
	body->size_digits++;
	body->left_bytes = body->left_bytes << 4 | (uint64_t)digit;
	return 0;
}

static int size_lf_feed(struct http1_body *body, char byte)
{
	if (byte != '\n')
		return body_fail(body, HTTP1_E_BARE_CR);
	if (body->left_bytes > UINT64_MAX - body->data_bytes)
		return body_fail(body, HTTP1_E_CHUNK_SIZE);
	body->state = body->left_bytes ? BODY_DATA : BODY_TRAILER_LINE;
	return 0;
}

/* The cap has room for the empty line, which field lines must not take. */
static int trailer_append(struct http1_body *body, struct str bytes)
{
	if (bytes.len > body->trailer.cap_bytes - EMPTY_LINE_BYTES - body->trailer.len)
		return body_fail(body, HTTP1_E_TRAILER);
	return buf_append(&body->trailer, bytes) ? body_fail(body, HTTP1_E_NO_MEMORY) : 0;
}

/* The section is complete: no field, or fields that pass the gate. */
static int trailer_end(struct http1_body *body)
{
	struct http1_gate gate;
	int r = 0;

	if (body->trailer.len) {
		if (buf_append(&body->trailer, STR("\r\n")))
			return body_fail(body, HTTP1_E_NO_MEMORY);
		r = http1_gate_init(&gate, buf_str(&body->trailer), body->limits, NULL);
		if (!r)
			r = http1_gate_fields(&gate);
	}
	if (r)
		return body_fail(body, HTTP1_E_TRAILER);
	body->state = BODY_OVER;
	return 0;
}

/* Field lines are collected as they come; only their ends are looked at here. */
static int trailer_feed(struct http1_body *body, struct str input, size_t *ret_consumed)
{
	const char *found;
	size_t len = input.len;
	int r;

	if (body->state == BODY_TRAILER_LF) {
		*ret_consumed = 1;
		return input.ptr[0] == '\n' ? trailer_end(body) : body_fail(body, HTTP1_E_BARE_CR);
	}
	if (body->state == BODY_TRAILER_LINE && input.ptr[0] == '\r') {
		*ret_consumed = 1;
		body->state = BODY_TRAILER_LF;
		return 0;
	}
	found = memchr(input.ptr, '\n', input.len);
	if (found)
		len = (size_t)(found - input.ptr) + 1;
	r = trailer_append(body, str_sub(input, 0, len));
	if (r)
		return r;
	*ret_consumed = len;
	body->state = BODY_TRAILER;
	if (found) {
		struct str section = buf_str(&body->trailer);

		if (section.len < 2 || section.ptr[section.len - 2] != '\r')
			return body_fail(body, HTTP1_E_BARE_LF);
		body->state = BODY_TRAILER_LINE;
	}
	return 0;
}

/* Consumes one byte of framing, or a run of trailer bytes. */
static int framing_feed(struct http1_body *body, struct str input, size_t *ret_consumed)
{
	char byte = input.ptr[0];

	*ret_consumed = 1;
	switch (body->state) {
	case BODY_SIZE_FIRST:
	case BODY_SIZE:
		return size_feed(body, byte);
	case BODY_SIZE_LF:
		return size_lf_feed(body, byte);
	case BODY_DATA_CR:
		if (byte != '\r')
			return body_fail(body, HTTP1_E_CHUNK_END);
		body->state = BODY_DATA_LF;
		return 0;
	case BODY_DATA_LF:
		if (byte != '\n')
			return body_fail(body, HTTP1_E_CHUNK_END);
		body->state = BODY_SIZE_FIRST;
		return 0;
	case BODY_TRAILER_LINE:
	case BODY_TRAILER:
	case BODY_TRAILER_LF:
		return trailer_feed(body, input, ret_consumed);
	default:
		return extension_feed(body, byte);
	}
}

/* Gives out what input has of the body or the chunk. */
static int data_feed(struct http1_body *body, struct str input, size_t *ret_consumed,
		     struct str *ret_data)
{
	size_t len = input.len;

	if (body->state != BODY_UNTIL_CLOSE) {
		len = (size_t)MIN((uint64_t)len, body->left_bytes);
		body->left_bytes -= len;
		if (!body->left_bytes)
			body->state = body->state == BODY_DATA ? BODY_DATA_CR : BODY_OVER;
	}
	body->data_bytes += len;
	*ret_consumed = len;
	*ret_data = str_sub(input, 0, len);
	return HTTP1_BODY_DATA;
}

int http1_body_feed(struct http1_body *body, struct str input, size_t *ret_consumed,
		    struct str *ret_data)
{
	size_t done = 0;

	while (body->state > BODY_FAILED && done < input.len) {
		struct str rest = str_sub(input, done, input.len);
		size_t consumed = 0;
		int r;

		if (body->state == BODY_DATA || body->state == BODY_LENGTH ||
		    body->state == BODY_UNTIL_CLOSE) {
			r = data_feed(body, rest, &consumed, ret_data);
			*ret_consumed = done + consumed;
			return r;
		}
		r = framing_feed(body, rest, &consumed);
		if (r)
			return r;
		done += consumed;
	}
	if (body->state == BODY_FAILED)
		return -(int)body->size_digits;
	*ret_consumed = done;
	return body->state == BODY_OVER ? HTTP1_BODY_DONE : HTTP1_BODY_MORE;
}

int http1_body_eof(struct http1_body *body)
{
	if (body->state == BODY_FAILED)
		return -(int)body->size_digits;
	if (body->state == BODY_UNTIL_CLOSE)
		body->state = BODY_OVER;
	return body->state == BODY_OVER ? HTTP1_BODY_DONE : body_fail(body, HTTP1_E_TRUNCATED);
}

bool http1_body_is_done(const struct http1_body *body)
{
	return body->state == BODY_OVER;
}

bool http1_body_skip(struct http1_body *body, uint64_t bytes)
{
	assert(body->state == BODY_LENGTH && bytes <= body->left_bytes);
	body->left_bytes -= bytes;
	body->data_bytes += bytes;
	if (body->left_bytes == 0)
		body->state = BODY_OVER;
	return body->state == BODY_OVER;
}

int http1_body_trailers(struct http1_body *body, struct arena *arena,
			struct http_field **ret_fields, unsigned int *ret_count)
{
	struct http1_gate gate = {0};
	int r;

	if (body->state == BODY_OVER && body->trailer.len) {
		r = http1_gate_init(&gate, buf_str(&body->trailer), body->limits, arena);
		if (!r)
			r = http1_gate_fields(&gate);
		if (r)
			return r;
	}
	*ret_fields = gate.fields;
	*ret_count = gate.count;
	return 0;
}

#include "proto/http1/gate.h"

#include "proto/http_bytes.h"

/* Most heads need no second allocation of the index. */
#define FIELDS_FIRST	24
#define EMPTY_LINES_MAX 2

const struct http1_limits http1_limits_default = {
	.head_bytes = 32 * 1024,
	.field_bytes = 16 * 1024,
	.field_count = 100,
	.uri_bytes = 8 * 1024,
	.chunk_extension_bytes = 1024,
	.trailer_bytes = 8 * 1024,
};

struct http1_limits http1_limits_resolve(const struct http1_limits *limits)
{
	struct http1_limits resolved = limits ? *limits : http1_limits_default;

#define RESOLVE(member)                                                                            \
	if (!resolved.member)                                                                      \
	resolved.member = http1_limits_default.member
	RESOLVE(head_bytes);
	RESOLVE(field_bytes);
	RESOLVE(field_count);
	RESOLVE(uri_bytes);
	RESOLVE(chunk_extension_bytes);
	RESOLVE(trailer_bytes);
#undef RESOLVE
	return resolved;
}

/* Why a line may not go on with the byte at pos, which is not the one the grammar wants there. */
static int line_error(const struct http1_gate *gate, const char *pos, enum http1_error visible)
{
	uint8_t byte = (uint8_t)*pos;

	if (byte == '\n')
		return -HTTP1_E_BARE_LF;
	if (byte == '\r')
		return gate->end - pos > 1 && pos[1] == '\n' ? -(int)visible : -HTTP1_E_BARE_CR;
	if ((byte < 0x20 && byte != '\t') || byte == 0x7f)
		return -HTTP1_E_CONTROL_BYTE;
	return -(int)visible;
}

static int skip_line_end(struct http1_gate *gate, enum http1_error visible)
{
	if (gate->end - gate->pos < 2 || gate->pos[0] != '\r' || gate->pos[1] != '\n')
		return line_error(gate, gate->pos, visible);
	gate->pos += 2;
	return 0;
}

int http1_gate_init(struct http1_gate *gate, struct str bytes, const struct http1_limits *limits,
		    struct arena *arena)
{
	*gate = (struct http1_gate){
		.pos = bytes.ptr,
		.end = bytes.ptr + bytes.len,
		.limits = http1_limits_resolve(limits),
		.arena = arena,
	};
	if (bytes.len < 2 || gate->end[-2] != '\r' || gate->end[-1] != '\n')
		return -HTTP1_E_TRUNCATED;
	return 0;
}

/*
 * "HTTP/1.0" or "HTTP/1.1"; the protocol's name has capital letters only (RFC 9112 2.3). Other
 * versions are told from garbage, because they have an answer of their own.
 */
static int read_version(struct http1_gate *gate, enum http1_error malformed,
			uint8_t *ret_version_minor)
{
	static const char prefix[] = "HTTP/1.";
	const char *pos = gate->pos;

	if (gate->end - pos >= 8 && !memcmp(pos, prefix, 7) && (pos[7] == '0' || pos[7] == '1')) {
		*ret_version_minor = (uint8_t)(pos[7] - '0');
		gate->pos += 8;
		return 0;
	}
	if (gate->end - pos >= 8 && !memcmp(pos, prefix, 5) &&
	    http_byte_is(pos[5], HTTP_BYTE_DIGIT) && pos[6] == '.' &&
	    http_byte_is(pos[7], HTTP_BYTE_DIGIT) && !http_byte_is(pos[8], HTTP_BYTE_TARGET))
		return -HTTP1_E_VERSION;
	for (unsigned int i = 0; i < 8; i++, pos++)
		if (!http_byte_is(*pos, HTTP_BYTE_VALUE))
			return line_error(gate, pos, malformed);
	return -(int)malformed;
}

int http1_gate_request_line(struct http1_gate *gate, struct http_head *head)
{
	const char *start;
	int r;

	for (unsigned int i = 0; i < EMPTY_LINES_MAX && gate->end - gate->pos > 2; i++) {
		if (gate->pos[0] != '\r' || gate->pos[1] != '\n')
			break;
		gate->pos += 2;
	}

	start = gate->pos;
	while (http_byte_is(*gate->pos, HTTP_BYTE_TOKEN))
		gate->pos++;
	head->method = str_make(start, (size_t)(gate->pos - start));
	if (*gate->pos != ' ')
		return line_error(gate, gate->pos, HTTP1_E_REQUEST_LINE);
	if (!head->method.len || head->method.len > HTTP1_METHOD_BYTES_MAX)
		return -HTTP1_E_REQUEST_LINE;
	head->method_id = http_method_lookup(head->method);

	start = ++gate->pos;
	while (http_byte_is(*gate->pos, HTTP_BYTE_TARGET))
		gate->pos++;
	head->target = str_make(start, (size_t)(gate->pos - start));
	if (head->target.len > gate->limits.uri_bytes)
		return -HTTP1_E_URI_BYTES;
	if (*gate->pos == '#' || (uint8_t)*gate->pos >= 0x80)
		return -HTTP1_E_TARGET;
	if (*gate->pos != ' ' || !head->target.len)
		return line_error(gate, gate->pos, HTTP1_E_REQUEST_LINE);

	gate->pos++;
	r = read_version(gate, HTTP1_E_REQUEST_LINE, &head->version_minor);
	return r ? r : skip_line_end(gate, HTTP1_E_REQUEST_LINE);
}

int http1_gate_status_line(struct http1_gate *gate, struct http_head *head)
{
	const char *start;
	int r;

	r = read_version(gate, HTTP1_E_STATUS_LINE, &head->version_minor);
	if (r)
		return r;
	if (*gate->pos != ' ')
		return line_error(gate, gate->pos, HTTP1_E_STATUS_LINE);
	gate->pos++;
	start = gate->pos;
	while (http_byte_is(*gate->pos, HTTP_BYTE_DIGIT))
		gate->pos++;
	if (gate->pos - start != 3 || start[0] < '1' || start[0] > '5')
		return line_error(gate, gate->pos, HTTP1_E_STATUS_LINE);
	head->status = (uint16_t)((start[0] - '0') * 100 + (start[1] - '0') * 10 + start[2] - '0');

	/* RFC 9112 4 wants the space even before an empty reason; many servers leave it out. */
	start = gate->pos;
	if (*gate->pos == ' ') {
		start = ++gate->pos;
		gate->pos = http_value_span(gate->pos, gate->end);
	}
	head->reason = str_make(start, (size_t)(gate->pos - start));
	return skip_line_end(gate, HTTP1_E_STATUS_LINE);
}

static int grow_fields(struct http1_gate *gate)
{
	unsigned int room =
		MIN(gate->room ? gate->room * 2 : FIELDS_FIRST, gate->limits.field_count);
	struct http_field *fields = arena_alloc(gate->arena, room * sizeof(*fields));

	if (!fields)
		return -HTTP1_E_NO_MEMORY;
	if (gate->count)
		memcpy(fields, gate->fields, gate->count * sizeof(*fields));
	gate->fields = fields;
	gate->room = room;
	return 0;
}

/* One line, which is not the empty one. */
static inline int read_field(struct http1_gate *gate, struct http_field *field)
{
	const char *start = gate->pos, *value, *value_end;
	const char *pos = start;

	while (http_byte_is(*pos, HTTP_BYTE_TOKEN))
		pos++;
	if (UNLIKELY(*pos != ':' || pos == start)) {
		if (pos == start && http_byte_is(*pos, HTTP_BYTE_BLANK))
			return -HTTP1_E_OBS_FOLD;
		if (http_byte_is(*pos, HTTP_BYTE_BLANK) || *pos == '\r')
			return line_error(gate, pos, HTTP1_E_FIELD_COLON);
		return line_error(gate, pos, HTTP1_E_FIELD_NAME);
	}
	field->name = str_make(start, (size_t)(pos - start));

	value = pos + 1;
	while (http_byte_is(*value, HTTP_BYTE_BLANK))
		value++;
	pos = http_value_span(value, gate->end);
	value_end = pos;
	gate->pos = pos;
	if (UNLIKELY((size_t)(pos - start) > gate->limits.field_bytes))
		return -HTTP1_E_FIELD_BYTES;
	while (value_end > value && http_byte_is(value_end[-1], HTTP_BYTE_BLANK))
		value_end--;
	field->value = str_make(value, (size_t)(value_end - value));
	return skip_line_end(gate, HTTP1_E_CONTROL_BYTE);
}

int http1_gate_fields(struct http1_gate *gate)
{
	while (gate->end - gate->pos >= 2) {
		struct http_field checked, *field = &checked;
		int r;

		if (gate->pos[0] == '\r' && gate->pos[1] == '\n') {
			gate->pos += 2;
			/* Whoever found the end of the head did not mean the first empty line. */
			return gate->pos == gate->end ? 0 : -HTTP1_E_PARSER;
		}
		if (gate->count == gate->limits.field_count)
			return -HTTP1_E_FIELD_COUNT;
		if (gate->arena) {
			r = gate->count == gate->room ? grow_fields(gate) : 0;
			if (r)
				return r;
			field = &gate->fields[gate->count];
		}
		r = read_field(gate, field);
		if (r)
			return r;
		if (gate->arena)
			field->id = http_field_lookup(field->name);
		gate->count++;
	}
	return -HTTP1_E_TRUNCATED;
}

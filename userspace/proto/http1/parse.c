#include <llhttp.h>

#include "proto/http1/gate.h"
#include "proto/http_bytes.h"

/* Method, target's own limit, two spaces and version: what a first line may have beside the URI. */
#define FIRST_LINE_EXTRA_BYTES (HTTP1_METHOD_BYTES_MAX + 2 + 8 + 2)

/* What the fields say about the connection and the framing, before it is weighed. */
struct reading {
	struct str transfer_encoding;
	unsigned int host_count, length_count, transfer_count;
	uint64_t length;
	/* F_CONNECTION_* as llhttp counts them: it reads Proxy-Connection as Connection. */
	uint16_t options, proxy_options;
	bool has_upgrade_field;
	bool expects_continue, expects_other;
};

/* ---- finding the end ---- */

int http1_find_head_end(struct str bytes, const struct http1_limits *limits, size_t *scan,
			size_t *ret_len)
{
	const struct http1_limits resolved = http1_limits_resolve(limits);
	size_t line_max = (size_t)resolved.uri_bytes + FIRST_LINE_EXTRA_BYTES;
	size_t pos = *scan;

	/* Only the call in which the bytes grow past the limit has to look. */
	if (bytes.len > line_max) {
		size_t start = 0;

		while (start < 4 && bytes.len - start > line_max && bytes.ptr[start] == '\r' &&
		       bytes.ptr[start + 1] == '\n')
			start += 2;
		if (pos <= start + line_max && bytes.len > start + line_max &&
		    !memchr(bytes.ptr + start, '\n', line_max + 1))
			return -HTTP1_E_URI_BYTES;
	}

	while (pos < bytes.len) {
		const char *found = memchr(bytes.ptr + pos, '\n', bytes.len - pos);
		size_t lf;

		if (!found)
			break;
		lf = (size_t)(found - bytes.ptr);
		if (lf >= resolved.head_bytes)
			return -HTTP1_E_HEAD_BYTES;
		if (lf == 0 || bytes.ptr[lf - 1] != '\r')
			return -HTTP1_E_BARE_LF;
		pos = lf + 1;
		if (lf > 1 && bytes.ptr[lf - 2] != '\n')
			continue;
		/* An empty line; every line before it ended in CRLF. */
		if (lf == 1 || (lf == 3 && bytes.ptr[1] == '\n'))
			continue;
		if (lf == 5 && bytes.ptr[1] == '\n' && bytes.ptr[3] == '\n')
			return -HTTP1_E_REQUEST_LINE;
		*scan = pos;
		*ret_len = pos;
		return 1;
	}
	if (bytes.len > resolved.head_bytes)
		return -HTTP1_E_HEAD_BYTES;
	*scan = bytes.len;
	return 0;
}

/* ---- llhttp's opinion ---- */

struct opinion {
	bool is_complete;
	uint8_t major, minor, method;
	uint16_t flags, status;
	uint64_t length;
};

static int opinion_take(llhttp_t *parser)
{
	struct opinion *opinion = parser->data;

	*opinion = (struct opinion){
		.is_complete = true,
		.major = parser->http_major,
		.minor = parser->http_minor,
		.method = parser->method,
		.flags = parser->flags,
		.status = parser->status_code,
		.length = parser->content_length,
	};
	return HPE_PAUSED;
}

static const llhttp_settings_t opinion_settings = {.on_headers_complete = opinion_take};

/* By enum http_method; llhttp never sees the name of a method that we do not know. */
static const uint8_t llhttp_methods[] = {
	[HTTP_METHOD_OTHER] = HTTP_GET,	      [HTTP_METHOD_GET] = HTTP_GET,
	[HTTP_METHOD_HEAD] = HTTP_HEAD,	      [HTTP_METHOD_POST] = HTTP_POST,
	[HTTP_METHOD_PUT] = HTTP_PUT,	      [HTTP_METHOD_DELETE] = HTTP_DELETE,
	[HTTP_METHOD_OPTIONS] = HTTP_OPTIONS, [HTTP_METHOD_PATCH] = HTTP_PATCH,
	[HTTP_METHOD_TRACE] = HTTP_TRACE,     [HTTP_METHOD_CONNECT] = HTTP_CONNECT,
};

static int agree(struct str bytes, llhttp_type_t type, const struct http_head *head,
		 const struct reading *reading)
{
	struct opinion opinion = {0};
	uint16_t flags = reading->options | reading->proxy_options;
	llhttp_errno_t error;
	llhttp_t parser;

	llhttp_init(&parser, type, &opinion_settings);
	parser.data = &opinion;
	/* An unknown method is fine for a proxy but not for llhttp: it gets to read a GET. */
	if (type == HTTP_REQUEST && head->method_id == HTTP_METHOD_OTHER) {
		error = llhttp_execute(&parser, "GET", 3);
		if (error)
			return -HTTP1_E_PARSER;
		bytes = str_sub(bytes, head->method.len, bytes.len);
	}
	error = llhttp_execute(&parser, bytes.ptr, bytes.len);
	if (error != HPE_PAUSED || !opinion.is_complete ||
	    llhttp_get_error_pos(&parser) != bytes.ptr + bytes.len)
		return -HTTP1_E_PARSER;

	if (reading->transfer_count)
		flags |= F_TRANSFER_ENCODING | F_CHUNKED;
	if (reading->length_count)
		flags |= F_CONTENT_LENGTH;
	if (reading->has_upgrade_field)
		flags |= F_UPGRADE;
	if (opinion.major != 1 || opinion.minor != head->version_minor || opinion.flags != flags ||
	    opinion.length != (reading->length_count ? reading->length : 0))
		return -HTTP1_E_PARSER;
	if (type == HTTP_REQUEST ? opinion.method != llhttp_methods[head->method_id]
				 : opinion.status != head->status)
		return -HTTP1_E_PARSER;
	return 0;
}

/* ---- what the fields say ---- */

static uint16_t read_option(struct str option)
{
	switch (option.len) {
	case 5:
		return str_eq_nocase(option, STR("close")) ? F_CONNECTION_CLOSE : 0;
	case 7:
		return str_eq_nocase(option, STR("upgrade")) ? F_CONNECTION_UPGRADE : 0;
	case 10:
		return str_eq_nocase(option, STR("keep-alive")) ? F_CONNECTION_KEEP_ALIVE : 0;
	default:
		return 0;
	}
}

static uint16_t read_options(struct str value)
{
	struct str option;
	uint16_t options = 0;

	while (str_next_token(&value, ',', &option))
		options |= read_option(option);
	return options;
}

/* RFC 9110 8.6, without the lists that RFC 9112 6.3 lets a recipient mend (HARDENING 3). */
static int read_length(struct reading *reading, struct str value)
{
	if (reading->length_count++)
		return -HTTP1_E_LENGTH_DUPLICATE;
	return str_to_u64(value, &reading->length) ? -HTTP1_E_LENGTH_INVALID : 0;
}

static int read_fields(const struct http1_gate *gate, struct http_head *head,
		       struct reading *reading)
{
	int r = 0;

	for (unsigned int i = 0; i < gate->count && !r; i++) {
		const struct http_field *field = &gate->fields[i];

		switch (field->id) {
		case HTTP_FIELD_HOST:
			if (!reading->host_count++)
				head->host = field->value;
			break;
		case HTTP_FIELD_CONTENT_LENGTH:
			r = read_length(reading, field->value);
			break;
		case HTTP_FIELD_TRANSFER_ENCODING:
			reading->transfer_count++;
			reading->transfer_encoding = field->value;
			break;
		case HTTP_FIELD_CONNECTION:
			reading->options |= read_options(field->value);
			break;
		case HTTP_FIELD_PROXY_CONNECTION:
			reading->proxy_options |= read_options(field->value);
			break;
		case HTTP_FIELD_UPGRADE:
			/* An empty list offers nothing. */
			reading->has_upgrade_field |= field->value.len > 0;
			break;
		case HTTP_FIELD_EXPECT:
			if (str_eq_nocase(field->value, STR("100-continue")))
				reading->expects_continue = true;
			else
				reading->expects_other = true;
			break;
		default:
			break;
		}
	}
	head->fields = gate->fields;
	head->field_count = gate->count;
	return r;
}

/* Why this Transfer-Encoding, which is not just "chunked", is refused. */
static int transfer_error(struct str value)
{
	struct str coding;
	bool seen_chunked = false;

	while (str_next_token(&value, ',', &coding)) {
		if (seen_chunked || !http_name_is_valid(coding))
			return -HTTP1_E_TRANSFER_ENCODING;
		seen_chunked = str_eq_nocase(coding, STR("chunked"));
	}
	return -HTTP1_E_TRANSFER_UNKNOWN;
}

/* RFC 9112 6.1 and 6.3; what is left is at most one of both, and well-formed (HARDENING 1-3). */
static int weigh_framing(const struct reading *reading, struct http_head *head)
{
	if (reading->transfer_count) {
		if (reading->length_count)
			return -HTTP1_E_LENGTH_AND_CHUNKED;
		if (head->version_minor == 0)
			return -HTTP1_E_TRANSFER_HTTP10;
		if (reading->transfer_count > 1)
			return -HTTP1_E_TRANSFER_ENCODING;
		if (!str_eq_nocase(reading->transfer_encoding, STR("chunked")))
			return transfer_error(reading->transfer_encoding);
		head->framing = HTTP_FRAMING_CHUNKED;
	} else if (reading->length_count) {
		head->framing = HTTP_FRAMING_LENGTH;
		head->content_length = reading->length;
		head->has_content_length = true;
	}
	return 0;
}

/* RFC 9112 9.3, RFC 9110 7.8. */
static void weigh_connection(const struct reading *reading, struct http_head *head)
{
	bool is_http11 = head->version_minor > 0;

	head->keep_alive = !(reading->options & F_CONNECTION_CLOSE) &&
			   (is_http11 || (reading->options & F_CONNECTION_KEEP_ALIVE));
	head->has_upgrade = is_http11 && reading->has_upgrade_field &&
			    (reading->options & F_CONNECTION_UPGRADE);
}

/* ---- whole heads ---- */

int http1_parse_request(struct str bytes, const struct http1_limits *limits, struct arena *arena,
			struct http_head *ret_head)
{
	struct http_head head = {0};
	struct reading reading = {0};
	struct http1_gate gate;
	int r;

	r = http1_gate_init(&gate, bytes, limits, arena);
	if (r)
		return r;
	if (bytes.len > gate.limits.head_bytes)
		return -HTTP1_E_HEAD_BYTES;
	r = http1_gate_request_line(&gate, &head);
	if (r)
		return r;
	r = http1_gate_fields(&gate);
	if (r)
		return r;
	r = read_fields(&gate, &head, &reading);
	if (r)
		return r;

	if (reading.host_count > 1)
		return -HTTP1_E_HOST_DUPLICATE;
	if (!reading.host_count && head.version_minor > 0)
		return -HTTP1_E_HOST_MISSING;
	r = http1_target_check(&head);
	if (r)
		return r;
	r = weigh_framing(&reading, &head);
	if (r)
		return r;
	/* RFC 9110 9.3.6: no content; one that claims to have some would be read as the tunnel's.
	 */
	if (head.method_id == HTTP_METHOD_CONNECT) {
		if (head.framing == HTTP_FRAMING_CHUNKED)
			return -HTTP1_E_TRANSFER_ENCODING;
		if (head.content_length)
			return -HTTP1_E_LENGTH_INVALID;
	}
	if (reading.expects_other)
		return -HTTP1_E_EXPECT;
	weigh_connection(&reading, &head);
	/* RFC 9110 10.1.1: not from HTTP/1.0. */
	head.expect_continue = reading.expects_continue && head.version_minor > 0;

	r = agree(str_make(head.method.ptr, (size_t)(gate.end - head.method.ptr)), HTTP_REQUEST,
		  &head, &reading);
	if (r)
		return r;
	*ret_head = head;
	return 0;
}

/* RFC 9112 6.3: answers that have no body, whatever their fields announce. */
static int weigh_bodiless(struct http_head *head, enum http_method request_method)
{
	bool is_never_with_body = head->status < 200 || head->status == 204;

	if (is_never_with_body) {
		/* RFC 9112 6.1, RFC 9110 8.6. */
		if (head->framing == HTTP_FRAMING_CHUNKED)
			return -HTTP1_E_TRANSFER_ENCODING;
		if (head->content_length)
			return -HTTP1_E_LENGTH_INVALID;
	}
	if (is_never_with_body || head->status == 304 || request_method == HTTP_METHOD_HEAD ||
	    (request_method == HTTP_METHOD_CONNECT && head->status < 300))
		head->framing = HTTP_FRAMING_NONE;
	else if (head->framing == HTTP_FRAMING_NONE)
		head->framing = HTTP_FRAMING_UNTIL_CLOSE;
	return 0;
}

int http1_parse_response(struct str bytes, const struct http1_limits *limits,
			 enum http_method request_method, struct arena *arena,
			 struct http_head *ret_head)
{
	struct http_head head = {0};
	struct reading reading = {0};
	struct http1_gate gate;
	int r;

	r = http1_gate_init(&gate, bytes, limits, arena);
	if (r)
		return r;
	if (bytes.len > gate.limits.head_bytes)
		return -HTTP1_E_HEAD_BYTES;
	r = http1_gate_status_line(&gate, &head);
	if (r)
		return r;
	r = http1_gate_fields(&gate);
	if (r)
		return r;
	r = read_fields(&gate, &head, &reading);
	if (r)
		return r;
	head.host = STR_NULL; /* means nothing in a response */
	r = weigh_framing(&reading, &head);
	if (r)
		return r;
	r = weigh_bodiless(&head, request_method);
	if (r)
		return r;
	weigh_connection(&reading, &head);
	if (head.framing == HTTP_FRAMING_UNTIL_CLOSE)
		head.keep_alive = false;

	r = agree(bytes, HTTP_RESPONSE, &head, &reading);
	if (r)
		return r;
	*ret_head = head;
	return 0;
}

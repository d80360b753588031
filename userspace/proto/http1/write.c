#include "proto/http1/http1.h"

#include "proto/http_bytes.h"

static const struct {
	uint16_t status;
	const char *phrase;
} phrases[] = {
	{100, "Continue"},
	{101, "Switching Protocols"},
	{102, "Processing"},
	{103, "Early Hints"},
	{200, "OK"},
	{201, "Created"},
	{202, "Accepted"},
	{203, "Non-Authoritative Information"},
	{204, "No Content"},
	{205, "Reset Content"},
	{206, "Partial Content"},
	{207, "Multi-Status"},
	{208, "Already Reported"},
	{226, "IM Used"},
	{300, "Multiple Choices"},
	{301, "Moved Permanently"},
	{302, "Found"},
	{303, "See Other"},
	{304, "Not Modified"},
	{305, "Use Proxy"},
	{307, "Temporary Redirect"},
	{308, "Permanent Redirect"},
	{400, "Bad Request"},
	{401, "Unauthorized"},
	{402, "Payment Required"},
	{403, "Forbidden"},
	{404, "Not Found"},
	{405, "Method Not Allowed"},
	{406, "Not Acceptable"},
	{407, "Proxy Authentication Required"},
	{408, "Request Timeout"},
	{409, "Conflict"},
	{410, "Gone"},
	{411, "Length Required"},
	{412, "Precondition Failed"},
	{413, "Content Too Large"},
	{414, "URI Too Long"},
	{415, "Unsupported Media Type"},
	{416, "Range Not Satisfiable"},
	{417, "Expectation Failed"},
	{418, "I'm a teapot"},
	{421, "Misdirected Request"},
	{422, "Unprocessable Content"},
	{423, "Locked"},
	{424, "Failed Dependency"},
	{425, "Too Early"},
	{426, "Upgrade Required"},
	{428, "Precondition Required"},
	{429, "Too Many Requests"},
	{431, "Request Header Fields Too Large"},
	{451, "Unavailable For Legal Reasons"},
	{500, "Internal Server Error"},
	{501, "Not Implemented"},
	{502, "Bad Gateway"},
	{503, "Service Unavailable"},
	{504, "Gateway Timeout"},
	{505, "HTTP Version Not Supported"},
	{506, "Variant Also Negotiates"},
	{507, "Insufficient Storage"},
	{508, "Loop Detected"},
	{511, "Network Authentication Required"},
};

const char *http_reason_phrase(uint16_t status)
{
	size_t from = 0, to = ARRAY_SIZE(phrases);

	while (from < to) {
		size_t middle = (from + to) / 2;

		if (phrases[middle].status == status)
			return phrases[middle].phrase;
		if (phrases[middle].status < status)
			from = middle + 1;
		else
			to = middle;
	}
	return "Unknown";
}

void http1_write_init(struct http1_writer *writer, char *room, size_t room_bytes)
{
	*writer = (struct http1_writer){.pos = room, .end = room + room_bytes};
}

/* `overflowed` too, so that a caller who only looks there does not send half a head. */
static void refuse(struct http1_writer *writer)
{
	writer->invalid = true;
	writer->overflowed = true;
}

/* A place for len bytes, or NULL. Nothing is written after the first failure. */
static char *take(struct http1_writer *writer, size_t len)
{
	char *room = writer->pos;

	if (writer->overflowed || len > (size_t)(writer->end - writer->pos)) {
		writer->overflowed = true;
		return NULL;
	}
	writer->pos += len;
	return room;
}

static char *put(char *out, struct str bytes)
{
	if (bytes.len)
		memcpy(out, bytes.ptr, bytes.len);
	return out + bytes.len;
}

void http1_write_bytes(struct http1_writer *writer, struct str bytes)
{
	char *out = take(writer, bytes.len);

	if (out)
		(void)put(out, bytes);
}

static bool target_is_valid(struct str target)
{
	for (size_t i = 0; i < target.len; i++)
		if (!http_byte_is(target.ptr[i], HTTP_BYTE_TARGET))
			return false;
	return target.len > 0;
}

void http1_write_request_line(struct http1_writer *writer, struct str method, struct str target)
{
	static const struct str version = {" HTTP/1.1\r\n", 11};
	char *out;

	if (!http_name_is_valid(method) || !target_is_valid(target)) {
		refuse(writer);
		return;
	}
	out = take(writer, method.len + 1 + target.len + version.len);
	if (!out)
		return;
	out = put(out, method);
	*out++ = ' ';
	out = put(out, target);
	(void)put(out, version);
}

void http1_write_status_line(struct http1_writer *writer, uint16_t status)
{
	static const struct str version = {"HTTP/1.1 ", 9};
	struct str phrase = str_from_cstr(http_reason_phrase(status));
	char *out;

	if (status < 100 || status > 599) {
		refuse(writer);
		return;
	}
	out = take(writer, version.len + 4 + phrase.len + 2);
	if (!out)
		return;
	out = put(out, version);
	*out++ = (char)('0' + status / 100);
	*out++ = (char)('0' + status / 10 % 10);
	*out++ = (char)('0' + status % 10);
	*out++ = ' ';
	out = put(out, phrase);
	(void)put(out, STR("\r\n"));
}

void http1_write_field(struct http1_writer *writer, struct str name, struct str value)
{
	char *out;

	if (!http_name_is_valid(name) || !http_value_is_valid(value)) {
		refuse(writer);
		return;
	}
	out = take(writer, name.len + 2 + value.len + 2);
	if (!out)
		return;
	out = put(out, name);
	out = put(out, STR(": "));
	out = put(out, value);
	(void)put(out, STR("\r\n"));
}

void http1_write_field_u64(struct http1_writer *writer, struct str name, uint64_t value)
{
	char digits[20];
	size_t from = sizeof(digits);

	do {
		digits[--from] = (char)('0' + value % 10);
		value /= 10;
	} while (value);
	http1_write_field(writer, name, str_make(digits + from, sizeof(digits) - from));
}

void http1_write_end(struct http1_writer *writer)
{
	http1_write_bytes(writer, STR("\r\n"));
}

size_t http1_chunk_head(char out[HTTP1_CHUNK_HEAD_MAX], uint64_t len)
{
	static const char hex[] = "0123456789abcdef";
	unsigned int digits = 1;

	while (digits < 16 && len >> digits * 4)
		digits++;
	for (unsigned int i = 0; i < digits; i++)
		out[i] = hex[len >> (digits - 1 - i) * 4 & 15];
	out[digits] = '\r';
	out[digits + 1] = '\n';
	return digits + 2;
}

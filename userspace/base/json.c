#include "base/json.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>

#include "base/utf8.h"

void json_init(struct json_writer *json, struct buf *out, bool pretty)
{
	*json = (struct json_writer){.out = out, .pretty = pretty};
}

int json_finish(struct json_writer *json)
{
	if (!json->failed && (json->depth || !json->filled[0]))
		json->failed = -EPROTO;
	return json->failed;
}

static void json_fail(struct json_writer *json, int code)
{
	if (!json->failed)
		json->failed = code;
}

static void put(struct json_writer *json, struct str bytes)
{
	int r;

	if (json->failed)
		return;
	r = buf_append(json->out, bytes);
	if (r)
		json_fail(json, r);
}

static void put_line(struct json_writer *json)
{
	if (!json->pretty)
		return;
	put(json, STR("\n"));
	for (unsigned int i = 0; i < json->depth; i++)
		put(json, STR("  "));
}

static void put_escape(struct json_writer *json, unsigned char byte)
{
	static const char hex[] = "0123456789abcdef";
	char text[6] = {'\\', 'u', '0', '0', hex[byte >> 4], hex[byte & 15]};
	char brief = 0;

	switch (byte) {
	case '"':
	case '\\':
		brief = (char)byte;
		break;
	case '\n':
		brief = 'n';
		break;
	case '\r':
		brief = 'r';
		break;
	case '\t':
		brief = 't';
		break;
	default:
		break;
	}
	if (brief) {
		text[1] = brief;
		put(json, str_make(text, 2));
	} else {
		put(json, str_make(text, sizeof(text)));
	}
}

static void put_string(struct json_writer *json, struct str value)
{
	size_t plain = 0, at = 0;

	put(json, STR("\""));
	while (at < value.len) {
		const unsigned char *bytes = (const unsigned char *)value.ptr + at;
		size_t len = utf8_len(bytes, value.len - at);
		bool escape =
			bytes[0] < ' ' || bytes[0] == '"' || bytes[0] == '\\' || bytes[0] == 127;

		if (len && !escape) {
			at += len;
			continue;
		}
		put(json, str_sub(value, plain, at - plain));
		if (escape)
			put_escape(json, bytes[0]);
		else
			put(json, STR("\xef\xbf\xbd"));
		plain = ++at;
	}
	put(json, str_sub(value, plain, at - plain));
	put(json, STR("\""));
}

/* Comma and line break before an element, and its name; false when the caller must not go on. */
static bool begin_value(struct json_writer *json, const char *key)
{
	bool named = json->depth && json->is_object[json->depth];

	if (json->failed)
		return false;
	if (json->after_key) {
		json->after_key = false;
		if (key)
			json_fail(json, -EPROTO);
		return !json->failed;
	}
	if (named != (key != NULL) || (!json->depth && json->filled[0])) {
		json_fail(json, -EPROTO);
		return false;
	}
	if (json->filled[json->depth])
		put(json, STR(","));
	json->filled[json->depth] = true;
	if (json->depth)
		put_line(json);
	if (key) {
		put_string(json, str_from_cstr(key));
		put(json, json->pretty ? STR(": ") : STR(":"));
	}
	return !json->failed;
}

void json_key(struct json_writer *json, struct str key)
{
	if (json->failed)
		return;
	if (json->after_key || !json->depth || !json->is_object[json->depth]) {
		json_fail(json, -EPROTO);
		return;
	}
	if (json->filled[json->depth])
		put(json, STR(","));
	json->filled[json->depth] = true;
	put_line(json);
	put_string(json, key);
	put(json, json->pretty ? STR(": ") : STR(":"));
	json->after_key = true;
}

static void open_level(struct json_writer *json, const char *key, bool is_object)
{
	if (!begin_value(json, key))
		return;
	if (json->depth == JSON_DEPTH_MAX) {
		json_fail(json, -E2BIG);
		return;
	}
	put(json, is_object ? STR("{") : STR("["));
	json->depth++;
	json->filled[json->depth] = false;
	json->is_object[json->depth] = is_object;
}

static void close_level(struct json_writer *json, bool is_object)
{
	bool filled;

	if (json->failed)
		return;
	if (!json->depth || json->after_key || json->is_object[json->depth] != is_object) {
		json_fail(json, -EPROTO);
		return;
	}
	filled = json->filled[json->depth];
	json->depth--;
	if (filled)
		put_line(json);
	put(json, is_object ? STR("}") : STR("]"));
}

void json_open_object(struct json_writer *json, const char *key)
{
	open_level(json, key, true);
}

void json_close_object(struct json_writer *json)
{
	close_level(json, true);
}

void json_open_array(struct json_writer *json, const char *key)
{
	open_level(json, key, false);
}

void json_close_array(struct json_writer *json)
{
	close_level(json, false);
}

static void put_token(struct json_writer *json, const char *key, struct str token)
{
	if (begin_value(json, key))
		put(json, token);
}

void json_str(struct json_writer *json, const char *key, struct str value)
{
	if (begin_value(json, key))
		put_string(json, value);
}

void json_cstring(struct json_writer *json, const char *key, const char *value)
{
	if (value)
		json_str(json, key, str_from_cstr(value));
	else
		json_nil(json, key);
}

void json_u64(struct json_writer *json, const char *key, uint64_t value)
{
	char text[24];
	int len = snprintf(text, sizeof(text), "%llu", (unsigned long long)value);

	put_token(json, key, str_make(text, (size_t)len));
}

void json_i64(struct json_writer *json, const char *key, int64_t value)
{
	char text[24];
	int len = snprintf(text, sizeof(text), "%lld", (long long)value);

	put_token(json, key, str_make(text, (size_t)len));
}

void json_double(struct json_writer *json, const char *key, double value)
{
	char text[32];
	double again;
	int len;

	/* RFC 8259 section 6: JSON has neither infinity nor NaN. */
	if (!isfinite(value)) {
		json_nil(json, key);
		return;
	}
	len = snprintf(text, sizeof(text), "%.15g", value);
	if (sscanf(text, "%lf", &again) != 1 || again < value || again > value)
		len = snprintf(text, sizeof(text), "%.17g", value);
	/* A locale's decimal comma is not JSON. */
	for (int i = 0; i < len; i++)
		if (text[i] == ',')
			text[i] = '.';
	put_token(json, key, str_make(text, (size_t)len));
}

void json_bool(struct json_writer *json, const char *key, bool value)
{
	put_token(json, key, value ? STR("true") : STR("false"));
}

void json_nil(struct json_writer *json, const char *key)
{
	put_token(json, key, STR("null"));
}

static size_t skip_digits(struct str text, size_t at)
{
	while (at < text.len && text.ptr[at] >= '0' && text.ptr[at] <= '9')
		at++;
	return at;
}

/* RFC 8259 section 6: [ "-" ] int [ frac ] [ exp ], no leading zero. */
static bool is_number(struct str text)
{
	size_t at = text.len && text.ptr[0] == '-' ? 1 : 0;
	size_t start = at;

	at = skip_digits(text, at);
	if (at == start || (at - start > 1 && text.ptr[start] == '0'))
		return false;
	if (at < text.len && text.ptr[at] == '.') {
		start = ++at;
		at = skip_digits(text, at);
		if (at == start)
			return false;
	}
	if (at < text.len && (text.ptr[at] == 'e' || text.ptr[at] == 'E')) {
		at++;
		if (at < text.len && (text.ptr[at] == '+' || text.ptr[at] == '-'))
			at++;
		start = at;
		at = skip_digits(text, at);
		if (at == start)
			return false;
	}
	return at == text.len;
}

void json_raw_number(struct json_writer *json, const char *key, struct str digits)
{
	if (!is_number(digits)) {
		json_fail(json, -EINVAL);
		return;
	}
	put_token(json, key, digits);
}

#include "tools/text.h"

#include <errno.h>
#include <inttypes.h>

#include "base/cleanup.h"
#include "tools/output.h"

size_t text_utf8_len(struct str text)
{
	static const struct {
		unsigned char mask, value;
		uint32_t lowest; /* smaller code points have a shorter form: refused */
	} forms[] = {
		{0x80, 0x00, 0}, {0xe0, 0xc0, 0x80}, {0xf0, 0xe0, 0x800}, {0xf8, 0xf0, 0x10000}};
	unsigned char first = (unsigned char)text.ptr[0];

	for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
		uint32_t code;

		if ((first & forms[i].mask) != forms[i].value)
			continue;
		if (text.len < i + 1)
			return 0;
		code = first & (unsigned char)~forms[i].mask;
		for (size_t at = 1; at <= i; at++) {
			unsigned char byte = (unsigned char)text.ptr[at];

			if ((byte & 0xc0) != 0x80)
				return 0;
			code = code << 6 | (byte & 0x3f);
		}
		if (code < forms[i].lowest || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
			return 0;
		return i + 1;
	}
	return 0;
}

size_t text_width(struct str text)
{
	size_t width = 0;

	for (size_t at = 0; at < text.len; at++)
		width += ((unsigned char)text.ptr[at] & 0xc0) != 0x80;
	return width;
}

/* C0, DEL, and C1 (U+0080 to U+009F, which some terminals obey). */
static bool is_control(struct str character)
{
	unsigned char first = (unsigned char)character.ptr[0];

	if (character.len == 1)
		return first < 0x20 || first == 0x7f;
	return character.len == 2 && first == 0xc2 && (unsigned char)character.ptr[1] < 0xa0;
}

int output_escape(struct buf *out, struct str text, bool lines)
{
	size_t at = 0, plain = 0;
	int error = 0;

	while (at < text.len && !error) {
		size_t len = text_utf8_len(str_sub(text, at, text.len - at));
		bool kept = lines && (text.ptr[at] == '\n' || text.ptr[at] == '\t');

		if (len > 0 && (kept || !is_control(str_sub(text, at, len)))) {
			at += len;
			continue;
		}
		error = buf_append(out, str_sub(text, plain, at - plain));
		for (size_t i = 0; i < MAX(len, 1UL) && !error; i++)
			error = buf_printf(out, "\\x%02x", (unsigned char)text.ptr[at + i]);
		at += MAX(len, 1UL);
		plain = at;
	}
	return error ? error : buf_append(out, str_sub(text, plain, at - plain));
}

json_t *document_text(struct str text)
{
	_cleanup_(buf_done)
	struct buf clean;
	size_t at = 0, plain = 0;
	int error = 0;

	buf_init(&clean, SIZE_MAX / 2);
	while (at < text.len && !error) {
		size_t len = text_utf8_len(str_sub(text, at, text.len - at));

		/* jansson's strings hold no NUL unless asked to: neither do ours. */
		if (len > 0 && text.ptr[at] != '\0') {
			at += len;
			continue;
		}
		error = buf_append(&clean, str_sub(text, plain, at - plain));
		if (!error)
			error = buf_append(&clean, STR("\xef\xbf\xbd"));
		plain = ++at;
	}
	if (!error)
		error = buf_append(&clean, str_sub(text, plain, at - plain));
	return error ? NULL : json_stringn(buf_str(&clean).ptr, clean.len);
}

json_t *document_null(void)
{
	return json_null();
}

int output_count(struct buf *out, uint64_t number)
{
	char digits[24];
	int len = snprintf(digits, sizeof(digits), "%" PRIu64, number);
	int error = 0;

	for (int i = 0; i < len && !error; i++) {
		if (i > 0 && (len - i) % 3 == 0)
			error = buf_append(out, STR(","));
		if (!error)
			error = buf_append(out, str_make(&digits[i], 1));
	}
	return error;
}

int output_bytes(struct buf *out, uint64_t bytes)
{
	static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	double value = (double)bytes;
	size_t unit = 0;

	if (bytes < 1024)
		return buf_printf(out, "%" PRIu64 " B", bytes);
	/* 1023.95 and more would be printed as 1024.0 of the smaller unit. */
	for (value /= 1024; value >= 1023.95 && unit + 1 < ARRAY_SIZE(units); unit++)
		value /= 1024;
	return buf_printf(out, "%.1f %s", value, units[unit]);
}

int output_seconds(struct buf *out, uint64_t seconds)
{
	static const struct {
		uint64_t seconds;
		char letter;
	} units[] = {{86400, 'd'}, {3600, 'h'}, {60, 'm'}, {1, 's'}};

	for (size_t i = 0; i + 1 < ARRAY_SIZE(units); i++) {
		uint64_t rest = seconds % units[i].seconds / units[i + 1].seconds;

		if (seconds < units[i].seconds)
			continue;
		if (rest == 0)
			return buf_printf(out, "%" PRIu64 "%c", seconds / units[i].seconds,
					  units[i].letter);
		return buf_printf(out, "%" PRIu64 "%c %" PRIu64 "%c", seconds / units[i].seconds,
				  units[i].letter, rest, units[i + 1].letter);
	}
	return buf_printf(out, "%" PRIu64 "s", seconds);
}

#include "base/str.h"

#include <errno.h>
#include <limits.h>

#include "base/util.h"

/* Names that people type are shorter; longer ones get no suggestion. */
#define DISTANCE_LEN_MAX 128

bool str_eq_nocase(struct str left, struct str right)
{
	if (left.len != right.len)
		return false;
	for (size_t i = 0; i < left.len; i++)
		if (ascii_lower(left.ptr[i]) != ascii_lower(right.ptr[i]))
			return false;
	return true;
}

bool str_starts_with(struct str value, struct str prefix)
{
	return value.len >= prefix.len && str_eq(str_make(value.ptr, prefix.len), prefix);
}

bool str_ends_with(struct str value, struct str suffix)
{
	if (value.len < suffix.len)
		return false;
	return str_eq(str_sub(value, value.len - suffix.len, suffix.len), suffix);
}

ptrdiff_t str_find_byte(struct str value, char byte)
{
	const char *found = value.len ? memchr(value.ptr, byte, value.len) : NULL;

	return found ? found - value.ptr : -1;
}

struct str str_sub(struct str value, size_t from, size_t len)
{
	if (!value.ptr)
		return STR_NULL;
	from = MIN(from, value.len);
	return str_make(value.ptr + from, MIN(len, value.len - from));
}

static bool is_blank(char byte)
{
	return byte == ' ' || byte == '\t';
}

struct str str_trim(struct str value)
{
	while (value.len && is_blank(value.ptr[0])) {
		value.ptr++;
		value.len--;
	}
	while (value.len && is_blank(value.ptr[value.len - 1]))
		value.len--;
	return value;
}

bool str_next_token(struct str *rest, char sep, struct str *ret_token)
{
	ptrdiff_t at;

	if (!rest->ptr)
		return false;
	at = str_find_byte(*rest, sep);
	if (at < 0) {
		*ret_token = str_trim(*rest);
		*rest = STR_NULL;
		return true;
	}
	*ret_token = str_trim(str_sub(*rest, 0, (size_t)at));
	*rest = str_sub(*rest, (size_t)at + 1, rest->len);
	return true;
}

struct str str_find_pair(struct str list, char sep, struct str name)
{
	struct str pair;

	while (str_next_token(&list, sep, &pair))
		if (pair.len > name.len && pair.ptr[name.len] == '=' &&
		    str_eq(str_sub(pair, 0, name.len), name))
			return str_sub(pair, name.len + 1, pair.len);
	return STR_NULL;
}

int str_to_u64(struct str value, uint64_t *ret_number)
{
	uint64_t number = 0;
	bool too_big = false;

	if (str_is_empty(value))
		return -EINVAL;
	for (size_t i = 0; i < value.len; i++) {
		char digit = value.ptr[i];

		/* Goes on after an overflow: "not a number" is the better answer for 99...9x. */
		if (digit < '0' || digit > '9')
			return -EINVAL;
		if (__builtin_mul_overflow(number, 10, &number) ||
		    __builtin_add_overflow(number, (uint64_t)(digit - '0'), &number))
			too_big = true;
	}
	if (too_big)
		return -ERANGE;
	*ret_number = number;
	return 0;
}

int str_to_cstr(struct str value, char *buf, size_t buf_len)
{
	if (value.len && memchr(value.ptr, '\0', value.len))
		return -EINVAL;
	if (value.len >= buf_len)
		return -ENAMETOOLONG;
	if (value.len)
		memcpy(buf, value.ptr, value.len);
	buf[value.len] = '\0';
	return 0;
}

static bool needs_escape(unsigned char byte)
{
	return byte < ' ' || byte > 126 || byte == '\'' || byte == '"';
}

const char *str_quote(struct str value, char *buf, size_t buf_len)
{
	static const char hex[] = "0123456789abcdef";
	static const char cut[] = "...'";
	size_t whole = 2, out = 0, end;
	bool fits;

	if (!buf_len)
		return buf;
	for (size_t i = 0; i < value.len; i++)
		whole += needs_escape((unsigned char)value.ptr[i]) ? 4 : 1;
	fits = whole < buf_len;
	if (!fits && buf_len < sizeof(cut) + 1) {
		buf[0] = '\0';
		return buf;
	}
	/* The last byte that text may take, the closing quote or the cut mark excluded. */
	end = fits ? whole - 1 : buf_len - sizeof(cut);

	buf[out++] = '\'';
	for (size_t i = 0; i < value.len; i++) {
		unsigned char byte = (unsigned char)value.ptr[i];
		size_t piece = needs_escape(byte) ? 4 : 1;

		if (out + piece > end)
			break;
		if (piece == 1) {
			buf[out++] = (char)byte;
			continue;
		}
		buf[out++] = '\\';
		buf[out++] = 'x';
		buf[out++] = hex[byte >> 4];
		buf[out++] = hex[byte & 15];
	}
	if (fits) {
		buf[out++] = '\'';
		buf[out] = '\0';
	} else {
		memcpy(buf + out, cut, sizeof(cut));
	}
	return buf;
}

unsigned int str_distance(struct str left, struct str right, unsigned int cap)
{
	unsigned int row[DISTANCE_LEN_MAX + 1];
	size_t apart = left.len > right.len ? left.len - right.len : right.len - left.len;

	if (apart >= cap || left.len > DISTANCE_LEN_MAX || right.len > DISTANCE_LEN_MAX)
		return str_eq(left, right) ? 0 : cap;

	for (size_t j = 0; j <= right.len; j++)
		row[j] = (unsigned int)j;
	for (size_t i = 1; i <= left.len; i++) {
		unsigned int diagonal = row[0];

		row[0] = (unsigned int)i;
		for (size_t j = 1; j <= right.len; j++) {
			unsigned int change = diagonal + (left.ptr[i - 1] != right.ptr[j - 1]);
			unsigned int shorter = MIN(row[j], row[j - 1]) + 1;

			diagonal = row[j];
			row[j] = MIN(change, shorter);
		}
	}
	return MIN(row[right.len], cap);
}

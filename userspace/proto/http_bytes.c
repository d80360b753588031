#include "proto/http_bytes.h"

#include <string.h>

#define IN(byte, first, last) ((byte) >= (first) && (byte) <= (last))
#define IS_DIGIT(byte)	      IN(byte, '0', '9')
#define IS_ALNUM(byte)	      (IS_DIGIT(byte) || IN(byte, 'a', 'z') || IN(byte, 'A', 'Z'))
#define IS_BLANK(byte)	      ((byte) == ' ' || (byte) == '\t')
#define IS_HOST(byte)	      (IS_ALNUM(byte) || (byte) == '-' || (byte) == '.' || (byte) == '_')
#define IS_TOKEN(byte)                                                                             \
	(IS_ALNUM(byte) || (byte) == '!' || IN(byte, '#', '\'') || (byte) == '*' ||                \
	 (byte) == '+' || (byte) == '-' || (byte) == '.' || IN(byte, '^', '`') || (byte) == '|' || \
	 (byte) == '~')
#define IS_VALUE(byte)	(IS_BLANK(byte) || IN(byte, 0x21, 0x7e) || (byte) >= 0x80)
#define IS_TARGET(byte) (IN(byte, 0x21, 0x7e) && (byte) != '#')
#define IS_QUOTED(byte) (IS_VALUE(byte) && (byte) != '"' && (byte) != '\\')

#define CLASS(byte)                                                                                \
	((IS_TOKEN(byte) ? HTTP_BYTE_TOKEN : 0) | (IS_VALUE(byte) ? HTTP_BYTE_VALUE : 0) |         \
	 (IS_TARGET(byte) ? HTTP_BYTE_TARGET : 0) | (IS_QUOTED(byte) ? HTTP_BYTE_QUOTED : 0) |     \
	 (IS_HOST(byte) ? HTTP_BYTE_HOST : 0) | (IS_DIGIT(byte) ? HTTP_BYTE_DIGIT : 0) |           \
	 (IS_BLANK(byte) ? HTTP_BYTE_BLANK : 0))
#define CLASS4(byte)  CLASS(byte), CLASS((byte) + 1), CLASS((byte) + 2), CLASS((byte) + 3)
#define CLASS16(byte) CLASS4(byte), CLASS4((byte) + 4), CLASS4((byte) + 8), CLASS4((byte) + 12)
#define CLASS64(byte)                                                                              \
	CLASS16(byte), CLASS16((byte) + 16), CLASS16((byte) + 32), CLASS16((byte) + 48)

const uint8_t http_byte_class[256] = {CLASS64(0), CLASS64(64), CLASS64(128), CLASS64(192)};

#define EACH_BYTE(byte) (0x0101010101010101u * (byte))

/*
 * The top bit of each byte below 0x20 or equal to 0x7f. A borrow may mark bytes above the first
 * marked one by mistake, never the first (Bit Twiddling Hacks, "less than n").
 */
static uint64_t mark_controls(uint64_t word)
{
	uint64_t is_delete = word ^ EACH_BYTE(0x7f);

	return (((word - EACH_BYTE(0x20)) & ~word) | ((is_delete - EACH_BYTE(1)) & ~is_delete)) &
	       EACH_BYTE(0x80);
}

const char *http_value_span(const char *pos, const char *end)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	while (end - pos >= 8) {
		uint64_t word, marks;

		memcpy(&word, pos, sizeof(word));
		marks = mark_controls(word);
		if (!marks) {
			pos += 8;
			continue;
		}
		pos += __builtin_ctzll(marks) / 8;
		if (*pos != '\t')
			return pos;
		pos++;
	}
#endif
	while (pos < end && http_byte_is(*pos, HTTP_BYTE_VALUE))
		pos++;
	return pos;
}

#include "filter/base64.h"

#include <errno.h>

static int digit_value(char digit, char digit_62, char digit_63)
{
	if (digit >= 'A' && digit <= 'Z')
		return digit - 'A';
	if (digit >= 'a' && digit <= 'z')
		return digit - 'a' + 26;
	if (digit >= '0' && digit <= '9')
		return digit - '0' + 52;
	if (digit == digit_62)
		return 62;
	return digit == digit_63 ? 63 : -1;
}

static ptrdiff_t decode(struct str text, char digit_62, char digit_63, uint8_t *room)
{
	uint32_t bits = 0;
	unsigned int bit_count = 0;
	ptrdiff_t len = 0;

	if (text.len % 4 == 1)
		return -EINVAL;
	for (size_t i = 0; i < text.len; i++) {
		int value = digit_value(text.ptr[i], digit_62, digit_63);

		if (value < 0)
			return -EINVAL;
		bits = bits << 6 | (uint32_t)value;
		bit_count += 6;
		if (bit_count >= 8) {
			bit_count -= 8;
			room[len++] = (uint8_t)(bits >> bit_count);
		}
	}
	return bits & ((1u << bit_count) - 1) ? -EINVAL : len;
}

ptrdiff_t base64url_decode(struct str text, uint8_t *room)
{
	return decode(text, '-', '_', room);
}

ptrdiff_t base64_decode(struct str text, uint8_t *room)
{
	unsigned int padding = 0;

	if (text.len % 4)
		return -EINVAL;
	while (padding < 2 && text.len && text.ptr[text.len - 1] == '=') {
		text.len--;
		padding++;
	}
	return decode(text, '+', '/', room);
}

#include "base/utf8.h"

/* Unicode 15, table 3-7: no surrogates, no overlong forms, nothing beyond U+10FFFF. */
size_t utf8_len(const unsigned char *bytes, size_t len)
{
	unsigned char low = 0x80, high = 0xbf;
	size_t need;

	if (!len)
		return 0;
	if (bytes[0] < 0x80)
		return 1;
	if (bytes[0] >= 0xc2 && bytes[0] <= 0xdf)
		need = 2;
	else if (bytes[0] >= 0xe0 && bytes[0] <= 0xef)
		need = 3;
	else if (bytes[0] >= 0xf0 && bytes[0] <= 0xf4)
		need = 4;
	else
		return 0;
	if (len < need)
		return 0;
	if (bytes[0] == 0xe0)
		low = 0xa0;
	else if (bytes[0] == 0xed)
		high = 0x9f;
	else if (bytes[0] == 0xf0)
		low = 0x90;
	else if (bytes[0] == 0xf4)
		high = 0x8f;
	if (bytes[1] < low || bytes[1] > high)
		return 0;
	for (size_t i = 2; i < need; i++)
		if ((bytes[i] & 0xc0) != 0x80)
			return 0;
	return need;
}

/*
 * fuzz_range: any bytes as a Range and as a date. Ranges that are accepted lie within the length,
 * hold something and together no more than the whole; a date that is read is written and read back
 * as the same moment. The first eight bytes are the length and the present.
 */
#include <stdlib.h>

#include "proto/http_date.h"
#include "proto/http_range.h"

static void check(bool holds)
{
	if (!holds)
		abort();
}

static void check_range(struct str value, uint64_t length)
{
	struct http_range ranges[HTTP_RANGES_MAX];
	uint64_t total = 0;
	unsigned int count = 0;

	if (http_range_parse(value, length, ranges, &count) != HTTP_RANGE_SATISFIABLE)
		return;
	check(count >= 1 && count <= HTTP_RANGES_MAX);
	for (unsigned int i = 0; i < count; i++) {
		check(ranges[i].len >= 1 && ranges[i].first < length);
		check(ranges[i].len <= length - ranges[i].first);
		total += ranges[i].len;
		check(total <= length);
	}
}

static void check_date(struct str text, int64_t now)
{
	char room[HTTP_DATE_LEN];
	int64_t seconds, again;

	if (http_date_parse(text, now, &seconds))
		return;
	check(http_date_parse(http_date_format(seconds, room), now, &again) == 0);
	check(again == seconds);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str text;
	uint64_t number;

	if (size < sizeof(number))
		return 0;
	memcpy(&number, data, sizeof(number));
	text = str_make((const char *)data + sizeof(number), size - sizeof(number));
	check_range(text, number);
	check_range(text, number % 1000);
	check_date(text, (int64_t)number);
	check_date(text, (int64_t)(number % 4000000000));
	return 0;
}

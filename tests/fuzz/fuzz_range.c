/*
 * fuzz_range: any bytes as a Range, a date, entity tags and a path below a directory of files.
 * Ranges that are accepted lie within the length, hold something and together no more than the
 * whole; a date that is read is written and read back as the same moment; what matches strongly
 * matches weakly; names have no segment that is empty, "." or "..". The first eight bytes are the
 * length and the present.
 */
#include <stdlib.h>

#include "http/conditional.h"
#include "http/files_name.h"
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

static void check_tags(struct str value)
{
	struct http_field field = {STR("if-match"), value, HTTP_FIELD_IF_MATCH};
	struct http_head head = {.method_id = HTTP_METHOD_GET, .fields = &field, .field_count = 1};
	struct http_validators validators = {.etag = STR("\"1\"")};
	bool matches = conditional_check(&head, &validators) == CONDITIONAL_PROCEED;

	field.id = HTTP_FIELD_IF_NONE_MATCH;
	if (matches)
		check(conditional_check(&head, &validators) == CONDITIONAL_NOT_MODIFIED);
	field.id = HTTP_FIELD_IF_RANGE;
	(void)conditional_range(&head, &validators);
}

static void check_name(struct str below, bool hidden)
{
	struct str name, segment;
	char room[256];

	if (files_name_decode(below, hidden, room, sizeof(room), &name))
		return;
	check(name.len < sizeof(room) && strlen(room) == name.len);
	if (str_ends_with(name, STR("/")))
		name.len--;
	if (!name.len)
		return;
	for (size_t at = 0; at <= name.len; at += segment.len + 1) {
		segment = str_sub(name, at, name.len - at);
		if (str_find_byte(segment, '/') >= 0)
			segment.len = (size_t)str_find_byte(segment, '/');
		check(segment.len && !str_eq(segment, STR(".")) && !str_eq(segment, STR("..")));
		check(hidden || segment.ptr[0] != '.' || str_eq(segment, STR(".well-known")));
	}
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
	check_tags(text);
	check_name(text, number % 2);
	check_date(text, (int64_t)number);
	check_date(text, (int64_t)(number % 4000000000));
	return 0;
}

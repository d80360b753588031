#include "proto/http_range.h"

#include "base/util.h"

/* Digits at least one; what does not fit 64 bits is beyond any file: the greatest number. */
static bool parse_position(struct str text, uint64_t *ret_number)
{
	uint64_t number = 0;

	if (!text.len)
		return false;
	for (size_t i = 0; i < text.len; i++) {
		unsigned int digit = (unsigned int)(text.ptr[i] - '0');

		if (text.ptr[i] < '0' || digit > 9)
			return false;
		if (__builtin_mul_overflow(number, 10, &number) ||
		    __builtin_add_overflow(number, digit, &number))
			number = UINT64_MAX;
	}
	*ret_number = number;
	return true;
}

/* False: malformed. A range with nothing in it is well-formed and cannot be satisfied. */
static bool parse_spec(struct str spec, uint64_t length, struct http_range *ret_range)
{
	ptrdiff_t dash = str_find_byte(spec, '-');
	uint64_t first = 0, last = UINT64_MAX;
	struct str left, right;

	*ret_range = (struct http_range){0, 0};
	if (dash < 0)
		return false;
	left = str_sub(spec, 0, (size_t)dash);
	right = str_sub(spec, (size_t)dash + 1, spec.len - (size_t)dash - 1);
	if (!left.len) { /* the last so many bytes */
		if (!parse_position(right, &last))
			return false;
		last = MIN(last, length);
		*ret_range = (struct http_range){length - last, last};
		return true;
	}
	if (!parse_position(left, &first) || (right.len && !parse_position(right, &last)) ||
	    last < first)
		return false;
	if (first < length)
		*ret_range = (struct http_range){first, MIN(last, length - 1) - first + 1};
	return true;
}

enum http_range_result http_range_parse(struct str value, uint64_t length,
					struct http_range ret_ranges[HTTP_RANGES_MAX],
					unsigned int *ret_count)
{
	static const struct str unit = STR("bytes=");
	struct http_range ranges[HTTP_RANGES_MAX];
	unsigned int specs = 0, count = 0;
	uint64_t total = 0;
	struct str rest, spec;

	if (value.len < unit.len || !str_eq_nocase(str_sub(value, 0, unit.len), unit))
		return HTTP_RANGE_IGNORED;
	rest = str_sub(value, unit.len, value.len - unit.len);
	while (str_next_token(&rest, ',', &spec)) {
		if (!spec.len) /* lists may have empty elements (RFC 9110 5.6.1) */
			continue;
		if (specs++ == HTTP_RANGES_MAX || !parse_spec(spec, length, &ranges[count]))
			return HTTP_RANGE_IGNORED;
		if (!ranges[count].len)
			continue;
		total += ranges[count].len;
		if (total > length) /* checked each time: no overflow */
			return HTTP_RANGE_IGNORED;
		count++;
	}
	if (!specs)
		return HTTP_RANGE_IGNORED;
	if (!count)
		return HTTP_RANGE_UNSATISFIABLE;
	memcpy(ret_ranges, ranges, count * sizeof(*ranges));
	*ret_count = count;
	return HTTP_RANGE_SATISFIABLE;
}

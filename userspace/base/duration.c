#include "base/duration.h"

#include <errno.h>

#include "base/util.h"

int duration_parse_ms(struct str text, uint64_t *ret_ms)
{
	static const struct {
		struct str suffix;
		uint64_t ms;
	} units[] = {{STR("ms"), 1},
		     {STR("s"), 1000},
		     {STR("m"), 60 * 1000},
		     {STR("h"), 60 * 60 * 1000},
		     {STR("d"), 24 * 60 * 60 * 1000}};

	for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
		uint64_t number, product;
		int error;

		if (!str_ends_with(text, units[i].suffix))
			continue;
		error = str_to_u64(str_sub(text, 0, text.len - units[i].suffix.len), &number);
		if (error)
			return error;
		if (__builtin_mul_overflow(number, units[i].ms, &product))
			return -ERANGE;
		*ret_ms = product;
		return 0;
	}
	return -EINVAL;
}

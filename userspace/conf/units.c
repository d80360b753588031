#include <errno.h>

#include "conf/field.h"

struct unit {
	const char *name;
	uint64_t factor;
};

#define KIB ((uint64_t)1 << 10)

static const struct unit duration_units[] = {
	{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000},
};

static const struct unit size_units[] = {
	{"", 1},
	{"KiB", KIB},
	{"MiB", KIB *KIB},
	{"GiB", KIB *KIB *KIB},
	{"TiB", KIB *KIB *KIB *KIB},
};

/* Cuts the digits off the front; `*rest` is what follows. */
static struct str take_digits(struct str text, struct str *ret_rest)
{
	size_t len = 0;

	while (len < text.len && text.ptr[len] >= '0' && text.ptr[len] <= '9')
		len++;
	*ret_rest = str_sub(text, len, text.len);
	return str_sub(text, 0, len);
}

static const struct unit *find_unit(struct str name, const struct unit *units, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (str_eq_cstr(name, units[i].name))
			return &units[i];
	return NULL;
}

static int parse_scaled(struct str text, const struct unit *units, size_t count,
			uint64_t *ret_value)
{
	struct str rest, digits = take_digits(text, &rest);
	const struct unit *unit = find_unit(rest, units, count);
	uint64_t number;
	int r;

	if (!unit)
		return -EINVAL;
	r = str_to_u64(digits, &number);
	if (r)
		return r;
	if (__builtin_mul_overflow(number, unit->factor, &number))
		return -ERANGE;
	*ret_value = number;
	return 0;
}

int units_parse_duration_ms(struct str text, uint64_t *ret_ms)
{
	return parse_scaled(text, duration_units, ARRAY_SIZE(duration_units), ret_ms);
}

int units_parse_size_bytes(struct str text, uint64_t *ret_bytes)
{
	return parse_scaled(text, size_units, ARRAY_SIZE(size_units), ret_bytes);
}

int units_parse_rate(struct str text, uint64_t *ret_count, uint64_t *ret_period_ms)
{
	struct str rest, digits = take_digits(text, &rest);
	const struct unit *unit;
	uint64_t number;
	int r;

	if (!str_starts_with(rest, STR("/")))
		return -EINVAL;
	unit = find_unit(str_sub(rest, 1, rest.len), duration_units, ARRAY_SIZE(duration_units));
	if (!unit || unit->factor < 1000)
		return -EINVAL;
	r = str_to_u64(digits, &number);
	if (r)
		return r;
	*ret_count = number;
	*ret_period_ms = unit->factor;
	return 0;
}

int units_parse_percent(struct str text, uint32_t *ret_basis_points)
{
	struct str rest, fraction = STR_NULL, digits = take_digits(text, &rest);
	uint64_t whole, parts = 0;
	int r;

	if (str_starts_with(rest, STR("."))) {
		fraction = take_digits(str_sub(rest, 1, rest.len), &rest);
		/* Parts of 10,000 hold two decimals. */
		if (fraction.len < 1 || fraction.len > 2)
			return -EINVAL;
	}
	if (!str_eq_cstr(rest, "%"))
		return -EINVAL;
	r = str_to_u64(digits, &whole);
	if (r)
		return r;
	if (fraction.len) {
		(void)str_to_u64(fraction, &parts);
		if (fraction.len == 1)
			parts *= 10;
	}
	if (whole > 100 || whole * 100 + parts > 10000)
		return -ERANGE;
	*ret_basis_points = (uint32_t)(whole * 100 + parts);
	return 0;
}

/* The biggest unit that needs no fraction, so that the text reads back as the same number. */
static const char *format_scaled(uint64_t value, const struct unit *units, size_t count,
				 const char *zero, char *buf, size_t buf_len)
{
	const struct unit *unit = &units[0];

	for (size_t i = 0; i < count; i++)
		if (value % units[i].factor == 0)
			unit = &units[i];
	if (value)
		(void)snprintf(buf, buf_len, "%llu%s", (unsigned long long)(value / unit->factor),
			       unit->name);
	else
		(void)snprintf(buf, buf_len, "%s", zero);
	return buf;
}

const char *units_format_duration(uint64_t ms, char *buf, size_t buf_len)
{
	return format_scaled(ms, duration_units, ARRAY_SIZE(duration_units), "0s", buf, buf_len);
}

const char *units_format_size(uint64_t bytes, char *buf, size_t buf_len)
{
	return format_scaled(bytes, size_units, ARRAY_SIZE(size_units), "0", buf, buf_len);
}

/* With no decimals where none are needed. */
const char *units_format_percent(uint64_t basis_points, char *buf, size_t buf_len)
{
	unsigned long long whole = basis_points / 100;
	unsigned int parts = (unsigned int)(basis_points % 100);

	if (!parts)
		(void)snprintf(buf, buf_len, "%llu%%", whole);
	else if (parts % 10 == 0)
		(void)snprintf(buf, buf_len, "%llu.%u%%", whole, parts / 10);
	else
		(void)snprintf(buf, buf_len, "%llu.%02u%%", whole, parts);
	return buf;
}

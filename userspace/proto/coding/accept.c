#include "proto/coding/coding.h"

#include "base/util.h"

static const char *const names[CODING_COUNT] = {
	[CODING_IDENTITY] = "identity",
	[CODING_GZIP] = "gzip",
	[CODING_BR] = "br",
	[CODING_ZSTD] = "zstd",
};

const char *coding_name(enum coding coding)
{
	return names[coding];
}

enum coding coding_lookup(struct str name)
{
	for (unsigned int i = 0; i < CODING_COUNT; i++)
		if (str_eq_nocase(name, str_from_cstr(names[i])))
			return (enum coding)i;
	return str_eq_nocase(name, STR("x-gzip")) ? CODING_GZIP : CODING_COUNT;
}

void coding_accept_init(struct coding_accept *accept)
{
	for (unsigned int i = 0; i < CODING_COUNT; i++)
		accept->weights[i] = -1;
	accept->other = -1;
}

/* "q=0.5" and its like in thousandths; what is no weight is none at all: -1. */
static int parse_weight(struct str parameter)
{
	struct str digits;
	int weight, scale = 100;

	if (parameter.len < 3 || ascii_lower(parameter.ptr[0]) != 'q' || parameter.ptr[1] != '=')
		return -1;
	digits = str_sub(parameter, 2, parameter.len);
	if (digits.ptr[0] != '0' && digits.ptr[0] != '1')
		return -1;
	weight = (digits.ptr[0] - '0') * 1000;
	if (digits.len > 5 || (digits.len > 1 && digits.ptr[1] != '.'))
		return -1;
	for (size_t i = 2; i < digits.len; i++, scale /= 10) {
		if (digits.ptr[i] < '0' || digits.ptr[i] > '9')
			return -1;
		weight += (digits.ptr[i] - '0') * scale;
	}
	return weight <= 1000 ? weight : -1;
}

void coding_accept_add(struct coding_accept *accept, struct str value)
{
	struct str element, name, parameter;

	while (str_next_token(&value, ',', &element)) {
		int weight = 1000;
		enum coding coding;

		if (!str_next_token(&element, ';', &name) || !name.len)
			continue;
		while (str_next_token(&element, ';', &parameter))
			weight = parse_weight(parameter);
		weight = MAX(weight, 0);
		coding = coding_lookup(name);
		if (coding < CODING_COUNT)
			accept->weights[coding] = weight;
		else if (str_eq(name, STR("*")))
			accept->other = weight;
	}
}

enum coding coding_accept_choose(const struct coding_accept *accept, const enum coding *offered,
				 unsigned int count)
{
	enum coding best = CODING_IDENTITY;
	/* Who rather has it as it is says so. */
	int best_weight = MAX(accept->weights[CODING_IDENTITY], 0);
	bool chosen = false;

	for (unsigned int i = 0; i < count; i++) {
		int weight = accept->weights[offered[i]];

		if (weight < 0)
			weight = accept->other;
		if (weight <= 0 || (chosen ? weight <= best_weight : weight < best_weight))
			continue;
		best = offered[i];
		best_weight = weight;
		chosen = true;
	}
	return best;
}

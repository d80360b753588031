#include "http/route_condition.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "http/query.h"

static bool value_meets(const struct route_condition *condition, struct str value)
{
	switch (condition->kind) {
	case ROUTE_CONDITION_EXACT:
		return str_eq(value, condition->value);
	case ROUTE_CONDITION_REGEX:
		return route_regex_matches(condition->regex, value);
	case ROUTE_CONDITION_PRESENT:
	case ROUTE_CONDITION_ABSENT:
		break;
	}
	return true;
}

static bool is_field(const struct route_condition *condition, const struct http_field *field)
{
	return field->id == condition->id &&
	       (field->id != HTTP_FIELD_OTHER || str_eq_nocase(field->name, condition->name));
}

bool route_condition_meets_head(const struct route_condition *condition,
				const struct http_head *head)
{
	for (unsigned int i = 0; i < head->field_count; i++) {
		const struct http_field *field = &head->fields[i];

		if (is_field(condition, field) && value_meets(condition, field->value))
			return condition->kind != ROUTE_CONDITION_ABSENT;
	}
	return condition->kind == ROUTE_CONDITION_ABSENT;
}

static bool decoded_matches(struct str encoded, const struct route_regex *regex)
{
	char decoded[ROUTE_CONDITION_BYTES_MAX];
	size_t len = 0;

	while (encoded.len) {
		if (len == sizeof(decoded))
			return false;
		decoded[len++] = query_decode_byte(&encoded);
	}
	return route_regex_matches(regex, str_make(decoded, len));
}

static bool encoded_value_meets(const struct route_condition *condition, struct str value)
{
	switch (condition->kind) {
	case ROUTE_CONDITION_EXACT:
		return query_decoded_is(value, condition->value);
	case ROUTE_CONDITION_REGEX:
		return decoded_matches(value, condition->regex);
	case ROUTE_CONDITION_PRESENT:
	case ROUTE_CONDITION_ABSENT:
		break;
	}
	return true;
}

/* Cuts the next "name=value" off; str_next_token() would trim it. */
static struct str next_pair(struct str *rest)
{
	ptrdiff_t at = str_find_byte(*rest, '&');
	struct str pair = *rest;

	if (at < 0) {
		*rest = STR_NULL;
		return pair;
	}
	pair.len = (size_t)at;
	*rest = str_make(rest->ptr + at + 1, rest->len - (size_t)at - 1);
	return pair;
}

bool route_condition_meets_query(const struct route_condition *condition, struct str query)
{
	if (query.len && query.ptr[0] == '?')
		query = str_make(query.ptr + 1, query.len - 1);
	while (query.len) {
		struct str name = next_pair(&query), value = STR("");
		ptrdiff_t at = str_find_byte(name, '=');

		if (at >= 0) {
			value = str_make(name.ptr + at + 1, name.len - (size_t)at - 1);
			name.len = (size_t)at;
		}
		if (name.len && query_decoded_is(name, condition->name) &&
		    encoded_value_meets(condition, value))
			return condition->kind != ROUTE_CONDITION_ABSENT;
	}
	return condition->kind == ROUTE_CONDITION_ABSENT;
}

const struct route_condition *route_conditions_fail_head(const struct route_conditions *conditions,
							 const struct http_head *head)
{
	for (unsigned int i = 0; i < conditions->count; i++)
		if (!route_condition_meets_head(&conditions->items[i], head))
			return &conditions->items[i];
	return NULL;
}

const struct route_condition *route_conditions_fail_query(const struct route_conditions *conditions,
							  struct str query)
{
	for (unsigned int i = 0; i < conditions->count; i++)
		if (!route_condition_meets_query(&conditions->items[i], query))
			return &conditions->items[i];
	return NULL;
}

static bool same(const struct route_condition *left, const struct route_condition *right)
{
	return left->kind == right->kind && str_eq(left->name, right->name) &&
	       str_eq(left->value, right->value);
}

/* Names are unique in a list, so that equal counts and one direction are enough. */
bool route_conditions_same(const struct route_conditions *left,
			   const struct route_conditions *right)
{
	if (left->count != right->count)
		return false;
	for (unsigned int i = 0; i < left->count; i++) {
		unsigned int j = 0;

		while (j < right->count && !same(&left->items[i], &right->items[j]))
			j++;
		if (j == right->count)
			return false;
	}
	return true;
}

uint64_t route_conditions_hash(const struct route_conditions *conditions)
{
	uint64_t sum = conditions->count;

	for (unsigned int i = 0; i < conditions->count; i++) {
		const struct route_condition *item = &conditions->items[i];
		uint64_t hash =
			XXH3_64bits_withSeed(item->name.ptr, item->name.len, (uint64_t)item->kind);

		if (item->value.len)
			hash = XXH3_64bits_withSeed(item->value.ptr, item->value.len, hash);
		sum += hash; /* any order */
	}
	return sum;
}

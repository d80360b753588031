#include "http/conditional.h"

#include "proto/http_bytes.h"
#include "proto/http_date.h"

/* The fields of one id; most requests have none of them. */
struct found {
	const struct http_field *only; /* the first */
	unsigned int count;
};

static struct found find(const struct http_head *request, enum http_field_id id)
{
	struct found found = {0};

	for (unsigned int i = 0; i < request->field_count; i++) {
		if (request->fields[i].id != id)
			continue;
		if (!found.count++)
			found.only = &request->fields[i];
	}
	return found;
}

/* ---- entity tags (RFC 9110 8.8.3) ---- */

/* Cuts the next tag off a list, its "W/" included. False at the end and at what is no tag. */
static bool next_tag(struct str *rest, struct str *ret_tag)
{
	size_t at = 0, start;

	while (at < rest->len &&
	       (rest->ptr[at] == ',' || http_byte_is(rest->ptr[at], HTTP_BYTE_BLANK)))
		at++;
	start = at;
	if (rest->len - at >= 2 && rest->ptr[at] == 'W' && rest->ptr[at + 1] == '/')
		at += 2;
	if (at == rest->len || rest->ptr[at] != '"')
		return false;
	for (at++; at < rest->len && rest->ptr[at] != '"'; at++)
		if (!http_byte_is(rest->ptr[at], HTTP_BYTE_VALUE) ||
		    http_byte_is(rest->ptr[at], HTTP_BYTE_BLANK))
			return false;
	if (at == rest->len)
		return false;
	*ret_tag = str_sub(*rest, start, at + 1 - start);
	*rest = str_sub(*rest, at + 1, rest->len - at - 1);
	return true;
}

static struct str opaque(struct str tag)
{
	return str_starts_with(tag, STR("W/")) ? str_sub(tag, 2, tag.len - 2) : tag;
}

static bool tags_match(struct str left, struct str right, bool strong)
{
	if (strong && (opaque(left).len != left.len || opaque(right).len != right.len))
		return false;
	return str_eq(opaque(left), opaque(right));
}

/* Over all fields of the id: they are one list (RFC 9110 5.2). */
static bool list_matches(const struct http_head *request, enum http_field_id id, struct str etag,
			 bool strong)
{
	struct str rest, tag;

	for (unsigned int i = 0; i < request->field_count; i++) {
		if (request->fields[i].id != id)
			continue;
		rest = request->fields[i].value;
		if (str_eq(rest, STR("*")))
			return true;
		while (next_tag(&rest, &tag))
			if (tags_match(tag, etag, strong))
				return true;
	}
	return false;
}

/* ---- preconditions ---- */

/* Exactly one, and a date? Otherwise the field is ignored. */
static bool has_date(const struct http_head *request, enum http_field_id id, int64_t now,
		     int64_t *ret_date)
{
	struct found found = find(request, id);

	return found.count == 1 && http_date_parse(found.only->value, now, ret_date) == 0;
}

enum conditional_result conditional_check(const struct http_head *request,
					  const struct http_validators *validators)
{
	int64_t date = 0;

	if (find(request, HTTP_FIELD_IF_MATCH).count) {
		if (!list_matches(request, HTTP_FIELD_IF_MATCH, validators->etag, true))
			return CONDITIONAL_FAILED;
	} else if (has_date(request, HTTP_FIELD_IF_UNMODIFIED_SINCE, validators->now, &date) &&
		   validators->modified > date) {
		return CONDITIONAL_FAILED;
	}
	if (find(request, HTTP_FIELD_IF_NONE_MATCH).count) {
		if (list_matches(request, HTTP_FIELD_IF_NONE_MATCH, validators->etag, false))
			return CONDITIONAL_NOT_MODIFIED;
	} else if (has_date(request, HTTP_FIELD_IF_MODIFIED_SINCE, validators->now, &date) &&
		   validators->modified <= date) {
		return CONDITIONAL_NOT_MODIFIED;
	}
	return CONDITIONAL_PROCEED;
}

static bool if_range_holds(const struct http_head *request,
			   const struct http_validators *validators)
{
	struct found found = find(request, HTTP_FIELD_IF_RANGE);
	struct str rest, tag;
	int64_t date = 0;

	if (!found.count)
		return true;
	if (found.count > 1)
		return false;
	rest = found.only->value;
	if (next_tag(&rest, &tag))
		return !rest.len && tags_match(tag, validators->etag, true);
	return validators->modified_strong &&
	       http_date_parse(found.only->value, validators->now, &date) == 0 &&
	       validators->modified == date;
}

struct str conditional_range(const struct http_head *request,
			     const struct http_validators *validators)
{
	struct found range = find(request, HTTP_FIELD_RANGE);

	if (request->method_id != HTTP_METHOD_GET || range.count != 1 ||
	    !if_range_holds(request, validators))
		return STR_NULL;
	return range.only->value;
}

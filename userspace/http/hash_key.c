#include "http/hash_key.h"

#include <xxhash.h>

#include "base/util.h"
#include "http/exchange.h"

/* What is empty is not there: or all who have it so would meet at one endpoint. */
static bool hash(struct str value, uint64_t *ret_key)
{
	if (!value.len)
		return false;
	*ret_key = XXH64(value.ptr, value.len, 0);
	return true;
}

/* Every line of the field, in order: "a" and "b" on two lines are not "ab" on one. */
static bool hash_header(const struct http_head *request, struct str name, uint64_t *ret_key)
{
	bool found = false;

	*ret_key = 0;
	for (unsigned int i = 0; i < request->field_count; i++) {
		const struct http_field *field = &request->fields[i];

		if (!field->value.len || !str_eq_nocase(field->name, name))
			continue;
		*ret_key = XXH64(field->value.ptr, field->value.len, *ret_key);
		found = true;
	}
	return found;
}

static bool hash_cookie(const struct http_head *request, struct str name, uint64_t *ret_key)
{
	for (unsigned int i = 0; i < request->field_count; i++) {
		const struct http_field *field = &request->fields[i];

		if (field->id == HTTP_FIELD_COOKIE &&
		    hash(str_find_pair(field->value, ';', name), ret_key))
			return true;
	}
	return false;
}

/* As it stands in the URL: whoever writes it in another encoding gets another endpoint. */
static bool hash_query(struct str query, struct str name, uint64_t *ret_key)
{
	return query.len && hash(str_find_pair(str_sub(query, 1, query.len), '&', name), ret_key);
}

static bool hash_source(const struct ip_addr *client, uint64_t *ret_key)
{
	return hash(str_make((const char *)client->bytes, client->family == AF_INET ? 4 : 16),
		    ret_key);
}

bool hash_key_find(const struct exchange *exchange, const struct upstream_hash_on *hash_on,
		   uint64_t *ret_key)
{
	switch (hash_on->kind) {
	case UPSTREAM_HASH_NONE:
		break;
	case UPSTREAM_HASH_HEADER:
		return hash_header(&exchange->request, hash_on->name, ret_key);
	case UPSTREAM_HASH_COOKIE:
		return hash_cookie(&exchange->request, hash_on->name, ret_key);
	case UPSTREAM_HASH_QUERY:
		return hash_query(exchange->query, hash_on->name, ret_key);
	case UPSTREAM_HASH_SOURCE:
		return hash_source(&exchange->client, ret_key);
	case UPSTREAM_HASH_PATH:
		return hash(exchange->path, ret_key);
	}
	return false;
}

#include "http/query.h"

#include "proto/http_bytes.h"

char query_decode_byte(struct str *rest)
{
	char byte = rest->ptr[0];
	size_t len = 1;

	if (byte == '+')
		byte = ' ';
	if (byte == '%' && rest->len > 2 && http_byte_hex(rest->ptr[1]) >= 0 &&
	    http_byte_hex(rest->ptr[2]) >= 0) {
		byte = (char)(http_byte_hex(rest->ptr[1]) << 4 | http_byte_hex(rest->ptr[2]));
		len = 3;
	}
	*rest = str_make(rest->ptr + len, rest->len - len);
	return byte;
}

bool query_decoded_is(struct str encoded, struct str wanted)
{
	for (size_t i = 0; i < wanted.len; i++)
		if (!encoded.len || query_decode_byte(&encoded) != wanted.ptr[i])
			return false;
	return !encoded.len;
}

static struct str decode(struct arena *arena, struct str encoded)
{
	char *decoded;
	size_t len = 0;

	if (str_find_byte(encoded, '%') < 0 && str_find_byte(encoded, '+') < 0)
		return encoded;
	decoded = arena_alloc_bytes(arena, encoded.len + 1);
	if (!decoded)
		return STR_NULL;
	while (encoded.len)
		decoded[len++] = query_decode_byte(&encoded);
	return str_make(decoded, len);
}

/* A pair of a query at work: "name=value", and where its value begins. */
struct pair {
	struct str whole, name, value;
};

/* `rest` is behind the '?'. False: there is none any more. */
static bool next_pair(struct str *rest, struct pair *pair)
{
	ptrdiff_t end, equals;

	if (!rest->ptr)
		return false;
	end = str_find_byte(*rest, '&');
	pair->whole = end < 0 ? *rest : str_make(rest->ptr, (size_t)end);
	*rest = end < 0 ? STR_NULL : str_make(rest->ptr + end + 1, rest->len - (size_t)end - 1);
	equals = str_find_byte(pair->whole, '=');
	pair->name = equals < 0 ? pair->whole : str_make(pair->whole.ptr, (size_t)equals);
	pair->value = equals < 0 ? str_make(pair->whole.ptr + pair->whole.len, 0)
				 : str_make(pair->whole.ptr + equals + 1,
					    pair->whole.len - (size_t)equals - 1);
	return true;
}

bool query_find_single(struct arena *arena, struct str query, struct str name,
		       struct str *ret_value)
{
	struct str found = STR_NULL, rest;
	struct pair pair;

	if (!query.len)
		return true;
	rest = str_make(query.ptr + 1, query.len - 1);
	while (next_pair(&rest, &pair)) {
		if (!query_decoded_is(pair.name, name))
			continue;
		if (found.ptr || ret_value->ptr)
			return false;
		found = decode(arena, pair.value);
		if (!found.ptr)
			return false;
	}
	if (found.ptr)
		*ret_value = found;
	return true;
}

void query_remove(struct arena *arena, struct str *query, struct str name)
{
	struct str rest;
	struct pair pair;
	size_t len = 0;
	char *kept;

	if (!query->len)
		return;
	kept = arena_alloc_bytes(arena, query->len + 1);
	rest = str_make(query->ptr + 1, query->len - 1);
	*query = STR("");
	if (!kept)
		return;
	while (next_pair(&rest, &pair)) {
		if (query_decoded_is(pair.name, name))
			continue;
		kept[len] = len ? '&' : '?';
		memcpy(kept + len + 1, pair.whole.ptr, pair.whole.len);
		len += 1 + pair.whole.len;
	}
	*query = str_make(kept, len);
}

void query_redact(struct arena *arena, struct str *target, struct str name)
{
	static const struct str stars = {"***", 3};
	ptrdiff_t begin = str_find_byte(*target, '?');
	struct str rest;
	struct pair pair;
	size_t len;
	char *out;

	if (begin < 0)
		return;
	len = (size_t)begin;
	rest = str_make(target->ptr + begin + 1, target->len - len - 1);
	/* Each pair has a '&' or '?' before it, and may grow by the stars and a '='. */
	out = arena_alloc_bytes(arena, target->len * (1 + stars.len) + stars.len + 2);
	if (!out) {
		target->len = len;
		return;
	}
	memcpy(out, target->ptr, len);
	for (char separator = '?'; next_pair(&rest, &pair); separator = '&') {
		struct str kept = pair.whole;
		bool secret = query_decoded_is(pair.name, name);

		if (secret)
			kept.len -= pair.value.len;
		out[len++] = separator;
		memcpy(out + len, kept.ptr, kept.len);
		len += kept.len;
		if (secret && pair.value.len) {
			memcpy(out + len, stars.ptr, stars.len);
			len += stars.len;
		}
	}
	*target = str_make(out, len);
}

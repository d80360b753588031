#include "filter/limit_key.h"

#include <string.h>

/* The library is linked; inlining it costs nothing more and saves a call. */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/util.h"
#include "http/exchange.h"

_Static_assert(LIMIT_SECRET_BYTES >= XXH3_SECRET_SIZE_MIN, "XXH3 wants so much");

struct hashing {
	const uint8_t *secret;
	XXH128_hash_t sum;
};

/* Values are of any length and many: each is hashed by itself, and then into the sum. */
static void add(struct hashing *hashing, enum limit_part_kind kind, const void *bytes, size_t len)
{
	struct {
		XXH128_hash_t sum, value;
		uint64_t kind, len;
	} link = {
		.sum = hashing->sum,
		.value = XXH3_128bits_withSecret(bytes, len, hashing->secret, LIMIT_SECRET_BYTES),
		.kind = kind,
		.len = len,
	};

	hashing->sum =
		XXH3_128bits_withSecret(&link, sizeof(link), hashing->secret, LIMIT_SECRET_BYTES);
}

static void add_str(struct hashing *hashing, enum limit_part_kind kind, struct str text)
{
	add(hashing, kind, text.ptr ? text.ptr : "", text.len);
}

static void add_source(struct hashing *hashing, const struct limit_part *part,
		       const struct ip_addr *addr)
{
	unsigned int bits = addr->family == AF_INET ? part->ipv4_bits : part->ipv6_bits;
	uint8_t bytes[1 + sizeof(addr->bytes)] = {addr->family};

	memcpy(bytes + 1, addr->bytes, bits / 8);
	if (bits % 8)
		bytes[1 + bits / 8] = addr->bytes[bits / 8] & (uint8_t)(0xff00u >> bits % 8);
	add(hashing, LIMIT_BY_SOURCE, bytes, sizeof(bytes));
}

static void add_header(struct hashing *hashing, const struct limit_part *part,
		       const struct http_head *request)
{
	unsigned int count = 0;

	for (unsigned int i = 0; i < request->field_count; i++) {
		const struct http_field *field = &request->fields[i];

		if (field->name.len != part->name.len || !str_eq_nocase(field->name, part->name))
			continue;
		add_str(hashing, LIMIT_BY_HEADER, field->value);
		count++;
	}
	add(hashing, LIMIT_BY_HEADER, &count, sizeof(count));
}

static void add_claim(struct hashing *hashing, const struct limit_part *part,
		      const struct identity *identity)
{
	struct identity_cursor cursor = {0};
	unsigned int count = 0;

	while (identity_next(identity, part->name, &cursor)) {
		add_str(hashing, LIMIT_BY_CLAIM, cursor.value);
		count++;
	}
	add(hashing, LIMIT_BY_CLAIM, &count, sizeof(count));
}

struct limit_hash limit_key_hash(const struct limit_key *key, const struct exchange *exchange,
				 const uint8_t secret[static LIMIT_SECRET_BYTES])
{
	struct hashing hashing = {.secret = secret};

	for (unsigned int i = 0; i < key->count; i++) {
		const struct limit_part *part = &key->parts[i];

		switch (part->kind) {
		case LIMIT_BY_SOURCE:
			add_source(&hashing, part, &exchange->client);
			break;
		case LIMIT_BY_CONSUMER:
			add_str(&hashing, part->kind, identity_consumer(&exchange->identity));
			break;
		case LIMIT_BY_ROUTE:
			add_str(&hashing, part->kind, exchange->route->name);
			break;
		case LIMIT_BY_HEADER:
			add_header(&hashing, part, &exchange->request);
			break;
		case LIMIT_BY_CLAIM:
			add_claim(&hashing, part, &exchange->identity);
			break;
		}
	}
	return (struct limit_hash){hashing.sum.low64, hashing.sum.high64};
}

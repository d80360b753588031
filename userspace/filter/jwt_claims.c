#include "filter/jwt_claims.h"

#include <stdlib.h>

#include "base/util.h"

#define DEPTH_MAX      8
#define NAME_MAX_LEN   256
#define NUMBER_MAX     32
#define LIST_MAX       64
#define ROOM_FACTOR    4 /* names repeat their parents, and each element its list's */
#define TOKEN_ROOM_MAX (JWT_BYTES_MAX * ROOM_FACTOR)

/* Where it is put together; what lasts is a copy of the right size. */
struct block {
	struct jwt_token token;
	struct identity_claim claims[JWT_CLAIMS_MAX];
	struct str groups[LIST_MAX], scopes[LIST_MAX];
	char texts[];
};

struct making {
	struct block *block;
	const json_t *payload;
	size_t len, room;
	unsigned int claim_count;
	const char *failed;
};

/* Copies; ptr NULL: no room, noted. */
static struct str keep(struct making *making, const char *bytes, size_t len)
{
	char *place = making->block->texts + making->len;

	if (making->room - making->len < len) {
		making->failed = "token has too many claims";
		return STR_NULL;
	}
	if (len)
		memcpy(place, bytes, len);
	making->len += len;
	return str_make(place, len);
}

static struct str keep_value(struct making *making, const json_t *value)
{
	char number[NUMBER_MAX];
	int len;

	switch (json_typeof(value)) {
	case JSON_STRING:
		return keep(making, json_string_value(value), json_string_length(value));
	case JSON_INTEGER:
		len = snprintf(number, sizeof(number), "%" JSON_INTEGER_FORMAT,
			       json_integer_value(value));
		return keep(making, number, (size_t)len);
	case JSON_REAL:
		len = snprintf(number, sizeof(number), "%.17g", json_real_value(value));
		return keep(making, number, (size_t)len);
	case JSON_TRUE:
		return keep(making, "true", 4);
	case JSON_FALSE:
		return keep(making, "false", 5);
	default:
		return STR_NULL;
	}
}

static void add(struct making *making, struct str name, const json_t *value, bool listed)
{
	struct identity_claim *claim = &making->block->claims[making->claim_count];

	if (json_is_null(value) || json_is_object(value) || json_is_array(value))
		return;
	if (making->claim_count == JWT_CLAIMS_MAX) {
		making->failed = "token has too many claims";
		return;
	}
	claim->name = name;
	claim->value = keep_value(making, value);
	claim->listed = listed;
	if (claim->value.ptr)
		making->claim_count++;
}

static void walk(struct making *making, const json_t *object, struct str prefix, unsigned int depth)
{
	const char *key;
	json_t *member;

	json_object_foreach((json_t *)object, key, member)
	{
		char name[NAME_MAX_LEN];
		const json_t *item;
		struct str kept;
		size_t i;
		int len = snprintf(name, sizeof(name), "%.*s%s%s", STR_FMT(prefix),
				   prefix.len ? "." : "", key);

		if (making->failed)
			return;
		/* A name with a dot inside, or one that the top spells like this path, is none. */
		if (len < 0 || (size_t)len >= sizeof(name) ||
		    (prefix.len && (strchr(key, '.') || json_object_get(making->payload, name))))
			continue;
		kept = keep(making, name, (size_t)len);
		if (json_is_object(member)) {
			if (depth < DEPTH_MAX && kept.ptr)
				walk(making, member, kept, depth + 1);
			continue;
		}
		add(making, kept, member, false);
		json_array_foreach(member, i, item) add(making, kept, item, true);
	}
}

/* Values of the claim that has them, whatever its depth. */
static unsigned int read_groups(const struct making *making, struct str name, struct str *list)
{
	const struct block *block = making->block;
	unsigned int count = 0;

	for (unsigned int i = 0; name.ptr && i < making->claim_count && count < LIST_MAX; i++)
		if (str_eq(block->claims[i].name, name))
			list[count++] = block->claims[i].value;
	return count;
}

/* Words of a text, or texts of a list. */
static unsigned int read_list(struct making *making, const json_t *value, struct str *list)
{
	unsigned int count = 0;
	struct str words, word;
	const json_t *item;
	size_t i;

	if (json_is_string(value)) {
		words = keep_value(making, value);
		while (count < LIST_MAX && words.ptr && str_next_token(&words, ' ', &word))
			if (word.len)
				list[count++] = word;
		return count;
	}
	json_array_foreach(value, i, item) if (json_is_string(item) && count < LIST_MAX &&
					       json_string_length(item))
	{
		list[count] = keep_value(making, item);
		if (list[count].ptr)
			count++;
	}
	return count;
}

static void make_finding(struct making *making, const struct jwt_rules *rules)
{
	struct identity_finding *finding = &making->block->token.finding;
	const json_t *scope = json_object_get(making->payload, "scope");
	struct block *block = making->block;

	walk(making, making->payload, STR(""), 0);
	finding->scheme = "jwt";
	finding->claims = block->claims;
	finding->claim_count = making->claim_count;
	finding->groups = block->groups;
	finding->group_count = read_groups(making, rules->groups, block->groups);
	finding->scopes = block->scopes;
	finding->scope_count = read_list(
		making, scope ? scope : json_object_get(making->payload, "scp"), block->scopes);
	for (unsigned int i = 0; i < making->claim_count; i++)
		if (!block->claims[i].listed && block->claims[i].value.len &&
		    str_eq(block->claims[i].name, rules->consumer)) {
			finding->consumer = block->claims[i].value;
			break;
		}
}

/* ---- the copy ---- */

static void place_texts(struct str *list, unsigned int count, const char *from, char *to)
{
	for (unsigned int i = 0; i < count; i++)
		list[i].ptr = to + (list[i].ptr - from);
}

/* The struct, its claims, groups and scopes, then the texts, in one piece. NULL: out of memory. */
static struct jwt_token *pack(const struct making *making)
{
	const struct block *block = making->block;
	const struct identity_finding *made = &block->token.finding;
	size_t claims_bytes = made->claim_count * sizeof(struct identity_claim);
	size_t groups_bytes = made->group_count * sizeof(struct str);
	size_t scopes_bytes = made->scope_count * sizeof(struct str);
	struct jwt_token *token =
		malloc(sizeof(*token) + claims_bytes + groups_bytes + scopes_bytes + making->len);
	struct identity_claim *claims;
	struct str *groups, *scopes;
	char *texts;

	if (!token)
		return NULL;
	*token = block->token;
	atomic_init(&token->refs, 1);
	claims = (struct identity_claim *)(token + 1);
	groups = (struct str *)((char *)claims + claims_bytes);
	scopes = (struct str *)((char *)groups + groups_bytes);
	texts = (char *)scopes + scopes_bytes;
	memcpy(claims, block->claims, claims_bytes);
	memcpy(groups, block->groups, groups_bytes);
	memcpy(scopes, block->scopes, scopes_bytes);
	memcpy(texts, block->texts, making->len);
	for (unsigned int i = 0; i < made->claim_count; i++) {
		place_texts(&claims[i].name, 1, block->texts, texts);
		place_texts(&claims[i].value, 1, block->texts, texts);
	}
	place_texts(groups, made->group_count, block->texts, texts);
	place_texts(scopes, made->scope_count, block->texts, texts);
	place_texts(&token->text, 1, block->texts, texts);
	if (token->finding.consumer.ptr)
		place_texts(&token->finding.consumer, 1, block->texts, texts);
	token->finding.claims = claims;
	token->finding.groups = groups;
	token->finding.scopes = scopes;
	return token;
}

const char *jwt_claims_make(const json_t *payload, const struct jwt_rules *rules, struct str text,
			    struct jwt_token **ret_token)
{
	struct making making = {.payload = payload, .room = TOKEN_ROOM_MAX};

	making.block = calloc(1, sizeof(*making.block) + making.room);
	if (!making.block)
		return "out of memory";
	making.block->token.text = keep(&making, text.ptr, text.len);
	make_finding(&making, rules);
	if (!making.failed) {
		*ret_token = pack(&making);
		if (!*ret_token)
			making.failed = "out of memory";
	}
	free(making.block);
	return making.failed;
}

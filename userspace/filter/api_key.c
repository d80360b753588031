#include "filter/api_key.h"

#include "base/clock.h"
#include "http/field_edit.h"
#include "http/query.h"

const struct api_key_entry *api_key_find(const struct api_key_table *table, struct str key)
{
	uint8_t digest[DIGEST_BYTES];
	uint32_t at;

	digest_sha256(key, digest);
	memcpy(&at, digest, sizeof(at));
	for (;; at++) {
		uint32_t number = table->slots[at & table->mask];

		if (!number)
			return NULL;
		if (digest_equal(table->entries[number - 1].digest, digest))
			return &table->entries[number - 1];
	}
}

/* *ret_key: ptr NULL where there is none. False: more than one. */
static bool find_in_head(const struct http_head *request, struct str name, struct str *ret_key)
{
	for (unsigned int i = 0; i < request->field_count; i++) {
		const struct http_field *field = &request->fields[i];

		if (field->name.len != name.len || !str_eq_nocase(field->name, name))
			continue;
		if (ret_key->ptr)
			return false;
		*ret_key = field->value;
	}
	return true;
}

static enum auth_verdict check(struct exchange *exchange, const void *conf, void *state,
			       struct auth_attempt *attempt)
{
	const struct api_key *api_key = conf;
	const struct api_key_entry *entry;
	struct str key = STR_NULL;
	bool single = true;

	if (api_key->header.ptr)
		single = find_in_head(&exchange->request, api_key->header, &key);
	if (api_key->query.ptr && single)
		single = query_find_single(&exchange->arena, exchange->query, api_key->query, &key);
	/* Right or wrong, it is nothing for the log. */
	if (api_key->query.ptr && exchange->query.len)
		query_redact(&exchange->arena, &exchange->request.target, api_key->query);
	if (!single) {
		attempt->why = "several keys";
		return AUTH_WRONG;
	}
	if (!key.ptr)
		return AUTH_ABSENT;
	attempt->why = "key is not known";
	if (!key.len || key.len > API_KEY_BYTES_MAX)
		return AUTH_WRONG;
	entry = api_key_find(&api_key->table, key);
	if (!entry)
		return AUTH_WRONG;
	attempt->why = "key has expired";
	if (entry->expires_s && clock_wall_ms() / 1000 >= entry->expires_s)
		return AUTH_WRONG;
	attempt->finding = &entry->finding;
	return AUTH_KNOWN;
}

static void hide(struct exchange *exchange, const void *conf)
{
	const struct api_key *api_key = conf;

	if (api_key->header.ptr)
		request_field_remove(exchange, api_key->header);
	if (api_key->query.ptr)
		query_remove(&exchange->arena, &exchange->upstream_query, api_key->query);
}

static const struct auth_kind api_key_auth = {
	.scheme = "api_key",
	.check = check,
	.hide = hide,
};

const struct policy_type api_key_policy = {
	.key = "api_key",
	.conf_bytes = sizeof(struct api_key),
	.auth = &api_key_auth,
	.read = api_key_read,
	.write = api_key_write,
	.owned_fields = auth_owned_fields,
	.request_head = auth_request_head,
};

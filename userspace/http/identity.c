#include "http/identity.h"

bool identity_add(struct identity *identity, struct str policy,
		  const struct identity_finding *finding)
{
	if (identity->count >= IDENTITY_FINDINGS_MAX)
		return false;
	identity->policies[identity->count] = policy;
	identity->findings[identity->count++] = finding;
	return true;
}

struct str identity_consumer(const struct identity *identity)
{
	for (unsigned int i = 0; i < identity->count; i++)
		if (identity->findings[i]->consumer.ptr)
			return identity->findings[i]->consumer;
	return STR_NULL;
}

bool identity_next(const struct identity *identity, struct str name, struct identity_cursor *cursor)
{
	for (; cursor->finding < identity->count; cursor->finding++, cursor->claim = 0) {
		const struct identity_finding *finding = identity->findings[cursor->finding];

		while (cursor->claim < finding->claim_count) {
			const struct identity_claim *claim = &finding->claims[cursor->claim++];

			if (!str_eq(claim->name, name))
				continue;
			cursor->value = claim->value;
			return true;
		}
	}
	return false;
}

struct str identity_claim(const struct identity *identity, struct str name)
{
	struct identity_cursor cursor = {0};

	return identity_next(identity, name, &cursor) ? cursor.value : STR_NULL;
}

bool identity_has_claim(const struct identity *identity, struct str name, struct str value)
{
	struct identity_cursor cursor = {0};

	while (identity_next(identity, name, &cursor))
		if (str_eq(cursor.value, value))
			return true;
	return false;
}

static bool is_among(const struct str *texts, unsigned int count, struct str text)
{
	for (unsigned int i = 0; i < count; i++)
		if (str_eq(texts[i], text))
			return true;
	return false;
}

bool identity_has_group(const struct identity *identity, struct str group)
{
	for (unsigned int i = 0; i < identity->count; i++)
		if (is_among(identity->findings[i]->groups, identity->findings[i]->group_count,
			     group))
			return true;
	return false;
}

bool identity_has_scope(const struct identity *identity, struct str scope)
{
	for (unsigned int i = 0; i < identity->count; i++)
		if (is_among(identity->findings[i]->scopes, identity->findings[i]->scope_count,
			     scope))
			return true;
	return false;
}

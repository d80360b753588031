#include "filter/auth.h"

#include <assert.h>

#include "http/field_edit.h"
#include "http/refusal.h"

#define JOINED_MAX 4096

static const struct policy *policy_at_work(const struct exchange *exchange)
{
	return exchange->route->policies[exchange->policy_at];
}

/* ---- what the upstream is told ---- */

/* A list as one field: no element may look like two. */
static bool join_add(struct str value, char *joined, size_t *len)
{
	if (str_find_byte(value, ',') >= 0 || *len + value.len + 1 > JOINED_MAX)
		return false;
	if (*len)
		joined[(*len)++] = ',';
	memcpy(joined + *len, value.ptr, value.len);
	*len += value.len;
	return true;
}

static bool join(struct arena *arena, const struct str *texts, unsigned int count,
		 struct str *ret_value)
{
	char joined[JOINED_MAX];
	size_t len = 0;

	for (unsigned int i = 0; i < count; i++)
		if (!join_add(texts[i], joined, &len))
			return false;
	*ret_value = len ? arena_copy(arena, str_make(joined, len)) : STR("");
	return ret_value->ptr;
}

static bool join_claims(struct arena *arena, const struct identity *identity, struct str name,
			struct str *ret_value)
{
	struct identity_cursor cursor = {0};
	char joined[JOINED_MAX];
	size_t len = 0;

	while (identity_next(identity, name, &cursor))
		if (!join_add(cursor.value, joined, &len))
			return false;
	*ret_value = len ? arena_copy(arena, str_make(joined, len)) : STR("");
	return ret_value->ptr;
}

/* "" where there is nothing to tell. False: it cannot be told. */
static bool find_text(struct arena *arena, const struct identity_finding *finding, struct str claim,
		      struct str *ret_value)
{
	const struct identity only = {.count = 1, .findings = {finding}};

	if (str_eq(claim, STR("consumer"))) {
		*ret_value = finding->consumer.ptr ? finding->consumer : STR("");
		return true;
	}
	for (unsigned int i = 0; i < finding->claim_count; i++) {
		if (!str_eq(finding->claims[i].name, claim))
			continue;
		if (finding->claims[i].listed)
			return join_claims(arena, &only, claim, ret_value);
		*ret_value = finding->claims[i].value;
		return true;
	}
	if (str_eq(claim, STR("groups")))
		return join(arena, finding->groups, finding->group_count, ret_value);
	if (str_eq(claim, STR("scopes")))
		return join(arena, finding->scopes, finding->scope_count, ret_value);
	*ret_value = STR("");
	return true;
}

static bool may_stand_in_field(struct str value)
{
	return http_value_is_valid(value) && str_trim(value).len == value.len;
}

/* ---- challenges ---- */

void auth_challenge(struct exchange *exchange, struct str value)
{
	if (value.ptr && exchange->added_count < EXCHANGE_ADDED_MAX)
		exchange->added[exchange->added_count++] = (struct http_field){
			STR("www-authenticate"), value, HTTP_FIELD_WWW_AUTHENTICATE};
}

static void challenge_wrong(struct exchange *exchange, const struct auth_conf *auth)
{
	auth_challenge(exchange,
		       auth->challenge_wrong.ptr ? auth->challenge_wrong : auth->challenge);
}

/* False: refused. */
static bool forward(struct exchange *exchange, const struct policy *policy,
		    const struct auth_conf *auth, const struct identity_finding *finding)
{
	for (unsigned int i = 0; i < auth->forward_count; i++) {
		const struct auth_forward *forward = &auth->forwards[i];
		struct str value;

		if (!find_text(&exchange->arena, finding, forward->claim, &value) ||
		    !may_stand_in_field(value)) {
			challenge_wrong(exchange, auth);
			policy_refuse(exchange, policy, REFUSAL_BAD_CREDENTIALS, 401,
				      "authentication failed",
				      "claim '%.*s' cannot stand in a field",
				      STR_FMT(forward->claim));
			return false;
		}
		if (value.len && !request_field_set(exchange, forward->field, value)) {
			policy_refuse(exchange, policy, REFUSAL_UNAVAILABLE, 503,
				      "out of memory for the request", "no room for fields");
			return false;
		}
	}
	return true;
}

/* ---- verdicts ---- */

bool auth_accept(struct exchange *exchange, const struct policy *policy,
		 const struct policy *found_by, const struct identity_finding *finding)
{
	const struct auth_conf *auth = found_by->conf;
	const struct auth_kind *kind = found_by->type->auth;

	if (!identity_add(&exchange->identity, found_by->name, finding)) {
		policy_refuse(exchange, policy, REFUSAL_UNAVAILABLE, 500, "too many policies",
			      "more than %u say who the caller is", IDENTITY_FINDINGS_MAX);
		return false;
	}
	if (!auth->keep_credentials && kind->hide)
		kind->hide(exchange, auth);
	return !auth->forward_count || forward(exchange, policy, auth, finding);
}

void auth_refuse(struct exchange *exchange, const struct policy *policy, enum auth_verdict verdict,
		 const char *why)
{
	switch (verdict) {
	case AUTH_ABSENT:
		policy_refuse(exchange, policy, REFUSAL_NO_CREDENTIALS, 401,
			      "authentication required", "%s", why ? why : "no credentials");
		break;
	case AUTH_WRONG:
		policy_refuse(exchange, policy, REFUSAL_BAD_CREDENTIALS, 401,
			      "authentication failed", "%s", why);
		break;
	default:
		policy_refuse(exchange, policy, REFUSAL_UNAVAILABLE, 503,
			      "authentication is not possible at the moment", "%s", why);
		break;
	}
}

enum policy_verdict auth_request_head(struct exchange *exchange, const void *conf, void *state)
{
	const struct policy *policy = policy_at_work(exchange);
	struct auth_attempt attempt = {.resume = state};
	enum auth_verdict verdict = policy->type->auth->check(exchange, conf, state, &attempt);
	const struct auth_conf *auth = conf;

	switch (verdict) {
	case AUTH_KNOWN:
		return auth_accept(exchange, policy, policy, attempt.finding) ? POLICY_NEXT
									      : POLICY_ANSWERED;
	case AUTH_WAITS:
		return POLICY_WAITS;
	case AUTH_ABSENT:
		if (auth->optional)
			return POLICY_NEXT;
		break;
	case AUTH_WRONG:
	case AUTH_UNAVAILABLE:
		break;
	}
	if (verdict == AUTH_WRONG)
		challenge_wrong(exchange, auth);
	else if (verdict == AUTH_ABSENT)
		auth_challenge(exchange, auth->challenge);
	auth_refuse(exchange, policy, verdict, attempt.why);
	return POLICY_ANSWERED;
}

void auth_abandon(struct exchange *exchange, const void *conf, void *state)
{
	policy_at_work(exchange)->type->auth->abandon(exchange, state);
}

const struct str *auth_owned_fields(const void *conf, unsigned int *ret_count)
{
	const struct auth_conf *auth = conf;

	*ret_count = auth->forward_count;
	return auth->owned_fields;
}

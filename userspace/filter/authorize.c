#include "filter/authorize.h"

#include "base/clock.h"
#include "filter/auth.h"
#include "http/refusal.h"
#include "proto/http_bytes.h"

#define WHY_BYTES_MAX 256
#define DAY_S	      86400

/* ---- rules ---- */

static bool is_among(const struct authorize_rule *rule, struct str text)
{
	for (unsigned int i = 0; i < rule->text_count; i++)
		if (str_eq(rule->texts[i], text))
			return true;
	return false;
}

static bool claim_holds(const struct authorize_rule *rule, const struct identity *identity)
{
	struct identity_cursor cursor = {0};

	while (identity_next(identity, rule->name, &cursor))
		if (!rule->text_count || is_among(rule, cursor.value))
			return true;
	return false;
}

static bool list_holds(const struct authorize_rule *rule, const struct identity *identity)
{
	for (unsigned int i = 0; i < rule->text_count; i++)
		if (rule->kind == AUTHORIZE_SCOPE ? identity_has_scope(identity, rule->texts[i])
						  : identity_has_group(identity, rule->texts[i]))
			return true;
	return false;
}

static bool consumer_holds(const struct authorize_rule *rule, const struct identity *identity)
{
	struct str consumer = identity_consumer(identity);

	return consumer.ptr && is_among(rule, consumer);
}

static struct str method_of(const struct exchange *exchange)
{
	/* An extended CONNECT asks for what a GET asks for with Upgrade. */
	return exchange->request.protocol.ptr ? STR("GET") : exchange->request.method;
}

static bool path_holds(const struct authorize_rule *rule, struct str path)
{
	if (rule->exact)
		return str_eq(path, rule->path);
	return str_starts_with(path, rule->path) &&
	       (path.len == rule->path.len || path.ptr[rule->path.len] == '/');
}

/* A canonical path has escapes only where a byte could not stand by itself. */
static bool decoded_equal(struct str encoded, struct str text)
{
	size_t at = 0;

	for (size_t i = 0; i < encoded.len; i++, at++) {
		char byte = encoded.ptr[i];

		if (byte == '%' && i + 2 < encoded.len) {
			byte = (char)(http_byte_hex(encoded.ptr[i + 1]) << 4 |
				      http_byte_hex(encoded.ptr[i + 2]));
			i += 2;
		}
		if (at >= text.len || text.ptr[at] != byte)
			return false;
	}
	return at == text.len;
}

static bool variable_holds(const struct authorize_rule *rule, const struct exchange *exchange)
{
	struct identity_cursor cursor = {0};
	struct str value = STR_NULL;

	for (unsigned int i = 0; i < exchange->param_count; i++)
		if (str_eq(exchange->params[i].name, rule->name))
			value = exchange->params[i].value;
	if (!value.ptr)
		return false;
	for (unsigned int i = 0; i < rule->text_count; i++)
		if (decoded_equal(value, rule->texts[i]))
			return true;
	while (rule->claim.ptr && identity_next(&exchange->identity, rule->claim, &cursor))
		if (decoded_equal(value, cursor.value))
			return true;
	return false;
}

static bool source_holds(const struct authorize_rule *rule, const struct ip_addr *client)
{
	for (unsigned int i = 0; i < rule->prefix_count; i++)
		if (ip_prefix_contains(&rule->prefixes[i], client))
			return true;
	return false;
}

static bool time_holds(const struct authorize_rule *rule, uint64_t wall_s)
{
	unsigned int minute = (unsigned int)(wall_s % DAY_S / 60);
	unsigned int day = (unsigned int)((wall_s / DAY_S + 4) % 7); /* 1970 began on a Thursday */
	unsigned int yesterday = (day + 6) % 7;

	if (rule->from_min < rule->to_min)
		return minute >= rule->from_min && minute < rule->to_min &&
		       (rule->days & 1u << day);
	return (minute >= rule->from_min && (rule->days & 1u << day)) ||
	       (minute < rule->to_min && (rule->days & 1u << yesterday));
}

struct asking {
	const struct exchange *exchange;
	uint64_t wall_s;
};

static bool holds(const struct authorize_rule *rule, const struct asking *asking)
{
	const struct exchange *exchange = asking->exchange;

	switch (rule->kind) {
	case AUTHORIZE_ANY:
		for (unsigned int i = 0; i < rule->rule_count; i++)
			if (holds(&rule->rules[i], asking))
				return true;
		return false;
	case AUTHORIZE_ALL:
		for (unsigned int i = 0; i < rule->rule_count; i++)
			if (!holds(&rule->rules[i], asking))
				return false;
		return true;
	case AUTHORIZE_NOT:
		return !holds(&rule->rules[0], asking);
	case AUTHORIZE_KNOWN:
		return exchange->identity.count > 0;
	case AUTHORIZE_CLAIM:
		return claim_holds(rule, &exchange->identity);
	case AUTHORIZE_SCOPE:
	case AUTHORIZE_GROUP:
		return list_holds(rule, &exchange->identity);
	case AUTHORIZE_CONSUMER:
		return consumer_holds(rule, &exchange->identity);
	case AUTHORIZE_METHOD:
		return is_among(rule, method_of(exchange));
	case AUTHORIZE_PATH:
		return path_holds(rule, exchange->path);
	case AUTHORIZE_VARIABLE:
		return variable_holds(rule, exchange);
	case AUTHORIZE_SOURCE:
		return source_holds(rule, &exchange->client);
	case AUTHORIZE_TIME:
		return time_holds(rule, asking->wall_s);
	case AUTHORIZE_KIND_COUNT:
		break;
	}
	return false;
}

/* ---- why not ---- */

/* Values stay out of it: what a caller is may be nobody's business who reads logs. */
static void describe(const struct authorize_rule *rule, const struct asking *asking,
		     struct buf *why)
{
	const char *key = authorize_kind_key(rule->kind);
	bool first = true;

	switch (rule->kind) {
	case AUTHORIZE_ANY:
	case AUTHORIZE_ALL:
		if (rule->kind == AUTHORIZE_ANY)
			(void)buf_append(why, STR("none of ("));
		for (unsigned int i = 0; i < rule->rule_count; i++) {
			if (holds(&rule->rules[i], asking))
				continue;
			if (!first)
				(void)buf_append(why, STR("; "));
			first = false;
			describe(&rule->rules[i], asking, why);
			if (rule->kind == AUTHORIZE_ALL)
				break; /* one is enough to refuse */
		}
		if (rule->kind == AUTHORIZE_ANY)
			(void)buf_append(why, STR(")"));
		break;
	case AUTHORIZE_NOT:
		(void)buf_printf(why, "not %s", authorize_kind_key(rule->rules[0].kind));
		break;
	case AUTHORIZE_CLAIM:
	case AUTHORIZE_VARIABLE:
		(void)buf_printf(why, "%s '%.*s'", key, STR_FMT(rule->name));
		break;
	default:
		(void)buf_printf(why, "%s", key);
		break;
	}
}

bool authorize_holds(const struct authorize *authorize, const struct exchange *exchange,
		     uint64_t wall_s, struct buf *why)
{
	const struct asking asking = {exchange, wall_s};

	if (authorize->asks_path && exchange->path_ambiguous) {
		(void)buf_append(why, STR("path is ambiguous"));
		return false;
	}
	if (holds(&authorize->root, &asking))
		return true;
	describe(&authorize->root, &asking, why);
	return false;
}

/* ---- the policy ---- */

/* Does the route ask who the caller is? Then it could still say so. */
static bool may_still_be_known(struct exchange *exchange)
{
	const struct route *route = exchange->route;
	bool may = false;

	for (unsigned int i = 0; i < route->policy_count; i++) {
		if (!route->policies[i]->type->auth)
			continue;
		may = true;
		auth_challenge(exchange,
			       ((const struct auth_conf *)route->policies[i]->conf)->challenge);
	}
	return may;
}

static enum policy_verdict request_head(struct exchange *exchange, const void *conf, void *state)
{
	const struct policy *policy = exchange->route->policies[exchange->policy_at];
	const struct authorize *authorize = conf;
	struct buf why;

	buf_init(&why, WHY_BYTES_MAX);
	if (authorize_holds(authorize, exchange, clock_wall_ms() / 1000, &why)) {
		buf_done(&why);
		return POLICY_NEXT;
	}
	if (authorize->asks_who && !exchange->identity.count && may_still_be_known(exchange))
		policy_refuse(exchange, policy, REFUSAL_NO_CREDENTIALS, 401,
			      "authentication required", "nobody is known; does not hold: %.*s",
			      STR_FMT(buf_str(&why)));
	else
		policy_refuse(exchange, policy, REFUSAL_DENIED, 403, "not allowed",
			      "does not hold: %.*s", STR_FMT(buf_str(&why)));
	buf_done(&why);
	return POLICY_ANSWERED;
}

const struct policy_type authorize_policy = {
	.key = "authorize",
	.conf_bytes = sizeof(struct authorize),
	.read = authorize_read,
	.write = authorize_write,
	.request_head = request_head,
};

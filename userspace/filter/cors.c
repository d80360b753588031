#include "filter/cors.h"

#include "http/field_edit.h"
#include "http/local_answer.h"
#include "http/refusal.h"

static const struct str origin_name = {"origin", 6};
static const struct str request_method_name = {"access-control-request-method", 29};
static const struct str request_headers_name = {"access-control-request-headers", 30};

/* The only field of that name; ptr NULL: none, or several. */
static struct str single(const struct exchange *exchange, struct str name)
{
	struct str value = STR_NULL;

	for (unsigned int i = 0; i < exchange->request.field_count; i++) {
		if (!str_eq_nocase(exchange->request.fields[i].name, name))
			continue;
		if (value.ptr)
			return STR_NULL;
		value = exchange->request.fields[i].value;
	}
	return value;
}

/* One or more labels of a host. */
static bool are_labels(struct str text)
{
	if (!text.len || text.ptr[0] == '.' || text.ptr[text.len - 1] == '.')
		return false;
	for (size_t i = 0; i < text.len; i++) {
		char byte = text.ptr[i];

		if (!((byte >= 'a' && byte <= 'z') || (byte >= '0' && byte <= '9') || byte == '-' ||
		      byte == '.'))
			return false;
		if (byte == '.' && text.ptr[i - 1] == '.')
			return false;
	}
	return true;
}

static bool matches(const struct cors_origin *allowed, struct str origin)
{
	if (!allowed->wildcard)
		return str_eq(origin, allowed->written);
	return origin.len > allowed->head.len + allowed->tail.len &&
	       str_starts_with(origin, allowed->head) && str_ends_with(origin, allowed->tail) &&
	       are_labels(str_sub(origin, allowed->head.len,
				  origin.len - allowed->head.len - allowed->tail.len));
}

bool cors_allows(const struct cors *cors, struct str origin)
{
	if (!origin.len)
		return false;
	if (cors->any_origin)
		return true;
	for (unsigned int i = 0; i < cors->origin_count; i++)
		if (matches(&cors->origins[i], origin))
			return true;
	return false;
}

/* ---- preflights ---- */

static void put(struct http_field *fields, unsigned int *count, struct str name, struct str value)
{
	if (value.len)
		fields[(*count)++] = (struct http_field){name, value, HTTP_FIELD_OTHER};
}

static enum policy_verdict answer_preflight(struct exchange *exchange, const struct cors *cors)
{
	struct http_field fields[6];
	unsigned int count = 0;

	if (!cors_allows(cors, single(exchange, origin_name))) {
		policy_refuse(exchange, exchange->route->policies[exchange->policy_at],
			      REFUSAL_DENIED, 403, "not for pages of this origin",
			      "preflight of an origin that is not allowed");
		return POLICY_ANSWERED;
	}
	put(fields, &count, STR("access-control-allow-methods"), cors->methods_text);
	put(fields, &count, STR("access-control-allow-headers"),
	    cors->any_header ? single(exchange, request_headers_name) : cors->headers_text);
	put(fields, &count, STR("access-control-max-age"), cors->max_age_text);
	put(fields, &count, STR("vary"),
	    STR("access-control-request-method, access-control-request-headers"));
	/* The rest comes with response_head(), as for every answer. */
	exchange_respond(exchange, 204, fields, count, STR(""), false);
	return POLICY_ANSWERED;
}

static enum policy_verdict request_head(struct exchange *exchange, const void *conf, void *state)
{
	(void)state;
	if (exchange->request.method_id == HTTP_METHOD_OPTIONS &&
	    single(exchange, origin_name).ptr && single(exchange, request_method_name).ptr)
		return answer_preflight(exchange, conf);
	return POLICY_NEXT;
}

/* ---- answers ---- */

static void remove_others(struct exchange_response *response)
{
	static const struct str names[] = {
		{"access-control-allow-origin", 27},
		{"access-control-allow-credentials", 32},
		{"access-control-expose-headers", 29},
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(names); i++)
		response_field_remove(response, names[i]);
}

static enum policy_verdict response_head(struct exchange *exchange, const void *conf, void *state,
					 struct exchange_response *response)
{
	const struct cors *cors = conf;
	struct str origin = single(exchange, origin_name);
	bool same_for_all = cors->any_origin && !cors->credentials, ok = true;

	(void)state;
	remove_others(response);
	if (!same_for_all)
		ok = response_vary_on(exchange, response, origin_name);
	if (ok && cors_allows(cors, origin)) {
		ok = response_field_add(exchange, response, STR("access-control-allow-origin"),
					same_for_all ? STR("*") : origin);
		if (ok && cors->credentials)
			ok = response_field_add(exchange, response,
						STR("access-control-allow-credentials"),
						STR("true"));
		if (ok && cors->expose_text.ptr)
			ok = response_field_add(exchange, response,
						STR("access-control-expose-headers"),
						cors->expose_text);
	}
	if (ok)
		return POLICY_NEXT;
	exchange_fail(exchange, 503, "out of memory for the answer");
	return POLICY_ANSWERED;
}

const struct policy_type cors_policy = {
	.key = "cors",
	.conf_bytes = sizeof(struct cors),
	.read = cors_read,
	.write = cors_write,
	.request_head = request_head,
	.response_head = response_head,
};

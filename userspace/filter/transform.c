#include "filter/transform.h"

#include "http/exchange.h"
#include "http/field_edit.h"
#include "http/local_answer.h"
#include "http/path.h"
#include "http/query.h"

/* ---- queries ---- */

static bool query_append(struct exchange *exchange, const struct transform_setting *setting)
{
	struct str query = exchange->upstream_query;
	struct str value = template_text(&setting->value, exchange, NULL, TEMPLATE_QUERY);
	size_t len = query.len;
	char *out;

	if (!value.ptr)
		return false;
	out = arena_alloc_bytes(&exchange->arena,
				query.len + 2 + setting->name.len * 3 + value.len);
	if (!out)
		return false;
	if (query.len)
		memcpy(out, query.ptr, query.len);
	if (len != 1) /* "?" alone needs nothing between */
		out[len++] = query.len ? '&' : '?';
	len += template_encode(out + len, setting->name, TEMPLATE_QUERY, false, false);
	out[len++] = '=';
	memcpy(out + len, value.ptr, value.len);
	exchange->upstream_query = str_make(out, len + value.len);
	return true;
}

static bool change_query(struct exchange *exchange, const struct transform_request *request)
{
	struct str *query = &exchange->upstream_query;

	for (unsigned int i = 0; i < request->query.remove.count; i++)
		query_remove(&exchange->arena, query, request->query.remove.names[i]);
	for (unsigned int i = 0; i < request->query.set.count; i++)
		query_remove(&exchange->arena, query, request->query.set.items[i].name);
	/* Without memory a removal leaves nothing. */
	if (exchange->arena.overflowed)
		return false;
	for (unsigned int i = 0; i < request->query.set.count; i++)
		if (!query_append(exchange, &request->query.set.items[i]))
			return false;
	for (unsigned int i = 0; i < request->query.add.count; i++)
		if (!query_append(exchange, &request->query.add.items[i]))
			return false;
	return true;
}

/* ---- requests ---- */

/* 0, or the status to refuse with. */
static uint16_t change_path(struct exchange *exchange, const struct template *path)
{
	struct str text = template_text(path, exchange, NULL, TEMPLATE_PATH), canonical;
	bool ambiguous;

	if (!text.ptr)
		return 503;
	if (!str_starts_with(text, STR("/")) ||
	    path_canonicalise_flagged(text, &exchange->arena, &canonical, &ambiguous) ||
	    !str_eq(canonical, text) || (ambiguous && !exchange->route->unsafe_paths))
		return 400;
	exchange->upstream_path = text;
	exchange->rewritten.opaque = true;
	return 0;
}

/* Its value under another name; several stay several. */
static bool request_rename(struct exchange *exchange, const struct transform_rename *rename)
{
	for (unsigned int i = 0, count = exchange->request.field_count; i < count; i++) {
		const struct http_field field = exchange->request.fields[i];

		if (field_name_equal_folded(field.name, rename->from) &&
		    !request_field_add(exchange, rename->to, field.value))
			return false;
	}
	request_field_remove(exchange, rename->from);
	return true;
}

static bool change_request_headers(struct exchange *exchange,
				   const struct transform_headers *headers)
{
	struct str value;

	for (unsigned int i = 0; i < headers->remove.count; i++)
		request_field_remove(exchange, headers->remove.names[i]);
	for (unsigned int i = 0; i < headers->rename.count; i++)
		if (!request_rename(exchange, &headers->rename.items[i]))
			return false;
	for (unsigned int i = 0; i < headers->set.count; i++) {
		const struct transform_setting *setting = &headers->set.items[i];

		/* Before it goes: the value may be made of it. */
		value = template_text(&setting->value, exchange, NULL, TEMPLATE_HEADER);
		request_field_remove(exchange, setting->name);
		if (!value.ptr || (value.len && !request_field_add(exchange, setting->name, value)))
			return false;
	}
	for (unsigned int i = 0; i < headers->add.count; i++) {
		const struct transform_setting *setting = &headers->add.items[i];

		value = template_text(&setting->value, exchange, NULL, TEMPLATE_HEADER);
		if (!value.ptr || (value.len && !request_field_add(exchange, setting->name, value)))
			return false;
	}
	return true;
}

static enum policy_verdict refuse(struct exchange *exchange, uint16_t status)
{
	local_answer_start_error(exchange, status,
				 status == 400 ? "the transformed path is not canonical"
					       : "out of memory for the request");
	return POLICY_ANSWERED;
}

static enum policy_verdict request_head(struct exchange *exchange, const void *conf, void *state)
{
	const struct transform_request *request = &((const struct transform *)conf)->request;
	uint16_t status = 0;

	(void)state;
	/* An answer to HEAD has no body, whatever is asked behind us; a handshake is a GET. */
	if (request->method.ptr && exchange->request.method_id != HTTP_METHOD_HEAD &&
	    !exchange->request.has_upgrade && !exchange->request.protocol.ptr)
		exchange->upstream_method = request->method;
	if (request->path.written.ptr)
		status = change_path(exchange, &request->path);
	if (status)
		return refuse(exchange, status);
	if (!change_query(exchange, request) ||
	    !change_request_headers(exchange, &request->headers))
		return refuse(exchange, 503);
	return POLICY_NEXT;
}

/* ---- answers ---- */

static bool change_response_headers(struct exchange *exchange, struct exchange_response *response,
				    const struct transform_headers *headers)
{
	struct str value;

	for (unsigned int i = 0; i < headers->remove.count; i++)
		response_field_remove(response, headers->remove.names[i]);
	for (unsigned int i = 0; i < headers->rename.count; i++) {
		const struct transform_rename *rename = &headers->rename.items[i];

		for (struct http_field *field = response_field_find(response, rename->from); field;
		     field = response_field_find(response, rename->from)) {
			field->name = rename->to;
			field->id = http_field_lookup(rename->to);
		}
	}
	for (unsigned int i = 0; i < headers->set.count; i++) {
		const struct transform_setting *setting = &headers->set.items[i];

		value = template_text(&setting->value, exchange, response, TEMPLATE_HEADER);
		response_field_remove(response, setting->name);
		if (!value.ptr ||
		    (value.len && !response_field_add(exchange, response, setting->name, value)))
			return false;
	}
	for (unsigned int i = 0; i < headers->add.count; i++) {
		const struct transform_setting *setting = &headers->add.items[i];

		value = template_text(&setting->value, exchange, response, TEMPLATE_HEADER);
		if (!value.ptr ||
		    (value.len && !response_field_add(exchange, response, setting->name, value)))
			return false;
	}
	return true;
}

static void change_status(const struct exchange *exchange, struct exchange_response *response,
			  uint16_t status)
{
	response->status = status;
	/* What had no body says so by its length now. */
	if (response->framing == HTTP_FRAMING_NONE && !response->has_content_length &&
	    exchange->request.method_id != HTTP_METHOD_HEAD) {
		response->has_content_length = true;
		response->content_length = 0;
	}
}

static enum policy_verdict response_head(struct exchange *exchange, const void *conf, void *state,
					 struct exchange_response *response)
{
	const struct transform_response *transform = &((const struct transform *)conf)->response;

	(void)state;
	if (!change_response_headers(exchange, response, &transform->headers)) {
		exchange_fail(exchange, 503, "out of memory for the answer");
		return POLICY_ANSWERED;
	}
	if (transform->status)
		change_status(exchange, response, (uint16_t)transform->status);
	return POLICY_NEXT;
}

/* ---- the policy ---- */

static unsigned int steps(const void *conf)
{
	const struct transform *transform = conf;

	return (transform->request.asked ? POLICY_STEP_REQUEST_HEAD : 0) |
	       (transform->response.asked ? POLICY_STEP_RESPONSE_HEAD : 0);
}

/* Headers that other policies read, and the answer's, are of use without an upstream, too. */
static bool proxy_only(const void *conf)
{
	return ((const struct transform *)conf)->request.upstream_only;
}

const struct policy_type transform_policy = {
	.key = "transform",
	.conf_bytes = sizeof(struct transform),
	.read = transform_read,
	.write = transform_write,
	.proxy_only = proxy_only,
	.steps = steps,
	.request_head = request_head,
	.response_head = response_head,
};

#include "http/local_answer.h"

#include "http/files.h"
#include "http/forwarding.h"
#include "http/worker_internal.h"

/*
 * Request bodies up to this are read and thrown away to keep a connection that nobody needs them
 * of.
 */
#define DISCARD_MAX_BYTES (64u * 1024)

bool exchange_has_response_body(const struct exchange *exchange, uint16_t status)
{
	return status >= 200 && status != 204 && status != 304 &&
	       exchange->request.method_id != HTTP_METHOD_HEAD;
}

void exchange_respond(struct exchange *exchange, uint16_t status, const struct http_field *fields,
		      unsigned int field_count, struct str body, bool close)
{
	bool has_body = exchange_has_response_body(exchange, status) && body.len;
	struct exchange_response response = {
		.status = status,
		.fields = fields,
		.field_count = field_count,
		.framing = has_body ? HTTP_FRAMING_LENGTH : HTTP_FRAMING_NONE,
		.content_length = body.len,
		.has_content_length = status != 204 && status != 304,
		.close = close,
	};

	/* A policy may answer in the place of what the action has begun to answer. */
	exchange_abort(exchange);
	if (!exchange_send_head(exchange, &response))
		return;
	if (has_body && !exchange_send_data(exchange, body, NULL))
		return;
	exchange_send_end(exchange, NULL, 0);
	exchange->downstream->flush(exchange);
}

/* "application/json;q=0.5": is it JSON that is accepted? */
static bool range_is_json(struct str range)
{
	struct str media, parameter;

	if (!str_next_token(&range, ';', &media) || !str_eq_nocase(media, STR("application/json")))
		return false;
	/* RFC 9110 12.4.2: a weight of 0 means "not this". */
	while (str_next_token(&range, ';', &parameter)) {
		if (!str_eq_nocase(str_sub(parameter, 0, 2), STR("q=")))
			continue;
		for (size_t i = 2; i < parameter.len; i++)
			if (parameter.ptr[i] >= '1' && parameter.ptr[i] <= '9')
				return true;
		return false;
	}
	return true;
}

static bool wants_json(const struct exchange *exchange)
{
	for (unsigned int i = 0; i < exchange->request.field_count; i++) {
		struct str rest = exchange->request.fields[i].value, range;

		if (exchange->request.fields[i].id != HTTP_FIELD_ACCEPT)
			continue;
		while (str_next_token(&rest, ',', &range))
			if (range_is_json(range))
				return true;
	}
	return false;
}

/* The listener's own page, or the node's. */
static const struct error_page *find_page(const struct exchange *exchange, uint16_t status)
{
	const struct error_page *page = error_pages_find(&exchange->listener->error_pages, status);

	return page ? page
		    : error_pages_find(&exchange->config->snapshot->node.error_pages, status);
}

static struct str error_body(struct exchange *exchange, uint16_t status, const char *reason,
			     struct str *ret_type)
{
	const struct error_page *page = find_page(exchange, status);
	bool json = !page && wants_json(exchange);
	struct str body;

	if (page) {
		*ret_type = page->type;
		return page->body;
	}
	*ret_type = json ? STR("application/json") : STR("text/plain");
	if (json)
		body = arena_printf(&exchange->arena, "{\"status\":%u,\"error\":\"%s\"}\n", status,
				    reason);
	else
		body = arena_printf(&exchange->arena, "%u %s: %s\n", status,
				    http_reason_phrase(status), reason);
	return body.ptr ? body : STR("");
}

/* `extra` (name ptr NULL: none) is one more field of the answer. */
static void respond_error(struct exchange *exchange, uint16_t status, const char *reason,
			  struct http_field extra, bool close)
{
	struct http_field fields[4];
	unsigned int count = 0;
	struct str type, body = error_body(exchange, status, reason, &type);

	fields[count++] =
		(struct http_field){STR("date"), worker_date(exchange->worker), HTTP_FIELD_DATE};
	fields[count++] = (struct http_field){STR("content-type"), type, HTTP_FIELD_CONTENT_TYPE};
	fields[count++] = (struct http_field){STR("cache-control"), STR("no-store"),
					      HTTP_FIELD_CACHE_CONTROL};
	if (extra.name.ptr)
		fields[count++] = extra;
	exchange->failure = reason;
	worker_count(exchange->worker, HTTP_COUNTER_LOCAL_ERRORS);
	exchange_respond(exchange, status, fields, count, body, close);
}

static void fail(struct exchange *exchange, uint16_t status, const char *reason, bool close)
{
	exchange_abort(exchange);
	if (exchange->response_done)
		return;
	if (exchange->head_sent) {
		exchange->failure = reason;
		exchange->downstream->send_abort(exchange);
		return;
	}
	respond_error(exchange, status, reason, (struct http_field){0}, close);
}

void exchange_fail(struct exchange *exchange, uint16_t status, const char *reason)
{
	fail(exchange, status, reason, false);
}

void exchange_fail_close(struct exchange *exchange, uint16_t status, const char *reason)
{
	fail(exchange, status, reason, true);
}

static void respond_method_not_allowed(struct exchange *exchange, uint32_t allow)
{
	static const char *const names[] = {
		[HTTP_METHOD_GET] = "GET",	 [HTTP_METHOD_HEAD] = "HEAD",
		[HTTP_METHOD_POST] = "POST",	 [HTTP_METHOD_PUT] = "PUT",
		[HTTP_METHOD_DELETE] = "DELETE", [HTTP_METHOD_OPTIONS] = "OPTIONS",
		[HTTP_METHOD_PATCH] = "PATCH",
	};
	char text[96] = "";
	size_t len = 0;
	struct http_field field = {STR("allow"), STR(""), HTTP_FIELD_OTHER};

	for (unsigned int method = 0; method < ARRAY_SIZE(names); method++) {
		if (names[method] && (allow & (1u << method)))
			len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%s",
						len ? ", " : "", names[method]);
	}
	field.value = arena_copy(&exchange->arena, str_make(text, len));
	respond_error(exchange, 405, "method not allowed here", field, false);
}

/*
 * What the route does not name is as the client asked for it. A port belongs to its scheme: that of
 * the request goes with another one, and the scheme's own is never written.
 */
static void respond_redirect(struct exchange *exchange)
{
	const struct route *route = exchange->route;
	struct http1_authority asked = {.host = STR("")};
	struct str scheme =
		route->redirect.scheme.ptr ? route->redirect.scheme : exchange->public_scheme;
	struct str path = route->redirect.path.ptr ? route->redirect.path : exchange->path;
	uint16_t number = route->redirect.port;
	struct str host, location;
	char port[8] = "";
	struct http_field fields[2];

	(void)http1_authority_parse(forwarding_public_authority(exchange), &asked);
	host = route->redirect.host.ptr ? route->redirect.host : asked.host;
	if (!host.len) {
		exchange_fail(exchange, 400, "a redirect needs a Host");
		return;
	}
	if (!number && str_eq(scheme, exchange->public_scheme))
		number = asked.port;
	if (number && number != (str_eq(scheme, STR("https")) ? 443 : 80))
		(void)snprintf(port, sizeof(port), ":%u", number);
	location = arena_printf(&exchange->arena, "%.*s://%.*s%s%.*s%.*s", STR_FMT(scheme),
				STR_FMT(host), port, STR_FMT(path), STR_FMT(exchange->query));
	if (!location.ptr) {
		exchange_fail(exchange, 503, "out of memory for the answer");
		return;
	}
	fields[0] =
		(struct http_field){STR("date"), worker_date(exchange->worker), HTTP_FIELD_DATE};
	fields[1] = (struct http_field){STR("location"), location, HTTP_FIELD_LOCATION};
	exchange_respond(exchange, route->redirect.status, fields, 2, STR(""), false);
}

static void respond_fixed(struct exchange *exchange)
{
	const struct route *route = exchange->route;
	unsigned int count = route->respond.field_count;
	struct http_field *fields = arena_new_array(&exchange->arena, struct http_field, count + 1);

	if (!fields) {
		exchange_fail(exchange, 503, "out of memory for the answer");
		return;
	}
	for (unsigned int i = 0; i < count; i++)
		fields[i] = (struct http_field){route->respond.fields[i].name,
						route->respond.fields[i].value, HTTP_FIELD_OTHER};
	fields[count] =
		(struct http_field){STR("date"), worker_date(exchange->worker), HTTP_FIELD_DATE};
	exchange_respond(exchange, route->respond.status, fields, count + 1, route->respond.body,
			 false);
}

/* Answers whose kind was decided in exchange_start(). */
static void answer_local(struct exchange *exchange)
{
	exchange->action = NULL;
	switch (exchange->local.kind) {
	case EXCHANGE_LOCAL_ERROR:
		exchange_fail(exchange, exchange->local.status, exchange->local.reason);
		break;
	case EXCHANGE_LOCAL_NO_METHOD:
		respond_method_not_allowed(exchange, exchange->local.allow);
		break;
	case EXCHANGE_LOCAL_REDIRECT:
		respond_redirect(exchange);
		break;
	case EXCHANGE_LOCAL_RESPOND:
		respond_fixed(exchange);
		break;
	case EXCHANGE_LOCAL_FILES:
		files_answer(exchange);
		break;
	}
}

/*
 * A local answer to a request with a small body waits for the body's end, which is thrown away, so
 * that the connection lives on. With a large one, or one that the client would rather not send
 * (Expect), the answer goes out at once and the connection ends (HARDENING 8, 9).
 */
static void discard_data(struct exchange *exchange, struct str data, struct recv_buf *buf)
{
	(void)data;
	(void)buf;
	if (exchange->bytes_in > DISCARD_MAX_BYTES)
		answer_local(exchange);
}

static void discard_end(struct exchange *exchange, const struct http_field *trailers,
			unsigned int trailer_count)
{
	(void)trailers;
	(void)trailer_count;
	answer_local(exchange);
}

static const struct exchange_action discard_action = {
	.request_data = discard_data,
	.request_end = discard_end,
};

void local_answer_start(struct exchange *exchange, enum exchange_local_kind kind)
{
	const struct http_head *request = &exchange->request;

	exchange->local.kind = kind;
	if (request->framing == HTTP_FRAMING_NONE || exchange->request_done ||
	    request->expect_continue ||
	    (request->framing == HTTP_FRAMING_LENGTH &&
	     request->content_length > DISCARD_MAX_BYTES))
		answer_local(exchange);
	else
		exchange->action = &discard_action;
}

void local_answer_start_error(struct exchange *exchange, uint16_t status, const char *reason)
{
	exchange->local.status = status;
	exchange->local.reason = reason;
	local_answer_start(exchange, EXCHANGE_LOCAL_ERROR);
}

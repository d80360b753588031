#include "http/exchange.h"

#include <errno.h>
#include <stdlib.h>

#include "http/path.h"
#include "http/worker_internal.h"
#include "proto/http1/http1.h"

#define FREE_EXCHANGES_MAX 256
#define ARENA_CHUNK_BYTES  4096
/* Request bodies up to this are read and thrown away to keep a connection that nobody needs them
 * of. */
#define DISCARD_MAX_BYTES (64u * 1024)

static void on_age_timer(struct timer *timer)
{
	struct exchange *exchange = CONTAINER_OF(timer, struct exchange, age_timer);

	worker_count(exchange->worker, HTTP_COUNTER_REQUEST_TIMEOUTS);
	exchange_fail_close(exchange, exchange->request_done ? 504 : 408, "request took too long");
}

struct exchange *exchange_new(struct http_worker *worker, const struct listener_conf *listener,
			      const struct exchange_downstream *downstream, void *connection,
			      const struct ip_addr *peer)
{
	struct exchange *exchange = worker->free_exchanges;

	if (exchange) {
		worker->free_exchanges = exchange->next_free;
		worker->free_exchange_count--;
		memset(exchange, 0, offsetof(struct exchange, arena));
	} else {
		exchange = calloc(1, sizeof(*exchange));
		if (!exchange)
			return NULL;
		arena_init(&exchange->arena, ARENA_CHUNK_BYTES, EXCHANGE_ARENA_BYTES);
	}
	exchange->worker = worker;
	exchange->config = worker->config;
	worker_snapshot_ref(exchange->config);
	exchange->listener = listener;
	exchange->downstream = downstream;
	exchange->connection = connection;
	exchange->peer = *peer;
	exchange->host = exchange->query = STR("");
	timer_init(&exchange->age_timer, on_age_timer);
	worker_add(&worker->exchanges_open, 1);
	return exchange;
}

static void count_exchange(const struct exchange *exchange)
{
	struct route_row *row;

	if (!exchange->route || !exchange->route->stats)
		return;
	row = &exchange->route->stats->rows[exchange->worker->index];
	worker_add(&row->requests, 1);
	worker_add(&row->responses[exchange->status < 600 ? exchange->status / 100 : 0], 1);
	worker_add(&row->bytes_in, (int64_t)exchange->bytes_in);
	worker_add(&row->bytes_out, (int64_t)exchange->bytes_out);
}

void exchange_free(struct exchange *exchange)
{
	struct http_worker *worker = exchange->worker;

	if (exchange->action && exchange->action->abort)
		exchange->action->abort(exchange);
	timer_stop(&exchange->age_timer);
	count_exchange(exchange);
	worker_snapshot_unref(exchange->config);
	worker_add(&worker->exchanges_open, -1);
	if (worker->free_exchange_count >= FREE_EXCHANGES_MAX) {
		arena_done(&exchange->arena);
		free(exchange);
		return;
	}
	arena_reset(&exchange->arena);
	exchange->next_free = worker->free_exchanges;
	worker->free_exchanges = exchange;
	worker->free_exchange_count++;
}

/* ---- answers made here ---- */

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

	exchange->status = status;
	exchange->head_sent = true;
	exchange->action = NULL;
	exchange->downstream->send_head(exchange, &response);
	if (has_body) {
		exchange->bytes_out += body.len;
		exchange->downstream->send_data(exchange, body, NULL);
	}
	exchange->response_done = true;
	exchange->downstream->send_end(exchange, NULL, 0);
	exchange->downstream->flush(exchange);
}

static bool wants_json(const struct exchange *exchange)
{
	const struct http_field *field;

	for (unsigned int i = 0; i < exchange->request.field_count; i++) {
		field = &exchange->request.fields[i];
		if (field->id == HTTP_FIELD_OTHER && str_eq_nocase(field->name, STR("accept")))
			return field->value.len >= 16 &&
			       memmem(field->value.ptr, field->value.len, "application/json", 16);
	}
	return false;
}

/* `extra` (name ptr NULL: none) is one more field of the answer. */
static void respond_error(struct exchange *exchange, uint16_t status, const char *reason,
			  struct http_field extra, bool close)
{
	bool json = wants_json(exchange);
	struct http_field fields[4];
	unsigned int count = 0;
	struct str body;

	if (json)
		body = arena_printf(&exchange->arena, "{\"status\":%u,\"error\":\"%s\"}\n", status,
				    reason);
	else
		body = arena_printf(&exchange->arena, "%u %s: %s\n", status,
				    http_reason_phrase(status), reason);
	if (!body.ptr)
		body = STR("");
	fields[count++] =
		(struct http_field){STR("date"), worker_date(exchange->worker), HTTP_FIELD_DATE};
	fields[count++] = (struct http_field){STR("content-type"),
					      json ? STR("application/json") : STR("text/plain"),
					      HTTP_FIELD_CONTENT_TYPE};
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
	if (exchange->action && exchange->action->abort)
		exchange->action->abort(exchange);
	exchange->action = NULL;
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

static void respond_redirect(struct exchange *exchange)
{
	const struct route *route = exchange->route;
	struct str scheme = route->redirect.scheme.ptr ? route->redirect.scheme : STR("http");
	struct str host = route->redirect.host.ptr ? route->redirect.host : exchange->host;
	struct str path = route->redirect.path.ptr ? route->redirect.path : exchange->path;
	struct str location;
	char port[8] = "";
	struct http_field fields[2];

	if (!host.len) {
		exchange_fail(exchange, 400, "a redirect needs a Host");
		return;
	}
	if (route->redirect.port)
		(void)snprintf(port, sizeof(port), ":%u", route->redirect.port);
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

/* ---- routing ---- */

/* Host without port, in lower case: a view when it is that already. NULL ptr: out of memory. */
static struct str host_for_routing(struct arena *arena, struct str host)
{
	ptrdiff_t colon = -1;
	char *lower = NULL;

	if (!host.len)
		return STR("");
	for (size_t i = host.len; i > 0 && host.ptr[i - 1] != ']'; i--) {
		if (host.ptr[i - 1] == ':')
			colon = (ptrdiff_t)i - 1;
	}
	if (colon >= 0)
		host.len = (size_t)colon;
	for (size_t i = 0; i < host.len; i++) {
		if (host.ptr[i] < 'A' || host.ptr[i] > 'Z')
			continue;
		lower = arena_alloc_bytes(arena, host.len);
		if (!lower)
			return STR_NULL;
		for (size_t j = 0; j < host.len; j++)
			lower[j] = ascii_lower(host.ptr[j]);
		return str_make(lower, host.len);
	}
	return host;
}

/* Target to path and query. 0, or the status of the answer. */
static uint16_t split_target(struct exchange *exchange)
{
	struct str target = exchange->request.target;
	ptrdiff_t at;
	int ret;

	if (target.len && target.ptr[0] != '/' && target.ptr[0] != '*') {
		/* absolute-form (RFC 9112 3.2.2); its authority agrees with Host, the codec saw to
		 * it */
		const char *authority = memmem(target.ptr, target.len, "://", 3);
		size_t start, slash;

		if (!authority)
			return 400;
		start = (size_t)(authority - target.ptr) + 3;
		for (slash = start;
		     slash < target.len && target.ptr[slash] != '/' && target.ptr[slash] != '?';
		     slash++)
			;
		if (!exchange->request.host.ptr)
			exchange->request.host = str_sub(target, start, slash - start);
		target = str_sub(target, slash, target.len - slash);
	}
	at = str_find_byte(target, '?');
	if (at >= 0) {
		exchange->query = str_sub(target, (size_t)at, target.len - (size_t)at);
		target.len = (size_t)at;
	}
	if (!target.len || str_eq(target, STR("*")))
		target = STR("/"); /* OPTIONS * is routed like the root and forwarded as it is */
	ret = path_canonicalise(target, &exchange->arena, &exchange->path);
	if (ret < 0)
		return ret == -ENOMEM ? 503 : 400;
	return 0;
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

static void start_local(struct exchange *exchange, enum exchange_local_kind kind)
{
	const struct http_head *request = &exchange->request;

	exchange->local.kind = kind;
	if (request->framing == HTTP_FRAMING_NONE || request->expect_continue ||
	    (request->framing == HTTP_FRAMING_LENGTH &&
	     request->content_length > DISCARD_MAX_BYTES))
		answer_local(exchange);
	else
		exchange->action = &discard_action;
}

static void start_error(struct exchange *exchange, uint16_t status, const char *reason)
{
	exchange->local.status = status;
	exchange->local.reason = reason;
	start_local(exchange, EXCHANGE_LOCAL_ERROR);
}

void exchange_start(struct exchange *exchange)
{
	const struct listener_conf *listener = exchange->listener;
	const struct http_head *request = &exchange->request;
	uint16_t status;

	worker_count(exchange->worker, HTTP_COUNTER_REQUESTS);
	if (listener->request_timeout_ms)
		timer_start(exchange->worker->loop, &exchange->age_timer,
			    listener->request_timeout_ms);
	if (request->method_id == HTTP_METHOD_CONNECT || request->method_id == HTTP_METHOD_TRACE) {
		exchange_fail_close(exchange, 501, "method not supported");
		return;
	}
	status = split_target(exchange);
	if (status) {
		/* Who sends what two readers read differently is not asked to go on. */
		exchange_fail_close(exchange, status, "malformed or ambiguous path");
		return;
	}
	exchange->host = host_for_routing(&exchange->arena, request->host);
	if (!exchange->host.ptr) {
		start_error(exchange, 503, "out of memory for the request");
		return;
	}
	if (listener->body_bytes && request->framing == HTTP_FRAMING_LENGTH &&
	    request->content_length > listener->body_bytes) {
		exchange_fail_close(exchange, 413, "request body too large");
		return;
	}

	switch (router_find(listener->router, exchange->host, exchange->path, request->method_id,
			    request->method, &exchange->route, &exchange->local.allow)) {
	case ROUTER_NO_ROUTE:
		worker_count(exchange->worker, HTTP_COUNTER_NO_ROUTE);
		start_error(exchange, 404, "no route for this host and path");
		return;
	case ROUTER_NO_METHOD:
		start_local(exchange, EXCHANGE_LOCAL_NO_METHOD);
		return;
	case ROUTER_FOUND:
		break;
	}
	switch (exchange->route->action) {
	case ROUTE_PROXY:
		proxy_start(exchange);
		break;
	case ROUTE_REDIRECT:
		start_local(exchange, EXCHANGE_LOCAL_REDIRECT);
		break;
	case ROUTE_RESPOND:
		start_local(exchange, EXCHANGE_LOCAL_RESPOND);
		break;
	}
}

/* ---- the request's body, on its way to the action ---- */

void exchange_request_data(struct exchange *exchange, struct str data, struct recv_buf *buf)
{
	uint64_t limit = exchange->listener->body_bytes;

	exchange->bytes_in += data.len;
	if (limit && exchange->bytes_in > limit) {
		exchange_fail_close(exchange, 413, "request body too large");
		return;
	}
	if (exchange->action && exchange->action->request_data)
		exchange->action->request_data(exchange, data, buf);
}

void exchange_request_end(struct exchange *exchange, const struct http_field *trailers,
			  unsigned int trailer_count)
{
	exchange->request_done = true;
	if (exchange->action && exchange->action->request_end)
		exchange->action->request_end(exchange, trailers, trailer_count);
}

void exchange_request_flush(struct exchange *exchange)
{
	if (exchange->action && exchange->action->request_flush)
		exchange->action->request_flush(exchange);
}

bool exchange_request_blocked(const struct exchange *exchange)
{
	return exchange->action && exchange->action->request_blocked &&
	       exchange->action->request_blocked(exchange);
}

void exchange_drained(struct exchange *exchange)
{
	if (exchange->action && exchange->action->drained)
		exchange->action->drained(exchange);
}

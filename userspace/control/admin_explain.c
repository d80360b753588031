/*
 * POST /v1/routes/explain: which route a request takes, and why the others do not.
 *
 *   { "method": "GET", "url": "https://api.example.com/cart/3", "listener": "web",
 *     "headers": [ { "name": "x-canary", "value": "yes" } ] }
 *
 * The request is written as HTTP/1 and read by the codec, so that what the proxy would refuse is
 * refused here by the same code and with the same words.
 */
#include "control/admin_api.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "http/request_target.h"
#include "http/router_explain.h"
#include "proto/http_bytes.h"

#define HEAD_BYTES_MAX (256u * 1024)
#define REASON_MAX     512

/* What is asked, taken apart. Views of the body's document. */
struct question {
	struct str method;
	struct str scheme;    /* "http" or "https"; "" without */
	struct str authority; /* host and port; "" without */
	struct str target;
	struct str listener; /* ptr NULL: not given */
	const json_t *headers;
};

struct explaining {
	struct daemon *daemon;
	const struct listener_conf *listener;
	struct buf head;	   /* the request as HTTP/1 */
	struct exchange *exchange; /* as the proxy fills it, but for connection and worker */
	struct route **routes;	   /* of the listener */
	unsigned int route_count;
	uint16_t refused; /* status, or 0 */
	const char *reason;
	struct router_explanation explanation;
};

static int bad(struct admin_response *response, const char *text)
{
	admin_fail(response, 400, "%s", text);
	return -EINVAL;
}

/* ---- the question ---- */

static bool is_url(struct str text)
{
	for (size_t i = 0; i < text.len; i++)
		if (!http_byte_is(text.ptr[i], HTTP_BYTE_TARGET))
			return false;
	return text.len > 0;
}

static int split_url(struct str url, struct question *question, struct admin_response *response)
{
	const char *colon;
	struct str rest;
	size_t len = 0;

	if (!is_url(url))
		return bad(response, "url: spaces, '#' and bytes beyond ASCII must be encoded");
	question->scheme = question->authority = STR("");
	question->target = url;
	if (url.ptr[0] == '/' || str_eq(url, STR("*")))
		return 0;
	colon = memmem(url.ptr, url.len, "://", 3);
	question->scheme = str_sub(url, 0, colon ? (size_t)(colon - url.ptr) : 0);
	if (!str_eq_nocase(question->scheme, STR("http")) &&
	    !str_eq_nocase(question->scheme, STR("https")))
		return bad(response, "url: expected http://, https:// or a path");
	rest = str_sub(url, question->scheme.len + 3, url.len);
	while (len < rest.len && rest.ptr[len] != '/' && rest.ptr[len] != '?')
		len++;
	question->authority = str_sub(rest, 0, len);
	question->target = str_sub(rest, len, rest.len);
	return 0;
}

static int read_text(const json_t *object, const char *key, struct str *ret_text)
{
	const json_t *value = json_object_get(object, key);

	if (!value)
		return -ENOENT;
	if (!json_is_string(value))
		return -EINVAL;
	*ret_text = str_make(json_string_value(value), json_string_length(value));
	return 0;
}

static int read_headers(const json_t *headers, struct admin_response *response)
{
	const json_t *item;
	size_t i;

	if (headers && !json_is_array(headers))
		return bad(response, "headers must be a list of names and values");
	json_array_foreach(headers, i, item)
	{
		struct str name, value;

		if (read_text(item, "name", &name) || read_text(item, "value", &value) ||
		    !http_name_is_valid(name) || !http_value_is_valid(value))
			return bad(response, "headers: a field needs a valid name and value");
	}
	return 0;
}

static int read_question(const json_t *object, struct question *question,
			 struct admin_response *response)
{
	static const char *const keys[] = {"method", "url", "listener", "headers"};
	struct str url;
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)object, key, value)
	{
		size_t i = 0;

		while (i < ARRAY_SIZE(keys) && strcmp(key, keys[i]) != 0)
			i++;
		if (i == ARRAY_SIZE(keys))
			return bad(response,
				   "unknown key: expected method, url, listener, headers");
	}
	if (read_text(object, "method", &question->method) || !http_name_is_valid(question->method))
		return bad(response, "method: expected a method, such as GET");
	if (read_text(object, "url", &url))
		return bad(response, "url: expected a URL or a path");
	if (read_text(object, "listener", &question->listener) == -EINVAL)
		return bad(response, "listener must be a string");
	question->headers = json_object_get(object, "headers");
	if (read_headers(question->headers, response))
		return -EINVAL;
	return split_url(url, question, response);
}

/* ---- the listener ---- */

static bool has_port(const struct listener_conf *listener, uint16_t port)
{
	for (unsigned int i = 0; i < listener->tuple_count; i++)
		if (port >= listener->tuples[i].port_first && port <= listener->tuples[i].port_last)
			return true;
	return false;
}

/* The one that is named, or the first with the URL's port, or the first. */
static int choose_listener(struct explaining *explaining, const struct question *question,
			   struct admin_response *response)
{
	const struct snapshot *snapshot = explaining->daemon->snapshot;
	struct http1_authority authority = {0};
	char quoted[128];
	uint16_t port = 0;

	if (!snapshot->listener_count)
		return bad(response, "there is no listener");
	explaining->listener = &snapshot->listeners[0];
	if (question->scheme.len)
		port = str_eq_nocase(question->scheme, STR("https")) ? 443 : 80;
	if (http1_authority_parse(question->authority, &authority) && authority.has_port)
		port = authority.port;
	for (unsigned int i = 0; i < snapshot->listener_count; i++) {
		const struct listener_conf *listener = &snapshot->listeners[i];

		if (question->listener.ptr ? str_eq(listener->name, question->listener)
					   : has_port(listener, port)) {
			explaining->listener = listener;
			return 0;
		}
	}
	if (!question->listener.ptr)
		return 0;
	admin_fail(response, 404, "listener %s is not configured",
		   str_quote(question->listener, quoted, sizeof(quoted)));
	return -ENOENT;
}

/* ---- the request ---- */

static int write_field(struct buf *head, struct str name, struct str value)
{
	return buf_printf(head, "%.*s: %.*s\r\n", STR_FMT(name), STR_FMT(value));
}

/* A Host among the fields stands for the URL's, as with curl. Without either it is HTTP/1.0. */
static int write_head(struct explaining *explaining, const struct question *question)
{
	struct str target = question->target, name = STR_NULL, value = STR_NULL;
	bool has_host = false;
	const json_t *item;
	size_t i;
	int r;

	json_array_foreach(question->headers, i, item) has_host |=
		!read_text(item, "name", &name) && str_eq_nocase(name, STR("host"));
	r = buf_printf(&explaining->head, "%.*s %s%.*s HTTP/1.%d\r\n", STR_FMT(question->method),
		       target.len && target.ptr[0] != '?' ? "" : "/", STR_FMT(target),
		       has_host || question->authority.len);
	if (!r && !has_host && question->authority.len)
		r = write_field(&explaining->head, STR("host"), question->authority);
	json_array_foreach(question->headers, i, item)
	{
		(void)read_text(item, "name", &name);
		(void)read_text(item, "value", &value);
		if (!r)
			r = write_field(&explaining->head, name, value);
	}
	return r ? r : buf_append(&explaining->head, STR("\r\n"));
}

static void refuse(struct explaining *explaining, uint16_t status, const char *reason)
{
	explaining->refused = status;
	explaining->reason = reason;
}

/* The steps of the proxy in front of its router. */
static void read_head(struct explaining *explaining)
{
	const struct http1_limits *limits = &explaining->listener->http1;
	struct exchange *exchange = explaining->exchange;
	struct http_head *head = &exchange->request;
	size_t scan = 0, len;
	const char *reason;
	uint16_t status;
	int r;

	r = http1_find_head_end(buf_str(&explaining->head), limits, &scan, &len);
	if (r >= 0)
		r = http1_parse_request(buf_str(&explaining->head), limits, &exchange->arena, head);
	if (r < 0) {
		refuse(explaining, http1_error_status((enum http1_error) - r),
		       http1_error_text((enum http1_error) - r));
		return;
	}
	if (head->method_id == HTTP_METHOD_CONNECT || head->method_id == HTTP_METHOD_TRACE) {
		refuse(explaining, 501, "method not supported");
		return;
	}
	status = request_target_split(exchange, &reason);
	if (status) {
		refuse(explaining, status, reason);
		return;
	}
	exchange->host = request_host_for_routing(&exchange->arena, head->host);
	if (!exchange->host.ptr)
		refuse(explaining, 503, "out of memory for the request");
}

static void find(struct explaining *explaining)
{
	const struct snapshot *snapshot = explaining->daemon->snapshot;
	struct exchange *exchange = explaining->exchange;
	const struct router_request request = {
		.host = exchange->host,
		.path = exchange->path,
		.query = exchange->query,
		.method_id = exchange->request.method_id,
		.method = exchange->request.method,
		.head = &exchange->request,
	};
	const struct route *winner;

	for (unsigned int i = 0; i < snapshot->route_count; i++)
		if (route_is_served(&snapshot->routes[i], explaining->listener->name))
			explaining->routes[explaining->route_count++] = &snapshot->routes[i];
	router_explain(explaining->listener->router, explaining->routes, explaining->route_count,
		       &request, &explaining->explanation);
	winner = explaining->explanation.match.route;
	if (exchange->path_ambiguous && (!winner || !winner->unsafe_paths))
		refuse(explaining, 400, "malformed or ambiguous path");
}

/* ---- the answer ---- */

static void append_condition(struct buf *text, const char *what,
			     const struct route_condition *condition)
{
	char name[160], value[256];

	(void)str_quote(condition->name, name, sizeof(name));
	(void)str_quote(condition->value, value, sizeof(value));
	switch (condition->kind) {
	case ROUTE_CONDITION_EXACT:
		(void)buf_printf(text, "%s %s: is not %s", what, name, value);
		break;
	case ROUTE_CONDITION_REGEX:
		(void)buf_printf(text, "%s %s: does not match %s", what, name, value);
		break;
	case ROUTE_CONDITION_PRESENT:
		(void)buf_printf(text, "%s %s: is not there", what, name);
		break;
	case ROUTE_CONDITION_ABSENT:
		(void)buf_printf(text, "%s %s: is there", what, name);
		break;
	}
}

static void append_less_specific(struct buf *text, struct str winner, enum router_criterion by)
{
	static const char *const words[] = {
		[ROUTER_BY_HOST] = "its host",	  [ROUTER_BY_PATH] = "its path",
		[ROUTER_BY_METHOD] = "methods",	  [ROUTER_BY_HEADERS] = "more headers",
		[ROUTER_BY_QUERY] = "more query",
	};

	if (by == ROUTER_BY_ORDER)
		(void)buf_printf(text, "order: later in the file than '%.*s'", STR_FMT(winner));
	else
		(void)buf_printf(text, "less specific than '%.*s', by %s", STR_FMT(winner),
				 words[by]);
}

static void write_reason(struct json_writer *json, const struct explaining *explaining,
			 const struct router_loser *loser)
{
	static const char *const losses[] = {
		[ROUTER_LOSS_PATH] = "path",	   [ROUTER_LOSS_METHOD] = "method",
		[ROUTER_LOSS_UPGRADE] = "upgrade", [ROUTER_LOSS_HEADER] = "header",
		[ROUTER_LOSS_QUERY] = "query",	   [ROUTER_LOSS_LESS_SPECIFIC] = "less_specific",
	};
	const struct route *winner = explaining->explanation.match.route;
	struct buf text;

	buf_init(&text, REASON_MAX);
	switch (loser->loss) {
	case ROUTER_LOSS_PATH:
		(void)buf_append(&text, STR("path does not match"));
		break;
	case ROUTER_LOSS_METHOD:
		(void)buf_append(&text, STR("method is not one of its"));
		break;
	case ROUTER_LOSS_UPGRADE:
		(void)buf_printf(&text, "does not ask to upgrade to %.*s",
				 STR_FMT(loser->route->upgrade));
		break;
	case ROUTER_LOSS_HEADER:
		append_condition(&text, "header", loser->condition);
		break;
	case ROUTER_LOSS_QUERY:
		append_condition(&text, "query", loser->condition);
		break;
	case ROUTER_LOSS_LESS_SPECIFIC:
		append_less_specific(&text, winner->name, loser->by);
		break;
	}
	json_cstring(json, "lost_by", losses[loser->loss]);
	json_str(json, "reason", buf_str(&text));
	buf_done(&text);
}

static void write_host(struct json_writer *json, struct str host)
{
	if (host.len)
		json_str(json, "host", host);
	else
		json_nil(json, "host");
}

static void write_losers(struct json_writer *json, const struct explaining *explaining)
{
	const struct router_explanation *explanation = &explaining->explanation;

	json_open_array(json, "others");
	for (unsigned int i = 0; i < explanation->loser_count; i++) {
		const struct router_loser *loser = &explanation->losers[i];

		json_open_object(json, NULL);
		json_str(json, "name", loser->route->name);
		write_host(json, loser->host);
		admin_json_path(json, loser->route);
		admin_json_methods(json, "methods", loser->route->methods,
				   loser->route->other_methods, loser->route->other_method_count);
		write_reason(json, explaining, loser);
		json_close_object(json);
	}
	json_close_array(json);
	json_u64(json, "others_not_shown", explanation->more_count);
	json_u64(json, "routes_for_other_hosts", explanation->other_host_count);
	json_u64(json, "routes_of_other_listeners",
		 explaining->daemon->snapshot->route_count - explaining->route_count);
}

static void write_winner(struct json_writer *json, const struct explaining *explaining)
{
	const struct router_match *match = &explaining->explanation.match;

	json_cstring(json, "kind", "route");
	json_str(json, "name", match->route->name);
	write_host(json, explaining->explanation.host);
	admin_json_path(json, match->route);
	admin_json_methods(json, "methods", match->route->methods, match->route->other_methods,
			   match->route->other_method_count);
	json_open_array(json, "parameters");
	for (unsigned int i = 0; i < match->param_count; i++) {
		json_open_object(json, NULL);
		json_str(json, "name", match->params[i].name);
		json_str(json, "value", match->params[i].value);
		json_close_object(json);
	}
	json_close_array(json);
	admin_json_action(json, match->route);
}

static void write_result(struct json_writer *json, const struct explaining *explaining)
{
	const struct router_explanation *explanation = &explaining->explanation;

	if (explaining->refused) {
		json_cstring(json, "kind", "refused");
		json_u64(json, "status", explaining->refused);
		json_cstring(json, "reason", explaining->reason);
		return;
	}
	switch (explanation->result) {
	case ROUTER_FOUND:
		write_winner(json, explaining);
		break;
	case ROUTER_NO_METHOD:
		json_cstring(json, "kind", "no_method");
		json_u64(json, "status", 405);
		admin_json_methods(json, "allow", explanation->match.allow, NULL, 0);
		break;
	case ROUTER_NO_ROUTE:
		json_cstring(json, "kind", "no_route");
		json_u64(json, "status", 404);
		break;
	}
}

static void answer(const struct explaining *explaining, struct admin_response *response)
{
	const struct exchange *exchange = explaining->exchange;
	struct json_writer json;

	json_init(&json, &response->body, false);
	json_open_object(&json, NULL);
	json_open_object(&json, "request");
	json_str(&json, "listener", explaining->listener->name);
	if (exchange->host.len)
		json_str(&json, "host", exchange->host);
	if (exchange->path.ptr)
		json_str(&json, "path", exchange->path);
	if (exchange->query.len)
		json_str(&json, "query", exchange->query);
	json_close_object(&json);
	json_open_object(&json, "result");
	write_result(&json, explaining);
	json_close_object(&json);
	if (!explaining->refused)
		write_losers(&json, explaining);
	json_close_object(&json);
	admin_finish(response, &json);
}

static void explain(struct explaining *explaining, const struct question *question,
		    struct admin_response *response)
{
	if (choose_listener(explaining, question, response))
		return;
	explaining->exchange = calloc(1, sizeof(*explaining->exchange));
	explaining->routes =
		calloc(explaining->daemon->snapshot->route_count + 1, sizeof(*explaining->routes));
	if (!explaining->exchange || !explaining->routes || write_head(explaining, question)) {
		admin_fail(response, 500, "out of memory");
		return;
	}
	arena_init(&explaining->exchange->arena, 4096, EXCHANGE_ARENA_BYTES);
	explaining->exchange->listener = explaining->listener;
	explaining->exchange->host = explaining->exchange->query = STR("");
	read_head(explaining);
	if (!explaining->refused)
		find(explaining);
	answer(explaining, response);
	arena_done(&explaining->exchange->arena);
}

void admin_post_explain(struct daemon *daemon, const struct admin_request *request,
			struct admin_response *response)
{
	struct explaining explaining = {.daemon = daemon};
	_cleanup_(json_decrefp)
	json_t *object = NULL;
	struct question question = {0};

	object = json_loadb(request->body.ptr, request->body.len, JSON_REJECT_DUPLICATES, NULL);
	if (!json_is_object(object)) {
		admin_fail(response, 400, "the body must be a JSON object");
		return;
	}
	if (read_question(object, &question, response))
		return;
	buf_init(&explaining.head, HEAD_BYTES_MAX);
	explain(&explaining, &question, response);
	buf_done(&explaining.head);
	free(explaining.exchange);
	free(explaining.routes);
}

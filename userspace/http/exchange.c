#include "http/exchange.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "http/downstream.h"
#include "http/files.h"
#include "http/forwarding.h"
#include "http/local_answer.h"
#include "http/policy.h"
#include "http/policy_flow.h"
#include "http/request_target.h"
#include "http/router.h"
#include "http/split.h"
#include "tls/tls_context.h"
#include "tls/tls_stream.h"
#include "http/worker_internal.h"

#define FREE_EXCHANGES_MAX 256
#define ARENA_CHUNK_BYTES  8160 /* a usual exchange fits, so that none is taken and freed for it */

static void on_age_timer(struct timer *timer)
{
	struct exchange *exchange = CONTAINER_OF(timer, struct exchange, age_timer);

	worker_count(exchange->worker, HTTP_COUNTER_REQUEST_TIMEOUTS);
	exchange_fail_close(exchange, exchange->request_done ? 504 : 408, "request took too long");
}

struct exchange *exchange_new(struct downstream *connection,
			      const struct exchange_downstream *downstream, void *stream)
{
	struct http_worker *worker = connection->worker;
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
		exchange->arena.account = &worker->memory.counted_bytes;
		worker->memory.counted_bytes += sizeof(*exchange);
	}
	exchange->worker = worker;
	exchange->config = worker->config;
	worker_snapshot_ref(exchange->config);
	exchange->listener = connection->listener;
	exchange->downstream = downstream;
	exchange->connection = connection;
	exchange->stream = stream;
	exchange->peer = connection->peer;
	exchange->sender = exchange->client = connection->origin.source;
	exchange->host = exchange->query = STR("");
	exchange->public_scheme = connection->origin_tls ? STR("https") : STR("http");
	exchange->begin_ns = loop_now_ns(worker->loop);
	timer_init(&exchange->age_timer, on_age_timer);
	worker_add(&worker->exchanges_open, 1);
	loop_busy(worker->loop, 1);
	return exchange;
}

/* Counts it and logs it. */
static void record(const struct exchange *exchange)
{
	struct http_worker *worker = exchange->worker;
	struct route_row *row = &worker->unrouted;
	uint64_t end_ns = loop_now_ns(worker->loop);

	/* Begun and ended within one turn: only the clock knows how long it took. */
	if (end_ns == exchange->begin_ns)
		end_ns = clock_mono_ns();
	if (exchange->tunnel.stats)
		row = &exchange->tunnel.stats->rows[worker->index];
	else if (exchange->route && exchange->route->stats)
		row = &exchange->route->stats->rows[worker->index];
	/* A tunnel's hours say nothing of how soon requests are answered. */
	route_row_count(
		row, exchange->status, exchange->bytes_in, exchange->bytes_out,
		((exchange->tunnel.open ? exchange->first_byte_ns : end_ns) - exchange->begin_ns) /
			1000);
	/* Of routes, conditions and policies alike: whatever was matched on this thread. */
	atomic_store_explicit(&worker->counters[HTTP_COUNTER_REGEX_LIMITS],
			      route_regex_limit_hits(), memory_order_relaxed);
	access_log_write(&worker->access_log, exchange, end_ns);
}

void exchange_abort(struct exchange *exchange)
{
	const struct exchange_action *action = TAKE_PTR(exchange->action);

	if (action && action->abort)
		action->abort(exchange);
	if (UNLIKELY(exchange->chain))
		policy_chain_abort(exchange);
}

void exchange_free(struct exchange *exchange)
{
	struct http_worker *worker = exchange->worker;

	exchange_abort(exchange);
	timer_stop(&exchange->age_timer);
	if (UNLIKELY(exchange->policy_ending_count))
		policy_chain_done(exchange);
	record(exchange);
	tunnel_done(exchange);
	worker_snapshot_unref(exchange->config);
	worker_add(&worker->exchanges_open, -1);
	if (!exchange->tunnel.open)
		loop_busy(worker->loop, -1);
	if (worker->free_exchange_count >= FREE_EXCHANGES_MAX ||
	    worker->memory.level >= MEMORY_SHRINK) {
		arena_done(&exchange->arena);
		worker->memory.counted_bytes -= sizeof(*exchange);
		free(exchange);
		return;
	}
	arena_reset(&exchange->arena);
	exchange->next_free = worker->free_exchanges;
	worker->free_exchanges = exchange;
	worker->free_exchange_count++;
}

static enum router_result find_route(struct exchange *exchange, struct router_match *ret_match)
{
	const struct http_head *head = &exchange->request;
	const struct router_request request = {
		.host = exchange->host,
		.path = exchange->path,
		.query = exchange->query,
		.method_id = head->method_id,
		.method = head->method,
		.head = head,
	};
	enum router_result found = router_find(exchange->listener->router, &request, ret_match);

	exchange->route = ret_match->route;
	exchange->local.allow = ret_match->allow;
	return found;
}

/* Parameters of a template outlive the search. False: out of memory. */
static bool keep_params(struct exchange *exchange, const struct router_match *match)
{
	size_t bytes = match->param_count * sizeof(match->params[0]);

	if (!bytes)
		return true;
	exchange->params = arena_alloc(&exchange->arena, bytes);
	if (!exchange->params)
		return false;
	memcpy(exchange->params, match->params, bytes);
	exchange->param_count = match->param_count;
	return true;
}

/*
 * A name that has another certificate than this connection was secured with is somebody else's,
 * who may have asked for other ciphers or client certificates (HARDENING 7).
 */
static bool is_misdirected(const struct exchange *exchange)
{
	const struct stream *stream = &exchange->connection->stream;

	return stream_is_tls(stream) && exchange->host.len &&
	       !tls_ssl_serves_host(tls_stream_ssl(stream), exchange->host);
}

void exchange_start(struct exchange *exchange)
{
	const struct listener_conf *listener = exchange->listener;
	const struct http_head *request = &exchange->request;
	enum router_result found;
	struct router_match match;
	const char *reason;
	uint16_t status;

	worker_count(exchange->worker, HTTP_COUNTER_REQUESTS);
	forwarding_identify(exchange);
	if (listener->request_timeout_ms)
		timer_start(exchange->worker->loop, &exchange->age_timer,
			    listener->request_timeout_ms);
	/* An extended CONNECT asks for what a GET asks for with Upgrade, and is routed like it. */
	if (request->protocol.ptr)
		exchange->request.method_id = HTTP_METHOD_GET;
	if (request->method_id == HTTP_METHOD_CONNECT || request->method_id == HTTP_METHOD_TRACE) {
		exchange_fail_close(exchange, 501, "method not supported");
		return;
	}
	status = request_target_split(exchange, &reason);
	if (status) {
		/* Who sends what two readers read differently is not asked to go on. */
		exchange_fail_close(exchange, status, reason);
		return;
	}
	exchange->host = request_host_for_routing(&exchange->arena, request->host);
	if (!exchange->host.ptr) {
		local_answer_start_error(exchange, 503, "out of memory for the request");
		return;
	}
	if (UNLIKELY(is_misdirected(exchange))) {
		worker_count(exchange->worker, HTTP_COUNTER_TLS_MISDIRECTED);
		local_answer_start_error(exchange, 421, "host of another certificate");
		return;
	}
	if (listener->body_bytes && request->framing == HTTP_FRAMING_LENGTH &&
	    request->content_length > listener->body_bytes) {
		exchange_fail_close(exchange, 413, "request body too large");
		return;
	}

	found = find_route(exchange, &match);
	if (exchange->path_ambiguous && (found != ROUTER_FOUND || !exchange->route->unsafe_paths)) {
		exchange_fail_close(exchange, 400, "malformed or ambiguous path");
		return;
	}
	switch (found) {
	case ROUTER_NO_ROUTE:
		worker_count(exchange->worker, HTTP_COUNTER_NO_ROUTE);
		local_answer_start_error(exchange, 404, "no route for this host and path");
		return;
	case ROUTER_NO_METHOD:
		local_answer_start(exchange, EXCHANGE_LOCAL_NO_METHOD);
		return;
	case ROUTER_FOUND:
		break;
	}
	if (!keep_params(exchange, &match)) {
		local_answer_start_error(exchange, 503, "out of memory for the request");
		return;
	}
	exchange->upstream_host = request->host;
	exchange->upstream_path = exchange->path;
	exchange->upstream_query = exchange->query;
	if (exchange->route->policy_count)
		policy_chain_begin(exchange);
	else
		exchange_start_action(exchange);
}

void exchange_start_action(struct exchange *exchange)
{
	/* Any 2xx would be a tunnel for its client. */
	if (exchange->request.protocol.ptr && exchange->route->action != ROUTE_PROXY) {
		exchange_fail(exchange, 501, "protocol not allowed here");
		return;
	}
	switch (exchange->route->action) {
	case ROUTE_PROXY:
		exchange->upstream = exchange->route->proxy.split ? split_choose(exchange)
								  : exchange->route->proxy.upstream;
		proxy_start(exchange);
		break;
	case ROUTE_REDIRECT:
		local_answer_start(exchange, EXCHANGE_LOCAL_REDIRECT);
		break;
	case ROUTE_RESPOND:
		local_answer_start(exchange, EXCHANGE_LOCAL_RESPOND);
		break;
	case ROUTE_FILES:
		files_start(exchange);
		break;
	}
}

/* ---- the request's body, on its way to the action ---- */

void exchange_request_data(struct exchange *exchange, struct str data, struct recv_buf *buf)
{
	uint64_t limit = exchange->tunnel.open ? 0 : exchange->listener->body_bytes;

	exchange->bytes_in += data.len;
	if (limit && exchange->bytes_in > limit) {
		exchange_fail_close(exchange, 413, "request body too large");
		return;
	}
	if (UNLIKELY(exchange->chain) && !exchange->chain->request.closed)
		policy_request_data(exchange, data, buf);
	else if (exchange->action && exchange->action->request_data)
		exchange->action->request_data(exchange, data, buf);
}

void exchange_request_end(struct exchange *exchange, const struct http_field *trailers,
			  unsigned int trailer_count)
{
	exchange->request_done = true;
	if (UNLIKELY(exchange->chain) && !exchange->chain->request.closed)
		policy_request_end(exchange, trailers, trailer_count);
	else if (exchange->action && exchange->action->request_end)
		exchange->action->request_end(exchange, trailers, trailer_count);
}

void exchange_request_flush(struct exchange *exchange)
{
	if (exchange->action && exchange->action->request_flush)
		exchange->action->request_flush(exchange);
}

bool exchange_request_blocked(const struct exchange *exchange)
{
	return (UNLIKELY(exchange->chain) &&
		policy_flow_is_blocked(exchange, &exchange->chain->request)) ||
	       (exchange->action && exchange->action->request_blocked &&
		exchange->action->request_blocked(exchange));
}

void exchange_resume_request(struct exchange *exchange)
{
	if (UNLIKELY(exchange->chain) && !exchange->chain->request.closed)
		policy_request_drained(exchange);
	exchange->downstream->resume_request(exchange);
}

/* ---- the answer, on its way to the downstream ---- */

bool exchange_send_head(struct exchange *exchange, const struct exchange_response *response)
{
	if (UNLIKELY(exchange->chain))
		return policy_send_head(exchange, response);
	exchange->status = response->status;
	exchange->head_sent = true;
	exchange->downstream->send_head(exchange, response);
	return true;
}

bool exchange_send_data(struct exchange *exchange, struct str data, struct recv_buf *buf)
{
	if (UNLIKELY(exchange->chain))
		return policy_send_data(exchange, data, buf);
	exchange->bytes_out += data.len;
	exchange->downstream->send_data(exchange, data, buf);
	return true;
}

bool exchange_send_file(struct exchange *exchange, struct send_file *file, uint64_t offset,
			uint64_t len)
{
	if (UNLIKELY(exchange->chain))
		return policy_send_file(exchange, file, offset, len);
	exchange->bytes_out += len;
	exchange->downstream->send_file(exchange, file, offset, len);
	return true;
}

void exchange_send_end(struct exchange *exchange, const struct http_field *trailers,
		       unsigned int trailer_count)
{
	if (UNLIKELY(exchange->chain)) {
		policy_send_end(exchange, trailers, trailer_count);
		return;
	}
	exchange->response_done = true;
	exchange->downstream->send_end(exchange, trailers, trailer_count);
}

size_t exchange_queued(const struct exchange *exchange)
{
	if (UNLIKELY(exchange->chain) &&
	    policy_flow_is_blocked(exchange, &exchange->chain->response))
		return SIZE_MAX;
	return exchange->downstream->queued(exchange);
}

bool exchange_takes_pipes(const struct exchange *exchange)
{
	return !exchange->chain || !exchange->chain->response.lanes;
}

void exchange_drained(struct exchange *exchange)
{
	if (UNLIKELY(exchange->chain))
		policy_response_drained(exchange);
	else if (exchange->action && exchange->action->drained)
		exchange->action->drained(exchange);
}

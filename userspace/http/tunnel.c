#include "http/tunnel.h"

#include <errno.h>

#include "base/cleanup.h"
#include "http/exchange.h"
#include "http/worker_internal.h"

static struct exchange *call_exchange(struct upstream_call *call)
{
	return CONTAINER_OF(CONTAINER_OF(call, struct proxy, call), struct exchange, proxy);
}

static void moved(struct exchange *exchange)
{
	exchange->tunnel.moved_ms = loop_now_ms(exchange->worker->loop);
}

/* ---- from the client ---- */

static void request_data(struct exchange *exchange, struct str data, struct recv_buf *buf)
{
	moved(exchange);
	upstream_call_send(&exchange->proxy.call, data, buf);
}

static void request_end(struct exchange *exchange, const struct http_field *trailers,
			unsigned int trailer_count)
{
	(void)trailers;
	(void)trailer_count;
	moved(exchange);
	/* May be the end of all. */
	upstream_call_send_end(&exchange->proxy.call, NULL, 0);
}

static void request_flush(struct exchange *exchange)
{
	upstream_call_flush(&exchange->proxy.call);
}

static bool request_blocked(const struct exchange *exchange)
{
	return upstream_call_queued(&exchange->proxy.call) > UPSTREAM_HIGH_WATER;
}

static void drained(struct exchange *exchange)
{
	upstream_call_resume(&exchange->proxy.call);
}

static void action_abort(struct exchange *exchange)
{
	/* A downstream may be done when the last byte has not gone up yet. */
	if (exchange->request_done && exchange->tunnel.upstream_ended)
		upstream_call_leave(&exchange->proxy.call);
	else if (exchange->tunnel.polite)
		upstream_call_abort(&exchange->proxy.call);
	else
		upstream_call_reset(&exchange->proxy.call);
}

static const struct exchange_action tunnel_action = {
	.request_data = request_data,
	.request_end = request_end,
	.request_flush = request_flush,
	.request_blocked = request_blocked,
	.drained = drained,
	.abort = action_abort,
};

/* ---- from the upstream ---- */

static void on_data(struct upstream_call *call, struct str data, struct recv_buf *buf)
{
	struct exchange *exchange = call_exchange(call);

	moved(exchange);
	exchange->bytes_out += data.len;
	exchange->downstream->send_data(exchange, data, buf);
	if (exchange->downstream->queued(exchange) > UPSTREAM_HIGH_WATER)
		upstream_call_pause(call);
}

static void on_batch(struct upstream_call *call)
{
	struct exchange *exchange = call_exchange(call);

	exchange->downstream->flush(exchange);
}

static void end_response(struct exchange *exchange)
{
	if (exchange->tunnel.upstream_ended)
		return;
	exchange->tunnel.upstream_ended = true;
	exchange->downstream->send_end(exchange, NULL, 0);
	exchange->downstream->flush(exchange);
}

static void on_half_end(struct upstream_call *call)
{
	struct exchange *exchange = call_exchange(call);

	moved(exchange);
	end_response(exchange);
}

static void on_end(struct upstream_call *call, const struct http_field *trailers,
		   unsigned int trailer_count)
{
	struct exchange *exchange = call_exchange(call);

	(void)trailers;
	(void)trailer_count;
	timer_stop(&exchange->tunnel.idle_timer);
	exchange->action = NULL;
	exchange->response_done = true;
	if (exchange->tunnel.upstream_ended)
		exchange->downstream->tunnel_over(exchange);
	else
		end_response(exchange);
}

static void on_error(struct upstream_call *call, enum upstream_error error, const char *detail)
{
	struct exchange *exchange = call_exchange(call);

	(void)detail;
	timer_stop(&exchange->tunnel.idle_timer);
	exchange->action = NULL;
	exchange->failure = upstream_error_text(error);
	exchange->downstream->send_abort(exchange);
}

static void on_drained(struct upstream_call *call)
{
	struct exchange *exchange = call_exchange(call);

	exchange->downstream->resume_request(exchange);
}

static const struct upstream_call_ops call_ops = {
	.on_data = on_data,
	.on_half_end = on_half_end,
	.on_end = on_end,
	.on_error = on_error,
	.on_batch = on_batch,
	.on_drained = on_drained,
};

/* ---- life ---- */

static void on_idle_timer(struct timer *timer)
{
	struct tunnel *tunnel = CONTAINER_OF(timer, struct tunnel, idle_timer);
	struct exchange *exchange = CONTAINER_OF(tunnel, struct exchange, tunnel);
	struct loop *loop = exchange->worker->loop;
	uint64_t due_ms = tunnel->moved_ms + tunnel->idle_ms, now_ms = loop_now_ms(loop);

	if (now_ms < due_ms) {
		timer_start(loop, timer, due_ms - now_ms);
		return;
	}
	worker_count(exchange->worker, HTTP_COUNTER_TUNNELS_IDLE);
	tunnel_close(exchange, "tunnel was idle");
}

/* Copies what the access log tells of the configuration that it began with. */
static bool keep_names(struct exchange *exchange)
{
	const struct upstream_call *call = &exchange->proxy.call;
	struct str consumer = identity_consumer(&exchange->identity);
	const struct {
		struct str *place, name;
	} names[] = {
		{&exchange->tunnel.listener, exchange->listener->name},
		{&exchange->tunnel.route, exchange->route->name},
		{&exchange->tunnel.upstream, call->upstream->name},
		{&exchange->tunnel.endpoint, call->chosen->address},
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		*names[i].place = arena_copy(&exchange->arena, names[i].name);
		if (!names[i].place->ptr)
			return false;
	}
	if (!consumer.ptr)
		return true;
	exchange->tunnel.consumer = arena_copy(&exchange->arena, consumer);
	return exchange->tunnel.consumer.ptr;
}

int tunnel_start(struct exchange *exchange, uint64_t idle_ms)
{
	struct http_worker *worker = exchange->worker;
	struct tunnel *tunnel = &exchange->tunnel;
	struct upstream_call *call = &exchange->proxy.call;

	if (!keep_names(exchange))
		return -ENOMEM;
	tunnel->open = true;
	tunnel->stats = exchange->route->stats;
	if (tunnel->stats)
		registry_ref(&tunnel->stats->entry);
	tunnel->idle_ms = idle_ms;
	timer_init(&tunnel->idle_timer, on_idle_timer);
	timer_start(worker->loop, &tunnel->idle_timer, idle_ms);
	moved(exchange);
	worker_count(worker, HTTP_COUNTER_TUNNELS);
	worker_add(&worker->tunnels_open, 1);
	/* It may be silent for hours: nobody waits for its next event. */
	loop_busy(worker->loop, -1);
	call->ops = &call_ops;
	exchange->action = &tunnel_action;
	/* From here on nothing of the snapshot may be looked at. */
	exchange->listener = NULL;
	exchange->route = NULL;
	exchange->upstream = NULL;
	exchange->identity.count = 0;
	call->upstream = NULL;
	call->chosen = NULL;
	worker_snapshot_unref(TAKE_PTR(exchange->config));
	return 0;
}

void tunnel_close(struct exchange *exchange, const char *reason)
{
	const struct exchange_action *action = TAKE_PTR(exchange->action);

	timer_stop(&exchange->tunnel.idle_timer);
	exchange->tunnel.polite = true;
	if (!exchange->failure)
		exchange->failure = reason;
	if (action)
		action->abort(exchange);
	exchange->response_done = true;
	/* Who takes nothing in all that time does not get what is queued, and has to see that. */
	if (exchange->downstream->queued(exchange))
		exchange->downstream->send_abort(exchange);
	else
		exchange->downstream->tunnel_over(exchange);
}

void tunnel_done(struct exchange *exchange)
{
	struct tunnel *tunnel = &exchange->tunnel;

	if (!tunnel->open)
		return;
	timer_stop(&tunnel->idle_timer);
	route_stats_unref(TAKE_PTR(tunnel->stats));
	worker_add(&exchange->worker->tunnels_open, -1);
}

#include "upstream/upstream_call.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "upstream/retry.h"
#include "upstream/upstream_conn.h"

static const struct stream_ops conn_ops;

/* How long an endpoint may take nothing of a tunnel's last bytes, which nobody waits for. */
#define LEAVE_MS 10000

static bool call_retry(struct upstream_conn *conn, uint32_t cause);

const char *upstream_error_text(enum upstream_error error)
{
	static const char *const texts[] = {
#define X(symbol, status, text) [UPSTREAM_E_##symbol] = text,
		UPSTREAM_ERRORS(X)
#undef X
	};

	return texts[error];
}

uint16_t upstream_error_status(enum upstream_error error)
{
	static const uint16_t statuses[] = {
#define X(symbol, status, text) [UPSTREAM_E_##symbol] = status,
		UPSTREAM_ERRORS(X)
#undef X
	};

	return statuses[error];
}

static uint64_t call_now_ms(const struct upstream_call *call)
{
	return loop_now_ms(call->pools->loop);
}

/* ---- ends of a call ---- */

void upstream_call_detach(struct upstream_conn *conn)
{
	struct upstream_call *call = conn->call;

	conn->call = NULL;
	call->conn = NULL;
	row_add(&call->endpoint->rows[call->pools->worker_index].active, -1);
	if (call->counted)
		atomic_fetch_sub_explicit(&call->endpoint->active, 1, memory_order_relaxed);
	call->counted = false;
	endpoint_unref(TAKE_PTR(call->endpoint));
}

static void count_failure(const struct upstream_call *call, enum upstream_error error)
{
	switch (error) {
	case UPSTREAM_E_CONNECT:
	case UPSTREAM_E_CONNECT_TIMEOUT:
	case UPSTREAM_E_CERTIFICATE:
	case UPSTREAM_E_TLS:
		upstream_call_count(call, ENDPOINT_COUNTER_CONNECT_FAILURES);
		break;
	case UPSTREAM_E_RESET:
		upstream_call_count(call, ENDPOINT_COUNTER_RESETS);
		break;
	case UPSTREAM_E_TIMEOUT:
		upstream_call_count(call, ENDPOINT_COUNTER_TIMEOUTS);
		break;
	case UPSTREAM_E_PROTOCOL:
	case UPSTREAM_E_HEAD_TOO_LARGE:
		upstream_call_count(call, ENDPOINT_COUNTER_PROTOCOL_ERRORS);
		break;
	case UPSTREAM_E_QUEUE_FULL:
	case UPSTREAM_E_QUEUE_TIMEOUT:
	case UPSTREAM_E_LOCAL:
	case UPSTREAM_ERROR_COUNT:
		return; /* made here: nothing that the endpoint did */
	}
	/* Once there is an answer only its framing can be wrong: streams that end are no failure.
	 */
	if ((!call->head_done || error == UPSTREAM_E_PROTOCOL) &&
	    ejection_failure(call->upstream, call->chosen, call_now_ms(call)))
		upstream_call_count(call, ENDPOINT_COUNTER_EJECTIONS);
}

static uint32_t retry_cause(const struct upstream_call *call, enum upstream_error error)
{
	uint64_t now_ms = call_now_ms(call);

	switch (error) {
	case UPSTREAM_E_CONNECT:
	case UPSTREAM_E_CONNECT_TIMEOUT:
	case UPSTREAM_E_CERTIFICATE:
		return UPSTREAM_RETRY_CONNECT;
	case UPSTREAM_E_TLS:
		/* Once we were through with the handshake, the request was sent. */
		return call->conn->state == UPSTREAM_CONN_CONNECTING ? UPSTREAM_RETRY_CONNECT
								     : UPSTREAM_RETRY_RESET;
	case UPSTREAM_E_RESET:
		return UPSTREAM_RETRY_RESET;
	case UPSTREAM_E_TIMEOUT:
		return call->try_deadline_ms && now_ms >= call->try_deadline_ms
			       ? UPSTREAM_RETRY_PER_TRY
			       : 0;
	default:
		return 0;
	}
}

void upstream_call_fail(struct upstream_conn *conn, enum upstream_error error, const char *detail)
{
	struct upstream_call *call = conn->call;

	count_failure(call, error);
	if (!call->tunnel && call_retry(conn, retry_cause(call, error)))
		return;
	upstream_call_detach(conn);
	upstream_conn_close(conn);
	call->ops->on_error(call, error, detail);
}

bool upstream_call_answered(struct upstream_conn *conn, uint16_t status)
{
	struct upstream_call *call = conn->call;
	uint32_t cause = retry_cause_of_status(status);

	if (LIKELY(!cause)) {
		ejection_success(call->endpoint);
		return false;
	}
	if (ejection_failure(call->upstream, call->chosen, call_now_ms(call)))
		upstream_call_count(call, ENDPOINT_COUNTER_EJECTIONS);
	return call_retry(conn, cause);
}

void upstream_call_abort(struct upstream_call *call)
{
	struct upstream_conn *conn = call->conn;

	if (call->waiting)
		upstream_queue_leave(call);
	if (!conn)
		return;
	upstream_call_detach(conn);
	upstream_conn_close(conn);
}

void upstream_call_reset(struct upstream_call *call)
{
	if (call->conn)
		stream_abort(&call->conn->stream);
	upstream_call_abort(call);
}

static void conn_flush(struct upstream_conn *conn);

/* While some of it is taken, time goes on. */
static void leave_step(struct upstream_conn *conn)
{
	conn_flush(conn);
	if (conn->send_failed || send_queue_is_empty(&conn->queue))
		upstream_conn_close(conn);
	else
		timer_start(conn->pools->loop, &conn->timer,
			    MIN(conn->idle_timeout_ms, (uint64_t)LEAVE_MS));
}

void upstream_call_leave(struct upstream_call *call)
{
	struct upstream_conn *conn = call->conn;

	if (!conn)
		return;
	upstream_call_detach(conn);
	conn->leaving = true;
	leave_step(conn);
}

/* ---- timers: which one runs follows from what is waited for ---- */

/* What is left until the earliest of the deadlines that run, at most `most_ms`. */
static uint64_t time_left(const struct upstream_call *call, uint64_t most_ms)
{
	uint64_t now_ms = call_now_ms(call), due_ms = now_ms + most_ms;

	if (call->deadline_ms)
		due_ms = MIN(due_ms, call->deadline_ms);
	if (call->try_deadline_ms)
		due_ms = MIN(due_ms, call->try_deadline_ms);
	return due_ms > now_ms ? due_ms - now_ms : 0;
}

static void call_start_try(struct upstream_call *call)
{
	uint64_t per_try_ms = call->upstream->retry.per_try_ms;

	call->try_deadline_ms = per_try_ms ? call_now_ms(call) + per_try_ms : 0;
}

void upstream_conn_restart_timer(struct upstream_conn *conn)
{
	struct upstream_call *call = conn->call;
	struct loop *loop = conn->pools->loop;

	if (!call)
		return;
	if (call->tunnel) {
		timer_stop(&conn->timer); /* its owner's runs */
	} else if (conn->state == UPSTREAM_CONN_CONNECTING) {
		/* Started once: a body that arrives meanwhile does not make it longer. */
		if (!timer_is_running(&conn->timer))
			timer_start(loop, &conn->timer,
				    time_left(call, call->upstream->connect_timeout_ms));
	} else if (!send_queue_is_empty(&conn->queue)) {
		timer_start(loop, &conn->timer, call->upstream->idle_timeout_ms);
	} else if (call->paused || !call->request_done) {
		timer_stop(&conn->timer); /* waiting for the owner, whose timers run */
	} else if (!call->head_done) {
		uint64_t response_ms = call->response_timeout_ms
					       ? call->response_timeout_ms
					       : call->upstream->response_timeout_ms;

		if (!call->deadline_ms)
			call->deadline_ms = call_now_ms(call) + response_ms;
		if (!call->try_deadline_ms)
			call_start_try(call);
		timer_start(loop, &conn->timer, time_left(call, response_ms));
	} else {
		timer_start(loop, &conn->timer, call->upstream->idle_timeout_ms);
	}
}

static void on_timer(struct timer *timer)
{
	struct upstream_conn *conn = CONTAINER_OF(timer, struct upstream_conn, timer);

	if (!conn->call)
		upstream_conn_close(conn);
	else if (conn->state == UPSTREAM_CONN_CONNECTING)
		upstream_call_fail(conn, UPSTREAM_E_CONNECT_TIMEOUT, NULL);
	else
		upstream_call_fail(conn, UPSTREAM_E_TIMEOUT, NULL);
}

/* ---- sending ---- */

static void conn_flush(struct upstream_conn *conn)
{
	/* What comes next is the answer. */
	conn->queue.quiet = conn->call && conn->call->request_done && !conn->call->tunnel;
	/* A failed send shows on the receiving side, with the answer that may still be there. */
	if (conn->state == UPSTREAM_CONN_ACTIVE && !conn->send_failed &&
	    send_queue_flush(&conn->queue, &conn->stream) < 0)
		conn->send_failed = true;
}

static void on_sent(struct stream *stream, int64_t result)
{
	struct upstream_conn *conn = CONTAINER_OF(stream, struct upstream_conn, stream);
	struct upstream_call *call = conn->call;

	if (UNLIKELY(conn->state == UPSTREAM_CONN_CONNECTING)) {
		upstream_tls_opened(conn, result);
		return;
	}
	send_queue_sent(&conn->queue, result);
	if (result < 0) {
		conn->send_failed = true;
		send_queue_clear(&conn->queue);
	}
	if (!call) {
		if (conn->leaving && conn->state != UPSTREAM_CONN_CLOSING)
			leave_step(conn);
		return;
	}
	conn_flush(conn);
	if (UNLIKELY(call->tunnel) && upstream_tunnel_sent(conn))
		return;
	upstream_conn_restart_timer(conn);
	if (!call->request_done && conn->queue.weight_bytes < UPSTREAM_LOW_WATER)
		call->ops->on_drained(call);
}

/* The head, at the front of what is sent. A request that is taken over is in the queue already. */
static int conn_begin(struct upstream_conn *conn, bool taken_over)
{
	struct upstream_call *call = conn->call;
	int ret = 0;

	if (!taken_over) {
		buf_reset(&conn->request);
		if (conn->state == UPSTREAM_CONN_CONNECTING && !conn->tls)
			ret = buf_append(&conn->request, call->opening);
		if (ret == 0)
			ret = buf_append(&conn->request, call->head);
		upstream_conn_note_bufs(conn);
		if (ret == 0)
			ret = send_queue_push(&conn->queue, buf_str(&conn->request), NULL);
	}
	if (ret < 0)
		return ret;
	conn->send_failed = false;
	conn->keep_alive = false;
	conn->scan = 0;
	if (conn->state == UPSTREAM_CONN_IDLE)
		conn->state = UPSTREAM_CONN_ACTIVE;
	upstream_conn_restart_timer(conn);
	upstream_call_count(call, ENDPOINT_COUNTER_REQUESTS);
	return 0;
}

void upstream_call_send(struct upstream_call *call, struct str data, struct recv_buf *buf)
{
	struct upstream_conn *conn = call->conn;
	char chunk[HTTP1_CHUNK_HEAD_MAX];

	if (call->waiting && data.len)
		call->overrun = true;
	if (!conn || !data.len)
		return;
	call->body_taken = true;
	if (conn->send_failed)
		return;
	if (call->framing == HTTP_FRAMING_CHUNKED)
		(void)send_queue_push_inline(&conn->queue,
					     str_make(chunk, http1_chunk_head(chunk, data.len)));
	(void)send_queue_push(&conn->queue, data, buf);
	if (call->framing == HTTP_FRAMING_CHUNKED)
		(void)send_queue_push(&conn->queue, STR("\r\n"), NULL);
	if (conn->queue.failed)
		conn->send_failed = true;
}

static void conn_push_trailers(struct upstream_conn *conn, const struct http_field *trailers,
			       unsigned int count)
{
	/* A buffer apart from the head's, whose bytes may be under way and must not move. */
	buf_reset(&conn->tail);
	for (unsigned int i = 0; i < count; i++) {
		if (!http_name_is_valid(trailers[i].name) ||
		    !http_value_is_valid(trailers[i].value))
			continue;
		if (buf_append(&conn->tail, trailers[i].name) < 0 ||
		    buf_append(&conn->tail, STR(": ")) < 0 ||
		    buf_append(&conn->tail, trailers[i].value) < 0 ||
		    buf_append(&conn->tail, STR("\r\n")) < 0)
			conn->queue.failed = true;
	}
	upstream_conn_note_bufs(conn);
	(void)send_queue_push(&conn->queue, buf_str(&conn->tail), NULL);
}

void upstream_call_send_end(struct upstream_call *call, const struct http_field *trailers,
			    unsigned int trailer_count)
{
	struct upstream_conn *conn = call->conn;

	if (!conn || call->request_done)
		return;
	call->request_done = true;
	if (call->tunnel) {
		(void)upstream_tunnel_sent(conn);
		return;
	}
	/* The last chunk is part of what cannot be had again from the owner. */
	if (call->framing == HTTP_FRAMING_CHUNKED)
		call->body_taken = true;
	if (call->framing == HTTP_FRAMING_CHUNKED && !conn->send_failed) {
		(void)send_queue_push(&conn->queue, STR("0\r\n"), NULL);
		if (trailer_count)
			conn_push_trailers(conn, trailers, trailer_count);
		(void)send_queue_push(&conn->queue, STR("\r\n"), NULL);
		if (conn->queue.failed)
			conn->send_failed = true;
	}
}

void upstream_call_flush(struct upstream_call *call)
{
	if (!call->conn)
		return;
	conn_flush(call->conn);
	upstream_conn_restart_timer(call->conn);
}

size_t upstream_call_queued(const struct upstream_call *call)
{
	if (call->waiting)
		return SIZE_MAX;
	return call->conn && !call->conn->send_failed ? call->conn->queue.weight_bytes : 0;
}

/* ---- receiving ---- */

void upstream_call_pause(struct upstream_call *call)
{
	if (!call->conn || call->paused)
		return;
	call->paused = true;
	stream_recv_stop(&call->conn->stream);
	upstream_conn_restart_timer(call->conn);
}

void upstream_call_resume(struct upstream_call *call)
{
	if (!call->conn || !call->paused)
		return;
	/* The next sending brings us here again. */
	if (call->conn->pipe && call->conn->pipe->bytes)
		return;
	call->paused = false;
	if (call->conn->recv_one)
		upstream_conn_arm(call->conn);
	else
		stream_recv_start(&call->conn->stream, RECV_MANY);
	upstream_conn_restart_timer(call->conn);
}

/* No descriptors, no memory, no ports, a rule of this host: nothing that the endpoint did. */
static bool is_local_error(int result)
{
	switch (-result) {
	case EMFILE:
	case ENFILE:
	case ENOMEM:
	case ENOBUFS:
	case EADDRNOTAVAIL:
	case EPERM:
		return true;
	default:
		return false;
	}
}

void upstream_conn_refused(struct upstream_conn *conn, int result)
{
	char detail[96];

	(void)snprintf(detail, sizeof(detail), "%s", strerror(-result));
	if (conn->call)
		upstream_call_fail(conn,
				   is_local_error(result) ? UPSTREAM_E_LOCAL : UPSTREAM_E_CONNECT,
				   detail);
	else
		upstream_conn_close(conn);
}

void upstream_conn_ready(struct upstream_conn *conn)
{
	conn->state = UPSTREAM_CONN_ACTIVE;
	if (conn->call)
		conn->call->connected_ns = loop_now_ns(conn->pools->loop);
	stream_recv_start(&conn->stream, RECV_MANY);
	conn_flush(conn);
	upstream_conn_restart_timer(conn);
}

static void on_connected(struct stream *stream, int result)
{
	struct upstream_conn *conn = CONTAINER_OF(stream, struct upstream_conn, stream);

	if (result < 0)
		upstream_conn_refused(conn, result);
	else if (UNLIKELY(conn->tls))
		upstream_tls_begin(conn);
	else
		upstream_conn_ready(conn);
}

static void on_closed(struct stream *stream)
{
	upstream_conn_put(CONTAINER_OF(stream, struct upstream_conn, stream));
}

static const struct stream_ops conn_ops = {
	.on_recv = upstream_conn_on_recv,
	.on_piped = upstream_conn_on_piped,
	.on_sent = on_sent,
	.on_connected = on_connected,
	.on_closed = on_closed,
	.on_secured = upstream_tls_on_secured,
};

/* ---- attempts ---- */

static void call_attach(struct upstream_call *call, struct upstream_conn *conn)
{
	struct endpoint *endpoint = conn->endpoint;

	conn->call = call;
	conn->idle_timeout_ms = call->upstream->idle_timeout_ms;
	call->conn = conn;
	call->endpoint = endpoint;
	registry_ref(&endpoint->entry);
	row_add(&endpoint->rows[call->pools->worker_index].active, 1);
	if (balance_counts_active(call->upstream)) {
		call->counted = true;
		atomic_fetch_add_explicit(&endpoint->active, 1, memory_order_relaxed);
	}
	call->attempts++;
}

static const struct endpoint_conf *call_pick(struct upstream_call *call, bool again)
{
	const struct balance_ask ask = {
		.upstream = call->upstream,
		.seat = &call->local->seat,
		.now_ms = call_now_ms(call),
		.key = call->hash_key,
		.has_key = call->has_hash_key,
		.again = again,
		.tried = call->tried,
		.tried_count = call->tried_count,
	};

	return balance_pick(&ask);
}

static void call_choose(struct upstream_call *call, const struct endpoint_conf *chosen)
{
	call->chosen = chosen;
	call->tried[call->tried_count++] = (uint16_t)(chosen - call->upstream->endpoints);
	call->resent = false;
	/* A body takes the time that its client needs: then the attempt counts from its end. */
	call->try_deadline_ms = 0;
	if (call->framing == HTTP_FRAMING_NONE)
		call_start_try(call);
}

/* From the idle stack, still in its state. */
static int call_reuse(struct upstream_call *call, struct upstream_conn *conn)
{
	int ret;

	timer_stop(&conn->timer);
	call_attach(call, conn);
	call->reused = true;
	upstream_call_count(call, ENDPOINT_COUNTER_REUSES);
	ret = conn_begin(conn, false);
	if (ret < 0) {
		conn->state = UPSTREAM_CONN_ACTIVE; /* it left the idle stack already */
		upstream_call_abort(call);
	}
	return ret;
}

/*
 * With a place that the new connection takes over. `from`: a connection that was never made, whose
 * request with what was taken of the body goes out on the new one.
 */
static int call_connect(struct upstream_call *call, struct upstream_conn *from)
{
	struct upstream_conn *conn =
		upstream_conn_get(call->local, call->chosen->endpoint, &conn_ops, on_timer);
	int ret;

	if (!conn) {
		upstream_place_free(call->local);
		return -ENOMEM;
	}
	ret = stream_connect(call->pools->loop, &conn->stream, &conn->endpoint->addr);
	if (ret < 0) {
		upstream_conn_put(conn);
		return ret;
	}
	if (from) {
		SWAP(conn->queue, from->queue);
		SWAP(conn->request, from->request);
		SWAP(conn->tail, from->tail);
		upstream_conn_note_bufs(conn);
		upstream_conn_note_bufs(from);
	}
	call_attach(call, conn);
	call->reused = false;
	upstream_call_count(call, ENDPOINT_COUNTER_CONNECTS);
	if (call->upstream->tls)
		conn->tls = tls_client_ref(call->upstream->tls->client);
	ret = buf_append(&conn->opened, call->opening_key);
	conn->opened_key_len = (uint16_t)conn->opened.len;
	/* Not in the request's buffer, which may go to the next connection. */
	if (ret == 0 && conn->tls)
		ret = buf_append(&conn->opened, call->opening);
	if (ret == 0)
		ret = conn_begin(conn, from != NULL);
	if (ret < 0)
		upstream_call_abort(call);
	return ret;
}

/* Closes the connection of an attempt that failed; its place is the next attempt's. */
static void call_give_up(struct upstream_conn *conn)
{
	upstream_call_detach(conn);
	conn->has_place = false;
	upstream_conn_close(conn);
}

bool upstream_call_resend(struct upstream_conn *conn)
{
	struct upstream_call *call = conn->call;

	if (!call->reused || call->resent || call->body_taken || call->head_done ||
	    conn->partial.len || call->informational_count ||
	    !retry_method_is_idempotent(call->method_id))
		return false;
	call_give_up(conn);
	call->resent = true;
	call->pools->retries++;
	if (call_connect(call, NULL) < 0)
		call->ops->on_error(call, UPSTREAM_E_LOCAL, NULL);
	return true;
}

static bool may_retry(const struct upstream_call *call, uint32_t cause)
{
	const struct upstream_conf *upstream = call->upstream;

	if (!(cause & (upstream->retry.on | UPSTREAM_RETRY_PER_TRY)) ||
	    call->tried_count >= upstream->retry.attempts || call->head_done ||
	    call->informational_count ||
	    (call->deadline_ms && call_now_ms(call) >= call->deadline_ms))
		return false;
	return cause == UPSTREAM_RETRY_CONNECT ||
	       (!call->body_taken && retry_method_is_idempotent(call->method_id));
}

/* False: not to be done. */
static bool call_retry(struct upstream_conn *conn, uint32_t cause)
{
	struct upstream_call *call = conn->call;
	struct upstream_state *state = call->upstream->state;
	unsigned int worker = call->pools->worker_index;
	bool unsent = conn->state == UPSTREAM_CONN_CONNECTING;
	const struct endpoint_conf *chosen;
	struct upstream_conn *idle = NULL;
	int ret;

	/* A body that was lost for want of memory cannot be sent. */
	if (!cause || !may_retry(call, cause) || (unsent && conn->send_failed))
		return false;
	/* Whoever has just refused will refuse again. */
	chosen = call_pick(call, cause != UPSTREAM_RETRY_CONNECT);
	if (!chosen)
		return false;
	if (!retry_budget_take(state, call->upstream->retry.budget, call_now_ms(call))) {
		upstream_count(state, worker, UPSTREAM_COUNTER_RETRIES_OVER_BUDGET);
		return false;
	}
	upstream_count(state, worker, UPSTREAM_COUNTER_RETRIES);
	call_choose(call, chosen);
	/* A kept connection may be dead: not with a body that could not be sent again. */
	if (!call->body_taken)
		idle = upstream_pools_take_idle(call, chosen->endpoint);
	if (idle) {
		upstream_call_detach(conn);
		upstream_conn_close(conn);
		ret = call_reuse(call, idle);
	} else {
		/* Closed, its memory goes back in a later turn: the request can still be taken. */
		call_give_up(conn);
		ret = call_connect(call, unsent ? conn : NULL);
	}
	if (ret < 0)
		call->ops->on_error(call, UPSTREAM_E_LOCAL, NULL);
	else
		conn_flush(call->conn);
	return true;
}

/* At the limit, the connection that is there, though another endpoint's turn had come. */
static struct upstream_conn *take_any_idle(struct upstream_call *call)
{
	const struct upstream_conf *upstream = call->upstream;

	if (upstream->balance == UPSTREAM_MAGLEV && call->has_hash_key)
		return NULL;
	list_for_each (link, &call->local->idle) {
		struct upstream_conn *conn = list_entry(link, struct upstream_conn, local_link);
		unsigned int i = 0;

		while (i < upstream->endpoint_count &&
		       upstream->endpoints[i].endpoint != conn->endpoint)
			i++;
		if (i == upstream->endpoint_count ||
		    endpoint_is_ejected(conn->endpoint, call_now_ms(call)) ||
		    !upstream_conn_suits(conn, call))
			continue;
		call->chosen = &upstream->endpoints[i];
		upstream_pools_remove_idle(conn);
		return conn;
	}
	return NULL;
}

int upstream_call_attempt(struct upstream_call *call)
{
	const struct endpoint_conf *chosen;
	struct upstream_conn *conn;

	call->failure = UPSTREAM_E_LOCAL;
	if (UNLIKELY(call->overrun))
		return -EPROTO;
	chosen = call_pick(call, true);
	conn = upstream_pools_take_idle(call, chosen->endpoint);
	if (LIKELY(conn)) {
		call_choose(call, chosen);
		return call_reuse(call, conn);
	}
	if (upstream_place_take(call->local)) {
		call_choose(call, chosen);
		return call_connect(call, NULL);
	}
	conn = take_any_idle(call);
	if (!conn)
		return -EAGAIN;
	call_choose(call, call->chosen);
	return call_reuse(call, conn);
}

int upstream_call_start(struct upstream_call *call)
{
	int ret = -EAGAIN;

	call->conn = NULL;
	call->endpoint = NULL;
	call->reused = call->resent = call->counted = call->waiting = call->overrun = false;
	call->body_taken = call->head_done = call->paused = call->tunnel = false;
	call->request_done = call->framing == HTTP_FRAMING_NONE;
	call->informational_count = call->tried_count = 0;
	call->deadline_ms = call->try_deadline_ms = 0;
	call->failure = UPSTREAM_E_LOCAL;
	call->chosen = NULL;
	call->attempts = 0;
	call->start_ns = loop_now_ns(call->pools->loop);
	call->connected_ns = call->head_ns = 0;
	call->local = upstream_pools_local(call->pools, call->upstream->state);
	if (!call->local)
		return -ENOMEM;
	upstream_count(call->upstream->state, call->pools->worker_index, UPSTREAM_COUNTER_CALLS);

	if (!upstream_queue_must_wait(call->local)) {
		ret = upstream_call_attempt(call);
		if (UNLIKELY(ret == -EAGAIN))
			upstream_queue_make_room(call->local);
	}
	return ret == -EAGAIN ? upstream_queue_join(call) : ret;
}

/* HTTP/1 towards an endpoint, one call at a time: sending, timers, and the life of a connection. */
#include <errno.h>

#include "base/util.h"
#include "upstream/upstream_conn.h"

/* How long an endpoint may take nothing of a tunnel's last bytes, which nobody waits for. */
#define LEAVE_MS 10000

static void conn_flush(struct upstream_conn *conn);

/* ---- the end of a tunnel ---- */

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

void upstream_http1_leave(struct upstream_conn *conn)
{
	upstream_call_detach(conn->call);
	conn->leaving = true;
	leave_step(conn);
}

/* ---- timers: which one runs follows from what is waited for ---- */

void upstream_http1_restart_timer(struct upstream_conn *conn)
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
			timer_start(
				loop, &conn->timer,
				upstream_call_time_left(call, call->upstream->connect_timeout_ms));
	} else if (!send_queue_is_empty(&conn->queue)) {
		timer_start(loop, &conn->timer, call->upstream->idle_timeout_ms);
	} else if (call->paused || !call->request_done) {
		timer_stop(&conn->timer); /* waiting for the owner, whose timers run */
	} else if (!call->head_done) {
		timer_start(loop, &conn->timer, upstream_call_await_head(call));
	} else {
		timer_start(loop, &conn->timer, call->upstream->idle_timeout_ms);
	}
}

void upstream_http1_on_timer(struct timer *timer)
{
	struct upstream_conn *conn = CONTAINER_OF(timer, struct upstream_conn, timer);

	if (!conn->call)
		upstream_conn_close(conn);
	else if (conn->state == UPSTREAM_CONN_CONNECTING)
		upstream_call_fail(conn->call, UPSTREAM_E_CONNECT_TIMEOUT, NULL);
	else
		upstream_call_fail(conn->call, UPSTREAM_E_TIMEOUT, NULL);
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
	upstream_http1_restart_timer(conn);
	if (!call->request_done && conn->queue.weight_bytes < UPSTREAM_LOW_WATER)
		call->ops->on_drained(call);
}

/* The head, at the front of what is sent. A request that is taken over is in the queue already. */
int upstream_http1_begin(struct upstream_conn *conn, bool taken_over)
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
	upstream_http1_restart_timer(conn);
	upstream_call_count(call, ENDPOINT_COUNTER_REQUESTS);
	return 0;
}

void upstream_http1_send(struct upstream_call *call, struct str data, struct recv_buf *buf)
{
	struct upstream_conn *conn = call->conn;
	char chunk[HTTP1_CHUNK_HEAD_MAX];

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

void upstream_http1_send_end(struct upstream_call *call, const struct http_field *trailers,
			     unsigned int trailer_count)
{
	struct upstream_conn *conn = call->conn;

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

void upstream_http1_flush(struct upstream_conn *conn)
{
	conn_flush(conn);
	upstream_http1_restart_timer(conn);
}

/* ---- receiving ---- */

void upstream_http1_pause(struct upstream_conn *conn)
{
	conn->call->paused = true;
	stream_recv_stop(&conn->stream);
	upstream_http1_restart_timer(conn);
}

void upstream_http1_resume(struct upstream_conn *conn)
{
	/* The next sending brings us here again. */
	if (conn->pipe && conn->pipe->bytes)
		return;
	conn->call->paused = false;
	if (conn->recv_one)
		upstream_conn_arm(conn);
	else
		stream_recv_start(&conn->stream, RECV_MANY);
	upstream_http1_restart_timer(conn);
}

/* ---- the connection ---- */

void upstream_http1_ready(struct upstream_conn *conn)
{
	conn->state = UPSTREAM_CONN_ACTIVE;
	if (conn->call)
		conn->call->connected_ns = loop_now_ns(conn->pools->loop);
	stream_recv_start(&conn->stream, RECV_MANY);
	conn_flush(conn);
	upstream_http1_restart_timer(conn);
}

static void on_connected(struct stream *stream, int result)
{
	struct upstream_conn *conn = CONTAINER_OF(stream, struct upstream_conn, stream);

	if (result < 0)
		upstream_conn_refused(conn, result);
	else if (UNLIKELY(conn->tls))
		upstream_tls_begin(conn);
	else
		upstream_http1_ready(conn);
}

static void on_closed(struct stream *stream)
{
	upstream_conn_put(CONTAINER_OF(stream, struct upstream_conn, stream));
}

const struct stream_ops upstream_http1_ops = {
	.on_recv = upstream_conn_on_recv,
	.on_piped = upstream_conn_on_piped,
	.on_sent = on_sent,
	.on_connected = on_connected,
	.on_closed = on_closed,
	.on_secured = upstream_tls_on_secured,
};

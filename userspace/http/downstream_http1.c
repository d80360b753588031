#include "http/downstream_http1.h"

#include "base/cleanup.h"
#include "http/worker_internal.h"

#define LINGER_BYTES	  (16u * 1024 * 1024)
#define LONG_ANSWER_BYTES (64u * 1024) /* beyond, it may take the client long to have it */

void downstream_http1_partial_done(struct downstream_http1 *conn)
{
	conn->base.worker->memory.counted_bytes -= conn->partial.size_bytes;
	buf_done(&conn->partial);
}

/* ---- ends ---- */

void downstream_http1_close(struct downstream_http1 *conn, bool reset)
{
	struct exchange *exchange = conn->exchange;

	if (conn->state == HTTP1_CONN_CLOSING)
		return;
	conn->state = HTTP1_CONN_CLOSING;
	timer_stop(&conn->base.timer);
	if (exchange)
		exchange_abort(exchange);
	if (reset)
		stream_abort(&conn->base.stream);
	else
		stream_close(&conn->base.stream);
}

void downstream_http1_client_gone(struct downstream_http1 *conn)
{
	if (conn->exchange && !conn->response_ended)
		worker_count(conn->base.worker, HTTP_COUNTER_CLIENT_ABORTS);
	if (conn->exchange && !conn->exchange->failure)
		conn->exchange->failure = "client closed the connection";
	downstream_http1_close(conn, false);
}

static void exchange_end(struct downstream_http1 *conn)
{
	if (conn->exchange) {
		conn->was_long = conn->exchange->bytes_out > LONG_ANSWER_BYTES;
		exchange_free(TAKE_PTR(conn->exchange));
	}
	http1_body_done(&conn->body);
	conn->response_ended = conn->chunked = conn->until_close = false;
}

/*
 * The answer is out but the client may still be sending: a close now would reset the connection and
 * could destroy the answer in the client's receive queue (RFC 9112 9.6). So: half-close, and throw
 * away what comes for a while.
 */
void downstream_http1_linger(struct downstream_http1 *conn)
{
	bool unread = conn->body_active || conn->base.pending_count || conn->recv_stopped;
	bool patient;

	exchange_end(conn);
	downstream_pending_clear(&conn->base);
	/* At the end of the daemon the kernel can deliver alone. */
	patient =
		conn->was_long && !conn->base.worker->draining && downstream_is_unread(&conn->base);
	if ((conn->base.eof || !unread) && !patient) {
		downstream_http1_close(conn, false);
		return;
	}
	conn->state = HTTP1_CONN_LINGER;
	conn->linger_bytes = 0;
	stream_shutdown_send(&conn->base.stream);
	stream_recv_start(&conn->base.stream, RECV_MANY);
	downstream_set_due(&conn->base,
			   loop_now_ms(conn->base.worker->loop) + DOWNSTREAM_LINGER_MS);
}

void downstream_http1_exchange_done(struct downstream_http1 *conn)
{
	if (!conn->keep_alive || conn->body_active || conn->base.worker->draining) {
		downstream_http1_linger(conn);
		return;
	}
	exchange_end(conn);
	conn->state = HTTP1_CONN_READY;
	conn->base.moved_ms = loop_now_ms(conn->base.worker->loop);
	downstream_set_due(&conn->base, conn->base.moved_ms + conn->base.idle_timeout_ms);
	conn->first = false;
	if (conn->recv_one || conn->recv_stopped) {
		conn->recv_one = conn->recv_stopped = false;
		stream_recv_start(&conn->base.stream, RECV_MANY);
	}
	downstream_http1_process(conn);
}

/* ---- events ---- */

static struct downstream_http1 *stream_conn(struct stream *stream)
{
	return downstream_http1(CONTAINER_OF(stream, struct downstream, stream));
}

static void on_recv(struct stream *stream, struct recv_buf *buf, int result)
{
	struct downstream_http1 *conn = stream_conn(stream);

	if (!buf) {
		conn->base.eof = true;
		if (result < 0)
			downstream_http1_client_gone(conn);
		else if (!conn->base.pending_count || conn->state != HTTP1_CONN_EXCHANGE)
			downstream_http1_after_eof(conn);
		return;
	}
	if (conn->state == HTTP1_CONN_LINGER) {
		conn->linger_bytes += buf->len;
		recv_buf_unref(buf);
		if (conn->linger_bytes > LINGER_BYTES)
			downstream_http1_close(conn, false);
		return;
	}
	if (conn->state == HTTP1_CONN_EXCHANGE && conn->body_active) {
		pace_settle(&conn->request_pace, loop_now_ms(conn->base.worker->loop));
		pace_earn(&conn->request_pace, buf->len, conn->base.min_body_rate,
			  conn->base.idle_timeout_ms);
	}
	if (downstream_pending_push(&conn->base, buf) < 0) {
		recv_buf_unref(buf);
		downstream_http1_client_gone(conn);
		return;
	}
	downstream_http1_process(conn);
}

/* ---- life ---- */

static void on_closed(struct stream *stream)
{
	struct downstream_http1 *conn = stream_conn(stream);

	exchange_end(conn);
	downstream_http1_partial_done(conn);
	downstream_closed(&conn->base);
}

static const struct stream_ops stream_ops = {
	.on_recv = on_recv,
	.on_sent = downstream_http1_on_sent,
	.on_closed = on_closed,
};

static void drain(struct downstream *base)
{
	struct downstream_http1 *conn = downstream_http1(base);

	if (conn->state == HTTP1_CONN_READY || conn->state == HTTP1_CONN_HEAD)
		downstream_http1_close(conn, false);
}

static void abort_conn(struct downstream *base)
{
	struct downstream_http1 *conn = downstream_http1(base);

	if (conn->exchange && !conn->exchange->failure)
		conn->exchange->failure = "this server stopped";
	if (conn->exchange)
		conn->exchange->tunnel.polite = true;
	/* In LINGER the answer is out, and the kernel goes on delivering it. */
	downstream_http1_close(conn, conn->state != HTTP1_CONN_LINGER && !conn->tunnel);
}

static bool is_idle(const struct downstream *base)
{
	return CONTAINER_OF(base, const struct downstream_http1, base)->state == HTTP1_CONN_READY;
}

static const struct downstream_ops conn_ops = {
	.drain = drain,
	.abort = abort_conn,
	.relieve = downstream_http1_relieve,
	.is_idle = is_idle,
	.on_due = downstream_http1_on_due,
};

void downstream_http1_start(struct downstream *base)
{
	struct downstream_http1 *conn = downstream_http1(base);

	memset((char *)conn + sizeof(conn->base), 0, sizeof(*conn) - sizeof(conn->base));
	conn->first = true;
	base->ops = &conn_ops;
	base->stream.ops = &stream_ops;
	stream_recv_start(&base->stream, RECV_MANY);
	if (base->pending_count)
		downstream_http1_process(conn);
}

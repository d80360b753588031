#include "http/downstream_http2.h"

#include <errno.h>

#include "base/cleanup.h"
#include "base/event.h"
#include "base/log.h"
#include "http/offence.h"
#include "http/worker_internal.h"

#define LINGER_MS    2000
#define LINGER_BYTES (1024u * 1024)
/* Frames that wait, with a full send queue, at which we stop receiving what asks for more. */
#define BACKLOG_MAX 64

static struct downstream_http2 *stream_conn(struct stream *stream)
{
	return downstream_http2(CONTAINER_OF(stream, struct downstream, stream));
}

/* ---- ends ---- */

void downstream_http2_blame(struct downstream_http2 *conn, const char *failure)
{
	list_for_each (link, &conn->streams) {
		struct exchange *exchange =
			list_entry(link, struct downstream_stream, link)->exchange;

		if (!exchange->failure)
			exchange->failure = failure;
	}
}

void downstream_http2_close(struct downstream_http2 *conn, bool reset)
{
	if (conn->state == HTTP2_CONN_CLOSING)
		return;
	conn->state = HTTP2_CONN_CLOSING;
	timer_stop(&conn->base.timer);
	list_for_each (link, &conn->streams)
		exchange_abort(list_entry(link, struct downstream_stream, link)->exchange);
	if (reset)
		stream_abort(&conn->base.stream);
	else
		stream_close(&conn->base.stream);
}

static void client_gone(struct downstream_http2 *conn)
{
	list_for_each (link, &conn->streams)
		if (!list_entry(link, struct downstream_stream, link)->response_ended)
			worker_count(conn->base.worker, HTTP_COUNTER_CLIENT_ABORTS);
	downstream_http2_blame(conn, "client closed the connection");
	downstream_http2_close(conn, false);
}

static void report_calm(struct downstream_http2 *conn)
{
	struct http_worker *worker = conn->base.worker;
	const char *text = http2_abuse_text(conn->http2.calmed_for);
	uint64_t now_ms = loop_now_ms(worker->loop);
	char addr[ADDR_TEXT_MAX];

	worker_count(worker, HTTP_COUNTER_HTTP2_CALMED);
	offence_report(OFFENCE_PROTOCOL_ERROR, &conn->base.peer, &conn->base.origin.source);
	downstream_http2_blame(conn, text);
	if (worker->calmed_logged_ms && now_ms - worker->calmed_logged_ms < 1000)
		return;
	worker->calmed_logged_ms = now_ms;
	(void)ip_addr_format(&conn->base.peer, addr, sizeof(addr));
	log_warn("http", "HTTP/2 connection of %s is ended: %s", addr, text);
	event_publish(EVENT_PROTOCOL_ABUSE, str_from_cstr(addr), "HTTP/2: %s", text);
}

/* Said is what was to be said; the client may still have to read it, so no reset now. */
static void linger(struct downstream_http2 *conn)
{
	downstream_http2_blame(conn, "client broke the protocol");
	if (conn->base.eof) {
		downstream_http2_close(conn, false);
		return;
	}
	conn->state = HTTP2_CONN_LINGER;
	stream_shutdown_send(&conn->base.stream);
	stream_recv_start(&conn->base.stream, RECV_MANY);
	downstream_set_due(&conn->base, loop_now_ms(conn->base.worker->loop) + LINGER_MS);
}

void downstream_http2_watch(struct downstream_http2 *conn)
{
	uint64_t now_ms = loop_now_ms(conn->base.worker->loop);
	uint64_t due_ms;

	if (conn->state != HTTP2_CONN_OPEN)
		return;
	if (send_queue_is_empty(&conn->base.queue) && http2_is_over(&conn->http2)) {
		linger(conn);
		return;
	}
	if (conn->drain == HTTP2_DRAIN_SAID && !conn->stream_count &&
	    send_queue_is_empty(&conn->base.queue)) {
		linger(conn);
		return;
	}
	if (conn->stream_count)
		due_ms = now_ms + HTTP2_LOOK_MS;
	else if (conn->first)
		due_ms = conn->begin_ms + conn->header_timeout_ms;
	else
		due_ms = conn->base.moved_ms + conn->base.idle_timeout_ms;
	if (conn->http2.head_stream_id || !conn->http2.settings_acked ||
	    conn->drain == HTTP2_DRAIN_WAITS || conn->drain == HTTP2_DRAIN_ANNOUNCED ||
	    !send_queue_is_empty(&conn->base.queue))
		due_ms = MIN(due_ms, now_ms + HTTP2_LOOK_MS);
	/* Looks go on at their own time, however busy it is. */
	if (conn->base.due_ms > now_ms && conn->base.due_ms < due_ms)
		due_ms = conn->base.due_ms;
	downstream_set_due(&conn->base, due_ms);
}

/* ---- receiving ---- */

static void after_feed(struct downstream_http2 *conn)
{
	list_for_each (link, &conn->streams) {
		struct downstream_stream *stream = list_entry(link, struct downstream_stream, link);

		if (!stream->request_fed)
			continue;
		stream->request_fed = false;
		exchange_request_flush(stream->exchange);
	}
}

static void feed(struct downstream_http2 *conn, struct recv_buf *buf, size_t from)
{
	uint64_t now_ms = loop_now_ms(conn->base.worker->loop);
	bool calmed_before = conn->http2.calmed;
	int ret;

	conn->feeding = buf;
	ret = http2_feed(&conn->http2, str_make(buf->data + from, buf->len - from), now_ms);
	conn->feeding = NULL;
	if (conn->state != HTTP2_CONN_OPEN)
		return;
	if (conn->http2.resets_received) {
		worker_add(&conn->base.worker->counters[HTTP_COUNTER_HTTP2_RESETS_RECEIVED],
			   conn->http2.resets_received);
		conn->http2.resets_received = 0;
	}
	if (!calmed_before && conn->http2.calmed)
		report_calm(conn);
	after_feed(conn);
	if (ret < 0) {
		downstream_count_bad_request(&conn->base);
		downstream_http2_blame(conn, "client broke the protocol");
		downstream_http2_close(conn, false);
		return;
	}
	if (!conn->recv_held && conn->base.queue.bytes >= SEND_AT_ONCE_BYTES &&
	    http2_backlog(&conn->http2) > BACKLOG_MAX) {
		conn->recv_held = true;
		stream_recv_stop(&conn->base.stream);
	}
	worker_memory_look(conn->base.worker);
}

static void on_recv(struct stream *stream, struct recv_buf *buf, int result)
{
	struct downstream_http2 *conn = stream_conn(stream);

	(void)result;
	if (!buf) {
		conn->base.eof = true;
		if (conn->state == HTTP2_CONN_LINGER)
			downstream_http2_close(conn, false);
		else
			client_gone(conn);
		return;
	}
	if (conn->state == HTTP2_CONN_OPEN) {
		feed(conn, buf, 0);
	} else {
		conn->linger_bytes += buf->len;
		if (conn->linger_bytes > LINGER_BYTES)
			downstream_http2_close(conn, false);
	}
	recv_buf_unref(buf);
	if (conn->state == HTTP2_CONN_OPEN)
		downstream_http2_flush_soon(conn);
}

/* ---- life ---- */

static void conn_gone(struct downstream_http2 *conn)
{
	while (!list_is_empty(&conn->streams))
		downstream_http2_stream_done(
			list_first(&conn->streams, struct downstream_stream, link));
	http2_done(&conn->http2);
	send_queue_clear(&conn->base.queue);
	downstream_http2_chunks_done(conn);
	downstream_closed(&conn->base);
}

static void flush_task(struct loop_task *task)
{
	struct downstream_http2 *conn = CONTAINER_OF(task, struct downstream_http2, flush_task);

	conn->flush_queued = false;
	if (conn->closed)
		conn_gone(conn);
	else
		downstream_http2_flush(conn);
}

static void on_closed(struct stream *stream)
{
	struct downstream_http2 *conn = stream_conn(stream);

	conn->closed = true;
	if (!conn->flush_queued)
		conn_gone(conn);
}

static const struct stream_ops stream_ops = {
	.on_recv = on_recv,
	.on_sent = downstream_http2_on_sent,
	.on_closed = on_closed,
};

static bool is_idle(const struct downstream *base)
{
	const struct downstream_http2 *conn =
		CONTAINER_OF(base, const struct downstream_http2, base);

	return conn->state == HTTP2_CONN_OPEN && !conn->stream_count;
}

static const struct downstream_ops conn_ops = {
	.drain = downstream_http2_drain,
	.abort = downstream_http2_abort,
	.relieve = downstream_http2_relieve,
	.is_idle = is_idle,
	.on_due = downstream_http2_on_due,
};

void downstream_http2_start(struct downstream *base)
{
	struct downstream_http2 *conn = downstream_http2(base);
	const struct http2_config config = {
		.ops = &downstream_http2_codec_ops,
		.limits = &conn->limits,
		.max_streams = base->listener->http2.max_concurrent_streams,
		.stream_window_bytes = HTTP2_STREAM_WINDOW,
		.connection_window_bytes = HTTP2_WINDOW,
		.account = &base->worker->memory.counted_bytes,
	};

	memset((char *)conn + sizeof(conn->base), 0, sizeof(*conn) - sizeof(conn->base));
	conn->limits = base->listener->http1;
	conn->header_timeout_ms = base->listener->header_timeout_ms;
	list_init(&conn->streams);
	list_init(&conn->moved);
	conn->first = true;
	conn->begin_ms = base->moved_ms;
	conn->flush_task.run = flush_task;
	base->ops = &conn_ops;
	base->stream.ops = &stream_ops;
	worker_count(base->worker, HTTP_COUNTER_HTTP2_CONNECTIONS);
	if (http2_init(&conn->http2, &config) < 0) {
		downstream_http2_close(conn, false);
		return;
	}
	stream_recv_start(&base->stream, RECV_MANY);
	while (base->pending_count && conn->state == HTTP2_CONN_OPEN) {
		struct recv_buf *buf = base->pending[0];
		size_t from = base->pending_pos;

		recv_buf_ref(buf);
		downstream_pending_consume(base, buf->len - from);
		feed(conn, buf, from);
		recv_buf_unref(buf);
	}
	if (conn->state == HTTP2_CONN_OPEN)
		downstream_http2_flush_soon(conn);
}

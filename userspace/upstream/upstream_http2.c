#include "upstream/upstream_http2.h"

#include <errno.h>
#include <stdlib.h>

#include "base/event.h"
#include "base/log.h"
#include "base/util.h"

/* How long an endpoint may take nothing of what is said at the end of a connection. */
#define BYE_MS	1000
#define TOLD_MS 10000
/* Frames that wait, with a full send queue, at which we stop receiving what asks for more. */
#define BACKLOG_MAX 64

static void flush(struct upstream_conn *conn);

/* ---- life ---- */

static void gone(struct upstream_http2 *http2)
{
	upstream_conn_put(http2->conn);
}

static void flush_task(struct loop_task *task)
{
	struct upstream_http2 *http2 = CONTAINER_OF(task, struct upstream_http2, flush_task);

	http2->flush_queued = false;
	if (http2->gone)
		gone(http2);
	else
		flush(http2->conn);
}

int upstream_http2_new(struct upstream_conn *conn, const struct upstream_conf *upstream)
{
	struct upstream_pools *pools = conn->pools;
	const struct http2_config config = {
		.ops = &upstream_stream_ops,
		.limits = &http1_limits_default,
		.client = true,
		.stream_window_bytes = UPSTREAM_STREAM_WINDOW,
		.connection_window_bytes = UPSTREAM_HTTP2_WINDOW,
		.account = &pools->http2_bytes,
	};
	struct upstream_http2 *http2 = calloc(1, sizeof(*http2));

	if (!http2)
		return -ENOMEM;
	if (http2_init(&http2->http2, &config) < 0) {
		free(http2);
		return -ENOMEM;
	}
	http2->conn = conn;
	list_init(&http2->streams);
	list_init(&http2->eventful);
	list_init(&http2->moved);
	http2->streams_limit = http2->streams_max = (unsigned int)upstream->limits.streams;
	http2->flush_task.run = flush_task;
	send_chunks_init(&http2->chunks, &pools->chunks);
	conn->http2 = http2;
	pools->http2_bytes += sizeof(*http2);
	return 0;
}

void upstream_http2_free(struct upstream_http2 *http2)
{
	if (!http2)
		return;
	http2_done(&http2->http2);
	send_chunks_done(&http2->chunks);
	http2->conn->pools->http2_bytes -= sizeof(*http2);
	free(http2);
}

static void on_closed(struct stream *stream)
{
	struct upstream_conn *conn = CONTAINER_OF(stream, struct upstream_conn, stream);

	conn->http2->gone = true;
	if (!conn->http2->flush_queued)
		gone(conn->http2);
}

bool upstream_http2_is_dead(const struct upstream_conn *conn)
{
	return conn->http2->dead;
}

static bool takes_more(const struct upstream_http2 *http2)
{
	return !http2->retiring && !http2->dead && !http2->send_failed &&
	       http2_takes_requests(&http2->http2);
}

/* ---- ends ---- */

/* Its last words go out, if the endpoint takes them. */
static void say_bye(struct upstream_conn *conn)
{
	struct upstream_http2 *http2 = conn->http2;

	http2->saying_bye = http2->dead = true;
	upstream_pools_share(conn, false);
	timer_start(conn->pools->loop, &conn->timer, BYE_MS);
	upstream_http2_flush_soon(conn);
}

static void fail_streams(struct upstream_conn *conn, enum upstream_error error, const char *detail)
{
	struct upstream_http2 *http2 = conn->http2;
	bool along = false;

	http2->dead = true;
	upstream_pools_share(conn, false);
	/* Owners may end others in their events. */
	while (!list_is_empty(&http2->streams)) {
		upstream_stream_lost(list_first(&http2->streams, struct upstream_stream, link),
				     error, detail, along);
		along = true;
	}
}

void upstream_http2_failed(struct upstream_conn *conn, enum upstream_error error,
			   const char *detail)
{
	if (conn->state == UPSTREAM_CONN_CLOSING)
		return;
	if (conn->state != UPSTREAM_CONN_IDLE)
		fail_streams(conn, error, detail);
	upstream_conn_close(conn);
}

/* What the endpoint did is against the rules: it is told so, and its owner. */
static void broke(struct upstream_conn *conn)
{
	struct upstream_http2 *http2 = conn->http2;
	const struct endpoint *endpoint = conn->endpoint;
	uint64_t now_ms = loop_now_ms(conn->pools->loop);
	const char *text = http2->http2.calmed ? http2_abuse_text(http2->http2.calmed_for)
					       : "the connection breaks HTTP/2";

	if (conn->state == UPSTREAM_CONN_CONNECTING) {
		upstream_http2_failed(conn, UPSTREAM_E_HTTP2, "no SETTINGS came first");
		return;
	}
	if (!conn->pools->http2_told_ms || now_ms - conn->pools->http2_told_ms >= TOLD_MS) {
		char object[EVENT_OBJECT_MAX];
		int len = snprintf(object, sizeof(object), "%s %s", endpoint->entry.name,
				   endpoint->entry.address);

		conn->pools->http2_told_ms = now_ms;
		log_warn("upstream", "HTTP/2 connection to %s is ended: %s", object, text);
		event_publish(EVENT_PROTOCOL_ABUSE,
			      str_make(object, MIN((size_t)MAX(len, 0), sizeof(object) - 1)),
			      "HTTP/2 of an upstream: %s", text);
	}
	if (conn->state == UPSTREAM_CONN_IDLE) {
		endpoint_count(conn->endpoint, conn->pools->worker_index,
			       ENDPOINT_COUNTER_PROTOCOL_ERRORS);
		upstream_pools_remove_idle(conn);
		conn->state = UPSTREAM_CONN_ACTIVE;
	} else {
		fail_streams(conn, UPSTREAM_E_PROTOCOL, text);
	}
	say_bye(conn);
}

void upstream_http2_on_timer(struct timer *timer)
{
	struct upstream_conn *conn = CONTAINER_OF(timer, struct upstream_conn, timer);

	if (conn->state == UPSTREAM_CONN_CONNECTING) {
		upstream_http2_failed(conn, UPSTREAM_E_CONNECT_TIMEOUT,
				      conn->http2->begun ? "no SETTINGS came" : NULL);
	} else if (conn->state == UPSTREAM_CONN_IDLE) {
		upstream_pools_remove_idle(conn);
		conn->state = UPSTREAM_CONN_ACTIVE;
		http2_goaway(&conn->http2->http2, NGHTTP2_NO_ERROR);
		say_bye(conn);
	} else {
		upstream_conn_close(conn);
	}
}

void upstream_http2_rearrange(struct upstream_conn *conn)
{
	struct upstream_http2 *http2 = conn->http2;

	if (conn->state == UPSTREAM_CONN_CLOSING || conn->state == UPSTREAM_CONN_IDLE)
		return;
	/* Others have waited longer for the place than it may be busy here. */
	if (UNLIKELY(atomic_load_explicit(&conn->local->state->waiting, memory_order_relaxed)) &&
	    upstream_queue_yields(conn->local))
		http2->retiring = true;
	if (http2->stream_count) {
		upstream_pools_share(conn,
				     takes_more(http2) && http2->stream_count < http2->streams_max);
		return;
	}
	upstream_pools_share(conn, false);
	if (conn->state == UPSTREAM_CONN_CONNECTING) {
		upstream_conn_close(conn); /* nobody waits for it any more */
	} else if (takes_more(http2) && upstream_pools_keep_idle(conn)) {
		timer_start(conn->pools->loop, &conn->timer, conn->idle_timeout_ms);
	} else if (http2->send_failed) {
		upstream_conn_close(conn);
	} else {
		http2_goaway(&http2->http2, NGHTTP2_NO_ERROR);
		say_bye(conn);
	}
}

/* ---- sending ---- */

void upstream_http2_flush_soon(struct upstream_conn *conn)
{
	struct upstream_http2 *http2 = conn->http2;

	if (http2->flush_queued || conn->state == UPSTREAM_CONN_CLOSING)
		return;
	http2->flush_queued = true;
	loop_defer(conn->pools->loop, &http2->flush_task);
}

/* False: out of memory. */
static bool pull(struct upstream_conn *conn)
{
	struct upstream_http2 *http2 = conn->http2;

	while (conn->queue.bytes < SEND_AT_ONCE_BYTES) {
		struct str bytes;

		if (http2_pull(&http2->http2, &bytes) < 0 ||
		    send_chunks_write(&http2->chunks, &conn->queue, bytes) < 0)
			return false;
		if (!bytes.len)
			return true;
	}
	return true;
}

/* Everything that was said, and all that it makes owners say. */
static void flush(struct upstream_conn *conn)
{
	struct upstream_http2 *http2 = conn->http2;
	struct send_queue *queue = &conn->queue;

	if (conn->state == UPSTREAM_CONN_CLOSING || !http2->begun)
		return;
	if (!queue->in_flight && !http2->send_failed) {
		if (!pull(conn)) {
			upstream_http2_failed(conn, UPSTREAM_E_LOCAL,
					      "no memory for the connection");
			return;
		}
		queue->quiet = !http2_wants_to_write(&http2->http2) && !http2->saying_bye;
		if (http2->http2.broken && !http2->saying_bye) {
			broke(conn);
			return;
		}
		/* A failed send shows on the receiving side. */
		if (send_queue_flush(queue, &conn->stream) < 0)
			http2->send_failed = http2->retiring = true;
	}
	if (http2->saying_bye) {
		if (http2->send_failed || send_queue_is_empty(queue))
			upstream_conn_close(conn);
		return;
	}
	upstream_stream_settle(http2);
	upstream_stream_tell_moved(http2);
	if (UNLIKELY(conn->local->waiting_count))
		upstream_queue_run(conn->local);
}

static void on_sent(struct stream *stream, int64_t result)
{
	struct upstream_conn *conn = CONTAINER_OF(stream, struct upstream_conn, stream);
	struct upstream_http2 *http2 = conn->http2;

	if (UNLIKELY(!http2->begun)) {
		upstream_tls_opened(conn, result);
		return;
	}
	send_queue_sent(&conn->queue, result);
	if (result < 0) {
		http2->send_failed = http2->retiring = true;
		send_queue_clear(&conn->queue);
		upstream_http2_rearrange(conn);
	}
	send_chunks_sent(&http2->chunks, &conn->queue);
	if (http2->recv_held && conn->queue.bytes < SEND_AT_ONCE_BYTES) {
		http2->recv_held = false;
		stream_recv_start(stream, RECV_MANY);
	}
	flush(conn);
}

/* ---- receiving ---- */

static void adopt_limit(struct upstream_http2 *http2)
{
	unsigned int max = MIN(http2->streams_limit, http2_streams_max(&http2->http2));

	if (LIKELY(max == http2->streams_max))
		return;
	http2->streams_max = max;
	upstream_http2_rearrange(http2->conn);
}

/* The endpoint's SETTINGS are here: what waited for them goes out, as many as it takes. */
static void begin_calls(struct upstream_conn *conn)
{
	struct upstream_http2 *http2 = conn->http2;
	struct list waiting;
	unsigned int sent = 0;

	if (http2_streams_max(&http2->http2) == 0) {
		upstream_http2_failed(conn, UPSTREAM_E_HTTP2, "it allows no streams");
		return;
	}
	timer_stop(&conn->timer);
	conn->state = UPSTREAM_CONN_ACTIVE;
	adopt_limit(http2);
	list_init(&waiting);
	while (!list_is_empty(&http2->streams)) {
		struct list *link = http2->streams.next;

		list_remove(link);
		list_push_back(&waiting, link);
	}
	while (!list_is_empty(&waiting)) {
		struct upstream_stream *stream = list_first(&waiting, struct upstream_stream, link);

		list_remove(&stream->link);
		list_push_back(&http2->streams, &stream->link);
		stream->call->connected_ns = loop_now_ns(conn->pools->loop);
		if (sent++ >= http2->streams_max) {
			upstream_call_move(stream->call);
		} else if (upstream_stream_submit(stream) < 0) {
			stream->cancel_error = NGHTTP2_CANCEL;
			upstream_call_fail(stream->call, UPSTREAM_E_LOCAL, NULL);
		} else {
			upstream_stream_restart_timer(stream);
		}
	}
}

static void feed(struct upstream_conn *conn, struct recv_buf *buf)
{
	struct upstream_http2 *http2 = conn->http2;
	int ret;

	http2->received_ms = loop_now_ms(conn->pools->loop);
	http2->feeding = buf;
	ret = http2_feed(&http2->http2, recv_buf_str(buf), http2->received_ms);
	http2->feeding = NULL;
	if (conn->state == UPSTREAM_CONN_CLOSING)
		return;
	if (ret == -ENOMEM || !pull(conn)) {
		upstream_http2_failed(conn, UPSTREAM_E_LOCAL, "no memory for the connection");
		return;
	}
	if (http2->http2.calmed || ret < 0 || http2->http2.broken) {
		/* Whole answers that came before are given out. */
		if (conn->state != UPSTREAM_CONN_CONNECTING && !http2->http2.calmed)
			upstream_stream_settle(http2);
		if (conn->state != UPSTREAM_CONN_CLOSING && !http2->saying_bye)
			broke(conn);
		return;
	}
	if (UNLIKELY(conn->state == UPSTREAM_CONN_CONNECTING) && http2->http2.settings_received)
		begin_calls(conn);
	if (conn->state == UPSTREAM_CONN_CLOSING)
		return;
	adopt_limit(http2);
	upstream_stream_settle(http2);
	if (conn->state == UPSTREAM_CONN_CLOSING)
		return;
	if (conn->state == UPSTREAM_CONN_IDLE && !takes_more(http2)) {
		upstream_conn_close(conn);
		return;
	}
	if (!http2->recv_held && conn->queue.bytes >= SEND_AT_ONCE_BYTES &&
	    http2_backlog(&http2->http2) > BACKLOG_MAX) {
		http2->recv_held = true;
		stream_recv_stop(&conn->stream);
	}
	upstream_http2_flush_soon(conn);
}

static void ended(struct upstream_conn *conn, int result)
{
	if (conn->http2->saying_bye)
		upstream_conn_close(conn);
	/* Under TLS 1.3 a server refuses our certificate when we are through already. */
	else if (conn->tls && result == -EPROTO)
		upstream_http2_failed(conn, UPSTREAM_E_TLS, stream_error_text(&conn->stream));
	else if (conn->state == UPSTREAM_CONN_CONNECTING)
		upstream_http2_failed(conn, UPSTREAM_E_HTTP2, "it closed before its SETTINGS");
	else
		upstream_http2_failed(conn, UPSTREAM_E_RESET, NULL);
}

static void on_recv(struct stream *stream, struct recv_buf *buf, int result)
{
	struct upstream_conn *conn = CONTAINER_OF(stream, struct upstream_conn, stream);

	if (!buf) {
		ended(conn, result);
		return;
	}
	if (!conn->http2->saying_bye)
		feed(conn, buf);
	recv_buf_unref(buf);
}

void upstream_http2_ready(struct upstream_conn *conn)
{
	conn->http2->begun = true;
	stream_recv_start(&conn->stream, RECV_MANY);
	upstream_http2_flush_soon(conn);
}

static void on_connected(struct stream *stream, int result)
{
	struct upstream_conn *conn = CONTAINER_OF(stream, struct upstream_conn, stream);

	if (result < 0)
		upstream_conn_refused(conn, result);
	else if (conn->tls)
		upstream_tls_begin(conn);
	else
		upstream_http2_ready(conn);
}

const struct stream_ops upstream_http2_ops = {
	.on_recv = on_recv,
	.on_sent = on_sent,
	.on_connected = on_connected,
	.on_closed = on_closed,
	.on_secured = upstream_tls_on_secured,
};

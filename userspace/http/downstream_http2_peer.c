#include "http/downstream_http2.h"
#include "http/worker_internal.h"

/* After the announcement, long enough for what the client sent before it heard of it. */
#define DRAIN_NOTICE_MS 1000

static void end_by_timer(struct downstream_http2 *conn, enum http_counter counter, uint32_t error)
{
	worker_count(conn->base.worker, counter);
	conn->drain = HTTP2_DRAIN_SAID;
	http2_goaway(&conn->http2, error);
	downstream_http2_flush(conn);
}

/* ---- how slow ---- */

static void look_at_stream(struct downstream_stream *stream, uint64_t now_ms)
{
	struct downstream_http2 *conn = stream->conn;
	bool shut = stream->head_sent && stream->response.bytes &&
		    http2_window(&conn->http2, stream->wire.id) <= 0;

	if (shut)
		pace_wait(&stream->response_pace, now_ms);
	else
		pace_pause(&stream->response_pace, now_ms);
	pace_settle(&stream->response_pace, now_ms);
	pace_settle(&stream->request_pace, now_ms);
	if (shut && pace_is_spent(&stream->response_pace)) {
		worker_count(conn->base.worker, HTTP_COUNTER_SLOW_READERS);
		stream->exchange->failure = "client reads too slowly";
		http2_reset(&conn->http2, stream->wire.id, NGHTTP2_CANCEL);
	} else if (stream->wire.head_done && !stream->request_ended && !stream->response_ended &&
		   stream->request_pace.since_ms && pace_is_spent(&stream->request_pace)) {
		pace_pause(&stream->request_pace, now_ms);
		worker_count(conn->base.worker, HTTP_COUNTER_SLOW_BODIES);
		exchange_fail(stream->exchange, 408, "request body too slow");
	}
}

static void reset_reader(struct downstream_http2 *conn)
{
	worker_count(conn->base.worker, HTTP_COUNTER_SLOW_READERS);
	downstream_http2_blame(conn, "client reads too slowly");
	downstream_http2_close(conn, true);
}

static void look_at_drain(struct downstream_http2 *conn, uint64_t now_ms)
{
	if (now_ms < conn->drain_due_ms)
		return;
	if (conn->drain == HTTP2_DRAIN_WAITS) {
		conn->drain = HTTP2_DRAIN_ANNOUNCED;
		conn->drain_due_ms = now_ms + DRAIN_NOTICE_MS;
		http2_announce_end(&conn->http2);
	} else if (conn->drain == HTTP2_DRAIN_ANNOUNCED) {
		conn->drain = HTTP2_DRAIN_SAID;
		http2_goaway(&conn->http2, NGHTTP2_NO_ERROR);
	}
}

static void look(struct downstream_http2 *conn, uint64_t now_ms)
{
	list_for_each_safe (link, &conn->streams)
		look_at_stream(list_entry(link, struct downstream_stream, link), now_ms);
	if (!send_queue_is_empty(&conn->base.queue) &&
	    pace_due_ms(&conn->base.response_pace, PACE_LOOK_MS) <= now_ms &&
	    !downstream_reads_enough(&conn->base, now_ms)) {
		reset_reader(conn);
		return;
	}
	if (conn->http2.head_stream_id &&
	    now_ms - conn->http2.head_since_ms >= conn->header_timeout_ms) {
		downstream_http2_blame(conn, "header not complete in time");
		end_by_timer(conn, HTTP_COUNTER_HEADER_TIMEOUTS, NGHTTP2_PROTOCOL_ERROR);
		return;
	}
	if (!conn->http2.settings_acked && now_ms - conn->begin_ms >= conn->header_timeout_ms) {
		downstream_http2_blame(conn, "SETTINGS not acknowledged in time");
		end_by_timer(conn, HTTP_COUNTER_HEADER_TIMEOUTS, NGHTTP2_SETTINGS_TIMEOUT);
		return;
	}
	look_at_drain(conn, now_ms);
	if (!conn->stream_count && conn->drain != HTTP2_DRAIN_SAID) {
		if (conn->first && now_ms - conn->begin_ms >= conn->header_timeout_ms) {
			end_by_timer(conn, HTTP_COUNTER_HEADER_TIMEOUTS, NGHTTP2_NO_ERROR);
			return;
		}
		if (!conn->first && now_ms - conn->base.moved_ms >= conn->base.idle_timeout_ms) {
			end_by_timer(conn, HTTP_COUNTER_IDLE_TIMEOUTS, NGHTTP2_NO_ERROR);
			return;
		}
	}
	downstream_http2_flush(conn);
}

void downstream_http2_on_due(struct downstream *base, uint64_t now_ms)
{
	struct downstream_http2 *conn = downstream_http2(base);

	base->due_ms = 0;
	switch (conn->state) {
	case HTTP2_CONN_OPEN:
		look(conn, now_ms);
		downstream_http2_watch(conn); /* the flush does nothing while a send is under way */
		break;
	case HTTP2_CONN_LINGER:
		downstream_http2_close(conn, false);
		break;
	case HTTP2_CONN_CLOSING:
		break;
	}
}

/* ---- the end of the daemon ---- */

void downstream_http2_drain(struct downstream *base)
{
	struct downstream_http2 *conn = downstream_http2(base);
	struct http_worker *worker = base->worker;
	uint64_t now_ms = loop_now_ms(worker->loop);

	if (conn->state != HTTP2_CONN_OPEN || conn->drain != HTTP2_DRAIN_NO)
		return;
	if (!conn->stream_count) {
		conn->drain = HTTP2_DRAIN_SAID;
		http2_goaway(&conn->http2, NGHTTP2_NO_ERROR);
	} else {
		/* Not all clients at once: they come back to whoever is left. */
		conn->drain = HTTP2_DRAIN_WAITS;
		conn->drain_due_ms = now_ms + random_below(&worker->random,
							   (uint32_t)(worker->drain_ms / 2 + 1));
	}
	downstream_http2_flush(conn);
	downstream_http2_watch(conn);
}

void downstream_http2_abort(struct downstream *base)
{
	struct downstream_http2 *conn = downstream_http2(base);

	downstream_http2_blame(conn, "this server stopped");
	list_for_each (link, &conn->streams)
		list_entry(link, struct downstream_stream, link)->exchange->tunnel.polite = true;
	downstream_http2_close(conn, conn->state != HTTP2_CONN_LINGER);
}

/* ---- memory is short ---- */

void downstream_http2_relieve(struct downstream *base, struct downstream_relief *relief)
{
	struct downstream_http2 *conn = downstream_http2(base);

	if (conn->state == HTTP2_CONN_LINGER && relief->level >= MEMORY_SHRINK)
		downstream_http2_close(conn, false);
	if (conn->state != HTTP2_CONN_OPEN)
		return;
	if (downstream_is_stalled(base, relief)) {
		worker_count(base->worker, HTTP_COUNTER_MEMORY_RESET);
		downstream_http2_blame(conn, "client reads too slowly, memory is short");
		downstream_http2_close(conn, true);
		return;
	}
	list_for_each_safe (link, &conn->streams) {
		struct downstream_stream *stream = list_entry(link, struct downstream_stream, link);
		bool shut = stream->head_sent && stream->response.weight_bytes &&
			    http2_window(&conn->http2, stream->wire.id) <= 0;

		if (shut && relief->level >= MEMORY_SHRINK) {
			worker_count(base->worker, HTTP_COUNTER_MEMORY_RESET);
			stream->exchange->failure = "client reads too slowly, memory is short";
			http2_reset(&conn->http2, stream->wire.id, NGHTTP2_CANCEL);
		} else if (relief->level >= MEMORY_SHED && stream->held.bytes) {
			worker_count(base->worker, HTTP_COUNTER_MEMORY_SHED);
			exchange_fail(stream->exchange, 503, "memory is short");
		}
	}
	downstream_http2_flush_soon(conn);
}

#include "http/downstream_http2.h"
#include "http/forwarding.h"
#include "http/worker_internal.h"

static uint64_t conn_now_ms(const struct downstream_http2 *conn)
{
	return loop_now_ms(conn->base.worker->loop);
}

static struct http2_stream *on_stream(struct http2 *http2, int32_t id)
{
	struct downstream_http2 *conn = http2_conn(http2);
	struct http_worker *worker = conn->base.worker;
	struct downstream_stream *stream;
	struct exchange *exchange;

	(void)id;
	if (conn->state != HTTP2_CONN_OPEN || conn->drain == HTTP2_DRAIN_SAID)
		return NULL;
	if (!downstream_resolve(&conn->base)) {
		/* Its listener is gone: what is asked anew has to come anew. */
		worker_count(worker, HTTP_COUNTER_NO_LISTENER);
		conn->drain = HTTP2_DRAIN_SAID;
		http2_goaway(http2, NGHTTP2_NO_ERROR);
		return NULL;
	}
	downstream_take_pace(&conn->base);
	exchange = exchange_new(&conn->base, &downstream_http2_ops, NULL);
	if (!exchange)
		return NULL;
	stream = arena_alloc_zero(&exchange->arena, sizeof(*stream));
	if (!stream) {
		exchange_free(exchange);
		return NULL;
	}
	exchange->stream = stream;
	stream->exchange = exchange;
	stream->conn = conn;
	http2_fields_init(&stream->wire.fields, &exchange->arena);
	send_queue_init(&stream->response, &worker->segments);
	send_queue_init(&stream->held, &worker->segments);
	list_init(&stream->moved_link);
	list_push_back(&conn->streams, &stream->link);
	conn->stream_count++;
	conn->first = false;
	worker_count(worker, HTTP_COUNTER_HTTP2_STREAMS);
	return &stream->wire;
}

/* Whoever speaks of https must have come by TLS, or through a proxy that we trust. */
static bool scheme_is_ours(const struct downstream_http2 *conn, struct str scheme)
{
	return !str_eq(scheme, STR("https")) || conn->base.origin_tls ||
	       trusted_proxies_have(&conn->base.worker->config->snapshot->node.trusted_proxies,
				    &conn->base.origin.source);
}

static void on_head(struct http2 *http2, struct http2_stream *wire, bool end)
{
	struct downstream_http2 *conn = http2_conn(http2);
	struct downstream_stream *stream = http2_conn_stream(wire);
	struct exchange *exchange = stream->exchange;
	struct http_head *request = &exchange->request;
	struct str scheme;
	int error = http2_fields_request(&wire->fields, end, request, &scheme);

	pace_init(&stream->response_pace,
		  pace_first_credit_ms(conn->base.min_body_rate, conn->base.idle_timeout_ms));
	/* Who may wait for our 100 is not slow yet (RFC 9110 10.1.1). */
	pace_init(&stream->request_pace,
		  request->expect_continue ? conn->base.idle_timeout_ms
					   : pace_first_credit_ms(conn->base.min_body_rate,
								  conn->base.idle_timeout_ms));
	stream->request_ended = exchange->request_done = end;
	if (!end && !request->protocol.ptr) /* what may become a tunnel may be silent */
		pace_wait(&stream->request_pace, conn_now_ms(conn));
	worker_memory_look(conn->base.worker);
	if (error) {
		downstream_count_bad_request(&conn->base);
		exchange_fail(exchange, http1_error_status((enum http1_error) - error),
			      http1_error_text((enum http1_error) - error));
		return;
	}
	if (worker_memory_sheds(&conn->base.worker->memory)) {
		worker_count(conn->base.worker, HTTP_COUNTER_MEMORY_SHED);
		exchange_fail(exchange, 503, "memory is short");
		return;
	}
	if (!scheme_is_ours(conn, scheme)) {
		exchange_fail(exchange, 421, "https was asked for on a connection without TLS");
		return;
	}
	stream->request_fed = true;
	exchange_start(exchange);
}

/* What was given opens the windows again. */
static void give(struct downstream_stream *stream, struct str data, struct recv_buf *buf)
{
	stream->request_fed = true;
	exchange_request_data(stream->exchange, data, buf);
	http2_consumed(&stream->conn->http2, stream->wire.id, data.len);
}

static bool is_blocked(const struct downstream_stream *stream)
{
	return !send_queue_is_empty(&stream->held) || exchange_request_blocked(stream->exchange);
}

/* Behind the answer nobody wants the request any more, but in a tunnel. */
static bool is_wanted(const struct downstream_stream *stream)
{
	return !stream->response_ended || stream->wire.two_way;
}

static void on_data(struct http2 *http2, struct http2_stream *wire, struct str data)
{
	struct downstream_http2 *conn = http2_conn(http2);
	struct downstream_stream *stream = http2_conn_stream(wire);

	pace_settle(&stream->request_pace, conn_now_ms(conn));
	pace_earn(&stream->request_pace, data.len, conn->base.min_body_rate,
		  conn->base.idle_timeout_ms);
	if (!is_wanted(stream)) {
		http2_consumed(http2, wire->id, data.len);
	} else if (!is_blocked(stream)) {
		give(stream, data, conn->feeding);
	} else if (send_queue_push(&stream->held, data, conn->feeding) < 0) {
		exchange_fail(stream->exchange, 503, "out of memory for the request");
	} else if (stream->held.bytes >= HTTP2_STREAM_WINDOW / 2) {
		/* The window may be shut by now: waiting is not the client's fault. */
		pace_pause(&stream->request_pace, conn_now_ms(conn));
	}
}

static void request_over(struct downstream_stream *stream)
{
	pace_pause(&stream->request_pace, conn_now_ms(stream->conn));
	stream->request_fed = true;
	exchange_request_end(stream->exchange, stream->request_trailers,
			     stream->request_trailer_count);
}

/* The first of what is held, with a reference of its buffer. */
static struct str take_held(struct downstream_stream *stream, struct recv_buf **ret_buf)
{
	struct str data = send_queue_front(&stream->held, ret_buf);

	recv_buf_ref(*ret_buf);
	send_queue_drop(&stream->held, data.len);
	return data;
}

void downstream_http2_give_held(struct downstream_stream *stream)
{
	bool any = !send_queue_is_empty(&stream->held);

	/* What is given may be refused, which lets go of the rest: it is out of the queue by then.
	 */
	while (!send_queue_is_empty(&stream->held) &&
	       (!is_wanted(stream) || !exchange_request_blocked(stream->exchange))) {
		struct recv_buf *buf;
		struct str data = take_held(stream, &buf);

		if (!is_wanted(stream))
			http2_consumed(&stream->conn->http2, stream->wire.id, data.len);
		else
			give(stream, data, buf);
		recv_buf_unref(buf);
	}
	if (send_queue_is_empty(&stream->held)) {
		if (stream->request_ended && any && !stream->exchange->request_done)
			request_over(stream);
		else if (!stream->request_ended && !stream->exchange->request.protocol.ptr)
			pace_wait(&stream->request_pace, conn_now_ms(stream->conn));
	}
	/* Also when more is held: only what is under way brings us here again. */
	if (stream->request_fed) {
		stream->request_fed = false;
		exchange_request_flush(stream->exchange);
	}
}

static void on_end(struct http2 *http2, struct http2_stream *wire,
		   const struct http_field *trailers, unsigned int count)
{
	struct downstream_stream *stream = http2_conn_stream(wire);

	(void)http2;
	if (stream->request_ended)
		return; /* it had no body */
	stream->request_ended = true;
	stream->request_trailers = trailers;
	stream->request_trailer_count = count;
	if (send_queue_is_empty(&stream->held))
		request_over(stream);
}

void downstream_http2_stream_done(struct downstream_stream *stream)
{
	struct downstream_http2 *conn = stream->conn;

	/* What a stream held keeps nobody else's window shut. */
	if (conn->state == HTTP2_CONN_OPEN)
		http2_consumed_connection(&conn->http2, stream->held.bytes);
	send_queue_clear(&stream->held);
	send_queue_clear(&stream->response);
	list_remove(&stream->link);
	list_remove(&stream->moved_link);
	conn->stream_count--;
	exchange_free(stream->exchange); /* and the stream in its arena */
	if (!conn->stream_count)
		conn->base.moved_ms = loop_now_ms(conn->base.worker->loop);
}

/* Both sides of a tunnel have ended: what was held of it is still the upstream's. */
static void give_rest(struct downstream_stream *stream)
{
	while (!send_queue_is_empty(&stream->held)) {
		struct recv_buf *buf;
		struct str data = take_held(stream, &buf);

		give(stream, data, buf);
		recv_buf_unref(buf);
	}
	if (!stream->exchange->request_done)
		request_over(stream);
}

static void on_closed(struct http2 *http2, struct http2_stream *wire, uint32_t error)
{
	struct downstream_http2 *conn = http2_conn(http2);
	struct downstream_stream *stream = http2_conn_stream(wire);
	struct exchange *exchange = stream->exchange;

	if (wire->two_way && stream->request_ended && stream->end_sent && !error)
		give_rest(stream);
	if (!stream->end_sent) {
		if (!exchange->response_done)
			worker_count(conn->base.worker, HTTP_COUNTER_CLIENT_ABORTS);
		if (!exchange->failure)
			exchange->failure = http2->calmed ? http2_abuse_text(http2->calmed_for)
					    : error == NGHTTP2_CANCEL || error == NGHTTP2_NO_ERROR
						    ? "client reset the stream"
						    : "stream was reset";
	}
	downstream_http2_stream_done(stream);
}

const struct http2_ops downstream_http2_codec_ops = {
	.on_stream = on_stream,
	.on_head = on_head,
	.on_data = on_data,
	.on_end = on_end,
	.on_closed = on_closed,
	.on_send_ready = downstream_http2_send_ready,
	.on_send_data = downstream_http2_send_data,
	.on_send_trailers = downstream_http2_send_trailers,
};

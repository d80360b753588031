/* Streams of calls: what owners say, what the codec tells, and what owners hear of that. */
#include <errno.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "upstream/upstream_http2.h"

/* Pieces of a body up to this are copied behind their frame's head: one piece for the kernel. */
#define COPY_BYTES 2048

static struct upstream_http2 *codec_conn(struct http2 *http2)
{
	return CONTAINER_OF(http2, struct upstream_http2, http2);
}

static struct upstream_stream *codec_stream(struct http2_stream *wire)
{
	return CONTAINER_OF(wire, struct upstream_stream, wire);
}

static struct upstream_http2 *stream_conn(const struct upstream_stream *stream)
{
	return stream->call->conn->http2;
}

/* settle() looks at it. */
static void note(struct upstream_stream *stream)
{
	if (list_is_empty(&stream->event_link))
		list_push_back(&stream_conn(stream)->eventful, &stream->event_link);
}

/* ---- life ---- */

static void on_timer(struct timer *timer)
{
	struct upstream_stream *stream = CONTAINER_OF(timer, struct upstream_stream, timer);
	struct upstream_call *call = stream->call;
	struct upstream_http2 *http2 = stream_conn(stream);

	if (call->conn->state == UPSTREAM_CONN_CONNECTING) {
		upstream_call_fail(call, UPSTREAM_E_CONNECT_TIMEOUT, NULL);
		return;
	}
	/* Not a slow answer, but a connection that says nothing at all: others need not try it. */
	if (http2->received_ms < stream->submitted_ms)
		http2->retiring = true;
	upstream_call_fail(call, UPSTREAM_E_TIMEOUT, NULL);
}

struct upstream_stream *upstream_stream_new(struct upstream_call *call)
{
	struct upstream_stream *stream = arena_new(call->arena, struct upstream_stream);

	if (!stream || upstream_fields_read(call->arena, call->head, call->upstream->tls != NULL,
					    &stream->fields, &stream->field_count) < 0)
		return NULL;
	stream->call = call;
	list_init(&stream->link);
	list_init(&stream->event_link);
	list_init(&stream->moved_link);
	timer_init(&stream->timer, on_timer);
	send_queue_init(&stream->body, call->pools->segments);
	send_queue_init(&stream->held, call->pools->segments);
	return stream;
}

void upstream_stream_done(struct upstream_stream *stream)
{
	timer_stop(&stream->timer);
	send_queue_clear(&stream->body);
	send_queue_clear(&stream->held);
}

static bool ends_with_head(const struct upstream_stream *stream)
{
	return stream->call->framing == HTTP_FRAMING_NONE ||
	       (stream->call->request_done && send_queue_is_empty(&stream->body) &&
		!stream->trailer_count);
}

int upstream_stream_submit(struct upstream_stream *stream)
{
	struct upstream_http2 *http2 = stream_conn(stream);
	bool end = ends_with_head(stream);
	int ret;

	http2_fields_init(&stream->wire.fields, stream->call->arena);
	ret = http2_submit_request(&http2->http2, &stream->wire, stream->fields,
				   stream->field_count, end);
	if (ret == -ENOTCONN) {
		/* It has just stopped taking requests, and we have not heard of that yet. */
		http2->retiring = stream->closed = true;
		stream->closed_error = NGHTTP2_REFUSED_STREAM;
		note(stream);
		upstream_http2_flush_soon(http2->conn);
		return 0;
	}
	if (ret < 0)
		return ret;
	upstream_call_count(stream->call, ENDPOINT_COUNTER_REQUESTS);
	stream->open = true;
	stream->end_sent = end;
	stream->submitted_ms = upstream_call_now_ms(stream->call);
	list_push_back(&http2->moved, &stream->moved_link);
	upstream_http2_flush_soon(http2->conn);
	return 0;
}

int upstream_http2_add(struct upstream_conn *conn, struct upstream_call *call)
{
	struct upstream_http2 *http2 = conn->http2;
	struct upstream_stream *stream = call->stream;
	int ret = 0;

	stream->wire = (struct http2_stream){0};
	stream->open = stream->head_held = stream->ended = stream->closed = false;
	stream->end_sent = stream->refused = false;
	stream->unread_bytes = 0;
	stream->answer_trailer_count = 0;
	stream->bad_head = 0;
	stream->cancel_error = NGHTTP2_CANCEL;
	list_push_back(&http2->streams, &stream->link);
	http2->stream_count++;
	if (conn->state == UPSTREAM_CONN_IDLE) {
		timer_stop(&conn->timer);
		conn->state = UPSTREAM_CONN_ACTIVE;
	}
	if (conn->state == UPSTREAM_CONN_ACTIVE)
		ret = upstream_stream_submit(stream);
	else if (!timer_is_running(&conn->timer))
		timer_start(conn->pools->loop, &conn->timer, call->upstream->connect_timeout_ms);
	upstream_http2_rearrange(conn);
	upstream_stream_restart_timer(stream);
	return ret;
}

void upstream_http2_remove(struct upstream_stream *stream)
{
	struct upstream_http2 *http2 = stream_conn(stream);

	timer_stop(&stream->timer);
	list_remove(&stream->link);
	list_remove(&stream->event_link);
	list_remove(&stream->moved_link);
	if (http2->giving == stream)
		http2->giving = NULL;
	if (stream->open)
		http2_cancel(&http2->http2, &stream->wire, stream->cancel_error);
	stream->open = false;
	send_queue_clear(&stream->held);
	http2->stream_count--;
	if (http2->dead)
		return;
	upstream_http2_rearrange(http2->conn);
	upstream_http2_flush_soon(http2->conn);
}

/* ---- timers: which one runs follows from what is waited for ---- */

void upstream_stream_restart_timer(struct upstream_stream *stream)
{
	struct upstream_call *call = stream->call;
	struct loop *loop = call->pools->loop;

	if (call->conn->state == UPSTREAM_CONN_CONNECTING) {
		/* The connection has a timer of its own. */
		if (call->try_deadline_ms)
			timer_start(
				loop, &stream->timer,
				upstream_call_time_left(call, call->upstream->connect_timeout_ms));
	} else if (!stream->wire.sent || !send_queue_is_empty(&stream->body) ||
		   (call->request_done && !stream->end_sent)) {
		timer_start(loop, &stream->timer, call->upstream->idle_timeout_ms);
	} else if (call->paused || !call->request_done) {
		timer_stop(&stream->timer); /* waiting for the owner, whose timers run */
	} else if (!call->head_done) {
		timer_start(loop, &stream->timer, upstream_call_await_head(call));
	} else {
		timer_start(loop, &stream->timer, call->upstream->idle_timeout_ms);
	}
}

/* ---- what owners say ---- */

void upstream_http2_send(struct upstream_call *call, struct str data, struct recv_buf *buf)
{
	struct upstream_stream *stream = call->stream;

	/* A body with a hole must not go out: the codec's flush finds `failed`. */
	if (call->conn || call->waiting)
		(void)send_queue_push(&stream->body, data, buf);
}

void upstream_http2_send_end(struct upstream_call *call, const struct http_field *trailers,
			     unsigned int trailer_count)
{
	struct upstream_stream *stream = call->stream;

	if (trailer_count &&
	    upstream_fields_trailers(call->arena, trailers, trailer_count, &stream->trailers,
				     &stream->trailer_count) < 0)
		stream->body.failed = true;
}

static void out_of_memory(struct upstream_stream *stream)
{
	stream->bad_head = -(int)HTTP1_E_NO_MEMORY;
	note(stream);
	upstream_http2_flush_soon(stream->call->conn);
}

void upstream_http2_flush(struct upstream_call *call)
{
	struct upstream_stream *stream = call->stream;
	struct upstream_http2 *http2 = stream_conn(stream);

	if (stream->body.failed) {
		out_of_memory(stream);
		return;
	}
	if (stream->open && !stream->end_sent &&
	    (!send_queue_is_empty(&stream->body) || call->request_done))
		http2_resume(&http2->http2, stream->wire.id);
	upstream_http2_flush_soon(call->conn);
	upstream_stream_restart_timer(stream);
}

void upstream_http2_pause(struct upstream_call *call)
{
	call->paused = true;
	upstream_stream_restart_timer(call->stream);
}

void upstream_http2_resume(struct upstream_call *call)
{
	struct upstream_stream *stream = call->stream;
	struct upstream_http2 *http2 = stream_conn(stream);

	call->paused = false;
	if (stream->open)
		http2_consumed_stream(&http2->http2, stream->wire.id, stream->unread_bytes);
	stream->unread_bytes = 0;
	upstream_http2_flush_soon(call->conn);
	upstream_stream_restart_timer(stream);
}

/* ---- the codec asks for data ---- */

static size_t on_send_ready(struct http2 *http2, struct http2_stream *wire, size_t max,
			    bool *ret_end)
{
	struct upstream_stream *stream = codec_stream(wire);
	size_t bytes = MIN(stream->body.bytes, max);

	(void)http2;
	if (stream->body.failed)
		return 0;
	*ret_end = stream->call->request_done && bytes == stream->body.bytes;
	stream->end_sent |= *ret_end;
	return bytes;
}

static bool on_send_data(struct http2 *http2, struct http2_stream *wire, const uint8_t *head,
			 size_t bytes)
{
	struct upstream_http2 *conn = codec_conn(http2);
	struct upstream_stream *stream = codec_stream(wire);
	struct send_queue *queue = &conn->conn->queue;

	if (send_chunks_write(&conn->chunks, queue,
			      str_make((const char *)head, HTTP2_FRAME_HEAD)) < 0)
		return false;
	stream->call->body_taken |= bytes > 0;
	while (bytes) {
		struct recv_buf *buf;
		struct str front = send_queue_front(&stream->body, &buf);
		size_t len = MIN(front.len, bytes);

		/* What no buffer keeps may go before it is sent. */
		if (!buf || len <= COPY_BYTES) {
			if (send_chunks_write(&conn->chunks, queue, str_make(front.ptr, len)) < 0)
				return false;
			send_queue_drop(&stream->body, len);
		} else {
			if (send_queue_move(queue, &stream->body, len) < 0)
				return false;
			send_chunks_pushed(&conn->chunks, len);
		}
		bytes -= len;
	}
	if (list_is_empty(&stream->moved_link))
		list_push_back(&conn->moved, &stream->moved_link);
	return true;
}

static bool on_send_trailers(struct http2 *http2, struct http2_stream *wire)
{
	struct upstream_stream *stream = codec_stream(wire);

	return stream->trailer_count &&
	       http2_submit_trailers(http2, wire->id, stream->trailers, stream->trailer_count) == 0;
}

/* ---- what the codec tells ---- */

static void on_head(struct http2 *http2, struct http2_stream *wire, bool end)
{
	struct upstream_stream *stream = codec_stream(wire);
	struct upstream_call *call = stream->call;

	(void)http2;
	if (stream->bad_head)
		return;
	stream->bad_head =
		http2_fields_response(&wire->fields, call->method_id, end, &stream->head);
	if (!stream->bad_head && stream->head.status >= 200) {
		stream->head_held = true;
	} else if (!stream->bad_head) {
		if (++call->informational_count <= UPSTREAM_INFORMATIONAL_MAX) {
			note(stream);
			call->ops->on_head(call, &stream->head);
			return; /* the call may be over */
		}
		stream->bad_head = -(int)HTTP1_E_STATUS_LINE;
	}
	note(stream);
}

/* To the owner. False: the call has left the connection. */
static bool give_data(struct upstream_stream *stream, struct str data, struct recv_buf *buf)
{
	struct upstream_http2 *http2 = stream_conn(stream);
	struct upstream_call *call = stream->call;
	struct upstream_stream *before = http2->giving; /* this one, or none */

	/* Owners may pause for this very piece: it counts as theirs then. */
	stream->unread_bytes += data.len;
	http2->giving = stream;
	call->ops->on_data(call, data, buf);
	if (http2->giving != stream)
		return false;
	http2->giving = before;
	if (!call->paused) {
		if (stream->open)
			http2_consumed_stream(&http2->http2, stream->wire.id, stream->unread_bytes);
		stream->unread_bytes = 0;
	}
	return true;
}

static void on_data(struct http2 *http2, struct http2_stream *wire, struct str data)
{
	struct upstream_http2 *conn = codec_conn(http2);
	struct upstream_stream *stream = codec_stream(wire);

	http2_consumed_connection(http2, data.len);
	if (stream->bad_head)
		return;
	note(stream);
	if (!stream->head_held)
		(void)give_data(stream, data, conn->feeding);
	else if (send_queue_push(&stream->held, data, conn->feeding) < 0)
		stream->bad_head = -(int)HTTP1_E_NO_MEMORY;
}

static void on_end(struct http2 *http2, struct http2_stream *wire,
		   const struct http_field *trailers, unsigned int count)
{
	struct upstream_stream *stream = codec_stream(wire);

	(void)http2;
	stream->ended = true;
	stream->answer_trailers = trailers;
	stream->answer_trailer_count = count;
	note(stream);
}

static void on_closed(struct http2 *http2, struct http2_stream *wire, uint32_t error)
{
	struct upstream_stream *stream = codec_stream(wire);

	(void)http2;
	stream->open = false;
	stream->closed = true;
	stream->closed_error = error;
	note(stream);
}

static void on_goaway(struct http2 *http2, int32_t last_id)
{
	struct upstream_http2 *conn = codec_conn(http2);

	(void)last_id; /* the codec closes what was not looked at */
	conn->retiring = true;
	upstream_http2_rearrange(conn->conn);
}

const struct http2_ops upstream_stream_ops = {
	.on_head = on_head,
	.on_data = on_data,
	.on_end = on_end,
	.on_closed = on_closed,
	.on_send_ready = on_send_ready,
	.on_send_data = on_send_data,
	.on_send_trailers = on_send_trailers,
	.on_goaway = on_goaway,
};

/* ---- what owners hear ---- */

static void fail_head(struct upstream_stream *stream)
{
	enum http1_error error = (enum http1_error) - stream->bad_head;
	const char *text = http1_error_text(error);

	stream->cancel_error = NGHTTP2_PROTOCOL_ERROR;
	switch (error) {
	case HTTP1_E_NO_MEMORY:
		stream->cancel_error = NGHTTP2_CANCEL;
		upstream_call_fail(stream->call, UPSTREAM_E_LOCAL, "no memory for the stream");
		break;
	case HTTP1_E_HEAD_BYTES:
	case HTTP1_E_FIELD_BYTES:
	case HTTP1_E_FIELD_COUNT:
		upstream_call_fail(stream->call, UPSTREAM_E_HEAD_TOO_LARGE, text);
		break;
	default:
		if (stream->call->informational_count > UPSTREAM_INFORMATIONAL_MAX)
			text = "too many interim answers";
		upstream_call_fail(stream->call, UPSTREAM_E_PROTOCOL, text);
		break;
	}
}

/* Closed before its answer was whole. */
static void fail_closed(struct upstream_stream *stream)
{
	struct upstream_call *call = stream->call;

	if (stream->closed_error == NGHTTP2_REFUSED_STREAM) {
		/* By GOAWAY, or never sent: this connection is at its end, not the endpoint. */
		if (!stream->wire.reset_received && upstream_call_resend(call, true))
			return;
		stream->refused = true;
		upstream_call_fail(call, UPSTREAM_E_RESET, "the stream was refused");
	} else if (stream->wire.reset_received) {
		upstream_call_fail(call, UPSTREAM_E_RESET, "the stream was reset");
	} else {
		upstream_call_fail(call, UPSTREAM_E_PROTOCOL, "the stream breaks HTTP/2");
	}
}

static void finish(struct upstream_stream *stream)
{
	struct upstream_call *call = stream->call;
	const struct http_field *trailers = stream->answer_trailers;
	unsigned int count = stream->answer_trailer_count;

	/* Where our side still goes on, nobody reads it any more (RFC 9113 8.1). */
	stream->cancel_error = NGHTTP2_NO_ERROR;
	upstream_call_detach(call);
	upstream_call_over(call);
	call->ops->on_end(call, trailers, count);
}

/* False: the call has left the connection. */
static bool give_head(struct upstream_stream *stream)
{
	struct upstream_http2 *http2 = stream_conn(stream);
	struct upstream_call *call = stream->call;

	stream->head_held = false;
	if (UNLIKELY(upstream_call_answered(call, stream->head.status)))
		return false;
	call->head_done = true;
	call->head_ns = loop_now_ns(call->pools->loop);
	call->ops->on_head(call, &stream->head);
	while (http2->giving == stream && !send_queue_is_empty(&stream->held)) {
		struct recv_buf *buf;
		struct str data = send_queue_front(&stream->held, &buf);

		if (!give_data(stream, data, buf))
			return false;
		send_queue_drop(&stream->held, data.len);
	}
	return http2->giving == stream;
}

static void give(struct upstream_http2 *http2, struct upstream_stream *stream)
{
	struct upstream_call *call = stream->call;

	if (stream->bad_head) {
		fail_head(stream);
		return;
	}
	if (stream->closed && !stream->ended) {
		fail_closed(stream);
		return;
	}
	http2->giving = stream;
	if (stream->head_held && !give_head(stream))
		return;
	if (stream->ended) {
		finish(stream);
		return;
	}
	call->ops->on_batch(call);
	if (http2->giving == stream)
		upstream_stream_restart_timer(stream);
}

void upstream_stream_settle(struct upstream_http2 *http2)
{
	while (!list_is_empty(&http2->eventful)) {
		struct upstream_stream *stream =
			list_first(&http2->eventful, struct upstream_stream, event_link);

		list_remove(&stream->event_link);
		give(http2, stream);
		http2->giving = NULL;
	}
}

void upstream_stream_tell_moved(struct upstream_http2 *http2)
{
	struct list moved;

	/* What they do now may make them move again: that is for the next time. */
	list_init(&moved);
	while (!list_is_empty(&http2->moved)) {
		struct list *link = http2->moved.next;

		list_remove(link);
		list_push_back(&moved, link);
	}
	while (!list_is_empty(&moved)) {
		struct upstream_stream *stream =
			list_first(&moved, struct upstream_stream, moved_link);
		struct upstream_call *call = stream->call;

		list_remove(&stream->moved_link);
		upstream_stream_restart_timer(stream);
		if (!call->request_done && stream->body.weight_bytes < UPSTREAM_LOW_WATER)
			call->ops->on_drained(call);
	}
}

void upstream_stream_lost(struct upstream_stream *stream, enum upstream_error error,
			  const char *detail, bool along)
{
	struct upstream_call *call = stream->call;

	bool unsent = call->conn->state != UPSTREAM_CONN_CONNECTING && !stream->wire.sent;

	if ((unsent || error == UPSTREAM_E_RESET) && upstream_call_resend(call, unsent))
		return;
	if (error == UPSTREAM_E_RESET) {
		detail = call->head_done ? "inside the body" : "before the answer";
	}
	if (along)
		upstream_call_fail_along(call, error, detail);
	else
		upstream_call_fail(call, error, detail);
}

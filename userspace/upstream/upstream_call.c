#include "upstream/upstream_call.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "proto/http1/compact.h"
#include "upstream/upstream_conn.h"

/* More interim answers than any protocol needs: a flood (HARDENING 12). */
#define INFORMATIONAL_MAX 16
/* Bodies with more than this to come are received buffer by buffer, so that they can be held. */
#define LARGE_BODY_BYTES (64u * 1024)
/* Less than this is copied: a receive costs less than a poll and two splices. */
#define PIPE_LEAST_BYTES (32u * 1024)

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

static void call_count(const struct upstream_call *call, enum endpoint_counter counter)
{
	endpoint_count(call->endpoint, call->pools->worker_index, counter);
}

/* ---- ends of a call ---- */

/* The call leaves the connection, which the caller then keeps or closes. */
static void call_detach(struct upstream_conn *conn)
{
	struct upstream_call *call = conn->call;

	conn->call = NULL;
	call->conn = NULL;
	endpoint_unref(call->endpoint);
	call->endpoint = NULL;
}

static void call_fail(struct upstream_conn *conn, enum upstream_error error, const char *detail)
{
	struct upstream_call *call = conn->call;

	switch (error) {
	case UPSTREAM_E_CONNECT:
	case UPSTREAM_E_CONNECT_TIMEOUT:
		call_count(call, ENDPOINT_COUNTER_CONNECT_FAILURES);
		break;
	case UPSTREAM_E_RESET:
		call_count(call, ENDPOINT_COUNTER_RESETS);
		break;
	case UPSTREAM_E_TIMEOUT:
		call_count(call, ENDPOINT_COUNTER_TIMEOUTS);
		break;
	case UPSTREAM_E_PROTOCOL:
	case UPSTREAM_E_HEAD_TOO_LARGE:
		call_count(call, ENDPOINT_COUNTER_PROTOCOL_ERRORS);
		break;
	case UPSTREAM_E_LOCAL:
	case UPSTREAM_ERROR_COUNT:
		break;
	}
	call_detach(conn);
	upstream_conn_close(conn);
	call->ops->on_error(call, error, detail);
}

void upstream_call_abort(struct upstream_call *call)
{
	struct upstream_conn *conn = call->conn;

	if (!conn)
		return;
	call_detach(conn);
	upstream_conn_close(conn);
}

/* ---- timers: which one runs follows from what is waited for ---- */

static void conn_restart_timer(struct upstream_conn *conn)
{
	struct upstream_call *call = conn->call;
	struct loop *loop = conn->pools->loop;

	if (!call)
		return;
	if (conn->state == UPSTREAM_CONN_CONNECTING)
		timer_start(loop, &conn->timer, call->upstream->connect_timeout_ms);
	else if (!send_queue_is_empty(&conn->queue))
		timer_start(loop, &conn->timer, call->upstream->idle_timeout_ms);
	else if (call->paused || !call->request_done)
		timer_stop(&conn->timer); /* waiting for the owner, whose timers run */
	else if (!call->head_done)
		timer_start(loop, &conn->timer,
			    call->response_timeout_ms ? call->response_timeout_ms
						      : call->upstream->response_timeout_ms);
	else
		timer_start(loop, &conn->timer, call->upstream->idle_timeout_ms);
}

static void on_timer(struct timer *timer)
{
	struct upstream_conn *conn = CONTAINER_OF(timer, struct upstream_conn, timer);

	if (!conn->call)
		upstream_conn_close(conn);
	else if (conn->state == UPSTREAM_CONN_CONNECTING)
		call_fail(conn, UPSTREAM_E_CONNECT_TIMEOUT, NULL);
	else
		call_fail(conn, UPSTREAM_E_TIMEOUT, NULL);
}

/* ---- sending ---- */

static void conn_flush(struct upstream_conn *conn)
{
	/* A failed send shows on the receiving side, with the answer that may still be there. */
	if (conn->state == UPSTREAM_CONN_ACTIVE && !conn->send_failed &&
	    send_queue_flush(&conn->queue, &conn->stream) < 0)
		conn->send_failed = true;
}

static void on_sent(struct stream *stream, int64_t result)
{
	struct upstream_conn *conn = CONTAINER_OF(stream, struct upstream_conn, stream);
	struct upstream_call *call = conn->call;

	send_queue_sent(&conn->queue, result);
	if (result < 0) {
		conn->send_failed = true;
		send_queue_clear(&conn->queue);
	}
	if (!call)
		return;
	conn_flush(conn);
	conn_restart_timer(conn);
	if (!call->request_done && conn->queue.weight_bytes < UPSTREAM_LOW_WATER)
		call->ops->on_drained(call);
}

static int conn_begin(struct upstream_conn *conn)
{
	struct upstream_call *call = conn->call;
	int ret;

	buf_reset(&conn->request);
	ret = buf_append(&conn->request, call->head);
	if (ret == 0)
		ret = send_queue_push(&conn->queue, buf_str(&conn->request), NULL);
	if (ret < 0)
		return ret;
	conn->send_failed = false;
	conn->keep_alive = false;
	conn->scan = 0;
	if (conn->state == UPSTREAM_CONN_IDLE)
		conn->state = UPSTREAM_CONN_ACTIVE;
	conn_restart_timer(conn);
	call_count(call, ENDPOINT_COUNTER_REQUESTS);
	return 0;
}

void upstream_call_send(struct upstream_call *call, struct str data, struct recv_buf *buf)
{
	struct upstream_conn *conn = call->conn;
	char chunk[HTTP1_CHUNK_HEAD_MAX];

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
	(void)send_queue_push(&conn->queue, buf_str(&conn->tail), NULL);
}

void upstream_call_send_end(struct upstream_call *call, const struct http_field *trailers,
			    unsigned int trailer_count)
{
	struct upstream_conn *conn = call->conn;

	if (!conn || call->request_done)
		return;
	call->request_done = true;
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
	conn_restart_timer(call->conn);
}

size_t upstream_call_queued(const struct upstream_call *call)
{
	return call->conn && !call->conn->send_failed ? call->conn->queue.weight_bytes : 0;
}

/* ---- receiving ---- */

static bool conn_arm_pipe(struct upstream_conn *conn)
{
	const struct http1_body *body = &conn->body;

	if (!conn->call->pipes || !conn->call->head_done || body->framing != HTTP_FRAMING_LENGTH ||
	    body->left_bytes < PIPE_LEAST_BYTES)
		return false;
	if (!conn->pipe)
		conn->pipe = splice_pipe_get(conn->pools->loop);
	if (!conn->pipe || conn->pipe->bytes)
		return false;
	stream_recv_pipe(&conn->stream, conn->pipe, body->left_bytes);
	return true;
}

static void conn_arm(struct upstream_conn *conn)
{
	struct upstream_call *call = conn->call;

	if (call->paused)
		stream_recv_stop(&conn->stream);
	else if (conn->recv_one && !conn_arm_pipe(conn))
		stream_recv_start(&conn->stream, RECV_ONE);
}

void upstream_call_pause(struct upstream_call *call)
{
	if (!call->conn || call->paused)
		return;
	call->paused = true;
	stream_recv_stop(&call->conn->stream);
	conn_restart_timer(call->conn);
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
		conn_arm(call->conn);
	else
		stream_recv_start(&call->conn->stream, RECV_MANY);
	conn_restart_timer(call->conn);
}

static int copy_trailers(struct upstream_conn *conn, struct arena *arena,
			 struct http_field **ret_fields, unsigned int *ret_count)
{
	int ret = http1_body_trailers(&conn->body, arena, ret_fields, ret_count);

	if (ret < 0)
		return ret;
	for (unsigned int i = 0; i < *ret_count; i++) {
		struct http_field *field = &(*ret_fields)[i];

		field->name = arena_copy(arena, field->name);
		field->value = arena_copy(arena, field->value);
		if (!field->name.ptr || !field->value.ptr)
			return -ENOMEM;
	}
	return 0;
}

static void call_finish(struct upstream_conn *conn)
{
	struct upstream_call *call = conn->call;
	struct http_field *trailers = NULL;
	unsigned int trailer_count = 0;
	bool keep = conn->keep_alive && call->request_done && !conn->send_failed &&
		    send_queue_is_empty(&conn->queue);

	if (conn->body.framing == HTTP_FRAMING_CHUNKED &&
	    copy_trailers(conn, call->arena, &trailers, &trailer_count) < 0) {
		trailer_count = 0;
		keep = false;
	}
	http1_body_done(&conn->body);
	splice_pipe_unref(TAKE_PTR(conn->pipe));
	conn->expects_large = call->pipes && conn->body.framing == HTTP_FRAMING_LENGTH &&
			      conn->body.data_bytes > LARGE_BODY_BYTES;
	call_detach(conn);
	if (keep && upstream_pools_keep_idle(conn)) {
		/*
		 * Single receives leave the next large body in the socket, for the pipe. A pause
		 * that the answer's last buffer asked for must not outlive the call.
		 */
		if (conn->recv_one || call->paused)
			stream_recv_start(&conn->stream,
					  conn->expects_large ? RECV_ONE : RECV_MANY);
		conn->recv_one = conn->expects_large;
		conn->used = true;
		timer_start(conn->pools->loop, &conn->timer, conn->idle_timeout_ms);
	} else {
		upstream_conn_close(conn);
	}
	call->ops->on_end(call, trailers, trailer_count);
}

static void count_status(struct upstream_call *call, uint16_t status)
{
	static const enum endpoint_counter counters[] = {
		ENDPOINT_COUNTER_RESPONSES_2XX, ENDPOINT_COUNTER_RESPONSES_2XX,
		ENDPOINT_COUNTER_RESPONSES_3XX, ENDPOINT_COUNTER_RESPONSES_4XX,
		ENDPOINT_COUNTER_RESPONSES_5XX,
	};

	if (status >= 100 && status < 600)
		call_count(call, counters[status / 100 - 1]);
}

/* 1: `ret_block` is a whole head and *pos stands behind it. 0: more is needed. Negative: failed. */
static int conn_find_head(struct upstream_conn *conn, const struct recv_buf *buf, size_t *pos,
			  struct str *ret_block)
{
	struct str rest = str_make(buf->data + *pos, buf->len - *pos);
	size_t before = conn->partial.len, len = 0, scan = 0;
	int ret;

	if (before == 0) {
		ret = http1_find_head_end(rest, &http1_limits_default, &scan, &len);
		if (ret == 1) {
			*ret_block = str_make(rest.ptr, len);
			*pos += len;
			return 1;
		}
		if (ret < 0)
			return ret;
	}
	if (buf_append(&conn->partial, rest) < 0)
		return -HTTP1_E_HEAD_BYTES;
	if (before == 0) {
		conn->scan = scan;
		*pos = buf->len;
		return 0;
	}
	ret = http1_find_head_end(buf_str(&conn->partial), &http1_limits_default, &conn->scan,
				  &len);
	if (ret != 1) {
		*pos = buf->len;
		return ret;
	}
	*ret_block = str_make(buf_str(&conn->partial).ptr, len);
	*pos += len - before;
	return 1;
}

/* As conn_find_head, with the head parsed into the call's arena. */
static int conn_read_head(struct upstream_conn *conn, const struct recv_buf *buf, size_t *pos,
			  struct http_head *ret_head)
{
	struct upstream_call *call = conn->call;
	struct str block, copy;
	int ret = conn_find_head(conn, buf, pos, &block);

	if (ret == 0)
		return 0;
	if (ret > 0) {
		copy = arena_copy(call->arena, block);
		ret = copy.ptr ? http1_parse_response(copy, &http1_limits_default, call->method_id,
						      call->arena, ret_head)
			       : -HTTP1_E_NO_MEMORY;
		buf_reset(&conn->partial);
		conn->scan = 0;
		if (ret == 0 && ret_head->status == 101) {
			call_fail(conn, UPSTREAM_E_PROTOCOL, "101 that nobody asked for");
			return -EPROTO;
		}
		if (ret == 0)
			return 1;
	}
	if (ret == -HTTP1_E_HEAD_BYTES || ret == -HTTP1_E_FIELD_BYTES ||
	    ret == -HTTP1_E_FIELD_COUNT || ret == -HTTP1_E_NO_MEMORY)
		call_fail(conn, UPSTREAM_E_HEAD_TOO_LARGE,
			  http1_error_text((enum http1_error) - ret));
	else
		call_fail(conn, UPSTREAM_E_PROTOCOL, http1_error_text((enum http1_error) - ret));
	return -EPROTO;
}

static void conn_choose_recv(struct upstream_conn *conn)
{
	const struct http1_body *body = &conn->body;

	if (conn->recv_one || http1_body_is_done(body))
		return;
	/* Chunks and until-close: the size is not known, so it counts as large. */
	if (body->framing != HTTP_FRAMING_LENGTH || body->left_bytes > LARGE_BODY_BYTES) {
		conn->recv_one = true;
		if (!conn->call->paused)
			stream_recv_start(&conn->stream, RECV_ONE);
	}
}

/*
 * The head is given out only when the body bytes that came with it fit it, so that an answer whose
 * framing lies becomes a 502 and not the beginning of somebody's page (HARDENING 12).
 */
static void conn_input(struct upstream_conn *conn, struct recv_buf *buf)
{
	struct upstream_call *call = conn->call;
	struct http_head head;
	struct str data = STR_NULL;
	bool fresh = false;
	size_t pos = 0, consumed = 0;
	int event;

	while (!call->head_done && !fresh) {
		if (conn_read_head(conn, buf, &pos, &head) != 1)
			return;
		if (head.status >= 200) {
			fresh = true;
			break;
		}
		if (++call->informational_count > INFORMATIONAL_MAX) {
			call_fail(conn, UPSTREAM_E_PROTOCOL, "too many interim answers");
			return;
		}
		call->ops->on_head(call, &head);
		if (conn->call != call)
			return;
		if (pos == buf->len) {
			call->ops->on_batch(call);
			return;
		}
	}
	if (fresh) {
		http1_body_init(&conn->body, head.framing, head.content_length,
				&http1_limits_default);
		conn->keep_alive = head.keep_alive && head.framing != HTTP_FRAMING_UNTIL_CLOSE;
	}

	event = http1_body_compact(&conn->body, buf->data + pos, buf->len - pos, &consumed, &data);
	if (event < 0) {
		call_fail(conn, UPSTREAM_E_PROTOCOL, http1_error_text((enum http1_error) - event));
		return;
	}
	if (event == HTTP1_BODY_DONE && pos + consumed < buf->len) {
		if (fresh) {
			call_fail(conn, UPSTREAM_E_PROTOCOL, "bytes after the end of the answer");
			return;
		}
		call_count(call, ENDPOINT_COUNTER_PROTOCOL_ERRORS);
		conn->keep_alive = false;
	}
	if (fresh) {
		call->head_done = true;
		call->head_ns = loop_now_ns(conn->pools->loop);
		count_status(call, head.status);
		conn_choose_recv(conn);
		call->ops->on_head(call, &head);
		if (conn->call != call)
			return;
	}
	if (data.len) {
		call->ops->on_data(call, data, buf);
		if (conn->call != call)
			return;
	}
	if (event == HTTP1_BODY_DONE) {
		call_finish(conn);
		return;
	}
	call->ops->on_batch(call);
	if (conn->call != call)
		return;
	conn_arm(conn);
	conn_restart_timer(conn);
}

static bool method_is_idempotent(enum http_method method)
{
	switch (method) {
	case HTTP_METHOD_GET:
	case HTTP_METHOD_HEAD:
	case HTTP_METHOD_PUT:
	case HTTP_METHOD_DELETE:
	case HTTP_METHOD_OPTIONS:
	case HTTP_METHOD_TRACE:
		return true;
	default:
		return false;
	}
}

static int call_connect(struct upstream_call *call, struct endpoint *endpoint);

/* Sends the request again on a new connection to the same endpoint. False: not to be done. */
static bool call_retry(struct upstream_conn *conn)
{
	struct upstream_call *call = conn->call;
	struct endpoint *endpoint = call->endpoint;
	bool ok;

	if (!call->reused || call->retried || call->body_taken || call->head_done ||
	    conn->partial.len || call->informational_count ||
	    !method_is_idempotent(call->method_id))
		return false;
	registry_ref(&endpoint->entry);
	call_detach(conn);
	upstream_conn_close(conn);
	call->retried = true;
	call->reused = false;
	call->pools->retries++;
	ok = call_connect(call, endpoint) == 0;
	endpoint_unref(endpoint);
	if (!ok)
		call->ops->on_error(call, UPSTREAM_E_LOCAL, NULL);
	return true;
}

static void conn_ended(struct upstream_conn *conn, int result)
{
	struct upstream_call *call = conn->call;

	if (!call) {
		upstream_conn_close(conn);
		return;
	}
	conn->keep_alive = false;
	if (call->head_done) {
		if (result == 0 && http1_body_eof(&conn->body) == HTTP1_BODY_DONE)
			call_finish(conn);
		else
			call_fail(conn, UPSTREAM_E_RESET, "inside the body");
		return;
	}
	if (!call_retry(conn))
		call_fail(conn, UPSTREAM_E_RESET,
			  conn->partial.len ? "inside the header" : "before the answer");
}

static void on_recv(struct stream *stream, struct recv_buf *buf, int result)
{
	struct upstream_conn *conn = CONTAINER_OF(stream, struct upstream_conn, stream);

	if (!buf) {
		conn_ended(conn, result);
		return;
	}
	if (conn->call)
		conn_input(conn, buf);
	else
		upstream_conn_close(conn); /* nobody asked for these bytes */
	recv_buf_unref(buf);
	if (conn->call && !conn->call->head_done)
		conn_arm(conn); /* a head in pieces, or an interim answer */
}

static void on_piped(struct stream *stream, size_t bytes)
{
	struct upstream_conn *conn = CONTAINER_OF(stream, struct upstream_conn, stream);
	struct upstream_call *call = conn->call;
	bool done;

	if (!call) {
		upstream_conn_close(conn);
		return;
	}
	done = http1_body_skip(&conn->body, bytes);
	call->ops->on_pipe(call, conn->pipe, bytes);
	if (conn->call != call)
		return;
	if (done) {
		call_finish(conn);
		return;
	}
	call->ops->on_batch(call);
	if (conn->call != call)
		return;
	conn_arm(conn);
	conn_restart_timer(conn);
}

static void on_connected(struct stream *stream, int result)
{
	struct upstream_conn *conn = CONTAINER_OF(stream, struct upstream_conn, stream);
	char detail[96];

	if (result < 0) {
		(void)snprintf(detail, sizeof(detail), "%s", strerror(-result));
		if (conn->call)
			call_fail(conn, UPSTREAM_E_CONNECT, detail);
		else
			upstream_conn_close(conn);
		return;
	}
	conn->state = UPSTREAM_CONN_ACTIVE;
	if (conn->call)
		conn->call->connected_ns = loop_now_ns(conn->pools->loop);
	stream_recv_start(&conn->stream, RECV_MANY);
	conn_flush(conn);
	conn_restart_timer(conn);
}

static void on_closed(struct stream *stream)
{
	upstream_conn_put(CONTAINER_OF(stream, struct upstream_conn, stream));
}

static const struct stream_ops conn_ops = {
	.on_recv = on_recv,
	.on_piped = on_piped,
	.on_sent = on_sent,
	.on_connected = on_connected,
	.on_closed = on_closed,
};

/* ---- start ---- */

static void call_attach(struct upstream_call *call, struct upstream_conn *conn)
{
	conn->call = call;
	conn->idle_timeout_ms = call->upstream->idle_timeout_ms;
	call->conn = conn;
	call->endpoint = conn->endpoint;
	registry_ref(&conn->endpoint->entry);
}

static int call_connect(struct upstream_call *call, struct endpoint *endpoint)
{
	struct upstream_conn *conn = upstream_conn_get(call->pools, endpoint, &conn_ops, on_timer);
	int ret;

	if (!conn)
		return -ENOMEM;
	ret = stream_connect(call->pools->loop, &conn->stream, &endpoint->addr);
	if (ret < 0) {
		upstream_conn_put(conn);
		return ret;
	}
	call_attach(call, conn);
	call->attempts++;
	call_count(call, ENDPOINT_COUNTER_CONNECTS);
	ret = conn_begin(conn);
	if (ret < 0)
		upstream_call_abort(call);
	return ret;
}

int upstream_call_start(struct upstream_call *call)
{
	const struct endpoint_conf *chosen = upstream_pools_pick(call->pools, call->upstream);
	struct upstream_conn *conn;
	int ret;

	call->conn = NULL;
	call->endpoint = NULL;
	call->reused = call->retried = call->body_taken = call->head_done = call->paused = false;
	call->request_done = call->framing == HTTP_FRAMING_NONE;
	call->informational_count = 0;
	call->failure = UPSTREAM_E_LOCAL;
	call->chosen = chosen;
	call->attempts = 0;
	call->start_ns = loop_now_ns(call->pools->loop);
	call->connected_ns = call->head_ns = 0;
	if (!chosen)
		return -ENOMEM;

	conn = upstream_pools_take_idle(call->pools, chosen->endpoint);
	if (!conn)
		return call_connect(call, chosen->endpoint);
	timer_stop(&conn->timer);
	call_attach(call, conn);
	call->reused = true;
	call->attempts++;
	call_count(call, ENDPOINT_COUNTER_REUSES);
	ret = conn_begin(conn);
	if (ret < 0) {
		conn->state = UPSTREAM_CONN_ACTIVE; /* it left the idle stack already */
		upstream_call_abort(call);
	}
	return ret;
}

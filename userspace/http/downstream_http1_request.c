#include "http/downstream_http1.h"
#include "http/worker_internal.h"

#include "proto/http1/compact.h"

#define LARGE_BODY_BYTES       (64u * 1024)
#define REFUSED_LINE_MAX       512
#define PARTIAL_OVERHEAD_BYTES (64u * 1024) /* one receive buffer may come beyond the limit */

static bool exchange_begin(struct downstream_http1 *conn)
{
	conn->exchange = exchange_new(&conn->base, &downstream_http1_ops, NULL);
	if (!conn->exchange) {
		downstream_http1_close(conn, false);
		return false;
	}
	conn->state = HTTP1_CONN_EXCHANGE;
	conn->base.due_ms = 0;
	downstream_take_pace(&conn->base);
	pace_pause(&conn->base.response_pace, loop_now_ms(conn->base.worker->loop));
	conn->body = (struct http1_body){0};
	conn->keep_alive = conn->http10 = conn->chunked = conn->until_close = false;
	conn->body_active = conn->blocked = conn->refused = conn->response_ended = false;
	conn->tunnel = conn->shut = false;
	return true;
}

void downstream_http1_refuse(struct downstream_http1 *conn, uint16_t status, const char *reason)
{
	if (!conn->exchange && !exchange_begin(conn))
		return;
	conn->keep_alive = false;
	conn->body_active = true; /* whatever else comes is thrown away */
	conn->refused = true;
	exchange_fail_close(conn->exchange, status, reason);
}

static void keep_start_line(struct exchange *exchange, struct str bytes)
{
	ptrdiff_t end;

	while (bytes.len && (bytes.ptr[0] == '\r' || bytes.ptr[0] == '\n'))
		bytes = str_sub(bytes, 1, bytes.len - 1);
	bytes.len = MIN(bytes.len, REFUSED_LINE_MAX);
	end = str_find_byte(bytes, '\n');
	if (end >= 0)
		bytes.len = (size_t)end;
	if (bytes.len && bytes.ptr[bytes.len - 1] == '\r')
		bytes.len--;
	exchange->refused_line = arena_copy(&exchange->arena, bytes);
}

void downstream_http1_refuse_head(struct downstream_http1 *conn, uint16_t status,
				  const char *reason)
{
	struct str seen = buf_str(&conn->partial);

	if (!conn->exchange && !exchange_begin(conn))
		return;
	if (!seen.len && conn->base.pending_count)
		seen = str_make(conn->base.pending[0]->data + conn->base.pending_pos,
				conn->base.pending[0]->len - conn->base.pending_pos);
	if (!conn->exchange->refused_line.ptr)
		keep_start_line(conn->exchange, seen);
	downstream_http1_partial_done(conn);
	downstream_http1_refuse(conn, status, reason);
}

static void refuse_head_codec(struct downstream_http1 *conn, int error)
{
	enum http1_error code = (enum http1_error) - error;

	downstream_count_bad_request(&conn->base);
	downstream_http1_refuse_head(conn, http1_error_status(code), http1_error_text(code));
}

static void refuse_codec(struct downstream_http1 *conn, int error)
{
	enum http1_error code = (enum http1_error) - error;

	downstream_count_bad_request(&conn->base);
	downstream_http1_refuse(conn, http1_error_status(code), http1_error_text(code));
}

/* 1: whole, in *ret_block. 0: more is needed. Negative: refused by the codec. */
static int find_head(struct downstream_http1 *conn, struct str *ret_block, size_t *ret_consumed)
{
	const struct http1_limits *limits = &conn->base.listener->http1;
	const struct recv_buf *buf = conn->base.pending[0];
	struct str rest =
		str_make(buf->data + conn->base.pending_pos, buf->len - conn->base.pending_pos);
	size_t before = conn->partial.len, len = 0, size_before;
	int ret;

	if (before == 0) {
		conn->scan = 0;
		ret = http1_find_head_end(rest, limits, &conn->scan, &len);
		*ret_block = str_make(rest.ptr, len);
		*ret_consumed = len;
		if (ret != 0)
			return ret;
		buf_init(&conn->partial, limits->head_bytes + PARTIAL_OVERHEAD_BYTES);
	}
	*ret_consumed = rest.len;
	size_before = conn->partial.size_bytes;
	ret = buf_append(&conn->partial, rest);
	conn->base.worker->memory.counted_bytes += conn->partial.size_bytes - size_before;
	worker_memory_look(conn->base.worker);
	if (ret < 0)
		return -HTTP1_E_HEAD_BYTES;
	if (before == 0)
		return 0;
	ret = http1_find_head_end(buf_str(&conn->partial), limits, &conn->scan, &len);
	if (ret != 1)
		return ret;
	*ret_block = str_make(buf_str(&conn->partial).ptr, len);
	*ret_consumed = len - before;
	return 1;
}

static void start_request(struct downstream_http1 *conn, struct str block)
{
	struct exchange *exchange;
	struct http_head *request;
	struct str copy;
	int ret;

	if (!exchange_begin(conn))
		return;
	exchange = conn->exchange;
	request = &exchange->request;
	worker_memory_look(conn->base.worker);
	if (UNLIKELY(worker_memory_sheds(&conn->base.worker->memory))) {
		/* Before anything else of it takes memory. */
		worker_count(conn->base.worker, HTTP_COUNTER_MEMORY_SHED);
		keep_start_line(exchange, block);
		downstream_http1_refuse_head(conn, 503, "memory is short");
		return;
	}
	copy = arena_copy(&exchange->arena, block);
	ret = copy.ptr ? http1_parse_request(copy, &conn->base.listener->http1, &exchange->arena,
					     request)
		       : -HTTP1_E_NO_MEMORY;
	if (ret < 0) {
		*request = (struct http_head){0};
		keep_start_line(exchange, block);
		refuse_head_codec(conn, ret);
		return;
	}
	downstream_http1_partial_done(conn);
	if (request->framing == HTTP_FRAMING_LENGTH && request->content_length == 0)
		request->framing = HTTP_FRAMING_NONE;
	http1_body_init(&conn->body, request->framing, request->content_length,
			&conn->base.listener->http1);
	conn->keep_alive = request->keep_alive;
	conn->http10 = request->version_minor == 0;
	conn->body_active = request->framing != HTTP_FRAMING_NONE;
	exchange->request_done = !conn->body_active;
	/* Who may wait for our 100 is not slow yet (RFC 9110 10.1.1). */
	pace_init(&conn->request_pace, request->expect_continue
					       ? conn->base.idle_timeout_ms
					       : pace_first_credit_ms(conn->base.min_body_rate,
								      conn->base.idle_timeout_ms));
	exchange_start(exchange);
}

/* False: waits for more, or the connection is at its end. */
static bool read_head(struct downstream_http1 *conn)
{
	struct str block = STR_NULL;
	size_t consumed = 0;
	int ret;

	if (!downstream_resolve(&conn->base)) {
		worker_count(conn->base.worker, HTTP_COUNTER_NO_LISTENER);
		downstream_http1_close(conn, false);
		return false;
	}
	ret = find_head(conn, &block, &consumed);
	if (ret < 0) {
		refuse_head_codec(conn, ret);
		return false;
	}
	if (ret == 1) {
		/* `block` may lie in the buffer: it is copied before the buffer can go. */
		start_request(conn, block);
		downstream_pending_consume(&conn->base, consumed);
		return conn->state == HTTP1_CONN_EXCHANGE;
	}
	if (conn->state == HTTP1_CONN_READY) {
		conn->state = HTTP1_CONN_HEAD;
		/* The first head's time runs from accept. */
		if (!conn->first)
			downstream_set_due(&conn->base,
					   loop_now_ms(conn->base.worker->loop) +
						   conn->base.listener->header_timeout_ms);
	}
	downstream_pending_consume(&conn->base, consumed);
	return true;
}

static void finish_body(struct downstream_http1 *conn)
{
	struct exchange *exchange = conn->exchange;
	struct http_field *trailers = NULL;
	unsigned int count = 0;

	conn->body_active = false;
	pace_pause(&conn->request_pace, loop_now_ms(conn->base.worker->loop));
	downstream_http1_watch_peer(conn);
	if (conn->body.framing == HTTP_FRAMING_CHUNKED &&
	    http1_body_trailers(&conn->body, &exchange->arena, &trailers, &count) < 0)
		count = 0;
	exchange_request_end(exchange, trailers, count);
}

static bool read_body(struct downstream_http1 *conn)
{
	struct exchange *exchange = conn->exchange;
	struct recv_buf *buf = conn->base.pending[0];
	struct str data = STR_NULL;
	size_t consumed = 0;
	int event;

	conn->blocked = exchange_request_blocked(exchange);
	if (conn->blocked)
		return false;
	event = http1_body_compact(&conn->body, buf->data + conn->base.pending_pos,
				   buf->len - conn->base.pending_pos, &consumed, &data);
	if (event < 0) {
		refuse_codec(conn, event);
		return false;
	}
	recv_buf_ref(buf); /* `data` lies in it */
	downstream_pending_consume(&conn->base, consumed);
	if (data.len)
		exchange_request_data(exchange, data, buf);
	recv_buf_unref(buf);
	if (conn->state == HTTP1_CONN_EXCHANGE && event == HTTP1_BODY_DONE)
		finish_body(conn);
	return conn->state == HTTP1_CONN_EXCHANGE;
}

/* Chooses how to go on receiving, once what is pending was looked at. */
static void conn_arm(struct downstream_http1 *conn)
{
	uint64_t now_ms = loop_now_ms(conn->base.worker->loop);

	if (conn->state == HTTP1_CONN_EXCHANGE && conn->body_active) {
		if ((conn->response_ended && !conn->tunnel) || conn->refused) {
			/* Nobody wants the rest: LINGER comes when the answer is out. */
			pace_pause(&conn->request_pace, now_ms);
			downstream_http1_watch_peer(conn);
			return;
		}
		conn->blocked = exchange_request_blocked(conn->exchange);
		if (!conn->recv_one && (conn->body.framing != HTTP_FRAMING_LENGTH ||
					conn->body.left_bytes > LARGE_BODY_BYTES))
			conn->recv_one = true;
		if (conn->blocked) {
			conn->recv_stopped = true;
			stream_recv_stop(&conn->base.stream);
			pace_pause(&conn->request_pace, now_ms);
			downstream_http1_watch_peer(conn);
			return;
		}
		if (conn->recv_one || conn->recv_stopped)
			stream_recv_start(&conn->base.stream,
					  conn->recv_one ? RECV_ONE : RECV_MANY);
		conn->recv_stopped = false;
		if (!conn->tunnel) /* which may be silent */
			pace_wait(&conn->request_pace, now_ms);
		downstream_http1_watch_peer(conn);
		return;
	}
	if (conn->state == HTTP1_CONN_EXCHANGE) {
		if (conn->base.pending_count >= DOWNSTREAM_PENDING_STOP) {
			conn->recv_stopped = true;
			stream_recv_stop(&conn->base.stream);
		} else if (conn->recv_one) {
			conn->recv_one = false;
			stream_recv_start(&conn->base.stream, RECV_MANY);
		}
	}
}

/* Half-closing is passed on, behind what came before it. */
static void end_tunnel_request(struct downstream_http1 *conn)
{
	if (!conn->body_active || conn->base.pending_count)
		return;
	finish_body(conn);
	if (conn->state == HTTP1_CONN_EXCHANGE)
		exchange_request_flush(conn->exchange);
}

void downstream_http1_after_eof(struct downstream_http1 *conn)
{
	switch (conn->state) {
	case HTTP1_CONN_READY:
	case HTTP1_CONN_HEAD:
		downstream_http1_linger(conn);
		break;
	case HTTP1_CONN_LINGER:
		if (!conn->was_long || !downstream_is_unread(&conn->base))
			downstream_http1_close(conn, false);
		break;
	case HTTP1_CONN_EXCHANGE:
		if (conn->tunnel)
			end_tunnel_request(conn);
		else if (conn->body_active && !conn->response_ended && !conn->base.pending_count)
			downstream_http1_client_gone(conn); /* a request that will never be whole */
		break; /* else it gets its answer: half-closing is its right */
	case HTTP1_CONN_CLOSING:
		break;
	}
}

void downstream_http1_process(struct downstream_http1 *conn)
{
	bool more = true;

	if (conn->processing)
		return;
	conn->processing = true;
	while (more && conn->base.pending_count) {
		switch (conn->state) {
		case HTTP1_CONN_READY:
		case HTTP1_CONN_HEAD:
			more = read_head(conn);
			break;
		case HTTP1_CONN_EXCHANGE:
			more = conn->body_active && !conn->refused &&
			       (!conn->response_ended || conn->tunnel) && read_body(conn);
			break;
		case HTTP1_CONN_LINGER:
		case HTTP1_CONN_CLOSING:
			downstream_pending_clear(&conn->base);
			break;
		}
	}
	conn->processing = false;
	if (conn->state == HTTP1_CONN_EXCHANGE)
		exchange_request_flush(conn->exchange);
	conn_arm(conn);
	if (conn->base.eof)
		downstream_http1_after_eof(conn);
}

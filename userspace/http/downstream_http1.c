/*
 * One HTTP/1 connection from a client.
 *
 *            ┌──────────── keep-alive ────────────┐
 *   accept ► READY ──► HEAD (incomplete) ──► EXCHANGE ──► LINGER ──► CLOSING
 *              └────── whole head at once ─────┘  └── nothing unread ──┘
 *
 * Received buffers queue up in `pending` and are consumed where they lie: heads are copied into the
 * exchange's arena, body data is passed on as views. Requests that were pipelined wait there until
 * the exchange before them is over, and receiving stops when there are several. An exchange is
 * freed when its last byte was taken by the kernel, or after the stream is closed.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "http/worker_internal.h"
#include "proto/http1/compact.h"

#define LINGER_MS	       2000
#define LINGER_BYTES	       (16u * 1024 * 1024)
#define LARGE_BODY_BYTES       (64u * 1024)
#define PENDING_STOP	       4   /* buffers of pipelined requests at which receiving stops */
#define PENDING_MAX	       512 /* what may be on its way by then, and more: broken peer */
#define FREE_DOWNSTREAMS_MAX   256
#define PARTIAL_OVERHEAD_BYTES (64u * 1024) /* one receive buffer may come beyond the limit */

enum downstream_state {
	DOWNSTREAM_READY,
	DOWNSTREAM_HEAD,
	DOWNSTREAM_EXCHANGE,
	DOWNSTREAM_LINGER,
	DOWNSTREAM_CLOSING,
};

struct downstream {
	struct stream stream;
	struct list link; /* in worker->connections */
	struct http_worker *worker;
	struct downstream *next_free;

	const struct listener_conf
		*listener; /* of the snapshot with this generation: see resolve() */
	uint64_t generation;
	struct ip_addr local, peer;
	uint16_t local_port;

	enum downstream_state state;
	bool first;	   /* no request yet */
	bool processing;   /* guards against re-entry */
	bool body_active;  /* some of the request body is still to be read */
	bool blocked;	   /* the action has no room for more of it */
	bool recv_one;	   /* receiving buffer by buffer: a large body */
	bool recv_stopped; /* pipelined requests wait, or the action is blocked */
	bool eof;	   /* the client will send no more */
	bool keep_alive;
	bool http10;
	bool chunked;	  /* the response under way */
	bool until_close; /* its end is the connection's end */
	bool response_ended;
	bool refused; /* framing is lost: nothing more is read of it */

	struct recv_buf **pending;
	struct recv_buf *pending_room[PENDING_STOP];
	unsigned int pending_count, pending_size;
	size_t pending_pos; /* consumed of the first */

	struct buf partial; /* a head that came in pieces */
	size_t scan;
	struct http1_body body;
	struct exchange *exchange;
	struct send_queue queue;
	struct timer timer;
	size_t linger_bytes;
};

static void conn_process(struct downstream *conn);

/* ---- pending buffers ---- */

static int pending_push(struct downstream *conn, struct recv_buf *buf)
{
	if (conn->pending_count == conn->pending_size) {
		unsigned int size = conn->pending_size * 4;
		struct recv_buf **grown;

		if (size > PENDING_MAX * 4)
			return -ENOBUFS;
		grown = malloc(size * sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		memcpy(grown, conn->pending, conn->pending_count * sizeof(*grown));
		if (conn->pending != conn->pending_room)
			free(conn->pending);
		conn->pending = grown;
		conn->pending_size = size;
	}
	conn->pending[conn->pending_count++] = buf;
	return 0;
}

static void pending_pop(struct downstream *conn)
{
	recv_buf_unref(conn->pending[0]);
	conn->pending_count--;
	memmove(conn->pending, conn->pending + 1, conn->pending_count * sizeof(*conn->pending));
	conn->pending_pos = 0;
}

static void pending_clear(struct downstream *conn)
{
	while (conn->pending_count)
		pending_pop(conn);
	if (conn->pending != conn->pending_room)
		free(conn->pending);
	conn->pending = conn->pending_room;
	conn->pending_size = ARRAY_SIZE(conn->pending_room);
}

static void pending_consume(struct downstream *conn, size_t len)
{
	conn->pending_pos += len;
	if (conn->pending_pos == conn->pending[0]->len)
		pending_pop(conn);
}

/* ---- ends ---- */

static void conn_close(struct downstream *conn, bool reset)
{
	struct exchange *exchange = conn->exchange;

	if (conn->state == DOWNSTREAM_CLOSING)
		return;
	conn->state = DOWNSTREAM_CLOSING;
	timer_stop(&conn->timer);
	if (exchange && exchange->action) {
		const struct exchange_action *action = TAKE_PTR(exchange->action);

		if (action->abort)
			action->abort(exchange);
	}
	if (reset)
		stream_abort(&conn->stream);
	else
		stream_close(&conn->stream);
}

static void conn_client_gone(struct downstream *conn)
{
	if (conn->exchange && !conn->response_ended)
		worker_count(conn->worker, HTTP_COUNTER_CLIENT_ABORTS);
	conn_close(conn, false);
}

static void exchange_end(struct downstream *conn)
{
	if (conn->exchange)
		exchange_free(TAKE_PTR(conn->exchange));
	http1_body_done(&conn->body);
	conn->response_ended = conn->chunked = conn->until_close = false;
}

/*
 * The answer is out but the client may still be sending: a close now would reset the connection and
 * could destroy the answer in the client's receive queue (RFC 9112 9.6). So: half-close, and throw
 * away what comes for a while.
 */
static void conn_linger(struct downstream *conn)
{
	bool unread = conn->body_active || conn->pending_count || conn->recv_stopped;

	exchange_end(conn);
	pending_clear(conn);
	if (conn->eof || !unread) {
		conn_close(conn, false);
		return;
	}
	conn->state = DOWNSTREAM_LINGER;
	conn->linger_bytes = 0;
	stream_shutdown_send(&conn->stream);
	stream_recv_start(&conn->stream, RECV_MANY);
	timer_start(conn->worker->loop, &conn->timer, LINGER_MS);
}

static void conn_exchange_done(struct downstream *conn)
{
	if (!conn->keep_alive || conn->body_active || conn->worker->draining) {
		conn_linger(conn);
		return;
	}
	timer_start(conn->worker->loop, &conn->timer, conn->exchange->listener->idle_timeout_ms);
	exchange_end(conn);
	conn->state = DOWNSTREAM_READY;
	conn->first = false;
	if (conn->recv_one || conn->recv_stopped) {
		conn->recv_one = conn->recv_stopped = false;
		stream_recv_start(&conn->stream, RECV_MANY);
	}
	conn_process(conn);
}

/* ---- the response: what the exchange calls ---- */

static struct downstream *exchange_conn(const struct exchange *exchange)
{
	return exchange->connection;
}

static void conn_broken(struct downstream *conn)
{
	conn->queue.failed = true;
	conn_client_gone(conn);
}

static void push_head(struct downstream *conn, const struct exchange_response *response, bool final)
{
	struct exchange *exchange = conn->exchange;
	size_t room_bytes = 256;
	struct http1_writer writer;
	char *room;

	for (unsigned int i = 0; i < response->field_count; i++)
		room_bytes += response->fields[i].name.len + response->fields[i].value.len + 4;
	room = arena_alloc_bytes(&exchange->arena, room_bytes);
	if (!room) {
		conn_broken(conn);
		return;
	}
	http1_write_init(&writer, room, room_bytes);
	http1_write_status_line(&writer, response->status);
	for (unsigned int i = 0; i < response->field_count; i++)
		http1_write_field(&writer, response->fields[i].name, response->fields[i].value);
	if (final) {
		if (conn->chunked)
			http1_write_bytes(&writer, STR("Transfer-Encoding: chunked\r\n"));
		else if (response->has_content_length || response->framing == HTTP_FRAMING_LENGTH)
			http1_write_field_u64(&writer, STR("Content-Length"),
					      response->content_length);
		if (!conn->keep_alive)
			http1_write_bytes(&writer, STR("Connection: close\r\n"));
		else if (conn->http10)
			http1_write_bytes(&writer, STR("Connection: keep-alive\r\n"));
	}
	http1_write_end(&writer);
	if (writer.overflowed || writer.invalid ||
	    send_queue_push(&conn->queue, str_make(room, (size_t)(writer.pos - room)), NULL) < 0)
		conn_broken(conn);
}

static void send_informational(struct exchange *exchange, const struct exchange_response *response)
{
	struct downstream *conn = exchange_conn(exchange);

	/* HTTP/1.0 knows no interim answers (RFC 9110 15.2). */
	if (conn->http10 || conn->state != DOWNSTREAM_EXCHANGE)
		return;
	push_head(conn, response, false);
}

static void send_head(struct exchange *exchange, const struct exchange_response *response)
{
	struct downstream *conn = exchange_conn(exchange);

	if (conn->state != DOWNSTREAM_EXCHANGE)
		return;
	timer_stop(&exchange->age_timer); /* it bounds the wait for this moment */
	/* A request that is not wholly read ends the connection (HARDENING 9). */
	if (response->close || !exchange->request_done || conn->worker->draining)
		conn->keep_alive = false;
	if (response->framing == HTTP_FRAMING_CHUNKED) {
		conn->chunked = !conn->http10;
		conn->until_close = conn->http10;
		if (conn->http10)
			conn->keep_alive = false;
	}
	push_head(conn, response, true);
}

static void send_data(struct exchange *exchange, struct str data, struct recv_buf *buf)
{
	struct downstream *conn = exchange_conn(exchange);
	char chunk[HTTP1_CHUNK_HEAD_MAX];

	if (conn->state != DOWNSTREAM_EXCHANGE || !data.len)
		return;
	if (conn->chunked)
		(void)send_queue_push_inline(&conn->queue,
					     str_make(chunk, http1_chunk_head(chunk, data.len)));
	(void)send_queue_push(&conn->queue, data, buf);
	if (conn->chunked)
		(void)send_queue_push(&conn->queue, STR("\r\n"), NULL);
	if (conn->queue.failed)
		conn_broken(conn);
}

static void push_trailers(struct downstream *conn, const struct http_field *trailers,
			  unsigned int count)
{
	struct http1_writer writer;
	size_t room_bytes = 0;
	char *room;

	for (unsigned int i = 0; i < count; i++)
		room_bytes += trailers[i].name.len + trailers[i].value.len + 4;
	room = arena_alloc_bytes(&conn->exchange->arena, room_bytes);
	if (!room)
		return; /* trailers are optional by nature (RFC 9110 6.5) */
	http1_write_init(&writer, room, room_bytes);
	for (unsigned int i = 0; i < count; i++)
		http1_write_field(&writer, trailers[i].name, trailers[i].value);
	if (!writer.invalid && !writer.overflowed)
		(void)send_queue_push(&conn->queue, str_make(room, (size_t)(writer.pos - room)),
				      NULL);
}

static void send_end(struct exchange *exchange, const struct http_field *trailers,
		     unsigned int trailer_count)
{
	struct downstream *conn = exchange_conn(exchange);

	if (conn->state != DOWNSTREAM_EXCHANGE)
		return;
	if (conn->chunked) {
		(void)send_queue_push(&conn->queue, STR("0\r\n"), NULL);
		if (trailer_count)
			push_trailers(conn, trailers, trailer_count);
		(void)send_queue_push(&conn->queue, STR("\r\n"), NULL);
	}
	conn->response_ended = true;
	if (conn->queue.failed)
		conn_broken(conn);
}

static void flush(struct exchange *exchange)
{
	struct downstream *conn = exchange_conn(exchange);

	if (conn->state != DOWNSTREAM_EXCHANGE || send_queue_is_empty(&conn->queue))
		return;
	if (send_queue_flush(&conn->queue, &conn->stream) < 0)
		conn_broken(conn);
	else
		timer_start(conn->worker->loop, &conn->timer, exchange->listener->idle_timeout_ms);
}

static void send_abort(struct exchange *exchange)
{
	struct downstream *conn = exchange_conn(exchange);

	/* Where the end of the connection is the end of the answer, only a reset shows the cut. */
	conn_close(conn, conn->until_close);
}

static void resume_request(struct exchange *exchange)
{
	struct downstream *conn = exchange_conn(exchange);

	if (conn->blocked && conn->state == DOWNSTREAM_EXCHANGE) {
		conn->blocked = false;
		conn_process(conn);
	}
}

static size_t queued(const struct exchange *exchange)
{
	return exchange_conn(exchange)->queue.bytes;
}

static const struct exchange_downstream downstream_http1 = {
	.send_informational = send_informational,
	.send_head = send_head,
	.send_data = send_data,
	.send_end = send_end,
	.flush = flush,
	.send_abort = send_abort,
	.resume_request = resume_request,
	.queued = queued,
};

static void on_sent(struct stream *stream, int64_t result)
{
	struct downstream *conn = CONTAINER_OF(stream, struct downstream, stream);

	send_queue_sent(&conn->queue);
	if (result < 0) {
		conn_client_gone(conn);
		return;
	}
	if (conn->state != DOWNSTREAM_EXCHANGE)
		return;
	if (!send_queue_is_empty(&conn->queue)) {
		flush(conn->exchange);
	} else if (conn->response_ended) {
		conn_exchange_done(conn);
		return;
	} else if (!conn->body_active) {
		timer_stop(&conn->timer); /* waiting for the upstream, whose timers run */
	}
	if (conn->state == DOWNSTREAM_EXCHANGE && conn->queue.bytes < UPSTREAM_LOW_WATER)
		exchange_drained(conn->exchange);
}

/* ---- the request ---- */

/* The listener that the connection belongs to now. NULL: no longer any. */
static const struct listener_conf *resolve(struct downstream *conn)
{
	const struct snapshot *snapshot = conn->worker->config->snapshot;

	if (conn->generation != snapshot->generation) {
		conn->listener = listener_find(snapshot->listeners, snapshot->listener_count,
					       &conn->local, conn->local_port);
		conn->generation = snapshot->generation;
	}
	return conn->listener;
}

static bool exchange_begin(struct downstream *conn)
{
	conn->exchange =
		exchange_new(conn->worker, conn->listener, &downstream_http1, conn, &conn->peer);
	if (!conn->exchange) {
		conn_close(conn, false);
		return false;
	}
	conn->state = DOWNSTREAM_EXCHANGE;
	timer_stop(&conn->timer);
	conn->body = (struct http1_body){0};
	conn->keep_alive = conn->http10 = conn->chunked = conn->until_close = false;
	conn->body_active = conn->blocked = conn->refused = conn->response_ended = false;
	return true;
}

/* The bytes cannot be trusted any more: answer and end the connection. */
static void refuse(struct downstream *conn, uint16_t status, const char *reason)
{
	if (!conn->exchange && !exchange_begin(conn))
		return;
	conn->keep_alive = false;
	conn->body_active = true; /* whatever else comes is thrown away */
	conn->refused = true;
	exchange_fail_close(conn->exchange, status, reason);
}

static void refuse_codec(struct downstream *conn, int error)
{
	enum http1_error code = (enum http1_error) - error;

	worker_count(conn->worker, HTTP_COUNTER_BAD_REQUESTS);
	refuse(conn, http1_error_status(code), http1_error_text(code));
}

/* 1: whole, in *ret_block. 0: more is needed. Negative: refused by the codec. */
static int find_head(struct downstream *conn, struct str *ret_block, size_t *ret_consumed)
{
	const struct http1_limits *limits = &conn->listener->http1;
	const struct recv_buf *buf = conn->pending[0];
	struct str rest = str_make(buf->data + conn->pending_pos, buf->len - conn->pending_pos);
	size_t before = conn->partial.len, len = 0;
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
	if (buf_append(&conn->partial, rest) < 0)
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

static void start_request(struct downstream *conn, struct str block)
{
	struct exchange *exchange;
	struct http_head *request;
	struct str copy;
	int ret;

	if (!exchange_begin(conn))
		return;
	exchange = conn->exchange;
	request = &exchange->request;
	copy = arena_copy(&exchange->arena, block);
	ret = copy.ptr
		      ? http1_parse_request(copy, &conn->listener->http1, &exchange->arena, request)
		      : -HTTP1_E_NO_MEMORY;
	buf_done(&conn->partial);
	if (ret < 0) {
		*request = (struct http_head){0};
		refuse_codec(conn, ret);
		return;
	}
	if (request->framing == HTTP_FRAMING_LENGTH && request->content_length == 0)
		request->framing = HTTP_FRAMING_NONE;
	http1_body_init(&conn->body, request->framing, request->content_length,
			&conn->listener->http1);
	conn->keep_alive = request->keep_alive;
	conn->http10 = request->version_minor == 0;
	conn->body_active = request->framing != HTTP_FRAMING_NONE;
	exchange->request_done = !conn->body_active;
	exchange_start(exchange);
}

/* False: waits for more, or the connection is at its end. */
static bool read_head(struct downstream *conn)
{
	struct str block = STR_NULL;
	size_t consumed = 0;
	int ret;

	if (!resolve(conn)) {
		worker_count(conn->worker, HTTP_COUNTER_NO_LISTENER);
		conn_close(conn, false);
		return false;
	}
	ret = find_head(conn, &block, &consumed);
	if (ret < 0) {
		buf_done(&conn->partial);
		refuse_codec(conn, ret);
		return false;
	}
	if (ret == 1) {
		/* `block` may lie in the buffer: it is copied before the buffer can go. */
		start_request(conn, block);
		pending_consume(conn, consumed);
		return conn->state == DOWNSTREAM_EXCHANGE;
	}
	if (conn->state == DOWNSTREAM_READY) {
		conn->state = DOWNSTREAM_HEAD;
		/* The first head's time runs from accept. */
		if (!conn->first)
			timer_start(conn->worker->loop, &conn->timer,
				    conn->listener->header_timeout_ms);
	}
	pending_consume(conn, consumed);
	return true;
}

static void finish_body(struct downstream *conn)
{
	struct exchange *exchange = conn->exchange;
	struct http_field *trailers = NULL;
	unsigned int count = 0;

	conn->body_active = false;
	if (send_queue_is_empty(&conn->queue))
		timer_stop(&conn->timer);
	if (conn->body.framing == HTTP_FRAMING_CHUNKED &&
	    http1_body_trailers(&conn->body, &exchange->arena, &trailers, &count) < 0)
		count = 0;
	exchange_request_end(exchange, trailers, count);
}

static bool read_body(struct downstream *conn)
{
	struct exchange *exchange = conn->exchange;
	struct recv_buf *buf = conn->pending[0];
	struct str data = STR_NULL;
	size_t consumed = 0;
	int event;

	conn->blocked = exchange_request_blocked(exchange);
	if (conn->blocked)
		return false;
	event = http1_body_compact(&conn->body, buf->data + conn->pending_pos,
				   buf->len - conn->pending_pos, &consumed, &data);
	if (event < 0) {
		refuse_codec(conn, event);
		return false;
	}
	recv_buf_ref(buf); /* `data` lies in it */
	pending_consume(conn, consumed);
	if (data.len)
		exchange_request_data(exchange, data, buf);
	recv_buf_unref(buf);
	if (conn->state == DOWNSTREAM_EXCHANGE && event == HTTP1_BODY_DONE)
		finish_body(conn);
	return conn->state == DOWNSTREAM_EXCHANGE;
}

/* Chooses how to go on receiving, once what is pending was looked at. */
static void conn_arm(struct downstream *conn)
{
	if (conn->state == DOWNSTREAM_EXCHANGE && conn->body_active) {
		if (conn->response_ended || conn->refused)
			return; /* nobody wants the rest: LINGER comes when the answer is out */
		conn->blocked = exchange_request_blocked(conn->exchange);
		if (!conn->recv_one && (conn->body.framing != HTTP_FRAMING_LENGTH ||
					conn->body.left_bytes > LARGE_BODY_BYTES))
			conn->recv_one = true;
		if (conn->blocked) {
			conn->recv_stopped = true;
			stream_recv_stop(&conn->stream);
			if (send_queue_is_empty(&conn->queue))
				timer_stop(&conn->timer);
			return;
		}
		if (conn->recv_one || conn->recv_stopped)
			stream_recv_start(&conn->stream, conn->recv_one ? RECV_ONE : RECV_MANY);
		conn->recv_stopped = false;
		timer_start(conn->worker->loop, &conn->timer,
			    conn->exchange->listener->idle_timeout_ms);
		return;
	}
	if (conn->state == DOWNSTREAM_EXCHANGE) {
		if (conn->pending_count >= PENDING_STOP) {
			conn->recv_stopped = true;
			stream_recv_stop(&conn->stream);
		} else if (conn->recv_one) {
			conn->recv_one = false;
			stream_recv_start(&conn->stream, RECV_MANY);
		}
	}
}

/* The client ended its side, and what it sent before has been looked at. */
static void conn_after_eof(struct downstream *conn)
{
	switch (conn->state) {
	case DOWNSTREAM_READY:
	case DOWNSTREAM_HEAD:
	case DOWNSTREAM_LINGER:
		conn_close(conn, false);
		break;
	case DOWNSTREAM_EXCHANGE:
		if (conn->body_active && !conn->response_ended && !conn->pending_count)
			conn_client_gone(conn); /* a request that will never be whole */
		break; /* else it gets its answer: half-closing is its right */
	case DOWNSTREAM_CLOSING:
		break;
	}
}

static void conn_process(struct downstream *conn)
{
	bool more = true;

	if (conn->processing)
		return;
	conn->processing = true;
	while (more && conn->pending_count) {
		switch (conn->state) {
		case DOWNSTREAM_READY:
		case DOWNSTREAM_HEAD:
			more = read_head(conn);
			break;
		case DOWNSTREAM_EXCHANGE:
			more = conn->body_active && !conn->refused && !conn->response_ended &&
			       read_body(conn);
			break;
		case DOWNSTREAM_LINGER:
		case DOWNSTREAM_CLOSING:
			pending_clear(conn);
			break;
		}
	}
	conn->processing = false;
	if (conn->state == DOWNSTREAM_EXCHANGE)
		exchange_request_flush(conn->exchange);
	conn_arm(conn);
	if (conn->eof)
		conn_after_eof(conn);
}

static void on_recv(struct stream *stream, struct recv_buf *buf, int result)
{
	struct downstream *conn = CONTAINER_OF(stream, struct downstream, stream);

	if (!buf) {
		conn->eof = true;
		if (result < 0)
			conn_client_gone(conn);
		else if (!conn->pending_count || conn->state != DOWNSTREAM_EXCHANGE)
			conn_after_eof(conn);
		return;
	}
	if (conn->state == DOWNSTREAM_LINGER) {
		conn->linger_bytes += buf->len;
		recv_buf_unref(buf);
		if (conn->linger_bytes > LINGER_BYTES)
			conn_close(conn, false);
		return;
	}
	if (pending_push(conn, buf) < 0) {
		recv_buf_unref(buf);
		conn_client_gone(conn);
		return;
	}
	conn_process(conn);
}

static void on_timer(struct timer *timer)
{
	struct downstream *conn = CONTAINER_OF(timer, struct downstream, timer);

	switch (conn->state) {
	case DOWNSTREAM_READY:
		worker_count(conn->worker, conn->first ? HTTP_COUNTER_HEADER_TIMEOUTS
						       : HTTP_COUNTER_IDLE_TIMEOUTS);
		conn_close(conn, false);
		break;
	case DOWNSTREAM_HEAD:
		worker_count(conn->worker, HTTP_COUNTER_HEADER_TIMEOUTS);
		buf_done(&conn->partial);
		if (resolve(conn))
			refuse(conn, 408, "header not complete in time");
		else
			conn_close(conn, false);
		break;
	case DOWNSTREAM_EXCHANGE:
		worker_count(conn->worker, HTTP_COUNTER_IDLE_TIMEOUTS);
		if (!send_queue_is_empty(&conn->queue))
			conn_close(conn, true); /* it does not read */
		else
			exchange_fail_close(conn->exchange, 408, "request body stalled");
		break;
	case DOWNSTREAM_LINGER:
		conn_close(conn, false);
		break;
	case DOWNSTREAM_CLOSING:
		break;
	}
}

/* ---- life ---- */

static void on_closed(struct stream *stream)
{
	struct downstream *conn = CONTAINER_OF(stream, struct downstream, stream);
	struct http_worker *worker = conn->worker;

	exchange_end(conn);
	pending_clear(conn);
	buf_done(&conn->partial);
	send_queue_clear(&conn->queue);
	list_remove(&conn->link);
	if (worker->free_downstream_count < FREE_DOWNSTREAMS_MAX) {
		conn->next_free = worker->free_downstreams;
		worker->free_downstreams = conn;
		worker->free_downstream_count++;
	} else {
		free(conn);
	}
	worker_connection_gone(worker);
}

static const struct stream_ops conn_ops = {
	.on_recv = on_recv,
	.on_sent = on_sent,
	.on_closed = on_closed,
};

static struct downstream *conn_get(struct http_worker *worker)
{
	struct downstream *conn = worker->free_downstreams;

	if (conn) {
		worker->free_downstreams = conn->next_free;
		worker->free_downstream_count--;
	} else {
		conn = malloc(sizeof(*conn));
	}
	if (conn)
		memset(conn, 0, sizeof(*conn));
	return conn;
}

static int conn_read_addresses(struct downstream *conn, int fd)
{
	struct sock_addr addr = {.len = sizeof(addr) - sizeof(addr.len)};

	if (getsockname(fd, &addr.any, &addr.len) < 0)
		return -errno;
	conn->local = sock_addr_ip(&addr);
	conn->local_port = sock_addr_port(&addr);
	addr.len = sizeof(addr) - sizeof(addr.len);
	if (getpeername(fd, &addr.any, &addr.len) < 0)
		return -errno;
	conn->peer = sock_addr_ip(&addr);
	return 0;
}

void downstream_http1_accept(struct http_worker *worker, int fd)
{
	_cleanup_close_ int owned_fd = fd;
	struct downstream *conn = conn_get(worker);

	worker_count(worker, HTTP_COUNTER_ACCEPTED);
	if (!conn)
		return;
	conn->worker = worker;
	conn->pending = conn->pending_room;
	conn->pending_size = ARRAY_SIZE(conn->pending_room);
	conn->first = true;
	if (conn_read_addresses(conn, fd) < 0) {
		free(conn); /* gone before it was looked at */
		return;
	}
	if (!resolve(conn)) {
		worker_count(worker, HTTP_COUNTER_NO_LISTENER);
		free(conn);
		return;
	}
	stream_init(&conn->stream, &conn_ops);
	timer_init(&conn->timer, on_timer);
	send_queue_init(&conn->queue, &worker->segments);
	if (stream_adopt(worker->loop, &conn->stream, fd) < 0) {
		free(conn);
		return;
	}
	(void)TAKE_FD(owned_fd);
	list_push_back(&worker->connections, &conn->link);
	worker_add(&worker->connections_open, 1);
	stream_recv_start(&conn->stream, RECV_MANY);
	timer_start(worker->loop, &conn->timer, conn->listener->header_timeout_ms);
}

void downstream_http1_drain(struct list *link)
{
	struct downstream *conn = list_entry(link, struct downstream, link);

	if (conn->state == DOWNSTREAM_READY || conn->state == DOWNSTREAM_HEAD)
		conn_close(conn, false);
}

void downstream_http1_abort(struct list *link)
{
	conn_close(list_entry(link, struct downstream, link), true);
}

void downstream_http1_cache_free(struct http_worker *worker)
{
	while (worker->free_downstreams) {
		struct downstream *conn = worker->free_downstreams;

		worker->free_downstreams = conn->next_free;
		free(conn);
	}
	worker->free_downstream_count = 0;
}

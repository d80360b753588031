#include "http/downstream_http1.h"
#include "http/worker_internal.h"

#include <errno.h>

#include "proto/http1/http1.h"

/* A body of so many bytes is copied behind its head, to be sent in one piece. */
#define JOIN_BYTES 1024

static struct downstream_http1 *exchange_conn(const struct exchange *exchange)
{
	return downstream_http1(exchange->connection);
}

static void conn_broken(struct downstream_http1 *conn)
{
	conn->base.queue.failed = true;
	downstream_http1_client_gone(conn);
}

static void push_head(struct downstream_http1 *conn, const struct exchange_response *response,
		      bool final)
{
	struct exchange *exchange = conn->exchange;
	unsigned int added_count = final ? exchange->added_count : 0;
	size_t room_bytes = 256 + (final ? JOIN_BYTES : 0) + response->upgrade.len;
	struct http1_writer writer;
	char *room;

	for (unsigned int i = 0; i < response->field_count; i++)
		room_bytes += response->fields[i].name.len + response->fields[i].value.len + 4;
	for (unsigned int i = 0; i < added_count; i++)
		room_bytes += exchange->added[i].name.len + exchange->added[i].value.len + 4;
	room = arena_alloc_bytes(&exchange->arena, room_bytes);
	if (!room) {
		conn_broken(conn);
		return;
	}
	http1_write_init(&writer, room, room_bytes);
	http1_write_status_line(&writer, response->status);
	for (unsigned int i = 0; i < response->field_count; i++)
		http1_write_field(&writer, response->fields[i].name, response->fields[i].value);
	for (unsigned int i = 0; i < added_count; i++)
		http1_write_field(&writer, exchange->added[i].name, exchange->added[i].value);
	if (response->upgrade.ptr) {
		http1_write_bytes(&writer, STR("Connection: Upgrade\r\n"));
		http1_write_field(&writer, STR("Upgrade"), response->upgrade);
	} else if (final) {
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
	    send_queue_push_room(&conn->base.queue, str_make(room, (size_t)(writer.pos - room)),
				 (size_t)(room + room_bytes - writer.pos)) < 0)
		conn_broken(conn);
}

static void send_informational(struct exchange *exchange, const struct exchange_response *response)
{
	struct downstream_http1 *conn = exchange_conn(exchange);

	/* HTTP/1.0 knows no interim answers (RFC 9110 15.2). */
	if (conn->http10 || conn->state != HTTP1_CONN_EXCHANGE)
		return;
	push_head(conn, response, false);
}

/* From now on the request is whatever comes, once the action asks for it. */
static void become_tunnel(struct downstream_http1 *conn)
{
	conn->tunnel = conn->body_active = conn->blocked = true;
	conn->keep_alive = false;
	conn->until_close = true; /* only a reset shows that it was cut */
	conn->exchange->request_done = false;
	http1_body_init(&conn->body, HTTP_FRAMING_UNTIL_CLOSE, 0, &http1_limits_default);
}

void downstream_http1_tunnel_sent(struct downstream_http1 *conn)
{
	if (!conn->response_ended || !send_queue_is_empty(&conn->base.queue))
		return;
	if (conn->exchange->response_done) {
		downstream_http1_close(conn, false);
	} else if (!conn->shut) {
		conn->shut = true;
		stream_shutdown_send(&conn->base.stream);
	}
}

static void send_head(struct exchange *exchange, const struct exchange_response *response)
{
	struct downstream_http1 *conn = exchange_conn(exchange);

	if (conn->state != HTTP1_CONN_EXCHANGE)
		return;
	exchange->first_byte_ns = loop_now_ns(conn->base.worker->loop);
	timer_stop(&exchange->age_timer); /* it bounds the wait for this moment */
	/* A request that is not wholly read ends the connection (HARDENING 9). */
	if (response->close || !exchange->request_done || conn->base.worker->draining)
		conn->keep_alive = false;
	if (response->framing == HTTP_FRAMING_CHUNKED) {
		conn->chunked = !conn->http10;
		conn->until_close = conn->http10;
		if (conn->http10)
			conn->keep_alive = false;
	}
	if (response->upgrade.ptr)
		become_tunnel(conn);
	push_head(conn, response, true);
}

static void send_data(struct exchange *exchange, struct str data, struct recv_buf *buf)
{
	struct downstream_http1 *conn = exchange_conn(exchange);
	char chunk[HTTP1_CHUNK_HEAD_MAX];

	if (conn->state != HTTP1_CONN_EXCHANGE || !data.len)
		return;
	if (conn->chunked)
		(void)send_queue_push_inline(&conn->base.queue,
					     str_make(chunk, http1_chunk_head(chunk, data.len)));
	(void)send_queue_push(&conn->base.queue, data, buf);
	if (conn->chunked)
		(void)send_queue_push(&conn->base.queue, STR("\r\n"), NULL);
	if (conn->base.queue.failed)
		conn_broken(conn);
	worker_memory_look(conn->base.worker);
}

static void send_pipe(struct exchange *exchange, struct splice_pipe *pipe, size_t len)
{
	struct downstream_http1 *conn = exchange_conn(exchange);

	if (conn->state != HTTP1_CONN_EXCHANGE)
		return;
	if (send_queue_push_pipe(&conn->base.queue, pipe, len) < 0)
		conn_broken(conn);
}

static void send_file(struct exchange *exchange, struct send_file *file, uint64_t offset,
		      uint64_t len)
{
	struct downstream_http1 *conn = exchange_conn(exchange);
	char chunk[HTTP1_CHUNK_HEAD_MAX];

	if (conn->state != HTTP1_CONN_EXCHANGE || !len)
		return;
	if (conn->chunked)
		(void)send_queue_push_inline(&conn->base.queue,
					     str_make(chunk, http1_chunk_head(chunk, len)));
	(void)send_queue_push_file(&conn->base.queue, file, offset, len);
	if (conn->chunked)
		(void)send_queue_push(&conn->base.queue, STR("\r\n"), NULL);
	if (conn->base.queue.failed)
		conn_broken(conn);
}

static void push_trailers(struct downstream_http1 *conn, const struct http_field *trailers,
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
		(void)send_queue_push(&conn->base.queue,
				      str_make(room, (size_t)(writer.pos - room)), NULL);
}

static void send_end(struct exchange *exchange, const struct http_field *trailers,
		     unsigned int trailer_count)
{
	struct downstream_http1 *conn = exchange_conn(exchange);

	if (conn->state != HTTP1_CONN_EXCHANGE)
		return;
	if (conn->chunked) {
		(void)send_queue_push(&conn->base.queue, STR("0\r\n"), NULL);
		if (trailer_count)
			push_trailers(conn, trailers, trailer_count);
		(void)send_queue_push(&conn->base.queue, STR("\r\n"), NULL);
	}
	conn->response_ended = true;
	if (conn->base.queue.failed)
		conn_broken(conn);
	else if (conn->tunnel)
		downstream_http1_tunnel_sent(conn);
}

/*
 * The end of the answer is nothing but that, and all before it has been sent: so is this. Of a
 * tunnel it is the half-closing, after which nothing may be sent.
 */
static void finish_empty(struct downstream_http1 *conn)
{
	struct iovec nothing = {.iov_base = "", .iov_len = 0};

	if (conn->response_ended && conn->until_close && !conn->tunnel &&
	    !stream_is_sending(&conn->base.stream) &&
	    stream_send(&conn->base.stream, &nothing, 1) < 0)
		conn_broken(conn);
}

static void flush(struct exchange *exchange)
{
	struct downstream_http1 *conn = exchange_conn(exchange);
	uint64_t now_ms;

	if (conn->state != HTTP1_CONN_EXCHANGE)
		return;
	if (send_queue_is_empty(&conn->base.queue)) {
		finish_empty(conn);
		return;
	}
	/* What comes next is another request, and none is here yet. */
	conn->base.queue.quiet =
		conn->response_ended && conn->keep_alive && !conn->base.pending_count;
	if (send_queue_flush(&conn->base.queue, &conn->base.stream) < 0) {
		conn_broken(conn);
		return;
	}
	now_ms = loop_now_ms(conn->base.worker->loop);
	if (!conn->base.response_pace.since_ms)
		conn->base.moved_ms = now_ms;
	pace_wait(&conn->base.response_pace, now_ms);
	downstream_http1_watch_peer(conn);
}

static void send_abort(struct exchange *exchange)
{
	struct downstream_http1 *conn = exchange_conn(exchange);

	/* Where the end of the connection is the end of the answer, only a reset shows the cut. */
	downstream_http1_close(conn, conn->until_close);
}

static void resume_request(struct exchange *exchange)
{
	struct downstream_http1 *conn = exchange_conn(exchange);

	if (conn->blocked && conn->state == HTTP1_CONN_EXCHANGE) {
		conn->blocked = false;
		downstream_http1_process(conn);
	}
}

static void tunnel_over(struct exchange *exchange)
{
	struct downstream_http1 *conn = exchange_conn(exchange);

	if (conn->state != HTTP1_CONN_EXCHANGE)
		return;
	conn->response_ended = true;
	downstream_http1_tunnel_sent(conn);
}

static size_t queued(const struct exchange *exchange)
{
	struct downstream_http1 *conn = exchange_conn(exchange);

	/* The shorter memory is, the sooner a queue counts as long. */
	return conn->base.queue.weight_bytes << MIN(conn->base.worker->memory.level, MEMORY_SHRINK);
}

const struct exchange_downstream downstream_http1_ops = {
	.send_informational = send_informational,
	.send_head = send_head,
	.send_data = send_data,
	.send_pipe = send_pipe,
	.send_file = send_file,
	.send_end = send_end,
	.flush = flush,
	.send_abort = send_abort,
	.resume_request = resume_request,
	.tunnel_over = tunnel_over,
	.queued = queued,
};

void downstream_http1_on_sent(struct stream *stream, int64_t result)
{
	struct downstream_http1 *conn =
		downstream_http1(CONTAINER_OF(stream, struct downstream, stream));

	send_queue_sent(&conn->base.queue, result);
	if (result < 0) {
		/* Only the end of the connection can say it: the length was announced. */
		if (result == -ENODATA && conn->exchange)
			conn->exchange->failure = "the file became shorter while it was sent";
		downstream_http1_client_gone(conn);
		return;
	}
	if (conn->state != HTTP1_CONN_EXCHANGE)
		return;
	conn->base.moved_ms = loop_now_ms(conn->base.worker->loop);
	if (!send_queue_is_empty(&conn->base.queue)) {
		flush(conn->exchange);
	} else {
		pace_pause(&conn->base.response_pace, conn->base.moved_ms);
		if (conn->response_ended) {
			if (conn->tunnel)
				downstream_http1_tunnel_sent(conn);
			else
				downstream_http1_exchange_done(conn);
			return;
		}
		downstream_http1_watch_peer(conn); /* the upstream's timers run */
	}
	if (conn->state == HTTP1_CONN_EXCHANGE &&
	    conn->base.queue.weight_bytes < UPSTREAM_LOW_WATER)
		exchange_drained(conn->exchange);
}

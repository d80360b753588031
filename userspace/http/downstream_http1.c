#include "http/downstream_http1.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"

#define LINGER_BYTES	     (16u * 1024 * 1024)
#define LONG_ANSWER_BYTES    (64u * 1024) /* beyond, it may take the client long to have it */
#define PENDING_MAX	     512 /* what may be on its way when receiving stops, and more: broken peer */
#define FREE_DOWNSTREAMS_MAX 256

/* ---- pending buffers ---- */

static void pending_list_done(struct downstream *conn)
{
	if (conn->pending == conn->pending_room)
		return;
	conn->worker->memory.counted_bytes -= conn->pending_size * sizeof(*conn->pending);
	free(conn->pending);
}

int downstream_pending_push(struct downstream *conn, struct recv_buf *buf)
{
	if (conn->pending_count == conn->pending_size) {
		unsigned int size = conn->pending_size * 4;
		struct recv_buf **grown;

		if (size > PENDING_MAX * 4)
			return -ENOBUFS;
		grown = malloc(size * sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		conn->worker->memory.counted_bytes += size * sizeof(*grown);
		memcpy(grown, conn->pending, conn->pending_count * sizeof(*grown));
		pending_list_done(conn);
		conn->pending = grown;
		conn->pending_size = size;
	}
	conn->pending[conn->pending_count++] = buf;
	return 0;
}

static void downstream_pending_pop(struct downstream *conn)
{
	recv_buf_unref(conn->pending[0]);
	conn->pending_count--;
	memmove(conn->pending, conn->pending + 1, conn->pending_count * sizeof(*conn->pending));
	conn->pending_pos = 0;
}

void downstream_pending_clear(struct downstream *conn)
{
	while (conn->pending_count)
		downstream_pending_pop(conn);
	pending_list_done(conn);
	conn->pending = conn->pending_room;
	conn->pending_size = ARRAY_SIZE(conn->pending_room);
}

void downstream_pending_consume(struct downstream *conn, size_t len)
{
	conn->pending_pos += len;
	if (conn->pending_pos == conn->pending[0]->len)
		downstream_pending_pop(conn);
}

void downstream_partial_done(struct downstream *conn)
{
	conn->worker->memory.counted_bytes -= conn->partial.size_bytes;
	buf_done(&conn->partial);
}

/* ---- ends ---- */

void downstream_close(struct downstream *conn, bool reset)
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

void downstream_client_gone(struct downstream *conn)
{
	if (conn->exchange && !conn->response_ended)
		worker_count(conn->worker, HTTP_COUNTER_CLIENT_ABORTS);
	if (conn->exchange && !conn->exchange->failure)
		conn->exchange->failure = "client closed the connection";
	downstream_close(conn, false);
}

static void exchange_end(struct downstream *conn)
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
void downstream_linger(struct downstream *conn)
{
	bool unread = conn->body_active || conn->pending_count || conn->recv_stopped;
	bool patient;

	exchange_end(conn);
	downstream_pending_clear(conn);
	/* At the end of the daemon the kernel can deliver alone. */
	patient = conn->was_long && !conn->worker->draining && downstream_is_unread(conn);
	if ((conn->eof || !unread) && !patient) {
		downstream_close(conn, false);
		return;
	}
	conn->state = DOWNSTREAM_LINGER;
	conn->linger_bytes = 0;
	stream_shutdown_send(&conn->stream);
	stream_recv_start(&conn->stream, RECV_MANY);
	downstream_set_due(conn, loop_now_ms(conn->worker->loop) + DOWNSTREAM_LINGER_MS);
}

void downstream_exchange_done(struct downstream *conn)
{
	if (!conn->keep_alive || conn->body_active || conn->worker->draining) {
		downstream_linger(conn);
		return;
	}
	exchange_end(conn);
	conn->state = DOWNSTREAM_READY;
	conn->moved_ms = loop_now_ms(conn->worker->loop);
	downstream_set_due(conn, conn->moved_ms + conn->idle_timeout_ms);
	conn->first = false;
	if (conn->recv_one || conn->recv_stopped) {
		conn->recv_one = conn->recv_stopped = false;
		stream_recv_start(&conn->stream, RECV_MANY);
	}
	downstream_process(conn);
}

/* ---- events ---- */

const struct listener_conf *downstream_resolve(struct downstream *conn)
{
	const struct snapshot *snapshot = conn->worker->config->snapshot;

	if (conn->generation != snapshot->generation) {
		conn->listener = listener_find(snapshot->listeners, snapshot->listener_count,
					       &conn->local, conn->local_port);
		conn->generation = snapshot->generation;
	}
	return conn->listener;
}

static void on_recv(struct stream *stream, struct recv_buf *buf, int result)
{
	struct downstream *conn = CONTAINER_OF(stream, struct downstream, stream);

	if (!buf) {
		conn->eof = true;
		if (result < 0)
			downstream_client_gone(conn);
		else if (!conn->pending_count || conn->state != DOWNSTREAM_EXCHANGE)
			downstream_after_eof(conn);
		return;
	}
	if (conn->state == DOWNSTREAM_LINGER) {
		conn->linger_bytes += buf->len;
		recv_buf_unref(buf);
		if (conn->linger_bytes > LINGER_BYTES)
			downstream_close(conn, false);
		return;
	}
	if (conn->state == DOWNSTREAM_EXCHANGE && conn->body_active) {
		pace_settle(&conn->request_pace, loop_now_ms(conn->worker->loop));
		pace_earn(&conn->request_pace, buf->len, conn->min_body_rate,
			  conn->idle_timeout_ms);
	}
	if (downstream_pending_push(conn, buf) < 0) {
		recv_buf_unref(buf);
		downstream_client_gone(conn);
		return;
	}
	downstream_process(conn);
}

/* ---- life ---- */

static void conn_put(struct downstream *conn)
{
	struct http_worker *worker = conn->worker;

	source_lease_give_back(&conn->source);
	if (worker->free_downstream_count < FREE_DOWNSTREAMS_MAX &&
	    worker->memory.level < MEMORY_SHRINK) {
		conn->next_free = worker->free_downstreams;
		worker->free_downstreams = conn;
		worker->free_downstream_count++;
	} else {
		worker->memory.counted_bytes -= sizeof(*conn);
		free(conn);
	}
}

static void on_closed(struct stream *stream)
{
	struct downstream *conn = CONTAINER_OF(stream, struct downstream, stream);
	struct http_worker *worker = conn->worker;

	exchange_end(conn);
	downstream_pending_clear(conn);
	downstream_partial_done(conn);
	send_queue_clear(&conn->queue);
	list_remove(&conn->link);
	conn_put(conn);
	worker_memory_look(worker);
	worker_connection_gone(worker);
}

static const struct stream_ops conn_ops = {
	.on_recv = on_recv,
	.on_sent = downstream_on_sent,
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
		if (!conn)
			return NULL;
		worker->memory.counted_bytes += sizeof(*conn);
	}
	memset(conn, 0, sizeof(*conn));
	conn->worker = worker;
	conn->pending = conn->pending_room;
	conn->pending_size = ARRAY_SIZE(conn->pending_room);
	conn->first = true;
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
	if (conn_read_addresses(conn, fd) < 0) {
		conn_put(conn); /* gone before it was looked at */
		return;
	}
	if (!downstream_resolve(conn)) {
		worker_count(worker, HTTP_COUNTER_NO_LISTENER);
		conn_put(conn);
		return;
	}
	if (downstream_admit(conn) < 0) {
		socket_reset_on_close(fd);
		conn_put(conn);
		return;
	}
	stream_init(&conn->stream, &conn_ops);
	timer_init(&conn->timer, downstream_on_timer);
	send_queue_init(&conn->queue, &worker->segments);
	if (stream_adopt_accepted(worker->loop, &conn->stream, fd) < 0) {
		conn_put(conn);
		return;
	}
	(void)TAKE_FD(owned_fd);
	list_push_back(&worker->connections, &conn->link);
	worker_add(&worker->connections_open, 1);
	stream_recv_start(&conn->stream, RECV_MANY);
	conn->moved_ms = loop_now_ms(worker->loop);
	conn->idle_timeout_ms = (uint32_t)conn->listener->idle_timeout_ms;
	conn->min_body_rate = conn->listener->min_body_rate;
	pace_init(&conn->response_pace,
		  pace_first_credit_ms(conn->min_body_rate, conn->idle_timeout_ms));
	downstream_set_due(conn, conn->moved_ms + conn->listener->header_timeout_ms);
	worker_memory_look(worker);
}

void downstream_http1_drain(struct list *link)
{
	struct downstream *conn = list_entry(link, struct downstream, link);

	if (conn->state == DOWNSTREAM_READY || conn->state == DOWNSTREAM_HEAD)
		downstream_close(conn, false);
}

void downstream_http1_abort(struct list *link)
{
	struct downstream *conn = list_entry(link, struct downstream, link);

	if (conn->exchange && !conn->exchange->failure)
		conn->exchange->failure = "this server stopped";
	/* In LINGER the answer is out, and the kernel goes on delivering it. */
	downstream_close(conn, conn->state != DOWNSTREAM_LINGER);
}

void downstream_http1_cache_free(struct http_worker *worker)
{
	while (worker->free_downstreams) {
		struct downstream *conn = worker->free_downstreams;

		worker->free_downstreams = conn->next_free;
		worker->memory.counted_bytes -= sizeof(*conn);
		free(conn);
	}
	worker->free_downstream_count = 0;
}

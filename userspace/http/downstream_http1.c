#include "http/downstream_http1.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"

#define LINGER_MS	     2000
#define LINGER_BYTES	     (16u * 1024 * 1024)
#define PENDING_MAX	     512 /* what may be on its way when receiving stops, and more: broken peer */
#define FREE_DOWNSTREAMS_MAX 256

/* ---- pending buffers ---- */

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
		memcpy(grown, conn->pending, conn->pending_count * sizeof(*grown));
		if (conn->pending != conn->pending_room)
			free(conn->pending);
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
	if (conn->pending != conn->pending_room)
		free(conn->pending);
	conn->pending = conn->pending_room;
	conn->pending_size = ARRAY_SIZE(conn->pending_room);
}

void downstream_pending_consume(struct downstream *conn, size_t len)
{
	conn->pending_pos += len;
	if (conn->pending_pos == conn->pending[0]->len)
		downstream_pending_pop(conn);
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
	downstream_pending_clear(conn);
	if (conn->eof || !unread) {
		downstream_close(conn, false);
		return;
	}
	conn->state = DOWNSTREAM_LINGER;
	conn->linger_bytes = 0;
	stream_shutdown_send(&conn->stream);
	stream_recv_start(&conn->stream, RECV_MANY);
	timer_start(conn->worker->loop, &conn->timer, LINGER_MS);
}

void downstream_exchange_done(struct downstream *conn)
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
	if (downstream_pending_push(conn, buf) < 0) {
		recv_buf_unref(buf);
		downstream_client_gone(conn);
		return;
	}
	downstream_process(conn);
}

static void on_timer(struct timer *timer)
{
	struct downstream *conn = CONTAINER_OF(timer, struct downstream, timer);

	switch (conn->state) {
	case DOWNSTREAM_READY:
		worker_count(conn->worker, conn->first ? HTTP_COUNTER_HEADER_TIMEOUTS
						       : HTTP_COUNTER_IDLE_TIMEOUTS);
		downstream_close(conn, false);
		break;
	case DOWNSTREAM_HEAD:
		worker_count(conn->worker, HTTP_COUNTER_HEADER_TIMEOUTS);
		if (downstream_resolve(conn))
			downstream_refuse_head(conn, 408, "header not complete in time");
		else
			downstream_close(conn, false);
		break;
	case DOWNSTREAM_EXCHANGE:
		worker_count(conn->worker, HTTP_COUNTER_IDLE_TIMEOUTS);
		if (!send_queue_is_empty(&conn->queue)) {
			conn->exchange->failure = "client does not read its answer";
			downstream_close(conn, true);
		} else {
			exchange_fail_close(conn->exchange, 408, "request body stalled");
		}
		break;
	case DOWNSTREAM_LINGER:
		downstream_close(conn, false);
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
	downstream_pending_clear(conn);
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
	if (!downstream_resolve(conn)) {
		worker_count(worker, HTTP_COUNTER_NO_LISTENER);
		free(conn);
		return;
	}
	stream_init(&conn->stream, &conn_ops);
	timer_init(&conn->timer, on_timer);
	send_queue_init(&conn->queue, &worker->segments);
	if (stream_adopt_accepted(worker->loop, &conn->stream, fd) < 0) {
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
		downstream_close(conn, false);
}

void downstream_http1_abort(struct list *link)
{
	struct downstream *conn = list_entry(link, struct downstream, link);

	if (conn->exchange && !conn->exchange->failure)
		conn->exchange->failure = "this server stopped";
	downstream_close(conn, true);
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

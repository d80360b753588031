#include "http/downstream.h"

#include <errno.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "http/downstream_http1.h"
#include "http/downstream_http2.h"
#include "http/downstream_tls.h"
#include "http/forwarding.h"
#include "http/worker_internal.h"
#include "io/socket_ends.h"

#define REFUSED_LOG_MS 10000

/* What a connection can speak. */
enum downstream_protocol {
	DOWNSTREAM_HTTP1,
	DOWNSTREAM_HTTP2,
};

static int read_addresses(struct downstream *conn, int fd)
{
	struct socket_ends ends;
	int r = socket_ends_read(fd, &ends);

	if (r)
		return r;
	conn->local = ends.local;
	conn->local_port = ends.local_port;
	conn->peer = ends.peer;
	conn->origin = (struct proxy_addresses){
		.source = ends.peer,
		.source_port = ends.peer_port,
		.destination = ends.local,
		.destination_port = ends.local_port,
	};
	return 0;
}

static void log_refused(struct downstream *conn)
{
	struct http_worker *worker = conn->worker;
	uint64_t now_ms = loop_now_ms(worker->loop);
	char addr[ADDR_TEXT_MAX];

	if (worker->refused_logged_ms && now_ms - worker->refused_logged_ms < REFUSED_LOG_MS)
		return;
	worker->refused_logged_ms = now_ms;
	log_warn("http",
		 "listener '%.*s': connections of %s beyond limits.connections_per_source (%u) are "
		 "reset",
		 STR_FMT(conn->listener->name),
		 ip_addr_format(&conn->origin.source, addr, sizeof(addr)),
		 conn->listener->connections_per_source);
}

/* Proxies that are trusted bring the connections of many, and are not counted. */
int downstream_admit(struct downstream *conn)
{
	struct http_node *node = conn->worker->memory.node;
	const struct ip_addr *source = &conn->origin.source;
	int ret;

	if (!node || !source->family ||
	    trusted_proxies_have(&conn->worker->config->snapshot->node.trusted_proxies, source))
		return 0;
	ret = source_table_take(node->sources, conn->listener->name, source,
				conn->listener->connections_per_source, &conn->source);
	if (ret < 0) {
		worker_count(conn->worker, HTTP_COUNTER_SOURCE_REFUSED);
		log_refused(conn);
	} else if (conn->source.shared) {
		worker_count(conn->worker, HTTP_COUNTER_SOURCE_SHARED);
	}
	return ret;
}

static void on_timer(struct timer *timer)
{
	struct downstream *conn = CONTAINER_OF(timer, struct downstream, timer);
	uint64_t now_ms = loop_now_ms(conn->worker->loop);

	if (!conn->due_ms)
		return;
	if (now_ms < conn->due_ms)
		downstream_set_due(conn, conn->due_ms);
	else
		conn->ops->on_due(conn, now_ms);
}

/* The last step. What came already is in `pending`. */
static void start_protocol(struct downstream *conn, enum downstream_protocol protocol)
{
	switch (protocol) {
	case DOWNSTREAM_HTTP1:
		downstream_http1_start(conn);
		break;
	case DOWNSTREAM_HTTP2:
		downstream_http2_start(conn);
		break;
	}
}

/* ---- the first bytes say which: HTTP/2's preface, or a request of HTTP/1 ---- */

/* 1: the preface. 0: so far. -1: not. It may come in pieces, be they of one byte. */
static int compare_preface(const struct downstream *conn)
{
	const char *preface = HTTP2_PREFACE;
	size_t seen = 0, pos = conn->pending_pos;

	for (unsigned int i = 0; i < conn->pending_count && seen < HTTP2_PREFACE_BYTES; i++) {
		const struct recv_buf *buf = conn->pending[i];
		size_t len = MIN(buf->len - pos, HTTP2_PREFACE_BYTES - seen);

		if (memcmp(buf->data + pos, preface + seen, len) != 0)
			return -1;
		seen += len;
		pos = 0;
	}
	return seen == HTTP2_PREFACE_BYTES;
}

static void choose(struct downstream *conn)
{
	int found = compare_preface(conn);

	if (found)
		start_protocol(conn, found > 0 ? DOWNSTREAM_HTTP2 : DOWNSTREAM_HTTP1);
}

static void choice_on_recv(struct stream *stream, struct recv_buf *buf, int result)
{
	struct downstream *conn = CONTAINER_OF(stream, struct downstream, stream);

	if (buf) {
		if (downstream_pending_push(conn, buf) == 0) {
			choose(conn);
			return;
		}
		recv_buf_unref(buf);
	}
	conn->eof = true;
	if (buf || result < 0 || !conn->pending_count)
		downstream_step_close(conn);
	else
		start_protocol(conn, DOWNSTREAM_HTTP1); /* whatever it was to be */
}

static void choice_on_due(struct downstream *conn, uint64_t now_ms)
{
	(void)now_ms;
	worker_count(conn->worker, HTTP_COUNTER_HEADER_TIMEOUTS);
	downstream_step_close(conn);
}

static const struct stream_ops choice_stream_ops = {
	.on_recv = choice_on_recv,
	.on_closed = downstream_step_on_closed,
};

static const struct downstream_ops choice_ops = {
	DOWNSTREAM_STEP_OPS,
	.on_due = choice_on_due,
};

void downstream_tls_secured(struct downstream *conn, enum tls_alpn alpn)
{
	start_protocol(conn, alpn == TLS_ALPN_H2 ? DOWNSTREAM_HTTP2 : DOWNSTREAM_HTTP1);
}

void downstream_start_protocol(struct downstream *conn)
{
	if (conn->listener->tls) {
		downstream_tls_start(conn);
		return;
	}
	if (!conn->listener->http2.prior_knowledge) {
		start_protocol(conn, DOWNSTREAM_HTTP1);
		return;
	}
	conn->ops = &choice_ops;
	conn->stream.ops = &choice_stream_ops;
	stream_recv_start(&conn->stream, RECV_MANY);
	if (conn->pending_count)
		choose(conn);
}

void downstream_accept(struct http_worker *worker, int fd)
{
	_cleanup_close_ int owned_fd = fd;
	struct downstream *conn = downstream_get(worker);
	int expects_proxy;

	worker_count(worker, HTTP_COUNTER_ACCEPTED);
	if (!conn)
		return;
	if (read_addresses(conn, fd) < 0) {
		downstream_put(conn); /* gone before it was looked at */
		return;
	}
	if (!downstream_resolve(conn)) {
		worker_count(worker, HTTP_COUNTER_NO_LISTENER);
		downstream_put(conn);
		return;
	}
	expects_proxy = downstream_expects_proxy(conn);
	if (expects_proxy < 0 || downstream_admit(conn) < 0) {
		socket_reset_on_close(fd);
		downstream_put(conn);
		return;
	}
	stream_init(&conn->stream, NULL);
	timer_init(&conn->timer, on_timer);
	send_queue_init(&conn->queue, &worker->segments);
	if (stream_adopt_accepted(worker->loop, &conn->stream, fd) < 0) {
		downstream_put(conn);
		return;
	}
	(void)TAKE_FD(owned_fd);
	list_push_back(&worker->connections, &conn->link);
	worker_add(&worker->connections_open, 1);
	conn->moved_ms = loop_now_ms(worker->loop);
	downstream_take_pace(conn);
	pace_init(&conn->response_pace,
		  pace_first_credit_ms(conn->min_body_rate, conn->idle_timeout_ms));
	downstream_set_due(conn, conn->moved_ms + conn->listener->header_timeout_ms);
	if (expects_proxy)
		downstream_proxy_start(conn);
	else
		downstream_start_protocol(conn);
	worker_memory_look(worker);
}

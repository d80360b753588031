/*
 * The PROXY header before anything else of a connection: whose it is, as told by a proxy that does
 * not speak HTTP.
 *
 * Only peers in node.trusted_proxies are believed: from anybody else the header is not read at all,
 * and what looks like one is a malformed request. Where it is required others are turned away. It
 * must come in timeouts.header, in at most PIECES_MAX pieces; they wait in `pending`, and what
 * follows the header stays there for the protocol.
 */
#include <errno.h>

#include "base/log.h"
#include "http/downstream.h"
#include "http/forwarding.h"
#include "http/worker_internal.h"

/* Senders write it at once; a buffer each is enough for who sends the longest line by bytes. */
#define PIECES_MAX 128

int downstream_expects_proxy(const struct downstream *conn)
{
	int mode = conn->listener->proxy_protocol;

	if (mode == LISTENER_PROXY_OFF)
		return 0;
	if (trusted_proxies_have(&conn->worker->config->snapshot->node.trusted_proxies,
				 &conn->peer))
		return 1;
	if (mode == LISTENER_PROXY_ACCEPT)
		return 0;
	worker_count(conn->worker, HTTP_COUNTER_PROXY_REFUSED);
	return -EPERM;
}

static void refuse(struct downstream *conn, const char *reason)
{
	char peer[ADDR_TEXT_MAX];

	worker_count(conn->worker, HTTP_COUNTER_PROXY_REFUSED);
	log_debug("http", "connection of %s closed: %s",
		  ip_addr_format(&conn->peer, peer, sizeof(peer)), reason);
	timer_stop(&conn->timer);
	stream_abort(&conn->stream);
}

/* The bytes that came, in one piece if need be, up to the longest header. */
static struct str gather(const struct downstream *conn, char room[PROXY_HEADER_MAX])
{
	size_t len = 0;

	if (conn->pending_count == 1)
		return recv_buf_str(conn->pending[0]);
	for (unsigned int i = 0; i < conn->pending_count; i++) {
		size_t part = MIN(conn->pending[i]->len, PROXY_HEADER_MAX - len);

		memcpy(room + len, conn->pending[i]->data, part);
		len += part;
	}
	return str_make(room, len);
}

static void consume(struct downstream *conn, size_t len)
{
	while (len) {
		size_t part = MIN(len, conn->pending[0]->len - conn->pending_pos);

		downstream_pending_consume(conn, part);
		len -= part;
	}
}

/* A proxy that speaks for itself, or names nobody, is the client. */
static void take_origin(struct downstream *conn, const struct proxy_header *header)
{
	if (header->addresses.source.family) {
		conn->origin = header->addresses;
		ip_addr_unmap(&conn->origin.source);
		ip_addr_unmap(&conn->origin.destination);
	}
	conn->origin_tls = header->ssl.given && (header->ssl.client & PROXY_SSL_CLIENT);
}

static void go_on(struct downstream *conn)
{
	if (!downstream_resolve(conn)) {
		worker_count(conn->worker, HTTP_COUNTER_NO_LISTENER);
		timer_stop(&conn->timer);
		stream_close(&conn->stream);
		return;
	}
	downstream_start_protocol(conn);
}

static void look(struct downstream *conn)
{
	char room[PROXY_HEADER_MAX];
	struct proxy_header header;
	int ret = proxy_header_parse(gather(conn, room), &header);

	if (ret == 0) {
		if (conn->pending_count >= PIECES_MAX)
			refuse(conn, "PROXY header in too many pieces");
		return;
	}
	if (ret == -PROXY_E_ABSENT && conn->listener->proxy_protocol == LISTENER_PROXY_ACCEPT) {
		go_on(conn);
		return;
	}
	if (ret < 0) {
		refuse(conn, proxy_error_text((enum proxy_error) - ret));
		return;
	}
	consume(conn, header.len);
	take_origin(conn, &header);
	if (downstream_admit(conn) < 0) {
		timer_stop(&conn->timer);
		stream_abort(&conn->stream);
		return;
	}
	go_on(conn);
}

static void on_recv(struct stream *stream, struct recv_buf *buf, int result)
{
	struct downstream *conn = CONTAINER_OF(stream, struct downstream, stream);

	(void)result;
	if (!buf) {
		if (conn->pending_count)
			refuse(conn, "end inside the PROXY header");
		timer_stop(&conn->timer);
		stream_close(&conn->stream); /* who sent nothing only looked whether we are there */
		return;
	}
	/* The listener may have changed what it asks for. */
	if (!downstream_resolve(conn) || downstream_pending_push(conn, buf) < 0) {
		recv_buf_unref(buf);
		timer_stop(&conn->timer);
		stream_close(&conn->stream);
		return;
	}
	look(conn);
}

static const struct stream_ops stream_ops = {
	.on_recv = on_recv,
	.on_closed = downstream_step_on_closed,
};

static void on_due(struct downstream *conn, uint64_t now_ms)
{
	(void)now_ms;
	worker_count(conn->worker, HTTP_COUNTER_HEADER_TIMEOUTS);
	downstream_step_close(conn);
}

static const struct downstream_ops proxy_ops = {
	DOWNSTREAM_STEP_OPS,
	.on_due = on_due,
};

void downstream_proxy_start(struct downstream *conn)
{
	conn->ops = &proxy_ops;
	conn->stream.ops = &stream_ops;
	stream_recv_start(&conn->stream, RECV_MANY);
}

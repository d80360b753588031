/* TLS towards an endpoint: what comes between the connection and the first request on it. */
#include <errno.h>

#include "base/event.h"
#include "tls/tls_stream.h"
#include "upstream/upstream_conn.h"

#define TOLD_MS 10000

/* The endpoint's owner should know; each handshake fails alike, so one in a while will do. */
static void tell(struct upstream_conn *conn, enum upstream_error error, const char *detail)
{
	const struct endpoint *endpoint = conn->endpoint;
	uint64_t now_ms = loop_now_ms(conn->pools->loop);
	char object[EVENT_OBJECT_MAX];
	int len;

	if (conn->pools->tls_told_ms && now_ms - conn->pools->tls_told_ms < TOLD_MS)
		return;
	conn->pools->tls_told_ms = now_ms;
	len = snprintf(object, sizeof(object), "%s %s", endpoint->entry.name,
		       endpoint->entry.address);
	event_publish(EVENT_UPSTREAM_TLS_FAILED,
		      str_make(object, MIN((size_t)MAX(len, 0), sizeof(object) - 1)), "%s: %s",
		      upstream_error_text(error), detail);
}

static void fail(struct upstream_conn *conn, enum upstream_error error, const char *detail)
{
	if (error != UPSTREAM_E_LOCAL)
		tell(conn, error, detail);
	upstream_conn_failed(conn, error, detail);
}

static int start(struct upstream_conn *conn)
{
	struct upstream_pools *pools = conn->pools;
	int ret = *pools->tls ? 0 : tls_worker_new(pools->tls);
	SSL *ssl;

	if (ret < 0)
		return ret;
	/* Without sessions it is a whole handshake each time. */
	ssl = tls_client_new_ssl(conn->tls, pools->worker_index,
				 upstream_pools_tls_sessions(pools, conn->endpoint));
	return ssl ? tls_stream_start(*pools->tls, &conn->stream, ssl) : -ENOMEM;
}

static void begin(struct upstream_conn *conn)
{
	int ret = start(conn);

	if (ret < 0)
		upstream_conn_refused(conn, ret);
}

void upstream_tls_begin(struct upstream_conn *conn)
{
	struct iovec opening = {
		.iov_base = (char *)buf_str(&conn->opened).ptr + conn->opened_key_len,
		.iov_len = conn->opened.len - conn->opened_key_len,
	};
	int ret;

	if (!opening.iov_len) {
		begin(conn);
		return;
	}
	ret = stream_send(&conn->stream, &opening, 1);
	if (ret < 0)
		upstream_conn_refused(conn, ret);
}

void upstream_tls_opened(struct upstream_conn *conn, int64_t result)
{
	if (result < 0)
		upstream_conn_refused(conn, (int)result);
	else
		begin(conn);
}

/*
 * HTTP/2 is what both sides have said (RFC 9113 3.2); else nothing, or what was offered: the other
 * side would speak something else.
 */
static bool protocol_fits(const struct upstream_conn *conn, const SSL *ssl)
{
	const unsigned char *bytes;
	unsigned int len;
	struct str name;

	SSL_get0_alpn_selected(ssl, &bytes, &len);
	name = str_make((const char *)bytes, len);
	if (conn->http2)
		return str_eq_cstr(name, "h2");
	return !len || str_eq_cstr(name, "http/1.1");
}

void upstream_tls_on_secured(struct stream *stream, int result)
{
	struct upstream_conn *conn = CONTAINER_OF(stream, struct upstream_conn, stream);
	const SSL *ssl = tls_stream_ssl(stream);
	const char *refusal, *text;

	if (!conn->call && !conn->http2) {
		upstream_conn_close(conn);
		return;
	}
	if (result == 0) {
		if (protocol_fits(conn, ssl))
			upstream_conn_ready(conn);
		else if (conn->http2)
			fail(conn, UPSTREAM_E_HTTP2, "h2 was not chosen by ALPN");
		else
			fail(conn, UPSTREAM_E_TLS, "a protocol was chosen that was not offered");
		return;
	}
	if (result == -ENOMEM) {
		fail(conn, UPSTREAM_E_LOCAL, "out of memory");
		return;
	}
	refusal = tls_client_refusal(ssl);
	text = stream_error_text(stream);
	if (refusal)
		fail(conn, UPSTREAM_E_CERTIFICATE, refusal);
	else
		fail(conn, UPSTREAM_E_TLS, text ? text : "connection lost");
}

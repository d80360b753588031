#include "http/downstream_tls.h"

#include <errno.h>

#include "base/event.h"
#include "base/log.h"
#include "http/worker_internal.h"
#include "tls/tls_config.h"
#include "tls/tls_ktls.h"
#include "tls/tls_stream.h"

#define FAILED_LOG_MS 10000

_Static_assert(HTTP_COUNTER_TLS_OTHER - HTTP_COUNTER_TLS_CLOSED ==
		       TLS_FAILURE_OTHER - TLS_FAILURE_CLOSED,
	       "one counter for each reason, in their order");
_Static_assert(HTTP_COUNTER_KTLS_REFUSED - HTTP_COUNTER_KTLS_SENDS ==
		       TLS_KTLS_REFUSED - TLS_KTLS_SENDS,
	       "likewise");

/* Clients come and go as they like; what else fails may be for somebody to put right. */
static void tell_failed(struct downstream *conn, enum tls_failure failure, const char *reason)
{
	struct http_worker *worker = conn->worker;
	uint64_t now_ms = loop_now_ms(worker->loop);
	struct str listener = conn->listener ? conn->listener->name : STR("");
	char peer[ADDR_TEXT_MAX];

	worker_count(worker, (enum http_counter)((int)HTTP_COUNTER_TLS_CLOSED + (int)failure -
						 TLS_FAILURE_CLOSED));
	if (failure == TLS_FAILURE_CLOSED ||
	    (worker->tls_logged_ms && now_ms - worker->tls_logged_ms < FAILED_LOG_MS))
		return;
	worker->tls_logged_ms = now_ms;
	(void)ip_addr_format(&conn->origin.source, peer, sizeof(peer));
	log_info("http", "listener '%.*s': TLS handshake with %s failed: %s", STR_FMT(listener),
		 peer, reason);
	event_publish(EVENT_TLS_FAILED, listener, "TLS handshake with %s failed: %s", peer, reason);
}

static void count_ktls(struct downstream *conn)
{
	enum tls_ktls_use use = tls_stream_ktls(&conn->stream);

	if (use == TLS_KTLS_UNUSED && conn->listener && conn->listener->tls->ktls != TLS_KTLS_OFF)
		use = TLS_KTLS_NO_KERNEL;
	if (use != TLS_KTLS_UNUSED)
		worker_count(conn->worker, (enum http_counter)((int)HTTP_COUNTER_KTLS_SENDS +
							       (int)use - TLS_KTLS_SENDS));
}

static void on_ktls(void *arg, enum tls_ktls_event event)
{
	worker_count(arg, event == TLS_KTLS_REKEY ? HTTP_COUNTER_KTLS_REKEYS
						  : HTTP_COUNTER_KTLS_RECEIVES);
}

static void on_secured(struct stream *stream, int result)
{
	struct downstream *conn = CONTAINER_OF(stream, struct downstream, stream);
	SSL *ssl = tls_stream_ssl(stream);

	if (result < 0) {
		enum tls_failure failure = tls_stream_failure(stream);
		const char *reason = stream_error_text(stream);

		tell_failed(conn, failure ? failure : TLS_FAILURE_CLOSED,
			    reason ? reason : "connection lost");
		downstream_step_close(conn);
		return;
	}
	worker_count(conn->worker, HTTP_COUNTER_TLS_HANDSHAKES);
	if (SSL_session_reused(ssl))
		worker_count(conn->worker, HTTP_COUNTER_TLS_RESUMED);
	if (!downstream_resolve(conn)) {
		worker_count(conn->worker, HTTP_COUNTER_NO_LISTENER);
		downstream_step_close(conn);
		return;
	}
	count_ktls(conn);
	conn->origin_tls = true;
	downstream_set_due(conn,
			   loop_now_ms(conn->worker->loop) + conn->listener->header_timeout_ms);
	downstream_tls_secured(conn, tls_ssl_alpn(ssl));
}

static void on_recv(struct stream *stream, struct recv_buf *buf, int result)
{
	/* Nothing is received before the handshake is over, and then by the protocol. */
	(void)result;
	recv_buf_unref(buf);
	downstream_step_close(CONTAINER_OF(stream, struct downstream, stream));
}

static const struct stream_ops stream_ops = {
	.on_recv = on_recv,
	.on_closed = downstream_step_on_closed,
	.on_secured = on_secured,
};

static void on_due(struct downstream *conn, uint64_t now_ms)
{
	(void)now_ms;
	worker_count(conn->worker, HTTP_COUNTER_TLS_TIMEOUTS);
	downstream_step_close(conn);
}

static const struct downstream_ops tls_ops = {
	DOWNSTREAM_STEP_OPS,
	.on_due = on_due,
};

static int start(struct downstream *conn)
{
	struct http_worker *worker = conn->worker;
	SSL *ssl;
	int ret = 0;

	if (!worker->tls)
		ret = tls_worker_new(&worker->tls);
	if (ret < 0)
		return ret;
	tls_worker_set_on_ktls(worker->tls, on_ktls, worker);
	ssl = tls_server_new_ssl(conn->listener->tls->server, worker->index);
	if (!ssl)
		return -ENOMEM;
	ret = tls_stream_start(worker->tls, &conn->stream, ssl);
	for (unsigned int i = 0; ret == 0 && i < conn->pending_count; i++)
		ret = tls_stream_give(&conn->stream,
				      str_sub(recv_buf_str(conn->pending[i]),
					      i ? 0 : conn->pending_pos, conn->pending[i]->len));
	downstream_pending_clear(conn);
	return ret;
}

void downstream_tls_start(struct downstream *conn)
{
	conn->ops = &tls_ops;
	conn->stream.ops = &stream_ops;
	downstream_set_due(conn,
			   loop_now_ms(conn->worker->loop) + conn->listener->handshake_timeout_ms);
	if (start(conn) < 0) {
		tell_failed(conn, TLS_FAILURE_OTHER, "out of memory");
		downstream_step_close(conn);
	}
}

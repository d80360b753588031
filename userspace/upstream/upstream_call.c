#include "upstream/upstream_call.h"

#include <errno.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "upstream/retry.h"
#include "upstream/upstream_http2.h"

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

/* ---- ends of a call ---- */

void upstream_call_detach(struct upstream_call *call)
{
	if (UNLIKELY(call->stream))
		upstream_http2_remove(call->stream);
	else
		call->conn->call = NULL;
	call->conn = NULL;
	row_add(&call->endpoint->rows[call->pools->worker_index].active, -1);
	if (call->counted)
		atomic_fetch_sub_explicit(&call->endpoint->active, 1, memory_order_relaxed);
	call->counted = false;
	endpoint_unref(TAKE_PTR(call->endpoint));
}

void upstream_call_over(struct upstream_call *call)
{
	if (UNLIKELY(call->stream))
		upstream_stream_done(call->stream);
}

static enum endpoint_counter failure_counter(enum upstream_error error)
{
	switch (error) {
	case UPSTREAM_E_CONNECT:
	case UPSTREAM_E_CONNECT_TIMEOUT:
	case UPSTREAM_E_CERTIFICATE:
	case UPSTREAM_E_TLS:
	case UPSTREAM_E_HTTP2:
		return ENDPOINT_COUNTER_CONNECT_FAILURES;
	case UPSTREAM_E_RESET:
		return ENDPOINT_COUNTER_RESETS;
	case UPSTREAM_E_TIMEOUT:
		return ENDPOINT_COUNTER_TIMEOUTS;
	case UPSTREAM_E_PROTOCOL:
	case UPSTREAM_E_HEAD_TOO_LARGE:
		return ENDPOINT_COUNTER_PROTOCOL_ERRORS;
	case UPSTREAM_E_QUEUE_FULL:
	case UPSTREAM_E_QUEUE_TIMEOUT:
	case UPSTREAM_E_LOCAL:
	case UPSTREAM_ERROR_COUNT:
		break;
	}
	return ENDPOINT_COUNTER_COUNT; /* made here: nothing that the endpoint did */
}

/* `along`: the failure of its connection was counted already, with another call. */
static void count_failure(const struct upstream_call *call, enum upstream_error error, bool along)
{
	enum endpoint_counter counter = failure_counter(error);

	if (counter == ENDPOINT_COUNTER_COUNT ||
	    (along && counter == ENDPOINT_COUNTER_CONNECT_FAILURES))
		return;
	upstream_call_count(call, counter);
	/* Once there is an answer only its framing can be wrong: streams that end are no failure.
	 */
	if (!along && (!call->head_done || error == UPSTREAM_E_PROTOCOL) &&
	    ejection_failure(call->upstream, call->chosen, upstream_call_now_ms(call)))
		upstream_call_count(call, ENDPOINT_COUNTER_EJECTIONS);
}

static uint32_t retry_cause(const struct upstream_call *call, enum upstream_error error)
{
	switch (error) {
	case UPSTREAM_E_CONNECT:
	case UPSTREAM_E_CONNECT_TIMEOUT:
	case UPSTREAM_E_CERTIFICATE:
	case UPSTREAM_E_HTTP2:
		return UPSTREAM_RETRY_CONNECT;
	case UPSTREAM_E_TLS:
		/* Once we were through with the handshake, the request was sent. */
		return call->conn->state == UPSTREAM_CONN_CONNECTING ? UPSTREAM_RETRY_CONNECT
								     : UPSTREAM_RETRY_RESET;
	case UPSTREAM_E_RESET:
		return call->stream && call->stream->refused ? UPSTREAM_RETRY_REFUSED
							     : UPSTREAM_RETRY_RESET;
	case UPSTREAM_E_TIMEOUT:
		return call->try_deadline_ms && upstream_call_now_ms(call) >= call->try_deadline_ms
			       ? UPSTREAM_RETRY_PER_TRY
			       : 0;
	default:
		return 0;
	}
}

static void fail(struct upstream_call *call, enum upstream_error error, const char *detail,
		 bool along)
{
	struct upstream_conn *conn = call->conn;

	count_failure(call, error, along);
	if (!call->tunnel && upstream_call_retry(call, retry_cause(call, error)))
		return;
	upstream_call_detach(call);
	if (!conn->http2)
		upstream_conn_close(conn);
	upstream_call_over(call);
	call->ops->on_error(call, error, detail);
}

void upstream_call_fail(struct upstream_call *call, enum upstream_error error, const char *detail)
{
	fail(call, error, detail, false);
}

void upstream_call_fail_along(struct upstream_call *call, enum upstream_error error,
			      const char *detail)
{
	fail(call, error, detail, true);
}

static void count_status(struct upstream_call *call, uint16_t status)
{
	static const enum endpoint_counter counters[] = {
		ENDPOINT_COUNTER_RESPONSES_2XX, ENDPOINT_COUNTER_RESPONSES_2XX,
		ENDPOINT_COUNTER_RESPONSES_3XX, ENDPOINT_COUNTER_RESPONSES_4XX,
		ENDPOINT_COUNTER_RESPONSES_5XX,
	};

	if (status >= 100 && status < 600)
		upstream_call_count(call, counters[status / 100 - 1]);
}

bool upstream_call_answered(struct upstream_call *call, uint16_t status)
{
	uint32_t cause = retry_cause_of_status(status);

	count_status(call, status);
	if (LIKELY(!cause)) {
		ejection_success(call->endpoint);
		return false;
	}
	if (ejection_failure(call->upstream, call->chosen, upstream_call_now_ms(call)))
		upstream_call_count(call, ENDPOINT_COUNTER_EJECTIONS);
	return upstream_call_retry(call, cause);
}

void upstream_call_abort(struct upstream_call *call)
{
	struct upstream_conn *conn = call->conn;

	if (call->waiting)
		upstream_queue_leave(call);
	if (conn) {
		upstream_call_detach(call);
		if (!conn->http2)
			upstream_conn_close(conn);
	}
	upstream_call_over(call);
}

void upstream_call_reset(struct upstream_call *call)
{
	if (call->conn && !call->conn->http2)
		stream_abort(&call->conn->stream);
	upstream_call_abort(call);
}

void upstream_call_leave(struct upstream_call *call)
{
	if (call->conn && !call->conn->http2)
		upstream_http1_leave(call->conn);
	else
		upstream_call_abort(call);
}

/* ---- deadlines ---- */

uint64_t upstream_call_time_left(const struct upstream_call *call, uint64_t most_ms)
{
	uint64_t now_ms = upstream_call_now_ms(call), due_ms = now_ms + most_ms;

	if (call->deadline_ms)
		due_ms = MIN(due_ms, call->deadline_ms);
	if (call->try_deadline_ms)
		due_ms = MIN(due_ms, call->try_deadline_ms);
	return due_ms > now_ms ? due_ms - now_ms : 0;
}

void upstream_call_start_try(struct upstream_call *call)
{
	uint64_t per_try_ms = call->upstream->retry.per_try_ms;

	call->try_deadline_ms = per_try_ms ? upstream_call_now_ms(call) + per_try_ms : 0;
}

uint64_t upstream_call_await_head(struct upstream_call *call)
{
	uint64_t response_ms = call->response_timeout_ms ? call->response_timeout_ms
							 : call->upstream->response_timeout_ms;

	if (!call->deadline_ms)
		call->deadline_ms = upstream_call_now_ms(call) + response_ms;
	if (!call->try_deadline_ms)
		upstream_call_start_try(call);
	return upstream_call_time_left(call, response_ms);
}

/* ---- what the owner says ---- */

void upstream_call_send(struct upstream_call *call, struct str data, struct recv_buf *buf)
{
	if (!data.len)
		return;
	if (UNLIKELY(call->stream)) {
		upstream_http2_send(call, data, buf);
		return;
	}
	if (call->waiting)
		call->overrun = true;
	if (call->conn)
		upstream_http1_send(call, data, buf);
}

void upstream_call_send_end(struct upstream_call *call, const struct http_field *trailers,
			    unsigned int trailer_count)
{
	if (!call->conn && !(call->stream && call->waiting))
		return;
	if (call->request_done)
		return;
	call->request_done = true;
	if (UNLIKELY(call->stream))
		upstream_http2_send_end(call, trailers, trailer_count);
	else
		upstream_http1_send_end(call, trailers, trailer_count);
}

void upstream_call_flush(struct upstream_call *call)
{
	if (!call->conn)
		return;
	if (UNLIKELY(call->stream))
		upstream_http2_flush(call);
	else
		upstream_http1_flush(call->conn);
}

size_t upstream_call_queued(const struct upstream_call *call)
{
	if (call->waiting)
		return SIZE_MAX;
	if (!call->conn)
		return 0;
	if (UNLIKELY(call->stream))
		return call->stream->body.weight_bytes;
	return call->conn->send_failed ? 0 : call->conn->queue.weight_bytes;
}

void upstream_call_pause(struct upstream_call *call)
{
	if (!call->conn || call->paused)
		return;
	if (UNLIKELY(call->stream))
		upstream_http2_pause(call);
	else
		upstream_http1_pause(call->conn);
}

void upstream_call_resume(struct upstream_call *call)
{
	if (!call->conn || !call->paused)
		return;
	if (UNLIKELY(call->stream))
		upstream_http2_resume(call);
	else
		upstream_http1_resume(call->conn);
}

/* ---- connections of both kinds ---- */

void upstream_conn_ready(struct upstream_conn *conn)
{
	if (UNLIKELY(conn->http2))
		upstream_http2_ready(conn);
	else
		upstream_http1_ready(conn);
}

void upstream_conn_failed(struct upstream_conn *conn, enum upstream_error error, const char *detail)
{
	if (UNLIKELY(conn->http2))
		upstream_http2_failed(conn, error, detail);
	else if (conn->call)
		upstream_call_fail(conn->call, error, detail);
	else
		upstream_conn_close(conn);
}

/* No descriptors, no memory, no ports, a rule of this host: nothing that the endpoint did. */
static bool is_local_error(int result)
{
	switch (-result) {
	case EMFILE:
	case ENFILE:
	case ENOMEM:
	case ENOBUFS:
	case EADDRNOTAVAIL:
	case EPERM:
		return true;
	default:
		return false;
	}
}

void upstream_conn_refused(struct upstream_conn *conn, int result)
{
	char detail[96];

	(void)snprintf(detail, sizeof(detail), "%s", strerror(-result));
	upstream_conn_failed(conn, is_local_error(result) ? UPSTREAM_E_LOCAL : UPSTREAM_E_CONNECT,
			     detail);
}

/* ---- the beginning ---- */

int upstream_call_start(struct upstream_call *call)
{
	int ret = -EAGAIN;

	call->conn = NULL;
	call->stream = NULL;
	call->endpoint = NULL;
	call->reused = call->resent = call->counted = call->waiting = call->overrun = false;
	call->body_taken = call->head_done = call->paused = call->tunnel = false;
	call->request_done = call->framing == HTTP_FRAMING_NONE;
	call->informational_count = call->tried_count = 0;
	call->deadline_ms = call->try_deadline_ms = 0;
	call->failure = UPSTREAM_E_LOCAL;
	call->chosen = NULL;
	call->attempts = 0;
	call->start_ns = loop_now_ns(call->pools->loop);
	call->connected_ns = call->head_ns = 0;
	call->local = upstream_pools_local(call->pools, call->upstream->state);
	if (!call->local)
		return -ENOMEM;
	if (call->upstream->protocol == UPSTREAM_HTTP2) {
		call->stream = upstream_stream_new(call);
		if (!call->stream)
			return -ENOMEM;
	}
	upstream_count(call->upstream->state, call->pools->worker_index, UPSTREAM_COUNTER_CALLS);

	if (!upstream_queue_must_wait(call->local)) {
		ret = upstream_call_attempt(call);
		if (UNLIKELY(ret == -EAGAIN))
			upstream_queue_make_room(call->local);
	}
	if (ret == -EAGAIN)
		ret = upstream_queue_join(call);
	if (UNLIKELY(ret < 0))
		upstream_call_over(call);
	return ret;
}

#include "http/downstream_http1.h"
#include "http/worker_internal.h"

/* ---- how slow ---- */

void downstream_http1_watch_peer(struct downstream_http1 *conn)
{
	uint64_t request_ms = pace_due_ms(&conn->request_pace, 0);
	uint64_t response_ms = pace_due_ms(&conn->base.response_pace, PACE_LOOK_MS);

	if (conn->state != HTTP1_CONN_EXCHANGE)
		return;
	if (!request_ms || (response_ms && response_ms < request_ms))
		request_ms = response_ms;
	downstream_set_due(&conn->base, request_ms);
}

static void reset_reader(struct downstream_http1 *conn)
{
	worker_count(conn->base.worker, HTTP_COUNTER_SLOW_READERS);
	if (conn->exchange)
		conn->exchange->failure = "client reads too slowly";
	downstream_http1_close(conn, true);
}

static void exchange_is_due(struct downstream_http1 *conn, uint64_t now_ms)
{
	uint64_t request_ms = pace_due_ms(&conn->request_pace, 0);
	uint64_t response_ms = pace_due_ms(&conn->base.response_pace, PACE_LOOK_MS);

	if (response_ms && response_ms <= now_ms && !downstream_reads_enough(&conn->base, now_ms)) {
		reset_reader(conn);
		return;
	}
	if (request_ms && request_ms <= now_ms) {
		pace_pause(&conn->request_pace, now_ms);
		worker_count(conn->base.worker, HTTP_COUNTER_SLOW_BODIES);
		exchange_fail_close(conn->exchange, 408, "request body too slow");
	}
	downstream_http1_watch_peer(conn);
}

/* The kernel has taken the whole answer, the client perhaps not. */
static void wait_for_reader(struct downstream_http1 *conn, uint64_t now_ms, uint64_t waited_ms)
{
	pace_wait(&conn->base.response_pace, now_ms - MIN(waited_ms, now_ms - 1));
	if (downstream_reads_enough(&conn->base, now_ms))
		downstream_set_due(&conn->base, now_ms + DOWNSTREAM_LINGER_MS);
	else
		reset_reader(conn);
}

static void ready_is_due(struct downstream_http1 *conn, uint64_t now_ms)
{
	if (!conn->first && downstream_is_unread(&conn->base)) {
		wait_for_reader(conn, now_ms, conn->base.idle_timeout_ms);
		return;
	}
	worker_count(conn->base.worker,
		     conn->first ? HTTP_COUNTER_HEADER_TIMEOUTS : HTTP_COUNTER_IDLE_TIMEOUTS);
	downstream_http1_close(conn, false);
}

void downstream_http1_on_due(struct downstream *base, uint64_t now_ms)
{
	struct downstream_http1 *conn = downstream_http1(base);

	switch (conn->state) {
	case HTTP1_CONN_READY:
		ready_is_due(conn, now_ms);
		break;
	case HTTP1_CONN_HEAD:
		worker_count(conn->base.worker, HTTP_COUNTER_HEADER_TIMEOUTS);
		if (downstream_resolve(&conn->base))
			downstream_http1_refuse_head(conn, 408, "header not complete in time");
		else
			downstream_http1_close(conn, false);
		break;
	case HTTP1_CONN_EXCHANGE:
		exchange_is_due(conn, now_ms);
		break;
	case HTTP1_CONN_LINGER:
		if (downstream_is_unread(&conn->base))
			wait_for_reader(conn, now_ms, DOWNSTREAM_LINGER_MS);
		else
			downstream_http1_close(conn, false);
		break;
	case HTTP1_CONN_CLOSING:
		break;
	}
}

/* ---- memory is short ---- */

void downstream_http1_relieve(struct downstream *base, struct downstream_relief *relief)
{
	struct downstream_http1 *conn = downstream_http1(base);
	enum memory_level level = relief->level;

	switch (conn->state) {
	case HTTP1_CONN_EXCHANGE:
		if (downstream_is_stalled(base, relief)) {
			worker_count(conn->base.worker, HTTP_COUNTER_MEMORY_RESET);
			conn->exchange->failure = "client reads too slowly, memory is short";
			downstream_http1_close(conn, true);
		} else if (level >= MEMORY_SHED && conn->blocked) {
			worker_count(conn->base.worker, HTTP_COUNTER_MEMORY_SHED);
			exchange_fail_close(conn->exchange, 503, "memory is short");
		}
		break;
	case HTTP1_CONN_HEAD:
		if (relief->heads_bytes > 0) {
			relief->heads_bytes -= (int64_t)conn->partial.size_bytes;
			worker_count(conn->base.worker, HTTP_COUNTER_MEMORY_RESET);
			downstream_http1_close(conn, true);
		}
		break;
	case HTTP1_CONN_LINGER:
		if (level >= MEMORY_SHRINK)
			downstream_http1_close(conn, false);
		break;
	case HTTP1_CONN_READY:
	case HTTP1_CONN_CLOSING:
		break;
	}
}

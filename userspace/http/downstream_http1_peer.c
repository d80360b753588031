#include <errno.h>

#include "base/log.h"
#include "http/downstream_http1.h"
#include "http/forwarding.h"
#include "io/stream_progress.h"

#define REFUSED_LOG_MS 10000

/* By level: a connection that has taken nothing of its answer for so long goes. */
static const uint32_t stalled_ms[MEMORY_LEVEL_COUNT] = {0, 5000, 1000, 250};

/* ---- how many ---- */

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
		 STR_FMT(conn->listener->name), ip_addr_format(&conn->peer, addr, sizeof(addr)),
		 conn->listener->connections_per_source);
}

/* Proxies that are trusted bring the connections of many, and are not counted. */
int downstream_admit(struct downstream *conn)
{
	struct http_node *node = conn->worker->memory.node;
	int ret;

	if (!node || !conn->peer.family ||
	    trusted_proxies_have(&conn->worker->config->snapshot->node.trusted_proxies,
				 &conn->peer))
		return 0;
	ret = source_table_take(node->sources, conn->listener->name, &conn->peer,
				conn->listener->connections_per_source, &conn->source);
	if (ret < 0) {
		worker_count(conn->worker, HTTP_COUNTER_SOURCE_REFUSED);
		log_refused(conn);
	} else if (conn->source.shared) {
		worker_count(conn->worker, HTTP_COUNTER_SOURCE_SHARED);
	}
	return ret;
}

/* ---- how slow ---- */

void downstream_set_due(struct downstream *conn, uint64_t due_ms)
{
	struct loop *loop = conn->worker->loop;
	uint64_t now_ms;

	conn->due_ms = due_ms;
	if (!due_ms || (timer_is_running(&conn->timer) && timer_due_ms(&conn->timer) <= due_ms))
		return;
	now_ms = loop_now_ms(loop);
	timer_start(loop, &conn->timer, due_ms > now_ms ? due_ms - now_ms : 0);
}

void downstream_watch_peer(struct downstream *conn)
{
	uint64_t request_ms = pace_due_ms(&conn->request_pace, 0);
	uint64_t response_ms = pace_due_ms(&conn->response_pace, PACE_LOOK_MS);

	if (conn->state != DOWNSTREAM_EXCHANGE)
		return;
	if (!request_ms || (response_ms && response_ms < request_ms))
		request_ms = response_ms;
	downstream_set_due(conn, request_ms);
}

bool downstream_is_unread(const struct downstream *conn)
{
	struct stream_progress progress;

	return !stream_get_progress(&conn->stream, &progress) && progress.pending;
}

/* What it acknowledged since the last look, is that enough for the time we waited? */
static bool client_reads(struct downstream *conn, uint64_t now_ms)
{
	struct stream_progress progress;

	pace_settle(&conn->response_pace, now_ms);
	if (stream_get_progress(&conn->stream, &progress))
		return false;
	pace_earn(&conn->response_pace, progress.acked_bytes - conn->acked_bytes,
		  conn->min_body_rate, conn->idle_timeout_ms);
	conn->acked_bytes = progress.acked_bytes;
	/* Who has all there is owes nothing. */
	if (!progress.pending)
		conn->response_pace.credit_us = MAX(
			conn->response_pace.credit_us,
			(int64_t)pace_first_credit_ms(conn->min_body_rate, conn->idle_timeout_ms) *
				1000);
	return !pace_is_spent(&conn->response_pace);
}

static void reset_reader(struct downstream *conn)
{
	worker_count(conn->worker, HTTP_COUNTER_SLOW_READERS);
	if (conn->exchange)
		conn->exchange->failure = "client reads too slowly";
	downstream_close(conn, true);
}

static void exchange_is_due(struct downstream *conn, uint64_t now_ms)
{
	uint64_t request_ms = pace_due_ms(&conn->request_pace, 0);
	uint64_t response_ms = pace_due_ms(&conn->response_pace, PACE_LOOK_MS);

	if (response_ms && response_ms <= now_ms && !client_reads(conn, now_ms)) {
		reset_reader(conn);
		return;
	}
	if (request_ms && request_ms <= now_ms) {
		pace_pause(&conn->request_pace, now_ms);
		worker_count(conn->worker, HTTP_COUNTER_SLOW_BODIES);
		exchange_fail_close(conn->exchange, 408, "request body too slow");
	}
	downstream_watch_peer(conn);
}

/* The kernel has taken the whole answer, the client perhaps not. */
static void wait_for_reader(struct downstream *conn, uint64_t now_ms, uint64_t waited_ms)
{
	pace_wait(&conn->response_pace, now_ms - MIN(waited_ms, now_ms - 1));
	if (client_reads(conn, now_ms))
		downstream_set_due(conn, now_ms + DOWNSTREAM_LINGER_MS);
	else
		reset_reader(conn);
}

static void ready_is_due(struct downstream *conn, uint64_t now_ms)
{
	if (!conn->first && downstream_is_unread(conn)) {
		wait_for_reader(conn, now_ms, conn->idle_timeout_ms);
		return;
	}
	worker_count(conn->worker,
		     conn->first ? HTTP_COUNTER_HEADER_TIMEOUTS : HTTP_COUNTER_IDLE_TIMEOUTS);
	downstream_close(conn, false);
}

void downstream_on_timer(struct timer *timer)
{
	struct downstream *conn = CONTAINER_OF(timer, struct downstream, timer);
	uint64_t now_ms = loop_now_ms(conn->worker->loop);

	if (!conn->due_ms)
		return;
	if (now_ms < conn->due_ms) {
		downstream_set_due(conn, conn->due_ms);
		return;
	}
	switch (conn->state) {
	case DOWNSTREAM_READY:
		ready_is_due(conn, now_ms);
		break;
	case DOWNSTREAM_HEAD:
		worker_count(conn->worker, HTTP_COUNTER_HEADER_TIMEOUTS);
		if (downstream_resolve(conn))
			downstream_refuse_head(conn, 408, "header not complete in time");
		else
			downstream_close(conn, false);
		break;
	case DOWNSTREAM_EXCHANGE:
		exchange_is_due(conn, now_ms);
		break;
	case DOWNSTREAM_LINGER:
		if (downstream_is_unread(conn))
			wait_for_reader(conn, now_ms, DOWNSTREAM_LINGER_MS);
		else
			downstream_close(conn, false);
		break;
	case DOWNSTREAM_CLOSING:
		break;
	}
}

/* ---- memory is short ---- */

struct relief {
	enum memory_level level;
	uint64_t now_ms;
	uint64_t oldest_ms, newest_ms; /* since when connections are idle */
	int64_t heads_bytes;	       /* of unfinished heads that have to go */
};

static void relieve_one(struct downstream *conn, struct relief *relief)
{
	enum memory_level level = relief->level;

	switch (conn->state) {
	case DOWNSTREAM_EXCHANGE:
		if (!send_queue_is_empty(&conn->queue) &&
		    relief->now_ms - conn->moved_ms >= stalled_ms[level]) {
			worker_count(conn->worker, HTTP_COUNTER_MEMORY_RESET);
			conn->exchange->failure = "client reads too slowly, memory is short";
			downstream_close(conn, true);
		} else if (level >= MEMORY_SHED && conn->blocked) {
			worker_count(conn->worker, HTTP_COUNTER_MEMORY_SHED);
			exchange_fail_close(conn->exchange, 503, "memory is short");
		}
		break;
	case DOWNSTREAM_HEAD:
		if (relief->heads_bytes > 0) {
			relief->heads_bytes -= (int64_t)conn->partial.size_bytes;
			worker_count(conn->worker, HTTP_COUNTER_MEMORY_RESET);
			downstream_close(conn, true);
		}
		break;
	case DOWNSTREAM_LINGER:
		if (level >= MEMORY_SHRINK)
			downstream_close(conn, false);
		break;
	case DOWNSTREAM_READY:
		relief->oldest_ms = MIN(relief->oldest_ms, conn->moved_ms);
		relief->newest_ms = MAX(relief->newest_ms, conn->moved_ms);
		break;
	case DOWNSTREAM_CLOSING:
		break;
	}
}

/* Those that are idle for longer than half of the longest time; the next look takes more. */
static void close_idle(struct http_worker *worker, const struct relief *relief)
{
	uint64_t until_ms = relief->oldest_ms + (relief->newest_ms - relief->oldest_ms) / 2;

	list_for_each_safe (link, &worker->connections) {
		struct downstream *conn = list_entry(link, struct downstream, link);

		if (conn->state != DOWNSTREAM_READY || conn->moved_ms > until_ms)
			continue;
		worker_count(worker, HTTP_COUNTER_MEMORY_CLOSED);
		downstream_close(conn, false);
	}
}

void downstream_http1_relieve(struct http_worker *worker, enum memory_level level)
{
	struct relief relief = {
		.level = level,
		.now_ms = loop_now_ms(worker->loop),
		.oldest_ms = UINT64_MAX,
	};

	if (worker_memory_sheds(&worker->memory))
		relief.heads_bytes = worker_memory_excess(&worker->memory);

	list_for_each_safe (link, &worker->connections)
		relieve_one(list_entry(link, struct downstream, link), &relief);
	if (level >= MEMORY_SHRINK && relief.oldest_ms != UINT64_MAX)
		close_idle(worker, &relief);
}

#include "http/downstream.h"

#include <errno.h>
#include <stdlib.h>

#include "http/downstream_http1.h"
#include "http/downstream_http2.h"
#include "http/offence.h"
#include "http/worker_internal.h"
#include "io/stream_progress.h"

#define PENDING_MAX	     512 /* what may be on its way when receiving stops, and more: broken peer */
#define FREE_DOWNSTREAMS_MAX 256

/* One size, so that the protocol can be chosen in place. */
union downstream_room {
	struct downstream base;
	struct downstream_http1 http1;
	struct downstream_http2 http2;
};

/* By level: a connection that has taken nothing of its answer for so long goes. */
static const uint32_t stalled_ms[MEMORY_LEVEL_COUNT] = {0, 5000, 1000, 250};

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

static void pending_pop(struct downstream *conn)
{
	recv_buf_unref(conn->pending[0]);
	conn->pending_count--;
	memmove(conn->pending, conn->pending + 1, conn->pending_count * sizeof(*conn->pending));
	conn->pending_pos = 0;
}

void downstream_pending_clear(struct downstream *conn)
{
	while (conn->pending_count)
		pending_pop(conn);
	pending_list_done(conn);
	conn->pending = conn->pending_room;
	conn->pending_size = ARRAY_SIZE(conn->pending_room);
}

void downstream_pending_consume(struct downstream *conn, size_t len)
{
	conn->pending_pos += len;
	if (conn->pending_pos == conn->pending[0]->len)
		pending_pop(conn);
}

/* ---- its listener ---- */

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

void downstream_count_bad_request(struct downstream *conn)
{
	worker_count(conn->worker, HTTP_COUNTER_BAD_REQUESTS);
	offence_report(OFFENCE_PROTOCOL_ERROR, &conn->peer, &conn->origin.source);
}

void downstream_take_pace(struct downstream *conn)
{
	conn->idle_timeout_ms = (uint32_t)conn->listener->idle_timeout_ms;
	conn->min_body_rate = conn->listener->min_body_rate;
}

/* ---- life ---- */

struct downstream *downstream_get(struct http_worker *worker)
{
	struct downstream *conn = worker->free_downstreams;

	if (conn) {
		worker->free_downstreams = conn->next_free;
		worker->free_downstream_count--;
	} else {
		conn = malloc(sizeof(union downstream_room));
		if (!conn)
			return NULL;
		worker->memory.counted_bytes += sizeof(union downstream_room);
	}
	memset(conn, 0, sizeof(*conn));
	conn->worker = worker;
	conn->pending = conn->pending_room;
	conn->pending_size = ARRAY_SIZE(conn->pending_room);
	return conn;
}

void downstream_put(struct downstream *conn)
{
	struct http_worker *worker = conn->worker;

	source_lease_give_back(&conn->source);
	if (worker->free_downstream_count < FREE_DOWNSTREAMS_MAX &&
	    worker->memory.level < MEMORY_SHRINK) {
		conn->next_free = worker->free_downstreams;
		worker->free_downstreams = conn;
		worker->free_downstream_count++;
	} else {
		worker->memory.counted_bytes -= sizeof(union downstream_room);
		free(conn);
	}
}

void downstream_closed(struct downstream *conn)
{
	struct http_worker *worker = conn->worker;

	downstream_pending_clear(conn);
	send_queue_clear(&conn->queue);
	list_remove(&conn->link);
	downstream_put(conn);
	worker_memory_look(worker);
	worker_connection_gone(worker);
}

void downstream_cache_free(struct http_worker *worker)
{
	while (worker->free_downstreams) {
		struct downstream *conn = worker->free_downstreams;

		worker->free_downstreams = conn->next_free;
		worker->memory.counted_bytes -= sizeof(union downstream_room);
		free(conn);
	}
	worker->free_downstream_count = 0;
}

/* ---- time ---- */

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

bool downstream_is_unread(const struct downstream *conn)
{
	struct stream_progress progress;

	return !stream_get_progress(&conn->stream, &progress) && progress.pending;
}

bool downstream_reads_enough(struct downstream *conn, uint64_t now_ms)
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

/* ---- memory is short ---- */

bool downstream_is_stalled(const struct downstream *conn, const struct downstream_relief *relief)
{
	return !send_queue_is_empty(&conn->queue) &&
	       relief->now_ms - conn->moved_ms >= stalled_ms[relief->level];
}

/* Those that are idle for longer than half of the longest time; the next look takes more. */
static void close_idle(struct http_worker *worker, const struct downstream_relief *relief)
{
	uint64_t until_ms = relief->oldest_ms + (relief->newest_ms - relief->oldest_ms) / 2;

	list_for_each_safe (link, &worker->connections) {
		struct downstream *conn = list_entry(link, struct downstream, link);

		if (!conn->ops->is_idle(conn) || conn->moved_ms > until_ms)
			continue;
		worker_count(worker, HTTP_COUNTER_MEMORY_CLOSED);
		conn->ops->drain(conn);
	}
}

void downstream_relieve_all(struct http_worker *worker, enum memory_level level)
{
	struct downstream_relief relief = {
		.level = level,
		.now_ms = loop_now_ms(worker->loop),
		.oldest_ms = UINT64_MAX,
	};

	if (worker_memory_sheds(&worker->memory))
		relief.heads_bytes = worker_memory_excess(&worker->memory);

	list_for_each_safe (link, &worker->connections) {
		struct downstream *conn = list_entry(link, struct downstream, link);

		if (conn->ops->is_idle(conn)) {
			relief.oldest_ms = MIN(relief.oldest_ms, conn->moved_ms);
			relief.newest_ms = MAX(relief.newest_ms, conn->moved_ms);
		} else {
			conn->ops->relieve(conn, &relief);
		}
	}
	if (level >= MEMORY_SHRINK && relief.oldest_ms != UINT64_MAX)
		close_idle(worker, &relief);
}

/* ---- steps of the accept path ---- */

void downstream_step_close(struct downstream *conn)
{
	timer_stop(&conn->timer);
	stream_close(&conn->stream);
}

void downstream_step_relieve(struct downstream *conn, struct downstream_relief *relief)
{
	(void)conn;
	(void)relief;
}

bool downstream_step_is_idle(const struct downstream *conn)
{
	return stream_is_open(&conn->stream);
}

void downstream_step_on_closed(struct stream *stream)
{
	downstream_closed(CONTAINER_OF(stream, struct downstream, stream));
}

/*
 * Attempts of a call: which endpoint, over which connection, and what comes after a failure.
 *
 * A call of HTTP/1 takes the place of its connection along when that is given up. One of HTTP/2
 * leaves others behind on it, and may have to wait for a place: then it stands in the queue.
 */
#include <errno.h>

#include "base/util.h"
#include "upstream/retry.h"
#include "upstream/upstream_http2.h"

static void call_attach(struct upstream_call *call, struct upstream_conn *conn)
{
	struct endpoint *endpoint = conn->endpoint;

	if (!call->stream)
		conn->call = call;
	conn->idle_timeout_ms = call->upstream->idle_timeout_ms;
	call->conn = conn;
	call->endpoint = endpoint;
	registry_ref(&endpoint->entry);
	row_add(&endpoint->rows[call->pools->worker_index].active, 1);
	if (balance_counts_active(call->upstream)) {
		call->counted = true;
		atomic_fetch_add_explicit(&endpoint->active, 1, memory_order_relaxed);
	}
	call->attempts++;
}

static const struct endpoint_conf *call_pick(struct upstream_call *call, bool again)
{
	const struct balance_ask ask = {
		.upstream = call->upstream,
		.seat = &call->local->seat,
		.now_ms = upstream_call_now_ms(call),
		.key = call->hash_key,
		.has_key = call->has_hash_key,
		.again = again,
		.tried = call->tried,
		.tried_count = call->tried_count,
	};

	return balance_pick(&ask);
}

static void call_choose(struct upstream_call *call, const struct endpoint_conf *chosen)
{
	call->chosen = chosen;
	call->tried[call->tried_count++] = (uint16_t)(chosen - call->upstream->endpoints);
	/* A body takes the time that its client needs: then the attempt counts from its end. */
	call->try_deadline_ms = 0;
	if (call->framing == HTTP_FRAMING_NONE)
		upstream_call_start_try(call);
}

/* Never begun on it, or not to be gone on with. Not from the queue, if it stands there. */
static void call_drop(struct upstream_call *call)
{
	struct upstream_conn *conn = call->conn;

	upstream_call_detach(call);
	if (!conn->http2)
		upstream_conn_close(conn);
	upstream_call_over(call);
}

/* From the idle stack, still in its state, or a shared one. */
static int call_reuse(struct upstream_call *call, struct upstream_conn *conn)
{
	int ret;

	call_attach(call, conn);
	call->reused = conn->state != UPSTREAM_CONN_CONNECTING;
	if (call->reused)
		upstream_call_count(call, ENDPOINT_COUNTER_REUSES);
	if (UNLIKELY(conn->http2)) {
		ret = upstream_http2_add(conn, call);
	} else {
		timer_stop(&conn->timer);
		ret = upstream_http1_begin(conn, false);
		if (ret < 0)
			conn->state = UPSTREAM_CONN_ACTIVE; /* it left the idle stack already */
	}
	if (ret < 0)
		call_drop(call);
	return ret;
}

static struct upstream_conn *open_conn(struct upstream_call *call)
{
	struct endpoint *endpoint = call->chosen->endpoint;
	struct upstream_conn *conn;

	if (LIKELY(!call->stream))
		return upstream_conn_get(call->local, endpoint, &upstream_http1_ops,
					 upstream_http1_on_timer);
	conn = upstream_conn_get(call->local, endpoint, &upstream_http2_ops,
				 upstream_http2_on_timer);
	if (conn && upstream_http2_new(conn, call->upstream) < 0) {
		conn->has_place = false; /* the caller gives it back */
		upstream_conn_put(conn);
		return NULL;
	}
	return conn;
}

/*
 * With a place that the new connection takes over. `from`: a connection that was never made, whose
 * request with what was taken of the body goes out on the new one.
 */
static int call_connect(struct upstream_call *call, struct upstream_conn *from)
{
	struct upstream_conn *conn = open_conn(call);
	int ret;

	if (!conn) {
		upstream_place_free(call->local);
		return -ENOMEM;
	}
	ret = stream_connect(call->pools->loop, &conn->stream, &conn->endpoint->addr);
	if (ret < 0) {
		upstream_conn_put(conn);
		return ret;
	}
	if (from) {
		SWAP(conn->queue, from->queue);
		SWAP(conn->request, from->request);
		SWAP(conn->tail, from->tail);
		upstream_conn_note_bufs(conn);
		upstream_conn_note_bufs(from);
	}
	call_attach(call, conn);
	call->reused = false;
	upstream_call_count(call, ENDPOINT_COUNTER_CONNECTS);
	if (call->upstream->tls)
		conn->tls = tls_client_ref(call->upstream->tls->client);
	ret = buf_append(&conn->opened, call->opening_key);
	conn->opened_key_len = (uint16_t)conn->opened.len;
	/* Not in the request's buffer, which may go to the next connection. */
	if (ret == 0 && conn->tls)
		ret = buf_append(&conn->opened, call->opening);
	if (UNLIKELY(conn->http2)) {
		int added = upstream_http2_add(conn, call);

		ret = ret < 0 ? ret : added;
	} else if (ret == 0) {
		ret = upstream_http1_begin(conn, from != NULL);
	}
	if (ret < 0)
		call_drop(call);
	return ret;
}

/* Closes the connection of an attempt that failed; its place is the next attempt's. */
static void call_give_up(struct upstream_call *call)
{
	struct upstream_conn *conn = call->conn;

	upstream_call_detach(call);
	conn->has_place = false;
	upstream_conn_close(conn);
}

/*
 * A stream leaves its connection for one to the chosen endpoint. The place of a connection that is
 * dead goes to the first who asks; who gets none waits.
 */
static int stream_go(struct upstream_call *call)
{
	struct upstream_conn *left = call->conn, *conn;

	upstream_call_detach(call);
	conn = upstream_pools_take(call, call->chosen->endpoint);
	if (conn)
		return call_reuse(call, conn);
	if (upstream_http2_is_dead(left) && left->has_place) {
		left->has_place = false;
		return call_connect(call, NULL);
	}
	if (upstream_place_take(call->local))
		return call_connect(call, NULL);
	/* It is picked anew then. */
	call->tried_count--;
	return upstream_queue_join(call);
}

/* What became of an attempt that the owner did not ask for. */
static void call_gone(struct upstream_call *call, int result)
{
	if (result < 0) {
		enum upstream_error error = result == -EAGAIN ? call->failure : UPSTREAM_E_LOCAL;

		upstream_call_over(call);
		call->ops->on_error(call, error, NULL);
	} else {
		upstream_call_flush(call);
	}
}

bool upstream_call_resend(struct upstream_call *call, bool unprocessed)
{
	struct upstream_conn *conn = call->conn;

	if (call->resent || call->body_taken || call->head_done || call->informational_count)
		return false;
	if (!unprocessed &&
	    (!call->reused || conn->partial.len || !retry_method_is_idempotent(call->method_id)))
		return false;
	call->resent = true;
	call->pools->retries++;
	if (UNLIKELY(call->stream)) {
		call_gone(call, stream_go(call));
		return true;
	}
	call_give_up(call);
	if (call_connect(call, NULL) < 0)
		call->ops->on_error(call, UPSTREAM_E_LOCAL, NULL);
	return true;
}

void upstream_call_move(struct upstream_call *call)
{
	int ret;

	upstream_call_detach(call);
	call->tried_count--;
	call->attempts--;
	ret = upstream_call_attempt(call);
	call_gone(call, ret == -EAGAIN ? upstream_queue_join(call) : ret);
}

static bool may_retry(const struct upstream_call *call, uint32_t cause)
{
	const struct upstream_conf *upstream = call->upstream;
	uint32_t on = upstream->retry.on | UPSTREAM_RETRY_PER_TRY;

	/* Who refused a stream has not begun with it, as if there were no connection. */
	if (on & (UPSTREAM_RETRY_CONNECT | UPSTREAM_RETRY_RESET))
		on |= UPSTREAM_RETRY_REFUSED;
	if (!(cause & on) || call->tried_count >= upstream->retry.attempts || call->head_done ||
	    call->informational_count ||
	    (call->deadline_ms && upstream_call_now_ms(call) >= call->deadline_ms))
		return false;
	if (cause == UPSTREAM_RETRY_CONNECT)
		return true;
	return !call->body_taken &&
	       (cause == UPSTREAM_RETRY_REFUSED || retry_method_is_idempotent(call->method_id));
}

bool upstream_call_retry(struct upstream_call *call, uint32_t cause)
{
	struct upstream_conn *conn = call->conn;
	struct upstream_state *state = call->upstream->state;
	unsigned int worker = call->pools->worker_index;
	bool unsent = conn->state == UPSTREAM_CONN_CONNECTING;
	const struct endpoint_conf *chosen;
	struct upstream_conn *idle = NULL;
	int ret;

	/* A body that was lost for want of memory cannot be sent. */
	if (!cause || !may_retry(call, cause) || (unsent && conn->send_failed))
		return false;
	/* Whoever has just refused a connection will refuse again. */
	chosen = call_pick(call, cause != UPSTREAM_RETRY_CONNECT);
	if (!chosen)
		return false;
	if (!retry_budget_take(state, call->upstream->retry.budget, upstream_call_now_ms(call))) {
		upstream_count(state, worker, UPSTREAM_COUNTER_RETRIES_OVER_BUDGET);
		return false;
	}
	upstream_count(state, worker, UPSTREAM_COUNTER_RETRIES);
	call_choose(call, chosen);
	call->resent = false;
	if (UNLIKELY(call->stream)) {
		call_gone(call, stream_go(call));
		return true;
	}
	/* A kept connection may be dead: not with a body that could not be sent again. */
	if (!call->body_taken)
		idle = upstream_pools_take(call, chosen->endpoint);
	if (idle) {
		upstream_call_detach(call);
		upstream_conn_close(conn);
		ret = call_reuse(call, idle);
	} else {
		/* Closed, its memory goes back in a later turn: the request can still be taken. */
		call_give_up(call);
		ret = call_connect(call, unsent ? conn : NULL);
	}
	call_gone(call, ret < 0 ? -ENOMEM : 0);
	return true;
}

/* At the limit, the connection that is there, though another endpoint's turn had come. */
static struct upstream_conn *find_any(struct upstream_call *call, struct list *conns)
{
	const struct upstream_conf *upstream = call->upstream;

	list_for_each (link, conns) {
		struct upstream_conn *conn = list_entry(link, struct upstream_conn, local_link);
		unsigned int i = 0;

		while (i < upstream->endpoint_count &&
		       upstream->endpoints[i].endpoint != conn->endpoint)
			i++;
		if (i == upstream->endpoint_count ||
		    endpoint_is_ejected(conn->endpoint, upstream_call_now_ms(call)) ||
		    !upstream_conn_suits(conn, call))
			continue;
		call->chosen = &upstream->endpoints[i];
		return conn;
	}
	return NULL;
}

static struct upstream_conn *take_any(struct upstream_call *call)
{
	struct upstream_conn *conn;

	if (call->upstream->balance == UPSTREAM_MAGLEV && call->has_hash_key)
		return NULL;
	conn = find_any(call, &call->local->shared);
	if (conn)
		return conn;
	conn = find_any(call, &call->local->idle);
	if (conn)
		upstream_pools_remove_idle(conn);
	return conn;
}

int upstream_call_attempt(struct upstream_call *call)
{
	const struct endpoint_conf *chosen;
	struct upstream_conn *conn;

	call->failure = UPSTREAM_E_LOCAL;
	if (UNLIKELY(call->overrun))
		return -EPROTO;
	chosen = call_pick(call, true);
	conn = upstream_pools_take(call, chosen->endpoint);
	if (LIKELY(conn)) {
		call_choose(call, chosen);
		return call_reuse(call, conn);
	}
	if (upstream_place_take(call->local)) {
		call_choose(call, chosen);
		return call_connect(call, NULL);
	}
	conn = take_any(call);
	if (!conn)
		return -EAGAIN;
	call_choose(call, call->chosen);
	return call_reuse(call, conn);
}

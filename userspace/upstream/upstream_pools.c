#include "upstream/upstream_http2.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/util.h"

#define FREE_CONNS_MAX	  64
#define REQUEST_CAP_BYTES (256u * 1024)
#define REQUEST_KEEP_MAX  (8u * 1024)
#define OPENED_CAP_BYTES  1024u

static void count_connections(const struct upstream_conn *conn, int open, int idle)
{
	struct endpoint_row *row = &conn->endpoint->rows[conn->pools->worker_index];

	if (open)
		row_add(&row->connections_open, open);
	if (idle)
		row_add(&row->connections_idle, idle);
}

void upstream_conn_note_bufs(struct upstream_conn *conn)
{
	size_t bytes = conn->request.size_bytes + conn->tail.size_bytes + conn->partial.size_bytes +
		       conn->opened.size_bytes;

	conn->pools->bufs_bytes += bytes - conn->bufs_bytes;
	conn->bufs_bytes = bytes;
}

/* One large message must not stay with a connection that waits for small ones. */
static void trim_bufs(struct upstream_conn *conn)
{
	struct buf *const bufs[] = {&conn->request, &conn->tail, &conn->partial};

	for (size_t i = 0; i < ARRAY_SIZE(bufs); i++)
		if (bufs[i]->size_bytes > REQUEST_KEEP_MAX)
			buf_done(bufs[i]);
	upstream_conn_note_bufs(conn);
}

static void conn_free(struct upstream_conn *conn)
{
	buf_done(&conn->request);
	buf_done(&conn->tail);
	buf_done(&conn->partial);
	buf_done(&conn->opened);
	upstream_conn_note_bufs(conn);
	free(conn);
}

static void on_drained_timer(struct timer *timer)
{
	struct upstream_pools *pools = CONTAINER_OF(timer, struct upstream_pools, drained_timer);

	pools->on_empty(pools->on_empty_arg);
}

int upstream_pools_new(struct loop *loop, unsigned int worker_index,
		       struct send_segment_cache *segments, struct tls_worker **tls,
		       struct upstream_pools **ret_pools)
{
	struct upstream_pools *pools = calloc(1, sizeof(*pools));

	if (!pools)
		return -ENOMEM;
	pools->loop = loop;
	pools->worker_index = worker_index;
	pools->segments = segments;
	pools->tls = tls;
	list_init(&pools->limited);
	list_init(&pools->free_conns);
	timer_init(&pools->drained_timer, on_drained_timer);
	upstream_queue_attach(pools);
	*ret_pools = pools;
	return 0;
}

static void drop_tls_sessions(struct upstream_pools *pools)
{
	for (unsigned int i = 0; i < pools->slot_count; i++) {
		struct upstream_slot *slot = pools->slots[i];

		if (slot)
			tls_sessions_unref(TAKE_PTR(slot->tls_sessions));
	}
}

void upstream_pools_free(struct upstream_pools *pools)
{
	if (!pools)
		return;
	upstream_queue_detach(pools);
	timer_stop(&pools->drained_timer);
	list_for_each_safe (link, &pools->free_conns) {
		struct upstream_conn *conn = list_entry(link, struct upstream_conn, link);

		conn_free(conn);
	}
	send_chunk_cache_trim(&pools->chunks);
	drop_tls_sessions(pools);
	for (unsigned int i = 0; i < pools->slot_count; i++)
		free(pools->slots[i]);
	free(pools->slots);
	for (unsigned int i = 0; i < pools->local_count; i++)
		free(pools->locals[i]);
	free(pools->locals);
	free(pools);
}

static bool is_left_behind(const struct upstream_pools *pools, const struct endpoint *endpoint)
{
	return atomic_load_explicit(&endpoint->generation, memory_order_relaxed) <
	       pools->generation;
}

void upstream_pools_set_generation(struct upstream_pools *pools, uint64_t generation)
{
	pools->generation = generation;
	for (unsigned int i = 0; i < pools->slot_count; i++) {
		struct upstream_slot *slot = pools->slots[i];

		if (!slot)
			continue;
		list_for_each_safe (link, &slot->idle) {
			struct upstream_conn *conn = list_entry(link, struct upstream_conn, link);

			if (is_left_behind(pools, conn->endpoint))
				upstream_conn_close(conn);
		}
	}
	for (unsigned int i = 0; i < pools->local_count; i++) {
		struct upstream_local *local = pools->locals[i];

		if (local && !list_is_empty(&local->idle))
			upstream_queue_link(local);
	}
}

void upstream_pools_drain(struct upstream_pools *pools, void (*on_empty)(void *arg), void *arg)
{
	pools->draining = true;
	pools->on_empty = on_empty;
	pools->on_empty_arg = arg;
	for (unsigned int i = 0; i < pools->slot_count; i++) {
		struct upstream_slot *slot = pools->slots[i];

		if (!slot)
			continue;
		list_for_each_safe (link, &slot->idle)
			upstream_conn_close(list_entry(link, struct upstream_conn, link));
	}
	if (pools->conn_count == 0)
		timer_start(pools->loop, &pools->drained_timer, 0);
}

unsigned int upstream_pools_connections(const struct upstream_pools *pools)
{
	return pools->conn_count;
}

uint64_t upstream_pools_memory(const struct upstream_pools *pools)
{
	return ((uint64_t)pools->conn_count + pools->free_count) * sizeof(struct upstream_conn) +
	       pools->bufs_bytes + pools->http2_bytes + pools->chunks.bytes;
}

void upstream_pools_trim(struct upstream_pools *pools)
{
	list_for_each_safe (link, &pools->free_conns) {
		struct upstream_conn *conn = list_entry(link, struct upstream_conn, link);

		list_remove(link);
		conn_free(conn);
	}
	pools->free_count = 0;
	send_chunk_cache_trim(&pools->chunks);
	drop_tls_sessions(pools);
}

uint64_t upstream_pools_retries(const struct upstream_pools *pools)
{
	return pools->retries;
}

/*
 * The struct at `index` of an array that grows as far as it is asked for, made when it is first
 * needed: NULL then, with room for it. -ENOMEM.
 */
static int array_reach(void ***array, unsigned int *count, unsigned int index)
{
	unsigned int wanted = MAX(index + 1, *count * 2);
	void **grown;

	if (LIKELY(index < *count))
		return 0;
	grown = realloc(*array, wanted * sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	memset(grown + *count, 0, (wanted - *count) * sizeof(*grown));
	*array = grown;
	*count = wanted;
	return 0;
}

static struct upstream_slot *slot_get(struct upstream_pools *pools, unsigned int index)
{
	struct upstream_slot *slot;

	if (array_reach(&pools->slots, &pools->slot_count, index) < 0)
		return NULL;
	if (!pools->slots[index]) {
		slot = calloc(1, sizeof(*slot));
		if (!slot)
			return NULL;
		list_init(&slot->idle);
		list_init(&slot->shared);
		pools->slots[index] = slot;
	}
	return pools->slots[index];
}

/*
 * Another endpoint may have the slot by now: what it gets offered are sessions for which its
 * certificate would have had to be the same.
 */
struct tls_sessions *upstream_pools_tls_sessions(struct upstream_pools *pools,
						 const struct endpoint *endpoint)
{
	struct upstream_slot *slot = slot_get(pools, endpoint->slot);

	if (slot && !slot->tls_sessions)
		slot->tls_sessions = tls_sessions_new();
	return slot ? slot->tls_sessions : NULL;
}

static struct upstream_local *local_new(struct upstream_pools *pools, unsigned int index)
{
	struct upstream_local *local;

	if (array_reach(&pools->locals, &pools->local_count, index) < 0)
		return NULL;
	local = calloc(1, sizeof(*local));
	if (!local)
		return NULL;
	local->pools = pools;
	list_init(&local->idle);
	list_init(&local->shared);
	upstream_queue_init(local);
	balance_seat_init(&local->seat, pools->worker_index, clock_mono_ns());
	return pools->locals[index] = local;
}

struct upstream_local *upstream_pools_local(struct upstream_pools *pools,
					    struct upstream_state *state)
{
	struct upstream_local *local =
		state->slot < pools->local_count ? pools->locals[state->slot] : NULL;

	if (UNLIKELY(!local))
		local = local_new(pools, state->slot);
	/* A slot may be used again, when nobody waits and nothing is kept any more. */
	if (local)
		local->state = state;
	return local;
}

struct upstream_conn *upstream_pools_take(const struct upstream_call *call,
					  struct endpoint *endpoint)
{
	struct upstream_pools *pools = call->pools;
	struct upstream_slot *slot =
		endpoint->slot < pools->slot_count ? pools->slots[endpoint->slot] : NULL;

	if (!slot)
		return NULL;
	list_for_each (link, &slot->shared) {
		struct upstream_conn *conn = list_entry(link, struct upstream_conn, link);

		if (LIKELY(upstream_conn_suits(conn, call)))
			return conn;
	}
	list_for_each (link, &slot->idle) {
		struct upstream_conn *conn = list_entry(link, struct upstream_conn, link);

		if (UNLIKELY(!upstream_conn_suits(conn, call)))
			continue;
		upstream_pools_remove_idle(conn);
		return conn;
	}
	return NULL;
}

bool upstream_pools_keep_idle(struct upstream_conn *conn)
{
	struct upstream_pools *pools = conn->pools;
	struct upstream_slot *slot;

	if (pools->draining || is_left_behind(pools, conn->endpoint))
		return false;
	if (UNLIKELY(atomic_load_explicit(&conn->local->state->waiting, memory_order_relaxed)) &&
	    upstream_queue_yields(conn->local))
		return false;
	slot = slot_get(pools, conn->endpoint->slot);
	if (!slot)
		return false;
	if (slot->idle_count >= UPSTREAM_IDLE_MAX) {
		if (!conn->opened.len && !conn->tls)
			return false;
		/*
		 * One that only its own client, or only the same settings can use: the latest is
		 * the likeliest to be.
		 */
		upstream_conn_close(CONTAINER_OF(slot->idle.prev, struct upstream_conn, link));
	}
	trim_bufs(conn);
	list_push_front(&slot->idle, &conn->link);
	list_push_front(&conn->local->idle, &conn->local_link);
	slot->idle_count++;
	count_connections(conn, 0, 1);
	conn->state = UPSTREAM_CONN_IDLE;
	return true;
}

void upstream_pools_share(struct upstream_conn *conn, bool share)
{
	struct upstream_slot *slot;

	if (share != list_is_empty(&conn->link))
		return; /* as it is */
	list_remove(&conn->link);
	list_remove(&conn->local_link);
	slot = share ? slot_get(conn->pools, conn->endpoint->slot) : NULL;
	/* Without memory for a slot nobody shares it. */
	if (!slot)
		return;
	list_push_front(&slot->shared, &conn->link);
	list_push_front(&conn->local->shared, &conn->local_link);
}

void upstream_pools_remove_idle(struct upstream_conn *conn)
{
	struct upstream_slot *slot = conn->pools->slots[conn->endpoint->slot];

	list_remove(&conn->link);
	list_remove(&conn->local_link);
	slot->idle_count--;
	count_connections(conn, 0, -1);
}

struct upstream_conn *upstream_conn_get(struct upstream_local *local, struct endpoint *endpoint,
					const struct stream_ops *ops,
					void (*on_timer)(struct timer *timer))
{
	struct upstream_pools *pools = local->pools;
	struct upstream_conn *conn;

	if (!list_is_empty(&pools->free_conns)) {
		conn = list_first(&pools->free_conns, struct upstream_conn, link);
		list_remove(&conn->link);
		pools->free_count--;
	} else {
		conn = calloc(1, sizeof(*conn));
		if (!conn)
			return NULL;
		buf_init(&conn->request, REQUEST_CAP_BYTES);
		buf_init(&conn->tail, REQUEST_CAP_BYTES);
		buf_init(&conn->partial, REQUEST_CAP_BYTES);
		buf_init(&conn->opened, OPENED_CAP_BYTES);
	}
	stream_init(&conn->stream, ops);
	timer_init(&conn->timer, on_timer);
	list_init(&conn->link);
	list_init(&conn->local_link);
	send_queue_init(&conn->queue, pools->segments);
	conn->pools = pools;
	conn->local = local;
	conn->has_place = true;
	conn->call = NULL;
	conn->endpoint = endpoint;
	registry_ref(&endpoint->entry);
	conn->state = UPSTREAM_CONN_CONNECTING;
	conn->keep_alive = conn->recv_one = conn->send_failed = conn->used = false;
	conn->expects_large = conn->half_ended = conn->shut = conn->leaving = false;
	conn->scan = 0;
	conn->tls = NULL;
	conn->http2 = NULL;
	conn->opened_key_len = 0;
	conn->body = (struct http1_body){0};
	pools->conn_count++;
	count_connections(conn, 1, 0);
	return conn;
}

void upstream_conn_put(struct upstream_conn *conn)
{
	struct upstream_pools *pools = conn->pools;
	struct upstream_local *local = conn->local;
	struct endpoint *endpoint = conn->endpoint; /* also keeps the upstream */
	bool has_place = conn->has_place;

	timer_stop(&conn->timer);
	send_queue_clear(&conn->queue);
	upstream_http2_free(TAKE_PTR(conn->http2));
	http1_body_done(&conn->body);
	splice_pipe_unref(TAKE_PTR(conn->pipe));
	count_connections(conn, -1, 0);
	conn->endpoint = NULL;
	pools->conn_count--;
	buf_reset(&conn->request);
	buf_reset(&conn->tail);
	buf_reset(&conn->partial);
	buf_done(&conn->opened);
	tls_client_unref(TAKE_PTR(conn->tls));
	trim_bufs(conn);
	if (pools->free_count < FREE_CONNS_MAX) {
		list_push_front(&pools->free_conns, &conn->link);
		pools->free_count++;
	} else {
		conn_free(conn);
	}
	/* Last: owners of waiting calls may do anything in their events. */
	if (has_place)
		upstream_place_free(local);
	endpoint_unref(endpoint);
	if (pools->draining && pools->conn_count == 0)
		timer_start(pools->loop, &pools->drained_timer, 0);
}

void upstream_conn_close(struct upstream_conn *conn)
{
	if (conn->state == UPSTREAM_CONN_CLOSING)
		return;
	if (conn->state == UPSTREAM_CONN_IDLE)
		upstream_pools_remove_idle(conn);
	else
		upstream_pools_share(conn, false);
	if (conn->call) {
		conn->call->conn = NULL;
		conn->call = NULL;
	}
	conn->state = UPSTREAM_CONN_CLOSING;
	timer_stop(&conn->timer);
	stream_close(&conn->stream);
}

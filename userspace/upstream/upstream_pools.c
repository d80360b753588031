#include "upstream/upstream_conn.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/util.h"

#define FREE_CONNS_MAX	  64
#define REQUEST_CAP_BYTES (256u * 1024)
#define REQUEST_KEEP_MAX  (8u * 1024)
#define CONN_BUFS_BYTES	  1024

static void count_connections(const struct upstream_conn *conn, int open, int idle)
{
	struct endpoint_row *row = &conn->endpoint->rows[conn->pools->worker_index];

	if (open)
		atomic_fetch_add_explicit(&row->connections_open, open, memory_order_relaxed);
	if (idle)
		atomic_fetch_add_explicit(&row->connections_idle, idle, memory_order_relaxed);
}

static void conn_free(struct upstream_conn *conn)
{
	buf_done(&conn->request);
	buf_done(&conn->tail);
	buf_done(&conn->partial);
	free(conn);
}

static void on_drained_timer(struct timer *timer)
{
	struct upstream_pools *pools = CONTAINER_OF(timer, struct upstream_pools, drained_timer);

	pools->on_empty(pools->on_empty_arg);
}

int upstream_pools_new(struct loop *loop, unsigned int worker_index,
		       struct send_segment_cache *segments, struct upstream_pools **ret_pools)
{
	struct upstream_pools *pools = calloc(1, sizeof(*pools));

	if (!pools)
		return -ENOMEM;
	pools->loop = loop;
	pools->worker_index = worker_index;
	pools->segments = segments;
	list_init(&pools->free_conns);
	timer_init(&pools->drained_timer, on_drained_timer);
	*ret_pools = pools;
	return 0;
}

void upstream_pools_free(struct upstream_pools *pools)
{
	if (!pools)
		return;
	timer_stop(&pools->drained_timer);
	list_for_each_safe (link, &pools->free_conns) {
		struct upstream_conn *conn = list_entry(link, struct upstream_conn, link);

		conn_free(conn);
	}
	for (unsigned int i = 0; i < pools->slot_count; i++)
		free(pools->slots[i]);
	free(pools->slots);
	free(pools->positions);
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
		if (!pools->slots[i])
			continue;
		list_for_each_safe (link, &pools->slots[i]->idle) {
			struct upstream_conn *conn = list_entry(link, struct upstream_conn, link);

			if (is_left_behind(pools, conn->endpoint))
				upstream_conn_close(conn);
		}
	}
}

void upstream_pools_drain(struct upstream_pools *pools, void (*on_empty)(void *arg), void *arg)
{
	pools->draining = true;
	pools->on_empty = on_empty;
	pools->on_empty_arg = arg;
	for (unsigned int i = 0; i < pools->slot_count; i++) {
		if (!pools->slots[i])
			continue;
		list_for_each_safe (link, &pools->slots[i]->idle)
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
	/* A request head is written into a buffer of its connection, mostly a small one. */
	return ((uint64_t)pools->conn_count + pools->free_count) *
	       (sizeof(struct upstream_conn) + CONN_BUFS_BYTES);
}

void upstream_pools_trim(struct upstream_pools *pools)
{
	list_for_each_safe (link, &pools->free_conns) {
		struct upstream_conn *conn = list_entry(link, struct upstream_conn, link);

		list_remove(link);
		conn_free(conn);
	}
	pools->free_count = 0;
}

uint64_t upstream_pools_retries(const struct upstream_pools *pools)
{
	return pools->retries;
}

static struct upstream_slot *slot_get(struct upstream_pools *pools, unsigned int index)
{
	struct upstream_slot *slot;

	if (index >= pools->slot_count) {
		unsigned int count = MAX(index + 1, pools->slot_count * 2);
		struct upstream_slot **slots = realloc(pools->slots, count * sizeof(*slots));

		if (!slots)
			return NULL;
		memset(slots + pools->slot_count, 0, (count - pools->slot_count) * sizeof(*slots));
		pools->slots = slots;
		pools->slot_count = count;
	}
	if (!pools->slots[index]) {
		slot = calloc(1, sizeof(*slot));
		if (!slot)
			return NULL;
		list_init(&slot->idle);
		pools->slots[index] = slot;
	}
	return pools->slots[index];
}

struct upstream_conn *upstream_pools_take_idle(struct upstream_pools *pools,
					       struct endpoint *endpoint)
{
	struct upstream_slot *slot =
		endpoint->slot < pools->slot_count ? pools->slots[endpoint->slot] : NULL;
	struct upstream_conn *conn;

	if (!slot || list_is_empty(&slot->idle))
		return NULL;
	conn = list_first(&slot->idle, struct upstream_conn, link);
	upstream_pools_remove_idle(conn);
	return conn;
}

bool upstream_pools_keep_idle(struct upstream_conn *conn)
{
	struct upstream_pools *pools = conn->pools;
	struct upstream_slot *slot;

	if (pools->draining || is_left_behind(pools, conn->endpoint))
		return false;
	slot = slot_get(pools, conn->endpoint->slot);
	if (!slot || slot->idle_count >= UPSTREAM_IDLE_MAX)
		return false;
	list_push_front(&slot->idle, &conn->link);
	slot->idle_count++;
	count_connections(conn, 0, 1);
	conn->state = UPSTREAM_CONN_IDLE;
	return true;
}

void upstream_pools_remove_idle(struct upstream_conn *conn)
{
	list_remove(&conn->link);
	conn->pools->slots[conn->endpoint->slot]->idle_count--;
	count_connections(conn, 0, -1);
}

const struct endpoint_conf *upstream_pools_pick(struct upstream_pools *pools,
						const struct upstream_conf *upstream)
{
	uint32_t *position;

	if (upstream->index >= pools->position_count) {
		unsigned int count = MAX(upstream->index + 1, pools->position_count * 2);
		uint32_t *positions = realloc(pools->positions, count * sizeof(*positions));

		if (!positions)
			return NULL;
		/* Workers start at different places, so that the first requests spread too. */
		for (unsigned int i = pools->position_count; i < count; i++)
			positions[i] = pools->worker_index;
		pools->positions = positions;
		pools->position_count = count;
	}
	position = &pools->positions[upstream->index];
	if (*position >= upstream->schedule_len)
		*position %= upstream->schedule_len;
	return &upstream->endpoints[upstream->schedule[(*position)++]];
}

struct upstream_conn *upstream_conn_get(struct upstream_pools *pools, struct endpoint *endpoint,
					const struct stream_ops *ops,
					void (*on_timer)(struct timer *timer))
{
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
	}
	stream_init(&conn->stream, ops);
	timer_init(&conn->timer, on_timer);
	list_init(&conn->link);
	send_queue_init(&conn->queue, pools->segments);
	conn->pools = pools;
	conn->call = NULL;
	conn->endpoint = endpoint;
	registry_ref(&endpoint->entry);
	conn->state = UPSTREAM_CONN_CONNECTING;
	conn->keep_alive = conn->recv_one = conn->send_failed = conn->used = false;
	conn->expects_large = false;
	conn->scan = 0;
	conn->body = (struct http1_body){0};
	pools->conn_count++;
	count_connections(conn, 1, 0);
	return conn;
}

void upstream_conn_put(struct upstream_conn *conn)
{
	struct upstream_pools *pools = conn->pools;

	timer_stop(&conn->timer);
	send_queue_clear(&conn->queue);
	http1_body_done(&conn->body);
	splice_pipe_unref(TAKE_PTR(conn->pipe));
	count_connections(conn, -1, 0);
	endpoint_unref(TAKE_PTR(conn->endpoint));
	pools->conn_count--;
	buf_reset(&conn->request);
	buf_reset(&conn->tail);
	buf_reset(&conn->partial);
	if (pools->free_count < FREE_CONNS_MAX && conn->request.size_bytes <= REQUEST_KEEP_MAX &&
	    conn->tail.size_bytes <= REQUEST_KEEP_MAX &&
	    conn->partial.size_bytes <= REQUEST_KEEP_MAX) {
		list_push_front(&pools->free_conns, &conn->link);
		pools->free_count++;
	} else {
		conn_free(conn);
	}
	if (pools->draining && pools->conn_count == 0)
		timer_start(pools->loop, &pools->drained_timer, 0);
}

void upstream_conn_close(struct upstream_conn *conn)
{
	if (conn->state == UPSTREAM_CONN_CLOSING)
		return;
	if (conn->state == UPSTREAM_CONN_IDLE)
		upstream_pools_remove_idle(conn);
	if (conn->call) {
		conn->call->conn = NULL;
		conn->call = NULL;
	}
	conn->state = UPSTREAM_CONN_CLOSING;
	timer_stop(&conn->timer);
	stream_close(&conn->stream);
}

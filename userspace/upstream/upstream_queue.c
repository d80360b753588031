/*
 * Places among an upstream's connections, and the calls that wait for one.
 *
 * The number of places holds for the node: one shared counter, which changes when a connection is
 * made or closed, never per request. Each worker has a queue of its own, in order; how many wait
 * altogether is a shared counter, too, against limits.pending. A call at the head of a queue gets
 *
 *  - a connection of this worker that has become free, or
 *  - a place, when one is given back here, or
 *  - a place that another worker gave back: it wakes the worker whose call has waited longest.
 *
 * Workers that keep idle connections while others wait are asked to close some. Which worker wakes
 * which is decided on relaxed reads, so a wake may be missed; a tick while somebody waits makes up
 * for that, and ends waits that last too long.
 */
#include <errno.h>
#include <pthread.h>

#include "base/util.h"
#include "upstream/upstream_conn.h"

#define TICK_MS 20
/* Workers serve their own queue first, unless another's call has waited so much longer. */
#define FAIR_MS 20

/* ---- waking other workers: rare, so that a lock will do ---- */

static pthread_mutex_t peers_lock = PTHREAD_MUTEX_INITIALIZER;
static struct list peers = {&peers, &peers};

static void close_wanted(struct upstream_local *local)
{
	struct upstream_row *row = &local->state->rows[local->pools->worker_index];
	unsigned int wanted = atomic_exchange_explicit(&row->wanted, 0, memory_order_relaxed);

	for (; wanted && !list_is_empty(&local->idle); wanted--)
		upstream_conn_close(
			CONTAINER_OF(local->idle.prev, struct upstream_conn, local_link));
}

static void on_wake(struct loop_task *task)
{
	struct upstream_pools *pools = CONTAINER_OF(task, struct upstream_pools, wake_task);

	atomic_store_explicit(&pools->wake_posted, false, memory_order_release);
	list_for_each_safe (link, &pools->limited) {
		struct upstream_local *local = list_entry(link, struct upstream_local, link);

		/* Where nothing is kept and nobody waits, the upstream itself may be gone. */
		if (!list_is_empty(&local->idle))
			close_wanted(local);
		if (local->waiting_count)
			upstream_queue_run(local);
	}
}

void upstream_queue_attach(struct upstream_pools *pools)
{
	pools->wake_task.run = on_wake;
	(void)pthread_mutex_lock(&peers_lock);
	list_push_back(&peers, &pools->peers_link);
	(void)pthread_mutex_unlock(&peers_lock);
}

/* What was posted before does not run any more: the loop has ended. */
void upstream_queue_detach(struct upstream_pools *pools)
{
	(void)pthread_mutex_lock(&peers_lock);
	list_remove(&pools->peers_link);
	(void)pthread_mutex_unlock(&peers_lock);
}

static void wake(unsigned int worker_index)
{
	(void)pthread_mutex_lock(&peers_lock);
	list_for_each (link, &peers) {
		struct upstream_pools *pools = list_entry(link, struct upstream_pools, peers_link);

		if (pools->worker_index == worker_index &&
		    !atomic_exchange_explicit(&pools->wake_posted, true, memory_order_acquire))
			loop_post(pools->loop, &pools->wake_task);
	}
	(void)pthread_mutex_unlock(&peers_lock);
}

/* ---- who has waited longest ---- */

static uint64_t waiting_since(const struct upstream_state *state, unsigned int worker)
{
	return atomic_load_explicit(&state->rows[worker].waiting_since_ms, memory_order_relaxed);
}

/* Another worker with a call that waits, the oldest; -1: there is none. */
static int oldest_other(const struct upstream_local *local, uint64_t *ret_since_ms)
{
	int oldest = -1;

	for (unsigned int i = 0; i < local->state->row_count; i++) {
		uint64_t since_ms = waiting_since(local->state, i);

		if (i == local->pools->worker_index || !since_ms ||
		    (oldest >= 0 && since_ms >= *ret_since_ms))
			continue;
		oldest = (int)i;
		*ret_since_ms = since_ms;
	}
	return oldest;
}

static bool others_wait(const struct upstream_local *local)
{
	return atomic_load_explicit(&local->state->waiting, memory_order_relaxed) >
	       local->waiting_count;
}

/* The worker to be preferred to this one; -1: none. */
static int preferred(const struct upstream_local *local)
{
	uint64_t since_ms = 0, own_ms;
	int other;

	if (!others_wait(local))
		return -1;
	other = oldest_other(local, &since_ms);
	if (other < 0 || !local->waiting_count)
		return other;
	own_ms = waiting_since(local->state, local->pools->worker_index);
	return since_ms + FAIR_MS < own_ms ? other : -1;
}

bool upstream_queue_yields(const struct upstream_local *local)
{
	return preferred(local) >= 0;
}

/* ---- places ---- */

static unsigned int limit_of(const struct upstream_local *local)
{
	return atomic_load_explicit(&local->state->connections_max, memory_order_relaxed);
}

bool upstream_place_take(struct upstream_local *local)
{
	atomic_uint *connections = &local->state->connections;
	unsigned int open = atomic_load_explicit(connections, memory_order_relaxed);
	unsigned int limit = limit_of(local);

	do {
		if (limit && open >= limit)
			return false;
	} while (!atomic_compare_exchange_weak_explicit(
		connections, &open, open + 1, memory_order_relaxed, memory_order_relaxed));
	return true;
}

void upstream_place_free(struct upstream_local *local)
{
	int other;

	atomic_fetch_sub_explicit(&local->state->connections, 1, memory_order_relaxed);
	if (LIKELY(!atomic_load_explicit(&local->state->waiting, memory_order_relaxed)))
		return;
	other = preferred(local);
	if (other >= 0)
		wake((unsigned int)other);
	else if (local->waiting_count)
		upstream_queue_run(local);
}

void upstream_queue_make_room(struct upstream_local *local)
{
	if (!list_is_empty(&local->idle))
		upstream_conn_close(
			CONTAINER_OF(local->idle.prev, struct upstream_conn, local_link));
}

/* ---- the queue ---- */

static void publish_since(struct upstream_local *local)
{
	struct upstream_row *row = &local->state->rows[local->pools->worker_index];
	uint64_t since_ms = 0;

	if (local->waiting_count)
		since_ms = list_first(&local->waiting, struct upstream_call, queue_link)
				   ->waiting_since_ms;
	atomic_store_explicit(&row->waiting_since_ms, since_ms, memory_order_relaxed);
}

/* Other workers' idle connections, as many as calls wait here. */
static void ask_others(struct upstream_local *local, const struct upstream_conf *upstream)
{
	unsigned int needed = local->waiting_count;

	for (unsigned int i = 0; i < local->state->row_count && needed; i++) {
		unsigned int idle = 0;

		if (i == local->pools->worker_index)
			continue;
		for (unsigned int j = 0; j < upstream->endpoint_count; j++) {
			atomic_int *kept =
				&upstream->endpoints[j].endpoint->rows[i].connections_idle;

			idle += (unsigned int)MAX(atomic_load_explicit(kept, memory_order_relaxed),
						  0);
		}
		if (!idle)
			continue;
		idle = MIN(idle, needed);
		atomic_store_explicit(&local->state->rows[i].wanted, idle, memory_order_relaxed);
		wake(i);
		needed -= idle;
	}
}

static void on_tick(struct timer *timer)
{
	struct upstream_local *local = CONTAINER_OF(timer, struct upstream_local, timer);
	uint64_t now_ms = loop_now_ms(local->pools->loop);

	upstream_queue_run(local);
	while (local->waiting_count) {
		struct upstream_call *call =
			list_first(&local->waiting, struct upstream_call, queue_link);

		if (now_ms - call->waiting_since_ms < call->upstream->pending_timeout_ms)
			break;
		upstream_queue_leave(call);
		upstream_count(local->state, local->pools->worker_index,
			       UPSTREAM_COUNTER_QUEUE_TIMEOUTS);
		upstream_call_over(call);
		call->ops->on_error(call, UPSTREAM_E_QUEUE_TIMEOUT, NULL);
	}
	if (!local->waiting_count)
		return;
	ask_others(local, list_first(&local->waiting, struct upstream_call, queue_link)->upstream);
	timer_start(local->pools->loop, &local->timer, TICK_MS);
}

void upstream_queue_init(struct upstream_local *local)
{
	list_init(&local->waiting);
	list_init(&local->link);
	timer_init(&local->timer, on_tick);
}

void upstream_queue_link(struct upstream_local *local)
{
	if (UNLIKELY(list_is_empty(&local->link)) && limit_of(local))
		list_push_back(&local->pools->limited, &local->link);
}

bool upstream_queue_must_wait(struct upstream_local *local)
{
	const struct upstream_state *state = local->state;
	uint64_t open, waiting;

	if (LIKELY(!limit_of(local)))
		return local->waiting_count > 0; /* the limit was lifted just now */
	upstream_queue_link(local);
	if (local->waiting_count)
		return true;
	if (!list_is_empty(&local->idle) || !list_is_empty(&local->shared))
		return false;
	/* Places that others are about to take are not free. */
	open = atomic_load_explicit(&state->connections, memory_order_relaxed);
	waiting = atomic_load_explicit(&state->waiting, memory_order_relaxed);
	return open + waiting >= limit_of(local);
}

int upstream_queue_join(struct upstream_call *call)
{
	struct upstream_local *local = call->local;
	struct upstream_state *state = local->state;
	unsigned int worker = local->pools->worker_index;

	if (atomic_fetch_add_explicit(&state->waiting, 1, memory_order_relaxed) >=
	    call->upstream->limits.pending) {
		atomic_fetch_sub_explicit(&state->waiting, 1, memory_order_relaxed);
		upstream_count(state, worker, UPSTREAM_COUNTER_QUEUE_OVERFLOWS);
		call->failure = UPSTREAM_E_QUEUE_FULL;
		return -EAGAIN;
	}
	upstream_count(state, worker, UPSTREAM_COUNTER_QUEUED);
	call->waiting = true;
	call->waiting_since_ms = loop_now_ms(local->pools->loop);
	list_push_back(&local->waiting, &call->queue_link);
	if (local->waiting_count++ == 0) {
		publish_since(local);
		timer_start(local->pools->loop, &local->timer, TICK_MS);
	}
	/* Not each time in a burst; the tick asks for all. */
	if (!(local->waiting_count & (local->waiting_count - 1)))
		ask_others(local, call->upstream);
	return 0;
}

void upstream_queue_leave(struct upstream_call *call)
{
	struct upstream_local *local = call->local;

	list_remove(&call->queue_link);
	call->waiting = false;
	local->waiting_count--;
	atomic_fetch_sub_explicit(&local->state->waiting, 1, memory_order_relaxed);
	publish_since(local);
	if (!local->waiting_count)
		timer_stop(&local->timer);
}

/* 0: the first one is on its way, or over. */
static int serve_first(struct upstream_local *local)
{
	struct upstream_call *call = list_first(&local->waiting, struct upstream_call, queue_link);
	unsigned int open = atomic_load_explicit(&local->state->connections, memory_order_relaxed);
	unsigned int limit = limit_of(local);
	int ret;

	if (list_is_empty(&local->idle) && list_is_empty(&local->shared) && limit && open >= limit)
		return -EAGAIN;
	ret = upstream_call_attempt(call);
	if (ret == -EAGAIN) {
		upstream_queue_make_room(local);
		return ret;
	}
	upstream_queue_leave(call);
	if (ret < 0) {
		upstream_call_over(call);
		call->ops->on_error(call, call->failure, NULL);
	} else if (call->request_done) {
		upstream_call_flush(call);
	} else {
		call->ops->on_drained(call); /* the owner kept the body back */
	}
	return 0;
}

void upstream_queue_run(struct upstream_local *local)
{
	/* Owners may start and abort calls in their events. */
	if (local->running)
		return;
	local->running = true;
	while (local->waiting_count && serve_first(local) == 0)
		;
	local->running = false;
}

#include "http/http_worker.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "http/downstream_http2.h"
#include "http/worker_internal.h"
#include "tls/tls_stream.h"

const char *http_counter_name(enum http_counter counter)
{
	static const char *const names[] = {
#define X(symbol, name, help) [HTTP_COUNTER_##symbol] = name,
		HTTP_COUNTERS(X)
#undef X
	};

	return names[counter];
}

const char *http_counter_help(enum http_counter counter)
{
	static const char *const helps[] = {
#define X(symbol, name, help) [HTTP_COUNTER_##symbol] = help,
		HTTP_COUNTERS(X)
#undef X
	};

	return helps[counter];
}

void worker_snapshot_ref(struct worker_snapshot *config)
{
	config->refs++;
}

void worker_snapshot_unref(struct worker_snapshot *config)
{
	if (!config || --config->refs)
		return;
	snapshot_unref(config->snapshot);
	free(config);
}

static struct worker_snapshot *worker_snapshot_new(struct snapshot *snapshot)
{
	struct worker_snapshot *config = malloc(sizeof(*config));

	if (config)
		*config = (struct worker_snapshot){.snapshot = snapshot_ref(snapshot), .refs = 1};
	return config;
}

struct str worker_date(struct http_worker *worker)
{
	uint64_t now_ms = loop_now_ms(worker->loop);

	if (!worker->date_made_ms || now_ms - worker->date_made_ms >= 1000) {
		time_t now = time(NULL);
		struct tm parts;

		(void)gmtime_r(&now, &parts);
		(void)strftime(worker->date, sizeof(worker->date), "%a, %d %b %Y %H:%M:%S GMT",
			       &parts);
		worker->date_made_ms = now_ms;
	}
	return str_from_cstr(worker->date);
}

static void perhaps_drained(struct http_worker *worker)
{
	if (worker->draining && worker->pools_empty && list_is_empty(&worker->connections)) {
		timer_stop(&worker->drain_timer);
		worker->on_drained(worker->on_drained_arg);
	}
}

static void on_pools_empty(void *arg)
{
	struct http_worker *worker = arg;

	worker->pools_empty = true;
	perhaps_drained(worker);
}

/* With the last client the upstream connections go, too. */
static void drain_pools(struct http_worker *worker)
{
	if (worker->pools_draining || !list_is_empty(&worker->connections))
		return;
	worker->pools_draining = true;
	upstream_pools_drain(worker->pools, on_pools_empty, worker);
}

void worker_connection_gone(struct http_worker *worker)
{
	worker_add(&worker->connections_open, -1);
	if (worker->draining)
		drain_pools(worker);
}

static void on_drain_timer(struct timer *timer)
{
	struct http_worker *worker = CONTAINER_OF(timer, struct http_worker, drain_timer);

	list_for_each_safe (link, &worker->connections) {
		struct downstream *conn = list_entry(link, struct downstream, link);

		conn->ops->abort(conn);
	}
}

int http_worker_new(struct loop *loop, unsigned int index, struct snapshot *snapshot,
		    struct http_node *node, struct http_worker **ret_worker, struct error *err)
{
	struct http_worker *worker = aligned_alloc(_Alignof(struct http_worker), sizeof(*worker));
	int ret;

	if (!worker)
		return error_set(err, -ENOMEM, "out of memory for worker %u", index);
	memset(worker, 0, sizeof(*worker));
	worker->loop = loop;
	worker->index = index;
	random_init(&worker->random);
	list_init(&worker->connections);
	worker->coders.account = &worker->memory.counted_bytes;
	timer_init(&worker->drain_timer, on_drain_timer);
	worker_memory_init(worker, node);
	worker->work = node ? node->work : NULL;
	worker->config = worker_snapshot_new(snapshot);
	ret = worker->config ? upstream_pools_new(loop, index, &worker->segments, &worker->tls,
						  &worker->pools)
			     : -ENOMEM;
	if (ret == 0) {
		ret = access_log_init(&worker->access_log, loop);
		if (ret < 0)
			upstream_pools_free(worker->pools);
	}
	if (ret < 0) {
		worker_snapshot_unref(worker->config);
		free(worker);
		return error_set(err, ret, "out of memory for worker %u", index);
	}
	*ret_worker = worker;
	return 0;
}

/* Every worker marks them, with the same number; a later snapshot's mark stays. */
static void mark_endpoints(const struct snapshot *snapshot)
{
	for (unsigned int i = 0; i < snapshot->upstream_count; i++) {
		const struct upstream_conf *upstream = &snapshot->upstreams[i];

		for (unsigned int j = 0; j < upstream->endpoint_count; j++) {
			atomic_uint_fast64_t *mark = &upstream->endpoints[j].endpoint->generation;

			if (atomic_load_explicit(mark, memory_order_relaxed) < snapshot->generation)
				atomic_store_explicit(mark, snapshot->generation,
						      memory_order_relaxed);
		}
	}
}

void http_worker_set_snapshot(struct http_worker *worker, struct snapshot *snapshot)
{
	struct worker_snapshot *config = worker_snapshot_new(snapshot);

	if (!config)
		return; /* out of memory: the old one goes on */
	worker_snapshot_unref(worker->config);
	worker->config = config;
	mark_endpoints(snapshot);
	upstream_pools_set_generation(worker->pools, snapshot->generation);
}

void http_worker_set_on_hold(struct http_worker *worker, void (*on_hold)(void *arg, bool hold),
			     void *arg)
{
	worker->memory.on_hold = on_hold;
	worker->memory.on_hold_arg = arg;
}

void http_worker_accept(struct http_worker *worker, int fd)
{
	if (worker->pools_draining)
		(void)close(fd); /* it came too late to be served */
	else
		downstream_accept(worker, fd);
}

void http_worker_drain(struct http_worker *worker, uint64_t deadline_ms,
		       void (*on_drained)(void *arg), void *arg)
{
	worker->draining = true;
	worker->drain_ms = deadline_ms;
	worker->on_drained = on_drained;
	worker->on_drained_arg = arg;
	timer_start(worker->loop, &worker->drain_timer, deadline_ms);
	list_for_each_safe (link, &worker->connections) {
		struct downstream *conn = list_entry(link, struct downstream, link);

		conn->ops->drain(conn);
	}
	drain_pools(worker);
}

void worker_free_caches(struct http_worker *worker)
{
	while (worker->free_exchanges) {
		struct exchange *exchange = worker->free_exchanges;

		worker->free_exchanges = exchange->next_free;
		worker->memory.counted_bytes -= sizeof(*exchange);
		arena_done(&exchange->arena);
		free(exchange);
	}
	worker->free_exchange_count = 0;
	downstream_cache_free(worker);
	downstream_http2_cache_free(worker);
	upstream_pools_trim(worker->pools);
	send_segment_cache_trim(&worker->segments);
	coder_cache_trim(&worker->coders);
	if (worker->tls)
		tls_worker_trim(worker->tls);
	loop_trim(worker->loop);
}

void http_worker_free(struct http_worker *worker)
{
	if (!worker)
		return;
	timer_stop(&worker->drain_timer);
	worker_memory_done(worker);
	worker_free_caches(worker);
	access_log_done(&worker->access_log);
	upstream_pools_free(worker->pools);
	tls_worker_free(worker->tls);
	send_segment_cache_done(&worker->segments);
	worker_snapshot_unref(worker->config);
	free(worker);
}

static uint64_t load(const atomic_uint_fast64_t *cell)
{
	return atomic_load_explicit(cell, memory_order_relaxed);
}

void http_worker_get_stats(const struct http_worker *worker, struct http_worker_stats *ret_stats)
{
	for (unsigned int i = 0; i < HTTP_COUNTER_COUNT; i++)
		ret_stats->counters[i] = load(&worker->counters[i]);
	ret_stats->connections_open = load(&worker->connections_open);
	if (worker->memory.node)
		ret_stats->memory_bytes =
			load(&worker->memory.node->rows[worker->index].memory_bytes);
	ret_stats->memory_level = (enum memory_level)atomic_load_explicit(
		&worker->memory.level_shown, memory_order_relaxed);
	ret_stats->exchanges_open = load(&worker->exchanges_open);
	ret_stats->tunnels_open = load(&worker->tunnels_open);
	ret_stats->counters[HTTP_COUNTER_UPSTREAM_RETRIES] = upstream_pools_retries(worker->pools);
	ret_stats->upstream_connections_open = upstream_pools_connections(worker->pools);
	ret_stats->unrouted = (struct route_row){0};
	route_row_add(&ret_stats->unrouted, &worker->unrouted);
}

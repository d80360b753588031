#include "http/worker_memory.h"

#include <malloc.h>

#include "base/event.h"
#include "base/log.h"
#include "http/downstream.h"
#include "http/worker_internal.h"
#include "tls/tls_stream.h"

#define TICK_MS 100
/* At most one part in a hundred of the limit is not told, all workers together. */
#define STEPS 100

uint64_t worker_memory_bytes(const struct http_worker *worker)
{
	struct tls_worker_stats tls = {0};

	if (worker->tls)
		tls_worker_get_stats(worker->tls, &tls);
	return worker->memory.counted_bytes + worker->segments.bytes + tls.memory_bytes +
	       upstream_pools_memory(worker->pools) + loop_recv_bytes(worker->loop);
}

static void set_level(struct http_worker *worker, enum memory_level level)
{
	struct worker_memory *memory = &worker->memory;
	enum memory_level before = memory->level;

	if (level == before)
		return;
	memory->level = level;
	atomic_store_explicit(&memory->level_shown, level, memory_order_relaxed);
	if (before == MEMORY_EASY) {
		worker_count(worker, HTTP_COUNTER_MEMORY_HOLDS);
		log_warn("http",
			 "worker %u accepts no connections: memory is short (%llu bytes in use, "
			 "node.memory_limit is %llu)",
			 worker->index, (unsigned long long)http_node_memory(memory->node),
			 (unsigned long long)memory->node->memory_limit_bytes);
		event_publish(EVENT_MEMORY_SHORT, STR(""),
			      "worker %u accepts no connections: %llu of %llu bytes are in use",
			      worker->index, (unsigned long long)http_node_memory(memory->node),
			      (unsigned long long)memory->node->memory_limit_bytes);
	}
	/* The first look comes at once: what has just got short may be in somebody's way. */
	if (level > before)
		timer_start(worker->loop, &memory->timer, 0);
	if (level == MEMORY_EASY) {
		log_info("http", "worker %u accepts connections again", worker->index);
		event_publish(EVENT_MEMORY_EASED, STR(""), "worker %u accepts connections again",
			      worker->index);
		/* What was freed goes back to the system, too. */
		(void)malloc_trim(0);
	}
	if ((before == MEMORY_EASY || level == MEMORY_EASY) && memory->on_hold)
		memory->on_hold(memory->on_hold_arg, level != MEMORY_EASY);
	if (level >= MEMORY_SHRINK && before < MEMORY_SHRINK)
		worker_free_caches(worker);
}

static void evaluate(struct http_worker *worker, uint64_t bytes)
{
	struct worker_memory *memory = &worker->memory;
	struct http_node *node = memory->node;
	enum memory_level level;
	uint64_t held, max;

	memory->told_bytes = bytes;
	atomic_store_explicit(&node->rows[worker->index].memory_bytes, bytes, memory_order_relaxed);
	level = memory_level_at(
		http_node_memory(node), node->memory_limit_bytes,
		(enum memory_level)atomic_load_explicit(&node->level, memory_order_relaxed));
	if (level != atomic_load_explicit(&node->level, memory_order_relaxed))
		atomic_store_explicit(&node->level, level, memory_order_relaxed);
	memory->node_level_seen = level;
	loop_recv_usage(worker->loop, &held, &max);
	memory->pool_level = memory_level_at(held, max, memory->pool_level);
	set_level(worker, MAX(level, memory->pool_level));
}

int64_t worker_memory_excess(const struct worker_memory *memory)
{
	uint64_t bearable = memory->node->memory_limit_bytes / 100 * 85;

	return (int64_t)http_node_memory(memory->node) - (int64_t)bearable;
}

void worker_memory_look(struct http_worker *worker)
{
	struct worker_memory *memory = &worker->memory;
	uint64_t bytes, moved;

	if (!memory->node)
		return;
	bytes = worker_memory_bytes(worker);
	moved = bytes > memory->told_bytes ? bytes - memory->told_bytes
					   : memory->told_bytes - bytes;
	if (LIKELY(moved < memory->step_bytes &&
		   atomic_load_explicit(&memory->node->level, memory_order_relaxed) ==
			   memory->node_level_seen))
		return;
	evaluate(worker, bytes);
}

static void on_tick(struct timer *timer)
{
	struct http_worker *worker = CONTAINER_OF(timer, struct http_worker, memory.timer);

	evaluate(worker, worker_memory_bytes(worker));
	if (worker->memory.level == MEMORY_EASY)
		return;
	timer_start(worker->loop, timer, TICK_MS);
	downstream_relieve_all(worker, worker->memory.level);
}

void worker_memory_init(struct http_worker *worker, struct http_node *node)
{
	struct worker_memory *memory = &worker->memory;

	*memory = (struct worker_memory){.node = node};
	timer_init(&memory->timer, on_tick);
	if (node)
		memory->step_bytes =
			MAX(node->memory_limit_bytes / STEPS / node->worker_count, (uint64_t)4096);
}

void worker_memory_done(struct http_worker *worker)
{
	struct worker_memory *memory = &worker->memory;

	timer_stop(&memory->timer);
	if (memory->node)
		atomic_store_explicit(&memory->node->rows[worker->index].memory_bytes, 0,
				      memory_order_relaxed);
}

#include "http/http_node.h"

#include <errno.h>
#include <stdlib.h>

#include "base/util.h"
#include "io/work_pool.h"

static const unsigned int begins_percent[MEMORY_LEVEL_COUNT] = {0, 75, 85, 95};
static const unsigned int ends_percent[MEMORY_LEVEL_COUNT] = {0, 70, 80, 90};

const char *memory_level_name(enum memory_level level)
{
	static const char *const names[] = {
#define X(symbol, name) [MEMORY_##symbol] = name,
		MEMORY_LEVELS(X)
#undef X
	};

	return names[level];
}

enum memory_level memory_level_at(uint64_t used, uint64_t limit, enum memory_level current)
{
	unsigned int level = MEMORY_LEVEL_COUNT - 1;

	for (; level > MEMORY_EASY; level--) {
		unsigned int percent =
			level <= current ? ends_percent[level] : begins_percent[level];

		if (used * 100 >= limit * percent)
			break;
	}
	return (enum memory_level)level;
}

int http_node_new(unsigned int worker_count, uint64_t memory_limit_bytes,
		  struct http_node **ret_node)
{
	struct http_node *node = calloc(1, sizeof(*node));
	size_t bytes = worker_count * sizeof(*node->rows);

	if (!node)
		return -ENOMEM;
	node->memory_limit_bytes = memory_limit_bytes;
	node->worker_count = worker_count;
	node->sources = source_table_new(SOURCE_BUCKETS);
	node->rows = aligned_alloc(_Alignof(struct http_node_row), bytes);
	if (!node->sources || !node->rows) {
		http_node_free(node);
		return -ENOMEM;
	}
	memset(node->rows, 0, bytes);
	*ret_node = node;
	return 0;
}

void http_node_free(struct http_node *node)
{
	if (!node)
		return;
	work_pool_free(node->work);
	source_table_free(node->sources);
	free(node->rows);
	free(node);
}

uint64_t http_node_memory(const struct http_node *node)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < node->worker_count; i++)
		sum += atomic_load_explicit(&node->rows[i].memory_bytes, memory_order_relaxed);
	return sum;
}

/*
 * http_node: the limits that hold for the node as a whole, shared by its workers: connections per
 * source, and memory.
 *
 * Memory (HARDENING 16) is what peers make us hold: receive buffers in use, queued answers, heads
 * and whatever else an exchange has, and the structs of connections. Each worker adds up its own
 * without atomic read-modify-writes and tells its row when it has moved by a step; the sum of the
 * rows, or the part of its receive buffers that a worker has in use, says how short memory is:
 *
 *    75 %  NO_ACCEPT  no new connections; slow readers are squeezed, then reset
 *    85 %  SHRINK     idle connections are closed, the longest idle first; caches are given back
 *    95 %  SHED       new requests get 503 (not for receive buffers alone: there they wait)
 *
 * Each level ends five points below where it began. Configuration, lists and the kernel's own
 * socket buffers are not counted. Made before the workers, freed after them. Thread rule: any.
 */
#ifndef SLUICE_HTTP_HTTP_NODE_H
#define SLUICE_HTTP_HTTP_NODE_H

#include <stdatomic.h>
#include <stdint.h>

#include "http/source_table.h"

struct work_pool;

/* symbol, name for people and JSON */
#define MEMORY_LEVELS(X)                                                                           \
	X(EASY, "easy")                                                                            \
	X(NO_ACCEPT, "no-accept")                                                                  \
	X(SHRINK, "shrink")                                                                        \
	X(SHED, "shed")

enum memory_level {
#define X(symbol, name) MEMORY_##symbol,
	MEMORY_LEVELS(X)
#undef X
		MEMORY_LEVEL_COUNT
};

const char *memory_level_name(enum memory_level level);
/* The level at `used` of `limit`, when `current` is the one so far. */
enum memory_level memory_level_at(uint64_t used, uint64_t limit, enum memory_level current);

struct http_node_row {
	_Alignas(64) atomic_uint_fast64_t memory_bytes; /* one writer, its worker */
};

struct http_node {
	struct source_table *sources;
	uint64_t memory_limit_bytes;
	unsigned int worker_count;
	struct work_pool *work; /* NULL: nothing is done off the loops; freed with the node */
	atomic_uint level;	/* enum memory_level of the sum; any worker writes what it found */
	struct http_node_row *rows; /* one per worker */
};

/* 0 or -ENOMEM. */
int http_node_new(unsigned int worker_count, uint64_t memory_limit_bytes,
		  struct http_node **ret_node);
void http_node_free(struct http_node *node);
/* The sum as it was told. */
uint64_t http_node_memory(const struct http_node *node);

#endif

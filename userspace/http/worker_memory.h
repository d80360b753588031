/*
 * worker_memory: a worker's part of the node's memory accounting, and what it does when memory is
 * short. See http_node.h for the levels.
 *
 * Owners add what they allocate and take it off again; the receive buffers, send segments and
 * upstream connections are asked for. worker_memory_look() is cheap and called where memory comes
 * to be held: a connection, an exchange, a piece of a body. While a level is above EASY a timer
 * looks ten times a second, squeezes what can be squeezed and notices that it is over.
 * Thread rule: the worker's thread; level and row are read by others.
 */
#ifndef SLUICE_HTTP_WORKER_MEMORY_H
#define SLUICE_HTTP_WORKER_MEMORY_H

#include "http/http_node.h"
#include "io/loop.h"

struct http_worker;

struct worker_memory {
	struct http_node *node; /* NULL: no limits (tests) */
	size_t counted_bytes;	/* what owners added */
	uint64_t told_bytes;	/* as in the row */
	uint64_t step_bytes;
	enum memory_level level; /* the higher of the two */
	enum memory_level pool_level, node_level_seen;
	atomic_uint level_shown; /* of `level`, for other threads */
	struct timer timer;
	void (*on_hold)(void *arg, bool hold); /* NULL: nobody accepts */
	void *on_hold_arg;
};

void worker_memory_init(struct http_worker *worker, struct http_node *node);
void worker_memory_done(struct http_worker *worker);
/* What it holds at this moment. */
uint64_t worker_memory_bytes(const struct http_worker *worker);
void worker_memory_look(struct http_worker *worker);
/* How much the node holds beyond the point where a level ends that sheds. */
int64_t worker_memory_excess(const struct worker_memory *memory);
/*
 * New requests are to be refused. Only for the node's memory: where a worker lacks receive buffers
 * alone, who holds them is ended and the others wait for that.
 */
static inline bool worker_memory_sheds(const struct worker_memory *memory)
{
	return memory->node_level_seen >= MEMORY_SHED;
}

#endif

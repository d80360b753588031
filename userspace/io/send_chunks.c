#include "io/send_chunks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

#define FREE_CHUNKS_MAX 64

/* `end_bytes` of all that was pushed: when so many were sent it is free again. */
struct send_chunk {
	struct send_chunk *next;
	uint64_t end_bytes;
	size_t len;
	char room[SEND_CHUNK_BYTES];
};

void send_chunk_cache_trim(struct send_chunk_cache *cache)
{
	while (cache->free) {
		struct send_chunk *chunk = cache->free;

		cache->free = chunk->next;
		cache->bytes -= sizeof(*chunk);
		free(chunk);
	}
	cache->free_count = 0;
}

static void put(struct send_chunk_cache *cache, struct send_chunk *chunk)
{
	if (cache->free_count >= FREE_CHUNKS_MAX) {
		cache->bytes -= sizeof(*chunk);
		free(chunk);
		return;
	}
	chunk->next = cache->free;
	cache->free = chunk;
	cache->free_count++;
}

static struct send_chunk *get(struct send_chunk_cache *cache)
{
	struct send_chunk *chunk = cache->free;

	if (LIKELY(chunk)) {
		cache->free = chunk->next;
		cache->free_count--;
	} else {
		chunk = malloc(sizeof(*chunk));
		if (!chunk)
			return NULL;
		cache->bytes += sizeof(*chunk);
	}
	chunk->next = NULL;
	chunk->len = 0;
	return chunk;
}

void send_chunks_init(struct send_chunks *chunks, struct send_chunk_cache *cache)
{
	*chunks = (struct send_chunks){.cache = cache};
}

static void release(struct send_chunks *chunks, uint64_t sent_bytes)
{
	while (chunks->first && chunks->first->end_bytes <= sent_bytes) {
		struct send_chunk *chunk = chunks->first;

		chunks->first = chunk->next;
		if (!chunks->first)
			chunks->last = NULL;
		put(chunks->cache, chunk);
	}
}

void send_chunks_done(struct send_chunks *chunks)
{
	release(chunks, UINT64_MAX);
}

static struct send_chunk *room(struct send_chunks *chunks)
{
	struct send_chunk *chunk = chunks->last;

	if (chunk && chunk->len < sizeof(chunk->room))
		return chunk;
	chunk = get(chunks->cache);
	if (!chunk)
		return NULL;
	if (chunks->last)
		chunks->last->next = chunk;
	else
		chunks->first = chunk;
	chunks->last = chunk;
	/* Until something of it is pushed, it must not look as if that was sent. */
	chunk->end_bytes = chunks->pushed_bytes + 1;
	return chunk;
}

int send_chunks_write(struct send_chunks *chunks, struct send_queue *queue, struct str bytes)
{
	while (bytes.len) {
		struct send_chunk *chunk = room(chunks);
		size_t len;

		if (!chunk)
			return -ENOMEM;
		len = MIN(bytes.len, sizeof(chunk->room) - chunk->len);
		memcpy(chunk->room + chunk->len, bytes.ptr, len);
		if (send_queue_push(queue, str_make(chunk->room + chunk->len, len), NULL) < 0)
			return -ENOMEM;
		chunk->len += len;
		chunks->pushed_bytes += len;
		chunk->end_bytes = chunks->pushed_bytes;
		bytes = str_sub(bytes, len, bytes.len - len);
	}
	return 0;
}

void send_chunks_pushed(struct send_chunks *chunks, size_t bytes)
{
	chunks->pushed_bytes += bytes;
}

void send_chunks_sent(struct send_chunks *chunks, const struct send_queue *queue)
{
	release(chunks, chunks->pushed_bytes - queue->bytes);
}

/*
 * send_chunks: room for bytes that are written once and sent: a codec's frames, behind each other.
 *
 *   write ──► [chunk][chunk] ──► views of them in the send queue ──► kernel ──► free again
 *
 * What is pushed into the queue otherwise (body bytes by reference) is told by
 * send_chunks_pushed(), so that it is known which chunks the kernel has taken. Chunks come from a
 * cache per worker. Thread rule: the loop's thread.
 */
#ifndef SLUICE_IO_SEND_CHUNKS_H
#define SLUICE_IO_SEND_CHUNKS_H

#include "io/send_queue.h"

#define SEND_CHUNK_BYTES (16u * 1024 - 64)

struct send_chunk;

struct send_chunk_cache {
	struct send_chunk *free;
	unsigned int free_count;
	size_t bytes; /* of all chunks there are, in use or free */
};
/* Gives what is free back to malloc. */
void send_chunk_cache_trim(struct send_chunk_cache *cache);

struct send_chunks {
	struct send_chunk_cache *cache;
	struct send_chunk *first, *last;
	uint64_t pushed_bytes; /* into the queue, ever */
};

void send_chunks_init(struct send_chunks *chunks, struct send_chunk_cache *cache);
/* Only when the queue was cleared. */
void send_chunks_done(struct send_chunks *chunks);
/* Copies and pushes. 0 or -ENOMEM: then a part of it may be queued. */
int send_chunks_write(struct send_chunks *chunks, struct send_queue *queue, struct str bytes);
/* So many bytes were pushed by somebody else. */
void send_chunks_pushed(struct send_chunks *chunks, size_t bytes);
/* After send_queue_sent(). */
void send_chunks_sent(struct send_chunks *chunks, const struct send_queue *queue);

#endif

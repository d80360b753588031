#include "tls/tls_internal.h"

#include <stdlib.h>

int tls_worker_new(struct tls_worker **ret_worker)
{
	struct tls_worker *worker = malloc(sizeof(*worker));

	if (!worker)
		return -ENOMEM;
	worker->free_chunks = NULL;
	worker->free_chunk_count = 0;
	worker->streams = worker->memory_bytes = 0;
	worker->on_ktls = NULL;
	worker->bio_method = tls_bio_method_new();
	if (!worker->bio_method) {
		free(worker);
		return -ENOMEM;
	}
	*ret_worker = worker;
	return 0;
}

void tls_worker_trim(struct tls_worker *worker)
{
	while (worker->free_chunks) {
		struct tls_chunk *chunk = worker->free_chunks;

		worker->free_chunks = chunk->next;
		worker->memory_bytes -= sizeof(*chunk);
		free(chunk);
	}
	worker->free_chunk_count = 0;
}

void tls_worker_free(struct tls_worker *worker)
{
	if (!worker)
		return;
	tls_worker_trim(worker);
	BIO_meth_free(worker->bio_method);
	free(worker);
}

void tls_worker_set_on_ktls(struct tls_worker *worker,
			    void (*on_ktls)(void *arg, enum tls_ktls_event event), void *arg)
{
	worker->on_ktls = on_ktls;
	worker->on_ktls_arg = arg;
}

void tls_worker_get_stats(const struct tls_worker *worker, struct tls_worker_stats *ret_stats)
{
	ret_stats->streams = worker->streams;
	ret_stats->memory_bytes = worker->memory_bytes;
}

struct tls_chunk *tls_chunk_get(struct tls_worker *worker)
{
	struct tls_chunk *chunk = worker->free_chunks;

	if (LIKELY(chunk)) {
		worker->free_chunks = chunk->next;
		worker->free_chunk_count--;
	} else {
		chunk = malloc(sizeof(*chunk));
		if (!chunk)
			return NULL;
		worker->memory_bytes += sizeof(*chunk);
	}
	chunk->next = NULL;
	chunk->len = 0;
	return chunk;
}

void tls_chunk_put(struct tls_worker *worker, struct tls_chunk *chunk)
{
	if (worker->free_chunk_count >= TLS_CHUNKS_FREE) {
		worker->memory_bytes -= sizeof(*chunk);
		free(chunk);
		return;
	}
	chunk->next = worker->free_chunks;
	worker->free_chunks = chunk;
	worker->free_chunk_count++;
}

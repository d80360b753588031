#include "io/send_queue.h"

#include <errno.h>
#include <stdlib.h>

#include "base/util.h"

/* Enough for the bursts of a busy worker; more than that goes back to malloc. */
#define CACHE_MAX 1024

struct send_segment {
	struct send_segment *next;
	struct str bytes;
	struct recv_buf *buf;
	char room[SEND_INLINE_MAX];
};

void send_segment_cache_done(struct send_segment_cache *cache)
{
	while (cache->free) {
		struct send_segment *segment = cache->free;

		cache->free = segment->next;
		free(segment);
	}
	cache->free_count = 0;
}

static struct send_segment *segment_get(struct send_queue *queue)
{
	struct send_segment *segment = queue->cache->free;

	if (LIKELY(segment)) {
		queue->cache->free = segment->next;
		queue->cache->free_count--;
	} else {
		segment = malloc(sizeof(*segment));
		if (!segment) {
			queue->failed = true;
			return NULL;
		}
	}
	segment->next = NULL;
	segment->buf = NULL;
	return segment;
}

static void segment_put(struct send_queue *queue, struct send_segment *segment)
{
	recv_buf_unref(segment->buf);
	if (queue->cache->free_count >= CACHE_MAX) {
		free(segment);
		return;
	}
	segment->next = queue->cache->free;
	queue->cache->free = segment;
	queue->cache->free_count++;
}

static void segment_append(struct send_queue *queue, struct send_segment *segment)
{
	if (queue->last)
		queue->last->next = segment;
	else
		queue->first = segment;
	queue->last = segment;
	queue->bytes += segment->bytes.len;
}

void send_queue_init(struct send_queue *queue, struct send_segment_cache *cache)
{
	*queue = (struct send_queue){.cache = cache};
}

static void segment_pop(struct send_queue *queue)
{
	struct send_segment *segment = queue->first;

	queue->first = segment->next;
	if (!queue->first)
		queue->last = NULL;
	queue->bytes -= segment->bytes.len;
	segment_put(queue, segment);
}

void send_queue_clear(struct send_queue *queue)
{
	while (queue->first)
		segment_pop(queue);
	queue->in_flight = 0;
}

int send_queue_push(struct send_queue *queue, struct str bytes, struct recv_buf *buf)
{
	struct send_segment *segment;

	if (!bytes.len)
		return 0;
	segment = segment_get(queue);
	if (!segment)
		return -ENOMEM;
	segment->bytes = bytes;
	if (buf) {
		recv_buf_ref(buf);
		segment->buf = buf;
	}
	segment_append(queue, segment);
	return 0;
}

int send_queue_push_inline(struct send_queue *queue, struct str bytes)
{
	struct send_segment *segment;

	if (bytes.len > SEND_INLINE_MAX)
		return -EINVAL;
	if (!bytes.len)
		return 0;
	segment = segment_get(queue);
	if (!segment)
		return -ENOMEM;
	memcpy(segment->room, bytes.ptr, bytes.len);
	segment->bytes = str_make(segment->room, bytes.len);
	segment_append(queue, segment);
	return 0;
}

int send_queue_flush(struct send_queue *queue, struct stream *stream)
{
	struct iovec iov[STREAM_IOV_MAX];
	unsigned int count = 0;
	size_t bytes = 0;
	int ret;

	if (!queue->first || queue->in_flight)
		return 0;
	for (struct send_segment *segment = queue->first;
	     segment && count < STREAM_IOV_MAX && bytes < SEND_AT_ONCE_BYTES;
	     segment = segment->next) {
		iov[count++] = (struct iovec){(void *)segment->bytes.ptr, segment->bytes.len};
		bytes += segment->bytes.len;
	}
	ret = stream_send(stream, iov, count);
	if (ret == 0)
		queue->in_flight = count;
	return ret;
}

void send_queue_sent(struct send_queue *queue)
{
	for (; queue->in_flight; queue->in_flight--)
		segment_pop(queue);
}

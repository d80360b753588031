#include "io/send_queue.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"

/* Enough for the bursts of a busy worker; more than that goes back to malloc. */
#define CACHE_MAX	1024
#define CACHE_FILES_MAX 256

struct send_file {
	struct send_file *next; /* in the cache */
	struct send_segment_cache *cache;
	int fd;
	unsigned int refs;
};

struct send_segment {
	struct send_segment *next;
	struct str bytes;	/* of a file: ptr NULL */
	struct recv_buf *buf;	/* keeps the bytes, or NULL */
	struct send_file *file; /* NULL: bytes in memory, or in */
	struct splice_pipe *pipe;
	uint32_t room_bytes; /* free behind `bytes`, and ours */
	union {
		char room[SEND_INLINE_MAX];
		uint64_t file_offset;
	};
};

void send_segment_cache_trim(struct send_segment_cache *cache)
{
	while (cache->free) {
		struct send_segment *segment = cache->free;

		cache->free = segment->next;
		cache->bytes -= sizeof(*segment);
		free(segment);
	}
	cache->free_count = 0;
	while (cache->free_files) {
		struct send_file *file = cache->free_files;

		cache->free_files = file->next;
		free(file);
	}
	cache->free_file_count = 0;
}

void send_segment_cache_done(struct send_segment_cache *cache)
{
	send_segment_cache_trim(cache);
}

struct send_file *send_file_new(struct send_segment_cache *cache, int fd)
{
	struct send_file *file = cache->free_files;

	if (LIKELY(file)) {
		cache->free_files = file->next;
		cache->free_file_count--;
	} else {
		file = malloc(sizeof(*file));
		if (!file)
			return NULL;
	}
	*file = (struct send_file){.cache = cache, .fd = fd, .refs = 1};
	return file;
}

void send_file_unref(struct send_file *file)
{
	struct send_segment_cache *cache;

	if (!file || --file->refs)
		return;
	(void)close(file->fd);
	cache = file->cache;
	if (cache->free_file_count >= CACHE_FILES_MAX) {
		free(file);
		return;
	}
	file->next = cache->free_files;
	cache->free_files = file;
	cache->free_file_count++;
}

struct send_file *send_file_ref(struct send_file *file)
{
	file->refs++;
	return file;
}

ssize_t send_file_read(const struct send_file *file, uint64_t offset, char *room, size_t len)
{
	ssize_t got;

	do
		got = pread(file->fd, room, len, (off_t)offset);
	while (got < 0 && errno == EINTR);
	return got < 0 ? -errno : got;
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
		queue->cache->bytes += sizeof(*segment);
	}
	segment->next = NULL;
	segment->buf = NULL;
	segment->file = NULL;
	segment->pipe = NULL;
	segment->room_bytes = 0;
	return segment;
}

static void segment_put(struct send_queue *queue, struct send_segment *segment)
{
	recv_buf_unref(segment->buf);
	send_file_unref(segment->file);
	splice_pipe_unref(segment->pipe);
	if (queue->cache->free_count >= CACHE_MAX) {
		queue->cache->bytes -= sizeof(*segment);
		free(segment);
		return;
	}
	segment->next = queue->cache->free;
	queue->cache->free = segment;
	queue->cache->free_count++;
}

static size_t segment_weight(const struct send_segment *segment)
{
	if (segment->file)
		return 0;
	return segment->buf ? MAX(segment->bytes.len, (size_t)SEND_BUF_WEIGHT) : segment->bytes.len;
}

static void segment_append(struct send_queue *queue, struct send_segment *segment)
{
	if (queue->last)
		queue->last->next = segment;
	else
		queue->first = segment;
	queue->last = segment;
	queue->bytes += segment->bytes.len;
	queue->weight_bytes += segment_weight(segment);
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
	queue->weight_bytes -= segment_weight(segment);
	segment_put(queue, segment);
}

void send_queue_clear(struct send_queue *queue)
{
	while (queue->first)
		segment_pop(queue);
	queue->in_flight = 0;
}

/* Behind the last segment, when it has room and is not under way. */
static bool join(struct send_queue *queue, struct str bytes)
{
	struct send_segment *last = queue->last;

	if (!last || last->room_bytes < bytes.len || queue->in_flight)
		return false;
	/* The room is the queue's alone (send_queue_push_room()), whatever the view says. */
	memcpy((char *)last->bytes.ptr + last->bytes.len, bytes.ptr, bytes.len);
	last->bytes.len += bytes.len;
	last->room_bytes -= (uint32_t)bytes.len;
	queue->bytes += bytes.len;
	queue->weight_bytes += bytes.len;
	return true;
}

/* Bytes that lie right behind the last ones, which are not under way: one piece with them. */
static bool lengthen(struct send_queue *queue, struct str bytes)
{
	struct send_segment *last = queue->last;

	if (!last || queue->in_flight || last->buf || last->file || last->pipe ||
	    last->room_bytes || last->bytes.ptr + last->bytes.len != bytes.ptr)
		return false;
	last->bytes.len += bytes.len;
	queue->bytes += bytes.len;
	queue->weight_bytes += bytes.len;
	return true;
}

int send_queue_push_room(struct send_queue *queue, struct str bytes, size_t room_bytes)
{
	int ret = send_queue_push(queue, bytes, NULL);

	/* Nothing was pushed, or it was joined to a segment with a room of its own. */
	if (ret == 0 && queue->last && queue->last->bytes.ptr == bytes.ptr)
		queue->last->room_bytes = (uint32_t)MIN(room_bytes, (size_t)UINT32_MAX);
	return ret;
}

int send_queue_push(struct send_queue *queue, struct str bytes, struct recv_buf *buf)
{
	struct send_segment *segment;

	if (!bytes.len || join(queue, bytes) || (!buf && lengthen(queue, bytes)))
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
	if (!bytes.len || join(queue, bytes))
		return 0;
	segment = segment_get(queue);
	if (!segment)
		return -ENOMEM;
	memcpy(segment->room, bytes.ptr, bytes.len);
	segment->bytes = str_make(segment->room, bytes.len);
	segment_append(queue, segment);
	return 0;
}

int send_queue_push_file(struct send_queue *queue, struct send_file *file, uint64_t offset,
			 uint64_t len)
{
	struct send_segment *segment;

	if (!len)
		return 0;
	segment = segment_get(queue);
	if (!segment)
		return -ENOMEM;
	file->refs++;
	segment->file = file;
	segment->file_offset = offset;
	segment->bytes = str_make(NULL, len);
	segment_append(queue, segment);
	return 0;
}

int send_queue_push_pipe(struct send_queue *queue, struct splice_pipe *pipe, size_t len)
{
	struct send_segment *segment;

	if (!len)
		return 0;
	segment = segment_get(queue);
	if (!segment)
		return -ENOMEM;
	splice_pipe_ref(pipe);
	segment->pipe = pipe;
	segment->bytes = str_make(NULL, len);
	segment_append(queue, segment);
	return 0;
}

struct str send_queue_front(const struct send_queue *queue, struct recv_buf **ret_buf)
{
	const struct send_segment *first = queue->first;

	*ret_buf = first ? first->buf : NULL;
	return first ? first->bytes : STR_NULL;
}

struct send_file *send_queue_front_file(const struct send_queue *queue, uint64_t *ret_offset)
{
	const struct send_segment *first = queue->first;

	if (!first || !first->file)
		return NULL;
	*ret_offset = first->file_offset;
	return first->file;
}

static bool is_in_memory(const struct send_segment *segment)
{
	return !segment->file && !segment->pipe;
}

/* What was pushed since the send was asked for goes with it, as long as it has not begun. */
static int flush_more(struct send_queue *queue, struct stream *stream)
{
	struct send_segment *segment = queue->first;
	struct iovec iov[STREAM_IOV_MAX];
	unsigned int count = 0;
	size_t bytes = 0;
	int ret;

	for (unsigned int i = 0; i < queue->in_flight; i++, segment = segment->next)
		bytes += segment->bytes.len;
	for (; segment && is_in_memory(segment) && queue->in_flight + count < STREAM_IOV_MAX &&
	       bytes < SEND_AT_ONCE_BYTES;
	     segment = segment->next) {
		iov[count++] = (struct iovec){(void *)segment->bytes.ptr, segment->bytes.len};
		bytes += segment->bytes.len;
	}
	if (!count)
		return 0;
	ret = stream_send_more(stream, iov, count, queue->quiet && !segment);
	if (ret == 0)
		queue->in_flight += count;
	return ret;
}

int send_queue_flush(struct send_queue *queue, struct stream *stream)
{
	struct send_segment *segment = queue->first;
	struct iovec iov[STREAM_IOV_MAX];
	unsigned int count = 0;
	size_t bytes = 0;
	int ret;

	if (!segment)
		return 0;
	if (queue->in_flight)
		return stream_send_is_open(stream) ? flush_more(queue, stream) : 0;
	for (; segment && is_in_memory(segment) && count < STREAM_IOV_MAX &&
	       bytes < SEND_AT_ONCE_BYTES;
	     segment = segment->next) {
		iov[count++] = (struct iovec){(void *)segment->bytes.ptr, segment->bytes.len};
		bytes += segment->bytes.len;
	}
	if (segment && segment->file) {
		ret = stream_send_file(stream, iov, count, segment->file->fd, segment->file_offset,
				       segment->bytes.len);
		count++;
	} else if (segment && segment->pipe) {
		ret = stream_send_pipe(stream, iov, count, segment->pipe, segment->bytes.len);
		count++;
	} else {
		ret = queue->quiet && !segment ? stream_send_quiet(stream, iov, count)
					       : stream_send(stream, iov, count);
	}
	if (ret == 0)
		queue->in_flight = count;
	return ret;
}

/* A send with a file completes with a part of what was offered. */
static void segment_advance(struct send_queue *queue, struct send_segment *segment, size_t bytes)
{
	queue->weight_bytes -= segment_weight(segment);
	if (segment->file)
		segment->file_offset += bytes;
	else if (!segment->pipe)
		segment->bytes.ptr += bytes;
	segment->bytes.len -= bytes;
	queue->bytes -= bytes;
	queue->weight_bytes += segment_weight(segment);
}

void send_queue_drop(struct send_queue *queue, size_t bytes)
{
	if (bytes == queue->first->bytes.len)
		segment_pop(queue);
	else
		segment_advance(queue, queue->first, bytes);
}

int send_queue_move(struct send_queue *to, struct send_queue *from, size_t bytes)
{
	struct send_segment *first = from->first;
	int ret;

	if (first->file)
		ret = send_queue_push_file(to, first->file, first->file_offset, bytes);
	else
		ret = send_queue_push(to, str_make(first->bytes.ptr, bytes), first->buf);
	if (ret == 0)
		send_queue_drop(from, bytes);
	return ret;
}

void send_queue_sent(struct send_queue *queue, int64_t result)
{
	size_t sent = result < 0 ? SIZE_MAX : (size_t)result;

	for (; queue->in_flight; queue->in_flight--) {
		size_t len = queue->first->bytes.len;

		if (sent < len) {
			segment_advance(queue, queue->first, sent);
			queue->in_flight = 0;
			return;
		}
		sent -= len;
		segment_pop(queue);
	}
}

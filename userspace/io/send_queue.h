/*
 * send_queue: what a stream still has to send, in order, without copying it.
 *
 *   push ──► [seg][seg][file] ──► one sendmsg of up to 16 segments and 64 KiB at a time ──► stream
 *                                 and the file's range behind them by sendfile
 *
 * A segment is a view with an optional recv_buf reference that keeps it alive (small ones are
 * copied behind a head that has room: one buffer is sent cheaper than two), or up to
 * SEND_INLINE_MAX bytes kept in the segment itself (chunk heads), a range of a file, or bytes in a
 * pipe. Static segments must live until they are sent or the queue is cleared. The bound on one
 * send keeps its progress visible to timeouts: a reader slower than 64 KiB per idle timeout counts
 * as stalled.
 * Segments come from a per-worker cache. Thread rule: the loop's thread.
 */
#ifndef SLUICE_IO_SEND_QUEUE_H
#define SLUICE_IO_SEND_QUEUE_H

#include <sys/types.h>

#include "io/splice_pipe.h"
#include "io/stream.h"

#define SEND_INLINE_MAX	   32
#define SEND_AT_ONCE_BYTES (64u * 1024)
#define SEND_BUF_WEIGHT	   4096u /* the least that a segment with a receive buffer counts as */

struct send_segment;
struct send_file;

/* One per worker; shared by all its queues. */
struct send_segment_cache {
	struct send_segment *free;
	unsigned int free_count;
	struct send_file *free_files;
	unsigned int free_file_count;
	size_t bytes; /* of all segments there are, queued or free */
};
/* Gives what is free back to malloc. */
void send_segment_cache_trim(struct send_segment_cache *cache);
void send_segment_cache_done(struct send_segment_cache *cache);

struct send_queue {
	struct send_segment_cache *cache;
	struct send_segment *first, *last;
	size_t bytes; /* queued, those under way included */
	/* For back-pressure: a few bytes can hold a whole receive buffer, a file holds none. */
	size_t weight_bytes;
	unsigned int in_flight; /* segments of the send under way */
	bool failed;		/* a push found no memory; stays */
	/*
	 * The owner's word: with the last byte that is queued now, nothing is left to be done, so
	 * that it need not be told at once (stream_send_quiet()).
	 */
	bool quiet;
};

void send_queue_init(struct send_queue *queue, struct send_segment_cache *cache);
/* Releases every segment. Only when no send is under way or its stream was closed. */
void send_queue_clear(struct send_queue *queue);

/* Takes a reference on buf (when not NULL). Empty views are dropped. -ENOMEM sets `failed`. */
int send_queue_push(struct send_queue *queue, struct str bytes, struct recv_buf *buf);
/*
 * The same without a buffer, for bytes in a room of `room_bytes` that is free behind them: until it
 * is sent, what is pushed next goes there if it fits.
 */
int send_queue_push_room(struct send_queue *queue, struct str bytes, size_t room_bytes);
/* Copies; at most SEND_INLINE_MAX bytes. */
int send_queue_push_inline(struct send_queue *queue, struct str bytes);

/*
 * A descriptor that segments refer to, closed with its last reference. The new object has one
 * reference and owns the descriptor; NULL: out of memory, and the descriptor stays the caller's.
 */
struct send_file *send_file_new(struct send_segment_cache *cache, int fd);
void send_file_unref(struct send_file *file); /* NULL allowed */
struct send_file *send_file_ref(struct send_file *file);
/* Into memory, at most len bytes. 0 at its end, or a negative errno. */
ssize_t send_file_read(const struct send_file *file, uint64_t offset, char *room, size_t len);
/* A range of a regular file; takes a reference. Ranges of no bytes are dropped. */
int send_queue_push_file(struct send_queue *queue, struct send_file *file, uint64_t offset,
			 uint64_t len);

/* Bytes that are in the pipe, behind those pushed before; takes a reference. */
int send_queue_push_pipe(struct send_queue *queue, struct splice_pipe *pipe, size_t len);

/*
 * So many bytes from the front of one queue to the end of another, by reference: of receive buffers
 * and files alone, of which send_queue_front() says how much is there. No send of `from` is under
 * way. -ENOMEM: `to` is left as it was.
 */
int send_queue_move(struct send_queue *to, struct send_queue *from, size_t bytes);
/* What stands first: its bytes and what keeps them (or NULL); of a file how many (ptr NULL). */
struct str send_queue_front(const struct send_queue *queue, struct recv_buf **ret_buf);
/* The file, if one stands first, and where in it; else NULL. */
struct send_file *send_queue_front_file(const struct send_queue *queue, uint64_t *ret_offset);
/* Drops so many bytes, at most what send_queue_front() said. Not with a send under way. */
void send_queue_drop(struct send_queue *queue, size_t bytes);

/*
 * Starts a send unless one is under way or nothing is queued; to one that has not begun yet it
 * adds. 0 or a negative errno.
 */
int send_queue_flush(struct send_queue *queue, struct stream *stream);
/* From on_sent(): releases what was sent, or what an error met. */
void send_queue_sent(struct send_queue *queue, int64_t result);

static inline bool send_queue_is_empty(const struct send_queue *queue)
{
	return !queue->first;
}

#endif

/*
 * splice_pipe: a pipe through which body bytes go from one socket to another without being copied.
 *
 *   stream_recv_pipe(from) ──► [ pipe: bytes ] ──► send_queue_push_pipe(), stream of `to`
 *
 * splice(2) moves references to the pages that hold the bytes. A loop has at most
 * SPLICE_PIPES_MAX of them, and a slow reader keeps one as long as it is slow: who gets none
 * receives into buffers as ever. With its last reference an empty pipe goes back to the loop's
 * cache, one that still holds bytes is closed. Thread rule: the loop's thread.
 */
#ifndef SLUICE_IO_SPLICE_PIPE_H
#define SLUICE_IO_SPLICE_PIPE_H

#include <stdbool.h>
#include <stddef.h>

#include "io/loop.h"

#define SPLICE_PIPES_MAX  32
#define SPLICE_PIPE_BYTES (1024u * 1024) /* fs.pipe-max-size of an unchanged system */

struct splice_pipe {
	struct splice_pipe *next; /* in the cache */
	struct loop *loop;
	int in_fd, out_fd;
	unsigned int refs;
	size_t bytes; /* in it */
	size_t size_bytes;
};

/* Part of struct loop. */
struct splice_pipe_cache {
	struct splice_pipe *free;
	unsigned int count; /* those in use, too */
	bool refused;	    /* the system gives no pipe of a useful size: not asked for again */
};

/* With one reference, and empty; NULL: none to be had. */
struct splice_pipe *splice_pipe_get(struct loop *loop);
static inline void splice_pipe_ref(struct splice_pipe *pipe)
{
	pipe->refs++;
}
void splice_pipe_unref(struct splice_pipe *pipe); /* NULL allowed */

void splice_pipe_cache_done(struct splice_pipe_cache *cache);

#endif

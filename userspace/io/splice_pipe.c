#include "io/splice_pipe.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "io/engine.h"

#define SIZE_LEAST (64u * 1024)

static void pipe_close(struct splice_pipe_cache *cache, struct splice_pipe *pipe)
{
	(void)close(pipe->in_fd);
	(void)close(pipe->out_fd);
	free(pipe);
	cache->count--;
}

/* Beyond fs.pipe-user-pages-soft a user gets small pipes only, which cost more than they spare. */
static int open_pipe(struct splice_pipe *pipe)
{
	int fds[2], size;

	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK))
		return -errno;
	size = fcntl(fds[1], F_SETPIPE_SZ, (int)SPLICE_PIPE_BYTES);
	if (size < 0)
		size = fcntl(fds[1], F_GETPIPE_SZ);
	if (size < (int)SIZE_LEAST) {
		(void)close(fds[0]);
		(void)close(fds[1]);
		return -EMFILE;
	}
	pipe->out_fd = fds[0];
	pipe->in_fd = fds[1];
	pipe->size_bytes = (size_t)size;
	return 0;
}

struct splice_pipe *splice_pipe_get(struct loop *loop)
{
	struct splice_pipe_cache *cache = &loop->pipes;
	struct splice_pipe *pipe = cache->free;

	if (LIKELY(pipe)) {
		cache->free = pipe->next;
		pipe->refs = 1;
		return pipe;
	}
	if (cache->count >= SPLICE_PIPES_MAX || cache->refused)
		return NULL;
	pipe = calloc(1, sizeof(*pipe));
	if (!pipe)
		return NULL;
	if (open_pipe(pipe) < 0) {
		/* It does not get better by trying for every body. */
		cache->refused = true;
		free(pipe);
		return NULL;
	}
	pipe->loop = loop;
	pipe->refs = 1;
	cache->count++;
	return pipe;
}

void splice_pipe_unref(struct splice_pipe *pipe)
{
	struct splice_pipe_cache *cache;

	if (!pipe || --pipe->refs)
		return;
	cache = &pipe->loop->pipes;
	if (pipe->bytes) {
		pipe_close(cache, pipe);
		return;
	}
	pipe->next = cache->free;
	cache->free = pipe;
}

void splice_pipe_cache_done(struct splice_pipe_cache *cache)
{
	while (cache->free) {
		struct splice_pipe *pipe = cache->free;

		cache->free = pipe->next;
		pipe_close(cache, pipe);
	}
}

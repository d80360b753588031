#include "http/access_log_sink.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "http/access_log_format.h"

#define FILE_MODE 0640
#define WAIT_MS	  1000 /* for room in a pipe, before it is asked whether to stop */

_Static_assert(ACCESS_LOG_LINE_MAX <= ACCESS_LOG_BLOCK_BYTES, "every line fits a block");

struct access_log_sink {
	_Atomic(struct access_log_block *) pushed;  /* newest first */
	_Atomic(struct access_log_file *) reopened; /* one reference; the last one suffices */
	atomic_bool stop;
	int wake_fd;
	atomic_uint_fast64_t lines, lines_lost, bytes;
};

struct access_log_file {
	atomic_uint refs;
	struct access_log_sink *sink;
	char *path;
	int fd;		    /* the writer's, once the first block was pushed */
	atomic_int next_fd; /* to be taken by the writer; -1: none */
	bool torn;	    /* the last thing written was a part of a line */
	bool failing;	    /* so that a full disk is told of once */
};

struct access_log_pool {
	atomic_uint refs; /* the worker, and each block that exists outside of it */
	_Atomic(struct access_log_block *) returned;
	struct access_log_block *spare; /* the worker's; most recently used first */
	unsigned int block_count;
};

/* ---- pools ---- */

struct access_log_pool *access_log_pool_new(void)
{
	struct access_log_pool *pool = calloc(1, sizeof(*pool));

	if (pool)
		atomic_init(&pool->refs, 1);
	return pool;
}

static void free_blocks(struct access_log_block *block)
{
	while (block) {
		struct access_log_block *next = block->next;

		free(block);
		block = next;
	}
}

void access_log_pool_unref(struct access_log_pool *pool)
{
	if (!pool || atomic_fetch_sub_explicit(&pool->refs, 1, memory_order_acq_rel) != 1)
		return;
	free_blocks(atomic_load_explicit(&pool->returned, memory_order_acquire));
	free_blocks(pool->spare);
	free(pool);
}

struct access_log_block *access_log_pool_take(struct access_log_pool *pool,
					      struct access_log_file *file)
{
	struct access_log_block *block;

	/* The whole stack at once, so that no block can be taken and given back meanwhile. */
	if (!pool->spare)
		pool->spare = atomic_exchange_explicit(&pool->returned, NULL, memory_order_acquire);
	block = pool->spare;
	if (block) {
		pool->spare = block->next;
	} else {
		if (pool->block_count == ACCESS_LOG_BLOCKS_MAX)
			return NULL;
		block = malloc(sizeof(*block));
		if (!block)
			return NULL;
		block->pool = pool;
		pool->block_count++;
	}
	atomic_fetch_add_explicit(&pool->refs, 1, memory_order_relaxed);
	block->file = access_log_file_ref(file);
	block->len = block->line_count = 0;
	return block;
}

static void push(_Atomic(struct access_log_block *) *stack, struct access_log_block *block)
{
	block->next = atomic_load_explicit(stack, memory_order_relaxed);
	while (!atomic_compare_exchange_weak_explicit(stack, &block->next, block,
						      memory_order_release, memory_order_relaxed))
		;
}

static void wake(const struct access_log_sink *sink)
{
	const uint64_t one = 1;

	/* Fails only when it is awake 2^64 times over. */
	(void)!write(sink->wake_fd, &one, sizeof(one));
}

void access_log_sink_push(struct access_log_block *block)
{
	struct access_log_sink *sink = block->file->sink;

	push(&sink->pushed, block);
	wake(sink);
}

/* ---- files ---- */

/* A standard stream is often a pipe of somebody else, which cannot be opened by its name. */
static int standard_stream(const char *path)
{
	if (!strcmp(path, "stdout"))
		return STDOUT_FILENO;
	return strcmp(path, "stderr") ? -1 : STDERR_FILENO;
}

static int open_path(const char *path, int *ret_fd, struct error *err)
{
	int stream = standard_stream(path);
	_cleanup_close_ int fd = -1;
	struct stat info;

	if (stream >= 0)
		fd = fcntl(stream, F_DUPFD_CLOEXEC, 3);
	else /* non-blocking, so that a pipe without a reader is an error */
		fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
			  FILE_MODE);
	if (fd < 0)
		return error_set_errno(
			err, -errno,
			errno == ENXIO ? "%s: nobody reads this pipe" : "cannot open %s", path);
	if (fstat(fd, &info))
		return error_set_errno(err, -errno, "cannot stat %s", path);
	if (stream < 0 && !S_ISREG(info.st_mode) && !S_ISFIFO(info.st_mode) &&
	    !S_ISCHR(info.st_mode))
		return error_set(err, -EINVAL, "%s is no file that can be appended to", path);
	*ret_fd = TAKE_FD(fd);
	return 0;
}

int access_log_file_open(struct access_log_sink *sink, struct str path,
			 struct access_log_file **ret_file, struct error *err)
{
	struct access_log_file *file = calloc(1, sizeof(*file));
	int r;

	if (!file)
		return error_set(err, -ENOMEM, "out of memory");
	atomic_init(&file->refs, 1);
	atomic_init(&file->next_fd, -1);
	file->sink = sink;
	file->fd = -1;
	file->path = strndup(path.ptr, path.len);
	r = file->path ? open_path(file->path, &file->fd, err)
		       : error_set(err, -ENOMEM, "out of memory");
	if (r) {
		access_log_file_unref(file);
		return r;
	}
	*ret_file = file;
	return 0;
}

int access_log_file_reopen(const struct access_log_file *file, int *ret_fd, struct error *err)
{
	return open_path(file->path, ret_fd, err);
}

void access_log_file_replace(struct access_log_file *file, int fd)
{
	struct access_log_sink *sink = file->sink;
	int before = atomic_exchange_explicit(&file->next_fd, fd, memory_order_acq_rel);

	if (before >= 0)
		(void)close(before);
	/* Even where nothing is to be written: a deleted file's space is given back. */
	access_log_file_unref(atomic_exchange_explicit(&sink->reopened, access_log_file_ref(file),
						       memory_order_acq_rel));
	wake(sink);
}

const char *access_log_file_path(const struct access_log_file *file)
{
	return file->path;
}

struct access_log_file *access_log_file_ref(struct access_log_file *file)
{
	atomic_fetch_add_explicit(&file->refs, 1, memory_order_relaxed);
	return file;
}

static void take_next_fd(struct access_log_file *file)
{
	int fd = atomic_exchange_explicit(&file->next_fd, -1, memory_order_acq_rel);

	if (fd < 0)
		return;
	close_fdp(&file->fd);
	file->fd = fd;
	file->torn = false;
}

void access_log_file_unref(struct access_log_file *file)
{
	if (!file || atomic_fetch_sub_explicit(&file->refs, 1, memory_order_acq_rel) != 1)
		return;
	take_next_fd(file);
	close_fdp(&file->fd);
	free(file->path);
	free(file);
}

/* ---- the writer ---- */

int access_log_sink_new(struct access_log_sink **ret_sink, struct error *err)
{
	struct access_log_sink *sink = calloc(1, sizeof(*sink));

	if (!sink)
		return error_set(err, -ENOMEM, "out of memory for the access log");
	sink->wake_fd = eventfd(0, EFD_CLOEXEC);
	if (sink->wake_fd < 0) {
		int r = error_set_errno(err, -errno, "access log: cannot make an eventfd");

		free(sink);
		return r;
	}
	*ret_sink = sink;
	return 0;
}

void access_log_sink_free(struct access_log_sink *sink)
{
	if (!sink)
		return;
	access_log_file_unref(atomic_load(&sink->reopened));
	(void)close(sink->wake_fd);
	free(sink);
}

static void add(atomic_uint_fast64_t *cell, uint64_t count)
{
	atomic_fetch_add_explicit(cell, count, memory_order_relaxed);
}

/* All of it; a negative errno where the rest was lost, with *written bytes of it out. */
static int write_all(const struct access_log_sink *sink, int fd, const char *bytes, size_t len,
		     size_t *written)
{
	*written = 0;
	while (*written < len) {
		ssize_t got = write(fd, bytes + *written, len - *written);

		if (got >= 0) {
			*written += (size_t)got;
		} else if (errno == EAGAIN) {
			struct pollfd room = {.fd = fd, .events = POLLOUT};

			int ready = poll(&room, 1, WAIT_MS);

			if (ready < 0 && errno != EINTR)
				return -errno;
			if (!ready && atomic_load_explicit(&sink->stop, memory_order_relaxed))
				return -ETIMEDOUT;
		} else if (errno != EINTR) {
			return -errno;
		}
	}
	return 0;
}

static void tell(struct access_log_file *file, int result, uint64_t lost)
{
	if (!result == !file->failing)
		return;
	file->failing = result != 0;
	if (result)
		log_error("access-log", "cannot write to %s, %llu lines are lost: %s", file->path,
			  (unsigned long long)lost, strerror(-result));
	else
		log_info("access-log", "writing to %s again", file->path);
}

static void write_block(struct access_log_sink *sink, struct access_log_block *block)
{
	struct access_log_file *file = block->file;
	uint64_t lost = 0;
	size_t written = 0;
	int r = 0;

	take_next_fd(file);
	/* What follows half a line must not become a part of it. */
	if (file->torn)
		r = write_all(sink, file->fd, "\n", 1, &written);
	if (!r) {
		r = write_all(sink, file->fd, block->bytes, block->len, &written);
		file->torn = written && block->bytes[written - 1] != '\n';
		add(&sink->bytes, written);
	} else {
		written = 0;
	}
	for (size_t at = written; at < block->len; at++)
		lost += block->bytes[at] == '\n';
	add(&sink->lines, block->line_count - lost);
	add(&sink->lines_lost, lost);
	tell(file, r, lost);
}

static void return_block(struct access_log_block *block)
{
	struct access_log_pool *pool = block->pool;
	struct access_log_file *file = block->file;

	push(&pool->returned, block);
	access_log_pool_unref(pool);
	access_log_file_unref(file);
}

/* A renamed file is let go, written to or not. */
static void take_reopened(struct access_log_sink *sink)
{
	struct access_log_file *file =
		atomic_exchange_explicit(&sink->reopened, NULL, memory_order_acq_rel);

	if (!file)
		return;
	take_next_fd(file);
	access_log_file_unref(file);
}

/* Oldest first. */
static struct access_log_block *take_pushed(struct access_log_sink *sink)
{
	struct access_log_block *newest =
		atomic_exchange_explicit(&sink->pushed, NULL, memory_order_acquire);
	struct access_log_block *oldest = NULL;

	while (newest) {
		struct access_log_block *next = newest->next;

		newest->next = oldest;
		oldest = newest;
		newest = next;
	}
	return oldest;
}

void access_log_sink_run(struct access_log_sink *sink)
{
	struct access_log_block *block, *next;
	uint64_t count;
	bool stop;

	do {
		if (read(sink->wake_fd, &count, sizeof(count)) < 0 && errno != EINTR) {
			log_error("access-log", "cannot wait for lines: %s", strerror(errno));
			return;
		}
		/* Before looking, so that what was pushed before the stop is still written. */
		stop = atomic_load_explicit(&sink->stop, memory_order_acquire);
		take_reopened(sink);
		for (block = take_pushed(sink); block; block = next) {
			next = block->next;
			write_block(sink, block);
			return_block(block);
		}
	} while (!stop);
}

void access_log_sink_stop(struct access_log_sink *sink)
{
	atomic_store_explicit(&sink->stop, true, memory_order_release);
	wake(sink);
}

struct access_log_stats access_log_sink_stats(const struct access_log_sink *sink)
{
	return (struct access_log_stats){
		.lines = atomic_load_explicit(&sink->lines, memory_order_relaxed),
		.lines_lost = atomic_load_explicit(&sink->lines_lost, memory_order_relaxed),
		.bytes = atomic_load_explicit(&sink->bytes, memory_order_relaxed),
	};
}

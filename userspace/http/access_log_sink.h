/*
 * access_log_sink: carries full blocks of lines from the workers to the thread that writes them.
 *
 *   worker ── fills a block ──► access_log_sink_push() ──► [sink] ──► writer thread ──► write(2)
 *      ▲                                                                   │
 *      └──── access_log_pool: empty blocks of this worker ◄────────────────┘
 *
 * Nobody waits for a disk: a worker whose blocks are all on their way drops lines and counts them.
 * Pushing and giving back are one atomic exchange each. A block keeps its pool and its file alive,
 * so both may be left by their owner at any time.
 *
 * A file is opened by the control thread and stays open as long as a snapshot or a block refers to
 * it; reopening (after it was renamed) hands the writer a new descriptor, which it takes before its
 * next block. Thread rule: push and the pools' functions are the workers'; wait, write and stop
 * belong to the writer thread and whoever ends it; the rest to the control thread.
 */
#ifndef SLUICE_HTTP_ACCESS_LOG_SINK_H
#define SLUICE_HTTP_ACCESS_LOG_SINK_H

#include <stdatomic.h>
#include <stdbool.h>

#include "base/error.h"
#include "base/str.h"

#define ACCESS_LOG_BLOCK_BYTES (64u << 10)
#define ACCESS_LOG_BLOCKS_MAX  32 /* of one worker */

struct access_log_sink;
struct access_log_file;
struct access_log_pool;

struct access_log_block {
	struct access_log_block *next; /* where it waits */
	struct access_log_pool *pool;  /* one reference */
	struct access_log_file *file;  /* to be written to; one reference */
	uint32_t len;
	uint32_t line_count;
	char bytes[ACCESS_LOG_BLOCK_BYTES];
};

/* ---- a worker's blocks ---- */

struct access_log_pool *access_log_pool_new(void);
/* Blocks on their way come later, and are freed then. NULL allowed. */
void access_log_pool_unref(struct access_log_pool *pool);
/* An empty block for the file; NULL: all are on their way, or there is no memory. */
struct access_log_block *access_log_pool_take(struct access_log_pool *pool,
					      struct access_log_file *file);
/* Hands a block over to be written, and wakes the writer. */
void access_log_sink_push(struct access_log_block *block);

/* ---- files ---- */

/*
 * path: absolute, or "stdout" or "stderr". Appended to; made with mode 0640 where it is missing. A
 * named pipe needs its reader at that moment.
 */
int access_log_file_open(struct access_log_sink *sink, struct str path,
			 struct access_log_file **ret_file, struct error *err);
/* Opens the path again; the descriptor is not used before access_log_file_replace(). */
int access_log_file_reopen(const struct access_log_file *file, int *ret_fd, struct error *err);
void access_log_file_replace(struct access_log_file *file, int fd);
const char *access_log_file_path(const struct access_log_file *file);
struct access_log_file *access_log_file_ref(struct access_log_file *file);
void access_log_file_unref(struct access_log_file *file);

/* ---- the writer ---- */

struct access_log_stats {
	uint64_t lines;	     /* written */
	uint64_t lines_lost; /* the file could not be written to */
	uint64_t bytes;	     /* written */
};

int access_log_sink_new(struct access_log_sink **ret_sink, struct error *err);
/* When no file is left. */
void access_log_sink_free(struct access_log_sink *sink);
/* Waits for blocks and writes them until access_log_sink_stop(), which it obeys when all is
 * written. */
void access_log_sink_run(struct access_log_sink *sink);
/* Any thread. */
void access_log_sink_stop(struct access_log_sink *sink);
struct access_log_stats access_log_sink_stats(const struct access_log_sink *sink);

#endif

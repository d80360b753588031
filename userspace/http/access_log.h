/*
 * access_log: one worker's side of the access log: lines are written into blocks, which go to the
 * writer thread when they are full or FLUSH_MS after their first line.
 *
 * What a request pays is the formatting: no system call, no lock, no clock. Where all blocks wait
 * for the disk, the line is dropped and counted (HTTP_COUNTER_ACCESS_LOG_DROPPED).
 * Thread rule: the worker's thread.
 */
#ifndef SLUICE_HTTP_ACCESS_LOG_H
#define SLUICE_HTTP_ACCESS_LOG_H

#include "http/access_log_format.h"
#include "http/access_log_sink.h"
#include "io/loop.h"

struct exchange;

#define ACCESS_LOG_SAMPLE_ALL 10000 /* parts of ten thousand */

/* node.access_log */
struct access_log_conf {
	struct str file; /* ptr NULL: no access log */
	int format;	 /* enum access_log_format */
	uint64_t sample; /* in parts of ten thousand: 1 to ACCESS_LOG_SAMPLE_ALL */
};

struct access_log {
	struct loop *loop;
	struct access_log_pool *pool;
	struct access_log_block *block; /* being filled; NULL: no line since the last went */
	struct timer flush_timer;
	struct access_log_clock clock;
	uint64_t wall_offset_ns, wall_offset_made_ns; /* what makes monotonic time wall time */
};

/* -ENOMEM */
int access_log_init(struct access_log *log, struct loop *loop);
/* Hands over what is there. Harmless on a struct that is zeroed or whose init failed. */
void access_log_done(struct access_log *log);

/* As the worker's current snapshot asks for; end_ns: when the exchange ended. */
void access_log_write(struct access_log *log, const struct exchange *exchange, uint64_t end_ns);

#endif

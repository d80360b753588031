/*
 * downstream: what every connection from a client has, whatever it speaks.
 *
 *   accept ► addresses ► listener ► admission ► PROXY header ► protocol ──► downstream_http1
 *            └────────────── http/downstream_accept.c ─────────────┘
 *
 * A connection is one struct from the worker's cache with room for any protocol's own: the protocol
 * is chosen in place, and its struct begins with `struct downstream`. From then on its ops and its
 * stream's ops are the protocol's. A step of the accept path that has to wait for the client (for
 * its first bytes, or a handshake) keeps what came meanwhile in `pending`; a protocol begins by
 * looking there.
 *
 * Received buffers queue up in `pending` and are consumed where they lie. One timer serves every
 * state. `due_ms` says what it is for; it is moved only to come earlier, and when it fires too
 * early it starts again, so that a request costs no timer operations.
 *
 * The connection is in worker->connections, counts for its source, and is given back by
 * downstream_closed(), which the protocol calls from its stream's on_closed(). Thread rule: its
 * worker's thread.
 */
#ifndef SLUICE_HTTP_DOWNSTREAM_H
#define SLUICE_HTTP_DOWNSTREAM_H

#include "base/addr.h"
#include "http/http_node.h"
#include "http/listener.h"
#include "http/pace.h"
#include "io/send_queue.h"
#include "io/stream.h"
#include "proto/proxy_protocol/proxy_protocol.h"

#define DOWNSTREAM_PENDING_STOP 4 /* buffers that wait, at which a protocol stops receiving */

struct downstream;
struct http_worker;

/* What one look at all connections does when memory is short, and finds. */
struct downstream_relief {
	enum memory_level level;
	uint64_t now_ms;
	uint64_t oldest_ms, newest_ms; /* since when connections are idle */
	int64_t heads_bytes;	       /* of unfinished heads that have to go */
};

/* The protocol's side. All are called on connections that are in worker->connections. */
struct downstream_ops {
	/* Closes it now when it is idle, else after its answers. */
	void (*drain)(struct downstream *conn);
	/* The time for that is over. */
	void (*abort)(struct downstream *conn);
	/* Memory is short: lets go of what can go at this level. */
	void (*relieve)(struct downstream *conn, struct downstream_relief *relief);
	/* Nothing is asked of us; `moved_ms` says since when. */
	bool (*is_idle)(const struct downstream *conn);
	/* `due_ms` is reached. */
	void (*on_due)(struct downstream *conn, uint64_t now_ms);
};

/* The ops of a step of the accept path but on_due(): nothing is owed to the client yet. */
#define DOWNSTREAM_STEP_OPS                                                                        \
	.drain = downstream_step_close, .abort = downstream_step_close,                            \
	.relieve = downstream_step_relieve, .is_idle = downstream_step_is_idle

struct downstream {
	struct stream stream;
	struct list link; /* in worker->connections */
	struct http_worker *worker;
	const struct downstream_ops *ops;
	struct downstream *next_free;

	/* The snapshot of this generation has it: see downstream_resolve(). */
	const struct listener_conf *listener;
	uint64_t generation;
	struct ip_addr local, peer;
	uint16_t local_port;
	/*
	 * The connection that its bytes are of: this one, or the one that the PROXY header of a
	 * trusted peer names.
	 */
	struct proxy_addresses origin;
	bool origin_tls; /* which came over TLS */
	struct source_lease source;

	bool eof; /* the client will send no more */

	struct recv_buf **pending;
	struct recv_buf *pending_room[DOWNSTREAM_PENDING_STOP];
	unsigned int pending_count, pending_size;
	size_t pending_pos; /* consumed of the first */

	struct send_queue queue;

	struct timer timer;
	uint64_t due_ms;   /* 0: the timer is for nothing */
	uint64_t moved_ms; /* when it last took some of an answer, or became idle */

	/* How well the client reads: from its acknowledgements. */
	struct pace response_pace;
	uint64_t acked_bytes;	/* as last asked for */
	uint32_t min_body_rate; /* of the listener, for when it is gone */
	uint32_t idle_timeout_ms;
};

/* ---- downstream_accept.c: from the socket to the protocol ---- */

/* Takes the socket over, or closes it. */
void downstream_accept(struct http_worker *worker, int fd);
/* Counts the connection for its origin. -EUSERS: that has more than the listener allows. */
int downstream_admit(struct downstream *conn);
/* The next step, when the PROXY header was read. */
void downstream_start_protocol(struct downstream *conn);

/* ---- downstream_proxy.c: the PROXY header ---- */

/* Does its peer have to send one, or may it? -EPERM: it has to, and may not. */
int downstream_expects_proxy(const struct downstream *conn);
/* Reads it; ends with downstream_start_protocol(). */
void downstream_proxy_start(struct downstream *conn);

/* ---- downstream.c: life, waiting buffers, time ---- */

/* From the worker's cache, or NULL: out of memory. Zeroed, but for what it needs to be pushed to.
 */
struct downstream *downstream_get(struct http_worker *worker);
/* One whose stream is not open (any more). */
void downstream_put(struct downstream *conn);
/* Its stream was closed, and the protocol let go of its own: ends with downstream_put(). */
void downstream_closed(struct downstream *conn);
void downstream_cache_free(struct http_worker *worker);

void downstream_step_close(struct downstream *conn);
void downstream_step_relieve(struct downstream *conn, struct downstream_relief *relief);
bool downstream_step_is_idle(const struct downstream *conn);
void downstream_step_on_closed(struct stream *stream);

int downstream_pending_push(struct downstream *conn, struct recv_buf *buf);
void downstream_pending_clear(struct downstream *conn);
void downstream_pending_consume(struct downstream *conn, size_t len);

/* Its client sent what no client sends. */
void downstream_count_bad_request(struct downstream *conn);

/* The listener that the connection belongs to now. NULL: no longer any. */
const struct listener_conf *downstream_resolve(struct downstream *conn);
/* Takes over what the listener says of pace. */
void downstream_take_pace(struct downstream *conn);

/* 0: waits for nothing. */
void downstream_set_due(struct downstream *conn, uint64_t due_ms);
/* The kernel holds something that the client has not acknowledged. */
bool downstream_is_unread(const struct downstream *conn);
/* What it acknowledged since the last look, is that enough for the time we waited? */
bool downstream_reads_enough(struct downstream *conn, uint64_t now_ms);

/*
 * Memory is short: lets all connections of the worker let go of what can go at this level. Ends at
 * once when nobody is in the way, and is called again while the level lasts.
 */
void downstream_relieve_all(struct http_worker *worker, enum memory_level level);
/* The kernel has taken nothing of what is queued for so long that it has to go at this level. */
bool downstream_is_stalled(const struct downstream *conn, const struct downstream_relief *relief);

#endif

/*
 * One HTTP/1 connection from a client.
 *
 *            ┌──────────── keep-alive ────────────┐
 *   accept ► READY ──► HEAD (incomplete) ──► EXCHANGE ──► LINGER ──► CLOSING
 *              └────── whole head at once ─────┘  └── nothing unread ──┘
 *
 * Received buffers queue up in `pending` and are consumed where they lie: heads are copied into the
 * exchange's arena, body data is passed on as views. Requests that were pipelined wait there until
 * the exchange before them is over, and receiving stops when there are several. An exchange is
 * freed when its last byte was taken by the kernel, or after the stream is closed.
 *
 * One timer serves every state. `due_ms` says what it is for; it is moved only to come earlier, and
 * when it fires too early it starts again, so that a request costs no timer operations. While an
 * exchange runs the due time is that of two paces (http/pace.h): the request body's, when we wait
 * for it, and the answer's, when the kernel has no room for it. What the client took of the answer
 * is known from its acknowledgements, asked for only when the credit is spent. LINGER also waits
 * for a client to take what the kernel still has of a long answer, at the same pace: until then the
 * connection counts for its source.
 *
 * The end of the client's stream is half-closing and its right: it gets its answer. A reset is
 * noticed at once while we receive, else when we send; where neither happens (a body held back, a
 * full pipeline) the upstream's timers and the request's age bound the wait.
 */
#ifndef SLUICE_HTTP_DOWNSTREAM_HTTP1_H
#define SLUICE_HTTP_DOWNSTREAM_HTTP1_H

#include "http/pace.h"
#include "http/worker_internal.h"

#define DOWNSTREAM_LINGER_MS	2000
#define DOWNSTREAM_PENDING_STOP 4 /* buffers of pipelined requests at which receiving stops */

enum downstream_state {
	DOWNSTREAM_READY,
	DOWNSTREAM_HEAD,
	DOWNSTREAM_EXCHANGE,
	DOWNSTREAM_LINGER,
	DOWNSTREAM_CLOSING,
};

struct downstream {
	struct stream stream;
	struct list link; /* in worker->connections */
	struct http_worker *worker;
	struct downstream *next_free;

	/* The snapshot of this generation has it: see downstream_resolve(). */
	const struct listener_conf *listener;
	uint64_t generation;
	struct ip_addr local, peer;
	uint16_t local_port;
	struct source_lease source;

	enum downstream_state state;
	bool first;	   /* no request yet */
	bool processing;   /* guards against re-entry */
	bool body_active;  /* some of the request body is still to be read */
	bool blocked;	   /* the action has no room for more of it */
	bool recv_one;	   /* receiving buffer by buffer: a large body */
	bool recv_stopped; /* pipelined requests wait, or the action is blocked */
	bool eof;	   /* the client will send no more */
	bool keep_alive;
	bool http10;
	bool chunked;	  /* the response under way */
	bool until_close; /* its end is the connection's end */
	bool response_ended;
	bool refused;  /* framing is lost: nothing more is read of it */
	bool was_long; /* the last answer: the client may need time to take it */

	struct recv_buf **pending;
	struct recv_buf *pending_room[DOWNSTREAM_PENDING_STOP];
	unsigned int pending_count, pending_size;
	size_t pending_pos; /* consumed of the first */

	struct buf partial; /* a head that came in pieces */
	size_t scan;
	struct http1_body body;
	struct exchange *exchange;
	struct send_queue queue;
	size_t linger_bytes;

	struct timer timer;
	uint64_t due_ms;      /* 0: the timer is for nothing */
	uint64_t moved_ms;    /* when it last took some of an answer, or became idle */
	uint64_t acked_bytes; /* as last asked for */
	struct pace request_pace, response_pace;
	uint32_t min_body_rate; /* of the listener, for when it is gone */
	uint32_t idle_timeout_ms;
};

/* ---- downstream_http1.c: life, waiting buffers, ends ---- */

int downstream_pending_push(struct downstream *conn, struct recv_buf *buf);
void downstream_pending_clear(struct downstream *conn);
void downstream_pending_consume(struct downstream *conn, size_t len);
/* The listener that the connection belongs to now. NULL: no longer any. */
const struct listener_conf *downstream_resolve(struct downstream *conn);
void downstream_close(struct downstream *conn, bool reset);
void downstream_client_gone(struct downstream *conn);
/* Ends it, but not before the client has had the time to take its answer. */
void downstream_linger(struct downstream *conn);
/* The last byte of the answer was taken by the kernel. */
void downstream_exchange_done(struct downstream *conn);

/* A head that came in pieces is not needed any more. */
void downstream_partial_done(struct downstream *conn);

/* ---- downstream_http1_peer.c: time, slow peers, too many peers ---- */

/* -EUSERS: more connections of this client than the listener allows. */
int downstream_admit(struct downstream *conn);
/* 0: waits for nothing. */
void downstream_set_due(struct downstream *conn, uint64_t due_ms);
/* During an exchange: the due time follows from what is waited for. */
void downstream_watch_peer(struct downstream *conn);
/* The kernel holds some of the answer that the client has not acknowledged. */
bool downstream_is_unread(const struct downstream *conn);
void downstream_on_timer(struct timer *timer);

/* ---- downstream_http1_request.c: what the client sends ---- */

/* Looks at what is pending, as far as the state allows. */
void downstream_process(struct downstream *conn);
/* The client ended its side, and what it sent before has been looked at. */
void downstream_after_eof(struct downstream *conn);
/* The bytes cannot be trusted any more: answer and end the connection. */
void downstream_refuse(struct downstream *conn, uint16_t status, const char *reason);
/* The same for a head that is not whole; what came of it is kept for the access log. */
void downstream_refuse_head(struct downstream *conn, uint16_t status, const char *reason);

/* ---- downstream_http1_response.c: what the client gets ---- */

extern const struct exchange_downstream downstream_http1_ops;
void downstream_on_sent(struct stream *stream, int64_t result);

#endif

/*
 * One HTTP/1 connection from a client.
 *
 *            ┌──────────── keep-alive ────────────┐
 *   accept ► READY ──► HEAD (incomplete) ──► EXCHANGE ──► LINGER ──► CLOSING
 *              └────── whole head at once ─────┘  └── nothing unread ──┘
 *
 * Heads are copied into the exchange's arena, body data is passed on as views. Requests that were
 * pipelined wait in `pending` until the exchange before them is over, and receiving stops when
 * there are several. An exchange is freed when its last byte was taken by the kernel, or after the
 * stream is closed.
 *
 * While an exchange runs the due time is that of two paces (http/pace.h): the request body's, when
 * we wait for it, and the answer's, when the kernel has no room for it. What the client took of the
 * answer is known from its acknowledgements, asked for only when the credit is spent. LINGER also
 * waits for a client to take what the kernel still has of a long answer, at the same pace: until
 * then the connection counts for its source.
 *
 * The end of the client's stream is half-closing and its right: it gets its answer. A reset is
 * noticed at once while we receive, else when we send; where neither happens (a body held back, a
 * full pipeline) the upstream's timers and the request's age bound the wait.
 */
#ifndef SLUICE_HTTP_DOWNSTREAM_HTTP1_H
#define SLUICE_HTTP_DOWNSTREAM_HTTP1_H

#include "http/downstream.h"
#include "http/exchange.h"
#include "proto/http1/http1.h"

#define DOWNSTREAM_LINGER_MS 2000

enum http1_conn_state {
	HTTP1_CONN_READY,
	HTTP1_CONN_HEAD,
	HTTP1_CONN_EXCHANGE,
	HTTP1_CONN_LINGER,
	HTTP1_CONN_CLOSING,
};

struct downstream_http1 {
	struct downstream base;

	enum http1_conn_state state;
	bool first;	   /* no request yet */
	bool processing;   /* guards against re-entry */
	bool body_active;  /* some of the request body is still to be read */
	bool blocked;	   /* the action has no room for more of it */
	bool recv_one;	   /* receiving buffer by buffer: a large body */
	bool recv_stopped; /* pipelined requests wait, or the action is blocked */
	bool keep_alive;
	bool http10;
	bool chunked;	  /* the response under way */
	bool until_close; /* its end is the connection's end */
	bool response_ended;
	bool tunnel;   /* the exchange is one: bodies without framing, both ways */
	bool shut;     /* and its answer's end was told */
	bool refused;  /* framing is lost: nothing more is read of it */
	bool was_long; /* the last answer: the client may need time to take it */

	struct buf partial; /* a head that came in pieces */
	size_t scan;
	struct http1_body body;
	struct exchange *exchange;
	size_t linger_bytes;
	struct pace request_pace;
};

static inline struct downstream_http1 *downstream_http1(struct downstream *base)
{
	return CONTAINER_OF(base, struct downstream_http1, base);
}

/* ---- downstream_http1.c: life and ends ---- */

/* Begins to read requests, the bytes in `pending` first. */
void downstream_http1_start(struct downstream *base);
void downstream_http1_close(struct downstream_http1 *conn, bool reset);
void downstream_http1_client_gone(struct downstream_http1 *conn);
/* Ends it, but not before the client has had the time to take its answer. */
void downstream_http1_linger(struct downstream_http1 *conn);
/* The last byte of the answer was taken by the kernel. */
void downstream_http1_exchange_done(struct downstream_http1 *conn);

/* The kernel has all that is queued: of a tunnel, the end may have to be told. */
void downstream_http1_tunnel_sent(struct downstream_http1 *conn);

/* A head that came in pieces is not needed any more. */
void downstream_http1_partial_done(struct downstream_http1 *conn);

/* ---- downstream_http1_peer.c: slow peers, short memory ---- */

/* During an exchange: the due time follows from what is waited for. */
void downstream_http1_watch_peer(struct downstream_http1 *conn);
void downstream_http1_on_due(struct downstream *base, uint64_t now_ms);
void downstream_http1_relieve(struct downstream *base, struct downstream_relief *relief);

/* ---- downstream_http1_request.c: what the client sends ---- */

/* Looks at what is pending, as far as the state allows. */
void downstream_http1_process(struct downstream_http1 *conn);
/* The client ended its side, and what it sent before has been looked at. */
void downstream_http1_after_eof(struct downstream_http1 *conn);
/* The bytes cannot be trusted any more: answer and end the connection. */
void downstream_http1_refuse(struct downstream_http1 *conn, uint16_t status, const char *reason);
/* The same for a head that is not whole; what came of it is kept for the access log. */
void downstream_http1_refuse_head(struct downstream_http1 *conn, uint16_t status,
				  const char *reason);

/* ---- downstream_http1_response.c: what the client gets ---- */

extern const struct exchange_downstream downstream_http1_ops;
void downstream_http1_on_sent(struct stream *stream, int64_t result);

#endif

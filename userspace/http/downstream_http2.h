/*
 * One HTTP/2 connection from a client: many exchanges at a time.
 *
 *   received ──► proto/http2 ──► stream: head, data ──► exchange ──► action
 *   kernel ◄── send queue ◄── flush, once a turn ◄── stream: response queue ◄──┘
 *
 * What the streams of a connection have to say is gathered: whoever queues something asks for a
 * flush, which runs at the end of the loop's turn (or when the kernel took what was sent before),
 * pulls frames from the codec until SEND_AT_ONCE_BYTES are queued, and starts one send. Frames are
 * put together in chunks; body bytes go by reference when they are many, and are copied behind
 * their frame's head when they are few.
 *
 * Back-pressure, downwards: a stream's response queue is what exchange->queued() tells; nothing
 * leaves it while the client's windows or the kernel have no room. Upwards: data is given to the
 * action as long as that has room, else held; only what was given opens the windows again.
 *
 * A stream lives in its exchange's arena and ends when the codec closes it: with both sides over,
 * or a reset by either. Its exchange is freed then, for nothing in the send queue refers to it.
 *
 * Times: until the first request the header's; while a header block comes in the same again; with
 * no stream open the idle timeout. Streams are looked at every HTTP2_LOOK_MS: a request body that
 * we wait for, and a client that does not open its window, have a pace each (http/pace.h), as has
 * the connection whose socket takes nothing more.
 */
#ifndef SLUICE_HTTP_DOWNSTREAM_HTTP2_H
#define SLUICE_HTTP_DOWNSTREAM_HTTP2_H

#include "http/downstream.h"
#include "http/exchange.h"
#include "proto/http2/http2.h"

#define HTTP2_LOOK_MS	      500
#define HTTP2_STREAM_WINDOW   (256u * 1024)
#define HTTP2_WINDOW	      (1024u * 1024)
#define HTTP2_CHUNK_BYTES     (16u * 1024 - 64)
#define HTTP2_FREE_CHUNKS_MAX 64

struct http2_chunk;

enum http2_conn_state {
	HTTP2_CONN_OPEN,
	HTTP2_CONN_LINGER, /* nothing more is said; the client may still read */
	HTTP2_CONN_CLOSING,
};

enum http2_drain_state {
	HTTP2_DRAIN_NO,
	HTTP2_DRAIN_WAITS, /* for its turn within the time of the drain */
	HTTP2_DRAIN_ANNOUNCED,
	HTTP2_DRAIN_SAID, /* no stream begins any more */
};

struct downstream_http2 {
	struct downstream base;
	struct http2 http2;
	struct http1_limits limits; /* of the listener, which may go */
	uint64_t header_timeout_ms;
	enum http2_conn_state state;
	enum http2_drain_state drain;
	bool first;	   /* no request yet */
	bool flush_queued; /* the task below */
	bool closed;	   /* the stream is gone, the task not yet */
	bool recv_held;	   /* too much waits to be sent */
	struct loop_task flush_task;
	struct list streams; /* struct downstream_stream by link */
	struct list moved;   /* by moved_link: some of the response went out in this flush */
	unsigned int stream_count;
	struct recv_buf *feeding; /* where the data being fed lies */
	struct http2_chunk *chunks, *last_chunk;
	uint64_t pushed_bytes; /* into the send queue */
	uint64_t begin_ms, drain_due_ms;
	size_t linger_bytes;
};

struct downstream_stream {
	struct http2_stream wire;
	struct downstream_http2 *conn;
	struct list link, moved_link;
	struct exchange *exchange;
	struct send_queue response; /* of the body, not yet in frames */
	struct send_queue held;	    /* of the request's body, while the action is blocked */
	struct pace request_pace, response_pace;
	const struct http_field *request_trailers;
	unsigned int request_trailer_count;
	bool request_ended, request_fed;
	bool head_sent, response_ended, end_sent;
	nghttp2_nv *trailers;
	unsigned int trailer_count;
};

static inline struct downstream_http2 *downstream_http2(struct downstream *base)
{
	return CONTAINER_OF(base, struct downstream_http2, base);
}

static inline struct downstream_http2 *http2_conn(struct http2 *http2)
{
	return CONTAINER_OF(http2, struct downstream_http2, http2);
}

static inline struct downstream_stream *http2_conn_stream(struct http2_stream *wire)
{
	return CONTAINER_OF(wire, struct downstream_stream, wire);
}

/* ---- downstream_http2.c: life, receiving, ends ---- */

/* Begins with the bytes in `pending`, the preface first. */
void downstream_http2_start(struct downstream *base);
/* Nothing but on_closed() comes any more; exchanges are aborted. */
void downstream_http2_close(struct downstream_http2 *conn, bool reset);
/* For the access log of all exchanges that are under way, where none has a reason yet. */
void downstream_http2_blame(struct downstream_http2 *conn, const char *failure);
/* When is something next to be looked at? */
void downstream_http2_watch(struct downstream_http2 *conn);

/* ---- downstream_http2_request.c: events of the codec ---- */

extern const struct http2_ops downstream_http2_codec_ops;
/* Gives what is held to the action, as far as that takes it. */
void downstream_http2_give_held(struct downstream_stream *stream);
void downstream_http2_stream_done(struct downstream_stream *stream);

/* ---- downstream_http2_response.c: answers, and the way out ---- */

extern const struct exchange_downstream downstream_http2_ops;
/* At the end of this turn. */
void downstream_http2_flush_soon(struct downstream_http2 *conn);
void downstream_http2_flush(struct downstream_http2 *conn);
void downstream_http2_on_sent(struct stream *stream, int64_t result);
/* Of the codec's ops. */
size_t downstream_http2_send_ready(struct http2 *http2, struct http2_stream *wire, size_t max,
				   bool *ret_end);
bool downstream_http2_send_data(struct http2 *http2, struct http2_stream *wire, const uint8_t *head,
				size_t bytes);
bool downstream_http2_send_trailers(struct http2 *http2, struct http2_stream *wire);
void downstream_http2_chunks_done(struct downstream_http2 *conn);
void downstream_http2_cache_free(struct http_worker *worker);

/* ---- downstream_http2_peer.c: slow peers, the end of the daemon, short memory ---- */

void downstream_http2_drain(struct downstream *base);
void downstream_http2_abort(struct downstream *base);
void downstream_http2_relieve(struct downstream *base, struct downstream_relief *relief);
void downstream_http2_on_due(struct downstream *base, uint64_t now_ms);

#endif

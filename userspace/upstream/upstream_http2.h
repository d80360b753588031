/*
 * upstream_http2: HTTP/2 towards an endpoint: many calls on one connection. Private to upstream/.
 *
 *   call ──► stream: body ──► proto/http2 ──► frames, once a turn ──► connection ──► endpoint
 *   owner ◄── settle ◄── stream: head, data, end ◄── proto/http2 ◄── received ◄──┘
 *
 * A stream is a call's, lives in its arena as long as the call, and is on one connection at a time,
 * or on none while it waits. Its body is queued with it and not with the connection, so that it can
 * be sent again elsewhere as long as none of it has gone out.
 *
 * A connection is ready with the endpoint's first SETTINGS: then it is known that HTTP/2 is spoken
 * there, and how many streams may be open; before that nothing of a request is sent. When it takes
 * no more requests (GOAWAY, no ids left, a failure) it ends with its last stream.
 *
 * What the streams of a connection have to say is gathered and sent at the end of the loop's turn.
 * What the codec tells is kept with the stream until all that was received is read and settle()
 * runs: a head is given out only when what came with it fits (HARDENING 12), and owners may do
 * anything in their events. Only data behind the head goes straight through.
 *
 * Back-pressure: a stream whose owner has paused opens its own window no more; that of the
 * connection is opened at once, so that nobody keeps others waiting. Towards the endpoint the queue
 * of the body is what upstream_call_queued() tells; it becomes shorter as windows and kernel take
 * it.
 */
#ifndef SLUICE_UPSTREAM_UPSTREAM_HTTP2_H
#define SLUICE_UPSTREAM_UPSTREAM_HTTP2_H

#include "proto/http2/http2.h"
#include "upstream/upstream_conn.h"

#define UPSTREAM_STREAM_WINDOW (256u * 1024)
#define UPSTREAM_HTTP2_WINDOW  (1024u * 1024)

struct upstream_http2 {
	struct http2 http2;
	struct upstream_conn *conn;
	struct list streams;  /* by link */
	struct list eventful; /* by event_link: settle() has to look at them */
	struct list moved;    /* by moved_link: something of them went out */
	unsigned int stream_count;
	unsigned int streams_limit;	/* ours */
	unsigned int streams_max;	/* ours and the peer's */
	struct upstream_stream *giving; /* whose owner gets events now */
	struct recv_buf *feeding;
	struct loop_task flush_task;
	struct send_chunks chunks;
	uint64_t received_ms; /* something came */
	bool flush_queued;
	bool gone;	  /* the stream is closed, the task not yet run */
	bool begun;	  /* bytes may be sent */
	bool retiring;	  /* takes no more calls */
	bool dead;	  /* its calls fail: nothing is said about them any more */
	bool saying_bye;  /* closes when what is queued was sent */
	bool recv_held;	  /* too much waits to be sent */
	bool send_failed; /* shows on the receiving side, with what may still be there */
};

struct upstream_stream {
	struct http2_stream wire;
	struct upstream_call *call;
	struct list link, event_link, moved_link;
	struct timer timer;
	struct send_queue body; /* of the request, not in frames yet */
	struct send_queue held; /* of the answer: what came with its head */
	nghttp2_nv *fields, *trailers;
	unsigned int field_count, trailer_count;
	struct http_head head; /* of the answer */
	const struct http_field *answer_trailers;
	unsigned int answer_trailer_count;
	size_t unread_bytes; /* given to an owner that has paused: the window stays shut */
	uint64_t submitted_ms;
	int bad_head;	       /* negative enum http1_error */
	uint32_t closed_error; /* enum nghttp2_error_code */
	uint32_t cancel_error; /* what the peer is told when we leave */
	bool open;	       /* the codec has it */
	bool head_held, ended, closed;
	bool end_sent;
	bool refused; /* the endpoint did nothing with it */
};

/* ---- upstream_http2.c: the connection ---- */

extern const struct stream_ops upstream_http2_ops;
void upstream_http2_on_timer(struct timer *timer);
/* Makes `http2` of a connection that is about to be opened. 0 or -ENOMEM. */
int upstream_http2_new(struct upstream_conn *conn, const struct upstream_conf *upstream);
void upstream_http2_free(struct upstream_http2 *http2); /* NULL allowed */
/* Connected, and secured: the endpoint is asked for its SETTINGS. */
void upstream_http2_ready(struct upstream_conn *conn);
/* All its calls fail, and it is closed. */
void upstream_http2_failed(struct upstream_conn *conn, enum upstream_error error,
			   const char *detail);
bool upstream_http2_is_dead(const struct upstream_conn *conn);
/* At the end of this turn. */
void upstream_http2_flush_soon(struct upstream_conn *conn);
/* Its last stream has left, or there is room again, or none. */
void upstream_http2_rearrange(struct upstream_conn *conn);

/* ---- upstream_stream.c: calls ---- */

extern const struct http2_ops upstream_stream_ops;
/* With the fields of the call's head. NULL: out of memory. */
struct upstream_stream *upstream_stream_new(struct upstream_call *call);
/* Gives back what it holds. Harmless when that was done. */
void upstream_stream_done(struct upstream_stream *stream);
/* The call is the connection's. 0 or -ENOMEM: it may be removed then. */
int upstream_http2_add(struct upstream_conn *conn, struct upstream_call *call);
void upstream_http2_remove(struct upstream_stream *stream);
/* Sends the request's head; the connection is ready. 0 or -ENOMEM. */
int upstream_stream_submit(struct upstream_stream *stream);
/* Tells owners what has come. The connection may be closed afterwards. */
void upstream_stream_settle(struct upstream_http2 *http2);
/* What was moved was sent: owners may give more. */
void upstream_stream_tell_moved(struct upstream_http2 *http2);
void upstream_stream_restart_timer(struct upstream_stream *stream);
/* Its connection is lost. */
void upstream_stream_lost(struct upstream_stream *stream, enum upstream_error error,
			  const char *detail, bool along);

void upstream_http2_send(struct upstream_call *call, struct str data, struct recv_buf *buf);
void upstream_http2_send_end(struct upstream_call *call, const struct http_field *trailers,
			     unsigned int trailer_count);
void upstream_http2_flush(struct upstream_call *call);
void upstream_http2_pause(struct upstream_call *call);
void upstream_http2_resume(struct upstream_call *call);

/* ---- upstream_fields.c: the head of a request, from HTTP/1 to HTTP/2 ---- */

/*
 * Of a head that we wrote, in the arena. -ENOMEM, or -EPROTO: it is no such head. What belongs to
 * HTTP/1 connections is left out.
 */
int upstream_fields_read(struct arena *arena, struct str head, bool tls, nghttp2_nv **ret_fields,
			 unsigned int *ret_count);
/* Names in lower case; what is not valid is left out. 0 or -ENOMEM. */
int upstream_fields_trailers(struct arena *arena, const struct http_field *trailers,
			     unsigned int count, nghttp2_nv **ret_fields, unsigned int *ret_count);

#endif

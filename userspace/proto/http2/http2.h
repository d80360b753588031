/*
 * http2: HTTP/2 connections (RFC 9113) as a sans-IO codec over nghttp2: bytes in, events out.
 *
 *   bytes ──► http2_feed ──► on_stream, on_head, on_data, on_end, on_closed
 *   http2_submit_... ──► http2_pull ──► bytes for the wire; DATA goes by on_send_data
 *
 * Either side of it: a server gets streams by on_stream(), a client opens them by
 * http2_submit_request() and hears by on_closed() of those that the server refused, whose requests
 * it may send elsewhere. Pushed streams end the connection: we said that we want none.
 *
 * nghttp2 has the frames, HPACK, the state of streams, flow control and the message rules of RFC
 * 9113 8; on top of that we refuse what could be read differently behind us (HARDENING 11), count
 * heads by their decoded size (14), and keep a score of what only costs us (17, 18): above
 * HTTP2_SCORE_MAX the connection is told GOAWAY with ENHANCE_YOUR_CALM and `calmed` says why.
 * A connection for which there was no memory once is at its end.
 * Nothing is sent from inside http2_feed(); everything may be submitted there. The windows open by
 * http2_consumed() only. Thread rule: one owner.
 */
#ifndef SLUICE_PROTO_HTTP2_H
#define SLUICE_PROTO_HTTP2_H

#include <nghttp2/nghttp2.h>

#include "base/list.h"
#include "proto/http1/http1.h"

#define HTTP2_PREFACE	    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#define HTTP2_PREFACE_BYTES 24
#define HTTP2_FRAME_HEAD    9

/* symbol, name for counters, cost, text for logs. What a connection may do only so often. */
#define HTTP2_ABUSES(X)                                                                            \
	X(RESETS, "resets", 5, "too many streams were reset")                                      \
	X(PINGS, "pings", 5, "too many PING frames")                                               \
	X(SETTINGS, "settings", 20, "too many SETTINGS frames")                                    \
	X(EMPTY_DATA, "empty_data", 5, "too many empty DATA frames")                               \
	X(PRIORITIES, "priorities", 2, "too many PRIORITY frames")                                 \
	X(WINDOW_UPDATES, "window_updates", 1, "too many WINDOW_UPDATE frames")                    \
	X(CONTINUATIONS, "continuations", 40, "too many CONTINUATION frames")                      \
	X(HEADER_BYTES, "header_bytes", 1000, "header lists far beyond the limit")                 \
	X(OTHER_FRAMES, "other_frames", 2, "too many frames of unknown types")

enum http2_abuse {
#define X(symbol, name, cost, text) HTTP2_ABUSE_##symbol,
	HTTP2_ABUSES(X)
#undef X
		HTTP2_ABUSE_COUNT
};

const char *http2_abuse_text(enum http2_abuse abuse);

#define HTTP2_SCORE_MAX	       1000
#define HTTP2_SCORE_PER_SECOND 100 /* forgotten */

/*
 * A leaky bucket: what peers do costs, time and the bytes they take from us pay. 200 streams may be
 * reset at once, as by a browser's tab that is closed, and 20 a second for ever.
 */
struct http2_score {
	uint32_t points;
	uint64_t since_ms;
};
/* True: that was too much. */
bool http2_score_add(struct http2_score *score, enum http2_abuse abuse, uint64_t now_ms);
/* Data went out: who takes it answers with frames of its own. */
void http2_score_pay(struct http2_score *score, uint32_t points);

/* ---- heads ---- */

/* A header list as it comes in, field by field. */
struct http2_fields {
	struct arena *arena; /* fields and their bytes */
	struct http_field *fields;
	unsigned int count, size;
	uint64_t bytes; /* decoded: names and values, and four a field as in HTTP/1 */
	struct str method, scheme, authority, path, protocol, status;
	int error; /* 0 or negative enum http1_error: the first that was found */
};

void http2_fields_init(struct http2_fields *fields, struct arena *arena);
/* Copies. Errors stick; later fields only count. */
void http2_fields_add(struct http2_fields *fields, const struct http1_limits *limits,
		      struct str name, struct str value, bool static_name);
/*
 * The head of a request; `end`: there is no body. 0 or negative enum http1_error; then *ret_head
 * has what is known of it. *ret_scheme is "http" or "https", or "" with CONNECT. An extended one
 * (RFC 8441) has no body: what follows is its tunnel's.
 */
int http2_fields_request(struct http2_fields *fields, bool end, struct http_head *ret_head,
			 struct str *ret_scheme);
/*
 * Of a response to a request of this method. One that has no body may end by an empty DATA frame;
 * that it is empty is for the codec to see.
 */
int http2_fields_response(struct http2_fields *fields, enum http_method method, bool end,
			  struct http_head *ret_head);

/* ---- connections ---- */

struct http2;

struct http2_stream {
	int32_t id;
	struct http2_fields fields;
	bool head_done; /* of what we receive; what follows are trailers */
	bool ended;	/* what we receive is whole */
	bool reset_counted;
	bool reset_received; /* the peer reset it */
	bool sent;	     /* of a client: the head of its request went out */
	bool two_way;	     /* the end of our side does not mean that nobody reads the peer's */
};

struct http2_ops {
	/* A peer opens a stream (servers): its struct with fields initialised, or NULL to refuse
	 * it. */
	struct http2_stream *(*on_stream)(struct http2 *http2, int32_t id);
	/* A head is whole: `stream->fields` has it. Of a client also each interim answer's. */
	void (*on_head)(struct http2 *http2, struct http2_stream *stream, bool end);
	/* A view of what http2_feed() was given. */
	void (*on_data)(struct http2 *http2, struct http2_stream *stream, struct str data);
	/* The peer's side is over; trailers, valid ones, are in `stream->fields` when there were.
	 */
	void (*on_end)(struct http2 *http2, struct http2_stream *stream,
		       const struct http_field *trailers, unsigned int count);
	/*
	 * Nothing more comes of it. 0: it ended in order. Of a client, NGHTTP2_REFUSED_STREAM: the
	 * server says that it did nothing with it, or never got to see it; and 0 only behind
	 * on_end().
	 */
	void (*on_closed)(struct http2 *http2, struct http2_stream *stream, uint32_t error);
	/* How much may be sent of it now: at most `max`. *ret_end: nothing follows. */
	size_t (*on_send_ready)(struct http2 *http2, struct http2_stream *stream, size_t max,
				bool *ret_end);
	/* The frame's head and so many bytes of the stream go out. False: no memory. */
	bool (*on_send_data)(struct http2 *http2, struct http2_stream *stream, const uint8_t *head,
			     size_t bytes);
	/* Before its last DATA frame: it may submit trailers. True: it did. */
	bool (*on_send_trailers)(struct http2 *http2, struct http2_stream *stream);
	/* The peer will take no more streams (clients). */
	void (*on_goaway)(struct http2 *http2, int32_t last_id);
};

struct http2_config {
	const struct http2_ops *ops;
	const struct http1_limits *limits; /* of heads, decoded; outlives the connection */
	bool client;
	uint32_t max_streams;		  /* that the peer may have open; of clients 0 */
	uint32_t stream_window_bytes;	  /* of bodies to us */
	uint32_t connection_window_bytes; /* at least 65535 */
	size_t *account;		  /* whose sum what nghttp2 allocates is part of */
};

struct http2 {
	nghttp2_session *session;
	const struct http2_ops *ops;
	const struct http1_limits *limits;
	size_t *account;
	struct list blocks; /* all memory of the session */
	bool memory_failed; /* some was not to be had: only http2_done() does something now */
	uint64_t now_ms;    /* as http2_feed() was told */
	struct http2_score score;
	int32_t last_id;	/* of the streams that the peer opened */
	int32_t head_stream_id; /* whose header block is coming in; 0: none */
	uint64_t head_since_ms;
	bool client;
	bool settings_acked;
	bool settings_received; /* the peer's first */
	bool calmed;		/* too much was too much */
	bool broken; /* we said GOAWAY with an error: the peer is not listened to any more */
	enum http2_abuse calmed_for;
	uint64_t resets_received, resets_sent;
};

/* 0 or -ENOMEM. With our SETTINGS submitted. */
int http2_init(struct http2 *http2, const struct http2_config *config);
/* Streams that are open get no on_closed(). */
void http2_done(struct http2 *http2);
/* All of it, or negative: the connection is at its end, once http2_pull() has nothing more. */
int http2_feed(struct http2 *http2, struct str bytes, uint64_t now_ms);
/*
 * The next bytes for the wire, valid until the next call, or an empty str: nothing now. DATA went
 * out by on_send_data() meanwhile. Negative: out of memory.
 */
int http2_pull(struct http2 *http2, struct str *ret_bytes);
/* Neither side has anything to say any more: close it. */
bool http2_is_over(const struct http2 *http2);
/* Control frames that wait to be pulled. */
size_t http2_backlog(const struct http2 *http2);

bool http2_wants_to_write(const struct http2 *http2);
/* What the peer's windows have room for, of the stream and of the connection. */
int32_t http2_window(const struct http2 *http2, int32_t id);

/* So many bytes of a body found their place. */
void http2_consumed(struct http2 *http2, int32_t id, size_t bytes);
void http2_consumed_stream(struct http2 *http2, int32_t id, size_t bytes);
void http2_consumed_connection(struct http2 *http2, size_t bytes);
/* on_send_ready() will say something else than it did. */
void http2_resume(struct http2 *http2, int32_t id);
/*
 * Clients: opens a stream whose fields are initialised, and copies the head. 0, -ENOMEM, or
 * -ENOTCONN: this connection takes no more of them.
 */
int http2_submit_request(struct http2 *http2, struct http2_stream *stream, const nghttp2_nv *fields,
			 size_t count, bool end);
/* Clients: does the connection take more requests, ever? */
bool http2_takes_requests(const struct http2 *http2);
/* Clients: how many may be open at once. What is submitted beyond that waits in the codec. */
uint32_t http2_streams_max(const struct http2 *http2);
/* Clients: nothing more of it is wanted, and no event comes; the struct is the owner's again. */
void http2_cancel(struct http2 *http2, struct http2_stream *stream, uint32_t error);
/* 0 or -ENOMEM. Names are in lower case; all bytes stay in place until the stream is closed. */
int http2_submit_head(struct http2 *http2, int32_t id, const nghttp2_nv *fields, size_t count,
		      bool end);
int http2_submit_informational(struct http2 *http2, int32_t id, const nghttp2_nv *fields,
			       size_t count);
int http2_submit_trailers(struct http2 *http2, int32_t id, const nghttp2_nv *fields, size_t count);
void http2_reset(struct http2 *http2, int32_t id, uint32_t error);
/* GOAWAY that ends nothing yet, then the one that names the last stream, or an error. */
void http2_announce_end(struct http2 *http2);
void http2_goaway(struct http2 *http2, uint32_t error);

static inline nghttp2_nv http2_nv(struct str name, struct str value)
{
	return (nghttp2_nv){(uint8_t *)name.ptr, (uint8_t *)value.ptr, name.len, value.len,
			    NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE};
}

#endif

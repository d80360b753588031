/*
 * upstream_call: one request to an upstream and its response, over a connection of the worker's
 * pool. Proxying uses it, and whatever else asks a service for something.
 *
 *   start ──► [pick endpoint] ──► kept connection, or connect ──► head, body ──► response events
 *     │             ▲   ▲                 │ refused                   │ lost, 503, ...
 *     └─► queue ────┘   └──── retry ◄─────┴───────────────────────────┘
 *
 * The owner embeds the struct, fills the inputs and gets events until one of on_end or on_error, or
 * until it calls upstream_call_abort(). No event comes from inside upstream_call_start(). The owner
 * may abort from inside any event.
 *
 * Queue: at the upstream's limit of connections the call waits for one. Meanwhile
 * upstream_call_queued() is above the high-water mark: no body may be given yet; on_drained() says
 * when it may.
 *
 * Retry: a request of which the endpoint saw nothing (it could not be connected) may be sent to
 * another, whatever its method; after that only when its method is idempotent (RFC 9110 9.2.2),
 * none of its body has been taken from the owner and nothing of an answer was given out. The
 * upstream says after which failures and how often, and its budget must allow it. Apart from that,
 * a request that went out on a kept connection which died before the first byte of an answer is
 * sent once more on a new connection to the same endpoint, under the same conditions.
 *
 * Upgrade: where the owner has accepts_upgrade(), a 101 that it accepts makes the call a tunnel:
 * after on_head(), on_data() and upstream_call_send() carry bytes of no framing. Each side ends on
 * its own: on_half_end() tells of the upstream's end, upstream_call_send_end() is ours, and the
 * call is over with the later one. From on_head() on, `upstream` and `chosen` are not looked at any
 * more.
 *
 * HTTP/2: where the upstream speaks it, the call is a stream of a connection that many share. The
 * owner writes the head as ever, and what has no meaning there is left out (Connection,
 * Transfer-Encoding, ...). Body that is still queued here can be had again: it counts as taken once
 * it is on its way. A request that the endpoint refused, or left behind when it said GOAWAY, was
 * seen by nobody.
 *
 * Errors made here (no descriptors, no memory) never count against the endpoint, nor do calls that
 * their owner aborts.
 *
 * Thread rule: the worker's thread.
 */
#ifndef SLUICE_UPSTREAM_UPSTREAM_CALL_H
#define SLUICE_UPSTREAM_UPSTREAM_CALL_H

#include "base/list.h"
#include "io/send_queue.h"
#include "proto/http1/http1.h"
#include "upstream/upstream.h"

struct upstream_call;
struct upstream_conn;
struct upstream_local;
struct upstream_pools;
struct upstream_stream;
struct tls_worker;

/* symbol, status for the client, text */
#define UPSTREAM_ERRORS(X)                                                                         \
	X(CONNECT, 502, "upstream refused the connection")                                         \
	X(CONNECT_TIMEOUT, 504, "upstream did not accept in time")                                 \
	X(CERTIFICATE, 502, "upstream's certificate is not accepted")                              \
	X(TLS, 502, "TLS with the upstream failed")                                                \
	X(HTTP2, 502, "upstream does not speak HTTP/2")                                            \
	X(RESET, 502, "upstream closed the connection")                                            \
	X(TIMEOUT, 504, "upstream did not answer in time")                                         \
	X(PROTOCOL, 502, "upstream broke the protocol")                                            \
	X(HEAD_TOO_LARGE, 502, "upstream's header is too large")                                   \
	X(QUEUE_FULL, 503, "too many requests wait for the upstream")                              \
	X(QUEUE_TIMEOUT, 503, "no connection to the upstream became free in time")                 \
	X(LOCAL, 503, "no resources for an upstream connection")

enum upstream_error {
#define X(symbol, status, text) UPSTREAM_E_##symbol,
	UPSTREAM_ERRORS(X)
#undef X
		UPSTREAM_ERROR_COUNT
};

const char *upstream_error_text(enum upstream_error error);
uint16_t upstream_error_status(enum upstream_error error);

struct upstream_call_ops {
	/*
	 * Of a 101, which is a protocol error when it is not accepted or this is NULL: on_head()
	 * comes next.
	 */
	bool (*accepts_upgrade)(struct upstream_call *call, const struct http_head *head);
	/* Also for every 1xx. Views live in call->arena. */
	void (*on_head)(struct upstream_call *call, const struct http_head *head);
	/* The view lies in buf; take a reference to keep it. */
	void (*on_data)(struct upstream_call *call, struct str data, struct recv_buf *buf);
	/* So many bytes of the body are in the pipe, behind what it held; only with `pipes`. */
	void (*on_pipe)(struct upstream_call *call, struct splice_pipe *pipe, size_t len);
	/* Only of a tunnel: the upstream will send no more, and our side goes on. */
	void (*on_half_end)(struct upstream_call *call);
	/*
	 * The response is complete; trailers live in call->arena. The call is over. Of a tunnel:
	 * both sides have ended; it may come from inside upstream_call_send_end() then.
	 */
	void (*on_end)(struct upstream_call *call, const struct http_field *trailers,
		       unsigned int trailer_count);
	/* The call is over. `detail` says more for the log, or is NULL. */
	void (*on_error)(struct upstream_call *call, enum upstream_error error, const char *detail);
	/* Every event of one receive was given out, and the call goes on: time to flush. */
	void (*on_batch)(struct upstream_call *call);
	/* Request body was sent: less than the low-water mark is queued. */
	void (*on_drained)(struct upstream_call *call);
};

struct upstream_call {
	/* Inputs, valid until the call is over. */
	const struct upstream_call_ops *ops;
	struct upstream_pools *pools;
	const struct upstream_conf *upstream;
	struct arena *arena;	   /* response heads and trailers are copied into it */
	struct str head;	   /* the whole request head, as HTTP/1 has it; see below */
	enum http_framing framing; /* of the request body: NONE, LENGTH or CHUNKED */
	enum http_method method_id;
	uint64_t response_timeout_ms; /* 0: the upstream's */
	bool pipes;		      /* large bodies may come by on_pipe() */
	bool has_hash_key;	      /* the request has what the upstream's hash_on names */
	uint64_t hash_key;	      /* the hash of it */
	/*
	 * What a new connection begins with, before the head: whose it is (PROXY protocol). A kept
	 * one is used only when it was opened with the same key. Both empty: any connection that
	 * was opened so. With TLS it stands before the handshake.
	 */
	struct str opening, opening_key;

	/* Own. */
	struct upstream_local *local;
	struct upstream_conn *conn;	/* NULL when the call is over, or waits */
	struct upstream_stream *stream; /* in the arena; NULL: HTTP/1 */
	struct endpoint *endpoint;	/* chosen; one reference while conn != NULL */
	bool reused;			/* went out on a kept connection */
	bool resent;			/* this attempt, because that had died */
	bool counted;			/* in the endpoint's `active` */
	bool waiting;			/* in the queue */
	bool overrun;			/* body was given while it waited: our owner's bug */
	bool body_taken;		/* some request body was given to us */
	bool request_done;		/* the owner gave the end of the request */
	bool head_done;			/* the final response head was given out */
	bool tunnel;			/* that was a 101 */
	bool paused;
	uint8_t informational_count;
	uint8_t tried_count;
	uint16_t tried[UPSTREAM_ATTEMPTS_MAX]; /* endpoints, one per attempt */
	enum upstream_error failure;	       /* of a failed start */
	struct list queue_link;
	uint64_t waiting_since_ms;
	uint64_t deadline_ms;	  /* of the final head, over all attempts; 0: does not run yet */
	uint64_t try_deadline_ms; /* of this attempt's; 0: none */

	/* Facts for the access log; they stay when the call is over. Times are those of the loop's
	 * turns; 0: it did not come to that. */
	const struct endpoint_conf *chosen; /* the last endpoint that was tried; NULL: none */
	unsigned int attempts;
	uint64_t start_ns, connected_ns, head_ns; /* connected_ns: 0 on a kept connection */
};

/* 0, or negative: call->failure says which and no event will come. */
int upstream_call_start(struct upstream_call *call);
/*
 * Body bytes, framed by us, queued until upstream_call_flush() so that head, body and end leave in
 * one send. buf (may be NULL for static bytes) is referenced until sent.
 */
void upstream_call_send(struct upstream_call *call, struct str data, struct recv_buf *buf);
/* End of the request body; with framing NONE implied by start. Trailers only with CHUNKED. */
void upstream_call_send_end(struct upstream_call *call, const struct http_field *trailers,
			    unsigned int trailer_count);
/* To be called after start and after each run of sends. */
void upstream_call_flush(struct upstream_call *call);
/*
 * Weight of the request that the kernel has not taken yet: above the high-water mark, stop. A call
 * that waits in the queue says SIZE_MAX.
 */
size_t upstream_call_queued(const struct upstream_call *call);
/* Back-pressure of the response. After pause, data already on its way may still come. */
void upstream_call_pause(struct upstream_call *call);
void upstream_call_resume(struct upstream_call *call);
/* Ends the call without any event; the connection is closed. Harmless when the call is over. */
void upstream_call_abort(struct upstream_call *call);
/* The same with a reset, so that a tunnel does not look as if its peer had ended it. */
void upstream_call_reset(struct upstream_call *call);
/*
 * Of a tunnel whose sides have both ended: ends the call without any event, and what is queued is
 * sent all the same.
 */
void upstream_call_leave(struct upstream_call *call);

#define UPSTREAM_HIGH_WATER (128u * 1024)
#define UPSTREAM_LOW_WATER  (32u * 1024)

/* ---- the worker's pools ---- */

/* `tls`: the loop's, made here when it is first needed, and somebody else's to free. */
int upstream_pools_new(struct loop *loop, unsigned int worker_index,
		       struct send_segment_cache *segments, struct tls_worker **tls,
		       struct upstream_pools **ret_pools);
/*
 * From now on connections to endpoints that no snapshot of this generation or a later one names are
 * not kept, and idle ones are closed.
 */
void upstream_pools_set_generation(struct upstream_pools *pools, uint64_t generation);
/* Closes what is idle, now and whenever a call ends from now on. on_empty comes once from the loop.
 */
void upstream_pools_drain(struct upstream_pools *pools, void (*on_empty)(void *arg), void *arg);
/* Only when drained. */
void upstream_pools_free(struct upstream_pools *pools);
/* Any thread. */
unsigned int upstream_pools_connections(const struct upstream_pools *pools);
/* What connections, open and cached, take beside receive buffers; the worker's thread. */
uint64_t upstream_pools_memory(const struct upstream_pools *pools);
/* Gives cached structs back to malloc. */
void upstream_pools_trim(struct upstream_pools *pools);
uint64_t upstream_pools_retries(const struct upstream_pools *pools);

#endif

/*
 * upstream_conn: one connection to an endpoint, and the worker's pool that keeps it between calls.
 * Private to upstream/: owners see upstream_call only.
 *
 *   connect ──► ACTIVE (one call) ──► IDLE (in its endpoint's stack) ──► ACTIVE ... ──► CLOSING
 *
 * A kept connection goes on listening (multishot), so that its end is noticed at once and a byte
 * nobody asked for closes it. The connection owns every byte it sends but the body's receive
 * buffers, which it references: a call may end while the kernel still reads them.
 *
 * A connection has a place among those of its upstream from before the connect until it is closed
 * (upstream_state.connections): limits.connections counts places. A request that is sent again
 * takes the place along when its connection is given up.
 *
 * A connection of HTTP/2 carries many calls at a time (upstream_http2.h); `call` is NULL then.
 * While it has room for more it is in the `shared` lists of its endpoint and upstream; without any
 * call it is idle like others.
 */
#ifndef SLUICE_UPSTREAM_UPSTREAM_CONN_H
#define SLUICE_UPSTREAM_UPSTREAM_CONN_H

#include "base/list.h"
#include "io/send_chunks.h"
#include "tls/tls_client_config.h"
#include "upstream/balance.h"
#include "upstream/upstream_call.h"

#define UPSTREAM_IDLE_MAX 256 /* kept connections per endpoint and worker */
/* More interim answers than any protocol needs: a flood (HARDENING 12). */
#define UPSTREAM_INFORMATIONAL_MAX 16

struct upstream_http2;

enum upstream_conn_state {
	UPSTREAM_CONN_CONNECTING, /* until requests can be sent: with TLS, after the handshake */
	UPSTREAM_CONN_ACTIVE,
	UPSTREAM_CONN_IDLE,
	UPSTREAM_CONN_CLOSING,
};

struct upstream_conn {
	struct stream stream;
	struct upstream_pools *pools;
	struct upstream_local *local;
	struct endpoint *endpoint; /* one reference */
	struct upstream_call *call;
	struct upstream_http2 *http2; /* NULL: HTTP/1 */
	/* In the endpoint's idle stack or list of shared ones, or in the cache of free structs. */
	struct list link;
	struct list local_link; /* in the upstream's idle stack, or list of shared ones */
	enum upstream_conn_state state;
	bool has_place;	 /* is counted among the upstream's connections */
	bool keep_alive; /* the response lets the connection live on */
	bool recv_one;	 /* receiving buffer by buffer: a large body */
	bool send_failed;
	bool half_ended; /* of a tunnel: the upstream has ended its side */
	bool shut;	 /* and we ours */
	bool leaving;	 /* its call is over, but for what is queued */
	bool used;	 /* has carried a call before */
	struct timer timer;
	struct send_queue queue;
	struct buf request; /* request head of the call under way */
	struct buf tail;    /* its trailers */
	struct buf partial; /* response head that is not complete yet */
	struct buf opened;  /* the opening_key of the call that it was made for; with TLS also what
			     * goes out before the handshake */
	size_t bufs_bytes;  /* of the four, as upstream_conn_note_bufs() found them */
	size_t scan;	    /* of http1_find_head_end in partial */
	struct http1_body body;
	struct splice_pipe *pipe; /* one reference, while a body goes through it */
	bool expects_large;	  /* the last body was: the next head is received alone */
	uint64_t idle_timeout_ms;
	struct tls_client *tls; /* one reference; NULL: without TLS */
	uint16_t opened_key_len;
};

struct upstream_slot {
	struct list idle;   /* most recently used first */
	struct list shared; /* with calls, and room for more */
	unsigned int idle_count;
	struct tls_sessions *tls_sessions; /* NULL: none was needed */
};

/* One worker's part of an upstream. Lives as long as the pools. */
struct upstream_local {
	struct upstream_pools *pools;
	struct upstream_state *state; /* whose slot it is; referenced by whoever waits or is kept */
	struct balance_seat seat;
	struct list idle;    /* kept connections to all endpoints, most recently used first */
	struct list shared;  /* those with calls, and room for more */
	struct list waiting; /* calls, oldest first; see upstream_queue.c */
	unsigned int waiting_count;
	bool running; /* the queue is being served */
	struct timer timer;
	struct list link; /* in pools->limited, once there was a limit */
};

struct upstream_pools {
	struct loop *loop;
	unsigned int worker_index;
	struct send_segment_cache *segments;
	struct tls_worker **tls; /* the loop's; NULL inside: not needed yet */
	uint64_t tls_told_ms;	 /* when a handshake that failed was last told of */
	void **slots; /* struct upstream_slot by endpoint->slot; NULL where none was needed yet */
	unsigned int slot_count;
	size_t bufs_bytes; /* of all connections, see upstream_pools_memory() */
	void **locals;	   /* struct upstream_local by upstream_state->slot; likewise */
	unsigned int local_count;
	struct list limited;
	struct list free_conns;
	unsigned int free_count;
	struct send_chunk_cache chunks;
	size_t http2_bytes;	/* of all connections' codecs */
	atomic_uint conn_count; /* open ones, closing included; written by the worker only */
	atomic_uint_fast64_t retries;
	uint64_t generation;
	uint64_t http2_told_ms; /* of an endpoint that breaks it */
	bool draining;
	struct timer drained_timer;
	void (*on_empty)(void *arg);
	void *on_empty_arg;

	/* Other workers' way to this one, see upstream_queue.c. */
	struct list peers_link;
	struct loop_task wake_task;
	atomic_bool wake_posted;
};

/* May the call go out on it? Of kept connections. */
static inline bool upstream_conn_suits(const struct upstream_conn *conn,
				       const struct upstream_call *call)
{
	const struct tls_client_conf *tls = call->upstream->tls;

	return !conn->http2 == (call->upstream->protocol != UPSTREAM_HTTP2) &&
	       str_eq(str_make(buf_str(&conn->opened).ptr, conn->opened_key_len),
		      call->opening_key) &&
	       LIKELY(tls_client_is_same(conn->tls, tls ? tls->client : NULL));
}

/*
 * A connection to the endpoint that suits and has room, or NULL: a shared one, or a kept one, which
 * is taken out of the stacks and still IDLE.
 */
struct upstream_conn *upstream_pools_take(const struct upstream_call *call,
					  struct endpoint *endpoint);
/* False when it may not be kept: then the caller closes it. */
bool upstream_pools_keep_idle(struct upstream_conn *conn);
void upstream_pools_remove_idle(struct upstream_conn *conn);
/* Into the lists of shared ones, or out of them. */
void upstream_pools_share(struct upstream_conn *conn, bool share);
/* Those of the endpoint, where new ones go. NULL: out of memory. */
struct tls_sessions *upstream_pools_tls_sessions(struct upstream_pools *pools,
						 const struct endpoint *endpoint);
/* NULL: out of memory. */
struct upstream_local *upstream_pools_local(struct upstream_pools *pools,
					    struct upstream_state *state);

/* A struct with its buffers, not connected, that has the place. NULL: out of memory. */
struct upstream_conn *upstream_conn_get(struct upstream_local *local, struct endpoint *endpoint,
					const struct stream_ops *ops,
					void (*on_timer)(struct timer *timer));
/* After one of its buffers may have grown or gone. */
void upstream_conn_note_bufs(struct upstream_conn *conn);
/* After on_closed(), or when it never connected. */
void upstream_conn_put(struct upstream_conn *conn);
/* Detaches it from call and pool and closes the stream. */
void upstream_conn_close(struct upstream_conn *conn);

/* ---- upstream_queue.c: places, and the calls that wait for one ---- */

/* False: the limit is reached. */
bool upstream_place_take(struct upstream_local *local);
/* Given back; somebody who waits may get it. */
void upstream_place_free(struct upstream_local *local);

void upstream_queue_init(struct upstream_local *local);
/* A limit is in force: other workers may ask this one for its idle connections. */
void upstream_queue_link(struct upstream_local *local);
/* Must a new call stand behind others, or is there certainly nothing to be had? */
bool upstream_queue_must_wait(struct upstream_local *local);
/* 0, or -EAGAIN with call->failure set: too many wait. */
int upstream_queue_join(struct upstream_call *call);
void upstream_queue_leave(struct upstream_call *call);
/* What is idle here is of no use to the next call, but its place is: closes the oldest. */
void upstream_queue_make_room(struct upstream_local *local);
/* Starts waiting calls as long as there are connections or places. */
void upstream_queue_run(struct upstream_local *local);
/* Has another worker's call waited so much longer that a connection should be given up for it? */
bool upstream_queue_yields(const struct upstream_local *local);
/* From then on, and until then, other workers can wake this one. */
void upstream_queue_attach(struct upstream_pools *pools);
void upstream_queue_detach(struct upstream_pools *pools);

/* ---- upstream_call.c: what all calls have in common ---- */

static inline uint64_t upstream_call_now_ms(const struct upstream_call *call)
{
	return loop_now_ms(call->pools->loop);
}

/* The call leaves its connection; one of HTTP/1 is then kept or closed by the caller. */
void upstream_call_detach(struct upstream_call *call);
/*
 * Counts it, and sends the request elsewhere if that is allowed; else tells the owner. The call has
 * left its connection afterwards, and one of HTTP/1 is closed.
 */
void upstream_call_fail(struct upstream_call *call, enum upstream_error error, const char *detail);
/* The same for all but the first of the calls that one failure of a connection meets. */
void upstream_call_fail_along(struct upstream_call *call, enum upstream_error error,
			      const char *detail);
/* To be called before its last event, or when there will be none. */
void upstream_call_over(struct upstream_call *call);
/*
 * The final head came. True: the request goes elsewhere instead, and the call has left its
 * connection.
 */
bool upstream_call_answered(struct upstream_call *call, uint16_t status);
/* What is left until the earliest of the deadlines that run, at most `most_ms`. */
uint64_t upstream_call_time_left(const struct upstream_call *call, uint64_t most_ms);
void upstream_call_start_try(struct upstream_call *call);
/* Only the head is waited for: the deadlines run, and so much is left. */
uint64_t upstream_call_await_head(struct upstream_call *call);

/* ---- upstream_attempt.c: where the request goes ---- */

/* For the queue. 0; -EAGAIN: no place, go on waiting; else call->failure says why it is over. */
int upstream_call_attempt(struct upstream_call *call);
/*
 * Sends the request again to the same endpoint, on another connection, as far as that is harmless:
 * a kept connection died, or (`unprocessed`) the endpoint says that it did nothing with it. False:
 * not to be done.
 */
bool upstream_call_resend(struct upstream_call *call, bool unprocessed);
/* To another one after a failure: enum upstream_retry_on. False: not to be done. */
bool upstream_call_retry(struct upstream_call *call, uint32_t cause);
/* Its connection has no room for it after all, and it has not been sent: looks for another. */
void upstream_call_move(struct upstream_call *call);

/* ---- connections of both kinds ---- */

/* What is queued can be sent from now on. */
void upstream_conn_ready(struct upstream_conn *conn);
/* It was not ready yet. Its calls fail, and it is closed. */
void upstream_conn_failed(struct upstream_conn *conn, enum upstream_error error,
			  const char *detail);
/* The same by a negative errno. */
void upstream_conn_refused(struct upstream_conn *conn, int result);

/* ---- upstream_http1.c ---- */

extern const struct stream_ops upstream_http1_ops;
void upstream_http1_on_timer(struct timer *timer);
/* 0 or -ENOMEM. `taken_over`: the request is queued already. */
int upstream_http1_begin(struct upstream_conn *conn, bool taken_over);
void upstream_http1_ready(struct upstream_conn *conn);
void upstream_http1_send(struct upstream_call *call, struct str data, struct recv_buf *buf);
void upstream_http1_send_end(struct upstream_call *call, const struct http_field *trailers,
			     unsigned int trailer_count);
void upstream_http1_flush(struct upstream_conn *conn);
void upstream_http1_pause(struct upstream_conn *conn);
void upstream_http1_resume(struct upstream_conn *conn);
void upstream_http1_leave(struct upstream_conn *conn);
/* Which timer runs follows from what is waited for. */
void upstream_http1_restart_timer(struct upstream_conn *conn);
/* All was sent that there is: of a tunnel, our side may be over, and with it the call. True: it is.
 */
bool upstream_tunnel_sent(struct upstream_conn *conn);

static inline void upstream_call_count(const struct upstream_call *call,
				       enum endpoint_counter counter)
{
	endpoint_count(call->endpoint, call->pools->worker_index, counter);
}

/* ---- upstream_tls.c: from the connection to the end of the handshake ---- */

void upstream_tls_begin(struct upstream_conn *conn);
/* What goes out before the handshake was sent. */
void upstream_tls_opened(struct upstream_conn *conn, int64_t result);
void upstream_tls_on_secured(struct stream *stream, int result);

/* ---- upstream_receive.c: from bytes to events of the call ---- */

void upstream_conn_on_recv(struct stream *stream, struct recv_buf *buf, int result);
void upstream_conn_on_piped(struct stream *stream, size_t bytes);
/* Receives as the body and the owner ask for. */
void upstream_conn_arm(struct upstream_conn *conn);

#endif

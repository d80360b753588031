/*
 * exchange: one request and its response, independent of the wire.
 *
 *            request data, end ──►              ──► upstream call, local answer, ...
 *   downstream ops                exchange                            action ops
 *            ◄── response head, data, end       ◄──
 *
 * A downstream codec (HTTP/1 connection; later an HTTP/2 stream) makes the exchange when a request
 * head is complete and is the only one to free it. exchange_start() routes and begins the action.
 * The action answers through the downstream ops; both sides stop each other by back-pressure
 * (exchange_request_blocked(), action->drained).
 *
 * Lifetimes: everything about the exchange lives in its arena, which also holds response bytes
 * under way, so the downstream frees the exchange only when nothing of it is being sent any more.
 * The exchange keeps the snapshot it began with. Thread rule: its worker's thread.
 */
#ifndef SLUICE_HTTP_EXCHANGE_H
#define SLUICE_HTTP_EXCHANGE_H

#include "http/identity.h"
#include "http/proxy.h"
#include "http/snapshot.h"
#include "http/tunnel.h"
#include "http/upgrade.h"
#include "io/recv_buf.h"
#include "proto/http_head.h"
#include "proto/proxy_protocol/proxy_protocol.h"

struct downstream;
struct exchange;
struct http_worker;
struct policy_chain;
struct policy_ending;
struct send_file;

/* Most memory one exchange may take for heads, trailers and what we write. */
#define EXCHANGE_ARENA_BYTES (1024u * 1024)
#define EXCHANGE_ADDED_MAX   12

struct exchange_response {
	uint16_t status;
	const struct http_field *fields; /* end-to-end fields only, valid to be sent */
	unsigned int field_count;
	unsigned int field_room;   /* free behind them (http/field_edit.h); 0: not ours to change */
	enum http_framing framing; /* NONE, LENGTH, or CHUNKED for a length not known in advance */
	uint64_t content_length;
	bool has_content_length; /* also without a body: answers to HEAD, 304 */
	bool close;		 /* this connection must not carry another request */
	/*
	 * The connection, or the stream, is a tunnel from now on (http/tunnel.h): data of no
	 * framing both ways. The request goes on, from resume_request(). ptr NULL: it is not.
	 */
	struct str upgrade;
};

/* What an exchange needs of the connection it came by. */
struct exchange_downstream {
	/* 1xx. Dropped for HTTP/1.0. */
	void (*send_informational)(struct exchange *exchange,
				   const struct exchange_response *response);
	/* Once. Then data, then end; the calls queue, flush sends. */
	void (*send_head)(struct exchange *exchange, const struct exchange_response *response);
	void (*send_data)(struct exchange *exchange, struct str data, struct recv_buf *buf);
	/* The same with bytes that are in a pipe, for a body of known length. NULL: only data. */
	void (*send_pipe)(struct exchange *exchange, struct splice_pipe *pipe, size_t len);
	/* As data, and in order with it: a range of a file. Takes a reference. */
	void (*send_file)(struct exchange *exchange, struct send_file *file, uint64_t offset,
			  uint64_t len);
	void (*send_end)(struct exchange *exchange, const struct http_field *trailers,
			 unsigned int trailer_count);
	void (*flush)(struct exchange *exchange);
	/* The response cannot be completed: the client must see that it was cut. */
	void (*send_abort)(struct exchange *exchange);
	/* The action has room for request data again. */
	void (*resume_request)(struct exchange *exchange);
	/* Both sides of a tunnel are over: the end comes with the last byte that is queued. */
	void (*tunnel_over)(struct exchange *exchange);
	/* Response bytes not taken by the kernel yet. */
	size_t (*queued)(const struct exchange *exchange);
};

/* What answers it. NULL members are not needed by the action. */
struct exchange_action {
	void (*request_data)(struct exchange *exchange, struct str data, struct recv_buf *buf);
	void (*request_end)(struct exchange *exchange, const struct http_field *trailers,
			    unsigned int trailer_count);
	void (*request_flush)(struct exchange *exchange);
	bool (*request_blocked)(const struct exchange *exchange);
	/* The downstream's queue is short again. */
	void (*drained)(struct exchange *exchange);
	/* The client has gone or the exchange was given up; no answer is wanted any more. */
	void (*abort)(struct exchange *exchange);
};

/* A worker's handle on a snapshot, counted without atomics. */
struct worker_snapshot {
	struct snapshot *snapshot;
	unsigned int refs;
};

/* Answers that need no upstream. */
enum exchange_local_kind {
	EXCHANGE_LOCAL_ERROR,
	EXCHANGE_LOCAL_NO_METHOD,
	EXCHANGE_LOCAL_REDIRECT,
	EXCHANGE_LOCAL_RESPOND,
	EXCHANGE_LOCAL_FILES,
};

struct exchange {
	struct http_worker *worker;
	struct worker_snapshot *config;
	const struct listener_conf *listener;
	const struct exchange_downstream *downstream;
	struct downstream *connection;
	void *stream;			      /* the downstream's own */
	const struct exchange_action *action; /* NULL: none is running */
	const struct route *route;
	struct ip_addr peer;	   /* of the TCP connection */
	struct ip_addr sender;	   /* peer, or whom its PROXY header names */
	struct ip_addr client;	   /* sender, or whom trusted proxies name */
	bool sender_trusted;	   /* it is one of node.trusted_proxies */
	struct str public_scheme;  /* by which the client came, as far as we know */
	struct str forwarded_host; /* authority that a trusted peer names; ptr NULL: none */

	struct http_head request;
	struct str host;     /* lower-case, without port; "" when there was none */
	struct str path;     /* canonical */
	struct str query;    /* with its '?', or "" */
	bool path_ambiguous; /* only for routes with unsafe_paths (http/path.h) */
	/* Of the route's template: views of `path`, so escapes stand as they do there. */
	struct route_param *params;
	unsigned int param_count;

	struct identity identity; /* who asks, as far as policies found out */

	/* The last ones of request.fields, which we put there (http/field_edit.h). */
	unsigned int own_field_count, request_field_room;

	/* The route's policies (http/policy.h): whose request_head() is asked, what each keeps. */
	unsigned int policy_at;
	unsigned int policy_ending_count;
	void **policy_states; /* by policy; NULL: none keeps anything */
	struct policy_ending *policy_endings;
	struct policy_chain *chain; /* NULL: bodies and answers pass no policy */
	/* The request's end, which came while a policy waited. */
	struct {
		bool here;
		const struct http_field *trailers;
		unsigned int trailer_count;
	} early_end;

	/* ROUTE_PROXY: what is asked of whom; host, path and query as above until a policy rewrites
	 * them. */
	const struct upstream_conf *upstream;
	struct str upstream_host, upstream_path, upstream_query;
	struct str upstream_method; /* ptr NULL: that of the request */
	/*
	 * What a rewrite did, for whoever maps URLs of the answer back: a path that begins with
	 * upstream_prefix there is one with public_prefix in its place here (whole segments, both
	 * without a last '/'). `opaque`: paths there tell nothing of paths here.
	 */
	struct {
		struct str public_prefix, upstream_prefix;
		bool opaque;
	} rewritten;

	/* Fields that our own steps add to the final answer, whoever makes it; valid to be sent. */
	struct http_field added[EXCHANGE_ADDED_MAX];
	unsigned int added_count;

	uint16_t status; /* 0 until the response head was made */
	bool head_sent;
	bool response_done;
	bool request_done; /* the downstream has read the whole request */
	uint64_t bytes_in, bytes_out;
	const char *failure; /* why an error answer was made or the answer was cut; a literal */
	const char *failure_detail; /* more of it for the log, static or in the arena; NULL: none */
	/* Times of the loop's turns: the head was complete; the answer's head was made (0: never).
	 */
	uint64_t begin_ns, first_byte_ns;
	struct str refused_line; /* the start line of a head that the codec refused, as it came */

	struct {
		enum exchange_local_kind kind;
		uint16_t status;
		uint32_t allow; /* methods as in route.h */
		const char *reason;
	} local;

	struct timer age_timer;
	struct upgrade upgrade;
	struct tunnel tunnel;
	struct proxy proxy;
	struct exchange *next_free; /* in the worker's cache */
	struct arena arena;	    /* last: reset, not cleared, between uses */
};

/* From the worker's cache, with a reference on the current snapshot. NULL: out of memory. */
struct exchange *exchange_new(struct downstream *connection,
			      const struct exchange_downstream *downstream, void *stream);
/* Aborts a running action, counts, and gives the struct back. */
void exchange_free(struct exchange *exchange);

/* exchange->request is filled in. May answer at once. */
void exchange_start(struct exchange *exchange);
/* The route is found and its policies are through. For http/policy.c. */
void exchange_start_action(struct exchange *exchange);

/*
 * The answer, from whoever makes it, through the response steps of policies: head, then data and
 * files, then the end. False: another answer has taken its place or it was cut, and nothing more of
 * this one is wanted; whoever makes it has been told by its abort(), if it is the action.
 */
bool exchange_send_head(struct exchange *exchange, const struct exchange_response *response);
bool exchange_send_data(struct exchange *exchange, struct str data, struct recv_buf *buf);
bool exchange_send_file(struct exchange *exchange, struct send_file *file, uint64_t offset,
			uint64_t len);
void exchange_send_end(struct exchange *exchange, const struct http_field *trailers,
		       unsigned int trailer_count);
/* Not taken yet by the client, or held by policies: above UPSTREAM_HIGH_WATER, stop. */
size_t exchange_queued(const struct exchange *exchange);
/* May bytes of the answer come in a pipe? */
bool exchange_takes_pipes(const struct exchange *exchange);
/* The action has room for request data again. */
void exchange_resume_request(struct exchange *exchange);
/* Nobody wants an answer any more: ends the action and what policies have under way. */
void exchange_abort(struct exchange *exchange);

/* Request body, from the downstream. Ignored when the action is over. */
void exchange_request_data(struct exchange *exchange, struct str data, struct recv_buf *buf);
void exchange_request_end(struct exchange *exchange, const struct http_field *trailers,
			  unsigned int trailer_count);
/* After each run of the two above. */
void exchange_request_flush(struct exchange *exchange);
/* The downstream must stop reading until resume_request(). */
bool exchange_request_blocked(const struct exchange *exchange);
void exchange_drained(struct exchange *exchange);

/*
 * An error answer made here. Before the head was sent: status with a short body that names no
 * upstream address; after it: the response is cut. `allow` is for 405 (methods as in route.h).
 */
void exchange_fail(struct exchange *exchange, uint16_t status, const char *reason);
/* The same, and the connection is not used again: framing can no longer be trusted. */
void exchange_fail_close(struct exchange *exchange, uint16_t status, const char *reason);

/* A whole local answer; body must live in the snapshot or the arena. */
void exchange_respond(struct exchange *exchange, uint16_t status, const struct http_field *fields,
		      unsigned int field_count, struct str body, bool close);

/* Does an answer with this status to this request carry a body? */
bool exchange_has_response_body(const struct exchange *exchange, uint16_t status);

#endif

/*
 * http_worker: everything one worker thread needs to serve HTTP: its downstream connections,
 * exchanges, upstream pools and balancer state. Shares nothing with other workers but the snapshot
 * and the counters' rows.
 *
 *   acceptor ──► http_worker_accept ──► downstream connection ──► exchange ──► route ──► action
 *
 * Thread rule: the worker's thread, except http_worker_get_stats().
 */
#ifndef SLUICE_HTTP_HTTP_WORKER_H
#define SLUICE_HTTP_HTTP_WORKER_H

#include "http/http_node.h"
#include "http/snapshot.h"
#include "io/loop.h"

struct http_worker;

/* symbol, JSON name, help */
#define HTTP_COUNTERS(X)                                                                           \
	X(ACCEPTED, "accepted", "downstream connections accepted")                                 \
	X(NO_LISTENER, "no_listener", "connections to an address no listener has any more")        \
	X(REQUESTS, "requests", "requests with a complete head")                                   \
	X(BAD_REQUESTS, "bad_requests", "requests refused by the codec")                           \
	X(NO_ROUTE, "no_route", "requests that no route matches")                                  \
	X(REGEX_LIMITS, "regex_limits", "regexes given up at a limit, taken as no match")          \
	X(LOCAL_ERRORS, "local_errors", "error answers made here")                                 \
	X(HEADER_TIMEOUTS, "header_timeouts", "connections closed: head not complete in time")     \
	X(IDLE_TIMEOUTS, "idle_timeouts", "connections closed: idle")                              \
	X(REQUEST_TIMEOUTS, "request_timeouts", "exchanges ended: too old")                        \
	X(SLOW_BODIES, "slow_bodies", "request bodies given up: slower than min_body_rate")        \
	X(SLOW_READERS, "slow_readers", "connections reset: answer read too slowly")               \
	X(SOURCE_REFUSED, "source_refused", "connections reset: connections_per_source")           \
	X(SOURCE_SHARED, "source_shared", "connections counted in a row shared by addresses")      \
	X(MEMORY_HOLDS, "memory_holds", "times that accepting stopped: memory is short")           \
	X(MEMORY_CLOSED, "memory_closed", "idle connections closed: memory is short")              \
	X(MEMORY_RESET, "memory_reset", "slow connections reset: memory is short")                 \
	X(MEMORY_SHED, "memory_shed", "requests refused with 503: memory is short")                \
	X(CLIENT_ABORTS, "client_aborts", "clients that left before their answer was complete")    \
	X(PROXY_REFUSED, "proxy_refused", "connections closed: no proper PROXY header")            \
	X(TUNNELS, "tunnels", "exchanges that became tunnels, such as WebSockets")                 \
	X(TUNNELS_IDLE, "tunnels_idle", "tunnels closed: idle")                                    \
	X(UPSTREAM_RETRIES, "upstream_retries", "requests sent again: a kept connection was dead") \
	X(HTTP2_CONNECTIONS, "http2_connections", "downstream connections that chose HTTP/2")      \
	X(HTTP2_STREAMS, "http2_streams", "streams opened by HTTP/2 clients")                      \
	X(HTTP2_RESETS_RECEIVED, "http2_resets_received", "streams reset by HTTP/2 clients")       \
	X(HTTP2_RESETS_SENT, "http2_resets_sent", "streams of HTTP/2 clients reset by us")         \
	X(HTTP2_CALMED, "http2_calmed", "HTTP/2 connections ended: too much that only costs")      \
	X(TLS_HANDSHAKES, "tls_handshakes", "TLS handshakes done, resumed ones included")          \
	X(TLS_RESUMED, "tls_resumed", "of these: sessions resumed")                                \
	X(KTLS_SENDS, "ktls_sends", "TLS connections for which the kernel encrypts")               \
	X(KTLS_NO_KERNEL, "ktls_no_kernel", "... for which it does not: this kernel cannot")       \
	X(KTLS_NO_CIPHER, "ktls_no_cipher", "... not with the cipher that was agreed on")          \
	X(KTLS_BUSY, "ktls_busy", "... the handshake was not sent yet when it should begin")       \
	X(KTLS_REFUSED, "ktls_refused", "... it did not take the connection")                      \
	X(KTLS_RECEIVES, "ktls_receives", "... of those: it decrypts, too, after much of TLS 1.2") \
	X(KTLS_REKEYS, "ktls_rekeys", "... of those it encrypts for: closed, new keys asked for")  \
	X(TLS_TIMEOUTS, "tls_timeouts", "connections closed: no handshake in time")                \
	X(TLS_CLOSED, "tls_failed_closed", "TLS handshakes that the client ended")                 \
	X(TLS_PLAIN, "tls_failed_plain_http", "requests without TLS where TLS is spoken")          \
	X(TLS_GARBAGE, "tls_failed_not_tls", "connections that do not speak TLS")                  \
	X(TLS_VERSION, "tls_failed_version", "TLS handshakes without a version in common")         \
	X(TLS_CIPHER, "tls_failed_cipher", "TLS handshakes without a cipher in common")            \
	X(TLS_ALPN, "tls_failed_alpn", "TLS handshakes without a protocol in common")              \
	X(TLS_CERTIFICATE, "tls_failed_certificate", "client certificates missing or refused")     \
	X(TLS_ALERT, "tls_failed_alert", "TLS handshakes that the client refused by an alert")     \
	X(TLS_OTHER, "tls_failed_other", "TLS handshakes that failed otherwise")                   \
	X(TLS_MISDIRECTED, "tls_misdirected", "requests refused with 421: other certificate")      \
	X(ACCESS_LOG_DROPPED, "access_log_dropped", "access log lines dropped: the disk is slow")

enum http_counter {
#define X(symbol, name, help) HTTP_COUNTER_##symbol,
	HTTP_COUNTERS(X)
#undef X
		HTTP_COUNTER_COUNT
};

struct http_worker_stats {
	uint64_t counters[HTTP_COUNTER_COUNT];
	uint64_t connections_open; /* downstream */
	uint64_t exchanges_open;
	uint64_t tunnels_open; /* of these */
	uint64_t upstream_connections_open;
	struct route_row unrouted; /* requests that no route was found for */
	uint64_t memory_bytes;
	enum memory_level memory_level;
};
const char *http_counter_name(enum http_counter counter);
const char *http_counter_help(enum http_counter counter);

/*
 * Takes its own reference on the snapshot. `node` outlives the worker; NULL: no limits of the node.
 * On the worker's thread.
 */
int http_worker_new(struct loop *loop, unsigned int index, struct snapshot *snapshot,
		    struct http_node *node, struct http_worker **ret_worker, struct error *err);
/* on_hold says, from the loop, when accepting is to stop and to go on. */
void http_worker_set_on_hold(struct http_worker *worker, void (*on_hold)(void *arg, bool hold),
			     void *arg);
/* Takes a reference on the new one and drops its old one; running exchanges keep theirs. */
void http_worker_set_snapshot(struct http_worker *worker, struct snapshot *snapshot);

/* Takes the connected socket over. */
void http_worker_accept(struct http_worker *worker, int fd);

/*
 * Graceful end: idle connections close now, busy ones after their answer ("Connection: close").
 * Whatever is left after deadline_ms is aborted. on_drained comes once, from the loop, when nothing
 * is open any more; then http_worker_free() may be called.
 */
void http_worker_drain(struct http_worker *worker, uint64_t deadline_ms,
		       void (*on_drained)(void *arg), void *arg);
void http_worker_free(struct http_worker *worker);

/* Any thread. */
void http_worker_get_stats(const struct http_worker *worker, struct http_worker_stats *ret_stats);

#endif

/*
 * event: what happened that an operator may want to know of, from any thread to the control thread.
 *
 *   any thread ── event_publish() ──► one bounded queue ── event_take() ──► control/event_ring
 *
 * Publishing never waits, allocates or calls the kernel: a ticket is drawn by compare-and-swap and
 * the cell filled in place. Events are rare (a reload, an endpoint ejected), so that one queue for
 * all threads costs nothing; code that can publish in a burst limits itself. What finds the queue
 * full is counted and lost: an event never slows down the thread that has it.
 * An event is not a log line: publishing code logs besides where a line is wanted.
 * Thread rule: event_publish() and event_lost() anywhere, event_take() on the control thread.
 */
#ifndef SLUICE_BASE_EVENT_H
#define SLUICE_BASE_EVENT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/log.h"
#include "base/str.h"

/* symbol, JSON name, level, meaning */
#define EVENT_KINDS(X)                                                                             \
	X(READY, "ready", INFO, "the daemon serves")                                               \
	X(STOPPING, "stopping", INFO, "the daemon drains and ends")                                \
	X(WORKER_LOST, "worker_lost", ERROR, "a worker's event loop broke; the daemon ends")       \
	X(RELOADED, "reloaded", INFO, "a new generation of the configuration is in force")         \
	X(RELOAD_REFUSED, "reload_refused", WARN, "the file was refused; the old one goes on")     \
	X(LISTENER_ERROR, "listener_error", WARN, "connections could not be accepted")             \
	X(MEMORY_SHORT, "memory_short", WARN, "a worker accepts no connections: memory is short")  \
	X(MEMORY_EASED, "memory_eased", INFO, "a worker accepts connections again")                \
	X(ENDPOINT_EJECTED, "endpoint_ejected", WARN, "an endpoint gets no requests for a while")  \
	X(ENDPOINT_RETURNED, "endpoint_returned", INFO, "an ejected endpoint gets requests again") \
	X(PROTOCOL_ABUSE, "protocol_abuse", WARN, "a client's connection did what only costs us")  \
	X(TLS_FAILED, "tls_failed", INFO, "a TLS handshake failed; told seldom")                   \
	X(UPSTREAM_TLS_FAILED, "upstream_tls_failed", WARN, "no TLS with an endpoint")             \
	X(DENY_CHANGED, "deny_changed", INFO, "the deny list was changed by a person")             \
	X(ALLOW_CHANGED, "allow_changed", INFO, "the allow list was changed by a person")          \
	X(AUTO_DENIED, "auto_denied", WARN, "a source offended too often")                         \
	X(SERVICE_CHANGED, "service_changed", INFO, "an L4 service came, went or was made anew")   \
	X(BACKEND_CHANGED, "backend_changed", INFO, "a backend came, went or ended its drain")     \
	X(BACKEND_UNREACHABLE, "backend_unreachable", WARN, "no way or no neighbour to a backend") \
	X(BACKEND_REACHABLE, "backend_reachable", INFO, "the way to a backend is known again")     \
	X(BACKEND_DOWN, "backend_down", WARN, "probes of a backend fail")                          \
	X(BACKEND_UP, "backend_up", INFO, "a backend that was down answers its probes")            \
	X(SERVICE_FAIL_OPEN, "service_fail_open", WARN, "all backends are down: the table stays")  \
	X(SERVICE_RECOVERED, "service_recovered", INFO, "a backend of the service is up again")    \
	X(CERTIFICATE_CHANGED, "certificate_changed", INFO, "new certificates are in force")       \
	X(CERTIFICATE_REFUSED, "certificate_refused", WARN, "changed files are of no use")         \
	X(CERTIFICATE_EXPIRES, "certificate_expires", WARN, "a certificate ends in a few days")

enum event_kind {
#define X(symbol, name, level, meaning) EVENT_##symbol,
	EVENT_KINDS(X)
#undef X
		EVENT_KIND_COUNT
};

#define EVENT_OBJECT_MAX 192 /* an upstream's name, a space and the text of an address fit */
#define EVENT_TEXT_MAX	 256

struct event {
	uint64_t wall_ms;
	enum event_kind kind;
	char object[EVENT_OBJECT_MAX]; /* what it happened to: "shop 10.0.0.1:80"; may be empty */
	char text[EVENT_TEXT_MAX];     /* a sentence; cut when longer */
};

const char *event_kind_name(enum event_kind kind);
enum log_level event_kind_level(enum event_kind kind);

/* Values from outside go through str_quote() first. */
void event_publish(enum event_kind kind, struct str object, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* The oldest one. False: there is none. */
bool event_take(struct event *ret_event);
/* How many found no room since the process began. */
uint64_t event_lost(void);

#endif

/*
 * tunnel: an exchange whose request and response have become two streams of bytes that nobody here
 * reads: a WebSocket, or whatever else both ends agreed on.
 *
 *   client ──► request data ──► upstream_call_send ──► upstream        each side ends on its own:
 *          ◄──  send_data  ◄──      on_data        ◄──                 half-closing is passed on
 *
 * It knows no wire: bytes come and go by the downstream's and the upstream call's events, by
 * reference, with their back-pressure. What ends it is the end of both sides, a reset of either
 * (which the other one gets, too), idle_ms without a byte either way, or the end of the daemon's
 * drain, which is a proper close.
 *
 * A tunnel outlives configurations: it lets go of its snapshot and keeps copies of the names that
 * its line of the access log needs. exchange->config, ->listener, ->route and ->upstream are NULL
 * from then on. Thread rule: the worker's thread.
 */
#ifndef SLUICE_HTTP_TUNNEL_H
#define SLUICE_HTTP_TUNNEL_H

#include "base/str.h"
#include "io/loop.h"

struct exchange;
struct route_stats;

/* Of an exchange; zeroed: it is none. */
struct tunnel {
	bool open;   /* it became one, and stays one to its end */
	bool polite; /* it is ended by us, and properly */
	bool upstream_ended;
	uint64_t idle_ms, moved_ms;
	struct timer idle_timer;
	struct str listener, route, upstream, endpoint;
	struct str consumer;	   /* ptr NULL: nobody is known */
	struct route_stats *stats; /* one reference, or NULL */
};

/*
 * The upstream has agreed, and the answer's head was given to the downstream. The exchange's action
 * is the tunnel from now on. -ENOMEM: it is not.
 */
int tunnel_start(struct exchange *exchange, uint64_t idle_ms);
/* Closes both connections as if both ends had wanted it. */
void tunnel_close(struct exchange *exchange, const char *reason);
/* With the exchange. */
void tunnel_done(struct exchange *exchange);

#endif

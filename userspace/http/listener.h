/*
 * listener: configuration of a place where connections arrive, in the snapshot.
 * A connection belongs to the listener whose tuples hold its local address and port, whichever
 * socket it came in by. Immutable once published. Thread rule: read by any thread.
 */
#ifndef SLUICE_HTTP_LISTENER_H
#define SLUICE_HTTP_LISTENER_H

#include "http/error_pages.h"
#include "kern/steer.h"
#include "proto/http1/http1.h"

struct router;
struct tls_server_conf;

/* Do connections begin with a PROXY header? */
enum listener_proxy { LISTENER_PROXY_OFF, LISTENER_PROXY_ACCEPT, LISTENER_PROXY_REQUIRE };

struct listener_conf {
	struct str name;
	uint32_t line, column;
	struct steer_tuple *tuples;
	unsigned int tuple_count; /* >= 1 */
	int proxy_protocol;	  /* enum listener_proxy */

	/* limits */
	struct http1_limits http1;
	uint64_t body_bytes;		 /* request bodies; 413 beyond; 0: no limit */
	uint32_t connections_per_source; /* >= 1 */

	/* timeouts */
	uint64_t handshake_timeout_ms; /* of TLS, from accept or the PROXY header */
	uint64_t header_timeout_ms;  /* whole request head, from its first byte (or from accept) */
	uint64_t idle_timeout_ms;    /* between requests; the longest pause in a body */
	uint64_t request_timeout_ms; /* from the head to the first byte of the answer; 0: none */
	uint32_t min_body_rate;	     /* bytes a second of either body; 0: idle_timeout_ms alone */

	struct {
		bool prior_knowledge; /* in clear text, known by its preface */
		uint32_t max_concurrent_streams;
	} http2;

	struct error_pages error_pages;
	const struct tls_server_conf *tls; /* NULL: in clear text */

	struct router *router; /* the routes that this listener serves */
};

/* The most specific wins: the longest prefix, then the narrowest port range. NULL: none. */
const struct listener_conf *listener_find(const struct listener_conf *listeners, unsigned int count,
					  const struct ip_addr *local, uint16_t local_port);
bool listener_tuple_matches(const struct steer_tuple *tuple, const struct ip_addr *addr,
			    uint16_t port);

#endif

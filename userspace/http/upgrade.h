/*
 * upgrade: an exchange that asks its connection to become another protocol's (RFC 9110 7.8), mostly
 * a WebSocket (RFC 6455).
 *
 *   request ──► upgrade_ask() ──► upgrade_write() ──► upstream ──► 101 ──► upgrade_accepts() ──►
 * tunnel
 *
 * Connection and Upgrade are hop-by-hop: they go on only where the route allows the protocol, and
 * then as ours, with that one protocol. A WebSocket's handshake is checked before anybody is asked
 * and again in the answer, so that both ends agree on what follows (HARDENING 10). An answer other
 * than 101 is an ordinary one.
 *
 * An extended CONNECT (RFC 8441) asks the same of one stream of HTTP/2: the upstream is asked in
 * the way of HTTP/1, with a key of ours, and its 101 becomes a 200. Thread rule: the worker's
 * thread.
 */
#ifndef SLUICE_HTTP_UPGRADE_H
#define SLUICE_HTTP_UPGRADE_H

#include "proto/http1/http1.h"
#include "proto/websocket/handshake.h"

struct exchange;

/* Of an exchange; zeroed: it asks for none. */
struct upgrade {
	struct str token; /* in lower case, as the route spells it; ptr NULL: none */
	bool websocket;
	char accept[WEBSOCKET_ACCEPT_LEN]; /* of a WebSocket: what the answer must say */
	char key[WEBSOCKET_KEY_LEN];	   /* and with an extended CONNECT, what we ask with */
};

/* May a route allow the protocol? Some would hide requests from routes and policies. */
bool upgrade_token_is_allowed(struct str token);

/* Does a request ask for the protocol (in lower case), be it by an extended CONNECT? */
bool upgrade_is_asked(const struct http_head *request, struct str token);
/* Fills exchange->upgrade. 0, or the status to refuse it with. */
uint16_t upgrade_ask(struct exchange *exchange, const char **ret_reason);
/* Our Connection and Upgrade: the token, and at most so many bytes. */
#define UPGRADE_BYTES 96
void upgrade_write(const struct exchange *exchange, struct http1_writer *writer);
/*
 * Does a field of the request, or of the 101, pass? With an extended CONNECT the handshake's values
 * are between us and the upstream.
 */
bool upgrade_field_passes(const struct exchange *exchange, const struct http_field *field);
/* A 101: is it the answer to what was asked? */
bool upgrade_accepts(const struct exchange *exchange, const struct http_head *answer);

#endif

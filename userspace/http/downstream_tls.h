/*
 * downstream_tls: the TLS handshake of a client's connection, between its first byte (or the PROXY
 * header before it) and its protocol, which ALPN chooses.
 *
 * It has timeouts.handshake, and counts for its source as any connection does. Why one fails is
 * counted by reason; what of it looks like a misconfiguration is logged, seldom. Thread rule: the
 * worker's thread.
 */
#ifndef SLUICE_HTTP_DOWNSTREAM_TLS_H
#define SLUICE_HTTP_DOWNSTREAM_TLS_H

#include "http/downstream.h"
#include "tls/tls_context.h"

/* Its listener has TLS. What came already is in `pending`. */
void downstream_tls_start(struct downstream *conn);
/* downstream_accept.c: how it ends when it succeeds. */
void downstream_tls_secured(struct downstream *conn, enum tls_alpn alpn);

#endif

/*
 * proxy: the action that hands an exchange to an upstream and its answer back.
 *
 * Only end-to-end fields pass, framing is written anew (HARDENING 5), forwarding fields are ours,
 * whatever the client sent in them (HARDENING 19). Thread rule: the worker's thread.
 */
#ifndef SLUICE_HTTP_PROXY_H
#define SLUICE_HTTP_PROXY_H

#include "upstream/upstream_call.h"

struct exchange;

/* Embedded in the exchange. */
struct proxy {
	struct upstream_call call;
};

void proxy_start(struct exchange *exchange);

#endif

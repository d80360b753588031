/*
 * offence: what clients did that `dataplane.auto_deny` counts, from workers to the control thread.
 *
 *   worker ── offence_report() ──► one bounded queue ── offence_take() ──► control/auto_deny
 *
 * Reporting never waits, allocates or calls the kernel, and costs one load where no rule counts the
 * kind. What finds the queue full is counted and lost: whoever offends so often is counted anyway.
 * Who is reported is the TCP peer (HARDENING 35); one that speaks for others (a PROXY header named
 * somebody else) is not reported at all, as it is not the offender.
 * Thread rule: offence_report() and offence_lost() anywhere, the others on the control thread.
 */
#ifndef SLUICE_HTTP_OFFENCE_H
#define SLUICE_HTTP_OFFENCE_H

#include "base/addr.h"

/* symbol, name in configuration, events and metrics */
#define OFFENCES(X)                                                                                \
	X(AUTH_FAILURE, "auth_failure")                                                            \
	X(RATE_LIMITED, "rate_limited")                                                            \
	X(PROTOCOL_ERROR, "protocol_error")

enum offence_kind {
#define X(symbol, name) OFFENCE_##symbol,
	OFFENCES(X)
#undef X
		OFFENCE_KIND_COUNT
};

struct offence {
	enum offence_kind kind;
	struct ip_addr peer;
};

const char *offence_name(enum offence_kind kind);

/* Bits by kind: those that are wanted from now on. */
void offence_watch(unsigned int kinds);
/* `sender`: whom a PROXY header names, or the peer. */
void offence_report(enum offence_kind kind, const struct ip_addr *peer,
		    const struct ip_addr *sender);
/* The oldest one. False: there is none. */
bool offence_take(struct offence *ret_offence);
/* How many found no room since the process began. */
uint64_t offence_lost(void);

#endif

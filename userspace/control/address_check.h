/*
 * address_check: are the listeners' addresses this host's? Steering by sk_lookup binds none of
 * them, so a mistyped one would be silent: it gets no packets. Prefixes are made local by routes of
 * ours. Thread rule: the control thread.
 */
#ifndef SLUICE_CONTROL_ADDRESS_CHECK_H
#define SLUICE_CONTROL_ADDRESS_CHECK_H

#include "http/snapshot.h"

/*
 * False when no packet for this exact address is delivered here. True also for prefixes, for
 * link-local addresses, which mean nothing without an interface, and when it cannot be told.
 */
bool address_is_here(const struct steer_tuple *tuple);
/* A warning for each that is not, up to a few. */
void address_check_log(const struct snapshot *snapshot);

#endif

/*
 * request_target: the request's target and Host in the forms that routes are matched with.
 * Thread rule: the worker's thread.
 */
#ifndef SLUICE_HTTP_REQUEST_TARGET_H
#define SLUICE_HTTP_REQUEST_TARGET_H

#include "http/exchange.h"

/* Fills path, path_ambiguous and query. 0, or the status of the answer and a literal for it. */
uint16_t request_target_split(struct exchange *exchange, const char **ret_reason);
/*
 * Host without port and final dot, in lower case: a view when it is that already. NULL ptr: out of
 * memory.
 */
struct str request_host_for_routing(struct arena *arena, struct str host);

#endif

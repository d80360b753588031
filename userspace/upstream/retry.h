/*
 * retry: how often a request may be sent again on the node: at most a share of the recent calls,
 * so that an upstream that is down does not get its load multiplied.
 *
 * Tokens: each call of the upstream earns a share of one, each retry spends one; besides, 3 a
 * second are earned in any case, so that an upstream with few calls can retry, too. What was
 * earned fades within 10 seconds. Calls are only counted, in the workers' rows; the tokens are
 * worked out when somebody wants to retry. Time comes from the caller. Thread rule: any thread.
 */
#ifndef SLUICE_UPSTREAM_RETRY_H
#define SLUICE_UPSTREAM_RETRY_H

#include "proto/http_head.h"
#include "upstream/upstream.h"

#define RETRY_FLOOR_PER_S 3
#define RETRY_WINDOW_MS	  10000

void retry_budget_init(struct upstream_state *state, uint64_t now_ms);
/* False: the budget (parts of 10,000) is spent. */
bool retry_budget_take(struct upstream_state *state, uint64_t budget, uint64_t now_ms);

/* May it be carried out twice? RFC 9110 9.2.2. */
bool retry_method_is_idempotent(enum http_method method);
/* What of upstream_retry_on an answer with this status is; 0: none. */
uint32_t retry_cause_of_status(uint16_t status);

#endif

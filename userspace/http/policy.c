#include "http/policy.h"

#include <assert.h>

#include "http/exchange.h"

static const struct policy *policy_at_work(const struct exchange *exchange)
{
	return exchange->route->policies[exchange->policy_at];
}

/* The body stays unread, since nobody knows yet who wants it. */
static bool waiting_blocked(const struct exchange *exchange)
{
	(void)exchange;
	return true;
}

static void waiting_abort(struct exchange *exchange)
{
	const struct policy *policy = policy_at_work(exchange);

	policy->type->abandon(exchange, policy->conf);
	exchange->policy_state = NULL;
}

static const struct exchange_action waiting_action = {
	.request_blocked = waiting_blocked,
	.abort = waiting_abort,
};

bool policy_chain_run(struct exchange *exchange)
{
	const struct route *route = exchange->route;

	for (; exchange->policy_at < route->policy_count; exchange->policy_at++) {
		const struct policy *policy = policy_at_work(exchange);

		if (!policy->type->request_head)
			continue;
		switch (policy->type->request_head(exchange, policy->conf)) {
		case POLICY_NEXT:
			exchange->policy_state = NULL;
			break;
		case POLICY_ANSWERED:
			exchange->policy_state = NULL;
			return false;
		case POLICY_WAITS:
			assert(policy->type->abandon);
			exchange->action = &waiting_action;
			return false;
		}
	}
	return true;
}

void exchange_policy_resume(struct exchange *exchange)
{
	exchange->action = NULL;
	if (policy_chain_run(exchange))
		exchange_start_action(exchange);
	/* The action, or what throws the body away, may have it now; a policy that waits may not.
	 */
	exchange->downstream->resume_request(exchange);
}

#include "http/policy.h"

#include <assert.h>

#include "http/exchange.h"
#include "http/field_edit.h"
#include "http/local_answer.h"
#include "http/policy_flow.h"
#include "http/refusal.h"
#include "http/worker_internal.h"

/* What done() is called with when the configuration may be gone. */
struct policy_ending {
	void (*done)(struct exchange *exchange, void *state);
	void *state;
};

unsigned int policy_find_steps(const struct policy *policy)
{
	const struct policy_type *type = policy->type;
	unsigned int steps = (type->request_head ? POLICY_STEP_REQUEST_HEAD : 0) |
			     (type->request_body ? POLICY_STEP_REQUEST_BODY : 0) |
			     (type->response_head ? POLICY_STEP_RESPONSE_HEAD : 0) |
			     (type->response_body ? POLICY_STEP_RESPONSE_BODY : 0);

	if (type->steps)
		steps &= type->steps(policy->conf);
	return steps | (type->done ? POLICY_STEP_DONE : 0) |
	       (type->state_bytes ? POLICY_STEP_STATE : 0);
}

int policies_acquire(struct policy *policies, unsigned int count, struct registry *registry,
		     unsigned int worker_count)
{
	for (unsigned int i = 0; i < count; i++) {
		const struct policy_type *type = policies[i].type;
		int r = policy_stats_acquire(registry, policies[i].name, worker_count,
					     &policies[i].stats);

		/* Not published yet: the conf is still ours to change. */
		if (!r && type && type->acquire)
			r = type->acquire(registry, policies[i].name, worker_count,
					  (void *)policies[i].conf);
		if (r)
			return r;
	}
	return 0;
}

void policies_release(struct policy *policies, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++) {
		policy_stats_unref(policies[i].stats);
		if (policies[i].type && policies[i].type->release)
			policies[i].type->release((void *)policies[i].conf);
	}
}

static void *state_of(const struct exchange *exchange, unsigned int at)
{
	return exchange->policy_states ? exchange->policy_states[at] : NULL;
}

/* ---- waiting ---- */

/* The body stays unread, since nobody knows yet who wants it. */
static bool waiting_blocked(const struct exchange *exchange)
{
	(void)exchange;
	return true;
}

/* An end without any bytes before it is not held back by that. */
static void waiting_end(struct exchange *exchange, const struct http_field *trailers,
			unsigned int trailer_count)
{
	exchange->early_end.here = true;
	exchange->early_end.trailers = trailers;
	exchange->early_end.trailer_count = trailer_count;
}

static void waiting_abort(struct exchange *exchange)
{
	const struct policy *policy = exchange->route->policies[exchange->policy_at];

	policy->type->abandon(exchange, policy->conf, state_of(exchange, exchange->policy_at));
}

static const struct exchange_action waiting_action = {
	.request_end = waiting_end,
	.request_blocked = waiting_blocked,
	.abort = waiting_abort,
};

/* ---- heads of requests ---- */

/* Whoever waits for our word before it sends a body (RFC 9110 10.1.1) gets it: it is wanted. */
static void ask_for_body(struct exchange *exchange)
{
	const struct exchange_response go_on = {.status = 100};

	if (!exchange->request.expect_continue)
		return;
	exchange->request.expect_continue = false;
	exchange->downstream->send_informational(exchange, &go_on);
	exchange->downstream->flush(exchange);
}

static bool take_body(struct exchange *exchange)
{
	if (policy_flow_take(exchange, &exchange->chain->request, exchange->policy_at))
		return true;
	exchange_fail(exchange, 503, "out of memory for the request");
	return false;
}

static bool wait(struct exchange *exchange)
{
	assert(exchange->route->policies[exchange->policy_at]->type->abandon);
	exchange->action = &waiting_action;
	if (exchange->chain && !policy_flow_need_lanes(exchange, &exchange->chain->request))
		exchange_fail(exchange, 503, "out of memory for the request");
	return false;
}

/* True: all are through. */
static bool request_heads_run(struct exchange *exchange)
{
	const struct route *route = exchange->route;

	for (; exchange->policy_at < route->policy_count; exchange->policy_at++) {
		const struct policy *policy = route->policies[exchange->policy_at];

		if (!(policy->steps & POLICY_STEP_REQUEST_HEAD))
			continue;
		switch (policy->type->request_head(exchange, policy->conf,
						   state_of(exchange, exchange->policy_at))) {
		case POLICY_NEXT:
		case POLICY_AGAIN:
			break;
		case POLICY_ANSWERED:
			if (exchange->chain)
				policy_flow_close(exchange, &exchange->chain->request);
			return false;
		case POLICY_WAITS:
			return wait(exchange);
		case POLICY_STREAMS:
			if (!take_body(exchange))
				return false;
			break;
		case POLICY_HOLDS:
			if (!take_body(exchange))
				return false;
			exchange->chain->request.holds = true;
			ask_for_body(exchange);
			return false;
		}
	}
	return true;
}

void policy_request_head_goes_on(struct exchange *exchange)
{
	if (!request_heads_run(exchange))
		return;
	exchange_start_action(exchange);
	if (!exchange->early_end.here)
		return;
	exchange->early_end.here = false;
	if (exchange->action && exchange->action->request_end)
		exchange->action->request_end(exchange, exchange->early_end.trailers,
					      exchange->early_end.trailer_count);
}

/* ---- life ---- */

#define ALIGNED(bytes) (((bytes) + 15) & ~(size_t)15)

static bool make_states(struct exchange *exchange)
{
	const struct route *route = exchange->route;
	size_t table_bytes = ALIGNED(route->policy_count * sizeof(void *)), bytes = table_bytes;
	unsigned int endings = 0;
	char *room;

	for (unsigned int i = 0; i < route->policy_count; i++) {
		bytes += ALIGNED(route->policies[i]->type->state_bytes);
		endings += route->policies[i]->type->done != NULL;
	}
	room = arena_alloc_zero(&exchange->arena, bytes);
	exchange->policy_endings = arena_new_array(&exchange->arena, struct policy_ending, endings);
	if (!room || !exchange->policy_endings)
		return false;
	exchange->policy_states = (void **)room;
	room += table_bytes;
	for (unsigned int i = 0; i < route->policy_count; i++) {
		const struct policy_type *type = route->policies[i]->type;

		exchange->policy_states[i] = type->state_bytes ? room : NULL;
		room += ALIGNED(type->state_bytes);
		if (type->done)
			exchange->policy_endings[exchange->policy_ending_count++] =
				(struct policy_ending){type->done, exchange->policy_states[i]};
	}
	return true;
}

static bool make_chain(struct exchange *exchange)
{
	struct policy_chain *chain = arena_new(&exchange->arena, struct policy_chain);

	if (!chain)
		return false;
	chain->request.bodyless = exchange->request.framing == HTTP_FRAMING_NONE;
	chain->response.is_response = true;
	exchange->chain = chain;
	return true;
}

void policy_chain_begin(struct exchange *exchange)
{
	const struct route *route = exchange->route;

	if (route->owned_field_count)
		request_fields_strip(exchange, route->owned_fields, route->owned_field_count);
	if (((route->policy_steps & (POLICY_STEP_STATE | POLICY_STEP_DONE)) &&
	     !make_states(exchange)) ||
	    ((route->policy_steps & POLICY_STEPS_OF_CHAIN) && !make_chain(exchange))) {
		local_answer_start_error(exchange, 503, "out of memory for the request");
		return;
	}
	policy_request_head_goes_on(exchange);
	if (exchange->chain) {
		policy_flow_end_bodyless(exchange);
		policy_flow_run(exchange, &exchange->chain->request);
	}
}

void policy_chain_done(struct exchange *exchange)
{
	for (unsigned int i = 0; i < exchange->policy_ending_count; i++)
		exchange->policy_endings[i].done(exchange, exchange->policy_endings[i].state);
	exchange->policy_ending_count = 0;
}

struct recv_buf *policy_buffer(struct exchange *exchange)
{
	return loop_take_buf(exchange->worker->loop);
}

void exchange_policy_resume(struct exchange *exchange, void *state)
{
	if (exchange->action == &waiting_action &&
	    state_of(exchange, exchange->policy_at) == state) {
		exchange->action = NULL;
		policy_request_head_goes_on(exchange);
	}
	if (exchange->chain) {
		policy_flow_resume(exchange, state);
		policy_flow_end_bodyless(exchange);
		policy_flow_run(exchange, &exchange->chain->request);
	}
	exchange_request_flush(exchange);
	/* The action, or what throws the body away, may have it now; a policy that waits may not.
	 */
	exchange->downstream->resume_request(exchange);
}

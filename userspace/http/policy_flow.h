/*
 * policy_flow: a body, and its head before it, on the way through the steps of policies. One flow
 * for each direction; http/policy.h is the contract, this is private to http/.
 *
 *   source ──► lane 0 ──► lane 1 ──► ... ──► lane n-1 ──► sink (the action, or the downstream)
 *                │ takes: its step is called      ▲
 *                └ else: pieces pass              head_at: so far has the head come
 *
 * A lane is the place in front of a policy's body step. Pieces stop there while the step waits,
 * while it has no room behind it, or where the head has not been yet. Lanes exist from the moment
 * on when a step wants the body or makes the head wait; without them pieces go from source to sink.
 * Lane i of the request is policy i of the route, of the answer policy n-1-i.
 *
 * A step's call may end everything (it answers, the client is gone): whoever called looks at
 * `closed` and `answer` before he goes on. Thread rule: the exchange's worker.
 */
#ifndef SLUICE_HTTP_POLICY_FLOW_H
#define SLUICE_HTTP_POLICY_FLOW_H

#include "http/exchange.h"
#include "http/policy.h"
#include "io/send_queue.h"

struct policy_lane {
	struct send_queue inbox;
	struct policy_piece
		piece; /* taken out of it, with a reference, until the step is through */
	bool has_piece;
	bool takes;
	bool waits;
	bool end_pending; /* behind what is in the inbox */
	bool over;	  /* it let the end go on */
	bool running;
};

struct policy_flow {
	bool is_response;
	bool closed;
	bool bodyless; /* nothing that is emitted goes anywhere */
	bool holds;    /* the step at head_at holds the head */
	bool waits;    /* the head step at head_at waits; of requests the action says so */
	bool end_given;
	unsigned int head_at; /* of requests it is exchange->policy_at */
	unsigned int answer;  /* another number: what was under way before is given up */
	struct policy_lane *lanes;
	const struct http_field *trailers;
	unsigned int trailer_count;
};

/* In the arena of an exchange whose route has POLICY_STEPS_OF_CHAIN. */
struct policy_chain {
	struct policy_flow request, response;
	/* The step that is being called; NULL: none is. */
	const struct policy_flow *running_flow;
	unsigned int running_lane;

	struct exchange_response head; /* of the answer under way */
	bool counts_length;
	uint64_t left_bytes; /* of what the head announced */
};

/* What the route's head steps need; used by policy.c. False: out of memory. */
bool policy_flow_take(struct exchange *exchange, struct policy_flow *flow, unsigned int lane);
bool policy_flow_need_lanes(struct exchange *exchange, struct policy_flow *flow);
/* Moves what can move. */
void policy_flow_run(struct exchange *exchange, struct policy_flow *flow);
/* Nothing of it goes on; steps that wait are abandoned. */
void policy_flow_close(struct exchange *exchange, struct policy_flow *flow);
/* Its source must stop. */
bool policy_flow_is_blocked(const struct exchange *exchange, const struct policy_flow *flow);
/* The policy with this state is asked again, whichever of its steps waits; heads of requests apart.
 */
void policy_flow_resume(struct exchange *exchange, const void *state);
/* A request without a body has an end all the same. */
void policy_flow_end_bodyless(struct exchange *exchange);

/* policy.c: the head of the request goes on behind policy_at, and the action may begin. */
void policy_request_head_goes_on(struct exchange *exchange);

/* ---- for exchange.c, of exchanges with a chain ---- */

void policy_request_data(struct exchange *exchange, struct str data, struct recv_buf *buf);
void policy_request_end(struct exchange *exchange, const struct http_field *trailers,
			unsigned int trailer_count);
/* The action has room again. */
void policy_request_drained(struct exchange *exchange);

bool policy_send_head(struct exchange *exchange, const struct exchange_response *response);
bool policy_send_data(struct exchange *exchange, struct str data, struct recv_buf *buf);
bool policy_send_file(struct exchange *exchange, struct send_file *file, uint64_t offset,
		      uint64_t len);
void policy_send_end(struct exchange *exchange, const struct http_field *trailers,
		     unsigned int trailer_count);
/* The downstream has room again. */
void policy_response_drained(struct exchange *exchange);
/* Everything under way is given up. */
void policy_chain_abort(struct exchange *exchange);

#endif

#include "http/policy_flow.h"

#include <assert.h>

#include "base/cleanup.h"
#include "http/field_edit.h"
#include "http/local_answer.h"
#include "http/worker_internal.h"

static unsigned int policy_number(const struct exchange *exchange, const struct policy_flow *flow,
				  unsigned int lane)
{
	return flow->is_response ? exchange->route->policy_count - 1 - lane : lane;
}

static const struct policy *lane_policy(const struct exchange *exchange,
					const struct policy_flow *flow, unsigned int lane)
{
	return exchange->route->policies[policy_number(exchange, flow, lane)];
}

static void *lane_state(const struct exchange *exchange, const struct policy_flow *flow,
			unsigned int lane)
{
	return exchange->policy_states
		       ? exchange->policy_states[policy_number(exchange, flow, lane)]
		       : NULL;
}

static unsigned int head_at(const struct exchange *exchange, const struct policy_flow *flow)
{
	return flow->is_response ? flow->head_at : exchange->policy_at;
}

bool policy_flow_need_lanes(struct exchange *exchange, struct policy_flow *flow)
{
	unsigned int count = exchange->route->policy_count;

	if (flow->lanes)
		return true;
	flow->lanes = arena_new_array(&exchange->arena, struct policy_lane, count);
	if (!flow->lanes)
		return false;
	for (unsigned int i = 0; i < count; i++)
		send_queue_init(&flow->lanes[i].inbox, &exchange->worker->segments);
	return true;
}

bool policy_flow_take(struct exchange *exchange, struct policy_flow *flow, unsigned int lane)
{
	if (!policy_flow_need_lanes(exchange, flow))
		return false;
	flow->lanes[lane].takes = true;
	return true;
}

/* ---- the sinks ---- */

static bool sink_is_full(const struct exchange *exchange, const struct policy_flow *flow)
{
	if (flow->is_response)
		return exchange->downstream->queued(exchange) > UPSTREAM_HIGH_WATER;
	return exchange->action && exchange->action->request_blocked &&
	       exchange->action->request_blocked(exchange);
}

static void sink_request(struct exchange *exchange, const struct policy_piece *piece)
{
	const struct policy_flow *flow = &exchange->chain->request;
	const struct exchange_action *action = exchange->action;

	if (flow->bodyless || !action)
		return;
	if (!piece->end && action->request_data)
		action->request_data(exchange, piece->data, piece->buf);
	else if (piece->end && action->request_end)
		action->request_end(exchange, flow->trailers, flow->trailer_count);
}

static void sink_response(struct exchange *exchange, const struct policy_piece *piece)
{
	struct policy_chain *chain = exchange->chain;
	struct policy_flow *flow = &chain->response;
	size_t len = piece->data.len;

	if (!piece->end && (flow->bodyless || !len))
		return;
	if (chain->counts_length &&
	    (len > chain->left_bytes || (piece->end && chain->left_bytes))) {
		exchange_fail(exchange, 500, "a policy changed the length of the answer");
		return;
	}
	chain->left_bytes -= chain->counts_length ? len : 0;
	if (piece->end) {
		exchange->response_done = true;
		exchange->downstream->send_end(exchange, flow->trailers, flow->trailer_count);
		return;
	}
	exchange->bytes_out += len;
	exchange->downstream->send_data(exchange, piece->data, piece->buf);
}

/* ---- lanes ---- */

static void lane_push(struct exchange *exchange, struct policy_lane *lane,
		      const struct policy_piece *piece)
{
	if (piece->end) {
		lane->end_pending = true;
	} else if (!lane->has_piece && send_queue_is_empty(&lane->inbox)) {
		lane->piece = *piece;
		lane->has_piece = true;
		if (piece->buf)
			recv_buf_ref(piece->buf);
	} else if (send_queue_push(&lane->inbox, piece->data, piece->buf) < 0) {
		exchange_fail(exchange, 503, "out of memory for a body");
	}
}

static void lane_drop_piece(struct policy_lane *lane)
{
	if (lane->has_piece)
		recv_buf_unref(lane->piece.buf);
	lane->has_piece = false;
	lane->piece = (struct policy_piece){.data = STR_NULL};
}

static bool lane_run(struct exchange *exchange, struct policy_flow *flow, unsigned int at);

/* The lane from `at` on that a piece stops at; the count of policies: the sink. */
static unsigned int next_stop(const struct exchange *exchange, const struct policy_flow *flow,
			      unsigned int at)
{
	unsigned int head = head_at(exchange, flow);

	while (at < head && !(flow->lanes && flow->lanes[at].takes))
		at++;
	return at;
}

static void offer(struct exchange *exchange, struct policy_flow *flow, unsigned int at,
		  const struct policy_piece *piece)
{
	at = next_stop(exchange, flow, at);
	if (at < exchange->route->policy_count) {
		lane_push(exchange, &flow->lanes[at], piece);
		(void)lane_run(exchange, flow, at);
	} else if (flow->is_response) {
		sink_response(exchange, piece);
	} else {
		sink_request(exchange, piece);
	}
}

/* Takes a reference of the file. */
static void offer_file(struct exchange *exchange, struct policy_flow *flow, unsigned int at,
		       struct send_file *file, uint64_t offset, uint64_t len)
{
	struct policy_chain *chain = exchange->chain;

	at = next_stop(exchange, flow, at);
	if (at < exchange->route->policy_count) {
		if (send_queue_push_file(&flow->lanes[at].inbox, file, offset, len) < 0)
			exchange_fail(exchange, 503, "out of memory for a body");
		else
			(void)lane_run(exchange, flow, at);
		return;
	}
	if (flow->bodyless)
		return;
	if (chain->counts_length && len > chain->left_bytes) {
		exchange_fail(exchange, 500, "a policy changed the length of the answer");
		return;
	}
	chain->left_bytes -= chain->counts_length ? len : 0;
	exchange->bytes_out += len;
	exchange->downstream->send_file(exchange, file, offset, len);
}

/* A piece of the file that stands first. False: none could be had, and the exchange has failed. */
static bool lane_read_file(struct exchange *exchange, struct policy_lane *lane,
			   struct send_file *file, uint64_t offset, size_t left)
{
	struct recv_buf *buf = policy_buffer(exchange);
	ssize_t got;

	if (!buf) {
		exchange_fail(exchange, 503, "out of memory for a body");
		return false;
	}
	got = send_file_read(file, offset, buf->data, MIN((size_t)buf->size_bytes, left));
	if (got <= 0) {
		recv_buf_unref(buf);
		exchange_fail(exchange, 500, "the file became shorter while it was sent");
		return false;
	}
	send_queue_drop(&lane->inbox, (size_t)got);
	lane->piece = (struct policy_piece){str_make(buf->data, (size_t)got), buf, false};
	lane->has_piece = true;
	return true;
}

/* What the step is to see next. False: there is nothing. */
static bool lane_next(struct exchange *exchange, struct policy_lane *lane)
{
	struct recv_buf *buf;
	struct str front = send_queue_front(&lane->inbox, &buf);
	struct send_file *file;
	uint64_t offset;

	if (lane->has_piece)
		return true;
	if (front.len) {
		file = send_queue_front_file(&lane->inbox, &offset);
		if (file)
			return lane_read_file(exchange, lane, file, offset, front.len);
		if (buf)
			recv_buf_ref(buf);
		lane->piece = (struct policy_piece){front, buf, false};
		send_queue_drop(&lane->inbox, front.len);
	} else if (lane->end_pending) {
		lane->end_pending = false;
		lane->piece = (struct policy_piece){STR(""), NULL, true};
	} else {
		return false;
	}
	lane->has_piece = true;
	return true;
}

static void head_goes_on(struct exchange *exchange, struct policy_flow *flow);

/* True: the step is through with the piece. */
static bool lane_call(struct exchange *exchange, struct policy_flow *flow, unsigned int at)
{
	struct policy_chain *chain = exchange->chain;
	const struct policy_flow *outer_flow = chain->running_flow;
	const struct policy *policy = lane_policy(exchange, flow, at);
	struct policy_lane *lane = &flow->lanes[at];
	unsigned int outer_lane = chain->running_lane, answer = flow->answer;
	void *state = lane_state(exchange, flow, at);
	enum policy_verdict verdict;

	chain->running_flow = flow;
	chain->running_lane = at;
	if (flow->is_response)
		verdict = policy->type->response_body(exchange, policy->conf, state, &lane->piece);
	else
		verdict = policy->type->request_body(exchange, policy->conf, state, &lane->piece);
	chain->running_flow = outer_flow;
	chain->running_lane = outer_lane;
	if (flow->closed || flow->answer != answer)
		return false;
	switch (verdict) {
	case POLICY_NEXT:
	case POLICY_STREAMS:
	case POLICY_HOLDS:
		return true;
	case POLICY_WAITS:
		assert(policy->type->abandon);
		lane->waits = true;
		return false;
	case POLICY_AGAIN:
		return false;
	case POLICY_ANSWERED:
		policy_flow_close(exchange, flow);
		return false;
	}
	return false;
}

static bool lane_may_run(const struct exchange *exchange, const struct policy_flow *flow,
			 unsigned int at)
{
	const struct policy_lane *lane = &flow->lanes[at];
	unsigned int head = head_at(exchange, flow);

	if (flow->closed || lane->waits || lane->running || lane->over)
		return false;
	return at < head || (at == head && flow->holds);
}

/* Of a lane whose step does not take the body: things that waited for the head. */
static bool lane_forward(struct exchange *exchange, struct policy_flow *flow, unsigned int at)
{
	struct policy_lane *lane = &flow->lanes[at];
	struct policy_piece piece;
	struct recv_buf *buf;
	uint64_t offset;
	struct send_file *file = send_queue_front_file(&lane->inbox, &offset);

	if (!lane->has_piece && file) {
		size_t len = send_queue_front(&lane->inbox, &buf).len;

		send_file_ref(file);
		send_queue_drop(&lane->inbox, len);
		offer_file(exchange, flow, at + 1, file, offset, len);
		send_file_unref(file);
		return true;
	}
	if (!lane_next(exchange, lane))
		return false;
	piece = lane->piece;
	lane->has_piece = false; /* its reference is ours now */
	offer(exchange, flow, at + 1, &piece);
	recv_buf_unref(piece.buf);
	return true;
}

/* One piece. False: nothing moved. */
static bool lane_move(struct exchange *exchange, struct policy_flow *flow, unsigned int at)
{
	struct policy_lane *lane = &flow->lanes[at];
	unsigned int answer = flow->answer;
	bool end;

	if (!lane->takes)
		return lane_forward(exchange, flow, at);
	if (sink_is_full(exchange, flow) || !lane_next(exchange, lane) ||
	    !lane_call(exchange, flow, at))
		return false;
	end = lane->piece.end;
	lane_drop_piece(lane);
	if (!end)
		return true;
	lane->over = true;
	if (flow->holds && at == head_at(exchange, flow))
		head_goes_on(exchange, flow);
	if (!flow->closed && flow->answer == answer)
		offer(exchange, flow, at + 1, &(struct policy_piece){STR(""), NULL, true});
	return true;
}

/* True: something moved. */
static bool lane_run(struct exchange *exchange, struct policy_flow *flow, unsigned int at)
{
	unsigned int answer = flow->answer;
	bool moved = false;

	while (lane_may_run(exchange, flow, at) && flow->answer == answer) {
		struct policy_lane *lane = &flow->lanes[at];
		bool again = false, more;

		lane->running = true;
		more = lane_move(exchange, flow, at);
		lane->running = false;
		if (!more && !flow->closed && flow->answer == answer && lane->takes)
			again = lane->has_piece && !lane->waits && !sink_is_full(exchange, flow);
		moved |= more || again;
		if (!more && !again)
			break;
	}
	return moved;
}

void policy_flow_run(struct exchange *exchange, struct policy_flow *flow)
{
	bool moved = flow->lanes && !flow->closed;

	while (moved) {
		moved = false;
		for (unsigned int at = exchange->route->policy_count; at-- > 0;)
			moved |= lane_run(exchange, flow, at);
		moved &= !flow->closed;
	}
}

bool policy_flow_is_blocked(const struct exchange *exchange, const struct policy_flow *flow)
{
	if (!flow->lanes || flow->closed)
		return false;
	for (unsigned int at = 0; at < exchange->route->policy_count; at++)
		if (flow->lanes[at].has_piece || !send_queue_is_empty(&flow->lanes[at].inbox))
			return true;
	return false;
}

static void abandon(struct exchange *exchange, const struct policy_flow *flow, unsigned int at)
{
	const struct policy *policy = lane_policy(exchange, flow, at);

	policy->type->abandon(exchange, policy->conf, lane_state(exchange, flow, at));
}

/* What is under way is given up. */
static void flow_clear(struct exchange *exchange, struct policy_flow *flow)
{
	unsigned int count = flow->lanes ? exchange->route->policy_count : 0;

	flow->answer++;
	if (flow->waits)
		abandon(exchange, flow, flow->head_at);
	flow->waits = flow->holds = false;
	for (unsigned int at = 0; at < count; at++) {
		struct policy_lane *lane = &flow->lanes[at];

		if (lane->waits)
			abandon(exchange, flow, at);
		lane_drop_piece(lane);
		send_queue_clear(&lane->inbox);
		lane->takes = lane->waits = lane->end_pending = lane->over = false;
	}
}

void policy_flow_close(struct exchange *exchange, struct policy_flow *flow)
{
	if (flow->closed)
		return;
	flow->closed = true;
	flow_clear(exchange, flow);
}

static void flow_wake(struct exchange *exchange, struct policy_flow *flow, const void *state)
{
	for (unsigned int at = 0; flow->lanes && at < exchange->route->policy_count; at++)
		if (lane_state(exchange, flow, at) == state)
			flow->lanes[at].waits = false;
}

/* ---- the request ---- */

void policy_request_data(struct exchange *exchange, struct str data, struct recv_buf *buf)
{
	offer(exchange, &exchange->chain->request, 0, &(struct policy_piece){data, buf, false});
}

void policy_request_end(struct exchange *exchange, const struct http_field *trailers,
			unsigned int trailer_count)
{
	struct policy_flow *flow = &exchange->chain->request;

	flow->trailers = trailers;
	flow->trailer_count = trailer_count;
	offer(exchange, flow, 0, &(struct policy_piece){STR(""), NULL, true});
}

void policy_flow_end_bodyless(struct exchange *exchange)
{
	struct policy_flow *flow = &exchange->chain->request;

	if (!flow->bodyless || !flow->lanes || flow->end_given || flow->closed)
		return;
	flow->end_given = true;
	policy_request_end(exchange, NULL, 0);
}

void policy_request_drained(struct exchange *exchange)
{
	policy_flow_run(exchange, &exchange->chain->request);
	exchange_request_flush(exchange);
}

/* ---- the answer ---- */

static void send_head(struct exchange *exchange)
{
	struct policy_chain *chain = exchange->chain;
	const struct exchange_response *head = &chain->head;
	unsigned int added_count = exchange->added_count;

	chain->response.bodyless = head->framing == HTTP_FRAMING_NONE;
	/* Where no step is in between nothing can change it, and it may go as a pipe. */
	chain->counts_length = head->framing == HTTP_FRAMING_LENGTH && chain->response.lanes;
	chain->left_bytes = head->content_length;
	exchange->status = head->status;
	exchange->head_sent = true;
	/* They are in the head; an answer in the place of this one has them, too. */
	exchange->added_count = 0;
	exchange->downstream->send_head(exchange, head);
	exchange->added_count = added_count;
}

/* False: another answer has taken its place, or it is cut. */
static bool response_heads_run(struct exchange *exchange)
{
	struct policy_chain *chain = exchange->chain;
	struct policy_flow *flow = &chain->response;
	unsigned int answer = flow->answer;

	for (; flow->head_at < exchange->route->policy_count; flow->head_at++) {
		const struct policy *policy = lane_policy(exchange, flow, flow->head_at);
		const struct policy_flow *outer_flow = chain->running_flow;
		unsigned int outer_lane = chain->running_lane;
		enum policy_verdict verdict;
		bool ok = true;

		if (!(policy->steps & POLICY_STEP_RESPONSE_HEAD))
			continue;
		chain->running_flow = flow;
		chain->running_lane = flow->head_at;
		verdict = policy->type->response_head(exchange, policy->conf,
						      lane_state(exchange, flow, flow->head_at),
						      &chain->head);
		chain->running_flow = outer_flow;
		chain->running_lane = outer_lane;
		if (flow->closed || flow->answer != answer)
			return false;
		switch (verdict) {
		case POLICY_NEXT:
			break;
		case POLICY_STREAMS:
		case POLICY_HOLDS:
			ok = policy_flow_take(exchange, flow, flow->head_at);
			flow->holds = ok && verdict == POLICY_HOLDS;
			break;
		case POLICY_WAITS:
			assert(policy->type->abandon);
			ok = policy_flow_need_lanes(exchange, flow);
			flow->waits = true;
			break;
		case POLICY_ANSWERED:
		case POLICY_AGAIN:
			exchange_fail(exchange, 500, "a policy gave no answer");
			return false;
		}
		if (!ok) {
			exchange_fail(exchange, 503, "out of memory for the answer");
			return false;
		}
		if (flow->holds || flow->waits)
			return true;
	}
	send_head(exchange);
	return !flow->closed && flow->answer == answer;
}

static void head_goes_on(struct exchange *exchange, struct policy_flow *flow)
{
	flow->holds = false;
	if (!flow->is_response) {
		exchange->policy_at++;
		policy_request_head_goes_on(exchange);
		return;
	}
	flow->head_at++;
	(void)response_heads_run(exchange);
}

void policy_emit(struct exchange *exchange, struct str data, struct recv_buf *buf)
{
	struct policy_chain *chain = exchange->chain;
	/* Const in the chain, which only tells whose turn it is. */
	struct policy_flow *flow =
		chain->running_flow == &chain->request ? &chain->request : &chain->response;
	unsigned int at = chain->running_lane;
	unsigned int answer = flow->answer;

	assert(chain->running_flow && flow->lanes);
	if (!data.len || flow->closed)
		return;
	if (flow->holds && at == head_at(exchange, flow)) {
		head_goes_on(exchange, flow);
		if (flow->closed || flow->answer != answer)
			return;
	}
	offer(exchange, flow, at + 1, &(struct policy_piece){data, buf, false});
}

bool policy_send_head(struct exchange *exchange, const struct exchange_response *response)
{
	struct policy_chain *chain = exchange->chain;
	struct policy_flow *flow = &chain->response;
	/* A step that answers in the place of the answer that it saw: behind it. */
	unsigned int from = chain->running_flow == flow ? chain->running_lane + 1 : 0;

	flow_clear(exchange, flow);
	flow->closed = false;
	flow->head_at = from;
	flow->trailers = NULL;
	flow->trailer_count = 0;
	chain->head = *response;
	if (!response_fields_own(exchange, &chain->head, exchange->added, exchange->added_count)) {
		exchange->head_sent = true; /* there is no memory to say so: it is cut */
		exchange_fail(exchange, 503, "out of memory for the answer");
		return false;
	}
	return response_heads_run(exchange);
}

bool policy_send_data(struct exchange *exchange, struct str data, struct recv_buf *buf)
{
	struct policy_flow *flow = &exchange->chain->response;
	unsigned int answer = flow->answer;

	if (flow->closed)
		return false;
	offer(exchange, flow, 0, &(struct policy_piece){data, buf, false});
	return !flow->closed && flow->answer == answer;
}

bool policy_send_file(struct exchange *exchange, struct send_file *file, uint64_t offset,
		      uint64_t len)
{
	struct policy_flow *flow = &exchange->chain->response;
	unsigned int answer = flow->answer;

	if (flow->closed)
		return false;
	offer_file(exchange, flow, 0, file, offset, len);
	return !flow->closed && flow->answer == answer;
}

void policy_send_end(struct exchange *exchange, const struct http_field *trailers,
		     unsigned int trailer_count)
{
	struct policy_flow *flow = &exchange->chain->response;

	if (flow->closed)
		return;
	flow->trailers = trailers;
	flow->trailer_count = trailer_count;
	offer(exchange, flow, 0, &(struct policy_piece){STR(""), NULL, true});
}

static void tell_source(struct exchange *exchange)
{
	if (exchange->action && exchange->action->drained &&
	    !policy_flow_is_blocked(exchange, &exchange->chain->response))
		exchange->action->drained(exchange);
}

void policy_response_drained(struct exchange *exchange)
{
	struct policy_flow *flow = &exchange->chain->response;

	if (flow->lanes && !flow->closed) {
		policy_flow_run(exchange, flow);
		exchange->downstream->flush(exchange);
	}
	tell_source(exchange);
}

void policy_chain_abort(struct exchange *exchange)
{
	policy_flow_close(exchange, &exchange->chain->request);
	policy_flow_close(exchange, &exchange->chain->response);
}

/* ---- resuming ---- */

static void resume_response(struct exchange *exchange, const void *state)
{
	struct policy_flow *flow = &exchange->chain->response;

	if (flow->closed)
		return;
	if (flow->waits && lane_state(exchange, flow, flow->head_at) == state) {
		flow->waits = false;
		if (!response_heads_run(exchange))
			return;
	}
	flow_wake(exchange, flow, state);
	policy_flow_run(exchange, flow);
	exchange->downstream->flush(exchange);
	tell_source(exchange);
}

void policy_flow_resume(struct exchange *exchange, const void *state)
{
	resume_response(exchange, state);
	if (exchange->chain->request.closed)
		return;
	flow_wake(exchange, &exchange->chain->request, state);
	policy_flow_run(exchange, &exchange->chain->request);
}

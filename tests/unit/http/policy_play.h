/*
 * policy_play: policies made up of letters, and a route of them, for tests of the chain.
 */
#ifndef SLUICE_TESTS_UNIT_POLICY_PLAY_H
#define SLUICE_TESTS_UNIT_POLICY_PLAY_H

#include "exchange_fixture.h"

#include "http/field_edit.h"
#include "http/policy.h"

#define POLICIES_MAX 4

/*
 * What a made-up policy does, step by step, one letter for each call; the last one stays. NULL: it
 * has no such step.
 *   heads:  n NEXT, s STREAMS, h HOLDS, w WAITS, x answers 418 with "tea"
 *   bodies: n emits and NEXT, d drops, g emits "+" and AGAIN, w WAITS, x answers 418, f fails with
 *           502, t emits all of it twice, e (at the end) emits "."
 */
struct play {
	const char *name;
	const char *request_head, *request_body, *response_head, *response_body;
};

static char story[256];

struct play_state {
	unsigned int calls[4];
};

static void tell(const struct play *play, const char *what, struct str data)
{
	size_t len = strlen(story);

	(void)snprintf(story + len, sizeof(story) - len, "%s%s%.*s ", play->name, what,
		       STR_FMT(data));
}

static char next_letter(const char *script, unsigned int *calls)
{
	char letter = script[MIN((size_t)*calls, strlen(script) - 1)];

	(*calls)++;
	return letter;
}

static enum policy_verdict answer_tea(struct exchange *exchange)
{
	exchange_respond(exchange, 418, NULL, 0, STR("tea"), false);
	return POLICY_ANSWERED;
}

static enum policy_verdict play_head(struct exchange *exchange, char letter)
{
	switch (letter) {
	case 's':
		return POLICY_STREAMS;
	case 'h':
		return POLICY_HOLDS;
	case 'w':
		return POLICY_WAITS;
	case 'x':
		return answer_tea(exchange);
	default:
		return POLICY_NEXT;
	}
}

static enum policy_verdict play_body(struct exchange *exchange, char letter,
				     const struct policy_piece *piece)
{
	switch (letter) {
	case 'd':
		return POLICY_NEXT;
	case 'g':
		policy_emit(exchange, STR("+"), NULL);
		return POLICY_AGAIN;
	case 'w':
		return POLICY_WAITS;
	case 'x':
		return answer_tea(exchange);
	case 'f':
		exchange_fail(exchange, 502, "spoilt");
		return POLICY_ANSWERED;
	case 't':
		policy_emit(exchange, piece->data, piece->buf);
		policy_emit(exchange, piece->data, piece->buf);
		return POLICY_NEXT;
	case 'e':
		policy_emit(exchange, piece->end ? STR(".") : piece->data, piece->buf);
		return POLICY_NEXT;
	default:
		policy_emit(exchange, piece->data, piece->buf);
		return POLICY_NEXT;
	}
}

static enum policy_verdict request_head(struct exchange *exchange, const void *conf, void *state)
{
	const struct play *play = conf;
	struct play_state *own = state;

	tell(play, ">", STR(""));
	return play_head(exchange, next_letter(play->request_head, &own->calls[0]));
}

static enum policy_verdict request_body(struct exchange *exchange, const void *conf, void *state,
					const struct policy_piece *piece)
{
	const struct play *play = conf;
	struct play_state *own = state;

	tell(play, piece->end ? ">|" : ">:", piece->data);
	return play_body(exchange, next_letter(play->request_body, &own->calls[1]), piece);
}

static enum policy_verdict response_head(struct exchange *exchange, const void *conf, void *state,
					 struct exchange_response *response)
{
	const struct play *play = conf;
	struct play_state *own = state;
	char status[8];

	(void)snprintf(status, sizeof(status), "%u", response->status);
	tell(play, "<", str_from_cstr(status));
	if (!response_field_add(exchange, response, STR("seen-by"), str_from_cstr(play->name)))
		return POLICY_NEXT;
	if (play->response_body)
		response_length_unknown(response);
	return play_head(exchange, next_letter(play->response_head, &own->calls[2]));
}

static enum policy_verdict response_body(struct exchange *exchange, const void *conf, void *state,
					 const struct policy_piece *piece)
{
	const struct play *play = conf;
	struct play_state *own = state;

	tell(play, piece->end ? "<|" : "<:", piece->data);
	return play_body(exchange, next_letter(play->response_body, &own->calls[3]), piece);
}

static unsigned int steps(const void *conf)
{
	const struct play *play = conf;

	return (play->request_head ? POLICY_STEP_REQUEST_HEAD : 0) |
	       (play->request_body ? POLICY_STEP_REQUEST_BODY : 0) |
	       (play->response_head ? POLICY_STEP_RESPONSE_HEAD : 0) |
	       (play->response_body ? POLICY_STEP_RESPONSE_BODY : 0);
}

static void abandon(struct exchange *exchange, const void *conf, void *state)
{
	tell(conf, "!", STR(""));
}

static unsigned int done_count;

static void done(struct exchange *exchange, void *state)
{
	done_count++;
}

static const struct policy_type play_type = {
	.key = "play",
	.state_bytes = sizeof(struct play_state),
	.steps = steps,
	.request_head = request_head,
	.request_body = request_body,
	.response_head = response_head,
	.response_body = response_body,
	.abandon = abandon,
	.done = done,
};

struct stage {
	struct exchange_fixture *fixture;
	struct play plays[POLICIES_MAX];
	struct policy policies[POLICIES_MAX];
	const struct policy *list[POLICIES_MAX];
};

static void stage_init(struct stage *stage, void **state)
{
	struct route *route;

	*stage = (struct stage){.fixture = *state};
	done_count = 0;
	story[0] = '\0';
	route = stage->fixture->route;
	route->policies = stage->list;
	route->policy_count = route->policy_steps = 0;
	route->respond.body = STR("page");
}

static void stage_add(struct stage *stage, struct play play)
{
	struct route *route = stage->fixture->route;
	unsigned int at = route->policy_count++;

	stage->plays[at] = play;
	stage->policies[at] =
		(struct policy){.name = STR("p"), .type = &play_type, .conf = &stage->plays[at]};
	stage->policies[at].steps = policy_find_steps(&stage->policies[at]);
	route->policy_steps |= stage->policies[at].steps;
	stage->list[at] = &stage->policies[at];
}

#endif

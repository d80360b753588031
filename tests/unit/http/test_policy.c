/* The chain of a route's policies: order, answers, waiting and its end. */
#include "exchange_fixture.h"

#include "http/local_answer.h"
#include "http/policy.h"

#define POLICIES_MAX 4

/* What a made-up policy does, and what it saw. */
struct play {
	const char *letter; /* appended to the story whenever it is asked */
	unsigned int waits; /* that many times, before its verdict */
	enum policy_verdict verdict;
	char *story;
};

static void tell(const struct play *play, const char *what)
{
	size_t len = strlen(play->story);

	(void)snprintf(play->story + len, 64 - len, "%s%s", play->letter, what);
}

static enum policy_verdict play_request_head(struct exchange *exchange, const void *conf,
					     void *state)
{
	const struct play *play = conf;
	unsigned int *waited = state;

	tell(play, "");
	if (*waited < play->waits) {
		(*waited)++;
		return POLICY_WAITS;
	}
	assert_int_equal(*waited, play->waits);
	if (play->verdict == POLICY_ANSWERED)
		local_answer_start_error(exchange, 403, "not today");
	return play->verdict;
}

static void play_abandon(struct exchange *exchange, const void *conf, void *state)
{
	assert_int_not_equal(*(unsigned int *)state, 0);
	tell(conf, "!");
}

static const struct policy_type play_type = {
	.key = "play",
	.state_bytes = sizeof(unsigned int),
	.request_head = play_request_head,
	.abandon = play_abandon,
};
static const struct policy_type idle_type = {.key = "idle"};

struct stage {
	struct exchange_fixture *fixture;
	char story[64];
	struct play plays[POLICIES_MAX];
	struct policy policies[POLICIES_MAX];
	const struct policy *list[POLICIES_MAX];
};

static void stage_init(struct stage *stage, void **state)
{
	*stage = (struct stage){.fixture = *state};
	stage->fixture->route->policies = stage->list;
	stage->fixture->route->policy_count = 0;
	stage->fixture->route->policy_steps = 0;
}

static void stage_add(struct stage *stage, const char *letter, unsigned int waits,
		      enum policy_verdict verdict)
{
	unsigned int at = stage->fixture->route->policy_count++;

	stage->plays[at] = (struct play){letter, waits, verdict, stage->story};
	stage->policies[at] =
		(struct policy){.name = STR("p"), .type = &play_type, .conf = &stage->plays[at]};
	stage->policies[at].steps = policy_find_steps(&stage->policies[at]);
	stage->fixture->route->policy_steps |= stage->policies[at].steps;
	stage->list[at] = &stage->policies[at];
}

static struct exchange *stage_begin(struct stage *stage)
{
	return exchange_fixture_begin(stage->fixture, "/a?b", NULL, 0);
}

static void test_policies_run_in_the_order_of_the_route_and_then_the_action(void **state)
{
	struct stage stage;

	stage_init(&stage, state);
	stage_add(&stage, "a", 0, POLICY_NEXT);
	stage_add(&stage, "b", 0, POLICY_NEXT);
	stage_add(&stage, "c", 0, POLICY_NEXT);
	(void)stage_begin(&stage);
	assert_string_equal(stage.story, "abc");
	assert_int_equal(stage.fixture->status, 200);
	assert_int_equal(stage.fixture->ends, 1);
}

static void test_nothing_runs_behind_a_policy_that_answers(void **state)
{
	struct stage stage;

	stage_init(&stage, state);
	stage_add(&stage, "a", 0, POLICY_NEXT);
	stage_add(&stage, "b", 0, POLICY_ANSWERED);
	stage_add(&stage, "c", 0, POLICY_NEXT);
	(void)stage_begin(&stage);
	assert_string_equal(stage.story, "ab");
	assert_int_equal(stage.fixture->status, 403);
	assert_int_equal(stage.fixture->heads, 1);
}

static void test_policy_without_a_step_is_passed_over(void **state)
{
	static const struct policy idle = {.name = STR("idle"), .type = &idle_type};
	struct stage stage;

	stage_init(&stage, state);
	stage.list[stage.fixture->route->policy_count++] = &idle;
	stage_add(&stage, "b", 0, POLICY_NEXT);
	(void)stage_begin(&stage);
	assert_string_equal(stage.story, "b");
	assert_int_equal(stage.fixture->status, 200);
}

static void test_policy_that_waits_holds_the_body_and_goes_on_where_it_was(void **state)
{
	struct exchange *exchange;
	struct stage stage;

	stage_init(&stage, state);
	stage_add(&stage, "a", 0, POLICY_NEXT);
	stage_add(&stage, "b", 2, POLICY_NEXT);
	stage_add(&stage, "c", 1, POLICY_NEXT);
	exchange = stage_begin(&stage);
	assert_string_equal(stage.story, "ab");
	assert_true(exchange_request_blocked(exchange));
	assert_int_equal(stage.fixture->heads, 0);
	exchange_policy_resume(exchange, exchange->policy_states[1]);
	assert_string_equal(stage.story, "abb");
	assert_true(exchange_request_blocked(exchange));
	exchange_policy_resume(exchange, exchange->policy_states[1]);
	assert_string_equal(stage.story, "abbbc"); /* and c waits with a state of its own */
	assert_int_equal(stage.fixture->heads, 0);
	exchange_policy_resume(exchange,
			       exchange->policy_states[1]); /* it does not wait any more */
	assert_string_equal(stage.story, "abbbc");
	exchange_policy_resume(exchange, exchange->policy_states[2]);
	assert_string_equal(stage.story, "abbbcc");
	assert_int_equal(stage.fixture->status, 200);
	assert_int_equal(stage.fixture->resumes, 4);
	assert_false(exchange_request_blocked(exchange));
}

static void test_policy_may_answer_after_it_waited(void **state)
{
	struct exchange *exchange;
	struct stage stage;

	stage_init(&stage, state);
	stage_add(&stage, "a", 1, POLICY_ANSWERED);
	stage_add(&stage, "b", 0, POLICY_NEXT);
	exchange = stage_begin(&stage);
	exchange_policy_resume(exchange, exchange->policy_states[0]);
	assert_string_equal(stage.story, "aa");
	assert_int_equal(stage.fixture->status, 403);
	assert_int_equal(stage.fixture->heads, 1);
	exchange_fixture_end(stage.fixture); /* nothing is abandoned: it has answered */
	assert_string_equal(stage.story, "aa");
}

static void test_policy_that_waits_is_told_when_the_client_leaves(void **state)
{
	struct stage stage;

	stage_init(&stage, state);
	stage_add(&stage, "a", 1, POLICY_NEXT);
	stage_add(&stage, "b", 0, POLICY_NEXT);
	(void)stage_begin(&stage);
	exchange_fixture_end(stage.fixture);
	assert_string_equal(stage.story, "aa!");
	assert_int_equal(stage.fixture->heads, 0);
}

static void test_request_that_grows_too_old_while_it_waits_gets_its_answer(void **state)
{
	struct stage stage;

	stage_init(&stage, state);
	stage.fixture->listener.request_timeout_ms = 20;
	stage_add(&stage, "a", 1, POLICY_NEXT);
	(void)stage_begin(&stage);
	while (!stage.fixture->heads)
		assert_int_equal(loop_run_once(stage.fixture->loop, 100), 0);
	assert_string_equal(stage.story, "aa!");
	assert_int_equal(stage.fixture->status, 504);
	exchange_fixture_end(stage.fixture); /* told once */
	assert_string_equal(stage.story, "aa!");
}

static void test_end_of_a_body_that_comes_while_a_policy_waits_is_not_lost(void **state)
{
	struct exchange *exchange;
	struct stage stage;

	stage_init(&stage, state);
	stage_add(&stage, "a", 1, POLICY_NEXT);
	exchange = exchange_fixture_post(stage.fixture, "/a", NULL, 0);
	assert_true(exchange_request_blocked(exchange));
	exchange_request_end(exchange, NULL, 0); /* nothing to hold back came before it */
	exchange_request_flush(exchange);
	assert_int_equal(stage.fixture->heads, 0);
	exchange_policy_resume(exchange, exchange->policy_states[0]);
	assert_int_equal(stage.fixture->status, 200);
	assert_int_equal(stage.fixture->ends, 1);
}

static void test_route_without_policies_goes_straight_to_its_action(void **state)
{
	struct stage stage;

	stage_init(&stage, state);
	(void)stage_begin(&stage);
	assert_int_equal(stage.fixture->status, 200);
}

#define with_worker(test)                                                                          \
	cmocka_unit_test_setup_teardown(test, exchange_fixture_setup, exchange_fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_worker(test_policies_run_in_the_order_of_the_route_and_then_the_action),
		with_worker(test_nothing_runs_behind_a_policy_that_answers),
		with_worker(test_policy_without_a_step_is_passed_over),
		with_worker(test_policy_that_waits_holds_the_body_and_goes_on_where_it_was),
		with_worker(test_policy_may_answer_after_it_waited),
		with_worker(test_policy_that_waits_is_told_when_the_client_leaves),
		with_worker(test_request_that_grows_too_old_while_it_waits_gets_its_answer),
		with_worker(test_end_of_a_body_that_comes_while_a_policy_waits_is_not_lost),
		with_worker(test_route_without_policies_goes_straight_to_its_action),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

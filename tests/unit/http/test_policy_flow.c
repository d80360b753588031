/* Bodies and answers on their way through the steps of policies. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "policy_play.h"

#include "http/policy_flow.h"

static struct exchange *get(struct stage *stage)
{
	return exchange_fixture_begin(stage->fixture, "/", NULL, 0);
}

static struct exchange *post(struct stage *stage)
{
	return exchange_fixture_post(stage->fixture, "/", NULL, 0);
}

static void give(struct exchange *exchange, const char *data)
{
	exchange_request_data(exchange, str_from_cstr(data), NULL);
}

static void end(struct exchange *exchange)
{
	exchange_request_end(exchange, NULL, 0);
	exchange_request_flush(exchange);
}

static void resume(struct exchange *exchange, unsigned int policy)
{
	exchange_policy_resume(exchange, exchange->policy_states[policy]);
}

/* What an upstream would say, in pieces. */
static bool answer_begins(struct exchange *exchange, enum http_framing framing, uint64_t length)
{
	const struct exchange_response response = {
		.status = 203,
		.framing = framing,
		.content_length = length,
		.has_content_length = framing == HTTP_FRAMING_LENGTH,
	};

	return exchange_send_head(exchange, &response);
}

static unsigned int drained_count, aborted_count;
static char sunk[256];

static void source_drained(struct exchange *exchange)
{
	drained_count++;
}

static void source_abort(struct exchange *exchange)
{
	aborted_count++;
}

static void source_data(struct exchange *exchange, struct str data, struct recv_buf *buf)
{
	size_t len = strlen(sunk);

	(void)snprintf(sunk + len, sizeof(sunk) - len, "%.*s", STR_FMT(data));
}

static void source_end(struct exchange *exchange, const struct http_field *trailers,
		       unsigned int trailer_count)
{
	size_t len = strlen(sunk);

	(void)snprintf(sunk + len, sizeof(sunk) - len, "|%u", trailer_count);
}

static bool source_is_full;

static bool source_blocked(const struct exchange *exchange)
{
	return source_is_full;
}

static const struct exchange_action source = {
	.request_data = source_data,
	.request_end = source_end,
	.request_blocked = source_blocked,
	.drained = source_drained,
	.abort = source_abort,
};

/* An exchange whose action is the test: a POST, since its own action waits for the body. */
static struct exchange *with_source(struct stage *stage)
{
	struct exchange *exchange = post(stage);

	exchange->action = &source;
	drained_count = aborted_count = 0;
	source_is_full = false;
	sunk[0] = '\0';
	return exchange;
}

/* ---- order ---- */

static void test_answers_go_through_the_policies_the_last_one_first(void **state)
{
	struct stage stage;

	stage_init(&stage, state);
	stage_add(&stage, (struct play){"a", .request_head = "n", .response_head = "n"});
	stage_add(&stage, (struct play){"b", .response_head = "n"});
	stage_add(&stage, (struct play){"c", .request_head = "n", .response_head = "n"});
	(void)get(&stage);
	assert_string_equal(story, "a> c> c<200 b<200 a<200 ");
	assert_non_null(strstr(stage.fixture->fields, "seen-by: c\nseen-by: b\nseen-by: a\n"));
	assert_string_equal(stage.fixture->body, "page");
	assert_int_equal(stage.fixture->ends, 1);
}

static void test_what_a_policy_refuses_goes_through_the_answers_of_all(void **state)
{
	struct stage stage;

	stage_init(&stage, state);
	stage_add(&stage, (struct play){"a", .response_head = "n"});
	stage_add(&stage, (struct play){"b", .request_head = "x"});
	stage_add(&stage, (struct play){"c", .request_head = "n", .response_head = "n"});
	(void)get(&stage);
	assert_string_equal(story, "b> c<418 a<418 ");
	assert_int_equal(stage.fixture->status, 418);
	assert_string_equal(stage.fixture->body, "tea");
}

static void test_error_pages_go_through_the_answers(void **state)
{
	struct exchange *exchange;
	struct stage stage;

	stage_init(&stage, state);
	stage_add(&stage, (struct play){"a", .response_head = "n"});
	exchange = with_source(&stage);
	exchange_fail(exchange, 504, "too late");
	assert_string_equal(story, "a<504 ");
	assert_int_equal(stage.fixture->status, 504);
	assert_int_equal(aborted_count, 1);
}

static void test_fields_that_were_added_are_seen_by_the_answers_and_sent_once(void **state)
{
	struct exchange *exchange;
	struct stage stage;

	stage_init(&stage, state);
	stage_add(&stage, (struct play){"a", .response_head = "n"});
	exchange = with_source(&stage);
	exchange->added[exchange->added_count++] =
		(struct http_field){STR("ratelimit"), STR("1"), HTTP_FIELD_OTHER};
	assert_true(answer_begins(exchange, HTTP_FRAMING_NONE, 0));
	assert_string_equal(stage.fixture->fields, "ratelimit: 1\nseen-by: a\n");
	assert_string_equal(stage.fixture->added, "");
}

/* ---- bodies ---- */

static void test_bodies_go_through_the_steps_that_want_them(void **state)
{
	struct exchange *exchange;
	struct stage stage;

	stage_init(&stage, state);
	stage_add(&stage, (struct play){"a", "s", "n", "s", "e"});
	stage_add(&stage, (struct play){"b", "n", "n", "n", "n"}); /* asked, and not interested */
	stage_add(&stage, (struct play){"c", "s", "t", "s", "n"});
	exchange = with_source(&stage);
	give(exchange, "12");
	end(exchange);
	assert_string_equal(story, "a> b> c> a>:12 c>:12 a>| c>| ");
	assert_string_equal(sunk, "1212|0");
	assert_true(answer_begins(exchange, HTTP_FRAMING_LENGTH, 4));
	assert_true(exchange_send_data(exchange, STR("ab"), NULL));
	assert_true(exchange_send_data(exchange, STR("cd"), NULL));
	exchange_send_end(exchange, NULL, 0);
	assert_string_equal(stage.fixture->body, "abcd.");
	assert_int_equal(stage.fixture->ends, 1);
	assert_true(exchange->response_done);
	assert_int_equal(exchange->bytes_out, 5);
}

static void test_pipes_are_for_answers_that_no_step_reads(void **state)
{
	struct exchange *exchange;
	struct stage stage;

	stage_init(&stage, state);
	stage_add(&stage, (struct play){"a", .response_head = "n", .response_body = "n"});
	exchange = with_source(&stage);
	(void)answer_begins(exchange, HTTP_FRAMING_NONE, 0);
	assert_true(exchange_takes_pipes(exchange));
	exchange = with_source(&stage);
	(void)answer_begins(exchange, HTTP_FRAMING_LENGTH, 5);
	exchange_send_end(exchange, NULL, 0); /* the five bytes went by in a pipe */
	assert_int_equal(stage.fixture->ends, 1);
	assert_int_equal(stage.fixture->aborts, 0);
	stage.plays[0].response_head = "s";
	exchange = with_source(&stage);
	(void)answer_begins(exchange, HTTP_FRAMING_NONE, 0);
	assert_false(exchange_takes_pipes(exchange));
}

static void test_request_without_a_body_ends_once_and_takes_no_bytes(void **state)
{
	struct stage stage;

	stage_init(&stage, state);
	stage_add(&stage, (struct play){"a", .request_head = "h", .request_body = "e"});
	stage_add(&stage, (struct play){"b", .request_head = "s", .request_body = "n"});
	(void)get(&stage);
	/* The whole answer was there before the second had its turn. */
	assert_string_equal(story, "a> a>| b> ");
	assert_int_equal(stage.fixture->status, 200);
	assert_int_equal(stage.fixture->heads, 1);
	assert_string_equal(stage.fixture->body, "page");
}

static void test_answer_without_a_body_takes_no_bytes(void **state)
{
	struct exchange *exchange;
	struct stage stage;

	stage_init(&stage, state);
	stage_add(&stage, (struct play){"a", .response_head = "s", .response_body = "e"});
	exchange = with_source(&stage);
	assert_true(answer_begins(exchange, HTTP_FRAMING_NONE, 0));
	exchange_send_end(exchange, NULL, 0);
	assert_string_equal(story, "a<203 a<| ");
	assert_string_equal(stage.fixture->body, "");
	assert_int_equal(stage.fixture->ends, 1);
}

static void test_trailers_go_around_the_steps(void **state)
{
	static const struct http_field trailer = {STR("t"), STR("v"), HTTP_FIELD_OTHER};
	struct exchange *exchange;
	struct stage stage;

	stage_init(&stage, state);
	stage_add(&stage, (struct play){"a", .request_head = "s", .request_body = "n"});
	exchange = with_source(&stage);
	exchange_request_end(exchange, &trailer, 1);
	assert_string_equal(sunk, "|1");
}

static void test_step_that_breaks_the_announced_length_cuts_the_answer(void **state)
{
	struct exchange *exchange;
	struct stage stage;

	stage_init(&stage, state);
	stage_add(&stage, (struct play){"a", .request_head = "n", .response_head = "s",
					.response_body = "t"});
	exchange = with_source(&stage);
	/* As if it had not said so. */
	assert_true(answer_begins(exchange, HTTP_FRAMING_CHUNKED, 0));
	exchange->chain->counts_length = true;
	exchange->chain->left_bytes = 3;
	assert_false(exchange_send_data(exchange, STR("ab"), NULL));
	assert_int_equal(stage.fixture->aborts, 1);
	assert_string_equal(stage.fixture->body, "ab");
	assert_int_equal(stage.fixture->ends, 0);
}

/* ---- holding ---- */

static void test_request_is_held_until_its_body_is_known(void **state)
{
	struct exchange *exchange;
	struct stage stage;

	stage_init(&stage, state);
	stage_add(&stage, (struct play){"a", .request_head = "h", .request_body = "dde"});
	stage_add(&stage, (struct play){"b", .request_head = "n"});
	exchange = post(&stage);
	give(exchange, "1");
	give(exchange, "2");
	assert_string_equal(story, "a> a>:1 a>:2 ");
	assert_false(exchange_request_blocked(exchange));
	end(exchange);
	assert_string_equal(story, "a> a>:1 a>:2 a>| b> ");
	assert_int_equal(stage.fixture->status, 200);
}

static void test_request_whose_body_is_refused_never_reaches_the_action(void **state)
{
	struct exchange *exchange;
	struct stage stage;

	stage_init(&stage, state);
	stage_add(&stage, (struct play){"a", .request_head = "h", .request_body = "dx",
					.response_head = "n"});
	stage_add(&stage, (struct play){"b", .request_head = "n"});
	exchange = post(&stage);
	give(exchange, "1");
	end(exchange);
	assert_string_equal(story, "a> a>:1 a>| a<418 ");
	assert_int_equal(stage.fixture->status, 418);
	assert_int_equal(stage.fixture->ends, 1);
}

static void test_client_that_asks_first_is_told_to_send_what_a_policy_wants(void **state)
{
	struct exchange *exchange;
	struct stage stage;

	stage_init(&stage, state);
	stage_add(&stage, (struct play){"a", .request_head = "wh", .request_body = "n"});
	exchange = post(&stage);
	exchange->request.expect_continue = true;
	resume(exchange, 0);
	assert_int_equal(stage.fixture->informationals, 1);
	assert_false(exchange->request.expect_continue);
}

static void test_answer_is_held_until_the_first_byte_that_goes_on(void **state)
{
	struct exchange *exchange;
	struct stage stage;

	stage_init(&stage, state);
	stage_add(&stage, (struct play){"a", .response_head = "n"});
	stage_add(&stage, (struct play){"b", .response_head = "h", .response_body = "dn"});
	exchange = with_source(&stage);
	assert_true(answer_begins(exchange, HTTP_FRAMING_CHUNKED, 0));
	assert_true(exchange_send_data(exchange, STR("1"), NULL));
	assert_int_equal(stage.fixture->heads, 0);
	assert_false(exchange->head_sent);
	assert_true(exchange_send_data(exchange, STR("2"), NULL));
	assert_string_equal(story, "b<203 b<:1 b<:2 a<203 ");
	assert_int_equal(stage.fixture->heads, 1);
	exchange_send_end(exchange, NULL, 0);
	assert_string_equal(stage.fixture->body, "2");
}

static void test_held_answer_is_replaced_through_the_steps_before_it(void **state)
{
	static const char *const letters[] = {"x", "f"};
	static const char *const stories[] = {"c<203 b<203 b<:1 a<418 ", "c<203 b<203 b<:1 a<502 "};

	for (unsigned int i = 0; i < ARRAY_SIZE(letters); i++) {
		struct exchange *exchange;
		struct stage stage;

		stage_init(&stage, state);
		stage_add(&stage, (struct play){"a", .response_head = "s", .response_body = "n"});
		stage_add(&stage,
			  (struct play){"b", .response_head = "h", .response_body = letters[i]});
		stage_add(&stage, (struct play){"c", .response_head = "n"});
		exchange = with_source(&stage);
		assert_true(answer_begins(exchange, HTTP_FRAMING_CHUNKED, 0));
		assert_false(exchange_send_data(exchange, STR("1"), NULL));
		assert_row(letters[i], !strncmp(story, stories[i], strlen(stories[i])));
		assert_int_equal(stage.fixture->heads, 1);
		assert_int_equal(stage.fixture->ends, 1);
		assert_int_equal(aborted_count, 1);
		assert_null(strchr(stage.fixture->body, '1'));
		/* Who still has the old one in hand is told that nobody wants it. */
		assert_true(exchange->response_done);
	}
}

static void test_answer_may_be_replaced_by_who_sees_its_head(void **state)
{
	struct exchange *exchange;
	struct stage stage;

	stage_init(&stage, state);
	stage_add(&stage, (struct play){"a", .response_head = "s", .response_body = "n"});
	stage_add(&stage, (struct play){"b", .response_head = "x"});
	exchange = with_source(&stage);
	assert_false(answer_begins(exchange, HTTP_FRAMING_CHUNKED, 0));
	assert_string_equal(story, "b<203 a<418 a<:tea a<| ");
	assert_string_equal(stage.fixture->body, "tea");
	assert_int_equal(stage.fixture->heads, 1);
	assert_int_equal(aborted_count, 1);
}

static void test_upstream_that_breaks_while_its_answer_is_held_becomes_an_error(void **state)
{
	struct exchange *exchange;
	struct stage stage;

	stage_init(&stage, state);
	stage_add(&stage, (struct play){"a", .response_head = "hn", .response_body = "d"});
	exchange = with_source(&stage);
	assert_true(answer_begins(exchange, HTTP_FRAMING_CHUNKED, 0));
	assert_true(exchange_send_data(exchange, STR("1"), NULL));
	exchange->action = NULL;
	exchange_fail(exchange, 502, "it broke");
	assert_string_equal(story, "a<203 a<:1 a<502 ");
	assert_int_equal(stage.fixture->status, 502);
	assert_int_equal(stage.fixture->heads, 1);
}

static void test_answer_that_has_begun_is_cut_when_a_step_fails(void **state)
{
	struct exchange *exchange;
	struct stage stage;

	stage_init(&stage, state);
	stage_add(&stage, (struct play){"a", .response_head = "s", .response_body = "nf"});
	exchange = with_source(&stage);
	assert_true(answer_begins(exchange, HTTP_FRAMING_CHUNKED, 0));
	assert_true(exchange_send_data(exchange, STR("1"), NULL));
	assert_false(exchange_send_data(exchange, STR("2"), NULL));
	assert_int_equal(stage.fixture->aborts, 1);
	assert_int_equal(stage.fixture->heads, 1);
	assert_int_equal(aborted_count, 1);
	assert_false(exchange_send_data(exchange, STR("3"), NULL));
	assert_string_equal(stage.fixture->body, "1");
}

/* ---- waiting and back-pressure ---- */

static void test_answer_waits_with_its_body_behind_it(void **state)
{
	struct exchange *exchange;
	struct stage stage;

	stage_init(&stage, state);
	stage_add(&stage, (struct play){"a", .response_head = "n"});
	stage_add(&stage, (struct play){"b", .response_head = "wwn"});
	exchange = with_source(&stage);
	assert_true(answer_begins(exchange, HTTP_FRAMING_LENGTH, 3));
	assert_true(exchange_send_data(exchange, STR("1"), NULL));
	assert_true(exchange_queued(exchange) > UPSTREAM_HIGH_WATER);
	assert_true(exchange_send_data(exchange, STR("23"), NULL));
	exchange->action = NULL; /* as an upstream does that has said all */
	exchange_send_end(exchange, NULL, 0);
	resume(exchange, 1);
	assert_int_equal(stage.fixture->heads, 0);
	assert_false(exchange->response_done);
	resume(exchange, 1);
	assert_string_equal(story, "b<203 b<203 b<203 a<203 ");
	assert_string_equal(stage.fixture->body, "123");
	assert_int_equal(stage.fixture->ends, 1);
	resume(exchange, 1); /* nobody waits */
	assert_int_equal(stage.fixture->ends, 1);
}

static void test_body_waits_in_front_of_its_step_and_keeps_its_order(void **state)
{
	struct exchange *exchange;
	struct stage stage;

	stage_init(&stage, state);
	stage_add(&stage, (struct play){"a", "s", "wwn", "s", "nwn"});
	exchange = with_source(&stage);
	give(exchange, "1");
	assert_true(exchange_request_blocked(exchange));
	give(exchange, "2");
	end(exchange);
	resume(exchange, 0);
	assert_string_equal(sunk, "");
	resume(exchange, 0);
	assert_string_equal(sunk, "12|0");
	assert_string_equal(story, "a> a>:1 a>:1 a>:1 a>:2 a>| ");
	assert_false(exchange_request_blocked(exchange));
	story[0] = '\0';
	assert_true(answer_begins(exchange, HTTP_FRAMING_CHUNKED, 0));
	assert_true(exchange_send_data(exchange, STR("3"), NULL));
	assert_true(exchange_send_data(exchange, STR("4"), NULL));
	assert_true(exchange_send_data(exchange, STR("5"), NULL));
	drained_count = 0;
	resume(exchange, 0);
	assert_string_equal(story, "a<203 a<:3 a<:4 a<:4 a<:5 ");
	assert_string_equal(stage.fixture->body, "345");
	assert_int_equal(drained_count, 1);
}

static void test_step_is_not_asked_while_there_is_no_room_behind_it(void **state)
{
	struct exchange *exchange;
	struct stage stage;

	stage_init(&stage, state);
	stage_add(&stage, (struct play){"a", "s", "n", "s", "gggn"});
	exchange = with_source(&stage);
	assert_true(answer_begins(exchange, HTTP_FRAMING_CHUNKED, 0));
	stage.fixture->queued = SIZE_MAX;
	assert_true(exchange_send_data(exchange, STR("1"), NULL));
	assert_string_equal(story, "a> a<203 ");
	assert_true(exchange_queued(exchange) > UPSTREAM_HIGH_WATER);
	exchange_drained(exchange); /* and full again before anything could go */
	assert_int_equal(drained_count, 0);
	stage.fixture->queued = 0;
	exchange_drained(exchange);
	assert_string_equal(story, "a> a<203 a<:1 a<:1 a<:1 a<:1 ");
	assert_string_equal(stage.fixture->body, "+++1");
	assert_int_equal(drained_count, 1);
	/* The same towards the upstream. */
	source_is_full = true;
	give(exchange, "x");
	assert_string_equal(sunk, "");
	assert_true(exchange_request_blocked(exchange));
	source_is_full = false;
	exchange_resume_request(exchange);
	assert_string_equal(sunk, "x");
	assert_false(exchange_request_blocked(exchange));
	assert_int_equal(stage.fixture->resumes, 1);
}

static void test_steps_that_wait_are_abandoned_when_the_client_leaves(void **state)
{
	struct exchange *exchange;
	struct stage stage;

	stage_init(&stage, state);
	stage_add(&stage, (struct play){"a", .response_head = "w"});
	stage_add(&stage, (struct play){"b", "s", "w", "s", "w"});
	exchange = with_source(&stage);
	give(exchange, "1");
	assert_true(answer_begins(exchange, HTTP_FRAMING_CHUNKED, 0));
	assert_true(exchange_send_data(exchange, STR("2"), NULL));
	story[0] = '\0';
	exchange_fixture_end(stage.fixture);
	assert_string_equal(story, "b! a! b! ");
	assert_int_equal(aborted_count, 1);
	assert_int_equal(done_count, 2);
}

static void test_request_that_a_step_refuses_late_takes_no_more_of_its_body(void **state)
{
	struct exchange *exchange;
	struct stage stage;

	stage_init(&stage, state);
	stage_add(&stage, (struct play){"a", .request_head = "s", .request_body = "nx"});
	exchange = with_source(&stage);
	give(exchange, "1");
	give(exchange, "2");
	give(exchange, "3");
	end(exchange);
	assert_string_equal(sunk, "1");
	assert_int_equal(stage.fixture->status, 418);
	assert_int_equal(aborted_count, 1);
	assert_int_equal(stage.fixture->ends, 1);
}

/* ---- files ---- */

static void test_file_is_read_for_a_step_piece_by_piece_as_there_is_room(void **state)
{
	enum { FILE_BYTES = 100000 };
	struct send_file *file;
	struct exchange *exchange;
	struct stage stage;
	char *content = malloc(FILE_BYTES), *path;

	assert_non_null(content);
	memset(content, 'f', FILE_BYTES);
	path = test_file_make("f", str_make(content, FILE_BYTES));
	stage_init(&stage, state);
	stage_add(&stage, (struct play){"a", .response_head = "n"});
	stage_add(&stage, (struct play){"b", .response_head = "s", .response_body = "n"});
	exchange = with_source(&stage);
	file = send_file_new(&exchange->worker->segments, open(path, O_RDONLY));
	assert_non_null(file);
	assert_true(answer_begins(exchange, HTTP_FRAMING_LENGTH, FILE_BYTES + 1));
	stage.fixture->queued = SIZE_MAX;
	assert_true(exchange_send_file(exchange, file, 1000, FILE_BYTES - 1000));
	assert_true(exchange_send_data(exchange, STR("z"), NULL));
	send_file_unref(file);
	exchange->action = NULL;
	exchange_send_end(exchange, NULL, 0);
	assert_int_equal(stage.fixture->body_bytes, 0);
	stage.fixture->queued = 0;
	exchange_drained(exchange);
	assert_int_equal(stage.fixture->body_bytes, FILE_BYTES - 1000 + 1);
	assert_int_equal(stage.fixture->body[0], 'f');
	assert_int_equal(stage.fixture->ends, 1);
	/* Behind a head that waited, where nobody reads it, it goes as a file. */
	stage.plays[0].response_head = "wn";
	stage.plays[1].response_head = "n";
	exchange = with_source(&stage);
	file = send_file_new(&exchange->worker->segments, open(path, O_RDONLY));
	assert_true(answer_begins(exchange, HTTP_FRAMING_CHUNKED, 0));
	assert_true(exchange_send_file(exchange, file, 0, FILE_BYTES));
	send_file_unref(file);
	assert_int_equal(stage.fixture->body_bytes, 0);
	resume(exchange, 0);
	assert_int_equal(stage.fixture->body_bytes, FILE_BYTES);
	assert_int_equal(stage.fixture->body[0], 0);
	test_file_remove(path);
	free(content);
}

static void test_file_that_became_shorter_is_an_error_that_shows(void **state)
{
	struct send_file *file;
	struct exchange *exchange;
	struct stage stage;
	char *path = test_file_make("f", STR("abc"));

	stage_init(&stage, state);
	stage_add(&stage, (struct play){"b", .response_head = "s", .response_body = "n"});
	exchange = with_source(&stage);
	file = send_file_new(&exchange->worker->segments, open(path, O_RDONLY));
	assert_true(answer_begins(exchange, HTTP_FRAMING_LENGTH, 10));
	assert_false(exchange_send_file(exchange, file, 0, 10));
	send_file_unref(file);
	assert_int_equal(stage.fixture->aborts, 1);
	test_file_remove(path);
}

/* ---- memory and ends ---- */

static void test_done_comes_once_however_it_ended(void **state)
{
	struct stage stage;

	stage_init(&stage, state);
	stage_add(&stage, (struct play){"a", .request_head = "x"});
	stage_add(&stage, (struct play){"b", .request_head = "n"});
	(void)get(&stage);
	assert_int_equal(done_count, 0);
	exchange_fixture_end(stage.fixture);
	assert_int_equal(done_count, 2); /* also of who was not asked */
}

static int run_all(void *arg)
{
	struct stage *stage = arg;
	struct exchange_fixture *fixture = stage->fixture;
	struct exchange *exchange;
	bool whole;

	story[0] = '\0';
	/* The struct is kept from before, its memory is not; and each piece of it is asked for. */
	fixture->worker->free_exchanges->arena.chunk_bytes = 16;
	arena_done(&fixture->worker->free_exchanges->arena);
	send_segment_cache_trim(&fixture->worker->segments);
	exchange = exchange_fixture_post(fixture, "/", NULL, 0);
	give(exchange, "1");
	give(exchange, "2");
	if (exchange->policy_states)
		exchange_policy_resume(exchange, exchange->policy_states[1]);
	end(exchange);
	if (exchange->policy_states)
		exchange_policy_resume(exchange, exchange->policy_states[1]);
	whole = fixture->status == 200 && fixture->ends == 1 && fixture->body_bytes == 5;
	exchange_fixture_end(fixture);
	/* Whatever failed: one answer, or a cut one. */
	assert_true(whole || fixture->heads + fixture->aborts >= 1);
	assert_true(fixture->heads <= 1);
	return whole ? 0 : -ENOMEM;
}

static void test_each_allocation_may_fail(void **state)
{
	struct stage stage;

	stage_init(&stage, state);
	stage_add(&stage, (struct play){"a", "h", "ne", "h", "de"});
	stage_add(&stage, (struct play){"b", "wn", NULL, "wn", "n"});
	stage_add(&stage, (struct play){"c", "s", "t", "s", "t"});
	(void)get(&stage);
	exchange_fixture_end(stage.fixture);
	assert_true(test_failing_each_allocation(run_all, &stage) >= 8);
	assert_int_equal(run_all(&stage), 0);
}

#define with_worker(test)                                                                          \
	cmocka_unit_test_setup_teardown(test, exchange_fixture_setup, exchange_fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_worker(test_answers_go_through_the_policies_the_last_one_first),
		with_worker(test_what_a_policy_refuses_goes_through_the_answers_of_all),
		with_worker(test_error_pages_go_through_the_answers),
		with_worker(test_fields_that_were_added_are_seen_by_the_answers_and_sent_once),
		with_worker(test_bodies_go_through_the_steps_that_want_them),
		with_worker(test_pipes_are_for_answers_that_no_step_reads),
		with_worker(test_request_without_a_body_ends_once_and_takes_no_bytes),
		with_worker(test_answer_without_a_body_takes_no_bytes),
		with_worker(test_trailers_go_around_the_steps),
		with_worker(test_step_that_breaks_the_announced_length_cuts_the_answer),
		with_worker(test_request_is_held_until_its_body_is_known),
		with_worker(test_request_whose_body_is_refused_never_reaches_the_action),
		with_worker(test_client_that_asks_first_is_told_to_send_what_a_policy_wants),
		with_worker(test_answer_is_held_until_the_first_byte_that_goes_on),
		with_worker(test_held_answer_is_replaced_through_the_steps_before_it),
		with_worker(test_answer_may_be_replaced_by_who_sees_its_head),
		with_worker(test_upstream_that_breaks_while_its_answer_is_held_becomes_an_error),
		with_worker(test_answer_that_has_begun_is_cut_when_a_step_fails),
		with_worker(test_answer_waits_with_its_body_behind_it),
		with_worker(test_body_waits_in_front_of_its_step_and_keeps_its_order),
		with_worker(test_step_is_not_asked_while_there_is_no_room_behind_it),
		with_worker(test_steps_that_wait_are_abandoned_when_the_client_leaves),
		with_worker(test_request_that_a_step_refuses_late_takes_no_more_of_its_body),
		with_worker(test_file_is_read_for_a_step_piece_by_piece_as_there_is_room),
		with_worker(test_file_that_became_shorter_is_an_error_that_shows),
		with_worker(test_done_comes_once_however_it_ended),
		with_worker(test_each_allocation_may_fail),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

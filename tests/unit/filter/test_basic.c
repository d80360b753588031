/* Callers with user and password: the file, what is refused, and that it is found out elsewhere. */
#include "auth_stage.h"

#include "filter/basic.h"
#include "io/work_pool.h"

/* openssl passwd -apr1: "secret" and "other" */
#define ANN	  "ann:$apr1$annsalt$bfsUQOrU7HMOfweTqe8P8/\n"
#define BOB	  "bob:$apr1$bobsalt$wMVO08dpLyeZh0HDiaO0p.\n"
#define FILE_TEXT "# staff\n\n" ANN BOB
#define POLICY(inside)                                                                             \
	"{ name: p, basic: { realm: staff, htpasswd: { file: htpasswd }" inside " } }"

/* "ann:secret" and so on, by base64(1) */
#define ANN_SECRET "YW5uOnNlY3JldA=="
#define ANN_WRONG  "YW5uOndyb25n"
#define EVE_SECRET "ZXZlOnNlY3JldA=="

struct basic_stage {
	struct auth_stage stage;
	struct work_pool *pool;
};

static void begin(struct basic_stage *stage, const char *policies, unsigned int queue_max)
{
	struct error err = {0};

	config_write_file("htpasswd", FILE_TEXT);
	auth_stage_begin(&stage->stage, policies);
	assert_int_equal(work_pool_new(1, queue_max, NULL, &stage->pool, &err), 0);
	stage->stage.fixture->worker->work = stage->pool;
}

static void end(struct basic_stage *stage)
{
	auth_stage_end(&stage->stage);
	work_pool_free(stage->pool);
}

/* Lets the thread and the loop come to an end with it. */
static unsigned int ask(struct basic_stage *stage, const char *credentials, bool *ret_waited)
{
	struct exchange_fixture *fixture = stage->stage.fixture;
	char value[1024];

	(void)snprintf(value, sizeof(value), "Basic %s", credentials);
	(void)auth_stage_ask(&stage->stage, "/", "authorization", value);
	*ret_waited = !fixture->heads;
	while (!fixture->heads)
		assert_int_equal(loop_run_once(fixture->loop, 1000), 0);
	return fixture->status;
}

static void test_right_password_is_checked_once_and_then_remembered(void **state)
{
	struct basic_stage stage;
	bool waited;

	begin(&stage, POLICY(", forward: x-user"), 4);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(ask(&stage, ANN_SECRET, &waited), 200);
		assert_int_equal(waited, i == 0);
		assert_string_equal(auth_stage_fields(&stage.stage), "x-user: ann\n");
		assert_str(identity_consumer(&stage.stage.fixture->exchange->identity), "ann");
	}
	end(&stage);
	begin(&stage, POLICY(", cached_for: 0s, keep_credentials: true"), 4);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(ask(&stage, ANN_SECRET, &waited), 200);
		assert_true(waited);
	}
	assert_string_equal(auth_stage_fields(&stage.stage),
			    "authorization: Basic " ANN_SECRET "\n");
	end(&stage);
}

static void test_wrong_password_and_unknown_user_are_alike(void **state)
{
	static const char *const credentials[] = {ANN_WRONG, EVE_SECRET};
	struct basic_stage stage;
	bool waited;

	begin(&stage, POLICY(""), 4);
	assert_int_equal(ask(&stage, ANN_SECRET, &waited), 200);
	for (size_t i = 0; i < ARRAY_SIZE(credentials); i++) {
		for (int turn = 0; turn < 2; turn++) {
			assert_int_equal(ask(&stage, credentials[i], &waited), 401);
			assert_true(waited); /* each time: nothing is remembered of them */
			assert_string_equal(auth_stage_reason(&stage.stage),
					    "authentication failed: policy 'p': user or password "
					    "is wrong");
			assert_string_equal(stage.stage.fixture->added,
					    "www-authenticate: Basic realm=\"staff\", "
					    "charset=\"UTF-8\"\n");
		}
	}
	end(&stage);
}

static void test_malformed_credentials_ask_nobody(void **state)
{
	static const char *const credentials[] = {
		"",
		"YW5u",
		"OnNlY3JldA==",
		"YW5uOnNlY3JldA",
		"YW5uOnNlY3JldA==x",
		"!!!!",
		"YW5uOnNlAGNyZXQ=" /* a NUL */,
		"YW5uDTpzZWNyZXQ=" /* a CR */,
	};
	static const char *const two[] = {"authorization: Basic " ANN_SECRET,
					  "authorization: Basic " ANN_SECRET, NULL};
	struct basic_stage stage;
	bool waited;

	begin(&stage, POLICY(""), 4);
	for (size_t i = 0; i < ARRAY_SIZE(credentials); i++) {
		assert_int_equal(ask(&stage, credentials[i], &waited), 401);
		assert_false(waited);
	}
	assert_int_equal(auth_stage_ask_all(&stage.stage, "/", two), 401);
	assert_int_equal(auth_stage_ask(&stage.stage, "/", "authorization", "Bearer x"), 401);
	assert_string_equal(auth_stage_reason(&stage.stage),
			    "authentication required: policy 'p': no credentials");
	end(&stage);
}

static void test_client_that_leaves_while_it_waits_leaves_nothing_behind(void **state)
{
	struct basic_stage stage;
	bool waited;

	begin(&stage, POLICY(", cached_for: 0s"), 64);
	for (int i = 0; i < 20; i++)
		(void)auth_stage_ask(&stage.stage, "/", "authorization", "Basic " ANN_SECRET);
	assert_int_equal(ask(&stage, ANN_SECRET, &waited), 200);
	end(&stage);
}

static void test_full_queue_is_a_503_that_blames_nobody(void **state)
{
	struct basic_stage stage;
	bool waited;

	begin(&stage, POLICY(""), 0);
	assert_int_equal(ask(&stage, ANN_SECRET, &waited), 503);
	assert_false(waited);
	assert_string_equal(stage.stage.fixture->added, "");
	assert_string_equal(auth_stage_reason(&stage.stage),
			    "authentication is not possible at the moment: policy 'p': too many "
			    "passwords are waiting");
	assert_int_equal(policy_stats_sum(stage.stage.list[0]->stats, REFUSAL_UNAVAILABLE), 1);
	end(&stage);
}

static void test_what_cannot_be_users_is_told_with_its_place(void **state)
{
	static const struct {
		const char *text, *error;
	} rows[] = {
		{"", "htpasswd:1:1: there is no user in the file"},
		{"ann\n", "htpasswd:1:1: expected USER:HASH"},
		{":x\n", "htpasswd:1:1: expected USER:HASH"},
		{"# x\nann:secret\n", "htpasswd:2:1: expected a hash by bcrypt"},
		{"ann:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n", "expected a hash by bcrypt"},
		{ANN ANN, "htpasswd:2:1: the user stands in an earlier line"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		config_write_file("htpasswd", rows[i].text);
		assert_policy_refused("basic: { realm: r, htpasswd: { file: htpasswd } }",
				      rows[i].error);
	}
	config_write_file("htpasswd", FILE_TEXT);
	assert_policy_refused("basic: { htpasswd: { file: htpasswd } }", "'realm' is required");
	assert_policy_refused("basic: { realm: r }", "'htpasswd' is required");
	assert_policy_refused("basic: { realm: 'a\"b', htpasswd: { file: htpasswd } }",
			      "realm: expected printable ASCII without quotes");
	assert_policy_refused("basic: { realm: r, cached_for: 2h, htpasswd: { file: htpasswd } }",
			      "cached_for: must be");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_right_password_is_checked_once_and_then_remembered),
		cmocka_unit_test(test_wrong_password_and_unknown_user_are_alike),
		cmocka_unit_test(test_malformed_credentials_ask_nobody),
		cmocka_unit_test(test_client_that_leaves_while_it_waits_leaves_nothing_behind),
		cmocka_unit_test(test_full_queue_is_a_503_that_blames_nobody),
		cmocka_unit_test(test_what_cannot_be_users_is_told_with_its_place),
	};

	return cmocka_run_group_tests(tests, config_enter_dir, config_leave_dir);
}

#include "upstream/retry.h"
#include "upstream_fixture.h"

static void begin(struct fixture *fixture)
{
	fixture_init(fixture, UPSTREAM_ROUND_ROBIN, 2, NULL);
	retry_budget_init(fixture->upstream.state, fixture->now_ms);
}

static void calls(struct fixture *fixture, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++)
		upstream_count(fixture->upstream.state, i % 2, UPSTREAM_COUNTER_CALLS);
}

/* As many retries as the budget gives at this moment, at most `most`. */
static unsigned int take(struct fixture *fixture, uint64_t budget, unsigned int most)
{
	unsigned int taken = 0;

	while (taken < most && retry_budget_take(fixture->upstream.state, budget, fixture->now_ms))
		taken++;
	return taken;
}

static void test_without_calls_three_a_second_are_allowed(void **state)
{
	struct fixture fixture;

	begin(&fixture);
	assert_int_equal(take(&fixture, 2000, 1000), 30); /* ten seconds' worth to begin with */
	for (unsigned int i = 0; i < 60; i++) {
		fixture.now_ms += 1000;
		assert_int_equal(take(&fixture, 2000, 1000), 3);
	}
	fixture_done(&fixture);
}

/* 100 calls a second at 20 %: 20 retries a second, and the floor. */
static void test_a_share_of_the_calls_is_allowed(void **state)
{
	unsigned int taken = 0;
	struct fixture fixture;

	begin(&fixture);
	(void)take(&fixture, 2000, 1000);
	for (unsigned int i = 0; i < 1000; i++) {
		fixture.now_ms += 100;
		calls(&fixture, 10);
		taken += take(&fixture, 2000, 1000);
	}
	assert_in_range(taken, 2290, 2310);
	fixture_done(&fixture);
}

static void test_what_was_saved_fades_within_ten_seconds(void **state)
{
	struct fixture fixture;

	begin(&fixture);
	calls(&fixture, 10000);
	fixture.now_ms += 1000;
	/* 20 % of 10,000 calls, and the floor's 3 and nine tenths of 30. */
	assert_in_range(take(&fixture, 2000, 10), 10, 10);
	fixture.now_ms += 10000;
	assert_in_range(take(&fixture, 2000, 100000), 30, 31);
	fixture_done(&fixture);
}

/* Nobody retried for an hour of 1,000 calls a second: ten seconds of it count, not the hour. */
static void test_a_long_quiet_time_saves_no_more_than_ten_seconds(void **state)
{
	struct fixture fixture;

	begin(&fixture);
	calls(&fixture, 3600000);
	fixture.now_ms += 3600000;
	assert_in_range(take(&fixture, 2000, 1000000), 2000, 2031);
	fixture_done(&fixture);
}

static void test_a_clock_that_stands_earns_nothing(void **state)
{
	struct fixture fixture;

	begin(&fixture);
	(void)take(&fixture, 2000, 1000);
	calls(&fixture, 1000000);
	assert_int_equal(take(&fixture, 2000, 1000), 0);
	fixture.now_ms -= 5000;
	assert_int_equal(take(&fixture, 2000, 1000), 0);
	fixture_done(&fixture);
}

static void test_methods_that_may_be_repeated(void **state)
{
	assert_true(retry_method_is_idempotent(HTTP_METHOD_GET));
	assert_true(retry_method_is_idempotent(HTTP_METHOD_HEAD));
	assert_true(retry_method_is_idempotent(HTTP_METHOD_PUT));
	assert_true(retry_method_is_idempotent(HTTP_METHOD_DELETE));
	assert_true(retry_method_is_idempotent(HTTP_METHOD_OPTIONS));
	assert_false(retry_method_is_idempotent(HTTP_METHOD_POST));
	assert_false(retry_method_is_idempotent(HTTP_METHOD_PATCH));
	assert_false(retry_method_is_idempotent(HTTP_METHOD_OTHER));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_without_calls_three_a_second_are_allowed),
		cmocka_unit_test(test_a_share_of_the_calls_is_allowed),
		cmocka_unit_test(test_what_was_saved_fades_within_ten_seconds),
		cmocka_unit_test(test_a_long_quiet_time_saves_no_more_than_ten_seconds),
		cmocka_unit_test(test_a_clock_that_stands_earns_nothing),
		cmocka_unit_test(test_methods_that_may_be_repeated),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

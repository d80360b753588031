#include "http/pace.h"

#include "test_support.h"

enum { CAP_MS = 60000, RATE = 1000 };

static void test_first_credit_is_a_grace_and_never_beyond_the_cap(void **state)
{
	assert_int_equal(pace_first_credit_ms(RATE, CAP_MS), PACE_GRACE_MS);
	assert_int_equal(pace_first_credit_ms(RATE, 1000), 1000);
	assert_int_equal(pace_first_credit_ms(0, CAP_MS), CAP_MS);
}

static void test_only_waiting_is_paid_for(void **state)
{
	struct pace pace;

	pace_init(&pace, 5000);
	assert_int_equal(pace_due_ms(&pace, 0), 0);
	pace_wait(&pace, 1000);
	pace_wait(&pace, 2000); /* it waits already */
	assert_int_equal(pace_due_ms(&pace, 0), 6000);
	pace_pause(&pace, 4000);
	assert_int_equal(pace_due_ms(&pace, 0), 0);
	pace_pause(&pace, 9000);
	pace_wait(&pace, 100000);
	assert_int_equal(pace_due_ms(&pace, 0), 102000);
	pace_settle(&pace, 101999);
	assert_false(pace_is_spent(&pace));
	pace_settle(&pace, 102000);
	assert_true(pace_is_spent(&pace));
}

static void test_bytes_at_the_rate_pay_for_ever(void **state)
{
	struct pace pace;

	pace_init(&pace, 5000);
	pace_wait(&pace, 1);
	for (uint64_t now_ms = 101; now_ms < 600000; now_ms += 100) {
		pace_settle(&pace, now_ms);
		pace_earn(&pace, 100, RATE, CAP_MS);
		assert_false(pace_is_spent(&pace));
	}
	assert_int_equal(pace.credit_us, 5000000);
}

static void test_bytes_at_half_the_rate_run_out(void **state)
{
	struct pace pace;
	uint64_t now_ms = 1;

	pace_init(&pace, 5000);
	pace_wait(&pace, now_ms);
	while (!pace_is_spent(&pace)) {
		now_ms += 2;
		pace_settle(&pace, now_ms);
		pace_earn(&pace, 1, RATE, CAP_MS);
	}
	assert_in_range(now_ms, 9990, 10010);
}

static void test_a_burst_pays_for_a_pause_up_to_the_cap(void **state)
{
	struct pace pace;

	pace_init(&pace, 5000);
	pace_wait(&pace, 1);
	pace_earn(&pace, (uint64_t)1 << 40, RATE, CAP_MS);
	assert_int_equal(pace_due_ms(&pace, 0), CAP_MS + 1);
	pace_earn(&pace, UINT64_MAX, RATE, CAP_MS);
	assert_int_equal(pace_due_ms(&pace, 0), CAP_MS + 1);
	/* A debt is paid first. */
	pace_settle(&pace, 2 * CAP_MS + 1);
	pace_earn(&pace, 1000, RATE, CAP_MS);
	assert_true(pace_is_spent(&pace));
}

static void test_high_rates_lose_no_fractions(void **state)
{
	struct pace pace;

	pace_init(&pace, 0);
	for (unsigned int i = 0; i < 1000; i++)
		pace_earn(&pace, 100, 100000, CAP_MS);
	assert_int_equal(pace.credit_us, 1000000);
}

static void test_without_a_rate_each_movement_earns_the_cap(void **state)
{
	struct pace pace;

	pace_init(&pace, pace_first_credit_ms(0, CAP_MS));
	pace_wait(&pace, 10);
	pace_settle(&pace, 50010);
	pace_earn(&pace, 0, 0, CAP_MS);
	assert_int_equal(pace_due_ms(&pace, 0), CAP_MS + 10);
	pace_earn(&pace, 1, 0, CAP_MS);
	assert_int_equal(pace_due_ms(&pace, 0), 50010 + CAP_MS);
}

static void test_looks_have_a_distance(void **state)
{
	struct pace pace;

	pace_init(&pace, 1);
	pace_wait(&pace, 500);
	assert_int_equal(pace_due_ms(&pace, PACE_LOOK_MS), 500 + PACE_LOOK_MS);
	assert_int_equal(pace_due_ms(&pace, 0), 501);
}

static void test_who_moves_all_the_time_but_too_little_is_due(void **state)
{
	struct pace pace;
	uint64_t now_ms = 1000;

	pace_init(&pace, 2000);
	pace_wait(&pace, now_ms);
	/* Faster than any distance between looks, as the owner asks after each movement. */
	while (pace_due_ms(&pace, 0) > now_ms) {
		now_ms += 10;
		pace_settle(&pace, now_ms);
		pace_earn(&pace, 1, RATE, CAP_MS);
		assert_true(now_ms < 4000);
	}
	assert_in_range(now_ms, 3000, 3400);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_first_credit_is_a_grace_and_never_beyond_the_cap),
		cmocka_unit_test(test_only_waiting_is_paid_for),
		cmocka_unit_test(test_bytes_at_the_rate_pay_for_ever),
		cmocka_unit_test(test_bytes_at_half_the_rate_run_out),
		cmocka_unit_test(test_a_burst_pays_for_a_pause_up_to_the_cap),
		cmocka_unit_test(test_high_rates_lose_no_fractions),
		cmocka_unit_test(test_without_a_rate_each_movement_earns_the_cap),
		cmocka_unit_test(test_looks_have_a_distance),
		cmocka_unit_test(test_who_moves_all_the_time_but_too_little_is_due),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

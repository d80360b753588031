#include <stdlib.h>

#include "upstream_fixture.h"

#define ROUNDS 20000

static const int balances[] = {UPSTREAM_ROUND_ROBIN, UPSTREAM_LEAST_REQUESTS, UPSTREAM_RANDOM_TWO,
			       UPSTREAM_MAGLEV};

static void count_picks(struct fixture *fixture, unsigned int rounds, unsigned int *counts)
{
	memset(counts, 0, fixture->upstream.endpoint_count * sizeof(*counts));
	for (unsigned int i = 0; i < rounds; i++) {
		int index = fixture_pick(fixture);

		assert_in_range(index, 0, fixture->upstream.endpoint_count - 1);
		counts[index]++;
	}
}

static void assert_share(unsigned int count, unsigned int rounds, double share, double error)
{
	double got = (double)count / rounds;

	if (got < share - error || got > share + error)
		fail_msg("a share of %f instead of %f", got, share);
}

/* ---- the schedule of round-robin ---- */

static void test_a_cycle_visits_endpoints_by_weight_and_spread_out(void **state)
{
	const uint32_t weights[] = {5, 1, 1};
	unsigned int visits[3] = {0}, in_a_row = 0, most = 0;
	struct fixture fixture;

	fixture_init(&fixture, UPSTREAM_ROUND_ROBIN, 3, weights);
	assert_int_equal(fixture.upstream.schedule_len, 7);
	for (unsigned int i = 0; i < 7; i++) {
		visits[fixture.upstream.schedule[i]]++;
		in_a_row = fixture.upstream.schedule[i] == 0 ? in_a_row + 1 : 0;
		most = in_a_row > most ? in_a_row : most;
	}
	assert_int_equal(visits[0], 5);
	assert_int_equal(visits[1], 1);
	assert_int_equal(visits[2], 1);
	assert_true(most <= 3);
	fixture_done(&fixture);
}

static void test_equal_weights_take_turns(void **state)
{
	const uint32_t weights[] = {100, 100, 100, 100};
	struct fixture fixture;

	fixture_init(&fixture, UPSTREAM_ROUND_ROBIN, 4, weights);
	assert_int_equal(fixture.upstream.schedule_len, 4);
	for (int i = 0; i < 8; i++)
		assert_int_equal(fixture_pick(&fixture), i % 4);
	fixture_done(&fixture);
}

static void test_large_weights_are_scaled_within_a_percent(void **state)
{
	const uint32_t weights[] = {65535, 32768, 7, 10000};
	unsigned int visits[4] = {0};
	struct fixture fixture;

	fixture_init(&fixture, UPSTREAM_ROUND_ROBIN, 4, weights);
	assert_true(fixture.upstream.schedule_len <= 16384);
	for (unsigned int i = 0; i < fixture.upstream.schedule_len; i++)
		visits[fixture.upstream.schedule[i]]++;
	assert_true(visits[2] >= 1); /* a small weight still gets its turn */
	for (unsigned int i = 0; i < 4; i++)
		assert_share(visits[i], fixture.upstream.schedule_len,
			     (double)weights[i] / (65535 + 32768 + 7 + 10000), 0.01);
	fixture_done(&fixture);
}

static void test_round_robin_shares_what_an_ejected_endpoint_leaves(void **state)
{
	unsigned int counts[4];
	struct fixture fixture;

	fixture_init(&fixture, UPSTREAM_ROUND_ROBIN, 4, NULL);
	fixture_eject(&fixture, 1, 1000);
	count_picks(&fixture, 3000, counts);
	assert_int_equal(counts[1], 0);
	assert_int_equal(counts[0], 1000);
	assert_int_equal(counts[2], 1000);
	assert_int_equal(counts[3], 1000);
	fixture_done(&fixture);
}

/* ---- the balancers that look at the load ---- */

static void test_least_requests_takes_the_least_busy_by_weight(void **state)
{
	const uint32_t weights[] = {1, 4, 1};
	struct fixture fixture;

	fixture_init(&fixture, UPSTREAM_LEAST_REQUESTS, 3, weights);
	atomic_store(&fixture_endpoint(&fixture, 0)->active, 1);
	atomic_store(&fixture_endpoint(&fixture, 1)->active, 2); /* 3/4 */
	atomic_store(&fixture_endpoint(&fixture, 2)->active, 1);
	for (unsigned int i = 0; i < 10; i++)
		assert_int_equal(fixture_pick(&fixture), 1);
	atomic_store(&fixture_endpoint(&fixture, 1)->active, 8); /* 9/4 against 2/1 */
	for (unsigned int i = 0; i < 10; i++)
		assert_int_not_equal(fixture_pick(&fixture), 1);
	fixture_done(&fixture);
}

static void test_least_requests_spreads_ties(void **state)
{
	unsigned int counts[5];
	struct fixture fixture;

	fixture_init(&fixture, UPSTREAM_LEAST_REQUESTS, 5, NULL);
	count_picks(&fixture, 1000, counts);
	for (unsigned int i = 0; i < 5; i++)
		assert_int_equal(counts[i], 200);
	fixture_done(&fixture);
}

/* Requests that stay: the picks fill the endpoints up in proportion to their weights. */
static void test_least_requests_fills_by_weight(void **state)
{
	const uint32_t weights[] = {1, 2, 3, 10};
	struct fixture fixture;

	fixture_init(&fixture, UPSTREAM_LEAST_REQUESTS, 4, weights);
	for (unsigned int i = 0; i < 1600; i++)
		atomic_fetch_add(
			&fixture_endpoint(&fixture, (unsigned int)fixture_pick(&fixture))->active,
			1);
	for (unsigned int i = 0; i < 4; i++)
		assert_in_range(fixture_endpoint(&fixture, i)->active, weights[i] * 100 - 1,
				weights[i] * 100 + 1);
	fixture_done(&fixture);
}

static void test_random_two_draws_by_weight(void **state)
{
	const uint32_t weights[] = {1, 2, 3, 4};
	unsigned int counts[4];
	struct fixture fixture;

	fixture_init(&fixture, UPSTREAM_RANDOM_TWO, 4, weights);
	/* As busy as they are heavy, but for the endless first: the first one drawn is taken. */
	for (unsigned int i = 0; i < 4; i++)
		atomic_store(&fixture_endpoint(&fixture, i)->active, weights[i] * 1000 - 1);
	count_picks(&fixture, ROUNDS, counts);
	for (unsigned int i = 0; i < 4; i++)
		assert_share(counts[i], ROUNDS, weights[i] / 10.0, 0.015);
	fixture_done(&fixture);
}

static void test_random_two_never_takes_the_busiest(void **state)
{
	unsigned int counts[4];
	struct fixture fixture;

	fixture_init(&fixture, UPSTREAM_RANDOM_TWO, 4, NULL);
	atomic_store(&fixture_endpoint(&fixture, 2)->active, 7);
	count_picks(&fixture, ROUNDS, counts);
	assert_int_equal(counts[2], 0); /* two different ones: the other is less busy */
	for (unsigned int i = 0; i < 4; i++)
		if (i != 2)
			assert_share(counts[i], ROUNDS, 1 / 3.0, 0.015);
	fixture_done(&fixture);
}

/* ---- what holds for each ---- */

static void test_no_balance_picks_an_ejected_endpoint(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(balances); i++) {
		unsigned int counts[20];
		struct fixture fixture;

		fixture_init(&fixture, balances[i], 20, NULL);
		for (unsigned int j = 0; j < 20; j++)
			if (j != 13)
				fixture_eject(&fixture, j, 1000);
		count_picks(&fixture, 500, counts);
		assert_int_equal(counts[13], 500);
		fixture.now_ms += 1000; /* their time is over */
		count_picks(&fixture, 500, counts);
		assert_true(counts[13] < 500);
		fixture_done(&fixture);
	}
}

static void test_where_all_are_ejected_all_are_used(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(balances); i++) {
		unsigned int counts[3];
		struct fixture fixture;

		fixture_init(&fixture, balances[i], 3, NULL);
		for (unsigned int j = 0; j < 3; j++)
			fixture_eject(&fixture, j, 1000);
		count_picks(&fixture, 300, counts);
		for (unsigned int j = 0; j < 3; j++)
			assert_true(counts[j] > 50);
		fixture_done(&fixture);
	}
}

static void test_another_endpoint_than_those_tried_is_picked(void **state)
{
	const uint16_t tried[] = {0, 2, 1};

	for (size_t i = 0; i < ARRAY_SIZE(balances); i++) {
		struct fixture fixture;

		fixture_init(&fixture, balances[i], 3, NULL);
		for (unsigned int j = 0; j < 100; j++) {
			assert_int_equal(fixture_pick_again(&fixture, tried, 2, false), 1);
			assert_int_equal(fixture_pick_again(&fixture, tried, 2, true), 1);
			/* None is left: only who may come again gets one. */
			assert_int_equal(fixture_pick_again(&fixture, tried, 3, false), -1);
			assert_in_range(fixture_pick_again(&fixture, tried, 3, true), 0, 2);
		}
		/* Nor is an ejected one a better choice than one that was tried. */
		fixture_eject(&fixture, 1, 1000);
		for (unsigned int j = 0; j < 100; j++) {
			assert_int_equal(fixture_pick_again(&fixture, tried, 2, false), -1);
			assert_int_not_equal(fixture_pick_again(&fixture, tried, 2, true), 1);
		}
		fixture_done(&fixture);
	}
}

static void test_an_endpoint_that_starts_slowly_gets_a_growing_share(void **state)
{
	static const struct {
		uint64_t elapsed_ms;
		double least, most; /* of a fair share */
	} rows[] = {{0, 0.02, 0.25}, {5000, 0.3, 0.7}, {10000, 0.97, 1.03}};

	for (size_t i = 0; i < 3; i++) {
		for (size_t j = 0; j < ARRAY_SIZE(rows); j++) {
			unsigned int counts[4];
			struct fixture fixture;
			double share;

			fixture_init(&fixture, balances[i], 4, NULL);
			fixture.upstream.slow_start_ms = 10000;
			atomic_store(&fixture_endpoint(&fixture, 2)->ramp_from_ms,
				     fixture.now_ms - rows[j].elapsed_ms);
			/* Busy ones, so that the weight counts where the load does. */
			for (unsigned int k = 0; k < 4; k++)
				atomic_store(&fixture_endpoint(&fixture, k)->active, 0);
			memset(counts, 0, sizeof(counts));
			for (unsigned int k = 0; k < ROUNDS; k++) {
				int index = fixture_pick(&fixture);

				counts[index]++;
				/* Requests stay a while: the picks meet the load they make. */
				atomic_fetch_add(
					&fixture_endpoint(&fixture, (unsigned int)index)->active,
					1);
			}
			share = counts[2] / (ROUNDS / 4.0);
			if (share < rows[j].least || share > rows[j].most)
				fail_msg("%s after %u ms: %f of a fair share",
					 upstream_balance_name((enum upstream_balance)balances[i]),
					 (unsigned int)rows[j].elapsed_ms, share);
			fixture_done(&fixture);
		}
	}
}

static void test_slow_start_alone_leaves_no_request_without_endpoint(void **state)
{
	for (size_t i = 0; i < 3; i++) {
		struct fixture fixture;

		fixture_init(&fixture, balances[i], 1, NULL);
		fixture.upstream.slow_start_ms = 10000;
		atomic_store(&fixture_endpoint(&fixture, 0)->ramp_from_ms, fixture.now_ms);
		for (unsigned int j = 0; j < 200; j++)
			assert_int_equal(fixture_pick(&fixture), 0);
		fixture_done(&fixture);
	}
}

/* Random upstreams, ejections and tried sets: what is picked is always allowed. */
static void test_random_states_never_give_a_wrong_endpoint(void **state)
{
	srandom(17);
	for (unsigned int round = 0; round < 300; round++) {
		unsigned int count = 1 + (unsigned int)random() % 40, usable = 0, in_use = 0;
		bool ejected[40], was_tried[40] = {false};
		uint32_t weights[40];
		uint16_t tried[UPSTREAM_ATTEMPTS_MAX];
		unsigned int tried_count = (unsigned int)random() % 4;
		struct fixture fixture;

		for (unsigned int i = 0; i < count; i++)
			weights[i] = 1 + (uint32_t)random() % (round % 2 ? 3 : 65535);
		fixture_init(&fixture, balances[round % 4], count, weights);
		for (unsigned int i = 0; i < tried_count; i++) {
			tried[i] = (uint16_t)(random() % count);
			was_tried[tried[i]] = true;
		}
		for (unsigned int i = 0; i < count; i++) {
			ejected[i] = random() % 3 == 0;
			if (ejected[i])
				fixture_eject(&fixture, i, 1000);
			atomic_store(&fixture_endpoint(&fixture, i)->active,
				     (unsigned int)random() % 5);
			in_use += !ejected[i];
			usable += !ejected[i] && !was_tried[i];
		}
		for (unsigned int i = 0; i < 20; i++) {
			int index = fixture_pick_again(&fixture, tried, tried_count, false);

			if (index >= 0) {
				assert_false(was_tried[index]);
				assert_true(!ejected[index] || !in_use);
			} else {
				assert_true(usable == 0);
			}
			index = fixture_pick_again(&fixture, tried, tried_count, true);
			assert_in_range(index, 0, count - 1);
			assert_true(!ejected[index] || !in_use);
			assert_true(!was_tried[index] || !usable);
		}
		fixture_done(&fixture);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_cycle_visits_endpoints_by_weight_and_spread_out),
		cmocka_unit_test(test_equal_weights_take_turns),
		cmocka_unit_test(test_large_weights_are_scaled_within_a_percent),
		cmocka_unit_test(test_round_robin_shares_what_an_ejected_endpoint_leaves),
		cmocka_unit_test(test_least_requests_takes_the_least_busy_by_weight),
		cmocka_unit_test(test_least_requests_spreads_ties),
		cmocka_unit_test(test_least_requests_fills_by_weight),
		cmocka_unit_test(test_random_two_draws_by_weight),
		cmocka_unit_test(test_random_two_never_takes_the_busiest),
		cmocka_unit_test(test_no_balance_picks_an_ejected_endpoint),
		cmocka_unit_test(test_where_all_are_ejected_all_are_used),
		cmocka_unit_test(test_another_endpoint_than_those_tried_is_picked),
		cmocka_unit_test(test_an_endpoint_that_starts_slowly_gets_a_growing_share),
		cmocka_unit_test(test_slow_start_alone_leaves_no_request_without_endpoint),
		cmocka_unit_test(test_random_states_never_give_a_wrong_endpoint),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

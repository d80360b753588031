/* filter/rate_table.h: the cell rate algorithm, and that threads do not cheat it. */
#include "test_support.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/random.h"
#include "filter/rate_table.h"

#define MS 1000000u

static struct limit_hash key_of(uint64_t number)
{
	struct random_state random = {.state = number};
	uint64_t low = random_next(&random);

	return (struct limit_hash){low, random_next(&random)};
}

/* The verdict's retry time. */
static uint64_t take(struct rate_table *table, uint64_t key, struct rate rate, uint64_t now_ns)
{
	struct rate_verdict verdict;

	rate_table_take(table, key_of(key), &rate, now_ns, &verdict);
	return verdict.retry_ns;
}

static void test_a_burst_and_then_the_rate(void **state)
{
	struct rate_table *table = rate_table_new(1024);
	const struct rate rate = {.interval_ns = 100 * (uint64_t)MS, .burst = 3};
	uint64_t now_ns = 5 * (uint64_t)MS;
	struct rate_verdict verdict;

	assert_non_null(table);
	for (uint64_t left = 3; left-- > 0;) {
		rate_table_take(table, key_of(1), &rate, now_ns, &verdict);
		assert_int_equal(verdict.retry_ns, 0);
		assert_int_equal(verdict.remaining, left);
		assert_int_equal(verdict.reset_ns, (3 - left) * 100 * MS);
	}
	rate_table_take(table, key_of(1), &rate, now_ns, &verdict);
	assert_int_equal(verdict.retry_ns, 100 * MS);
	assert_int_equal(verdict.remaining, 0);
	assert_int_equal(verdict.reset_ns, 300 * MS);
	/* Asking in vain costs nothing. */
	assert_int_equal(take(table, 1, rate, now_ns + 40 * MS), 60 * MS);
	assert_int_equal(take(table, 1, rate, now_ns + 100 * MS - 1), 1);
	assert_int_equal(take(table, 1, rate, now_ns + 100 * MS), 0);
	assert_int_equal(take(table, 1, rate, now_ns + 100 * MS), 100 * MS);
	/* Others have their own, and after a while all of it is there again. */
	assert_int_equal(take(table, 2, rate, now_ns), 0);
	now_ns += 3000 * (uint64_t)MS;
	for (unsigned int i = 0; i < 3; i++)
		assert_int_equal(take(table, 1, rate, now_ns), 0);
	assert_int_equal(take(table, 1, rate, now_ns), 100 * MS);
	/* A time that is not the newest, as of another thread's turn. */
	assert_int_equal(take(table, 1, rate, now_ns - 10 * MS), 110 * MS);
	assert_int_equal(rate_table_evictions(table), 0);
	rate_table_free(table);
}

static void test_rate_and_burst_may_change(void **state)
{
	struct rate_table *table = rate_table_new(1024);
	const struct rate slow = {.interval_ns = 1000 * (uint64_t)MS, .burst = 2};
	const struct rate quick = {.interval_ns = 10 * (uint64_t)MS, .burst = 300};

	assert_int_equal(take(table, 1, slow, MS), 0);
	assert_int_equal(take(table, 1, slow, MS), 0);
	assert_true(take(table, 1, slow, MS) > 0);
	for (unsigned int i = 0; i < 100; i++) /* it owes two of three seconds */
		assert_int_equal(take(table, 1, quick, MS), 0);
	assert_true(take(table, 1, quick, MS) > 0);
	assert_int_equal(take(table, 1, slow, MS), 2000 * (uint64_t)MS);
	rate_table_free(table);
}

/* 7 cells of a bucket: the keys that owe least give way, and that is counted. */
static void test_a_full_bucket_forgets_who_is_free_first(void **state)
{
	struct rate_table *table = rate_table_new(1024);
	const struct rate rate = {.interval_ns = 1000 * (uint64_t)MS, .burst = 1};
	struct limit_hash key = {.low = 5};
	struct rate_verdict verdict;

	for (key.high = 1; key.high <= 8; key.high++) {
		rate_table_take(table, key, &rate, key.high * MS, &verdict);
		assert_int_equal(verdict.retry_ns, 0);
	}
	assert_int_equal(rate_table_evictions(table), 1);
	for (key.high = 2; key.high <= 8; key.high++) {
		rate_table_take(table, key, &rate, 8 * MS, &verdict);
		assert_int_equal(verdict.retry_ns, (992 + key.high) * MS);
	}
	/* Free cells are taken without anybody losing by it. */
	for (key.high = 11; key.high <= 17; key.high++) {
		rate_table_take(table, key, &rate, 2000 * (uint64_t)MS, &verdict);
		assert_int_equal(verdict.retry_ns, 0);
	}
	assert_int_equal(rate_table_evictions(table), 1);
	/* A hash of zero is a key like any other. */
	key = (struct limit_hash){0};
	rate_table_take(table, key, &rate, MS, &verdict);
	assert_int_equal(verdict.retry_ns, 0);
	rate_table_take(table, key, &rate, MS, &verdict);
	assert_int_equal(verdict.retry_ns, 1000 * (uint64_t)MS);
	rate_table_free(table);
}

/* ---- threads ---- */

enum { THREADS = 4, ROUNDS = 300, KEYS = 64 };

struct crowd {
	struct rate_table *table;
	struct rate rate;
	atomic_uint passed[ROUNDS][KEYS];
	pthread_barrier_t barrier;
};

/* All come with new keys at the same moment, over and over, in few buckets. */
static void *crowd_run(void *arg)
{
	struct crowd *crowd = arg;

	for (unsigned int round = 0; round < ROUNDS; round++) {
		uint64_t now_ns = (round + 1) * (uint64_t)1000 * MS;

		(void)pthread_barrier_wait(&crowd->barrier);
		for (unsigned int turn = 0; turn < KEYS * 4; turn++) {
			struct limit_hash key = {.low = turn % KEYS / 4,
						 .high = round * KEYS + turn % KEYS + 1};
			struct rate_verdict verdict;

			rate_table_take(crowd->table, key, &crowd->rate, now_ns, &verdict);
			if (!verdict.retry_ns)
				atomic_fetch_add(&crowd->passed[round][turn % KEYS], 1);
		}
	}
	return NULL;
}

static void test_threads_together_get_what_one_gets(void **state)
{
	struct crowd *crowd = calloc(1, sizeof(*crowd));
	pthread_t threads[THREADS];

	assert_non_null(crowd);
	crowd->table = rate_table_new(1024);
	crowd->rate = (struct rate){.interval_ns = 100 * (uint64_t)MS, .burst = 5};
	assert_int_equal(pthread_barrier_init(&crowd->barrier, NULL, THREADS), 0);
	for (unsigned int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, crowd_run, crowd), 0);
	for (unsigned int i = 0; i < THREADS; i++)
		(void)pthread_join(threads[i], NULL);
	for (unsigned int round = 0; round < ROUNDS; round++)
		for (unsigned int key = 0; key < KEYS; key++)
			assert_int_equal(crowd->passed[round][key], 5);
	assert_int_equal(rate_table_evictions(crowd->table), 0);
	(void)pthread_barrier_destroy(&crowd->barrier);
	rate_table_free(crowd->table);
	free(crowd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_burst_and_then_the_rate),
		cmocka_unit_test(test_rate_and_burst_may_change),
		cmocka_unit_test(test_a_full_bucket_forgets_who_is_free_first),
		cmocka_unit_test(test_threads_together_get_what_one_gets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "io/coalesce.h"

#include "test_support.h"

static struct coalesce coalesce;

/* One wait in which at most `comes` come before the time is over; what was asked for. */
static unsigned int wait_once(unsigned int open, unsigned int comes)
{
	unsigned int want = coalesce_want(&coalesce, open);

	if (want)
		coalesce_tell(&coalesce, want, comes);
	return want;
}

static void test_few_open_requests_are_never_delayed(void **state)
{
	coalesce_init(&coalesce, true);
	for (unsigned int turn = 0; turn < 10000; turn++)
		for (unsigned int open = 0; open < 2 * COALESCE_MIN; open++)
			assert_int_equal(wait_once(open, 100), 0);
}

static void test_off_means_never(void **state)
{
	coalesce_init(&coalesce, false);
	for (unsigned int turn = 0; turn < 10000; turn++)
		assert_int_equal(wait_once(1000, 100), 0);
}

static void test_bursts_are_waited_for_up_to_half_of_what_is_open(void **state)
{
	unsigned int want = 0;

	coalesce_init(&coalesce, true);
	for (unsigned int turn = 0; turn < 1000; turn++) {
		want = wait_once(40, 100);
		assert_true(want >= COALESCE_MIN && want <= 20);
	}
	assert_int_equal(want, 20);
	for (unsigned int turn = 0; turn < 1000; turn++)
		want = wait_once(1000, 100);
	assert_int_equal(want, COALESCE_MAX);
}

static void test_waits_that_do_not_pay_become_rare(void **state)
{
	unsigned int waits = 0;

	coalesce_init(&coalesce, true);
	for (unsigned int turn = 0; turn < 100000; turn++)
		waits += wait_once(1000, 1) != 0;
	/* 64 + 128 + ... + 4096 turns, then one in 4096. */
	assert_in_range(waits, 10, 40);
}

static void test_the_size_of_bursts_is_learnt(void **state)
{
	unsigned int missed = 0, small = 0;

	coalesce_init(&coalesce, true);
	for (unsigned int turn = 0; turn < 100000; turn++) {
		unsigned int want = wait_once(1000, 12);

		if (turn < 1000)
			continue;
		missed += want > 12;
		small += want < 8;
	}
	/* A trial of more now and then, and asking for most of what comes in between. */
	assert_in_range(missed, 1, 200);
	assert_int_equal(small, 0);
}

static void test_bursts_that_come_back_are_found_again(void **state)
{
	unsigned int want = 0;

	coalesce_init(&coalesce, true);
	for (unsigned int turn = 0; turn < 100000; turn++)
		(void)wait_once(1000, 0);
	for (unsigned int turn = 0; turn < COALESCE_REST_MAX + 200; turn++)
		want = wait_once(1000, 100);
	assert_true(want > COALESCE_MIN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_few_open_requests_are_never_delayed),
		cmocka_unit_test(test_off_means_never),
		cmocka_unit_test(test_bursts_are_waited_for_up_to_half_of_what_is_open),
		cmocka_unit_test(test_waits_that_do_not_pay_become_rare),
		cmocka_unit_test(test_the_size_of_bursts_is_learnt),
		cmocka_unit_test(test_bursts_that_come_back_are_found_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

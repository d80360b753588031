#include "kern/flow_conf.h"

#include "test_support.h"

static const uint32_t rates[] = {100, 250, 300, 1000};

static void test_units_are_near_32_ms_and_4_s_at_every_rate(void **state)
{
	for (size_t i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
		struct sl_flow_clock clock = flow_clock_for(rates[i]);
		uint32_t fine_ms = (1000U << clock.fine_shift) / rates[i];
		uint32_t coarse_ms = (1000U << clock.coarse_shift) / rates[i];

		assert_in_range(fine_ms, 22, 48);
		assert_in_range(coarse_ms, 2731, 6144);
		assert_int_equal(clock.hz, rates[i]);
	}
}

static void test_limits_are_no_shorter_than_they_say_and_fit_eight_bits(void **state)
{
	for (size_t i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
		struct sl_flow_clock clock = flow_clock_for(rates[i]);
		uint64_t fine_us = (1000000ULL << clock.fine_shift) / rates[i];
		uint64_t coarse_us = (1000000ULL << clock.coarse_shift) / rates[i];

		assert_true(clock.probation_fine * fine_us >= 3000000);
		assert_true(clock.idle_coarse * coarse_us >= 300000000);
		assert_true(clock.closing_coarse * coarse_us >= 32000000);
		/* Ages are told apart modulo 256. */
		assert_true(clock.probation_fine < 200);
		assert_true(2 * clock.idle_coarse < 240);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_units_are_near_32_ms_and_4_s_at_every_rate),
		cmocka_unit_test(test_limits_are_no_shorter_than_they_say_and_fit_eight_bits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

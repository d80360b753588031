#include "io/io_test.h"

#include "io/timer_wheel.h"

struct alarm {
	struct timer timer;
	uint64_t started_ms;
	uint64_t delay_ms;
	unsigned int fired;
	unsigned int order; /* how many alarms had fired before */
	struct timer *victim;
	unsigned int repeats;
};

static unsigned int alarms_fired;

static void on_fire(struct timer *timer)
{
	struct alarm *alarm = CONTAINER_OF(timer, struct alarm, timer);

	assert_false(timer_is_running(timer));
	assert_true(clock_mono_ms() >= alarm->started_ms + alarm->delay_ms);
	alarm->fired++;
	alarm->order = alarms_fired++;
	if (alarm->victim)
		timer_stop(alarm->victim);
	if (alarm->repeats) {
		alarm->repeats--;
		alarm->started_ms = clock_mono_ms();
		timer_start(timer->loop, timer, alarm->delay_ms);
	}
}

static void alarm_init(struct alarm *alarm)
{
	memset(alarm, 0, sizeof(*alarm));
	timer_init(&alarm->timer, on_fire);
}

static void alarm_start(struct loop *loop, struct alarm *alarm, uint64_t delay_ms)
{
	alarm->delay_ms = delay_ms;
	alarm->started_ms = clock_mono_ms();
	timer_start(loop, &alarm->timer, delay_ms);
	assert_true(timer_is_running(&alarm->timer));
}

/* By when they were due, which depends on the clock at each start as well as on the delays. */
static void assert_order(const struct alarm *left, const struct alarm *right)
{
	if (left->timer.due_ms + TIMER_TICK_MS <= right->timer.due_ms)
		assert_true(left->order < right->order);
}

static void test_timers_fire_in_order_and_never_early(void **state)
{
	static const uint64_t delays_ms[] = {130, 0, 700, 60, 20, 660, 1300, 100, 40};
	struct alarm alarms[ARRAY_SIZE(delays_ms)];
	struct loop *loop = test_loop(state);

	alarms_fired = 0;
	for (size_t i = 0; i < ARRAY_SIZE(alarms); i++) {
		alarm_init(&alarms[i]);
		assert_false(timer_is_running(&alarms[i].timer));
		alarm_start(loop, &alarms[i], delays_ms[i]);
	}
	run_until(loop, alarms_fired == ARRAY_SIZE(alarms));
	for (size_t i = 0; i < ARRAY_SIZE(alarms); i++)
		for (size_t j = 0; j < ARRAY_SIZE(alarms); j++)
			assert_order(&alarms[i], &alarms[j]);
}

static void test_the_loop_sleeps_until_a_timer_is_due(void **state)
{
	struct loop *loop = test_loop(state);
	struct loop_stats before, after;
	struct alarm alarm;

	alarm_init(&alarm);
	alarm_start(loop, &alarm, 300);
	loop_get_stats(loop, &before);
	while (!alarm.fired)
		assert_int_equal(loop_run_once(loop, -1), 0);
	loop_get_stats(loop, &after);
	/* One for the timer, few for where it moves within the wheel. */
	assert_true(after.turns - before.turns <= 4);
}

static void test_a_restarted_timer_fires_once_at_its_new_time(void **state)
{
	struct loop *loop = test_loop(state);
	struct alarm moved, earlier, witness;

	alarms_fired = 0;
	alarm_init(&moved);
	alarm_init(&earlier);
	alarm_init(&witness);
	alarm_start(loop, &moved, 30);
	alarm_start(loop, &earlier, 5000000);
	alarm_start(loop, &witness, 150);
	for (int i = 0; i < 1000; i++)
		alarm_start(loop, &moved, 250);
	alarm_start(loop, &earlier, 20);
	run_until(loop, alarms_fired == 3);
	assert_int_equal(moved.fired, 1);
	assert_int_equal(earlier.fired, 1);
	assert_int_equal(witness.fired, 1);
	assert_order(&earlier, &witness);
	assert_order(&witness, &moved);
	assert_int_equal(loop_run_once(loop, 50), 0);
	assert_int_equal(moved.fired, 1);
}

static void test_a_stopped_timer_does_not_fire(void **state)
{
	struct loop *loop = test_loop(state);
	struct alarm stopped, witness;

	alarm_init(&stopped);
	alarm_init(&witness);
	timer_stop(&stopped.timer); /* harmless */
	alarm_start(loop, &stopped, 20);
	alarm_start(loop, &witness, 60);
	timer_stop(&stopped.timer);
	assert_false(timer_is_running(&stopped.timer));
	run_until(loop, witness.fired == 1);
	assert_int_equal(stopped.fired, 0);
}

static void test_stopping_inside_a_callback(void **state)
{
	struct loop *loop = test_loop(state);
	struct alarm first, same_tick, later, itself, witness;

	alarm_init(&first);
	alarm_init(&same_tick);
	alarm_init(&later);
	alarm_init(&itself);
	alarm_init(&witness);
	/* All are overdue when the loop next looks, the first two in one slot. */
	alarm_start(loop, &first, 20);
	alarm_start(loop, &same_tick, 20);
	alarm_start(loop, &itself, 20);
	alarm_start(loop, &later, 60);
	alarm_start(loop, &witness, 100);
	first.victim = &same_tick.timer;
	itself.victim = &later.timer;
	run_until(loop, witness.fired == 1);
	assert_int_equal(first.fired, 1);
	assert_int_equal(itself.fired, 1);
	assert_int_equal(same_tick.fired, 0);
	assert_int_equal(later.fired, 0);
}

static void test_restarting_inside_a_callback(void **state)
{
	struct loop *loop = test_loop(state);
	struct alarm alarm;

	alarm_init(&alarm);
	alarm.repeats = 20;
	alarm_start(loop, &alarm, 0);
	run_until(loop, alarm.fired == 21);
	assert_false(timer_is_running(&alarm.timer));
}

static void test_thousands_of_timers(void **state)
{
	enum { ALARMS = 5000 };
	static struct alarm alarms[ALARMS];
	struct loop *loop = test_loop(state);
	unsigned int expected = 0;
	uint64_t seed = 7;

	for (int i = 0; i < ALARMS; i++) {
		alarm_init(&alarms[i]);
		alarm_start(loop, &alarms[i], next_random(&seed) % 900);
	}
	for (int i = 0; i < ALARMS; i++) {
		uint32_t dice = next_random(&seed) % 4;

		if (dice == 0)
			timer_stop(&alarms[i].timer);
		else if (dice == 1)
			alarm_start(loop, &alarms[i], next_random(&seed) % 1500);
		if (dice != 0)
			expected++;
	}
	alarms_fired = 0;
	run_until(loop, alarms_fired == expected);
	for (int i = 0; i < ALARMS; i++)
		assert_false(timer_is_running(&alarms[i].timer));
}

/* ---- the wheel alone, in invented time ---- */

static uint64_t wheel_now_ms;
static unsigned int wheel_fired;

static void on_wheel_fire(struct timer *timer)
{
	assert_true(wheel_now_ms >= timer->due_ms);
	wheel_fired++;
}

/*
 * Starting a timer reads the clock, so invented time begins at the real one and runs faster. The
 * wheel's own past (`offset_ms`) decides into which slots the same delays go.
 */
static void test_long_delays_fire_when_due(void **state)
{
	static const uint64_t delays_ms[] = {639,	640,	   641,		  40950,
					     40960,	40970,	   2621430,	  2621440,
					     2621450,	86400000,  167772150,	  167772160,
					     167772170, 604800000, 2592000000ULL, 31536000000ULL};
	struct timer timers[ARRAY_SIZE(delays_ms)];
	struct loop *loop = test_loop(state);
	struct timer_wheel *wheel = malloc(sizeof(*wheel));
	unsigned int looks = 0;

	assert_non_null(wheel);
	(void)loop;
	for (uint64_t offset_ms = 0; offset_ms < 50000; offset_ms += 777) {
		uint64_t base_ms = clock_mono_ms() - offset_ms;

		timer_wheel_init(wheel, base_ms);
		timer_wheel_advance(wheel, base_ms + offset_ms);
		wheel_fired = 0;
		for (size_t i = 0; i < ARRAY_SIZE(timers); i++) {
			timer_init(&timers[i], on_wheel_fire);
			timer_wheel_start(wheel, &timers[i], delays_ms[i]);
		}
		for (;;) {
			uint64_t next_ms = timer_wheel_next_ms(wheel);

			if (next_ms == TIMER_NEVER)
				break;
			/* Whoever sleeps until then is at most a tick late. */
			for (size_t i = 0; i < ARRAY_SIZE(timers); i++)
				if (timer_is_running(&timers[i]))
					assert_true(next_ms < timers[i].due_ms + TIMER_TICK_MS);
			wheel_now_ms = next_ms;
			timer_wheel_advance(wheel, wheel_now_ms);
			for (size_t i = 0; i < ARRAY_SIZE(timers); i++)
				if (timer_is_running(&timers[i]))
					assert_true(timers[i].due_ms > wheel_now_ms);
			assert_true(++looks < 1000000);
		}
		assert_int_equal(wheel_fired, ARRAY_SIZE(timers));
	}
	free(wheel);
}

static void test_a_late_look_fires_all_that_is_due(void **state)
{
	struct timer timers[100];
	struct loop *loop = test_loop(state);
	struct timer_wheel *wheel = malloc(sizeof(*wheel));

	assert_non_null(wheel);
	(void)loop;
	timer_wheel_init(wheel, clock_mono_ms());
	wheel_fired = 0;
	for (size_t i = 0; i < ARRAY_SIZE(timers); i++) {
		timer_init(&timers[i], on_wheel_fire);
		timer_wheel_start(wheel, &timers[i], i * i * i);
	}
	wheel_now_ms = timers[49].due_ms + TIMER_TICK_MS;
	timer_wheel_advance(wheel, wheel_now_ms);
	assert_int_equal(wheel_fired, 50);
	wheel_now_ms += 3600000;
	timer_wheel_advance(wheel, wheel_now_ms);
	assert_int_equal(wheel_fired, ARRAY_SIZE(timers));
	assert_true(timer_wheel_next_ms(wheel) == TIMER_NEVER);
	free(wheel);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH_ENGINES(test_timers_fire_in_order_and_never_early),
		BOTH_ENGINES(test_the_loop_sleeps_until_a_timer_is_due),
		BOTH_ENGINES(test_a_restarted_timer_fires_once_at_its_new_time),
		BOTH_ENGINES(test_a_stopped_timer_does_not_fire),
		BOTH_ENGINES(test_stopping_inside_a_callback),
		BOTH_ENGINES(test_restarting_inside_a_callback),
		BOTH_ENGINES(test_thousands_of_timers),
		ENGINE_TEST(test_long_delays_fire_when_due, setup, 1, "wheel"),
		ENGINE_TEST(test_a_late_look_fires_all_that_is_due, setup, 1, "wheel"),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

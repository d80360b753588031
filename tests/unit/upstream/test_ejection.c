#include "base/event.h"
#include "upstream_fixture.h"

static bool fail_once(struct fixture *fixture, unsigned int index)
{
	return ejection_failure(&fixture->upstream, &fixture->upstream.endpoints[index],
				fixture->now_ms);
}

/* The last one is the one that ejects. */
static void fail_until_ejected(struct fixture *fixture, unsigned int index)
{
	for (unsigned int i = 1; i < 5; i++)
		assert_false(fail_once(fixture, index));
	assert_true(fail_once(fixture, index));
}

static bool is_out(struct fixture *fixture, unsigned int index)
{
	return endpoint_is_ejected(fixture_endpoint(fixture, index), fixture->now_ms);
}

static void test_failures_in_a_row_eject_and_a_success_between_does_not(void **state)
{
	struct fixture fixture;

	fixture_init(&fixture, UPSTREAM_ROUND_ROBIN, 3, NULL);
	for (unsigned int round = 0; round < 10; round++) {
		for (unsigned int i = 0; i < 4; i++)
			assert_false(fail_once(&fixture, 0));
		ejection_success(fixture_endpoint(&fixture, 0));
	}
	assert_false(is_out(&fixture, 0));
	fail_until_ejected(&fixture, 0);
	assert_true(is_out(&fixture, 0));
	assert_false(is_out(&fixture, 1));
	assert_int_equal(endpoint_ejected_ms(fixture_endpoint(&fixture, 0), fixture.now_ms), 30000);
	fixture_done(&fixture);
}

static void test_an_ejected_endpoint_comes_back_after_its_time(void **state)
{
	struct fixture fixture;

	fixture_init(&fixture, UPSTREAM_ROUND_ROBIN, 3, NULL);
	fail_until_ejected(&fixture, 0);
	fixture.now_ms += 29999;
	assert_true(is_out(&fixture, 0));
	fixture.now_ms++;
	assert_false(is_out(&fixture, 0));
	assert_int_equal(endpoint_ejected_ms(fixture_endpoint(&fixture, 0), fixture.now_ms), 0);
	fixture_done(&fixture);
}

static void test_the_first_failure_after_the_return_ejects_for_longer(void **state)
{
	static const uint64_t times_ms[] = {60000,  90000,  120000, 150000, 180000, 210000,
					    240000, 270000, 300000, 300000, 300000};
	struct fixture fixture;

	fixture_init(&fixture, UPSTREAM_ROUND_ROBIN, 3, NULL);
	fail_until_ejected(&fixture, 0);
	fixture.now_ms += 30000;
	for (size_t i = 0; i < ARRAY_SIZE(times_ms); i++) {
		assert_false(is_out(&fixture, 0));
		assert_true(fail_once(&fixture, 0));
		fixture.now_ms += times_ms[i] - 1;
		assert_true(is_out(&fixture, 0));
		fixture.now_ms++;
		assert_false(is_out(&fixture, 0));
	}
	fixture_done(&fixture);
}

static void test_a_success_after_the_return_begins_the_row_anew(void **state)
{
	struct fixture fixture;

	fixture_init(&fixture, UPSTREAM_ROUND_ROBIN, 3, NULL);
	fail_until_ejected(&fixture, 0);
	fixture.now_ms += 30000;
	assert_false(is_out(&fixture, 0));
	ejection_success(fixture_endpoint(&fixture, 0));
	fail_until_ejected(&fixture, 0);
	/* It came back only now: the second time is longer. */
	assert_int_equal(endpoint_ejected_ms(fixture_endpoint(&fixture, 0), fixture.now_ms), 60000);
	fixture_done(&fixture);
}

static void test_good_time_takes_earlier_ejections_off(void **state)
{
	struct fixture fixture;

	fixture_init(&fixture, UPSTREAM_ROUND_ROBIN, 3, NULL);
	fail_until_ejected(&fixture, 0);
	fixture.now_ms += 30000;
	assert_false(is_out(&fixture, 0));
	assert_true(fail_once(&fixture, 0)); /* twice in a row: 60 s */
	fixture.now_ms += 60000;
	assert_false(is_out(&fixture, 0));
	ejection_success(fixture_endpoint(&fixture, 0));
	fixture.now_ms += 30000 * 2; /* as often base as it was ejected */
	fail_until_ejected(&fixture, 0);
	assert_int_equal(endpoint_ejected_ms(fixture_endpoint(&fixture, 0), fixture.now_ms), 30000);
	fixture_done(&fixture);
}

static void test_no_more_than_the_share_is_ejected(void **state)
{
	static const struct {
		unsigned int endpoints;
		uint64_t max_share;
		unsigned int ejected;
	} rows[] = {
		{1, 10000, 1}, {1, 5000, 0}, {2, 5000, 1}, {2, 100, 1},	    {3, 5000, 1},
		{4, 5000, 2},  {9, 3000, 2}, {10, 100, 1}, {10, 10000, 10},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		unsigned int ejected = 0;
		struct fixture fixture;

		fixture_init(&fixture, UPSTREAM_ROUND_ROBIN, rows[i].endpoints, NULL);
		fixture.upstream.ejection.max_share = rows[i].max_share;
		for (unsigned int j = 0; j < 10 * rows[i].endpoints; j++)
			(void)fail_once(&fixture, j % rows[i].endpoints);
		for (unsigned int j = 0; j < rows[i].endpoints; j++)
			ejected += is_out(&fixture, j);
		assert_int_equal(ejected, rows[i].ejected);
		fixture_done(&fixture);
	}
}

static void test_an_endpoint_that_found_no_room_is_ejected_when_there_is(void **state)
{
	struct fixture fixture;

	fixture_init(&fixture, UPSTREAM_ROUND_ROBIN, 2, NULL);
	fail_until_ejected(&fixture, 0);
	for (unsigned int i = 0; i < 20; i++)
		assert_false(fail_once(&fixture, 1));
	fixture.now_ms += 30000;
	assert_true(fail_once(&fixture, 1));
	assert_true(is_out(&fixture, 1));
	assert_false(is_out(&fixture, 0));
	fixture_done(&fixture);
}

static void test_without_a_number_of_failures_nothing_is_ejected(void **state)
{
	struct fixture fixture;

	fixture_init(&fixture, UPSTREAM_ROUND_ROBIN, 3, NULL);
	fixture.upstream.ejection.consecutive_failures = 0;
	for (unsigned int i = 0; i < 100; i++)
		assert_false(fail_once(&fixture, 0));
	fixture_done(&fixture);
}

static void test_a_reload_keeps_the_ejection(void **state)
{
	struct upstream_conf next;
	struct fixture fixture;

	fixture_init(&fixture, UPSTREAM_ROUND_ROBIN, 3, NULL);
	fail_until_ejected(&fixture, 1);
	next = fixture.upstream;
	next.endpoints = arena_new_array(&fixture.arena, struct endpoint_conf, 3);
	for (unsigned int i = 0; i < 3; i++) {
		next.endpoints[i] = fixture.upstream.endpoints[2 - i];
		next.endpoints[i].endpoint = NULL;
	}
	assert_int_equal(upstream_acquire(fixture.registry, &next, 2, 0), 0);
	upstream_release(&fixture.upstream);
	(void)registry_sweep(fixture.registry);
	fixture.upstream = next;
	assert_true(is_out(&fixture, 1));
	assert_false(is_out(&fixture, 0));
	fixture_done(&fixture);
}

/* Events of other tests of this program may be in the queue. */
static unsigned int count_events(enum event_kind kind, struct event *ret_last)
{
	unsigned int count = 0;
	struct event event;

	while (event_take(&event)) {
		if (event.kind != kind)
			continue;
		*ret_last = event;
		count++;
	}
	return count;
}

static void test_ejection_and_return_are_events(void **state)
{
	struct fixture fixture;
	struct event event;

	fixture_init(&fixture, UPSTREAM_ROUND_ROBIN, 3, NULL);
	(void)count_events(EVENT_KIND_COUNT, &event);
	fail_until_ejected(&fixture, 2);
	assert_int_equal(count_events(EVENT_ENDPOINT_EJECTED, &event), 1);
	assert_string_equal(event.object, "shop 10.0.0.2:8080");
	assert_string_equal(event.text, "failed 5 times in a row: no requests for 30000 ms");
	fixture.now_ms += 30000;
	for (unsigned int i = 0; i < 10; i++)
		assert_false(is_out(&fixture, 2));
	assert_int_equal(count_events(EVENT_ENDPOINT_RETURNED, &event), 1);
	assert_string_equal(event.object, "shop 10.0.0.2:8080");
	fixture_done(&fixture);
}

static void test_who_comes_back_or_joins_starts_slowly(void **state)
{
	struct fixture fixture;
	struct endpoint *joined;
	struct sock_addr addr;

	fixture_init(&fixture, UPSTREAM_ROUND_ROBIN, 2, NULL);
	fixture.upstream.slow_start_ms = 10000;
	/* Those of the first configuration do not: all would. */
	assert_int_equal(
		endpoint_ramp(&fixture.upstream, fixture_endpoint(&fixture, 0), fixture.now_ms),
		256);
	fail_until_ejected(&fixture, 0);
	fixture.now_ms += 30000;
	assert_false(is_out(&fixture, 0));
	assert_int_equal(
		endpoint_ramp(&fixture.upstream, fixture_endpoint(&fixture, 0), fixture.now_ms),
		26);
	assert_int_equal(endpoint_ramp(&fixture.upstream, fixture_endpoint(&fixture, 0),
				       fixture.now_ms + 5000),
			 128);
	assert_int_equal(endpoint_ramp(&fixture.upstream, fixture_endpoint(&fixture, 0),
				       fixture.now_ms + 10000),
			 256);

	assert_int_equal(sock_addr_parse(STR("192.0.2.1:80"), &addr, NULL), 0);
	assert_int_equal(endpoint_acquire(fixture.registry, fixture.upstream.state, &addr,
					  fixture.now_ms, &joined),
			 0);
	assert_int_equal(endpoint_ramp(&fixture.upstream, joined, fixture.now_ms + 2500), 64);
	endpoint_unref(joined);
	fixture.upstream.slow_start_ms = 0;
	assert_int_equal(
		endpoint_ramp(&fixture.upstream, fixture_endpoint(&fixture, 0), fixture.now_ms),
		256);
	fixture_done(&fixture);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_failures_in_a_row_eject_and_a_success_between_does_not),
		cmocka_unit_test(test_an_ejected_endpoint_comes_back_after_its_time),
		cmocka_unit_test(test_the_first_failure_after_the_return_ejects_for_longer),
		cmocka_unit_test(test_a_success_after_the_return_begins_the_row_anew),
		cmocka_unit_test(test_good_time_takes_earlier_ejections_off),
		cmocka_unit_test(test_no_more_than_the_share_is_ejected),
		cmocka_unit_test(test_an_endpoint_that_found_no_room_is_ejected_when_there_is),
		cmocka_unit_test(test_without_a_number_of_failures_nothing_is_ejected),
		cmocka_unit_test(test_a_reload_keeps_the_ejection),
		cmocka_unit_test(test_ejection_and_return_are_events),
		cmocka_unit_test(test_who_comes_back_or_joins_starts_slowly),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

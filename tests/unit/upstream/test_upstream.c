#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>

#include "upstream/upstream.h"

static void build(struct arena *arena, struct upstream_conf *upstream, const uint32_t *weights,
		  unsigned int count)
{
	upstream->endpoint_count = count;
	upstream->endpoints = arena_new_array(arena, struct endpoint_conf, count);
	for (unsigned int i = 0; i < count; i++)
		upstream->endpoints[i].weight = weights[i];
	assert_int_equal(upstream_schedule_build(upstream, arena), 0);
}

static void test_a_cycle_visits_endpoints_by_weight_and_spread_out(void **state)
{
	const uint32_t weights[] = {5, 1, 1};
	struct upstream_conf upstream = {0};
	unsigned int visits[3] = {0}, in_a_row = 0, most = 0;
	struct arena arena;

	arena_init(&arena, 0, 1 << 20);
	build(&arena, &upstream, weights, 3);
	assert_int_equal(upstream.schedule_len, 7);
	for (unsigned int i = 0; i < 7; i++) {
		visits[upstream.schedule[i]]++;
		in_a_row = upstream.schedule[i] == 0 ? in_a_row + 1 : 0;
		most = in_a_row > most ? in_a_row : most;
	}
	assert_int_equal(visits[0], 5);
	assert_int_equal(visits[1], 1);
	assert_int_equal(visits[2], 1);
	assert_true(most <= 3);
	arena_done(&arena);
}

static void test_equal_weights_take_turns(void **state)
{
	const uint32_t weights[] = {100, 100, 100, 100};
	struct upstream_conf upstream = {0};
	struct arena arena;

	arena_init(&arena, 0, 1 << 20);
	build(&arena, &upstream, weights, 4);
	assert_int_equal(upstream.schedule_len, 4);
	for (unsigned int i = 0; i < 4; i++)
		assert_int_equal(upstream.schedule[i], i);
	arena_done(&arena);
}

static void test_large_weights_are_scaled_within_a_percent(void **state)
{
	const uint32_t weights[] = {65535, 32768, 7, 10000};
	struct upstream_conf upstream = {0};
	unsigned int visits[4] = {0};
	struct arena arena;

	arena_init(&arena, 0, 1 << 20);
	build(&arena, &upstream, weights, 4);
	assert_true(upstream.schedule_len <= 16384);
	for (unsigned int i = 0; i < upstream.schedule_len; i++)
		visits[upstream.schedule[i]]++;
	assert_true(visits[2] >= 1); /* a small weight still gets its turn */
	for (unsigned int i = 0; i < 4; i++) {
		double wanted = (double)weights[i] / (65535 + 32768 + 7 + 10000);
		double got = (double)visits[i] / upstream.schedule_len;

		assert_true(got - wanted < 0.01 && wanted - got < 0.01);
	}
	arena_done(&arena);
}

static void test_the_same_address_gets_the_same_endpoint_until_the_last_reference(void **state)
{
	struct registry *registry = registry_new();
	struct endpoint *first, *again, *other;
	struct sock_addr addr;

	assert_int_equal(sock_addr_parse(STR("192.0.2.1:80"), &addr, NULL), 0);
	assert_int_equal(endpoint_acquire(registry, STR("a"), &addr, 2, &first), 0);
	endpoint_count(first, 1, ENDPOINT_COUNTER_REQUESTS);
	assert_int_equal(endpoint_acquire(registry, STR("a"), &addr, 2, &again), 0);
	assert_ptr_equal(first, again);
	assert_int_equal(endpoint_counter_sum(again, ENDPOINT_COUNTER_REQUESTS), 1);

	assert_int_equal(endpoint_acquire(registry, STR("b"), &addr, 2, &other), 0);
	assert_ptr_not_equal(first, other);
	assert_int_not_equal(first->slot, other->slot);

	endpoint_unref(first);
	assert_int_equal(registry_sweep(registry), 0);
	endpoint_unref(again);
	endpoint_unref(other);
	assert_int_equal(registry_sweep(registry), 2);
	registry_free(registry);
}

static void test_slots_of_freed_endpoints_are_used_again(void **state)
{
	struct registry *registry = registry_new();
	unsigned int highest = 0;

	for (unsigned int i = 0; i < 1000; i++) {
		struct endpoint *endpoint;
		struct sock_addr addr = {.in = {.sin_family = AF_INET, .sin_port = (uint16_t)i},
					 .len = sizeof(struct sockaddr_in)};

		assert_int_equal(endpoint_acquire(registry, STR("a"), &addr, 1, &endpoint), 0);
		highest = endpoint->slot > highest ? endpoint->slot : highest;
		endpoint_unref(endpoint);
		registry_sweep(registry);
	}
	assert_true(highest < 4);
	registry_free(registry);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_cycle_visits_endpoints_by_weight_and_spread_out),
		cmocka_unit_test(test_equal_weights_take_turns),
		cmocka_unit_test(test_large_weights_are_scaled_within_a_percent),
		cmocka_unit_test(
			test_the_same_address_gets_the_same_endpoint_until_the_last_reference),
		cmocka_unit_test(test_slots_of_freed_endpoints_are_used_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "test_support.h"
#include "upstream/upstream.h"

static struct upstream_state *state_of(struct registry *registry, const char *name,
				       unsigned int workers)
{
	struct upstream_state *upstream;

	assert_int_equal(
		upstream_state_acquire(registry, str_from_cstr(name), workers, 0, &upstream), 0);
	return upstream;
}

static void test_the_same_address_gets_the_same_endpoint_until_the_last_reference(void **state)
{
	struct registry *registry = registry_new();
	struct upstream_state *one = state_of(registry, "a", 2);
	struct upstream_state *two = state_of(registry, "b", 2);
	struct endpoint *first, *again, *other;
	struct sock_addr addr;

	assert_int_equal(sock_addr_parse(STR("192.0.2.1:80"), &addr, NULL), 0);
	assert_int_equal(endpoint_acquire(registry, one, &addr, 0, &first), 0);
	endpoint_count(first, 1, ENDPOINT_COUNTER_REQUESTS);
	assert_int_equal(endpoint_acquire(registry, one, &addr, 0, &again), 0);
	assert_ptr_equal(first, again);
	assert_int_equal(endpoint_counter_sum(again, ENDPOINT_COUNTER_REQUESTS), 1);

	assert_int_equal(endpoint_acquire(registry, two, &addr, 0, &other), 0);
	assert_ptr_not_equal(first, other);
	assert_int_not_equal(first->slot, other->slot);

	endpoint_unref(first);
	assert_int_equal(registry_sweep(registry), 0);
	endpoint_unref(again);
	endpoint_unref(other);
	/* Endpoints keep their upstream. */
	upstream_state_unref(one);
	upstream_state_unref(two);
	assert_int_equal(registry_sweep(registry), 4);
	registry_free(registry);
}

static void test_slots_of_freed_endpoints_are_used_again(void **state)
{
	struct registry *registry = registry_new();
	struct upstream_state *upstream = state_of(registry, "a", 1);
	unsigned int highest = 0;

	for (unsigned int i = 0; i < 1000; i++) {
		struct endpoint *endpoint;
		struct sock_addr addr = {.in = {.sin_family = AF_INET, .sin_port = (uint16_t)i},
					 .len = sizeof(struct sockaddr_in)};

		assert_int_equal(endpoint_acquire(registry, upstream, &addr, 0, &endpoint), 0);
		highest = endpoint->slot > highest ? endpoint->slot : highest;
		endpoint_unref(endpoint);
		registry_sweep(registry);
	}
	assert_true(highest < 4);
	upstream_state_unref(upstream);
	registry_free(registry);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			test_the_same_address_gets_the_same_endpoint_until_the_last_reference),
		cmocka_unit_test(test_slots_of_freed_endpoints_are_used_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

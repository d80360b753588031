#include <errno.h>
#include <stdlib.h>

#include "upstream/maglev.h"
#include "upstream_fixture.h"

/* Weights of many kinds; row 0: equal ones. */
static uint32_t weight_of(unsigned int kind, unsigned int index)
{
	switch (kind) {
	case 0:
		return 100;
	case 1:
		return 1 + index % 5 * 10;
	default:
		return 1 + (uint32_t)(index * 2654435761u) % 1000;
	}
}

static void fixture_maglev(struct fixture *fixture, unsigned int count, unsigned int kind)
{
	uint32_t *weights = calloc(count, sizeof(*weights));

	assert_non_null(weights);
	for (unsigned int i = 0; i < count; i++)
		weights[i] = weight_of(kind, i);
	fixture_init(fixture, UPSTREAM_MAGLEV, count, weights);
	free(weights);
}

static unsigned int endpoints_max(void)
{
	const char *value = getenv("SLUICE_LONG");

	return value && !strcmp(value, "1") ? 1000 : 100;
}

static const unsigned int counts_of_endpoints[] = {2, 3, 10, 100, 1000};

/* Balance: no endpoint has more than 1.05 of its share. Weights: within half a percent of all. */
static void test_slots_are_shared_by_weight(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(counts_of_endpoints); i++) {
		unsigned int count = counts_of_endpoints[i];

		if (count > endpoints_max())
			continue;
		for (unsigned int kind = 0; kind < 3; kind++) {
			unsigned int *slots = calloc(count, sizeof(*slots));
			struct fixture fixture;
			double total = 0;

			fixture_maglev(&fixture, count, kind);
			for (uint32_t slot = 0; slot < MAGLEV_SLOTS; slot++) {
				unsigned int index = maglev_slot(fixture.upstream.maglev, slot);

				assert_in_range(index, 0, count - 1);
				slots[index]++;
			}
			for (unsigned int j = 0; j < count; j++)
				total += weight_of(kind, j);
			for (unsigned int j = 0; j < count; j++) {
				double share = weight_of(kind, j) / total;
				double got = (double)slots[j] / MAGLEV_SLOTS;

				/* A share of less than 20 slots cannot be kept so closely. */
				if (share * MAGLEV_SLOTS > 20)
					assert_true(got / share <= 1.05);
				assert_true(got - share <= 0.005 && share - got <= 0.005);
			}
			free(slots);
			fixture_done(&fixture);
		}
	}
}

/* The fixture's upstream without one endpoint. */
static void without(struct fixture *fixture, unsigned int index, struct upstream_conf *ret_upstream,
		    struct maglev **ret_maglev)
{
	unsigned int count = fixture->upstream.endpoint_count;

	*ret_upstream = fixture->upstream;
	ret_upstream->endpoint_count = count - 1;
	ret_upstream->endpoints = arena_new_array(&fixture->arena, struct endpoint_conf, count - 1);
	assert_non_null(ret_upstream->endpoints);
	for (unsigned int i = 0, j = 0; i < count; i++)
		if (i != index)
			ret_upstream->endpoints[j++] = fixture->upstream.endpoints[i];
	assert_int_equal(maglev_acquire(fixture->registry, ret_upstream, ret_maglev), 0);
	assert_int_equal(maglev_build(*ret_maglev, ret_upstream), 0);
}

static void test_at_most_a_percent_of_the_others_slots_move_when_one_leaves(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(counts_of_endpoints); i++) {
		unsigned int count = counts_of_endpoints[i];

		if (count > endpoints_max())
			continue;
		for (unsigned int kind = 0; kind < 3; kind++) {
			struct fixture fixture;

			fixture_maglev(&fixture, count, kind);
			for (unsigned int round = 0; round < MIN(count, 5u); round++) {
				unsigned int gone = round * count / 5 % count;
				unsigned int stayed = 0, moved = 0;
				struct upstream_conf rest;
				struct maglev *maglev;

				without(&fixture, gone, &rest, &maglev);
				for (uint32_t slot = 0; slot < MAGLEV_SLOTS; slot++) {
					unsigned int before =
						maglev_slot(fixture.upstream.maglev, slot);
					unsigned int now = maglev_slot(maglev, slot);

					now += now >= gone;
					if (before == gone)
						continue;
					if (before == now)
						stayed++;
					else
						moved++;
				}
				if (moved * 100 > stayed + moved)
					fail_msg("%u of %u slots moved, %u endpoints, weights %u",
						 moved, stayed + moved, count, kind);
				maglev_unref(maglev);
			}
			fixture_done(&fixture);
		}
	}
}

static void test_nodes_agree_whatever_the_order_of_the_endpoints(void **state)
{
	struct fixture fixture;
	struct upstream_conf turned;
	struct maglev *maglev;

	fixture_maglev(&fixture, 10, 1);
	turned = fixture.upstream;
	turned.endpoints = arena_new_array(&fixture.arena, struct endpoint_conf, 10);
	for (unsigned int i = 0; i < 10; i++)
		turned.endpoints[i] = fixture.upstream.endpoints[9 - i];
	assert_int_equal(maglev_acquire(fixture.registry, &turned, &maglev), 0);
	assert_ptr_not_equal(maglev, fixture.upstream.maglev);
	assert_int_equal(maglev_build(maglev, &turned), 0);
	for (uint32_t slot = 0; slot < MAGLEV_SLOTS; slot++)
		assert_int_equal(maglev_slot(fixture.upstream.maglev, slot),
				 9 - maglev_slot(maglev, slot));
	maglev_unref(maglev);
	fixture_done(&fixture);
}

static void test_a_key_stays_with_its_endpoint(void **state)
{
	struct fixture fixture;

	fixture_maglev(&fixture, 7, 0);
	for (uint64_t key = 0; key < 100000; key += 997) {
		int index = fixture_pick_key(&fixture, key * 0x9e3779b97f4a7c15u);

		for (unsigned int i = 0; i < 3; i++)
			assert_int_equal(fixture_pick_key(&fixture, key * 0x9e3779b97f4a7c15u),
					 index);
	}
	fixture_done(&fixture);
}

static void test_only_the_keys_of_an_ejected_endpoint_move_and_come_back(void **state)
{
	unsigned int taken[10] = {0}, moved = 0;
	struct fixture fixture;
	int before[5000], now;

	fixture_maglev(&fixture, 10, 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(before); i++)
		before[i] = fixture_pick_key(&fixture, i * 13ull);
	fixture_eject(&fixture, 4, 1000);
	for (unsigned int i = 0; i < ARRAY_SIZE(before); i++) {
		now = fixture_pick_key(&fixture, i * 13ull);
		assert_int_not_equal(now, 4);
		assert_int_equal(now, fixture_pick_key(&fixture, i * 13ull));
		if (before[i] != 4) {
			assert_int_equal(now, before[i]);
			continue;
		}
		taken[now]++;
		moved++;
	}
	/* They are spread, not handed to one neighbour. */
	assert_true(moved > 400);
	for (unsigned int i = 0; i < 10; i++)
		assert_true(i == 4 ? taken[i] == 0 : taken[i] < moved / 4);
	fixture.now_ms += 1000;
	for (unsigned int i = 0; i < ARRAY_SIZE(before); i++)
		assert_int_equal(fixture_pick_key(&fixture, i * 13ull), before[i]);
	fixture_done(&fixture);
}

static void test_without_a_key_requests_take_turns(void **state)
{
	struct fixture fixture;

	fixture_maglev(&fixture, 3, 0);
	for (int i = 0; i < 9; i++)
		assert_int_equal(fixture_pick(&fixture), i % 3);
	fixture_done(&fixture);
}

static void test_the_same_endpoints_share_one_table(void **state)
{
	struct fixture fixture;
	struct maglev *again, *other;

	fixture_maglev(&fixture, 4, 0);
	assert_int_equal(maglev_acquire(fixture.registry, &fixture.upstream, &again), 0);
	assert_ptr_equal(again, fixture.upstream.maglev);
	fixture.upstream.endpoints[2].weight++;
	assert_int_equal(maglev_acquire(fixture.registry, &fixture.upstream, &other), 0);
	assert_ptr_not_equal(other, again);
	maglev_unref(again);
	maglev_unref(other);
	fixture_done(&fixture);
}

static int build_one(void *arg)
{
	struct fixture *fixture = arg;
	struct maglev *maglev;
	int ret = maglev_acquire(fixture->registry, &fixture->upstream, &maglev);

	if (ret < 0)
		return ret;
	ret = maglev_build(maglev, &fixture->upstream);
	maglev_unref(maglev);
	(void)registry_sweep(fixture->registry);
	return ret;
}

static void test_a_table_without_memory_is_reported(void **state)
{
	struct fixture fixture;

	fixture_maglev(&fixture, 4, 0);
	maglev_unref(fixture.upstream.maglev);
	fixture.upstream.maglev = NULL;
	(void)registry_sweep(fixture.registry);
	assert_true(test_failing_each_allocation(build_one, &fixture) >= 4);
	fixture_done(&fixture);
}

/* 65,537 slots of 16 bits each would be 1.3 GB. */
static void test_ten_thousand_small_tables_are_small(void **state)
{
	struct fixture fixture;

	fixture_maglev(&fixture, 2, 0);
	assert_true(maglev_bytes(fixture.upstream.maglev) <= 8 * 1024 + 64);
	fixture_done(&fixture);
	fixture_maglev(&fixture, 100, 0);
	assert_true(maglev_bytes(fixture.upstream.maglev) <= 56 * 1024 + 1024);
	fixture_done(&fixture);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_slots_are_shared_by_weight),
		cmocka_unit_test(test_at_most_a_percent_of_the_others_slots_move_when_one_leaves),
		cmocka_unit_test(test_nodes_agree_whatever_the_order_of_the_endpoints),
		cmocka_unit_test(test_a_key_stays_with_its_endpoint),
		cmocka_unit_test(test_only_the_keys_of_an_ejected_endpoint_move_and_come_back),
		cmocka_unit_test(test_without_a_key_requests_take_turns),
		cmocka_unit_test(test_the_same_endpoints_share_one_table),
		cmocka_unit_test(test_a_table_without_memory_is_reported),
		cmocka_unit_test(test_ten_thousand_small_tables_are_small),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

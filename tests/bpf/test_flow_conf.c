/* What the loader gives a new flow table, and what it keeps of one that is pinned. */
#include <bpf/bpf.h>
#include <string.h>

#include "tests/bpf/bpf_env.h"
#include "kern/dataplane_internal.h"
#include "kern/flow_conf.h"
#include "xdp_main.skel.h"

static void read_conf(struct dataplane *dataplane, struct sl_flow_conf *ret_conf)
{
	uint32_t zero = 0;

	assert_int_equal(
		bpf_map_lookup_elem(dataplane->maps[DATAPLANE_MAP_FLOW_CONF], &zero, ret_conf), 0);
}

static void test_rate_of_jiffies_is_measured(void **state)
{
	struct error err = {0};
	uint32_t first = 0, second = 0;

	env_require();

	assert_int_equal(flow_clock_measure(&first, &err), 0);
	assert_int_equal(flow_clock_measure(&second, &err), 0);
	assert_true(first == 100 || first == 250 || first == 300 || first == 1000);
	assert_int_equal(first, second);
}

static void test_a_table_keeps_its_keys_for_all_programs_over_it(void **state)
{
	struct dataplane *dataplane = NULL;
	struct sl_flow_conf first, second;
	struct error err = {0};

	env_require();
	env_assert_ok(dataplane_open(ENV_DIR, &dataplane, &err), &err);
	read_conf(dataplane, &first);
	dataplane_free(dataplane);
	env_assert_ok(dataplane_open(ENV_DIR, &dataplane, &err), &err);
	read_conf(dataplane, &second);
	assert_memory_equal(&first, &second, sizeof(first));
	/* The program that was loaded last goes by the same. */
	assert_memory_equal((const void *)&dataplane->xdp->rodata->flow_conf, &first,
			    sizeof(first));
	dataplane_free(dataplane);
	assert_int_equal(first.line_count, SL_FLOW_LINES_MAX);
	assert_int_equal(first.key_count, SL_SERVICE_KEYS_MAX);
	for (int i = 0; i < SL_HASH_KEYS; i++)
		assert_true(first.hash_keys[i] != 0);

	env_assert_ok(dataplane_unload(ENV_DIR, &err), &err);
	env_assert_ok(dataplane_open(ENV_DIR, &dataplane, &err), &err);
	read_conf(dataplane, &second);
	dataplane_free(dataplane);
	assert_memory_not_equal(first.hash_keys, second.hash_keys, sizeof(first.hash_keys));
	env_assert_ok(dataplane_unload(ENV_DIR, &err), &err);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rate_of_jiffies_is_measured),
		cmocka_unit_test(test_a_table_keeps_its_keys_for_all_programs_over_it),
	};

	return cmocka_run_group_tests(tests, env_setup, NULL);
}

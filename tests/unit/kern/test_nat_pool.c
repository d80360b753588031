/*
 * Source addresses of forward mode nat: who gets which slots, and what is kept for old flows.
 */
#include "tests/unit/test_support.h"

#include <arpa/inet.h>
#include <errno.h>

#include "kern/nat_pool.h"

#define SECOND_NS 1000000000ULL

static struct sl_nat_conf conf;
static struct nat_source sources[SL_NAT_ADDRESSES_MAX + 1];
static struct nat_pool_conf wanted = {
	.sources = sources,
	.idle = {900000, 60000, 60000, 60000, 30000},
};
static uint32_t made[SL_NAT_ADDRESSES_MAX];
static int table_error;

static int make(uint32_t index, void *arg)
{
	made[index]++;
	return table_error;
}

static void want(unsigned int first, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++)
		sources[i] = (struct nat_source){htonl(0xc6120001 + first + i), 1024, 65535};
	wanted.source_count = count;
}

static int apply(uint64_t now_s)
{
	return nat_pool_plan(&conf, &wanted, now_s * SECOND_NS, make, NULL);
}

static void begin(void)
{
	memset(&conf, 0, sizeof(conf));
	memset(made, 0, sizeof(made));
	table_error = 0;
}

static unsigned int slots_of(const struct sl_nat_slot *slots, uint32_t addr_be)
{
	unsigned int count = 0;

	for (unsigned int i = 0; i < SL_NAT_SLOTS; i++)
		count += slots[i].line_count && conf.addresses[slots[i].address].addr_be == addr_be;
	return count;
}

/* As the kernel part looks for it. */
static bool is_found(uint32_t addr_be)
{
	for (unsigned int probe = 0; probe < SL_NAT_PROBES; probe++) {
		uint8_t place = conf.places[SL_NAT_PLACE(addr_be, probe)];

		if (!place)
			return false;
		if (conf.addresses[place - 1].addr_be == addr_be)
			return true;
	}
	return false;
}

static void test_slots_are_shared_evenly_and_all_addresses_found(void **state)
{
	for (unsigned int count = 1; count <= SL_NAT_ADDRESSES_MAX; count++) {
		begin();
		want(0, count);
		assert_int_equal(apply(1000), 0);
		assert_int_equal(conf.is_on, 1);
		for (unsigned int i = 0; i < count; i++) {
			unsigned int has = slots_of(conf.current, sources[i].addr_be);

			assert_in_range(has, SL_NAT_SLOTS / count,
					(SL_NAT_SLOTS + count - 1) / count);
			assert_true(is_found(sources[i].addr_be));
		}
		assert_false(is_found(htonl(0xc6120001 + count)));
	}
}

static void test_the_same_again_changes_nothing(void **state)
{
	struct sl_nat_conf before;

	begin();
	want(0, 5);
	assert_int_equal(apply(1000), 0);
	before = conf;
	assert_int_equal(apply(5000), 0);
	assert_memory_equal(&before, &conf, sizeof(conf));
}

static void test_moved_slots_remember_where_flows_were_until_those_have_ended(void **state)
{
	begin();
	want(0, 2);
	assert_int_equal(apply(1000), 0);
	want(1, 2); /* the first goes, a third comes */
	assert_int_equal(apply(2000), 0);
	assert_int_equal(slots_of(conf.current, htonl(0xc6120001)), 0);
	assert_int_equal(slots_of(conf.previous, htonl(0xc6120001)), 32);
	assert_int_equal(slots_of(conf.current, htonl(0xc6120002)), 32);
	assert_int_equal(slots_of(conf.previous, htonl(0xc6120002)), 0);
	assert_true(is_found(htonl(0xc6120001)));
	nat_pool_forget(&conf, 2800 * SECOND_NS);
	assert_true(is_found(htonl(0xc6120001)));
	nat_pool_forget(&conf, 2910 * SECOND_NS);
	assert_false(is_found(htonl(0xc6120001)));
	assert_int_equal(slots_of(conf.previous, htonl(0xc6120001)), 0);
	assert_true(is_found(htonl(0xc6120002)));
	assert_true(is_found(htonl(0xc6120003)));
}

static void test_an_address_gets_a_new_table_only_when_it_comes(void **state)
{
	begin();
	want(0, 2);
	assert_int_equal(apply(1000), 0);
	want(0, 3);
	assert_int_equal(apply(1001), 0);
	assert_int_equal(made[0], 1);
	assert_int_equal(made[1], 1);
	assert_int_equal(made[2], 1);
	want(3, 1);
	assert_int_equal(apply(9000), 0);
	nat_pool_forget(&conf, 20000 * SECOND_NS);
	want(0, 1); /* comes back, and its old flows are not there */
	assert_int_equal(apply(20001), 0);
	assert_int_equal(made[0] + made[1] + made[2] + made[3], 5);
}

static void test_ports_of_former_ranges_are_still_ours(void **state)
{
	begin();
	want(0, 1);
	sources[0].port_first = 40000;
	sources[0].port_last = 49999;
	assert_int_equal(apply(1000), 0);
	assert_int_equal(conf.addresses[0].line_first, 10000);
	assert_int_equal(conf.addresses[0].line_count, 2500);
	sources[0].port_first = 60000;
	sources[0].port_last = 60003;
	assert_int_equal(apply(1001), 0);
	assert_int_equal(conf.current[0].line_first, 15000);
	assert_int_equal(conf.current[0].line_count, 1);
	assert_int_equal(conf.previous[0].line_first, 10000);
	assert_int_equal(conf.addresses[0].line_first, 10000);
	assert_int_equal(conf.addresses[0].line_count, 5001);
	assert_int_equal(apply(9000), 0); /* they have ended */
	assert_int_equal(conf.addresses[0].line_first, 15000);
	assert_int_equal(conf.addresses[0].line_count, 1);
}

static void test_all_addresses_gone_turns_it_off_when_flows_have_ended(void **state)
{
	begin();
	want(0, 1);
	assert_int_equal(apply(1000), 0);
	want(0, 0);
	assert_int_equal(apply(1001), 0);
	assert_int_equal(conf.is_on, 1);
	assert_int_equal(slots_of(conf.previous, htonl(0xc6120001)), SL_NAT_SLOTS);
	nat_pool_forget(&conf, 3000 * SECOND_NS);
	assert_int_equal(conf.is_on, 0);
}

static void test_addresses_come_and_go_for_long_without_filling_the_places(void **state)
{
	begin();
	for (unsigned int round = 0; round < 500; round++) {
		want(round * 7, 16);
		assert_int_equal(apply(10000 * (uint64_t)(round + 1)), 0);
		for (unsigned int i = 0; i < 16; i++)
			assert_true(is_found(sources[i].addr_be));
	}
}

static void test_errors_leave_what_was(void **state)
{
	begin();
	want(0, SL_NAT_ADDRESSES_MAX + 1);
	assert_int_equal(apply(1000), -ENOSPC);
	assert_int_equal(conf.is_on, 0);
	want(0, 1);
	assert_int_equal(apply(1000), 0);
	want(1, 1);
	table_error = -ENOMEM;
	assert_int_equal(apply(1001), -ENOMEM);
	assert_int_equal(slots_of(conf.current, htonl(0xc6120001)), SL_NAT_SLOTS);
	assert_false(is_found(sources[0].addr_be));
}

static void test_limits_are_what_the_times_say(void **state)
{
	begin();
	want(0, 1);
	assert_int_equal(apply(1000), 0);
	assert_int_equal(conf.limits[SL_NAT_FREE], 0);
	assert_int_equal(conf.limits_pressed[SL_NAT_FREE], 0);
	assert_int_equal(conf.limits[SL_NAT_ESTABLISHED], SL_NAT_LIMIT_OF(900));
	assert_int_equal(conf.limits_pressed[SL_NAT_ESTABLISHED], SL_NAT_LIMIT_OF(900));
	assert_int_equal(conf.limits_pressed[SL_NAT_LIMIT(SL_NAT_ESTABLISHED, 1)],
			 SL_NAT_LIMIT_OF(10));
	assert_int_equal(conf.limits[SL_NAT_UDP_NEW], SL_NAT_LIMIT_OF(30));
	for (unsigned int i = 0; i < SL_NAT_LIMITS; i++)
		assert_true(conf.limits_pressed[i] <= conf.limits[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_slots_are_shared_evenly_and_all_addresses_found),
		cmocka_unit_test(test_the_same_again_changes_nothing),
		cmocka_unit_test(test_moved_slots_remember_where_flows_were_until_those_have_ended),
		cmocka_unit_test(test_an_address_gets_a_new_table_only_when_it_comes),
		cmocka_unit_test(test_ports_of_former_ranges_are_still_ours),
		cmocka_unit_test(test_all_addresses_gone_turns_it_off_when_flows_have_ended),
		cmocka_unit_test(test_addresses_come_and_go_for_long_without_filling_the_places),
		cmocka_unit_test(test_errors_leave_what_was),
		cmocka_unit_test(test_limits_are_what_the_times_say),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

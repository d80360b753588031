#include "http/source_table.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "http/http_node.h"
#include "test_support.h"

static struct ip_addr v4(uint32_t number)
{
	struct ip_addr addr = {.family = AF_INET};

	memcpy(addr.bytes, &number, sizeof(number));
	return addr;
}

static struct ip_addr parsed(const char *text)
{
	struct ip_addr addr;

	assert_int_equal(ip_addr_parse(str_from_cstr(text), &addr), 0);
	return addr;
}

static int take(struct source_table *table, const char *listener, const char *addr, uint32_t limit,
		struct source_lease *lease)
{
	struct ip_addr parsed_addr = parsed(addr);

	return source_table_take(table, str_from_cstr(listener), &parsed_addr, limit, lease);
}

static void test_the_limit_is_exact_and_what_is_given_back_can_be_taken_again(void **state)
{
	struct source_table *table = source_table_new(16);
	struct source_lease leases[3] = {0}, one_more = {0};

	for (unsigned int round = 0; round < 3; round++) {
		for (unsigned int i = 0; i < 3; i++)
			assert_int_equal(take(table, "web", "192.0.2.1", 3, &leases[i]), 0);
		assert_int_equal(take(table, "web", "192.0.2.1", 3, &one_more), -EUSERS);
		assert_null(one_more.cell);
		source_lease_give_back(&leases[round]);
		assert_null(leases[round].cell);
		source_lease_give_back(&leases[round]); /* harmless */
		assert_int_equal(take(table, "web", "192.0.2.1", 3, &leases[round]), 0);
		for (unsigned int i = 0; i < 3; i++)
			source_lease_give_back(&leases[i]);
	}
	source_table_free(table);
}

static void test_addresses_and_listeners_count_apart_and_ipv6_by_64(void **state)
{
	static const struct {
		const char *listener, *addr;
		bool same; /* as the first */
	} rows[] = {
		{"web", "192.0.2.1", true},	   {"web", "192.0.2.2", false},
		{"plain", "192.0.2.1", false},	   {"web", "2001:db8::1", false},
		{"web", "2001:db8:0:1::1", false}, {"we", "192.0.2.1", false},
		{"web", "c000:201::", false},
	};
	struct source_table *table = source_table_new(1024);
	struct source_lease first = {0}, lease = {0};

	assert_int_equal(take(table, "web", "192.0.2.1", 1, &first), 0);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		int ret = take(table, rows[i].listener, rows[i].addr, 1, &lease);

		assert_row(rows[i].addr, ret == (rows[i].same ? -EUSERS : 0));
	}
	/* The same customer in another part of its /64. */
	assert_int_equal(take(table, "web", "2001:db8::ffff:1", 1, &lease), -EUSERS);
	source_table_free(table);
}

static void test_a_full_table_makes_the_limit_stricter_and_recovers(void **state)
{
	enum { SOURCES = 5000, LIMIT = 4 };
	struct source_table *table = source_table_new(1); /* eight cells */
	static struct source_lease leases[SOURCES * LIMIT];
	unsigned int taken = 0, own = 0, refused = 0;
	struct source_lease lease = {0};

	for (uint32_t i = 0; i < SOURCES; i++) {
		struct ip_addr addr = v4(i + 1);

		for (unsigned int j = 0; j < LIMIT; j++) {
			if (source_table_take(table, STR("web"), &addr, LIMIT, &leases[taken])) {
				refused++;
				continue;
			}
			own += !leases[taken].shared;
			taken++;
		}
		/* No address ever has more than its limit. */
		if (i < 8)
			assert_int_equal(source_table_take(table, STR("web"), &addr, LIMIT, &lease),
					 -EUSERS);
	}
	assert_int_equal(own, 8 * LIMIT);
	assert_true(refused > 0);
	assert_true(taken <= 8 * LIMIT + SOURCE_SHARED_ROWS * LIMIT);
	while (taken)
		source_lease_give_back(&leases[--taken]);
	assert_int_equal(take(table, "web", "192.0.2.1", 1, &lease), 0);
	assert_false(lease.shared);
	source_lease_give_back(&lease);
	source_table_free(table);
}

enum { THREADS = 4, TURNS = 20000, MANY_LIMIT = 10, EACH = 16 };

struct crowd {
	struct source_table *table;
	atomic_uint open, most;
};

static void *push(void *arg)
{
	struct crowd *crowd = arg;
	struct ip_addr addr = parsed("198.51.100.7");
	struct source_lease leases[EACH] = {0};

	for (unsigned int turn = 0; turn < TURNS; turn++) {
		struct source_lease *lease = &leases[turn % EACH];
		unsigned int open, most;

		if (lease->cell) {
			atomic_fetch_sub(&crowd->open, 1);
			source_lease_give_back(lease);
			continue;
		}
		if (source_table_take(crowd->table, STR("web"), &addr, MANY_LIMIT, lease))
			continue;
		open = atomic_fetch_add(&crowd->open, 1) + 1;
		most = atomic_load(&crowd->most);
		while (open > most && !atomic_compare_exchange_weak(&crowd->most, &most, open))
			;
	}
	for (unsigned int i = 0; i < EACH; i++) {
		if (leases[i].cell)
			atomic_fetch_sub(&crowd->open, 1);
		source_lease_give_back(&leases[i]);
	}
	return NULL;
}

static void test_threads_pass_the_limit_by_less_than_their_number(void **state)
{
	struct crowd crowd = {.table = source_table_new(64)};
	struct source_lease leases[MANY_LIMIT], lease;
	pthread_t threads[THREADS];

	for (unsigned int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, push, &crowd), 0);
	for (unsigned int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_in_range(crowd.most, MANY_LIMIT, MANY_LIMIT + THREADS - 1);
	/* Nothing was lost or kept. */
	for (unsigned int i = 0; i < MANY_LIMIT; i++)
		assert_int_equal(take(crowd.table, "web", "198.51.100.7", MANY_LIMIT, &leases[i]),
				 0);
	assert_int_equal(take(crowd.table, "web", "198.51.100.7", MANY_LIMIT, &lease), -EUSERS);
	source_table_free(crowd.table);
}

static void test_memory_levels_end_below_where_they_begin(void **state)
{
	static const struct {
		const char *row;
		uint64_t used;
		enum memory_level current, expected;
	} rows[] = {
		{"nothing", 0, MEMORY_EASY, MEMORY_EASY},
		{"just below", 749, MEMORY_EASY, MEMORY_EASY},
		{"no accept", 750, MEMORY_EASY, MEMORY_NO_ACCEPT},
		{"stays", 700, MEMORY_NO_ACCEPT, MEMORY_NO_ACCEPT},
		{"over", 699, MEMORY_NO_ACCEPT, MEMORY_EASY},
		{"shrink", 850, MEMORY_NO_ACCEPT, MEMORY_SHRINK},
		{"shrink at once", 850, MEMORY_EASY, MEMORY_SHRINK},
		{"shrink stays", 800, MEMORY_SHRINK, MEMORY_SHRINK},
		{"back to no accept", 799, MEMORY_SHRINK, MEMORY_NO_ACCEPT},
		{"shed", 950, MEMORY_SHRINK, MEMORY_SHED},
		{"shed stays", 900, MEMORY_SHED, MEMORY_SHED},
		{"back to shrink", 899, MEMORY_SHED, MEMORY_SHRINK},
		{"all the way down", 1, MEMORY_SHED, MEMORY_EASY},
		{"beyond", 5000, MEMORY_EASY, MEMORY_SHED},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		assert_row(rows[i].row, memory_level_at(rows[i].used, 1000, rows[i].current) ==
						rows[i].expected);
	assert_int_equal(memory_level_at(31, 32, MEMORY_EASY), MEMORY_SHED);
	assert_string_equal(memory_level_name(MEMORY_NO_ACCEPT), "no-accept");
}

static int make_node(void *arg)
{
	struct http_node *node = NULL;
	int ret = http_node_new(3, 1 << 20, &node);

	if (ret)
		return ret;
	assert_int_equal(http_node_memory(node), 0);
	node->rows[2].memory_bytes = 5;
	node->rows[0].memory_bytes = 6;
	assert_int_equal(http_node_memory(node), 11);
	http_node_free(node);
	return 0;
}

static void test_a_node_without_memory_says_so(void **state)
{
	assert_true(test_failing_each_allocation(make_node, NULL) >= 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_limit_is_exact_and_what_is_given_back_can_be_taken_again),
		cmocka_unit_test(test_addresses_and_listeners_count_apart_and_ipv6_by_64),
		cmocka_unit_test(test_a_full_table_makes_the_limit_stricter_and_recovers),
		cmocka_unit_test(test_threads_pass_the_limit_by_less_than_their_number),
		cmocka_unit_test(test_memory_levels_end_below_where_they_begin),
		cmocka_unit_test(test_a_node_without_memory_says_so),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

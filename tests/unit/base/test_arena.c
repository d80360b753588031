#include "test_support.h"

#include <errno.h>

#include "base/arena.h"

static void test_cap_is_exact_and_overflow_is_sticky_until_reset(void **state)
{
	struct arena arena;

	arena_init(&arena, 64, 100);
	assert_non_null(arena_alloc_bytes(&arena, 60));
	assert_non_null(arena_alloc_bytes(&arena, 40));
	assert_false(arena.overflowed);
	assert_null(arena_alloc_bytes(&arena, 1));
	assert_true(arena.overflowed);
	assert_non_null(arena_alloc_bytes(&arena, 0));
	assert_true(arena.overflowed);
	arena_reset(&arena);
	assert_false(arena.overflowed);
	assert_int_equal(arena.used_bytes, 0);
	assert_non_null(arena_alloc_bytes(&arena, 100));
	arena_done(&arena);
}

static void test_allocations_are_aligned_for_any_type(void **state)
{
	struct arena arena;

	arena_init(&arena, 0, 1 << 20);
	for (size_t len = 1; len < 40; len++) {
		assert_non_null(arena_alloc_bytes(&arena, len));
		assert_int_equal((uintptr_t)arena_alloc(&arena, len) % _Alignof(max_align_t), 0);
	}
	arena_done(&arena);
}

static void test_zeroed_memory_is_zero_after_a_reset_too(void **state)
{
	struct arena arena;
	unsigned char *bytes;

	arena_init(&arena, 128, 1 << 20);
	memset(arena_alloc(&arena, 100), 0xff, 100);
	arena_reset(&arena);
	bytes = arena_new_array(&arena, unsigned char, 100);
	assert_non_null(bytes);
	for (size_t i = 0; i < 100; i++)
		assert_int_equal(bytes[i], 0);
	arena_done(&arena);
}

static void test_reset_keeps_the_first_chunk_so_reuse_allocates_nothing(void **state)
{
	struct arena arena;
	void *first;

	arena_init(&arena, 256, 1 << 20);
	first = arena_alloc(&arena, 100);
	assert_non_null(arena_alloc(&arena, 200));
	arena_reset(&arena);
	alloc_fail_arm(0);
	assert_ptr_equal(arena_alloc(&arena, 100), first);
	assert_false(alloc_fail_disarm());
	arena_done(&arena);
}

static void test_reset_gives_an_oversized_first_chunk_back(void **state)
{
	struct arena arena;

	arena_init(&arena, 256, 1 << 20);
	assert_non_null(arena_alloc(&arena, 100000));
	arena_reset(&arena);
	assert_null(arena.first);
	assert_non_null(arena_alloc(&arena, 10));
	arena_done(&arena);
}

static void test_big_piece_leaves_room_of_the_current_chunk_usable(void **state)
{
	struct arena arena;
	char *before, *after;

	arena_init(&arena, 256, 1 << 20);
	before = arena_alloc_bytes(&arena, 16);
	memset(arena_alloc_bytes(&arena, 1000), 1, 1000);
	after = arena_alloc_bytes(&arena, 16);
	assert_ptr_equal(after, before + 16);
	memset(before, 2, 32);
	arena_done(&arena);
}

static void test_absurd_sizes_overflow_instead_of_wrapping(void **state)
{
	struct arena arena;

	arena_init(&arena, 64, SIZE_MAX);
	assert_non_null(arena_alloc_bytes(&arena, 3));
	assert_null(arena_alloc(&arena, SIZE_MAX));
	assert_null(arena_alloc(&arena, SIZE_MAX - 8));
	assert_null(arena_alloc_zero_array(&arena, SIZE_MAX / 2, 3));
	assert_null(arena_copy(&arena, str_make("", SIZE_MAX)).ptr);
	assert_true(arena.overflowed);
	arena_done(&arena);
}

static void test_copy_and_printf_end_in_a_nul_that_is_not_counted(void **state)
{
	struct arena arena;
	struct str text;

	arena_init(&arena, 64, 64);
	text = arena_copy(&arena, STR("abc"));
	assert_str(text, "abc");
	assert_int_equal(text.ptr[3], 0);
	text = arena_printf(&arena, "%s-%d", "x", 12);
	assert_str(text, "x-12");
	assert_int_equal(text.ptr[4], 0);
	text = arena_copy(&arena, STR_NULL);
	assert_str(text, "");
	assert_null(arena_printf(&arena, "%100s", "x").ptr);
	assert_true(arena.overflowed);
	arena_done(&arena);
}

static int fill_arena(void *arg)
{
	struct arena arena;
	int r = 0;

	arena_init(&arena, 64, 1 << 20);
	for (int i = 0; i < 10; i++)
		if (!arena_alloc(&arena, 50))
			r = -ENOMEM;
	if ((r != 0) != arena.overflowed)
		r = -EPROTO;
	arena_done(&arena);
	arena_done(&arena);
	return r;
}

static void test_failed_allocation_sets_the_flag_and_leaks_nothing(void **state)
{
	assert_int_equal(test_failing_each_allocation(fill_arena, NULL), 10);
}

struct release_log {
	unsigned int count;
	int order[4];
};

struct released {
	struct release_log *log;
	int number;
};

static void log_release(void *object)
{
	struct released *released = object;

	released->log->order[released->log->count++] = released->number;
}

static void test_what_is_linked_to_an_arena_is_released_once_before_its_memory(void **state)
{
	struct release_log log = {0};
	struct arena arena;

	arena_init(&arena, 256, 4096);
	for (int end = 0; end < 2; end++) {
		memset(&log, 0, sizeof(log));
		for (int number = 1; number <= 3; number++) {
			struct released *released = arena_new(&arena, struct released);

			*released = (struct released){&log, number};
			assert_true(arena_at_end(&arena, log_release, released));
		}
		if (end)
			arena_done(&arena);
		else
			arena_reset(&arena);
		assert_int_equal(log.count, 3);
		for (int i = 0; i < 3; i++)
			assert_int_equal(log.order[i], 3 - i);
		arena_reset(&arena);
		assert_int_equal(log.count, 3);
	}
	arena_init(&arena, 256, 8);
	assert_false(arena_at_end(&arena, log_release, &log));
	assert_true(arena.overflowed);
	arena_done(&arena);
	assert_int_equal(log.count, 3);
}

static void test_account_follows_what_the_chunks_take(void **state)
{
	size_t account = 100;
	struct arena arena;

	arena_init(&arena, 1000, 100000);
	arena.account = &account;
	assert_non_null(arena_alloc(&arena, 10));
	assert_in_range(account, 1100, 1200);
	assert_non_null(arena_alloc(&arena, 5000));
	assert_in_range(account, 6100, 6300);
	assert_null(arena_alloc(&arena, 100000));
	assert_in_range(account, 6100, 6300);
	arena_reset(&arena); /* keeps the first chunk */
	assert_in_range(account, 1100, 1200);
	arena_done(&arena);
	assert_int_equal(account, 100);
	assert_non_null(arena_alloc(&arena, 10)); /* and goes on counting */
	assert_true(account > 100);
	arena_done(&arena);
	assert_int_equal(account, 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_account_follows_what_the_chunks_take),
		cmocka_unit_test(test_cap_is_exact_and_overflow_is_sticky_until_reset),
		cmocka_unit_test(test_allocations_are_aligned_for_any_type),
		cmocka_unit_test(test_zeroed_memory_is_zero_after_a_reset_too),
		cmocka_unit_test(test_reset_keeps_the_first_chunk_so_reuse_allocates_nothing),
		cmocka_unit_test(test_reset_gives_an_oversized_first_chunk_back),
		cmocka_unit_test(test_big_piece_leaves_room_of_the_current_chunk_usable),
		cmocka_unit_test(test_absurd_sizes_overflow_instead_of_wrapping),
		cmocka_unit_test(test_copy_and_printf_end_in_a_nul_that_is_not_counted),
		cmocka_unit_test(
			test_what_is_linked_to_an_arena_is_released_once_before_its_memory),
		cmocka_unit_test(test_failed_allocation_sets_the_flag_and_leaks_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

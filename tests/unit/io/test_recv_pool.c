#include "io/io_test.h"

#include "io/recv_pool.h"

enum { MAX_BUFS = 150, BUF_BYTES = 4096 };

static void test_the_pool_gives_no_more_than_its_maximum(void **state)
{
	struct recv_buf *bufs[MAX_BUFS];
	struct recv_pool *pool = NULL;

	assert_int_equal(recv_pool_new(BUF_BYTES, 16, MAX_BUFS, &pool), 0);
	assert_int_equal(recv_pool_spare(pool), MAX_BUFS);
	for (int i = 0; i < MAX_BUFS; i++) {
		bufs[i] = recv_pool_take(pool);
		assert_non_null(bufs[i]);
		assert_int_equal(bufs[i]->size_bytes, BUF_BYTES);
		memset(bufs[i]->data, i, BUF_BYTES);
		recv_pool_hand_out(bufs[i], BUF_BYTES);
	}
	assert_null(recv_pool_take(pool));
	assert_int_equal(recv_pool_spare(pool), 0);
	assert_int_equal(recv_pool_held(pool), MAX_BUFS);
	for (int i = 0; i < MAX_BUFS; i++) {
		struct str bytes = recv_buf_str(bufs[i]);

		assert_int_equal(bytes.len, BUF_BYTES);
		for (size_t j = 0; j < bytes.len; j++)
			assert_int_equal((uint8_t)bytes.ptr[j], i);
	}
	for (int i = 0; i < MAX_BUFS; i++)
		recv_buf_unref(bufs[i]);
	assert_int_equal(recv_pool_held(pool), 0);
	assert_int_equal(recv_pool_held_max(pool), MAX_BUFS);
	assert_int_equal(recv_pool_spare(pool), MAX_BUFS);
	recv_pool_free(pool);
}

static void test_a_buffer_returns_with_its_last_reference(void **state)
{
	struct recv_pool *pool = NULL;
	struct recv_buf *buf;

	assert_int_equal(recv_pool_new(BUF_BYTES, 1, 1, &pool), 0);
	buf = recv_pool_take(pool);
	assert_non_null(buf);
	recv_pool_hand_out(buf, 1);
	recv_buf_ref(buf);
	recv_buf_unref(buf);
	assert_null(recv_pool_take(pool));
	recv_buf_unref(buf);
	recv_buf_unref(NULL);
	buf = recv_pool_take(pool);
	assert_non_null(buf);
	recv_pool_put_back(buf);
	assert_int_equal(recv_pool_held(pool), 0);
	recv_pool_free(pool);
}

static unsigned long resident_pages(void)
{
	unsigned long size = 0, resident = 0;
	FILE *file = fopen("/proc/self/statm", "r");

	assert_non_null(file);
	assert_int_equal(fscanf(file, "%lu %lu", &size, &resident), 2);
	(void)fclose(file);
	return resident;
}

static void test_unused_memory_is_given_back(void **state)
{
	enum { MANY = 4096 };
	static struct recv_buf *bufs[MANY];
	struct recv_pool *pool = NULL;
	unsigned long full;

	assert_int_equal(recv_pool_new(BUF_BYTES, 16, MANY, &pool), 0);
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < MANY; i++) {
			bufs[i] = recv_pool_take(pool);
			assert_non_null(bufs[i]);
			memset(bufs[i]->data, 1, BUF_BYTES);
			recv_pool_hand_out(bufs[i], BUF_BYTES);
		}
		recv_pool_trim(pool);
		for (int i = 0; i < MANY; i++)
			assert_int_equal(bufs[i]->data[BUF_BYTES - 1], 1);
		for (int i = 0; i < MANY; i++)
			recv_buf_unref(bufs[i]);
		full = resident_pages();
		recv_pool_trim(pool); /* they were in use since the last one */
		assert_true(resident_pages() + MANY / 2 > full);
		recv_pool_trim(pool);
		assert_true(resident_pages() + MANY / 2 < full);
	}
	recv_pool_free(pool);
}

static void test_wrong_sizes_are_refused(void **state)
{
	static const uint32_t wrong[][3] = {{0, 16, 16},     {64, 0, 16},     {64, 3, 16},
					    {64, 16, 0},     {64, 16, 65537}, {64, 65536, 65536},
					    {1u << 31, 1, 1}};

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		struct recv_pool *pool = NULL;

		if (recv_pool_new(wrong[i][0], wrong[i][1], wrong[i][2], &pool) != -EINVAL)
			fail_msg("row %zu was taken", i);
		assert_null(pool);
	}
	recv_pool_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_pool_gives_no_more_than_its_maximum),
		cmocka_unit_test(test_a_buffer_returns_with_its_last_reference),
		cmocka_unit_test(test_unused_memory_is_given_back),
		cmocka_unit_test(test_wrong_sizes_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

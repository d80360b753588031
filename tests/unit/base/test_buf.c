#include "test_support.h"

#include <errno.h>
#include <stdlib.h>

#include "base/buf.h"

static void test_append_past_the_cap_changes_nothing(void **state)
{
	struct buf buf;
	char *room;

	buf_init(&buf, 8);
	assert_str(buf_str(&buf), "");
	assert_int_equal(buf_append(&buf, STR("12345")), 0);
	assert_int_equal(buf_append(&buf, STR("6789")), -EMSGSIZE);
	assert_int_equal(buf_printf(&buf, "%s", "6789"), -EMSGSIZE);
	assert_int_equal(buf_reserve(&buf, SIZE_MAX, &room), -EMSGSIZE);
	assert_str(buf_str(&buf), "12345");
	assert_int_equal(buf_printf(&buf, "%d", 678), 0);
	assert_str(buf_str(&buf), "12345678");
	buf_done(&buf);
}

static void test_consumed_bytes_make_room_under_the_cap(void **state)
{
	struct buf buf;

	buf_init(&buf, 100);
	for (int i = 0; i < 1000; i++) {
		assert_int_equal(buf_append(&buf, STR("0123456789")), 0);
		if (i >= 9)
			buf_consume(&buf, 10);
	}
	assert_int_equal(buf.len, 90);
	assert_in_range(buf.size_bytes, 90, 200);
	assert_str(str_sub(buf_str(&buf), 0, 10), "0123456789");
	buf_consume(&buf, 1000);
	assert_int_equal(buf.len, 0);
	assert_int_equal(buf.start, 0);
	buf_done(&buf);
}

static void test_reserved_room_is_readable_only_after_commit(void **state)
{
	struct buf buf;
	char *room;

	buf_init(&buf, 1000);
	assert_int_equal(buf_reserve(&buf, 500, &room), 0);
	memset(room, 'x', 500);
	assert_int_equal(buf.len, 0);
	buf_commit(&buf, 2);
	assert_str(buf_str(&buf), "xx");
	buf_reset(&buf);
	assert_str(buf_str(&buf), "");
	assert_non_null(buf.data);
	buf_done(&buf);
	assert_null(buf.data);
}

/* The same random appends and consumptions on a plain array give the same bytes. */
static void test_random_use_keeps_bytes_and_order(void **state)
{
	static char model[100000];
	size_t from = 0, to = 0;
	struct buf buf;

	srandom(42);
	buf_init(&buf, 300);
	for (int i = 0; i < 5000; i++) {
		size_t len = (size_t)random() % 40;
		char bytes[40];

		if (random() & 1) {
			size_t taken = MIN(len, to - from);

			buf_consume(&buf, len);
			from += taken;
		} else if (to + len < sizeof(model)) {
			for (size_t j = 0; j < len; j++)
				bytes[j] = (char)random();
			if (to - from + len > 300) {
				assert_int_equal(buf_append(&buf, str_make(bytes, len)), -EMSGSIZE);
			} else {
				assert_int_equal(buf_append(&buf, str_make(bytes, len)), 0);
				memcpy(model + to, bytes, len);
				to += len;
			}
		}
		assert_true(str_eq(buf_str(&buf), str_make(model + from, to - from)));
	}
	assert_true(to > 10000);
	buf_done(&buf);
}

static int fill_buf(void *arg)
{
	struct buf buf;
	int r = 0;

	buf_init(&buf, 10000);
	for (int i = 0; i < 100 && !r; i++) {
		size_t len = buf.len;

		r = i & 1 ? buf_printf(&buf, "%020d", i) : buf_append(&buf, STR("0123456789"));
		if (r && (r != -ENOMEM || buf.len != len))
			r = -EPROTO;
	}
	buf_done(&buf);
	buf_done(&buf);
	return r == -EPROTO ? 0 : r;
}

static void test_failed_allocation_is_reported_and_keeps_the_bytes(void **state)
{
	/* 64, 128, ... 2048 bytes. */
	assert_int_equal(test_failing_each_allocation(fill_buf, NULL), 6);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_append_past_the_cap_changes_nothing),
		cmocka_unit_test(test_consumed_bytes_make_room_under_the_cap),
		cmocka_unit_test(test_reserved_room_is_readable_only_after_commit),
		cmocka_unit_test(test_random_use_keeps_bytes_and_order),
		cmocka_unit_test(test_failed_allocation_is_reported_and_keeps_the_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

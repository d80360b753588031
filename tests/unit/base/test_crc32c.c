#include "base/crc32c.h"
#include "test_support.h"

/* RFC 3720 appendix B.4, and the usual check value. */
static void test_known_sums(void **state)
{
	char bytes[32];

	memset(bytes, 0, sizeof(bytes));
	assert_int_equal(crc32c(0, str_make(bytes, sizeof(bytes))), 0x8a9136aa);
	memset(bytes, 0xff, sizeof(bytes));
	assert_int_equal(crc32c(0, str_make(bytes, sizeof(bytes))), 0x62a8ab43);
	for (unsigned int i = 0; i < sizeof(bytes); i++)
		bytes[i] = (char)i;
	assert_int_equal(crc32c(0, str_make(bytes, sizeof(bytes))), 0x46dd794e);
	assert_int_equal(crc32c(0, STR("123456789")), 0xe3069283);
	assert_int_equal(crc32c(0, STR("")), 0);
}

static void test_parts_give_what_the_whole_gives(void **state)
{
	const struct str whole = STR("123456789");

	for (size_t at = 0; at <= whole.len; at++)
		assert_int_equal(
			crc32c(crc32c(0, str_sub(whole, 0, at)), str_sub(whole, at, whole.len)),
			0xe3069283);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known_sums),
		cmocka_unit_test(test_parts_give_what_the_whole_gives),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

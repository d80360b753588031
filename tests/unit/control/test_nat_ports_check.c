#include "control/nat_ports_check.h"
#include "test_support.h"

static void test_port_that_the_kernel_may_choose_is_found(void **state)
{
	static const struct {
		const char *row;
		uint16_t first, last;
		const char *range, *reserved;
		uint16_t taken;
	} rows[] = {
		{"apart, below", 1024, 32767, "32768\t60999", "", 0},
		{"apart, above", 61000, 65535, "32768\t60999", "", 0},
		{"the first of the range", 1024, 65535, "32768\t60999", "", 32768},
		{"the last of the range", 60996, 65535, "32768\t60999", "60996-60998", 60999},
		{"within", 40000, 40999, "32768\t60999", "", 40000},
		{"all are reserved", 40000, 40999, "32768\t60999", "40000-40999", 0},
		{"reserved in pieces", 40000, 40007, "32768\t60999", "8080,40004-40009,40000-40003",
		 0},
		{"a hole", 40000, 40007, "32768\t60999", "8080,40000-40003,40005-50000", 40004},
		{"single ports", 40000, 40003, "32768\t60999", "40000,40001,40002,40003", 0},
		{"up to the end", 65532, 65535, "1024\t65535", "65532-65535", 0},
		{"cannot be read", 40000, 40999, "", "", 0},
		{"no range", 40000, 40999, "x\ty", "", 0},
		{"odd list", 40000, 40999, "32768\t60999", "x,1-,-2,99999", 40000},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct nat_source source = {.port_first = rows[i].first,
						  .port_last = rows[i].last};

		assert_row(rows[i].row,
			   nat_ports_find_taken(&source, str_from_cstr(rows[i].range),
						str_from_cstr(rows[i].reserved)) == rows[i].taken);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_port_that_the_kernel_may_choose_is_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * test_support: what unit tests share. cmocka with its prerequisites, helpers for `struct str`,
 * and a loop that makes the first, second, third ... allocation of a piece of code fail, to show
 * that it reports the failure and (under SANITIZER=address) leaks nothing.
 *
 * The allocator is replaced for the whole test program, libraries included, but only counts and
 * fails on the thread that armed it.
 */
#ifndef SLUICE_TESTS_UNIT_TEST_SUPPORT_H
#define SLUICE_TESTS_UNIT_TEST_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/str.h"
#include "base/util.h"

/* The allocation number `nth` from now on (0 is the next one) fails once. */
void alloc_fail_arm(unsigned int nth);
/* True when the failure happened. */
bool alloc_fail_disarm(void);

/*
 * Calls make(arg) with its 1st, 2nd, ... allocation failing, until it gets through without one.
 * make returns 0 or a negative errno and releases what it made; it must return 0 when nothing
 * failed. Returns how many runs failed, to be compared with what the test expects.
 */
unsigned int test_failing_each_allocation(int (*make)(void *arg), void *arg);

/* Compares and shows both texts; `row` names the table's row. */
#define assert_str(value, expected) assert_str_at(value, expected, __FILE__, __LINE__)
void assert_str_at(struct str value, const char *expected, const char *file, int line);

/* For tables: says which row is looked at when a check fails. */
#define assert_row(row, condition)                                                                 \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			print_error("row '%s': %s is false\n", (row), #condition);                 \
			_fail(__FILE__, __LINE__);                                                 \
		}                                                                                  \
	} while (0)

/* Everything in a file, NUL-terminated; free() it. Fails the test when it cannot be read. */
char *test_read_file(const char *path);
/* Writes a new file in a fresh directory under $TMPDIR and returns its path; see test_file_remove.
 */
char *test_file_make(const char *name, struct str content);
/* Removes the file and its directory and frees the path. */
void test_file_remove(char *path);

#endif

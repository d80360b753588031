#include "test_support.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kern/owner_lock.h"

static char parent[64], dir[96];

static int make_dir(void **state)
{
	(void)snprintf(parent, sizeof(parent), "/tmp/sluice-lock-XXXXXX");
	if (!mkdtemp(parent))
		return -1;
	(void)snprintf(dir, sizeof(dir), "%s/state", parent);
	return 0;
}

static int remove_dir(void **state)
{
	char path[128];

	(void)snprintf(path, sizeof(path), "%s/lock", dir);
	(void)unlink(path);
	(void)rmdir(dir);
	return rmdir(parent);
}

static void test_lock_makes_its_directory_for_the_owner_alone(void **state)
{
	struct error err = {0};
	struct stat status;
	int fd = -1;

	(void)umask(0);
	assert_int_equal(owner_lock_take(dir, &fd, &err), 0);
	assert_int_equal(stat(dir, &status), 0);
	assert_int_equal(status.st_mode & 07777, 0750);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	(void)close(fd);
}

static void test_second_owner_is_refused_and_told_the_first_ones_number(void **state)
{
	struct error err = {0};
	char expected[160];
	int first = -1, second = -1;

	assert_int_equal(owner_lock_take(dir, &first, &err), 0);
	assert_int_equal(owner_lock_take(dir, &second, &err), -EWOULDBLOCK);
	assert_int_equal(second, -1);
	(void)snprintf(expected, sizeof(expected), "'%s/lock' is held by process %ld", dir,
		       (long)getpid());
	assert_string_equal(err.text, expected);
	(void)close(first);
	error_reset(&err);
	assert_int_equal(owner_lock_take(dir, &second, &err), 0);
	(void)close(second);
}

static void test_killed_owner_leaves_no_lock_behind(void **state)
{
	int ready[2], fd = -1;
	char byte;
	pid_t child;

	assert_return_code(pipe(ready), errno);
	child = fork();
	assert_return_code(child, errno);
	if (child == 0) {
		byte = owner_lock_take(dir, &fd, NULL) == 0;
		(void)!write(ready[1], &byte, 1);
		for (;;)
			(void)pause();
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	assert_int_equal(owner_lock_take(dir, &fd, NULL), -EWOULDBLOCK);
	assert_return_code(kill(child, SIGKILL), errno);
	assert_int_equal(waitpid(child, NULL, 0), child);
	assert_int_equal(byte, 1);
	assert_int_equal(owner_lock_take(dir, &fd, NULL), 0);
	(void)close(fd);
	(void)close(ready[0]);
	(void)close(ready[1]);
}

static void test_place_where_no_directory_can_be_is_an_error(void **state)
{
	struct error err = {0};
	int fd = -1;

	assert_int_equal(owner_lock_take("/dev/null/state", &fd, &err), -ENOTDIR);
	assert_non_null(strstr(err.text, "/dev/null/state"));
	assert_int_equal(fd, -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_lock_makes_its_directory_for_the_owner_alone,
						make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(
			test_second_owner_is_refused_and_told_the_first_ones_number, make_dir,
			remove_dir),
		cmocka_unit_test_setup_teardown(test_killed_owner_leaves_no_lock_behind, make_dir,
						remove_dir),
		cmocka_unit_test(test_place_where_no_directory_can_be_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

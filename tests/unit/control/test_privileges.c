/*
 * Each test gives rights up in a child process, since none of it can be taken back. The child ends
 * with 0 or the line of its first failed check.
 */
#include "test_support.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "control/privileges.h"
#include "control/sanitizer.h"

#define CHILD_CHECK(condition)                                                                     \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			print_error("line %d: %s is false (errno %d)\n", __LINE__, #condition,     \
				    errno);                                                        \
			_exit(1);                                                                  \
		}                                                                                  \
	} while (0)

#define KEPT (1ULL << CAP_BPF | 1ULL << CAP_PERFMON | 1ULL << CAP_NET_ADMIN | 1ULL << CAP_NET_RAW)

static int run_child(void (*body)(void))
{
	int status;
	pid_t child = fork();

	assert_true(child >= 0);
	if (child == 0) {
		(void)setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0}); /* some are killed */
		body();
		_exit(0);
	}
	while (waitpid(child, &status, 0) < 0)
		assert_int_equal(errno, EINTR);
	return status;
}

static void assert_child_succeeds(void (*body)(void))
{
	int status = run_child(body);

	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void skip_unless_root(void)
{
	if (geteuid() != 0) {
		print_message("skipped: needs root\n");
		skip();
	}
}

/* A number of /proc/thread-self/status, such as "CapEff:". */
static uint64_t read_status(const char *field, int base)
{
	char line[512];
	uint64_t value = UINT64_MAX;
	FILE *file = fopen("/proc/thread-self/status", "re");

	CHILD_CHECK(file);
	while (fgets(line, sizeof(line), file))
		if (!strncmp(line, field, strlen(field)))
			value = strtoull(line + strlen(field), NULL, base);
	(void)fclose(file);
	return value;
}

static void become_nobody(struct privileges_report *report)
{
	struct error err = {0};
	struct user user;

	memset(report, 0, sizeof(*report));
	CHILD_CHECK(user_find(STR("nobody"), &user, &err) == 0);
	if (privileges_drop(&user, report, &err)) {
		print_error("%s\n", err.text);
		_exit(1);
	}
}

/* ---- identity and capabilities ---- */

static void drop_to_nobody(void)
{
	uint64_t had = read_status("CapPrm:", 16);
	struct privileges_report report;
	struct user user;

	CHILD_CHECK(user_find(STR("nobody"), &user, NULL) == 0);
	become_nobody(&report);
	CHILD_CHECK(getuid() == user.uid && geteuid() == user.uid);
	CHILD_CHECK(getgid() == user.gid && getegid() == user.gid);
	CHILD_CHECK(read_status("CapEff:", 16) == (had & KEPT));
	CHILD_CHECK(read_status("CapPrm:", 16) == (had & KEPT));
	CHILD_CHECK(read_status("CapInh:", 16) == 0);
	CHILD_CHECK(read_status("CapAmb:", 16) == 0);
	CHILD_CHECK(read_status("CapBnd:", 16) == 0);
	CHILD_CHECK(read_status("NoNewPrivs:", 10) == 1);
	CHILD_CHECK(report.no_new_privs && !strcmp(report.user, "nobody"));
	CHILD_CHECK(setresuid(0, 0, 0) < 0 && errno == EPERM);
	CHILD_CHECK(open("/etc/shadow", O_RDONLY) < 0 && errno == EACCES);
}

static void test_only_four_capabilities_stay_and_root_is_gone(void **state)
{
	skip_unless_root();
	assert_child_succeeds(drop_to_nobody);
}

static void drop_worker(void)
{
	struct privileges_report report;

	become_nobody(&report);
	privileges_drop_worker();
	CHILD_CHECK(read_status("CapEff:", 16) == 0);
	CHILD_CHECK(read_status("CapPrm:", 16) == 0);
}

static void test_a_worker_keeps_no_capability(void **state)
{
	skip_unless_root();
	assert_child_succeeds(drop_worker);
}

static void stay(void)
{
	uint64_t had = read_status("CapEff:", 16);
	struct privileges_report report = {0};
	struct error err = {0};
	uid_t before = geteuid();

	CHILD_CHECK(privileges_drop(NULL, &report, &err) == 0);
	CHILD_CHECK(geteuid() == before);
	CHILD_CHECK(read_status("CapEff:", 16) == had);
	CHILD_CHECK(read_status("NoNewPrivs:", 10) == 1);
	CHILD_CHECK(report.no_new_privs && !report.user[0]);
}

static void test_without_a_user_only_new_privileges_are_given_up(void **state)
{
	assert_child_succeeds(stay);
}

static void become_another(void)
{
	struct privileges_report report = {0};
	struct user user = {.name = "other", .uid = 12345, .gid = 12345};
	struct error err = {0};

	become_nobody(&report);
	CHILD_CHECK(privileges_drop(&user, &report, &err) == -EPERM);
	CHILD_CHECK(strstr(err.text, "cannot become 'other'"));
}

static void test_who_is_not_root_cannot_become_another_user(void **state)
{
	skip_unless_root();
	assert_child_succeeds(become_another);
}

static void look_up_missing_user(void)
{
	struct error err = {0};
	struct user user;

	CHILD_CHECK(user_find(STR("no-such-user"), &user, &err) == -ENOENT);
	CHILD_CHECK(strstr(err.text, "there is no user 'no-such-user'"));
}

/* In a child too: what libc loads to read the user database counts as a leak to ASan. */
static void test_a_user_that_does_not_exist_is_named(void **state)
{
	assert_child_succeeds(look_up_missing_user);
}

static void collect_name(const char *name, void *arg)
{
	char *names = arg;
	size_t len = strlen(names);

	(void)snprintf(names + len, 256 - len, "%s ", name);
}

static void name_capabilities(void)
{
	struct privileges_report report;
	char names[256] = "";

	become_nobody(&report);
	privileges_walk_capabilities(collect_name, names);
	CHILD_CHECK(!strcmp(names, "CAP_NET_ADMIN CAP_NET_RAW CAP_PERFMON CAP_BPF "));
}

static void test_capabilities_have_their_names(void **state)
{
	skip_unless_root();
	assert_child_succeeds(name_capabilities);
}

/* ---- Landlock ---- */

static char landlock_dir[64];

static void write_and_check(const char *path, int flags, int expected_errno)
{
	_cleanup_close_ int fd = open(path, flags | O_CLOEXEC, 0600);

	if (expected_errno)
		CHILD_CHECK(fd < 0 && errno == expected_errno);
	else
		CHILD_CHECK(fd >= 0);
}

static void *open_forbidden(void *arg)
{
	*(bool *)arg = open("/etc/passwd", O_RDONLY | O_CLOEXEC) < 0 && errno == EACCES;
	return NULL;
}

static void restrict_to_two_directories(void)
{
	char readable[128], writable[128], path[192];
	struct landlock_path paths[] = {
		{readable, false}, {writable, true}, {"/nonexistent", true}};
	struct privileges_report report = {0};
	struct error err = {0};
	bool refused_in_thread = false;
	int ruleset = -1;
	pthread_t thread;

	(void)snprintf(readable, sizeof(readable), "%s/readable", landlock_dir);
	(void)snprintf(writable, sizeof(writable), "%s/writable", landlock_dir);
	CHILD_CHECK(landlock_prepare(paths, ARRAY_SIZE(paths), &report, &ruleset, &err) == 0);
	CHILD_CHECK(!report.landlock && ruleset >= 0);
	CHILD_CHECK(privileges_drop(NULL, &report, &err) == 0);
	CHILD_CHECK(landlock_enter(ruleset, &report, &err) == 0);
	CHILD_CHECK(report.landlock);

	(void)snprintf(path, sizeof(path), "%s/file", readable);
	write_and_check(path, O_RDONLY, 0);
	write_and_check(path, O_WRONLY, EACCES);
	(void)snprintf(path, sizeof(path), "%s/new", readable);
	write_and_check(path, O_WRONLY | O_CREAT, EACCES);
	(void)snprintf(path, sizeof(path), "%s/new", writable);
	write_and_check(path, O_WRONLY | O_CREAT, 0);
	CHILD_CHECK(unlink(path) == 0);
	write_and_check("/etc/passwd", O_RDONLY, EACCES);

	CHILD_CHECK(pthread_create(&thread, NULL, open_forbidden, &refused_in_thread) == 0);
	CHILD_CHECK(pthread_join(thread, NULL) == 0);
	CHILD_CHECK(refused_in_thread);
}

static bool has_landlock(void)
{
	return syscall(SYS_landlock_create_ruleset, NULL, 0, 1) > 0;
}

static void test_landlock_leaves_only_the_paths_given(void **state)
{
	char readable[128], writable[128], path[192];
	int status, fd;

	if (!has_landlock()) {
		print_message("skipped: the kernel has no Landlock\n");
		skip();
	}
	(void)snprintf(landlock_dir, sizeof(landlock_dir), "/tmp/sluice-landlock-XXXXXX");
	assert_non_null(mkdtemp(landlock_dir));
	(void)snprintf(readable, sizeof(readable), "%s/readable", landlock_dir);
	(void)snprintf(writable, sizeof(writable), "%s/writable", landlock_dir);
	assert_int_equal(mkdir(readable, 0755), 0);
	assert_int_equal(mkdir(writable, 0755), 0);
	(void)snprintf(path, sizeof(path), "%s/file", readable);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	(void)close(fd);

	status = run_child(restrict_to_two_directories);
	(void)unlink(path);
	(void)rmdir(readable);
	(void)rmdir(writable);
	(void)rmdir(landlock_dir);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* ---- seccomp ---- */

static void seal(void)
{
	struct privileges_report report = {0};
	struct error err = {0};

	CHILD_CHECK(privileges_drop(NULL, &report, &err) == 0);
	if (seccomp_seal(&report, &err)) {
		print_error("%s\n", err.text);
		_exit(1);
	}
	CHILD_CHECK(report.seccomp);
}

static void skip_under_sanitizer(void)
{
	if (SLUICE_SANITIZER_RUNTIME) {
		print_message("skipped: sanitizer builds have no seccomp filter\n");
		skip();
	}
}

static void seal_and_work(void)
{
	int ends[2];
	char byte = 'x';
	void *memory;

	seal();
	CHILD_CHECK(read_status("Seccomp:", 10) == 2);
	CHILD_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
	CHILD_CHECK(write(ends[0], &byte, 1) == 1 && read(ends[1], &byte, 1) == 1);
	memory = malloc(4u << 20);
	CHILD_CHECK(memory);
	free(memory);
	/* What the daemon has no use for is refused. */
	CHILD_CHECK(syscall(SYS_clock_settime, 0, NULL) < 0 && errno == EPERM);
	CHILD_CHECK(syscall(SYS_sethostname, "x", 1) < 0 && errno == EPERM);
	CHILD_CHECK(syscall(SYS_io_uring_setup, 1, NULL) < 0 && errno == EPERM);
	CHILD_CHECK(syscall(SYS_kill, getpid(), 0) < 0 && errno == EPERM);
	CHILD_CHECK(ioctl(0, TIOCSTI, &byte) < 0 && errno == EPERM);
	/* Allowed: the kernel looks at it and does not like the arguments. */
	CHILD_CHECK(syscall(SYS_bpf, -1, NULL, 0) < 0 && errno != EPERM);
	CHILD_CHECK(syscall(SYS_io_uring_enter, -1, 0, 0, 0, NULL, 0) < 0 && errno == EBADF);
}

static void test_the_filter_lets_work_through_and_refuses_the_rest(void **state)
{
	skip_under_sanitizer();
	assert_child_succeeds(seal_and_work);
}

static void seal_and_execute(void)
{
	seal();
	(void)execl("/bin/true", "true", (char *)NULL);
}

static void seal_and_mount(void)
{
	seal();
	(void)mount("none", "/tmp", "tmpfs", 0, NULL);
}

static void seal_and_trace(void)
{
	seal();
	(void)syscall(SYS_ptrace, 0, 0, 0, 0);
}

static void seal_and_load_module(void)
{
	seal();
	(void)syscall(SYS_finit_module, -1, "", 0);
}

static void test_calls_of_an_intruder_kill_the_process(void **state)
{
	static void (*const bodies[])(void) = {seal_and_execute, seal_and_mount, seal_and_trace,
					       seal_and_load_module};

	skip_under_sanitizer();
	for (size_t i = 0; i < ARRAY_SIZE(bodies); i++) {
		int status = run_child(bodies[i]);

		assert_true(WIFSIGNALED(status));
		assert_int_equal(WTERMSIG(status), SIGSYS);
	}
}

struct thread_view {
	pthread_mutex_t lock; /* held until the filter is loaded */
	bool refused;
};

static void *try_in_thread(void *arg)
{
	struct thread_view *view = arg;

	(void)pthread_mutex_lock(&view->lock);
	view->refused = syscall(SYS_sethostname, "x", 1) < 0 && errno == EPERM &&
			read_status("Seccomp:", 10) == 2 && read_status("NoNewPrivs:", 10) == 1;
	(void)pthread_mutex_unlock(&view->lock);
	return NULL;
}

static void seal_all_threads(void)
{
	struct thread_view view = {.lock = PTHREAD_MUTEX_INITIALIZER};
	pthread_t thread;

	CHILD_CHECK(pthread_mutex_lock(&view.lock) == 0);
	CHILD_CHECK(pthread_create(&thread, NULL, try_in_thread, &view) == 0);
	seal();
	CHILD_CHECK(pthread_mutex_unlock(&view.lock) == 0);
	CHILD_CHECK(pthread_join(thread, NULL) == 0);
	CHILD_CHECK(view.refused);
}

static void test_threads_that_run_already_get_the_filter_too(void **state)
{
	skip_under_sanitizer();
	assert_child_succeeds(seal_all_threads);
}

static void seal_in_sanitizer_build(void)
{
	struct privileges_report report = {0};
	struct error err = {0};

	CHILD_CHECK(seccomp_seal(&report, &err) == 0);
	CHILD_CHECK(!report.seccomp && strstr(report.seccomp_reason, "sanitizer"));
}

static void test_a_sanitizer_build_says_that_it_has_no_filter(void **state)
{
	if (!SLUICE_SANITIZER_RUNTIME) {
		print_message("skipped: this is no sanitizer build\n");
		skip();
	}
	assert_child_succeeds(seal_in_sanitizer_build);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_only_four_capabilities_stay_and_root_is_gone),
		cmocka_unit_test(test_a_worker_keeps_no_capability),
		cmocka_unit_test(test_without_a_user_only_new_privileges_are_given_up),
		cmocka_unit_test(test_who_is_not_root_cannot_become_another_user),
		cmocka_unit_test(test_a_user_that_does_not_exist_is_named),
		cmocka_unit_test(test_capabilities_have_their_names),
		cmocka_unit_test(test_landlock_leaves_only_the_paths_given),
		cmocka_unit_test(test_the_filter_lets_work_through_and_refuses_the_rest),
		cmocka_unit_test(test_calls_of_an_intruder_kill_the_process),
		cmocka_unit_test(test_threads_that_run_already_get_the_filter_too),
		cmocka_unit_test(test_a_sanitizer_build_says_that_it_has_no_filter),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

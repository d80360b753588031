#include "tests/bpf/bpf_env.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <cap-ng.h>
#include <errno.h>
#include <linux/bpf.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "abi/dataplane.h"
#include "base/clock.h"

#define NOBODY 65534

static const char *missing = "the set-up did not run";

static bool set_loopback_up(void)
{
	struct ifreq request = {.ifr_name = "lo"};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool ok = fd >= 0 && ioctl(fd, SIOCGIFFLAGS, &request) == 0;

	request.ifr_flags |= IFF_UP;
	ok = ok && ioctl(fd, SIOCSIFFLAGS, &request) == 0;
	if (fd >= 0)
		(void)close(fd);
	return ok;
}

int env_setup(void **state)
{
	missing = NULL;
	if (geteuid() != 0)
		missing = "needs root";
	else if (unshare(CLONE_NEWNS | CLONE_NEWNET))
		missing = "cannot make namespaces";
	else if (mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL))
		missing = "cannot make mounts private";
	else if (mount("bpf", "/sys/fs/bpf", "bpf", 0, "mode=0700"))
		missing = "cannot mount a bpffs";
	else if (!set_loopback_up())
		missing = "cannot set lo up";
	return 0;
}

void env_require(void)
{
	if (missing) {
		print_message("%s\n", missing);
		skip();
	}
}

void env_assert_ok_at(int ret, const struct error *err, const char *call, const char *file,
		      int line)
{
	if (ret == 0)
		return;
	print_error("%s: %d: %s\n", call, ret, err ? err->text : "");
	_fail(file, line);
}

struct counter_read {
	struct env_counters *counters;
	unsigned int row;
};

static int read_counter(const struct dataplane_counter *counter, void *arg)
{
	struct counter_read *read = arg;

	assert_true(read->row < SL_REASON_COUNT);
	assert_string_equal(counter->name, env_reason_name(read->row));
	assert_true(counter->meaning[0] != '\0');
	read->counters->packets[read->row] = counter->packets;
	read->counters->bytes[read->row] = counter->bytes;
	read->row++;
	return 0;
}

void env_read_counters(struct dataplane *dataplane, struct env_counters *ret_counters)
{
	struct counter_read read = {.counters = ret_counters};
	struct error err = {0};

	env_assert_ok(dataplane_walk_counters(dataplane, read_counter, &read, &err), &err);
	assert_int_equal(read.row, SL_REASON_COUNT);
}

void env_read_packets(int counters_fd, struct env_counters *ret_counters)
{
	static struct sl_counter rows[SL_REASON_COUNT * 256];
	uint32_t keys[SL_REASON_COUNT], count = SL_REASON_COUNT, batch;
	int cpus = libbpf_num_possible_cpus();
	int ret = bpf_map_lookup_batch(counters_fd, NULL, &batch, keys, rows, &count, NULL);

	assert_true(ret == 0 || ret == -ENOENT); /* the end */
	assert_int_equal(count, SL_REASON_COUNT);
	memset(ret_counters, 0, sizeof(*ret_counters));
	for (uint32_t row = 0; row < count; row++)
		for (int cpu = 0; cpu < cpus; cpu++)
			ret_counters->packets[keys[row]] +=
				rows[row * (uint32_t)cpus + (uint32_t)cpu].packets;
}

const char *env_reason_name(enum sl_reason reason)
{
	static const char *const names[] = {
#define NAME_ROW(symbol, name, meaning) [SL_REASON_##symbol] = (name),
		SL_REASON_TABLE(NAME_ROW)
#undef NAME_ROW
	};

	return names[reason];
}

const char *env_moved(const struct env_counters *before, const struct env_counters *after)
{
	const char *moved = "";

	for (unsigned int i = 0; i < SL_REASON_COUNT; i++)
		if (before->packets[i] != after->packets[i])
			moved = moved[0] ? "several" : env_reason_name(i);
	return moved;
}

int env_run_xdp(int program_fd, const uint8_t *bytes, size_t len)
{
	static uint8_t out[16384];
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = bytes, .data_size_in = (uint32_t)len,
		    .data_out = out, .data_size_out = sizeof(out), .repeat = 1);
	int ret = bpf_prog_test_run_opts(program_fd, &opts);

	if (ret) {
		print_error("test run of %zu bytes: %d\n", len, ret);
		fail();
	}
	assert_int_equal(opts.data_size_out, len);
	assert_memory_equal(out, bytes, len);
	return (int)opts.retval;
}

int env_command(const char *command)
{
	int status = system(command);

	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

bool env_wait(bool (*is_done)(void *arg), void *arg)
{
	uint64_t end_ms = clock_mono_ms() + ENV_PATIENCE;

	while (!is_done(arg)) {
		if (clock_mono_ms() > end_ms)
			return false;
		(void)poll(NULL, 0, 2);
	}
	return true;
}

pid_t env_child(int (*body)(void *arg), void *arg)
{
	int ready[2];
	char byte = 1;
	pid_t child;

	assert_return_code(pipe(ready), errno);
	child = fork();
	assert_return_code(child, errno);
	if (child == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		byte = body(arg) ? 1 : 0;
		(void)!write(ready[1], &byte, 1);
		for (;;)
			(void)pause();
	}
	(void)close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	(void)close(ready[0]);
	if (byte)
		env_kill(child);
	assert_int_equal(byte, 0);
	return child;
}

void env_kill(pid_t child)
{
	assert_return_code(kill(child, SIGKILL), errno);
	assert_int_equal(waitpid(child, NULL, 0), child);
}

int env_drop_privileges(void)
{
	capng_clear(CAPNG_SELECT_BOTH);
	if (capng_updatev(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED | CAPNG_BOUNDING_SET,
			  CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN, CAP_NET_RAW, -1))
		return -EINVAL;
	if (capng_change_id(NOBODY, NOBODY, CAPNG_DROP_SUPP_GRP | CAPNG_CLEAR_BOUNDING))
		return -EPERM;
	return capng_have_capability(CAPNG_EFFECTIVE, CAP_SYS_ADMIN) ||
			       !capng_have_capability(CAPNG_EFFECTIVE, CAP_BPF)
		       ? -EPERM
		       : 0;
}

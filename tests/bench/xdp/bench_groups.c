#include "tests/bench/xdp/bench_groups.h"

#include <bpf/libbpf.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>

#include "kern/dataplane_internal.h"
#include "xdp_main.skel.h"

static int print_warnings(enum libbpf_print_level level, const char *fmt, va_list args)
{
	return level == LIBBPF_WARN ? vfprintf(stderr, fmt, args) : 0;
}

void bench_place_make(void)
{
	struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};

	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL) ||
	    mount("bpf", "/sys/fs/bpf", "bpf", 0, "mode=0700"))
		bench_die("cannot make a bpffs of its own: %s", strerror(errno));
	(void)setrlimit(RLIMIT_MEMLOCK, &limit);
	(void)libbpf_set_print(print_warnings);
}

struct bench_case *bench_add(struct bench *bench, const char *name, const char *who, int program_fd,
			     const struct bench_frame *frame, struct bench_flows flows,
			     uint32_t verdict)
{
	struct bench_case *it = bench_case_new(name, who, program_fd, frame, flows, verdict);

	bench->cases = reallocarray(bench->cases, bench->case_count + 1, sizeof(*bench->cases));
	if (!bench->cases)
		bench_die("out of memory");
	bench->cases[bench->case_count++] = it;
	return it;
}

struct dataplane *bench_dataplane_new(struct bench *bench)
{
	struct dataplane *dataplane;
	struct error err = {0};
	char dir[64];

	(void)snprintf(dir, sizeof(dir), "/sys/fs/bpf/bench-%u", bench->dataplanes++);
	if (dataplane_open(dir, &dataplane, &err))
		bench_die("cannot load our program: %s", err.text);
	return dataplane;
}

int bench_dataplane_program(struct dataplane *dataplane)
{
	return bpf_program__fd(dataplane->xdp->progs.sl_main);
}

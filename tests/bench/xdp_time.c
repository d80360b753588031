/*
 * xdp_time: nanoseconds per packet of our XDP program and of the reference programs, by
 * BPF_PROG_TEST_RUN. Prints JSON; bench_xdp.py makes the table of it.
 *
 * usage: xdp_time [--quick] [--rounds N] [--packets N] [--cpu N] GROUP...
 *
 * All cases of the groups are made first. Then a round is one sample of each, in an order that
 * rotates, so that what else happens on the machine meets all of them alike.
 */
#include <bpf/libbpf.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/buf.h"
#include "kern/dataplane_internal.h"
#include "tests/bench/xdp/bench_groups.h"
#include "xdp_main.skel.h"

#define OUTPUT_CAP (4u << 20)

static const struct group {
	const char *name;
	void (*add)(struct bench *bench);
} groups[] = {
	{"floor", bench_group_floor},	  {"pass", bench_group_pass},
	{"deny4", bench_group_deny4},	  {"deny6", bench_group_deny6},
	{"service", bench_group_service},
};

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

/* Pins go with the process: a bpffs of its own in a mount namespace of its own. */
static void make_place(int cpu)
{
	struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};
	cpu_set_t cpus;

	if (geteuid() != 0)
		bench_die("needs root");
	if (unshare(CLONE_NEWNS | CLONE_NEWNET) ||
	    mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL) ||
	    mount("bpf", "/sys/fs/bpf", "bpf", 0, "mode=0700"))
		bench_die("cannot make a bpffs of its own: %s", strerror(errno));
	(void)setrlimit(RLIMIT_MEMLOCK, &limit);
	CPU_ZERO(&cpus);
	CPU_SET((size_t)cpu, &cpus);
	if (sched_setaffinity(0, sizeof(cpus), &cpus))
		bench_die("cannot stay on CPU %d: %s", cpu, strerror(errno));
}

static unsigned int number_of(const char *text)
{
	char *end;
	unsigned long number = strtoul(text ? text : "", &end, 10);

	if (!text || *end || !number || number > 100000000)
		bench_die("not a number: '%s'", text ? text : "");
	return (unsigned int)number;
}

static void add_group(struct bench *bench, const char *name)
{
	for (size_t i = 0; i < sizeof(groups) / sizeof(*groups); i++) {
		if (!strcmp(groups[i].name, name)) {
			groups[i].add(bench);
			return;
		}
	}
	bench_die("no group '%s'", name);
}

static int no_words(enum libbpf_print_level level, const char *fmt, va_list args)
{
	return level == LIBBPF_WARN ? vfprintf(stderr, fmt, args) : 0;
}

int main(int argc, char **argv)
{
	unsigned int rounds = 9, packets = 200000;
	int cpu = (int)sysconf(_SC_NPROCESSORS_ONLN) - 1, arg = 1;
	struct bench bench = {.entries_max = 1000000, .flows_max = BENCH_FLOWS_MAX};
	struct json_writer json;
	uint64_t begin_ns = bench_now_ns();
	struct buf text;

	for (; arg < argc && !strncmp(argv[arg], "--", 2); arg++) {
		if (!strcmp(argv[arg], "--quick")) {
			rounds = 1;
			packets = 2000;
			bench.entries_max = 10;
			bench.flows_max = 1;
		} else if (!strcmp(argv[arg], "--rounds")) {
			rounds = number_of(argv[++arg]);
		} else if (!strcmp(argv[arg], "--packets")) {
			packets = number_of(argv[++arg]);
		} else if (!strcmp(argv[arg], "--cpu")) {
			cpu = (int)number_of(argv[++arg]);
		} else {
			bench_die("unknown option '%s'", argv[arg]);
		}
	}
	if (arg == argc)
		bench_die(
			"usage: xdp_time [--quick] [--rounds N] [--packets N] [--cpu N] GROUP...");
	make_place(cpu);
	(void)libbpf_set_print(no_words);
	buf_init(&text, OUTPUT_CAP);
	json_init(&json, &text, false);
	json_open_object(&json, NULL);
	bench.facts = &json;
	json_open_object(&json, "facts");
	for (; arg < argc; arg++)
		add_group(&bench, argv[arg]);
	json_double(&json, "set-up", (double)(bench_now_ns() - begin_ns) / 1e9);
	begin_ns = bench_now_ns();
	for (unsigned int turn = 0; turn < rounds; turn++)
		for (size_t nth = 0; nth < bench.case_count; nth++)
			bench_case_sample(bench.cases[(nth + turn) % bench.case_count], packets);
	json_double(&json, "measuring", (double)(bench_now_ns() - begin_ns) / 1e9);
	json_close_object(&json);
	json_open_array(&json, "cases");
	for (size_t i = 0; i < bench.case_count; i++)
		bench_case_print(bench.cases[i], &json);
	json_close_array(&json);
	json_close_object(&json);
	if (json_finish(&json))
		bench_die("cannot write the figures");
	printf("%.*s\n", (int)buf_str(&text).len, buf_str(&text).ptr);
	buf_done(&text);
	return 0;
}

/*
 * xdp_time: nanoseconds per packet of our XDP program and of the reference programs, by
 * BPF_PROG_TEST_RUN. Prints JSON; bench_xdp.py makes the table of it.
 *
 * usage: xdp_time [--quick] [--rounds N] [--packets N] [--cpu N] [--only TEXT] GROUP...
 *
 * All cases of the groups are made first. Then a round is one sample of each, in an order that
 * rotates, so that what else happens on the machine meets all of them alike. --only takes samples
 * of those whose names begin with the text, and is for profilers.
 */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "tests/bench/xdp/bench_groups.h"

#define OUTPUT_CAP (4u << 20)

static const struct group {
	const char *name;
	void (*add)(struct bench *bench);
} groups[] = {
	{"floor", bench_group_floor},	  {"pass", bench_group_pass},
	{"deny4", bench_group_deny4},	  {"deny6", bench_group_deny6},
	{"service", bench_group_service}, {"nat", bench_group_nat},
};

static void stay_on(int cpu)
{
	cpu_set_t cpus;

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

int main(int argc, char **argv)
{
	unsigned int rounds = 9, packets = 200000;
	int cpu = (int)sysconf(_SC_NPROCESSORS_ONLN) - 1, arg = 1;
	struct bench bench = {.entries_max = 1000000, .flows_max = BENCH_FLOWS_MAX};
	const char *only = "";
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
		} else if (!strcmp(argv[arg], "--only") && argv[arg + 1]) {
			only = argv[++arg];
		} else {
			bench_die("unknown option '%s'", argv[arg]);
		}
	}
	if (arg == argc)
		bench_die("usage: xdp_time [--quick] [--rounds N] [--packets N] [--cpu N] [--only "
			  "TEXT] GROUP...");
	if (unshare(CLONE_NEWNET))
		bench_die("needs root, and network namespaces: %s", strerror(errno));
	bench_place_make();
	stay_on(cpu);
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
		for (size_t nth = 0; nth < bench.case_count; nth++) {
			struct bench_case *it = bench.cases[(nth + turn) % bench.case_count];

			if (!strncmp(it->name, only, strlen(only)))
				bench_case_sample(it, packets);
		}
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

#include "tests/bench/xdp/bench_case.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "bench/bench_wrap.skel.h"

#define ETH_BYTES 14
#define IP4_BYTES 20
#define IP6_BYTES 40
#define TCP_BYTES 20
#define UDP_BYTES 8
#define PAYLOAD	  6 /* a minimal frame of 60 bytes over IPv4 and TCP */
#define STEP	  0x9e3779b1u
#define WARM_STEP 0x85ebca6bu

void bench_die(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	fputs("xdp_time: ", stderr);
	(void)vfprintf(stderr, fmt, args);
	fputc('\n', stderr);
	va_end(args);
	exit(2);
}

uint64_t bench_random(uint64_t *state)
{
	*state += 0x9e3779b97f4a7c15;
	uint64_t it = *state;

	it = (it ^ (it >> 30)) * 0xbf58476d1ce4e5b9;
	it = (it ^ (it >> 27)) * 0x94d049bb133111eb;
	return it ^ (it >> 31);
}

uint64_t bench_now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void put16(uint8_t *at, uint32_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

/* Sum of big-endian halves (RFC 1071), not folded. */
static uint32_t sum_of(const uint8_t *bytes, size_t len)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < len; i++)
		sum += i % 2 ? bytes[i] : (uint32_t)bytes[i] << 8;
	return sum;
}

static uint32_t fold(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return ~sum & 0xffff;
}

struct bench_frame bench_frame(const char *src, const char *dst, uint16_t src_port,
			       uint16_t dst_port, uint8_t tcp_flags)
{
	static const uint8_t eth[12] = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9};
	struct bench_frame frame = {.is_v6 = strchr(src, ':') != NULL};
	uint32_t transport = tcp_flags ? TCP_BYTES : UDP_BYTES, header, sum;
	uint8_t *ip = frame.bytes + ETH_BYTES, protocol = tcp_flags ? IPPROTO_TCP : IPPROTO_UDP;
	/* Of the same length for both protocols. */
	uint32_t payload = PAYLOAD + TCP_BYTES - transport, rest = transport + payload;
	uint8_t *ports;

	memcpy(frame.bytes, eth, sizeof(eth));
	put16(frame.bytes + 12, frame.is_v6 ? 0x86dd : 0x0800);
	if (frame.is_v6) {
		header = IP6_BYTES;
		ip[0] = 0x60;
		put16(ip + 4, rest);
		ip[6] = protocol;
		ip[7] = 64;
		if (inet_pton(AF_INET6, src, ip + 8) != 1 || inet_pton(AF_INET6, dst, ip + 24) != 1)
			bench_die("not an address: %s or %s", src, dst);
		sum = sum_of(ip + 8, 32);
	} else {
		header = IP4_BYTES;
		ip[0] = 0x45;
		put16(ip + 2, header + rest);
		ip[8] = 64;
		ip[9] = protocol;
		if (inet_pton(AF_INET, src, ip + 12) != 1 || inet_pton(AF_INET, dst, ip + 16) != 1)
			bench_die("not an address: %s or %s", src, dst);
		put16(ip + 10, fold(sum_of(ip, header)));
		sum = sum_of(ip + 12, 8);
	}
	ports = ip + header;
	put16(ports, src_port);
	put16(ports + 2, dst_port);
	if (tcp_flags) {
		ports[12] = 5 << 4;
		ports[13] = tcp_flags;
		put16(ports + 14, 1024);
	} else {
		put16(ports + 4, rest);
	}
	sum += protocol + rest + sum_of(ports, rest);
	put16(ports + (tcp_flags ? 16 : 6), fold(sum));
	frame.len = ETH_BYTES + header + rest;
	return frame;
}

static void set_header(struct bench_case *it, const struct bench_frame *frame)
{
	memcpy(it->wrap->bss->bench_wrap.header, frame->bytes,
	       frame->is_v6 ? BENCH_HEADER6 : BENCH_HEADER4);
}

static int wrapper_fd(const struct bench_case *it)
{
	return bpf_program__fd(it->frame.is_v6 ? it->wrap->progs.bench_wrap6
					       : it->wrap->progs.bench_wrap4);
}

/*
 * Returns nanoseconds per packet by the kernel's own clock, in whole ones. The time that the call
 * takes says less: it includes some milliseconds in which the kernel patches the program into its
 * dispatcher and out again.
 */
static uint32_t run(struct bench_case *it, const struct bench_frame *frame, uint32_t packets)
{
	static uint8_t out[4096];
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame->bytes, .data_size_in = frame->len,
		    .data_out = out, .data_size_out = sizeof(out), .repeat = (int)packets);
	int fd = it->is_bare ? it->program_fd : wrapper_fd(it), ret;

	ret = bpf_prog_test_run_opts(fd, &opts);
	if (ret)
		bench_die("%s, %s: test run: %s", it->name, it->who, strerror(-ret));
	if (it->is_bare && opts.retval != it->verdict)
		it->other_verdicts++;
	return opts.duration;
}

static void fill_table(struct bench_case *it, struct bench_flows flows)
{
	struct bpf_map *map =
		it->frame.is_v6 ? it->wrap->maps.bench_flows6 : it->wrap->maps.bench_flows4;
	size_t row = it->frame.is_v6 ? sizeof(struct bench_flow6) : sizeof(struct bench_flow4);

	/* Written through the memory itself: a million updates would take longer than the bench. */
	void *table = mmap(NULL, flows.count * row, PROT_READ | PROT_WRITE, MAP_SHARED,
			   bpf_map__fd(map), 0);
	if (table == MAP_FAILED)
		bench_die("%s: cannot map the table of flows: %s", it->name, strerror(errno));
	memcpy(table, flows.rows, flows.count * row);
	(void)munmap(table, flows.count * row);
}

struct bench_case *bench_case_new(const char *name, const char *who, int program_fd,
				  const struct bench_frame *frame, struct bench_flows flows,
				  uint32_t verdict)
{
	struct bench_case *it = calloc(1, sizeof(*it));
	uint32_t zero = 0;
	int ret;

	if (!it)
		bench_die("out of memory");
	it->name = strdup(name);
	it->who = who;
	it->program_fd = program_fd;
	it->frame = *frame;
	it->verdict = verdict;
	it->wrap = bench_wrap_bpf__open();
	if (!it->wrap)
		bench_die("cannot open the wrapper: %s", strerror(errno));
	if (flows.rows)
		(void)bpf_map__set_max_entries(frame->is_v6 ? it->wrap->maps.bench_flows6
							    : it->wrap->maps.bench_flows4,
					       flows.count);
	ret = bench_wrap_bpf__load(it->wrap);
	if (ret)
		bench_die("cannot load the wrapper: %s", strerror(-ret));
	if (flows.rows)
		fill_table(it, flows);
	it->wrap->bss->bench_wrap.mask = flows.count - 1;
	it->wrap->bss->bench_wrap.step = flows.rows ? 1 : STEP;
	it->wrap->bss->bench_wrap.from_table = flows.rows != NULL;
	it->warm_packets = flows.count && flows.count < 65536 ? flows.count : 65536;
	set_header(it, frame);
	ret = bpf_map__update_elem(it->wrap->maps.bench_program, &zero, sizeof(zero), &program_fd,
				   sizeof(program_fd), BPF_ANY);
	if (ret)
		bench_die("%s, %s: the wrapper cannot call the program: %s", name, who,
			  strerror(-ret));
	return it;
}

void bench_case_free(struct bench_case *it)
{
	if (!it)
		return;
	bench_wrap_bpf__destroy(it->wrap);
	free(it->samples_ns);
	free((char *)it->name);
	free(it);
}

void bench_case_warm(struct bench_case *it, const struct bench_frame *frame, uint32_t packets)
{
	uint32_t step = it->wrap->bss->bench_wrap.step;

	set_header(it, frame);
	if (step == STEP)
		it->wrap->bss->bench_wrap.step = WARM_STEP;
	(void)run(it, frame, packets);
	it->wrap->bss->bench_wrap.step = step;
	set_header(it, &it->frame);
}

void bench_case_sample(struct bench_case *it, uint32_t packets)
{
	uint64_t before;
	uint32_t took_ns;

	if (it->warm_packets)
		(void)run(it, &it->frame, it->warm_packets);
	before = it->wrap->bss->bench_wrap.verdicts[it->verdict];
	took_ns = run(it, &it->frame, packets);
	if (!it->is_bare)
		it->other_verdicts +=
			packets - (it->wrap->bss->bench_wrap.verdicts[it->verdict] - before);
	it->samples_ns =
		reallocarray(it->samples_ns, it->sample_count + 1, sizeof(*it->samples_ns));
	if (!it->samples_ns)
		bench_die("out of memory");
	it->samples_ns[it->sample_count++] = took_ns;
}

uint32_t bench_case_look(struct bench_case *it, uint8_t *out, uint32_t *out_len)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = it->frame.bytes,
		    .data_size_in = it->frame.len, .data_out = out, .data_size_out = *out_len,
		    .repeat = 1);
	int ret;

	it->wrap->bss->bench_wrap.keeps = 1;
	ret = bpf_prog_test_run_opts(wrapper_fd(it), &opts);
	it->wrap->bss->bench_wrap.keeps = 0;
	if (ret)
		bench_die("%s, %s: test run: %s", it->name, it->who, strerror(-ret));
	*out_len = opts.data_size_out;
	return opts.retval;
}

void bench_case_print(const struct bench_case *it, struct json_writer *json)
{
	json_open_object(json, NULL);
	json_cstring(json, "name", it->name);
	json_cstring(json, "who", it->who);
	json_open_array(json, "ns");
	for (unsigned int i = 0; i < it->sample_count; i++)
		json_double(json, NULL, it->samples_ns[i]);
	json_close_array(json);
	json_u64(json, "other_verdicts", it->other_verdicts);
	json_close_object(json);
}

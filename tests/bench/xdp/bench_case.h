/*
 * bench_case: one line of the table: a program, the packets it gets, and what it took for them.
 *
 * Each case has a wrapper of its own (see bpf/bench_wrap.bpf.c), so that nothing is changed between
 * rounds. A case whose packets do not all end as they should is not a figure: it is reported with
 * what came out. Whatever goes wrong with the bench itself ends the process with a sentence.
 */
#ifndef SLUICE_BENCH_XDP_CASE_H
#define SLUICE_BENCH_XDP_CASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/json.h"
#include "tests/bench/xdp/bench_abi.h"

#define BENCH_FRAME_MAX 128
#define BENCH_TCP_SYN	0x02
#define BENCH_TCP_ACK	0x10

struct bench_frame {
	uint8_t bytes[BENCH_FRAME_MAX];
	uint32_t len;
	bool is_v6;
};

/* Addresses as text; TCP, or UDP when tcp_flags is 0. Checksums are right. */
struct bench_frame bench_frame(const char *src, const char *dst, uint16_t src_port,
			       uint16_t dst_port, uint8_t tcp_flags);

/* Which packets follow each other. */
struct bench_flows {
	uint32_t count;	  /* a power of two; 0: a new flow each time */
	const void *rows; /* struct bench_flow4 or 6, `count` of them; NULL: computed */
};

struct bench_wrap_bpf;

struct bench_case {
	const char *name;
	const char *who;
	int program_fd;
	uint32_t verdict; /* that all packets must have */
	struct bench_frame frame;
	bool is_bare; /* without the wrapper: always the same packet */
	struct bench_wrap_bpf *wrap;
	uint32_t warm_packets; /* before each sample, not measured */
	double *samples_ns;
	unsigned int sample_count;
	uint64_t other_verdicts;
};

void bench_die(const char *fmt, ...) __attribute__((noreturn, format(printf, 1, 2)));

struct bench_case *bench_case_new(const char *name, const char *who, int program_fd,
				  const struct bench_frame *frame, struct bench_flows flows,
				  uint32_t verdict);
void bench_case_free(struct bench_case *it);
/*
 * Sends these packets and keeps no figure. A frame other than the case's own for the while.
 * Computed flows come in another order than that in which they are measured: the elements of an LRU
 * hash, which are handed out one after the other, would else be met one after the other, as those
 * of real flows are not.
 */
void bench_case_warm(struct bench_case *it, const struct bench_frame *frame, uint32_t packets);
void bench_case_sample(struct bench_case *it, uint32_t packets);
/* Lets one packet through and gives what came out. Returns the verdict. */
uint32_t bench_case_look(struct bench_case *it, uint8_t *out, uint32_t *out_len);
void bench_case_print(const struct bench_case *it, struct json_writer *json);

/* The same numbers each time. */
uint64_t bench_random(uint64_t *state);
uint64_t bench_now_ns(void);

#endif

/*
 * Frames that no service is for: passed, or dropped by a list.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kern/access_list.h"
#include "tests/bench/xdp/bench_groups.h"

/* They name structs of bench_abi.h. */
#include "bench/bench_lpm.skel.h"
#include "bench/bench_plain.skel.h"

#define ADDR4	    "198.51.100.1"
#define ADDR6	    "2001:db8:1::1"
#define SOURCE4	    "203.0.113.1"
#define SOURCE6	    "2001:db8:2::1"
#define PASS_FLOWS  65536
#define ADDRESSES   (1u << 20) /* for each size of list, so that walking them costs the same */
#define REPORTED_AT 1000000

static const uint32_t sizes[] = {10, 100000, 1000000};

static struct bench_frame frame_of(bool is_v6)
{
	return is_v6 ? bench_frame(SOURCE6, ADDR6, 1024, 443, BENCH_TCP_ACK)
		     : bench_frame(SOURCE4, ADDR4, 1024, 443, BENCH_TCP_ACK);
}

void bench_group_floor(struct bench *bench)
{
	static struct bench_plain_bpf *plain;
	struct bench_flows flows = {.count = PASS_FLOWS};
	struct bench_frame frame4 = frame_of(false), frame6 = frame_of(true);
	int ret;

	plain = bench_plain_bpf__open_and_load();
	if (!plain)
		bench_die("cannot load the plain programs: %s", strerror(errno));
	ret = bpf_program__fd(plain->progs.bench_empty);
	bench_add(bench, "floor v4", "empty", ret, &frame4, flows, XDP_PASS);
	bench_add(bench, "floor v6", "empty", ret, &frame6, flows, XDP_PASS);
	bench_add(bench, "floor unwrapped", "empty", ret, &frame4, flows, XDP_PASS)->is_bare = true;
	bench_add(bench, "floor encap", "encap", bpf_program__fd(plain->progs.bench_encap), &frame4,
		  flows, XDP_TX);
}

void bench_group_pass(struct bench *bench)
{
	int fd = bench_dataplane_program(bench_dataplane_new(bench));
	struct bench_flows flows = {.count = PASS_FLOWS};
	struct bench_frame frame4 = frame_of(false), frame6 = frame_of(true);

	bench_add(bench, "pass v4", BENCH_OURS, fd, &frame4, flows, XDP_PASS);
	bench_add(bench, "pass v6", BENCH_OURS, fd, &frame6, flows, XDP_PASS);
}

void bench_deny(struct dataplane *dataplane, const struct bench_list *list)
{
	struct access_entry *entries = calloc(list->count, sizeof(*entries));
	struct error err = {0};

	if (!entries)
		bench_die("out of memory");
	for (uint32_t i = 0; i < list->count; i++) {
		entries[i].prefix = list->prefixes[i];
		entries[i].origin = ACCESS_FROM_CONFIG;
	}
	if (access_list_sync_config(dataplane, ACCESS_DENY, entries, list->count, &err))
		bench_die("cannot deny %u prefixes: %s", list->count, err.text);
	free(entries);
}

static void deny_ours(struct bench *bench, struct dataplane *dataplane,
		      const struct bench_list *list)
{
	uint64_t begin_ns = bench_now_ns();
	char fact[64];

	bench_deny(dataplane, list);
	(void)snprintf(fact, sizeof(fact), "sync deny%s %u", list->is_v6 ? "6" : "4", list->count);
	json_double(bench->facts, fact, (double)(bench_now_ns() - begin_ns) / 1e9);
}

static int deny_lpm(struct bench *bench, const struct bench_list *list)
{
	struct bench_lpm_bpf *lpm = bench_lpm_bpf__open_and_load();
	uint64_t begin_ns = bench_now_ns();
	char fact[64];
	int map;

	if (!lpm)
		bench_die("cannot load the reference access list: %s", strerror(errno));
	map = bpf_map__fd(list->is_v6 ? lpm->maps.bench_deny6 : lpm->maps.bench_deny4);
	for (uint32_t i = 0; i < list->count; i++) {
		struct bench_lpm6_key key = {.prefix_bits = list->prefixes[i].bits};
		uint32_t one = 1;

		memcpy(key.addr_be, list->prefixes[i].addr.bytes, sizeof(key.addr_be));
		if (bpf_map_update_elem(map, &key, &one, BPF_ANY))
			bench_die("cannot add prefix %u of %u to the trie: %s", i, list->count,
				  strerror(errno));
	}
	(void)snprintf(fact, sizeof(fact), "lpm deny%s %u", list->is_v6 ? "6" : "4", list->count);
	json_double(bench->facts, fact, (double)(bench_now_ns() - begin_ns) / 1e9);
	return bpf_program__fd(lpm->progs.bench_lpm);
}

static void add_size(struct bench *bench, bool is_v6, uint32_t size)
{
	struct dataplane *dataplane = bench_dataplane_new(bench);
	struct bench_list *list = bench_list_new(is_v6, size);
	struct bench_frame frame = frame_of(is_v6);
	int lpm_fd = deny_lpm(bench, list);

	deny_ours(bench, dataplane, list);
	for (int hits = 1; hits >= 0; hits--) {
		uint32_t addresses = bench->entries_max < REPORTED_AT ? 4096 : ADDRESSES;
		void *rows = bench_list_flows(list, hits, addresses);
		struct bench_flows flows = {.count = addresses, .rows = rows};
		uint32_t verdict = hits ? XDP_DROP : XDP_PASS;
		char name[64];

		(void)snprintf(name, sizeof(name), "deny %s %u %s", is_v6 ? "v6" : "v4", size,
			       hits ? "hit" : "miss");
		bench_add(bench, name, BENCH_OURS, bench_dataplane_program(dataplane), &frame,
			  flows, verdict);
		bench_add(bench, name, "lpm", lpm_fd, &frame, flows, verdict);
		free(rows);
	}
	bench_list_free(list);
}

static void add_sizes(struct bench *bench, bool is_v6)
{
	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
		if (sizes[i] <= bench->entries_max)
			add_size(bench, is_v6, sizes[i]);
}

void bench_group_deny4(struct bench *bench)
{
	add_sizes(bench, false);
}

void bench_group_deny6(struct bench *bench)
{
	add_sizes(bench, true);
}

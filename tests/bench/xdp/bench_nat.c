/*
 * Packets of a service of mode nat, both directions, beside the reference NAT of two LRU hashes.
 *
 * Answers are those of flows that exist: their addresses and ports are read out of the tables once
 * the client's side has been warmed, and come in an order of their own.
 */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kern/dataplane_internal.h"
#include "kern/nat_pool.h"
#include "tests/bench/xdp/bench_groups.h"
#include "xdp_main.skel.h"

/* It names structs of bench_abi.h. */
#include "bench/bench_nat.skel.h"

#define CLIENT	      "11.0.0.1"
#define BACKEND	      "10.0.1.0"
#define SOURCE	      "198.18.0.0"
#define BACKENDS      100
#define BACKEND_FIRST 0x0a000100
#define BACKEND_BASE  256 /* of bench_service_new() */
#define LOOPBACK      1	  /* where a test run's packets come from */
#define PORT_FIRST    1024

static const struct load {
	const char *name;
	uint32_t flows; /* 0: a new one each time */
	uint32_t sources;
	uint64_t opening_ms; /* new flows must find room that older ones left */
} loads[] = {{"1", 1, 8, 60000},
	     {"64k", 65536, 8, 60000},
	     {"1M", 1u << 20, SL_NAT_ADDRESSES_MAX, 60000},
	     {"new", 0, SL_NAT_ADDRESSES_MAX, 1000}};

struct side {
	const char *who;
	int program_fd;
	uint32_t back_verdict;
	uint32_t (*read_answers)(const struct side *side, struct bench_flow4 *rows, uint32_t count);
	struct dataplane *dataplane;
	struct bench_nat_bpf *reference;
};

static void command(const char *text)
{
	if (system(text) != 0)
		bench_die("failed: %s", text);
}

/* The way back to clients is the kernel's, also in our program. */
static void make_way_to_clients(void)
{
	command("ip link set lo up && ip link add nat0 type veth peer name nat1 && "
		"ip link set nat0 up && ip link set nat1 up && "
		"ip address add 10.9.0.1/24 dev nat0 && "
		"ip neighbour add 10.9.0.2 lladdr 02:00:00:00:00:02 nud permanent dev nat0 && "
		"ip route add 11.0.0.0/8 via 10.9.0.2 && "
		"echo 1 >/proc/sys/net/ipv4/ip_forward");
}

/* ---- ours */

static uint32_t read_our_table(const struct side *side, uint32_t address, struct bench_flow4 *rows,
			       uint32_t count)
{
	const struct sl_nat_line *lines;
	uint32_t id, found = 0;
	int fd;

	if (bpf_map_lookup_elem(side->dataplane->maps[DATAPLANE_MAP_NAT_TABLES], &address, &id))
		return 0;
	fd = bpf_map_get_fd_by_id(id);
	lines = mmap(NULL, sizeof(*lines) * SL_NAT_LINES, PROT_READ, MAP_SHARED, fd, 0);
	if (fd < 0 || lines == MAP_FAILED)
		bench_die("cannot read the table of an address: %s", strerror(errno));
	for (uint32_t port = 0; port < 65536 && found < count; port++) {
		uint64_t value = lines[port / SL_NAT_WAYS].entries[port % SL_NAT_WAYS].value;
		uint32_t backend = SL_NAT_VALUE_BACKEND(value) - BACKEND_BASE - 1;

		if (SL_NAT_VALUE_STATE(value) <= SL_NAT_BUSY)
			continue;
		rows[found++] = (struct bench_flow4){
			.src_be = htonl(BACKEND_FIRST + backend),
			.dst_be = htonl(BENCH_SOURCE_FIRST + address),
			.src_port_be = htons(SL_NAT_VALUE_PORT(value)),
			.dst_port_be = htons((uint16_t)port),
		};
	}
	(void)munmap((void *)lines, sizeof(*lines) * SL_NAT_LINES);
	(void)close(fd);
	return found;
}

static uint32_t read_our_answers(const struct side *side, struct bench_flow4 *rows, uint32_t count)
{
	uint32_t found = 0;

	for (uint32_t address = 0; address < SL_NAT_ADDRESSES_MAX; address++)
		found += read_our_table(side, address, rows + found, count - found);
	return found;
}

static void make_ours(struct bench *bench, const struct load *load, struct side *ret_side)
{
	struct nat_source sources[SL_NAT_ADDRESSES_MAX];
	struct nat_pool_conf conf = {
		.sources = sources,
		.source_count = load->sources,
		.idle = {.tcp_ms = 900000,
			 .tcp_opening_ms = load->opening_ms,
			 .tcp_closing_ms = 60000,
			 .udp_ms = 60000,
			 .udp_unanswered_ms = 60000},
	};
	struct error err = {0};

	for (uint32_t i = 0; i < load->sources; i++)
		sources[i] = (struct nat_source){.addr_be = htonl(BENCH_SOURCE_FIRST + i),
						 .port_first = PORT_FIRST,
						 .port_last = 65535};
	*ret_side = (struct side){
		.who = BENCH_OURS, .back_verdict = XDP_REDIRECT, .read_answers = read_our_answers};
	ret_side->dataplane = bench_service_new(bench, SL_FORWARD_NAT, 0, LOOPBACK);
	if (nat_pool_apply(ret_side->dataplane, &conf, &err))
		bench_die("cannot set the source addresses: %s", err.text);
	ret_side->program_fd = bench_dataplane_program(ret_side->dataplane);
}

/* ---- the reference */

static uint32_t read_reference_answers(const struct side *side, struct bench_flow4 *rows,
				       uint32_t count)
{
	int fd = bpf_map__fd(side->reference->maps.bench_reverse);
	struct bench_flow_key key, *previous = NULL, next;
	uint32_t found = 0;

	while (found < count && !bpf_map_get_next_key(fd, previous, &next)) {
		rows[found++] = (struct bench_flow4){.src_be = next.src_be,
						     .dst_be = next.dst_be,
						     .src_port_be = next.src_port_be,
						     .dst_port_be = next.dst_port_be};
		key = next;
		previous = &key;
	}
	return found;
}

static void put(struct bpf_map *map, const void *key, size_t key_len, uint32_t value)
{
	if (bpf_map__update_elem(map, key, key_len, &value, sizeof(value), BPF_ANY))
		bench_die("cannot fill the reference NAT: %s", strerror(errno));
}

static void make_reference(struct side *ret_side)
{
	struct bench_service_key key = {.addr_be = htonl(0xc0000201),
					.port_be = htons(BENCH_SERVICE_PORT),
					.protocol = IPPROTO_TCP};
	struct bench_nat_bpf *nat = bench_nat_bpf__open_and_load();

	if (!nat)
		bench_die("cannot load the reference NAT: %s", strerror(errno));
	put(nat->maps.bench_services, &key, sizeof(key), 0);
	for (uint32_t i = 0; i < BACKENDS; i++)
		put(nat->maps.bench_backends, &i, sizeof(i), htonl(BACKEND_FIRST + i));
	for (uint32_t i = 0; i < BENCH_SLOTS; i++)
		put(nat->maps.bench_slots, &i, sizeof(i), (i * 2654435761u >> 7) % BACKENDS);
	*ret_side = (struct side){.who = "lru2",
				  .back_verdict = XDP_TX,
				  .read_answers = read_reference_answers,
				  .program_fd = bpf_program__fd(nat->progs.bench_nat),
				  .reference = nat};
}

/* ---- cases */

/* What leaves must go from a source address to a backend, or from the service to a client. */
static void check_translated(struct bench_case *it, bool is_answer)
{
	uint8_t out[BENCH_FRAME_MAX * 2];
	uint32_t len = sizeof(out), verdict = bench_case_look(it, out, &len), src, dst;

	memcpy(&src, out + 26, 4);
	memcpy(&dst, out + 30, 4);
	if (verdict != it->verdict || len != it->frame.len || out[22] != it->frame.bytes[22] - 1 ||
	    (is_answer ? ntohl(src) != 0xc0000201 || ntohl(dst) >> 24 != 11
		       : ntohl(src) - BENCH_SOURCE_FIRST >= SL_NAT_ADDRESSES_MAX ||
				 ntohl(dst) - BACKEND_FIRST >= BACKENDS))
		bench_die("%s, %s: verdict %u, not the packet translated", it->name, it->who,
			  verdict);
}

static void add_answers(struct bench *bench, const struct load *load, const struct side *side)
{
	struct bench_flow4 *rows = calloc(load->flows, sizeof(*rows));
	struct bench_flows flows = {.count = load->flows, .rows = rows};
	struct bench_frame ack =
		bench_frame(BACKEND, SOURCE, BENCH_SERVICE_PORT, PORT_FIRST, BENCH_TCP_ACK);
	uint64_t random = 1;
	uint32_t found;
	char name[64];

	if (!rows)
		bench_die("out of memory");
	found = side->read_answers(side, rows, load->flows);
	if (found < load->flows - load->flows / 100)
		bench_die("nat %s, %s: only %u flows are in the table", load->name, side->who,
			  found);
	/* A few were refused, or fell out of an LRU hash: others come twice. */
	for (uint32_t i = found; i < load->flows; i++)
		rows[i] = rows[i - found];
	/* A table read in its own order would be one that the CPU sees coming. */
	for (uint32_t i = load->flows - 1; i > 0; i--) {
		uint32_t other = (uint32_t)(bench_random(&random) % (i + 1));
		struct bench_flow4 row = rows[i];

		rows[i] = rows[other];
		rows[other] = row;
	}
	(void)snprintf(name, sizeof(name), "nat reverse %s", load->name);
	check_translated(bench_add(bench, name, side->who, side->program_fd, &ack, flows,
				   side->back_verdict),
			 true);
	free(rows);
}

static void add_side(struct bench *bench, const struct load *load, const struct side *side)
{
	struct bench_frame syn =
		bench_frame(CLIENT, BENCH_SERVICE_ADDR, 1024, BENCH_SERVICE_PORT, BENCH_TCP_SYN);
	struct bench_frame ack =
		bench_frame(CLIENT, BENCH_SERVICE_ADDR, 1024, BENCH_SERVICE_PORT, BENCH_TCP_ACK);
	struct bench_flows flows = {.count = load->flows};
	struct bench_case *it;
	char name[64];

	(void)snprintf(name, sizeof(name), "nat forward %s", load->name);
	it = bench_add(bench, name, side->who, side->program_fd, load->flows ? &ack : &syn, flows,
		       XDP_TX);
	bench_case_warm(it, &syn, load->flows ? load->flows : bench->flows_max * 2);
	check_translated(it, false);
	if (load->flows)
		add_answers(bench, load, side);
}

void bench_group_nat(struct bench *bench)
{
	make_way_to_clients();
	for (size_t i = 0; i < sizeof(loads) / sizeof(*loads); i++) {
		struct side ours, reference;

		if (loads[i].flows > bench->flows_max)
			continue;
		make_ours(bench, &loads[i], &ours);
		make_reference(&reference);
		add_side(bench, &loads[i], &ours);
		add_side(bench, &loads[i], &reference);
	}
}

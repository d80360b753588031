/*
 * Packets of an L4 service, IPv4 to 100 backends by 4in4: ours with no slot in change, with those
 * of one leaving backend, and with all, beside the reference balancer.
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

#include "abi/flow_rules.h"
#include "kern/dataplane_internal.h"
#include "tests/bench/xdp/bench_groups.h"
#include "xdp_main.skel.h"

/* It names structs of bench_abi.h. */
#include "bench/bench_lru.skel.h"

#define CLIENT		 "11.0.0.1"
#define BACKENDS	 100
#define BACKEND_FIRST	 0x0a000100 /* 10.0.1.0 */
#define OTHER_SERVICES	 200
#define IP4_BYTES	 20
#define LOOPBACK_IFINDEX 1 /* where a test run's packets come from: so they leave by XDP_TX */
#define SLOT_BASE	 BENCH_SLOTS
#define BACKEND_BASE	 256

static const uint32_t flow_counts[] = {1, 65536, 1u << 20, 0};
static const char *const flow_names[] = {"1", "64k", "1M", "new"};

static uint32_t backend_of_slot(uint32_t slot)
{
	return (slot * 2654435761u >> 7) % BACKENDS;
}

/* ---- the reference */

static void put(int map, uint32_t key, uint32_t value)
{
	if (bpf_map_update_elem(map, &key, &value, BPF_ANY))
		bench_die("cannot fill the reference balancer: %s", strerror(errno));
}

static int lru_program(void)
{
	struct bench_lru_bpf *lru = bench_lru_bpf__open_and_load();
	struct bench_service_key key = {.port_be = htons(BENCH_SERVICE_PORT),
					.protocol = IPPROTO_TCP};

	if (!lru)
		bench_die("cannot load the reference balancer: %s", strerror(errno));
	for (uint32_t i = 0; i < BACKENDS; i++)
		put(bpf_map__fd(lru->maps.bench_backends), i, htonl(BACKEND_FIRST + i));
	for (uint32_t i = 0; i < BENCH_SLOTS; i++)
		put(bpf_map__fd(lru->maps.bench_slots), i, backend_of_slot(i));
	for (uint32_t i = 0; i <= OTHER_SERVICES; i++) {
		key.addr_be = htonl(0xc0000201 + i);
		if (bpf_map__update_elem(lru->maps.bench_services, &key, sizeof(key), &i, sizeof(i),
					 BPF_ANY))
			bench_die("cannot fill the reference balancer: %s", strerror(errno));
	}
	return bpf_program__fd(lru->progs.bench_lru);
}

/* ---- ours, through the ABI of the maps */

static int map_of(struct dataplane *dataplane, const char *name)
{
	int fd = bpf_object__find_map_fd_by_name(dataplane->xdp->obj, name);

	if (fd < 0)
		bench_die("our program has no map '%s'", name);
	return fd;
}

static void put_struct(struct dataplane *dataplane, const char *map, uint32_t key,
		       const void *value)
{
	if (bpf_map_update_elem(map_of(dataplane, map), &key, value, BPF_ANY))
		bench_die("%s, element %u: %s", map, key, strerror(errno));
}

static void put_key(struct dataplane *dataplane, const struct sl_service_key *key,
		    uint32_t key_count)
{
	uint32_t place = service_key_place(key->addr_be, key->port, key->protocol, key_count);

	for (int probe = 0; probe < SL_SERVICE_PROBES; probe++, place++) {
		struct sl_service_key there;
		uint32_t at = place & (key_count - 1);

		if (bpf_map_lookup_elem(map_of(dataplane, "sl_svc_keys"), &at, &there))
			bench_die("sl_svc_keys: %s", strerror(errno));
		if (there.value == SL_SERVICE_KEY_EMPTY) {
			put_struct(dataplane, "sl_svc_keys", at, key);
			return;
		}
	}
	bench_die("sl_svc_keys: no room");
}

/* `changing` of 65,536 slots go from one backend to another; new connections are listed. */
static void put_slots(struct dataplane *dataplane, uint32_t changing)
{
	struct bpf_map *map = bpf_object__find_map_by_name(dataplane->xdp->obj, "sl_slots");
	size_t len = (SLOT_BASE + BENCH_SLOTS) * sizeof(uint32_t);
	uint32_t *slots =
		map ? mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(map), 0)
		    : MAP_FAILED;

	if (slots == MAP_FAILED)
		bench_die("cannot map sl_slots: %s", strerror(errno));
	for (uint32_t i = 0; i < BENCH_SLOTS; i++) {
		uint32_t current = 1 + backend_of_slot(i), previous = current;
		uint32_t phase = SL_PHASE_CLEAN;

		if ((i * 40503u & 0xffff) < changing) {
			previous = 1 + current % BACKENDS;
			phase = SL_PHASE_SPLIT;
		}
		slots[SLOT_BASE + i] = SL_SLOT(current, previous, phase);
	}
	(void)munmap(slots, len);
}

struct dataplane *bench_service_new(struct bench *bench, enum sl_forward forward, uint32_t changing,
				    uint32_t ifindex)
{
	struct dataplane *dataplane = bench_dataplane_new(bench);
	struct sl_service service = {
		.flags = SL_SERVICE_LIVE,
		.forward = (uint8_t)forward,
		.affinity = SL_AFFINITY_FIVE_TUPLE,
		.slot_base = SLOT_BASE,
		.slot_count = BENCH_SLOTS,
		.backend_base = BACKEND_BASE,
		.backend_count = BACKENDS + 1,
	};
	struct sl_service_state state = {.key_count = 2 * (OTHER_SERVICES + 1)};
	struct sl_flow_conf conf;
	uint32_t zero = 0;

	if (bpf_map_lookup_elem(map_of(dataplane, "sl_flow_conf"), &zero, &conf))
		bench_die("sl_flow_conf: %s", strerror(errno));
	for (uint32_t i = 1; i <= BACKENDS; i++) {
		struct sl_backend backend = {
			.addr_be = {htonl(BACKEND_FIRST + i - 1)},
			.flags = SL_BACKEND_LIVE,
			.family = SL_FAMILY_V4,
			.port = 0,
			.ifindex = ifindex,
			.mtu = 1500,
			.next_hop = {2, 0, 0, 0, 0, 2},
			.from = {2, 0, 0, 0, 0, 1},
			.service = 1,
			.id = i,
		};

		put_struct(dataplane, "sl_backends", BACKEND_BASE + i, &backend);
	}
	put_slots(dataplane, changing);
	/* All keys lead to the one service: what counts is that the table of keys is not empty. */
	put_struct(dataplane, "sl_services", 1, &service);
	for (uint32_t i = 0; i <= OTHER_SERVICES; i++) {
		struct sl_service_key key = {
			.addr_be = {htonl(0xc0000201 + i)},
			.family = SL_FAMILY_V4,
			.value = SL_SERVICE_KEY_ADDRESS,
		};

		put_key(dataplane, &key, conf.key_count);
		key.port = BENCH_SERVICE_PORT;
		key.protocol = IPPROTO_TCP;
		key.value = 1 + 1;
		put_key(dataplane, &key, conf.key_count);
	}
	put_struct(dataplane, "sl_svc_state", 0, &state);
	return dataplane;
}

static struct bench_frame frame_with(uint8_t tcp_flags)
{
	return bench_frame(CLIENT, BENCH_SERVICE_ADDR, 1024, BENCH_SERVICE_PORT, tcp_flags);
}

/* What leaves must be the frame as it came with an IPv4 header in front. */
static void check_encapsulated(struct bench_case *it)
{
	uint8_t out[BENCH_FRAME_MAX * 2];
	uint32_t len = sizeof(out), verdict = bench_case_look(it, out, &len);
	const uint8_t *outer = out + 14;
	uint32_t dst;

	memcpy(&dst, outer + 16, 4);
	if (verdict != XDP_TX || len != it->frame.len + IP4_BYTES || outer[0] != 0x45 ||
	    outer[9] != IPPROTO_IPIP || outer[IP4_BYTES] != 0x45 ||
	    ntohl(dst) - BACKEND_FIRST >= BACKENDS)
		bench_die("%s, %s: verdict %u, not the packet with a header in front", it->name,
			  it->who, verdict);
}

static void add_flows(struct bench *bench, const char *name, const char *who, int program_fd,
		      uint32_t count)
{
	struct bench_frame syn = frame_with(BENCH_TCP_SYN), ack = frame_with(BENCH_TCP_ACK);
	struct bench_flows flows = {.count = count};
	struct bench_case *it =
		bench_add(bench, name, who, program_fd, count ? &ack : &syn, flows, XDP_TX);

	check_encapsulated(it);
	/* Connections begin before they are measured; of new ones, as many as any table holds. */
	bench_case_warm(it, &syn, count ? count : bench->flows_max * 2);
	if (count)
		bench_case_warm(it, &ack, count);
}

static const struct change {
	const char *name;
	uint32_t changing; /* of 65,536 slots */
} changes[] = {{"clean", 0}, {"1.6% in change", 1049}, {"all in change", 65536}};

void bench_group_service(struct bench *bench)
{
	for (size_t i = 0; i < sizeof(flow_counts) / sizeof(*flow_counts); i++) {
		if (flow_counts[i] > bench->flows_max)
			continue;
		for (size_t nth = 0; nth < sizeof(changes) / sizeof(*changes); nth++) {
			struct dataplane *dataplane = bench_service_new(
				bench, SL_FORWARD_IPIP, changes[nth].changing, LOOPBACK_IFINDEX);
			char name[64];

			(void)snprintf(name, sizeof(name), "service %s %s", changes[nth].name,
				       flow_names[i]);
			add_flows(bench, name, BENCH_OURS, bench_dataplane_program(dataplane),
				  flow_counts[i]);
			if (!changes[nth].changing) /* the reference knows no changes */
				add_flows(bench, name, "lru", lru_program(), flow_counts[i]);
		}
	}
}

/*
 * xdp_live: sends live frames from a device for some time and counts what arrives at another.
 * Prints JSON: packets sent, packets that arrived, seconds, and what our program has counted.
 *
 * usage: xdp_live FROM TO SECONDS FLOWS MAC [deny|ipip|nat DEVICE OUT]
 *
 * The flows are TCP from 11.0.0.0/8 to a service's address and port, FLOWS of them, a power of two.
 * With the last words our program is on DEVICE meanwhile: with a deny list of the flows' sources,
 * or the service with backends behind OUT. Without them, what is there is the caller's affair.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <arpa/inet.h>
#include <errno.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/bench/xdp/bench_groups.h"

/* It names structs of bench_abi.h. */
#include "bench/bench_live.skel.h"

#define STEP  0x9e3779b1u
#define BATCH 64
#define CHUNK 65536 /* frames of one call */

static uint64_t sunk(struct bench_live_bpf *live)
{
	struct bench_counter per_cpu[256];
	uint32_t zero = 0;
	uint64_t packets = 0;
	int cpus = libbpf_num_possible_cpus();

	if (cpus > 256 || bpf_map_lookup_elem(bpf_map__fd(live->maps.bench_sunk), &zero, per_cpu))
		bench_die("cannot read the sink's counter: %s", strerror(errno));
	for (int cpu = 0; cpu < cpus; cpu++)
		packets += per_cpu[cpu].packets;
	return packets;
}

static void send_chunk(struct bench_live_bpf *live, const struct bench_frame *frame,
		       unsigned int ifindex)
{
	struct xdp_md ctx = {.data_end = frame->len, .ingress_ifindex = ifindex};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame->bytes, .data_size_in = frame->len,
		    .ctx_in = &ctx, .ctx_size_in = sizeof(ctx), .repeat = CHUNK,
		    .flags = BPF_F_TEST_XDP_LIVE_FRAMES, .batch_size = BATCH);
	int ret = bpf_prog_test_run_opts(bpf_program__fd(live->progs.bench_gen), &opts);

	if (ret)
		bench_die("live frames: %s", strerror(-ret));
}

/* Our program on the device, until the process ends. */
static struct dataplane *put_ours(const char *what, const char *device, const char *out,
				  uint32_t flows)
{
	struct dataplane_interface interface = {.mode = XDP_MODE_NATIVE};
	struct bench bench = {.entries_max = flows};
	struct bench_list list = {.count = flows};
	struct dataplane *dataplane;
	struct error err = {0};

	if (!strcmp(what, "deny")) {
		dataplane = bench_dataplane_new(&bench);
		list.prefixes = calloc(flows, sizeof(*list.prefixes));
		if (!list.prefixes)
			bench_die("out of memory");
		for (uint32_t i = 0; i < flows; i++) {
			uint32_t addr_be = htonl(BENCH_FIRST_ADDR + i);

			list.prefixes[i].bits = 32;
			list.prefixes[i].addr.family = AF_INET;
			memcpy(list.prefixes[i].addr.bytes, &addr_be, sizeof(addr_be));
		}
		bench_deny(dataplane, &list);
		free(list.prefixes);
	} else {
		dataplane = bench_service_new(
			&bench, strcmp(what, "nat") ? SL_FORWARD_IPIP : SL_FORWARD_NAT, 0,
			if_nametoindex(out));
	}
	(void)snprintf(interface.name, sizeof(interface.name), "%s", device);
	if (dataplane_set_interfaces(dataplane, &interface, 1, &err))
		bench_die("cannot attach to %s: %s", device, err.text);
	return dataplane;
}

static int print_counter(const struct dataplane_counter *counter, void *arg)
{
	const char **separator = arg;

	if (counter->packets) {
		printf("%s\"%s\": %llu", *separator, counter->name,
		       (unsigned long long)counter->packets);
		*separator = ", ";
	}
	return 0;
}

int main(int argc, char **argv)
{
	unsigned int from = argc > 2 ? if_nametoindex(argv[1]) : 0;
	unsigned int to = argc > 2 ? if_nametoindex(argv[2]) : 0;
	struct bench_live_bpf *live;
	struct bench_frame frame;
	uint64_t begin_ns, end_ns, sent = 0, before;
	struct dataplane *dataplane = NULL;
	const char *separator = "";
	struct error err = {0};
	unsigned int mac[6];
	uint32_t flows;
	double seconds;

	if ((argc != 6 && argc != 9) || !from || !to)
		bench_die("usage: xdp_live FROM TO SECONDS FLOWS MAC [deny|ipip|nat DEVICE OUT]");
	bench_place_make();
	seconds = atof(argv[3]);
	frame = bench_frame("0.0.0.0", BENCH_SERVICE_ADDR, 0, BENCH_SERVICE_PORT, BENCH_TCP_ACK);
	if (sscanf(argv[5], "%x:%x:%x:%x:%x:%x", &mac[0], &mac[1], &mac[2], &mac[3], &mac[4],
		   &mac[5]) != 6)
		bench_die("not a link address: %s", argv[5]);
	for (int i = 0; i < 6; i++)
		frame.bytes[i] = (uint8_t)mac[i];
	live = bench_live_bpf__open_and_load();
	if (!live)
		bench_die("cannot load the generator: %s", strerror(errno));
	flows = (uint32_t)strtoul(argv[4], NULL, 10);
	if (argc == 9)
		dataplane = put_ours(argv[6], argv[7], argv[8], flows);
	if (bpf_xdp_attach((int)to, bpf_program__fd(live->progs.bench_sink), XDP_FLAGS_DRV_MODE,
			   NULL))
		bench_die("cannot put the sink on %s: %s", argv[2], strerror(errno));
	memcpy(live->bss->bench_gen_state.header, frame.bytes, BENCH_HEADER4);
	live->bss->bench_gen_state.step = STEP;
	live->bss->bench_gen_state.mask = flows - 1;
	before = sunk(live);
	begin_ns = bench_now_ns();
	do {
		send_chunk(live, &frame, from);
		sent += CHUNK;
		end_ns = bench_now_ns();
	} while ((double)(end_ns - begin_ns) < seconds * 1e9);
	(void)usleep(100000); /* what is in the queues */
	printf("{\"sent\": %llu, \"arrived\": %llu, \"seconds\": %.6f, \"counted\": {",
	       (unsigned long long)sent, (unsigned long long)(sunk(live) - before),
	       (double)(end_ns - begin_ns) / 1e9);
	if (dataplane && dataplane_walk_counters(dataplane, print_counter, &separator, &err))
		bench_die("%s", err.text);
	puts("}}");
	(void)bpf_xdp_detach((int)to, XDP_FLAGS_DRV_MODE, NULL);
	bench_live_bpf__destroy(live);
	return 0;
}

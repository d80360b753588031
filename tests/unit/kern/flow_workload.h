/*
 * flow_workload: connections as a busy balancer sees them, made from a seed.
 *
 * A fixed number of places, each of which holds one connection after another; every place sends
 * one packet a second on average. Four fifths share most packets by a heavy-tailed law and live
 * for a heavy-tailed number of packets (few: requests; some: 100,000). A fifth is slow: a packet
 * every 30 s; a tenth of these every 120 s, so that some are idle for more than 300 s and come
 * back. Two packets follow a SYN within 50 ms (the handshake's), and nine of ten connections end
 * with a FIN. Beside them a flood sends SYNs of flows that nobody has ever seen, or SYN and ACK.
 * The same seed gives the same packets. Thread rule: one owner.
 */
#ifndef SLUICE_TESTS_UNIT_KERN_FLOW_WORKLOAD_H
#define SLUICE_TESTS_UNIT_KERN_FLOW_WORKLOAD_H

#include <stdbool.h>
#include <stdint.h>

struct workload_config {
	uint64_t seed;
	uint32_t flows;
	double flood_per_s;
	unsigned int flood_packets; /* 1: SYN, 2: SYN and ACK */
	double flood_begin_s, flood_end_s;
};

struct workload_flow {
	uint64_t hash;
	uint32_t left, seen; /* packets */
	float last_s;	     /* time of its last packet */
	uint16_t backend;    /* that its last packet went to */
	bool broken;
};

struct workload_packet {
	uint64_t hash;
	struct workload_flow *flow; /* NULL: flood */
	bool is_syn, is_fin;
};

struct workload;

struct workload *workload_new(const struct workload_config *config);
void workload_free(struct workload *workload);
/* The next packet and its time. */
double workload_next(struct workload *workload, struct workload_packet *ret_packet);

#endif

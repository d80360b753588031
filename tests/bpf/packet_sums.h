/*
 * packet_sums: which checksums of a frame are right, found by adding up every byte that each
 * covers. Also writes right ones into a frame of a test's own. Shares nothing with the datapath.
 *
 * Takes any bytes: what is not there, cut short or not IP has no checksum that could be wrong.
 */
#ifndef SLUICE_TESTS_BPF_PACKET_SUMS_H
#define SLUICE_TESTS_BPF_PACKET_SUMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum packet_sum {
	PACKET_SUM_NONE, /* no such checksum, or not all that it covers is there */
	PACKET_SUM_RIGHT,
	PACKET_SUM_WRONG,
};

/* One IP packet, wherever it begins. */
struct packet_view {
	size_t ip_at;	 /* 0: no IP packet */
	size_t l4_at;	 /* behind options and extension headers */
	size_t end;	 /* of what the length fields grant, within the bytes */
	size_t quote_at; /* of the packet that an ICMP error quotes; 0: none */
	uint8_t protocol;
	bool is_v6;
	bool is_cut; /* a fragment, or its length says more than there is */
};

/* Below an Ethernet header with up to two tags. */
struct packet_view packet_view_frame(const uint8_t *bytes, size_t len);
struct packet_view packet_view_ip(const uint8_t *bytes, size_t len, size_t ip_at);

/* Of an IPv4 header. */
enum packet_sum packet_sum_header(const uint8_t *bytes, const struct packet_view *view);
/* Of TCP, UDP, ICMP or ICMPv6. */
enum packet_sum packet_sum_transport(const uint8_t *bytes, const struct packet_view *view);

/* NULL, or which checksum is wrong: of the frame, of a packet within it, of one that it quotes. */
const char *packet_sums_wrong(const uint8_t *bytes, size_t len);

/* Writes the checksums that the frame lacks. A UDP checksum of zero becomes one, too. */
void packet_sums_seal(uint8_t *bytes, size_t len);

/* The same numbers for the same seed. */
uint64_t packet_random(uint64_t *state);
void packet_random_fill(uint64_t *state, uint8_t *at, size_t len);

#endif

/*
 * nat_packet: whole IPv4 packets with right checksums, and a judge of checksums that shares nothing
 * with the datapath: it adds up every byte that a checksum covers.
 *
 * Addresses and ports are in host order. All frames are 14 bytes of Ethernet and IPv4.
 */
#ifndef SLUICE_TESTS_BPF_NAT_PACKET_H
#define SLUICE_TESTS_BPF_NAT_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NAT_IP(a, b, c, d) ((uint32_t)(a) << 24 | (b) << 16 | (c) << 8 | (d))

#define NAT_FIN 0x01
#define NAT_SYN 0x02
#define NAT_RST 0x04
#define NAT_ACK 0x10

struct nat_tuple4 {
	uint32_t src;
	uint32_t dst;
	uint16_t src_port;
	uint16_t dst_port;
	uint8_t protocol;
};

struct nat_packet {
	uint8_t bytes[4096];
	size_t len;
};

void nat_packet_tcp(struct nat_packet *packet, const struct nat_tuple4 *tuple, uint8_t flags,
		    size_t payload_bytes);
void nat_packet_udp(struct nat_packet *packet, const struct nat_tuple4 *tuple, bool has_checksum,
		    size_t payload_bytes);
/* With a payload of just this word, so that every sum comes by in 65,536 packets. */
void nat_packet_udp_word(struct nat_packet *packet, const struct nat_tuple4 *tuple, uint16_t word);
/* An ICMP error about the first quoted_bytes of the IP packet in `about`. */
void nat_packet_icmp_error(struct nat_packet *packet, uint32_t src, uint32_t dst, uint8_t type,
			   uint8_t code, const struct nat_packet *about, size_t quoted_bytes);
/* A packet with 8 bytes of IP options in front of its transport header. */
void nat_packet_add_options(struct nat_packet *packet);
void nat_packet_set_ttl(struct nat_packet *packet, uint8_t ttl);
/* The field of flags and offset in units of eight bytes. */
void nat_packet_set_fragment(struct nat_packet *packet, uint16_t fragment);
/* Cuts the frame after len bytes, with an IP length that agrees. */
void nat_packet_cut(struct nat_packet *packet, size_t len);

uint8_t nat_packet_ttl(const struct nat_packet *packet);
void nat_packet_read(const struct nat_packet *packet, struct nat_tuple4 *ret_tuple);
/* The packet that an ICMP error quotes, as a frame with zeros for its Ethernet header. */
void nat_packet_quoted(const struct nat_packet *packet, struct nat_packet *ret_quoted);
/* NULL, or which checksum is wrong. A quoted packet need not be whole. */
const char *nat_packet_wrong(const struct nat_packet *packet);
/* Is the UDP checksum zero, that is, absent? */
bool nat_packet_lacks_checksum(const struct nat_packet *packet);
/* Is it all ones, the twin of zero? */
bool nat_packet_has_twin_checksum(const struct nat_packet *packet);

#endif

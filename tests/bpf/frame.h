/*
 * frame: builds Ethernet frames for tests, layer by layer, and remembers for each byte range which
 * drop reason tells of a packet that ends there although all its length fields agree.
 *
 * Length fields are filled by frame_end(), and again by frame_cut(). Addresses are text.
 */
#ifndef SLUICE_TESTS_BPF_FRAME_H
#define SLUICE_TESTS_BPF_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "abi/drop_reasons.h"

#define FRAME_MAX   12288
#define FRAME_MARKS 24

#define FRAME_MORE    0x2000 /* IPv4's flag in frame_ip4()'s fragment */
#define FRAME_TCP_SYN 0x02
#define FRAME_TCP_ACK 0x10

struct frame_mark {
	size_t end;
	enum sl_reason reason; /* of a packet that ends before `end` */
};

struct frame {
	uint8_t bytes[FRAME_MAX];
	size_t len;
	size_t ip_at;	       /* 0: no IP header */
	size_t udp_at;	       /* 0: no UDP header */
	size_t next_header_at; /* where the protocol of the next layer goes; 0: nowhere */
	bool is_v6;
	struct frame_mark marks[FRAME_MARKS];
	size_t mark_count;
};

void frame_eth(struct frame *frame);
void frame_vlan(struct frame *frame, uint16_t tag_type);
void frame_type(struct frame *frame, uint16_t ethertype);
/* options_bytes is a multiple of four; fragment is the header's field. */
void frame_ip4(struct frame *frame, const char *src, const char *dst, size_t options_bytes,
	       uint16_t fragment);
void frame_ip6(struct frame *frame, const char *src, const char *dst);
/* len_bytes as the header counts it: a multiple of eight (AH: of four). */
void frame_ip6_ext(struct frame *frame, uint8_t protocol, size_t len_bytes);
void frame_ip6_fragment(struct frame *frame, uint16_t offset_bytes, bool more);
void frame_tcp(struct frame *frame, uint16_t port, uint8_t flags, size_t options_bytes);
void frame_udp(struct frame *frame, uint16_t port, size_t payload_bytes);
void frame_icmp(struct frame *frame);
void frame_protocol(struct frame *frame, uint8_t protocol);
void frame_payload(struct frame *frame, size_t len_bytes);
void frame_end(struct frame *frame);

/* The first len bytes, with length fields of IP that agree with the cut. */
void frame_cut(const struct frame *frame, size_t len, struct frame *ret_cut);

#endif

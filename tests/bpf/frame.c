#include "tests/bpf/frame.h"

#include <arpa/inet.h>
#include <assert.h>
#include <string.h>

static void put(struct frame *frame, const void *bytes, size_t len)
{
	assert(frame->len + len <= sizeof(frame->bytes));
	memcpy(frame->bytes + frame->len, bytes, len);
	frame->len += len;
}

static void put_zero(struct frame *frame, size_t len)
{
	assert(frame->len + len <= sizeof(frame->bytes));
	memset(frame->bytes + frame->len, 0, len);
	frame->len += len;
}

static void put_u8(struct frame *frame, uint8_t value)
{
	put(frame, &value, 1);
}

static void put_u16(struct frame *frame, uint16_t value)
{
	uint16_t value_be = htons(value);

	put(frame, &value_be, sizeof(value_be));
}

static void set_u16(struct frame *frame, size_t at, size_t value)
{
	uint16_t value_be = htons((uint16_t)value);

	memcpy(frame->bytes + at, &value_be, sizeof(value_be));
}

static void mark(struct frame *frame, enum sl_reason reason)
{
	assert(frame->mark_count < FRAME_MARKS);
	frame->marks[frame->mark_count++] = (struct frame_mark){frame->len, reason};
}

static void put_address(struct frame *frame, int family, const char *text)
{
	uint8_t bytes[16];

	if (inet_pton(family, text, bytes) != 1)
		assert(!"an address");
	put(frame, bytes, family == AF_INET6 ? 16 : 4);
}

void frame_protocol(struct frame *frame, uint8_t protocol)
{
	if (frame->next_header_at)
		frame->bytes[frame->next_header_at] = protocol;
}

void frame_eth(struct frame *frame)
{
	static const uint8_t addresses[12] = {2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1};

	memset(frame, 0, sizeof(*frame));
	put(frame, addresses, sizeof(addresses));
}

void frame_vlan(struct frame *frame, uint16_t tag_type)
{
	put_u16(frame, tag_type);
	mark(frame, frame->len == 14 ? SL_REASON_ETH_SHORT : SL_REASON_VLAN_SHORT);
	put_u16(frame, 7);
}

void frame_type(struct frame *frame, uint16_t ethertype)
{
	put_u16(frame, ethertype);
	mark(frame, frame->len == 14 ? SL_REASON_ETH_SHORT : SL_REASON_VLAN_SHORT);
}

void frame_ip4(struct frame *frame, const char *src, const char *dst, size_t options_bytes,
	       uint16_t fragment)
{
	frame_type(frame, 0x0800);
	frame->ip_at = frame->len;
	put_u8(frame, (uint8_t)(0x40 | (5 + options_bytes / 4)));
	put_zero(frame, 5);
	put_u16(frame, fragment);
	put_u8(frame, 64);
	frame->next_header_at = frame->len;
	put_u8(frame, 253); /* for experiments, RFC 3692 */
	put_zero(frame, 2);
	put_address(frame, AF_INET, src);
	put_address(frame, AF_INET, dst);
	mark(frame, SL_REASON_IP4_SHORT);
	if (options_bytes) {
		memset(frame->bytes + frame->len, 1, options_bytes); /* no operation */
		frame->len += options_bytes;
		mark(frame, SL_REASON_IP4_TOTAL_LEN);
	}
}

void frame_ip6(struct frame *frame, const char *src, const char *dst)
{
	frame_type(frame, 0x86dd);
	frame->ip_at = frame->len;
	frame->is_v6 = true;
	put_u8(frame, 0x60);
	put_zero(frame, 5);
	frame->next_header_at = frame->len;
	put_u8(frame, 59); /* nothing follows */
	put_u8(frame, 64);
	put_address(frame, AF_INET6, src);
	put_address(frame, AF_INET6, dst);
	mark(frame, SL_REASON_IP6_SHORT);
}

void frame_ip6_ext(struct frame *frame, uint8_t protocol, size_t len_bytes)
{
	bool is_ah = protocol == 51;

	frame_protocol(frame, protocol);
	frame->next_header_at = frame->len;
	put_u8(frame, 59);
	put_u8(frame, (uint8_t)(is_ah ? len_bytes / 4 - 2 : len_bytes / 8 - 1));
	put_zero(frame, len_bytes - 2);
	mark(frame, SL_REASON_IP6_EXT_SHORT);
}

void frame_ip6_fragment(struct frame *frame, uint16_t offset_bytes, bool more)
{
	frame_protocol(frame, 44);
	frame->next_header_at = frame->len;
	put_u8(frame, 59);
	put_u8(frame, 255); /* reserved, ignored by receivers */
	put_u16(frame, (uint16_t)(offset_bytes | more));
	put_zero(frame, 4);
	mark(frame, SL_REASON_IP6_EXT_SHORT);
}

void frame_tcp(struct frame *frame, uint16_t port, uint8_t flags, size_t options_bytes)
{
	frame_protocol(frame, 6);
	put_u16(frame, 40000);
	put_u16(frame, port);
	put_zero(frame, 8);
	put_u8(frame, (uint8_t)((5 + options_bytes / 4) << 4));
	put_u8(frame, flags);
	put_zero(frame, 6 + options_bytes);
	mark(frame, SL_REASON_TCP_SHORT);
}

void frame_udp(struct frame *frame, uint16_t port, size_t payload_bytes)
{
	frame_protocol(frame, 17);
	frame->udp_at = frame->len;
	put_u16(frame, 40000);
	put_u16(frame, port);
	put_u16(frame, (uint16_t)(8 + payload_bytes));
	put_zero(frame, 2);
	mark(frame, SL_REASON_UDP_SHORT);
	put_zero(frame, payload_bytes);
	mark(frame, SL_REASON_UDP_LEN);
}

void frame_icmp(struct frame *frame)
{
	frame_protocol(frame, frame->is_v6 ? 58 : 1);
	put_u8(frame, frame->is_v6 ? 128 : 8);
	put_zero(frame, frame->is_v6 ? 3 : 7);
	mark(frame, SL_REASON_ICMP_SHORT);
}

void frame_payload(struct frame *frame, size_t len_bytes)
{
	put_zero(frame, len_bytes);
}

void frame_end(struct frame *frame)
{
	if (!frame->ip_at)
		return;
	if (frame->is_v6 && frame->len >= frame->ip_at + 40)
		set_u16(frame, frame->ip_at + 4, frame->len - frame->ip_at - 40);
	else if (!frame->is_v6 && frame->len >= frame->ip_at + 4)
		set_u16(frame, frame->ip_at + 2, frame->len - frame->ip_at);
}

void frame_cut(const struct frame *frame, size_t len, struct frame *ret_cut)
{
	*ret_cut = *frame;
	ret_cut->len = len;
	frame_end(ret_cut);
}

/*
 * parse: from the first byte of a frame to what the stages need, in one pass.
 *
 * A cursor knows where it is, where the linear data ends (what the verifier wants to see) and how
 * many bytes the innermost length field still grants, so a header that a length field does not
 * cover is as truncated as one that the frame does not hold. Only the cursor moves pointers.
 * Parsers return 0 or the negative SL_REASON_* for which the packet is dropped.
 *
 * IPv6 extension headers are rare and read by bpf_xdp_load_bytes() at a plain number: a packet
 * pointer of unknown offset makes the verifier walk every combination of headers.
 * Multi-buffer frames: all other headers must be in the first buffer; lengths count all buffers.
 * The kernel is asked for that sum, which costs a call, only where the first buffer is too short
 * for what the length field of IP says: what a frame of several buffers has behind its packet is
 * not counted.
 */
#ifndef SLUICE_BPF_LIB_PARSE_H
#define SLUICE_BPF_LIB_PARSE_H

#include "vmlinux.h"
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "abi/drop_reasons.h"
#include "abi/steer.h"

#define ETHERTYPE_IP4	 0x0800
#define ETHERTYPE_ARP	 0x0806
#define ETHERTYPE_IP6	 0x86dd
#define ETHERTYPE_VLAN	 0x8100 /* 802.1Q */
#define ETHERTYPE_QINQ	 0x88a8 /* 802.1ad */
#define ETHERTYPE_QINQ_1 0x9100 /* before 802.1ad, still seen */

/* IP protocol numbers that vmlinux.h lacks, where they are macros. */
#define PROTO_HOPOPTS  0
#define PROTO_ROUTING  43
#define PROTO_FRAGMENT 44
#define PROTO_ICMP6    58
#define PROTO_DSTOPTS  60
#define PROTO_MOBILITY 135
#define PROTO_HIP      139 /* RFC 7401 */
#define PROTO_SHIM6    140 /* RFC 5533 */

#define VLAN_TAGS_MAX	2
#define IP6_HEADERS_MAX 8

struct wire_eth {
	__u8 dst[6];
	__u8 src[6];
	__be16 type_be;
};

struct wire_vlan {
	__be16 tag_be;
	__be16 type_be;
};

struct wire_ip4 {
	__u8 version_ihl;
	__u8 tos;
	__be16 total_len_be;
	__be16 id_be;
	__be16 fragment_be;
	__u8 ttl;
	__u8 protocol;
	__be16 checksum_be;
	__be32 src_be;
	__be32 dst_be;
};

struct wire_ip6 {
	__be32 version_flow_be;
	__be16 payload_len_be;
	__u8 next_header;
	__u8 hop_limit;
	__be32 src_be[4];
	__be32 dst_be[4];
};

/* How all extension headers begin; the last field is that of the fragment header. */
struct wire_ip6_ext {
	__u8 next_header;
	__u8 len;
	__be16 fragment_be;
};

struct wire_tcp {
	__be16 src_port_be;
	__be16 dst_port_be;
	__be32 seq_be;
	__be32 ack_be;
	__u8 data_offset; /* upper four bits, in words */
	__u8 flags;
	__be16 window_be;
	__be16 checksum_be;
	__be16 urgent_be;
};

struct wire_udp {
	__be16 src_port_be;
	__be16 dst_port_be;
	__be16 len_be;
	__be16 checksum_be;
};

#define TCP_FLAG_BYTE_FIN 0x01
#define TCP_FLAG_BYTE_SYN 0x02
#define TCP_FLAG_BYTE_ACK 0x10

struct packet {
	__u16 ethertype;
	__u8 family;   /* SL_FAMILY_*; 0: not IP */
	__u8 protocol; /* behind all extension headers */
	bool is_fragment;
	bool is_later_fragment; /* no transport header here */
	union {
		__u8 tcp_flags;
		__u8 icmp_type;
	};
	__u32 src_be[4]; /* IPv4 in the first word */
	__u32 dst_be[4];
	__u16 src_port;
	__u16 dst_port;
	__u16 ip_at;	 /* offset of the IP header in the frame */
	__u16 l4_at;	 /* of what `protocol` names */
	__u32 l4_len;	 /* bytes from there that the length fields grant */
	__u16 ip_len;	 /* IP header and what it carries; 0: an IPv6 jumbogram */
	__be16 ip_id_be; /* IPv4 */
	__u8 tos;
	bool may_fragment;     /* IPv4 without DF */
	__be32 fragment_id_be; /* fragments only */
	__u32 len_bytes;       /* of the frame; see above */
};

struct cursor {
	struct xdp_md *ctx;
	void *pos;
	void *end;
	__u32 offset; /* of pos within the frame */
	__u32 left;   /* bytes that the length fields read so far grant */
};

/* Puts pos at the offset, so that the verifier sees one pointer whatever came before. */
static __always_inline void cursor_place(struct cursor *cursor)
{
	cursor->offset &= 0x7fff;
	cursor->pos = (void *)(long)cursor->ctx->data + cursor->offset;
	cursor->end = (void *)(long)cursor->ctx->data_end;
}

/* The next len bytes, or NULL when there are fewer. len is a constant. */
static __always_inline void *cursor_take(struct cursor *cursor, __u32 len)
{
	void *taken = cursor->pos;

	if (cursor->left < len || taken + len > cursor->end)
		return NULL;
	cursor->pos = taken + len;
	cursor->offset += len;
	cursor->left -= len;
	return taken;
}

/* Over len bytes that nobody reads; what follows is checked by its own cursor_take(). */
static __always_inline int cursor_skip(struct cursor *cursor, __u32 len)
{
	if (cursor->left < len)
		return -1;
	cursor->offset += len;
	cursor->left -= len;
	return 0;
}

/* The bytes of all buffers, where those of the first are not enough. */
static __always_inline void cursor_widen(struct cursor *cursor, struct packet *packet)
{
	__u32 len_bytes = bpf_xdp_get_buff_len(cursor->ctx);

	cursor->left += len_bytes - packet->len_bytes;
	packet->len_bytes = len_bytes;
}

static __always_inline int parse_ethernet(struct cursor *cursor, __u16 *ret_type)
{
	struct wire_eth *eth = cursor_take(cursor, sizeof(*eth));
	__u16 type;

	if (!eth)
		return -SL_REASON_ETH_SHORT;
	type = bpf_ntohs(eth->type_be);
#pragma unroll
	for (int tags = 0; tags <= VLAN_TAGS_MAX; tags++) {
		struct wire_vlan *vlan;

		if (type != ETHERTYPE_VLAN && type != ETHERTYPE_QINQ && type != ETHERTYPE_QINQ_1)
			break;
		if (tags == VLAN_TAGS_MAX)
			return -SL_REASON_VLAN_DEPTH;
		vlan = cursor_take(cursor, sizeof(*vlan));
		if (!vlan)
			return -SL_REASON_VLAN_SHORT;
		type = bpf_ntohs(vlan->type_be);
	}
	*ret_type = type;
	return 0;
}

/*
 * A fragment that is not the last carries a multiple of eight bytes, and none reaches beyond
 * 65,535 (RFC 791, RFC 8200 4.5). A TCP fragment at offset 8 would overwrite the flags that were
 * judged in the first one (RFC 3128).
 */
static __always_inline int fragment_check(const struct packet *packet, __u32 offset_bytes,
					  bool more, __u32 len_bytes)
{
	if (more && (len_bytes == 0 || len_bytes % 8))
		return -SL_REASON_FRAGMENT_BAD;
	if (offset_bytes + len_bytes > 65535)
		return -SL_REASON_FRAGMENT_BAD;
	if (packet->protocol == IPPROTO_TCP && offset_bytes == 8)
		return -SL_REASON_FRAGMENT_BAD;
	return 0;
}

static __always_inline int parse_ip4(struct cursor *cursor, struct packet *packet)
{
	__u32 header_len, total_len, fragment;
	struct wire_ip4 *ip = cursor_take(cursor, sizeof(*ip));

	if (!ip)
		return -SL_REASON_IP4_SHORT;
	if (ip->version_ihl >> 4 != 4)
		return -SL_REASON_IP4_VERSION;
	header_len = (ip->version_ihl & 15) * 4;
	if (header_len < sizeof(*ip))
		return -SL_REASON_IP4_HEADER_LEN;
	total_len = bpf_ntohs(ip->total_len_be);
	if (total_len < header_len)
		return -SL_REASON_IP4_TOTAL_LEN;
	if (total_len - sizeof(*ip) > cursor->left) {
		cursor_widen(cursor, packet);
		if (total_len - sizeof(*ip) > cursor->left)
			return -SL_REASON_IP4_TOTAL_LEN;
	}
	cursor->left = total_len - sizeof(*ip); /* what follows is Ethernet padding */

	packet->family = SL_FAMILY_V4;
	packet->protocol = ip->protocol;
	packet->src_be[0] = ip->src_be;
	packet->dst_be[0] = ip->dst_be;
	packet->ip_len = total_len;
	packet->tos = ip->tos;
	fragment = bpf_ntohs(ip->fragment_be);
	packet->ip_id_be = ip->id_be;
	packet->may_fragment = !(fragment & 0x4000);
	if (cursor_skip(cursor, header_len - sizeof(*ip)))
		return -SL_REASON_IP4_TOTAL_LEN;
	cursor_place(cursor);
	if (fragment & 0x3fff) {
		packet->fragment_id_be = ip->id_be;
		packet->is_fragment = true;
		packet->is_later_fragment = (fragment & 0x1fff) != 0;
		return fragment_check(packet, (fragment & 0x1fff) * 8, fragment & 0x2000,
				      cursor->left);
	}
	return 0;
}

static __always_inline bool is_ip6_extension(__u8 protocol)
{
	switch (protocol) {
	case PROTO_HOPOPTS:
	case PROTO_ROUTING:
	case PROTO_FRAGMENT:
	case PROTO_DSTOPTS:
	case PROTO_MOBILITY:
	case PROTO_HIP:
	case PROTO_SHIM6:
	case IPPROTO_AH:
		return true;
	default:
		return false;
	}
}

/* Leaves the cursor without a place: the caller says cursor_place(). */
static __always_inline int parse_ip6_extension(struct cursor *cursor, struct packet *packet)
{
	bool is_fragment = packet->protocol == PROTO_FRAGMENT;
	struct wire_ip6_ext ext;
	__u32 len_bytes, fragment, at = cursor->offset;

	if (bpf_xdp_load_bytes(cursor->ctx, cursor->offset, &ext, sizeof(ext)))
		return -SL_REASON_IP6_EXT_SHORT;
	/* Words beyond the first eight bytes; AH counts four-byte words less two (RFC 4302 2.2). */
	if (is_fragment)
		len_bytes = 8;
	else if (packet->protocol == IPPROTO_AH)
		len_bytes = (ext.len + 2) * 4;
	else
		len_bytes = (ext.len + 1) * 8;
	packet->protocol = ext.next_header;
	if (cursor_skip(cursor, len_bytes))
		return -SL_REASON_IP6_EXT_SHORT;
	fragment = bpf_ntohs(ext.fragment_be);
	/* Offset 0 and no more to come: whole, an atomic fragment (RFC 6946). */
	if (!is_fragment || !(fragment & 0xfff9))
		return 0;
	if (bpf_xdp_load_bytes(cursor->ctx, at + sizeof(ext), &packet->fragment_id_be, 4))
		return -SL_REASON_IP6_EXT_SHORT;
	packet->is_fragment = true;
	packet->is_later_fragment = (fragment & 0xfff8) != 0;
	return fragment_check(packet, fragment & 0xfff8, fragment & 1, cursor->left);
}

/*
 * From l4_at on, which it moves behind the last extension header. A global function: rare, and what
 * comes behind would be verified for each way through the loop.
 */
__noinline int parse_ip6_extensions(struct xdp_md *ctx, struct packet *packet)
{
	struct cursor cursor = {.ctx = ctx};
	int ret;

	if (!packet)
		return -SL_REASON_IP6_EXT_SHORT;
	cursor.offset = packet->l4_at;
	cursor.left = packet->l4_len;
	for (int headers = 0; !packet->is_later_fragment; headers++) {
		if (!is_ip6_extension(packet->protocol))
			break;
		if (headers == IP6_HEADERS_MAX)
			return -SL_REASON_IP6_EXT_DEPTH;
		ret = parse_ip6_extension(&cursor, packet);
		if (ret)
			return ret;
	}
	packet->l4_at = cursor.offset;
	packet->l4_len = cursor.left;
	return 0;
}

static __always_inline int parse_ip6(struct cursor *cursor, struct packet *packet)
{
	struct wire_ip6 *ip = cursor_take(cursor, sizeof(*ip));
	__u32 payload_len, version_flow;
	bool is_jumbo;
	int ret;

	if (!ip)
		return -SL_REASON_IP6_SHORT;
	version_flow = bpf_ntohl(ip->version_flow_be);
	if (version_flow >> 28 != 6)
		return -SL_REASON_IP6_VERSION;
	payload_len = bpf_ntohs(ip->payload_len_be);
	/* 0 before hop-by-hop options: a jumbogram (RFC 2675), also how BIG TCP comes by. */
	is_jumbo = !payload_len && ip->next_header == PROTO_HOPOPTS;
	if (is_jumbo || payload_len > cursor->left)
		cursor_widen(cursor, packet);
	if (payload_len > cursor->left)
		return -SL_REASON_IP6_PAYLOAD_LEN;
	packet->family = SL_FAMILY_V6;
	packet->protocol = ip->next_header;
	packet->tos = version_flow >> 20;
	if (payload_len && payload_len + sizeof(*ip) <= 65535)
		packet->ip_len = payload_len + sizeof(*ip);
	if (!is_jumbo)
		cursor->left = payload_len;
	__builtin_memcpy(packet->src_be, ip->src_be, sizeof(packet->src_be));
	__builtin_memcpy(packet->dst_be, ip->dst_be, sizeof(packet->dst_be));

	if (is_ip6_extension(packet->protocol)) {
		packet->l4_at = cursor->offset;
		packet->l4_len = cursor->left;
		ret = parse_ip6_extensions(cursor->ctx, packet);
		if (ret)
			return ret;
		cursor->offset = packet->l4_at;
		cursor->left = packet->l4_len;
	}
	cursor_place(cursor);
	return 0;
}

static __always_inline int parse_tcp(struct cursor *cursor, struct packet *packet)
{
	struct wire_tcp *tcp = cursor_take(cursor, sizeof(*tcp));
	__u32 header_len;

	if (!tcp)
		return -SL_REASON_TCP_SHORT;
	header_len = (tcp->data_offset >> 4) * 4;
	if (header_len < sizeof(*tcp))
		return -SL_REASON_TCP_HEADER_LEN;
	packet->src_port = bpf_ntohs(tcp->src_port_be);
	packet->dst_port = bpf_ntohs(tcp->dst_port_be);
	packet->tcp_flags = tcp->flags;
	if (cursor_skip(cursor, header_len - sizeof(*tcp)))
		return -SL_REASON_TCP_SHORT;
	return 0;
}

static __always_inline int parse_udp(struct cursor *cursor, struct packet *packet)
{
	struct wire_udp *udp = cursor_take(cursor, sizeof(*udp));
	__u32 len;

	if (!udp)
		return -SL_REASON_UDP_SHORT;
	len = bpf_ntohs(udp->len_be);
	packet->src_port = bpf_ntohs(udp->src_port_be);
	packet->dst_port = bpf_ntohs(udp->dst_port_be);
	/* A first fragment holds less than the length says; 0 means a jumbogram (RFC 2675 4). */
	if (len == 0 && packet->family == SL_FAMILY_V6 && cursor->left > 65527)
		return 0;
	if (len < sizeof(*udp) || (!packet->is_fragment && len - sizeof(*udp) > cursor->left))
		return -SL_REASON_UDP_LEN;
	return 0;
}

static __always_inline int parse_icmp(struct cursor *cursor, struct packet *packet, __u32 least)
{
	__u8 *type = cursor_take(cursor, least);

	if (!type)
		return -SL_REASON_ICMP_SHORT;
	packet->icmp_type = *type;
	return 0;
}

static __always_inline int parse_transport(struct cursor *cursor, struct packet *packet)
{
	packet->l4_at = cursor->offset;
	packet->l4_len = cursor->left;
	if (packet->is_later_fragment)
		return 0;
	switch (packet->protocol) {
	case IPPROTO_TCP:
		return parse_tcp(cursor, packet);
	case IPPROTO_UDP:
		return parse_udp(cursor, packet);
	case IPPROTO_ICMP: /* type, code, checksum and four bytes by type (RFC 792) */
		return parse_icmp(cursor, packet, 8);
	case PROTO_ICMP6: /* type, code, checksum (RFC 4443 2.1) */
		return parse_icmp(cursor, packet, 4);
	default:
		return 0;
	}
}

/* The caller has zeroed the packet. */
static __always_inline int parse_packet(struct xdp_md *ctx, struct packet *packet)
{
	struct cursor cursor = {.ctx = ctx};
	int ret;

	if (!packet)
		return -SL_REASON_ETH_SHORT;
	cursor_place(&cursor);
	packet->len_bytes = (__u32)((long)cursor.end - (long)cursor.pos);
	cursor.left = packet->len_bytes;
	ret = parse_ethernet(&cursor, &packet->ethertype);
	if (ret)
		return ret;
	packet->ip_at = cursor.offset;
	if (packet->ethertype == ETHERTYPE_IP4)
		ret = parse_ip4(&cursor, packet);
	else if (packet->ethertype == ETHERTYPE_IP6)
		ret = parse_ip6(&cursor, packet);
	else
		cursor_widen(&cursor, packet);
	return ret || !packet->family ? ret : parse_transport(&cursor, packet);
}

#endif

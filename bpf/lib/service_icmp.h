/*
 * service_icmp: ICMP of service addresses. Ping is answered here, since nobody may own the address.
 * Errors from the path carry the packet that a backend sent in the service's name: read backwards
 * it is the flow. What is too big for the way to its backend gets a too-big answer.
 */
#ifndef SLUICE_BPF_LIB_SERVICE_ICMP_H
#define SLUICE_BPF_LIB_SERVICE_ICMP_H

#include "lib/encap.h"
#include "lib/parse.h"

#define ICMP4_ECHO_REPLY    0
#define ICMP4_UNREACHABLE   3
#define ICMP4_ECHO	    8
#define ICMP4_TIME_EXCEEDED 11
#define ICMP4_PARAMETER	    12
#define ICMP4_CODE_TOO_BIG  4
#define ICMP6_TOO_BIG	    2
#define ICMP6_ERROR_LAST    4 /* 1 to 4 (RFC 4443) */
#define ICMP6_ECHO	    128
#define ICMP6_ECHO_REPLY    129

/* Bytes of the packet that an answer quotes: a header with all its options and the ports. */
#define QUOTE4 68
/* As much as checksum helpers take at once; the answer stays below 1,280 bytes. */
#define QUOTE6 448

struct wire_icmp {
	__u8 type;
	__u8 code;
	__be16 checksum_be;
	__be32 rest_be; /* too big: the MTU, in IPv4 behind two zero bytes */
};

struct wire_ports {
	__be16 src_be;
	__be16 dst_be;
	__be32 rest_be; /* an error quotes eight bytes at least */
};

static __always_inline bool icmp_is_ping(const struct packet *packet)
{
	return packet->icmp_type == (packet->family == SL_FAMILY_V4 ? ICMP4_ECHO : ICMP6_ECHO);
}

static __always_inline bool icmp_is_error(const struct packet *packet)
{
	if (packet->family == SL_FAMILY_V6)
		return packet->icmp_type >= 1 && packet->icmp_type <= ICMP6_ERROR_LAST;
	return packet->icmp_type == ICMP4_UNREACHABLE || packet->icmp_type == ICMP4_TIME_EXCEEDED ||
	       packet->icmp_type == ICMP4_PARAMETER;
}

/* The flow that an ICMP error is about, as its client would send it. -1: none that we could know.
 */
static __always_inline int icmp_read_inner(struct xdp_md *ctx, const struct packet *packet,
					   struct flow_tuple *ret_tuple)
{
	__u32 at = packet->l4_at + sizeof(struct wire_icmp), end = packet->ip_at + packet->ip_len;
	struct wire_ports ports;

	if (packet->family == SL_FAMILY_V4) {
		struct wire_ip4 ip;

		if (bpf_xdp_load_bytes(ctx, at, &ip, sizeof(ip)) || ip.version_ihl >> 4 != 4 ||
		    (ip.version_ihl & 15) < 5 || ip.fragment_be & bpf_htons(0x1fff))
			return -1;
		ret_tuple->src_be[0] = ip.dst_be;
		ret_tuple->dst_be[0] = ip.src_be;
		ret_tuple->protocol = ip.protocol;
		at += (ip.version_ihl & 15) * 4;
	} else {
		struct wire_ip6 ip;

		/* Extension headers are not looked behind: backends do not send them here. */
		if (bpf_xdp_load_bytes(ctx, at, &ip, sizeof(ip)) ||
		    bpf_ntohl(ip.version_flow_be) >> 28 != 6)
			return -1;
		__builtin_memcpy(ret_tuple->src_be, ip.dst_be, sizeof(ip.dst_be));
		__builtin_memcpy(ret_tuple->dst_be, ip.src_be, sizeof(ip.src_be));
		ret_tuple->protocol = ip.next_header;
		at += sizeof(ip);
	}
	if (ret_tuple->protocol != IPPROTO_TCP && ret_tuple->protocol != IPPROTO_UDP)
		return -1;
	if (at + sizeof(ports) > end || bpf_xdp_load_bytes(ctx, at, &ports, sizeof(ports)))
		return -1;
	/* An error to one address about a packet of another is nothing that a router sends. */
	if (ret_tuple->dst_be[0] != packet->dst_be[0] ||
	    ret_tuple->dst_be[3] != packet->dst_be[3] ||
	    ret_tuple->dst_be[1] != packet->dst_be[1] || ret_tuple->dst_be[2] != packet->dst_be[2])
		return -1;
	ret_tuple->ports = (__u32)bpf_ntohs(ports.dst_be) << 16 | bpf_ntohs(ports.src_be);
	return 0;
}

static __always_inline void eth_swap(struct wire_eth *eth)
{
	struct mac to;

	__builtin_memcpy(&to, eth->dst, sizeof(to));
	__builtin_memcpy(eth->dst, eth->src, sizeof(eth->dst));
	__builtin_memcpy(eth->src, &to, sizeof(eth->src));
}

/* Another 16-bit word under a checksum (RFC 1624, equation 3). */
static __always_inline __be16 checksum_replace(__be16 checksum_be, __be16 from_be, __be16 to_be)
{
	return checksum_fold((__u16)~checksum_be + (__u32)(__u16)~from_be + to_be);
}

/* The echo request becomes the reply, in place; options stay. */
static __always_inline int ping_answer(struct xdp_md *ctx, const struct packet *packet)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	void *pos = data + (packet->ip_at & 31);
	struct wire_icmp *icmp;
	struct wire_eth *eth = data;

	if (data + sizeof(*eth) > end)
		return 0;
	/* parse_icmp() has seen four bytes of ICMPv6 only. */
	if (packet->l4_at + sizeof(*icmp) > (__u32)packet->ip_at + packet->ip_len)
		return 0;
	icmp = data + (packet->l4_at & 0x7ff);
	if ((void *)(icmp + 1) > end)
		return 0;
	if (packet->family == SL_FAMILY_V4) {
		struct wire_ip4 *ip = pos;
		__be16 before_be, after_be;

		if ((void *)(ip + 1) > end)
			return 0;
		before_be = bpf_htons((__u16)(ip->ttl << 8 | ip->protocol));
		after_be = bpf_htons((__u16)(OUTER_TTL << 8 | ip->protocol));
		ip->ttl = OUTER_TTL;
		ip->checksum_be = checksum_replace(ip->checksum_be, before_be, after_be);
		ip->src_be = packet->dst_be[0];
		ip->dst_be = packet->src_be[0];
		icmp->type = ICMP4_ECHO_REPLY;
		icmp->checksum_be = checksum_replace(icmp->checksum_be, bpf_htons(ICMP4_ECHO << 8),
						     bpf_htons(ICMP4_ECHO_REPLY << 8));
		/*
		 * Where number, sequence and payload are zero, so is all of the reply, and then
		 * only one of the twins of zero is right: that which always is.
		 */
		if (!icmp->checksum_be)
			icmp->checksum_be = 0xffff;
	} else {
		struct wire_ip6 *ip = pos;

		if ((void *)(ip + 1) > end)
			return 0;
		ip->hop_limit = OUTER_TTL;
		__builtin_memcpy(ip->src_be, packet->dst_be, sizeof(ip->src_be));
		__builtin_memcpy(ip->dst_be, packet->src_be, sizeof(ip->dst_be));
		icmp->type = ICMP6_ECHO_REPLY;
		icmp->checksum_be = checksum_replace(icmp->checksum_be, bpf_htons(ICMP6_ECHO << 8),
						     bpf_htons(ICMP6_ECHO_REPLY << 8));
	}
	eth_swap(eth);
	return STAGE_DONE(SL_REASON_SERVICE_PING, XDP_TX);
}

struct __attribute__((packed)) too_big4 {
	__be16 type_be;
	struct wire_ip4 ip;
	struct wire_icmp icmp;
	__u8 quote[QUOTE4];
};

struct __attribute__((packed)) too_big6 {
	__be16 type_be;
	struct wire_ip6 ip;
	struct wire_icmp icmp;
	__u8 quote[QUOTE6];
};

/* Words of a checksum to be, over len bytes (a multiple of four). */
static __always_inline __u32 checksum_sum(const void *bytes, __u32 len, __u32 sum)
{
	return bpf_csum_diff(NULL, 0, (__be32 *)bytes, len, sum);
}

static __always_inline int too_big_write4(struct xdp_md *ctx, const struct packet *packet,
					  const struct mac *to, const struct mac *from, __u32 mtu)
{
	struct too_big4 *answer = frame_push(ctx, packet, sizeof(answer->ip) + sizeof(answer->icmp),
					     to, from, sizeof(*answer));
	struct wire_icmp icmp = {.type = ICMP4_UNREACHABLE, .code = ICMP4_CODE_TOO_BIG};
	struct wire_ip4 ip = {
		.version_ihl = 0x45,
		.total_len_be = bpf_htons(sizeof(*answer) - sizeof(answer->type_be)),
		.ttl = OUTER_TTL,
		.protocol = IPPROTO_ICMP,
		.src_be = packet->dst_be[0],
		.dst_be = packet->src_be[0],
	};

	if (!answer)
		return -1;
	icmp.rest_be = bpf_htonl(mtu & 0xffff);
	icmp.checksum_be = checksum_fold(
		checksum_sum(answer->quote, QUOTE4, checksum_sum(&icmp, sizeof(icmp), 0)));
	ip.checksum_be = checksum_ip4(&ip);
	answer->type_be = bpf_htons(ETHERTYPE_IP4);
	__builtin_memcpy(&answer->ip, &ip, sizeof(ip));
	__builtin_memcpy(&answer->icmp, &icmp, sizeof(icmp));
	return 0;
}

static __always_inline int too_big_write6(struct xdp_md *ctx, const struct packet *packet,
					  const struct mac *to, const struct mac *from, __u32 mtu)
{
	struct too_big6 *answer = frame_push(ctx, packet, sizeof(answer->ip) + sizeof(answer->icmp),
					     to, from, sizeof(*answer));
	__u32 len = sizeof(answer->icmp) + QUOTE6, sum;
	struct wire_icmp icmp = {.type = ICMP6_TOO_BIG};
	__be32 tail_be[2] = {bpf_htonl(len), bpf_htonl(PROTO_ICMP6)}; /* of the pseudo header */

	if (!answer)
		return -1;
	icmp.rest_be = bpf_htonl(mtu);
	sum = checksum_sum(&icmp, sizeof(icmp), 0);
	sum = checksum_sum(packet->src_be, sizeof(packet->src_be), sum);
	sum = checksum_sum(packet->dst_be, sizeof(packet->dst_be), sum);
	sum = checksum_sum(tail_be, sizeof(tail_be), sum);
	sum = checksum_sum(answer->quote, QUOTE6, sum);
	icmp.checksum_be = checksum_fold(sum);
	answer->type_be = bpf_htons(ETHERTYPE_IP6);
	answer->ip.version_flow_be = bpf_htonl(6U << 28);
	answer->ip.payload_len_be = bpf_htons(len);
	answer->ip.next_header = PROTO_ICMP6;
	answer->ip.hop_limit = OUTER_TTL;
	__builtin_memcpy(answer->ip.src_be, packet->dst_be, sizeof(answer->ip.src_be));
	__builtin_memcpy(answer->ip.dst_be, packet->src_be, sizeof(answer->ip.dst_be));
	__builtin_memcpy(&answer->icmp, &icmp, sizeof(icmp));
	return 0;
}

/*
 * The packet would exceed the MTU once it has its outer header. A client that allows fragments, a
 * later fragment or an ICMP error get no answer (RFC 1122 3.2.2), the packet is dropped. A global
 * function: rare, and large.
 */
__noinline int too_big_answer(struct xdp_md *ctx, const struct packet *packet, __u32 mtu)
{
	struct mac to, from;
	__u32 keep;
	void *data;

	if (!ctx || !packet)
		return STAGE_DROP(SL_REASON_SERVICE_TOO_BIG_DROP);
	keep = packet->family == SL_FAMILY_V4 ? QUOTE4 : QUOTE6;
	if (!mtu || packet->may_fragment || packet->is_later_fragment ||
	    packet->protocol == IPPROTO_ICMP || packet->protocol == PROTO_ICMP6 ||
	    packet->ip_len < keep)
		return STAGE_DROP(SL_REASON_SERVICE_TOO_BIG_DROP);
	data = (void *)(long)ctx->data;
	if (data + sizeof(struct wire_eth) > (void *)(long)ctx->data_end)
		return STAGE_DROP(SL_REASON_SERVICE_TOO_BIG_DROP);
	__builtin_memcpy(&from, data, sizeof(from));
	__builtin_memcpy(&to, data + sizeof(from), sizeof(to));
	if (bpf_xdp_adjust_tail(ctx, (int)(packet->ip_at + keep) - (int)bpf_xdp_get_buff_len(ctx)))
		return STAGE_DROP(SL_REASON_SERVICE_TOO_BIG_DROP);
	if (packet->family == SL_FAMILY_V4 ? too_big_write4(ctx, packet, &to, &from, mtu)
					   : too_big_write6(ctx, packet, &to, &from, mtu))
		return STAGE_DROP(SL_REASON_SERVICE_HEADROOM);
	return STAGE_DONE(SL_REASON_SERVICE_TOO_BIG, XDP_TX);
}

#endif

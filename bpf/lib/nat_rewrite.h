/*
 * nat_rewrite: addresses and ports of an IPv4 packet, with every checksum that covers them.
 *
 * Checksums are only ever updated (RFC 1624, eqn. 3), never computed anew: a packet that came in
 * damaged must go out damaged. Sums of 16-bit words may be taken over 32-bit words in the order of
 * the host (RFC 1071 2), so nothing is swapped.
 */
#ifndef SLUICE_BPF_LIB_NAT_REWRITE_H
#define SLUICE_BPF_LIB_NAT_REWRITE_H

#include "lib/parse.h"

/* Source and destination as in the packet; source port in the first two bytes of ports_be. */
struct nat_tuple {
	__u32 src_be;
	__u32 dst_be;
	__u32 ports_be;
};

static __always_inline __u32 nat_ports(__u16 src_port_be, __u16 dst_port_be)
{
	return src_port_be | (__u32)dst_port_be << 16;
}

/* What to add to a sum of 16-bit words when one 32-bit word gives way to another. */
static __always_inline __u64 nat_delta(__u32 old, __u32 new)
{
	return (__u64)(__u32)~old + new;
}

static __always_inline __u16 nat_checksum(__u16 checksum, __u64 delta)
{
	__u64 sum = (__u16)~checksum + delta;

	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/* A zero says that there is none, so a sum of zero is sent as its twin (RFC 768). */
static __always_inline __u16 nat_udp_checksum(__u16 checksum, __u64 delta)
{
	if (!checksum)
		return 0;
	checksum = nat_checksum(checksum, delta);
	return checksum ? checksum : 0xffff;
}

/* Returns what the addresses add to a sum that covers them. */
static __always_inline __u64 nat_rewrite_ip(struct wire_ip4 *ip, const struct nat_tuple *to,
					    bool is_hop)
{
	__u64 delta = nat_delta(ip->src_be, to->src_be) + nat_delta(ip->dst_be, to->dst_be);
	__u64 hop = 0;

	if (is_hop) { /* the word of TTL and protocol */
		hop = (__u16) ~(ip->ttl | ip->protocol << 8);
		ip->ttl--;
		hop += ip->ttl | ip->protocol << 8;
	}
	ip->checksum_be = nat_checksum(ip->checksum_be, delta + hop);
	ip->src_be = to->src_be;
	ip->dst_be = to->dst_be;
	return delta;
}

/* The headers were found whole by the parser; here the verifier wants to see it again. */
static __always_inline bool nat_rewrite_tcp(struct wire_ip4 *ip, void *transport, void *end,
					    const struct nat_tuple *to)
{
	struct wire_tcp *tcp = transport;
	__u32 *ports = transport;
	__u64 delta;

	if ((void *)(tcp + 1) > end)
		return false;
	delta = nat_rewrite_ip(ip, to, true) + nat_delta(*ports, to->ports_be);
	*ports = to->ports_be;
	tcp->checksum_be = nat_checksum(tcp->checksum_be, delta);
	return true;
}

static __always_inline bool nat_rewrite_udp(struct wire_ip4 *ip, void *transport, void *end,
					    const struct nat_tuple *to)
{
	struct wire_udp *udp = transport;
	__u32 *ports = transport;
	__u64 delta;

	if ((void *)(udp + 1) > end)
		return false;
	delta = nat_rewrite_ip(ip, to, true) + nat_delta(*ports, to->ports_be);
	*ports = to->ports_be;
	udp->checksum_be = nat_udp_checksum(udp->checksum_be, delta);
	return true;
}

#endif

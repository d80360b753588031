/*
 * decap: for a backend: takes the outer header off what a balancer sent it by IP in IP.
 *
 *   4in4 (RFC 2003), 6in6 and 4in6 (RFC 2473), below up to two VLAN tags
 *
 * Only packets to an outer destination that was given are touched; all others go to the stack as
 * they came. What is to such an address and not in order is dropped. One layer is taken off, so a
 * packet in a packet in a packet cannot turn in a circle here. The tunnel is one hop, which the
 * sender counts: the inner TTL stays, but 0 is not delivered. Congestion marks: RFC 6040 4.2.
 *
 * Headers are read by bpf_xdp_load_bytes(), so that they may lie in any buffer and at any offset.
 */
#include "vmlinux.h"
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "abi/decap.h"
#include "lib/parse.h"

#define PROTO_IP4_INSIDE 4
#define PROTO_IP6_INSIDE 41
#define OPTION_HEADERS	 2 /* of outer IPv6: Linux puts a tunnel encapsulation limit there */

#define ECN_MASK 3
#define ECN_CE	 3 /* congestion experienced */

#define L2_MIN sizeof(struct wire_eth)
#define L2_MAX (sizeof(struct wire_eth) + VLAN_TAGS_MAX * sizeof(struct wire_vlan))

/* Are there entries in sl_decap_src? Else any source is taken. */
const volatile bool check_source = false;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SL_DECAP_ADDRESSES_MAX);
	__type(key, struct sl_decap_address);
	__type(value, __u32);
} sl_decap_dst SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, SL_DECAP_SOURCES_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct sl_lpm6_key);
	__type(value, __u32);
} sl_decap_src SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SL_DECAP_COUNT_MAX);
	__type(key, __u32);
	__type(value, struct sl_counter);
} sl_decap_count SEC(".maps");

struct outer {
	__u32 l2_len;
	__u32 inner_at; /* offset of the inner header */
	__u32 granted;	/* bytes from there on, by the outer length */
	__u8 ecn;
	__u8 protocol;
	bool is_v6;
};

static __always_inline void map_ip4(__be32 addr_be, __u8 ret_mapped_be[16])
{
	__builtin_memset(ret_mapped_be, 0, 10);
	ret_mapped_be[10] = 0xff;
	ret_mapped_be[11] = 0xff;
	__builtin_memcpy(ret_mapped_be + 12, &addr_be, sizeof(addr_be));
}

static __always_inline bool is_given(const struct sl_decap_address *address)
{
	return bpf_map_lookup_elem(&sl_decap_dst, address) != NULL;
}

static __always_inline bool is_source(const struct sl_lpm6_key *source)
{
	return !check_source || bpf_map_lookup_elem(&sl_decap_src, source);
}

/* The end of the Ethernet header and its tags; 0: none that we know. */
static __always_inline __u32 read_l2(struct xdp_md *ctx, __u16 *ret_type)
{
	__u32 len = sizeof(struct wire_eth);
	struct wire_vlan vlan;
	struct wire_eth eth;
	__u16 type;

	if (bpf_xdp_load_bytes(ctx, 0, &eth, sizeof(eth)))
		return 0;
	type = bpf_ntohs(eth.type_be);
#pragma unroll
	for (int tags = 0; tags < VLAN_TAGS_MAX; tags++) {
		if (type != ETHERTYPE_VLAN && type != ETHERTYPE_QINQ && type != ETHERTYPE_QINQ_1)
			break;
		if (bpf_xdp_load_bytes(ctx, len, &vlan, sizeof(vlan)))
			return 0;
		type = bpf_ntohs(vlan.type_be);
		len += sizeof(vlan);
	}
	*ret_type = type;
	return len;
}

/* The sum over the header at `at`, which holds its own checksum: 0xffff when that is right. */
static __always_inline __u32 sum_header(struct xdp_md *ctx, __u32 at, __u32 header_len)
{
	__u32 sum = 0;

	for (__u32 word = 0; word < 15 && word * 4 < header_len; word++) {
		__be16 halves[2];

		if (bpf_xdp_load_bytes(ctx, at + word * 4, halves, sizeof(halves)))
			return 0;
		sum += halves[0];
		sum += halves[1];
	}
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

static __always_inline int read_ip4(struct xdp_md *ctx, __u32 frame_len, struct outer *outer)
{
	struct sl_lpm6_key source = {.prefix_bits = 128};
	struct sl_decap_address destination;
	__u32 header_len, total_len;
	struct wire_ip4 ip;

	if (bpf_xdp_load_bytes(ctx, outer->l2_len, &ip, sizeof(ip)))
		return SL_DECAP_PASS;
	if (ip.version_ihl >> 4 != 4 || ip.protocol != PROTO_IP4_INSIDE)
		return SL_DECAP_PASS;
	map_ip4(ip.dst_be, destination.addr_be);
	if (!is_given(&destination))
		return SL_DECAP_PASS_ADDRESS;
	map_ip4(ip.src_be, source.addr_be);
	if (!is_source(&source))
		return SL_DECAP_SOURCE;
	header_len = (ip.version_ihl & 15) * 4;
	total_len = bpf_ntohs(ip.total_len_be);
	if (header_len < sizeof(ip) || total_len < header_len ||
	    total_len > frame_len - outer->l2_len)
		return SL_DECAP_OUTER_LENGTH;
	if (sum_header(ctx, outer->l2_len, header_len) != 0xffff)
		return SL_DECAP_OUTER_CHECKSUM;
	if (bpf_ntohs(ip.fragment_be) & 0x3fff)
		return SL_DECAP_OUTER_FRAGMENT;
	outer->inner_at = outer->l2_len + header_len;
	outer->granted = total_len - header_len;
	outer->ecn = ip.tos & ECN_MASK;
	outer->protocol = ip.protocol;
	return SL_DECAP_V4_IN_V4;
}

static __always_inline int read_ip6(struct xdp_md *ctx, __u32 frame_len, struct outer *outer)
{
	struct sl_lpm6_key source;
	struct sl_decap_address destination;
	__u32 at = outer->l2_len + sizeof(struct wire_ip6), left;
	struct wire_ip6 ip;
	bool fits;

	if (bpf_xdp_load_bytes(ctx, outer->l2_len, &ip, sizeof(ip)))
		return SL_DECAP_PASS;
	if (bpf_ntohl(ip.version_flow_be) >> 28 != 6)
		return SL_DECAP_PASS;
	left = bpf_ntohs(ip.payload_len_be);
	fits = left <= frame_len - at;
	outer->protocol = ip.next_header;
	for (int headers = 0; headers < OPTION_HEADERS; headers++) {
		struct wire_ip6_ext ext;
		__u32 len;

		if (outer->protocol != PROTO_HOPOPTS && outer->protocol != PROTO_DSTOPTS)
			break;
		if (bpf_xdp_load_bytes(ctx, at, &ext, sizeof(ext)))
			return SL_DECAP_PASS;
		len = (ext.len + 1) * 8;
		if (len > left)
			return SL_DECAP_PASS;
		outer->protocol = ext.next_header;
		at += len;
		left -= len;
	}
	if (outer->protocol != PROTO_IP4_INSIDE && outer->protocol != PROTO_IP6_INSIDE &&
	    outer->protocol != PROTO_FRAGMENT)
		return SL_DECAP_PASS;
	__builtin_memcpy(destination.addr_be, ip.dst_be, sizeof(destination.addr_be));
	if (outer->protocol == PROTO_FRAGMENT) {
		struct wire_ip6_ext ext;

		/* Of what, all fragments say (RFC 8200 4.5). */
		if (bpf_xdp_load_bytes(ctx, at, &ext, sizeof(ext)) ||
		    (ext.next_header != PROTO_IP4_INSIDE && ext.next_header != PROTO_IP6_INSIDE))
			return SL_DECAP_PASS;
	}
	if (!is_given(&destination))
		return SL_DECAP_PASS_ADDRESS;
	source.prefix_bits = 128;
	__builtin_memcpy(source.addr_be, ip.src_be, sizeof(source.addr_be));
	if (!is_source(&source))
		return SL_DECAP_SOURCE;
	if (!fits)
		return SL_DECAP_OUTER_LENGTH;
	if (outer->protocol == PROTO_FRAGMENT)
		return SL_DECAP_OUTER_FRAGMENT;
	outer->inner_at = at;
	outer->granted = left;
	outer->ecn = bpf_ntohl(ip.version_flow_be) >> 20 & ECN_MASK;
	return outer->protocol == PROTO_IP4_INSIDE ? SL_DECAP_V4_IN_V6 : SL_DECAP_V6_IN_V6;
}

/* HC' = ~(~HC + ~m + m') of RFC 1624. */
static __always_inline __u16 mend_checksum(__u16 checksum, __u16 old_word, __u16 new_word)
{
	__u32 sum = (__u16)~checksum + (__u16)~old_word + new_word;

	sum = (sum & 0xffff) + (sum >> 16);
	return (__u16) ~((sum & 0xffff) + (sum >> 16));
}

static __always_inline int check_ip4(struct xdp_md *ctx, const struct outer *outer)
{
	__u32 header_len, total_len;
	struct wire_ip4 ip;

	if (outer->granted < sizeof(ip) ||
	    bpf_xdp_load_bytes(ctx, outer->inner_at, &ip, sizeof(ip)))
		return SL_DECAP_INNER_SHORT;
	if (ip.version_ihl >> 4 != 4)
		return SL_DECAP_INNER_VERSION;
	header_len = (ip.version_ihl & 15) * 4;
	total_len = bpf_ntohs(ip.total_len_be);
	if (header_len < sizeof(ip) || total_len < header_len || total_len > outer->granted)
		return SL_DECAP_INNER_LENGTH;
	if (ip.ttl == 0)
		return SL_DECAP_INNER_TTL;
	if (outer->ecn == ECN_CE && (ip.tos & ECN_MASK) != ECN_CE) {
		__u16 old_word = ip.version_ihl << 8 | ip.tos;

		if (!(ip.tos & ECN_MASK))
			return SL_DECAP_INNER_ECN;
		ip.tos |= ECN_CE;
		ip.checksum_be = bpf_htons(
			mend_checksum(bpf_ntohs(ip.checksum_be), old_word, old_word | ECN_CE));
		if (bpf_xdp_store_bytes(ctx, outer->inner_at, &ip, sizeof(ip)))
			return SL_DECAP_INNER_SHORT;
	}
	return 0;
}

static __always_inline int check_ip6(struct xdp_md *ctx, const struct outer *outer)
{
	struct wire_ip6 ip;
	__u32 ecn;

	if (outer->granted < sizeof(ip) ||
	    bpf_xdp_load_bytes(ctx, outer->inner_at, &ip, sizeof(ip)))
		return SL_DECAP_INNER_SHORT;
	if (bpf_ntohl(ip.version_flow_be) >> 28 != 6)
		return SL_DECAP_INNER_VERSION;
	if (bpf_ntohs(ip.payload_len_be) > outer->granted - sizeof(ip))
		return SL_DECAP_INNER_LENGTH;
	if (ip.hop_limit == 0)
		return SL_DECAP_INNER_TTL;
	ecn = bpf_ntohl(ip.version_flow_be) >> 20 & ECN_MASK;
	if (outer->ecn == ECN_CE && ecn != ECN_CE) {
		if (!ecn)
			return SL_DECAP_INNER_ECN;
		ip.version_flow_be |= bpf_htonl(ECN_CE << 20);
		if (bpf_xdp_store_bytes(ctx, outer->inner_at, &ip, sizeof(ip)))
			return SL_DECAP_INNER_SHORT;
	}
	return 0;
}

/* The link header moves up to the inner one and says what that is. */
static __always_inline int strip(struct xdp_md *ctx, const struct outer *outer)
{
	__be16 type_be =
		bpf_htons(outer->protocol == PROTO_IP4_INSIDE ? ETHERTYPE_IP4 : ETHERTYPE_IP6);
	__u32 l2_len = outer->l2_len;
	__u8 l2[L2_MAX];

	/* What read_l2() returned, said again for the verifier. */
	if (l2_len < L2_MIN || l2_len > L2_MAX)
		return SL_DECAP_NO_ROOM;
	if (bpf_xdp_load_bytes(ctx, 0, l2, l2_len) ||
	    bpf_xdp_adjust_head(ctx, (int)(outer->inner_at - l2_len)) ||
	    bpf_xdp_store_bytes(ctx, 0, l2, l2_len) ||
	    bpf_xdp_store_bytes(ctx, l2_len - sizeof(type_be), &type_be, sizeof(type_be)))
		return SL_DECAP_NO_ROOM;
	return 0;
}

static __always_inline int open_packet(struct xdp_md *ctx, __u32 frame_len)
{
	struct outer outer = {};
	int reason, ret;
	__u16 type = 0;

	outer.l2_len = read_l2(ctx, &type);
	if (!outer.l2_len)
		return SL_DECAP_PASS;
	if (type == ETHERTYPE_IP4)
		reason = read_ip4(ctx, frame_len, &outer);
	else if (type == ETHERTYPE_IP6)
		reason = read_ip6(ctx, frame_len, &outer);
	else
		return SL_DECAP_PASS;
	if (!outer.inner_at)
		return reason;
	ret = outer.protocol == PROTO_IP4_INSIDE ? check_ip4(ctx, &outer) : check_ip6(ctx, &outer);
	if (ret == 0)
		ret = strip(ctx, &outer);
	return ret ? ret : reason;
}

static __always_inline int verdict_of(__u32 reason)
{
#define VERDICT_PASS XDP_PASS
#define VERDICT_OPEN XDP_PASS
#define VERDICT_DROP XDP_DROP
	switch (reason) {
#define VERDICT_ROW(symbol, name, verdict, meaning)                                                \
	case SL_DECAP_##symbol:                                                                    \
		return VERDICT_##verdict;
		SL_DECAP_TABLE(VERDICT_ROW)
#undef VERDICT_ROW
	default:
		return XDP_ABORTED;
	}
}

SEC("xdp.frags")
int sl_decap(struct xdp_md *ctx)
{
	__u32 len_bytes = bpf_xdp_get_buff_len(ctx);
	__u32 reason = open_packet(ctx, len_bytes);
	struct sl_counter *counter = bpf_map_lookup_elem(&sl_decap_count, &reason);

	if (counter) {
		counter->packets++;
		counter->bytes += len_bytes;
	}
	return verdict_of(reason);
}

char _license[] SEC("license") = "GPL";

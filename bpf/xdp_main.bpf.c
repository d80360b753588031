/*
 * xdp_main: the first look at every frame of an interface.
 *
 *   parse ──► allow ──► deny ──► L4 service? ──► forward
 *                                ├► answer to a source address of NAT? ──► translate back
 *                                └► SYN for a tuple of ours that no listener is alive for? ──► pass
 *
 * Every frame ends in one row of include/abi/drop_reasons.h. Section xdp.frags: the program also
 * takes frames of several buffers (jumbo MTU, GSO on veth), in native mode since 5.18.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

#include "lib/access.h"
#include "lib/count.h"
#include "lib/parse.h"
#include "lib/service.h"
#include "lib/steer.h"

/* Where the kernel has no sockmap the loader turns this off and leaves the map out. */
const volatile bool feature_steer = true;

/* A SYN to a tuple of ours when no worker's listener is alive, within the time to drop. */
__noinline int is_homeless(struct xdp_md *ctx, const struct packet *packet)
{
	struct bpf_fib_lookup route = {};
	struct sl_steer_conf *conf;
	__u32 zero = 0;
	bool is_v6;

	if (!packet)
		return false;
	is_v6 = packet->family == SL_FAMILY_V6;
	conf = bpf_map_lookup_elem(&sl_steer_conf, &zero);
	if (!conf || !steer_is_ours(is_v6, packet->dst_be, packet->dst_port))
		return false;
	for (__u32 nth = 0; nth < SL_STEER_TRIES && nth < conf->workers; nth++) {
		__u32 key = SL_STEER_SOCK(steer_worker(conf, 0, nth), is_v6);
		struct bpf_sock *sock = bpf_map_lookup_elem(&sl_steer_socks, &key);

		if (sock) {
			bpf_sk_release(sock);
			return false;
		}
	}
	/* A /0 tuple means every local address; what this host forwards is none of our business. */
	route.family = is_v6 ? 10 : 2; /* AF_INET6, AF_INET */
	route.ifindex = ctx->ingress_ifindex;
	if (is_v6) {
		__builtin_memcpy(route.ipv6_src, packet->src_be, sizeof(route.ipv6_src));
		__builtin_memcpy(route.ipv6_dst, packet->dst_be, sizeof(route.ipv6_dst));
	} else {
		route.ipv4_src = packet->src_be[0];
		route.ipv4_dst = packet->dst_be[0];
	}
	if (bpf_fib_lookup(ctx, &route, sizeof(route), 0) == BPF_FIB_LKUP_RET_SUCCESS)
		return false;
	return steer_dead_drops(conf, is_v6);
}

static __always_inline bool is_syn(const struct packet *packet)
{
	return packet->protocol == IPPROTO_TCP && !packet->is_later_fragment &&
	       (packet->tcp_flags & (TCP_FLAG_BYTE_SYN | TCP_FLAG_BYTE_ACK)) == TCP_FLAG_BYTE_SYN;
}

static __always_inline int judge(struct xdp_md *ctx, struct packet *packet)
{
	__u32 reason = packet->is_later_fragment ? SL_REASON_PASS_FRAGMENT : SL_REASON_PASS;
	int done;

	if (access_match(ACCESS_LIST_ALLOW, packet))
		reason = SL_REASON_ALLOW;
	else if (access_match(ACCESS_LIST_DENY, packet))
		return STAGE_DROP(SL_REASON_DENY);
	if (feature_service) {
		done = service_stage(ctx, packet);
		if (done)
			return done;
		if (feature_service_nat) {
			done = nat_stage(ctx, packet);
			if (done)
				return done;
		}
	}
	if (feature_steer && is_syn(packet) && is_homeless(ctx, packet))
		return STAGE_DROP(SL_REASON_STEER_DEAD_DROP);
	return STAGE_DONE(reason, XDP_PASS);
}

SEC("xdp.frags")
int sl_main(struct xdp_md *ctx)
{
	struct packet packet = {};
	int ret = parse_packet(ctx, &packet), done;

	if (ret)
		done = STAGE_DROP(-ret);
	else if (packet.family)
		done = judge(ctx, &packet);
	else if (packet.ethertype == ETHERTYPE_ARP)
		done = STAGE_DONE(SL_REASON_PASS_ARP, XDP_PASS);
	else
		done = STAGE_DONE(SL_REASON_PASS_ETHERTYPE, XDP_PASS);
	count_reason(STAGE_REASON(done), packet.len_bytes);
	return STAGE_VERDICT(done);
}

char _license[] SEC("license") = "GPL";

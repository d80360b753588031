/*
 * sk_lookup: gives new TCP connections to our tuples to a worker's listener, without any bind.
 *
 *   remote address ──► keyed hash ──► slot of 256 ──► worker ──► sockmap[worker · 2 + is_v6]
 *
 * When that worker has no listener the next ones are asked. IPv4 connections need an AF_INET
 * listener and IPv6 ones an AF_INET6 listener, since the kernel refuses the other pairing.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

#include "lib/count.h"
#include "lib/steer.h"

#define AF_INET6 10

/*
 * Multiplications by odd, secret numbers: cheap, and a client that does not know them cannot pile
 * its addresses onto one worker.
 */
static __always_inline __u32 slot_of(const struct sl_steer_conf *conf, const __u32 *addr_be)
{
	__u64 high = (__u64)addr_be[0] << 32 | addr_be[1];
	__u64 low = (__u64)addr_be[2] << 32 | addr_be[3];
	__u64 hash = (high ^ conf->hash_keys[0]) * (conf->hash_keys[1] | 1);

	hash ^= hash >> 32;
	hash = (hash + (low ^ conf->hash_keys[2])) * (conf->hash_keys[3] | 1);
	hash ^= hash >> 29;
	hash *= conf->hash_keys[1] | 1;
	return hash >> 56;
}

static __always_inline int homeless(const struct sl_steer_conf *conf, bool is_v6)
{
	if (steer_dead_drops(conf, is_v6)) {
		count_reason(SL_REASON_STEER_DEAD_DROP, 0);
		return SK_DROP;
	}
	count_reason(SL_REASON_STEER_DEAD_PASS, 0);
	return SK_PASS;
}

SEC("sk_lookup")
int sl_steer(struct bpf_sk_lookup *ctx)
{
	bool is_v6 = ctx->family == AF_INET6, was_refused = false;
	__u32 local_be[4] = {}, remote_be[4] = {}, zero = 0, first;
	struct sl_steer_slots *slots;
	struct sl_steer_conf *conf;

	if (ctx->protocol != IPPROTO_TCP)
		return SK_PASS;
	if (is_v6) {
		local_be[0] = ctx->local_ip6[0];
		local_be[1] = ctx->local_ip6[1];
		local_be[2] = ctx->local_ip6[2];
		local_be[3] = ctx->local_ip6[3];
		remote_be[0] = ctx->remote_ip6[0];
		remote_be[1] = ctx->remote_ip6[1];
		remote_be[2] = ctx->remote_ip6[2];
		remote_be[3] = ctx->remote_ip6[3];
		/* Keeps the loads of both branches apart: as one they would use a moved ctx. */
		barrier();
	} else {
		local_be[0] = ctx->local_ip4;
		remote_be[0] = ctx->remote_ip4;
	}
	if (!steer_is_ours(is_v6, local_be, ctx->local_port))
		return SK_PASS;
	conf = bpf_map_lookup_elem(&sl_steer_conf, &zero);
	slots = bpf_map_lookup_elem(&sl_steer_slots, &zero);
	if (!conf || !slots)
		return SK_PASS;

	first = slots->workers[slot_of(conf, remote_be)];
	for (__u32 nth = 0; nth < SL_STEER_TRIES && nth < conf->workers; nth++) {
		__u32 key = SL_STEER_SOCK(steer_worker(conf, first, nth), is_v6);
		struct bpf_sock *sock = bpf_map_lookup_elem(&sl_steer_socks, &key);
		long err;

		if (!sock)
			continue;
		/* The slot has chosen: no second choice within a reuseport group. */
		err = bpf_sk_assign(ctx, sock, BPF_SK_LOOKUP_F_NO_REUSEPORT);
		bpf_sk_release(sock);
		if (!err) {
			steer_note_alive(is_v6);
			count_reason(nth ? SL_REASON_STEER_OTHER : SL_REASON_STEER, 0);
			return SK_PASS;
		}
		was_refused = true;
	}
	if (was_refused) {
		count_reason(SL_REASON_STEER_REFUSED, 0);
		return SK_PASS;
	}
	return homeless(conf, is_v6);
}

char _license[] SEC("license") = "GPL";

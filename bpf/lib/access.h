/*
 * access: the allow and deny lists. The only place in bpf/ that knows how they are stored; see
 * include/abi/access.h.
 *
 *   sl_access_conf ──► has any? ──► for each group, the longest lengths first:
 *     inlined            │           its line of the filter ──► mark? ──► lengths ──► slot ──►
 * count └ most packets end here, or ────────────┘
 *
 * Longest live prefix wins within a list; a dead one hides no shorter one. The clock is read only
 * where an entry that can expire was found. What matched is counted, by CPU.
 *
 * Every call costs more than what it does: lines of a set are found by one each, since sets are of
 * any size, so all else is in one function per family, and a search ends where it finds something.
 */
#ifndef SLUICE_BPF_LIB_ACCESS_H
#define SLUICE_BPF_LIB_ACCESS_H

#include "lib/maps.h"
#include "lib/parse.h"

#include "abi/access_rules.h"

enum access_list { ACCESS_LIST_ALLOW, ACCESS_LIST_DENY };

static __always_inline union sl_access_line *access_line(void *set, __u32 at)
{
	return bpf_map_lookup_elem(set, &at);
}

static __always_inline bool access_bloom_has(const union sl_access_line *line, __u64 hash)
{
	__u64 bits = access_bloom_bits(hash);

	return (*(volatile __u64 *)&line->words[access_bloom_word(hash)] & bits) == bits;
}

/*
 * 0: not in this bucket, which has a key once. Without branches: which of them would be taken is
 * known only when the line is here, and until then the CPU would guess, mostly wrong.
 */
static __always_inline __u64 access_slot_find(const union sl_access_line *bucket, __u64 key)
{
	__u64 found = 0;

#pragma unroll
	for (int nth = 0; nth < SL_ACCESS_SLOTS; nth++) {
		__u64 slot = *(volatile __u64 *)&bucket->words[nth];
		__u64 differs = (slot >> SL_ACCESS_SLOT_KEY_AT) ^ key;

		barrier_var(differs);
		found |= slot & -((differs - 1) >> 63);
	}
	return found;
}

/* Is it the entry of this prefix, and does one of its parts live? */
static __always_inline bool access_entry_lives(const struct sl_access_entry *entry,
					       struct access_addr addr, __u64 slot)
{
	__u64 config, cli, now;

	if (entry->addr[0] != addr.high || entry->addr[1] != addr.low)
		return false;
	if (!(slot & SL_ACCESS_SLOT_TIMED))
		return true;
	config = *(volatile __u64 *)&entry->expires_boot_ns[SL_ACCESS_CONFIG];
	cli = *(volatile __u64 *)&entry->expires_boot_ns[SL_ACCESS_CLI];
	if (config == SL_ACCESS_NEVER || cli == SL_ACCESS_NEVER)
		return true;
	now = bpf_ktime_get_boot_ns();
	return config > now || cli > now;
}

static __always_inline void access_count(void *set, const struct sl_access_head *head, __u32 index,
					 __u32 len_bytes)
{
	__u32 stripe = (bpf_get_smp_processor_id() & head->stripe_mask) + 1;
	__u32 at =
		head->counters_at + stripe * head->stripe_lines + index / SL_ACCESS_LINE_COUNTERS;
	union sl_access_line *line = access_line(set, at);
	struct sl_counter *counter;

	if (!line)
		return;
	counter = &line->counters[index % SL_ACCESS_LINE_COUNTERS];
	if (head->is_shared) {
		__sync_fetch_and_add(&counter->packets, 1);
		__sync_fetch_and_add(&counter->bytes, len_bytes);
	} else {
		counter->packets++;
		counter->bytes += len_bytes;
	}
}

/* What is asked of a bucket: is there a living entry of exactly this prefix? Host bits are 0. */
struct access_ask {
	struct access_addr addr;
	__u64 hash;
	__u32 set;
	__u32 length;
	__u32 len_bytes;
	__u32 is_v6;
};

/* Counts it. */
static __always_inline bool access_bucket_has(void *set, const struct sl_access_head *head,
					      const struct access_ask *ask, __u32 bucket,
					      bool is_v6)
{
	__u64 key = access_slot_key(is_v6, ask->addr, ask->length, ask->hash);
	union sl_access_line *line = access_line(set, head->buckets_at + bucket);
	__u64 slot = line ? access_slot_find(line, key) : 0;

	if (!slot)
		return false;
	/* The slot of IPv4 is the whole prefix. */
	if (is_v6 || slot & SL_ACCESS_SLOT_TIMED) {
		line = access_line(set, head->entries_at + access_slot_index(slot));
		if (!line || !access_entry_lives(&line->entry, ask->addr, slot))
			return false;
	}
	access_count(set, head, access_slot_index(slot), ask->len_bytes);
	return true;
}

static __always_inline union sl_access_line *access_group_line(void *set,
							       const struct sl_access_head *head,
							       struct access_addr addr, __u32 group,
							       bool is_v6, __u64 *ret_hash)
{
	__u32 low = access_group_low(is_v6, group);

	*ret_hash = access_hash(head->keys, access_masked(addr, low), ACCESS_HASH_GROUP(low));
	return access_line(set, access_bloom_line(*ret_hash, head->bloom_mask));
}

/* The prefix of the address that the longest of the lengths makes, which is taken out. */
static __always_inline void access_next(const struct sl_access_head *head, struct access_addr addr,
					__u32 top, __u64 *lengths, struct access_ask *ret_exact)
{
	ret_exact->length = top - access_lowest_bit(*lengths);
	ret_exact->addr = access_masked(addr, ret_exact->length);
	ret_exact->hash = access_hash(head->keys, ret_exact->addr, ret_exact->length);
	*lengths &= *lengths - 1;
}

/*
 * What few packets need is in global functions, which the verifier walks once and not for every
 * length. They look the set up anew: a new one has the same keys and all that stands in the old
 * one, so that no standing entry is missed.
 */
__noinline int access_has(const struct access_ask *exact)
{
	union sl_access_line *line;
	struct sl_access_head *head;
	void *set;
	__u32 at;

	if (!exact)
		return 0;
	at = exact->set;
	set = bpf_map_lookup_elem(&sl_access_sets, &at);
	line = set ? access_line(set, SL_ACCESS_HEAD_AT) : NULL;
	if (!line)
		return 0;
	head = &line->head;
	at = access_bucket1(exact->hash, head->bucket_mask);
	if (access_bucket_has(set, head, exact, at, exact->is_v6))
		return 1;
	at = access_bucket2(exact->hash, head->bucket_mask);
	return access_bucket_has(set, head, exact, at, exact->is_v6);
}

/* These lengths of a group, from the longest. */
__noinline int access_search(const struct access_ask *ask, __u32 group, __u64 lengths)
{
	union sl_access_line *line;
	struct sl_access_head *head;
	struct access_ask exact;
	__u32 at, top;
	__u64 hash;
	void *set;

	if (!ask || group >= SL_ACCESS_GROUPS_MAX)
		return 0;
	at = ask->set;
	set = bpf_map_lookup_elem(&sl_access_sets, &at);
	line = set ? access_line(set, SL_ACCESS_HEAD_AT) : NULL;
	if (!line)
		return 0;
	head = &line->head;
	line = access_group_line(set, head, ask->addr, group, ask->is_v6, &hash);
	if (!line)
		return 0;
	exact = *ask;
	top = access_group_top(ask->is_v6, group);
	for (int tries = 0; tries < SL_ACCESS_GROUP_MAX && lengths; tries++) {
		access_next(head, ask->addr, top, &lengths, &exact);
		if (access_bloom_has(line, exact.hash) && access_has(&exact))
			return 1;
	}
	return 0;
}

/*
 * The longest length that the filter knows is mostly there, and in its first bucket. If not, the
 * search goes on with it.
 */
static __always_inline bool access_group_has(void *set, const struct sl_access_head *head,
					     const struct access_ask *ask, __u32 group,
					     __u64 lengths, bool is_v6)
{
	__u32 low = access_group_low(is_v6, group), top = access_group_top(is_v6, group);
	struct access_ask exact = *ask;
	union sl_access_line *line;
	__u64 hash, left = lengths;

	line = access_group_line(set, head, ask->addr, group, is_v6, &hash);
	if (!line || !access_bloom_has(line, hash))
		return false;
#pragma clang loop unroll(disable)
	for (__u32 tries = 0; tries <= top - low; tries++) {
		lengths = left;
		if (!lengths)
			return false;
		access_next(head, ask->addr, top, &left, &exact);
		if (access_bloom_has(line, exact.hash))
			break;
	}
	if (access_bucket_has(set, head, &exact, access_bucket1(exact.hash, head->bucket_mask),
			      is_v6))
		return true;
	return access_search(ask, group, lengths);
}

static __always_inline int access_match_addr(const struct access_ask *ask, bool is_v6)
{
	void *set = bpf_map_lookup_elem(&sl_access_sets, &ask->set);
	union sl_access_line *line = set ? access_line(set, SL_ACCESS_HEAD_AT) : NULL;
	struct sl_access_conf *conf;
	__u32 zero = 0;

	conf = bpf_map_lookup_elem(&sl_access_conf, &zero);
	if (!line || !conf)
		return 0;
#pragma unroll
	for (__u32 group = 0; group < (is_v6 ? ACCESS_GROUPS6 : ACCESS_GROUPS4); group++) {
		__u32 at = ask->set & (SL_ACCESS_SETS - 1);
		__u64 lengths = *(volatile __u64 *)&conf->lengths[at].groups[group];

		if (lengths && access_group_has(set, &line->head, ask, group, lengths, is_v6))
			return 1;
	}
	return 0;
}

/* Global functions: the verifier walks each once, not once for every way through the parser. */
__noinline int access_match4(enum access_list list, const struct packet *packet)
{
	struct access_ask ask = {.set = SL_ACCESS_SET(list, 0)};

	if (!packet)
		return 0;
	ask.addr.high = (__u64)bpf_ntohl(packet->src_be[0]) << 32;
	ask.len_bytes = packet->len_bytes;
	return access_match_addr(&ask, false);
}

__noinline int access_match6(enum access_list list, const struct packet *packet)
{
	struct access_ask ask = {.set = SL_ACCESS_SET(list, 1), .is_v6 = 1};

	if (!packet)
		return 0;
	ask.addr.high = (__u64)bpf_ntohl(packet->src_be[0]) << 32 | bpf_ntohl(packet->src_be[1]);
	ask.addr.low = (__u64)bpf_ntohl(packet->src_be[2]) << 32 | bpf_ntohl(packet->src_be[3]);
	ask.len_bytes = packet->len_bytes;
	return access_match_addr(&ask, true);
}

/* Is the source of an IP packet on the list? */
static __always_inline bool access_match(enum access_list list, const struct packet *packet)
{
	bool is_v6 = packet->family == SL_FAMILY_V6;
	struct sl_access_conf *conf;
	__u32 zero = 0;

	conf = bpf_map_lookup_elem(&sl_access_conf, &zero);
	if (!conf || !*(volatile __u32 *)&conf->groups[SL_ACCESS_SET(list, is_v6)])
		return false;
	return is_v6 ? access_match6(list, packet) : access_match4(list, packet);
}

#endif

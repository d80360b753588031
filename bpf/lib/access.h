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
static __always_inline __u64 access_slot_find(const union sl_access_line *bucket, __u64 key,
					      __u32 *ret_nth)
{
	__u64 found = 0, at = 0;

#pragma unroll
	for (int nth = 0; nth < SL_ACCESS_SLOTS; nth++) {
		__u64 slot = *(volatile __u64 *)&bucket->words[nth];
		__u64 differs = (slot >> SL_ACCESS_SLOT_KEY_AT) ^ key;

		barrier_var(differs);
		differs = -((differs - 1) >> 63);
		found |= slot & differs;
		at |= nth & differs;
	}
	*ret_nth = at;
	return found;
}

/* Is it the entry of this prefix, and does one of its parts live? */
static __always_inline bool access_entry_lives(const struct sl_access_entry *entry,
					       struct access_addr addr)
{
	__u64 config, cli, now;

	if (entry->addr[0] != addr.high || entry->addr[1] != addr.low)
		return false;
	config = *(volatile __u64 *)&entry->expires_boot_ns[SL_ACCESS_CONFIG];
	cli = *(volatile __u64 *)&entry->expires_boot_ns[SL_ACCESS_CLI];
	if (config == SL_ACCESS_NEVER || cli == SL_ACCESS_NEVER)
		return true;
	now = bpf_ktime_get_boot_ns();
	return config > now || cli > now;
}

/* `hits` is the slot's counter in the stripe of this CPU. */
static __always_inline void access_count(void *set, const struct sl_access_head *head, __u32 index,
					 __u64 *hits, __u32 len_bytes)
{
	__u64 more = 1ULL << SL_ACCESS_HIT_PACKETS_AT | len_bytes, now = *hits + more;
	struct sl_counter *counter;
	union sl_access_line *line;

	if (head->is_shared)
		__sync_fetch_and_add(hits, more);
	else
		*hits = now;
	if (!(now & SL_ACCESS_HIT_FULL))
		return;
	line = access_line(set, head->counters_at + index / SL_ACCESS_LINE_COUNTERS);
	if (!line)
		return;
	counter = &line->counters[index % SL_ACCESS_LINE_COUNTERS];
	/* Who else sees it full takes nothing out. */
	if (head->is_shared) {
		now = *(volatile __u64 *)hits;
		if (!(now & SL_ACCESS_HIT_FULL) || __sync_val_compare_and_swap(hits, now, 0) != now)
			return;
	}
	__sync_fetch_and_add(&counter->packets, now >> SL_ACCESS_HIT_PACKETS_AT);
	__sync_fetch_and_add(&counter->bytes, now & SL_ACCESS_HIT_BYTES);
	if (!head->is_shared)
		*(volatile __u64 *)hits = 0;
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

/* Its line `nth`, which is on its way from then on, though nobody waits for it yet. */
static __always_inline union sl_access_line *access_bucket_line(void *set, __u32 bucket_at,
								__u32 nth)
{
	union sl_access_line *line = access_line(set, bucket_at + nth);

	if (line)
		(void)*(volatile __u64 *)&line->words[0];
	return line;
}

/* Counts it. */
static __always_inline bool access_bucket_has(void *set, const struct sl_access_head *head,
					      const struct access_ask *ask, __u32 bucket,
					      bool is_v6)
{
	__u64 key = access_slot_key(is_v6, ask->addr, ask->length, ask->hash), slot;
	__u32 at = head->buckets_at + bucket * head->bucket_lines, nth;
	__u32 stripe = bpf_get_smp_processor_id() & head->stripe_mask;
	union sl_access_line *hits, *checks = NULL, *line;

	hits = access_bucket_line(set, at, SL_ACCESS_STRIPE(is_v6, stripe));
	if (is_v6)
		checks = access_bucket_line(set, at, SL_ACCESS_CHECKS);
	line = access_line(set, at);
	if (!line || !hits)
		return false;
	slot = access_slot_find(line, key, &nth);
	barrier_var(nth);
	nth &= SL_ACCESS_SLOTS - 1;
	if (!slot)
		return false;
	/* The slot of IPv4 is the whole prefix. */
	if (is_v6 && (!checks || *(volatile __u64 *)&checks->words[nth] !=
					 access_check(head->keys, ask->addr, ask->length)))
		return false;
	if (slot & SL_ACCESS_SLOT_TIMED) {
		line = access_line(set, head->entries_at + access_slot_index(slot));
		if (!line || !access_entry_lives(&line->entry, ask->addr))
			return false;
	}
	access_count(set, head, access_slot_index(slot), &hits->words[nth], ask->len_bytes);
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

static __always_inline struct access_addr access_addr_of(const struct packet *packet, bool is_v6)
{
	struct access_addr addr = {.high = (__u64)bpf_ntohl(packet->src_be[0]) << 32};

	if (is_v6) {
		addr.high |= bpf_ntohl(packet->src_be[1]);
		addr.low = (__u64)bpf_ntohl(packet->src_be[2]) << 32 | bpf_ntohl(packet->src_be[3]);
	}
	return addr;
}

/* These lengths of a group, from the longest. */
__noinline int access_search(const struct packet *packet, __u32 index, __u32 group, __u64 lengths)
{
	bool is_v6 = index & SL_ACCESS_SET(0, 1);
	struct access_ask exact = {.set = index, .is_v6 = is_v6};
	union sl_access_line *line;
	struct sl_access_head *head;
	struct access_addr addr;
	__u64 hash;
	void *set;
	__u32 top;

	if (!packet || group >= SL_ACCESS_GROUPS_MAX)
		return 0;
	set = bpf_map_lookup_elem(&sl_access_sets, &exact.set);
	line = set ? access_line(set, SL_ACCESS_HEAD_AT) : NULL;
	if (!line)
		return 0;
	head = &line->head;
	addr = access_addr_of(packet, is_v6);
	exact.len_bytes = packet->len_bytes;
	line = access_group_line(set, head, addr, group, is_v6, &hash);
	if (!line)
		return 0;
	top = access_group_top(is_v6, group);
	for (int tries = 0; tries < SL_ACCESS_GROUP_MAX && lengths; tries++) {
		access_next(head, addr, top, &lengths, &exact);
		if (access_bloom_has(line, exact.hash) && access_has(&exact))
			return 1;
	}
	return 0;
}

/* This group and those of shorter lengths. */
__noinline int access_search_from(const struct packet *packet, __u32 index, __u32 first)
{
	__u32 groups = index & SL_ACCESS_SET(0, 1) ? ACCESS_GROUPS6 : ACCESS_GROUPS4, zero = 0;
	struct sl_access_conf *conf = bpf_map_lookup_elem(&sl_access_conf, &zero);

	if (!packet || !conf)
		return 0;
	for (__u32 group = 0; group < SL_ACCESS_GROUPS_MAX && group < groups; group++) {
		__u64 lengths = *(volatile __u64 *)&conf->lengths[index & (SL_ACCESS_SETS - 1)]
					 .groups[group];

		if (group >= first && lengths && access_search(packet, index, group, lengths))
			return 1;
	}
	return 0;
}

/* What a look at a set found. More than these: search from the group of the difference on. */
enum { ACCESS_HAS_NOT, ACCESS_HAS, ACCESS_SEARCH };

/*
 * The longest length that the filter knows is mostly there, and in its first bucket. If not, a
 * search goes on with its group.
 */
static __always_inline int access_group_has(void *set, const struct sl_access_head *head,
					    const struct packet *packet, __u32 group, __u64 lengths,
					    bool is_v6)
{
	__u32 low = access_group_low(is_v6, group), top = access_group_top(is_v6, group);
	struct access_ask exact = {.len_bytes = packet->len_bytes};
	struct access_addr addr = access_addr_of(packet, is_v6);
	union sl_access_line *line;
	__u64 hash;

	line = access_group_line(set, head, addr, group, is_v6, &hash);
	if (!line || !access_bloom_has(line, hash))
		return ACCESS_HAS_NOT;
#pragma clang loop unroll(disable)
	for (__u32 tries = 0; tries <= top - low; tries++) {
		if (!lengths)
			return ACCESS_HAS_NOT;
		access_next(head, addr, top, &lengths, &exact);
		if (access_bloom_has(line, exact.hash))
			break;
	}
	if (access_bucket_has(set, head, &exact, access_bucket1(exact.hash, head->bucket_mask),
			      is_v6))
		return ACCESS_HAS;
	return ACCESS_SEARCH + group;
}

static __always_inline int access_match_set(const struct packet *packet, __u32 index, bool is_v6)
{
	void *set = bpf_map_lookup_elem(&sl_access_sets, &index);
	union sl_access_line *line = set ? access_line(set, SL_ACCESS_HEAD_AT) : NULL;
	struct sl_access_conf *conf;
	__u32 zero = 0;

	conf = bpf_map_lookup_elem(&sl_access_conf, &zero);
	if (!line || !conf)
		return 0;
#pragma unroll
	for (__u32 group = 0; group < (is_v6 ? ACCESS_GROUPS6 : ACCESS_GROUPS4); group++) {
		__u64 lengths = *(volatile __u64 *)&conf->lengths[index & (SL_ACCESS_SETS - 1)]
					 .groups[group];

		int found = ACCESS_HAS_NOT;

		if (lengths)
			found = access_group_has(set, &line->head, packet, group, lengths, is_v6);
		if (found)
			return found;
	}
	return ACCESS_HAS_NOT;
}

/* Global functions: the verifier walks each once, not once for every way through the parser. */
__noinline int access_match4(enum access_list list, const struct packet *packet)
{
	return packet ? access_match_set(packet, SL_ACCESS_SET(list, 0), false) : 0;
}

__noinline int access_match6(enum access_list list, const struct packet *packet)
{
	return packet ? access_match_set(packet, SL_ACCESS_SET(list, 1), true) : 0;
}

/* Is the source of an IP packet on the list? */
static __always_inline bool access_match(enum access_list list, const struct packet *packet)
{
	bool is_v6 = packet->family == SL_FAMILY_V6;
	struct sl_access_conf *conf;
	__u32 zero = 0;
	int found;

	conf = bpf_map_lookup_elem(&sl_access_conf, &zero);
	if (!conf || !*(volatile __u32 *)&conf->groups[SL_ACCESS_SET(list, is_v6)])
		return false;
	found = is_v6 ? access_match6(list, packet) : access_match4(list, packet);
	/* Called from here, so that stacks do not add up. */
	if (found >= ACCESS_SEARCH)
		found = access_search_from(packet, SL_ACCESS_SET(list, is_v6),
					   found - ACCESS_SEARCH);
	return found;
}

#endif

/*
 * access: the allow and deny lists. The only place in bpf/ that knows how they are stored; see
 * include/abi/access.h.
 *
 *   sl_access_conf ──► has any? ──► mark of each group in the filter ──► of each length ──► slots
 *     inlined            └ most packets end here, or ┘                     └ functions ┘
 *
 * Longest live prefix wins within a list; a dead one hides no shorter one. The clock is read only
 * where an entry that can expire was found. What matched is counted, by CPU.
 *
 * Functions look sets up anew: a set is not an argument. One may be replaced between two looks. The
 * new one has the same keys and all that stands in the old one, so that no standing entry is
 * missed.
 */
#ifndef SLUICE_BPF_LIB_ACCESS_H
#define SLUICE_BPF_LIB_ACCESS_H

#include "lib/maps.h"
#include "lib/parse.h"

#include "abi/access_rules.h"

enum access_list { ACCESS_LIST_ALLOW, ACCESS_LIST_DENY };

/* What is asked of a set. */
struct access_ask {
	struct access_addr addr;
	__u32 set;
	__u32 groups; /* those that have something for this address */
	__u32 len_bytes;
	__u32 is_v6;
};

static __always_inline union sl_access_line *access_line(void *set, __u32 at)
{
	return bpf_map_lookup_elem(set, &at);
}

static __always_inline bool access_bloom_has(const union sl_access_line *line, __u64 hash)
{
	__u64 bits = access_bloom_bits(hash);

	return (*(volatile __u64 *)&line->words[access_bloom_word(hash)] & bits) == bits;
}

/* 0: not in this bucket. */
static __always_inline __u64 access_slot_find(const union sl_access_line *bucket, __u64 key)
{
#pragma unroll
	for (int nth = 0; nth < SL_ACCESS_SLOTS; nth++) {
		__u64 slot = *(volatile __u64 *)&bucket->words[nth];

		if (slot >> SL_ACCESS_SLOT_KEY_AT == key)
			return slot;
	}
	return 0;
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

/* Is there a living entry of exactly this prefix? Counts it. Its host bits are 0. */
__noinline int access_has(const struct access_ask *ask, __u32 length)
{
	struct sl_access_head *head;
	union sl_access_line *line;
	__u64 hash, key, slot;
	void *set;
	__u32 at;

	if (!ask)
		return 0;
	at = ask->set;
	set = bpf_map_lookup_elem(&sl_access_sets, &at);
	line = set ? access_line(set, SL_ACCESS_HEAD_AT) : NULL;
	if (!line)
		return 0;
	head = &line->head;
	hash = access_hash(head->keys, ask->addr, length);
	key = access_slot_key(ask->is_v6, ask->addr, length, hash);
	line = access_line(set, head->buckets_at + access_bucket1(hash, head->bucket_mask));
	slot = line ? access_slot_find(line, key) : 0;
	if (!slot) {
		line = access_line(set, head->buckets_at + access_bucket2(hash, head->bucket_mask));
		slot = line ? access_slot_find(line, key) : 0;
	}
	if (!slot)
		return 0;
	/* The slot of IPv4 is the whole prefix. */
	if (ask->is_v6 || slot & SL_ACCESS_SLOT_TIMED) {
		line = access_line(set, head->entries_at + access_slot_index(slot));
		if (!line || !access_entry_lives(&line->entry, ask->addr, slot))
			return 0;
	}
	access_count(set, head, access_slot_index(slot), ask->len_bytes);
	return 1;
}

/* The lengths of a group that are in use, from the longest. */
__noinline int access_search_group(const struct access_ask *ask, __u32 group)
{
	struct access_ask exact;
	struct sl_access_head *head;
	union sl_access_line *line;
	__u32 at, top;
	__u64 lengths, hash;
	void *set;

	if (!ask || group >= SL_ACCESS_GROUPS_MAX)
		return 0;
	at = ask->set;
	set = bpf_map_lookup_elem(&sl_access_sets, &at);
	if (!set)
		return 0;
	line = access_line(set, SL_ACCESS_LENGTHS_AT);
	if (!line)
		return 0;
	lengths = *(volatile __u64 *)&line->lengths.groups[group];
	line = access_line(set, SL_ACCESS_HEAD_AT);
	if (!line)
		return 0;
	head = &line->head;
	exact = *ask;
	at = access_group_low(ask->is_v6, group);
	hash = access_hash(head->keys, access_masked(ask->addr, at), ACCESS_HASH_GROUP(at));
	line = access_line(set, access_bloom_line(hash, head->bloom_mask));
	if (!line)
		return 0;
	top = access_group_top(ask->is_v6, group);
	for (int tries = 0; tries < SL_ACCESS_GROUP_MAX && lengths; tries++) {
		__u32 length = top - access_lowest_bit(lengths);

		lengths &= lengths - 1;
		exact.addr = access_masked(ask->addr, length);
		if (access_bloom_has(line, access_hash(head->keys, exact.addr, length)) &&
		    access_has(&exact, length))
			return 1;
	}
	return 0;
}

__noinline int access_search(const struct access_ask *ask)
{
	if (!ask)
		return 0;
	for (__u32 group = 0; group < SL_ACCESS_GROUPS_MAX; group++)
		if (ask->groups & 1U << group && access_search_group(ask, group))
			return 1;
	return 0;
}

static __always_inline __u32 access_groups_of(void *set, const struct sl_access_head *head,
					      struct access_addr addr, __u32 groups, bool is_v6)
{
	__u32 found = 0;

#pragma unroll
	for (__u32 group = 0; group < (is_v6 ? ACCESS_GROUPS6 : ACCESS_GROUPS4); group++) {
		__u32 low = access_group_low(is_v6, group);
		union sl_access_line *line;
		__u64 hash;

		if (!(groups & 1U << group))
			continue;
		hash = access_hash(head->keys, access_masked(addr, low), ACCESS_HASH_GROUP(low));
		line = access_line(set, access_bloom_line(hash, head->bloom_mask));
		if (line && access_bloom_has(line, hash))
			found |= 1U << group;
	}
	return found;
}

/* `groups` is the set's word of sl_access_conf. */
static __always_inline int access_match_addr(struct access_ask *ask, __u32 groups, bool is_v6)
{
	void *set = bpf_map_lookup_elem(&sl_access_sets, &ask->set);
	union sl_access_line *line = set ? access_line(set, SL_ACCESS_HEAD_AT) : NULL;

	if (!line)
		return 0;
	ask->groups = access_groups_of(set, &line->head, ask->addr, groups, is_v6);
	return ask->groups ? access_search(ask) : 0;
}

/* Global functions: the verifier walks each once, not once for every way through the parser. */
__noinline int access_match4(enum access_list list, const struct packet *packet, __u32 groups)
{
	struct access_ask ask = {.set = SL_ACCESS_SET(list, 0)};

	if (!packet)
		return 0;
	ask.addr.high = (__u64)bpf_ntohl(packet->src_be[0]) << 32;
	ask.len_bytes = packet->len_bytes;
	return access_match_addr(&ask, groups, false);
}

__noinline int access_match6(enum access_list list, const struct packet *packet, __u32 groups)
{
	struct access_ask ask = {.set = SL_ACCESS_SET(list, 1), .is_v6 = 1};

	if (!packet)
		return 0;
	ask.addr.high = (__u64)bpf_ntohl(packet->src_be[0]) << 32 | bpf_ntohl(packet->src_be[1]);
	ask.addr.low = (__u64)bpf_ntohl(packet->src_be[2]) << 32 | bpf_ntohl(packet->src_be[3]);
	ask.len_bytes = packet->len_bytes;
	return access_match_addr(&ask, groups, true);
}

/* Is the source of an IP packet on the list? */
static __always_inline bool access_match(enum access_list list, const struct packet *packet)
{
	bool is_v6 = packet->family == SL_FAMILY_V6;
	struct sl_access_conf *conf;
	__u32 zero = 0, groups;

	conf = bpf_map_lookup_elem(&sl_access_conf, &zero);
	if (!conf)
		return false;
	groups = *(volatile __u32 *)&conf->groups[SL_ACCESS_SET(list, is_v6)];
	if (!groups)
		return false;
	return is_v6 ? access_match6(list, packet, groups) : access_match4(list, packet, groups);
}

#endif

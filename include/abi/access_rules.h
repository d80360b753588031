/*
 * access_rules: where an entry of a list is to be found, for sl_main and userspace alike.
 *
 * No maps, no helpers: addresses are two words in host order (IPv4 in the upper half of the first),
 * lengths count from their highest bit.
 */
#ifndef SLUICE_ABI_ACCESS_RULES_H
#define SLUICE_ABI_ACCESS_RULES_H

#include "abi/access.h"

#define ACCESS_RULE static inline __attribute__((always_inline, unused))

struct access_addr {
	__u64 high, low;
};

/*
 * Groups, the longest lengths first: from `low` to `top`, at most 64 of them. The shorter the
 * lengths, the fewer entries there can be, and the more addresses share a line of the filter.
 */
#define ACCESS_GROUPS4 4
#define ACCESS_GROUPS6 7

ACCESS_RULE __u32 access_group_count(int is_v6)
{
	return is_v6 ? ACCESS_GROUPS6 : ACCESS_GROUPS4;
}

/* A byte for each group. */
ACCESS_RULE __u32 access_group_low(int is_v6, __u32 group)
{
	__u64 lows = is_v6 ? 0x00101820304060ULL : 0x00081018ULL;

	return lows >> (group * 8) & 0xff;
}

ACCESS_RULE __u32 access_group_top(int is_v6, __u32 group)
{
	if (group == 0)
		return is_v6 ? 128 : 32;
	return access_group_low(is_v6, group - 1) - 1;
}

/* Zeros below the lowest bit of a word that is not 0. BPF has no such instruction. */
ACCESS_RULE __u32 access_lowest_bit(__u64 word)
{
	__u64 below = (word & -word) - 1;

	below -= below >> 1 & 0x5555555555555555ULL;
	below = (below & 0x3333333333333333ULL) + (below >> 2 & 0x3333333333333333ULL);
	below = (below + (below >> 4)) & 0x0f0f0f0f0f0f0f0fULL;
	return below * 0x0101010101010101ULL >> 56;
}

/*
 * The first bits of an address; 0 to 128 of them. Without branches, each of which would double what
 * the verifier has to walk for every length.
 */
ACCESS_RULE struct access_addr access_masked(struct access_addr addr, __u32 length)
{
	__u64 has_high = -(__u64)((length >> 6 | length >> 7) & 1); /* all of the first word */
	__u64 has_low = -(__u64)(length >> 7);

	addr.high &= ~1ULL << ((63 - length) & 63) | has_high;
	addr.low &= (~1ULL << ((127 - length) & 63) | has_low) & has_high;
	return addr;
}

/*
 * NH of UMAC (RFC 4418): sums of words, multiplied in pairs; keys that nobody else knows. `what` is
 * the length of an entry, or ACCESS_HASH_GROUP() for the line of a group.
 */
#define ACCESS_HASH_GROUP(low) (256 + (low))

ACCESS_RULE __u64 access_hash_pair(__u64 word, __u64 key)
{
	return (((word >> 32) + (key >> 32)) & 0xffffffffU) * ((word + key) & 0xffffffffU);
}

ACCESS_RULE __u64 access_hash(const __u64 *keys, struct access_addr addr, __u32 what)
{
	__u64 hash = access_hash_pair(addr.high, keys[0]) + access_hash_pair(addr.low, keys[1]) +
		     what * keys[2];

	hash ^= hash >> 32;
	hash *= 0xff51afd7ed558ccdULL;
	return hash ^ hash >> 32;
}

/* Another one, with the keys shifted by a word, as Toeplitz-extended NH does. */
ACCESS_RULE __u64 access_check(const __u64 *keys, struct access_addr addr, __u32 length)
{
	return access_hash_pair(addr.high, keys[1]) + access_hash_pair(addr.low, keys[2]) +
	       length * keys[0];
}

/* Line of the filter: of the group's hash. */
ACCESS_RULE __u32 access_bloom_line(__u64 hash, __u32 bloom_mask)
{
	return SL_ACCESS_BLOOM_AT + ((__u32)(hash >> 32) & bloom_mask);
}

/* The word of the line, and what is set there: four bits. */
ACCESS_RULE __u32 access_bloom_word(__u64 hash)
{
	return hash & 7;
}

ACCESS_RULE __u64 access_bloom_bits(__u64 hash)
{
	return 1ULL << (hash >> 3 & 63) | 1ULL << (hash >> 9 & 63) | 1ULL << (hash >> 15 & 63) |
	       1ULL << (hash >> 21 & 63);
}

/* The two buckets of a key; never the same, as long as there are two. */
ACCESS_RULE __u32 access_bucket1(__u64 hash, __u32 bucket_mask)
{
	return (__u32)(hash >> 32) & bucket_mask;
}

ACCESS_RULE __u32 access_bucket2(__u64 hash, __u32 bucket_mask)
{
	return access_bucket1(hash, bucket_mask) ^ (((__u32)hash >> 6 | 1) & bucket_mask);
}

/* The upper 40 bits of the key's slot. */
ACCESS_RULE __u64 access_slot_key(int is_v6, struct access_addr addr, __u32 length, __u64 hash)
{
	__u64 tag = is_v6 ? (__u32)hash : addr.high >> 32;

	return tag << 8 | (length + 1);
}

ACCESS_RULE __u32 access_slot_index(__u64 slot)
{
	return (__u32)(slot >> SL_ACCESS_SLOT_INDEX_AT) & SL_ACCESS_INDEX_MASK;
}

#endif

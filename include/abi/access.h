/*
 * access: how the allow and deny lists lie in memory.
 *
 * A list has one set for each family. A set is one array of lines of 64 bytes, mmap-able, made by
 * userspace and found in sl_access_sets; sl_access_conf says which sets are worth a look at all.
 *
 *   head │ lengths │ book │ counts │ Bloom filter │ buckets │ entries │ counters │ reasons
 *    └ by sl_main   └ userspace alone ┘  └──── read by sl_main ────┘ └ it counts ┘
 *
 * Lengths are cut into groups (abi/access_rules.h). The Bloom filter has, for each entry and group,
 * one line, found by a hash of as many bits of the address as all lengths of the group share: in it
 * a mark that the group has something there, and a mark for each entry. So a miss reads one line a
 * group. Buckets lead to entries: eight slots a line, two lines where a key may be. Entries have a
 * line each. Hashes are keyed: who sends packets cannot choose where they fall.
 *
 * Userspace, the owner of the lock in state_dir, changes a set while packets read it. Words are
 * atomic, lines are not. To add: entry, check, slot, Bloom filter, lengths, sl_access_conf. To
 * remove: the slot is cleared first. To change an entry's part: its expiry, then the slot's flag. A
 * removed entry's place may be used again at once: whoever still reads it compares the prefix. Of
 * IPv4 the slot says it all; of IPv6 it has 32 bits of a hash, and its check 64 of another. Bits of
 * the filter are never cleared: a new set is built beside the old one when too many are stale, or
 * when something is full, and takes its place in sl_access_sets. The keys stay, as long as there is
 * an entry.
 *
 * One prefix can be named by the configuration and by a person at once. Each has its own part, so
 * that the person's entry can expire or be replaced without touching what the file says. An entry
 * matches while one of its parts lives.
 */
#ifndef SLUICE_ABI_ACCESS_H
#define SLUICE_ABI_ACCESS_H

#include "abi/dataplane.h"

#define SL_ACCESS_REASON_MAX 32 /* NUL included */
#define SL_ALLOW_MAX	     65536
#define SL_DENY_MAX	     (1U << 22)

#define SL_ACCESS_CONFIG 0
#define SL_ACCESS_CLI	 1
#define SL_ACCESS_PARTS	 2

#define SL_ACCESS_SETS		 4
#define SL_ACCESS_SET(list, fam) ((list)*2 + (fam)) /* list: allow, deny; fam: 0 IPv4, 1 IPv6 */

/* Lines of a set that are where they are whatever its size. */
#define SL_ACCESS_HEAD_AT    0
#define SL_ACCESS_LENGTHS_AT 1
#define SL_ACCESS_BOOK_AT    2
#define SL_ACCESS_COUNTS_AT  3 /* entries by length, 32 bits each */
#define SL_ACCESS_BLOOM_AT   16

#define SL_ACCESS_GROUPS_MAX 8
#define SL_ACCESS_GROUP_MAX  33 /* lengths in one group */
#define SL_ACCESS_KEYS	     3

struct sl_access_head {
	__u64 keys[SL_ACCESS_KEYS];
	__u32 bloom_mask;  /* lines of the filter - 1 */
	__u32 bucket_mask; /* buckets - 1 */
	__u32 buckets_at;
	__u32 entries_at;
	__u32 counters_at;  /* by entry: what was taken out of the buckets' counters */
	__u32 bucket_lines; /* of a bucket: slots, checks (IPv6), a line for each stripe */
	__u32 stripe_mask;  /* CPU n counts in stripe n & mask */
	__u32 is_shared;    /* several CPUs have one stripe */
	__u32 magic;
	__u32 entry_mask; /* places for entries - 1 */
};
_Static_assert(sizeof(struct sl_access_head) == 64, "struct sl_access_head");

#define SL_ACCESS_MAGIC 0x61636332

/* Bit n of word g: some entry of group g has the length SL_ACCESS_GROUP top - n. */
struct sl_access_lengths {
	__u64 groups[SL_ACCESS_GROUPS_MAX];
};
_Static_assert(sizeof(struct sl_access_lengths) == 64, "struct sl_access_lengths");

/*
 * The only element of sl_access_conf: what is worth a look. Lengths that have entries, by set, and
 * bit g of a set: its group g has some. 0: there is none at all, which costs a packet this look and
 * no more. More may be said than there is, never less: it is also what the set had that a new one
 * replaces, as long as a packet may see either.
 */
struct sl_access_conf {
	struct sl_access_lengths lengths[SL_ACCESS_SETS];
	__u32 groups[SL_ACCESS_SETS];
};
_Static_assert(sizeof(struct sl_access_conf) == 272, "struct sl_access_conf");

/* What only userspace needs to know of a set. */
struct sl_access_book {
	__u32 is_dirty;	  /* a change is being made; still so when a process opens it: it died there
			   */
	__u32 is_retired; /* another set has taken its place */
	__u32 place_count; /* places for entries that were ever used */
	__u32 entry_count;
	__u32 free_first;  /* place + 1 of a removed entry; they are a list, see sl_access_entry */
	__u32 stale_count; /* entries removed since it was built, whose bits are still set */
	__u32 reasons_at;
	__u32 reason_mask; /* places for reasons - 1 */
	__u32 reason_count;
	__u32 pad[7];
};
_Static_assert(sizeof(struct sl_access_book) == 64, "struct sl_access_book");

/*
 * A slot of a bucket: 0 when free. Tag: the address of IPv4, hashed bits of IPv6. From the highest
 * bit: tag 32, length + 1, index of the entry 22, flags 2.
 */
#define SL_ACCESS_SLOTS		8
#define SL_ACCESS_SLOT_KEY_AT	24
#define SL_ACCESS_SLOT_INDEX_AT 2
#define SL_ACCESS_INDEX_MASK	0x3fffffU
#define SL_ACCESS_SLOT_TIMED	1ULL /* no part is for ever: look at the entry */

/* Lines of a bucket. */
#define SL_ACCESS_CHECKS	     1
#define SL_ACCESS_STRIPE(is_v6, nth) (1 + (is_v6) + (nth))

/*
 * A slot's counter in a stripe: packets << 37 | bytes. When it has any bit of FULL it is added to
 * that of the entry, and then taken out here: who sums them up reads the entry's again afterwards.
 */
#define SL_ACCESS_HIT_PACKETS_AT 37
#define SL_ACCESS_HIT_BYTES	 ((1ULL << SL_ACCESS_HIT_PACKETS_AT) - 1)
#define SL_ACCESS_HIT_FULL	 (1ULL << 36 | -1ULL << 57)

#define SL_ACCESS_NEVER	 0ULL /* expires_boot_ns: lives for ever */
#define SL_ACCESS_ABSENT 1ULL /* there is no such part */

struct sl_access_entry {
	__u64 addr[2]; /* host order, host bits 0; IPv4: upper half of the first */
	__u64 expires_boot_ns[SL_ACCESS_PARTS]; /* CLOCK_BOOTTIME. What the kernel compares */
	__u64 expires_wall_ms[SL_ACCESS_PARTS]; /* the same for people and for the next boot; 0:
						   never */
	__u32 reason[SL_ACCESS_PARTS];		/* place + 1; 0: none was given */
	__u32 length;				/* + 1; 0: the place is free */
	__u32 next_free;			/* of a free place: the next one + 1 */
};
_Static_assert(sizeof(struct sl_access_entry) == 64, "struct sl_access_entry");

#define SL_ACCESS_LINE_COUNTERS 4
#define SL_ACCESS_LINE_REASONS	2
#define SL_ACCESS_LINE_COUNTS	16

union sl_access_line {
	__u64 words[8]; /* of the filter, slots, checks, counters of slots */
	struct sl_access_head head;
	struct sl_access_lengths lengths;
	struct sl_access_book book;
	struct sl_access_entry entry;
	struct sl_counter counters[SL_ACCESS_LINE_COUNTERS];
	char reasons[SL_ACCESS_LINE_REASONS][SL_ACCESS_REASON_MAX];
	__u32 counts[SL_ACCESS_LINE_COUNTS];
};
_Static_assert(sizeof(union sl_access_line) == 64, "union sl_access_line");

#endif

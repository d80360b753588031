/*
 * flow_rules: every decision about flow state, as code that sl_main and tests in userspace share.
 *
 * No maps, no helpers, no clock: callers bring the lines, the slot and the time. What this file
 * decides:
 *  - flow_hash4/6: one keyed hash for slot, line, tag and outer source;
 *  - flow_pick: slot phase x listed or not x SYN -> backend, and what is written to the lines;
 *  - flow_victim: which entry makes room;
 *  - flow_is_stale: what may be removed while nobody needs the room.
 * Entries change by compare-and-swap only, and only when something is different.
 */
#ifndef SLUICE_ABI_FLOW_RULES_H
#define SLUICE_ABI_FLOW_RULES_H

#include "abi/flow.h"

#define FLOW_RULE static inline __attribute__((always_inline, unused))

#ifdef __clang__
#define FLOW_UNROLL _Pragma("unroll")
#else
#define FLOW_UNROLL
#endif

struct flow_tuple {
	__u32 src_be[4]; /* IPv4: the first word */
	__u32 dst_be[4];
	__u32 ports; /* source << 16 | destination; 0 with affinity source */
	__u32 protocol;
};

/* NH of UMAC (RFC 4418): sums of words, multiplied in pairs; keys that clients do not know. */
FLOW_RULE __u64 flow_hash_pair(__u32 first, __u32 second, __u64 key)
{
	return (__u64)(__u32)(first + (__u32)key) * (__u32)(second + (__u32)(key >> 32));
}

FLOW_RULE __u64 flow_hash_end(__u64 high, __u64 low)
{
	__u64 hash = low ^ (high << 31 | high >> 33);

	hash ^= hash >> 32;
	hash *= 0xff51afd7ed558ccdULL;
	return hash ^ hash >> 32;
}

FLOW_RULE __u64 flow_hash4(const __u64 *keys, const struct flow_tuple *tuple)
{
	__u64 low = flow_hash_pair(tuple->src_be[0], tuple->ports, keys[0]) +
		    flow_hash_pair(tuple->dst_be[0], tuple->protocol, keys[1]);
	__u64 high = flow_hash_pair(tuple->src_be[0], tuple->ports, keys[2]) +
		     flow_hash_pair(tuple->dst_be[0], tuple->protocol, keys[3]);

	return flow_hash_end(high, low);
}

/* The second sum uses the keys shifted by one, as Toeplitz-extended NH does. */
FLOW_RULE __u64 flow_hash6(const __u64 *keys, const struct flow_tuple *tuple)
{
	const __u32 *src = tuple->src_be, *dst = tuple->dst_be;
	__u64 low =
		flow_hash_pair(src[0], src[1], keys[0]) + flow_hash_pair(src[2], src[3], keys[1]);
	__u64 high =
		flow_hash_pair(src[0], src[1], keys[1]) + flow_hash_pair(src[2], src[3], keys[2]);

	low += flow_hash_pair(dst[0], dst[1], keys[2]) + flow_hash_pair(dst[2], dst[3], keys[3]);
	high += flow_hash_pair(dst[0], dst[1], keys[3]) + flow_hash_pair(dst[2], dst[3], keys[4]);
	low += flow_hash_pair(tuple->ports, tuple->protocol, keys[4]);
	high += flow_hash_pair(tuple->ports, tuple->protocol, keys[5]);
	return flow_hash_end(high, low);
}

/* Where the search for a key of sl_svc_keys begins; key_count is a power of two. */
FLOW_RULE __u32 service_key_place(const __u32 *addr_be, __u16 port, __u8 protocol, __u32 key_count)
{
	__u64 high = (__u64)addr_be[0] << 32 | addr_be[3];
	__u64 low = (__u64)(addr_be[1] ^ addr_be[2]) << 32 | (__u32)port << 8 | protocol;
	__u64 hash = high * 0x9e3779b97f4a7c15ULL + low * 0xbf58476d1ce4e5b9ULL;

	hash ^= hash >> 29;
	hash *= 0x94d049bb133111ebULL;
	return (__u32)(hash >> 32) & (key_count - 1);
}

FLOW_RULE __u32 flow_slot(__u64 hash, __u32 slot_count)
{
	return (__u32)((hash >> 32) * slot_count >> 32);
}

/* The slot of an entry: its tag holds the upper bits of the hash, so scans need no more. */
FLOW_RULE __u32 flow_slot_of_entry(__u64 entry, __u32 slot_count)
{
	return flow_slot(entry, slot_count);
}

FLOW_RULE __u32 flow_line1(__u64 hash, __u32 line_count)
{
	return (__u32)hash & (line_count - 1);
}

/* Never the first line, as long as there are two. */
FLOW_RULE __u32 flow_line2(__u64 hash, __u32 line_count)
{
	return flow_line1(hash, line_count) ^ (((__u32)(hash >> 40) | 1) & (line_count - 1));
}

struct flow_now {
	__u8 fine;
	__u8 coarse;
};

FLOW_RULE struct flow_now flow_now(const struct sl_flow_clock *clock, __u64 jiffies)
{
	return (struct flow_now){
		.fine = (__u8)(jiffies >> clock->fine_shift),
		.coarse = (__u8)(jiffies >> clock->coarse_shift),
	};
}

FLOW_RULE __u64 flow_entry(__u64 hash, struct flow_now now, __u32 state, __u32 backend)
{
	__u64 time = state == SL_FLOW_PROBATION ? now.fine : now.coarse;

	return (hash >> SL_FLOW_TAG_AT << SL_FLOW_TAG_AT) | time << SL_FLOW_TIME_AT |
	       (__u64)state << SL_FLOW_STATE_AT | backend;
}

/* Units since the entry's time, as far as eight bits can tell. */
FLOW_RULE __u32 flow_age(__u64 entry, struct flow_now now)
{
	__u32 unit = SL_FLOW_STATE(entry) == SL_FLOW_PROBATION ? now.fine : now.coarse;

	return (unit - SL_FLOW_TIME(entry)) & 0xff;
}

FLOW_RULE int flow_is_idle(__u64 entry, const struct sl_flow_clock *clock, struct flow_now now)
{
	__u32 limit = SL_FLOW_STATE(entry) == SL_FLOW_PROBATION ? clock->probation_fine
								: clock->idle_coarse;

	return flow_age(entry, now) > limit;
}

/*
 * May it be removed though there is room? CLOSING is kept for a while, since FINs are
 * retransmitted. Established ones twice as long as is promised: many that are silent for longer
 * come back.
 */
FLOW_RULE int flow_is_stale(__u64 entry, const struct sl_flow_clock *clock, struct flow_now now)
{
	if (!entry)
		return 0;
	if (SL_FLOW_STATE(entry) == SL_FLOW_CLOSING)
		return flow_age(entry, now) > clock->closing_coarse;
	if (SL_FLOW_STATE(entry) == SL_FLOW_PROBATION)
		return flow_is_idle(entry, clock, now);
	return flow_age(entry, now) > 2 * clock->idle_coarse;
}

/*
 * How willing an entry is to go; 0: not at all, which is so for an established connection that is
 * not idle and for a new one that still may get its second packet.
 */
#define FLOW_SCORE_EMPTY     0x1000U
#define FLOW_SCORE_IDLE	     0x0800U
#define FLOW_SCORE_PROBATION 0x0400U
#define FLOW_SCORE_OLD	     0x0200U

FLOW_RULE __u32 flow_score(__u64 entry, const struct sl_flow_clock *clock, struct flow_now now)
{
	__u32 state = SL_FLOW_STATE(entry);

	if (!entry)
		return FLOW_SCORE_EMPTY;
	if (state == SL_FLOW_PROBATION)
		return flow_is_idle(entry, clock, now) ? FLOW_SCORE_PROBATION | flow_age(entry, now)
						       : 0;
	if (state == SL_FLOW_CLOSING || flow_is_idle(entry, clock, now))
		return FLOW_SCORE_IDLE;
	return state == SL_FLOW_OLD ? FLOW_SCORE_OLD | (flow_age(entry, now) >> 1) : 0;
}

FLOW_RULE __u32 flow_victim_way(__u32 victim)
{
	return victim & (SL_FLOW_WAYS - 1);
}

/* What flow_pick() is asked. */
struct flow_look {
	__u64 hash;
	__u32 slot; /* its word, in change */
	__u32 backend_base;
	__u32 backend_count;
	__u32 zero; /* is 0, but the verifier does not know */
	struct flow_now now;
	__u8 is_syn; /* TCP and five-tuple: it opens a connection */
	__u8 is_fin;
	__u8 only_asks; /* it is about the flow, not of it: nothing is written */
};

/*
 * Best entry of a line to replace: score << 3 | way; a score of 0: none. A line scores higher for
 * each empty place it has, so that of two lines the emptier one is chosen.
 */
FLOW_RULE __u32 flow_victim(const struct sl_flow_line *line, const struct flow_look *look,
			    const struct sl_flow_clock *clock)
{
	__u32 best = 0, empty = 0;

	FLOW_UNROLL
	for (__u32 way = 0; way < SL_FLOW_WAYS; way++) {
		__u32 score = flow_score(line->entries[way], clock, look->now);

		/*
		 * Unknown values, else the verifier follows each combination of eight scores. The
		 * sum counts the empty ones, whose bit no other score has.
		 */
		score ^= *(const volatile __u32 *)&look->zero;
		empty += score & FLOW_SCORE_EMPTY;
		score = score << 3 | way;
		if (score > best)
			best = score;
		best ^= *(const volatile __u32 *)&look->zero;
		empty ^= *(const volatile __u32 *)&look->zero;
	}
	return best + (empty >> 12 << 8);
}

/* Compilers know nothing about the value from here on, and so make no branch of what it is used
 * for. */
#define FLOW_OPAQUE(value) __asm__ volatile("" : "+r"(value))

/* Where a flow is in a line: `mask` is all ones, or 0 with the rest when it is not there. */
struct flow_found {
	__u64 mask;
	__u64 entry;
	__u64 way;
};

/*
 * The first entry of the line that is the flow's. That the backend must be of the pool makes a
 * false match of tags of different services impossible and of others less likely. Without branches:
 * which of them would be taken is known only when the line is here, and until then the CPU would
 * guess, mostly wrong.
 */
FLOW_RULE struct flow_found flow_find(const struct sl_flow_line *line, const struct flow_look *look)
{
	struct flow_found found = {0, 0, 0};

	FLOW_UNROLL
	for (__u64 way = 0; way < SL_FLOW_WAYS; way++) {
		__u64 entry = *(const volatile __u64 *)&line->entries[way];
		__u64 differs = (entry ^ look->hash) >> SL_FLOW_TAG_AT, fits;
		__u64 index = (__u32)(SL_FLOW_BACKEND(entry) - look->backend_base - 1);

		FLOW_OPAQUE(differs);
		FLOW_OPAQUE(index);
		fits = -((differs - 1) >> 63 & (index - (look->backend_count - 1)) >> 63);
		fits &= ~found.mask;
		found.mask |= fits;
		found.entry |= entry & fits;
		found.way |= way & fits;
	}
	return found;
}

/* The entry after one more packet of its flow. RST is not remembered: anybody can send one. */
FLOW_RULE __u64 flow_touched(__u64 entry, const struct flow_look *look)
{
	__u32 state = SL_FLOW_STATE(entry);

	if (look->is_syn) { /* a SYN again; after CLOSING the ports are in use anew */
		if (state == SL_FLOW_PROBATION || state == SL_FLOW_CLOSING)
			state = SL_FLOW_PROBATION;
		else
			state = SL_FLOW_ESTABLISHED;
	} else {
		state = look->is_fin ? SL_FLOW_CLOSING : SL_FLOW_ESTABLISHED;
	}
	return flow_entry(entry, look->now, state, SL_FLOW_BACKEND(entry));
}

FLOW_RULE int flow_swap(struct sl_flow_line *line, __u32 way, __u64 from, __u64 to,
			struct sl_flow_counts *counts)
{
	FLOW_OPAQUE(way); /* else clang knows the range and leaves the mask out */
	if (__sync_val_compare_and_swap(&line->entries[way & (SL_FLOW_WAYS - 1)], from, to) == from)
		return 1;
	counts->raced++;
	return 0;
}

/* Does a packet of no entry use `previous`? */
FLOW_RULE int flow_uses_previous(__u32 phase, int is_syn)
{
	return (phase == SL_PHASE_SPLIT || phase == SL_PHASE_RECORD) && !is_syn;
}

/* Is a packet of no entry listed, and as what? -1: it is not. */
FLOW_RULE int flow_lists(__u32 phase, int is_syn)
{
	if (phase != SL_PHASE_SPLIT && phase != SL_PHASE_RECORD)
		return -1;
	if (is_syn)
		return SL_FLOW_PROBATION;
	return phase == SL_PHASE_RECORD ? SL_FLOW_OLD : -1;
}

#define FLOW_UNLISTED (-1)

/*
 * The index in the pool of a flow that is listed, or FLOW_UNLISTED. `is_dead` tells of a number in
 * sl_backends. A hit on a dead backend is overwritten with `current`.
 */
FLOW_RULE int flow_pick_listed(const struct flow_look *look, struct sl_flow_line *line1,
			       struct sl_flow_line *line2, int (*is_dead)(__u32 backend),
			       struct sl_flow_counts *counts)
{
	__u32 current = SL_SLOT_CURRENT(look->slot), index;
	struct flow_found found = flow_find(line1, look);
	struct sl_flow_line *line = line1;
	__u64 entry, after;

	FLOW_OPAQUE(found.mask);
	if (!found.mask) {
		found = flow_find(line2, look);
		line = line2;
		FLOW_OPAQUE(found.mask);
	}
	if (!found.mask) {
		counts->misses++;
		return FLOW_UNLISTED;
	}
	entry = found.entry;
	counts->hits++;
	index = SL_FLOW_BACKEND(entry) - look->backend_base;
	if (look->only_asks)
		return (int)index;
	after = flow_touched(entry, look);
	if (is_dead(SL_FLOW_BACKEND(entry))) {
		counts->dead++;
		index = current;
		after = flow_entry(entry, look->now, SL_FLOW_ESTABLISHED,
				   look->backend_base + current);
	} else if (SL_SLOT_PHASE(look->slot) == SL_PHASE_LISTED && index == current) {
		after = 0; /* who is not listed goes there as well: the place is free for others */
	}
	if (after != entry)
		(void)flow_swap(line, (__u32)found.way, entry, after, counts);
	return (int)index;
}

/* The index in the pool of a flow that is not listed, which may list it. */
FLOW_RULE __u32 flow_pick_unlisted(const struct flow_look *look, const struct sl_flow_clock *clock,
				   struct sl_flow_line *line1, struct sl_flow_line *line2,
				   int (*is_dead)(__u32 backend), struct sl_flow_counts *counts)
{
	__u32 current = SL_SLOT_CURRENT(look->slot), previous = SL_SLOT_PREVIOUS(look->slot);
	__u32 phase = SL_SLOT_PHASE(look->slot), index = current, victim, victim2, way, score;
	int state = flow_lists(phase, look->is_syn);
	struct sl_flow_line *line = line1;
	__u64 entry;

	if (flow_uses_previous(phase, look->is_syn)) {
		if (is_dead(look->backend_base + previous))
			return current;
		index = previous;
	}
	if (state < 0 || look->only_asks)
		return index;
	victim = flow_victim(line1, look, clock);
	victim2 = flow_victim(line2, look, clock);
	if (victim2 >> 3 > victim >> 3) {
		victim = victim2;
		line = line2;
	}
	way = flow_victim_way(victim);
	entry = *(volatile __u64 *)&line->entries[way];
	/* The place may have been taken meanwhile. */
	score = flow_score(entry, clock, look->now);
	if (victim >> 3 && score &&
	    flow_swap(line, way, entry,
		      flow_entry(look->hash, look->now, (__u32)state, look->backend_base + index),
		      counts)) {
		counts->displaced += (score & FLOW_SCORE_OLD) != 0;
		if (state == SL_FLOW_PROBATION)
			counts->inserted++;
		else
			counts->recorded++;
		return index;
	}
	/* A connection that finds no room stays with those that are not listed. */
	counts->refused++;
	return is_dead(look->backend_base + previous) ? current : previous;
}

/* Both: the index in the pool for a packet whose slot is in change. */
FLOW_RULE __u32 flow_pick(const struct flow_look *look, const struct sl_flow_clock *clock,
			  struct sl_flow_line *line1, struct sl_flow_line *line2,
			  int (*is_dead)(__u32 backend), struct sl_flow_counts *counts)
{
	int index = flow_pick_listed(look, line1, line2, is_dead, counts);

	if (index != FLOW_UNLISTED)
		return (__u32)index;
	return flow_pick_unlisted(look, clock, line1, line2, is_dead, counts);
}

#endif

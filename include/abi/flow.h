/*
 * flow: Maglev slots with phases, the table of exceptions and what steers both.
 *
 * A flow needs memory only where the table of slots changed while it lived. Each slot says in
 * which phase of a change it is; only slots in change look at sl_flows. The decisions themselves
 * are in abi/flow_rules.h, compiled by both compilers.
 *
 *  map            written by                            how
 *  sl_slots       userspace (owner of the lock)         one 32-bit store a slot
 *  sl_flows       sl_main; userspace                    compare-and-swap of one 64-bit entry
 *                 may clear entries
 *  sl_flow_conf   loader, once, when the map is made    before any program can see it
 *  sl_flow_sweep  sl_sweep                              its timer and what it found
 *  sl_phases      userspace                             not read by BPF: schedule of the changes
 *
 * Phases (who moves a slot on, and when): see enum sl_phase. R: the longest idle gap that must
 * survive, W: the length of a change. A connection that found no room is listed with its next
 * packet, at most R later: so long after the last one the step to LISTED waits.
 */
#ifndef SLUICE_ABI_FLOW_H
#define SLUICE_ABI_FLOW_H

#include "abi/dataplane.h"
#include "abi/service.h"

/* Slot: current:14 | previous:14 | phase:3, lowest bits first. Indices are local to the pool. */
#define SL_SLOT_INDEX_BITS 14
#define SL_SLOT_INDEX_MASK ((1U << SL_SLOT_INDEX_BITS) - 1)
#define SL_SLOT_PHASE_AT   28
#define SL_POOL_MAX	   (1U << SL_SLOT_INDEX_BITS)
#define SL_SLOT(current, previous, phase)                                                          \
	((__u32)(current) | (__u32)(previous) << SL_SLOT_INDEX_BITS |                              \
	 (__u32)(phase) << SL_SLOT_PHASE_AT)
#define SL_SLOT_CURRENT(slot)  ((slot)&SL_SLOT_INDEX_MASK)
#define SL_SLOT_PREVIOUS(slot) ((slot) >> SL_SLOT_INDEX_BITS & SL_SLOT_INDEX_MASK)
#define SL_SLOT_PHASE(slot)    ((slot) >> SL_SLOT_PHASE_AT & 7)

/*
 * Element of sl_slots: a cache line of them, since the kernel rounds smaller elements up to eight
 * bytes. The slots of a service begin anywhere.
 */
#define SL_SLOT_LINE_BITS 4
#define SL_SLOT_LINE	  (1U << SL_SLOT_LINE_BITS)

struct sl_slot_line {
	__u32 slots[SL_SLOT_LINE];
};
_Static_assert(sizeof(struct sl_slot_line) == 64, "struct sl_slot_line");

enum sl_phase {
	SL_PHASE_CLEAN,	 /* `current`; the table is not touched */
	SL_PHASE_SPLIT,	 /* new connections are listed with `current`, others go to `previous` */
	SL_PHASE_RECORD, /* as SPLIT, and who goes to `previous` is listed as OLD */
	SL_PHASE_LISTED, /* who is not listed goes to `current` */
};

/* Entry: tag:37 | time:8 | state:2 | backend:17, highest bits first; 0 is empty. */
#define SL_FLOW_TAG_AT	       27
#define SL_FLOW_TIME_AT	       19
#define SL_FLOW_STATE_AT       17
#define SL_FLOW_BACKEND_MASK   ((1ULL << SL_FLOW_STATE_AT) - 1)
#define SL_FLOW_TAG(entry)     ((entry) >> SL_FLOW_TAG_AT)
#define SL_FLOW_TIME(entry)    ((__u32)((entry) >> SL_FLOW_TIME_AT) & 0xff)
#define SL_FLOW_STATE(entry)   ((__u32)((entry) >> SL_FLOW_STATE_AT) & 3)
#define SL_FLOW_BACKEND(entry) ((__u32)((entry)&SL_FLOW_BACKEND_MASK))

enum sl_flow_state {
	SL_FLOW_PROBATION,   /* one SYN seen; time in fine units */
	SL_FLOW_ESTABLISHED, /* this and the others: time in coarse units */
	SL_FLOW_CLOSING,     /* the last packet was a FIN */
	SL_FLOW_OLD,	     /* recorded in phase RECORD, no packet since */
};

#define SL_FLOW_WAYS	  8
#define SL_FLOW_LINES_MAX (1U << 17) /* default; a power of two, at most 2^27 */

/* Element of sl_flows. */
struct sl_flow_line {
	__u64 entries[SL_FLOW_WAYS];
};
_Static_assert(sizeof(struct sl_flow_line) == 64, "struct sl_flow_line");

#define SL_HASH_KEYS 6

/*
 * Time in the table. Jiffies cost nothing to read, but their rate is the kernel's secret: the
 * loader measures it by test runs of sl_jiffies. About 32 ms and 4 s for PROBATION and the rest.
 */
struct sl_flow_clock {
	__u32 fine_shift;     /* jiffies >> fine_shift: fine units */
	__u32 coarse_shift;   /* jiffies >> coarse_shift: coarse units */
	__u32 probation_fine; /* older PROBATION may be replaced: 3 s */
	__u32 idle_coarse;    /* longer idle may be replaced: 300 s; at most 120 units */
	__u32 closing_coarse; /* CLOSING is stale after: 32 s */
	__u32 hz;
};
_Static_assert(sizeof(struct sl_flow_clock) == 24, "struct sl_flow_clock");

/*
 * Only element of sl_flow_conf, which lives as long as the table: what the rodata of each program
 * that is loaded over these maps is made from.
 */
struct sl_flow_conf {
	__u64 hash_keys[SL_HASH_KEYS];
	struct sl_flow_clock clock;
	__u32 line_count;
	__u32 key_count; /* places in sl_svc_keys */
	/* The outer source: this prefix, its lower 16 (IPv4) or 32 bits (IPv6) from the flow's
	 * hash. */
	__u32 outer4_be;
	__u32 outer6_be[4];
	__u32 pad;
};
_Static_assert(sizeof(struct sl_flow_conf) == 104, "struct sl_flow_conf");

/* Only element of sl_flow_counts, per CPU. */
struct sl_flow_counts {
	__u64 hits;	 /* packets in change that found an entry */
	__u64 misses;	 /* that found none */
	__u64 inserted;	 /* new connections listed */
	__u64 recorded;	 /* old flows listed */
	__u64 refused;	 /* neither, for lack of room */
	__u64 dead;	 /* entries that named a dead backend */
	__u64 displaced; /* old flows unlisted before they were idle, to make room */
	__u64 raced;	 /* another CPU changed the entry first */
};
_Static_assert(sizeof(struct sl_flow_counts) == 64, "struct sl_flow_counts");

/*
 * The sweeper takes entries out that nobody needs, so that scans find changes over and times of
 * PROBATION do not wrap: the whole table in this time, by a timer, a chunk of lines each run.
 */
#define SL_SWEEP_MS	2500
#define SL_SWEEP_CHUNKS 64 /* a power of two */

/*
 * Only element of sl_flow_sweep. The timer is in it and lives as long as the map is pinned,
 * whatever becomes of daemon and program. There is one, whoever starts it how often; userspace may
 * not write here, for that would end it.
 */
struct sl_flow_sweep {
#ifdef __VMLINUX_H__
	struct bpf_timer timer;
#else
	__u64 timer[2]; /* reads as 0 */
#endif
	__u64 sweeps;	      /* of the whole table */
	__u64 skipped;	      /* times that the table was known to be empty */
	__u64 expired;	      /* entries taken out */
	__u64 looked_boot_ns; /* end of the last sweep, or when it was skipped; 0: none yet */
	__u64 listed;	      /* entries ever made, when the sweep under way began */
	__u32 line;	      /* next */
	__u32 found;	      /* entries that stay, of the sweep under way */
	__u32 entries;	      /* of the last one */
	__u32 pad;
};
_Static_assert(sizeof(struct sl_flow_sweep) == 72, "struct sl_flow_sweep");

/*
 * Element of sl_phases, by service: the schedule of its change, so that another daemon goes on
 * where one died. Times are CLOCK_BOOTTIME; 0: no change is open. Userspace alone.
 */
struct sl_phase_times {
	__u64 begun_boot_ns;
	__u64 record_boot_ns;  /* SPLIT becomes RECORD */
	__u64 listed_boot_ns;  /* RECORD becomes LISTED */
	__u32 idle_s;	       /* R */
	__u32 window_s;	       /* W */
	__u64 refused_boot_ns; /* when it was seen last that flows find no room; 0: never */
	__u64 refused_count;   /* `refused` and `displaced` of sl_flow_counts up to then */
	__u64 reserved[2];
};
_Static_assert(sizeof(struct sl_phase_times) == 64, "struct sl_phase_times");

#endif

/*
 * access_load: brings an allow or deny list to what a file says, in slices.
 *
 *   text ──► read: a set ──► compare ──► (replace: what the list has and the set lacks) ──► add ──►
 *   remove ──► done
 *
 * Nothing is changed before all of the text was read and compared, and only entries that people
 * made are: those of the configuration stay below them, also where the person's is removed. A step
 * does a bounded number of entries, so that a million can be worked off between other things; only
 * the look at the whole list that `replace` needs is one piece.
 * Thread rule: that of access_list.
 */
#ifndef SLUICE_KERN_ACCESS_LOAD_H
#define SLUICE_KERN_ACCESS_LOAD_H

#include "base/str.h"
#include "kern/access_list.h"

#define ACCESS_LOAD_ENTRIES_MAX (4u << 20) /* about 240 MB */

struct access_load;

struct access_load_conf {
	enum access_list_kind kind;
	bool replace;
	bool dry_run;
	char reason[ACCESS_REASON_MAX]; /* of lines without one; "": none */
	uint64_t ttl_ms;		/* of lines without an end; 0: none */
	uint64_t now_wall_ms;		/* when the load began: durations count from here */
};

struct access_load_counts {
	uint64_t added, changed, removed, unchanged;
	uint64_t expired;  /* lines whose end had come: as if they were not there */
	uint64_t repeated; /* lines for a prefix that an earlier one had; the later one counts */
};

/* NULL: out of memory. */
struct access_load *access_load_new(const struct access_load_conf *conf);
void access_load_free(struct access_load *load);

/*
 * Whole lines, before the first step. 0; -EINVAL: error() was told what is wrong with lines;
 * -ENOSPC: more than ACCESS_LOAD_ENTRIES_MAX; -ENOMEM.
 */
int access_load_read(struct access_load *load, struct str text,
		     void (*error)(uint64_t line, size_t column, const char *text, void *arg),
		     void *arg);
/* Different prefixes that were read. */
size_t access_load_entries(const struct access_load *load);

/* At most about `entries` of them: 1 when there is more to do, 0 at the end, negative with err. */
int access_load_step(struct access_load *load, struct dataplane *dataplane, size_t entries,
		     struct error *err);
/* Until the end they are what is known so far. */
struct access_load_counts access_load_counts(const struct access_load *load);
/* Entries that were worked off, of how many: changes with what is found out. */
void access_load_progress(const struct access_load *load, uint64_t *ret_done, uint64_t *ret_total);
/* Has anything been changed in the kernel? */
bool access_load_has_changed(const struct access_load *load);

static inline void access_load_freep(struct access_load **load)
{
	access_load_free(*load);
}

#endif

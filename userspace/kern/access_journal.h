/*
 * access_journal: STATE_DIR/overlay.journal, what changed since overlay.json was written.
 *
 *   overlay.json     {"version":1,"journal":"ID","offset":N, ...      all that happened before N
 *   overlay.journal  sluice-journal 1 ID START
 *                    deny add 203.0.113.0/24 reason scanner           position START, counted in
 *                    deny delete 198.51.100.7/32                      bytes since the ID was made
 *
 * One change is one line and one fdatasync(), whatever the length of the list. overlay.json says
 * from where on the journal counts, so that it can be replaced by a rename while lines are added;
 * the part before that is cut off afterwards. A journal of another ID is left over from before and
 * means nothing. Only the last line can be incomplete after a crash: it is not there then.
 * Thread rule: the owner of the directory's lock.
 */
#ifndef SLUICE_KERN_ACCESS_JOURNAL_H
#define SLUICE_KERN_ACCESS_JOURNAL_H

#include "kern/access_list.h"

#define ACCESS_OVERLAY_FILE "overlay.json"
#define ACCESS_JOURNAL_FILE "overlay.journal"
#define ACCESS_HEAD_MAX	    128 /* of either file */

/* Where overlay.json ends and the journal goes on. */
struct access_mark {
	uint64_t id; /* 0: none, all is in overlay.json */
	uint64_t offset;
};

/* The mark of a first line; false: there is none. */
bool access_mark_parse(struct str head, struct access_mark *ret_mark);
/* Of the overlay.json that stands there, with its size; id 0 without one. */
int access_mark_read(int dir_fd, struct access_mark *ret_mark, uint64_t *ret_bytes);

/* Where the journal ends now: mark->offset when there is none of this ID. */
int access_journal_end(int dir_fd, const struct access_mark *mark, uint64_t *ret_end);
/* Durable when it returns 0. `line` ends with a line feed. */
int access_journal_append(int dir_fd, const struct access_mark *mark, struct str line);
/* Cuts off what is before the mark, and all of another ID. */
int access_journal_trim(int dir_fd, const struct access_mark *mark);
/* Calls visit for each line from the mark on, the line feed cut off, counted from 1. */
int access_journal_read(int dir_fd, const struct access_mark *mark,
			int (*visit)(struct str line, unsigned long number, void *arg), void *arg,
			struct error *err);

#endif

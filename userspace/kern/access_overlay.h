/*
 * access_overlay: what people changed in the lists, kept in state_dir and replayed at start.
 *
 *   one change ──► a line in overlay.journal
 *   many       ──► access_saver: overlay.json anew, an entry a line, in slices ──► rename
 *
 * At any moment the two files together are all changes whose call returned 0: see access_journal.
 * A long journal is a reason to write overlay.json again. Works the same for the daemon and for the
 * CLI on the pins. Thread rule: the owner of the directory's lock.
 */
#ifndef SLUICE_KERN_ACCESS_OVERLAY_H
#define SLUICE_KERN_ACCESS_OVERLAY_H

#include "kern/access_list.h"

/* Both files over the lists, at start. Files that are not there are no error. */
int access_overlay_load(struct dataplane *dataplane, const char *state_dir, struct error *err);
/* overlay.json anew and at once, see access_saver for slices. */
int access_overlay_save(struct dataplane *dataplane, const char *state_dir, struct error *err);
/* One entry that was added. Durable when it returns 0. */
int access_overlay_note_added(struct dataplane *dataplane, const char *state_dir,
			      enum access_list_kind kind, const struct access_entry *entry,
			      struct error *err);
int access_overlay_note_removed(struct dataplane *dataplane, const char *state_dir,
				enum access_list_kind kind, const struct ip_prefix *prefix,
				struct error *err);
/* Would the directory be better off with a new overlay.json? */
bool access_overlay_is_long(const char *state_dir);
/* To be called before a saver is made while changes may be noted: those need an overlay.json. */
int access_overlay_prepare(struct dataplane *dataplane, const char *state_dir, struct error *err);

/* ---- access_saver: writes overlay.json ---- */

struct access_saver;

/* Takes down what the lists hold now; what is noted later stays in the journal. */
int access_saver_new(struct dataplane *dataplane, const char *state_dir,
		     struct access_saver **ret_saver, struct error *err);
/* Some milliseconds of work: 1 when there is more, 0 when the new file is in its place. */
int access_saver_step(struct access_saver *saver, struct error *err);
/* Before the end: the old file stays. NULL allowed. */
void access_saver_free(struct access_saver *saver);

static inline void access_saver_freep(struct access_saver **saver)
{
	access_saver_free(*saver);
}

#endif

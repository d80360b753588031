#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/random.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "kern/access_journal.h"
#include "kern/access_overlay.h"
#include "kern/access_entries.h"
#include "kern/access_text.h"

#define NEW_FILE ACCESS_OVERLAY_FILE ".new"
/* A slice of formatting, and what is handed to the disk at once: each some milliseconds. */
#define SLICE_BYTES ((size_t)256 << 10)
#define SYNC_BYTES  ((uint64_t)4 << 20)

enum saver_place { SAVER_ALLOW, SAVER_DENY, SAVER_END };

struct access_saver {
	int dir_fd, fd;
	struct access_mark mark;
	struct access_entries *sets[2];
	enum saver_place place;
	size_t next;
	bool filled; /* the open array has an element */
	struct buf out;
	uint64_t written, synced;
};

static int visit_entry(const struct access_entry *entry, void *arg)
{
	return entry->origin == ACCESS_FROM_CLI ? access_entries_visit(entry, arg) : 0;
}

/* The ID that is in force, so that the journal goes on; a new one when there is none. */
static int find_mark(struct access_saver *saver)
{
	uint64_t bytes;
	int r = access_mark_read(saver->dir_fd, &saver->mark, &bytes);

	if (!r && saver->mark.id)
		return access_journal_end(saver->dir_fd, &saver->mark, &saver->mark.offset);
	if (getrandom(&saver->mark.id, sizeof(saver->mark.id), GRND_NONBLOCK) !=
	    (ssize_t)sizeof(saver->mark.id))
		saver->mark.id = clock_read_ns(CLOCK_REALTIME);
	saver->mark.id |= !saver->mark.id;
	saver->mark.offset = 0;
	return r;
}

static int open_files(struct access_saver *saver, const char *state_dir)
{
	saver->dir_fd = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (saver->dir_fd < 0)
		return -errno;
	saver->fd = openat(saver->dir_fd, NEW_FILE,
			   O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0640);
	return saver->fd < 0 ? -errno : 0;
}

int access_saver_new(struct dataplane *dataplane, const char *state_dir,
		     struct access_saver **ret_saver, struct error *err)
{
	_cleanup_(access_saver_freep)
	struct access_saver *saver = calloc(1, sizeof(*saver));
	int r;

	if (!saver)
		return error_set(err, -ENOMEM, "out of memory");
	saver->dir_fd = saver->fd = -1;
	buf_init(&saver->out, 2 * SLICE_BYTES);
	r = open_files(saver, state_dir);
	if (!r)
		r = find_mark(saver);
	for (enum access_list_kind kind = ACCESS_ALLOW; kind <= ACCESS_DENY && !r; kind++) {
		saver->sets[kind] = access_entries_new(SIZE_MAX);
		r = saver->sets[kind]
			    ? access_list_walk(dataplane, kind, visit_entry, saver->sets[kind])
			    : -ENOMEM;
	}
	if (!r)
		r = buf_printf(&saver->out,
			       "{\"version\":1,\"journal\":\"%016" PRIx64 "\",\"offset\":%" PRIu64
			       ",\n\"allow\":[",
			       saver->mark.id, saver->mark.offset);
	if (r)
		return error_set_errno(err, r, "cannot write '%s/" ACCESS_OVERLAY_FILE "'",
				       state_dir);
	*ret_saver = TAKE_PTR(saver);
	return 0;
}

void access_saver_free(struct access_saver *saver)
{
	if (!saver)
		return;
	if (saver->fd >= 0)
		(void)unlinkat(saver->dir_fd, NEW_FILE, 0);
	close_fdp(&saver->fd);
	close_fdp(&saver->dir_fd);
	access_entries_free(saver->sets[ACCESS_ALLOW]);
	access_entries_free(saver->sets[ACCESS_DENY]);
	buf_done(&saver->out);
	free(saver);
}

/* Text that access_reason_check() lets pass needs no other escapes. */
static char *put_escaped(char *pos, const char *text)
{
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			*pos++ = '\\';
		*pos++ = *text;
	}
	return pos;
}

static char *put(char *pos, struct str text)
{
	memcpy(pos, text.ptr, text.len);
	return pos + text.len;
}

static int write_entry(struct access_saver *saver, const struct access_entry *entry)
{
	/* The entry matters more than its words. */
	bool has_reason = !access_reason_check(str_from_cstr(entry->reason));
	char *room, *pos, addr[ADDR_TEXT_MAX];
	int r = buf_reserve(&saver->out, 512, &room);

	if (r)
		return r;
	pos = put(room, saver->filled ? STR(",\n{\"prefix\":\"") : STR("\n{\"prefix\":\""));
	pos = put(pos, str_from_cstr(ip_addr_format(&entry->prefix.addr, addr, sizeof(addr))));
	pos += snprintf(pos, 8, "/%u", entry->prefix.bits);
	pos = put(pos, STR("\",\"reason\":\""));
	if (has_reason)
		pos = put_escaped(pos, entry->reason);
	pos += snprintf(pos, 48, "\",\"expires\":%" PRIu64 "}", entry->expires_wall_ms);
	buf_commit(&saver->out, (size_t)(pos - room));
	saver->filled = true;
	return 0;
}

/* Fills `out` with one slice; at the end of the document saver->place is SAVER_END. */
static int format_slice(struct access_saver *saver)
{
	int r = 0;

	while (!r && saver->out.len < SLICE_BYTES && saver->place != SAVER_END) {
		const struct access_entries *set = saver->sets[(enum access_list_kind)saver->place];
		struct access_entry entry;

		if (saver->next < access_entries_places(set)) {
			if (access_entries_get(set, saver->next++, &entry))
				r = write_entry(saver, &entry);
			continue;
		}
		r = buf_append(&saver->out, saver->place == SAVER_ALLOW ? STR("\n],\n\"deny\":[")
									: STR("\n]}\n"));
		saver->place++;
		saver->next = 0;
		saver->filled = false;
	}
	return r;
}

static int write_slice(struct access_saver *saver)
{
	while (saver->out.len) {
		struct str bytes = buf_str(&saver->out);
		ssize_t written = write(saver->fd, bytes.ptr, bytes.len);

		if (written < 0 && errno != EINTR)
			return -errno;
		if (written > 0) {
			buf_consume(&saver->out, (size_t)written);
			saver->written += (uint64_t)written;
		}
	}
	/* Bit by bit, so that the last one does not wait for all of it. */
	if (saver->written - saver->synced < SYNC_BYTES && saver->place != SAVER_END)
		return 0;
	saver->synced = saver->written;
	return fdatasync(saver->fd) ? -errno : 0;
}

static int finish(struct access_saver *saver)
{
	if (fsync(saver->fd))
		return -errno;
	if (renameat(saver->dir_fd, NEW_FILE, saver->dir_fd, ACCESS_OVERLAY_FILE) ||
	    fsync(saver->dir_fd))
		return -errno;
	close_fdp(&saver->fd);
	saver->fd = -1;
	return access_journal_trim(saver->dir_fd, &saver->mark);
}

int access_saver_step(struct access_saver *saver, struct error *err)
{
	bool is_last;
	int r = format_slice(saver);

	_Static_assert((int)SAVER_ALLOW == (int)ACCESS_ALLOW && (int)SAVER_DENY == (int)ACCESS_DENY,
		       "places are lists");
	is_last = saver->place == SAVER_END;
	if (!r)
		r = write_slice(saver);
	if (!r && is_last)
		r = finish(saver);
	if (r)
		return error_set_errno(err, r, "cannot write " ACCESS_OVERLAY_FILE);
	return !is_last;
}

#include "kern/access_load.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "kern/access_entries.h"
#include "kern/access_text.h"

enum phase { PHASE_READ, PHASE_COMPARE, PHASE_COLLECT, PHASE_ADD, PHASE_REMOVE, PHASE_DONE };

struct access_load {
	struct access_load_conf conf;
	struct access_text_reader reader;
	struct access_entries *set;
	struct access_load_counts counts;
	enum phase phase;
	size_t next;		   /* place or index that the phase works on */
	uint64_t done;		   /* of all phases */
	uint8_t *wanted;	   /* of each place: it has to be put into the kernel */
	struct ip_prefix *leaving; /* people's entries that the set lacks */
	size_t leaving_count, leaving_room;
	bool has_changed;
};

struct access_load *access_load_new(const struct access_load_conf *conf)
{
	_cleanup_(access_load_freep)
	struct access_load *load = calloc(1, sizeof(*load));

	if (!load)
		return NULL;
	load->conf = *conf;
	load->set = access_entries_new(ACCESS_LOAD_ENTRIES_MAX);
	if (!load->set)
		return NULL;
	load->reader = (struct access_text_reader){
		.now_wall_ms = conf->now_wall_ms,
		.reason = load->conf.reason,
		.expires_wall_ms = conf->ttl_ms ? conf->now_wall_ms + conf->ttl_ms : 0,
	};
	return TAKE_PTR(load);
}

void access_load_free(struct access_load *load)
{
	if (!load)
		return;
	access_entries_free(load->set);
	free(load->wanted);
	free(load->leaving);
	free(load);
}

/* The reader has one arg for both of its functions. */
struct reading {
	struct access_load *load;
	void (*error)(uint64_t line, size_t column, const char *text, void *arg);
	void *arg;
};

static int read_entry(const struct access_entry *entry, void *arg)
{
	struct access_load *load = ((struct reading *)arg)->load;
	int r;

	if (entry->expires_wall_ms && entry->expires_wall_ms <= load->conf.now_wall_ms) {
		load->counts.expired++;
		return 0;
	}
	r = access_entries_put(load->set, entry);
	if (r > 0)
		load->counts.repeated++;
	return MIN(r, 0);
}

static void read_error(uint64_t line, size_t column, const char *text, void *arg)
{
	struct reading *reading = arg;

	reading->error(line, column, text, reading->arg);
}

int access_load_read(struct access_load *load, struct str text,
		     void (*error)(uint64_t line, size_t column, const char *text, void *arg),
		     void *arg)
{
	struct reading reading = {load, error, arg};

	load->reader.entry = read_entry;
	load->reader.error = read_error;
	load->reader.arg = &reading;
	return access_text_read(&load->reader, text);
}

size_t access_load_entries(const struct access_load *load)
{
	return access_entries_count(load->set);
}

/* ---- the phases; each does one entry or -EAGAIN at its end ---- */

static int compare_one(struct access_load *load, struct dataplane *dataplane, struct error *err)
{
	struct access_entry entry, found;
	int r;

	if (load->next == access_entries_places(load->set))
		return -EAGAIN;
	(void)access_entries_get(load->set, load->next, &entry);
	r = access_list_find(dataplane, load->conf.kind, &entry.prefix, &found);
	if (r && r != -ENOENT)
		return error_set_errno(err, r, "cannot read the list");
	load->wanted[load->next] = 1;
	if (r || found.origin != ACCESS_FROM_CLI) {
		load->counts.added++;
	} else if (strcmp(entry.reason, found.reason) ||
		   entry.expires_wall_ms != found.expires_wall_ms) {
		load->counts.changed++;
	} else {
		load->counts.unchanged++;
		load->wanted[load->next] = 0;
	}
	load->next++;
	return 0;
}

static int note_leaving(const struct access_entry *entry, void *arg)
{
	struct access_load *load = arg;

	if (entry->origin != ACCESS_FROM_CLI || access_entries_has(load->set, &entry->prefix))
		return 0;
	if (load->leaving_count == load->leaving_room) {
		size_t room = load->leaving_room ? load->leaving_room * 2 : 64;
		struct ip_prefix *grown = realloc(load->leaving, room * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		load->leaving = grown;
		load->leaving_room = room;
	}
	load->leaving[load->leaving_count++] = entry->prefix;
	return 0;
}

static int collect(struct access_load *load, struct dataplane *dataplane, struct error *err)
{
	int r = access_list_walk(dataplane, load->conf.kind, note_leaving, load);

	if (r)
		return error_set_errno(err, r, "cannot read the list");
	load->counts.removed = load->leaving_count;
	return -EAGAIN;
}

static int add_one(struct access_load *load, struct dataplane *dataplane, struct error *err)
{
	struct access_entry entry;

	int r = load->next ? 0 : access_entries_reserve(load->set, dataplane, load->conf.kind, err);

	if (r)
		return r;
	if (load->next == access_entries_places(load->set))
		return -EAGAIN;
	(void)access_entries_get(load->set, load->next, &entry);
	if (load->wanted[load->next]) {
		/* The end may have come since it was read. */
		if (!entry.expires_wall_ms || entry.expires_wall_ms > clock_wall_ms())
			r = access_list_add(dataplane, load->conf.kind, &entry, err);
		if (r)
			return r;
		load->has_changed = true;
	}
	load->next++;
	return 0;
}

static int remove_one(struct access_load *load, struct dataplane *dataplane, struct error *err)
{
	int r;

	if (load->next == load->leaving_count)
		return -EAGAIN;
	r = access_list_remove_from(dataplane, load->conf.kind, &load->leaving[load->next++],
				    ACCESS_FROM_CLI, err);
	/* The sweeper may have been quicker. */
	if (r && r != -ENOENT)
		return r;
	load->has_changed = true;
	return 0;
}

static int begin(struct access_load *load, struct error *err)
{
	load->wanted = calloc(MAX(access_entries_places(load->set), (size_t)1), 1);
	if (!load->wanted)
		return error_set(err, -ENOMEM, "out of memory");
	load->phase = PHASE_COMPARE;
	return 0;
}

static int work_one(struct access_load *load, struct dataplane *dataplane, struct error *err)
{
	switch (load->phase) {
	case PHASE_COMPARE:
		return compare_one(load, dataplane, err);
	case PHASE_COLLECT:
		return load->conf.replace ? collect(load, dataplane, err) : -EAGAIN;
	case PHASE_ADD:
		return load->conf.dry_run ? -EAGAIN : add_one(load, dataplane, err);
	default:
		return load->conf.dry_run ? -EAGAIN : remove_one(load, dataplane, err);
	}
}

int access_load_step(struct access_load *load, struct dataplane *dataplane, size_t entries,
		     struct error *err)
{
	int r;

	if (load->phase == PHASE_READ && (r = begin(load, err)))
		return r;
	while (load->phase != PHASE_DONE && entries-- > 0) {
		r = work_one(load, dataplane, err);
		if (r == -EAGAIN) {
			load->phase++;
			load->next = 0;
		} else if (r) {
			return r;
		} else {
			load->done++;
		}
	}
	return load->phase != PHASE_DONE;
}

struct access_load_counts access_load_counts(const struct access_load *load)
{
	return load->counts;
}

void access_load_progress(const struct access_load *load, uint64_t *ret_done, uint64_t *ret_total)
{
	uint64_t rounds = load->conf.dry_run ? 1 : 2;

	*ret_done = load->done;
	*ret_total = access_entries_count(load->set) * rounds +
		     (load->conf.dry_run ? 0 : load->leaving_count);
}

bool access_load_has_changed(const struct access_load *load)
{
	return load->has_changed;
}

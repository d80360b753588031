#include "kern/access_overlay.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "kern/access_journal.h"
#include "kern/access_entries.h"
#include "kern/access_text.h"
#include "kern/overlay_file.h"

#define OVERLAY_VERSION 1
#define FILE_NAME	ACCESS_OVERLAY_FILE
#define FILE_BYTES_MAX	(1UL << 30)
/* A journal is long when it has this, and half of what overlay.json has. */
#define JOURNAL_BYTES_LONG ((uint64_t)1 << 20)

int access_overlay_save(struct dataplane *dataplane, const char *state_dir, struct error *err)
{
	_cleanup_(access_saver_freep)
	struct access_saver *saver = NULL;
	int r = access_saver_new(dataplane, state_dir, &saver, err);

	if (r)
		return r;
	do
		r = access_saver_step(saver, err);
	while (r > 0);
	return r;
}

/* ---- changes ---- */

static int open_dir(const char *state_dir, struct error *err)
{
	int fd = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd >= 0 ? fd : error_set_errno(err, -errno, "cannot open '%s'", state_dir);
}

static int note(struct dataplane *dataplane, const char *state_dir, struct str line,
		struct error *err)
{
	_cleanup_close_ int dir_fd = open_dir(state_dir, err);
	struct access_mark mark;
	uint64_t bytes;
	int r;

	if (dir_fd < 0)
		return dir_fd;
	r = access_mark_read(dir_fd, &mark, &bytes);
	if (!r && !mark.id) /* the first change ever, or the file is of an older version */
		return access_overlay_save(dataplane, state_dir, err);
	if (!r)
		r = access_journal_append(dir_fd, &mark, line);
	return r ? error_set_errno(err, r, "cannot write '%s/" ACCESS_JOURNAL_FILE "'", state_dir)
		 : 0;
}

int access_overlay_note_added(struct dataplane *dataplane, const char *state_dir,
			      enum access_list_kind kind, const struct access_entry *entry,
			      struct error *err)
{
	_cleanup_(buf_done)
	struct buf line;
	int r;

	buf_init(&line, ACCESS_LINE_MAX);
	r = buf_printf(&line, "%s add ", access_list_name(kind));
	if (!r)
		r = access_text_write(&line, entry, false);
	return r ? error_set_errno(err, r, "cannot keep the change")
		 : note(dataplane, state_dir, buf_str(&line), err);
}

int access_overlay_note_removed(struct dataplane *dataplane, const char *state_dir,
				enum access_list_kind kind, const struct ip_prefix *prefix,
				struct error *err)
{
	char text[ADDR_TEXT_MAX], line[ADDR_TEXT_MAX + 32];
	int len = snprintf(line, sizeof(line), "%s delete %s\n", access_list_name(kind),
			   ip_prefix_format(prefix, text, sizeof(text)));

	return note(dataplane, state_dir, str_make(line, (size_t)len), err);
}

int access_overlay_prepare(struct dataplane *dataplane, const char *state_dir, struct error *err)
{
	_cleanup_close_ int dir_fd = open_dir(state_dir, err);
	struct access_mark mark;
	uint64_t bytes;
	int r;

	if (dir_fd < 0)
		return dir_fd;
	r = access_mark_read(dir_fd, &mark, &bytes);
	if (r)
		return error_set_errno(err, r, "cannot read '%s/" FILE_NAME "'", state_dir);
	return mark.id ? 0 : access_overlay_save(dataplane, state_dir, err);
}

bool access_overlay_is_long(const char *state_dir)
{
	_cleanup_close_ int dir_fd = open_dir(state_dir, NULL);
	struct access_mark mark;
	uint64_t bytes, end;

	if (dir_fd < 0 || access_mark_read(dir_fd, &mark, &bytes) || !mark.id ||
	    access_journal_end(dir_fd, &mark, &end))
		return false;
	return end - mark.offset > JOURNAL_BYTES_LONG + bytes / 2;
}

/* ---- the start: both files into sets, these into the kernel ---- */

struct overlay {
	struct access_entries *sets[2];
};

static void overlay_done(struct overlay *overlay)
{
	access_entries_free(overlay->sets[ACCESS_ALLOW]);
	access_entries_free(overlay->sets[ACCESS_DENY]);
}

/* The file is input: each value is looked at before it is believed. */
static int parse_entry(json_t *object, struct access_entry *ret_entry, struct error *err)
{
	struct access_entry entry = {.origin = ACCESS_FROM_CLI};
	const char *prefix, *reason = "";
	json_int_t expires = 0;
	json_error_t why;
	int ret;

	if (json_unpack_ex(object, &why, JSON_STRICT, "{s:s, s?s, s?I}", "prefix", &prefix,
			   "reason", &reason, "expires", &expires))
		return error_set(err, -EINVAL, "%s", why.text);
	if (expires < 0)
		return error_set(err, -EINVAL, "'expires' is negative");
	ret = ip_prefix_parse(str_from_cstr(prefix), &entry.prefix, err);
	if (ret)
		return ret;
	(void)snprintf(entry.reason, sizeof(entry.reason), "%s", reason);
	entry.expires_wall_ms = (uint64_t)expires;
	*ret_entry = entry;
	return 0;
}

static int take_list(struct access_entries *set, const char *key, json_t *list, struct error *err)
{
	size_t index;
	json_t *object;

	if (!list)
		return 0;
	if (!json_is_array(list))
		return error_set(err, -EINVAL, "'%s' is no array", key);
	json_array_foreach(list, index, object)
	{
		struct access_entry entry;
		int ret = parse_entry(object, &entry, err);

		if (ret) {
			error_prefix(err, "%s[%zu]", key, index);
			return ret;
		}
		ret = access_entries_put(set, &entry);
		if (ret < 0)
			return error_set_errno(err, ret, "%s[%zu]", key, index);
	}
	return 0;
}

static int take_document(struct overlay *overlay, json_t *root, struct error *err)
{
	json_int_t version = json_integer_value(json_object_get(root, "version"));
	int ret = 0;

	if (version != OVERLAY_VERSION)
		return error_set(err, -EPROTO, "version %lld, this is %d", (long long)version,
				 OVERLAY_VERSION);
	for (enum access_list_kind kind = ACCESS_ALLOW; kind <= ACCESS_DENY && ret == 0; kind++)
		ret = take_list(overlay->sets[kind], access_list_name(kind),
				json_object_get(root, access_list_name(kind)), err);
	return ret;
}

/* JSON of any form: what a person or an older version wrote. */
static int take_json_file(struct overlay *overlay, const char *state_dir, struct error *err)
{
	_cleanup_(json_decrefpp)
	json_t *root = NULL;
	int ret = overlay_file_read(state_dir, FILE_NAME, &root, err);

	if (ret || !root)
		return ret;
	ret = take_document(overlay, root, err);
	if (ret)
		error_prefix(err, "%s/" FILE_NAME, state_dir);
	return ret;
}

static bool cut(struct str *rest, struct str front)
{
	if (!str_starts_with(*rest, front))
		return false;
	*rest = str_sub(*rest, front.len, rest->len);
	return true;
}

/* {"prefix":"203.0.113.0/24","reason":"scanner","expires":0} exactly as access_saver writes it. */
static bool parse_line(struct str line, struct access_entry *ret_entry)
{
	struct access_entry entry = {.origin = ACCESS_FROM_CLI};
	size_t len = 0;
	ptrdiff_t quote;

	if (!cut(&line, STR("{\"prefix\":\"")))
		return false;
	quote = str_find_byte(line, '"');
	if (quote < 0 || access_prefix_parse(str_sub(line, 0, (size_t)quote), &entry.prefix, NULL))
		return false;
	line = str_sub(line, (size_t)quote, line.len);
	if (!cut(&line, STR("\",\"reason\":\"")))
		return false;
	for (; line.len && *line.ptr != '"'; line = str_sub(line, 1, line.len)) {
		if (*line.ptr == '\\' &&
		    (line.len < 2 || (line.ptr[1] != '"' && line.ptr[1] != '\\')))
			return false;
		if (*line.ptr == '\\')
			line = str_sub(line, 1, line.len);
		if (len + 1 == sizeof(entry.reason))
			return false;
		entry.reason[len++] = *line.ptr;
	}
	if (access_reason_check(str_make(entry.reason, len)) ||
	    !cut(&line, STR("\",\"expires\":")) || !str_ends_with(line, STR("}")) ||
	    str_to_u64(str_sub(line, 0, line.len - 1), &entry.expires_wall_ms))
		return false;
	*ret_entry = entry;
	return true;
}

/* False when a line is other than access_saver writes it: then jansson says what it is. */
static bool take_lines(struct overlay *overlay, struct str text, int *ret_error)
{
	int kind = -1;

	while (text.len) {
		ptrdiff_t feed = str_find_byte(text, '\n');
		struct str line = str_sub(text, 0, feed < 0 ? text.len : (size_t)feed);
		struct access_entry entry;

		text = str_sub(text, line.len + 1, text.len);
		if (kind < 0 && str_eq(line, STR("\"allow\":["))) {
			kind = ACCESS_ALLOW;
		} else if (kind == ACCESS_ALLOW && str_eq(line, STR("\"deny\":["))) {
			kind = ACCESS_DENY;
		} else if (str_eq(line, STR("],")) && kind == ACCESS_ALLOW) {
			continue;
		} else if (str_eq(line, STR("]}"))) {
			return kind == ACCESS_DENY && !text.len;
		} else {
			if (str_ends_with(line, STR(",")))
				line.len--;
			if (kind < 0 || !parse_line(line, &entry))
				return false;
			*ret_error = access_entries_put(overlay->sets[kind], &entry);
			if (*ret_error < 0)
				return false;
		}
	}
	return false;
}

static int read_file(int fd, struct buf *out)
{
	struct stat status;
	char *room;
	int r;

	if (fstat(fd, &status))
		return -errno;
	if (!S_ISREG(status.st_mode) || (uint64_t)status.st_size > FILE_BYTES_MAX)
		return -EFBIG;
	r = buf_reserve(out, (size_t)status.st_size, &room);
	while (!r && out->len < (size_t)status.st_size) {
		ssize_t got = read(fd, room + out->len, (size_t)status.st_size - out->len);

		if (got <= 0)
			return got < 0 ? -errno : -EIO;
		buf_commit(out, (size_t)got);
	}
	return r;
}

static int take_file(struct overlay *overlay, int dir_fd, const char *state_dir,
		     struct access_mark *ret_mark, struct error *err)
{
	_cleanup_close_ int fd = openat(dir_fd, FILE_NAME, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	_cleanup_(buf_done)
	struct buf content;
	struct str head;
	int r = 0;

	*ret_mark = (struct access_mark){0};
	buf_init(&content, FILE_BYTES_MAX);
	if (fd < 0 && errno == ENOENT)
		return 0;
	if (fd < 0 || read_file(fd, &content))
		return take_json_file(overlay, state_dir, err);
	head = buf_str(&content);
	if (!access_mark_parse(head, ret_mark))
		return take_json_file(overlay, state_dir, err);
	head = str_sub(head, (size_t)str_find_byte(head, '\n') + 1, head.len);
	if (take_lines(overlay, head, &r))
		return 0;
	if (r < 0)
		return error_set_errno(err, r, "cannot read '%s/" FILE_NAME "'", state_dir);
	return take_json_file(overlay, state_dir, err);
}

/* ---- the journal ---- */

struct replay {
	struct overlay *overlay;
	struct access_text_reader reader;
	struct access_entries *set;
	const char *state_dir;
	struct error *err;
};

static int replay_entry(const struct access_entry *entry, void *arg)
{
	struct replay *replay = arg;
	int r = access_entries_put(replay->set, entry);

	return MIN(r, 0);
}

static void replay_error(uint64_t line, size_t column, const char *text, void *arg)
{
	(void)error_set(((struct replay *)arg)->err, -EINVAL, "%s", text);
}

static int replay_words(struct replay *replay, struct str line)
{
	struct ip_prefix prefix;
	int r;

	if (cut(&line, STR("allow ")))
		replay->set = replay->overlay->sets[ACCESS_ALLOW];
	else if (cut(&line, STR("deny ")))
		replay->set = replay->overlay->sets[ACCESS_DENY];
	else
		return error_set(replay->err, -EINVAL, "expected 'allow' or 'deny'");
	if (cut(&line, STR("add ")))
		return access_text_read(&replay->reader, line);
	if (!cut(&line, STR("delete ")))
		return error_set(replay->err, -EINVAL, "expected 'add' or 'delete'");
	r = access_prefix_parse(line, &prefix, replay->err);
	if (!r)
		(void)access_entries_remove(replay->set, &prefix);
	return r;
}

static int replay_line(struct str line, unsigned long number, void *arg)
{
	struct replay *replay = arg;
	int r = replay_words(replay, line);

	if (r)
		error_prefix(replay->err, "%s/" ACCESS_JOURNAL_FILE ": change %lu",
			     replay->state_dir, number);
	return r;
}

static int take_journal(struct overlay *overlay, int dir_fd, const char *state_dir,
			const struct access_mark *mark, struct error *err)
{
	struct replay replay = {
		.overlay = overlay,
		.reader = {.now_wall_ms = clock_wall_ms(),
			   .entry = replay_entry,
			   .error = replay_error},
		.state_dir = state_dir,
		.err = err,
	};

	replay.reader.arg = &replay;
	return mark->id ? access_journal_read(dir_fd, mark, replay_line, &replay, err) : 0;
}

static int put_list(struct dataplane *dataplane, enum access_list_kind kind,
		    const struct access_entries *set, const char *state_dir, struct error *err)
{
	uint64_t now_ms = clock_wall_ms();
	int ret = access_entries_reserve(set, dataplane, kind, err);

	if (ret)
		return ret;
	for (size_t i = 0; i < access_entries_places(set); i++) {
		struct access_entry entry;

		if (!access_entries_get(set, i, &entry) ||
		    (entry.expires_wall_ms && entry.expires_wall_ms <= now_ms))
			continue;
		ret = access_list_add(dataplane, kind, &entry, err);
		if (ret) {
			error_prefix(err, "%s/" FILE_NAME, state_dir);
			return ret;
		}
	}
	return 0;
}

int access_overlay_load(struct dataplane *dataplane, const char *state_dir, struct error *err)
{
	_cleanup_close_ int dir_fd = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_(overlay_done)
	struct overlay overlay = {{NULL, NULL}};
	struct access_mark mark;
	int ret;

	if (dir_fd < 0)
		return errno == ENOENT
			       ? 0
			       : error_set_errno(err, -errno, "cannot open '%s'", state_dir);
	overlay.sets[ACCESS_ALLOW] = access_entries_new(SIZE_MAX);
	overlay.sets[ACCESS_DENY] = access_entries_new(SIZE_MAX);
	if (!overlay.sets[ACCESS_ALLOW] || !overlay.sets[ACCESS_DENY])
		return error_set(err, -ENOMEM, "out of memory");
	ret = take_file(&overlay, dir_fd, state_dir, &mark, err);
	if (!ret)
		ret = take_journal(&overlay, dir_fd, state_dir, &mark, err);
	for (enum access_list_kind kind = ACCESS_ALLOW; kind <= ACCESS_DENY && ret == 0; kind++)
		ret = put_list(dataplane, kind, overlay.sets[kind], state_dir, err);
	return ret;
}

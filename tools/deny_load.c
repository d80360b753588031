/* `sluice deny load` and `sluice allow load`. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "kern/access_load.h"
#include "kern/access_overlay.h"
#include "kern/access_text.h"
#include "tools/client.h"
#include "tools/deny.h"
#include "tools/output.h"
#include "tools/pinned.h"

#define FILE_BYTES_MAX	 ((size_t)1 << 30)
#define PART_BYTES	 ((size_t)1 << 20) /* what the admin API takes */
#define ERRORS_MAX	 20
#define PROGRESS_MS	 1000 /* what is over by then needs none */
#define PROGRESS_STEP_MS 200
#define POLL_FIRST_MS	 2
#define POLL_MOST_MS	 100
#define STUCK_MS	 60000 /* beyond --timeout */
#define SLICE_ENTRIES	 4096

struct load {
	struct cli *cli;
	const struct list_kind *list;
	char name[512]; /* of the file, for errors */
	const char *reason, *ttl, *replace, *dry_run;
	struct access_load_conf conf;
	struct buf text;
	uint64_t errors;
	uint64_t began_ms, shown_ms;
	bool is_shown;
	json_t *result;
};

/* ---- progress ---- */

static void show_progress(struct load *load, const char *what, uint64_t done, uint64_t total)
{
	uint64_t now_ms = clock_mono_ms();

	if (now_ms < load->began_ms + PROGRESS_MS || now_ms < load->shown_ms + PROGRESS_STEP_MS ||
	    !isatty(STDERR_FILENO))
		return;
	load->shown_ms = now_ms;
	load->is_shown = true;
	(void)fprintf(stderr, "\r%s: %3u %%\033[K", what,
		      total ? (unsigned int)(MIN(done, total) * 100 / total) : 100);
	(void)fflush(stderr);
}

static void end_progress(struct load *load)
{
	if (load->is_shown)
		(void)fputs("\r\033[K", stderr);
	load->is_shown = false;
}

/* ---- the file ---- */

static int read_all(int fd, struct buf *out)
{
	struct stat status;
	size_t room_len = (size_t)1 << 20;

	/* Of a file at once, of a pipe as it comes. */
	if (!fstat(fd, &status) && S_ISREG(status.st_mode) &&
	    (size_t)status.st_size < FILE_BYTES_MAX)
		room_len = (size_t)status.st_size + 1;
	for (;;) {
		char *room;
		ssize_t got;
		int error = buf_reserve(out, room_len, &room);

		if (error)
			return error == -EMSGSIZE ? -EFBIG : error;
		got = read(fd, room, room_len);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return got < 0 ? -errno : 0;
		buf_commit(out, (size_t)got);
		room_len = (size_t)1 << 20;
	}
}

static int read_file(struct load *load, const char *path)
{
	bool is_input = !strcmp(path, "-");
	_cleanup_close_ int opened = is_input ? -1 : open(path, O_RDONLY | O_CLOEXEC);
	char quoted[160];
	int error;

	(void)snprintf(load->name, sizeof(load->name), "%s", is_input ? "stdin" : path);
	if (!is_input && opened < 0)
		error = -errno;
	else
		error = read_all(is_input ? STDIN_FILENO : opened, &load->text);
	return error ? p_err(load->cli, error, "cannot read %s: %s",
			     str_quote(str_from_cstr(load->name), quoted, sizeof(quoted)),
			     strerrordesc_np(-error))
		     : 0;
}

static int skip_entry(const struct access_entry *entry, void *arg)
{
	return 0;
}

static void note_error(uint64_t line, size_t column, const char *text, void *arg)
{
	struct load *load = arg;
	char shown[1200];

	if (load->errors++ >= ERRORS_MAX)
		return;
	(void)snprintf(shown, sizeof(shown), "%s:%" PRIu64 ":%zu: %s", load->name, line, column,
		       text);
	p_err_line(load->cli, str_from_cstr(shown));
}

/* Before anything is asked for or changed. */
static int check_text(struct load *load)
{
	struct access_text_reader reader = {
		.now_wall_ms = load->conf.now_wall_ms,
		.entry = skip_entry,
		.error = note_error,
		.arg = load,
	};
	char quoted[160], more[64];

	if (!access_text_read(&reader, buf_str(&load->text)))
		return 0;
	if (load->errors > ERRORS_MAX) {
		(void)snprintf(more, sizeof(more), "and %" PRIu64 " more",
			       load->errors - ERRORS_MAX);
		p_err_line(load->cli, str_from_cstr(more));
	}
	return p_err(load->cli, -EINVAL, "%s has %" PRIu64 " wrong line%s; nothing was changed",
		     str_quote(str_from_cstr(load->name), quoted, sizeof(quoted)), load->errors,
		     load->errors == 1 ? "" : "s");
}

/* ---- with a daemon ---- */

/* TARGET/load[/STEP]?load=ID, and what else there is to say. */
static int make_target(const struct load *load, const char *step, const char *id, uint64_t part,
		       char *out, size_t out_len)
{
	int len = snprintf(out, out_len, "%s/load%s?load=%s", load->list->target, step, id);

	if (part && len > 0 && (size_t)len < out_len)
		len += snprintf(out + len, out_len - (size_t)len, "&part=%" PRIu64, part);
	return len > 0 && (size_t)len < out_len ? 0 : -ENAMETOOLONG;
}

static int report_not_understood(struct cli *cli)
{
	return p_err(cli, -EPROTO,
		     "the daemon's answer is not understood (it says nothing of the load); are "
		     "sluice and sluiced of the same version?");
}

/* -ENOTCONN, not reported: there is none. */
static int begin(struct load *load, char *ret_id, size_t id_len)
{
	_cleanup_json_ json_t *request = json_pack("{s:b, s:b}", "replace", load->replace != NULL,
						   "dry_run", load->dry_run != NULL);
	_cleanup_json_ json_t *answer = NULL;
	char target[64];
	const char *id;
	int error;

	if (!request ||
	    (load->reason && json_object_set_new(request, "reason", json_string(load->reason))) ||
	    (load->ttl && json_object_set_new(request, "ttl", json_string(load->ttl))))
		return p_out_of_memory(load->cli);
	(void)snprintf(target, sizeof(target), "%s/load", load->list->target);
	error = client_try(load->cli, "POST", target, request, &answer);
	if (error)
		return error;
	id = document_string(answer, "load");
	if (!id || !id[0] || strlen(id) >= id_len || strspn(id, "0123456789abcdef") != strlen(id))
		return report_not_understood(load->cli);
	(void)snprintf(ret_id, id_len, "%s", id);
	return 0;
}

static int send_parts(struct load *load, const char *id)
{
	struct str rest = buf_str(&load->text);
	uint64_t total = rest.len;
	char target[128];

	for (uint64_t part = 1; rest.len; part++) {
		_cleanup_json_ json_t *answer = NULL;
		size_t len = MIN(rest.len, PART_BYTES);
		const char *feed = memrchr(rest.ptr, '\n', len);
		int error = make_target(load, "/part", id, part, target, sizeof(target));

		/* Lines are short, which was seen to already. */
		if (len < rest.len && feed)
			len = (size_t)(feed - rest.ptr) + 1;
		if (!error)
			error = client_send_text(load->cli, target, str_sub(rest, 0, len), &answer);
		if (error)
			return error;
		rest = str_sub(rest, len, rest.len);
		show_progress(load, "sending", total - rest.len, total);
	}
	return 0;
}

/* 0 when it is done, -EAGAIN while it is not, else reported. */
static int check_state(struct load *load, const json_t *answer)
{
	const char *state = document_string(answer, "state");
	const char *failure = document_string(answer, "failure");
	uint64_t done = (uint64_t)json_integer_value(json_object_get(answer, "done"));
	uint64_t total = (uint64_t)json_integer_value(json_object_get(answer, "total"));

	if (!state)
		return report_not_understood(load->cli);
	if (!strcmp(state, "done"))
		return 0;
	if (!strcmp(state, "failed"))
		return p_err(load->cli, -EREMOTEIO, "%s", failure ? failure : "the load failed");
	if (!strcmp(state, "saving"))
		show_progress(load, "saving", done, total);
	else if (!strcmp(state, "applying"))
		show_progress(load, "applying", done, total);
	else
		return report_not_understood(load->cli);
	return -EAGAIN;
}

static int await_end(struct load *load, const char *id)
{
	uint64_t delay_ms = POLL_FIRST_MS, done = 0, moved_ms = clock_mono_ms();
	char target[128], last[16] = "";
	int error = make_target(load, "", id, 0, target, sizeof(target));

	while (!error) {
		json_t *answer = NULL;
		const char *state;
		uint64_t now_done;

		error = client_call(load->cli, "GET", target, NULL, &answer);
		if (error)
			break;
		json_decref(load->result);
		load->result = answer;
		error = check_state(load, answer);
		if (error != -EAGAIN)
			break;
		error = 0;
		state = document_string(answer, "state");
		now_done = (uint64_t)json_integer_value(json_object_get(answer, "done"));
		if (now_done != done || strcmp(state, last))
			moved_ms = clock_mono_ms();
		done = now_done;
		(void)snprintf(last, sizeof(last), "%s", state);
		if (clock_mono_ms() > moved_ms + STUCK_MS + load->cli->timeout_ms)
			return p_err(load->cli, -ETIMEDOUT,
				     "the daemon has not got on with the load for a minute; look "
				     "at its log");
		(void)poll(NULL, 0, (int)delay_ms);
		delay_ms = MIN(delay_ms * 2, (uint64_t)POLL_MOST_MS);
	}
	return error;
}

static int load_by_daemon(struct load *load)
{
	_cleanup_json_ json_t *answer = NULL;
	char id[64], target[128];
	int error = begin(load, id, sizeof(id));

	if (error)
		return error;
	error = send_parts(load, id);
	if (!error)
		error = make_target(load, "/commit", id, 0, target, sizeof(target));
	if (!error)
		error = client_call(load->cli, "POST", target, NULL, &answer);
	return error ? error : await_end(load, id);
}

/* ---- without a daemon ---- */

static int save(struct load *load, struct dataplane *dataplane)
{
	_cleanup_(access_saver_freep)
	struct access_saver *saver = NULL;
	struct error err = {0};
	int error = access_saver_new(dataplane, load->cli->state_dir, &saver, &err);

	while (!error && (error = access_saver_step(saver, &err)) > 0) {
		error = 0;
		show_progress(load, "saving", 1, 1);
	}
	return error ? p_err(load->cli, error,
			     "the change is in force but will be lost at the next reboot: %s",
			     err.text)
		     : 0;
}

static int apply(struct load *load, struct access_load *access, struct dataplane *dataplane)
{
	struct error err = {0};
	uint64_t done, total;
	int error;

	while ((error = access_load_step(access, dataplane, SLICE_ENTRIES, &err)) > 0) {
		access_load_progress(access, &done, &total);
		show_progress(load, "applying", done, total);
	}
	if (error)
		(void)p_err(load->cli, error, "%s%s",
			    access_load_has_changed(access) ? "a part of the load is in force: "
							    : "",
			    err.text);
	if (access_load_has_changed(access) && save(load, dataplane))
		return -EIO;
	return error;
}

static int make_result(struct load *load, const struct access_load *access)
{
	struct access_load_counts counts = access_load_counts(access);

	load->result = json_pack(
		"{s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "entries",
		(json_int_t)access_load_entries(access), "added", (json_int_t)counts.added,
		"changed", (json_int_t)counts.changed, "removed", (json_int_t)counts.removed,
		"unchanged", (json_int_t)counts.unchanged, "expired", (json_int_t)counts.expired,
		"repeated", (json_int_t)counts.repeated);
	return load->result ? 0 : p_out_of_memory(load->cli);
}

static int load_pinned(struct load *load)
{
	_cleanup_(pinned_close)
	struct pinned pins = PINNED_NONE;
	_cleanup_(access_load_freep)
	struct access_load *access = NULL;
	int error = pinned_open(load->cli, load->dry_run != NULL, &pins);

	if (error)
		return error;
	access = access_load_new(&load->conf);
	error = access ? access_load_read(access, buf_str(&load->text), note_error, load) : -ENOMEM;
	if (error == -ENOSPC)
		return p_err(load->cli, error, "%s has more entries than a load may have",
			     load->name);
	if (error)
		return p_out_of_memory(load->cli);
	error = apply(load, access, pins.dataplane);
	return error ? error : make_result(load, access);
}

/* ---- what became of it ---- */

static int append_count(struct buf *out, const json_t *doc, const char *key, const char *after)
{
	int error = output_count(out, (uint64_t)json_integer_value(json_object_get(doc, key)));

	return error ? error : buf_append(out, str_from_cstr(after));
}

static int print_text(struct load *load, const json_t *doc)
{
	struct buf *out = &load->cli->out;
	int error = 0;

	if (load->dry_run)
		error = buf_append(out, STR("Nothing was changed; it would be: "));
	if (!error)
		error = append_count(out, doc, "added", " added, ");
	if (!error)
		error = append_count(out, doc, "changed", " changed, ");
	if (!error)
		error = append_count(out, doc, "removed", " removed, ");
	if (!error)
		error = append_count(out, doc, "unchanged", " unchanged.\n");
	if (!error && json_integer_value(json_object_get(doc, "expired")))
		error = append_count(out, doc, "expired",
				     " had come to their end and do not count.\n");
	if (!error && json_integer_value(json_object_get(doc, "repeated")))
		error = append_count(out, doc, "repeated",
				     " came again; of these the last line counts.\n");
	return error;
}

/* The same members with and without a daemon. */
static int print_result(struct load *load, bool daemon)
{
	static const char *const counts[] = {"entries",	  "added",   "changed", "removed",
					     "unchanged", "expired", "repeated"};
	struct cli *cli = load->cli;
	_cleanup_json_ json_t *doc = json_object();
	int error = doc ? 0 : -ENOMEM;

	for (size_t i = 0; i < ARRAY_SIZE(counts) && !error; i++) {
		json_t *count = json_object_get(load->result, counts[i]);

		if (!json_is_integer(count))
			return report_not_understood(cli);
		error = json_object_set(doc, counts[i], count);
	}
	if (!error)
		error = json_object_set_new(doc, "replace", json_boolean(load->replace)) ||
			json_object_set_new(doc, "dry_run", json_boolean(load->dry_run)) ||
			json_object_set_new(doc, "daemon", json_boolean(daemon));
	if (!error)
		error = cli->json ? output_document(cli, doc) : print_text(load, doc);
	if (error)
		return p_out_of_memory(cli);
	if (!cli->json && !daemon && !load->dry_run)
		p_text(cli,
		       "No daemon is running: written to %s and kept in %s for the next start.\n",
		       cli->bpffs_dir, cli->state_dir);
	return 0;
}

static int read_arguments(struct load *load, struct args *args, const char **ret_path)
{
	struct cli *cli = load->cli;
	const struct arg_key keys[] = {
		{"file", "FILE", ret_path},	   {"replace", NULL, &load->replace},
		{"dry-run", NULL, &load->dry_run}, {"reason", "TEXT", &load->reason},
		{"ttl", "DURATION", &load->ttl},   {NULL, NULL, NULL}};
	int error = args_read_keys(cli, args, keys);

	if (error)
		return error;
	if (!*ret_path)
		return p_usage(cli,
			       "FILE is missing; name it: file FILE, '-' means standard input");
	if (load->reason)
		error = deny_read_reason(cli, load->reason);
	if (!error && load->ttl)
		error = deny_read_ttl(cli, load->ttl, &load->conf.ttl_ms);
	return error;
}

static void load_done(struct load *load)
{
	end_progress(load);
	buf_done(&load->text);
	json_decref(load->result);
}

int list_load(struct cli *cli, struct args *args, const struct list_kind *list)
{
	_cleanup_(load_done)
	struct load load = {.cli = cli, .list = list, .began_ms = clock_mono_ms()};
	const char *path = NULL;
	bool daemon = true;
	int error;

	buf_init(&load.text, FILE_BYTES_MAX);
	error = read_arguments(&load, args, &path);
	if (!error)
		error = read_file(&load, path);
	if (error)
		return error;
	load.conf.kind = list->kind;
	load.conf.replace = load.replace;
	load.conf.dry_run = load.dry_run;
	load.conf.now_wall_ms = clock_wall_ms();
	if (load.reason)
		(void)snprintf(load.conf.reason, sizeof(load.conf.reason), "%s", load.reason);
	error = check_text(&load);
	if (!error)
		error = load_by_daemon(&load);
	if (error == -ENOTCONN && cli->exit_status == CLI_DONE) {
		daemon = false;
		error = load_pinned(&load);
	}
	end_progress(&load);
	return error ? error : print_result(&load, daemon);
}

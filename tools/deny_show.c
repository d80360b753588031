/* `sluice deny` and `sluice allow`: show, count and export. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "kern/access_entries.h"
#include "kern/access_text.h"
#include "kern/access_view.h"
#include "tools/client.h"
#include "tools/deny.h"
#include "tools/deny_table.h"
#include "tools/output.h"
#include "tools/pinned.h"

static int cell_expiry(const json_t *row, struct buf *out)
{
	const json_t *ttl = json_object_get(row, "ttl_s");
	int error;

	if (!json_is_integer(ttl))
		return buf_append(out, STR("never"));
	if (json_integer_value(ttl) <= 0)
		return buf_append(out, STR("now"));
	error = buf_append(out, STR("in "));
	return error ? error : output_seconds(out, (uint64_t)json_integer_value(ttl));
}

/* Of the document of a daemon that knows no text; see deny_table.c for the others. */
static const struct output_column entry_columns[] = {
	{"CIDR", "cidr", OUTPUT_TEXT, NULL},
	{"REASON", "reason", OUTPUT_TEXT, NULL},
	{"EXPIRES", NULL, OUTPUT_CELL, cell_expiry},
	{"FROM", "origin", OUTPUT_TEXT, NULL},
	{"PACKETS", "packets", OUTPUT_COUNT, NULL},
	{"BYTES", "bytes", OUTPUT_BYTES, NULL},
	{NULL, NULL, 0, NULL},
};

static const struct output_column count_columns[] = {
	{"entries", "entries", OUTPUT_COUNT, NULL},    {"from cli", "cli", OUTPUT_COUNT, NULL},
	{"from config", "config", OUTPUT_COUNT, NULL}, {"IPv4", "ipv4", OUTPUT_COUNT, NULL},
	{"IPv6", "ipv6", OUTPUT_COUNT, NULL},	       {"packets", "packets", OUTPUT_COUNT, NULL},
	{"bytes", "bytes", OUTPUT_BYTES, NULL},	       {NULL, NULL, 0, NULL},
};
static const struct output_section count_section = {
	.kind = OUTPUT_RECORD,
	.columns = count_columns,
};
static const struct output_view count_view = {&count_section, 1};

/* ---- which entries ---- */

static const char *const match_keys[] = {
	[ACCESS_MATCH_COVERING] = "cidr",
	[ACCESS_MATCH_EXACT] = "prefix",
	[ACCESS_MATCH_WITHIN] = "within",
};

struct selection {
	const char *prefixes[ACCESS_MATCH_WITHIN + 1]; /* by enum access_match */
	const char *origin, *reason;
	struct access_filter filter;
};

#define SELECTION_KEYS(selection)                                                                  \
	{"cidr", "CIDR", &(selection).prefixes[ACCESS_MATCH_COVERING]},                            \
		{"prefix", "CIDR", &(selection).prefixes[ACCESS_MATCH_EXACT]},                     \
		{"within", "CIDR", &(selection).prefixes[ACCESS_MATCH_WITHIN]},                    \
		{"from", "ORIGIN", &(selection).origin},                                           \
	{                                                                                          \
		"reason", "TEXT", &(selection).reason                                              \
	}

static int read_selection(struct cli *cli, struct selection *selection)
{
	static const char *const origins[] = {"config", "cli", NULL};
	struct access_filter *filter = &selection->filter;
	int error, origin;

	for (enum access_match match = ACCESS_MATCH_COVERING; match <= ACCESS_MATCH_WITHIN;
	     match++) {
		if (!selection->prefixes[match])
			continue;
		if (filter->match)
			return p_usage(
				cli, "'%s' and '%s' do not go together; see 'sluice %s help'",
				match_keys[filter->match], match_keys[match], cli->object_name);
		filter->match = match;
		error = deny_read_cidr(cli, selection->prefixes[match], &filter->prefix);
		if (error)
			return error;
	}
	if (selection->origin) {
		origin = names_require(cli, "origin", selection->origin, origins);
		if (origin < 0)
			return origin;
		filter->has_origin = true;
		filter->origin = origin ? ACCESS_FROM_CLI : ACCESS_FROM_CONFIG;
	}
	if (selection->reason) {
		error = deny_read_reason(cli, selection->reason);
		if (error)
			return error;
		filter->has_reason = true;
		(void)snprintf(filter->reason, sizeof(filter->reason), "%s", selection->reason);
	}
	return 0;
}

static int append_parameter(struct buf *out, const char *name, const char *value)
{
	int error;

	if (!value)
		return 0;
	error = buf_printf(out, "%s%s=", memchr(buf_str(out).ptr, '?', out->len) ? "&" : "?", name);
	return error ? error : client_append_encoded(out, str_from_cstr(value));
}

/* TARGET?format=text&cidr=..., NUL-terminated. */
static int make_target(const char *target, const struct selection *selection, const char *format,
		       struct buf *out)
{
	const struct access_filter *filter = &selection->filter;
	char cidr[ADDR_TEXT_MAX];
	int error = buf_append(out, str_from_cstr(target));

	if (!error)
		error = append_parameter(out, "format", format);
	if (!error && filter->match)
		error = append_parameter(out, match_keys[filter->match],
					 ip_prefix_format(&filter->prefix, cidr, sizeof(cidr)));
	if (!error && filter->has_origin)
		error = append_parameter(out, "from",
					 filter->origin == ACCESS_FROM_CLI ? "cli" : "config");
	if (!error)
		error = append_parameter(out, "reason", selection->reason);
	return error ? error : buf_append(out, str_make("", 1));
}

/* ---- from where ---- */

struct found {
	struct access_entries *entries;
	json_t *doc; /* instead of entries: the answer of a daemon that knows no text */
	bool daemon;
};

static void found_done(struct found *found)
{
	access_entries_free(found->entries);
	json_decref(found->doc);
}

static int report_not_understood(struct cli *cli, const char *what)
{
	return p_err(cli, -EPROTO,
		     "the daemon's answer is not understood (%s); are sluice and sluiced of the "
		     "same version?",
		     what);
}

static void note_error(uint64_t line, size_t column, const char *text, void *arg)
{
}

static int read_text(struct cli *cli, struct str text, struct access_entries *entries)
{
	struct access_text_reader reader = {
		.now_wall_ms = clock_wall_ms(),
		.is_shown = true,
		.entry = access_entries_visit,
		.error = note_error,
		.arg = entries,
	};
	char last[48];
	int error = access_text_read(&reader, text);

	if (error == -EINVAL)
		return report_not_understood(cli, "a line is no entry");
	if (error)
		return p_out_of_memory(cli);
	(void)snprintf(last, sizeof(last), "# %zu entries\n", access_entries_count(entries));
	return str_ends_with(text, str_from_cstr(last))
		       ? 0
		       : report_not_understood(cli, "it is not whole");
}

static int find_pinned(struct cli *cli, const struct list_kind *list,
		       const struct selection *selection,
		       int (*visit)(const struct access_entry *entry, void *arg), void *arg)
{
	_cleanup_(pinned_close)
	struct pinned pins = PINNED_NONE;
	int error = pinned_open(cli, true, &pins);

	if (error)
		return error;
	error = access_filter_walk(pins.dataplane, list->kind, &selection->filter, visit, arg);
	return error ? p_err(cli, error, "cannot read what is pinned in %s: %s", cli->bpffs_dir,
			     strerrordesc_np(-error))
		     : 0;
}

static int find(struct cli *cli, const struct list_kind *list, const struct selection *selection,
		struct found *found)
{
	_cleanup_(buf_done)
	struct buf target;
	struct buf text;
	int error;

	buf_init(&target, 4096);
	found->entries = access_entries_new(SIZE_MAX);
	if (!found->entries || make_target(list->target, selection, "text", &target))
		return p_out_of_memory(cli);
	error = client_try_text(cli, buf_str(&target).ptr, &text, &found->doc);
	if (error == -ENOTCONN)
		error = find_pinned(cli, list, selection, access_entries_visit, found->entries);
	else if (!error) {
		found->daemon = true;
		if (!found->doc) {
			error = read_text(cli, buf_str(&text), found->entries);
			buf_done(&text);
		}
	}
	if (!error && !found->doc)
		access_entries_sort(found->entries);
	return error;
}

/* ---- the document of a daemon that knows no text ---- */

static bool read_row(const json_t *row, struct access_entry *ret_entry)
{
	const char *cidr = document_string(row, "cidr"), *reason = document_string(row, "reason");
	const char *origin = document_string(row, "origin");

	*ret_entry = (struct access_entry){
		.origin = origin && !strcmp(origin, "cli") ? ACCESS_FROM_CLI : ACCESS_FROM_CONFIG,
	};
	(void)snprintf(ret_entry->reason, sizeof(ret_entry->reason), "%s", reason ? reason : "");
	return cidr && !ip_prefix_parse(str_from_cstr(cidr), &ret_entry->prefix, NULL);
}

/* Such a daemon does not know of selections, either. */
static void select_rows(json_t *rows, const struct access_filter *filter)
{
	size_t index = 0;

	if (!filter->match && !filter->has_origin && !filter->has_reason)
		return;
	while (index < json_array_size(rows)) {
		struct access_entry entry;

		if (read_row(json_array_get(rows, index), &entry) &&
		    access_filter_matches(filter, &entry))
			index++;
		else
			(void)json_array_remove(rows, index);
	}
}

/* ---- show ---- */

static bool is_selected(const struct access_filter *filter)
{
	return filter->match || filter->has_origin || filter->has_reason;
}

/* Asking for an address or a prefix that is not there is an error, other empty answers are not. */
static int check_found(struct cli *cli, const struct list_kind *list,
		       const struct access_filter *filter, size_t count)
{
	char text[ADDR_TEXT_MAX];

	if (count ||
	    (filter->match != ACCESS_MATCH_COVERING && filter->match != ACCESS_MATCH_EXACT))
		return 0;
	(void)ip_prefix_format(&filter->prefix, text, sizeof(text));
	if (filter->match == ACCESS_MATCH_EXACT)
		return p_err(cli, -ENOENT, "%s is not on the %s list", text, list->name);
	return p_err(cli, -ENOENT, "no entry of the %s list holds for %s", list->name, text);
}

static int show_document(struct cli *cli, const struct list_kind *list,
			 const struct access_filter *filter, json_t *doc)
{
	const struct output_section section = {
		.kind = OUTPUT_TABLE,
		.path = "entries",
		.required = true,
		.columns = entry_columns,
		.empty = list->empty,
	};
	const struct output_view view = {&section, 1};
	json_t *rows = json_object_get(doc, "entries");
	int error = output_check(cli, doc, &view);

	if (error)
		return error;
	if (json_object_set_new(doc, "daemon", json_true()))
		return p_out_of_memory(cli);
	select_rows(rows, filter);
	error = check_found(cli, list, filter, json_array_size(rows));
	return error ? error : output_print(cli, doc, &view);
}

int list_show(struct cli *cli, struct args *args, const struct list_kind *list)
{
	struct selection selection = {.origin = NULL};
	const struct arg_key keys[] = {SELECTION_KEYS(selection), {NULL, NULL, NULL}};
	_cleanup_(found_done)
	struct found found = {NULL, NULL, false};
	size_t count;
	int error;

	error = args_read_keys(cli, args, keys);
	if (!error)
		error = read_selection(cli, &selection);
	if (!error)
		error = find(cli, list, &selection, &found);
	if (error)
		return error;
	if (found.doc)
		return show_document(cli, list, &selection.filter, found.doc);
	count = access_entries_count(found.entries);
	error = check_found(cli, list, &selection.filter, count);
	if (error)
		return error;
	if (cli->json)
		return deny_print_json(cli, found.entries, found.daemon);
	if (!found.daemon)
		pinned_print_note(cli);
	if (count)
		return deny_print_table(cli, found.entries);
	if (is_selected(&selection.filter))
		p_text(cli, "The %s list has no such entry.\n", list->name);
	else
		p_text(cli, "%s\n", list->empty);
	return 0;
}

/* ---- count ---- */

static int count_pinned(struct cli *cli, const struct list_kind *list,
			const struct selection *selection, json_t **ret_doc)
{
	struct access_sums sums = {0};
	int error = find_pinned(cli, list, selection, access_sums_visit, &sums);

	if (error)
		return error;
	*ret_doc = json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "entries",
			     (json_int_t)sums.entries, "cli", (json_int_t)sums.cli, "config",
			     (json_int_t)sums.config, "ipv4", (json_int_t)sums.ipv4, "ipv6",
			     (json_int_t)sums.ipv6, "packets", (json_int_t)sums.packets, "bytes",
			     (json_int_t)sums.bytes);
	if (!*ret_doc)
		return p_out_of_memory(cli);
	pinned_print_note(cli);
	return 0;
}

int list_count(struct cli *cli, struct args *args, const struct list_kind *list)
{
	struct selection selection = {.origin = NULL};
	const struct arg_key keys[] = {SELECTION_KEYS(selection), {NULL, NULL, NULL}};
	_cleanup_json_ json_t *doc = NULL;
	_cleanup_(buf_done)
	struct buf target;
	char path[64];
	bool daemon = true;
	int error;

	buf_init(&target, 4096);
	(void)snprintf(path, sizeof(path), "%s/count", list->target);
	error = args_read_keys(cli, args, keys);
	if (!error)
		error = read_selection(cli, &selection);
	if (error)
		return error;
	if (make_target(path, &selection, NULL, &target))
		return p_out_of_memory(cli);
	error = client_try(cli, "GET", buf_str(&target).ptr, NULL, &doc);
	if (error == -ENOTCONN) {
		daemon = false;
		error = count_pinned(cli, list, &selection, &doc);
	}
	if (error)
		return error;
	if (!json_is_integer(json_object_get(doc, "entries")))
		return report_not_understood(cli, "it counts no entries");
	if (json_object_set_new(doc, "daemon", json_boolean(daemon)))
		return p_out_of_memory(cli);
	return output_print(cli, doc, &count_view);
}

/* ---- export ---- */

/* A file while it is written: beside its place until it is whole, unless that is no file. */
struct target_file {
	int fd;
	const char *path;
	char fresh[PATH_MAX]; /* "": written in place */
	struct buf out;
};

static void target_done(struct target_file *target)
{
	if (target->fd >= 0 && target->fresh[0])
		(void)unlink(target->fresh);
	close_fdp(&target->fd);
	buf_done(&target->out);
}

static int open_target(struct target_file *target, const char *path)
{
	struct stat status;
	bool in_place = !stat(path, &status) && !S_ISREG(status.st_mode);
	int len;

	target->path = path;
	len = snprintf(target->fresh, sizeof(target->fresh), "%s.new", path);
	if (len < 0 || (size_t)len >= sizeof(target->fresh))
		return -ENAMETOOLONG;
	if (in_place)
		target->fresh[0] = '\0';
	target->fd = open(in_place ? path : target->fresh,
			  O_WRONLY | O_CLOEXEC | (in_place ? 0 : O_CREAT | O_TRUNC), 0644);
	return target->fd < 0 ? -errno : 0;
}

static int write_target(struct target_file *target)
{
	while (target->out.len) {
		struct str bytes = buf_str(&target->out);
		ssize_t written = write(target->fd, bytes.ptr, bytes.len);

		if (written < 0 && errno != EINTR)
			return -errno;
		if (written > 0)
			buf_consume(&target->out, (size_t)written);
	}
	return 0;
}

static int flush_target(void *arg)
{
	struct target_file *target = arg;

	return target->out.len < (1u << 20) ? 0 : write_target(target);
}

static int finish_target(struct target_file *target)
{
	int error = write_target(target);

	if (error || !target->fresh[0])
		return error;
	if (fsync(target->fd) || rename(target->fresh, target->path))
		return -errno;
	target->fresh[0] = '\0';
	return 0;
}

static int export_file(struct cli *cli, const struct access_entries *entries, const char *path,
		       bool daemon)
{
	_cleanup_(target_done)
	struct target_file target = {.fd = -1};
	_cleanup_json_ json_t *doc = NULL;
	char quoted[160];
	int error;

	buf_init(&target.out, (size_t)4 << 20);
	error = open_target(&target, path);
	if (!error)
		error = deny_write_text(entries, &target.out, flush_target, &target);
	if (!error)
		error = finish_target(&target);
	(void)str_quote(str_from_cstr(path), quoted, sizeof(quoted));
	if (error)
		return p_err(cli, error, "cannot write %s: %s", quoted, strerrordesc_np(-error));
	if (!cli->json) {
		p_text(cli, "%zu entries are in %s.\n", access_entries_count(entries), quoted);
		return 0;
	}
	doc = json_pack("{s:I, s:b}", "entries", (json_int_t)access_entries_count(entries),
			"daemon", (int)daemon);
	if (!doc || json_object_set_new(doc, "file", document_text(str_from_cstr(path))))
		return p_out_of_memory(cli);
	return output_document(cli, doc) ? p_out_of_memory(cli) : 0;
}

/* What people made, unless another origin is asked for: what `load replace` makes of it again. */
int list_export(struct cli *cli, struct args *args, const struct list_kind *list)
{
	struct selection selection = {.origin = NULL};
	const char *path = NULL;
	const struct arg_key keys[] = {
		{"file", "FILE", &path}, {"from", "ORIGIN", &selection.origin}, {NULL, NULL, NULL}};
	_cleanup_(found_done)
	struct found found = {NULL, NULL, false};
	int error;

	error = args_read_keys(cli, args, keys);
	if (error)
		return error;
	if (!selection.origin)
		selection.origin = "cli";
	error = read_selection(cli, &selection);
	if (!error)
		error = find(cli, list, &selection, &found);
	if (error)
		return error;
	if (found.doc)
		return report_not_understood(cli, "it is no text");
	if (path && strcmp(path, "-"))
		return export_file(cli, found.entries, path, found.daemon);
	if (cli->json)
		return deny_print_json(cli, found.entries, found.daemon);
	error = deny_write_text(found.entries, &cli->out, deny_flush, cli);
	return error == -ENOMEM || error == -EMSGSIZE ? p_out_of_memory(cli) : error;
}

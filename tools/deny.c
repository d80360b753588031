/*
 * `sluice deny` and `sluice allow`: the two lists that XDP looks at first: their entries one by
 * one, and the two objects. Without a daemon they work on the pins.
 */
#include <errno.h>
#include <time.h>

#include "base/addr.h"
#include "base/clock.h"
#include "base/duration.h"
#include "kern/access_overlay.h"
#include "kern/access_text.h"
#include "tools/client.h"
#include "tools/counters.h"
#include "tools/deny.h"
#include "tools/output.h"
#include "tools/pinned.h"

static const struct list_kind deny_kind = {"deny", "denied", ACCESS_DENY, "/v1/deny",
					   "The deny list is empty."};
static const struct list_kind allow_kind = {"allow", "allowed", ACCESS_ALLOW, "/v1/allow",
					    "The allow list is empty."};

int deny_read_cidr(struct cli *cli, const char *text, struct ip_prefix *ret_prefix)
{
	struct error err = {0};

	if (ip_prefix_parse(str_from_cstr(text), ret_prefix, &err))
		return p_usage(cli, "%s", err.text);
	return 0;
}

int deny_read_reason(struct cli *cli, const char *text)
{
	char quoted[160];

	if (strlen(text) >= ACCESS_REASON_MAX)
		return p_usage(cli, "the reason %s is longer than %d bytes",
			       str_quote(str_from_cstr(text), quoted, sizeof(quoted)),
			       ACCESS_REASON_MAX - 1);
	for (const char *byte = text; *byte; byte++) {
		if (*byte < 0x20 || *byte > 0x7e)
			return p_usage(cli,
				       "the reason %s may only have printable ASCII characters",
				       str_quote(str_from_cstr(text), quoted, sizeof(quoted)));
	}
	return 0;
}

int deny_read_ttl(struct cli *cli, const char *text, uint64_t *ret_ms)
{
	char quoted[80];
	uint64_t ms;
	int error = duration_parse_ms(str_from_cstr(text), &ms);

	str_quote(str_from_cstr(text), quoted, sizeof(quoted));
	if (error == -EINVAL)
		return p_usage(cli, "ttl %s is not a duration; write it as 90s, 10m, 24h or 7d",
			       quoted);
	if (error || ms > ACCESS_TTL_MS_MAX)
		return p_usage(cli, "ttl %s is too long; leave it out for an entry without an end",
			       quoted);
	if (ms == 0)
		return p_usage(cli, "ttl %s is no time at all; use 'delete' to remove an entry",
			       quoted);
	*ret_ms = ms;
	return 0;
}

static json_t *make_time(uint64_t wall_ms)
{
	time_t seconds = (time_t)(wall_ms / 1000);
	struct tm parts;
	char text[40];

	if (!gmtime_r(&seconds, &parts) ||
	    !strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &parts))
		return document_null();
	return json_string(text);
}

/* An entry of the kernel's list in the form of the admin API. */
static json_t *make_entry(const struct access_entry *entry)
{
	char cidr[ADDR_TEXT_MAX];
	uint64_t now = clock_wall_ms();
	_cleanup_json_ json_t *row = json_object();
	json_t *expires = NULL, *ttl = NULL;

	if (entry->expires_wall_ms) {
		uint64_t left = entry->expires_wall_ms > now ? entry->expires_wall_ms - now : 0;

		expires = make_time(entry->expires_wall_ms);
		ttl = json_integer((json_int_t)((left + 999) / 1000));
	}
	ip_prefix_format(&entry->prefix, cidr, sizeof(cidr));
	if (!row || json_object_set_new(row, "cidr", json_string(cidr)) ||
	    json_object_set_new(row, "reason",
				entry->reason[0] ? document_text(str_from_cstr(entry->reason))
						 : document_null()) ||
	    json_object_set_new(row, "expires_at", expires ? expires : document_null()) ||
	    json_object_set_new(row, "ttl_s", ttl ? ttl : document_null()) ||
	    json_object_set_new(row, "origin",
				json_string(entry->origin == ACCESS_FROM_CLI ? "cli" : "config")))
		return NULL;
	return TAKE_PTR(row);
}

/* Says what an entry is now; as JSON the entry itself. */
static int print_entry(struct cli *cli, json_t *entry, const struct list_kind *list, bool daemon)
{
	int error;

	if (!document_string(entry, "cidr"))
		return p_err(cli, -EPROTO,
			     "the daemon's answer is not understood (it names no "
			     "entry); are sluice and sluiced of the same version?");
	if (json_object_set_new(entry, "daemon", json_boolean(daemon)))
		return p_out_of_memory(cli);
	if (cli->json)
		return output_document(cli, entry) ? p_out_of_memory(cli) : 0;
	error = output_member(&cli->out, entry, "cidr", OUTPUT_TEXT, "", "");
	if (!error)
		error = buf_printf(&cli->out, " is %s", list->done);
	if (!error)
		error = output_member(&cli->out, entry, "ttl_s", OUTPUT_SECONDS, " for ", "");
	if (!error)
		error = output_member(&cli->out, entry, "reason", OUTPUT_TEXT, ", reason: ", "");
	if (error || buf_append(&cli->out, STR(".\n")))
		return p_out_of_memory(cli);
	if (!daemon)
		p_text(cli,
		       "No daemon is running: written to %s and kept in %s for the next start.\n",
		       cli->bpffs_dir, cli->state_dir);
	return 0;
}

/* After the change: r says whether it was kept. A long journal becomes a new overlay.json. */
static int report_kept(struct cli *cli, struct dataplane *dataplane, int r, struct error *err)
{
	if (!r && access_overlay_is_long(cli->state_dir))
		r = access_overlay_save(dataplane, cli->state_dir, err);
	if (r)
		return p_err(cli, r,
			     "the change is in force but will be lost at the next reboot: %s",
			     err->text);
	return 0;
}

static int add_pinned(struct cli *cli, const struct access_entry *entry,
		      const struct list_kind *list)
{
	_cleanup_(pinned_close)
	struct pinned pins = PINNED_NONE;
	_cleanup_json_ json_t *row = NULL;
	struct error err = {0};
	int error = pinned_open(cli, false, &pins);

	if (error)
		return error;
	error = access_list_add(pins.dataplane, list->kind, entry, &err);
	if (error)
		return p_err(cli, error, "%s", err.text);
	error = access_overlay_note_added(pins.dataplane, cli->state_dir, list->kind, entry, &err);
	error = report_kept(cli, pins.dataplane, error, &err);
	if (error)
		return error;
	row = make_entry(entry);
	return row ? print_entry(cli, row, list, false) : p_out_of_memory(cli);
}

static int add(struct cli *cli, struct args *args, const struct list_kind *list)
{
	const char *text = NULL, *reason = NULL, *ttl = NULL;
	const struct arg_key keys[] = {
		{"reason", "TEXT", &reason}, {"ttl", "DURATION", &ttl}, {NULL, NULL, NULL}};
	struct access_entry entry = {.origin = ACCESS_FROM_CLI};
	_cleanup_json_ json_t *request = NULL;
	_cleanup_json_ json_t *answer = NULL;
	char cidr[ADDR_TEXT_MAX];
	uint64_t ttl_ms = 0;
	int error;

	error = args_read_value(cli, args, "cidr", "CIDR", &text);
	if (!error)
		error = deny_read_cidr(cli, text, &entry.prefix);
	if (!error)
		error = args_read_keys(cli, args, keys);
	if (!error && reason)
		error = deny_read_reason(cli, reason);
	if (!error && ttl)
		error = deny_read_ttl(cli, ttl, &ttl_ms);
	if (error)
		return error;

	ip_prefix_format(&entry.prefix, cidr, sizeof(cidr));
	request = json_pack("{s:s}", "cidr", cidr);
	if (!request || (reason && json_object_set_new(request, "reason", json_string(reason))) ||
	    (ttl && json_object_set_new(request, "ttl", json_string(ttl))))
		return p_out_of_memory(cli);
	error = client_try(cli, "POST", list->target, request, &answer);
	if (!error)
		return print_entry(cli, answer, list, true);
	if (error != -ENOTCONN)
		return error;
	if (reason)
		(void)snprintf(entry.reason, sizeof(entry.reason), "%s", reason);
	if (ttl)
		entry.expires_wall_ms = clock_wall_ms() + ttl_ms;
	return add_pinned(cli, &entry, list);
}

static int delete_pinned(struct cli *cli, const struct ip_prefix *prefix, const char *cidr,
			 const struct list_kind *list)
{
	_cleanup_(pinned_close)
	struct pinned pins = PINNED_NONE;
	struct error err = {0};
	int error = pinned_open(cli, false, &pins);

	if (error)
		return error;
	error = access_list_remove(pins.dataplane, list->kind, prefix, &err);
	if (error == -ENOENT)
		return p_err(cli, error, "%s is not on the %s list", cidr, list->name);
	if (error)
		return p_err(cli, error, "%s", err.text);
	error = access_overlay_note_removed(pins.dataplane, cli->state_dir, list->kind, prefix,
					    &err);
	return report_kept(cli, pins.dataplane, error, &err);
}

static int delete (struct cli *cli, struct args *args, const struct list_kind *list)
{
	_cleanup_(buf_done)
	struct buf target;
	_cleanup_json_ json_t *answer = NULL;
	const char *text = NULL;
	char cidr[ADDR_TEXT_MAX];
	struct ip_prefix prefix;
	bool daemon = true;
	int error;

	buf_init(&target, 1024);
	error = args_read_value(cli, args, "cidr", "CIDR", &text);
	if (!error)
		error = deny_read_cidr(cli, text, &prefix);
	if (!error)
		error = args_expect_end(cli, args);
	if (error)
		return error;

	ip_prefix_format(&prefix, cidr, sizeof(cidr));
	error = buf_printf(&target, "%s?cidr=", list->target);
	if (!error)
		error = client_append_encoded(&target, str_from_cstr(cidr));
	if (!error)
		error = buf_append(&target, str_make("", 1));
	if (error)
		return p_out_of_memory(cli);
	error = client_try(cli, "DELETE", buf_str(&target).ptr, NULL, &answer);
	if (error == -ENOTCONN) {
		daemon = false;
		error = delete_pinned(cli, &prefix, cidr, list);
	}
	if (error)
		return error;

	json_decref(answer);
	answer = json_pack("{s:s, s:b}", "removed", cidr, "daemon", (int)daemon);
	if (!answer)
		return p_out_of_memory(cli);
	if (cli->json)
		return output_document(cli, answer) ? p_out_of_memory(cli) : 0;
	p_text(cli, "%s is no longer on the %s list.\n", cidr, list->name);
	if (!daemon)
		p_text(cli,
		       "No daemon is running: written to %s and kept in %s for the next start.\n",
		       cli->bpffs_dir, cli->state_dir);
	return 0;
}

static int counters(struct cli *cli, struct args *args)
{
	_cleanup_json_ json_t *doc = NULL;
	bool daemon = false;
	int error = args_expect_end(cli, args);

	if (!error)
		error = counters_load(cli, &daemon, &doc);
	if (!error && json_object_set_new(doc, "daemon", json_boolean(daemon)))
		error = p_out_of_memory(cli);
	return error ? error : output_print(cli, doc, &counters_view);
}

static int deny_show(struct cli *cli, struct args *args)
{
	return list_show(cli, args, &deny_kind);
}

static int deny_add(struct cli *cli, struct args *args)
{
	return add(cli, args, &deny_kind);
}

static int deny_delete(struct cli *cli, struct args *args)
{
	return delete (cli, args, &deny_kind);
}

static int deny_load(struct cli *cli, struct args *args)
{
	return list_load(cli, args, &deny_kind);
}

static int deny_export(struct cli *cli, struct args *args)
{
	return list_export(cli, args, &deny_kind);
}

static int deny_count(struct cli *cli, struct args *args)
{
	return list_count(cli, args, &deny_kind);
}

static int allow_show(struct cli *cli, struct args *args)
{
	return list_show(cli, args, &allow_kind);
}

static int allow_add(struct cli *cli, struct args *args)
{
	return add(cli, args, &allow_kind);
}

static int allow_delete(struct cli *cli, struct args *args)
{
	return delete (cli, args, &allow_kind);
}

static int allow_load(struct cli *cli, struct args *args)
{
	return list_load(cli, args, &allow_kind);
}

static int allow_export(struct cli *cli, struct args *args)
{
	return list_export(cli, args, &allow_kind);
}

static int allow_count(struct cli *cli, struct args *args)
{
	return list_count(cli, args, &allow_kind);
}

static const char *const show_keys[] = {"cidr", "prefix", "within", "from", "reason", NULL};

#define LIST_HELP(name)                                                                            \
	"Usage: sluice [OPTIONS] " name " [show] [cidr CIDR] [prefix CIDR] [within CIDR]\n"        \
	"                    [from ORIGIN] [reason TEXT]\n"                                        \
	"       sluice [OPTIONS] " name " count [cidr CIDR] [prefix CIDR] [within CIDR]\n"         \
	"                    [from ORIGIN] [reason TEXT]\n"                                        \
	"       sluice [OPTIONS] " name " add CIDR [reason TEXT] [ttl DURATION]\n"                 \
	"       sluice [OPTIONS] " name " delete CIDR\n"                                           \
	"       sluice [OPTIONS] " name " load file FILE [replace] [dry-run]\n"                    \
	"                    [reason TEXT] [ttl DURATION]\n"                                       \
	"       sluice [OPTIONS] " name " export [file FILE] [from ORIGIN]\n"                      \
	"       sluice [OPTIONS] " name " counters\n"                                              \
	"       sluice [OPTIONS] " name " help\n"                                                  \
	"\n"                                                                                       \
	"       CIDR := { ADDRESS | ADDRESS/LENGTH }\n"                                            \
	"       ORIGIN := { config | cli }\n"                                                      \
	"       TEXT := up to 31 printable characters\n"                                           \
	"       DURATION := NUMBER{ms|s|m|h|d}\n"                                                  \
	"       FILE := a CIDR a line, with reason and ttl; '-' is standard input or "             \
	"output\n" HELP_OPTIONS

#define LIST_COMMANDS(prefix)                                                                      \
	{                                                                                          \
		{"show", prefix##_show}, {"list", prefix##_show}, {"add", prefix##_add},           \
			{"delete", prefix##_delete}, {"load", prefix##_load},                      \
			{"export", prefix##_export}, {"count", prefix##_count},                    \
			{"counters", counters}, {NULL, NULL},                                      \
	}

const struct object object_deny = {
	.name = "deny",
	.help = LIST_HELP("deny"),
	.commands = LIST_COMMANDS(deny),
	.show_keys = show_keys,
};

const struct object object_allow = {
	.name = "allow",
	.help = LIST_HELP("allow"),
	.commands = LIST_COMMANDS(allow),
	.show_keys = show_keys,
};

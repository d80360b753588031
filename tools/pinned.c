#include "tools/pinned.h"

#include <errno.h>
#include <unistd.h>

#include "kern/owner_lock.h"
#include "kern/steer.h"
#include "tools/client.h"

bool pinned_exist(const struct cli *cli)
{
	return !access(cli->bpffs_dir, F_OK) || errno == EACCES;
}

static int report_open(struct cli *cli, int code, const struct error *err)
{
	char quoted[160];

	if (code == -ENOENT)
		return p_err(cli, code,
			     "%s and nothing is pinned in %s; start sluiced, or name the places "
			     "with --socket and --bpffs",
			     cli->absence,
			     str_quote(str_from_cstr(cli->bpffs_dir), quoted, sizeof(quoted)));
	return p_err(cli, code, "%s%s", err->text,
		     code == -EPERM || code == -EACCES ? "; run as root" : "");
}

int pinned_find(struct cli *cli, json_t **ret_status, bool *ret_lives)
{
	int error = client_try(cli, "GET", "/v1/status", NULL, ret_status);
	const char *bpffs;

	if (error && error != -ENOTCONN)
		return error;
	bpffs = document_string(*ret_status, "dataplane.bpffs");
	if (bpffs && !cli->bpffs_given) {
		(void)snprintf(cli->bpffs_found, sizeof(cli->bpffs_found), "%s", bpffs);
		cli->bpffs_dir = cli->bpffs_found;
	}
	*ret_lives = !error;
	return 0;
}

int pinned_require(struct cli *cli, bool lives)
{
	struct error err = {0};

	if (pinned_exist(cli))
		return 0;
	if (!lives)
		return report_open(cli, -ENOENT, &err);
	return p_err(cli, -ENOENT,
		     "nothing is pinned in %s; 'sluice status' says whether the daemon could use "
		     "the kernel's part",
		     cli->bpffs_dir);
}

int pinned_lock(struct cli *cli, int *ret_fd)
{
	struct error err = {0};
	int error = owner_lock_take(cli->state_dir, ret_fd, &err);

	if (error == -EWOULDBLOCK)
		return p_err(cli, error,
			     "%s, but a daemon lives: %s; name its socket with --socket, or try "
			     "again when it has started",
			     cli->absence, err.text);
	if (error)
		return p_err(cli, error, "%s%s", err.text, geteuid() ? "; run as root" : "");
	return 0;
}

int pinned_open(struct cli *cli, bool read_only, struct pinned *ret_pins)
{
	_cleanup_close_ int lock_fd = -1;
	struct error err = {0};
	int error;

	/* Looked at first, so that a lock and its directory are not made for nothing. */
	if (!pinned_exist(cli))
		return report_open(cli, -ENOENT, &err);
	if (!read_only) {
		error = pinned_lock(cli, &lock_fd);
		if (error)
			return error;
	}
	error = dataplane_open_pinned(cli->bpffs_dir, read_only, &ret_pins->dataplane, &err);
	if (error)
		return report_open(cli, error, &err);
	ret_pins->lock_fd = TAKE_FD(lock_fd);
	return 0;
}

void pinned_close(struct pinned *pins)
{
	dataplane_free(pins->dataplane);
	if (pins->lock_fd >= 0)
		(void)close(pins->lock_fd);
	*pins = PINNED_NONE;
}

void pinned_print_note(struct cli *cli)
{
	if (!cli->json)
		p_text(cli, "No daemon is running (%s: %s); this is what is pinned in %s.\n",
		       cli->socket_path, cli->absence_reason, cli->bpffs_dir);
}

const struct output_column interface_columns[] = {
	{"INTERFACE", "name", OUTPUT_TEXT, NULL},  {"XDP", "mode", OUTPUT_TEXT, NULL},
	{"ATTACHED BY", "how", OUTPUT_TEXT, NULL}, {"PROGRAM", "program_id", OUTPUT_TEXT, NULL},
	{"ADOPTED", "adopted", OUTPUT_TEXT, NULL}, {NULL, NULL, 0, NULL},
};

static int visit_attachment(const struct dataplane_attachment *attachment, void *arg)
{
	json_t *row = json_pack("{s:s, s:I, s:s, s:s, s:I}", "name", attachment->interface,
				"ifindex", (json_int_t)attachment->ifindex, "mode",
				attachment->mode == XDP_MODE_GENERIC ? "generic" : "native", "how",
				attachment->how, "program_id", (json_int_t)attachment->program_id);

	return json_array_append_new(arg, row) ? -ENOMEM : 0;
}

static int visit_tuple(const struct steer_tuple *tuple, void *arg)
{
	char prefix[ADDR_TEXT_MAX], ports[16];
	json_t *row;

	ip_prefix_format(&tuple->prefix, prefix, sizeof(prefix));
	if (tuple->port_first == tuple->port_last)
		(void)snprintf(ports, sizeof(ports), "%u", tuple->port_first);
	else
		(void)snprintf(ports, sizeof(ports), "%u-%u", tuple->port_first, tuple->port_last);
	row = json_pack("{s:s, s:s}", "prefix", prefix, "ports", ports);
	return json_array_append_new(arg, row) ? -ENOMEM : 0;
}

int pinned_describe(struct cli *cli, const struct pinned *pins, json_t **ret_doc)
{
	_cleanup_json_ json_t *interfaces = json_array();
	_cleanup_json_ json_t *tuples = json_array();
	json_t *doc;
	int error;

	if (!interfaces || !tuples)
		return p_out_of_memory(cli);
	error = dataplane_walk_attachments(pins->dataplane, visit_attachment, interfaces);
	if (!error)
		error = steer_walk_tuples(pins->dataplane, visit_tuple, tuples);
	if (error)
		return p_err(cli, error, "cannot read what is pinned in %s: %s", cli->bpffs_dir,
			     strerrordesc_np(-error));
	doc = json_pack("{s:O, s:{s:b, s:O}}", "interfaces", interfaces, "steering", "attached",
			(int)steer_is_attached(pins->dataplane), "tuples", tuples);
	if (!doc)
		return p_out_of_memory(cli);
	*ret_doc = doc;
	return 0;
}

static int visit_counter(const struct dataplane_counter *counter, void *arg)
{
	json_t *row = json_pack("{s:s, s:s, s:I, s:I}", "name", counter->name, "meaning",
				counter->meaning, "packets", (json_int_t)counter->packets, "bytes",
				(json_int_t)counter->bytes);

	return json_array_append_new(arg, row) ? -ENOMEM : 0;
}

int pinned_counters(struct cli *cli, json_t **ret_doc)
{
	_cleanup_(pinned_close)
	struct pinned pins = PINNED_NONE;
	_cleanup_json_ json_t *rows = json_array();
	struct error err = {0};
	int error = pinned_open(cli, true, &pins);

	if (!error && rows) {
		error = dataplane_walk_counters(pins.dataplane, visit_counter, rows, &err);
		if (error)
			return p_err(cli, error, "cannot read what is pinned in %s: %s",
				     cli->bpffs_dir,
				     err.text[0] ? err.text : strerrordesc_np(-error));
	}
	if (error)
		return error;
	*ret_doc = rows ? json_pack("{s:O}", "reasons", rows) : NULL;
	return *ret_doc ? 0 : p_out_of_memory(cli);
}

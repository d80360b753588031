#include "tools/service_offline.h"

#include <errno.h>
#include <unistd.h>

#include "base/clock.h"
#include "kern/service_change.h"
#include "tools/pinned.h"

struct offline {
	struct pinned pins;
	struct service_set set;
	struct service_overlay overlay;
	struct service_confs confs;
	struct nat_source sources[SL_NAT_ADDRESSES_MAX];
	unsigned int source_count;
};

static void offline_done(struct offline *offline)
{
	service_confs_done(&offline->confs);
	service_overlay_done(&offline->overlay);
	service_maps_close(&offline->set.maps);
	pinned_close(&offline->pins);
}

static int offline_open(struct cli *cli, struct offline *offline)
{
	struct error err = {0};
	int error = pinned_open(cli, false, &offline->pins);

	if (error)
		return error;
	error = service_overlay_load(&offline->overlay, cli->state_dir, &err);
	if (!error)
		error = service_maps_open(offline->pins.dataplane, false, &offline->set.maps, &err);
	if (!error)
		error = service_set_confs(&offline->set, &offline->confs, &err);
	if (!error)
		error = nat_pool_read(offline->pins.dataplane, offline->sources,
				      &offline->source_count, &err);
	return error ? p_err(cli, error, "%s", err.text) : 0;
}

static int save(struct cli *cli, const struct service_overlay *overlay)
{
	struct error err = {0};
	int error = service_overlay_save(overlay, cli->state_dir, &err);

	return error ? p_err(cli, error,
			     "the change is in force but the next daemon will not know it: %s",
			     err.text)
		     : 0;
}

/* The changed confs into the maps, and the overlay, which was changed alike, to the disk. */
static int offline_finish(struct cli *cli, struct offline *offline)
{
	struct error err = {0};
	int error =
		service_set_apply_unattended(&offline->set, &offline->confs, clock_boot_ns(), &err);

	if (error == -EBUSY)
		return p_err(cli, error,
			     "%s; without one this cannot be done: %s; start sluiced and say it "
			     "again ('sluice backend' shows the pins meanwhile)",
			     cli->absence, err.text);
	if (error)
		return p_err(cli, error, "%s", err.text);
	return save(cli, &offline->overlay);
}

int service_offline_backend(struct cli *cli, struct service_change *change)
{
	_cleanup_(offline_done)
	struct offline offline = {.pins = PINNED_NONE};
	struct error err = {0};
	int error = offline_open(cli, &offline);

	if (error)
		return error;
	error = service_change_check(&offline.confs, change, offline.sources, offline.source_count,
				     &err);
	if (!error)
		error = service_confs_change(&offline.confs, change, &err);
	if (!error)
		error = service_overlay_note(&offline.overlay, change, &err);
	return error ? p_err(cli, error, "%s", err.text) : offline_finish(cli, &offline);
}

/* ---- services ---- */

struct meeting {
	const struct service_conf *conf;
	struct error *err;
};

/* What listeners have, as the last daemon left it to the kernel. */
static int visit_tuple(const struct steer_tuple *tuple, void *arg)
{
	const struct meeting *meeting = arg;
	char text[ADDR_TEXT_MAX];

	if (!service_meets_tuple(meeting->conf, tuple, text, sizeof(text)))
		return 0;
	return error_set(meeting->err, -EEXIST, "service '%.*s': %s belongs to a listener",
			 STR_FMT(meeting->conf->name), text);
}

int service_offline_add(struct cli *cli, const struct service_conf *conf)
{
	_cleanup_(offline_done)
	struct offline offline = {.pins = PINNED_NONE};
	struct error err = {0};
	struct meeting meeting = {conf, &err};
	int error = offline_open(cli, &offline);

	if (error)
		return error;
	error = service_change_check_new(&offline.confs, conf, offline.sources,
					 offline.source_count, &err);
	if (!error) {
		error = steer_walk_tuples(offline.pins.dataplane, visit_tuple, &meeting);
		if (error && !error_is_set(&err))
			(void)error_set_errno(&err, error, "cannot read the listeners' tuples");
	}
	if (!error)
		error = service_overlay_make(&offline.overlay, conf, &err);
	if (!error)
		error = service_confs_add(&offline.confs, conf, &err);
	return error ? p_err(cli, error, "%s", err.text) : offline_finish(cli, &offline);
}

static int forget(struct cli *cli, struct service_overlay *overlay, const char *name)
{
	struct error err = {0};
	int error = service_overlay_unmake(overlay, name, &err);

	return error ? p_err(cli, error, "%s", err.text) : save(cli, overlay);
}

/* Nothing is pinned: the overlay alone. */
static int delete_unpinned(struct cli *cli, const char *name)
{
	_cleanup_(service_overlay_done)
	struct service_overlay overlay = {0};
	_cleanup_close_ int lock_fd = -1;
	struct error err = {0};
	int error = access(cli->state_dir, F_OK) ? 0 : pinned_lock(cli, &lock_fd);

	if (error)
		return error;
	error = service_overlay_load(&overlay, cli->state_dir, &err);
	if (error)
		return p_err(cli, error, "%s", err.text);
	if (!service_overlay_has_made(&overlay, str_from_cstr(name)))
		return p_err(cli, -ENOENT,
			     "%s, nothing is pinned in %s and no service of that name was added; "
			     "start sluiced, or name the places with --socket, --bpffs and "
			     "--state-dir",
			     cli->absence, cli->bpffs_dir);
	return forget(cli, &overlay, name);
}

int service_offline_delete(struct cli *cli, const char *name)
{
	_cleanup_(offline_done)
	struct offline offline = {.pins = PINNED_NONE};
	struct error err = {0};
	bool was_added;
	int error;

	if (!pinned_exist(cli))
		return delete_unpinned(cli, name);
	error = offline_open(cli, &offline);
	if (error)
		return error;
	was_added = service_overlay_has_made(&offline.overlay, str_from_cstr(name));
	error = service_confs_delete(&offline.confs, str_from_cstr(name), &err);
	if (was_added && (error == -ENOENT || error == -EPERM))
		return forget(cli, &offline.overlay, name);
	if (!error && was_added)
		error = service_overlay_unmake(&offline.overlay, name, &err);
	return error ? p_err(cli, error, "%s", err.text) : offline_finish(cli, &offline);
}

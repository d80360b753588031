#include "control/address_check.h"
#include "control/nat_ports_check.h"
#include "control/reload.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "config/config.h"
#include "control/notify.h"
#include "kern/access_list.h"

DEFINE_FREEP(struct snapshot, snapshot_unref)

/* ---- node: what stays until a restart ---- */

int reload_compare_node(const struct node_conf *before, const struct node_conf *after,
			struct conf_errors *errors)
{
	const struct {
		const char *key;
		bool same;
	} keys[] = {
		{"workers", before->workers == after->workers},
		{"user", str_eq(before->user, after->user)},
		{"state_dir", str_eq(before->state_dir, after->state_dir)},
		{"bpffs", str_eq(before->bpffs, after->bpffs)},
		{"admin.socket", str_eq(before->admin_socket, after->admin_socket)},
		{"io", before->io == after->io},
		{"coalesce", before->coalesce == after->coalesce},
		{"memory_limit", before->memory_limit_bytes == after->memory_limit_bytes},
		{"drain", before->drain_ms == after->drain_ms},
		{"metrics", str_eq(before->metrics, after->metrics)},
	};
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		if (keys[i].same)
			continue;
		conf_error(errors, NULL, "node.%s: needs a restart", keys[i].key);
		r = -EINVAL;
	}
	return r;
}

/* ---- lists and attachments ---- */

static int sync_lists(struct dataplane *dataplane, const struct dataplane_conf *conf,
		      struct error *err)
{
	int r = access_list_sync_config(dataplane, ACCESS_ALLOW, conf->allow, conf->allow_count,
					err);

	if (r) {
		error_prefix(err, "dataplane.allow");
		return r;
	}
	r = access_list_sync_config(dataplane, ACCESS_DENY, conf->deny, conf->deny_count, err);
	if (r)
		error_prefix(err, "dataplane.deny");
	return r;
}

int reload_apply_dataplane(struct daemon *daemon, const struct snapshot *snapshot,
			   struct error *err)
{
	const struct dataplane_conf *conf = &snapshot->dataplane;
	int r;

	if (!daemon->dataplane) {
		/* Never silently without the protection that was asked for. */
		if (conf->interface_count || conf->allow_count || conf->deny_count)
			return error_set(err, -EOPNOTSUPP,
					 "dataplane: interfaces, allow and deny need BPF: %s",
					 daemon->dataplane_reason);
		if (conf->auto_deny.rule_count)
			return error_set(err, -EOPNOTSUPP, "dataplane.auto_deny needs BPF: %s",
					 daemon->dataplane_reason);
		if (snapshot->service_count)
			return error_set(err, -EOPNOTSUPP, "services need BPF: %s",
					 daemon->dataplane_reason);
		return 0;
	}
	r = sync_lists(daemon->dataplane, conf, err);
	if (!r) { /* before the first service that needs one of the addresses */
		r = nat_pool_apply(daemon->dataplane, &conf->nat, err);
		if (r)
			error_prefix(err, "dataplane.nat");
	}
	if (!r)
		r = services_apply(&daemon->services, snapshot, err);
	if (r)
		return r;
	r = dataplane_set_interfaces(daemon->dataplane, conf->interfaces, conf->interface_count,
				     err);
	if (r)
		error_prefix(err, "dataplane.interfaces");
	return r;
}

static void take_back_dataplane(struct daemon *daemon)
{
	struct error err = {0};

	if (reload_apply_dataplane(daemon, daemon->snapshot, &err))
		log_error("control", "cannot return to the former dataplane: %s", err.text);
}

/* ---- the workers' messages ---- */

struct changes {
	struct worker_change **items;
	unsigned int count;
};

static void changes_done(struct changes *changes)
{
	for (unsigned int i = 0; changes->items && i < changes->count; i++)
		worker_change_free(changes->items[i]);
	free(changes->items);
}

static int changes_make(struct changes *changes, struct daemon *daemon, struct snapshot *snapshot,
			const struct steering_plan *plan, struct error *err)
{
	changes->items = calloc(daemon->worker_count, sizeof(*changes->items));
	if (!changes->items)
		return error_set(err, -ENOMEM, "out of memory for the workers' messages");
	for (unsigned int i = 0; i < daemon->worker_count; i++) {
		if (!daemon->workers[i])
			return error_set(err, -ESHUTDOWN, "worker %u has ended", i);
		if (worker_change_new(daemon->workers[i], snapshot, steering_plan_sockets(plan, i),
				      plan->open_count, plan->close_ids, plan->close_count,
				      &changes->items[i]))
			return error_set(err, -ENOMEM, "out of memory for worker %u's message", i);
		changes->count++;
	}
	return 0;
}

static void changes_post(struct changes *changes)
{
	for (unsigned int i = 0; i < changes->count; i++)
		worker_change_post(TAKE_PTR(changes->items[i]));
}

/* ---- the whole ---- */

int reload_publish(struct daemon *daemon, struct snapshot *snapshot, struct steering_plan *plan,
		   struct error *err)
{
	_cleanup_(changes_done)
	struct changes changes = {0};
	int r = changes_make(&changes, daemon, snapshot, plan, err);

	if (!r && auto_deny_prepare(&daemon->auto_deny, &snapshot->dataplane.auto_deny))
		r = error_set(err, -ENOMEM, "out of memory");
	if (!r)
		r = steering_plan_apply(plan, err);
	if (r)
		return r;
	auto_deny_apply(&daemon->auto_deny, &snapshot->dataplane.auto_deny);
	snapshot->generation = ++daemon->generation;
	snapshot->loaded_wall_ms = clock_wall_ms();
	for (unsigned int i = 0; i < snapshot->upstream_count; i++)
		upstream_publish(&snapshot->upstreams[i]);
	changes_post(&changes);
	steering_plan_commit(plan);
	address_check_log(snapshot);
	nat_ports_check_log(&snapshot->dataplane.nat);
	return 0;
}

static int swap(struct daemon *daemon, struct snapshot *next, struct error *err)
{
	_cleanup_(steering_plan_done)
	struct steering_plan plan = {0};
	_cleanup_close_ int log_fd = -1;
	int r = steering_plan_make(&daemon->steering, next, &plan, err);

	if (!r)
		r = access_log_writer_open(&daemon->access_log, daemon->snapshot, next, &log_fd,
					   err);
	if (r)
		return r;
	r = reload_apply_dataplane(daemon, next, err);
	if (!r)
		r = reload_publish(daemon, next, &plan, err);
	if (r) {
		take_back_dataplane(daemon);
		return r;
	}
	access_log_writer_commit(next, TAKE_FD(log_fd));
	snapshot_unref(daemon->snapshot);
	daemon->snapshot = snapshot_ref(next);
	log_configure((enum log_level)next->node.log_level, (enum log_format)next->node.log_format);
	return 0;
}

static int load_and_swap(struct daemon *daemon, struct conf_errors *errors)
{
	_cleanup_(snapshot_unrefp)
	struct snapshot *next = NULL;
	struct error err = {0};
	int r;

	if (daemon->state != DAEMON_READY) {
		conf_error(errors, NULL, "the daemon is %s",
			   daemon->state == DAEMON_STARTING ? "starting" : "stopping");
		return -EAGAIN;
	}
	r = config_load(daemon->config_file, daemon->registry, daemon->worker_count, errors, &next);
	if (r) {
		if (!conf_errors_count(errors))
			conf_error(errors, NULL, "cannot be loaded: %s", strerror(-r));
		return r;
	}
	r = reload_compare_node(&daemon->snapshot->node, &next->node, errors);
	if (r)
		return r;
	r = swap(daemon, next, &err);
	if (r)
		conf_error(errors, NULL, "%s", err.text);
	return r;
}

/*
 * Whoever renamed the log and asked for a reload must get a new file, whatever the configuration
 * looks like at that moment.
 */
static void reopen_access_log(const struct daemon *daemon)
{
	const struct snapshot *snapshot = daemon->snapshot;
	struct error err = {0};
	int fd;

	if (!snapshot->access_log_file)
		return;
	if (access_log_file_reopen(snapshot->access_log_file, &fd, &err))
		log_error("control", "the access log goes on in the file it had: %s", err.text);
	else
		access_log_writer_commit(snapshot, fd);
}

int reload_run(struct daemon *daemon, struct conf_errors *errors)
{
	int r;

	(void)notify_send("RELOADING=1\nMONOTONIC_USEC=%llu",
			  (unsigned long long)(clock_mono_ns() / 1000));
	r = load_and_swap(daemon, errors);
	if (r) {
		unsigned int count = conf_errors_count(errors);

		(void)snprintf(daemon->last_error, sizeof(daemon->last_error), "%s",
			       count ? conf_errors_get(errors, 0) : strerror(-r));
		for (unsigned int i = 0; i < count; i++) {
			const char *line = conf_errors_get(errors, i);

			if (!line) /* only the first 200 are kept */
				break;
			log_error("control", "reload: %s", line);
		}
		reopen_access_log(daemon);
		log_error("control", "reload refused: generation %llu stays",
			  (unsigned long long)daemon->generation);
		event_publish(EVENT_RELOAD_REFUSED, str_from_cstr(daemon->config_file),
			      "generation %llu stays; %s", (unsigned long long)daemon->generation,
			      daemon->last_error);
	} else {
		daemon->last_error[0] = '\0';
		log_info("control", "reloaded %s: generation %llu", daemon->config_file,
			 (unsigned long long)daemon->generation);
		event_publish(EVENT_RELOADED, str_from_cstr(daemon->config_file), "generation %llu",
			      (unsigned long long)daemon->generation);
	}
	(void)registry_sweep(daemon->registry);
	(void)notify_send("READY=1\nSTATUS=generation %llu%s",
			  (unsigned long long)daemon->generation,
			  r ? ", the last reload was refused" : "");
	return r;
}

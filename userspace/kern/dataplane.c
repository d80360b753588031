#include "kern/dataplane.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "kern/access_map.h"
#include "kern/dataplane_internal.h"
#include "kern/flow_conf.h"
#include "kern/flow_sweep.h"
#include "sk_lookup.skel.h"
#include "xdp_main.skel.h"

#define LOG_STATS 4 /* BPF_LOG_STATS of the kernel: time, instructions, states */

DEFINE_FREEP(struct dataplane, dataplane_free)

/* Also libbpf's own debug messages, and the verifier's summary of each program it takes. */
static atomic_bool is_verbose;

/* What it says of a program that the verifier refused has many lines. */
static int print_libbpf(enum libbpf_print_level level, const char *fmt, va_list args)
{
	_cleanup_free_ char *text = NULL;
	char *rest, *line;
	int len;

	if (!log_enabled(LOG_LEVEL_DEBUG) || (level == LIBBPF_DEBUG && !atomic_load(&is_verbose)))
		return 0;
	len = vasprintf(&text, fmt, args);
	if (len < 0) {
		text = NULL;
		return 0;
	}
	for (rest = text; (line = strsep(&rest, "\n"));)
		if (line[0])
			log_debug("kern", "%s", line);
	return len;
}

void dataplane_quiet_libbpf(void)
{
	(void)libbpf_set_print(print_libbpf);
}

void dataplane_set_verbose(bool verbose)
{
	atomic_store(&is_verbose, verbose);
}

static struct dataplane *dataplane_new(const char *dir)
{
	struct dataplane *dataplane = calloc(1, sizeof(*dataplane));
	size_t len;

	if (!dataplane)
		return NULL;
	(void)snprintf(dataplane->dir, sizeof(dataplane->dir), "%s", dir);
	len = strlen(dataplane->dir);
	while (len > 1 && dataplane->dir[len - 1] == '/')
		dataplane->dir[--len] = '\0';
	dataplane->dir_fd = dataplane->steer_link_fd = dataplane->dispatcher_works = -1;
	for (int i = 0; i < DATAPLANE_MAP_COUNT; i++)
		dataplane->maps[i] = -1;
	dataplane_quiet_libbpf();
	return dataplane;
}

void dataplane_free(struct dataplane *dataplane)
{
	if (!dataplane)
		return;
	access_maps_close(dataplane);
	xdp_main_bpf__destroy(dataplane->xdp);
	sk_lookup_bpf__destroy(dataplane->sk_lookup);
	for (int i = 0; i < DATAPLANE_MAP_COUNT; i++)
		close_fdp(&dataplane->maps[i]);
	close_fdp(&dataplane->steer_link_fd);
	close_fdp(&dataplane->dir_fd);
	free(dataplane->made);
	free(dataplane);
}

static int load_error(struct error *err, int code, const char *what)
{
	if (code == -EPERM || code == -EACCES)
		return error_set_errno(err, code,
				       "cannot load %s: are CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN "
				       "there, or did the verifier refuse it (log level debug)",
				       what);
	if (code == -EINVAL || code == -E2BIG)
		return error_set_errno(err, code, "cannot load %s: kernel older than 6.1?", what);
	return error_set_errno(err, code, "cannot load %s", what);
}

/*
 * Of the table that is pinned, or of a new one. Sizes are those of the maps: pins_give_maps() has
 * put the pinned ones in place.
 */
static int prepare_flow_conf(struct dataplane *dataplane, struct sl_flow_conf *ret_conf,
			     bool *ret_is_new, struct error *err)
{
	int map = dataplane->maps[DATAPLANE_MAP_FLOW_CONF];
	uint32_t zero = 0;

	*ret_is_new = true;
	if (map >= 0) {
		int ret = bpf_map_lookup_elem(map, &zero, ret_conf);

		if (ret)
			return error_set_errno(err, ret, "cannot read 'sl_flow_conf'");
		*ret_is_new = ret_conf->line_count == 0; /* who made it died before this */
		if (!*ret_is_new)
			return 0;
	}
	return flow_conf_make(bpf_map__max_entries(dataplane->xdp->maps.sl_flows),
			      bpf_map__max_entries(dataplane->xdp->maps.sl_svc_keys), ret_conf,
			      err);
}

static int load_xdp(struct dataplane *dataplane, struct error *err)
{
	struct sl_flow_conf conf = {0};
	uint32_t zero = 0;
	bool is_new;
	LIBBPF_OPTS(bpf_object_open_opts, opts,
		    .kernel_log_level = atomic_load(&is_verbose) ? LOG_STATS : 0);
	int ret;

	dataplane->xdp = xdp_main_bpf__open_opts(&opts);
	if (!dataplane->xdp)
		return error_set_errno(err, -errno, "cannot read the XDP program");
	dataplane->xdp->rodata->feature_steer = dataplane->has_sockmap;
	ret = pins_give_maps(dataplane, dataplane->xdp->obj, err);
	if (ret)
		return ret;
	ret = prepare_flow_conf(dataplane, &conf, &is_new, err);
	if (ret)
		return ret;
	memcpy((void *)&dataplane->xdp->rodata->flow_conf, &conf, sizeof(conf));
	ret = xdp_main_bpf__load(dataplane->xdp);
	if (ret)
		return load_error(err, ret, "the XDP program");
	/* Before anything of it is pinned or attached. */
	if (is_new)
		ret = bpf_map_update_elem(bpf_map__fd(dataplane->xdp->maps.sl_flow_conf), &zero,
					  &conf, BPF_ANY);
	if (ret)
		return error_set_errno(err, ret, "cannot write 'sl_flow_conf'");
	return pins_take_maps(dataplane, dataplane->xdp->obj, err);
}

static int load_sk_lookup(struct dataplane *dataplane, struct error *err)
{
	LIBBPF_OPTS(bpf_object_open_opts, opts,
		    .kernel_log_level = atomic_load(&is_verbose) ? LOG_STATS : 0);
	int ret;

	if (!dataplane->has_sockmap ||
	    libbpf_probe_bpf_prog_type(BPF_PROG_TYPE_SK_LOOKUP, NULL) != 1)
		return 0;
	dataplane->sk_lookup = sk_lookup_bpf__open_opts(&opts);
	if (!dataplane->sk_lookup)
		return error_set_errno(err, -errno, "cannot read the sk_lookup program");
	ret = pins_give_maps(dataplane, dataplane->sk_lookup->obj, err);
	if (ret)
		return ret;
	ret = sk_lookup_bpf__load(dataplane->sk_lookup);
	return ret ? load_error(err, ret, "the sk_lookup program") : 0;
}

int dataplane_open(const char *bpffs_dir, struct dataplane **ret_dataplane, struct error *err)
{
	_cleanup_(dataplane_freep)
	struct dataplane *dataplane = dataplane_new(bpffs_dir);
	_cleanup_close_ int lock_fd = -1;
	int ret;

	if (!dataplane)
		return error_set(err, -ENOMEM, "out of memory");
	dataplane->is_loader = true;
	ret = pins_open_dir(dataplane->dir, true, &dataplane->dir_fd, err);
	if (ret == 0)
		ret = pins_lock(dataplane, &lock_fd, err);
	if (ret == 0)
		ret = pins_open_maps(dataplane, err);
	if (ret)
		return ret;
	dataplane->has_sockmap = libbpf_probe_bpf_map_type(BPF_MAP_TYPE_SOCKMAP, NULL) == 1;
	ret = load_xdp(dataplane, err);
	/* Before the next object takes its descriptors: the sweeper gives back its own. */
	if (ret == 0)
		ret = flow_sweep_start(dataplane, err);
	if (ret == 0)
		ret = load_sk_lookup(dataplane, err);
	if (ret == 0)
		ret = access_maps_adopt(dataplane, err);
	if (ret)
		return ret;
	*ret_dataplane = TAKE_PTR(dataplane);
	return 0;
}

int dataplane_open_pinned(const char *bpffs_dir, bool read_only, struct dataplane **ret_dataplane,
			  struct error *err)
{
	_cleanup_(dataplane_freep)
	struct dataplane *dataplane = dataplane_new(bpffs_dir);
	int ret;

	if (!dataplane)
		return error_set(err, -ENOMEM, "out of memory");
	dataplane->read_only = read_only;
	ret = pins_open_dir(dataplane->dir, false, &dataplane->dir_fd, err);
	if (ret == 0)
		ret = pins_open_maps(dataplane, err);
	if (ret)
		return ret;
	dataplane->has_sockmap = dataplane->maps[DATAPLANE_MAP_STEER_SOCKS] >= 0;
	for (int i = 0; i < DATAPLANE_MAP_COUNT; i++)
		if (dataplane->maps[i] < 0 && i != DATAPLANE_MAP_STEER_SOCKS)
			return error_set(err, -ENOENT, "nothing complete is pinned in '%s'",
					 dataplane->dir);
	dataplane->steer_link_fd = pins_get(dataplane, STEER_LINK_PIN);
	if (dataplane->steer_link_fd < 0)
		dataplane->steer_link_fd = -1;
	*ret_dataplane = TAKE_PTR(dataplane);
	return 0;
}

struct unload {
	struct dataplane *dataplane;
	struct error *err;
	int ret;
};

/* Goes on after an error, so that as little as possible is left; the first error is told. */
static int unload_pin(const char *name, void *arg)
{
	struct unload *unload = arg;
	struct dataplane *dataplane = unload->dataplane;
	int ret;

	if (xdp_is_pin(name)) {
		ret = xdp_detach_pin(dataplane, name, unload->err);
	} else {
		_cleanup_close_ int fd = -1;

		if (!strcmp(name, STEER_LINK_PIN)) {
			fd = pins_get(dataplane, name);
			if (fd >= 0)
				(void)bpf_link_detach(fd); /* also when somebody holds it open */
		}
		ret = pins_remove(dataplane, name);
		if (ret)
			(void)error_set_errno(unload->err, ret, "cannot remove '%s/%s'",
					      dataplane->dir, name);
	}
	if (ret && !unload->ret)
		unload->ret = ret;
	return 0;
}

int dataplane_unload(const char *bpffs_dir, struct error *err)
{
	_cleanup_(dataplane_freep)
	struct dataplane *dataplane = dataplane_new(bpffs_dir);
	_cleanup_close_ int lock_fd = -1;
	struct unload unload = {.dataplane = dataplane, .err = err};
	int ret;

	if (!dataplane)
		return error_set(err, -ENOMEM, "out of memory");
	ret = pins_open_dir(dataplane->dir, false, &dataplane->dir_fd, NULL);
	if (ret == -ENOENT)
		return 0;
	if (ret)
		return error_set_errno(err, ret, "cannot open '%s'", dataplane->dir);
	ret = pins_lock(dataplane, &lock_fd, err);
	if (ret)
		return ret;
	ret = pins_walk(dataplane, unload_pin, &unload);
	if (ret)
		return error_set_errno(err, ret, "cannot read '%s'", dataplane->dir);
	if (unload.ret)
		return unload.ret;
	if (rmdir(dataplane->dir) && errno != ENOENT)
		return error_set_errno(err, -errno, "cannot remove '%s'", dataplane->dir);
	return 0;
}

struct owner {
	struct dataplane *dataplane;
	uid_t uid;
	gid_t gid;
};

static int chown_pin(const char *name, void *arg)
{
	struct owner *owner = arg;

	if (fchownat(owner->dataplane->dir_fd, name, owner->uid, owner->gid, AT_SYMLINK_NOFOLLOW))
		return errno == ENOENT ? 0 : -errno;
	return 0;
}

int dataplane_chown(struct dataplane *dataplane, uid_t uid, gid_t gid, struct error *err)
{
	struct owner owner = {.dataplane = dataplane, .uid = uid, .gid = gid};
	_cleanup_close_ int lock_fd = -1;
	int ret = pins_lock(dataplane, &lock_fd, err);

	if (ret)
		return ret;
	ret = pins_walk(dataplane, chown_pin, &owner);
	if (ret == 0 && fchown(dataplane->dir_fd, uid, gid))
		ret = -errno;
	if (ret)
		return error_set_errno(err, ret, "cannot give '%s' to uid %u", dataplane->dir,
				       (unsigned int)uid);
	return 0;
}

int dataplane_walk_counters(struct dataplane *dataplane,
			    int (*visit)(const struct dataplane_counter *counter, void *arg),
			    void *arg, struct error *err)
{
	static const struct dataplane_counter rows[] = {
#define COUNTER_ROW(symbol, row_name, row_meaning) {.name = (row_name), .meaning = (row_meaning)},
		SL_REASON_TABLE(COUNTER_ROW)
#undef COUNTER_ROW
	};
	_cleanup_free_ struct sl_counter *per_cpu = NULL;
	int cpus = libbpf_num_possible_cpus(), ret = 0;

	if (cpus <= 0)
		return error_set_errno(err, cpus ? cpus : -EINVAL, "cannot count the CPUs");
	per_cpu = calloc((size_t)cpus, sizeof(*per_cpu));
	if (!per_cpu)
		return error_set(err, -ENOMEM, "out of memory");
	for (uint32_t reason = 0; reason < ARRAY_SIZE(rows) && ret == 0; reason++) {
		struct dataplane_counter counter = rows[reason];

		ret = bpf_map_lookup_elem(dataplane->maps[DATAPLANE_MAP_COUNTERS], &reason,
					  per_cpu);
		if (ret)
			return error_set_errno(err, ret, "cannot read the counters");
		for (int cpu = 0; cpu < cpus; cpu++) {
			counter.packets += per_cpu[cpu].packets;
			counter.bytes += per_cpu[cpu].bytes;
		}
		ret = visit(&counter, arg);
	}
	return ret;
}

#include "control/start.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "config/config.h"
#include "control/config_files.h"
#include "control/reload.h"
#include "io/work_pool.h"
#include "kern/access_overlay.h"
#include "kern/owner_lock.h"

/* A worker's receive buffers may take half of its part of node.memory_limit. */
#define RECV_BUF_BYTES	     (16u << 10)
#define RECV_BUFS_MAX_LEAST  32u
#define RECV_BUFS_MAX_MOST   32768u
#define RECV_BUFS_READY_MOST 256u
/* Passwords: two at a time, and who would wait for more than these is told so. */
#define WORK_THREADS   2u
#define WORK_QUEUE_MAX 64u
/* With less than this for each worker a few slow peers bring any of the levels of memory about. */
#define MEMORY_PER_WORKER    ((uint64_t)4 << 20)
#define UNREADABLE_BYTES_MAX 65536u
#define LANDLOCK_PATHS_MAX   1024

void start_raise_limits(void)
{
	struct rlimit limit;

	if (!getrlimit(RLIMIT_NOFILE, &limit) && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		if (setrlimit(RLIMIT_NOFILE, &limit))
			log_warn("control", "cannot raise the limit of descriptors: %s",
				 strerror(errno));
	}
	/* BPF maps count as locked memory before Linux 5.11; needs CAP_SYS_RESOURCE. */
	limit.rlim_cur = limit.rlim_max = RLIM_INFINITY;
	if (setrlimit(RLIMIT_MEMLOCK, &limit))
		log_debug("control", "the limit of locked memory stays: %s", strerror(errno));
}

/* ---- claim ---- */

static int check_readable(struct daemon *daemon, struct error *err)
{
	_cleanup_(buf_done)
	struct buf list;
	unsigned int count;
	struct str line;
	ptrdiff_t end;
	int r;

	buf_init(&list, UNREADABLE_BYTES_MAX);
	r = config_files_find_unreadable(daemon->config_file, &daemon->user, &list, &count);
	if (r)
		return error_set_errno(err, r, "cannot check which files '%s' can read",
				       daemon->user.name);
	if (!count)
		return 0;
	line = buf_str(&list);
	end = str_find_byte(line, '\n');
	if (end >= 0)
		line.len = (size_t)end;
	return error_set(err, -EACCES,
			 "%.*s, so a reload could not either "
			 "(%u such file%s; sluiced --check FILE lists them)",
			 STR_FMT(line), count, count == 1 ? "" : "s");
}

int start_claim(struct daemon *daemon, struct error *err)
{
	const struct node_conf *node = &daemon->snapshot->node;
	int r;

	if (node->user.ptr) {
		r = user_find(node->user, &daemon->user, err);
		if (r)
			return r;
		daemon->has_user = true;
		if (geteuid() == 0) {
			r = check_readable(daemon, err);
			if (r)
				return r;
		}
	}
	return owner_lock_take(node->state_dir.ptr, &daemon->lock_fd, err);
}

/* ---- dataplane ---- */

/* BPF is not for us here at all, as opposed to being refused for a reason to look at. */
static bool means_unusable(int code)
{
	switch (code) {
	case -EPERM:
	case -EACCES:
	case -ENOSYS:
	case -EOPNOTSUPP:
	case -EROFS:
	case -ENOENT:
	case -ENODEV:
		return true;
	default:
		return false;
	}
}

int start_dataplane(struct daemon *daemon, struct error *err)
{
	const struct snapshot *snapshot = daemon->snapshot;
	struct error reason = {0};
	int r;

	r = dataplane_open(snapshot->node.bpffs.ptr, &daemon->dataplane, &reason);
	if (r && (snapshot->dataplane.interface_count || !means_unusable(r)))
		return error_set(err, r, "%s", reason.text);
	if (r) {
		log_warn("control",
			 "running without BPF: addresses are bound one by one, allow and "
			 "deny do not work: %s",
			 reason.text);
		(void)snprintf(daemon->dataplane_reason, sizeof(daemon->dataplane_reason), "%s",
			       reason.text);
	}
	if (daemon->dataplane) {
		r = services_open(&daemon->services, daemon->dataplane, daemon->loop,
				  snapshot->node.state_dir.ptr, err);
		if (r)
			return r;
	}
	r = reload_apply_dataplane(daemon, snapshot, err);
	if (r || !daemon->dataplane)
		return r;
	if (!snapshot->dataplane.interface_count && snapshot->service_count)
		log_warn("control", "there are services but dataplane.interfaces names no "
				    "interface: nothing is forwarded");
	if (!snapshot->dataplane.interface_count && snapshot->dataplane.deny_count)
		log_warn("control", "dataplane.deny has entries but dataplane.interfaces names no "
				    "interface: nothing is dropped");
	return access_overlay_load(daemon->dataplane, snapshot->node.state_dir.ptr, err);
}

/* ---- privileges ---- */

/* Files that a former run made as root. What else lies there is not ours to give away. */
static void give_file(int dir_fd, const char *name, const struct user *user)
{
	_cleanup_close_ int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	struct stat info;

	/* A second name could stand for somebody else's file. */
	if (fd >= 0 && !fstat(fd, &info) && S_ISREG(info.st_mode) && info.st_nlink == 1 &&
	    fchown(fd, user->uid, user->gid))
		log_warn("control", "cannot give %s in node.state_dir to '%s': %s", name,
			 user->name, strerror(errno));
}

static int give_state_dir(const char *path, const struct user *user, struct error *err)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct stat info;

	if (fd < 0 || fstat(fd, &info))
		return error_set_errno(err, -errno, "node.state_dir: cannot open %s", path);
	give_file(fd, "lock", user);
	give_file(fd, "overlay.json", user);
	give_file(fd, "overlay.journal", user);
	give_file(fd, "services.json", user);
	/* A directory that all may write to (/tmp) is not ours alone. */
	if (info.st_mode & S_ISVTX)
		return 0;
	if (fchown(fd, user->uid, user->gid))
		return error_set_errno(err, -errno, "node.state_dir: cannot give %s to '%s'", path,
				       user->name);
	return 0;
}

struct landlock_list {
	struct landlock_path paths[LANDLOCK_PATHS_MAX];
	char names[LANDLOCK_PATHS_MAX][PATH_MAX];
	unsigned int count;
	bool is_full;
};

static void allow_path(struct landlock_list *list, const char *path, bool writable)
{
	for (unsigned int i = 0; i < list->count; i++)
		if (!strcmp(list->names[i], path) && list->paths[i].writable == writable)
			return;
	if (list->count == LANDLOCK_PATHS_MAX) {
		list->is_full = true;
		return;
	}
	(void)snprintf(list->names[list->count], PATH_MAX, "%s", path);
	list->paths[list->count].path = list->names[list->count];
	list->paths[list->count].writable = writable;
	list->count++;
}

static void allow_parent(struct landlock_list *list, const char *path, bool writable)
{
	char parent[PATH_MAX];
	char *slash;

	(void)snprintf(parent, sizeof(parent), "%s", path);
	slash = strrchr(parent, '/');
	if (!slash)
		(void)snprintf(parent, sizeof(parent), ".");
	else if (slash == parent)
		slash[1] = '\0';
	else
		*slash = '\0';
	allow_path(list, parent, writable);
}

/*
 * A directory of files, and where a name on its way is a link what that may be changed to lead to:
 * its neighbours, on both sides, or a deployment could not switch the link and reload.
 */
static void allow_directory(struct landlock_list *list, const char *path)
{
	char prefix[PATH_MAX], target[PATH_MAX];
	struct stat info;

	allow_parent(list, path, false); /* of "DIR/." */
	for (const char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		(void)snprintf(prefix, sizeof(prefix), "%.*s", (int)(slash - path), path);
		if (lstat(prefix, &info) || !S_ISLNK(info.st_mode))
			continue;
		/* Not everything for a link that the system has in its root. */
		if (strrchr(prefix, '/') != prefix)
			allow_parent(list, prefix, false);
		if (realpath(prefix, target) && strrchr(target, '/') != target)
			allow_parent(list, target, false);
	}
}

/* The directory, so that a file that is replaced by renaming is found again. */
static int allow_config_file(const char *path, void *arg)
{
	char target[PATH_MAX];

	if (str_ends_with(str_from_cstr(path), STR("/."))) {
		allow_directory(arg, path);
		return 0;
	}
	allow_parent(arg, path, false);
	if (realpath(path, target))
		allow_parent(arg, target, false);
	return 0;
}

/* The directory: after a rotation a new file is made in it. */
static void allow_access_log(struct landlock_list *list, struct str file)
{
	char target[PATH_MAX];

	if (!file.ptr || file.ptr[0] != '/')
		return;
	allow_parent(list, file.ptr, true);
	if (realpath(file.ptr, target))
		allow_parent(list, target, true);
}

/*
 * Before the privileges go: a rule needs its path opened, and a bpffs that others may not enter is
 * usual (systemd mounts it so, and so do we).
 */
static int prepare_paths(struct daemon *daemon, int *ret_ruleset, struct error *err)
{
	static const char *const system[] = {"/etc",  "/usr", "/lib", "/lib64",
					     "/proc", "/sys", "/dev"};
	const struct node_conf *node = &daemon->snapshot->node;
	_cleanup_free_ struct landlock_list *list = calloc(1, sizeof(*list));

	if (!list)
		return error_set(err, -ENOMEM, "out of memory for Landlock's rules");
	allow_path(list, node->state_dir.ptr, true);
	allow_parent(list, node->admin_socket.ptr, true);
	if (daemon->dataplane)
		allow_path(list, node->bpffs.ptr, true);
	allow_access_log(list, node->access_log.file);
	for (size_t i = 0; i < ARRAY_SIZE(system); i++)
		allow_path(list, system[i], false);
	(void)config_files_walk(daemon->config_file, allow_config_file, list);
	if (list->is_full)
		return error_set(err, -E2BIG,
				 "the configuration names files in more than %u places",
				 LANDLOCK_PATHS_MAX);
	return landlock_prepare(list->paths, list->count, &daemon->privileges, ret_ruleset, err);
}

static int check_writable(const char *path, const struct user *user, struct error *err)
{
	if (!faccessat(AT_FDCWD, path, W_OK | X_OK, AT_EACCESS))
		return 0;
	return error_set_errno(err, -errno, "node.state_dir: user '%s' cannot write to %s",
			       user->name, path);
}

int start_drop_privileges(struct daemon *daemon, struct error *err)
{
	const char *state_dir = daemon->snapshot->node.state_dir.ptr;
	const struct user *user = daemon->has_user ? &daemon->user : NULL;
	_cleanup_close_ int ruleset = -1;
	int r;

	r = access_log_writer_prepare(&daemon->snapshot->node, user, err);
	if (r)
		return r;
	if (user && geteuid() == 0) {
		r = give_state_dir(state_dir, user, err);
		if (!r && daemon->dataplane)
			r = dataplane_chown(daemon->dataplane, user->uid, user->gid, err);
		if (r)
			return r;
	}
	r = user ? prepare_paths(daemon, &ruleset, err) : 0;
	if (!r)
		r = privileges_drop(user, &daemon->privileges, err);
	if (r)
		return r;
	if (!user) {
		log_warn("control", "node.user is not set: staying uid %u with its capabilities",
			 geteuid());
		(void)snprintf(daemon->privileges.landlock_reason,
			       sizeof(daemon->privileges.landlock_reason), "node.user is not set");
		return 0;
	}
	r = check_writable(state_dir, user, err);
	if (r)
		return r;
	r = landlock_enter(ruleset, &daemon->privileges, err);
	if (!r && !daemon->privileges.landlock)
		log_warn("control", "no Landlock: %s", daemon->privileges.landlock_reason);
	return r;
}

/* ---- access log ---- */

int start_access_log(struct daemon *daemon, struct error *err)
{
	int r = access_log_writer_start(&daemon->access_log, daemon->has_user, err);
	int fd;

	if (!r)
		r = access_log_writer_open(&daemon->access_log, NULL, daemon->snapshot, &fd, err);
	return r;
}

/* ---- workers ---- */

/* The n-th CPU of those we may use, round and round; -1 when that cannot be told. */
static int choose_cpu(const cpu_set_t *cpus, unsigned int index)
{
	unsigned int count = (unsigned int)CPU_COUNT(cpus);

	if (!count)
		return -1;
	index %= count;
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET((size_t)cpu, cpus) && index-- == 0)
			return cpu;
	return -1;
}

static uint32_t choose_recv_bufs_max(const struct node_conf *node, unsigned int worker_count)
{
	uint64_t count = node->memory_limit_bytes / 2 / worker_count / RECV_BUF_BYTES;

	return (uint32_t)MIN(MAX(count, RECV_BUFS_MAX_LEAST), RECV_BUFS_MAX_MOST);
}

/* A power of two, at most a quarter of them. */
static uint32_t choose_recv_bufs_ready(uint32_t recv_bufs_max)
{
	uint32_t ready = RECV_BUFS_READY_MOST;

	while (ready > recv_bufs_max / 4)
		ready /= 2;
	return ready;
}

static void explain_engine(struct daemon *daemon)
{
	int asked = daemon->snapshot->node.io;
	struct error reason = {0};

	if (worker_engine(daemon->workers[0]) == IO_ENGINE_IO_URING)
		return;
	if (asked == IO_ENGINE_EPOLL)
		(void)error_set(&reason, -ECANCELED, "epoll was asked for");
	else if (io_uring_is_usable(&reason))
		(void)error_set(&reason, -EAGAIN, "io_uring did not work when the workers started");
	(void)snprintf(daemon->engine_reason, sizeof(daemon->engine_reason), "%s", reason.text);
}

int start_workers(struct daemon *daemon, void (*on_exit)(struct worker *worker, void *arg),
		  struct error *err)
{
	const struct node_conf *node = &daemon->snapshot->node;
	struct worker_config config = {
		.loop =
			{
				.engine = (enum io_engine)node->io,
				.recv_buf_bytes = RECV_BUF_BYTES,
				.recv_bufs_max = choose_recv_bufs_max(node, daemon->worker_count),
				.restrict_ops = true,
				.coalesce = node->coalesce,
			},
		.snapshot = daemon->snapshot,
		.drop_capabilities = daemon->has_user,
		.control = daemon->loop,
		.on_exit = on_exit,
		.arg = daemon,
	};
	cpu_set_t cpus;
	int r;

	if (sched_getaffinity(0, sizeof(cpus), &cpus))
		CPU_ZERO(&cpus);
	config.loop.recv_bufs_ready = choose_recv_bufs_ready(config.loop.recv_bufs_max);
	if (node->memory_limit_bytes / daemon->worker_count < MEMORY_PER_WORKER)
		log_warn("control",
			 "node.memory_limit leaves less than 4MiB for each of %u workers",
			 daemon->worker_count);
	r = http_node_new(daemon->worker_count, node->memory_limit_bytes, &daemon->http_node);
	if (r)
		return error_set(err, r, "out of memory for the node's limits");
	r = work_pool_new(WORK_THREADS, WORK_QUEUE_MAX,
			  daemon->has_user ? privileges_drop_worker : NULL,
			  &daemon->http_node->work, err);
	if (r)
		return r;
	config.node = daemon->http_node;
	daemon->workers = calloc(daemon->worker_count, sizeof(struct worker *));
	if (!daemon->workers)
		return error_set(err, -ENOMEM, "out of memory for %u workers",
				 daemon->worker_count);
	for (unsigned int i = 0; i < daemon->worker_count; i++) {
		config.index = i;
		config.cpu = choose_cpu(&cpus, i);
		r = worker_start(&config, &daemon->workers[i], err);
		if (r)
			return r;
		daemon->workers_running++;
	}
	explain_engine(daemon);
	return 0;
}

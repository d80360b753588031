#include <bpf/bpf.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "kern/dataplane_internal.h"

struct map_shape {
	const char *name;
	uint32_t type;
	uint32_t key_bytes;
	uint32_t value_bytes;
	uint32_t max_entries;
};

static const struct map_shape shapes[DATAPLANE_MAP_COUNT] = {
#define SHAPE_ROW(symbol, name, type, key, value, max)                                             \
	[DATAPLANE_MAP_##symbol] = {name, type, key, value, max},
	DATAPLANE_MAP_TABLE(SHAPE_ROW)
#undef SHAPE_ROW
};

static void closedirp(DIR **dir)
{
	if (*dir)
		(void)closedir(*dir);
}

static bool is_bpffs(const char *path)
{
	struct statfs fs;

	return statfs(path, &fs) == 0 && (unsigned long)fs.f_type == BPF_FS_MAGIC;
}

/* Length of the nearest ancestor of dir (or dir itself) that exists. */
static size_t existing_ancestor(const char *dir)
{
	char path[PATH_MAX];
	size_t len = strlen(dir);

	(void)snprintf(path, sizeof(path), "%s", dir);
	while (len > 1 && access(path, F_OK)) {
		while (len > 1 && path[len - 1] != '/')
			len--;
		while (len > 1 && path[len - 1] == '/')
			len--;
		path[len] = '\0';
	}
	return len;
}

/* The mount point that belongs to dir is the component "bpf" right under /sys/fs. */
static int mount_bpffs(const char *dir, struct error *err)
{
	static const char place[] = "/sys/fs/bpf";
	size_t len = sizeof(place) - 1;

	if (strncmp(dir, place, len) || (dir[len] && dir[len] != '/'))
		return error_set(err, -ENOTSUP,
				 "'%s' is not on a bpffs; mount one there (mount -t bpf bpf DIR)",
				 dir);
	if (mount("bpf", place, "bpf", 0, "mode=0700")) {
		int code = -errno;

		return error_set_errno(err, code, "'%s' is no bpffs and cannot be mounted", place);
	}
	log_debug("kern", "mounted a bpffs on %s", place);
	return 0;
}

static int make_dirs(const char *dir, struct error *err)
{
	char path[PATH_MAX];
	size_t len = strlen(dir);

	(void)snprintf(path, sizeof(path), "%s", dir);
	for (size_t i = 1; i <= len; i++) {
		char kept = path[i];

		if (kept != '/' && kept != '\0')
			continue;
		path[i] = '\0';
		if (mkdir(path, 0700) && errno != EEXIST) {
			int code = -errno;

			return error_set_errno(err, code, "cannot make directory '%s'", path);
		}
		path[i] = kept;
	}
	return 0;
}

int pins_open_dir(const char *dir, bool create, int *ret_dir_fd, struct error *err)
{
	char ancestor[PATH_MAX];
	int fd, ret;

	if (dir[0] != '/' || strlen(dir) >= PATH_MAX - DATAPLANE_PIN_MAX)
		return error_set(err, -EINVAL, "bpffs directory '%s' is not an absolute path", dir);
	(void)snprintf(ancestor, sizeof(ancestor), "%.*s", (int)existing_ancestor(dir), dir);
	if (!is_bpffs(ancestor)) {
		if (!create)
			return error_set(err, -ENOENT, "nothing is pinned in '%s'", dir);
		ret = mount_bpffs(dir, err);
		if (ret)
			return ret;
	}
	if (create) {
		ret = make_dirs(dir, err);
		if (ret)
			return ret;
	}
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0) {
		int code = -errno;

		if (code == -ENOENT)
			return error_set(err, code, "nothing is pinned in '%s'", dir);
		return error_set_errno(err, code, "cannot open '%s'", dir);
	}
	*ret_dir_fd = fd;
	return 0;
}

int pins_lock(const struct dataplane *dataplane, int *ret_lock_fd, struct error *err)
{
	_cleanup_close_ int fd = openat(dataplane->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0) {
		int code = -errno;

		return error_set_errno(err, code, "cannot open '%s'", dataplane->dir);
	}
	if (flock(fd, LOCK_EX | LOCK_NB)) {
		int code = errno == EWOULDBLOCK ? -EBUSY : -errno;

		return error_set_errno(err, code, "another process is changing '%s'",
				       dataplane->dir);
	}
	*ret_lock_fd = TAKE_FD(fd);
	return 0;
}

int pins_path(const struct dataplane *dataplane, const char *name, char *buf, size_t buf_len)
{
	int len = snprintf(buf, buf_len, "/proc/self/fd/%d/%s", dataplane->dir_fd, name);

	return len < 0 || (size_t)len >= buf_len ? -ENAMETOOLONG : 0;
}

int pins_get(const struct dataplane *dataplane, const char *name)
{
	LIBBPF_OPTS(bpf_obj_get_opts, opts);
	char path[PATH_MAX];
	int ret = pins_path(dataplane, name, path, sizeof(path));

	return ret ? ret : bpf_obj_get_opts(path, &opts);
}

int pins_put(const struct dataplane *dataplane, const char *name, int fd)
{
	char path[PATH_MAX];
	int ret = pins_path(dataplane, name, path, sizeof(path));

	return ret ? ret : bpf_obj_pin(fd, path);
}

int pins_remove(const struct dataplane *dataplane, const char *name)
{
	if (unlinkat(dataplane->dir_fd, name, 0) && errno != ENOENT)
		return -errno;
	return 0;
}

int pins_walk(const struct dataplane *dataplane, int (*visit)(const char *name, void *arg),
	      void *arg)
{
	int fd = openat(dataplane->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_(closedirp)
	DIR *stream = fd >= 0 ? fdopendir(fd) : NULL;
	char(*names)[DATAPLANE_PIN_MAX] = NULL;
	size_t count = 0;
	struct dirent *entry;
	int ret = 0;

	if (!stream) {
		ret = -errno;
		close_fdp(&fd);
		return ret;
	}
	while ((entry = readdir(stream))) {
		char(*grown)[DATAPLANE_PIN_MAX];

		if (entry->d_name[0] == '.' || strlen(entry->d_name) >= DATAPLANE_PIN_MAX)
			continue;
		grown = realloc(names, (count + 1) * sizeof(*names));
		if (!grown) {
			ret = -ENOMEM;
			break;
		}
		names = grown;
		(void)snprintf(names[count++], sizeof(*names), "%s", entry->d_name);
	}
	for (size_t i = 0; i < count && ret == 0; i++)
		ret = visit(names[i], arg);
	free(names);
	return ret;
}

static int check_shape(const struct dataplane *dataplane, enum dataplane_map map, int fd,
		       struct error *err)
{
	const struct map_shape *shape = &shapes[map];
	struct bpf_map_info info = {0};
	uint32_t len = sizeof(info);
	int ret = bpf_obj_get_info_by_fd(fd, &info, &len);

	if (ret)
		return error_set_errno(err, ret, "'%s/%s' is no map", dataplane->dir, shape->name);
	if (info.type != shape->type || info.key_size != shape->key_bytes ||
	    info.value_size != shape->value_bytes ||
	    (shape->max_entries && info.max_entries != shape->max_entries))
		return error_set(err, -EPROTO,
				 "map '%s/%s' has the shape of another version; detach and remove "
				 "everything there with: sluice --bpffs '%s' prog unload",
				 dataplane->dir, shape->name, dataplane->dir);
	return 0;
}

static int check_meta(const struct dataplane *dataplane, struct error *err)
{
	struct sl_meta meta = {0};
	uint32_t zero = 0;
	int ret = bpf_map_lookup_elem(dataplane->maps[DATAPLANE_MAP_META], &zero, &meta);

	if (ret)
		return error_set_errno(err, ret, "cannot read '%s/sl_meta'", dataplane->dir);
	if (meta.magic != SL_META_MAGIC || meta.abi_version != SL_ABI_VERSION)
		return error_set(
			err, -EPROTO,
			"'%s' was made by another version (ABI %u, this is %u); detach "
			"and remove everything there with: sluice --bpffs '%s' prog unload",
			dataplane->dir, meta.abi_version, SL_ABI_VERSION, dataplane->dir);
	return 0;
}

int pins_open_maps(struct dataplane *dataplane, struct error *err)
{
	LIBBPF_OPTS(bpf_obj_get_opts, opts, .file_flags = dataplane->read_only ? BPF_F_RDONLY : 0);
	char path[PATH_MAX];
	int ret;

	for (int i = 0; i < DATAPLANE_MAP_COUNT; i++) {
		int fd;

		ret = pins_path(dataplane, shapes[i].name, path, sizeof(path));
		if (ret)
			return error_set_errno(err, ret, "'%s'", dataplane->dir);
		fd = bpf_obj_get_opts(path, &opts);
		if (fd == -ENOENT)
			continue;
		if (fd < 0)
			return error_set_errno(err, fd, "cannot open '%s/%s'", dataplane->dir,
					       shapes[i].name);
		dataplane->maps[i] = fd;
		ret = check_shape(dataplane, i, fd, err);
		if (ret == 0 && i == DATAPLANE_MAP_META)
			ret = check_meta(dataplane, err);
		if (ret)
			return ret;
	}
	return 0;
}

int pins_give_maps(const struct dataplane *dataplane, struct bpf_object *object, struct error *err)
{
	for (int i = 0; i < DATAPLANE_MAP_COUNT; i++) {
		struct bpf_map *map = bpf_object__find_map_by_name(object, shapes[i].name);
		int ret;

		if (!map)
			return error_set(err, -EPROTO, "BPF object without map '%s'",
					 shapes[i].name);
		if (i == DATAPLANE_MAP_STEER_SOCKS && !dataplane->has_sockmap)
			ret = bpf_map__set_autocreate(map, false);
		else if (dataplane->maps[i] >= 0) /* with the size it was made with */
			ret = bpf_map__reuse_fd(map, dataplane->maps[i]);
		else
			ret = 0;
		if (ret)
			return error_set_errno(err, ret, "cannot use map '%s'", shapes[i].name);
	}
	return 0;
}

/* What a new map must hold before anybody can find it. */
static int fill_map(enum dataplane_map map, int fd)
{
	struct sl_meta meta = {.magic = SL_META_MAGIC, .abi_version = SL_ABI_VERSION};
	struct sl_steer_conf conf = {.dead_drop_ns = SL_STEER_DEAD_NS};
	uint32_t zero = 0;

	switch (map) {
	case DATAPLANE_MAP_META:
		return bpf_map_update_elem(fd, &zero, &meta, BPF_ANY);
	case DATAPLANE_MAP_STEER_CONF:
		if (getrandom(conf.hash_keys, sizeof(conf.hash_keys), 0) < 0)
			return -errno;
		return bpf_map_update_elem(fd, &zero, &conf, BPF_ANY);
	default:
		return 0;
	}
}

int pins_take_maps(struct dataplane *dataplane, struct bpf_object *object, struct error *err)
{
	for (int i = 0; i < DATAPLANE_MAP_COUNT; i++) {
		struct bpf_map *map = bpf_object__find_map_by_name(object, shapes[i].name);
		int fd, ret;

		if (dataplane->maps[i] >= 0 || !map || bpf_map__fd(map) < 0)
			continue;
		fd = fcntl(bpf_map__fd(map), F_DUPFD_CLOEXEC, 3);
		if (fd < 0)
			return error_set_errno(err, -errno, "map '%s'", shapes[i].name);
		dataplane->maps[i] = fd;
		ret = check_shape(dataplane, i, fd, err);
		if (ret)
			return ret;
		ret = fill_map(i, fd);
		if (ret == 0)
			ret = pins_put(dataplane, shapes[i].name, fd);
		if (ret)
			return error_set_errno(err, ret, "cannot pin '%s/%s'", dataplane->dir,
					       shapes[i].name);
	}
	return 0;
}

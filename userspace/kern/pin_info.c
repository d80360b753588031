#include "kern/pin_info.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/util.h"

#define PROGRAMS_MAX 256

struct walk {
	const char *dir;
	int dir_fd;
	int (*visit)(const struct pin *pin, void *arg);
	void *arg;
	struct error *err;
	uint32_t told[PROGRAMS_MAX]; /* ids of programs */
	unsigned int told_count;
};

const char *pin_map_type_name(uint32_t type)
{
	const char *name = libbpf_bpf_map_type_str(type);

	return name ? name : "unknown";
}

bool pin_map_type_is_per_cpu(uint32_t type)
{
	return type == BPF_MAP_TYPE_PERCPU_ARRAY || type == BPF_MAP_TYPE_PERCPU_HASH ||
	       type == BPF_MAP_TYPE_LRU_PERCPU_HASH || type == BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE;
}

bool pin_map_type_is_array(uint32_t type)
{
	return type == BPF_MAP_TYPE_ARRAY || type == BPF_MAP_TYPE_PERCPU_ARRAY ||
	       type == BPF_MAP_TYPE_ARRAY_OF_MAPS || type == BPF_MAP_TYPE_PROG_ARRAY ||
	       type == BPF_MAP_TYPE_SOCKMAP || type == BPF_MAP_TYPE_DEVMAP ||
	       type == BPF_MAP_TYPE_CPUMAP || type == BPF_MAP_TYPE_XSKMAP;
}

bool pin_info_counts_run_time(void)
{
	_cleanup_close_ int fd = open("/proc/sys/kernel/bpf_stats_enabled", O_RDONLY | O_CLOEXEC);
	char digit = '0';

	return fd >= 0 && read(fd, &digit, 1) == 1 && digit == '1';
}

/* "memlock:" of the descriptor; the kernel tells it nowhere else. */
static uint64_t memory_of(int fd)
{
	char path[48], text[1024], *at;
	_cleanup_close_ int info = -1;
	ssize_t len;

	(void)snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	info = open(path, O_RDONLY | O_CLOEXEC);
	len = info < 0 ? -1 : read(info, text, sizeof(text) - 1);
	if (len <= 0)
		return 0;
	text[len] = '\0';
	at = strstr(text, "memlock:");
	return at ? strtoull(at + strlen("memlock:"), NULL, 10) : 0;
}

/* The kernel names the kind of such a descriptor only in this link. */
static int kind_of(int fd, enum pin_kind *ret_kind)
{
	char path[48], target[64] = "";
	ssize_t len;

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	len = readlink(path, target, sizeof(target) - 1);
	if (len < 0)
		return -errno;
	if (strstr(target, "bpf-map"))
		*ret_kind = PIN_IS_MAP;
	else if (strstr(target, "bpf-prog"))
		*ret_kind = PIN_IS_PROGRAM;
	else if (strstr(target, "bpf_link") || strstr(target, "bpf-link"))
		*ret_kind = PIN_IS_LINK;
	else
		return -EPROTO;
	return 0;
}

static int describe_map(int fd, struct pin_map *ret_map)
{
	struct bpf_map_info info = {0};
	uint32_t len = sizeof(info);
	int ret = bpf_obj_get_info_by_fd(fd, &info, &len);

	if (ret)
		return ret;
	*ret_map = (struct pin_map){
		.id = info.id,
		.type = info.type,
		.key_bytes = info.key_size,
		.value_bytes = info.value_size,
		.max_entries = info.max_entries,
		.flags = info.map_flags,
		.btf_id = info.btf_id,
		.key_type_id = info.btf_key_type_id,
		.value_type_id = info.btf_value_type_id,
		.memory_bytes = memory_of(fd),
	};
	return 0;
}

static uint64_t wall_ms_of_boot_ns(uint64_t boot_ns)
{
	struct timespec wall, boot;

	(void)clock_gettime(CLOCK_REALTIME, &wall);
	(void)clock_gettime(CLOCK_BOOTTIME, &boot);
	return (uint64_t)((wall.tv_sec - boot.tv_sec) * 1000 +
			  (wall.tv_nsec - boot.tv_nsec) / 1000000) +
	       boot_ns / 1000000;
}

static int describe_program(int fd, struct pin_program *ret_program)
{
	struct bpf_prog_info info = {0};
	uint32_t len = sizeof(info), map_ids[PIN_MAPS_OF_MAX] = {0};
	const char *type;
	int ret;

	info.map_ids = (uintptr_t)map_ids;
	info.nr_map_ids = PIN_MAPS_OF_MAX;
	ret = bpf_obj_get_info_by_fd(fd, &info, &len);
	if (ret)
		return ret;
	type = libbpf_bpf_prog_type_str(info.type);
	*ret_program = (struct pin_program){
		.id = info.id,
		.type = type ? type : "unknown",
		.instructions = info.xlated_prog_len / 8,
		.jited_bytes = info.jited_prog_len,
		.verified_insns = info.verified_insns,
		.memory_bytes = memory_of(fd),
		.loaded_wall_ms = wall_ms_of_boot_ns(info.load_time),
		.run_count = info.run_cnt,
		.run_time_ns = info.run_time_ns,
		.map_count = MIN(info.nr_map_ids, (uint32_t)PIN_MAPS_OF_MAX),
	};
	(void)snprintf(ret_program->name, sizeof(ret_program->name), "%.15s", info.name);
	for (size_t i = 0; i < sizeof(info.tag); i++)
		(void)snprintf(ret_program->tag + 2 * i, 3, "%02x", info.tag[i]);
	memcpy(ret_program->map_ids, map_ids, sizeof(map_ids));
	return 0;
}

static int describe_link(int fd, struct pin_link *ret_link)
{
	struct bpf_link_info info = {0};
	uint32_t len = sizeof(info);
	const char *type;
	int ret = bpf_obj_get_info_by_fd(fd, &info, &len);

	if (ret)
		return ret;
	type = libbpf_bpf_link_type_str(info.type);
	*ret_link = (struct pin_link){
		.id = info.id,
		.program_id = info.prog_id,
		.type = type ? type : "unknown",
		.is_attached = true,
	};
	if (info.type == BPF_LINK_TYPE_XDP) {
		ret_link->is_attached = info.xdp.ifindex != 0;
		if (info.xdp.ifindex && !if_indextoname(info.xdp.ifindex, ret_link->interface))
			ret_link->interface[0] = '\0';
	} else if (info.type == BPF_LINK_TYPE_NETNS) {
		ret_link->is_attached = info.netns.netns_ino != 0;
	}
	return 0;
}

static bool was_told(struct walk *walk, uint32_t id)
{
	for (unsigned int i = 0; i < walk->told_count; i++)
		if (walk->told[i] == id)
			return true;
	if (walk->told_count < PROGRAMS_MAX)
		walk->told[walk->told_count++] = id;
	return false;
}

static int tell_program(struct walk *walk, const char *name, int fd)
{
	struct pin pin = {.kind = PIN_IS_PROGRAM, .fd = fd};
	int ret = describe_program(fd, &pin.program);

	if (ret)
		return error_set_errno(walk->err, ret, "cannot read a program pinned in '%s'",
				       walk->dir);
	if (was_told(walk, pin.program.id))
		return 0;
	(void)snprintf(pin.name, sizeof(pin.name), "%s", name);
	return walk->visit(&pin, walk->arg);
}

static int tell_program_of(struct walk *walk, const struct pin_link *link)
{
	_cleanup_close_ int fd = -1;

	if (!link->program_id)
		return 0;
	fd = bpf_prog_get_fd_by_id(link->program_id);
	if (fd == -ENOENT)
		return 0;
	if (fd < 0)
		return error_set_errno(walk->err, fd, "cannot open program %u", link->program_id);
	return tell_program(walk, "", fd);
}

/* Maps for reading only; the kernel opens programs and links only for both. */
static int open_pin(struct walk *walk, const char *name)
{
	LIBBPF_OPTS(bpf_obj_get_opts, opts, .file_flags = BPF_F_RDONLY);
	char path[NAME_MAX + 48];
	int fd;

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", walk->dir_fd, name);
	fd = bpf_obj_get_opts(path, &opts);
	if (fd == -EINVAL) {
		opts.file_flags = 0;
		fd = bpf_obj_get_opts(path, &opts);
	}
	return fd;
}

static int tell_pin(struct walk *walk, const char *name)
{
	_cleanup_close_ int fd = open_pin(walk, name);
	struct pin pin = {.fd = fd};
	int ret;

	if (fd == -ENOENT)
		return 0;
	ret = fd < 0 ? fd : kind_of(fd, &pin.kind);
	if (ret == 0 && pin.kind == PIN_IS_PROGRAM)
		return tell_program(walk, name, fd);
	if (ret == 0)
		ret = pin.kind == PIN_IS_MAP ? describe_map(fd, &pin.map)
					     : describe_link(fd, &pin.link);
	if (ret)
		return error_set_errno(walk->err, ret, "cannot open '%s/%s'", walk->dir, name);
	(void)snprintf(pin.name, sizeof(pin.name), "%.*s", PIN_NAME_MAX - 1, name);
	ret = walk->visit(&pin, walk->arg);
	if (ret == 0 && pin.kind == PIN_IS_LINK)
		ret = tell_program_of(walk, &pin.link);
	return ret;
}

static int is_file(const struct dirent *entry)
{
	return entry->d_name[0] != '.' && entry->d_type != DT_DIR &&
	       strlen(entry->d_name) < PIN_NAME_MAX;
}

int pin_info_walk(const char *bpffs_dir, int (*visit)(const struct pin *pin, void *arg), void *arg,
		  struct error *err)
{
	struct walk walk = {.dir = bpffs_dir, .visit = visit, .arg = arg, .err = err};
	_cleanup_close_ int dir_fd = open(bpffs_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct dirent **entries = NULL;
	int count, ret = 0;

	if (dir_fd < 0)
		return error_set_errno(err, -errno, "cannot open '%s'", bpffs_dir);
	walk.dir_fd = dir_fd;
	count = scandirat(dir_fd, ".", &entries, is_file, alphasort);
	if (count < 0)
		return error_set_errno(err, -errno, "cannot read '%s'", bpffs_dir);
	for (int i = 0; i < count; i++) {
		if (ret == 0)
			ret = tell_pin(&walk, entries[i]->d_name);
		free(entries[i]);
	}
	free(entries);
	return ret;
}

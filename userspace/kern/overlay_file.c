#include "kern/overlay_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

#define OVERLAY_BYTES_MAX (256U << 20)

static int replace_file(const char *dir, const char *name, const json_t *root)
{
	_cleanup_close_ int dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd = -1;
	char fresh[NAME_MAX];
	int len = snprintf(fresh, sizeof(fresh), "%s.new", name), ret = 0;

	if (dir_fd < 0)
		return -errno;
	if (len < 0 || (size_t)len >= sizeof(fresh))
		return -ENAMETOOLONG;
	fd = openat(dir_fd, fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0640);
	if (fd < 0)
		return -errno;
	if (json_dumpfd(root, fd, JSON_INDENT(2)) || write(fd, "\n", 1) != 1 || fsync(fd))
		ret = errno ? -errno : -EIO;
	else if (renameat(dir_fd, fresh, dir_fd, name) || fsync(dir_fd))
		ret = -errno;
	if (ret)
		(void)unlinkat(dir_fd, fresh, 0);
	return ret;
}

int overlay_file_write(const char *state_dir, const char *name, const json_t *root,
		       struct error *err)
{
	int ret = replace_file(state_dir, name, root);

	return ret ? error_set_errno(err, ret, "cannot write '%s/%s'", state_dir, name) : 0;
}

int overlay_file_read(const char *state_dir, const char *name, json_t **ret_root, struct error *err)
{
	_cleanup_close_ int fd = -1;
	struct stat status;
	json_error_t why;
	char path[PATH_MAX];
	int len = snprintf(path, sizeof(path), "%s/%s", state_dir, name);
	json_t *root;

	if (len < 0 || (size_t)len >= sizeof(path))
		return error_set(err, -ENAMETOOLONG, "'%s' is too long", state_dir);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 && errno == ENOENT) {
		*ret_root = NULL;
		return 0;
	}
	if (fd < 0 || fstat(fd, &status))
		return error_set_errno(err, -errno, "cannot read '%s'", path);
	if (!S_ISREG(status.st_mode) || status.st_size > OVERLAY_BYTES_MAX)
		return error_set(err, -EFBIG, "'%s' is no overlay", path);
	root = json_loadfd(fd, JSON_REJECT_DUPLICATES, &why);
	if (!root)
		return error_set(err, -EINVAL, "%s:%d:%d: %s", path, why.line, why.column,
				 why.text);
	*ret_root = root;
	return 0;
}

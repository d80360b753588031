#include "http/files_root.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/util.h"

static int files_root_init(struct registry_entry *entry, void *arg)
{
	int *dir_fd = arg;

	CONTAINER_OF(entry, struct files_root, entry)->dir_fd = TAKE_FD(*dir_fd);
	return 0;
}

static void files_root_release(struct registry_entry *entry)
{
	(void)close(CONTAINER_OF(entry, struct files_root, entry)->dir_fd);
}

int files_root_acquire(struct registry *registry, struct str path, struct files_root **ret_root)
{
	_cleanup_close_ int dir_fd = -1;
	struct registry_entry *entry;
	char name[PATH_MAX], address[64];
	struct stat info;
	int r = str_to_cstr(path, name, sizeof(name));

	if (r)
		return r;
	dir_fd = open(name, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir_fd < 0 || fstat(dir_fd, &info))
		return -errno;
	(void)snprintf(address, sizeof(address), "%llx:%llx", (unsigned long long)info.st_dev,
		       (unsigned long long)info.st_ino);
	/* When it is there already, our descriptor of the same directory is not needed. */
	entry = registry_acquire(registry, "files", path, str_from_cstr(address),
				 sizeof(struct files_root), files_root_init, &dir_fd,
				 files_root_release);
	if (!entry)
		return -ENOMEM;
	*ret_root = CONTAINER_OF(entry, struct files_root, entry);
	return 0;
}

void files_root_unref(struct files_root *root)
{
	if (root)
		registry_unref(&root->entry);
}

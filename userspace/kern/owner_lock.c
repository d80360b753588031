#include "kern/owner_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

/* Who holds it, as the holder wrote it; 0 when it has not yet. */
static long read_holder(int fd)
{
	char text[24] = "";
	ssize_t len = pread(fd, text, sizeof(text) - 1, 0);

	return len > 0 ? strtol(text, NULL, 10) : 0;
}

int owner_lock_take(const char *state_dir, int *ret_fd, struct error *err)
{
	_cleanup_close_ int fd = -1;
	char path[PATH_MAX], text[24];
	int len;

	if (mkdir(state_dir, 0750) && errno != EEXIST)
		return error_set_errno(err, -errno, "cannot make '%s'", state_dir);
	len = snprintf(path, sizeof(path), "%s/lock", state_dir);
	if (len < 0 || (size_t)len >= sizeof(path))
		return error_set(err, -ENAMETOOLONG, "'%s' is too long", state_dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
	if (fd < 0)
		return error_set_errno(err, -errno, "cannot open '%s'", path);
	if (flock(fd, LOCK_EX | LOCK_NB)) {
		int code = -errno;
		long holder = read_holder(fd);

		if (code != -EWOULDBLOCK)
			return error_set_errno(err, code, "cannot lock '%s'", path);
		if (holder > 0)
			return error_set(err, code, "'%s' is held by process %ld", path, holder);
		return error_set(err, code, "'%s' is held by another process", path);
	}
	len = snprintf(text, sizeof(text), "%ld\n", (long)getpid());
	/* The number is for people; the lock holds without it. */
	if (ftruncate(fd, 0) == 0)
		(void)!pwrite(fd, text, (size_t)len, 0);
	*ret_fd = TAKE_FD(fd);
	return 0;
}

#include "control/privileges.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"

/* Rights that came after the headers of Linux 6.1. */
#define ACCESS_TRUNCATE	 (1ULL << 14) /* ABI 3, Linux 6.2 */
#define ACCESS_IOCTL_DEV (1ULL << 15) /* ABI 5, Linux 6.10 */

#define ACCESS_OF_FILES                                                                            \
	(LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE |                              \
	 LANDLOCK_ACCESS_FS_READ_FILE | ACCESS_TRUNCATE | ACCESS_IOCTL_DEV)
#define ACCESS_READ (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define ACCESS_WRITE                                                                               \
	(LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_FILE |                          \
	 LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG |                             \
	 LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_REFER |   \
	 ACCESS_TRUNCATE)

/* Every right this kernel can refuse; what is not handled would stay allowed. */
static uint64_t rights_of_abi(int abi)
{
	uint64_t rights = LANDLOCK_ACCESS_FS_REFER - 1; /* the 13 of ABI 1 */

	if (abi >= 2)
		rights |= LANDLOCK_ACCESS_FS_REFER;
	if (abi >= 3)
		rights |= ACCESS_TRUNCATE;
	if (abi >= 5)
		rights |= ACCESS_IOCTL_DEV;
	return rights;
}

static int add_path(int ruleset, const struct landlock_path *path, uint64_t handled,
		    struct error *err)
{
	struct landlock_path_beneath_attr rule = {0};
	_cleanup_close_ int fd = open(path->path, O_PATH | O_CLOEXEC);
	struct stat info;

	if (fd < 0) {
		if (errno == ENOENT || errno == ENOTDIR || errno == EACCES)
			return 0; /* out of reach already */
		return error_set_errno(err, -errno, "cannot open %s", path->path);
	}
	if (fstat(fd, &info))
		return error_set_errno(err, -errno, "cannot stat %s", path->path);
	rule.parent_fd = fd;
	rule.allowed_access = (ACCESS_READ | (path->writable ? ACCESS_WRITE : 0)) & handled;
	if (!S_ISDIR(info.st_mode))
		rule.allowed_access &= ACCESS_OF_FILES;
	if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0))
		return error_set_errno(err, -errno, "Landlock refuses a rule for %s", path->path);
	return 0;
}

int landlock_prepare(const struct landlock_path *paths, unsigned int count,
		     struct privileges_report *report, int *ret_ruleset, struct error *err)
{
	struct landlock_ruleset_attr attr = {0};
	_cleanup_close_ int ruleset = -1;
	long abi;
	int r;

	*ret_ruleset = -1;
	abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	if (abi < 1) {
		(void)snprintf(report->landlock_reason, sizeof(report->landlock_reason),
			       "the kernel has no Landlock or it is switched off: %s",
			       strerror(errno));
		return 0;
	}
	attr.handled_access_fs = rights_of_abi((int)abi);
	/* The size of ABI 1: later members (network, scopes) are not ours. */
	ruleset =
		(int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr.handled_access_fs), 0);
	if (ruleset < 0)
		return error_set_errno(err, -errno, "cannot make a Landlock ruleset");
	for (unsigned int i = 0; i < count; i++) {
		r = add_path(ruleset, &paths[i], attr.handled_access_fs, err);
		if (r)
			return r;
	}
	*ret_ruleset = TAKE_FD(ruleset);
	return 0;
}

int landlock_enter(int ruleset, struct privileges_report *report, struct error *err)
{
	if (ruleset < 0)
		return 0;
	if (syscall(SYS_landlock_restrict_self, ruleset, 0))
		return error_set_errno(err, -errno, "cannot enter the Landlock ruleset");
	report->landlock = true;
	return 0;
}

#include "control/user.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <unistd.h>

#include "base/util.h"

int user_find(struct str name, struct user *ret_user, struct error *err)
{
	struct user user = {0};
	char storage[4096], quoted[USER_NAME_MAX * 4];
	struct passwd entry, *found = NULL;
	int r;

	(void)str_quote(name, quoted, sizeof(quoted));
	r = str_to_cstr(name, user.name, sizeof(user.name));
	if (r)
		return error_set(err, -EINVAL, "node.user: %s is no user name", quoted);
	r = getpwnam_r(user.name, &entry, storage, sizeof(storage), &found);
	if (r)
		return error_set_errno(err, -r, "node.user: cannot look up %s", quoted);
	if (!found)
		return error_set(err, -ENOENT,
				 "node.user: there is no user %s: create it (useradd --system) or "
				 "remove the key",
				 quoted);
	user.uid = entry.pw_uid;
	user.gid = entry.pw_gid;
	*ret_user = user;
	return 0;
}

int user_become(const struct user *user)
{
	if (initgroups(user->name, user->gid) || setresgid(user->gid, user->gid, user->gid) ||
	    setresuid(user->uid, user->uid, user->uid))
		return -errno;
	return 0;
}

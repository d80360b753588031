/*
 * user: the account the daemon runs as after set-up (node.user), by value.
 * Thread rule: lookups read the user database, so the control thread before privileges drop.
 */
#ifndef SLUICE_CONTROL_USER_H
#define SLUICE_CONTROL_USER_H

#include <sys/types.h>

#include "base/error.h"
#include "base/str.h"

#define USER_NAME_MAX 64

struct user {
	char name[USER_NAME_MAX];
	uid_t uid;
	gid_t gid;
};

/* -ENOENT: there is no such user. */
int user_find(struct str name, struct user *ret_user, struct error *err);

/* Becomes the user with its groups, for good and without any capability: for child processes. */
int user_become(const struct user *user);

#endif

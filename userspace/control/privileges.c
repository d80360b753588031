#include "control/privileges.h"

#include <cap-ng.h>
#include <ctype.h>
#include <errno.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/util.h"
#include "control/sanitizer.h"

static const unsigned int kept[] = {CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN, CAP_NET_RAW};

/* Fills libcap-ng's set with those of `kept` that this thread has now. */
static int select_kept(bool *ret_may_clear_bounds)
{
	bool have[ARRAY_SIZE(kept)];

	if (capng_get_caps_process())
		return -EIO;
	for (size_t i = 0; i < ARRAY_SIZE(kept); i++)
		have[i] = capng_have_capability(CAPNG_PERMITTED, kept[i]);
	*ret_may_clear_bounds = capng_have_capability(CAPNG_EFFECTIVE, CAP_SETPCAP);

	capng_clear(CAPNG_SELECT_ALL);
	for (size_t i = 0; i < ARRAY_SIZE(kept); i++)
		if (have[i] && capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED, kept[i]))
			return -EIO;
	return 0;
}

static int become(const struct user *user, struct error *err)
{
	bool may_clear_bounds;
	int r;

	if (geteuid() != 0 && geteuid() != user->uid)
		return error_set(err, -EPERM,
				 "node.user: cannot become '%s': start sluiced as root or as '%s'",
				 user->name, user->name);
	r = select_kept(&may_clear_bounds);
	if (r)
		return error_set(err, r, "cannot read this process's capabilities");

	if (geteuid() == 0 && user->uid != 0)
		r = capng_change_id((int)user->uid, (int)user->gid,
				    CAPNG_INIT_SUPP_GRP | CAPNG_CLEAR_AMBIENT |
					    (may_clear_bounds ? CAPNG_CLEAR_BOUNDING : 0));
	else
		r = capng_apply(CAPNG_SELECT_CAPS | CAPNG_SELECT_AMBIENT |
				(may_clear_bounds ? CAPNG_SELECT_BOUNDS : 0));
	if (r)
		return error_set(
			err, -EPERM,
			"cannot become user '%s' with reduced capabilities (libcap-ng: %d)",
			user->name, r);
	/* Trust nothing that can be tried. */
	if (geteuid() != user->uid || getegid() != user->gid)
		return error_set(err, -EPERM, "still uid %u after becoming user '%s'", geteuid(),
				 user->name);
	if (user->uid != 0 && setresuid(0, 0, 0) == 0)
		return error_set(err, -EPERM, "root could be had back after becoming user '%s'",
				 user->name);
	return 0;
}

int privileges_drop(const struct user *user, struct privileges_report *report, struct error *err)
{
	int r;

	if (user) {
		r = become(user, err);
		if (r)
			return r;
		(void)snprintf(report->user, sizeof(report->user), "%s", user->name);
		/*
		 * A change of uid makes the process undumpable, which is as it should be for one
		 * that will hold keys; the leak check at exit however traces the process.
		 */
		if (SLUICE_SANITIZER_RUNTIME)
			(void)prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
	}
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return error_set_errno(err, -errno, "cannot set no_new_privs");
	report->no_new_privs = true;
	return 0;
}

void privileges_drop_worker(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[2] = {{0}, {0}};

	/* This thread only; giving up needs no permission. */
	(void)syscall(SYS_capset, &header, none);
}

void privileges_walk_capabilities(void (*visit)(const char *name, void *arg), void *arg)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {{0}, {0}};

	if (syscall(SYS_capget, &header, data))
		return;
	for (unsigned int cap = 0; cap < 64; cap++) {
		const char *known;
		char name[48];

		if (!(data[cap / 32].effective & (1u << cap % 32)))
			continue;
		known = capng_capability_to_name(cap);
		if (known)
			(void)snprintf(name, sizeof(name), "CAP_%s", known);
		else
			(void)snprintf(name, sizeof(name), "CAP_%u", cap);
		for (char *byte = name; *byte; byte++)
			*byte = (char)toupper((unsigned char)*byte);
		visit(name, arg);
	}
}

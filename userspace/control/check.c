#include "control/check.h"

#include <errno.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "config/config.h"
#include "control/config_files.h"
#include "http/snapshot.h"

#define EFFECTIVE_BYTES_MAX (64u << 20)
#define ERROR_BYTES_MAX	    (1u << 20)

DEFINE_FREEP(struct conf_errors, conf_errors_free)
DEFINE_FREEP(struct snapshot, snapshot_unref)

/* node.user has to exist and to be able to read it all; only root can try the latter. */
static int check_user(const char *config_file, const struct snapshot *snapshot, FILE *errors_out)
{
	_cleanup_(buf_done)
	struct buf unreadable;
	struct error err = {0};
	struct user user;
	unsigned int count = 0;
	int r;

	buf_init(&unreadable, ERROR_BYTES_MAX);
	if (!snapshot->node.user.ptr)
		return 0;
	if (user_find(snapshot->node.user, &user, &err)) {
		(void)fprintf(errors_out, "%s: %s\n", config_file, err.text);
		return 1;
	}
	if (geteuid() != 0) {
		(void)fprintf(errors_out,
			      "%s: whether user '%s' can read the files was not "
			      "checked: run as root\n",
			      config_file, user.name);
		return 0;
	}
	r = config_files_find_unreadable(config_file, &user, &unreadable, &count);
	if (r) {
		(void)fprintf(errors_out, "%s: cannot check which files '%s' can read: %s\n",
			      config_file, user.name, strerror(-r));
		return 1;
	}
	(void)fprintf(errors_out, "%.*s", STR_FMT(buf_str(&unreadable)));
	return count ? 1 : 0;
}

int check_run(const char *config_file, FILE *out, FILE *errors_out)
{
	_cleanup_(conf_errors_freep)
	struct conf_errors *errors = conf_errors_new(config_file);
	_cleanup_(snapshot_unrefp)
	struct snapshot *snapshot = NULL;
	_cleanup_(buf_done)
	struct buf text;
	int r;

	buf_init(&text, EFFECTIVE_BYTES_MAX);
	if (!errors) {
		(void)fprintf(errors_out, "%s: out of memory\n", config_file);
		return 1;
	}
	r = config_load(config_file, NULL, 0, errors, &snapshot);
	if (r) {
		if (conf_errors_print(errors, &text) || !text.len)
			(void)fprintf(errors_out, "%s: %s\n", config_file, strerror(-r));
		(void)fprintf(errors_out, "%.*s", STR_FMT(buf_str(&text)));
		return 1;
	}
	if (check_user(config_file, snapshot, errors_out))
		return 1;
	r = config_print_effective(snapshot, &text);
	if (r) {
		(void)fprintf(errors_out, "%s: cannot print the effective configuration: %s\n",
			      config_file, strerror(-r));
		return 1;
	}
	if (fwrite(text.data + text.start, 1, text.len, out) != text.len || fflush(out)) {
		(void)fprintf(errors_out, "cannot write the effective configuration: %s\n",
			      strerror(errno));
		return 1;
	}
	return 0;
}

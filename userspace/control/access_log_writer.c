#include "control/access_log_writer.h"

#include <errno.h>
#include <limits.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "control/privileges.h"

#define DIR_MODE     0750
#define STOP_SECONDS 5

int access_log_writer_prepare(const struct node_conf *node, const struct user *owner,
			      struct error *err)
{
	struct str file = node->access_log.file;
	char dir[PATH_MAX];
	char *slash;

	if (!file.ptr || file.ptr[0] != '/')
		return 0;
	(void)snprintf(dir, sizeof(dir), "%.*s", STR_FMT(file));
	slash = strrchr(dir, '/');
	if (slash == dir)
		return 0;
	*slash = '\0';
	if (mkdir(dir, DIR_MODE)) {
		if (errno == EEXIST)
			return 0;
		return error_set_errno(err, -errno, "node.access_log.file: cannot make %s", dir);
	}
	if (owner && geteuid() == 0 && chown(dir, owner->uid, owner->gid))
		return error_set_errno(err, -errno, "node.access_log.file: cannot give %s to '%s'",
				       dir, owner->name);
	return 0;
}

static void *run_thread(void *arg)
{
	struct access_log_writer *writer = arg;

	(void)pthread_setname_np(pthread_self(), "sluice-log");
	if (writer->drop_capabilities)
		privileges_drop_worker();
	access_log_sink_run(writer->sink);
	return NULL;
}

int access_log_writer_start(struct access_log_writer *writer, bool drop_capabilities,
			    struct error *err)
{
	int r = access_log_sink_new(&writer->sink, err);

	if (r)
		return r;
	writer->drop_capabilities = drop_capabilities;
	/* It inherits that the signals are blocked, which the control thread waits for. */
	r = -pthread_create(&writer->thread, NULL, run_thread, writer);
	if (r) {
		access_log_sink_free(TAKE_PTR(writer->sink));
		return error_set_errno(err, r, "cannot start the thread of the access log");
	}
	return 0;
}

bool access_log_writer_stop(struct access_log_writer *writer)
{
	struct timespec deadline;

	if (!writer->sink)
		return true;
	access_log_sink_stop(writer->sink);
	(void)clock_gettime(CLOCK_REALTIME, &deadline);
	deadline.tv_sec += STOP_SECONDS;
	if (pthread_timedjoin_np(writer->thread, NULL, &deadline)) {
		log_error("control", "the access log cannot be written: its last lines are lost");
		return false;
	}
	access_log_sink_free(TAKE_PTR(writer->sink));
	return true;
}

int access_log_writer_open(struct access_log_writer *writer, const struct snapshot *running,
			   struct snapshot *next, int *ret_fd, struct error *err)
{
	struct access_log_file *before = running ? running->access_log_file : NULL;
	struct str path = next->node.access_log.file;
	int r;

	*ret_fd = -1;
	if (!path.ptr)
		return 0;
	if (before && str_eq_cstr(path, access_log_file_path(before))) {
		r = access_log_file_reopen(before, ret_fd, err);
		if (!r)
			next->access_log_file = access_log_file_ref(before);
	} else {
		r = access_log_file_open(writer->sink, path, &next->access_log_file, err);
	}
	if (r)
		error_prefix(err, "node.access_log.file");
	return r;
}

void access_log_writer_commit(const struct snapshot *next, int fd)
{
	if (fd >= 0)
		access_log_file_replace(next->access_log_file, fd);
}

/*
 * access_log_writer: the thread that writes the access log, and the file it writes to.
 *
 * The thread is there whether or not there is a log, since none can be made once the seccomp filter
 * is loaded; it sleeps then. The file is opened as node.user and within Landlock's bounds, at start
 * as later at a reload, so that a start that went well means reloads that go well.
 * Thread rule: the control thread.
 */
#ifndef SLUICE_CONTROL_ACCESS_LOG_WRITER_H
#define SLUICE_CONTROL_ACCESS_LOG_WRITER_H

#include <pthread.h>
#include <stdbool.h>

#include "control/user.h"
#include "http/snapshot.h"

struct access_log_writer {
	struct access_log_sink *sink; /* NULL: not started */
	pthread_t thread;
	bool drop_capabilities;
};

/* The log's directory, where it is missing; given to the owner (NULL: stays ours). */
int access_log_writer_prepare(const struct node_conf *node, const struct user *owner,
			      struct error *err);
/* After privileges were dropped, before the seccomp filter. */
int access_log_writer_start(struct access_log_writer *writer, bool drop_capabilities,
			    struct error *err);
/*
 * When the workers have ended and no snapshot is left: writes what there is and frees everything.
 * False: the disk does not answer; the thread is left behind and must not be waited for.
 */
bool access_log_writer_stop(struct access_log_writer *writer);

/*
 * The file of a snapshot that is not published yet. Where it is that of the running one (`running`
 * NULL: none), it is opened anew into *ret_fd, for access_log_writer_commit(); else *ret_fd is -1.
 */
int access_log_writer_open(struct access_log_writer *writer, const struct snapshot *running,
			   struct snapshot *next, int *ret_fd, struct error *err);
/* The snapshot took over: its file goes on with the new descriptor, if there is one. */
void access_log_writer_commit(const struct snapshot *next, int fd);

#endif

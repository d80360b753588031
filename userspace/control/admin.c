#include "control/admin.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "control/admin_api.h"
#include "io/stream.h"

#define CONNECTIONS_MAX 64
#define LISTEN_BACKLOG	128

struct admin {
	struct daemon *daemon;
	struct admin_server *server;
	char path[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
	bool bound; /* the path is our socket */
};

static bool peer_is_allowed(int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len))
		return false;
	return peer.uid == 0 || peer.uid == geteuid();
}

static void dispatch(void *arg, const struct admin_request *request,
		     struct admin_response *response)
{
	struct admin *admin = arg;

	admin_dispatch(admin->daemon, request, response);
	(void)buf_append(&response->body, STR("\n"));
}

/* Its directory, when that is missing; /run is empty after every boot. */
static int make_directory(const char *path, const struct user *owner, struct error *err)
{
	char dir[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
	char *slash;

	(void)snprintf(dir, sizeof(dir), "%s", path);
	slash = strrchr(dir, '/');
	if (!slash || slash == dir)
		return 0;
	*slash = '\0';
	if (mkdir(dir, 0755)) {
		if (errno == EEXIST)
			return 0;
		return error_set_errno(err, -errno, "node.admin.socket: cannot make %s", dir);
	}
	/* To remove the socket, its user has to own the directory. */
	if (owner && geteuid() == 0 && chown(dir, owner->uid, owner->gid))
		return error_set_errno(err, -errno, "node.admin.socket: cannot give %s to '%s'",
				       dir, owner->name);
	return 0;
}

static int open_socket(struct admin *admin, const struct user *owner, int *ret_fd,
		       struct error *err)
{
	struct sock_addr addr = {.un = {.sun_family = AF_UNIX}};
	mode_t before;
	int r;

	memcpy(addr.un.sun_path, admin->path, sizeof(admin->path));
	addr.len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(admin->path) + 1);
	r = make_directory(admin->path, owner, err);
	if (r)
		return r;
	before = umask(0177); /* nobody else may connect before it has its owner */
	r = listen_socket_open(&addr, 0, LISTEN_BACKLOG, ret_fd, err);
	(void)umask(before);
	if (r) {
		error_prefix(err, "node.admin.socket");
		return r;
	}
	admin->bound = true;
	if (owner && geteuid() == 0 && chown(admin->path, owner->uid, owner->gid))
		return error_set_errno(err, -errno, "node.admin.socket: cannot give it to '%s'",
				       owner->name);
	if (chmod(admin->path, 0660))
		return error_set_errno(err, -errno, "node.admin.socket: cannot set its mode");
	return 0;
}

int admin_new(struct daemon *daemon, struct str socket_path, const struct user *owner,
	      struct admin **ret_admin, struct error *err)
{
	struct admin *admin = calloc(1, sizeof(*admin));
	const struct admin_server_config config = {
		.what = "admin socket",
		.connections_max = CONNECTIONS_MAX,
		.is_allowed = peer_is_allowed,
		.forbidden = "only root and the daemon's own user may",
		.dispatch = dispatch,
		.arg = admin,
	};
	_cleanup_close_ int fd = -1;
	int r;

	if (!admin)
		return error_set(err, -ENOMEM, "out of memory for the admin API");
	admin->daemon = daemon;
	r = str_to_cstr(socket_path, admin->path, sizeof(admin->path));
	if (r)
		(void)error_set_errno(err, r, "node.admin.socket");
	else
		r = open_socket(admin, owner, &fd, err);
	if (!r)
		r = admin_server_new(daemon->loop, TAKE_FD(fd), &config, &admin->server, err);
	if (r) {
		admin_free(admin);
		return r;
	}
	*ret_admin = admin;
	return 0;
}

void admin_stop(struct admin *admin)
{
	if (admin)
		admin_server_stop(admin->server);
}

bool admin_is_stopped(const struct admin *admin)
{
	return !admin || admin_server_is_stopped(admin->server);
}

void admin_free(struct admin *admin)
{
	if (!admin)
		return;
	/* Only what we bound: a failed start must not remove a living daemon's socket. */
	if (admin->bound && unlink(admin->path) && errno != ENOENT)
		log_info("control", "the admin socket stays behind: %s", strerror(errno));
	admin_server_free(admin->server);
	free(admin);
}

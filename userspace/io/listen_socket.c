#include <errno.h>
#include <netinet/tcp.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "io/stream.h"

static int set_option(int fd, int level, int option)
{
	int on = 1;

	return setsockopt(fd, level, option, &on, sizeof(on)) ? -errno : 0;
}

/* True when the path is a socket that nobody listens on, as a crash leaves it behind. */
static bool unix_path_is_dead(const struct sock_addr *addr)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct stat status;

	if (fd < 0 || lstat(addr->un.sun_path, &status) || !S_ISSOCK(status.st_mode))
		return false;
	return connect(fd, &addr->any, addr->len) && errno == ECONNREFUSED;
}

static int bind_to(int fd, const struct sock_addr *addr)
{
	int result = bind(fd, &addr->any, addr->len) ? -errno : 0;

	if (result != -EADDRINUSE || addr->any.sa_family != AF_UNIX || !addr->un.sun_path[0] ||
	    !unix_path_is_dead(addr))
		return result;
	if (unlink(addr->un.sun_path))
		return -errno;
	return bind(fd, &addr->any, addr->len) ? -errno : 0;
}

static const char *hint(int result)
{
	switch (result) {
	case -EADDRINUSE:
		return " (does something else listen there?)";
	case -EADDRNOTAVAIL:
		return " (no such address on this machine)";
	case -EACCES:
		return " (ports below 1024 need CAP_NET_BIND_SERVICE, paths a writable directory)";
	default:
		return "";
	}
}

int listen_socket_open(const struct sock_addr *addr, unsigned int flags, int backlog, int *ret_fd,
		       struct error *err)
{
	char text[ADDR_TEXT_MAX];
	_cleanup_close_ int fd = -1;
	int family = addr->any.sa_family;
	int result;

	(void)sock_addr_format(addr, text, sizeof(text));
	fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return error_set_errno(err, -errno, "'%s': no socket", text);
	if (family != AF_UNIX) {
		result = set_option(fd, SOL_SOCKET, SO_REUSEADDR);
		if (result == 0 && flags & LISTEN_REUSEPORT)
			result = set_option(fd, SOL_SOCKET, SO_REUSEPORT);
		/* Without it an IPv6 wildcard takes the IPv4 port as well. */
		if (result == 0 && family == AF_INET6)
			result = set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY);
		/* Without it connections are asked for their addresses. */
		if (flags & LISTEN_SAVE_SYN)
			(void)set_option(fd, IPPROTO_TCP, TCP_SAVE_SYN);
		if (result < 0)
			return error_set_errno(err, result, "'%s': setting socket options", text);
	}
	result = bind_to(fd, addr);
	if (result < 0)
		return error_set(err, result, "cannot bind to '%s': %s%s", text, strerror(-result),
				 hint(result));
	if (listen(fd, backlog)) {
		result = -errno;
		return error_set_errno(err, result, "cannot listen on '%s'", text);
	}
	*ret_fd = TAKE_FD(fd);
	return 0;
}

#include "io/stream_progress.h"

#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stddef.h>

int stream_get_progress(const struct stream *stream, struct stream_progress *ret_progress)
{
	struct tcp_info info = {0};
	socklen_t len = sizeof(info);

	if (stream->fd < 0)
		return -ENOTCONN;
	if (getsockopt(stream->fd, IPPROTO_TCP, TCP_INFO, &info, &len))
		return -errno;
	/* Linux 4.6 has all of them. */
	if (len < offsetof(struct tcp_info, tcpi_notsent_bytes) + sizeof(info.tcpi_notsent_bytes))
		return -EOPNOTSUPP;
	ret_progress->acked_bytes = info.tcpi_bytes_acked;
	ret_progress->pending = info.tcpi_unacked || info.tcpi_notsent_bytes;
	return 0;
}

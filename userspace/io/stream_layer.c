#include "io/stream_layer.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>

#include "io/engine.h"

void stream_layer_set(struct stream *stream, struct stream_layer *layer)
{
	assert(stream_is_open(stream) && !stream_is_sending(stream) && !stream->layer);
	stream->layer = layer;
	stream_queue_work(stream);
}

void stream_layer_queue(struct stream *stream)
{
	stream_queue_work(stream);
}

void stream_raw_send(struct stream *stream, const struct iovec *iov, unsigned int count, bool quiet)
{
	assert(count > 0 && count <= STREAM_IOV_MAX);
	assert(!(stream->flags & (STREAM_SEND_ASKED | STREAM_SEND_ARMED)));
	stream_send_start(stream, iov, count, quiet ? STREAM_SEND_QUIET : 0);
}

void stream_raw_send_file(struct stream *stream, const struct iovec *iov, unsigned int count,
			  int file_fd, uint64_t offset, uint64_t len)
{
	assert(!(stream->flags & (STREAM_SEND_ASKED | STREAM_SEND_ARMED)));
	stream_send_file_start(stream, iov, count, file_fd, offset, len, 0);
}

void stream_raw_send_pipe(struct stream *stream, const struct iovec *iov, unsigned int count,
			  struct splice_pipe *pipe, size_t len)
{
	assert(!(stream->flags & (STREAM_SEND_ASKED | STREAM_SEND_ARMED)));
	stream_send_pipe_start(stream, iov, count, pipe, len, 0);
}

void stream_raw_send_msg(struct stream *stream, const struct msghdr *msg)
{
	assert(!(stream->flags & (STREAM_SEND_ASKED | STREAM_SEND_ARMED)));
	stream->send_whole = msg;
	stream_send_start(stream, NULL, 0, STREAM_SEND_FILE);
}

ssize_t stream_raw_send_msg_now(struct stream *stream, const struct msghdr *msg)
{
	ssize_t sent = sendmsg(stream->fd, msg, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (sent < 0)
		return errno == EINTR ? -EAGAIN : -errno;
	return sent;
}

bool stream_raw_is_writable(const struct stream *stream)
{
	struct pollfd look = {.fd = stream->fd, .events = POLLOUT};

	/* Errors count: the send meets them. */
	return poll(&look, 1, 0) > 0;
}

void stream_raw_recv(struct stream *stream, enum recv_mode mode)
{
	if (!stream_is_open(stream) || stream->flags & STREAM_RECV_ENDED ||
	    stream->recv_mode == mode)
		return;
	stream_set_recv_mode(stream, mode);
}

bool stream_raw_recv_is_off(const struct stream *stream)
{
	return stream->recv_mode == RECV_OFF && !(stream->flags & STREAM_RECV_ARMED);
}

void stream_raw_recv_again(struct stream *stream)
{
	stream->flags &= ~(uint32_t)STREAM_RECV_ENDED;
	stream->flags |= STREAM_READABLE;
}

ssize_t stream_raw_send_now(struct stream *stream, const void *data, size_t len)
{
	ssize_t sent = send(stream->fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);

	return sent < 0 ? -errno : sent;
}

void stream_raw_shutdown(struct stream *stream)
{
	(void)shutdown(stream->fd, SHUT_WR);
}

struct recv_buf *stream_take_buf(struct stream *stream)
{
	return recv_pool_take(stream->loop->pool);
}

void stream_put_buf_back(struct recv_buf *buf)
{
	recv_pool_put_back(buf);
}

void stream_layer_starve(struct stream *stream)
{
	stream_starve(stream);
}

void stream_tell_recv(struct stream *stream, struct recv_buf *buf, int len_or_result)
{
	if (buf)
		recv_pool_hand_out(buf, (uint32_t)len_or_result);
	loop_tell(stream->loop);
	stream->ops->on_recv(stream, buf, len_or_result);
}

void stream_pass_recv(struct stream *stream, struct recv_buf *buf)
{
	loop_tell(stream->loop);
	stream->ops->on_recv(stream, buf, (int)buf->len);
}

void stream_tell_sent(struct stream *stream, int64_t result)
{
	stream->flags &= ~(uint32_t)STREAM_FLAG_SENDING;
	loop_tell(stream->loop);
	stream->ops->on_sent(stream, result);
}

void stream_tell_secured(struct stream *stream, int result)
{
	loop_tell(stream->loop);
	stream->ops->on_secured(stream, result);
}

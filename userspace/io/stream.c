#include "io/stream.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "io/engine.h"
#include "io/stream_layer.h"

void stream_init(struct stream *stream, const struct stream_ops *ops)
{
	stream->ops = ops;
	stream->loop = NULL;
	stream->fd = -1;
	stream->layer = NULL;
	list_init(&stream->work_link);
	list_init(&stream->starved_link);
	stream->flags = 0;
	stream->recv_mode = RECV_OFF;
	stream->ops_in_flight = 0;
	stream->connect_result = 0;
	stream->send_iov_count = 0;
	stream->send_iov_first = 0;
	stream->send_total = 0;
	stream->send_file_turn = UINT64_MAX;
	stream->send_pipe = stream->recv_pipe = NULL;
	stream->send_whole = NULL;
}

bool stream_is_open(const struct stream *stream)
{
	return stream->flags & STREAM_OPEN;
}

static void set_nodelay(int fd)
{
	int on = 1;

	/* Refused by sockets that are not TCP, which know no delay. */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

/* An io_uring operation on a non-blocking socket fails with -EAGAIN instead of waiting. */
static int set_blocking_for(const struct engine_ops *engine, int fd)
{
	int nonblocking = engine->id != IO_ENGINE_IO_URING;

	return ioctl(fd, FIONBIO, &nonblocking) ? -errno : 0;
}

/* On failure the descriptor stays the caller's. */
static int open_on(struct loop *loop, struct stream *stream, int fd, uint32_t flags)
{
	int result;

	stream->loop = loop;
	stream->fd = fd;
	stream->flags = STREAM_OPEN | STREAM_WRITABLE | flags;
	stream->recv_mode = RECV_OFF;
	result = loop->engine->stream_open(stream);
	if (result < 0) {
		stream->fd = -1;
		stream->flags = 0;
		return result;
	}
	loop->stats.streams_open++;
	return 0;
}

int stream_adopt_accepted(struct loop *loop, struct stream *stream, int fd)
{
	return open_on(loop, stream, fd, 0);
}

int stream_adopt(struct loop *loop, struct stream *stream, int fd)
{
	int result = set_blocking_for(loop->engine, fd);

	if (result == 0)
		result = open_on(loop, stream, fd, 0);
	if (result == 0)
		set_nodelay(fd);
	return result;
}

int stream_connect(struct loop *loop, struct stream *stream, const struct sock_addr *addr)
{
	int family = addr->any.sa_family;
	/*
	 * Unix sockets are connected here with either engine: it never takes time, unless the
	 * listener's queue is full, and then io_uring would block one of its kernel threads.
	 */
	bool by_engine = loop->engine->connects && family != AF_UNIX;
	_cleanup_close_ int fd = -1;
	uint32_t flags = STREAM_CONNECTING;
	int result;

	fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | (by_engine ? 0 : SOCK_NONBLOCK), 0);
	if (fd < 0)
		return -errno;
	if (family != AF_UNIX)
		set_nodelay(fd);
	stream->connect_addr = *addr;
	stream->connect_result = 0;
	if (!by_engine) {
		int error = connect(fd, &addr->any, addr->len) ? errno : 0;

		if (error != EINPROGRESS) {
			flags |= STREAM_CONNECT_DONE;
			stream->connect_result = -error;
		}
	}
	result = set_blocking_for(loop->engine, fd);
	if (result == 0)
		result = open_on(loop, stream, fd, flags);
	if (result < 0)
		return result;
	(void)TAKE_FD(fd);
	stream_queue_work(stream);
	return 0;
}

void stream_set_recv_mode(struct stream *stream, enum recv_mode mode)
{
	stream->recv_mode = (uint8_t)mode;
	stream->recv_pipe = NULL;
	if (mode == RECV_OFF && stream->flags & STREAM_STARVED) {
		list_remove(&stream->starved_link);
		stream->flags &= ~(uint32_t)STREAM_STARVED;
	}
	stream_queue_work(stream);
}

void stream_recv_start(struct stream *stream, enum recv_mode mode)
{
	if (!stream_is_open(stream))
		return;
	if (UNLIKELY(stream->layer))
		stream->layer->ops->recv_start(stream, mode);
	else if (!(stream->flags & STREAM_RECV_ENDED))
		stream_set_recv_mode(stream, mode);
}

void stream_recv_stop(struct stream *stream)
{
	stream_recv_start(stream, RECV_OFF);
}

void stream_recv_pipe(struct stream *stream, struct splice_pipe *pipe, size_t bytes)
{
	assert(pipe->bytes == 0 && bytes > 0 && stream_can_splice(stream));
	if (!stream_is_open(stream) || stream->flags & STREAM_RECV_ENDED)
		return;
	stream->recv_pipe = pipe;
	stream->recv_pipe_bytes = MIN(bytes, pipe->size_bytes);
	stream->recv_mode = RECV_PIPE;
	stream_queue_work(stream);
}

int64_t stream_pipe_step(struct stream *stream)
{
	struct splice_pipe *pipe = stream->recv_pipe;
	/*
	 * A blocking socket does not block here: it was found readable, and splice(2) stops at what
	 * there is. The flag is for the pipe.
	 */
	ssize_t moved = splice(stream->fd, NULL, pipe->in_fd, NULL, stream->recv_pipe_bytes,
			       SPLICE_F_NONBLOCK | SPLICE_F_MOVE);

	if (moved < 0)
		return errno == EINTR ? -EAGAIN : -errno;
	pipe->bytes += (size_t)moved;
	return moved;
}

void stream_deliver_piped(struct stream *stream, int64_t result)
{
	stream->recv_pipe = NULL;
	if (result <= 0) {
		stream_deliver_recv(stream, NULL, (int)result);
		return;
	}
	stream->recv_mode = RECV_OFF;
	loop_tell(stream->loop);
	stream->ops->on_piped(stream, (size_t)result);
}

static int send_check(const struct stream *stream, unsigned int count)
{
	if (!stream_is_open(stream) || stream->flags & STREAM_CONNECTING)
		return -ENOTCONN;
	if (stream->flags & STREAM_FLAG_SENDING)
		return -EBUSY;
	return count > STREAM_IOV_MAX ? -EINVAL : 0;
}

void stream_send_start(struct stream *stream, const struct iovec *iov, unsigned int count,
		       uint32_t flags)
{
	int64_t total = 0;

	for (unsigned int i = 0; i < count; i++) {
		stream->send_iov[i] = iov[i];
		total += (int64_t)iov[i].iov_len;
	}
	stream->send_iov_first = 0;
	stream->send_iov_count = count;
	stream->send_total = total;
	stream->flags |= STREAM_SEND_ASKED | flags;
	stream_queue_work(stream);
}

static int send_memory(struct stream *stream, const struct iovec *iov, unsigned int count,
		       uint32_t flags)
{
	int result = send_check(stream, count);

	if (result == 0 && count == 0)
		result = -EINVAL;
	if (result < 0)
		return result;
	if (UNLIKELY(stream->layer)) {
		result = stream->layer->ops->send(stream, iov, count, flags & STREAM_SEND_QUIET);
		if (result == 0)
			stream->flags |= STREAM_FLAG_SENDING;
		return result;
	}
	stream_send_start(stream, iov, count, STREAM_FLAG_SENDING | flags);
	return 0;
}

int stream_send(struct stream *stream, const struct iovec *iov, unsigned int count)
{
	return send_memory(stream, iov, count, 0);
}

int stream_send_quiet(struct stream *stream, const struct iovec *iov, unsigned int count)
{
	return send_memory(stream, iov, count, STREAM_SEND_QUIET);
}

void stream_send_file_start(struct stream *stream, const struct iovec *iov, unsigned int count,
			    int file_fd, uint64_t offset, uint64_t len, uint32_t flags)
{
	stream->send_pipe = NULL;
	stream->send_whole = NULL;
	stream->send_file_fd = file_fd;
	stream->send_file_offset = offset;
	stream->send_file_bytes = MIN(len, (uint64_t)STREAM_FILE_AT_ONCE);
	stream_send_start(stream, iov, count, flags | STREAM_SEND_FILE);
}

void stream_send_pipe_start(struct stream *stream, const struct iovec *iov, unsigned int count,
			    struct splice_pipe *pipe, size_t len, uint32_t flags)
{
	stream->send_pipe = pipe;
	stream->send_whole = NULL;
	stream->send_file_bytes = MIN(len, (size_t)STREAM_FILE_AT_ONCE);
	stream_send_start(stream, iov, count, flags | STREAM_SEND_FILE);
}

bool stream_raw_send_is_open(const struct stream *stream)
{
	return (stream->flags & (STREAM_SEND_ASKED | STREAM_SEND_ARMED | STREAM_SEND_FILE)) ==
	       STREAM_SEND_ASKED;
}

int stream_raw_send_more(struct stream *stream, const struct iovec *iov, unsigned int count,
			 bool quiet)
{
	if (count > STREAM_IOV_MAX - stream->send_iov_count)
		return -EINVAL;
	for (unsigned int i = 0; i < count; i++) {
		stream->send_iov[stream->send_iov_count++] = iov[i];
		stream->send_total += (int64_t)iov[i].iov_len;
	}
	stream->flags &= ~(uint32_t)STREAM_SEND_QUIET;
	if (quiet)
		stream->flags |= STREAM_SEND_QUIET;
	return 0;
}

bool stream_send_is_open(const struct stream *stream)
{
	if (UNLIKELY(stream->layer))
		return stream_is_sending(stream) && stream->layer->ops->send_is_open(stream);
	return stream_raw_send_is_open(stream);
}

int stream_send_more(struct stream *stream, const struct iovec *iov, unsigned int count, bool quiet)
{
	if (!stream_is_open(stream))
		return -ENOTCONN;
	if (!stream_send_is_open(stream))
		return -EBUSY;
	if (UNLIKELY(stream->layer))
		return stream->layer->ops->send_more(stream, iov, count, quiet);
	return stream_raw_send_more(stream, iov, count, quiet);
}

int stream_send_file(struct stream *stream, const struct iovec *iov, unsigned int count,
		     int file_fd, uint64_t offset, uint64_t len)
{
	int result = send_check(stream, count);

	if (result == 0 && (len == 0 || offset > INT64_MAX || len > INT64_MAX - offset))
		result = -EINVAL;
	if (result < 0)
		return result;
	if (UNLIKELY(stream->layer)) {
		result = stream->layer->ops->send_file(stream, iov, count, file_fd, offset, len);
		if (result == 0)
			stream->flags |= STREAM_FLAG_SENDING;
		return result;
	}
	stream_send_file_start(stream, iov, count, file_fd, offset, len, STREAM_FLAG_SENDING);
	return 0;
}

bool stream_can_send_pipe(const struct stream *stream)
{
	return !stream->layer || stream->layer->sends_raw;
}

int stream_send_pipe(struct stream *stream, const struct iovec *iov, unsigned int count,
		     struct splice_pipe *pipe, size_t len)
{
	int result = send_check(stream, count);

	if (result == 0 && !stream_can_send_pipe(stream))
		result = -EOPNOTSUPP;
	if (result == 0 && (len == 0 || len > pipe->bytes))
		result = -EINVAL;
	if (result < 0)
		return result;
	if (UNLIKELY(stream->layer)) {
		result = stream->layer->ops->send_pipe(stream, iov, count, pipe, len);
		if (result == 0)
			stream->flags |= STREAM_FLAG_SENDING;
		return result;
	}
	stream_send_pipe_start(stream, iov, count, pipe, len, STREAM_FLAG_SENDING);
	return 0;
}

bool stream_file_has_turn(struct stream *stream)
{
	uint64_t turn = stream->loop->stats.turns;

	if (stream->send_file_turn == turn) {
		stream_queue_work(stream);
		return false;
	}
	stream->send_file_turn = turn;
	return true;
}

static ssize_t send_file_part(struct stream *stream)
{
	off_t offset = (off_t)stream->send_file_offset;
	ssize_t part;

	if (!stream->send_pipe)
		return sendfile(stream->fd, stream->send_file_fd, &offset, stream->send_file_bytes);
	part = splice(stream->send_pipe->out_fd, NULL, stream->fd, NULL, stream->send_file_bytes,
		      SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
	if (part > 0)
		stream->send_pipe->bytes -= (size_t)part;
	return part;
}

int64_t stream_file_step(struct stream *stream, bool *ret_full)
{
	int64_t sent = 0;
	ssize_t part;

	*ret_full = true;
	if (stream->send_whole) {
		if (!stream_raw_is_writable(stream))
			return -EAGAIN;
		sent = stream_raw_send_msg_now(stream, stream->send_whole);
		*ret_full = sent < 0;
		return sent;
	}
	if (stream->send_total > 0) {
		struct msghdr msg = {
			.msg_iov = stream->send_iov,
			.msg_iovlen = stream->send_iov_count,
		};

		/* MSG_MORE: the head travels with the first bytes of the file. */
		part = sendmsg(stream->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL | MSG_MORE);
		if (part < 0)
			return errno == EINTR ? -EAGAIN : -errno;
		if (part < stream->send_total)
			return part ? part : -EIO;
		sent = part;
	}
	part = send_file_part(stream);
	if (part < 0 && errno == EINTR)
		part = -EAGAIN;
	else if (part < 0)
		part = -errno;
	else if (part == 0)
		part = -ENODATA; /* it shrank: whoever waits for the rest must not get padding */
	if (part < 0)
		return sent ? sent : part; /* the next step meets the error again */
	*ret_full = (uint64_t)part < stream->send_file_bytes;
	return sent + part;
}

bool stream_send_advance(struct stream *stream, size_t sent_bytes)
{
	while (stream->send_iov_first < stream->send_iov_count) {
		struct iovec *iov = &stream->send_iov[stream->send_iov_first];

		if (sent_bytes < iov->iov_len) {
			iov->iov_base = (char *)iov->iov_base + sent_bytes;
			iov->iov_len -= sent_bytes;
			return false;
		}
		sent_bytes -= iov->iov_len;
		stream->send_iov_first++;
	}
	return true;
}

void stream_shutdown_send(struct stream *stream)
{
	assert(!stream_is_sending(stream));
	if (!stream_is_open(stream))
		return;
	if (stream->layer) {
		stream->layer->ops->shutdown_send(stream);
		return;
	}
	/* IORING_OP_SHUTDOWN would wake a kernel thread for what never blocks. */
	(void)shutdown(stream->fd, SHUT_WR);
}

static void close_open(struct stream *stream)
{
	stream->flags &= ~(uint32_t)(STREAM_OPEN | STREAM_STARVED | STREAM_SEND_ASKED);
	stream->flags |= STREAM_CLOSING;
	stream->recv_mode = RECV_OFF;
	stream->recv_pipe = NULL;
	list_remove(&stream->starved_link);
	stream_queue_work(stream);
}

void stream_close(struct stream *stream)
{
	if (!stream_is_open(stream))
		return;
	if (UNLIKELY(stream->layer))
		stream->layer->ops->closing(stream);
	close_open(stream);
}

const char *stream_error_text(const struct stream *stream)
{
	return stream->layer ? stream->layer->ops->error_text(stream) : NULL;
}

void socket_reset_on_close(int fd)
{
	struct linger linger = {.l_onoff = 1, .l_linger = 0};

	(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
}

void stream_abort(struct stream *stream)
{
	if (!stream_is_open(stream))
		return;
	socket_reset_on_close(stream->fd);
	close_open(stream);
}

void stream_starve(struct stream *stream)
{
	if (stream->flags & STREAM_STARVED)
		return;
	stream->loop->stats.recv_starved++;
	stream->flags |= STREAM_STARVED;
	list_push_back(&stream->loop->starved, &stream->starved_link);
}

void stream_deliver_recv(struct stream *stream, struct recv_buf *buf, int result)
{
	if (!buf) {
		stream->flags |= STREAM_RECV_ENDED;
		stream->recv_mode = RECV_OFF;
	} else if (stream->recv_mode == RECV_ONE) {
		stream->recv_mode = RECV_OFF;
	}
	if (UNLIKELY(stream->layer)) {
		stream->layer->ops->on_recv(stream, buf, result);
		return;
	}
	loop_tell(stream->loop);
	stream->ops->on_recv(stream, buf, result);
}

void stream_deliver_sent(struct stream *stream, int64_t result)
{
	stream->flags &= ~(uint32_t)(STREAM_SEND_ASKED | STREAM_SEND_FILE | STREAM_SEND_QUIET);
	if (UNLIKELY(stream->layer)) {
		stream->layer->ops->on_sent(stream, result);
		return;
	}
	stream->flags &= ~(uint32_t)STREAM_FLAG_SENDING;
	loop_tell(stream->loop);
	stream->ops->on_sent(stream, result);
}

void stream_deliver_connected(struct stream *stream, int result)
{
	stream->flags &= ~(uint32_t)(STREAM_CONNECTING | STREAM_CONNECT_DONE);
	if (result < 0) {
		stream->flags |= STREAM_RECV_ENDED;
		stream->recv_mode = RECV_OFF;
	}
	stream_queue_work(stream); /* receiving may have been asked for already */
	loop_tell(stream->loop);
	stream->ops->on_connected(stream, result);
}

void stream_deliver_closed(struct stream *stream)
{
	struct stream_layer *layer = stream->layer;
	struct loop *loop = stream->loop;

	assert(stream->ops_in_flight == 0);
	list_remove(&stream->work_link);
	stream->fd = -1;
	stream->flags = 0;
	loop->stats.streams_open--;
	loop_tell(loop);
	if (stream->ops->on_closed)
		stream->ops->on_closed(stream);
	if (UNLIKELY(layer))
		layer->ops->free(layer);
}

/* ---- acceptors ---- */

bool accept_error_is_transient(int error)
{
	switch (error) {
	case -EINTR:
	case -ECANCELED:
	case -ECONNABORTED:
	case -EPROTO:
	case -ENOPROTOOPT:
	case -ENETDOWN:
	case -ENETUNREACH:
	case -EHOSTDOWN:
	case -EHOSTUNREACH:
	case -ENONET:
		return true;
	default:
		return false;
	}
}

static void end_pause(struct timer *timer)
{
	struct acceptor *acceptor = CONTAINER_OF(timer, struct acceptor, pause_timer);

	acceptor->state &= ~(uint32_t)SOURCE_PAUSED;
	acceptor_queue_work(acceptor);
}

int acceptor_take(struct loop *loop, int listen_fd)
{
	int nonblocking = 1;
	int fd;

	if (ioctl(listen_fd, FIONBIO, &nonblocking))
		return -errno;
	fd = accept4(listen_fd, NULL, NULL,
		     SOCK_CLOEXEC | (loop->engine->id == IO_ENGINE_IO_URING ? 0 : SOCK_NONBLOCK));
	return fd < 0 ? -errno : fd;
}

int acceptor_start(struct loop *loop, struct acceptor *acceptor, int listen_fd)
{
	int listening = 0;
	socklen_t len = sizeof(listening);
	int result;

	if (acceptor->state)
		return -EBUSY;
	if (getsockopt(listen_fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len))
		return -errno;
	if (!listening)
		return -EINVAL;
	result = set_blocking_for(loop->engine, listen_fd);
	if (result < 0)
		return result;
	set_nodelay(listen_fd); /* what it accepts has that, too */
	acceptor->loop = loop;
	acceptor->fd = listen_fd;
	list_init(&acceptor->link);
	timer_init(&acceptor->pause_timer, end_pause);
	acceptor->state = SOURCE_ON;
	result = loop->engine->acceptor_open(acceptor);
	if (result < 0) {
		acceptor->state = 0;
		return result;
	}
	acceptor_queue_work(acceptor);
	return 0;
}

void acceptor_hold(struct acceptor *acceptor, bool hold)
{
	if (!(acceptor->state & SOURCE_ON) || acceptor->state & SOURCE_STOPPING ||
	    !!(acceptor->state & SOURCE_HELD) == hold)
		return;
	acceptor->state ^= SOURCE_HELD;
	acceptor_queue_work(acceptor);
}

void acceptor_stop(struct acceptor *acceptor)
{
	if (!(acceptor->state & SOURCE_ON) || acceptor->state & SOURCE_STOPPING)
		return;
	timer_stop(&acceptor->pause_timer);
	acceptor->state |= SOURCE_STOPPING;
	acceptor->loop->engine->acceptor_close(acceptor);
	acceptor_queue_work(acceptor);
}

void acceptor_fail(struct acceptor *acceptor, int error)
{
	if (acceptor->state & SOURCE_STOPPING)
		return;
	acceptor->state |= SOURCE_PAUSED;
	timer_start(acceptor->loop, &acceptor->pause_timer, ACCEPT_PAUSE_MS);
	acceptor_deliver(acceptor, error);
}

void acceptor_deliver(struct acceptor *acceptor, int fd_or_error)
{
	loop_tell(acceptor->loop);
	acceptor->on_accept(acceptor, fd_or_error);
}

void acceptor_deliver_stopped(struct acceptor *acceptor)
{
	list_remove(&acceptor->link);
	acceptor->state = 0;
	loop_tell(acceptor->loop);
	if (acceptor->on_stopped)
		acceptor->on_stopped(acceptor);
}

/*
 * The io_uring engine's streams: receives (multishot or single, into the buffer ring), sends,
 * connects, and closing once nothing is in flight.
 */
#include <errno.h>
#include <sys/ioctl.h>

#include "base/cleanup.h"
#include "io/stream_layer.h"
#include "io/uring.h"

/* The field for a send's length has 32 bits; what is longer goes in pieces. */
#define SEND_BYTES_MAX ((size_t)1 << 30)

static void set_flags(struct stream *stream, uint32_t flags)
{
	stream->flags |= flags;
}

static void clear_flags(struct stream *stream, uint32_t flags)
{
	stream->flags &= ~flags;
}

static void mark_in_flight(struct stream *stream, struct io_uring_sqe *sqe, enum uring_tag tag)
{
	io_uring_sqe_set_data64(sqe, uring_user_data(stream, tag));
	stream->ops_in_flight++;
}

int uring_stream_open(struct stream *stream)
{
	return 0;
}

/*
 * Only sendfile(2) wants the socket non-blocking, and operations meet that as an error. It is
 * changed back when the next operation needs it, so that file after file costs no system calls.
 */
static void set_nonblocking(struct stream *stream, bool nonblocking)
{
	int value = nonblocking;

	if (nonblocking == !!(stream->flags & STREAM_NONBLOCKING))
		return;
	(void)ioctl(stream->fd, FIONBIO, &value); /* fails for no socket */
	if (nonblocking)
		set_flags(stream, STREAM_NONBLOCKING);
	else
		clear_flags(stream, STREAM_NONBLOCKING);
}

/* ---- receiving ---- */

static int arm_recv(struct stream *stream)
{
	struct io_uring_sqe *sqe = uring_take_sqe(uring_of(stream->loop));

	if (!sqe)
		return -EAGAIN;
	if (stream->recv_mode == RECV_PIPE) {
		io_uring_prep_poll_add(sqe, stream->fd, POLLIN);
		mark_in_flight(stream, sqe, URING_RECV);
		set_flags(stream, STREAM_RECV_ARMED | STREAM_RECV_POLL);
		return 0;
	}
	set_nonblocking(stream, false);
	/* Length 0: the whole of whatever buffer the kernel picks. */
	if (stream->recv_mode == RECV_MANY) {
		io_uring_prep_recv_multishot(sqe, stream->fd, NULL, 0, 0);
		set_flags(stream, STREAM_RECV_MULTI);
	} else {
		io_uring_prep_recv(sqe, stream->fd, NULL, 0, 0);
	}
	sqe->flags |= IOSQE_BUFFER_SELECT;
	sqe->buf_group = RECV_POOL_GROUP;
	mark_in_flight(stream, sqe, URING_RECV);
	set_flags(stream, STREAM_RECV_ARMED);
	return 0;
}

static void complete_recv_poll(struct stream *stream, int result)
{
	if (result == -ECANCELED || stream->recv_mode != RECV_PIPE)
		return;
	if (result >= 0)
		result = (int)stream_pipe_step(stream);
	if (result != -EAGAIN && result != -EINTR)
		stream_deliver_piped(stream, result);
}

static int reconcile_recv(struct stream *stream)
{
	bool polls = stream->flags & STREAM_RECV_POLL;
	bool unwanted = stream->recv_mode == RECV_OFF ||
			polls != (stream->recv_mode == RECV_PIPE) ||
			(stream->recv_mode == RECV_ONE && stream->flags & STREAM_RECV_MULTI);

	if (stream->flags & STREAM_RECV_ARMED) {
		/* A single receive where many are wanted stays: its completion makes the next. */
		if (!unwanted || stream->flags & STREAM_RECV_CANCEL)
			return 0;
		if (uring_cancel(uring_of(stream->loop), stream, URING_RECV) < 0)
			return -EAGAIN;
		set_flags(stream, STREAM_RECV_CANCEL);
		return 0;
	}
	if (stream->recv_mode == RECV_OFF ||
	    stream->flags & (STREAM_STARVED | STREAM_RECV_ENDED | STREAM_CONNECTING))
		return 0;
	return arm_recv(stream);
}

static void fail_recv(struct stream *stream, int result)
{
	switch (result) {
	case -ENOBUFS:
		if (stream->recv_mode != RECV_OFF)
			stream_starve(stream);
		break;
	case -ECANCELED: /* by reconcile_recv() or by closing */
	case -EINTR:
		break;
	default:
		stream_deliver_recv(stream, NULL, result);
	}
}

void uring_complete_recv(struct stream *stream, int result, uint32_t cqe_flags)
{
	bool polled = stream->flags & STREAM_RECV_POLL;
	struct recv_buf *buf = NULL;

	if (cqe_flags & IORING_CQE_F_BUFFER)
		buf = recv_pool_take_from_ring(stream->loop->pool,
					       cqe_flags >> IORING_CQE_BUFFER_SHIFT);
	if (!(cqe_flags & IORING_CQE_F_MORE)) {
		clear_flags(stream, STREAM_RECV_ARMED | STREAM_RECV_MULTI | STREAM_RECV_CANCEL |
					    STREAM_RECV_POLL);
		stream->ops_in_flight--;
		stream_queue_work(stream);
	}
	if (buf && (result <= 0 || stream->flags & STREAM_CLOSING)) {
		/* The end of a stream can come with a buffer, too. */
		recv_pool_put_back(buf);
		buf = NULL;
	}
	if (stream->flags & STREAM_CLOSING)
		return;
	if (polled) {
		complete_recv_poll(stream, result);
		return;
	}
	if (buf) {
		recv_pool_hand_out(buf, (uint32_t)result);
		stream_deliver_recv(stream, buf, result);
	} else {
		fail_recv(stream, result);
	}
}

/* ---- sending ---- */

/*
 * The kernel that encrypts has no MSG_WAITALL, and takes a record from a socket that is dead as
 * well as from another: what is left after a short send waits until it is seen how the socket is.
 */
static bool sends_ktls(const struct stream *stream)
{
	return stream->layer && stream->layer->sends_raw;
}

static int arm_send(struct stream *stream)
{
	struct io_uring_sqe *sqe = uring_take_sqe(uring_of(stream->loop));
	struct iovec *iov = &stream->send_iov[stream->send_iov_first];
	uint32_t count = stream->send_iov_count - stream->send_iov_first;
	int flags = MSG_WAITALL | MSG_NOSIGNAL;

	if (!sqe)
		return -EAGAIN;
	/*
	 * With MSG_WAITALL the kernel itself goes on after a short send (Linux 5.19). A socket that
	 * bodies from pipes are sent to stays non-blocking in between: then a full one is polled.
	 */
	if (stream->flags & STREAM_NONBLOCKING || sends_ktls(stream)) {
		flags = MSG_NOSIGNAL;
	} else if (stream->flags & STREAM_SEND_QUIET) {
		/* So that it completes at once, come what may: enter() counts on that. */
		flags = MSG_DONTWAIT | MSG_NOSIGNAL;
		uring_of(stream->loop)->quiet++;
	}
	if (count == 1) {
		io_uring_prep_send(sqe, stream->fd, iov->iov_base,
				   MIN(iov->iov_len, SEND_BYTES_MAX), flags);
	} else {
		stream->send_msg = (struct msghdr){.msg_iov = iov, .msg_iovlen = count};
		io_uring_prep_sendmsg(sqe, stream->fd, &stream->send_msg, (unsigned int)flags);
	}
	uring_of(stream->loop)->sends++;
	mark_in_flight(stream, sqe, URING_SEND);
	set_flags(stream, STREAM_SEND_ARMED);
	clear_flags(stream, STREAM_SEND_ASKED);
	return 0;
}

static int wait_for_room(struct stream *stream)
{
	struct io_uring_sqe *sqe = uring_take_sqe(uring_of(stream->loop));

	if (!sqe)
		return -EAGAIN;
	io_uring_prep_poll_add(sqe, stream->fd, POLLOUT);
	mark_in_flight(stream, sqe, URING_SEND);
	set_flags(stream, STREAM_SEND_ARMED | STREAM_SEND_POLL);
	clear_flags(stream, STREAM_SEND_ASKED);
	return 0;
}

/*
 * sendfile(2) and a poll where the socket is full. IORING_OP_SPLICE would need a pipe and a kernel
 * thread for each of its two halves.
 */
static int work_on_file(struct stream *stream)
{
	bool full = false;
	int64_t result;

	if (!(stream->flags & STREAM_WRITABLE))
		return wait_for_room(stream);
	if (!stream_file_has_turn(stream))
		return 0;
	set_nonblocking(stream, true);
	result = stream_file_step(stream, &full);
	if (result == -EAGAIN || (result > 0 && full))
		clear_flags(stream, STREAM_WRITABLE);
	if (result == -EAGAIN)
		return wait_for_room(stream);
	stream_deliver_sent(stream, result);
	return 0;
}

static void complete_wait_for_room(struct stream *stream, int result)
{
	if (result >= 0 && result & (POLLERR | POLLHUP) && sends_ktls(stream))
		result = -ECONNRESET;
	if (result < 0 && result != -EINTR) {
		stream_deliver_sent(stream, result);
		return;
	}
	/* Other errors of the socket come out of the next step. */
	set_flags(stream, STREAM_WRITABLE | STREAM_SEND_ASKED);
	stream_queue_work(stream);
}

void uring_complete_send(struct stream *stream, int result)
{
	bool polled = stream->flags & STREAM_SEND_POLL;
	bool quiet = stream->flags & STREAM_SEND_QUIET;

	/* What is left after a quiet send has to wait for room. */
	clear_flags(stream, STREAM_SEND_ARMED | STREAM_SEND_POLL | STREAM_SEND_QUIET);
	stream->ops_in_flight--;
	if (stream->flags & STREAM_CLOSING) {
		stream_queue_work(stream);
		return;
	}
	if (polled) {
		complete_wait_for_room(stream, result);
		return;
	}
	if (result == -EAGAIN && stream->flags & STREAM_NONBLOCKING) {
		clear_flags(stream, STREAM_WRITABLE);
		set_flags(stream, STREAM_SEND_ASKED);
		stream_queue_work(stream);
		return;
	}
	if (result == -EINTR || (result == -EAGAIN && quiet))
		result = 0;
	else if (result == 0 && stream->send_total > 0)
		result = -EIO; /* no stream socket takes nothing; do not ask for ever */
	if (result < 0) {
		stream_deliver_sent(stream, result);
	} else if (stream_send_advance(stream, (size_t)result)) {
		stream_deliver_sent(stream, stream->send_total);
	} else {
		if (sends_ktls(stream))
			clear_flags(stream, STREAM_WRITABLE);
		set_flags(stream, STREAM_SEND_ASKED);
		stream_queue_work(stream);
	}
}

/* ---- connecting ---- */

static int arm_connect(struct stream *stream)
{
	struct io_uring_sqe *sqe = uring_take_sqe(uring_of(stream->loop));

	if (!sqe)
		return -EAGAIN;
	io_uring_prep_connect(sqe, stream->fd, &stream->connect_addr.any, stream->connect_addr.len);
	mark_in_flight(stream, sqe, URING_CONNECT);
	set_flags(stream, STREAM_CONNECT_ARMED);
	return 0;
}

void uring_complete_connect(struct stream *stream, int result)
{
	clear_flags(stream, STREAM_CONNECT_ARMED);
	stream->ops_in_flight--;
	if (stream->flags & STREAM_CLOSING) {
		stream_queue_work(stream);
		return;
	}
	stream->connect_result = result == -EISCONN ? 0 : result;
	set_flags(stream, STREAM_CONNECT_DONE);
	stream_deliver_connected(stream, stream->connect_result);
}

/* ---- closing ---- */

static int cancel_all(struct stream *stream)
{
	struct uring_loop *uring = uring_of(stream->loop);

	if (stream->flags & STREAM_RECV_ARMED && !(stream->flags & STREAM_RECV_CANCEL)) {
		if (uring_cancel(uring, stream, URING_RECV) < 0)
			return -EAGAIN;
		set_flags(stream, STREAM_RECV_CANCEL);
	}
	/* A connection that is not there yet sends nothing: at most one of the two. */
	if (stream->flags & (STREAM_SEND_ARMED | STREAM_CONNECT_ARMED) &&
	    !(stream->flags & STREAM_CLOSE_CANCEL)) {
		enum uring_tag tag = stream->flags & STREAM_SEND_ARMED ? URING_SEND : URING_CONNECT;

		if (uring_cancel(uring, stream, tag) < 0)
			return -EAGAIN;
		set_flags(stream, STREAM_CLOSE_CANCEL);
	}
	return 0;
}

static int submit_close(struct stream *stream)
{
	struct io_uring_sqe *sqe = uring_take_sqe(uring_of(stream->loop));

	if (!sqe)
		return -EAGAIN;
	/* Sockets are closed where it is submitted, with the turn's other operations. */
	io_uring_prep_close(sqe, stream->fd);
	sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
	io_uring_sqe_set_data64(sqe, URING_NOTHING);
	set_flags(stream, STREAM_FD_GONE);
	return 0;
}

static int work_on_close(struct stream *stream)
{
	if (stream->ops_in_flight && cancel_all(stream) < 0)
		return -EAGAIN;
	/*
	 * A receive that is being cancelled holds the file until then, so the descriptor can go in
	 * the same turn. With a send under way it stays until that has ended.
	 */
	if (!(stream->flags & (STREAM_FD_GONE | STREAM_SEND_ARMED | STREAM_CONNECT_ARMED))) {
		if (submit_close(stream) < 0)
			return -EAGAIN;
		if (stream->ops_in_flight)
			uring_of(stream->loop)->quiet++;
	}
	if (!stream->ops_in_flight)
		stream_deliver_closed(stream);
	return 0;
}

static int work_on_send(struct stream *stream)
{
	if (stream->flags & STREAM_SEND_FILE)
		return work_on_file(stream);
	if ((stream->flags & STREAM_NONBLOCKING || sends_ktls(stream)) &&
	    !(stream->flags & STREAM_WRITABLE))
		return wait_for_room(stream);
	return arm_send(stream);
}

int uring_stream_work(struct stream *stream)
{
	int result = 0;

	if (stream->flags & STREAM_CLOSING)
		return work_on_close(stream);
	if (stream->flags & STREAM_CONNECT_DONE) { /* a Unix socket */
		stream_deliver_connected(stream, stream->connect_result);
		return 0;
	}
	if (stream->flags & STREAM_CONNECTING)
		return stream->flags & STREAM_CONNECT_ARMED ? 0 : arm_connect(stream);
	if (stream->flags & STREAM_SEND_ASKED)
		result = work_on_send(stream);
	return result < 0 ? result : reconcile_recv(stream);
}

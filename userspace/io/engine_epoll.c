/*
 * The epoll engine, for kernels before 6.1 and places where io_uring is forbidden.
 *
 * Streams are registered once, edge-triggered, and remember what they are ready for; so a paused
 * stream costs no system calls and a hang-up nobody asked about cannot spin (EPOLLHUP cannot be
 * masked). Acceptors and watches are level-triggered. wait() only notes events; reading, writing
 * and all callbacks happen in the work functions, so no event meets an object that is gone.
 */
#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "io/engine.h"
#include "io/stream_layer.h"

#define EVENTS_MAX	  256
#define READS_PER_VISIT	  4  /* then other streams have their turn */
#define SENDS_PER_VISIT	  16 /* a reader as fast as we are must not keep us */
#define ACCEPTS_PER_VISIT 64

enum epoll_tag { EPOLL_WAKE, EPOLL_STREAM, EPOLL_ACCEPTOR, EPOLL_WATCH };
#define EPOLL_TAG_MASK 7u

struct epoll_loop {
	struct loop loop;
	int epoll_fd;
	struct epoll_event events[EVENTS_MAX];
};

static struct epoll_loop *epoll_of(struct loop *loop)
{
	return CONTAINER_OF(loop, struct epoll_loop, loop);
}

static int control(struct loop *loop, int op, int fd, uint32_t events, void *object,
		   enum epoll_tag tag)
{
	struct epoll_event event = {.events = events,
				    .data.u64 = (uint64_t)(uintptr_t)object | tag};

	return epoll_ctl(epoll_of(loop)->epoll_fd, op, fd, &event) ? -errno : 0;
}

static int epoll_open(struct loop *loop, const struct loop_config *config, struct error *err)
{
	struct epoll_loop *epoll = epoll_of(loop);
	int result;

	epoll->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (epoll->epoll_fd < 0)
		return error_set_errno(err, -errno, "event loop: epoll_create1");
	result = control(loop, EPOLL_CTL_ADD, loop->wake_fd, EPOLLIN, NULL, EPOLL_WAKE);
	if (result < 0) {
		(void)close(epoll->epoll_fd);
		return error_set_errno(err, result, "event loop: epoll_ctl");
	}
	return 0;
}

static void epoll_close(struct loop *loop)
{
	(void)close(epoll_of(loop)->epoll_fd);
}

/* ---- events ---- */

static void note_stream(struct stream *stream, uint32_t events)
{
	if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		stream->flags |= STREAM_READABLE;
	if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		stream->flags |= STREAM_HUNG_UP;
	if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
		stream->flags |= STREAM_WRITABLE;
	if (stream->recv_mode != RECV_OFF ||
	    stream->flags & (STREAM_SEND_ASKED | STREAM_CONNECTING))
		stream_queue_work(stream);
}

static void note(struct loop *loop, const struct epoll_event *event)
{
	void *object = (void *)(uintptr_t)(event->data.u64 & ~(uint64_t)EPOLL_TAG_MASK);
	uint64_t value;

	switch ((enum epoll_tag)(event->data.u64 & EPOLL_TAG_MASK)) {
	case EPOLL_WAKE:
		(void)!read(loop->wake_fd, &value, sizeof(value));
		break;
	case EPOLL_STREAM:
		note_stream(object, event->events);
		break;
	case EPOLL_ACCEPTOR: {
		struct acceptor *acceptor = object;

		acceptor->state |= SOURCE_READY;
		acceptor_queue_work(acceptor);
		break;
	}
	case EPOLL_WATCH: {
		struct watch *watch = object;

		watch->state |= SOURCE_READY;
		watch->ready_events = event->events;
		watch_queue_work(watch);
		break;
	}
	}
}

static int epoll_loop_wait(struct loop *loop, int64_t timeout_ms)
{
	struct epoll_loop *epoll = epoll_of(loop);
	int count = epoll_wait(epoll->epoll_fd, epoll->events, EVENTS_MAX,
			       (int)MIN(timeout_ms, (int64_t)INT32_MAX));
	int result = count < 0 ? -errno : 0;

	loop_read_clock(loop);
	if (result < 0)
		return result == -EINTR ? 0 : result;
	for (int i = 0; i < count; i++)
		note(loop, &epoll->events[i]);
	loop->stats.completions += (uint64_t)count;
	return 0;
}

/* ---- streams ---- */

static int epoll_stream_open(struct stream *stream)
{
	uint32_t events = EPOLLIN | EPOLLRDHUP | EPOLLET;

	/* Most connections never fill their socket: EPOLLOUT is added when one does. */
	if (stream->flags & STREAM_CONNECTING) {
		events |= EPOLLOUT;
		stream->flags |= STREAM_WANTS_OUT;
		stream->flags &= ~(uint32_t)STREAM_WRITABLE;
	}
	return control(stream->loop, EPOLL_CTL_ADD, stream->fd, events, stream, EPOLL_STREAM);
}

static void close_stream(struct stream *stream)
{
	/*
	 * Closing alone does not unregister while another descriptor of the socket exists (in a
	 * process that inherited it), and then events would meet a stream that is gone.
	 */
	(void)control(stream->loop, EPOLL_CTL_DEL, stream->fd, 0, stream, EPOLL_STREAM);
	(void)close(stream->fd);
	stream_deliver_closed(stream);
}

static void work_on_connect(struct stream *stream)
{
	int error = 0;
	socklen_t len = sizeof(error);

	if (!(stream->flags & STREAM_CONNECT_DONE)) {
		if (!(stream->flags & STREAM_WRITABLE))
			return;
		if (getsockopt(stream->fd, SOL_SOCKET, SO_ERROR, &error, &len))
			error = errno;
		stream->connect_result = -error;
	}
	stream->flags |= STREAM_WRITABLE;
	stream_deliver_connected(stream, stream->connect_result);
}

/* The socket is full: the next event says when it takes more. */
static int want_out(struct stream *stream)
{
	stream->flags &= ~(uint32_t)STREAM_WRITABLE;
	if (stream->flags & STREAM_WANTS_OUT)
		return 0;
	stream->flags |= STREAM_WANTS_OUT;
	/* Looks at the state again, so that an edge between the send and this is not lost. */
	return control(stream->loop, EPOLL_CTL_MOD, stream->fd,
		       EPOLLIN | EPOLLRDHUP | EPOLLOUT | EPOLLET, stream, EPOLL_STREAM);
}

static void work_on_send(struct stream *stream)
{
	for (int visit = 0; visit < SENDS_PER_VISIT; visit++) {
		struct msghdr msg = {
			.msg_iov = &stream->send_iov[stream->send_iov_first],
			.msg_iovlen = stream->send_iov_count - stream->send_iov_first,
		};
		ssize_t sent = sendmsg(stream->fd, &msg, MSG_NOSIGNAL);
		int result = sent < 0 ? -errno : 0;

		if (result == -EINTR)
			continue;
		if (result == -EAGAIN) {
			result = want_out(stream);
			if (result == 0)
				return;
		}
		if (result == 0 && sent == 0 && stream->send_total > 0)
			result = -EIO; /* no stream socket takes nothing; do not ask for ever */
		if (result < 0) {
			stream_deliver_sent(stream, result);
			return;
		}
		if (stream_send_advance(stream, (size_t)sent)) {
			stream_deliver_sent(stream, stream->send_total);
			return;
		}
	}
	stream_queue_work(stream);
}

/*
 * Full, or nothing more to be had from the file: registering again looks at the state, so that
 * neither an edge that is over nor one that never comes is waited for.
 */
static int look_out_again(struct stream *stream)
{
	stream->flags &= ~(uint32_t)STREAM_WANTS_OUT;
	return want_out(stream);
}

static void work_on_file(struct stream *stream)
{
	bool full = false;
	int64_t result;

	if (!stream_file_has_turn(stream))
		return;
	result = stream_file_step(stream, &full);
	if (result == -EAGAIN || (result > 0 && full)) {
		int error = look_out_again(stream);

		if (error == 0 && result == -EAGAIN)
			return;
		if (error < 0)
			result = error;
	}
	stream_deliver_sent(stream, result);
}

/* Reads once; false: nothing more to be had now. */
static bool read_once(struct stream *stream)
{
	struct recv_buf *buf = recv_pool_take(stream->loop->pool);
	ssize_t got;
	int result;

	if (!buf) {
		stream_starve(stream);
		return false;
	}
	got = recv(stream->fd, buf->data, buf->size_bytes, 0);
	if (got > 0) {
		/* A short read has emptied a stream socket (epoll(7)), but an end may follow. */
		if ((size_t)got < buf->size_bytes && !(stream->flags & STREAM_HUNG_UP) &&
		    !(stream->layer && stream->layer->recvs_records))
			stream->flags &= ~(uint32_t)STREAM_READABLE;
		recv_pool_hand_out(buf, (uint32_t)got);
		stream_deliver_recv(stream, buf, (int)got);
		return true;
	}
	result = got < 0 ? -errno : 0;
	recv_pool_put_back(buf);
	if (result == -EINTR)
		return true;
	if (result == -EAGAIN) {
		stream->flags &= ~(uint32_t)STREAM_READABLE;
		return false;
	}
	stream_deliver_recv(stream, NULL, result);
	return false;
}

static bool pipe_once(struct stream *stream)
{
	int64_t result = stream_pipe_step(stream);

	if (result == -EAGAIN) {
		stream->flags &= ~(uint32_t)STREAM_READABLE;
		return false;
	}
	stream_deliver_piped(stream, result);
	return result > 0;
}

static bool may_read(const struct stream *stream)
{
	return stream->recv_mode != RECV_OFF && stream->flags & STREAM_READABLE &&
	       !(stream->flags & (STREAM_CLOSING | STREAM_STARVED | STREAM_CONNECTING));
}

static int epoll_stream_work(struct stream *stream)
{
	if (stream->flags & STREAM_CLOSING) {
		close_stream(stream);
		return 0;
	}
	if (stream->flags & STREAM_CONNECTING) {
		work_on_connect(stream);
		return 0;
	}
	if (stream->flags & STREAM_SEND_ASKED && stream->flags & STREAM_WRITABLE) {
		if (stream->flags & STREAM_SEND_FILE)
			work_on_file(stream);
		else
			work_on_send(stream);
	}
	for (int visit = 0; visit < READS_PER_VISIT && may_read(stream); visit++)
		if (!(stream->recv_mode == RECV_PIPE ? pipe_once(stream) : read_once(stream)))
			return 0;
	if (may_read(stream))
		stream_queue_work(stream);
	return 0;
}

/* ---- acceptors ---- */

static int epoll_acceptor_open(struct acceptor *acceptor)
{
	int result = control(acceptor->loop, EPOLL_CTL_ADD, acceptor->fd, EPOLLIN, acceptor,
			     EPOLL_ACCEPTOR);

	if (result == 0)
		acceptor->state |= SOURCE_ARMED;
	return result;
}

static void disarm_acceptor(struct acceptor *acceptor)
{
	if (acceptor->state & SOURCE_ARMED)
		(void)control(acceptor->loop, EPOLL_CTL_DEL, acceptor->fd, 0, acceptor,
			      EPOLL_ACCEPTOR);
	acceptor->state &= ~(uint32_t)(SOURCE_ARMED | SOURCE_READY);
}

static void fail_acceptor(struct acceptor *acceptor, int error)
{
	disarm_acceptor(acceptor);
	acceptor_fail(acceptor, error);
}

static void accept_some(struct acceptor *acceptor)
{
	for (int visit = 0; visit < ACCEPTS_PER_VISIT; visit++) {
		int fd;

		if (acceptor->state & (SOURCE_STOPPING | SOURCE_HELD))
			return;
		fd = accept4(acceptor->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd >= 0) {
			acceptor_deliver(acceptor, fd);
			continue;
		}
		if (errno == EAGAIN)
			return;
		if (!accept_error_is_transient(-errno)) {
			fail_acceptor(acceptor, -errno);
			return;
		}
	}
}

static int epoll_acceptor_work(struct acceptor *acceptor)
{
	if (acceptor->state & SOURCE_STOPPING) {
		acceptor_deliver_stopped(acceptor);
		return 0;
	}
	if (acceptor->state & SOURCE_HELD) {
		disarm_acceptor(acceptor);
		return 0;
	}
	if (acceptor->state & SOURCE_PAUSED)
		return 0;
	if (!(acceptor->state & SOURCE_ARMED)) {
		int result = epoll_acceptor_open(acceptor);

		if (result < 0)
			acceptor_fail(acceptor, result);
		return 0;
	}
	if (acceptor->state & SOURCE_READY) {
		acceptor->state &= ~(uint32_t)SOURCE_READY;
		accept_some(acceptor);
	}
	return 0;
}

/* ---- watches ---- */

static int epoll_watch_open(struct watch *watch)
{
	/* EPOLLIN and EPOLLOUT have the values of POLLIN and POLLOUT on Linux. */
	return control(watch->loop, EPOLL_CTL_ADD, watch->fd, watch->poll_events, watch,
		       EPOLL_WATCH);
}

static void epoll_watch_close(struct watch *watch)
{
	(void)control(watch->loop, EPOLL_CTL_DEL, watch->fd, 0, watch, EPOLL_WATCH);
}

static int epoll_watch_work(struct watch *watch)
{
	if (watch->state & SOURCE_STOPPING) {
		watch_deliver_stopped(watch);
		return 0;
	}
	if (watch->state & SOURCE_READY) {
		watch->state &= ~(uint32_t)SOURCE_READY;
		watch_deliver_ready(watch, watch->ready_events);
	}
	return 0;
}

const struct engine_ops engine_epoll_ops = {
	.id = IO_ENGINE_EPOLL,
	.loop_bytes = sizeof(struct epoll_loop),
	.connects = false,
	.open = epoll_open,
	.close = epoll_close,
	.wait = epoll_loop_wait,
	.stream_open = epoll_stream_open,
	.stream_work = epoll_stream_work,
	.acceptor_open = epoll_acceptor_open,
	.acceptor_close = disarm_acceptor,
	.acceptor_work = epoll_acceptor_work,
	.watch_open = epoll_watch_open,
	.watch_close = epoll_watch_close,
	.watch_work = epoll_watch_work,
};

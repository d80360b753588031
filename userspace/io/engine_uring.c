/*
 * The io_uring engine: the ring itself, acceptors and watches. uring_stream.c has the streams.
 *
 * The ring is private to the loop's thread (SINGLE_ISSUER) and the kernel does its part only when
 * we enter it (DEFER_TASKRUN, both Linux 6.1), so buffers and completions change in wait() alone.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "io/uring.h"

#define SQ_ENTRIES 1024
#define CQ_ENTRIES 8192 /* multishots complete without being submitted */

static unsigned int setup_flags(bool restrict_ops)
{
	return IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL |
	       IORING_SETUP_CQSIZE | (restrict_ops ? IORING_SETUP_R_DISABLED : 0);
}

/* Everything this engine and uring_stream.c submit or register later, and nothing else. */
static const uint8_t used_ops[] = {
	IORING_OP_ACCEPT,  IORING_OP_ASYNC_CANCEL, IORING_OP_CLOSE,
	IORING_OP_CONNECT, IORING_OP_POLL_ADD,	   IORING_OP_READ,
	IORING_OP_RECV,	   IORING_OP_SEND,	   IORING_OP_SENDMSG,
};
static const uint8_t used_register_ops[] = {
	IORING_REGISTER_RING_FDS,
	IORING_UNREGISTER_RING_FDS,
};

static int restrict_ring(struct io_uring *ring)
{
	struct io_uring_restriction rules[ARRAY_SIZE(used_ops) + ARRAY_SIZE(used_register_ops) + 1];
	unsigned int count = 0;
	int result;

	memset(rules, 0, sizeof(rules));
	for (size_t i = 0; i < ARRAY_SIZE(used_ops); i++) {
		rules[count].opcode = IORING_RESTRICTION_SQE_OP;
		rules[count++].sqe_op = used_ops[i];
	}
	for (size_t i = 0; i < ARRAY_SIZE(used_register_ops); i++) {
		rules[count].opcode = IORING_RESTRICTION_REGISTER_OP;
		rules[count++].register_op = used_register_ops[i];
	}
	rules[count].opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED;
	rules[count++].sqe_flags = IOSQE_BUFFER_SELECT | IOSQE_CQE_SKIP_SUCCESS;
	/* liburing 2.3 declares functions for these two and does not export them. */
	result = io_uring_register((unsigned int)ring->ring_fd, IORING_REGISTER_RESTRICTIONS, rules,
				   count);
	if (result < 0)
		return result;
	return io_uring_register((unsigned int)ring->ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL,
				 0);
}

/* On success the ring is to be closed with io_uring_queue_exit(). */
static int open_ring(struct io_uring *ring, struct recv_pool *pool, unsigned int sq_entries,
		     unsigned int cq_entries, bool restrict_ops, struct error *err)
{
	struct io_uring_params params = {.flags = setup_flags(restrict_ops),
					 .cq_entries = cq_entries};
	unsigned int needed = IORING_FEAT_NODROP | IORING_FEAT_EXT_ARG | IORING_FEAT_FAST_POLL |
			      IORING_FEAT_CQE_SKIP;
	int result = io_uring_queue_init_params(sq_entries, ring, &params);

	if (result == -EPERM || result == -EACCES)
		return error_set(err, result,
				 "io_uring is forbidden here (sysctl "
				 "kernel.io_uring_disabled, or a seccomp filter)");
	if (result == -ENOSYS)
		return error_set(err, result,
				 "the kernel has no io_uring, or a seccomp filter "
				 "hides it");
	if (result == -EINVAL)
		return error_set(err, result,
				 "this kernel's io_uring is too old (Linux 6.1 is "
				 "needed)");
	if (result < 0)
		return error_set_errno(err, result, "io_uring: setting up a ring");
	if ((params.features & needed) != needed) {
		result = error_set(err, -EOPNOTSUPP, "this kernel's io_uring is too old");
		goto fail;
	}
	result = recv_pool_register_ring(pool, ring);
	if (result < 0) {
		error_set_errno(err, result, "io_uring: registering a ring of receive buffers");
		goto fail;
	}
	if (restrict_ops) {
		result = restrict_ring(ring);
		if (result < 0) {
			error_set_errno(err, result, "io_uring: restricting its operations");
			goto fail;
		}
	}
	return 0;
fail:
	io_uring_queue_exit(ring);
	return result;
}

/* Receives one byte through the buffer ring by a multishot, as streams do. */
static int try_receive(struct io_uring *ring, struct recv_pool *pool, int fd, struct error *err)
{
	struct __kernel_timespec second = {.tv_sec = 1};
	struct io_uring_cqe *cqe = NULL;
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	int result;

	if (!sqe || !recv_pool_refill_ring(pool))
		return error_set(err, -ENOMEM, "io_uring: out of memory");
	io_uring_prep_recv_multishot(sqe, fd, NULL, 0, 0);
	sqe->flags |= IOSQE_BUFFER_SELECT;
	sqe->buf_group = RECV_POOL_GROUP;
	result = io_uring_submit_and_wait_timeout(ring, &cqe, 1, &second, NULL);
	if (result < 0)
		return error_set_errno(err, result, "io_uring: a trial receive");
	if (cqe->res < 0)
		return error_set_errno(err, cqe->res, "io_uring: a trial receive");
	if (cqe->res != 1 || !(cqe->flags & IORING_CQE_F_BUFFER) ||
	    !(cqe->flags & IORING_CQE_F_MORE))
		return error_set(err, -EOPNOTSUPP,
				 "io_uring: a trial receive behaved unexpectedly");
	return 0;
}

bool io_uring_is_usable(struct error *err)
{
	_cleanup_(recv_pool_freep)
	struct recv_pool *pool = NULL;
	_cleanup_close_ int near_fd = -1;
	_cleanup_close_ int far_fd = -1;
	struct io_uring ring;
	int fds[2];
	int result = recv_pool_new(64, 1, 1, &pool);

	if (result < 0) {
		error_set_errno(err, result, "io_uring: receive buffers");
		return false;
	}
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds)) {
		error_set_errno(err, -errno, "io_uring: a socket pair to try it with");
		return false;
	}
	near_fd = fds[0];
	far_fd = fds[1];
	if (send(far_fd, "x", 1, MSG_NOSIGNAL) != 1) {
		error_set_errno(err, -errno, "io_uring: a socket pair to try it with");
		return false;
	}
	if (open_ring(&ring, pool, 8, 16, false, err) < 0)
		return false;
	result = try_receive(&ring, pool, near_fd, err);
	io_uring_queue_exit(&ring);
	return result == 0;
}

static int uring_open(struct loop *loop, const struct loop_config *config, struct error *err)
{
	struct uring_loop *uring = uring_of(loop);
	int result = open_ring(&uring->ring, loop->pool, SQ_ENTRIES, CQ_ENTRIES,
			       config->restrict_ops, err);

	if (result < 0)
		return result;
	coalesce_init(&uring->coalesce, config->coalesce);
	/* Spares a look-up of the ring's descriptor per entry; without it things work as well. */
	(void)io_uring_register_ring_fd(&uring->ring);
	return 0;
}

struct io_uring_sqe *uring_take_sqe(struct uring_loop *uring)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&uring->ring);

	if (!sqe) {
		(void)io_uring_submit(&uring->ring);
		sqe = io_uring_get_sqe(&uring->ring);
	}
	return sqe;
}

int uring_cancel(struct uring_loop *uring, void *object, enum uring_tag tag)
{
	struct io_uring_sqe *sqe = uring_take_sqe(uring);

	if (!sqe)
		return -EAGAIN;
	/*
	 * By user_data: matching by descriptor would walk all that is in flight. A newer operation
	 * with the same user_data cannot be hit, it comes later in the queue.
	 */
	io_uring_prep_cancel64(sqe, uring_user_data(object, tag), 0);
	sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
	io_uring_sqe_set_data64(sqe, URING_NOTHING);
	return 0;
}

/* ---- acceptors ---- */

static int uring_acceptor_open(struct acceptor *acceptor)
{
	return 0;
}

static void uring_acceptor_close(struct acceptor *acceptor)
{
}

static int uring_acceptor_work(struct acceptor *acceptor)
{
	struct uring_loop *uring = uring_of(acceptor->loop);
	struct io_uring_sqe *sqe;

	if (acceptor->state & SOURCE_STOPPING) {
		if (!(acceptor->state & SOURCE_ARMED))
			acceptor_deliver_stopped(acceptor);
		else if (!(acceptor->state & SOURCE_CANCEL)) {
			if (uring_cancel(uring, acceptor, URING_ACCEPT) < 0)
				return -EAGAIN;
			acceptor->state |= SOURCE_CANCEL;
		}
		return 0;
	}
	if (acceptor->state & SOURCE_HELD) {
		if (!(acceptor->state & SOURCE_ARMED) || acceptor->state & SOURCE_CANCEL)
			return 0;
		if (uring_cancel(uring, acceptor, URING_ACCEPT) < 0)
			return -EAGAIN;
		acceptor->state |= SOURCE_CANCEL;
		return 0;
	}
	if (acceptor->state & (SOURCE_ARMED | SOURCE_PAUSED))
		return 0;
	sqe = uring_take_sqe(uring);
	if (!sqe)
		return -EAGAIN;
	io_uring_prep_multishot_accept(sqe, acceptor->fd, NULL, NULL, SOCK_CLOEXEC);
	io_uring_sqe_set_data64(sqe, uring_user_data(acceptor, URING_ACCEPT));
	acceptor->state |= SOURCE_ARMED;
	return 0;
}

static void complete_accept(struct acceptor *acceptor, int result, uint32_t cqe_flags)
{
	if (!(cqe_flags & IORING_CQE_F_MORE)) {
		acceptor->state &= ~(uint32_t)(SOURCE_ARMED | SOURCE_CANCEL);
		acceptor_queue_work(acceptor);
	}
	/* What was accepted is delivered even when stopping: it left the listener's queue. */
	if (result >= 0)
		acceptor_deliver(acceptor, result);
	else if (!accept_error_is_transient(result))
		acceptor_fail(acceptor, result);
}

/* ---- watches ---- */

static int uring_watch_open(struct watch *watch)
{
	return 0;
}

static void uring_watch_close(struct watch *watch)
{
}

static int uring_watch_work(struct watch *watch)
{
	struct uring_loop *uring = uring_of(watch->loop);
	struct io_uring_sqe *sqe;

	if (watch->state & SOURCE_STOPPING) {
		if (!(watch->state & SOURCE_ARMED))
			watch_deliver_stopped(watch);
		else if (!(watch->state & SOURCE_CANCEL)) {
			if (uring_cancel(uring, watch, URING_WATCH) < 0)
				return -EAGAIN;
			watch->state |= SOURCE_CANCEL;
		}
		return 0;
	}
	if (watch->state & SOURCE_ARMED)
		return 0;
	sqe = uring_take_sqe(uring);
	if (!sqe)
		return -EAGAIN;
	/* One-shot: made anew it looks at the state again, which makes it level-triggered. */
	io_uring_prep_poll_add(sqe, watch->fd, watch->poll_events);
	io_uring_sqe_set_data64(sqe, uring_user_data(watch, URING_WATCH));
	watch->state |= SOURCE_ARMED;
	return 0;
}

static void complete_watch(struct watch *watch, int result)
{
	watch->state &= ~(uint32_t)(SOURCE_ARMED | SOURCE_CANCEL);
	watch_queue_work(watch);
	if (watch->state & SOURCE_STOPPING || result == -ECANCELED)
		return;
	watch_deliver_ready(watch, result < 0 ? POLLERR : (uint32_t)result);
}

/* ---- the turn ---- */

static void complete(struct uring_loop *uring, uint64_t user_data, int result, uint32_t cqe_flags)
{
	void *object = (void *)(uintptr_t)(user_data & ~(uint64_t)URING_TAG_MASK);

	switch ((enum uring_tag)(user_data & URING_TAG_MASK)) {
	case URING_RECV:
		uring_complete_recv(object, result, cqe_flags);
		break;
	case URING_SEND:
		uring_complete_send(object, result);
		break;
	case URING_CONNECT:
		uring_complete_connect(object, result);
		break;
	case URING_ACCEPT:
		complete_accept(object, result, cqe_flags);
		break;
	case URING_WATCH:
		complete_watch(object, result);
		break;
	case URING_WAKE:
		uring->wake_armed = false;
		break;
	case URING_NOTHING: /* a cancellation that found nothing: it was complete already */
		break;
	}
}

static void take_completions(struct uring_loop *uring)
{
	struct io_uring *ring = &uring->ring;

	/* What comes meanwhile waits for the next turn, so that timers and tasks have theirs. */
	for (unsigned int count = io_uring_cq_ready(ring); count > 0; count--) {
		struct io_uring_cqe *cqe = NULL;
		uint64_t user_data;
		uint32_t flags;
		int result;

		if (io_uring_peek_cqe(ring, &cqe) < 0 || !cqe)
			return;
		user_data = io_uring_cqe_get_data64(cqe);
		result = cqe->res;
		flags = cqe->flags;
		/* Given back before the callback, which may submit and so produce completions. */
		io_uring_cqe_seen(ring, cqe);
		uring->loop.stats.completions++;
		complete(uring, user_data, result, flags);
	}
}

static bool arm_wake(struct uring_loop *uring)
{
	struct io_uring_sqe *sqe;

	if (uring->wake_armed)
		return true;
	sqe = uring_take_sqe(uring);
	if (!sqe)
		return false;
	io_uring_prep_read(sqe, uring->loop.wake_fd, &uring->wake_value, sizeof(uring->wake_value),
			   0);
	io_uring_sqe_set_data64(sqe, URING_WAKE);
	uring->wake_armed = true;
	return true;
}

static int enter(struct uring_loop *uring, int64_t timeout_ms)
{
	struct io_uring *ring = &uring->ring;
	struct __kernel_timespec limit = {.tv_sec = timeout_ms / 1000,
					  .tv_nsec = timeout_ms % 1000 * 1000000};
	struct io_uring_cqe *cqe = NULL;
	unsigned int quiet = uring->quiet, want;

	uring->quiet = 0;
	if (timeout_ms == 0 || io_uring_cq_ready(ring)) {
		uring->sends = 0;
		return io_uring_submit_and_get_events(ring);
	}
	want = coalesce_want(&uring->coalesce, uring->loop.busy);
	if (want) {
		struct __kernel_timespec soon = {.tv_nsec = COALESCE_NS};
		unsigned int sends = uring->sends, ready;

		/* Sends complete where they are submitted: they are not what is waited for. */
		uring->sends = 0;
		(void)io_uring_submit_and_wait_timeout(ring, &cqe, sends + want, &soon, NULL);
		ready = io_uring_cq_ready(ring);
		coalesce_tell(&uring->coalesce, want, ready > sends ? ready - sends : 0);
		if (ready)
			return 0;
	}
	uring->sends = 0;
	if (quiet) {
		/* They complete at once, and a turn for them alone would have nothing to do. */
		if (timeout_ms < 0 || timeout_ms > STREAM_QUIET_MS)
			limit = (struct __kernel_timespec){.tv_nsec = STREAM_QUIET_MS * 1000000};
		return io_uring_submit_and_wait_timeout(ring, &cqe, quiet + 1, &limit, NULL);
	}
	if (timeout_ms < 0)
		return io_uring_submit_and_wait(ring, 1);
	return io_uring_submit_and_wait_timeout(ring, &cqe, 1, &limit, NULL);
}

static int uring_wait(struct loop *loop, int64_t timeout_ms)
{
	struct uring_loop *uring = uring_of(loop);
	int result;

	(void)recv_pool_refill_ring(loop->pool);
	result = enter(uring, arm_wake(uring) ? timeout_ms : 0);
	loop_read_clock(loop);
	/* -EBUSY: completions have overflown, taking some makes room. */
	if (result < 0 && result != -ETIME && result != -EINTR && result != -EAGAIN &&
	    result != -EBUSY)
		return result;
	take_completions(uring);
	return 0;
}

static void uring_close(struct loop *loop)
{
	struct uring_loop *uring = uring_of(loop);
	uint64_t one = 1;

	/* Closes what streams left to be closed, and ends the read that points into our memory. */
	(void)io_uring_submit(&uring->ring);
	while (uring->wake_armed && write(loop->wake_fd, &one, sizeof(one)) == sizeof(one)) {
		int result = io_uring_submit_and_wait(&uring->ring, 1);

		if (result < 0 && result != -EINTR && result != -EAGAIN && result != -EBUSY)
			break;
		take_completions(uring);
	}
	io_uring_queue_exit(&uring->ring);
}

const struct engine_ops engine_uring_ops = {
	.id = IO_ENGINE_IO_URING,
	.loop_bytes = sizeof(struct uring_loop),
	.connects = true,
	.open = uring_open,
	.close = uring_close,
	.wait = uring_wait,
	.stream_open = uring_stream_open,
	.stream_work = uring_stream_work,
	.acceptor_open = uring_acceptor_open,
	.acceptor_close = uring_acceptor_close,
	.acceptor_work = uring_acceptor_work,
	.watch_open = uring_watch_open,
	.watch_close = uring_watch_close,
	.watch_work = uring_watch_work,
};

/*
 * uring: what the two files of the io_uring engine share. Private to io/.
 *
 * user_data is the object's address with a tag in its low three bits that says which of its
 * operations completed. Each object has at most one operation of a kind in flight and lives until
 * all have completed, so an address never means two things. Thread rule: the loop's thread.
 */
#ifndef SLUICE_IO_URING_H
#define SLUICE_IO_URING_H

#include <liburing.h>
#include <poll.h>

#include "io/coalesce.h"
#include "io/engine.h"

enum uring_tag {
	URING_NOTHING,
	URING_RECV,
	URING_SEND,
	URING_CONNECT,
	URING_ACCEPT,
	URING_WATCH,
	URING_WAKE,
};
#define URING_TAG_MASK 7u

struct uring_loop {
	struct loop loop;
	struct io_uring ring;
	struct coalesce coalesce;
	unsigned int sends; /* prepared since the last wait */
	unsigned int
		quiet; /* prepared since then: complete while they are submitted, of no interest */
	bool wake_armed;
	uint64_t wake_value; /* read from the eventfd, of no interest */
};

static inline struct uring_loop *uring_of(struct loop *loop)
{
	return CONTAINER_OF(loop, struct uring_loop, loop);
}

static inline uint64_t uring_user_data(const void *object, enum uring_tag tag)
{
	return (uint64_t)(uintptr_t)object | tag;
}

/* NULL: the queue is full and the kernel took nothing. */
struct io_uring_sqe *uring_take_sqe(struct uring_loop *uring);
/* 0, or -EAGAIN when the queue is full. */
int uring_cancel(struct uring_loop *uring, void *object, enum uring_tag tag);

int uring_stream_open(struct stream *stream);
int uring_stream_work(struct stream *stream);
void uring_complete_recv(struct stream *stream, int result, uint32_t cqe_flags);
void uring_complete_send(struct stream *stream, int result);
void uring_complete_connect(struct stream *stream, int result);

#endif

/*
 * engine: what loop.c, stream.c and the two engines share. Private to io/.
 *
 * Public calls only note what is wanted (flags, receive mode) and put the object on the loop's work
 * list; the loop goes through that list before and after it waits, and the engine then does what
 * the flags ask for. So nothing is called back from inside a public call, several wishes of one
 * turn become one operation, and a full submission queue only means "again next turn".
 *
 * Lifetime: an object with an operation in flight is never let go. on_closed() and on_stopped()
 * come from the work list only, and only when nothing of the object is in flight, so a completion
 * or event always finds its object alive. Thread rule: the loop's thread.
 */
#ifndef SLUICE_IO_ENGINE_H
#define SLUICE_IO_ENGINE_H

#include <stdatomic.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "io/loop.h"
#include "io/recv_pool.h"
#include "io/splice_pipe.h"
#include "io/stream.h"
#include "io/timer_wheel.h"

/* struct stream's flags; STREAM_FLAG_SENDING is 1. */
enum stream_flag {
	STREAM_OPEN = 1u << 1, /* adopted or connecting, and not closing */
	STREAM_CLOSING = 1u << 2,
	STREAM_CONNECTING = 1u << 3,   /* until on_connected() */
	STREAM_CONNECT_DONE = 1u << 4, /* connect_result is to be delivered */
	STREAM_SEND_ASKED = 1u << 5,   /* the send has bytes that no operation carries yet */
	STREAM_RECV_ENDED = 1u << 6,   /* the end or an error was delivered */
	STREAM_STARVED = 1u << 7,      /* on the loop's starved list */
	/* io_uring */
	STREAM_RECV_ARMED = 1u << 8,   /* a receive is in flight */
	STREAM_RECV_MULTI = 1u << 9,   /* ... and it is a multishot */
	STREAM_RECV_CANCEL = 1u << 10, /* ... and its cancellation was asked for */
	STREAM_SEND_ARMED = 1u << 11,
	STREAM_CONNECT_ARMED = 1u << 12,
	STREAM_CLOSE_CANCEL = 1u << 13, /* sends or connects in flight were cancelled */
	/* epoll */
	STREAM_READABLE = 1u << 14,  /* not read to exhaustion since the last event */
	STREAM_WRITABLE = 1u << 15,  /* no send has hit a full socket since the last event */
	STREAM_HUNG_UP = 1u << 16,   /* the end or an error waits behind what can be read */
	STREAM_WANTS_OUT = 1u << 17, /* registered for EPOLLOUT */
	/* both: the send has a range of a file; STREAM_WRITABLE holds for it under io_uring, too */
	STREAM_SEND_FILE = 1u << 18,
	/* io_uring */
	STREAM_NONBLOCKING = 1u << 19, /* for sendfile(2), splice(2); receives need it blocking */
	STREAM_RECV_POLL = 1u << 20,   /* what is armed is a poll, for a pipe to be filled */
	STREAM_SEND_POLL = 1u << 21,   /* what is armed is a poll, for room in the socket */
	STREAM_SEND_QUIET = 1u << 22,  /* nobody waits for the end of the send */
	STREAM_FD_GONE = 1u << 23,     /* the descriptor's closing was submitted */
};

/* The states of acceptors and watches. */
enum source_state {
	SOURCE_ON = 1u << 0,
	SOURCE_ARMED = 1u << 1, /* io_uring: in flight; epoll: registered */
	SOURCE_STOPPING = 1u << 2,
	SOURCE_CANCEL = 1u << 3, /* io_uring: cancellation was asked for */
	SOURCE_PAUSED = 1u << 4, /* after a failed accept */
	SOURCE_READY = 1u << 5,	 /* epoll: an event waits to be handled */
	SOURCE_HELD = 1u << 6,	 /* acceptors: by acceptor_hold() */
};

#define ACCEPT_PAUSE_MS 100

struct engine_ops {
	enum io_engine id;
	size_t loop_bytes; /* of the struct that begins with struct loop */
	bool connects; /* makes TCP connections itself; else connect(2) on a non-blocking socket */
	int (*open)(struct loop *loop, const struct loop_config *config, struct error *err);
	void (*close)(struct loop *loop);
	/* Hands over what was prepared, waits (-1: for ever), takes the time and what happened. */
	int (*wait)(struct loop *loop, int64_t timeout_ms);
	/* The stream has its descriptor. */
	int (*stream_open)(struct stream *stream);
	/* Does what flags and receive mode ask for. -EAGAIN: no room, again after the next wait. */
	int (*stream_work)(struct stream *stream);
	int (*acceptor_open)(struct acceptor *acceptor);
	/* At the moment of stopping, when the descriptor still is what it was. */
	void (*acceptor_close)(struct acceptor *acceptor);
	int (*acceptor_work)(struct acceptor *acceptor);
	int (*watch_open)(struct watch *watch);
	void (*watch_close)(struct watch *watch);
	int (*watch_work)(struct watch *watch);
};

extern const struct engine_ops engine_uring_ops;
extern const struct engine_ops engine_epoll_ops;

struct loop {
	const struct engine_ops *engine;
	struct recv_pool *pool;
	uint64_t now_ms;
	uint64_t now_ns; /* the same moment */
	struct list stream_work;
	struct list acceptor_work;
	struct list watch_work;
	struct list starved;
	struct timer_wheel wheel;
	struct splice_pipe_cache pipes;
	int wake_fd;			   /* eventfd, written by loop_post() and loop_stop() */
	_Atomic(struct loop_task *) tasks; /* newest first */
	struct loop_task *deferred;	   /* likewise */
	atomic_bool stop;
	unsigned int busy; /* requests that are open, as loop_busy() says */
	bool engine_is_open;
	bool in_turn;	  /* now_ms is that of this turn */
	uint64_t trim_ms; /* when unused buffers were last looked for */
	uint64_t told;	  /* callbacks of streams, acceptors and watches */
	struct loop_stats stats;
};

DEFINE_FREEP(struct loop, loop_free)

/* After so many callbacks the clock is read again within a turn. A power of two. */
#define LOOP_CLOCK_EVENTS 32

/* The turn's time. For wait(), between waiting and the first callback that could ask for it. */
static inline void loop_read_clock(struct loop *loop)
{
	loop->now_ns = clock_mono_ns();
	loop->now_ms = loop->wheel.now_ms = loop->now_ns / 1000000;
}

/* Before each callback. */
static inline void loop_tell(struct loop *loop)
{
	if (++loop->told % LOOP_CLOCK_EVENTS == 0)
		loop_read_clock(loop);
}

/* Asks for a look at the object in this turn or, from outside a turn, in the next. */
static inline void stream_queue_work(struct stream *stream)
{
	if (stream->work_link.next == &stream->work_link)
		list_push_back(&stream->loop->stream_work, &stream->work_link);
}

static inline void acceptor_queue_work(struct acceptor *acceptor)
{
	if (acceptor->link.next == &acceptor->link)
		list_push_back(&acceptor->loop->acceptor_work, &acceptor->link);
}

static inline void watch_queue_work(struct watch *watch)
{
	if (watch->link.next == &watch->link)
		list_push_back(&watch->loop->watch_work, &watch->link);
}

/*
 * Moves what there is of a readable stream into the empty pipe it is to fill: 1 or more, 0 at the
 * end, or a negative errno.
 */
int64_t stream_pipe_step(struct stream *stream);
/* Tells the owner of that. */
void stream_deliver_piped(struct stream *stream, int64_t result);

/* The engines' ways to tell the owner; each changes the flags first. */
void stream_deliver_recv(struct stream *stream, struct recv_buf *buf, int result);
void stream_deliver_sent(struct stream *stream, int64_t result);
void stream_deliver_connected(struct stream *stream, int result);
void stream_deliver_closed(struct stream *stream);
void acceptor_deliver(struct acceptor *acceptor, int fd_or_error);
void acceptor_deliver_stopped(struct acceptor *acceptor);
void watch_deliver_ready(struct watch *watch, uint32_t poll_events);
void watch_deliver_stopped(struct watch *watch);

/* Puts it on the starved list until a buffer is free. */
void stream_starve(struct stream *stream);
/* True for errors of accept() that concern one connection only: go on at once (accept(2)). */
bool accept_error_is_transient(int error);
/* Reports the error and pauses accepting; the timer queues work when it is over. */
void acceptor_fail(struct acceptor *acceptor, int error);

/*
 * One step of a send with a file, on a non-blocking socket: what was taken (1 or more), -EAGAIN or
 * another negative errno. *ret_full: the socket took less than was offered.
 */
int64_t stream_file_step(struct stream *stream, bool *ret_full);
/* False, and queued for the next turn, when the stream had its share of this one. */
bool stream_file_has_turn(struct stream *stream);

/* What the public calls do for a stream without a layer, and a layer by stream_raw_*(). */
void stream_send_start(struct stream *stream, const struct iovec *iov, unsigned int count,
		       uint32_t flags);
void stream_send_file_start(struct stream *stream, const struct iovec *iov, unsigned int count,
			    int file_fd, uint64_t offset, uint64_t len, uint32_t flags);
void stream_send_pipe_start(struct stream *stream, const struct iovec *iov, unsigned int count,
			    struct splice_pipe *pipe, size_t len, uint32_t flags);
void stream_set_recv_mode(struct stream *stream, enum recv_mode mode);

/* Takes `sent_bytes` off the front of the send; true when nothing is left. */
bool stream_send_advance(struct stream *stream, size_t sent_bytes);

#endif

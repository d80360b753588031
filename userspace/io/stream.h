/*
 * stream: one connected byte-stream socket (TCP or Unix) on a loop, and acceptors that make them.
 *
 * Life: stream_adopt() or stream_connect() ──► receive and send ──► stream_close() ──► on_closed().
 * After stream_close() no callback but on_closed() comes; after on_closed() the loop no longer
 * knows the struct and its memory may go. on_closed() comes exactly once per close, from the loop.
 *
 * Receiving: RECV_MANY delivers buffer after buffer (multishot) until stopped; RECV_ONE delivers
 * once and must be started again, which is the back-pressure of bodies. After stream_recv_stop()
 * data that the kernel had taken already may still be delivered: the owner queues it. End of
 * stream and errors are delivered once and end receiving.
 *
 * Sending: one send at a time. It completes when all bytes were taken by the kernel or an error
 * ended it; the bytes must stay in place until on_sent() or on_closed().
 *
 * Thread rule: the loop's thread.
 */
#ifndef SLUICE_IO_STREAM_H
#define SLUICE_IO_STREAM_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/addr.h"
#include "io/loop.h"
#include "io/recv_buf.h"

#define STREAM_IOV_MAX	    16
#define STREAM_FILE_AT_ONCE (1024u * 1024) /* of a file, per stream and turn */

struct splice_pipe;
struct stream;
struct stream_layer;

/* The end of a stream whose layer knows that the peer did not mean to end it there: a cut. */
#define STREAM_CUT (-ENOLINK)

struct stream_ops {
	/*
	 * buf != NULL: bytes; the callee owns the reference. buf == NULL: result 0 is the end of
	 * the stream, a negative errno an error.
	 */
	void (*on_recv)(struct stream *stream, struct recv_buf *buf, int result);
	/* result: all bytes of the send, or a negative errno (-EPIPE, -ECONNRESET, ...). */
	void (*on_sent)(struct stream *stream, int64_t result);
	/* 0 or a negative errno. Unused for adopted sockets: may be NULL then. */
	void (*on_connected)(struct stream *stream, int result);
	void (*on_closed)(struct stream *stream);
	/* So many bytes, at least one, went into the pipe. Unused without stream_recv_pipe(). */
	void (*on_piped)(struct stream *stream, size_t bytes);
	/*
	 * A layer's handshake is over: 0, or a negative errno (stream_error_text() says more).
	 * Nothing is sent or received before. Unused without a layer.
	 */
	void (*on_secured)(struct stream *stream, int result);
};

enum recv_mode { RECV_OFF, RECV_ONE, RECV_MANY, RECV_PIPE /* by stream_recv_pipe() only */ };

struct stream {
	const struct stream_ops *ops;
	struct loop *loop;
	int fd;			    /* -1 before and after */
	struct stream_layer *layer; /* NULL: bytes go as they are. See io/stream_layer.h. */

	/* Below: the engines' own. */
	struct list work_link;	  /* in the loop's list of streams with something to do */
	struct list starved_link; /* in the loop's list of streams that wait for a receive buffer */
	uint32_t flags;		  /* what is asked for and what is in flight, see io/engine.h */
	uint8_t recv_mode;	  /* enum recv_mode as asked for */
	uint8_t ops_in_flight;
	int connect_result;
	struct msghdr send_msg;
	struct iovec send_iov[STREAM_IOV_MAX];
	uint32_t send_iov_count;
	uint32_t send_iov_first; /* first not wholly sent */
	int64_t send_total;
	int send_file_fd; /* the range that follows the vector, see stream_send_file() */
	uint64_t send_file_offset;
	uint64_t send_file_bytes;
	uint64_t send_file_turn;	 /* of the loop in which it was last worked on */
	struct splice_pipe *send_pipe;	 /* instead of a file: see stream_send_pipe() */
	const struct msghdr *send_whole; /* instead of all of it: see stream_raw_send_msg() */
	struct splice_pipe *recv_pipe;	 /* to be filled, see stream_recv_pipe() */
	size_t recv_pipe_bytes;
	struct sock_addr connect_addr;
};

/* Before any use; a zeroed struct is not enough. */
void stream_init(struct stream *stream, const struct stream_ops *ops);

/* Takes the descriptor over (made non-blocking when the engine needs it). */
int stream_adopt(struct loop *loop, struct stream *stream, int fd);
/*
 * The same for a socket that an acceptor of this loop, or acceptor_take(), gave out: those are as
 * they must be already, which spares two system calls per connection.
 */
int stream_adopt_accepted(struct loop *loop, struct stream *stream, int fd);
/*
 * Makes a socket (TCP_NODELAY) and connects; the result comes by on_connected(). A negative
 * errno at once when there is no socket to be had (-EMFILE, ...): no callback then.
 */
int stream_connect(struct loop *loop, struct stream *stream, const struct sock_addr *addr);

/* Changing ONE to MANY and back is allowed at any time. Idempotent. */
void stream_recv_start(struct stream *stream, enum recv_mode mode);
void stream_recv_stop(struct stream *stream);

/*
 * Fills the empty pipe, once, with at most so many bytes, when there are some: on_piped(), or
 * on_recv() for the end and for errors. Buffers that were on their way come by on_recv() before
 * that: the owner then says anew how much is wanted. The pipe stays the owner's and must live until
 * the callback, the next stream_recv_start(), or on_closed().
 */
void stream_recv_pipe(struct stream *stream, struct splice_pipe *pipe, size_t bytes);

/*
 * Copies the vector, not the bytes. -EBUSY: one is under way. -EINVAL: count 0 or too many.
 * -ENOTCONN: not open or still connecting.
 */
int stream_send(struct stream *stream, const struct iovec *iov, unsigned int count);
/*
 * The same for what nobody waits to be sent: on_sent() may come with the loop's next event, at most
 * STREAM_QUIET_MS late, which spares the loop a turn for it.
 */
int stream_send_quiet(struct stream *stream, const struct iovec *iov, unsigned int count);
#define STREAM_QUIET_MS 5
/*
 * More for a send that nothing carries yet, so that what a turn brings in pieces leaves as one.
 * `quiet` then holds for the whole. -EBUSY: too late (or a file's range is its end). -EINVAL: the
 * vectors are too long together. -ENOTCONN: not open.
 */
int stream_send_more(struct stream *stream, const struct iovec *iov, unsigned int count,
		     bool quiet);
/* Is one under way that takes more? */
bool stream_send_is_open(const struct stream *stream);
static inline bool stream_is_sending(const struct stream *stream);

/*
 * Sends the vector (count 0: none) and after it a range of a regular file, straight from the page
 * cache by sendfile(2); what is not in the cache is waited for on this thread. Unlike a send of
 * memory it completes with what the kernel took at once, at least one byte and of the file at most
 * STREAM_FILE_AT_ONCE: the owner sends the rest anew, so that progress is seen and others have
 * their turn. -ENODATA: the file ends before the range does. Bytes and descriptor must stay in
 * place until on_sent() or on_closed(). SIGPIPE must be ignored: sendfile(2) has no MSG_NOSIGNAL.
 * -EINVAL: nothing of a file to send.
 */
int stream_send_file(struct stream *stream, const struct iovec *iov, unsigned int count,
		     int file_fd, uint64_t offset, uint64_t len);

/* As stream_send_file(), with bytes that are in the pipe. -EOPNOTSUPP: !stream_can_send_pipe(). */
int stream_send_pipe(struct stream *stream, const struct iovec *iov, unsigned int count,
		     struct splice_pipe *pipe, size_t len);

/* Half-close: the peer sees the end after what was sent. Not while a send is under way. */
void stream_shutdown_send(struct stream *stream);
void stream_close(struct stream *stream);
/* As close, but with a reset (SO_LINGER 0): for connections that must not look complete. */
void stream_abort(struct stream *stream);
/* For a connected socket that no stream has yet: closing it resets the connection. */
void socket_reset_on_close(int fd);
bool stream_is_open(const struct stream *stream); /* adopted or connecting, and not closing */
/* What is wrong with the layer's peer, of static storage; NULL: nothing that more is known of. */
const char *stream_error_text(const struct stream *stream);

/* May a pipe be filled from it (stream_recv_pipe())? */
static inline bool stream_can_splice(const struct stream *stream)
{
	return !stream->layer;
}
/* May one be sent (stream_send_pipe())? A layer can come to allow it, and then always does. */
bool stream_can_send_pipe(const struct stream *stream);

#define STREAM_FLAG_SENDING 1u
static inline bool stream_is_sending(const struct stream *stream)
{
	return stream->flags & STREAM_FLAG_SENDING;
}

/* ---- acceptors ---- */

struct acceptor {
	struct loop *loop; /* engine's, like the next four */
	struct list link;
	struct timer pause_timer;
	int fd;
	uint32_t state;
	/* fd >= 0: a connection, the callee's. Negative: errno of a failed accept (-EMFILE, ...),
	 * accepting goes on by itself after a pause. */
	void (*on_accept)(struct acceptor *acceptor, int fd);
	void (*on_stopped)(struct acceptor *acceptor); /* NULL allowed */
};

/*
 * The listening descriptor stays the caller's, but the engine sets O_NONBLOCK as it needs it.
 * -EINVAL: not a listening socket. -EBUSY: not stopped yet.
 */
int acceptor_start(struct loop *loop, struct acceptor *acceptor, int listen_fd);
/* Stops taking connections, which wait in the socket's queue, or goes on. Idempotent. */
void acceptor_hold(struct acceptor *acceptor, bool hold);
/* Connections accepted meanwhile are still delivered before on_stopped(). */
void acceptor_stop(struct acceptor *acceptor);

/* Takes one that waits in the queue of a stopped acceptor's descriptor, or a negative errno. */
int acceptor_take(struct loop *loop, int listen_fd);

/* ---- sockets to listen on ---- */

enum listen_flags {
	LISTEN_REUSEPORT = 1,
	LISTEN_SAVE_SYN =
		2, /* for socket_ends_read(); memory until that, or the connection's end */
};

/* SO_REUSEADDR, IPV6_V6ONLY for IPv6, CLOEXEC, non-blocking. Unix paths: a dead one is replaced. */
int listen_socket_open(const struct sock_addr *addr, unsigned int flags, int backlog, int *ret_fd,
		       struct error *err);

#endif

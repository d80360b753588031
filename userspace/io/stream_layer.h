/*
 * stream_layer: what may lie between a stream's owner and its socket, such as TLS.
 *
 *   owner ──► stream_send(), stream_recv_start() ... ──► layer->ops ──► stream_raw_*() ──► engine
 *   owner ◄── on_recv(), on_sent(), on_secured() ◄── stream_tell_*() ◄── layer->ops ◄──── engine
 *
 * Owners use the same calls and get the same callbacks as without one. A layer keeps their rule
 * that nothing is called back from inside a call: it notes what is wanted and asks by
 * stream_layer_queue() for work(), which the loop runs with the turn's other work, so that all that
 * is to be sent by then goes in one send. A callback may close the stream: after each one the layer
 * looks at stream_is_open() first. A stream without a layer pays one branch that is predicted.
 *
 * Life: stream_layer_set() on an open stream that neither sends nor has received; free() is the
 * end, with nothing in flight. Thread rule: the loop's thread.
 */
#ifndef SLUICE_IO_STREAM_LAYER_H
#define SLUICE_IO_STREAM_LAYER_H

#include "io/stream.h"

struct stream_layer;

struct stream_layer_ops {
	/*
	 * The stream is open and no send is under way. A file's range has file_bytes > 0 and may
	 * complete with a part of it, as stream_send_file() says. 0 or a negative errno.
	 */
	int (*send)(struct stream *stream, const struct iovec *iov, unsigned int count, bool quiet);
	/* Of a send under way: see stream_send_more(). */
	bool (*send_is_open)(const struct stream *stream);
	int (*send_more)(struct stream *stream, const struct iovec *iov, unsigned int count,
			 bool quiet);
	int (*send_file)(struct stream *stream, const struct iovec *iov, unsigned int count,
			 int file_fd, uint64_t offset, uint64_t len);
	/* Only with sends_raw. */
	int (*send_pipe)(struct stream *stream, const struct iovec *iov, unsigned int count,
			 struct splice_pipe *pipe, size_t len);
	void (*recv_start)(struct stream *stream, enum recv_mode mode);
	void (*shutdown_send)(struct stream *stream);
	/* Just before it is closed: a last word to the peer. Not called for stream_abort(). */
	void (*closing)(struct stream *stream);
	const char *(*error_text)(const struct stream *stream);

	/* From the loop. */
	void (*work)(struct stream *stream);
	void (*on_recv)(struct stream *stream, struct recv_buf *buf, int result);
	void (*on_sent)(struct stream *stream, int64_t result);
	/* After the owner's on_closed(): the stream may be gone. */
	void (*free)(struct stream_layer *layer);
};

/* The first member of a layer's own struct. */
struct stream_layer {
	const struct stream_layer_ops *ops;
	/* The socket gives record by record, an -EIO stands for one that the layer has to take. */
	bool recvs_records;
	bool sends_raw; /* what the owner sends goes into the socket as it is, and is encrypted
			   there */
};

void stream_layer_set(struct stream *stream, struct stream_layer *layer);
/* Asks for work() in this turn or, from outside a turn, in the next. */
void stream_layer_queue(struct stream *stream);

/* ---- down to the socket ---- */

/* One at a time; the bytes stay in place until on_sent() or free(). */
void stream_raw_send(struct stream *stream, const struct iovec *iov, unsigned int count,
		     bool quiet);
/* Does it take more? As stream_send_more(), once it was found to be so. */
bool stream_raw_send_is_open(const struct stream *stream);
int stream_raw_send_more(struct stream *stream, const struct iovec *iov, unsigned int count,
			 bool quiet);
/* As the calls for owners; the same bounds hold, and one of all these is under way at a time. */
void stream_raw_send_file(struct stream *stream, const struct iovec *iov, unsigned int count,
			  int file_fd, uint64_t offset, uint64_t len);
void stream_raw_send_pipe(struct stream *stream, const struct iovec *iov, unsigned int count,
			  struct splice_pipe *pipe, size_t len);
/*
 * A message with ancillary data, which the socket takes as a whole; when it is well writable, so
 * that what the kernel still holds back before it goes out with it.
 */
void stream_raw_send_msg(struct stream *stream, const struct msghdr *msg);
/* Sends it at once, or -EAGAIN. Only with no raw send under way. */
ssize_t stream_raw_send_msg_now(struct stream *stream, const struct msghdr *msg);
/* Would stream_raw_send_msg() send at once? */
bool stream_raw_is_writable(const struct stream *stream);
void stream_raw_recv(struct stream *stream, enum recv_mode mode);
/* Receiving is off and nothing of it is under way: what comes is in the socket. */
bool stream_raw_recv_is_off(const struct stream *stream);
/* After an error that the layer mended: receiving may be started, and looks whether there is more.
 */
void stream_raw_recv_again(struct stream *stream);
/*
 * Sends at once what the socket takes, for last words. Only with no raw send under way. Returns
 * the number of bytes taken or a negative errno.
 */
ssize_t stream_raw_send_now(struct stream *stream, const void *data, size_t len);
void stream_raw_shutdown(struct stream *stream);
/* A receive buffer to fill, for stream_tell_recv(). NULL: all are in use. */
struct recv_buf *stream_take_buf(struct stream *stream);
void stream_put_buf_back(struct recv_buf *buf);
/* work() comes when buffers may be free again. */
void stream_layer_starve(struct stream *stream);

/* ---- up to the owner; from the loop only ---- */

/* Either a taken buffer with so many bytes, or NULL and the end or an error. */
void stream_tell_recv(struct stream *stream, struct recv_buf *buf, int len_or_result);
/* A buffer as the layer's on_recv() got it. */
void stream_pass_recv(struct stream *stream, struct recv_buf *buf);
void stream_tell_sent(struct stream *stream, int64_t result);
void stream_tell_secured(struct stream *stream, int result);

#endif

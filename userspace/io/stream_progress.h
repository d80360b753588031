/*
 * stream_progress: how far the peer of a TCP stream has taken what was sent. The kernel accepts
 * bytes long before the peer has them; only acknowledgements show whether it reads.
 * A system call each: for timeouts, not for the way of a request. Thread rule: the loop's thread.
 */
#ifndef SLUICE_IO_STREAM_PROGRESS_H
#define SLUICE_IO_STREAM_PROGRESS_H

#include "io/stream.h"

struct stream_progress {
	uint64_t acked_bytes; /* since the connection began */
	bool pending;	      /* something of what the kernel took was not acknowledged yet */
};

/* 0 or a negative errno: not TCP, not open. */
int stream_get_progress(const struct stream *stream, struct stream_progress *ret_progress);

#endif

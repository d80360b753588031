/*
 * recv_buf: one received run of bytes, reference-counted, from the loop's pool.
 *
 * The kernel fills pool buffers (a provided buffer ring under io_uring); on_recv() gives one
 * reference to the stream's owner, who may parse in place, keep it while its bytes are being sent
 * on (no copy between the two sockets), and releases it. While an owner keeps a buffer the pool
 * puts another one in its place, so that a slow reader never starves other connections; the pool's
 * recv_bufs_max bounds the memory. Owners copy small leftovers out instead of keeping 16 KiB for
 * forty bytes. Thread rule: the loop's thread.
 */
#ifndef SLUICE_IO_RECV_BUF_H
#define SLUICE_IO_RECV_BUF_H

#include <stdint.h>

#include "base/str.h"

struct recv_pool;

struct recv_buf {
	struct recv_pool *pool;
	char *data;
	uint32_t len;  /* received bytes */
	uint32_t refs; /* not atomic: one thread */
	uint32_t size_bytes;
	uint16_t id; /* engine's */
};

static inline struct str recv_buf_str(const struct recv_buf *buf)
{
	return str_make(buf->data, buf->len);
}

static inline void recv_buf_ref(struct recv_buf *buf)
{
	buf->refs++;
}

/* NULL allowed. */
void recv_buf_unref(struct recv_buf *buf);

#endif

/*
 * buf: a growable run of bytes with a hard cap, owned by one holder.
 *
 *   data ──► [ consumed | readable: len bytes | room ]
 *
 * buf_append() past the cap or without memory returns -EMSGSIZE or -ENOMEM and changes nothing.
 * Consuming from the front is O(1); the bytes move down when room is needed. Thread rule: one
 * owner.
 */
#ifndef SLUICE_BASE_BUF_H
#define SLUICE_BASE_BUF_H

#include <stddef.h>

#include "base/str.h"
#include "base/util.h"

struct buf {
	char *data;	   /* NULL until the first append */
	size_t start;	   /* first readable byte */
	size_t len;	   /* readable bytes */
	size_t size_bytes; /* allocated */
	size_t cap_bytes;  /* most readable bytes */
};

void buf_init(struct buf *buf, size_t cap_bytes);
void buf_done(struct buf *buf);
/* Keeps the memory. */
void buf_reset(struct buf *buf);

int buf_append(struct buf *buf, struct str bytes);
int buf_printf(struct buf *buf, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Room for len more bytes at the returned place, to be made readable by buf_commit(). */
int buf_reserve(struct buf *buf, size_t len, char **ret_room);
void buf_commit(struct buf *buf, size_t len);
void buf_consume(struct buf *buf, size_t len);

static inline struct str buf_str(const struct buf *buf)
{
	return str_make(buf->data ? buf->data + buf->start : "", buf->len);
}

#endif

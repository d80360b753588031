#include "base/buf.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>

#define BUF_SIZE_MIN 64

void buf_init(struct buf *buf, size_t cap_bytes)
{
	*buf = (struct buf){.cap_bytes = cap_bytes};
}

void buf_done(struct buf *buf)
{
	free(buf->data);
	buf_init(buf, buf->cap_bytes);
}

void buf_reset(struct buf *buf)
{
	buf->start = buf->len = 0;
}

/* Doubles, so that appending n bytes one by one costs O(n). */
static int buf_grow(struct buf *buf, size_t wanted)
{
	size_t size_bytes = MAX(buf->size_bytes, (size_t)BUF_SIZE_MIN);
	char *data;

	while (size_bytes < wanted)
		if (__builtin_mul_overflow(size_bytes, 2, &size_bytes))
			size_bytes = wanted;
	if (size_bytes > buf->cap_bytes)
		size_bytes = MAX(buf->cap_bytes, wanted);
	data = malloc(size_bytes);
	if (!data)
		return -ENOMEM;
	if (buf->len)
		memcpy(data, buf->data + buf->start, buf->len);
	free(buf->data);
	buf->data = data;
	buf->start = 0;
	buf->size_bytes = size_bytes;
	return 0;
}

/* Room for len bytes under the cap, and for `spare` more that will not be committed. */
static int buf_make_room(struct buf *buf, size_t len, size_t spare, char **ret_room)
{
	size_t wanted;

	if (len > buf->cap_bytes || buf->len > buf->cap_bytes - len)
		return -EMSGSIZE;
	if (__builtin_add_overflow(buf->len + len, spare, &wanted))
		return -ENOMEM;
	if (!buf->data || wanted > buf->size_bytes) {
		int r = buf_grow(buf, wanted);

		if (r)
			return r;
	} else if (wanted > buf->size_bytes - buf->start) {
		memmove(buf->data, buf->data + buf->start, buf->len);
		buf->start = 0;
	}
	*ret_room = buf->data + buf->start + buf->len;
	return 0;
}

int buf_reserve(struct buf *buf, size_t len, char **ret_room)
{
	return buf_make_room(buf, len, 0, ret_room);
}

void buf_commit(struct buf *buf, size_t len)
{
	buf->len += len;
}

void buf_consume(struct buf *buf, size_t len)
{
	len = MIN(len, buf->len);
	buf->len -= len;
	buf->start = buf->len ? buf->start + len : 0;
}

int buf_append(struct buf *buf, struct str bytes)
{
	char *room;
	int r;

	if (str_is_empty(bytes))
		return 0;
	r = buf_reserve(buf, bytes.len, &room);
	if (r)
		return r;
	memcpy(room, bytes.ptr, bytes.len);
	buf_commit(buf, bytes.len);
	return 0;
}

int buf_printf(struct buf *buf, const char *fmt, ...)
{
	va_list args, again;
	char *room;
	int len, r;

	va_start(args, fmt);
	va_copy(again, args);
	len = vsnprintf(NULL, 0, fmt, args);
	va_end(args);
	/* vsnprintf wants a place for its NUL. */
	r = len < 0 ? -EINVAL : buf_make_room(buf, (size_t)len, 1, &room);
	if (!r) {
		(void)vsnprintf(room, (size_t)len + 1, fmt, again);
		buf_commit(buf, (size_t)len);
	}
	va_end(again);
	return r;
}

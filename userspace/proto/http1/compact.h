/*
 * compact: reads a run of body bytes and moves its data together, in place.
 *
 *   in:   5\r\n hello \r\n 1\r\n ! \r\n        out:  hello!
 *
 * So one receive buffer gives one view, however small the peer's chunks are: a flood of one-byte
 * chunks costs a memmove instead of a send segment each. Without chunks nothing moves. Bytes after
 * the end of the message are not touched. Thread rule: pure.
 */
#ifndef SLUICE_PROTO_HTTP1_COMPACT_H
#define SLUICE_PROTO_HTTP1_COMPACT_H

#include "proto/http1/http1.h"

/*
 * HTTP1_BODY_MORE: everything was consumed. HTTP1_BODY_DONE: the message ended at *ret_consumed.
 * Both with *ret_data, perhaps empty. Or a negative enum http1_error.
 */
int http1_body_compact(struct http1_body *body, char *bytes, size_t len, size_t *ret_consumed,
		       struct str *ret_data);

#endif

/*
 * http_client: one HTTP/1.1 request on a Unix socket, its answer whole in memory.
 *
 * Made for the admin API alone: `Connection: close`, a body by Content-Length, in chunks or until
 * the end of the connection, no other transfer encodings. The peer is trusted little: the head and
 * the body have caps, lengths are checked, and one deadline covers everything from connect to the
 * last byte. Thread rule: blocks the caller; no state.
 */
#ifndef SLUICE_TOOLS_HTTP_CLIENT_H
#define SLUICE_TOOLS_HTTP_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/str.h"

#define HTTP_HEAD_MAX (64UL << 10)
#define HTTP_BODY_MAX (256UL << 20)

struct http_call {
	const char *method, *target;
	const char *content_type; /* NULL: application/json */
	struct str body;
};

struct http_answer {
	int status;
	bool is_text;	 /* text/plain, where JSON is usual */
	struct buf body; /* the caller's, after success: buf_done() */
};

/*
 * -ENOENT, -ENOTDIR and -ECONNREFUSED: nobody is there, with the reason alone in err ("connection
 * refused"). Others: -ETIMEDOUT, -EACCES, -EPROTO, ..., with a sentence.
 */
int http_client_call(const char *socket_path, const struct http_call *request, uint64_t timeout_ms,
		     struct http_answer *ret_answer, struct error *err);

#endif

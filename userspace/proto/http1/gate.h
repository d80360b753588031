/*
 * gate: the byte-level half of the HTTP/1 codec, private to proto/http1.
 *
 *   head ──► http1_gate_init ──► _request_line / _status_line ──► _fields ──► field index
 *
 * One linear pass that refuses what RFC 9112 forbids and llhttp lets through: bare CR and LF,
 * obs-fold, controls, empty or malformed names, space before the colon, other versions. What the
 * fields mean is reading.h's business. The bytes must end in CRLF, which http1_gate_init() checks:
 * CR and LF are in no byte class, so the inner loops need no bounds of their own. Errors are
 * negative enum http1_error. Thread rule: one owner.
 */
#ifndef SLUICE_PROTO_HTTP1_GATE_H
#define SLUICE_PROTO_HTTP1_GATE_H

#include "base/util.h"
#include "proto/http1/http1.h"

#define HTTP1_METHOD_BYTES_MAX 32

struct http1_gate {
	const char *pos, *end;
	struct http1_limits limits; /* none is 0 */
	struct arena *arena;	    /* of the field index; NULL: only checks */
	struct http_field *fields;
	unsigned int count, room;
};

/* With the defaults where a limit is 0, or for NULL. */
struct http1_limits http1_limits_resolve(const struct http1_limits *limits);

int http1_gate_init(struct http1_gate *gate, struct str bytes, const struct http1_limits *limits,
		    struct arena *arena);
/* Skips up to two empty lines, then sets method, target and version_minor. */
int http1_gate_request_line(struct http1_gate *gate, struct http_head *head);
/* Sets status, reason and version_minor. */
int http1_gate_status_line(struct http1_gate *gate, struct http_head *head);
/* All field lines and the empty line, which must be the last bytes. */
int http1_gate_fields(struct http1_gate *gate);

/*
 * Checks the target's form against the method (RFC 9112 3.2) and the authority in it against Host.
 */
int http1_target_check(const struct http_head *head);

#endif

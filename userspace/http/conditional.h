/*
 * conditional: preconditions of a GET or HEAD against what is there (RFC 9110 13).
 *
 * Precedence is that of 13.2.2: If-Match, else If-Unmodified-Since (412); then If-None-Match, else
 * If-Modified-Since (304); then If-Range, which decides whether a Range counts. Tags are compared
 * strongly by If-Match and If-Range, weakly by If-None-Match. A date that is malformed or given
 * twice is ignored. Thread rule: pure functions.
 */
#ifndef SLUICE_HTTP_CONDITIONAL_H
#define SLUICE_HTTP_CONDITIONAL_H

#include "proto/http_head.h"

/* What is known of the representation. */
struct http_validators {
	struct str etag;      /* with its quotes, and W/ in front when it is weak */
	int64_t modified;     /* Last-Modified, seconds since 1970 */
	bool modified_strong; /* it changed too long ago to have changed twice in that second */
	int64_t now;
};

enum conditional_result {
	CONDITIONAL_PROCEED,
	CONDITIONAL_NOT_MODIFIED, /* 304 */
	CONDITIONAL_FAILED,	  /* 412 */
};

enum conditional_result conditional_check(const struct http_head *request,
					  const struct http_validators *validators);
/* The value of the Range field that is to be obeyed; ptr NULL: none. */
struct str conditional_range(const struct http_head *request,
			     const struct http_validators *validators);

#endif

/*
 * decompress: a policy that decodes request bodies (gzip, br, zstd), for upstreams and policies
 * that read them.
 *
 * A body grows at most to max_size bytes and to max_ratio times what came (HARDENING 28): beyond,
 * the request is refused with 413; a body that is broken or ends early is a 400. The body is
 * decoded as it comes and as it is wanted: nothing is kept. Codings that are not known, or several
 * on top of each other, are refused with 415. A request without Content-Encoding passes as it is.
 * Thread rule: as http/policy.h says.
 */
#ifndef SLUICE_FILTER_DECOMPRESS_H
#define SLUICE_FILTER_DECOMPRESS_H

#include "http/policy.h"

/* A small body may be all head: so much is never too much. */
#define DECOMPRESS_FREE_BYTES (64u * 1024)

struct decompress {
	uint64_t max_bytes, max_ratio;
};

extern const struct policy_type decompress_policy;

#endif

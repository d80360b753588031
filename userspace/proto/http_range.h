/*
 * http_range: the value of a Range field against the length of what is there (RFC 9110 14).
 *
 * A server may ignore a Range, and we do where answering it would cost more than the whole: more
 * than HTTP_RANGES_MAX ranges, or ranges that together are longer than the representation, as
 * overlapping ones are made to be by attackers. Malformed values and other units are ignored, too.
 * Thread rule: pure function.
 */
#ifndef SLUICE_PROTO_HTTP_RANGE_H
#define SLUICE_PROTO_HTTP_RANGE_H

#include "base/str.h"

#define HTTP_RANGES_MAX 16

struct http_range {
	uint64_t first, len; /* len >= 1, within the representation */
};

enum http_range_result {
	HTTP_RANGE_IGNORED,	  /* answer with the whole */
	HTTP_RANGE_SATISFIABLE,	  /* 206 with the ranges, in the order asked for */
	HTTP_RANGE_UNSATISFIABLE, /* 416 */
};

/* ret_* are written with SATISFIABLE only. */
enum http_range_result http_range_parse(struct str value, uint64_t length,
					struct http_range ret_ranges[HTTP_RANGES_MAX],
					unsigned int *ret_count);

#endif

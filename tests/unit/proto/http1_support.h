/*
 * http1_support: what the tests of proto/http1 share. Inputs are copied to heap blocks of just
 * their length, so that reading past an end shows under SANITIZER=address, and every head that is
 * parsed through here was found whole and byte by byte, with the same result.
 */
#ifndef SLUICE_TESTS_UNIT_PROTO_HTTP1_SUPPORT_H
#define SLUICE_TESTS_UNIT_PROTO_HTTP1_SUPPORT_H

#include "proto/http1/http1.h"
#include "test_support.h"

/* A literal that may hold NUL bytes, as an initialiser in a table. */
#define BYTES(literal)                                                                             \
	{                                                                                          \
		literal, sizeof(literal) - 1                                                       \
	}

struct parsed {
	char *copy;
	struct arena arena;
	struct http_head head;
	size_t len; /* of the head in the bytes */
	enum http1_error error;
};

/* Undo with parsed_done(). The bytes may go on after the head. */
void parsed_request(struct parsed *parsed, struct str bytes, const struct http1_limits *limits);
void parsed_response(struct parsed *parsed, struct str bytes, const struct http1_limits *limits,
		     enum http_method request_method);
void parsed_done(struct parsed *parsed);

/* What came of a body, fed in pieces. */
struct fed {
	enum http1_error error;
	bool is_done;
	struct buf data;     /* body bytes */
	struct buf trailers; /* as "name=value\n" lines */
	size_t consumed;
};

/* Pieces of `piece` bytes after a first one of `first` bytes; 0: everything at once. */
void fed_init(struct fed *fed, enum http_framing framing, uint64_t content_length,
	      const struct http1_limits *limits, struct str bytes, size_t first, size_t piece);
void fed_done(struct fed *fed);
bool fed_equal(const struct fed *left, const struct fed *right);

/* "bare_lf at 'GET ...'", for failing rows; a buffer of its own, good until the next call. */
const char *row_text(struct str bytes);

#define assert_error(bytes, error, expected)                                                       \
	assert_error_at(bytes, error, expected, __FILE__, __LINE__)
void assert_error_at(struct str bytes, enum http1_error error, enum http1_error expected,
		     const char *file, int line);

/* Numbers from a fixed seed: the same inputs at every run. */
uint32_t random_next(uint64_t *state);

#endif

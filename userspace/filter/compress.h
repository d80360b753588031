/*
 * compress: a policy that encodes bodies of answers as the client accepts it: zstd, br or gzip.
 *
 * Accept-Encoding decides with its weights, the policy's order among equals. An answer stays as it
 * is when it is encoded already, a part (206), not of one of the types, said to be not to be
 * transformed (by either side), shorter than min_size (where its length is known), or memory is
 * short. What could have been encoded says so in Vary. A strong ETag becomes a weak one, since the
 * bytes are others; fields about the bytes go. Bodies of a length that is known are one stream;
 * others are flushed piece by piece, so that no event waits in an encoder.
 *
 * Encoders are the worker's (proto/coding/coding.h) and counted in its memory. Thread rule: as
 * http/policy.h says.
 */
#ifndef SLUICE_FILTER_COMPRESS_H
#define SLUICE_FILTER_COMPRESS_H

#include "http/policy.h"
#include "proto/coding/coding.h"

struct compress {
	enum coding codings[CODING_COUNT]; /* in the policy's order */
	unsigned int coding_count;
	uint64_t min_bytes;
	struct str *types; /* "text/html", or or "text/" and an asterisk */
	unsigned int type_count;
};

extern const struct policy_type compress_policy;

/* Is the media type of a Content-Type one of them? */
bool compress_takes_type(const struct compress *compress, struct str content_type);

/* For compress_config.c and the policy's table. */
int compress_read(const struct field_context *context, const struct conf_node *node,
		  const char *what, void *conf);
void compress_write(struct conf_writer *writer, const void *conf);

#endif

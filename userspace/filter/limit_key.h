/*
 * limit_key: by what a limit tells callers apart.
 *
 *   key: [ source, { claim: sub } ]     each pair of an address and a subject has a limit of its
 * own
 *
 * A key is 128 bits of a keyed hash, in which each part's kind and length count, so that no two
 * keys look alike and nobody can make his look like another's. A caller who lacks a part (no such
 * field, nobody is known) shares the limit with all others who lack it. Thread rule: immutable once
 * read.
 */
#ifndef SLUICE_FILTER_LIMIT_KEY_H
#define SLUICE_FILTER_LIMIT_KEY_H

#include "conf/field.h"

#define LIMIT_SECRET_BYTES 136 /* what XXH3 wants */

struct exchange;

enum limit_part_kind {
	LIMIT_BY_SOURCE,   /* the client's address, cut to a prefix */
	LIMIT_BY_CONSUMER, /* whom the policies before found out */
	LIMIT_BY_ROUTE,
	LIMIT_BY_HEADER, /* all fields of a name */
	LIMIT_BY_CLAIM,	 /* all values */
};

struct limit_part {
	enum limit_part_kind kind;
	struct str name;	      /* of the field (lower case), or the claim */
	uint8_t ipv4_bits, ipv6_bits; /* LIMIT_BY_SOURCE */
};

struct limit_key {
	struct limit_part *parts;
	unsigned int count;
};

/* `what`: "policy 'x': rate_limit: key". 0, or -EINVAL with errors reported. */
int limit_key_read(const struct field_context *context, const struct conf_node *node,
		   const char *what, struct limit_key *key);
/* The key that stands for an absent one: by source. -ENOMEM. */
int limit_key_default(struct arena *arena, struct limit_key *key);
void limit_key_write(struct conf_writer *writer, const char *name, const struct limit_key *key);

struct limit_hash {
	uint64_t low, high;
};
struct limit_hash limit_key_hash(const struct limit_key *key, const struct exchange *exchange,
				 const uint8_t secret[static LIMIT_SECRET_BYTES]);

#endif

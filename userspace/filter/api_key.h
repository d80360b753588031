/*
 * api_key: the policy `api_key`: callers that show a key in a field or in the query.
 *
 * The keys file holds no key, only SHA-256 digests (filter/api_key_file.c reads it): keys are long
 * and random, so that nobody gets from a digest to its key, and no slow hash is needed. A request's
 * key is digested and looked up by the digest in a table of open addressing; the place is a part of
 * the digest, which tells nobody anything about a key, and the rest is compared in constant time.
 * The table is of the snapshot: a reload reads the file again. Thread rule: immutable once read.
 */
#ifndef SLUICE_FILTER_API_KEY_H
#define SLUICE_FILTER_API_KEY_H

#include "filter/auth.h"
#include "filter/digest.h"

#define API_KEY_BYTES_MAX 512

struct api_key_entry {
	uint8_t digest[DIGEST_BYTES];
	uint64_t expires_s; /* since 1970; 0: never */
	struct identity_finding finding;
};

struct api_key_table {
	struct api_key_entry *entries;
	unsigned int count;
	uint32_t *slots; /* number of an entry from 1; 0: empty */
	uint32_t mask;
};

struct api_key {
	struct auth_conf auth; /* first */
	struct str header;     /* ptr NULL: not in a field */
	struct str query;      /* name of a parameter; ptr NULL: not there */
	struct str file;       /* absolute */
	struct api_key_table table;
};

extern const struct policy_type api_key_policy;

/* NULL: there is none. */
const struct api_key_entry *api_key_find(const struct api_key_table *table, struct str key);

/* api_key_config.c */
int api_key_read(const struct field_context *context, const struct conf_node *node,
		 const char *what, void *conf);
void api_key_write(struct conf_writer *writer, const void *conf);

/* api_key_file.c: errors name the file's lines. `path` as it was opened. */
int api_key_file_parse(const struct field_context *context, const char *path, struct str text,
		       struct api_key_table *table);

#endif

/*
 * jwt: the policy `jwt`: callers that show a token which somebody we trust has signed.
 *
 *   "Authorization: Bearer TOKEN" ──► filter/jwt_cache.h ──► known before: done
 *                                          └ new ──► filter/jwt_token.h ──► filter/jwk.h
 *
 * Keys are of the snapshot: a reload reads the key set again. Thread rule: immutable once read but
 * for the caches, which are per worker.
 */
#ifndef SLUICE_FILTER_JWT_H
#define SLUICE_FILTER_JWT_H

#include "filter/auth.h"
#include "filter/digest.h"
#include "filter/jwt_cache.h"

struct jwt {
	struct auth_conf auth; /* first */
	struct jwt_rules rules;
	struct str header; /* "authorization": behind "Bearer" */
	struct str jwks_file;
	struct jwk_set *keys; /* of the snapshot's arena, by arena_at_end() */
	uint64_t skew_ms, cached_tokens;
	char digest[DIGEST_HEX + 1]; /* of keys and rules */
	struct jwt_caches *caches;   /* one reference */
};

extern const struct policy_type jwt_policy;

/* jwt_config.c */
int jwt_read(const struct field_context *context, const struct conf_node *node, const char *what,
	     void *conf);
void jwt_write(struct conf_writer *writer, const void *conf);

#endif

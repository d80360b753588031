/*
 * jwt_cache: tokens that were verified, so that the next request with one costs no signature.
 *
 * Per worker and policy, a bounded table: a keyed hash of the whole token picks a row of four
 * places, and the token itself is compared, all of it, in constant time. A token leaves when it has
 * expired, or for a newer one in its row. What was verified under other keys or rules is never
 * found: the cache is a runtime object named by the digest of both, so that it lives over reloads
 * that change neither. Refused tokens are not kept. Thread rule: a row of caches belongs to its
 * worker; made and freed by the control thread.
 */
#ifndef SLUICE_FILTER_JWT_CACHE_H
#define SLUICE_FILTER_JWT_CACHE_H

#include "base/registry.h"
#include "filter/jwt_token.h"

#define JWT_CACHE_WAYS 4

struct jwt_cache;

/* Runtime: registry kind "jwt", by policy and digest. */
struct jwt_caches {
	struct registry_entry entry;
	unsigned int count;
	struct jwt_cache **caches; /* one per worker */
};

/* `tokens`: how many each worker keeps; 0: none. */
int jwt_caches_acquire(struct registry *registry, struct str name, struct str digest,
		       unsigned int worker_count, unsigned int tokens,
		       struct jwt_caches **ret_caches);
void jwt_caches_unref(struct jwt_caches *caches); /* NULL allowed */

/* With a reference of its own; NULL: not there, or expired. */
struct jwt_token *jwt_cache_find(struct jwt_cache *cache, struct str text, uint64_t now_s);
/* Takes a reference of its own. */
void jwt_cache_put(struct jwt_cache *cache, struct jwt_token *token);

#endif

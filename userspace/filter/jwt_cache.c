#include "filter/jwt_cache.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <sys/random.h>
#include <xxhash.h>

struct jwt_row {
	struct {
		uint64_t hash;
		struct jwt_token *token;
	} ways[JWT_CACHE_WAYS]; /* the newest first */
};

struct jwt_cache {
	uint64_t seed;
	uint64_t mask; /* of rows; UINT64_MAX: there are none */
	struct jwt_row rows[];
};

/* ---- life ---- */

static struct jwt_cache *cache_new(unsigned int tokens)
{
	struct jwt_cache *cache;
	uint64_t rows = 1;

	while (rows * JWT_CACHE_WAYS < tokens)
		rows *= 2;
	if (!tokens)
		rows = 0;
	cache = calloc(1, sizeof(*cache) + rows * sizeof(cache->rows[0]));
	if (!cache)
		return NULL;
	cache->mask = rows - 1;
	/* Rows only: what is found is compared as a whole. */
	if (getrandom(&cache->seed, sizeof(cache->seed), 0) != (ssize_t)sizeof(cache->seed))
		cache->seed = (uint64_t)(uintptr_t)cache;
	return cache;
}

static void cache_free(struct jwt_cache *cache)
{
	for (uint64_t i = 0; cache && i < cache->mask + 1; i++)
		for (unsigned int j = 0; j < JWT_CACHE_WAYS; j++)
			jwt_token_unref(cache->rows[i].ways[j].token);
	free(cache);
}

static void caches_release(struct registry_entry *entry)
{
	struct jwt_caches *caches = CONTAINER_OF(entry, struct jwt_caches, entry);

	for (unsigned int i = 0; i < caches->count; i++)
		cache_free(caches->caches[i]);
	free(caches->caches);
}

struct caches_make {
	unsigned int worker_count, tokens;
};

static int caches_init(struct registry_entry *entry, void *arg)
{
	struct jwt_caches *caches = CONTAINER_OF(entry, struct jwt_caches, entry);
	const struct caches_make *make = arg;

	caches->caches = calloc(make->worker_count, sizeof(struct jwt_cache *));
	if (!caches->caches)
		return -ENOMEM;
	for (; caches->count < make->worker_count; caches->count++) {
		caches->caches[caches->count] = cache_new(make->tokens);
		if (caches->caches[caches->count])
			continue;
		caches_release(entry);
		return -ENOMEM;
	}
	return 0;
}

int jwt_caches_acquire(struct registry *registry, struct str name, struct str digest,
		       unsigned int worker_count, unsigned int tokens,
		       struct jwt_caches **ret_caches)
{
	struct caches_make make = {worker_count, tokens};
	struct registry_entry *entry;

	entry = registry_acquire(registry, "jwt", name, digest, sizeof(struct jwt_caches),
				 caches_init, &make, caches_release);
	if (!entry)
		return -ENOMEM;
	*ret_caches = CONTAINER_OF(entry, struct jwt_caches, entry);
	return 0;
}

void jwt_caches_unref(struct jwt_caches *caches)
{
	if (caches)
		registry_unref(&caches->entry);
}

/* ---- use ---- */

static bool is_text(const struct jwt_token *token, struct str text)
{
	return token->text.len == text.len && !CRYPTO_memcmp(token->text.ptr, text.ptr, text.len);
}

struct jwt_token *jwt_cache_find(struct jwt_cache *cache, struct str text, uint64_t now_s)
{
	uint64_t hash = XXH3_64bits_withSeed(text.ptr, text.len, cache->seed);
	struct jwt_row *row;

	if (cache->mask == UINT64_MAX)
		return NULL;
	row = &cache->rows[hash & cache->mask];
	for (unsigned int i = 0; i < JWT_CACHE_WAYS; i++) {
		struct jwt_token *token = row->ways[i].token;

		if (!token || row->ways[i].hash != hash || !is_text(token, text))
			continue;
		if (now_s < token->expires_s)
			return jwt_token_ref(token);
		row->ways[i].token = NULL;
		jwt_token_unref(token);
		return NULL;
	}
	return NULL;
}

void jwt_cache_put(struct jwt_cache *cache, struct jwt_token *token)
{
	struct jwt_row *row;
	uint64_t hash;

	if (cache->mask == UINT64_MAX)
		return;
	hash = XXH3_64bits_withSeed(token->text.ptr, token->text.len, cache->seed);
	row = &cache->rows[hash & cache->mask];
	jwt_token_unref(row->ways[JWT_CACHE_WAYS - 1].token);
	memmove(&row->ways[1], &row->ways[0], sizeof(row->ways[0]) * (JWT_CACHE_WAYS - 1));
	row->ways[0].hash = hash;
	row->ways[0].token = jwt_token_ref(token);
}

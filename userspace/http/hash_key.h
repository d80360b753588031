/*
 * hash_key: the part of a request that an upstream's hash_on names, as a hash. The balancer keeps
 * requests with the same hash at the same endpoint; see upstream/maglev.h. All nodes hash alike.
 * Thread rule: pure function.
 */
#ifndef SLUICE_HTTP_HASH_KEY_H
#define SLUICE_HTTP_HASH_KEY_H

#include <stdbool.h>
#include <stdint.h>

#include "upstream/upstream.h"

struct exchange;

/* False: the request has no such part. */
bool hash_key_find(const struct exchange *exchange, const struct upstream_hash_on *hash_on,
		   uint64_t *ret_key);

#endif

/*
 * split: the upstreams that share the requests of one route, and which of them gets a request.
 *
 *   when fulfilled (in order) ──► that variant
 *   else sticky: the variant that cookie, header or source name ──► that variant
 *   else by weight, at random
 *
 * A variant is one upstream of the split. Its weight is its share of the requests that no `when`
 * decides; 0: it gets none of them. A cookie holds a token made of the upstream's name, so that it
 * outlives reloads, restarts and changes of order and is the same on every node, but does not tell
 * the name (HARDENING 36). Header and source are hashed with the weights (weighted rendezvous): a
 * change of weights moves only as many clients as it must, to or from the variant it concerns.
 * There is no other variant for a request whose variant fails: who tests a new version wants to see
 * it fail. Immutable in the snapshot; counters are rows per worker. Thread rule: any thread.
 */
#ifndef SLUICE_HTTP_SPLIT_H
#define SLUICE_HTTP_SPLIT_H

#include <stdatomic.h>

#include "base/registry.h"
#include "http/route_condition.h"

struct exchange;
struct upstream_conf;

#define SPLIT_VARIANTS_MAX 64
#define SPLIT_WEIGHT_MAX   1000000
#define SPLIT_TOKEN_LEN	   8

struct variant_row {
	_Alignas(64) atomic_uint_fast64_t requests;
};

/* Runtime: registry kind "variant", by route and upstream. */
struct variant_stats {
	struct registry_entry entry;
	unsigned int row_count;
	struct variant_row *rows; /* one per worker */
};

int variant_stats_acquire(struct registry *registry, struct str route_name,
			  struct str upstream_name, unsigned int worker_count,
			  struct variant_stats **ret_stats);
void variant_stats_unref(struct variant_stats *stats);
uint64_t variant_stats_requests(const struct variant_stats *stats);

struct split_variant {
	const struct upstream_conf *upstream;
	uint64_t weight;
	struct route_conditions when_header, when_query; /* both empty: no `when` */
	uint64_t hash;					 /* of the upstream's name */
	char token[SPLIT_TOKEN_LEN + 1];		 /* its name for clients */
	struct str set_cookie, set_cookie_secure;	 /* whole values */
	struct variant_stats *stats;			 /* one reference */
};

enum split_sticky { SPLIT_FREE, SPLIT_BY_COOKIE, SPLIT_BY_HEADER, SPLIT_BY_SOURCE };

struct split {
	struct split_variant *variants;
	unsigned int count;
	uint64_t weight_sum; /* >= 1 */
	enum split_sticky sticky;
	struct str sticky_name; /* of the cookie or, in lower case, the field */
	enum http_field_id sticky_field_id;
	uint64_t cookie_ttl_ms; /* 0: until the browser ends */
};

/*
 * Sums up weights and makes hashes, tokens and cookies. -EEXIST: two names have the same token (one
 * in four thousand million); -ENOMEM.
 */
int split_prepare(struct split *split, struct arena *arena);

/*
 * The variant for the exchange, counted. May add a Set-Cookie to its answer. Never NULL.
 */
const struct upstream_conf *split_choose(struct exchange *exchange);

/* The parts of it. Results are places in `variants`; -1: it does not say. */
int split_by_condition(const struct split *split, const struct http_head *head, struct str query);
int split_by_cookie(const struct split *split, const struct http_head *head);
unsigned int split_by_value(const struct split *split, struct str value);
/* `random`: any 64 bits. */
unsigned int split_by_weight(const struct split *split, uint64_t random);

#endif

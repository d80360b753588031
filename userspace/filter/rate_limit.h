/*
 * rate_limit: the policy `rate_limit`: so many requests in so much time for each key, for the node.
 *
 *   { rate: 100/s, burst: 200, key: [ consumer ] }
 *
 * filter/rate_table.h counts and filter/limit_key.h says for whom; the table is a runtime object of
 * the policy's name, so what was counted goes on over reloads, also when rate and burst change.
 * Answers tell by RateLimit and RateLimit-Policy (draft-ietf-httpapi-ratelimit-headers-10) how far
 * the client may go, and 429 by Retry-After when it may come again. Every route that lists the
 * policy counts in the same table. Thread rule: the conf is immutable once acquired.
 */
#ifndef SLUICE_FILTER_RATE_LIMIT_H
#define SLUICE_FILTER_RATE_LIMIT_H

#include "base/registry.h"
#include "filter/rate_table.h"
#include "http/policy.h"

/* Runtime: registry kind "rate_limit", by name and number of keys. */
struct rate_counts {
	struct registry_entry entry;
	struct rate_table *table;
};

struct rate_limit {
	uint64_t count, period_ms; /* as written: 100/s */
	struct rate rate;
	uint64_t keys;
	struct limit_key key;
	bool headers;
	uint64_t window_s; /* until nothing of a whole burst is owed */
	struct rate_counts *counts;
};

extern const struct policy_type rate_limit_policy;

/* rate_limit_config.c */
int rate_limit_read(const struct field_context *context, const struct conf_node *node,
		    const char *what, void *conf);
void rate_limit_write(struct conf_writer *writer, const void *conf);

#endif

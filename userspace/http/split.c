#include "http/split.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include <xxhash.h>

#include "base/util.h"
#include "http/worker_internal.h"
#include "upstream/upstream.h"

/* ---- runtime counters ---- */

static int variant_stats_init(struct registry_entry *entry, void *arg)
{
	struct variant_stats *stats = CONTAINER_OF(entry, struct variant_stats, entry);
	unsigned int worker_count = *(const unsigned int *)arg;
	size_t bytes = sizeof(*stats->rows) * worker_count;

	stats->rows = aligned_alloc(_Alignof(struct variant_row), bytes);
	if (!stats->rows)
		return -ENOMEM;
	memset(stats->rows, 0, bytes);
	stats->row_count = worker_count;
	return 0;
}

static void variant_stats_release(struct registry_entry *entry)
{
	free(CONTAINER_OF(entry, struct variant_stats, entry)->rows);
}

int variant_stats_acquire(struct registry *registry, struct str route_name,
			  struct str upstream_name, unsigned int worker_count,
			  struct variant_stats **ret_stats)
{
	struct registry_entry *entry;

	entry = registry_acquire(registry, "variant", route_name, upstream_name,
				 sizeof(struct variant_stats), variant_stats_init, &worker_count,
				 variant_stats_release);
	if (!entry)
		return -ENOMEM;
	*ret_stats = CONTAINER_OF(entry, struct variant_stats, entry);
	return 0;
}

void variant_stats_unref(struct variant_stats *stats)
{
	if (stats)
		registry_unref(&stats->entry);
}

uint64_t variant_stats_requests(const struct variant_stats *stats)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < stats->row_count; i++)
		sum += atomic_load_explicit(&stats->rows[i].requests, memory_order_relaxed);
	return sum;
}

/* ---- made once ---- */

/* Browsers take cookies of these names only when they are marked as secure (RFC 6265bis 4.1.3). */
static bool must_be_secure(struct str cookie_name)
{
	return str_starts_with(cookie_name, STR("__Secure-")) ||
	       str_starts_with(cookie_name, STR("__Host-"));
}

static int make_cookies(const struct split *split, struct split_variant *variant,
			struct arena *arena)
{
	char age[48] = "";

	if (split->cookie_ttl_ms)
		(void)snprintf(age, sizeof(age), "; Max-Age=%llu",
			       (unsigned long long)(split->cookie_ttl_ms / 1000));
	variant->set_cookie = arena_printf(arena, "%.*s=%s; Path=/; HttpOnly; SameSite=Lax%s%s",
					   STR_FMT(split->sticky_name), variant->token, age,
					   must_be_secure(split->sticky_name) ? "; Secure" : "");
	variant->set_cookie_secure =
		arena_printf(arena, "%.*s=%s; Path=/; HttpOnly; SameSite=Lax%s; Secure",
			     STR_FMT(split->sticky_name), variant->token, age);
	return variant->set_cookie.ptr && variant->set_cookie_secure.ptr ? 0 : -ENOMEM;
}

int split_prepare(struct split *split, struct arena *arena)
{
	split->weight_sum = 0;
	for (unsigned int i = 0; i < split->count; i++) {
		struct split_variant *variant = &split->variants[i];
		struct str name = variant->upstream->name;

		split->weight_sum += variant->weight;
		variant->hash = XXH3_64bits(name.ptr, name.len);
		(void)snprintf(variant->token, sizeof(variant->token), "%0*x", SPLIT_TOKEN_LEN,
			       (uint32_t)(variant->hash >> 32));
		for (unsigned int j = 0; j < i; j++)
			if (!memcmp(split->variants[j].token, variant->token, SPLIT_TOKEN_LEN))
				return -EEXIST;
		if (split->sticky == SPLIT_BY_COOKIE && make_cookies(split, variant, arena))
			return -ENOMEM;
	}
	return 0;
}

/* ---- for each request ---- */

int split_by_condition(const struct split *split, const struct http_head *head, struct str query)
{
	for (unsigned int i = 0; i < split->count; i++) {
		const struct split_variant *variant = &split->variants[i];

		if (!variant->when_header.count && !variant->when_query.count)
			continue;
		if (!route_conditions_fail_head(&variant->when_header, head) &&
		    !route_conditions_fail_query(&variant->when_query, query))
			return (int)i;
	}
	return -1;
}

static int by_token(const struct split *split, struct str token)
{
	if (token.len != SPLIT_TOKEN_LEN)
		return -1;
	for (unsigned int i = 0; i < split->count; i++) {
		const struct split_variant *variant = &split->variants[i];

		/* A variant without weight is being emptied: its clients choose anew. */
		if (variant->weight && !memcmp(variant->token, token.ptr, SPLIT_TOKEN_LEN))
			return (int)i;
	}
	return -1;
}

int split_by_cookie(const struct split *split, const struct http_head *head)
{
	for (unsigned int i = 0; i < head->field_count; i++) {
		struct str rest = head->fields[i].value, pair;

		if (head->fields[i].id != HTTP_FIELD_COOKIE)
			continue;
		while (str_next_token(&rest, ';', &pair)) {
			ptrdiff_t equals = str_find_byte(pair, '=');
			int found;

			if (equals < 0 ||
			    !str_eq(str_sub(pair, 0, (size_t)equals), split->sticky_name))
				continue;
			/* Several of the name may come, of other paths and domains. */
			found = by_token(split, str_sub(pair, (size_t)equals + 1,
							pair.len - (size_t)equals - 1));
			if (found >= 0)
				return found;
		}
	}
	return -1;
}

/*
 * Each variant draws a time from an exponential distribution with its weight as the rate, and the
 * first one wins: variant i with the chance weight_i / weight_sum. The draw depends on value and
 * variant alone, so another variant's weight changes nothing between those two.
 */
unsigned int split_by_value(const struct split *split, struct str value)
{
	double best_time = INFINITY;
	unsigned int best = 0;

	for (unsigned int i = 0; i < split->count; i++) {
		const struct split_variant *variant = &split->variants[i];
		uint64_t hash;
		double time;

		if (!variant->weight)
			continue;
		hash = XXH3_64bits_withSeed(value.ptr, value.len, variant->hash);
		/* 53 bits make a number in (0, 1]. */
		time = -log((double)((hash >> 11) + 1) * 0x1p-53) / (double)variant->weight;
		if (time < best_time) {
			best_time = time;
			best = i;
		}
	}
	return best;
}

unsigned int split_by_weight(const struct split *split, uint64_t random)
{
	uint64_t place = (uint64_t)(((unsigned __int128)random * split->weight_sum) >> 64);
	unsigned int i = 0;

	while (place >= split->variants[i].weight)
		place -= split->variants[i++].weight;
	return i;
}

static int by_header(const struct split *split, const struct http_head *head)
{
	for (unsigned int i = 0; i < head->field_count; i++) {
		const struct http_field *field = &head->fields[i];

		if (field->id == split->sticky_field_id &&
		    (field->id != HTTP_FIELD_OTHER ||
		     str_eq_nocase(field->name, split->sticky_name)))
			return (int)split_by_value(split, field->value);
	}
	return -1;
}

static int by_what_sticks(const struct split *split, const struct exchange *exchange)
{
	const struct ip_addr *client = &exchange->client;

	switch (split->sticky) {
	case SPLIT_BY_COOKIE:
		return split_by_cookie(split, &exchange->request);
	case SPLIT_BY_HEADER:
		return by_header(split, &exchange->request);
	case SPLIT_BY_SOURCE:
		return (int)split_by_value(
			split, str_make((const char *)client->bytes, sizeof(client->bytes)));
	case SPLIT_FREE:
		break;
	}
	return -1;
}

static void add_cookie(struct exchange *exchange, const struct split_variant *variant)
{
	if (exchange->added_count == EXCHANGE_ADDED_MAX)
		return;
	exchange->added[exchange->added_count++] = (struct http_field){
		STR("Set-Cookie"),
		str_eq(exchange->public_scheme, STR("https")) ? variant->set_cookie_secure
							      : variant->set_cookie,
		HTTP_FIELD_SET_COOKIE,
	};
}

const struct upstream_conf *split_choose(struct exchange *exchange)
{
	const struct split *split = exchange->route->proxy.split;
	struct http_worker *worker = exchange->worker;
	/* What a condition decides holds for this request only: no cookie is set. */
	int at = split_by_condition(split, &exchange->request, exchange->query);

	if (at < 0)
		at = by_what_sticks(split, exchange);
	if (at < 0) {
		at = (int)split_by_weight(split, random_next(&worker->random));
		if (split->sticky == SPLIT_BY_COOKIE)
			add_cookie(exchange, &split->variants[at]);
	}
	if (split->variants[at].stats)
		worker_add(&split->variants[at].stats->rows[worker->index].requests, 1);
	return split->variants[at].upstream;
}

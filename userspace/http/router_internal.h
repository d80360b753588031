/*
 * router_internal: the index that router_build.c makes and router.c reads.
 *
 *   hosts: "api.example.com" ──► host number, lengths of its prefixes and of the beginnings of its
 *                                regexes, shapes of its templates; each the best first
 *   paths: (host number, kind, key) ──► routes, by route_compare_conditions()
 *
 * Both are open-addressed tables, at most half full. The key is the path, the prefix without its
 * last '/', the beginning of a regex, or the literal segments of a template with its shape.
 * Thread rule: as router.h.
 */
#ifndef SLUICE_HTTP_ROUTER_INTERNAL_H
#define SLUICE_HTTP_ROUTER_INTERNAL_H

#include "http/router.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

struct router_path {
	uint64_t hash;
	uint32_t host; /* number, from 1; 0: empty place */
	enum route_path_kind kind;
	struct str key;			       /* all kinds but templates */
	const struct route_template *template; /* one with these literals and shape */
	const struct route **routes;
	unsigned int route_count;
};

struct router_host {
	struct str name; /* "" is "every host", ".example.com" is "*.example.com" */
	uint32_t number; /* from 1; 0: empty place */
	unsigned int shape_count, shape_room;
	struct route_shape *shapes;
	unsigned int prefix_count, prefix_room;
	unsigned int literal_count, literal_room;
	uint32_t *prefix_lens;	/* the longest first */
	uint32_t *literal_lens; /* of regexes, the longest first */
};

struct router {
	struct router_host *hosts;
	uint32_t host_mask, host_count;
	struct router_path *paths;
	uint32_t path_mask;
	uint64_t wildcard_lens[4]; /* bit: there is a wildcard with so many bytes behind the '*' */
};

/* The place of that name, or the empty one where it would stand. */
static inline struct router_host *router_host_place(const struct router *router, struct str name)
{
	uint64_t hash = XXH3_64bits(name.ptr, name.len);

	for (uint32_t i = (uint32_t)hash & router->host_mask;; i = (i + 1) & router->host_mask) {
		struct router_host *entry = &router->hosts[i];

		if (!entry->number || str_eq(entry->name, name))
			return entry;
	}
}

static inline uint64_t router_key_hash(uint32_t host, enum route_path_kind kind, struct str key)
{
	return XXH3_64bits_withSeed(key.ptr, key.len, host * 4ULL + kind);
}

/* hash: of the literal segments, in their order. */
static inline uint64_t router_segment_hash(uint64_t hash, struct str segment)
{
	return XXH3_64bits_withSeed(segment.ptr, segment.len, hash + 1);
}

static inline uint64_t router_shape_seed(uint32_t host, struct route_shape shape)
{
	return ((uint64_t)host << 32 ^ shape.literals) * 0x9e3779b97f4a7c15ULL + shape.count * 2 +
	       shape.rest;
}

static inline bool router_has_wildcard_len(const struct router *router, size_t len)
{
	return len < 256 && router->wildcard_lens[len / 64] & (1ULL << (len % 64));
}

#endif

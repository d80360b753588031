/*
 * rewrite: a policy that changes what an upstream is asked: its path, query and Host.
 *
 *   path: { prefix: /api, to: / }                  /api/x?q ──► /x?q   whole segments
 *   path: { regex: "^/v1/(.*)$", to: "/$1" }       /v1/a    ──► /a     the whole path is replaced
 *   host: shop.internal:8080
 *
 * It works on the canonical path as policies before it left it, so rewrites can follow each other;
 * a path that does not match passes as it is. Text that a group captured goes into a path as it
 * stands and into a query percent-encoded. A result that is not canonical (http/path.h) is
 * refused with 400: what was matched and authorised must not become another path on the way.
 * Matching, conditions of a split and the log see the client's own path. Thread rule: as
 * http/policy.h says.
 */
#ifndef SLUICE_FILTER_REWRITE_H
#define SLUICE_FILTER_REWRITE_H

#include "http/policy.h"
#include "http/route_regex.h"

/* A piece of `to`: literal text, or what a group captured. */
struct rewrite_part {
	struct str text;
	int group; /* -1: literal */
	bool in_query;
};

struct rewrite {
	/* As written; ptr NULL: not asked for. */
	struct str prefix, to, host;
	struct route_regex *regex; /* NULL: prefix, or no change of the path */

	/* Prefix and its replacement without a last '/'. */
	struct str from_segments, to_segments;
	/* The pieces of `to` with a regex. */
	struct rewrite_part *parts;
	unsigned int part_count;
	bool has_query; /* `to` brings its own; the request's is dropped */
};

extern const struct policy_type rewrite_policy;

/*
 * The new path in the arena; views in the request where nothing changes. `*query` is replaced only
 * by a `to` with a query. 1: rewritten, 0: does not match, -EINVAL: the result is not canonical,
 * -ENOMEM. unsafe: the route takes ambiguous paths (http/path.h), so one may come out, too.
 */
int rewrite_path(const struct rewrite *rewrite, bool unsafe, struct arena *arena, struct str *path,
		 struct str *query);

/* For rewrite_config.c and the policy's table. */
int rewrite_read(const struct field_context *context, const struct conf_node *node,
		 const char *what, void *conf);
void rewrite_write(struct conf_writer *writer, const void *conf);

#endif

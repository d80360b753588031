/*
 * router: finds the route of a request.
 *
 * Precedence, each only where those before leave more than one:
 *
 *   host      exact, then the longest wildcard, then routes for every host
 *   path      exact, then templates (http/route_template.h says which first), then the longest
 *             prefix, then regexes
 *   method    routes with methods before those for every one
 *   headers   the more conditions the earlier
 *   query     the same
 *   order     in the file
 *
 * A route wins only if all of it holds; where host and path were the best but a method or condition
 * fails, the next best is tried, other paths and hosts included. Prefixes match whole segments:
 * /cart matches /cart and /cart/3, not /cartoon. Host is compared without case and port, the path
 * in canonical form (http/path.h).
 *
 * What a lookup costs, whatever the number of routes: per host candidate one probe for the exact
 * path, one per distinct shape of its templates, one per distinct length of its prefixes and of
 * what its regexes begin with (at most ROUTE_LITERAL_BYTES_MAX); then the routes found there,
 * which have the same path, or the same beginning if they are regexes, are tried one by one.
 * Immutable once built. Thread rule: read by any thread.
 */
#ifndef SLUICE_HTTP_ROUTER_H
#define SLUICE_HTTP_ROUTER_H

#include "http/route.h"

struct router;

/* Two routes that match the same requests. */
struct router_conflict {
	const struct route *earlier, *later;
};

/*
 * Indexes the routes for one listener; `routes` stay where they are. NULL: out of memory. A route
 * that matches the same as an earlier one (host, path, methods, headers, query) is left out there;
 * the first `conflict_room` of those are told, each later route once.
 */
struct router *router_build(struct arena *arena, struct route *const *routes, unsigned int count,
			    struct router_conflict *ret_conflicts, unsigned int conflict_room,
			    unsigned int *ret_conflict_count);

struct router_request {
	struct str host;  /* lower-case, without port; "" when there is none */
	struct str path;  /* canonical, without query */
	struct str query; /* with or without its '?', or "" */
	enum http_method method_id;
	struct str method;
	const struct http_head *head; /* for conditions on fields */
};

enum router_result {
	ROUTER_FOUND,
	ROUTER_NO_ROUTE,  /* 404 */
	ROUTER_NO_METHOD, /* 405: for other methods there would be a route */
};

struct router_match {
	const struct route *route; /* ROUTER_FOUND */
	uint32_t allow;		   /* ROUTER_NO_METHOD: the union of those methods */
	unsigned int steps;	   /* probes and routes tried: what the lookup cost */
	unsigned int param_count;  /* of a template */
	struct route_param params[ROUTE_PARAMS_MAX]; /* views of request->path */
};

/* *ret_match is set whatever the result; params beyond the count are not. */
enum router_result router_find(const struct router *router, const struct router_request *request,
			       struct router_match *ret_match);

/* ---- the parts, for the index, for explaining a decision, and for tests ---- */

bool route_method_matches(const struct route *route, enum http_method method_id, struct str method);
bool route_path_matches(const struct route *route, struct str path);
/* "*.example.com" or a name; hosts as in struct route. */
bool route_host_matches(struct str pattern, struct str host);
/* Conditions on fields: an upgrade is one, too. */
unsigned int route_header_count(const struct route *route);
/*
 * By what is behind the path: methods, headers, query, order. < 0: left is tried first. Order makes
 * it total.
 */
int route_compare_conditions(const struct route *left, const struct route *right);
/* Do they ask for the same methods, fields and query? */
bool route_same_conditions(const struct route *left, const struct route *right);
/* Prefixes are compared without their last '/': "/" is "", "/a/" is "/a". */
struct str route_prefix_key(struct str path);

#endif

/*
 * The index behind router_find(). Two open-addressed tables, at most half full:
 *
 *   hosts: "api.example.com" ──► host number and the lengths of its prefixes, longest first
 *   paths: (host number, exact or prefix, path) ──► list of routes, those with methods first
 *
 * Prefixes are stored without their last '/', so that "/" is the empty prefix and every other one
 * ends where a segment of the path ends. Built once per snapshot, read-only afterwards.
 */
#include "http/route.h"

#define XXH_INLINE_ALL
#include <stdlib.h>
#include <xxhash.h>

#include "base/util.h"

struct path_entry {
	uint32_t host; /* number, from 1; 0: empty place */
	enum route_path_kind kind;
	struct str path;
	struct route **routes;
	unsigned int route_count, route_room;
};

struct host_entry {
	struct str name;       /* "" is "every host", ".example.com" is "*.example.com" */
	uint32_t number;       /* from 1; 0: empty place */
	uint32_t *prefix_lens; /* longest first */
	unsigned int prefix_count, prefix_room;
};

struct router {
	struct arena *arena;
	struct host_entry *hosts;
	uint32_t host_mask, host_count;
	struct path_entry *paths;
	uint32_t path_mask, path_count;
	bool has_wildcards;
};

static struct host_entry *host_place(const struct router *router, struct str name)
{
	uint64_t hash = XXH3_64bits(name.ptr, name.len);

	for (uint32_t i = (uint32_t)hash & router->host_mask;; i = (i + 1) & router->host_mask) {
		struct host_entry *entry = &router->hosts[i];

		if (!entry->number || str_eq(entry->name, name))
			return entry;
	}
}

static struct path_entry *path_place(const struct router *router, uint32_t host,
				     enum route_path_kind kind, struct str path)
{
	uint64_t hash = XXH3_64bits_withSeed(path.ptr, path.len, host * 2ULL + kind);

	for (uint32_t i = (uint32_t)hash & router->path_mask;; i = (i + 1) & router->path_mask) {
		struct path_entry *entry = &router->paths[i];

		if (!entry->host ||
		    (entry->host == host && entry->kind == kind && str_eq(entry->path, path)))
			return entry;
	}
}

/* Grows a pointer-free or pointer array in the arena; the old one is left to it. */
static void *array_room(struct arena *arena, void *array, unsigned int count, unsigned int *room,
			size_t size)
{
	unsigned int more = *room ? *room * 2 : 2;
	void *grown;

	if (count < *room)
		return array;
	grown = arena_alloc_zero_array(arena, size, more);
	if (grown) {
		if (count)
			memcpy(grown, array, count * size);
		*room = more;
	}
	return grown;
}

static int host_add_prefix_len(struct router *router, struct host_entry *host, uint32_t len)
{
	unsigned int at = 0;
	uint32_t *lens;

	while (at < host->prefix_count && host->prefix_lens[at] > len)
		at++;
	if (at < host->prefix_count && host->prefix_lens[at] == len)
		return 0;
	lens = array_room(router->arena, host->prefix_lens, host->prefix_count, &host->prefix_room,
			  sizeof(*lens));
	if (!lens)
		return -1;
	memmove(lens + at + 1, lens + at, (host->prefix_count - at) * sizeof(*lens));
	lens[at] = len;
	host->prefix_lens = lens;
	host->prefix_count++;
	return 0;
}

static bool same_methods(const struct route *left, const struct route *right)
{
	if (left->methods != right->methods ||
	    left->other_method_count != right->other_method_count)
		return false;
	for (unsigned int i = 0; i < left->other_method_count; i++) {
		bool found = false;

		for (unsigned int j = 0; j < right->other_method_count && !found; j++)
			found = str_eq(left->other_methods[i], right->other_methods[j]);
		if (!found)
			return false;
	}
	return true;
}

static bool has_methods(const struct route *route)
{
	return route->methods || route->other_method_count;
}

static int path_add_route(struct router *router, struct path_entry *entry, struct route *route,
			  const struct route **ret_conflict)
{
	struct route **routes;
	unsigned int at = 0;

	for (unsigned int i = 0; i < entry->route_count; i++) {
		if (!same_methods(entry->routes[i], route))
			continue;
		if (ret_conflict && !*ret_conflict && entry->routes[i] != route)
			*ret_conflict = route;
		return 0;
	}
	routes = array_room(router->arena, entry->routes, entry->route_count, &entry->route_room,
			    sizeof(struct route *));
	if (!routes)
		return -1;
	while (at < entry->route_count &&
	       (has_methods(routes[at]) == has_methods(route) || has_methods(routes[at])))
		at++;
	memmove(routes + at + 1, routes + at, (entry->route_count - at) * sizeof(struct route *));
	routes[at] = route;
	entry->routes = routes;
	entry->route_count++;
	return 0;
}

static struct str prefix_key(struct str path)
{
	return path.len && path.ptr[path.len - 1] == '/' ? str_sub(path, 0, path.len - 1) : path;
}

static int router_add(struct router *router, struct route *route, struct str host_name,
		      const struct route **ret_conflict)
{
	struct str path = route->path;
	struct host_entry *host;
	struct path_entry *entry;

	if (host_name.len && host_name.ptr[0] == '*') {
		host_name = str_sub(host_name, 1, host_name.len - 1);
		router->has_wildcards = true;
	}
	host = host_place(router, host_name);
	if (!host->number) {
		host->number = ++router->host_count;
		host->name = host_name;
	}
	if (route->path_kind == ROUTE_PATH_PREFIX) {
		path = prefix_key(path);
		if (host_add_prefix_len(router, host, (uint32_t)path.len) < 0)
			return -1;
	}
	entry = path_place(router, host->number, route->path_kind, path);
	if (!entry->host) {
		entry->host = host->number;
		entry->kind = route->path_kind;
		entry->path = path;
		router->path_count++;
	}
	return path_add_route(router, entry, route, ret_conflict);
}

static uint32_t table_mask(unsigned int entries)
{
	uint32_t size = 8;

	while (size < entries * 2)
		size *= 2;
	return size - 1;
}

struct router *router_build(struct arena *arena, struct route *const *routes, unsigned int count,
			    const struct route **ret_conflict)
{
	struct router *router = arena_new(arena, struct router);
	unsigned int places = 1;

	if (ret_conflict)
		*ret_conflict = NULL;
	if (!router)
		return NULL;
	for (unsigned int i = 0; i < count; i++)
		places += MAX(routes[i]->host_count, 1u);
	router->arena = arena;
	router->host_mask = router->path_mask = table_mask(places);
	router->hosts = arena_new_array(arena, struct host_entry, router->host_mask + 1);
	router->paths = arena_new_array(arena, struct path_entry, router->path_mask + 1);
	if (!router->hosts || !router->paths)
		return NULL;

	for (unsigned int i = 0; i < count; i++) {
		struct route *route = routes[i];

		if (!route->host_count && router_add(router, route, STR(""), ret_conflict) < 0)
			return NULL;
		for (unsigned int j = 0; j < route->host_count; j++) {
			if (router_add(router, route, route->hosts[j], ret_conflict) < 0)
				return NULL;
		}
	}
	return router;
}

struct query {
	struct str path;
	enum http_method method_id;
	struct str method;
	uint32_t allow;
	bool path_matched;
};

static bool method_matches(const struct route *route, const struct query *query)
{
	if (!has_methods(route))
		return true;
	if (query->method_id != HTTP_METHOD_OTHER)
		return route->methods & (1u << query->method_id);
	for (unsigned int i = 0; i < route->other_method_count; i++) {
		if (str_eq(route->other_methods[i], query->method))
			return true;
	}
	return false;
}

static const struct route *match_methods(const struct path_entry *entry, struct query *query)
{
	if (!entry->host)
		return NULL;
	for (unsigned int i = 0; i < entry->route_count; i++) {
		const struct route *route = entry->routes[i];

		if (method_matches(route, query))
			return route;
		query->allow |= route->methods;
		query->path_matched = true;
	}
	return NULL;
}

static const struct route *match_host(const struct router *router, struct str name,
				      struct query *query)
{
	const struct host_entry *host = host_place(router, name);
	const struct route *route;

	if (!host->number)
		return NULL;
	route = match_methods(path_place(router, host->number, ROUTE_PATH_EXACT, query->path),
			      query);
	for (unsigned int i = 0; !route && i < host->prefix_count; i++) {
		size_t len = host->prefix_lens[i];

		if (len > query->path.len || (len < query->path.len && query->path.ptr[len] != '/'))
			continue;
		route = match_methods(path_place(router, host->number, ROUTE_PATH_PREFIX,
						 str_sub(query->path, 0, len)),
				      query);
	}
	return route;
}

enum router_result router_find(const struct router *router, struct str host, struct str path,
			       enum http_method method_id, struct str method,
			       const struct route **ret_route, uint32_t *ret_allow)
{
	struct query query = {.path = path, .method_id = method_id, .method = method};
	const struct route *route = NULL;

	if (host.len)
		route = match_host(router, host, &query);
	/* "*.example.com" stands for one or more labels in front; the longest suffix comes first.
	 */
	for (size_t i = 1; !route && router->has_wildcards && i < host.len; i++) {
		if (host.ptr[i] == '.')
			route = match_host(router, str_sub(host, i, host.len - i), &query);
	}
	if (!route)
		route = match_host(router, STR(""), &query);
	if (route) {
		*ret_route = route;
		return ROUTER_FOUND;
	}
	if (!query.path_matched)
		return ROUTER_NO_ROUTE;
	*ret_allow = query.allow;
	return ROUTER_NO_METHOD;
}

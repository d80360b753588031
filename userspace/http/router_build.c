/*
 * Building the index behind router_find(), once per snapshot and listener.
 *
 * Each pair of a route and one of its hosts is a place. One pass finds or makes the entry of each
 * place and drops places that another route has already with the same conditions (found by a hash
 * of all of it, so that no pair of routes is ever compared twice). Then each entry gets its routes
 * in one array for all, and sorts its part.
 */
#include "http/router_internal.h"

#include <stdlib.h>

#include "base/cleanup.h"

/* Needed while building. */
struct place {
	struct router_path *entry;
	const struct route *route;
};

struct build {
	struct arena *arena;
	struct router *router;
	struct place *places;
	unsigned int place_count;
	uint32_t *same; /* hash of entry and conditions ──► place, from 1 */
	uint32_t same_mask;
	struct router_conflict *conflicts;
	unsigned int conflict_count, conflict_room;
};

/* Grows an array without pointers in the arena; the old one is left to it. */
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

/* Into a list that is sorted, the longest first, each once. */
static int add_len(struct arena *arena, uint32_t **lens, unsigned int *count, unsigned int *room,
		   uint32_t len)
{
	unsigned int at = 0;
	uint32_t *grown;

	while (at < *count && (*lens)[at] > len)
		at++;
	if (at < *count && (*lens)[at] == len)
		return 0;
	grown = array_room(arena, *lens, *count, room, sizeof(*grown));
	if (!grown)
		return -1;
	memmove(grown + at + 1, grown + at, (*count - at) * sizeof(*grown));
	grown[at] = len;
	*lens = grown;
	(*count)++;
	return 0;
}

static int add_shape(struct arena *arena, struct router_host *host, struct route_shape shape)
{
	unsigned int at = 0;
	struct route_shape *grown;

	while (at < host->shape_count && route_shape_compare(host->shapes[at], shape) < 0)
		at++;
	if (at < host->shape_count && !route_shape_compare(host->shapes[at], shape))
		return 0;
	grown = array_room(arena, host->shapes, host->shape_count, &host->shape_room,
			   sizeof(*grown));
	if (!grown)
		return -1;
	memmove(grown + at + 1, grown + at, (host->shape_count - at) * sizeof(*grown));
	grown[at] = shape;
	host->shapes = grown;
	host->shape_count++;
	return 0;
}

static struct str path_key(const struct route *route)
{
	switch (route->path_kind) {
	case ROUTE_PATH_EXACT:
		return route->path;
	case ROUTE_PATH_PREFIX:
		return route_prefix_key(route->path);
	case ROUTE_PATH_REGEX:
		return route->regex_prefix;
	case ROUTE_PATH_TEMPLATE:
		break;
	}
	return STR("");
}

static uint64_t template_hash(uint32_t host, const struct route_template *template)
{
	uint64_t hash = router_shape_seed(host, template->shape);

	for (uint32_t left = template->shape.literals; left; left &= left - 1)
		hash = router_segment_hash(hash, template->segments[__builtin_ctz(left)]);
	return hash;
}

static struct router_path *path_place(const struct router *router, uint32_t host,
				      const struct route *route)
{
	bool is_template = route->path_kind == ROUTE_PATH_TEMPLATE;
	struct str key = path_key(route);
	uint64_t hash = is_template ? template_hash(host, route->template)
				    : router_key_hash(host, route->path_kind, key);

	for (uint32_t i = (uint32_t)hash & router->path_mask;; i = (i + 1) & router->path_mask) {
		struct router_path *entry = &router->paths[i];

		if (!entry->host) {
			*entry = (struct router_path){
				.hash = hash,
				.host = host,
				.kind = route->path_kind,
				.key = key,
				.template = route->template,
			};
			return entry;
		}
		if (entry->hash == hash && entry->host == host && entry->kind == route->path_kind &&
		    (is_template ? route_template_same(entry->template, route->template)
				 : str_eq(entry->key, key)))
			return entry;
	}
}

static int host_learn(struct arena *arena, struct router_host *host, const struct route *route)
{
	uint32_t len = (uint32_t)path_key(route).len;

	switch (route->path_kind) {
	case ROUTE_PATH_EXACT:
		break;
	case ROUTE_PATH_TEMPLATE:
		return add_shape(arena, host, route->template->shape);
	case ROUTE_PATH_PREFIX:
		return add_len(arena, &host->prefix_lens, &host->prefix_count, &host->prefix_room,
			       len);
	case ROUTE_PATH_REGEX:
		return add_len(arena, &host->literal_lens, &host->literal_count,
			       &host->literal_room, len);
	}
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

bool route_same_conditions(const struct route *left, const struct route *right)
{
	return same_methods(left, right) && str_eq(left->upgrade, right->upgrade) &&
	       route_conditions_same(&left->headers, &right->headers) &&
	       route_conditions_same(&left->query, &right->query);
}

static uint64_t place_hash(const struct router_path *entry, const struct route *route)
{
	uint64_t hash = entry->hash + route->methods;

	for (unsigned int i = 0; i < route->other_method_count; i++) /* any order */
		hash += XXH3_64bits(route->other_methods[i].ptr, route->other_methods[i].len);
	if (route->path_kind == ROUTE_PATH_REGEX)
		hash = XXH3_64bits_withSeed(route->path.ptr, route->path.len, hash);
	if (route->upgrade.ptr)
		hash = XXH3_64bits_withSeed(route->upgrade.ptr, route->upgrade.len, hash);
	hash = hash * 0x9e3779b97f4a7c15ULL + route_conditions_hash(&route->headers);
	hash = hash * 0x9e3779b97f4a7c15ULL + route_conditions_hash(&route->query);
	return hash ^ hash >> 32;
}

/* The route that has the place already, or NULL: then it is the new one's. */
static const struct route *take_place(struct build *build, struct router_path *entry,
				      const struct route *route)
{
	uint32_t i = (uint32_t)place_hash(entry, route) & build->same_mask;

	for (; build->same[i]; i = (i + 1) & build->same_mask) {
		const struct place *other = &build->places[build->same[i] - 1];

		if (other->entry == entry && route_same_conditions(other->route, route) &&
		    (route->path_kind != ROUTE_PATH_REGEX ||
		     str_eq(other->route->path, route->path)))
			return other->route;
	}
	build->places[build->place_count] = (struct place){entry, route};
	build->same[i] = ++build->place_count;
	entry->route_count++;
	return NULL;
}

static void note_conflict(struct build *build, const struct route *earlier,
			  const struct route *later)
{
	/* Routes come one after the other, so that only the last one can be there already. */
	if (build->conflict_count && build->conflicts[build->conflict_count - 1].later == later)
		return;
	if (build->conflict_count < build->conflict_room)
		build->conflicts[build->conflict_count++] =
			(struct router_conflict){earlier, later};
}

static int add_place(struct build *build, const struct route *route, struct str host_name)
{
	struct router *router = build->router;
	struct router_host *host;
	struct router_path *entry;
	const struct route *other;

	if (host_name.len && host_name.ptr[0] == '*') {
		host_name = str_sub(host_name, 1, host_name.len - 1);
		if (host_name.len < 256)
			router->wildcard_lens[host_name.len / 64] |= 1ULL << (host_name.len % 64);
	}
	host = router_host_place(router, host_name);
	if (!host->number) {
		host->number = ++router->host_count;
		host->name = host_name;
	}
	if (host_learn(build->arena, host, route))
		return -1;
	entry = path_place(router, host->number, route);
	other = take_place(build, entry, route);
	if (other && other != route) /* a host can be named twice by one route */
		note_conflict(build, other, route);
	return 0;
}

static int compare_routes(const void *left, const void *right)
{
	return route_compare_conditions(*(const struct route *const *)left,
					*(const struct route *const *)right);
}

/* Each entry's part of one array, in the order in which routes are tried. */
static int hand_out_routes(const struct build *build)
{
	struct router *router = build->router;
	const struct route **routes =
		arena_new_array(build->arena, const struct route *, build->place_count);

	if (!routes)
		return -1;
	for (uint32_t i = 0; i <= router->path_mask; i++) {
		router->paths[i].routes = routes;
		routes += router->paths[i].route_count;
		router->paths[i].route_count = 0;
	}
	for (unsigned int i = 0; i < build->place_count; i++) {
		struct router_path *entry = build->places[i].entry;

		entry->routes[entry->route_count++] = build->places[i].route;
	}
	for (uint32_t i = 0; i <= router->path_mask; i++)
		if (router->paths[i].route_count > 1)
			qsort(router->paths[i].routes, router->paths[i].route_count,
			      sizeof(struct route *), compare_routes);
	return 0;
}

static uint32_t table_mask(unsigned int entries)
{
	uint32_t size = 8;

	while (size < entries * 2)
		size *= 2;
	return size - 1;
}

static int add_all(struct build *build, struct route *const *routes, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++) {
		const struct route *route = routes[i];

		if (!route->host_count && add_place(build, route, STR("")))
			return -1;
		for (unsigned int j = 0; j < route->host_count; j++)
			if (add_place(build, route, route->hosts[j]))
				return -1;
	}
	return hand_out_routes(build);
}

struct router *router_build(struct arena *arena, struct route *const *routes, unsigned int count,
			    struct router_conflict *ret_conflicts, unsigned int conflict_room,
			    unsigned int *ret_conflict_count)
{
	struct router *router = arena_new(arena, struct router);
	struct build build = {
		.arena = arena,
		.router = router,
		.conflicts = ret_conflicts,
		.conflict_room = conflict_room,
	};
	_cleanup_free_ struct place *places = NULL;
	_cleanup_free_ uint32_t *same = NULL;
	unsigned int room = 1;

	if (!router)
		return NULL;
	for (unsigned int i = 0; i < count; i++)
		room += MAX(routes[i]->host_count, 1u);
	router->host_mask = router->path_mask = build.same_mask = table_mask(room);
	router->hosts = arena_new_array(arena, struct router_host, router->host_mask + 1);
	router->paths = arena_new_array(arena, struct router_path, router->path_mask + 1);
	build.places = places = calloc(room, sizeof(*places));
	build.same = same = calloc(build.same_mask + 1, sizeof(*same));
	if (!router->hosts || !router->paths || !places || !same)
		return NULL;
	if (add_all(&build, routes, count))
		return NULL;
	*ret_conflict_count = build.conflict_count;
	return router;
}

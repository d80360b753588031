/* Looking routes up in the index; router_build.c makes it. */
#include "http/router_internal.h"
#include "http/upgrade.h"

struct search {
	const struct router *router;
	const struct router_request *request;
	struct router_match *match;
	bool only_method_failed; /* of some route */
	bool split;		 /* segments are made when the first host has templates */
	struct route_path_segments segments;
};

static bool has_methods(const struct route *route)
{
	return route->methods || route->other_method_count;
}

bool route_method_matches(const struct route *route, enum http_method method_id, struct str method)
{
	if (!has_methods(route))
		return true;
	if (method_id != HTTP_METHOD_OTHER)
		return route->methods & (1u << method_id);
	for (unsigned int i = 0; i < route->other_method_count; i++) {
		if (str_eq(route->other_methods[i], method))
			return true;
	}
	return false;
}

struct str route_prefix_key(struct str path)
{
	return path.len && path.ptr[path.len - 1] == '/' ? str_sub(path, 0, path.len - 1) : path;
}

bool route_path_matches(const struct route *route, struct str path)
{
	struct str key;

	switch (route->path_kind) {
	case ROUTE_PATH_EXACT:
		return str_eq(route->path, path);
	case ROUTE_PATH_TEMPLATE:
		return route_template_matches(route->template, path);
	case ROUTE_PATH_PREFIX:
		key = route_prefix_key(route->path);
		return str_starts_with(path, key) &&
		       (path.len == key.len || path.ptr[key.len] == '/');
	case ROUTE_PATH_REGEX:
		break;
	}
	return route_regex_matches(route->regex, path);
}

/* A wildcard stands for one or more labels. */
bool route_host_matches(struct str pattern, struct str host)
{
	if (!pattern.len || pattern.ptr[0] != '*')
		return str_eq(pattern, host);
	pattern = str_sub(pattern, 1, pattern.len - 1);
	return host.len > pattern.len && str_ends_with(host, pattern);
}

unsigned int route_header_count(const struct route *route)
{
	return route->headers.count + (route->upgrade.ptr != NULL);
}

int route_compare_conditions(const struct route *left, const struct route *right)
{
	if (has_methods(left) != has_methods(right))
		return has_methods(left) ? -1 : 1;
	if (route_header_count(left) != route_header_count(right))
		return route_header_count(left) > route_header_count(right) ? -1 : 1;
	if (left->query.count != right->query.count)
		return left->query.count > right->query.count ? -1 : 1;
	return left->order < right->order ? -1 : left->order > right->order;
}

/*
 * All that the index does not look at. A route that only the method keeps from winning is noted for
 * the 405.
 */
static bool admits(struct search *search, const struct route *route)
{
	const struct router_request *request = search->request;
	bool method = route_method_matches(route, request->method_id, request->method);

	search->match->steps++;
	if (route->upgrade.ptr && !upgrade_is_asked(request->head, route->upgrade))
		return false;
	if (route->headers.count && route_conditions_fail_head(&route->headers, request->head))
		return false;
	if (route->query.count && route_conditions_fail_query(&route->query, request->query))
		return false;
	/* Last: it costs the most. */
	if (route->path_kind == ROUTE_PATH_REGEX &&
	    !route_regex_matches(route->regex, request->path))
		return false;
	if (!method) {
		search->match->allow |= route->methods;
		search->only_method_failed = true;
	}
	return method;
}

static const struct route *first_admitted(struct search *search, const struct router_path *entry)
{
	for (unsigned int i = 0; i < entry->route_count; i++)
		if (admits(search, entry->routes[i]))
			return entry->routes[i];
	return NULL;
}

static const struct router_path *find_path(struct search *search, uint32_t host,
					   enum route_path_kind kind, struct str key)
{
	const struct router *router = search->router;
	uint64_t hash = router_key_hash(host, kind, key);

	for (uint32_t i = (uint32_t)hash & router->path_mask;; i = (i + 1) & router->path_mask) {
		const struct router_path *entry = &router->paths[i];

		search->match->steps++;
		if (!entry->host)
			return NULL;
		if (entry->hash == hash && entry->host == host && entry->kind == kind &&
		    str_eq(entry->key, key))
			return entry;
	}
}

static const struct router_path *find_template(struct search *search, uint32_t host,
					       struct route_shape shape)
{
	const struct router *router = search->router;
	uint64_t hash = router_shape_seed(host, shape);

	for (uint32_t left = shape.literals; left; left &= left - 1)
		hash = router_segment_hash(hash, search->segments.items[__builtin_ctz(left)]);
	for (uint32_t i = (uint32_t)hash & router->path_mask;; i = (i + 1) & router->path_mask) {
		const struct router_path *entry = &router->paths[i];

		search->match->steps++;
		if (!entry->host)
			return NULL;
		if (entry->hash == hash && entry->host == host &&
		    entry->kind == ROUTE_PATH_TEMPLATE &&
		    !route_shape_compare(entry->template->shape, shape) &&
		    route_template_literals_match(entry->template, &search->segments))
			return entry;
	}
}

static const struct route *search_templates(struct search *search, const struct router_host *host)
{
	if (!search->split)
		route_path_split(search->request->path, &search->segments);
	search->split = true;
	for (unsigned int i = 0; i < host->shape_count; i++) {
		const struct router_path *entry;
		const struct route *route;

		search->match->steps++;
		if (!route_shape_fits(host->shapes[i], &search->segments))
			continue;
		entry = find_template(search, host->number, host->shapes[i]);
		route = entry ? first_admitted(search, entry) : NULL;
		if (route)
			return route;
	}
	return NULL;
}

static const struct route *search_prefixes(struct search *search, const struct router_host *host)
{
	struct str path = search->request->path;

	for (unsigned int i = 0; i < host->prefix_count; i++) {
		const struct router_path *entry;
		const struct route *route;
		size_t len = host->prefix_lens[i];

		if (len > path.len || (len < path.len && path.ptr[len] != '/'))
			continue;
		entry = find_path(search, host->number, ROUTE_PATH_PREFIX, str_sub(path, 0, len));
		route = entry ? first_admitted(search, entry) : NULL;
		if (route)
			return route;
	}
	return NULL;
}

/*
 * Which regex is more specific cannot be said, so all that match compete by their conditions and
 * order. Each list is sorted by these: it is left where nothing better than the best so far is to
 * come.
 */
static const struct route *search_regexes(struct search *search, const struct router_host *host)
{
	struct str path = search->request->path;
	const struct route *best = NULL;

	for (unsigned int i = 0; i < host->literal_count; i++) {
		const struct router_path *entry;

		if (host->literal_lens[i] > path.len)
			continue;
		entry = find_path(search, host->number, ROUTE_PATH_REGEX,
				  str_sub(path, 0, host->literal_lens[i]));
		for (unsigned int j = 0; entry && j < entry->route_count; j++) {
			const struct route *route = entry->routes[j];

			if (best && route_compare_conditions(best, route) <= 0)
				break;
			if (admits(search, route))
				best = route;
		}
	}
	return best;
}

static const struct route *search_host(struct search *search, struct str name)
{
	const struct router_host *host = router_host_place(search->router, name);
	const struct router_path *entry;
	const struct route *route = NULL;

	search->match->steps++;
	if (!host->number)
		return NULL;
	entry = find_path(search, host->number, ROUTE_PATH_EXACT, search->request->path);
	if (entry)
		route = first_admitted(search, entry);
	if (!route && host->shape_count)
		route = search_templates(search, host);
	if (!route)
		route = search_prefixes(search, host);
	return route ? route : search_regexes(search, host);
}

enum router_result router_find(const struct router *router, const struct router_request *request,
			       struct router_match *ret_match)
{
	const struct route *route = NULL;
	struct str host = request->host;
	struct search search; /* member by member: segments would cost more than the lookup */

	search.router = router;
	search.request = request;
	search.match = ret_match;
	search.only_method_failed = search.split = false;
	ret_match->route = NULL;
	ret_match->allow = 0;
	ret_match->steps = 0;
	ret_match->param_count = 0;
	/* Names with a dot in front stand for wildcards in the index. */
	if (host.len && host.ptr[0] != '.')
		route = search_host(&search, host);
	/* "*.example.com" stands for one or more labels in front: the longest suffix comes first.
	 */
	for (size_t i = 1; !route && i < host.len; i++)
		if (host.ptr[i] == '.' && router_has_wildcard_len(router, host.len - i))
			route = search_host(&search, str_sub(host, i, host.len - i));
	if (!route)
		route = search_host(&search, STR(""));
	if (!route)
		return search.only_method_failed ? ROUTER_NO_METHOD : ROUTER_NO_ROUTE;
	ret_match->route = route;
	if (route->path_kind == ROUTE_PATH_TEMPLATE)
		ret_match->param_count =
			route_template_params(route->template, request->path, ret_match->params);
	return ROUTER_FOUND;
}

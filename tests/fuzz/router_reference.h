/*
 * router_reference: what router_find() must agree with. Every route is looked at, all of it is
 * compared as the documentation words it, and the best one is kept: no index, no early end. Shared
 * by the fuzz target and the unit tests of the router.
 */
#ifndef SLUICE_TESTS_FUZZ_ROUTER_REFERENCE_H
#define SLUICE_TESTS_FUZZ_ROUTER_REFERENCE_H

#include "base/util.h"
#include "http/router.h"

/* Bigger is better, the first number counts the most. */
struct reference_rank {
	long numbers[9];
};

/* The next "/segment" of both; false at the end of either. */
static inline bool reference_next(struct str *rest, struct str *ret_segment)
{
	size_t len = 1;

	if (!rest->len)
		return false;
	while (len < rest->len && rest->ptr[len] != '/')
		len++;
	*ret_segment = str_make(rest->ptr + 1, len - 1);
	*rest = str_make(rest->ptr + len, rest->len - len);
	return true;
}

/* Also says how specific the template is: literal segments, no rest, segments, literals' places. */
static inline bool reference_template(struct str template, struct str path, long ret_numbers[4])
{
	struct str wanted, given;
	long bit = 1L << 40;

	ret_numbers[0] = ret_numbers[2] = ret_numbers[3] = 0;
	ret_numbers[1] = 1;
	while (reference_next(&template, &wanted)) {
		if (!reference_next(&path, &given))
			return false;
		if (str_ends_with(wanted, STR("*}"))) {
			ret_numbers[1] = 0;
			return true;
		}
		ret_numbers[2]++;
		if (str_starts_with(wanted, STR("{"))) {
			if (!given.len)
				return false;
		} else {
			if (!str_eq(wanted, given))
				return false;
			ret_numbers[0]++;
			ret_numbers[3] += bit;
		}
		bit /= 2;
	}
	return !path.len;
}

static inline bool reference_path(const struct route *route, struct str path,
				  struct reference_rank *rank)
{
	struct str prefix = route->path;

	switch (route->path_kind) {
	case ROUTE_PATH_EXACT:
		rank->numbers[1] = 4;
		return str_eq(prefix, path);
	case ROUTE_PATH_TEMPLATE:
		rank->numbers[1] = 3;
		return reference_template(prefix, path, &rank->numbers[2]);
	case ROUTE_PATH_PREFIX:
		if (str_ends_with(prefix, STR("/")))
			prefix.len--;
		rank->numbers[1] = 2;
		rank->numbers[2] = (long)prefix.len;
		return str_starts_with(path, prefix) &&
		       (path.len == prefix.len || path.ptr[prefix.len] == '/');
	case ROUTE_PATH_REGEX:
		break;
	}
	rank->numbers[1] = 1;
	return route_regex_matches(route->regex, path);
}

/* 0: it does not match. */
static inline long reference_host(struct str pattern, struct str host)
{
	if (!str_starts_with(pattern, STR("*")))
		return str_eq(pattern, host) ? 1000000 : 0;
	pattern = str_make(pattern.ptr + 1, pattern.len - 1);
	return host.len > pattern.len && str_ends_with(host, pattern) ? 1 + (long)pattern.len : 0;
}

static inline bool reference_method(const struct route *route, struct str method)
{
	enum http_method id = http_method_lookup(method);

	if (id != HTTP_METHOD_OTHER && (route->methods & 1u << id))
		return true;
	for (unsigned int i = 0; i < route->other_method_count; i++)
		if (str_eq(route->other_methods[i], method))
			return true;
	return !route->methods && !route->other_method_count;
}

static inline bool reference_better(const struct reference_rank *left,
				    const struct reference_rank *right)
{
	for (size_t i = 0; i < ARRAY_SIZE(left->numbers); i++)
		if (left->numbers[i] != right->numbers[i])
			return left->numbers[i] > right->numbers[i];
	return false; /* the earlier one stays */
}

static inline enum router_result reference_find(struct route *const *routes, unsigned int count,
						const struct router_request *request,
						const struct route **ret_route, uint32_t *ret_allow)
{
	enum router_result result = ROUTER_NO_ROUTE;
	struct reference_rank best = {{-1}};

	*ret_route = NULL;
	*ret_allow = 0;
	for (unsigned int i = 0; i < count; i++) {
		const struct route *route = routes[i];
		struct reference_rank rank = {{0}};

		for (unsigned int j = 0; j < route->host_count; j++)
			rank.numbers[0] = MAX(rank.numbers[0],
					      reference_host(route->hosts[j], request->host));
		if (route->host_count && !rank.numbers[0])
			continue;
		if (!reference_path(route, request->path, &rank) ||
		    route_conditions_fail_head(&route->headers, request->head) ||
		    route_conditions_fail_query(&route->query, request->query))
			continue;
		if (!reference_method(route, request->method)) {
			*ret_allow |= route->methods;
			if (result == ROUTER_NO_ROUTE)
				result = ROUTER_NO_METHOD;
			continue;
		}
		rank.numbers[6] = route->methods || route->other_method_count;
		rank.numbers[7] = (long)route->headers.count;
		rank.numbers[8] = (long)route->query.count;
		result = ROUTER_FOUND;
		if (reference_better(&rank, &best)) {
			best = rank;
			*ret_route = route;
		}
	}
	return result;
}

/* Cheap enough for each lookup: values of parameters put back into the template give the path. */
static inline bool reference_params_fit(const struct route *route, struct str path,
					const struct route_param *params, unsigned int count)
{
	struct str rest = route->path, segment;
	unsigned int used = 0;
	size_t at = 0;

	while (reference_next(&rest, &segment)) {
		bool is_param = str_starts_with(segment, STR("{"));
		struct str text = segment;

		if (is_param) {
			bool is_rest = str_ends_with(segment, STR("*}"));

			if (used == count ||
			    !str_eq(params[used].name,
				    str_make(segment.ptr + 1, segment.len - 2 - is_rest)))
				return false;
			text = params[used++].value;
		}
		if (at >= path.len || path.ptr[at] != '/' || path.len - at - 1 < text.len ||
		    memcmp(path.ptr + at + 1, text.ptr, text.len) != 0)
			return false;
		at += 1 + text.len;
	}
	return at == path.len && used == count;
}

#endif

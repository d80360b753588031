#include "http/router_explain.h"

#include "base/util.h"
#include "http/upgrade.h"

/* Of two hosts that match: exact before wildcards, the longer of these first, "" last. */
static size_t host_rank(struct str pattern)
{
	if (!pattern.len)
		return 0;
	return pattern.ptr[0] == '*' ? pattern.len : SIZE_MAX;
}

/* False: no host of the route matches. */
static bool best_host(const struct route *route, struct str host, struct str *ret_pattern)
{
	bool found = !route->host_count;

	*ret_pattern = STR("");
	for (unsigned int i = 0; i < route->host_count; i++) {
		if (!route_host_matches(route->hosts[i], host))
			continue;
		if (!found || host_rank(route->hosts[i]) > host_rank(*ret_pattern))
			*ret_pattern = route->hosts[i];
		found = true;
	}
	return found;
}

static int kind_rank(enum route_path_kind kind)
{
	static const int ranks[] = {
		[ROUTE_PATH_EXACT] = 3,
		[ROUTE_PATH_TEMPLATE] = 2,
		[ROUTE_PATH_PREFIX] = 1,
		[ROUTE_PATH_REGEX] = 0,
	};

	return ranks[kind];
}

/* Of two that match the same path: is it the path that sets the winner apart? */
static bool path_decides(const struct route *winner, const struct route *loser)
{
	if (kind_rank(winner->path_kind) != kind_rank(loser->path_kind))
		return true;
	if (winner->path_kind == ROUTE_PATH_TEMPLATE)
		return route_shape_compare(winner->template->shape, loser->template->shape) != 0;
	return winner->path_kind == ROUTE_PATH_PREFIX &&
	       route_prefix_key(winner->path).len != route_prefix_key(loser->path).len;
}

static bool has_methods(const struct route *route)
{
	return route->methods || route->other_method_count;
}

static enum router_criterion criterion(const struct route *winner, struct str winner_host,
				       const struct router_loser *loser)
{
	if (host_rank(winner_host) != host_rank(loser->host))
		return ROUTER_BY_HOST;
	if (path_decides(winner, loser->route))
		return ROUTER_BY_PATH;
	if (has_methods(winner) != has_methods(loser->route))
		return ROUTER_BY_METHOD;
	if (route_header_count(winner) != route_header_count(loser->route))
		return ROUTER_BY_HEADERS;
	if (winner->query.count != loser->route->query.count)
		return ROUTER_BY_QUERY;
	return ROUTER_BY_ORDER;
}

static enum router_loss find_loss(const struct route *route, const struct router_request *request,
				  const struct route_condition **ret_condition)
{
	*ret_condition = NULL;
	if (!route_path_matches(route, request->path))
		return ROUTER_LOSS_PATH;
	if (!route_method_matches(route, request->method_id, request->method))
		return ROUTER_LOSS_METHOD;
	if (route->upgrade.ptr && !upgrade_is_asked(request->head, route->upgrade))
		return ROUTER_LOSS_UPGRADE;
	*ret_condition = route_conditions_fail_head(&route->headers, request->head);
	if (*ret_condition)
		return ROUTER_LOSS_HEADER;
	*ret_condition = route_conditions_fail_query(&route->query, request->query);
	return *ret_condition ? ROUTER_LOSS_QUERY : ROUTER_LOSS_LESS_SPECIFIC;
}

static size_t shared_bytes(struct str left, struct str right)
{
	size_t len = 0;

	while (len < left.len && len < right.len && left.ptr[len] == right.ptr[len])
		len++;
	return len;
}

static bool is_closer(const struct router_loser *left, const struct router_loser *right)
{
	if (left->loss != right->loss)
		return left->loss > right->loss;
	return left->shared > right->shared;
}

/* Keeps the list sorted and short. */
static void add_loser(struct router_explanation *explanation, const struct router_loser *loser)
{
	unsigned int at = explanation->loser_count;

	while (at > 0 && is_closer(loser, &explanation->losers[at - 1]))
		at--;
	if (explanation->loser_count == ROUTER_LOSERS_MAX)
		explanation->more_count++;
	else
		explanation->loser_count++;
	if (at == ROUTER_LOSERS_MAX)
		return;
	memmove(&explanation->losers[at + 1], &explanation->losers[at],
		(explanation->loser_count - at - 1) * sizeof(*loser));
	explanation->losers[at] = *loser;
}

void router_explain(const struct router *router, struct route *const *routes, unsigned int count,
		    const struct router_request *request,
		    struct router_explanation *ret_explanation)
{
	const struct route *winner;

	memset(ret_explanation, 0, sizeof(*ret_explanation));
	ret_explanation->result = router_find(router, request, &ret_explanation->match);
	winner = ret_explanation->match.route;
	if (winner)
		(void)best_host(winner, request->host, &ret_explanation->host);
	for (unsigned int i = 0; i < count; i++) {
		struct router_loser loser = {.route = routes[i]};

		if (routes[i] == winner)
			continue;
		if (!best_host(routes[i], request->host, &loser.host)) {
			ret_explanation->other_host_count++;
			continue;
		}
		loser.loss = find_loss(routes[i], request, &loser.condition);
		loser.shared = shared_bytes(routes[i]->path, request->path);
		if (winner && loser.loss == ROUTER_LOSS_LESS_SPECIFIC)
			loser.by = criterion(winner, ret_explanation->host, &loser);
		add_loser(ret_explanation, &loser);
	}
}

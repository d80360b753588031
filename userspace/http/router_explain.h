/*
 * router_explain: why a request goes where it goes, for people.
 *
 * The decision is router_find()'s own. Then every route is compared with it, one by one, in the
 * order of precedence (http/router.h), which takes as long as there are routes: nothing for the
 * hot path. Thread rule: the control thread.
 */
#ifndef SLUICE_HTTP_ROUTER_EXPLAIN_H
#define SLUICE_HTTP_ROUTER_EXPLAIN_H

#include "http/router.h"

#define ROUTER_LOSERS_MAX 20

/* The first thing about a route that lost, the furthest from winning first. */
enum router_loss {
	ROUTER_LOSS_PATH,	   /* it does not match */
	ROUTER_LOSS_METHOD,	   /* the same */
	ROUTER_LOSS_UPGRADE,	   /* the request asks for no such protocol */
	ROUTER_LOSS_HEADER,	   /* a condition fails */
	ROUTER_LOSS_QUERY,	   /* the same */
	ROUTER_LOSS_LESS_SPECIFIC, /* all of it matches, but the winner is preferred */
};

/* What the winner is preferred for. */
enum router_criterion {
	ROUTER_BY_HOST,
	ROUTER_BY_PATH,
	ROUTER_BY_METHOD,
	ROUTER_BY_HEADERS,
	ROUTER_BY_QUERY,
	ROUTER_BY_ORDER,
};

struct router_loser {
	const struct route *route;
	struct str host; /* the one of its hosts that matched best; "": it has none */
	enum router_loss loss;
	const struct route_condition *condition; /* with HEADER and QUERY */
	enum router_criterion by;		 /* with LESS_SPECIFIC */
	size_t shared; /* bytes that its path and the request's have in common at the start */
};

struct router_explanation {
	enum router_result result;
	struct router_match match;
	struct str host; /* of the winner, as above */
	/* Routes whose host matches; the closest first, in the order of the file where equal. */
	struct router_loser losers[ROUTER_LOSERS_MAX];
	unsigned int loser_count;
	unsigned int more_count;       /* further ones that do not fit */
	unsigned int other_host_count; /* routes for other hosts */
};

/* `routes` are those that `router` was built of. */
void router_explain(const struct router *router, struct route *const *routes, unsigned int count,
		    const struct router_request *request,
		    struct router_explanation *ret_explanation);

#endif

/*
 * Local routes for listener prefixes, by rtnetlink. Looked at as a whole: read all local routes,
 * keep what is wanted, add what is missing, remove what is ours and no longer wanted.
 */
#include <errno.h>
#include <linux/rtnetlink.h>
#include <netlink/netlink.h>
#include <netlink/route/link.h>
#include <netlink/route/route.h>

#include "base/cleanup.h"
#include "kern/steer.h"

DEFINE_FREEP(struct nl_sock, nl_socket_free)
DEFINE_FREEP(struct nl_cache, nl_cache_free)
DEFINE_FREEP(struct nl_addr, nl_addr_put)
DEFINE_FREEP(struct rtnl_route, rtnl_route_put)

struct route_sync {
	struct nl_sock *sock;
	struct nl_cache *routes; /* of one family */
	int family;
	int loopback_ifindex;
	const struct ip_prefix *prefixes;
	unsigned int count;
};

static int errno_of(int nl_error)
{
	switch (nl_error < 0 ? -nl_error : nl_error) {
	case 0:
		return 0;
	case NLE_PERM:
	case NLE_NOACCESS:
		return -EPERM;
	case NLE_NOMEM:
		return -ENOMEM;
	case NLE_EXIST:
		return -EEXIST;
	case NLE_OBJ_NOTFOUND:
	case NLE_NODEV:
		return -ENOENT;
	case NLE_AF_NOSUPPORT:
	case NLE_OPNOTSUPP:
		return -EOPNOTSUPP;
	case NLE_BUSY:
		return -EBUSY;
	default:
		return -EIO;
	}
}

/* The destination of a local route. libnl gives 0.0.0.0/0 and ::/0 without bytes. */
static bool route_prefix(struct rtnl_route *route, struct ip_prefix *ret_prefix)
{
	struct nl_addr *dst = rtnl_route_get_dst(route);
	struct ip_prefix prefix = {.addr.family = rtnl_route_get_family(route)};

	if (rtnl_route_get_table(route) != RT_TABLE_LOCAL ||
	    rtnl_route_get_type(route) != RTN_LOCAL || !dst)
		return false;
	prefix.bits = (uint8_t)nl_addr_get_prefixlen(dst);
	memcpy(prefix.addr.bytes, nl_addr_get_binary_addr(dst),
	       MIN(nl_addr_get_len(dst), sizeof(prefix.addr.bytes)));
	*ret_prefix = prefix;
	return true;
}

static bool is_ours(struct rtnl_route *route)
{
	return rtnl_route_get_protocol(route) == STEER_ROUTE_PROTOCOL;
}

static bool prefix_eq(const struct ip_prefix *left, const struct ip_prefix *right)
{
	return left->bits == right->bits && left->addr.family == right->addr.family &&
	       !memcmp(left->addr.bytes, right->addr.bytes, sizeof(left->addr.bytes));
}

/* Is there a local route that covers the prefix, of somebody else (or of ours, exactly)? */
static bool is_local(const struct route_sync *sync, const struct ip_prefix *prefix, bool ours)
{
	for (struct nl_object *it = nl_cache_get_first(sync->routes); it;
	     it = nl_cache_get_next(it)) {
		struct rtnl_route *route = (struct rtnl_route *)it;
		struct ip_prefix local;

		if (is_ours(route) != ours || !route_prefix(route, &local))
			continue;
		if (ours ? prefix_eq(&local, prefix)
			 : local.bits <= prefix->bits && ip_prefix_contains(&local, &prefix->addr))
			return true;
	}
	return false;
}

static bool is_wanted(const struct route_sync *sync, const struct ip_prefix *prefix)
{
	/* Every local address: there is nothing to make local. */
	return prefix->addr.family == sync->family && prefix->bits > 0 &&
	       !is_local(sync, prefix, false);
}

static int make_route(const struct route_sync *sync, const struct ip_prefix *prefix,
		      struct rtnl_route **ret_route)
{
	_cleanup_(rtnl_route_putp)
	struct rtnl_route *route = rtnl_route_alloc();
	_cleanup_(nl_addr_putp)
	struct nl_addr *dst = nl_addr_build(prefix->addr.family, (void *)prefix->addr.bytes,
					    prefix->addr.family == AF_INET6 ? 16 : 4);
	struct rtnl_nexthop *hop = rtnl_route_nh_alloc();
	int ret;

	if (!route || !dst || !hop) {
		if (hop)
			rtnl_route_nh_free(hop);
		return -ENOMEM;
	}
	rtnl_route_nh_set_ifindex(hop, sync->loopback_ifindex);
	rtnl_route_add_nexthop(route, hop);
	nl_addr_set_prefixlen(dst, prefix->bits);
	ret = rtnl_route_set_family(route, prefix->addr.family);
	if (ret == 0)
		ret = rtnl_route_set_dst(route, dst);
	if (ret == 0)
		ret = rtnl_route_set_type(route, RTN_LOCAL);
	if (ret)
		return errno_of(ret);
	rtnl_route_set_table(route, RT_TABLE_LOCAL);
	rtnl_route_set_scope(route,
			     prefix->addr.family == AF_INET6 ? RT_SCOPE_UNIVERSE : RT_SCOPE_HOST);
	rtnl_route_set_protocol(route, STEER_ROUTE_PROTOCOL);
	*ret_route = TAKE_PTR(route);
	return 0;
}

static int add_missing(const struct route_sync *sync, struct error *err)
{
	for (unsigned int i = 0; i < sync->count; i++) {
		const struct ip_prefix *prefix = &sync->prefixes[i];
		_cleanup_(rtnl_route_putp)
		struct rtnl_route *route = NULL;
		char text[ADDR_TEXT_MAX];
		int ret;

		if (!is_wanted(sync, prefix) || is_local(sync, prefix, true))
			continue;
		ret = make_route(sync, prefix, &route);
		if (ret == 0)
			ret = errno_of(rtnl_route_add(sync->sock, route, NLM_F_EXCL));
		if (ret && ret != -EEXIST) /* named twice */
			return error_set_errno(err, ret, "cannot add the local route %s",
					       ip_prefix_format(prefix, text, sizeof(text)));
	}
	return 0;
}

static int remove_others(const struct route_sync *sync, struct error *err)
{
	for (struct nl_object *it = nl_cache_get_first(sync->routes); it;
	     it = nl_cache_get_next(it)) {
		struct rtnl_route *route = (struct rtnl_route *)it;
		struct ip_prefix prefix;
		char text[ADDR_TEXT_MAX];
		bool keep = false;
		int ret;

		if (!is_ours(route) || !route_prefix(route, &prefix))
			continue;
		for (unsigned int i = 0; i < sync->count && !keep; i++)
			keep = prefix_eq(&prefix, &sync->prefixes[i]) &&
			       is_wanted(sync, &sync->prefixes[i]);
		if (keep)
			continue;
		ret = errno_of(rtnl_route_delete(sync->sock, route, 0));
		if (ret && ret != -ENOENT)
			return error_set_errno(err, ret, "cannot remove the local route %s",
					       ip_prefix_format(&prefix, text, sizeof(text)));
	}
	return 0;
}

static int sync_family(struct route_sync *sync, int family, struct error *err)
{
	_cleanup_(nl_cache_freep)
	struct nl_cache *routes = NULL;
	int ret = errno_of(rtnl_route_alloc_cache(sync->sock, family, 0, &routes));

	if (ret == -EOPNOTSUPP && family == AF_INET6)
		return 0; /* booted without IPv6 */
	if (ret)
		return error_set_errno(err, ret, "cannot read the local routes");
	sync->routes = routes;
	sync->family = family;
	ret = add_missing(sync, err);
	return ret ? ret : remove_others(sync, err);
}

int steer_sync_local_routes(const struct ip_prefix *prefixes, unsigned int count, struct error *err)
{
	_cleanup_(nl_socket_freep)
	struct nl_sock *sock = nl_socket_alloc();
	struct route_sync sync = {
		.sock = sock,
		.loopback_ifindex = (int)if_nametoindex("lo"),
		.prefixes = prefixes,
		.count = count,
	};
	int ret;

	if (!sock)
		return error_set(err, -ENOMEM, "out of memory");
	ret = errno_of(nl_connect(sock, NETLINK_ROUTE));
	if (ret)
		return error_set_errno(err, ret, "cannot open rtnetlink");
	ret = sync_family(&sync, AF_INET, err);
	return ret ? ret : sync_family(&sync, AF_INET6, err);
}

#include "kern/access_view.h"

#include <errno.h>

static bool matches_prefix(const struct access_filter *filter, const struct ip_prefix *prefix)
{
	switch (filter->match) {
	case ACCESS_MATCH_COVERING:
		return prefix->bits <= filter->prefix.bits &&
		       ip_prefix_contains(prefix, &filter->prefix.addr);
	case ACCESS_MATCH_EXACT:
		return prefix->bits == filter->prefix.bits &&
		       ip_prefix_contains(prefix, &filter->prefix.addr);
	case ACCESS_MATCH_WITHIN:
		return prefix->bits >= filter->prefix.bits &&
		       ip_prefix_contains(&filter->prefix, &prefix->addr);
	default:
		return true;
	}
}

bool access_filter_matches(const struct access_filter *filter, const struct access_entry *entry)
{
	return (!filter->has_origin || entry->origin == filter->origin) &&
	       (!filter->has_reason || !strcmp(entry->reason, filter->reason)) &&
	       matches_prefix(filter, &entry->prefix);
}

struct filter_walk {
	const struct access_filter *filter;
	int (*visit)(const struct access_entry *entry, void *arg);
	void *arg;
};

static int visit_matching(const struct access_entry *entry, void *arg)
{
	const struct filter_walk *walk = arg;

	return access_filter_matches(walk->filter, entry) ? walk->visit(entry, walk->arg) : 0;
}

static void shorten(struct ip_prefix *prefix, unsigned int bits)
{
	for (unsigned int i = 0; i < sizeof(prefix->addr.bytes); i++) {
		unsigned int kept = bits > 8 * i ? MIN(bits - 8 * i, 8u) : 0;

		prefix->addr.bytes[i] &= (uint8_t)(0xff00u >> kept);
	}
	prefix->bits = (uint8_t)bits;
}

/* From the longest to the shortest: in the order in which they win. */
static int look_up(struct dataplane *dataplane, enum access_list_kind kind,
		   struct filter_walk *walk)
{
	struct ip_prefix prefix = walk->filter->prefix;
	int shortest = walk->filter->match == ACCESS_MATCH_EXACT ? prefix.bits : 0;

	for (int bits = prefix.bits; bits >= shortest; bits--) {
		struct access_entry entry;
		int r;

		shorten(&prefix, (unsigned int)bits);
		r = access_list_find(dataplane, kind, &prefix, &entry);
		if (!r)
			r = visit_matching(&entry, walk);
		else if (r == -ENOENT)
			r = 0;
		if (r)
			return r;
	}
	return 0;
}

int access_filter_walk(struct dataplane *dataplane, enum access_list_kind kind,
		       const struct access_filter *filter,
		       int (*visit)(const struct access_entry *entry, void *arg), void *arg)
{
	struct filter_walk walk = {filter, visit, arg};

	if (filter->match == ACCESS_MATCH_COVERING || filter->match == ACCESS_MATCH_EXACT)
		return look_up(dataplane, kind, &walk);
	return access_list_walk(dataplane, kind, visit_matching, &walk);
}

int access_sums_visit(const struct access_entry *entry, void *arg)
{
	struct access_sums *sums = arg;

	sums->entries++;
	if (entry->origin == ACCESS_FROM_CLI)
		sums->cli++;
	else
		sums->config++;
	if (entry->prefix.addr.family == AF_INET)
		sums->ipv4++;
	else
		sums->ipv6++;
	sums->packets += entry->packets;
	sums->bytes += entry->bytes;
	return 0;
}

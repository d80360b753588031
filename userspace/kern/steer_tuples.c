/*
 * The tuples, compiled for one lookup each: a single address and port goes to the hash, the rest
 * to the trie of its family. The trie answers with the longest prefix only, so each prefix carries
 * the ranges of all prefixes that contain it.
 */
#include <bpf/bpf.h>
#include <errno.h>

#include "base/cleanup.h"
#include "kern/dataplane_internal.h"
#include "kern/map_walk.h"
#include "kern/steer.h"

/* Key of either family's trie. */
union trie_key {
	uint32_t prefix_bits;
	struct sl_lpm4_key v4;
	struct sl_lpm6_key v6;
};

static bool is_v6(const struct steer_tuple *tuple)
{
	return tuple->prefix.addr.family == AF_INET6;
}

static bool is_exact(const struct steer_tuple *tuple)
{
	return tuple->port_first == tuple->port_last &&
	       tuple->prefix.bits == (is_v6(tuple) ? 128 : 32);
}

static struct sl_tuple_key exact_key(const struct steer_tuple *tuple)
{
	struct sl_tuple_key key = {
		.port = tuple->port_first,
		.family = is_v6(tuple) ? SL_FAMILY_V6 : SL_FAMILY_V4,
	};

	memcpy(key.addr_be, tuple->prefix.addr.bytes, sizeof(key.addr_be));
	return key;
}

static union trie_key trie_key_of(const struct steer_tuple *tuple)
{
	union trie_key key = {.v6 = {.prefix_bits = tuple->prefix.bits}};

	memcpy(key.v6.addr_be, tuple->prefix.addr.bytes, is_v6(tuple) ? 16 : 4);
	return key;
}

static struct sl_tuple list_key(const struct steer_tuple *tuple)
{
	struct sl_tuple key = {
		.port_first = tuple->port_first,
		.port_last = tuple->port_last,
		.family = is_v6(tuple) ? SL_FAMILY_V6 : SL_FAMILY_V4,
		.prefix_bits = tuple->prefix.bits,
	};

	memcpy(key.addr_be, tuple->prefix.addr.bytes, sizeof(key.addr_be));
	return key;
}

/* The ranges stay sorted and apart; what touches becomes one. -E2BIG. */
static int add_range(struct sl_port_ranges *ranges, uint32_t first, uint32_t last)
{
	uint32_t from = 0, to;

	while (from < ranges->count && (uint32_t)ranges->ranges[from].last + 1 < first)
		from++;
	for (to = from; to < ranges->count && ranges->ranges[to].first <= last + 1; to++) {
		first = MIN(first, ranges->ranges[to].first);
		last = MAX(last, ranges->ranges[to].last);
	}
	if (from == to && ranges->count == SL_STEER_RANGES_MAX)
		return -E2BIG;
	memmove(&ranges->ranges[from + 1], &ranges->ranges[to],
		(ranges->count - to) * sizeof(ranges->ranges[0]));
	ranges->count = ranges->count - (to - from) + 1;
	ranges->ranges[from] = (struct sl_port_range){(uint16_t)first, (uint16_t)last};
	return 0;
}

static int collect_ranges(const struct steer_tuple *tuples, unsigned int count,
			  const struct ip_prefix *prefix, struct sl_port_ranges *ret_ranges,
			  struct error *err)
{
	char text[ADDR_TEXT_MAX];

	for (unsigned int i = 0; i < count; i++) {
		const struct steer_tuple *tuple = &tuples[i];

		if (is_exact(tuple) || tuple->prefix.addr.family != prefix->addr.family ||
		    tuple->prefix.bits > prefix->bits ||
		    !ip_prefix_contains(&tuple->prefix, &prefix->addr))
			continue;
		if (add_range(ret_ranges, tuple->port_first, tuple->port_last))
			return error_set(err, -E2BIG, "more than %d port ranges for %s",
					 SL_STEER_RANGES_MAX,
					 ip_prefix_format(prefix, text, sizeof(text)));
	}
	return 0;
}

static int check_tuples(const struct steer_tuple *tuples, unsigned int count, struct error *err)
{
	if (count > SL_STEER_TUPLES_MAX)
		return error_set(err, -E2BIG, "%u listener tuples, at most %d", count,
				 SL_STEER_TUPLES_MAX);
	for (unsigned int i = 0; i < count; i++) {
		char text[ADDR_TEXT_MAX];
		const struct steer_tuple *tuple = &tuples[i];

		if (tuple->port_first == 0 || tuple->port_first > tuple->port_last)
			return error_set(err, -EINVAL, "impossible ports %u-%u for %s",
					 tuple->port_first, tuple->port_last,
					 ip_prefix_format(&tuple->prefix, text, sizeof(text)));
	}
	return 0;
}

static int put_tuple(const struct dataplane *dataplane, const struct steer_tuple *tuples,
		     unsigned int count, const struct steer_tuple *tuple, struct error *err)
{
	struct sl_port_ranges ranges = {0};
	struct sl_tuple_key exact = exact_key(tuple);
	struct sl_tuple listed = list_key(tuple);
	union trie_key key = trie_key_of(tuple);
	uint32_t one = 1;
	int ret;

	if (is_exact(tuple)) {
		ret = bpf_map_update_elem(dataplane->maps[DATAPLANE_MAP_TUPLE_EXACT], &exact, &one,
					  BPF_ANY);
	} else {
		ret = collect_ranges(tuples, count, &tuple->prefix, &ranges, err);
		if (ret)
			return ret;
		ret = bpf_map_update_elem(dataplane->maps[is_v6(tuple) ? DATAPLANE_MAP_TUPLE_LPM6
								       : DATAPLANE_MAP_TUPLE_LPM4],
					  &key, &ranges, BPF_ANY);
	}
	if (ret == 0)
		ret = bpf_map_update_elem(dataplane->maps[DATAPLANE_MAP_TUPLE_LIST], &listed, &one,
					  BPF_ANY);
	return ret ? error_set_errno(err, ret, "cannot steer a listener's tuple") : 0;
}

/* The key by which a tuple stands in a map, or none. */
static bool key_in_map(enum dataplane_map map, const struct steer_tuple *tuple, void *ret_key)
{
	struct sl_tuple_key exact = exact_key(tuple);
	struct sl_tuple listed = list_key(tuple);
	union trie_key key = trie_key_of(tuple);

	switch (map) {
	case DATAPLANE_MAP_TUPLE_EXACT:
		memcpy(ret_key, &exact, sizeof(exact));
		return is_exact(tuple);
	case DATAPLANE_MAP_TUPLE_LPM4:
		memcpy(ret_key, &key, sizeof(key.v4));
		return !is_exact(tuple) && !is_v6(tuple);
	case DATAPLANE_MAP_TUPLE_LPM6:
		memcpy(ret_key, &key, sizeof(key.v6));
		return !is_exact(tuple) && is_v6(tuple);
	default:
		memcpy(ret_key, &listed, sizeof(listed));
		return true;
	}
}

/* Removes from one map what no tuple puts there. */
static int drop_others(const struct dataplane *dataplane, enum dataplane_map map, size_t key_bytes,
		       const struct steer_tuple *tuples, unsigned int count)
{
	_cleanup_free_ void *keys = NULL;
	int fd = dataplane->maps[map];
	size_t key_count;
	int ret = map_collect_keys(fd, key_bytes, SL_STEER_TUPLES_MAX, &keys, &key_count);

	for (size_t i = 0; ret == 0 && i < key_count; i++) {
		const uint8_t *key = (const uint8_t *)keys + i * key_bytes;
		uint8_t wanted[sizeof(struct sl_tuple)];
		unsigned int at = 0;

		while (at < count &&
		       (!key_in_map(map, &tuples[at], wanted) || memcmp(wanted, key, key_bytes)))
			at++;
		if (at == count)
			ret = bpf_map_delete_elem(fd, key);
		if (ret == -ENOENT)
			ret = 0;
	}
	return ret;
}

int steer_set_tuples(struct dataplane *dataplane, const struct steer_tuple *tuples,
		     unsigned int count, struct error *err)
{
	int ret = check_tuples(tuples, count, err);

	/* Additions first: whatever stands before and after is found all the time. */
	for (unsigned int i = 0; i < count && ret == 0; i++)
		ret = put_tuple(dataplane, tuples, count, &tuples[i], err);
	if (ret)
		return ret;
	ret = drop_others(dataplane, DATAPLANE_MAP_TUPLE_EXACT, sizeof(struct sl_tuple_key), tuples,
			  count);
	if (ret == 0)
		ret = drop_others(dataplane, DATAPLANE_MAP_TUPLE_LPM4, sizeof(struct sl_lpm4_key),
				  tuples, count);
	if (ret == 0)
		ret = drop_others(dataplane, DATAPLANE_MAP_TUPLE_LPM6, sizeof(struct sl_lpm6_key),
				  tuples, count);
	if (ret == 0)
		ret = drop_others(dataplane, DATAPLANE_MAP_TUPLE_LIST, sizeof(struct sl_tuple),
				  tuples, count);
	return ret ? error_set_errno(err, ret, "cannot remove old listener tuples") : 0;
}

int steer_walk_tuples(struct dataplane *dataplane,
		      int (*visit)(const struct steer_tuple *tuple, void *arg), void *arg)
{
	_cleanup_free_ struct sl_tuple *keys = NULL;
	void *collected = NULL;
	size_t count;
	int ret = map_collect_keys(dataplane->maps[DATAPLANE_MAP_TUPLE_LIST], sizeof(*keys),
				   SL_STEER_TUPLES_MAX, &collected, &count);

	keys = collected;
	for (size_t i = 0; ret == 0 && i < count; i++) {
		struct steer_tuple tuple = {
			.prefix.addr.family = keys[i].family == SL_FAMILY_V6 ? AF_INET6 : AF_INET,
			.prefix.bits = keys[i].prefix_bits,
			.port_first = keys[i].port_first,
			.port_last = keys[i].port_last,
		};

		memcpy(tuple.prefix.addr.bytes, keys[i].addr_be, sizeof(keys[i].addr_be));
		ret = visit(&tuple, arg);
	}
	return ret;
}

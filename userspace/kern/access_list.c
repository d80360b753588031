#include "kern/access_list.h"

#include <errno.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "kern/access_map.h"
#include "kern/dataplane_internal.h"

_Static_assert(ACCESS_REASON_MAX == SL_ACCESS_REASON_MAX, "reason text");
_Static_assert(ACCESS_FROM_CONFIG == SL_ACCESS_CONFIG && ACCESS_FROM_CLI == SL_ACCESS_CLI,
	       "an entry's origin is the index of its part");

const char *access_list_name(enum access_list_kind kind)
{
	return kind == ACCESS_ALLOW ? "allow" : "deny";
}

static bool is_v6(const struct ip_prefix *prefix)
{
	return prefix->addr.family == AF_INET6;
}

static bool has_part(const struct sl_access_entry *entry, int part)
{
	return entry->expires_boot_ns[part] != SL_ACCESS_ABSENT;
}

static bool part_is_live(const struct sl_access_entry *entry, int part, uint64_t now_ns)
{
	return has_part(entry, part) && (entry->expires_boot_ns[part] == SL_ACCESS_NEVER ||
					 entry->expires_boot_ns[part] > now_ns);
}

/* The person's part is what is shown while it lives. -ENOENT when no part does. */
static int entry_at(const struct access_set *set, uint32_t place, uint64_t now_ns,
		    struct access_entry *ret_entry)
{
	const struct sl_access_entry *entry = access_set_entry(set, place);
	struct sl_counter hits;
	int part = SL_ACCESS_CONFIG;

	if (!entry)
		return -ENOENT;
	if (part_is_live(entry, SL_ACCESS_CLI, now_ns))
		part = SL_ACCESS_CLI;
	else if (!part_is_live(entry, part, now_ns))
		return -ENOENT;
	hits = access_set_hits(set, place);
	*ret_entry = (struct access_entry){
		.prefix = access_set_prefix(set, entry),
		.expires_wall_ms = entry->expires_wall_ms[part],
		.origin = part == SL_ACCESS_CLI ? ACCESS_FROM_CLI : ACCESS_FROM_CONFIG,
		.packets = hits.packets,
		.bytes = hits.bytes,
	};
	access_set_reason(set, entry, part, ret_entry->reason);
	return 0;
}

/* -ETIME: the entry has expired already. */
static int make_part(const struct access_entry *entry, struct access_part *ret_part)
{
	struct access_part part = {
		.expires_boot_ns = SL_ACCESS_NEVER,
		.expires_wall_ms = entry->expires_wall_ms,
		.reason = entry->reason,
	};

	if (entry->expires_wall_ms) {
		uint64_t now_ms = clock_wall_ms();

		if (entry->expires_wall_ms <= now_ms)
			return -ETIME;
		part.expires_boot_ns =
			clock_boot_ns() + (entry->expires_wall_ms - now_ms) * 1000000ULL;
	}
	*ret_part = part;
	return 0;
}

static int put_entry(struct dataplane *dataplane, enum access_list_kind kind,
		     const struct access_entry *entry, uint32_t *ret_place)
{
	uint64_t *next_ns = &dataplane->next_expiry_ns[kind][is_v6(&entry->prefix)];
	struct access_part part;
	int ret = make_part(entry, &part);

	if (ret)
		return ret;
	if (part.expires_boot_ns != SL_ACCESS_NEVER && *next_ns > part.expires_boot_ns)
		*next_ns = part.expires_boot_ns;
	return access_map_put(dataplane, kind, &entry->prefix, (int)entry->origin, &part,
			      ret_place);
}

static int put_error(struct error *err, int code, enum access_list_kind kind,
		     const struct ip_prefix *prefix)
{
	char text[ADDR_TEXT_MAX];

	(void)ip_prefix_format(prefix, text, sizeof(text));
	if (code == -ENOSPC)
		return error_set(err, code, "the %s list is full: cannot add %s",
				 access_list_name(kind), text);
	if (code == -ETIME)
		return error_set(err, -EINVAL, "%s has expired already", text);
	return error_set_errno(err, code, "cannot add %s to the %s list", text,
			       access_list_name(kind));
}

int access_list_add(struct dataplane *dataplane, enum access_list_kind kind,
		    const struct access_entry *entry, struct error *err)
{
	uint32_t place;
	int ret = put_entry(dataplane, kind, entry, &place);

	return ret ? put_error(err, ret, kind, &entry->prefix) : 0;
}

int access_list_reserve(struct dataplane *dataplane, enum access_list_kind kind, size_t count_v4,
			size_t count_v6, struct error *err)
{
	int ret = access_map_reserve(dataplane, kind, false, count_v4);

	if (ret == 0)
		ret = access_map_reserve(dataplane, kind, true, count_v6);
	return ret ? error_set_errno(err, ret, "cannot make room on the %s list",
				     access_list_name(kind))
		   : 0;
}

static int find_place(struct dataplane *dataplane, enum access_list_kind kind,
		      const struct ip_prefix *prefix, bool for_change, struct access_set *ret_set,
		      uint32_t *ret_place)
{
	int ret = access_map_open(dataplane, kind, is_v6(prefix), for_change, ret_set);

	return ret ? ret : access_set_find(ret_set, prefix, ret_place);
}

static int remove_parts(struct dataplane *dataplane, enum access_list_kind kind,
			const struct ip_prefix *prefix, unsigned int parts, struct error *err)
{
	struct access_set set;
	char text[ADDR_TEXT_MAX];
	uint32_t place;
	int ret = find_place(dataplane, kind, prefix, true, &set, &place);

	if (ret == 0)
		ret = access_map_drop(dataplane, kind, is_v6(prefix), place, parts);
	if (ret == 0) {
		access_map_settle(dataplane, kind, is_v6(prefix));
		return 0;
	}
	(void)ip_prefix_format(prefix, text, sizeof(text));
	if (ret == -ENOENT)
		return error_set(err, ret, "%s is not on the %s list", text,
				 access_list_name(kind));
	return error_set_errno(err, ret, "cannot remove %s from the %s list", text,
			       access_list_name(kind));
}

int access_list_remove(struct dataplane *dataplane, enum access_list_kind kind,
		       const struct ip_prefix *prefix, struct error *err)
{
	return remove_parts(dataplane, kind, prefix, (1U << SL_ACCESS_PARTS) - 1, err);
}

int access_list_remove_from(struct dataplane *dataplane, enum access_list_kind kind,
			    const struct ip_prefix *prefix, enum access_origin origin,
			    struct error *err)
{
	return remove_parts(dataplane, kind, prefix, 1U << origin, err);
}

int access_list_find(struct dataplane *dataplane, enum access_list_kind kind,
		     const struct ip_prefix *prefix, struct access_entry *ret_entry)
{
	struct access_set set;
	uint32_t place;
	int ret = find_place(dataplane, kind, prefix, false, &set, &place);

	return ret ? ret : entry_at(&set, place, clock_boot_ns(), ret_entry);
}

int access_list_walk(struct dataplane *dataplane, enum access_list_kind kind,
		     int (*visit)(const struct access_entry *entry, void *arg), void *arg)
{
	uint64_t now_ns = clock_boot_ns();
	int ret = 0;

	for (int family = 0; family <= 1 && ret == 0; family++) {
		struct access_set set;

		ret = access_map_open(dataplane, kind, family, false, &set);
		if (ret == -ENOENT) {
			ret = 0;
			continue;
		}
		for (uint32_t place = 0; ret == 0 && place < access_set_places(&set); place++) {
			struct access_entry entry;

			if (entry_at(&set, place, now_ns, &entry) == 0)
				ret = visit(&entry, arg);
		}
	}
	return ret;
}

/* ---- the configuration's entries ---- */

#define PREFETCH_AHEAD 8
#define BITMAP_BYTES   ((SL_ACCESS_INDEX_MASK + 1) / 8)

/* Takes the configuration's part from the entries whose places are not in the bitmap. */
static int drop_unwanted(struct dataplane *dataplane, enum access_list_kind kind, bool family,
			 const uint8_t *wanted)
{
	struct access_set set;
	int ret = access_map_open(dataplane, kind, family, true, &set);

	for (uint32_t place = 0; ret == 0 && place < access_set_places(&set); place++) {
		const struct sl_access_entry *entry = access_set_entry(&set, place);

		if (entry && has_part(entry, SL_ACCESS_CONFIG) &&
		    !(wanted[place / 8] & 1U << place % 8))
			ret = access_map_drop(dataplane, kind, family, place,
					      1U << SL_ACCESS_CONFIG);
	}
	if (ret == -ENOENT)
		return 0;
	if (ret == 0)
		access_map_settle(dataplane, kind, family);
	return ret;
}

static int reserve_for(struct dataplane *dataplane, enum access_list_kind kind,
		       const struct access_entry *entries, size_t count, struct error *err)
{
	size_t counts[2] = {0};

	for (size_t i = 0; i < count; i++)
		counts[is_v6(&entries[i].prefix)]++;
	return access_list_reserve(dataplane, kind, counts[0], counts[1], err);
}

int access_list_sync_config(struct dataplane *dataplane, enum access_list_kind kind,
			    const struct access_entry *entries, size_t count, struct error *err)
{
	/* A bit for each place that an entry can have, by family. Growth leaves places as they are.
	 */
	_cleanup_free_ uint8_t *wanted = calloc(2, BITMAP_BYTES);
	int ret;

	if (!wanted)
		return error_set(err, -ENOMEM, "out of memory");
	ret = reserve_for(dataplane, kind, entries, count, err);
	if (ret)
		return ret;
	for (size_t i = 0; i < count; i++) {
		bool family = is_v6(&entries[i].prefix);
		uint32_t place;

		if (i + PREFETCH_AHEAD < count)
			access_map_prefetch(dataplane, kind, &entries[i + PREFETCH_AHEAD].prefix);

		ret = put_entry(dataplane, kind, &entries[i], &place);
		if (ret == -ETIME)
			continue;
		if (ret)
			return put_error(err, ret, kind, &entries[i].prefix);
		wanted[family * BITMAP_BYTES + place / 8] |= (uint8_t)(1U << place % 8);
	}
	for (int family = 0; family <= 1; family++) {
		ret = drop_unwanted(dataplane, kind, family, wanted + family * BITMAP_BYTES);
		if (ret)
			return error_set_errno(err, ret, "cannot bring the %s list up to date",
					       access_list_name(kind));
	}
	return 0;
}

/* ---- expiry ---- */

/* Parts whose time is over; what the next one's is. */
static unsigned int expired_parts(const struct sl_access_entry *entry, uint64_t now_ns,
				  uint64_t *next_ns)
{
	unsigned int expired = 0;

	for (int part = 0; part < SL_ACCESS_PARTS; part++) {
		uint64_t expires_ns = entry->expires_boot_ns[part];

		if (!has_part(entry, part) || expires_ns == SL_ACCESS_NEVER)
			continue;
		if (expires_ns <= now_ns)
			expired |= 1U << part;
		else if (expires_ns < *next_ns)
			*next_ns = expires_ns;
	}
	return expired;
}

/* Adds to the number of parts removed. */
static int sweep_set(struct dataplane *dataplane, enum access_list_kind kind, bool family,
		     uint64_t now_ns, int *removed)
{
	uint64_t next_ns = UINT64_MAX;
	struct access_set set;
	int ret = access_map_open(dataplane, kind, family, true, &set);

	for (uint32_t place = 0; ret == 0 && place < access_set_places(&set); place++) {
		const struct sl_access_entry *entry = access_set_entry(&set, place);
		unsigned int expired = entry ? expired_parts(entry, now_ns, &next_ns) : 0;

		if (!expired)
			continue;
		ret = access_map_drop(dataplane, kind, family, place, expired);
		*removed += __builtin_popcount(expired);
	}
	if (ret && ret != -ENOENT)
		return ret;
	if (ret == 0)
		access_map_settle(dataplane, kind, family);
	dataplane->next_expiry_ns[kind][family] = next_ns;
	return 0;
}

int access_list_sweep(struct dataplane *dataplane)
{
	uint64_t now_ns = clock_boot_ns();
	int removed = 0;

	for (enum access_list_kind kind = ACCESS_ALLOW; kind <= ACCESS_DENY; kind++) {
		for (int family = 0; family <= 1; family++) {
			int ret;

			/* Reading a million entries every second to find none expired is dear. */
			if (dataplane->next_expiry_ns[kind][family] > now_ns)
				continue;
			ret = sweep_set(dataplane, kind, family, now_ns, &removed);
			if (ret)
				return ret;
		}
	}
	return removed;
}

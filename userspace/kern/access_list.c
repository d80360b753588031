#include "kern/access_list.h"

#include <bpf/bpf.h>
#include <errno.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "kern/dataplane_internal.h"
#include "kern/map_walk.h"

_Static_assert(ACCESS_REASON_MAX == SL_ACCESS_REASON_MAX, "reason text");
_Static_assert(ACCESS_FROM_CONFIG == SL_ACCESS_CONFIG && ACCESS_FROM_CLI == SL_ACCESS_CLI,
	       "an entry's origin is the index of its part");

/* Key of either family's trie. */
union trie_key {
	uint32_t prefix_bits;
	struct sl_lpm4_key v4;
	struct sl_lpm6_key v6;
};

/* One of the four tries. */
struct trie {
	int fd;
	bool is_v6;
	size_t key_bytes;
	size_t max_entries;
	uint64_t *next_expiry_ns;
	int used_fd;
	enum access_list_kind kind;
};

static struct trie trie_of(struct dataplane *dataplane, enum access_list_kind kind, bool is_v6)
{
	static const enum dataplane_map maps[2][2] = {
		[ACCESS_ALLOW] = {DATAPLANE_MAP_ALLOW4, DATAPLANE_MAP_ALLOW6},
		[ACCESS_DENY] = {DATAPLANE_MAP_DENY4, DATAPLANE_MAP_DENY6},
	};

	return (struct trie){
		.fd = dataplane->maps[maps[kind][is_v6]],
		.is_v6 = is_v6,
		.key_bytes = is_v6 ? sizeof(struct sl_lpm6_key) : sizeof(struct sl_lpm4_key),
		.max_entries = kind == ACCESS_ALLOW ? SL_ALLOW_MAX : SL_DENY_MAX,
		.next_expiry_ns = &dataplane->next_expiry_ns[kind][is_v6],
		.used_fd = dataplane->maps[DATAPLANE_MAP_ACCESS_USED],
		.kind = kind,
	};
}

static const char *list_name(enum access_list_kind kind)
{
	return kind == ACCESS_ALLOW ? "allow" : "deny";
}

static union trie_key key_of(const struct ip_prefix *prefix)
{
	union trie_key key = {.v6 = {.prefix_bits = prefix->bits}};

	memcpy(key.v6.addr_be, prefix->addr.bytes, prefix->addr.family == AF_INET6 ? 16 : 4);
	return key;
}

static struct ip_prefix prefix_of(const struct trie *trie, const union trie_key *key)
{
	struct ip_prefix prefix = {
		.addr.family = trie->is_v6 ? AF_INET6 : AF_INET,
		.bits = (uint8_t)key->prefix_bits,
	};

	memcpy(prefix.addr.bytes, key->v6.addr_be, trie->is_v6 ? 16 : 4);
	return prefix;
}

static bool part_is_live(const struct sl_access_value *value, int part, uint64_t now_ns)
{
	return value->present & 1U << part &&
	       (!value->parts[part].expires_boot_ns || value->parts[part].expires_boot_ns > now_ns);
}

/* The person's part is what is shown while it lives. -ENOENT when no part does. */
static int entry_of(const struct ip_prefix *prefix, const struct sl_access_value *value,
		    uint64_t now_ns, struct access_entry *ret_entry)
{
	int part = part_is_live(value, SL_ACCESS_CLI, now_ns) ? SL_ACCESS_CLI : SL_ACCESS_CONFIG;

	if (!part_is_live(value, part, now_ns))
		return -ENOENT;
	*ret_entry = (struct access_entry){
		.prefix = *prefix,
		.expires_wall_ms = value->parts[part].expires_wall_ms,
		.origin = part == SL_ACCESS_CLI ? ACCESS_FROM_CLI : ACCESS_FROM_CONFIG,
	};
	/* The map is input: the text may lack its end. */
	(void)snprintf(ret_entry->reason, sizeof(ret_entry->reason), "%.*s", ACCESS_REASON_MAX - 1,
		       value->parts[part].reason);
	return 0;
}

/* Exactly this key, unlike the kernel's lookup in a trie, which answers with a shorter one, too. */
static int read_value(const struct trie *trie, const union trie_key *key,
		      struct sl_access_value *ret_value)
{
	struct sl_access_value value;
	int ret = bpf_map_lookup_elem(trie->fd, key, &value);

	if (ret)
		return ret;
	if (value.prefix_bits != key->prefix_bits)
		return -ENOENT;
	*ret_value = value;
	return 0;
}

/* -ETIME: the entry has expired already. */
static int make_part(const struct access_entry *entry, struct sl_access_part *ret_part)
{
	struct sl_access_part part = {.expires_wall_ms = entry->expires_wall_ms};

	if (entry->expires_wall_ms) {
		uint64_t now_ms = clock_wall_ms();

		if (entry->expires_wall_ms <= now_ms)
			return -ETIME;
		part.expires_boot_ns =
			clock_boot_ns() + (entry->expires_wall_ms - now_ms) * 1000000ULL;
	}
	(void)snprintf(part.reason, sizeof(part.reason), "%s", entry->reason);
	*ret_part = part;
	return 0;
}

static void note_expiry(const struct trie *trie, const struct sl_access_part *part)
{
	if (part->expires_boot_ns && *trie->next_expiry_ns > part->expires_boot_ns)
		*trie->next_expiry_ns = part->expires_boot_ns;
}

/* From here on the kernel looks into the trie. Who writes holds the owner lock. */
static int mark_used(const struct trie *trie)
{
	struct sl_access_used used;
	uint32_t zero = 0;
	int ret = bpf_map_lookup_elem(trie->used_fd, &zero, &used);

	if (ret || used.tries[trie->kind][trie->is_v6])
		return ret;
	used.tries[trie->kind][trie->is_v6] = 1;
	return bpf_map_update_elem(trie->used_fd, &zero, &used, BPF_ANY);
}

/* Puts one part into the element of its prefix; the other part stays as it is. */
static int put_part(const struct trie *trie, const struct ip_prefix *prefix, int index,
		    const struct sl_access_part *part)
{
	union trie_key key = key_of(prefix);
	struct sl_access_value value = {0}, old;
	int ret = read_value(trie, &key, &old);

	if (ret && ret != -ENOENT)
		return ret;
	if (ret == 0)
		value = old;
	value.prefix_bits = prefix->bits;
	value.present |= (uint8_t)(1U << index);
	value.parts[index] = *part;
	note_expiry(trie, part);
	if (ret == 0 && !memcmp(&value, &old, sizeof(value)))
		return 0;
	ret = mark_used(trie);
	if (ret)
		return ret;
	return bpf_map_update_elem(trie->fd, &key, &value, BPF_ANY);
}

static int put_error(struct error *err, int code, enum access_list_kind kind,
		     const struct ip_prefix *prefix)
{
	char text[ADDR_TEXT_MAX];

	(void)ip_prefix_format(prefix, text, sizeof(text));
	if (code == -ENOSPC)
		return error_set(err, code, "the %s list is full: cannot add %s", list_name(kind),
				 text);
	if (code == -ETIME)
		return error_set(err, -EINVAL, "%s has expired already", text);
	return error_set_errno(err, code, "cannot add %s to the %s list", text, list_name(kind));
}

int access_list_add(struct dataplane *dataplane, enum access_list_kind kind,
		    const struct access_entry *entry, struct error *err)
{
	struct trie trie = trie_of(dataplane, kind, entry->prefix.addr.family == AF_INET6);
	struct sl_access_part part;
	int ret = make_part(entry, &part);

	if (ret == 0)
		ret = put_part(&trie, &entry->prefix, (int)entry->origin, &part);
	return ret ? put_error(err, ret, kind, &entry->prefix) : 0;
}

int access_list_remove(struct dataplane *dataplane, enum access_list_kind kind,
		       const struct ip_prefix *prefix, struct error *err)
{
	struct trie trie = trie_of(dataplane, kind, prefix->addr.family == AF_INET6);
	union trie_key key = key_of(prefix);
	int ret = bpf_map_delete_elem(trie.fd, &key);
	char text[ADDR_TEXT_MAX];

	if (ret == 0)
		return 0;
	(void)ip_prefix_format(prefix, text, sizeof(text));
	if (ret == -ENOENT)
		return error_set(err, ret, "%s is not on the %s list", text, list_name(kind));
	return error_set_errno(err, ret, "cannot remove %s from the %s list", text,
			       list_name(kind));
}

int access_list_find(struct dataplane *dataplane, enum access_list_kind kind,
		     const struct ip_prefix *prefix, struct access_entry *ret_entry)
{
	struct trie trie = trie_of(dataplane, kind, prefix->addr.family == AF_INET6);
	union trie_key key = key_of(prefix);
	struct sl_access_value value;
	int ret = read_value(&trie, &key, &value);

	return ret ? ret : entry_of(prefix, &value, clock_boot_ns(), ret_entry);
}

/* Calls visit for each element of one trie. It may change the trie. */
static int walk_trie(const struct trie *trie,
		     int (*visit)(const struct trie *trie, const union trie_key *key,
				  const struct sl_access_value *value, void *arg),
		     void *arg)
{
	_cleanup_free_ void *keys = NULL;
	size_t count;
	int ret = map_collect_keys(trie->fd, trie->key_bytes, trie->max_entries, &keys, &count);

	for (size_t i = 0; i < count && ret == 0; i++) {
		union trie_key key = {0};
		struct sl_access_value value;

		memcpy(&key, (uint8_t *)keys + i * trie->key_bytes, trie->key_bytes);
		ret = read_value(trie, &key, &value);
		if (ret == -ENOENT) /* removed meanwhile */
			ret = 0;
		else if (ret == 0)
			ret = visit(trie, &key, &value, arg);
	}
	return ret;
}

struct list_walk {
	uint64_t now_ns;
	int (*visit)(const struct access_entry *entry, void *arg);
	void *arg;
};

static int visit_live(const struct trie *trie, const union trie_key *key,
		      const struct sl_access_value *value, void *arg)
{
	struct list_walk *walk = arg;
	struct ip_prefix prefix = prefix_of(trie, key);
	struct access_entry entry;

	if (entry_of(&prefix, value, walk->now_ns, &entry))
		return 0;
	return walk->visit(&entry, walk->arg);
}

int access_list_walk(struct dataplane *dataplane, enum access_list_kind kind,
		     int (*visit)(const struct access_entry *entry, void *arg), void *arg)
{
	struct list_walk walk = {clock_boot_ns(), visit, arg};
	int ret = 0;

	for (int is_v6 = 0; is_v6 <= 1 && ret == 0; is_v6++) {
		struct trie trie = trie_of(dataplane, kind, is_v6);

		ret = walk_trie(&trie, visit_live, &walk);
	}
	return ret;
}

/* Without its parts that `drop` names; the element goes with its last one. */
static int drop_parts(const struct trie *trie, const union trie_key *key,
		      const struct sl_access_value *value, unsigned int drop)
{
	struct sl_access_value kept = *value;
	int ret;

	kept.present &= (uint8_t)~drop;
	for (int part = 0; part < SL_ACCESS_PARTS; part++)
		if (!(kept.present & 1U << part))
			memset(&kept.parts[part], 0, sizeof(kept.parts[part]));
	ret = kept.present ? bpf_map_update_elem(trie->fd, key, &kept, BPF_EXIST)
			   : bpf_map_delete_elem(trie->fd, key);
	return ret == -ENOENT ? 0 : ret;
}

static int compare_prefixes(const void *left, const void *right)
{
	const struct ip_prefix *a = left, *b = right;
	int diff = (int)a->addr.family - (int)b->addr.family;

	if (diff == 0)
		diff = memcmp(a->addr.bytes, b->addr.bytes, sizeof(a->addr.bytes));
	return diff ? diff : (int)a->bits - (int)b->bits;
}

struct config_sync {
	struct ip_prefix *wanted; /* sorted */
	size_t count;
};

static int drop_unwanted(const struct trie *trie, const union trie_key *key,
			 const struct sl_access_value *value, void *arg)
{
	struct config_sync *sync = arg;
	struct ip_prefix prefix = prefix_of(trie, key);

	if (!(value->present & 1U << SL_ACCESS_CONFIG) ||
	    (sync->count &&
	     bsearch(&prefix, sync->wanted, sync->count, sizeof(*sync->wanted), compare_prefixes)))
		return 0;
	return drop_parts(trie, key, value, 1U << SL_ACCESS_CONFIG);
}

int access_list_sync_config(struct dataplane *dataplane, enum access_list_kind kind,
			    const struct access_entry *entries, size_t count, struct error *err)
{
	_cleanup_free_ struct ip_prefix *wanted = calloc(count ? count : 1, sizeof(*wanted));
	struct config_sync sync = {.wanted = wanted};
	int ret = 0;

	if (!wanted)
		return error_set(err, -ENOMEM, "out of memory");
	for (size_t i = 0; i < count; i++) {
		struct trie trie =
			trie_of(dataplane, kind, entries[i].prefix.addr.family == AF_INET6);
		struct sl_access_part part;

		ret = make_part(&entries[i], &part);
		if (ret == -ETIME)
			continue;
		if (ret == 0)
			ret = put_part(&trie, &entries[i].prefix, SL_ACCESS_CONFIG, &part);
		if (ret)
			return put_error(err, ret, kind, &entries[i].prefix);
		wanted[sync.count++] = entries[i].prefix;
	}
	qsort(wanted, sync.count, sizeof(*wanted), compare_prefixes);
	for (int is_v6 = 0; is_v6 <= 1; is_v6++) {
		struct trie trie = trie_of(dataplane, kind, is_v6);

		ret = walk_trie(&trie, drop_unwanted, &sync);
		if (ret)
			return error_set_errno(err, ret, "cannot bring the %s list up to date",
					       list_name(kind));
	}
	return 0;
}

struct sweep {
	uint64_t now_ns;
	int removed;
};

static int drop_expired(const struct trie *trie, const union trie_key *key,
			const struct sl_access_value *value, void *arg)
{
	struct sweep *sweep = arg;
	unsigned int dead = 0;

	for (int part = 0; part < SL_ACCESS_PARTS; part++) {
		if (part_is_live(value, part, sweep->now_ns))
			note_expiry(trie, &value->parts[part]);
		else
			dead |= value->present & 1U << part;
	}
	if (!dead)
		return 0;
	sweep->removed += __builtin_popcount(dead);
	return drop_parts(trie, key, value, dead);
}

int access_list_sweep(struct dataplane *dataplane)
{
	struct sweep sweep = {.now_ns = clock_boot_ns()};

	for (enum access_list_kind kind = ACCESS_ALLOW; kind <= ACCESS_DENY; kind++) {
		for (int is_v6 = 0; is_v6 <= 1; is_v6++) {
			struct trie trie = trie_of(dataplane, kind, is_v6);
			int ret;

			/* Reading a million entries every second to find none expired is dear. */
			if (*trie.next_expiry_ns > sweep.now_ns)
				continue;
			*trie.next_expiry_ns = UINT64_MAX;
			ret = walk_trie(&trie, drop_expired, &sweep);
			if (ret) {
				*trie.next_expiry_ns = 0;
				return ret;
			}
		}
	}
	return sweep.removed;
}

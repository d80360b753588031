#include "kern/access_entries.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/random.h"

#define ROOM_FIRST 64

/* An access_entry without its reason. */
struct record {
	uint8_t addr[16];
	uint64_t expires_wall_ms;
	uint64_t packets, bytes;
	uint32_t reason; /* place in set->reasons */
	uint8_t family;	 /* 0: removed */
	uint8_t bits;
	uint8_t origin;
	uint8_t pad;
};
_Static_assert(sizeof(struct record) == 48, "struct record");

/* Open addressing; 0: empty, else a place from 1 on. At most half full. */
struct index {
	uint32_t *slots;
	size_t mask;
};

struct reason {
	char text[ACCESS_REASON_MAX];
};

struct access_entries {
	size_t entries_max;
	uint64_t seed; /* whoever writes a list cannot make its hashes collide */
	struct record *records;
	size_t count, room, removed;
	struct index index;
	struct reason *reasons; /* the first one is "" */
	size_t reason_count, reason_room;
	struct index reason_index;
	uint32_t last_reason; /* lines beside each other mostly have the same */
};

static uint64_t mix(uint64_t left, uint64_t right)
{
	unsigned __int128 product =
		(unsigned __int128)(left ^ 0x9e3779b97f4a7c15ULL) * (right ^ 0xd6e8feb86659fd93ULL);

	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint64_t hash_bytes(uint64_t seed, const void *bytes, size_t len)
{
	uint64_t hash = seed, word;

	for (size_t at = 0; at + sizeof(word) <= len; at += sizeof(word)) {
		memcpy(&word, (const uint8_t *)bytes + at, sizeof(word));
		hash = mix(hash ^ word, seed);
	}
	return hash;
}

static uint64_t hash_prefix(const struct access_entries *set, const struct ip_prefix *prefix)
{
	uint64_t seed = set->seed ^ (uint64_t)prefix->bits << 8 ^ prefix->addr.family;

	return hash_bytes(seed, prefix->addr.bytes, sizeof(prefix->addr.bytes));
}

static bool is_record_of(const struct record *record, const struct ip_prefix *prefix)
{
	return record->bits == prefix->bits && record->family == prefix->addr.family &&
	       !memcmp(record->addr, prefix->addr.bytes, sizeof(record->addr));
}

/* A removed record keeps its slot, without a family that anything could be equal to. */
static uint32_t *find_record(const struct access_entries *set, const struct ip_prefix *prefix)
{
	for (uint64_t hash = hash_prefix(set, prefix);; hash++) {
		uint32_t *slot = &set->index.slots[hash & set->index.mask];

		if (!*slot || is_record_of(&set->records[*slot - 1], prefix))
			return slot;
	}
}

static uint32_t *find_reason(const struct access_entries *set, const struct reason *reason)
{
	for (uint64_t hash = hash_bytes(set->seed, reason, sizeof(*reason));; hash++) {
		uint32_t *slot = &set->reason_index.slots[hash & set->reason_index.mask];

		if (!*slot || !memcmp(&set->reasons[*slot - 1], reason, sizeof(*reason)))
			return slot;
	}
}

static int index_new(size_t room, struct index *ret_index)
{
	uint32_t *slots = calloc(room * 2, sizeof(*slots));

	if (!slots)
		return -ENOMEM;
	*ret_index = (struct index){slots, room * 2 - 1};
	return 0;
}

static struct ip_prefix prefix_of(const struct record *record)
{
	struct ip_prefix prefix = {.addr.family = record->family, .bits = record->bits};

	memcpy(prefix.addr.bytes, record->addr, sizeof(record->addr));
	return prefix;
}

static int grow_records(struct access_entries *set)
{
	size_t room = set->room * 2;
	struct record *records = realloc(set->records, room * sizeof(*records));
	struct index index;

	if (!records)
		return -ENOMEM;
	set->records = records;
	if (index_new(room, &index))
		return -ENOMEM;
	free(set->index.slots);
	set->index = index;
	set->room = room;
	for (size_t i = 0; i < set->count; i++) {
		struct ip_prefix prefix = prefix_of(&records[i]);

		if (prefix.addr.family)
			*find_record(set, &prefix) = (uint32_t)i + 1;
	}
	return 0;
}

static int grow_reasons(struct access_entries *set)
{
	size_t room = set->reason_room * 2;
	struct reason *reasons = realloc(set->reasons, room * sizeof(*reasons));
	struct index index;

	if (!reasons)
		return -ENOMEM;
	set->reasons = reasons;
	if (index_new(room, &index))
		return -ENOMEM;
	free(set->reason_index.slots);
	set->reason_index = index;
	set->reason_room = room;
	for (size_t i = 0; i < set->reason_count; i++)
		*find_reason(set, &reasons[i]) = (uint32_t)i + 1;
	return 0;
}

static int put_reason(struct access_entries *set, const char *text, uint32_t *ret_reason)
{
	struct reason reason = {""};
	uint32_t *slot;

	if (!strncmp(text, set->reasons[set->last_reason].text, sizeof(reason.text))) {
		*ret_reason = set->last_reason;
		return 0;
	}
	(void)snprintf(reason.text, sizeof(reason.text), "%s", text);
	if (set->reason_count == set->reason_room && grow_reasons(set))
		return -ENOMEM;
	slot = find_reason(set, &reason);
	if (!*slot) {
		set->reasons[set->reason_count] = reason;
		*slot = (uint32_t)++set->reason_count;
	}
	*ret_reason = set->last_reason = *slot - 1;
	return 0;
}

struct access_entries *access_entries_new(size_t entries_max)
{
	_cleanup_(access_entries_freep)
	struct access_entries *set = calloc(1, sizeof(*set));
	struct random_state random;

	if (!set)
		return NULL;
	random_init(&random);
	set->seed = random_next(&random);
	set->entries_max = MIN(entries_max, (size_t)UINT32_MAX - 1);
	set->room = set->reason_room = ROOM_FIRST;
	set->records = calloc(ROOM_FIRST, sizeof(*set->records));
	set->reasons = calloc(ROOM_FIRST, sizeof(*set->reasons));
	if (!set->records || !set->reasons || index_new(ROOM_FIRST, &set->index) ||
	    index_new(ROOM_FIRST, &set->reason_index))
		return NULL;
	*find_reason(set, &set->reasons[0]) = 1;
	set->reason_count = 1;
	return TAKE_PTR(set);
}

void access_entries_free(struct access_entries *set)
{
	if (!set)
		return;
	free(set->records);
	free(set->index.slots);
	free(set->reasons);
	free(set->reason_index.slots);
	free(set);
}

int access_entries_put(struct access_entries *set, const struct access_entry *entry)
{
	struct record record = {
		.expires_wall_ms = entry->expires_wall_ms,
		.packets = entry->packets,
		.bytes = entry->bytes,
		.family = entry->prefix.addr.family,
		.bits = entry->prefix.bits,
		.origin = (uint8_t)entry->origin,
	};
	uint32_t *slot;
	int r;

	memcpy(record.addr, entry->prefix.addr.bytes, sizeof(record.addr));
	if (set->count == set->room && grow_records(set))
		return -ENOMEM;
	r = put_reason(set, entry->reason, &record.reason);
	if (r)
		return r;
	slot = find_record(set, &entry->prefix);
	if (*slot) {
		set->records[*slot - 1] = record;
		return 1;
	}
	if (set->count == set->entries_max)
		return -ENOSPC;
	set->records[set->count] = record;
	*slot = (uint32_t)++set->count;
	return 0;
}

int access_entries_remove(struct access_entries *set, const struct ip_prefix *prefix)
{
	uint32_t *slot = find_record(set, prefix);

	if (!*slot)
		return -ENOENT;
	set->records[*slot - 1].family = 0;
	set->removed++;
	return 0;
}

bool access_entries_has(const struct access_entries *set, const struct ip_prefix *prefix)
{
	return *find_record(set, prefix);
}

size_t access_entries_count(const struct access_entries *set)
{
	return set->count - set->removed;
}

size_t access_entries_places(const struct access_entries *set)
{
	return set->count;
}

bool access_entries_get(const struct access_entries *set, size_t index,
			struct access_entry *ret_entry)
{
	const struct record *record = &set->records[index];

	if (!record->family)
		return false;
	*ret_entry = (struct access_entry){
		.prefix = prefix_of(record),
		.expires_wall_ms = record->expires_wall_ms,
		.origin = (enum access_origin)record->origin,
		.packets = record->packets,
		.bytes = record->bytes,
	};
	memcpy(ret_entry->reason, set->reasons[record->reason].text, sizeof(ret_entry->reason));
	return true;
}

int access_entries_reserve(const struct access_entries *set, struct dataplane *dataplane,
			   enum access_list_kind kind, struct error *err)
{
	size_t count_v4 = 0, count_v6 = 0;

	for (size_t i = 0; i < set->count; i++) {
		count_v4 += set->records[i].family == AF_INET;
		count_v6 += set->records[i].family == AF_INET6;
	}
	return access_list_reserve(dataplane, kind, count_v4, count_v6, err);
}

static int compare_records(const void *left, const void *right)
{
	const struct record *one = left, *other = right;
	int diff = (int)one->family - (int)other->family;

	if (!diff)
		diff = memcmp(one->addr, other->addr, sizeof(one->addr));
	return diff ? diff : (int)one->bits - (int)other->bits;
}

void access_entries_sort(struct access_entries *set)
{
	free(set->index.slots);
	set->index.slots = NULL;
	qsort(set->records, set->count, sizeof(*set->records), compare_records);
}

int access_entries_visit(const struct access_entry *entry, void *arg)
{
	int r = access_entries_put(arg, entry);

	return r < 0 ? r : 0;
}

#include "kern/access_set.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "abi/access_rules.h"
#include "base/cleanup.h"

#define REASON_ROOM_MIN	  16
#define BLOOM_LINE_PLACES 32 /* places for entries per line of the filter: 16 bits for each */
#define STRIPES_BYTES	  (64U << 20) /* of all buckets; beyond, CPUs share stripes */
/* A key goes to its second bucket only when the first is this full: one look finds most. */
#define CROWDED	   6
#define STALE_MIN  64
#define HITS_TRIES 8

/* ---- shape ---- */

static uint32_t power_of_two(uint32_t at_least)
{
	uint32_t power = 1;

	while (power < at_least)
		power *= 2;
	return power;
}

static uint32_t stripes_for(uint32_t capacity, uint32_t cpu_count)
{
	uint32_t stripes = power_of_two(cpu_count);

	while (stripes > 1 &&
	       (uint64_t)stripes * capacity * sizeof(struct sl_counter) > STRIPES_BYTES)
		stripes /= 2;
	return stripes;
}

struct access_shape access_shape_for(bool is_v6, uint32_t entries, uint32_t cpu_count)
{
	struct access_shape shape = {.reason_room = REASON_ROOM_MIN, .is_v6 = is_v6};

	if (entries < ACCESS_SET_CAPACITY_MIN)
		entries = ACCESS_SET_CAPACITY_MIN;
	if (entries > SL_ACCESS_INDEX_MASK)
		entries = SL_ACCESS_INDEX_MASK + 1;
	shape.capacity = power_of_two(entries);
	shape.bucket_count = shape.capacity / (SL_ACCESS_SLOTS / 2);
	shape.stripes = stripes_for(shape.capacity, cpu_count);
	shape.is_shared = shape.stripes < cpu_count;
	return shape;
}

static struct sl_access_head head_of(const struct access_shape *shape)
{
	struct sl_access_head head = {
		.magic = SL_ACCESS_MAGIC,
		.bloom_mask = shape->capacity / BLOOM_LINE_PLACES - 1,
		.bucket_mask = shape->bucket_count - 1,
		.bucket_lines = SL_ACCESS_STRIPE(shape->is_v6, shape->stripes),
		.stripe_mask = shape->stripes - 1,
		.is_shared = shape->is_shared,
		.entry_mask = shape->capacity - 1,
	};

	head.buckets_at = SL_ACCESS_BLOOM_AT + head.bloom_mask + 1;
	head.entries_at = head.buckets_at + shape->bucket_count * head.bucket_lines;
	head.counters_at = head.entries_at + shape->capacity;
	return head;
}

static uint32_t reasons_at(const struct sl_access_head *head)
{
	return head->counters_at + (head->entry_mask + 1) / SL_ACCESS_LINE_COUNTERS;
}

uint32_t access_shape_lines(const struct access_shape *shape)
{
	struct sl_access_head head = head_of(shape);

	return reasons_at(&head) + shape->reason_room / SL_ACCESS_LINE_REASONS;
}

static struct sl_access_head *head(const struct access_set *set)
{
	return &set->lines[SL_ACCESS_HEAD_AT].head;
}

static struct sl_access_book *book(const struct access_set *set)
{
	return &set->lines[SL_ACCESS_BOOK_AT].book;
}

void access_set_format(const struct access_set *set, const struct access_shape *shape,
		       const uint64_t keys[SL_ACCESS_KEYS])
{
	struct sl_access_head made = head_of(shape);

	for (int i = 0; i < SL_ACCESS_KEYS; i++) /* odd halves: none is 0 */
		made.keys[i] = keys[i] | 0x100000001ULL;
	book(set)->reasons_at = reasons_at(&made);
	book(set)->reason_mask = shape->reason_room - 1;
	*head(set) = made;
}

struct access_shape access_set_shape(const struct access_set *set)
{
	return (struct access_shape){
		.capacity = head(set)->entry_mask + 1,
		.bucket_count = head(set)->bucket_mask + 1,
		.reason_room = book(set)->reason_mask + 1,
		.stripes = head(set)->stripe_mask + 1,
		.is_shared = head(set)->is_shared,
		.is_v6 = set->is_v6,
	};
}

static bool is_power(uint32_t number, uint32_t least, uint32_t most)
{
	return number >= least && number <= most && !(number & (number - 1));
}

int access_set_check(const struct access_set *set)
{
	struct access_shape shape;
	struct sl_access_head expected;

	if (set->line_count < SL_ACCESS_BLOOM_AT)
		return -EPROTO;
	shape = access_set_shape(set);
	if (!is_power(shape.capacity, ACCESS_SET_CAPACITY_MIN, SL_ACCESS_INDEX_MASK + 1) ||
	    !is_power(shape.bucket_count, 1, 1U << 26) || !is_power(shape.stripes, 1, 1U << 12) ||
	    !is_power(shape.reason_room, REASON_ROOM_MIN, 1U << 26))
		return -EPROTO;
	expected = head_of(&shape);
	memcpy(expected.keys, head(set)->keys, sizeof(expected.keys));
	if (memcmp(&expected, head(set), sizeof(expected)) ||
	    set->line_count != access_shape_lines(&shape) ||
	    book(set)->reasons_at != reasons_at(&expected) ||
	    book(set)->place_count > shape.capacity || book(set)->free_first > shape.capacity)
		return -EPROTO;
	return 0;
}

static bool has_place(const struct access_set *set)
{
	return book(set)->free_first || book(set)->place_count <= head(set)->entry_mask;
}

static bool has_reason_room(const struct access_set *set)
{
	return book(set)->reason_count <= book(set)->reason_mask / 2;
}

/* ---- words that packets read ---- */

static void write_word(__u64 *word, uint64_t value)
{
	__atomic_store_n(word, value, __ATOMIC_RELEASE);
}

/* Between these two what is written may contradict itself. */
static void begin_change(const struct access_set *set)
{
	__atomic_store_n(&book(set)->is_dirty, 1, __ATOMIC_SEQ_CST);
}

static void end_change(const struct access_set *set)
{
	__atomic_store_n(&book(set)->is_dirty, 0, __ATOMIC_RELEASE);
}

/* ---- keys ---- */

struct key {
	struct access_addr addr;
	uint32_t length;
	uint64_t hash;
	uint64_t slot_key;
};

static uint64_t read_be64(const uint8_t *bytes)
{
	uint32_t words[2];

	memcpy(words, bytes, sizeof(words));
	return (uint64_t)ntohl(words[0]) << 32 | ntohl(words[1]);
}

static struct key key_of(const struct access_set *set, struct access_addr addr, uint32_t length)
{
	struct key key = {.addr = access_masked(addr, length), .length = length};

	key.hash = access_hash(head(set)->keys, key.addr, length);
	key.slot_key = access_slot_key(set->is_v6, key.addr, length, key.hash);
	return key;
}

static struct key key_of_prefix(const struct access_set *set, const struct ip_prefix *prefix)
{
	struct access_addr addr = {.high = read_be64(prefix->addr.bytes)};

	if (set->is_v6)
		addr.low = read_be64(prefix->addr.bytes + 8);
	else
		addr.high &= 0xffffffff00000000ULL;
	return key_of(set, addr, prefix->bits);
}

static struct key key_of_entry(const struct access_set *set, const struct sl_access_entry *entry)
{
	return key_of(set, (struct access_addr){entry->addr[0], entry->addr[1]}, entry->length - 1);
}

static struct sl_access_entry *entry_at(const struct access_set *set, uint32_t place)
{
	return &set->lines[head(set)->entries_at + (place & head(set)->entry_mask)].entry;
}

static bool is_entry_of(const struct sl_access_entry *entry, const struct key *key)
{
	return entry->length == key->length + 1 && entry->addr[0] == key->addr.high &&
	       entry->addr[1] == key->addr.low;
}

static __u64 *bucket(const struct access_set *set, const struct key *key, bool is_second)
{
	uint32_t mask = head(set)->bucket_mask;
	uint32_t nth =
		is_second ? access_bucket2(key->hash, mask) : access_bucket1(key->hash, mask);

	return set->lines[head(set)->buckets_at + nth * head(set)->bucket_lines].words;
}

/* NULL: there is none. */
static __u64 *find_slot(const struct access_set *set, const struct key *key)
{
	for (int is_second = 0; is_second <= 1; is_second++) {
		__u64 *slots = bucket(set, key, is_second);

		for (int i = 0; i < SL_ACCESS_SLOTS; i++)
			if (slots[i] >> SL_ACCESS_SLOT_KEY_AT == key->slot_key &&
			    is_entry_of(entry_at(set, access_slot_index(slots[i])), key))
				return &slots[i];
	}
	return NULL;
}

static uint32_t group_of(const struct access_set *set, uint32_t length)
{
	uint32_t group = 0;

	while (length < access_group_low(set->is_v6, group))
		group++;
	return group;
}

static union sl_access_line *bloom_line(const struct access_set *set, const struct key *key,
					uint64_t *ret_group_hash)
{
	uint32_t low = access_group_low(set->is_v6, group_of(set, key->length));

	*ret_group_hash =
		access_hash(head(set)->keys, access_masked(key->addr, low), ACCESS_HASH_GROUP(low));
	return &set->lines[access_bloom_line(*ret_group_hash, head(set)->bloom_mask)];
}

void access_set_prefetch(const struct access_set *set, const struct ip_prefix *prefix)
{
	struct key key = key_of_prefix(set, prefix);
	uint64_t group_hash;

	__builtin_prefetch(bucket(set, &key, false));
	__builtin_prefetch(bucket(set, &key, true));
	__builtin_prefetch(bloom_line(set, &key, &group_hash), 1);
}

static int count_slots(const __u64 *slots)
{
	int count = 0;

	for (int i = 0; i < SL_ACCESS_SLOTS; i++)
		count += slots[i] != 0;
	return count;
}

static bool has_slot_key(const __u64 *slots, uint64_t slot_key)
{
	bool has = false;

	for (int i = 0; i < SL_ACCESS_SLOTS; i++)
		has |= slots[i] >> SL_ACCESS_SLOT_KEY_AT == slot_key;
	return has;
}

/* For a key that is not there. A bucket never has two slots of what packets take for one key. */
static __u64 *free_slot(const struct access_set *set, const struct key *key)
{
	__u64 *first = bucket(set, key, false), *second = bucket(set, key, true);
	__u64 *slots = first;

	if (count_slots(first) >= CROWDED && count_slots(second) < count_slots(first))
		slots = second;
	if (has_slot_key(slots, key->slot_key)) {
		slots = slots == first ? second : first;
		if (has_slot_key(slots, key->slot_key))
			return NULL;
	}
	for (int i = 0; i < SL_ACCESS_SLOTS; i++)
		if (!slots[i])
			return &slots[i];
	return NULL;
}

int access_set_find(const struct access_set *set, const struct ip_prefix *prefix,
		    uint32_t *ret_place)
{
	struct key key = key_of_prefix(set, prefix);
	const __u64 *slot = find_slot(set, &key);

	if (!slot)
		return -ENOENT;
	*ret_place = access_slot_index(*slot);
	return 0;
}

/* ---- reasons: an open-addressed table of texts, which only grows ---- */

static char *reason_at(const struct access_set *set, uint32_t place)
{
	place &= book(set)->reason_mask;
	return set->lines[book(set)->reasons_at + place / SL_ACCESS_LINE_REASONS]
		.reasons[place % SL_ACCESS_LINE_REASONS];
}

/* Its place + 1, made where it is missing. 0: no reason. -ENOSPC */
static int intern_reason(const struct access_set *set, const char *text, uint32_t *ret_reason)
{
	char reason[SL_ACCESS_REASON_MAX] = {0};
	uint64_t hash = head(set)->keys[0];
	uint32_t place;

	if (!text[0]) {
		*ret_reason = 0;
		return 0;
	}
	(void)snprintf(reason, sizeof(reason), "%s", text);
	for (size_t i = 0; reason[i]; i++) /* FNV-1a */
		hash = (hash ^ (uint8_t)reason[i]) * 0x100000001b3ULL;
	place = (uint32_t)(hash >> 32) & book(set)->reason_mask;
	/* Never more than half full, but what is read here is input. */
	for (uint32_t tries = 0; tries <= book(set)->reason_mask; tries++, place++) {
		char *at = reason_at(set, place);

		if (!at[0]) {
			if (!has_reason_room(set))
				return -ENOSPC;
			memcpy(at, reason, sizeof(reason));
			book(set)->reason_count++;
		} else if (memcmp(at, reason, sizeof(reason)) != 0) {
			continue;
		}
		*ret_reason = (place & book(set)->reason_mask) + 1;
		return 0;
	}
	return -ENOSPC;
}

void access_set_reason(const struct access_set *set, const struct sl_access_entry *entry, int part,
		       char ret_reason[SL_ACCESS_REASON_MAX])
{
	const char *text = entry->reason[part] ? reason_at(set, entry->reason[part] - 1) : "";

	(void)snprintf(ret_reason, SL_ACCESS_REASON_MAX, "%.*s", SL_ACCESS_REASON_MAX - 1, text);
}

/* ---- counts and counters ---- */

static uint32_t *count_of(const struct access_set *set, uint32_t length)
{
	return &set->lines[SL_ACCESS_COUNTS_AT + length / SL_ACCESS_LINE_COUNTS]
			.counts[length % SL_ACCESS_LINE_COUNTS];
}

/* The bit of a length in the word of its group. */
static __u64 *length_bit(const struct access_set *set, uint32_t length, __u64 *ret_bit)
{
	uint32_t group = group_of(set, length);

	*ret_bit = 1ULL << (access_group_top(set->is_v6, group) - length);
	return &set->lines[SL_ACCESS_LENGTHS_AT].lengths.groups[group];
}

static struct sl_counter *counter_at(const struct access_set *set, uint32_t place)
{
	uint32_t at = head(set)->counters_at + place / SL_ACCESS_LINE_COUNTERS;

	return &set->lines[at].counters[place % SL_ACCESS_LINE_COUNTERS];
}

static struct sl_counter read_counter(const struct sl_counter *counter)
{
	return (struct sl_counter){
		.packets = __atomic_load_n(&counter->packets, __ATOMIC_ACQUIRE),
		.bytes = __atomic_load_n(&counter->bytes, __ATOMIC_ACQUIRE),
	};
}

/* Of the bucket of a slot, the word that belongs to the slot in a line of the bucket. */
static __u64 *beside_slot(__u64 *slot, uint32_t line)
{
	return slot + (size_t)line * SL_ACCESS_SLOTS;
}

static struct sl_counter slot_hits(const struct access_set *set, __u64 *slot)
{
	struct sl_counter sum = {0};

	for (uint32_t stripe = 0; stripe <= head(set)->stripe_mask; stripe++) {
		uint64_t hits = __atomic_load_n(
			beside_slot(slot, SL_ACCESS_STRIPE(set->is_v6, stripe)), __ATOMIC_ACQUIRE);

		sum.packets += hits >> SL_ACCESS_HIT_PACKETS_AT;
		sum.bytes += hits & SL_ACCESS_HIT_BYTES;
	}
	return sum;
}

struct sl_counter access_set_hits(const struct access_set *set, uint32_t place)
{
	const struct sl_access_entry *entry = access_set_entry(set, place);
	struct sl_counter sum = read_counter(counter_at(set, place)), hits, again;
	struct key key;
	__u64 *slot;

	if (!entry)
		return sum;
	key = key_of_entry(set, entry);
	slot = find_slot(set, &key);
	if (!slot)
		return sum;
	/* Packets may move what the slot has counted meanwhile; each a million hits, so rarely. */
	for (int tries = 0; tries < HITS_TRIES; tries++) {
		hits = slot_hits(set, slot);
		again = read_counter(counter_at(set, place));
		if (again.packets == sum.packets && again.bytes == sum.bytes)
			break;
		sum = again;
	}
	sum.packets += hits.packets;
	sum.bytes += hits.bytes;
	return sum;
}

static void clear_hits(const struct access_set *set, uint32_t place, __u64 *slot)
{
	*counter_at(set, place) = (struct sl_counter){0};
	for (uint32_t stripe = 0; stripe <= head(set)->stripe_mask; stripe++)
		write_word(beside_slot(slot, SL_ACCESS_STRIPE(set->is_v6, stripe)), 0);
}

/* ---- entries ---- */

/* For a standing entry: is there a part for which nobody need look at the clock? */
static uint64_t slot_flags(const struct sl_access_entry *entry)
{
	for (int part = 0; part < SL_ACCESS_PARTS; part++)
		if (entry->expires_boot_ns[part] == SL_ACCESS_NEVER)
			return 0;
	return SL_ACCESS_SLOT_TIMED;
}

static uint64_t slot_of(const struct key *key, uint32_t place, const struct sl_access_entry *entry)
{
	return key->slot_key << SL_ACCESS_SLOT_KEY_AT | (uint64_t)place << SL_ACCESS_SLOT_INDEX_AT |
	       slot_flags(entry);
}

static void mark(__u64 *words, uint64_t hash)
{
	__u64 *word = &words[access_bloom_word(hash)];

	write_word(word, *word | access_bloom_bits(hash));
}

/* Makes an entry that is written visible: slot, filter, length. */
static void publish(const struct access_set *set, const struct key *key, __u64 *slot,
		    uint32_t place)
{
	uint64_t group_hash;
	__u64 *words = bloom_line(set, key, &group_hash)->words;
	__u64 bit, *lengths = length_bit(set, key->length, &bit);

	if (set->is_v6)
		write_word(beside_slot(slot, SL_ACCESS_CHECKS),
			   access_check(head(set)->keys, key->addr, key->length));
	write_word(slot, slot_of(key, place, entry_at(set, place)));
	mark(words, key->hash);
	mark(words, group_hash);
	++*count_of(set, key->length);
	book(set)->entry_count++;
	write_word(lengths, *lengths | bit);
}

static void write_part(struct sl_access_entry *entry, int part, const struct access_part *value,
		       uint32_t reason)
{
	entry->expires_wall_ms[part] = value->expires_wall_ms;
	entry->reason[part] = reason;
	write_word(&entry->expires_boot_ns[part], value->expires_boot_ns);
}

static uint32_t take_place(const struct access_set *set)
{
	uint32_t place = book(set)->free_first;

	if (!place)
		return book(set)->place_count++;
	place--;
	book(set)->free_first = entry_at(set, place)->next_free;
	return place;
}

static int add_entry(const struct access_set *set, const struct key *key, int part,
		     const struct access_part *value, uint32_t reason, uint32_t *ret_place)
{
	__u64 *slot = free_slot(set, key);
	struct sl_access_entry *entry;
	uint32_t place;

	if (!slot || !has_place(set))
		return -ENOSPC;
	begin_change(set);
	place = take_place(set);
	clear_hits(set, place, slot);
	entry = entry_at(set, place);
	*entry = (struct sl_access_entry){
		.addr = {key->addr.high, key->addr.low},
		.expires_boot_ns = {SL_ACCESS_ABSENT, SL_ACCESS_ABSENT},
	};
	write_part(entry, part, value, reason);
	/* From here on it is one, also for who finds it half made. */
	__atomic_store_n(&entry->length, key->length + 1, __ATOMIC_RELEASE);
	publish(set, key, slot, place);
	end_change(set);
	*ret_place = place;
	return 0;
}

int access_set_put(const struct access_set *set, const struct ip_prefix *prefix, int part,
		   const struct access_part *value, uint32_t *ret_place)
{
	struct key key = key_of_prefix(set, prefix);
	__u64 *slot = find_slot(set, &key);
	uint32_t reason;
	int ret = intern_reason(set, value->reason, &reason);

	if (ret)
		return ret;
	if (!slot)
		return add_entry(set, &key, part, value, reason, ret_place);
	begin_change(set);
	*ret_place = access_slot_index(*slot);
	write_part(entry_at(set, *ret_place), part, value, reason);
	write_word(slot, slot_of(&key, *ret_place, entry_at(set, *ret_place)));
	end_change(set);
	return 0;
}

static void remove_entry(const struct access_set *set, const struct key *key, __u64 *slot,
			 uint32_t place)
{
	struct sl_access_entry *entry = entry_at(set, place);
	__u64 bit, *lengths = length_bit(set, key->length, &bit);

	if (slot)
		write_word(slot, 0);
	if (--*count_of(set, key->length) == 0)
		write_word(lengths, *lengths & ~bit);
	__atomic_store_n(&entry->length, 0, __ATOMIC_RELEASE);
	entry->next_free = book(set)->free_first;
	book(set)->free_first = place + 1;
	book(set)->entry_count--;
	book(set)->stale_count++;
}

void access_set_drop(const struct access_set *set, uint32_t place, unsigned int parts)
{
	struct sl_access_entry *entry = entry_at(set, place);
	struct key key = key_of_entry(set, entry);
	__u64 *slot = find_slot(set, &key);
	bool is_last = true;

	for (int part = 0; part < SL_ACCESS_PARTS; part++)
		if (!(parts & 1U << part) && entry->expires_boot_ns[part] != SL_ACCESS_ABSENT)
			is_last = false;
	begin_change(set);
	if (is_last) {
		remove_entry(set, &key, slot, place);
	} else {
		for (int part = 0; part < SL_ACCESS_PARTS; part++)
			if (parts & 1U << part)
				write_part(
					entry, part,
					&(struct access_part){.expires_boot_ns = SL_ACCESS_ABSENT},
					0);
		if (slot)
			write_word(slot, slot_of(&key, place, entry));
	}
	end_change(set);
}

/* ---- the whole ---- */

uint32_t access_set_places(const struct access_set *set)
{
	uint32_t count = __atomic_load_n(&book(set)->place_count, __ATOMIC_ACQUIRE);

	return count > head(set)->entry_mask + 1 ? head(set)->entry_mask + 1 : count;
}

uint32_t access_set_count(const struct access_set *set)
{
	return book(set)->entry_count;
}

bool access_set_is_stale(const struct access_set *set)
{
	return book(set)->stale_count >= STALE_MIN &&
	       (uint64_t)book(set)->stale_count * 3 > book(set)->entry_count;
}

const struct sl_access_entry *access_set_entry(const struct access_set *set, uint32_t place)
{
	const struct sl_access_entry *entry = entry_at(set, place);
	uint32_t length = __atomic_load_n(&entry->length, __ATOMIC_ACQUIRE);

	return length && length <= (set->is_v6 ? 129U : 33U) ? entry : NULL;
}

struct ip_prefix access_set_prefix(const struct access_set *set,
				   const struct sl_access_entry *entry)
{
	struct ip_prefix prefix = {
		.addr.family = set->is_v6 ? AF_INET6 : AF_INET,
		.bits = (uint8_t)(entry->length - 1),
	};
	uint32_t words[4] = {
		htonl((uint32_t)(entry->addr[0] >> 32)),
		htonl((uint32_t)entry->addr[0]),
		htonl((uint32_t)(entry->addr[1] >> 32)),
		htonl((uint32_t)entry->addr[1]),
	};

	memcpy(prefix.addr.bytes, words, set->is_v6 ? 16 : 4);
	return prefix;
}

/* For those reasons that entries still have, and as many again. */
static uint32_t reason_room_for(const struct access_set *set)
{
	uint32_t mask = book(set)->reason_mask, used = 0;
	_cleanup_free_ uint8_t *seen = calloc(mask / 8 + 1, 1);

	if (!seen)
		return mask + 1;
	for (uint32_t place = 0; place < access_set_places(set); place++) {
		const struct sl_access_entry *entry = access_set_entry(set, place);

		for (int part = 0; entry && part < SL_ACCESS_PARTS; part++) {
			uint32_t reason = (entry->reason[part] - 1) & mask;

			if (!entry->reason[part] || seen[reason / 8] & 1U << reason % 8)
				continue;
			seen[reason / 8] |= (uint8_t)(1U << reason % 8);
			used++;
		}
	}
	return power_of_two(used * 4 < REASON_ROOM_MIN ? REASON_ROOM_MIN : used * 4);
}

struct access_shape access_set_grown_shape(const struct access_set *set, uint32_t cpu_count)
{
	struct access_shape now = access_set_shape(set), grown = now;

	if (!has_place(set))
		grown = access_shape_for(now.is_v6, now.capacity + 1, cpu_count);
	else if (has_reason_room(set))
		grown.bucket_count *= 2;
	grown.reason_room = reason_room_for(set);
	return grown;
}

struct access_shape access_set_fresh_shape(const struct access_set *set, uint32_t cpu_count)
{
	uint32_t count = book(set)->entry_count;
	struct access_shape shape = access_shape_for(set->is_v6, count + count / 4, cpu_count);

	shape.reason_room = reason_room_for(set);
	return shape;
}

/* An entry that was not written whole, or whose removal was not, may be anything. */
static bool is_sound(const struct access_set *set, const struct sl_access_entry *entry)
{
	struct key key = key_of_entry(set, entry);

	return is_entry_of(entry, &key) &&
	       (entry->expires_boot_ns[SL_ACCESS_CONFIG] != SL_ACCESS_ABSENT ||
		entry->expires_boot_ns[SL_ACCESS_CLI] != SL_ACCESS_ABSENT);
}

static int copy_entry(const struct access_set *from, const struct sl_access_entry *entry,
		      const struct access_set *to, uint32_t place)
{
	struct key key = key_of_entry(to, entry);
	struct sl_access_entry *copy = entry_at(to, place);
	__u64 *slot = free_slot(to, &key);

	if (!slot)
		return -ENOSPC;
	*copy = *entry;
	for (int part = 0; part < SL_ACCESS_PARTS; part++) {
		char reason[SL_ACCESS_REASON_MAX];
		int ret;

		access_set_reason(from, entry, part, reason);
		ret = intern_reason(to, reason, &copy->reason[part]);
		if (ret)
			return ret;
	}
	publish(to, &key, slot, place);
	return 0;
}

int access_set_copy(const struct access_set *from, const struct access_set *to)
{
	uint32_t places = access_set_places(from), next = 0;
	bool stays = places <= head(to)->entry_mask + 1;

	for (uint32_t place = 0; place < places; place++) {
		const struct sl_access_entry *entry = access_set_entry(from, place);
		uint32_t at = stays ? place : next;
		struct key key;
		int ret;

		if (entry && is_sound(from, entry)) {
			key = key_of_entry(to, entry);
			if (find_slot(to, &key)) /* twice in a damaged set */
				entry = NULL;
		} else {
			entry = NULL;
		}
		if (!entry) {
			if (stays) {
				entry_at(to, place)->next_free = book(to)->free_first;
				book(to)->free_first = place + 1;
			}
			continue;
		}
		if (at > head(to)->entry_mask)
			return -ENOSPC;
		ret = copy_entry(from, entry, to, at);
		if (ret)
			return ret;
		next++;
	}
	book(to)->place_count = stays ? places : next;
	return 0;
}

void access_set_carry_hits(const struct access_set *from, const struct access_set *to)
{
	uint32_t places = access_set_places(from);

	for (uint32_t place = 0; place < places; place++) {
		const struct sl_access_entry *entry = access_set_entry(from, place);
		__u64 *slot;
		struct key key;

		if (!entry)
			continue;
		key = key_of_entry(to, entry);
		slot = find_slot(to, &key);
		if (slot) {
			struct sl_counter hits = access_set_hits(from, place);
			struct sl_counter *counter = counter_at(to, access_slot_index(*slot));

			__atomic_fetch_add(&counter->packets, hits.packets, __ATOMIC_RELAXED);
			__atomic_fetch_add(&counter->bytes, hits.bytes, __ATOMIC_RELAXED);
		}
	}
}

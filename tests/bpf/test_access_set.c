/*
 * How the lists are kept: against a plain model, under changes, built anew, and after a death.
 */
#include "tests/bpf/bpf_env.h"
#include "tests/bpf/frame.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "abi/access_rules.h"
#include "kern/access_map.h"
#include "kern/dataplane_internal.h"
#include "xdp_main.skel.h"

#define MODEL_ENTRIES 20000
#define MODEL_QUERIES 4000
#define STANDING      64
#define CHANGES	      3000
#define MANY	      1000
#define ALIKE_PLACES  (1U << 22)

static struct dataplane *dataplane;
static uint64_t seed = 7;

static uint32_t random32(void)
{
	seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return (uint32_t)(seed >> 32);
}

static void open_lists(void)
{
	struct error err = {0};

	dataplane_free(dataplane);
	dataplane = NULL;
	env_assert_ok(dataplane_open(ENV_DIR, &dataplane, &err), &err);
}

static void setup_lists(void)
{
	env_require();
	assert_int_equal(dataplane_unload(ENV_DIR, NULL), 0);
	open_lists();
}

static int teardown(void **state)
{
	dataplane_free(dataplane);
	return 0;
}

static bool is_denied(const struct ip_addr *addr)
{
	struct frame frame;
	char src[ADDR_TEXT_MAX];

	(void)ip_addr_format(addr, src, sizeof(src));
	frame_eth(&frame);
	if (addr->family == AF_INET6)
		frame_ip6(&frame, src, "2001:db8::10");
	else
		frame_ip4(&frame, src, "192.0.2.10", 0, 0);
	frame_udp(&frame, 53, 4);
	frame_end(&frame);
	return env_run_xdp(bpf_program__fd(dataplane->xdp->progs.sl_main), frame.bytes,
			   frame.len) == XDP_DROP;
}

static struct ip_prefix prefix4(uint32_t addr, uint8_t bits)
{
	struct ip_prefix prefix = {.addr.family = AF_INET, .bits = bits};
	uint32_t addr_be = htonl(addr);

	memcpy(prefix.addr.bytes, &addr_be, sizeof(addr_be));
	return prefix;
}

static bool denies4(uint32_t addr)
{
	struct ip_prefix prefix = prefix4(addr, 32);

	return is_denied(&prefix.addr);
}

static void add(const struct ip_prefix *prefix, const char *reason)
{
	struct access_entry entry = {.prefix = *prefix, .origin = ACCESS_FROM_CLI};
	struct error err = {0};

	(void)snprintf(entry.reason, sizeof(entry.reason), "%s", reason);
	env_assert_ok(access_list_add(dataplane, ACCESS_DENY, &entry, &err), &err);
}

static void add4(uint32_t addr, uint8_t bits)
{
	struct ip_prefix prefix = prefix4(addr, bits);

	add(&prefix, "");
}

static void remove4(uint32_t addr)
{
	struct ip_prefix prefix = prefix4(addr, 32);
	struct error err = {0};

	env_assert_ok(access_list_remove(dataplane, ACCESS_DENY, &prefix, &err), &err);
}

static uint32_t set_id(void)
{
	uint32_t index = SL_ACCESS_SET(ACCESS_DENY, 0), id = 0;

	if (bpf_map_lookup_elem(dataplane->maps[DATAPLANE_MAP_ACCESS_SETS], &index, &id))
		return 0;
	return id;
}

/* ---- against a model ---- */

static void clear_host_bits(struct ip_prefix *prefix)
{
	for (unsigned int bit = prefix->bits; bit < 128; bit++)
		prefix->addr.bytes[bit / 8] &= (uint8_t) ~(0x80 >> bit % 8);
}

/* Few distinct bytes, so that entries cover each other and queries hit at every length. */
static struct ip_addr crowded_addr(bool is_v6)
{
	struct ip_addr addr = {.family = is_v6 ? AF_INET6 : AF_INET};

	for (unsigned int i = 0; i < (is_v6 ? 16U : 4U); i++)
		addr.bytes[i] = (uint8_t)(random32() & (i % 2 ? 0x9f : 0x83));
	addr.bytes[0] |= is_v6 ? 0x20 : 0x01;
	return addr;
}

static void compare_with_model(bool is_v6, unsigned int shortest)
{
	struct ip_prefix *model = calloc(MODEL_ENTRIES, sizeof(*model));
	unsigned int hits = 0, longest = is_v6 ? 128 : 32;

	assert_non_null(model);
	setup_lists();
	for (unsigned int i = 0; i < MODEL_ENTRIES; i++) {
		model[i].addr = crowded_addr(is_v6);
		model[i].bits = (uint8_t)(shortest + random32() % (longest + 1 - shortest));
		clear_host_bits(&model[i]);
		add(&model[i], i % 3 ? "" : "a third");
	}
	for (unsigned int i = 0; i < MODEL_QUERIES; i++) {
		struct ip_addr addr = crowded_addr(is_v6);
		bool expected = false;

		if (i % 2) /* in which no byte is like those of entries */
			addr.bytes[random32() % (is_v6 ? 16 : 4)] ^= 0x20;
		for (unsigned int k = 0; k < MODEL_ENTRIES && !expected; k++)
			expected = ip_prefix_contains(&model[k], &addr);
		hits += expected;
		if (is_denied(&addr) != expected) {
			char text[ADDR_TEXT_MAX];

			fail_msg("%s: expected %d", ip_addr_format(&addr, text, sizeof(text)),
				 expected);
		}
	}
	free(model);
	assert_in_range(hits, MODEL_QUERIES / 20, MODEL_QUERIES - MODEL_QUERIES / 20);
}

static void test_random_prefixes_of_ipv4_match_as_a_plain_search_says(void **state)
{
	compare_with_model(false, 12);
}

static void test_random_prefixes_of_ipv6_match_as_a_plain_search_says(void **state)
{
	compare_with_model(true, 18);
}

static void test_each_length_of_ipv4_matches_its_addresses_alone(void **state)
{
	setup_lists();
	for (unsigned int bits = 1; bits <= 32; bits++) {
		uint32_t mask = ~0U << (32 - bits), base = 0x5a5a5a5aU & mask;
		struct ip_prefix prefix = prefix4(base, (uint8_t)bits);
		struct error err = {0};

		add4(base, (uint8_t)bits);
		assert_true(denies4(base | (~mask & 0x33333333U)));
		assert_false(denies4((base ^ 1U << (32 - bits)) | (~mask & 0x33333333U)));
		env_assert_ok(access_list_remove(dataplane, ACCESS_DENY, &prefix, &err), &err);
	}
}

/* ---- counting ---- */

static struct access_entry find4(uint32_t addr, uint8_t bits)
{
	struct ip_prefix prefix = prefix4(addr, bits);
	struct access_entry found;

	assert_int_equal(access_list_find(dataplane, ACCESS_DENY, &prefix, &found), 0);
	return found;
}

static void test_longest_match_counts_also_after_the_set_was_built_anew(void **state)
{
	uint64_t bytes;
	uint32_t id;

	setup_lists();
	add4(0x0a000000, 8);
	add4(0x0a010203, 32);
	for (int i = 0; i < 5; i++)
		assert_true(denies4(0x0a010203));
	assert_true(denies4(0x0a010204));
	bytes = find4(0x0a000000, 8).bytes;
	assert_true(bytes > 0);
	assert_int_equal(find4(0x0a000000, 8).packets, 1);
	assert_int_equal(find4(0x0a010203, 32).packets, 5);
	assert_int_equal(find4(0x0a010203, 32).bytes, 5 * bytes);
	id = set_id();
	for (uint32_t i = 0; i < MANY; i++)
		add4(0x0b000000 + i, 32);
	assert_int_not_equal(set_id(), id);
	assert_true(denies4(0x0a010203));
	assert_int_equal(find4(0x0a010203, 32).packets, 6);
	assert_int_equal(find4(0x0a000000, 8).packets, 1);
	/* Who takes the place of a removed entry begins at 0. */
	remove4(0x0a010203);
	add4(0x0a010205, 32);
	assert_int_equal(find4(0x0a010205, 32).packets, 0);
}

/* Makes a slot's counters of all CPUs what they are just before they are full. */
static uint64_t fill_hits(const struct access_set *set, uint32_t place, uint64_t hits)
{
	const struct sl_access_head *head = &set->lines[SL_ACCESS_HEAD_AT].head;
	uint64_t packets = 0;

	for (uint32_t nth = 0; nth <= head->bucket_mask; nth++) {
		union sl_access_line *bucket =
			&set->lines[head->buckets_at + nth * head->bucket_lines];

		for (uint32_t slot = 0; slot < SL_ACCESS_SLOTS; slot++) {
			if (!bucket->words[slot] || access_slot_index(bucket->words[slot]) != place)
				continue;
			for (uint32_t stripe = 0; stripe <= head->stripe_mask; stripe++) {
				bucket[SL_ACCESS_STRIPE(set->is_v6, stripe)].words[slot] = hits;
				packets += hits >> SL_ACCESS_HIT_PACKETS_AT;
			}
		}
	}
	return packets;
}

static void test_counters_that_are_full_lose_nothing(void **state)
{
	static const uint64_t almost[] = {
		((1ULL << 20) - 2) << SL_ACCESS_HIT_PACKETS_AT,
		1ULL << SL_ACCESS_HIT_PACKETS_AT | ((1ULL << 36) - 100),
	};
	struct ip_prefix prefix = prefix4(0x0b000001, 32);

	for (unsigned int row = 0; row < 2 * ARRAY_SIZE(almost); row++) {
		uint64_t hits = almost[row / 2], packets, stripes, bytes;
		struct access_set set;
		uint32_t place;

		setup_lists();
		add4(0x0b000001, 32);
		assert_true(denies4(0x0b000001));
		bytes = find4(0x0b000001, 32).bytes;
		assert_int_equal(access_map_open(dataplane, ACCESS_DENY, false, true, &set), 0);
		assert_int_equal(access_set_find(&set, &prefix, &place), 0);
		/* As if there were more CPUs than stripes. */
		set.lines[SL_ACCESS_HEAD_AT].head.is_shared = row % 2;
		packets = fill_hits(&set, place, hits);
		stripes = packets / (hits >> SL_ACCESS_HIT_PACKETS_AT);
		for (uint64_t nth = 1; nth <= 5 * stripes; nth++) {
			assert_true(denies4(0x0b000001));
			assert_int_equal(find4(0x0b000001, 32).packets, packets + nth);
			assert_int_equal(find4(0x0b000001, 32).bytes,
					 stripes * (hits & SL_ACCESS_HIT_BYTES) + nth * bytes);
		}
		assert_true(set.lines[set.lines[SL_ACCESS_HEAD_AT].head.counters_at]
				    .counters[place]
				    .packets > 0);
		set.lines[SL_ACCESS_HEAD_AT].head.is_shared = 0;
	}
}

/* ---- keys that are alike ---- */

static struct ip_prefix prefix6(uint32_t low)
{
	struct ip_prefix prefix = {.addr = {.family = AF_INET6, .bytes = {0x20, 0x01}},
				   .bits = 128};
	uint32_t low_be = htonl(low);

	memcpy(prefix.addr.bytes + 12, &low_be, sizeof(low_be));
	return prefix;
}

/* Two addresses of 2001:: that have the same slot key and the same buckets. */
static void find_alike(const struct access_set *set, uint32_t ret_low[2])
{
	const struct sl_access_head *head = &set->lines[SL_ACCESS_HEAD_AT].head;
	uint32_t *seen = calloc(ALIKE_PLACES, sizeof(*seen));

	assert_non_null(seen);
	for (uint32_t low = 1;; low++) {
		struct access_addr addr = {.high = 0x2001ULL << 48, .low = low}, other = addr;
		uint64_t hash = access_hash(head->keys, addr, 128), other_hash;
		uint32_t *place = &seen[(uint32_t)hash % ALIKE_PLACES];

		other.low = *place;
		other_hash = access_hash(head->keys, other, 128);
		if (*place && (uint32_t)hash == (uint32_t)other_hash &&
		    access_bucket1(hash, head->bucket_mask) ==
			    access_bucket1(other_hash, head->bucket_mask)) {
			ret_low[0] = *place;
			ret_low[1] = low;
			free(seen);
			return;
		}
		*place = low;
	}
}

static void test_addresses_that_no_slot_tells_apart_are_matched_each(void **state)
{
	struct ip_prefix first = prefix6(0), alike[2];
	struct error err = {0};
	struct access_set set;
	uint32_t low[2];

	setup_lists();
	add(&first, "");
	assert_int_equal(access_map_open(dataplane, ACCESS_DENY, true, false, &set), 0);
	find_alike(&set, low);
	alike[0] = prefix6(low[0]);
	alike[1] = prefix6(low[1]);
	add(&alike[0], "one");
	assert_true(is_denied(&alike[0].addr));
	assert_false(is_denied(&alike[1].addr));
	add(&alike[1], "another");
	for (int i = 0; i < 2; i++) {
		struct access_entry found;

		assert_true(is_denied(&alike[i].addr));
		assert_int_equal(access_list_find(dataplane, ACCESS_DENY, &alike[i], &found), 0);
		assert_string_equal(found.reason, i ? "another" : "one");
		assert_int_equal(found.packets, i ? 1 : 2);
	}
	env_assert_ok(access_list_remove(dataplane, ACCESS_DENY, &alike[0], &err), &err);
	assert_false(is_denied(&alike[0].addr));
	assert_true(is_denied(&alike[1].addr));
}

/* ---- growing and shrinking ---- */

static void test_list_grows_shrinks_and_leaves_nothing(void **state)
{
	setup_lists();
	assert_int_equal(set_id(), 0);
	for (uint32_t i = 0; i < MANY; i++)
		add4(0x0b000000 + i, 32);
	for (uint32_t i = 0; i < MANY; i++)
		assert_true(denies4(0x0b000000 + i));
	for (uint32_t i = 0; i < MANY; i++) {
		remove4(0x0b000000 + i);
		if (i % 50 == 0)
			for (uint32_t k = 0; k < MANY; k += 7)
				assert_int_equal(denies4(0x0b000000 + k), k > i);
	}
	assert_int_equal(dataplane->access_conf->groups[SL_ACCESS_SET(ACCESS_DENY, 0)], 0);
	assert_int_equal(set_id(), 0);
	assert_int_equal(access(ENV_DIR "/sl_deny4", F_OK), -1);
}

static void test_every_entry_keeps_its_own_reason(void **state)
{
	char reason[ACCESS_REASON_MAX];

	setup_lists();
	for (uint32_t i = 0; i < MANY; i++) {
		struct ip_prefix prefix = prefix4(0x0b000000 + i, 32);

		(void)snprintf(reason, sizeof(reason), "ticket %u", i);
		add(&prefix, reason);
	}
	for (uint32_t i = 0; i < MANY; i++) {
		(void)snprintf(reason, sizeof(reason), "ticket %u", i);
		assert_string_equal(find4(0x0b000000 + i, 32).reason, reason);
	}
}

/* ---- packets meanwhile ---- */

struct change {
	atomic_bool is_over;
};

/* Adds and removes others, expires and renews standing ones, and makes the set be built anew. */
static void *change_lists(void *arg)
{
	struct change *change = arg;

	for (uint32_t i = 0; i < CHANGES; i++) {
		add4(0x0b000000 + i, 32);
		add4(0x0a000000 + i % STANDING, 32);
		if (i >= 200)
			remove4(0x0b000000 + i - 200);
	}
	atomic_store(&change->is_over, true);
	return NULL;
}

static void test_standing_entries_match_while_others_change(void **state)
{
	struct change change = {false};
	unsigned int missed = 0, asked = 0;
	pthread_t thread;
	uint32_t id;

	setup_lists();
	for (uint32_t i = 0; i < STANDING; i++)
		add4(0x0a000000 + i, 32);
	id = set_id();
	assert_int_equal(pthread_create(&thread, NULL, change_lists, &change), 0);
	while (!atomic_load(&change.is_over)) {
		missed += !denies4(0x0a000000 + asked % STANDING);
		asked++;
	}
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(missed, 0);
	assert_true(asked > 0);
	assert_int_not_equal(set_id(), id);
}

/* ---- after a death ---- */

static struct access_set opened_set(void)
{
	struct access_set set;

	assert_int_equal(access_map_open(dataplane, ACCESS_DENY, false, false, &set), 0);
	return set;
}

static void test_half_made_change_is_mended_before_the_next(void **state)
{
	struct access_set set;
	struct ip_prefix third = prefix4(0x0b000003, 32);
	uint32_t place, id;

	setup_lists();
	for (uint32_t i = 0; i < 10; i++)
		add4(0x0b000000 + i, 32);
	set = opened_set();
	assert_int_equal(access_set_find(&set, &third, &place), 0);
	set.lines[SL_ACCESS_BOOK_AT].book.is_dirty = 1;
	set.lines[SL_ACCESS_BOOK_AT].book.entry_count = 77;
	set.lines[SL_ACCESS_BOOK_AT].book.free_first = place + 1;
	set.lines[SL_ACCESS_LENGTHS_AT].lengths.groups[1] = 0;
	id = set_id();
	open_lists();
	assert_true(denies4(0x0b000005));
	add4(0x0c000000, 32);
	assert_int_not_equal(set_id(), id);
	set = opened_set();
	assert_int_equal(access_set_count(&set), 11);
	assert_int_equal(set.lines[SL_ACCESS_BOOK_AT].book.is_dirty, 0);
	for (uint32_t i = 0; i < 10; i++)
		assert_true(denies4(0x0b000000 + i));
	assert_true(denies4(0x0c000000));
	assert_false(denies4(0x0c000001));
}

static void test_lists_are_adopted_whatever_became_of_their_pins(void **state)
{
	setup_lists();
	add4(0x0b000001, 32);
	/* Died before the rename. */
	assert_int_equal(rename(ENV_DIR "/sl_deny4", ENV_DIR "/sl_deny4_new"), 0);
	open_lists();
	assert_int_equal(access(ENV_DIR "/sl_deny4", F_OK), 0);
	assert_int_equal(access(ENV_DIR "/sl_deny4_new", F_OK), -1);
	assert_true(denies4(0x0b000001));
	add4(0x0b000002, 32);
	/* Somebody removed it. */
	assert_int_equal(unlink(ENV_DIR "/sl_deny4"), 0);
	open_lists();
	assert_int_equal(access(ENV_DIR "/sl_deny4", F_OK), 0);
	assert_int_equal(find4(0x0b000002, 32).origin, ACCESS_FROM_CLI);
	/* Died after sl_access_conf was written, or before. */
	dataplane->access_conf->groups[SL_ACCESS_SET(ACCESS_DENY, 0)] = 0;
	open_lists();
	assert_true(denies4(0x0b000001));
}

static void test_set_that_is_none_is_refused(void **state)
{
	struct dataplane *other;
	struct access_set set;
	struct error err = {0};

	setup_lists();
	add4(0x0b000001, 32);
	set = opened_set();
	set.lines[SL_ACCESS_HEAD_AT].head.entries_at += 1;
	assert_int_equal(dataplane_open(ENV_DIR, &other, &err), -EPROTO);
	assert_non_null(strstr(err.text, ENV_DIR "/sl_deny4' has the shape of another version"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_prefixes_of_ipv4_match_as_a_plain_search_says),
		cmocka_unit_test(test_random_prefixes_of_ipv6_match_as_a_plain_search_says),
		cmocka_unit_test(test_each_length_of_ipv4_matches_its_addresses_alone),
		cmocka_unit_test(test_longest_match_counts_also_after_the_set_was_built_anew),
		cmocka_unit_test(test_counters_that_are_full_lose_nothing),
		cmocka_unit_test(test_addresses_that_no_slot_tells_apart_are_matched_each),
		cmocka_unit_test(test_list_grows_shrinks_and_leaves_nothing),
		cmocka_unit_test(test_every_entry_keeps_its_own_reason),
		cmocka_unit_test(test_standing_entries_match_while_others_change),
		cmocka_unit_test(test_half_made_change_is_mended_before_the_next),
		cmocka_unit_test(test_lists_are_adopted_whatever_became_of_their_pins),
		cmocka_unit_test(test_set_that_is_none_is_refused),
	};

	return cmocka_run_group_tests(tests, env_setup, teardown);
}

#include "tests/bench/xdp/bench_lists.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "tests/bench/xdp/bench_case.h"

#define LENGTHS 8

static const uint8_t lengths4[LENGTHS] = {32, 24, 28, 27, 26, 25, 22, 20};
static const uint8_t lengths6[LENGTHS] = {128, 64, 48, 56, 60, 96, 112, 120};

static uint8_t mixed_length(bool is_v6, uint64_t number)
{
	const uint8_t *lengths = is_v6 ? lengths6 : lengths4;
	uint32_t percent = number % 100;

	if (percent < 80)
		return lengths[0];
	if (percent < 95)
		return lengths[1];
	return lengths[2 + (number >> 32) % (LENGTHS - 2)];
}

static void clear_host_bits(struct ip_prefix *prefix)
{
	for (uint32_t i = 0; i < sizeof(prefix->addr.bytes); i++) {
		uint32_t bits = prefix->bits > i * 8 ? prefix->bits - i * 8 : 0;

		if (bits < 8)
			prefix->addr.bytes[i] &= (uint8_t)(0xff00 >> bits);
	}
}

/* Any unicast address of IPv4, or one of 2001::/16 for IPv6. */
static struct ip_addr random_addr(bool is_v6, uint64_t *seed)
{
	struct ip_addr addr = {.family = is_v6 ? AF_INET6 : AF_INET};
	uint64_t high = bench_random(seed), low = bench_random(seed);

	if (!is_v6) {
		memcpy(addr.bytes, &low, 4);
		addr.bytes[0] = (uint8_t)(1 + low % 222);
		if (addr.bytes[0] == 127)
			addr.bytes[0] = 128;
		return addr;
	}
	memcpy(addr.bytes, &high, 8);
	memcpy(addr.bytes + 8, &low, 8);
	addr.bytes[0] = 0x20;
	addr.bytes[1] = 0x01;
	return addr;
}

static uint32_t place_of(const struct bench_list *list, const struct ip_prefix *prefix)
{
	uint64_t high, low;

	memcpy(&high, prefix->addr.bytes, 8);
	memcpy(&low, prefix->addr.bytes + 8, 8);
	high = (high ^ prefix->bits) * 0x9e3779b97f4a7c15;
	high = ((high >> 29) ^ high ^ low) * 0xd6e8feb86659fd93;
	return (uint32_t)(high >> 32) & list->place_mask;
}

static bool is_same(const struct ip_prefix *left, const struct ip_prefix *right)
{
	return left->bits == right->bits &&
	       !memcmp(left->addr.bytes, right->addr.bytes, sizeof(left->addr.bytes));
}

/* The place where the prefix is, or the free one where it would be. */
static uint32_t find(const struct bench_list *list, const struct ip_prefix *prefix)
{
	uint32_t place = place_of(list, prefix);

	while (list->places[place] && !is_same(&list->prefixes[list->places[place] - 1], prefix))
		place = (place + 1) & list->place_mask;
	return place;
}

struct bench_list *bench_list_new(bool is_v6, uint32_t count)
{
	struct bench_list *list = calloc(1, sizeof(*list));
	uint64_t seed = count;

	if (!list)
		bench_die("out of memory");
	list->is_v6 = is_v6;
	list->place_mask = 15;
	while (list->place_mask < count * 2)
		list->place_mask = list->place_mask * 2 + 1;
	list->prefixes = calloc(count, sizeof(*list->prefixes));
	list->places = calloc(list->place_mask + 1, sizeof(*list->places));
	if (!list->prefixes || !list->places)
		bench_die("out of memory");
	while (list->count < count) {
		struct ip_prefix prefix = {.addr = random_addr(is_v6, &seed)};
		uint32_t place;

		/* Of ten entries, each kind in turn: chance would leave kinds out. */
		prefix.bits = mixed_length(is_v6, count < 100 ? list->count * 10 + 9
							      : bench_random(&seed));
		clear_host_bits(&prefix);
		place = find(list, &prefix);
		if (list->places[place])
			continue;
		list->prefixes[list->count++] = prefix;
		list->places[place] = list->count;
	}
	return list;
}

void bench_list_free(struct bench_list *list)
{
	if (!list)
		return;
	free(list->prefixes);
	free(list->places);
	free(list);
}

bool bench_list_has(const struct bench_list *list, const struct ip_addr *addr)
{
	const uint8_t *lengths = list->is_v6 ? lengths6 : lengths4;

	for (int i = 0; i < LENGTHS; i++) {
		struct ip_prefix prefix = {.addr = *addr, .bits = lengths[i]};

		clear_host_bits(&prefix);
		if (list->places[find(list, &prefix)])
			return true;
	}
	return false;
}

/* An address of the same first bits as one of the entries. */
static struct ip_addr addr_near(const struct bench_list *list, uint32_t shared_bits, uint64_t *seed)
{
	const struct ip_prefix *prefix = &list->prefixes[bench_random(seed) % list->count];
	struct ip_prefix shared = {.addr = prefix->addr, .bits = (uint8_t)shared_bits};
	struct ip_addr addr = random_addr(list->is_v6, seed);

	if (shared_bits > prefix->bits)
		shared.bits = prefix->bits;
	clear_host_bits(&shared);
	for (uint32_t i = 0; i < sizeof(addr.bytes); i++) {
		uint32_t bits = shared.bits > i * 8 ? shared.bits - i * 8 : 0;
		uint8_t own = bits >= 8 ? 0 : (uint8_t)(0xff >> bits);

		addr.bytes[i] = (addr.bytes[i] & own) | (shared.addr.bytes[i] & (uint8_t)~own);
	}
	return addr;
}

static struct ip_addr pick(const struct bench_list *list, bool hits, uint64_t *seed)
{
	for (;;) {
		/* All that an entry has, or what all but its last bits say. */
		uint32_t bits = hits ? 128 : list->is_v6 ? 48 : 16;
		struct ip_addr addr = addr_near(list, bits, seed);

		if (bench_list_has(list, &addr) == hits)
			return addr;
	}
}

void *bench_list_flows(const struct bench_list *list, bool hits, uint32_t count)
{
	size_t row = list->is_v6 ? sizeof(struct bench_flow6) : sizeof(struct bench_flow4);
	uint8_t *rows = calloc(count, row);
	uint64_t seed = hits ? 1 : 2;

	if (!rows)
		bench_die("out of memory");
	for (uint32_t i = 0; i < count; i++) {
		struct ip_addr addr = pick(list, hits, &seed);

		if (list->is_v6) {
			struct bench_flow6 *flow = (void *)(rows + i * row);

			memcpy(flow->src_be, addr.bytes, 16);
			flow->src_port_be = htons((uint16_t)(1024 + i % 32768));
			flow->dst_port_be = htons(443);
		} else {
			struct bench_flow4 *flow = (void *)(rows + i * row);

			memcpy(&flow->src_be, addr.bytes, 4);
			flow->dst_be = htonl(0xc6336401);
			flow->src_port_be = htons((uint16_t)(1024 + i % 32768));
			flow->dst_port_be = htons(443);
		}
	}
	return rows;
}

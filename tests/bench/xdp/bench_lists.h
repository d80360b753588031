/*
 * bench_lists: made-up access lists and addresses that are on them or not.
 *
 * The mix: 80 % single addresses, 15 % /24 (IPv6: /64), the rest of six further lengths. Addresses
 * that miss are near entries, so that a search for them goes as deep as one that finds something.
 */
#ifndef SLUICE_BENCH_XDP_LISTS_H
#define SLUICE_BENCH_XDP_LISTS_H

#include "base/addr.h"
#include "tests/bench/xdp/bench_abi.h"

struct bench_list {
	struct ip_prefix *prefixes; /* no two alike */
	uint32_t count;
	bool is_v6;
	uint32_t *places; /* hash table over the prefixes: place + 1, or 0 */
	uint32_t place_mask;
};

struct bench_list *bench_list_new(bool is_v6, uint32_t count);
void bench_list_free(struct bench_list *list);
bool bench_list_has(const struct bench_list *list, const struct ip_addr *addr);
/* `count` rows, struct bench_flow4 or 6, whose sources are all on the list, or all not. */
void *bench_list_flows(const struct bench_list *list, bool hits, uint32_t count);

#endif

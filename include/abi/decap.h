/*
 * decap: what the decapsulating program of a backend and userspace share.
 *
 * The program has maps of its own, one set per interface, pinned apart from the daemon's: a
 * backend runs no daemon. Addresses are 16 bytes in network order; IPv4 is mapped
 * (::ffff:192.0.2.1), so that one map holds both families.
 */
#ifndef SLUICE_ABI_DECAP_H
#define SLUICE_ABI_DECAP_H

#include "abi/dataplane.h"

#define SL_DECAP_ADDRESSES_MAX 64   /* outer destinations of an interface */
#define SL_DECAP_SOURCES_MAX   1024 /* prefixes of outer sources */
#define SL_DECAP_COUNT_MAX     32   /* size of the counters' map, a power of two */

/*
 * Every frame ends in one row: symbol, name, verdict, meaning. Add at the end only. PASS: the frame
 * went on as it came; OPEN: without its outer header; DROP.
 */
#define SL_DECAP_TABLE(ROW)                                                                        \
	ROW(PASS, "pass", PASS, "not IP in IP")                                                    \
	ROW(PASS_ADDRESS, "pass_address", PASS, "IP in IP to an address that was not given")       \
	ROW(V4_IN_V4, "v4_in_v4", OPEN, "IPv4 taken out of IPv4")                                  \
	ROW(V6_IN_V6, "v6_in_v6", OPEN, "IPv6 taken out of IPv6")                                  \
	ROW(V4_IN_V6, "v4_in_v6", OPEN, "IPv4 taken out of IPv6")                                  \
	ROW(SOURCE, "source", DROP, "outer source is in none of the given prefixes")               \
	ROW(OUTER_LENGTH, "outer_length", DROP, "outer length fields contradict the frame")        \
	ROW(OUTER_CHECKSUM, "outer_checksum", DROP, "outer IPv4 header checksum is wrong")         \
	ROW(OUTER_FRAGMENT, "outer_fragment", DROP, "outer packet is a fragment")                  \
	ROW(INNER_SHORT, "inner_short", DROP, "packet ends within the inner header")               \
	ROW(INNER_VERSION, "inner_version", DROP, "inner version is not what the outer says")      \
	ROW(INNER_LENGTH, "inner_length", DROP, "inner length fields contradict the outer ones")   \
	ROW(INNER_TTL, "inner_ttl", DROP, "inner TTL or hop limit is 0")                           \
	ROW(INNER_ECN, "inner_ecn", DROP, "congestion marked outside, inside not capable of it")   \
	ROW(NO_ROOM, "no_room", DROP, "the kernel refused to move the start of the frame")

enum sl_decap_reason {
#define SL_DECAP_ENUM(symbol, name, verdict, meaning) SL_DECAP_##symbol,
	SL_DECAP_TABLE(SL_DECAP_ENUM)
#undef SL_DECAP_ENUM
		SL_DECAP_REASONS
};
_Static_assert(SL_DECAP_REASONS <= SL_DECAP_COUNT_MAX, "enlarge SL_DECAP_COUNT_MAX");

struct sl_decap_address {
	__u8 addr_be[16];
};
_Static_assert(sizeof(struct sl_decap_address) == 16, "struct sl_decap_address");

#endif

/*
 * access: the allow and deny lists. The only place that knows how they are stored.
 *
 * Longest live prefix wins within a list. A trie answers with the longest prefix, dead or alive;
 * a dead one must not hide a shorter one that lives, so the search goes on with prefixes shorter
 * than the dead one. The clock is read only where an element that can expire was found.
 */
#ifndef SLUICE_BPF_LIB_ACCESS_H
#define SLUICE_BPF_LIB_ACCESS_H

#include "lib/maps.h"
#include "lib/parse.h"

enum access_list { ACCESS_LIST_ALLOW, ACCESS_LIST_DENY };

static __always_inline bool access_part_lives(const struct sl_access_value *value, __u32 part)
{
	__u64 expires_boot_ns = value->parts[part].expires_boot_ns;

	if (!(value->present & (1 << part)))
		return false;
	return !expires_boot_ns || expires_boot_ns > bpf_ktime_get_boot_ns();
}

static __always_inline bool access_lives(const struct sl_access_value *value)
{
	return access_part_lives(value, SL_ACCESS_CONFIG) ||
	       access_part_lives(value, SL_ACCESS_CLI);
}

/*
 * Global functions: the verifier walks each once, not once for every way through the parser. The
 * bound of the loops is the number of lengths a prefix can have.
 */
__noinline int access_match4(enum access_list list, __u32 addr_be)
{
	struct sl_lpm4_key key = {.prefix_bits = 32};
	struct sl_access_value *value;

	__builtin_memcpy(key.addr_be, &addr_be, sizeof(key.addr_be));
	for (int tries = 0; tries <= 32; tries++) {
		if (list == ACCESS_LIST_ALLOW)
			value = bpf_map_lookup_elem(&sl_allow4, &key);
		else
			value = bpf_map_lookup_elem(&sl_deny4, &key);
		if (!value)
			return 0;
		if (access_lives(value))
			return 1;
		if (value->prefix_bits == 0)
			return 0;
		key.prefix_bits = value->prefix_bits - 1;
	}
	return 0;
}

__noinline int access_match6(enum access_list list, const struct packet *packet)
{
	struct sl_lpm6_key key = {.prefix_bits = 128};
	struct sl_access_value *value;

	if (!packet)
		return 0;
	__builtin_memcpy(key.addr_be, packet->src_be, sizeof(key.addr_be));
	for (int tries = 0; tries <= 128; tries++) {
		if (list == ACCESS_LIST_ALLOW)
			value = bpf_map_lookup_elem(&sl_allow6, &key);
		else
			value = bpf_map_lookup_elem(&sl_deny6, &key);
		if (!value)
			return 0;
		if (access_lives(value))
			return 1;
		if (value->prefix_bits == 0)
			return 0;
		key.prefix_bits = value->prefix_bits - 1;
	}
	return 0;
}

/* Is the source of an IP packet on the list? */
static __always_inline bool access_match(enum access_list list, const struct packet *packet)
{
	bool is_v6 = packet->family == SL_FAMILY_V6;
	struct sl_access_used *used;
	__u32 zero = 0;

	used = bpf_map_lookup_elem(&sl_access_used, &zero);
	if (!used || !*(volatile __u8 *)&used->tries[list][is_v6])
		return false;
	return is_v6 ? access_match6(list, packet) : access_match4(list, packet->src_be[0]);
}

#endif

/*
 * access: element of the allow and deny tries.
 *
 * One prefix can be named by the configuration and by a person at once. Each has its own part, so
 * that the person's entry can expire or be replaced without touching what the file says. An
 * element matches while one of its parts lives.
 */
#ifndef SLUICE_ABI_ACCESS_H
#define SLUICE_ABI_ACCESS_H

#include "abi/dataplane.h"

#define SL_ACCESS_REASON_MAX 32 /* NUL included */
#define SL_ALLOW_MAX	     65536
#define SL_DENY_MAX	     1048576

#define SL_ACCESS_CONFIG 0
#define SL_ACCESS_CLI	 1
#define SL_ACCESS_PARTS	 2

struct sl_access_part {
	__u64 expires_boot_ns; /* CLOCK_BOOTTIME; 0: never. What the kernel compares */
	__u64 expires_wall_ms; /* the same moment for people and for the next boot */
	char reason[SL_ACCESS_REASON_MAX];
};
_Static_assert(sizeof(struct sl_access_part) == 48, "struct sl_access_part");

struct sl_access_value {
	struct sl_access_part parts[SL_ACCESS_PARTS];
	__u8 present;	  /* bit n: parts[n] is there */
	__u8 prefix_bits; /* that of the key: from here the lookup of a dead element goes on */
	__u8 pad[6];
};
_Static_assert(sizeof(struct sl_access_value) == 104, "struct sl_access_value");

/*
 * The only element of sl_access_used: which tries have ever had an element, set before the first is
 * added and never cleared. To ask an empty trie costs 14 ns a packet, to look here nothing.
 */
struct sl_access_used {
	__u8 tries[2][2]; /* by list (allow, deny) and family (IPv4, IPv6) */
	__u8 pad[4];
};
_Static_assert(sizeof(struct sl_access_used) == 8, "struct sl_access_used");

#endif

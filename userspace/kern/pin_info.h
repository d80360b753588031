/*
 * pin_info: what is pinned under a bpffs directory, as the kernel describes it.
 *
 * Only looks: it needs no known map, no ABI version and no lock, so it also tells about what
 * another version pinned. A program is found by its own pin or behind a pinned link; each is told
 * once. Sizes are the kernel's own: from 6.4 on what a map really holds, before that what it may
 * hold. Programs behind links need CAP_SYS_ADMIN. Thread rule: none.
 */
#ifndef SLUICE_KERN_PIN_INFO_H
#define SLUICE_KERN_PIN_INFO_H

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

#define PIN_NAME_MAX	128 /* file name, NUL included */
#define PIN_MAPS_OF_MAX 64  /* maps of one program that are told */

enum pin_kind { PIN_IS_MAP, PIN_IS_PROGRAM, PIN_IS_LINK };

struct pin_map {
	uint32_t id, type, key_bytes, value_bytes, max_entries, flags;
	uint32_t btf_id, key_type_id, value_type_id; /* 0: the map has no BTF */
	uint64_t memory_bytes;
};

struct pin_program {
	uint32_t id;
	const char *type;
	char name[16];
	char tag[17];
	uint32_t instructions;	 /* after the verifier's rewriting */
	uint32_t jited_bytes;	 /* 0: interpreted */
	uint32_t verified_insns; /* that the verifier walked; 0: older than 5.16 */
	uint64_t memory_bytes;
	uint64_t loaded_wall_ms;
	uint64_t run_count, run_time_ns; /* grow only while kernel.bpf_stats_enabled is 1 */
	uint32_t map_ids[PIN_MAPS_OF_MAX];
	uint32_t map_count;
};

struct pin_link {
	uint32_t id, program_id;
	const char *type;
	char interface[IFNAMSIZ]; /* "" when there is none, or none of that number here */
	bool is_attached;	  /* false: what it was attached to is gone */
};

struct pin {
	char name[PIN_NAME_MAX]; /* of the file; "" for a program found behind a link */
	enum pin_kind kind;
	int fd; /* the visitor's only during its call */
	union {
		struct pin_map map;
		struct pin_program program;
		struct pin_link link;
	};
};

/*
 * Calls visit for each map, program and link, sorted by file name; a program behind a link comes
 * after the link. What vanishes meanwhile is left out. Ends with visit's first answer other than 0.
 */
int pin_info_walk(const char *bpffs_dir, int (*visit)(const struct pin *pin, void *arg), void *arg,
		  struct error *err);

/* kernel.bpf_stats_enabled; false also when that cannot be read. */
bool pin_info_counts_run_time(void);

const char *pin_map_type_name(uint32_t type);
bool pin_map_type_is_per_cpu(uint32_t type);
/* Elements are numbers from 0 that are always there. */
bool pin_map_type_is_array(uint32_t type);

#endif

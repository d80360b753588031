/*
 * access_list: the kernel's allow and deny lists of addresses and prefixes, on the pinned maps.
 *
 * Longest prefix wins within a list; allow wins over deny. Each entry knows where it came from:
 * the configuration file (replaced by every reload) or a person at the CLI (kept over reloads and,
 * through the overlay in state_dir, over reboots). An expired entry no longer matches, at once;
 * access_list_sweep() removes it later. Works the same on a dataplane opened by the CLI.
 * Thread rule: the control thread, or the CLI holding the owner lock.
 */
#ifndef SLUICE_KERN_ACCESS_LIST_H
#define SLUICE_KERN_ACCESS_LIST_H

#include "base/addr.h"
#include "kern/dataplane.h"

#define ACCESS_REASON_MAX 32 /* NUL included */

enum access_list_kind { ACCESS_ALLOW, ACCESS_DENY };
const char *access_list_name(enum access_list_kind kind); /* "allow", "deny" */

enum access_origin { ACCESS_FROM_CONFIG, ACCESS_FROM_CLI };

struct access_entry {
	struct ip_prefix prefix;
	char reason[ACCESS_REASON_MAX]; /* "" when none was given */
	uint64_t expires_wall_ms;	/* 0: never */
	enum access_origin origin;
	uint64_t packets, bytes; /* told by find and walk: what it matched; not read by add */
};

/* Replaces an entry for the same prefix. -ENOSPC: the list is full. */
int access_list_add(struct dataplane *dataplane, enum access_list_kind kind,
		    const struct access_entry *entry, struct error *err);
/* Before many are added: without it the list grows in steps. Only a hint; 0 changes nothing. */
int access_list_reserve(struct dataplane *dataplane, enum access_list_kind kind, size_t count_v4,
			size_t count_v6, struct error *err);
/* -ENOENT when there is no such entry. */
int access_list_remove(struct dataplane *dataplane, enum access_list_kind kind,
		       const struct ip_prefix *prefix, struct error *err);
/* What one origin says of the prefix; what the other says stays. -ENOENT: there is no entry. */
int access_list_remove_from(struct dataplane *dataplane, enum access_list_kind kind,
			    const struct ip_prefix *prefix, enum access_origin origin,
			    struct error *err);
int access_list_find(struct dataplane *dataplane, enum access_list_kind kind,
		     const struct ip_prefix *prefix, struct access_entry *ret_entry);
/*
 * Without the expired ones. Stops at the first non-zero and returns it. `visit` must not change
 * that list.
 */
int access_list_walk(struct dataplane *dataplane, enum access_list_kind kind,
		     int (*visit)(const struct access_entry *entry, void *arg), void *arg);

/*
 * Makes the entries of origin CONFIG exactly these; a standing entry never misses meanwhile, and
 * entries of origin CLI win over a config entry for the same prefix.
 */
int access_list_sync_config(struct dataplane *dataplane, enum access_list_kind kind,
			    const struct access_entry *entries, size_t count, struct error *err);
/* Returns the number of expired entries removed or a negative errno. */
int access_list_sweep(struct dataplane *dataplane);

#endif

/*
 * access_view: some of the entries of an allow or deny list, and sums over them.
 *
 * Entries that hold for a prefix, and the entry of a prefix, are looked up; the others are picked
 * out of all. Thread rule: that of access_list.
 */
#ifndef SLUICE_KERN_ACCESS_VIEW_H
#define SLUICE_KERN_ACCESS_VIEW_H

#include "kern/access_list.h"

enum access_match {
	ACCESS_MATCH_ALL,
	ACCESS_MATCH_COVERING, /* all that hold for the prefix */
	ACCESS_MATCH_EXACT,
	ACCESS_MATCH_WITHIN, /* the prefix holds for them */
};

struct access_filter {
	enum access_match match;
	struct ip_prefix prefix; /* unless ALL */
	bool has_origin;
	enum access_origin origin;
	bool has_reason;
	char reason[ACCESS_REASON_MAX]; /* this one exactly; "": entries without one */
};

struct access_sums {
	uint64_t entries, cli, config, ipv4, ipv6;
	uint64_t packets, bytes;
};

bool access_filter_matches(const struct access_filter *filter, const struct access_entry *entry);
/* As access_list_walk(). */
int access_filter_walk(struct dataplane *dataplane, enum access_list_kind kind,
		       const struct access_filter *filter,
		       int (*visit)(const struct access_entry *entry, void *arg), void *arg);
/* For the walk; arg is a struct access_sums. */
int access_sums_visit(const struct access_entry *entry, void *arg);

#endif

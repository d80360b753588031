/*
 * auto_deny: who offends too often is denied by the kernel for a while (`dataplane.auto_deny`).
 *
 *   http/offence ──► every AUTO_DENY_TICK_MS: each is counted by rule and source (rate_table)
 *                        └── over ──► deny list, reason "auto: EVENT", ttl of the rule
 *
 * Sources are TCP peers, IPv6 by /64, never trusted proxies or what `allow` has. The table of
 * counts has a fixed size and lives as long as the daemon, so a reload forgets nothing. Entries are
 * of the origin "cli": a person may remove them, and a reload leaves them. An entry that stands for
 * the same prefix stays as it is. Thread rule: the control thread.
 */
#ifndef SLUICE_CONTROL_AUTO_DENY_H
#define SLUICE_CONTROL_AUTO_DENY_H

#include "filter/rate_table.h"
#include "http/offence.h"
#include "http/snapshot.h"
#include "io/loop.h"
#include "kern/access_list.h"

#define AUTO_DENY_TICK_MS 100

struct daemon;

struct auto_deny {
	struct daemon *daemon;
	struct rate_table *counts; /* NULL until a rule needs it */
	struct timer tick;
	uint64_t denied[OFFENCE_KIND_COUNT];
};

void auto_deny_init(struct auto_deny *auto_deny, struct daemon *daemon);
/* Before a snapshot comes into force. 0 or -ENOMEM. */
int auto_deny_prepare(struct auto_deny *auto_deny, const struct auto_deny_conf *conf);
/* It is in force. */
void auto_deny_apply(struct auto_deny *auto_deny, const struct auto_deny_conf *conf);
void auto_deny_stop(struct auto_deny *auto_deny);
void auto_deny_done(struct auto_deny *auto_deny);

/* What is denied of a peer: it, or its /64. */
struct ip_prefix auto_deny_prefix(const struct ip_addr *peer);
/* May the prefix be denied? Not where a trusted proxy or an allowed one is part of it. */
bool auto_deny_may(const struct snapshot *snapshot, const struct ip_prefix *prefix);

#endif

/*
 * refusal: what every policy calls that does not let a request through.
 *
 *   policy ──► policy_refuse() ──► answer:   status and a few words that give nothing away
 *                    │         ──► log:      the words, the policy's name and the rule that refused
 *                    └─────────► counters: by policy and kind, a row per worker
 *
 * Every authentication failure and every limit that is hit passes here, once: what reacts to many
 * of them (auto_deny) begins here. It acts on exchange->peer, never on an address from a head
 * (HARDENING 35). Secrets are never part of a rule's text.
 *
 * The counters are a runtime object, so that they go on over reloads. Thread rule: policy_refuse()
 * on the exchange's worker, sums by any thread, acquire on the control thread.
 */
#ifndef SLUICE_HTTP_REFUSAL_H
#define SLUICE_HTTP_REFUSAL_H

#include <stdatomic.h>

#include "base/registry.h"
#include "base/util.h"

struct exchange;
struct policy;

/* symbol, name in metrics, meaning */
#define REFUSALS(X)                                                                                \
	X(NO_CREDENTIALS, "no_credentials", "the request has no credentials")                      \
	X(BAD_CREDENTIALS, "bad_credentials", "credentials are unknown, wrong or out of date")     \
	X(DENIED, "denied", "the caller may not do this")                                          \
	X(LIMITED, "limited", "a limit is reached")                                                \
	X(UNAVAILABLE, "unavailable", "it could not be decided")

enum refusal {
#define X(symbol, name, meaning) REFUSAL_##symbol,
	REFUSALS(X)
#undef X
		REFUSAL_COUNT
};

const char *refusal_name(enum refusal kind);

struct policy_row {
	_Alignas(64) atomic_uint_fast64_t refusals[REFUSAL_COUNT]; /* one writer, its worker */
};

/* Runtime: registry kind "policy", by name. */
struct policy_stats {
	struct registry_entry entry;
	unsigned int row_count;
	struct policy_row *rows; /* one per worker */
};

int policy_stats_acquire(struct registry *registry, struct str name, unsigned int worker_count,
			 struct policy_stats **ret_stats);
void policy_stats_unref(struct policy_stats *stats); /* NULL allowed */
uint64_t policy_stats_sum(const struct policy_stats *stats, enum refusal kind);

/*
 * Answers, counts and notes for the log. `said`: a literal, for the client and the log. The rest:
 * the rule, for the log alone.
 */
void policy_refuse(struct exchange *exchange, const struct policy *policy, enum refusal kind,
		   uint16_t status, const char *said, const char *rule_fmt, ...) PRINTF_LIKE(6, 7);

#endif

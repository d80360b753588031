/*
 * identity: what the policies of a route found out about the caller.
 *
 *   api_key, jwt, basic, ... ──► identity_add() ──► exchange->identity
 *                                                      │ consumer, groups, scopes, claims
 *         authorize, keys of limits, templates, access log
 *
 * Each policy that knows the caller adds one finding; the first one that has a name gives the
 * consumer. A finding is a view: whoever adds it sees to it that it lives as long as the exchange
 * (in the snapshot, in the exchange's arena, or released by arena_at_end()). A tunnel outlives the
 * snapshot: it keeps the consumer's name and forgets the rest.
 *
 * Claims are text by dotted path: `{"a": {"b": 1}}` is "a.b" = "1"; a list is several claims of one
 * name, in its order. Texts come from outside and may hold any byte but NUL: who writes them into a
 * head checks them there (HARDENING 13). Secrets are never part of a finding.
 * Thread rule: the exchange's worker; findings are not written any more once they are added.
 */
#ifndef SLUICE_HTTP_IDENTITY_H
#define SLUICE_HTTP_IDENTITY_H

#include "base/str.h"

#define IDENTITY_FINDINGS_MAX 4

struct identity_claim {
	struct str name, value;
	bool listed; /* one of a list, perhaps the only one */
};

/* What one policy found. Arrays may be NULL where their count is 0. */
struct identity_finding {
	const char *scheme;  /* "api_key", "jwt": the kind of policy, a literal */
	struct str consumer; /* ptr NULL: the caller has no name */
	const struct str *groups;
	unsigned int group_count;
	const struct str *scopes;
	unsigned int scope_count;
	const struct identity_claim *claims;
	unsigned int claim_count;
};

struct identity {
	unsigned int count; /* 0: nobody is known */
	const struct identity_finding *findings[IDENTITY_FINDINGS_MAX];
	struct str policies[IDENTITY_FINDINGS_MAX]; /* by whose name */
};

/* False: there are IDENTITY_FINDINGS_MAX already. */
bool identity_add(struct identity *identity, struct str policy,
		  const struct identity_finding *finding);

/* ptr NULL: nobody, or somebody without a name. */
struct str identity_consumer(const struct identity *identity);
/* The first value; ptr NULL: no finding has the claim. */
struct str identity_claim(const struct identity *identity, struct str name);
bool identity_has_claim(const struct identity *identity, struct str name, struct str value);
bool identity_has_group(const struct identity *identity, struct str group);
bool identity_has_scope(const struct identity *identity, struct str scope);

/* All values of a claim: `for (struct identity_cursor at = {0}; identity_next(..., &at);)`. */
struct identity_cursor {
	unsigned int finding, claim; /* where to look next */
	struct str value;
};
bool identity_next(const struct identity *identity, struct str name,
		   struct identity_cursor *cursor);

#endif

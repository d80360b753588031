/*
 * authorize: the policy `authorize`: may this caller do this? A tree of rules over what the
 * policies in front found out and what is asked for. What no rule allows is refused.
 *
 * Paths and their variables are the canonical ones that the route was found by (HARDENING 22). A
 * path that readers take apart differently, which a route may let pass with `unsafe_paths`, holds
 * no rule about paths, nor the contrary of one: it is refused where there is any.
 *
 * 401 where nobody is known, a rule asks who it is, and the route could have found out; else 403.
 * Thread rule: immutable once read.
 */
#ifndef SLUICE_FILTER_AUTHORIZE_H
#define SLUICE_FILTER_AUTHORIZE_H

#include "base/buf.h"
#include "http/exchange.h"
#include "http/policy.h"

/* symbol, key in the configuration */
#define AUTHORIZE_KINDS(X)                                                                         \
	X(ANY, "any")                                                                              \
	X(ALL, "all")                                                                              \
	X(NOT, "not")                                                                              \
	X(KNOWN, "known")                                                                          \
	X(CLAIM, "claim")                                                                          \
	X(SCOPE, "scope")                                                                          \
	X(GROUP, "group")                                                                          \
	X(CONSUMER, "consumer")                                                                    \
	X(METHOD, "method")                                                                        \
	X(PATH, "path")                                                                            \
	X(VARIABLE, "variable")                                                                    \
	X(SOURCE, "source")                                                                        \
	X(TIME, "time")

enum authorize_kind {
#define X(symbol, key) AUTHORIZE_##symbol,
	AUTHORIZE_KINDS(X)
#undef X
		AUTHORIZE_KIND_COUNT
};

#define AUTHORIZE_DEPTH_MAX 5
#define AUTHORIZE_ALL_DAYS  0x7f

struct authorize_rule {
	enum authorize_kind kind;
	struct authorize_rule *rules; /* ANY, ALL, NOT */
	unsigned int rule_count;
	struct str name;   /* of the claim or variable */
	struct str claim;  /* VARIABLE: whose value it must be; ptr NULL: one of `texts` */
	struct str *texts; /* one of them; CLAIM without any: it is there */
	unsigned int text_count;
	struct str path; /* without a last '/', unless exact */
	bool exact;
	struct ip_prefix *prefixes;
	unsigned int prefix_count;
	/* Minutes of the day in UTC; to < from: over midnight, of the day on which it begins. */
	uint64_t from_min, to_min;
	unsigned int days; /* bit 0: Sunday */
};

struct authorize {
	struct authorize_rule root;
	bool asks_who;	/* a rule is about the caller */
	bool asks_path; /* a rule is about the path */
};

extern const struct policy_type authorize_policy;

/* Where it does not hold, the rules that would have to, for people. `wall_s`: since 1970. */
bool authorize_holds(const struct authorize *authorize, const struct exchange *exchange,
		     uint64_t wall_s, struct buf *why);

/* authorize_config.c */
int authorize_read(const struct field_context *context, const struct conf_node *node,
		   const char *what, void *conf);
void authorize_write(struct conf_writer *writer, const void *conf);
const char *authorize_kind_key(enum authorize_kind kind);

#endif

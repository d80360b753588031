/*
 * route_regex: PCRE2 patterns of the configuration, matched against what peers send.
 *
 * A pattern is compiled once, when the configuration is loaded, by the JIT where the system lets us
 * have executable memory and for the interpreter otherwise, which matches the same. Bytes, not
 * characters: paths are percent-encoded and field values have no charset, so UTF modes are refused.
 * A match ends within fixed limits of steps, nesting and memory; one that reaches a limit is no
 * match and is counted, so that a pattern like (a+)+$ costs a hostile peer's requests milliseconds,
 * not minutes.
 *
 * The compiled form belongs to the arena it was made in. Scratch memory is made once per thread.
 * Thread rule: compiled patterns are read-only and may be matched by any thread.
 */
#ifndef SLUICE_HTTP_ROUTE_REGEX_H
#define SLUICE_HTTP_ROUTE_REGEX_H

#include "base/arena.h"
#include "base/str.h"

#define ROUTE_REGEX_BYTES_MAX  4096 /* of a pattern */
#define ROUTE_REGEX_GROUPS_MAX 16   /* that a match gives out, the whole one included */

struct route_regex;

enum route_regex_span {
	ROUTE_REGEX_WHOLE, /* the pattern covers all of the subject, as if within ^(?: )$ */
	ROUTE_REGEX_ANY,   /* it matches somewhere in it, unless the pattern says ^ and $ */
};

struct route_regex_error {
	size_t offset; /* into the pattern, where it went wrong */
	char text[160];
};

/* 0, -EINVAL with *reterr_error filled, or -ENOMEM. `pattern` is copied. */
int route_regex_compile(struct str pattern, enum route_regex_span span, struct arena *arena,
			struct route_regex **ret_regex, struct route_regex_error *reterr_error);

struct str route_regex_pattern(const struct route_regex *regex);
/* Number of its capture groups, without the whole match. */
unsigned int route_regex_group_count(const struct route_regex *regex);

bool route_regex_matches(const struct route_regex *regex, struct str subject);
/*
 * The same, with views into the subject: [0] is the whole match, [1] the first group; a group that
 * took no part has ptr NULL. `group_max` is at most ROUTE_REGEX_GROUPS_MAX.
 */
bool route_regex_find(const struct route_regex *regex, struct str subject, struct str *ret_groups,
		      unsigned int group_max);

/* Matches given up at a limit (or for want of memory) on this thread, since its start. */
uint64_t route_regex_limit_hits(void);
/* Is there machine code for it? For tests and benchmarks. */
bool route_regex_is_jit(const struct route_regex *regex);

/*
 * What every subject must begin with for a ROUTE_REGEX_WHOLE pattern, as far as it can be read off
 * the pattern without doubt; perhaps nothing. At most `room` bytes. Returns the length.
 */
size_t route_regex_literal_prefix(struct str pattern, char *buf, size_t room);

#endif

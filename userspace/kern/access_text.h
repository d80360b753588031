/*
 * access_text: allow and deny lists as text, an entry a line.
 *
 *   203.0.113.0/24                            # from here to the end of the line: a comment
 *   198.51.100.7 reason scanner ttl 24h
 *   2001:db8::/32 reason "two words" until 2026-11-24T05:00:00Z
 *
 * `ttl` counts from when the line is read, `until` is a moment in UTC, with milliseconds if need
 * be: what is written here has it, so that it reads the same later. In quotes a backslash stands
 * before a quote or a backslash. Lists that are shown rather than loaded have three words more:
 * `from config` or `from cli`, `packets N` and `bytes N`.
 * Reading makes no copy and takes about a tenth of a microsecond a line. Thread rule: one owner.
 */
#ifndef SLUICE_KERN_ACCESS_TEXT_H
#define SLUICE_KERN_ACCESS_TEXT_H

#include "base/buf.h"
#include "kern/access_list.h"

#define ACCESS_LINE_MAX	  4096				    /* bytes of a line, comments included */
#define ACCESS_TTL_MS_MAX (100ULL * 365 * 24 * 3600 * 1000) /* a century is for ever */

struct access_text_reader {
	uint64_t now_wall_ms;	  /* when a `ttl` begins */
	const char *reason;	  /* of lines without one; NULL: none */
	uint64_t expires_wall_ms; /* of lines without `ttl` and `until`; 0: never */
	bool is_shown;		  /* `from`, `packets` and `bytes` are known, too */
	/* A negative return value ends the reading. Entries that expired are told as well. */
	int (*entry)(const struct access_entry *entry, void *arg);
	/* What is wrong with a line, once for each such line; counted from 1. */
	void (*error)(uint64_t line, size_t column, const char *text, void *arg);
	void *arg;
	uint64_t line; /* lines read so far, over several calls */
};

/*
 * Whole lines; the last one needs no line feed. 0, -EINVAL when error() was called, or what
 * entry() returned.
 */
int access_text_read(struct access_text_reader *reader, struct str text);
/* Appends a line. is_shown: with `from`, `packets` and `bytes`. */
int access_text_write(struct buf *out, const struct access_entry *entry, bool is_shown);
/* As ip_prefix_parse(), quicker for what is plain IPv4. */
int access_prefix_parse(struct str text, struct ip_prefix *ret_prefix, struct error *err);
/* NULL when it can be a reason, else what is wrong: "is longer than 31 bytes". */
const char *access_reason_check(struct str reason);

#endif

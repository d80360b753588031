/*
 * path: the one canonical form of a request path, for matching, authorisation and the upstream.
 *
 * Percent-encoding is decoded once for unreserved bytes and upper-cased otherwise, bytes that RFC
 * 3986 does not allow raw are encoded, dot segments are removed (5.2.4), so that /a/%2e%2e/b and /b
 * are the same path everywhere. Refused for good is what has no meaning or a dangerous one: %00 and
 * other controls, a raw backslash, invalid percent-encoding, a way above the root, and dot segments
 * that climb over, or hide behind, something that readers take apart differently.
 *
 * Ambiguous is a path whose segments depend on the reader (HARDENING 22): "//", which some merge,
 * %2F and %5C, which some decode. It is kept as it stands ("%2F" and "%5C" encoded, "//" double),
 * and only routes that allow it by name get it. Thread rule: pure.
 */
#ifndef SLUICE_HTTP_PATH_H
#define SLUICE_HTTP_PATH_H

#include "base/arena.h"
#include "base/str.h"

/*
 * `path` begins with '/', without query. *ret_path is `path` itself when it is canonical already
 * (the usual case: nothing is copied), else a copy in the arena. -EINVAL: refuse with 400;
 * -ENOMEM: the arena is full.
 */
int path_canonicalise_flagged(struct str path, struct arena *arena, struct str *ret_path,
			      bool *ret_ambiguous);
/* The same, and an ambiguous path is refused with -EINVAL, too. */
int path_canonicalise(struct str path, struct arena *arena, struct str *ret_path);

#endif

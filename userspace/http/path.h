/*
 * path: the one canonical form of a request path, for matching, authorisation and the upstream.
 *
 * Percent-encoding is decoded once for unreserved bytes and upper-cased otherwise, dot segments are
 * removed (RFC 3986 5.2.4), so that /a/%2e%2e/b and /b are the same path everywhere. What different
 * backends read differently is refused: %2F, %5C or a raw backslash, %00 and other encoded
 * controls, invalid percent-encoding, and dot segments above the root. "//" is kept as it stands
 * unless it hides a dot segment's meaning (an empty segment in front of "..": refused).
 * Thread rule: pure.
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
int path_canonicalise(struct str path, struct arena *arena, struct str *ret_path);

#endif

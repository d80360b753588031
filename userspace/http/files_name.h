/*
 * files_name: from a canonical request path to a name relative to a directory of files.
 *
 * Percent-encoding is decoded once. Refused is what could name something else than it seems: empty,
 * "." and ".." segments, encoded '/' and NUL; and hidden names (".git", but not ".well-known"),
 * unless they are asked for. Thread rule: pure function.
 */
#ifndef SLUICE_HTTP_FILES_NAME_H
#define SLUICE_HTTP_FILES_NAME_H

#include "http/route.h"

/*
 * What is left of the path by the route's match: below a prefix; of an exact path its last segment;
 * else all of it. Without the '/' in front.
 */
struct str files_path_below(const struct route *route, struct str path);

/*
 * The name, NUL-terminated in `room`: "" for the directory itself, with '/' at its end where the
 * path has one. -ENOENT: nothing can have that name. -ENAMETOOLONG.
 */
int files_name_decode(struct str below, bool hidden, char *room, size_t room_bytes,
		      struct str *ret_name);

#endif

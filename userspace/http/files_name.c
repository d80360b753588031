#include "http/files_name.h"

#include <errno.h>

#include "proto/http_bytes.h"

struct str files_path_below(const struct route *route, struct str path)
{
	size_t at = 0;

	if (route->path_kind == ROUTE_PATH_PREFIX) {
		at = route->path.len;
		if (at && route->path.ptr[at - 1] == '/')
			at--;
	} else if (route->path_kind == ROUTE_PATH_EXACT) {
		for (at = path.len; at > 0 && path.ptr[at - 1] != '/';)
			at--;
	}
	at = at < path.len ? at : path.len;
	if (at < path.len && path.ptr[at] == '/')
		at++;
	return str_sub(path, at, path.len - at);
}

static bool segment_is_allowed(struct str segment, bool hidden)
{
	if (!segment.len || str_eq(segment, STR(".")) || str_eq(segment, STR("..")))
		return false;
	return segment.ptr[0] != '.' || hidden || str_eq(segment, STR(".well-known"));
}

int files_name_decode(struct str below, bool hidden, char *room, size_t room_bytes,
		      struct str *ret_name)
{
	size_t len = 0, segment = 0; /* where it begins */

	for (size_t i = 0; i < below.len; i++) {
		char byte = below.ptr[i];

		if (len + 1 >= room_bytes)
			return -ENAMETOOLONG;
		if (byte == '/') {
			if (!segment_is_allowed(str_make(room + segment, len - segment), hidden))
				return -ENOENT;
			room[len++] = '/';
			segment = len;
			continue;
		}
		if (byte == '%') {
			int high = i + 2 < below.len ? http_byte_hex(below.ptr[i + 1]) : -1;
			int low = i + 2 < below.len ? http_byte_hex(below.ptr[i + 2]) : -1;

			if (high < 0 || low < 0)
				return -ENOENT;
			byte = (char)(high * 16 + low);
			i += 2;
		}
		if (byte == '\0' || byte == '/')
			return -ENOENT;
		room[len++] = byte;
	}
	if (segment < len && !segment_is_allowed(str_make(room + segment, len - segment), hidden))
		return -ENOENT;
	room[len] = '\0';
	*ret_name = str_make(room, len);
	return 0;
}

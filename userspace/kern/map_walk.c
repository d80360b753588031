#include "kern/map_walk.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/cleanup.h"

int map_collect_keys(int map_fd, size_t key_bytes, size_t max_entries, void **ret_keys,
		     size_t *ret_count)
{
	_cleanup_free_ uint8_t *keys = NULL;
	size_t count = 0, room = 0;
	int ret;

	for (;;) {
		if (count == room) {
			uint8_t *grown;

			/* One more than can be there: a walk that began again repeats keys. */
			if (room > max_entries)
				return -EAGAIN;
			room = room ? room * 2 : 64;
			grown = realloc(keys, room * key_bytes);
			if (!grown)
				return -ENOMEM;
			keys = grown;
		}
		ret = bpf_map_get_next_key(map_fd, count ? keys + (count - 1) * key_bytes : NULL,
					   keys + count * key_bytes);
		if (ret == -ENOENT)
			break;
		if (ret)
			return ret;
		count++;
	}
	*ret_count = count;
	*ret_keys = NULL;
	if (count)
		*ret_keys = TAKE_PTR(keys);
	return 0;
}
